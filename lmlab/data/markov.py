"""Text whose true model is known: a Markov source, its entropy rate, its probabilities.

How good can a language model become? On real text nobody knows. Here a table says how
likely each symbol is after each pair (or single, or triple) of symbols; the text is
drawn from it, so the least possible loss is a number that can be computed exactly.
"""

import bisect
import math
from dataclasses import dataclass

import numpy as np

from lmlab.arguments import number, whole, whole_array

SYMBOLS = "abcdefghijklmnopqrstuvwxyz"


@dataclass(frozen=True, eq=False)
class MarkovSource:
    """A stationary Markov source of order k over V symbols.

    transitions (V,)·k + (V,): P(next | the k symbols before), oldest symbol first;
    stationary (V,)·k: how often each k symbols occur; symbols: the V letters.
    """

    transitions: np.ndarray
    stationary: np.ndarray
    symbols: str

    @property
    def order(self):
        """How many symbols the next one depends on."""
        return self.stationary.ndim

    @property
    def entropy_rate(self):
        """The least mean loss that any model can have on this source, in nats a symbol.

        H = −Σ_h π(h) Σ_x P(x | h) ln P(x | h).
        """
        entropies = -(self.transitions * np.log(self.transitions)).sum(axis=-1)
        return float((self.stationary * entropies).sum())

    def sample(self, length, seed):
        """`length` symbol numbers (int64), begun where the source has always run.

        Raises TypeError or ValueError unless length is a whole number from 1.
        """
        whole("length", length, 1)
        rng = np.random.default_rng(seed)
        V, rows = len(self.symbols), self.stationary.size
        state = int(rng.choice(rows, p=self.stationary.ravel()))
        start = [state // V**i % V for i in reversed(range(self.order))]
        ladders = self.transitions.reshape(rows, V).cumsum(axis=-1)[:, :-1].tolist()
        drawn = []
        for u in rng.random(length).tolist():
            drawn.append(bisect.bisect_right(ladders[state], u))
            state = (state * V + drawn[-1]) % rows
        return np.array((start + drawn)[:length])

    def text(self, length, seed):
        """`length` symbols as letters; `ids(text)` turns them back."""
        letters = np.array(list(self.symbols))
        return "".join(letters[self.sample(length, seed)])

    def ids(self, text):
        """The symbol numbers (int64) of a text. Raises ValueError for other letters."""
        strange = set(text) - set(self.symbols)
        if strange:
            raise ValueError(
                f"this source has the symbols {self.symbols!r}, not {min(strange)!r}"
            )
        return np.array([self.symbols.index(letter) for letter in text], dtype=np.int64)

    def log_probabilities(self, ids):
        """The true ln P(symbol | all before it) of each of ids (N,), float64.

        The first symbols, which have fewer than k before them, are judged by the
        stationary distribution, so that the sum is ln P(text). Raises ValueError for
        ids that are no whole numbers (N,), or not of this source.
        """
        ids = whole_array("ids", ids, len(self.symbols))
        k = self.order
        before = tuple(ids[i : len(ids) - k + i] for i in range(k + 1))
        rest = np.log(self.transitions[before]) if len(ids) > k else []
        # P(first i symbols): the stationary distribution, summed over the later ones.
        prefixes = [
            math.log(self.stationary[tuple(ids[:i])].sum())
            for i in range(min(k, len(ids)) + 1)
        ]
        return np.concatenate([np.diff(prefixes), rest])


def markov(symbols=8, order=2, seed=0, *, concentration=0.5):
    """A random source of which each symbol of memory knows a part.

    symbols: how many, 2 to 26; order: how many the next one depends on, 1 to 3.
    The row of a context is drawn from a Dirichlet distribution around the row of the
    context without its oldest symbol, the first one around the even row.
    concentration: small values make rows that are nearly certain, large ones that
    differ little. A hundredth of every row is even, so that every text is possible.
    Raises TypeError or ValueError, naming the argument.
    """
    whole("symbols", symbols, 2, len(SYMBOLS))
    whole("order", order, 1, 3)
    concentration = number("concentration", concentration, "(0, inf)")
    rng = np.random.default_rng(seed)
    transitions = np.full(symbols, 1 / symbols)
    for k in range(1, order + 1):
        shape = (symbols,) * (k + 1)  # (older, …, newest before, next)
        around = np.broadcast_to(transitions, shape).reshape(-1, symbols)
        rows = [rng.dirichlet(concentration * symbols * row) for row in around]
        transitions = 0.99 * np.reshape(rows, shape) + 0.01 / symbols
    stationary = _stationary(transitions)
    return MarkovSource(transitions, stationary, SYMBOLS[:symbols])


def _stationary(transitions):
    """Where the chain of the last k symbols spends its time: π with π = πP, Σπ = 1."""
    *shape, V = transitions.shape
    states = math.prod(shape)
    P = np.zeros((states, states))
    now = np.arange(states)
    for symbol in range(V):
        later = (now * V + symbol) % states
        P[now, later] = transitions.reshape(states, V)[:, symbol]
    # πP = π has a solution up to a factor; the last row of ones fixes it.
    equations = np.vstack([P.T - np.eye(states), np.ones(states)])
    wanted = np.append(np.zeros(states), 1.0)
    return np.linalg.lstsq(equations, wanted, rcond=None)[0].reshape(shape)

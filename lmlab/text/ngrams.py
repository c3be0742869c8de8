"""What a language model must beat: smoothed n-grams, and compressors.

An n-gram model counts what followed each run of n − 1 tokens. `NGrams` interpolates all
lengths up to n (Chen and Goodman 1999, "modified Kneser-Ney"), the best that counting
is known to do. `bits_per_byte` puts every model and every compressor in one unit, so
that tokens of different sizes can be compared.
"""

import gzip
import lzma
import math

import numpy as np

from lmlab.arguments import whole, whole_array


def bits_per_byte(nats, num_bytes):
    """A text's total loss in nats (mean × tokens), as bits for each of its bytes."""
    return float(nats) / math.log(2) / num_bytes


def compressed_bits_per_byte(text, after=""):
    """{"gzip": …, "lzma": …}: bits per byte of text (a str) when it is compressed.

    after: text that came before and is known, for instance the training text: its
    own cost is taken off. gzip looks back 32 kB only, lzma over all of it.
    Raises ValueError when text is empty.
    """
    known, new = after.encode(), text.encode()
    if not new:
        raise ValueError("text must not be empty: there is no byte to divide by")
    zippers = {
        "gzip": lambda content: gzip.compress(content, 9, mtime=0),
        "lzma": lambda content: lzma.compress(content, preset=9 | lzma.PRESET_EXTREME),
    }
    return {
        name: 8 * (len(zip(known + new)) - len(zip(known) if known else b"")) / len(new)
        for name, zip in zippers.items()
    }


class NGrams:
    """Interpolated n-grams with modified Kneser-Ney smoothing over token ids.

    ids: the training text (N,); n: the longest run counted, its last token included;
    vocab_size: number of ids. n = 1 is the frequencies, n = 2 the bigrams.

    P_k(w | h) = (c(hw) − D(c(hw))) / c(h) + (share taken off in h) · P_{k−1}(w | h′)
    with h′ the context without its oldest token. Below the longest length, c(hw) counts
    in how many contexts hw was seen instead of how often; below length 1 stands 1/V.
    Raises ValueError for ids that are no whole numbers (N,) in 0 … vocab_size − 1.
    """

    def __init__(self, ids, n, vocab_size):
        self.n, self.vocab_size = whole("n", n), whole("vocab_size", vocab_size)
        ids = whole_array("ids", ids, vocab_size)
        contexts, self._contexts = [np.zeros(len(ids), dtype=np.int64)], []
        for back in range(1, n):
            # A context is one that is shorter by its oldest token, and that token.
            pairs = self._pair(contexts[-1], _shifted(ids, back, vocab_size))
            known, at = np.unique(pairs, return_inverse=True)
            self._contexts.append(known)
            contexts.append(at)
        grams, counts = np.unique(self._pair(contexts[-1], ids), return_counts=True)
        self._levels = [_Level(grams, counts, vocab_size)]
        for known in reversed(self._contexts):
            longer, token = np.divmod(grams, vocab_size + 1)
            shorter = self._pair(known[longer] // (vocab_size + 1), token)
            grams, counts = np.unique(shorter, return_counts=True)
            self._levels.insert(0, _Level(grams, counts, vocab_size))

    def _pair(self, context, token):
        return context * (self.vocab_size + 1) + token

    def log_probabilities(self, ids):
        """ln P(token | the n − 1 before it) of each of ids (N,), float64.

        The first tokens have nothing before them, as at the start of the training text.
        Raises ValueError as above.
        """
        ids = whole_array("ids", ids, self.vocab_size)
        before = [_shifted(ids, back, self.vocab_size) for back in range(1, self.n)]
        return np.log(self._probabilities(before, ids))

    def distribution(self, context):
        """P(next | the last n − 1 of context) of every token, (vocab_size,)."""
        context = [self.vocab_size] * self.n + [int(token) for token in context]
        everything = np.arange(self.vocab_size)
        before = [np.full(self.vocab_size, context[-b]) for b in range(1, self.n)]
        return self._probabilities(before, everything)

    def _probabilities(self, before, tokens):
        """before[i]: the token i + 1 back, for each of tokens."""
        context = np.zeros(len(tokens), dtype=np.int64)
        p = np.full(len(tokens), 1 / self.vocab_size)
        p = self._levels[0].interpolate(context, self._pair(context, tokens), p)
        for back, known, level in zip(before, self._contexts, self._levels[1:]):
            context = np.where(context < 0, -1, _find(known, self._pair(context, back)))
            grams = self._pair(context, tokens)
            p = np.where(context < 0, p, level.interpolate(context, grams, p))
        return p


class _Level:
    """The counts of one length: grams (sorted) = context and token, packed in one."""

    def __init__(self, grams, counts, vocab_size):
        self.grams, self.counts = grams, counts
        context = grams // (vocab_size + 1)
        self.totals = np.bincount(context, counts)  # c(h)
        self.discount = _discounts(counts)
        self.taken = np.bincount(context, self.discount[np.minimum(counts, 3)])

    def interpolate(self, context, grams, shorter):
        at = _find(self.grams, grams)
        count = np.where(at < 0, 0, self.counts[at])
        kept = count - self.discount[np.minimum(count, 3)]
        return (kept + self.taken[context] * shorter) / self.totals[context]


def _discounts(counts):
    """D(0) = 0, D(1), D(2), D(3 or more): Chen and Goodman's estimates."""
    n1, n2, n3, n4 = (int((counts == i).sum()) for i in range(1, 5))
    if min(n1, n2, n3, n4) == 0:  # too few counts to tell
        return np.array([0.0, 0.5, 0.75, 0.75])
    y = n1 / (n1 + 2 * n2)
    d = [0.0, 1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3]
    return np.array(d).clip([0, 0.05, 0.05, 0.05], [0, 0.95, 1.95, 2.95])


def _shifted(ids, back, start):
    """ids moved `back` places: what stood before each; `start` before the first."""
    return np.concatenate([np.full(min(back, len(ids)), start), ids[:-back]])


def _find(sorted_keys, keys):
    """The places of keys in sorted_keys, −1 for those that are not there."""
    at = np.searchsorted(sorted_keys, keys).clip(max=len(sorted_keys) - 1)
    return np.where(sorted_keys[at] == keys, at, -1)

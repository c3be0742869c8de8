"""The likeliest output, greedily and by beam search; see lessons 06 and 08.

A hypothesis is what has been written so far, and its score the sum of the log-
probabilities of its ids, in nats, the end included. `search` looks on while any text
grows: `generate`'s for a GPT; here, the target of an encoder–decoder. That needs
`encode(source)` → (memory, memory_mask) and `decode(target, memory, memory_mask)` →
logits. One whose `decode` takes a `cache` too, which its `new_cache()` makes, is given
each id once; any other is given the whole target again for every id.
"""

import inspect
import math
from dataclasses import dataclass

import torch

from lmlab.arguments import number, whole
from lmlab.generation import sampling


def search(
    text, num_tokens, num_beams, stop, *,
    length_penalty=1.0, repetition_penalty=1.0, nested=False,
):  # fmt: skip
    """For each row of a text its best (score, ids), at most num_beams, in order.

    text: has begin(), pick(rows) and add(ids), as generate's RunningText, and seen if
    there is a repetition_penalty. stop: a set of ids that end a hypothesis; it also
    ends with its num_tokens-th id.

    The rules are those of Hugging Face's `generate`. Every step ranks the continuations
    of all beams: the best that go on are the next beams; one that ends among the best
    num_beams is a candidate, judged by score / length ** length_penalty, where length
    counts its new ids, the one that ends it included. A row is done when no beam,
    judged as it stands, is better than the worst of num_beams candidates.

    nested: beam 1 goes on with its own best continuation, beam j with the best one of
    beams 1 … j that no beam before it took; a row is done when no beam can ever be
    better than the best candidate. So what few beams keep, more beams keep too.
    """
    logits = text.begin()
    (B, V), K = logits.shape, num_beams
    first = torch.arange(B, device=logits.device).repeat_interleave(K)
    text.pick(first)  # each row was read once
    logits = logits[first]  # (B · K, V)
    rows = [_Row(num_tokens, K, stop, length_penalty, nested) for _ in range(B)]
    for length in range(1, num_tokens + 1):
        steps = logits.float().log_softmax(-1)
        if repetition_penalty != 1:
            steps = sampling.penalise(steps, text.seen, repetition_penalty)
        scores = [[score for score, *_ in row.beams] for row in rows]
        scores = torch.tensor(scores, dtype=torch.float64)  # no sum is rounded away
        totals = scores[..., None] + steps.cpu().double().view(B, K, V)
        if nested:
            ranked = _nested(totals)
        else:  # so many that K of them go on
            ranked = totals.flatten(1).topk(min(K * max(2, 1 + len(stop)), K * V))
        for row, values, places in zip(rows, *(x.tolist() for x in ranked)):
            row.advance(((v, *divmod(p, V)) for v, p in zip(values, places)), length)
        if length == num_tokens or not any(row.running for row in rows):
            break
        parents = [b * K + i for b, row in enumerate(rows) for _, i, _ in row.beams]
        text.pick(torch.tensor(parents, device=logits.device))
        last = [ids[-1] for row in rows for *_, ids in row.beams]
        logits = text.add(torch.tensor(last, device=logits.device))
    return [row.done for row in rows]


@dataclass
class _Row:
    """What is known of one row: `beams` that go on, and what is `done`, in order.

    A beam is (score, the beam that it continues, ids); −∞ is the score of none.
    """

    num_tokens: int
    num_beams: int
    stop: set
    length_penalty: float
    nested: bool

    def __post_init__(self):
        self.beams = [(0.0, 0, []), *[(-math.inf, 0, [])] * (self.num_beams - 1)]
        self.done = []

    @property
    def running(self):
        return any(score > -math.inf for score, *_ in self.beams)

    def advance(self, ranked, length):
        """Take what was ranked, (score, beam, next id) each; length: with that id."""
        going = []
        for rank, (score, beam, token) in enumerate(ranked):
            if len(going) == self.num_beams:
                break
            ids = [*self.beams[beam][2], token]
            over = token in self.stop or length == self.num_tokens
            if over and rank < self.num_beams and score > -math.inf:
                self.done.append((score / length**self.length_penalty, ids))
            if self.nested or not over:  # a nested beam keeps its place
                going.append((-math.inf if over else score, beam, ids))
        self.done = sorted(self.done, key=lambda each: -each[0])[: self.num_beams]
        self.beams = going
        if going and self._decided(max(score for score, *_ in going), length):
            self.beams = [(-math.inf, *others) for _, *others in self.beams]

    def _decided(self, best, length):
        """Whether the best beam comes too late.

        It is judged as it stands; where beams are nested, as if it got to its longest,
        where that would help it, and no less likely.
        """
        enough = 1 if self.nested else self.num_beams
        if self.nested and self.length_penalty > 0:
            length = self.num_tokens
        judged = best / length**self.length_penalty
        return len(self.done) >= enough and judged <= self.done[enough - 1][0]


def _nested(totals):
    """Scores and places in (beams · V) of each beam's next id: (B, beams) of both."""
    totals, chosen = totals.clone(), []
    for beam in range(totals.shape[1]):
        value, at = totals[:, : beam + 1].flatten(1).max(1)
        chosen.append((value, at))
        totals.flatten(1).scatter_(1, at[:, None], -torch.inf)  # a view
    return [torch.stack(kind, 1) for kind in zip(*chosen)]


# --- Encoder–decoders -----------------------------------------------------------------


@dataclass(frozen=True)
class Found:
    """ids (B, 1 + max_length) with `start` first, `pad` after `end`; scores (B,)."""

    ids: torch.Tensor
    scores: torch.Tensor


class _Targets:
    """The targets of some sources (R, S), which begin with `start` and grow."""

    def __init__(self, model, source, start):
        self.model, self.memory = model, model.encode(source)
        self.ids = torch.full((len(source), 1), start, device=source.device)
        continues = "cache" in inspect.signature(model.decode).parameters
        self.cache = model.new_cache() if continues else None

    def begin(self):
        """The logits of the first id, (R, V)."""
        if self.cache is None:
            return self.model.decode(self.ids, *self.memory)[:, -1]
        last = self.ids[:, -1:]
        return self.model.decode(last, *self.memory, cache=self.cache)[:, -1]

    def add(self, ids):
        """Append one id (R,) to each row; the logits of the next, (R, V)."""
        self.ids = torch.cat([self.ids, ids[:, None]], 1)
        return self.begin()

    def pick(self, rows):
        """Keep these rows, in this order; one may come several times."""
        self.ids, self.memory = self.ids[rows], [x[rows] for x in self.memory]
        if self.cache is not None:
            self.cache.pick(rows)


@torch.no_grad()
def greedy(model, source, max_length, *, start=1, end=2, pad=0):
    """Take the likeliest next id, `max_length` times or until every row has ended.

    source (B, S). Returns Found. One that never ends is cut off at max_length.
    The model is used in the mode that it is in: call its eval() before.
    Raises TypeError or ValueError unless max_length is a whole number from 1.
    """
    max_length = whole("max_length", max_length)
    targets = _Targets(model, source, start)
    ids = torch.full((len(source), 1 + max_length), pad, device=source.device)
    ids[:, 0] = start
    scores = torch.zeros(len(source), dtype=torch.float64)
    running = torch.ones(len(source), dtype=torch.bool)
    for length in range(max_length):
        logits = targets.add(ids[:, length]) if length else targets.begin()
        best, chosen = logits.float().log_softmax(-1).cpu().double().max(-1)
        scores += torch.where(running, best, 0.0)
        ids[:, 1 + length] = torch.where(running, chosen, pad)
        running &= chosen != end
        if not running.any():
            break
    return Found(ids, scores)


@torch.no_grad()
def beam_search(
    model, source, max_length, num_beams=4, *,
    length_penalty=0.0, nested=True, start=1, end=2, pad=0,
):  # fmt: skip
    """The best hypothesis by `search`, which says what length_penalty means.

    Nested beams, the default, have what plain ones lack: num_beams=1 is greedy, and
    more beams never score lower; with nested=False it is Hugging Face's search. One
    that has not ended at max_length is judged as it stands.
    source (B, S). Returns Found, with scores / length ** length_penalty.
    The model is used in the mode that it is in: call its eval() before.
    Raises TypeError or ValueError, naming the argument.
    """
    max_length = whole("max_length", max_length)
    num_beams = whole("num_beams", num_beams)
    length_penalty = number("length_penalty", length_penalty)
    found = search(
        _Targets(model, source, start), max_length, num_beams, {end},
        length_penalty=length_penalty, nested=nested,
    )  # fmt: skip
    best = [row[0] if row else (-math.inf, []) for row in found]
    ids = [[start, *ids] + [pad] * (max_length - len(ids)) for _, ids in best]
    scores = torch.tensor([score for score, _ in best], dtype=torch.float64)
    return Found(torch.tensor(ids, device=source.device), scores)

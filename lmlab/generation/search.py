"""The best output of an encoder–decoder: greedy, and by beam search; see lesson 06.

A hypothesis is a target that begins with `start`; its score is the sum of the log-
probabilities of its ids, in nats, `end` included. The model needs `encode(source)` →
(memory, memory_mask) and `decode(target, memory, memory_mask)` → logits. One whose
`decode` takes a `cache` too, which its `new_cache()` makes, is given each id once; any
other is given the whole target again for every id.
"""

import inspect
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Found:
    """ids (B, 1 + max_length) with `start` first, `pad` after `end`; scores (B,)."""

    ids: torch.Tensor
    scores: torch.Tensor


class _Targets:
    """Rows of ids (R, T) that grow at the right, and what the model says comes next."""

    def __init__(self, model, ids, memory, mask):
        self.model, self.ids, self.memory = model, ids, (memory, mask)
        continues = "cache" in inspect.signature(model.decode).parameters
        self.cache = model.new_cache() if continues else None

    def log_probabilities(self):
        """Of the next id, (R, V) in float64 on the CPU: no sum is rounded away."""
        if self.cache is None:
            logits = self.model.decode(self.ids, *self.memory)
        else:
            logits = self.model.decode(self.ids[:, -1:], *self.memory, cache=self.cache)
        return logits[:, -1].float().log_softmax(-1).cpu().double()

    def add(self, chosen, parents=None):
        """Append the ids chosen (R,) to the rows, or to those of `parents` (R,)."""
        if parents is not None:
            parents = parents.to(self.ids.device)
            self.ids = self.ids[parents]
            if self.cache is not None:
                self.cache.pick(parents)
        self.ids = torch.cat([self.ids, chosen[:, None].to(self.ids)], 1)


@torch.no_grad()
def greedy(model, source, max_length, *, start=1, end=2, pad=0):
    """Take the likeliest next id, `max_length` times or until every row has ended.

    source (B, S). Returns Found. One that never ends is cut off at max_length.
    """
    _check(max_length)
    memory, mask = model.encode(source)
    first = torch.full((len(source), 1), start, device=source.device)
    targets = _Targets(model, first, memory, mask)
    scores = torch.zeros(len(source), dtype=torch.float64)
    running = torch.ones(len(source), dtype=torch.bool)
    while targets.ids.shape[1] <= max_length and running.any():
        best, chosen = targets.log_probabilities().max(-1)
        scores += torch.where(running, best, 0.0)
        chosen = torch.where(running, chosen, pad)
        running &= chosen != end
        targets.add(chosen)
    return Found(_widen(targets.ids, 1 + max_length, pad), scores)


@torch.no_grad()
def beam_search(
    model, source, max_length, beam=4, *, length_power=0.0, start=1, end=2, pad=0
):
    """The best of `beam` hypotheses kept side by side, in nested beams.

    At each step place 1 takes the best continuation of the hypothesis in place 1, and
    place j the best of those in places 1 … j that no place before it took. So what a
    narrow beam keeps, a wider one keeps too: beam=1 is greedy, and a wider beam never
    scores lower. (Plain beam search lets all places compete for all continuations; a
    wider one may then lose the hypothesis that wins in the end.)

    A hypothesis is judged by score / length ** length_power; length counts its
    ids without `start`. 0 compares sums of log-probabilities (short ones win), 1
    means per id. One that has not ended at max_length is judged as it stands.
    source (B, S). Returns Found, with the score so divided.
    """
    _check(max_length)
    if isinstance(beam, bool) or not isinstance(beam, int) or beam < 1:
        raise ValueError(f"beam must be a whole number from 1, got {beam!r}")
    if not length_power >= 0:
        raise ValueError(f"length_power must be 0 or more, got {length_power!r}")
    memory, mask = (x.repeat_interleave(beam, 0) for x in model.encode(source))
    B = len(source)
    first = torch.full((B * beam, 1), start, device=source.device)
    targets = _Targets(model, first, memory, mask)
    row_of = torch.arange(B)[:, None] * beam  # of the first hypothesis of each source
    scores = torch.full((B, beam), -torch.inf, dtype=torch.float64)
    scores[:, 0] = 0.0  # one hypothesis to begin with; the other places are empty
    running = torch.ones(B, beam, dtype=torch.bool)
    best = torch.full((B,), -torch.inf, dtype=torch.float64)
    answer = torch.full((B, 1 + max_length), pad, device=source.device)
    for length in range(1, max_length + 1):
        steps = targets.log_probabilities().unflatten(0, (B, beam))  # (B, beam, V)
        only_pad = torch.full_like(steps, -torch.inf)
        only_pad[..., pad] = 0.0  # what has ended stays as it is
        steps = torch.where(running[..., None], steps, only_pad)
        scores, parent, chosen = _nested(scores[..., None] + steps)
        targets.add(chosen.flatten(), (row_of + parent).flatten())
        was_running = running.gather(1, parent)
        running = was_running & (chosen != end)
        done = was_running if length == max_length else was_running & ~running
        judged = torch.where(done, scores / length**length_power, -torch.inf)
        value, place = judged.max(1)
        better = value > best
        best = torch.where(better, value, best)
        rows = better.nonzero()[:, 0]
        found = targets.ids[(row_of[rows, 0] + place[rows]).to(targets.ids.device)]
        answer[rows.to(answer.device), : length + 1] = found
        if not running.any():
            break
    return Found(answer, best)


def _nested(totals):
    """Scores, parents and ids (B, beam) chosen from totals (B, beam, V)."""
    B, beam, V = totals.shape
    totals = totals.clone()
    chosen = []
    for j in range(beam):
        value, at = totals[:, : j + 1].flatten(1).max(1)
        chosen.append((value, at // V, at % V))
        totals.view(B, -1).scatter_(1, at[:, None], -torch.inf)
    return [torch.stack(kind, 1) for kind in zip(*chosen)]


def _widen(ids, length, pad):
    out = ids.new_full((len(ids), length), pad)
    out[:, : ids.shape[1]] = ids
    return out


def _check(max_length):
    if (
        isinstance(max_length, bool)
        or not isinstance(max_length, int)
        or max_length < 1
    ):
        raise ValueError(
            f"max_length must be a whole number from 1, got {max_length!r}"
        )

"""Beam search for a language model: the likeliest continuations, several kept at once.

The rules are those of Hugging Face's `generate` with its defaults. Every step looks at
the best continuations of all beams: the best that go on are the next beams; one that
ends among the best `beams` is a candidate, judged by its log-probability per token.
The search is over when no beam looks better than the worst of `beams` candidates.
(Lesson 06's `decoding.beam_search` is another kind, whose wider beams never do worse.)
"""

import torch

from lmlab.generation import sampling


def search(text, num_tokens, beams, stop, penalty=1.0):
    """The continuations of one prompt, the best first: at most `beams` lists of ids.

    text: a RunningText with one row. stop: a set of ids that end a continuation.
    """
    logits = text.begin()
    scores, continuations = [0.0], [[]]
    done = []  # (score per token, ids), the best first
    for length in range(1, num_tokens + 1):
        steps = logits.float().log_softmax(-1)
        if penalty != 1:
            steps = sampling.penalise(steps, text.seen, penalty)
        ranked = _best(steps, scores, beams * max(2, 1 + len(stop)))
        going = []
        for rank, (score, row, token) in enumerate(ranked):
            ids = [*continuations[row], token]
            if token not in stop and length < num_tokens:
                going.append((score, row, ids))
            elif rank < beams:
                done.append((score / length, ids))
        done = sorted(done, key=lambda each: -each[0])[:beams]
        going = going[:beams]
        if not going or (len(done) == beams and going[0][0] / length <= done[-1][0]):
            break
        scores, rows, continuations = map(list, zip(*going))
        text.pick(torch.tensor(rows, device=logits.device))
        tokens = [ids[-1] for ids in continuations]
        logits = text.add(torch.tensor(tokens, device=logits.device))
    return [ids for _, ids in done]


def _best(steps, scores, count):
    """The likeliest (score, row, token) of steps (R, V) added to scores, in order."""
    sums = steps + torch.tensor(scores, device=steps.device)[:, None]
    values, places = sums.flatten().topk(min(count, sums.numel()))
    V = steps.shape[1]
    return [(v, p // V, p % V) for v, p in zip(values.tolist(), places.tolist())]

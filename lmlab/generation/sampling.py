"""Which token comes next: the distribution that logits give, and a draw from it.

Logits are (R, V), one row per sequence. The definitions are those of Hugging Face's
`generate`, and so is their order: repetition penalty, temperature, top-k, top-p.
"""

import torch

LIKELY = 1024  # top-p looks at this many first: sorting all of a vocabulary is slow


def penalise(logits, seen, penalty):
    """Make tokens that came before less likely (Keskar et al. 2019, CTRL).

    seen (R, V) bool; a logit above 0 is divided by the penalty, one below multiplied.
    """
    return torch.where(
        seen, torch.where(logits < 0, logits * penalty, logits / penalty), logits
    )


def filtered(logits, temperature=1.0, top_k=None, top_p=None):
    """Logits / temperature, −∞ where a token is left out.

    top_k: the k likeliest stay (and what ties with the last). top_p: the fewest stay
    whose probabilities, of what top-k left, add up to p (Holtzman et al. 2020); the
    likeliest always does.
    """
    logits = logits / temperature
    if top_k is not None and top_k < logits.shape[-1]:
        least = logits.topk(top_k).values[:, -1:]
        logits = logits.masked_fill(logits < least, -torch.inf)
    if top_p is not None and top_p < 1:
        logits = _nucleus(logits, top_p, LIKELY)
    return logits


def _nucleus(logits, p, looked_at):
    V = logits.shape[-1]
    k = min(looked_at, V)
    chances, order = logits.softmax(-1).topk(k)  # (R, k), the likeliest first
    sums = chances.cumsum(-1)
    if k < V and bool((sums[:, -1] < p).any()):
        return _nucleus(logits, p, V)
    kept = sums - chances < p  # what comes before does not reach p yet
    return torch.full_like(logits, -torch.inf).scatter(
        1, order, logits.gather(1, order).masked_fill(~kept, -torch.inf)
    )


def draw(logits, generator):
    """One token of each row (R,), with the probabilities that the logits give."""
    return torch.multinomial(logits.softmax(-1), 1, generator=generator)[:, 0]

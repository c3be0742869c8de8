"""Attention in tiles that never holds the T × S matrix of weights; see lesson 05.

The softmax of a row is built up block by block of keys (Milakov and Gimelshein 2018),
and the way back computes each tile's weights again (Dao et al. 2022, FlashAttention).
"""

import torch
from torch.autograd.function import once_differentiable

from lmlab.arguments import whole
from lmlab.layers.precision import widened, wider
from lmlab.layers.shapes import attention_batch


def tiled_attention(q, k, v, *, causal=False, block=128):
    """Scaled dot-product attention in memory linear in T and S, forward and backward.

    q (..., T, D), k (..., S, D), v (..., S, E); causal as in `attend`, aligned at the
    end. block: the side of a tile; larger is quicker and takes more memory. Arithmetic
    in float32 at least. Returns out (..., T, E) in q's dtype.
    Raises ValueError when shapes do not fit or block is not positive.
    """
    whole("block", block)
    batch = attention_batch(q, k, v)
    q, k, v = (x.expand(*batch, *x.shape[-2:]) for x in (q, k, v))
    with torch.autocast(q.device.type, enabled=False):
        return _Tiled.apply(q, k, v, causal, block)


class _Tiled(torch.autograd.Function):
    @staticmethod
    def forward(ctx, q, k, v, causal, block):
        out = q.new_empty(*q.shape[:-1], v.shape[-1])
        log_sum = q.new_empty(q.shape[:-1], dtype=wider(q.dtype))  # of each row's exp
        for rows in _blocks(q.shape[-2], block):
            scaled = widened(q[..., rows, :]) * q.shape[-1] ** -0.5
            top = scaled.new_full(scaled.shape[:-1], -torch.inf)  # largest score so far
            total = torch.zeros_like(top)  # sum of exp(score − top)
            mixed = scaled.new_zeros(*top.shape, v.shape[-1])  # the same sum, over v
            for cols in _visible(rows, q, k, causal, block):
                scores = _scores(scaled, k, rows, cols, q.shape[-2], causal)
                new = torch.maximum(top, scores.amax(-1))
                # A row that has seen no key has top −∞; 0 in its place keeps NaN away.
                safe = new.masked_fill(new == -torch.inf, 0.0)
                weights = (scores - safe[..., None]).exp_()
                shrink = (top - safe).exp_()  # what was summed, to the new top
                total = total * shrink + weights.sum(-1)
                mixed = mixed * shrink[..., None] + weights @ widened(v[..., cols, :])
                top = new
            empty = total == 0
            total = total.masked_fill(empty, 1.0)
            out[..., rows, :] = mixed / total[..., None]
            # +∞ makes the row's weights exp(−∞) = 0 on the way back.
            log_sum[..., rows] = (top + total.log()).masked_fill(empty, torch.inf)
        ctx.save_for_backward(q, k, v, out, log_sum)
        ctx.causal, ctx.block = causal, block
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx, d_out):
        q, k, v, out, log_sum = ctx.saved_tensors
        scale = q.shape[-1] ** -0.5
        dq = torch.zeros_like(q, dtype=log_sum.dtype)
        dk, dv = (torch.zeros_like(x, dtype=log_sum.dtype) for x in (k, v))
        for rows in _blocks(q.shape[-2], ctx.block):
            scaled, d = widened(q[..., rows, :]) * scale, widened(d_out[..., rows, :])
            # Row sums of weights ⊙ d_weights, without either of them.
            inner = (d * widened(out[..., rows, :])).sum(-1, keepdim=True)
            for cols in _visible(rows, q, k, ctx.causal, ctx.block):
                scores = _scores(scaled, k, rows, cols, q.shape[-2], ctx.causal)
                weights = (scores - log_sum[..., rows, None]).exp_()
                dv[..., cols, :] += weights.mT @ d
                d_scores = weights * (d @ widened(v[..., cols, :]).mT - inner)
                dq[..., rows, :] += d_scores @ widened(k[..., cols, :]) * scale
                dk[..., cols, :] += d_scores.mT @ scaled
        return dq.to(q.dtype), dk.to(k.dtype), dv.to(v.dtype), None, None


def _blocks(length, block, stop=None):
    """Slices of at most `block` that cover 0 … min(length, stop)."""
    stop = length if stop is None else max(0, min(length, stop))
    return [slice(i, min(i + block, stop)) for i in range(0, stop, block)]


def _visible(rows, q, k, causal, block):
    """The blocks of keys that some query of these rows may attend to."""
    T, S = q.shape[-2], k.shape[-2]
    return _blocks(S, block, stop=rows.stop + S - T if causal else None)


def _scores(scaled, k, rows, cols, T, causal):
    scores = scaled @ widened(k[..., cols, :]).mT  # (..., block, block)
    last = rows.start + k.shape[-2] - T  # the last key that the first row sees
    if causal and cols.stop - 1 > last:
        closed = torch.ones(scores.shape[-2:], dtype=torch.bool, device=k.device)
        scores.masked_fill_(closed.triu(last - cols.start + 1), -torch.inf)
    return scores

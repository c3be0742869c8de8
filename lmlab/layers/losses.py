"""Cross-entropy over a large vocabulary without holding all of its logits.

For N tokens and V ids the logits, their softmax and their gradient are three arrays of
(N, V): for GPT-2's V = 50,257 they outweigh the model. But the gradient of the loss
with respect to one row of logits, softmax − one-hot, needs that row alone. So the
forward pass takes some rows, makes their logits, their losses and their gradients,
folds these into those of the hidden states and of the matrix, and forgets the logits.
"""

import torch
import torch.nn.functional as F

from lmlab.arguments import one_of
from lmlab.layers.linear import linear
from lmlab.layers.precision import widened, wider

IGNORED = -100  # a target that does not count, as in torch
PIECE = 1 << 24  # logits held at a time: 64 MiB in float32
BLOCK = 1 << 19  # logits worked on at a time: 2 MiB in float32, which a cache holds
SLICE = 2048  # rows of the matrix whose gradient is widened at a time
SMALL = 1 << 22  # below this many logits, torch's own cross-entropy is as good


def token_loss(hidden, weight, targets, reduction="mean"):
    """Cross-entropy of logits = hidden @ weight.T, in nats; mean or sum.

    hidden (…, C), weight (V, C), targets (…) int64 or int32 in 0 … V − 1, or IGNORED
    for one that does not count. Equal to F.cross_entropy on all the logits, in value
    and gradients.
    Raises ValueError for another reduction, shapes that do not fit, or a target out of
    range (on the CPU), and TypeError for targets of another dtype.
    """
    targets = _checked(targets, hidden.shape[:-1], len(weight), reduction)
    hidden = hidden.reshape(-1, hidden.shape[-1])  # (N, C)
    if targets.numel() * len(weight) <= SMALL:
        return _of_logits(linear(hidden, weight), targets, reduction)
    counted = targets != IGNORED
    kept = counted.sum()
    total = _SumInPieces.apply(hidden, weight, targets)
    return total / kept if reduction == "mean" else total


def logits_loss(logits, targets, reduction="mean"):
    """The same of logits (…, V) that are there already; targets and errors as above."""
    targets = _checked(targets, logits.shape[:-1], logits.shape[-1], reduction)
    return _of_logits(logits.reshape(-1, logits.shape[-1]), targets, reduction)


def _of_logits(logits, targets, reduction):
    return F.cross_entropy(widened(logits), targets, reduction=reduction)


class _SumInPieces(torch.autograd.Function):
    """The sum of the losses; both gradients are ready when the forward pass ends."""

    @staticmethod
    def forward(ctx, hidden, weight, targets):
        device, dtype = hidden.device.type, hidden.dtype
        if torch.is_autocast_enabled(device):
            dtype = torch.get_autocast_dtype(device)
        matrix = weight.to(dtype)
        need_hidden, need_weight, _ = ctx.needs_input_grad
        d_hidden = torch.empty_like(hidden) if need_hidden else None
        d_weight = torch.empty_like(weight, dtype=wider(dtype)) if need_weight else None
        total = torch.zeros((), dtype=wider(dtype), device=hidden.device)
        rows = max(1, PIECE // len(weight))
        with torch.autocast(device, enabled=False):
            for start in range(0, len(hidden), rows):
                piece = slice(start, start + rows)
                h = hidden[piece].to(dtype)
                grad = linear(h, matrix)  # the logits (rows, V), soon their gradient
                total += _losses_in_blocks(grad, targets[piece]).sum()
                if need_hidden:
                    d_hidden[piece] = linear(grad, matrix.T)
                if need_weight:
                    _add_product(d_weight, grad, h, first=start == 0)
        ctx.ready = d_hidden, d_weight, weight.dtype
        return total

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, d_total):
        if ctx.ready is None:  # they were scaled in place: no copy of (V, C)
            raise RuntimeError("this loss can go backward once; compute it again")
        d_hidden, d_weight, of_weight = ctx.ready
        ctx.ready = None
        if d_hidden is not None:
            d_hidden = d_hidden.mul_(d_total)
        if d_weight is not None:
            d_weight = d_weight.mul_(d_total).to(of_weight)
        return d_hidden, d_weight, None


def _losses_in_blocks(logits, targets):
    """Losses (rows, 1); the logits (rows, V) are replaced by their gradient."""
    rows = max(1, BLOCK // logits.shape[1])
    if logits.device.type != "cpu":  # many small kernels would cost more than they save
        rows = len(logits)
    losses = []
    for block, some in zip(logits.split(rows), targets.split(rows)):
        loss, grad = _losses(widened(block), some)
        losses.append(loss)
        if grad is not block:  # in another precision
            block.copy_(grad)
    return torch.cat(losses)


def _losses(logits, targets):
    """Losses (rows,) and, in the memory of logits, softmax − one-hot (rows, V)."""
    counts = (targets != IGNORED)[:, None]
    safe = targets[:, None].where(counts, 0)
    chosen = logits.gather(1, safe)
    largest = logits.amax(1, keepdim=True)
    grad = logits.sub_(largest).exp_()
    total = grad.sum(1, keepdim=True)
    grad.mul_(counts / total)
    grad.scatter_add_(1, safe, -counts.to(grad))
    return ((total.log() + largest - chosen) * counts), grad


def _add_product(total, grad, h, first):
    """total (V, C) = or += gradᵀ (V, rows) @ h (rows, C), summed in float32."""
    # A product of (V, C) would go through memory before it is added; slices do not.
    for rows, part in zip(total.split(SLICE), grad.split(SLICE, dim=1)):
        product = linear(part.T, h.T)
        rows.copy_(product) if first else rows.add_(product)


def _checked(targets, shape, vocab_size, reduction):
    """The targets (N,) as int64, if they are such as `token_loss` says."""
    one_of("reduction", reduction, ("mean", "sum"))
    if targets.dtype not in (torch.int64, torch.int32):
        raise TypeError(f"targets must be int64 or int32, got {targets.dtype}")
    if targets.shape != shape:
        raise ValueError(
            f"targets must be {tuple(shape)}, one for each token, "
            f"got {tuple(targets.shape)}"
        )
    targets = targets.reshape(-1).long()  # torch's own kernels take nothing else
    if targets.device.type == "cpu":  # elsewhere it would wait for the device
        wrong = targets[
            ((targets < 0) & (targets != IGNORED)) | (targets >= vocab_size)
        ]
        if len(wrong):
            raise ValueError(
                f"targets must lie in 0 … {vocab_size - 1} or be {IGNORED}, "
                f"got {int(wrong[0])}"
            )
    return targets

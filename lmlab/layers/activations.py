"""Activations by name, and GELU in its tanh form in a fast form of our own; lesson 08.

As GPT-2 has it (Hendrycks and Gimpel 2016), gelu(x) = x/2 · (1 + tanh u) with
u = √(2/π)·(x + 0.044715 x³). As (1 + tanh u)/2 is the sigmoid s of 2u, gelu(x) = x·s
and its derivative is s + x·s·(1 − s)·2u′.

torch's own kernel is the better one on a GPU and where no gradient is needed. On a CPU
its forward and backward passes take half as long again as what is below: simple steps
over a piece that stays in the processor's cache, value and derivative in one go. It is
the derivative that is kept for the backward pass, in the place of x.
"""

import math

import torch
import torch.nn.functional as F

from lmlab.layers.precision import wider

PIECE = 1 << 16  # numbers: 256 KiB of float32, a few of which fit in a core's cache
LINEAR = 2 * math.sqrt(2 / math.pi)  # 2u = x·(LINEAR + CUBIC·x²)
CUBIC = 0.044715 * LINEAR


def gelu(x):
    """GELU in its tanh form; x of any shape. Returns the same shape and dtype."""
    if x.device.type == "cpu" and x.requires_grad and torch.is_grad_enabled():
        return _Gelu.apply(x)
    return F.gelu(x, approximate="tanh")


# What a feed-forward takes by name.
ACTIVATIONS = {"relu": F.relu, "gelu": F.gelu, "gelu_tanh": gelu, "silu": F.silu}


class _Gelu(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        x = x.contiguous()
        y, slope = torch.empty_like(x), torch.empty_like(x)
        scratch = x.new_empty(4, min(PIECE, x.numel()), dtype=wider(x.dtype))
        for x_, y_, slope_ in zip(*(z.view(-1).split(PIECE) for z in (x, y, slope))):
            s, bend, *made = scratch[:, : len(x_)]
            if scratch.dtype == x.dtype:
                _value_and_slope(x_, y_, slope_, s, bend)
            else:  # by way of float32
                _value_and_slope(x_.to(s), *made, s, bend)
                y_.copy_(made[0])
                slope_.copy_(made[1])
        ctx.save_for_backward(slope)
        return y

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, d_y):
        (slope,) = ctx.saved_tensors
        return d_y * slope


def _value_and_slope(x, y, slope, s, bend):
    """Fill y and slope; s and bend are scratch."""
    linear = x.new_tensor(LINEAR)
    torch.addcmul(linear, x, x, value=CUBIC, out=s).mul_(x).sigmoid_()
    torch.mul(x, s, out=y)
    torch.addcmul(linear, x, x, value=3 * CUBIC, out=slope).mul_(x)  # x·2u′
    torch.addcmul(s, s, s, value=-1, out=bend)  # s·(1 − s)
    torch.addcmul(s, slope, bend, out=slope)

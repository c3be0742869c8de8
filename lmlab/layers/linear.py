"""x @ weight.T + bias, in float32 by the faster of torch's two libraries on a CPU.

torch multiplies float32 by Intel's MKL, which leaves AVX-512 unused on AMD's
processors; oneDNN, which comes with torch as well, takes half the time there.
"""

import functools
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

FEW = 16  # rows: below, reading the weights is what takes time


class Linear(nn.Linear):
    """torch's layer with the product below."""

    def forward(self, x):
        """x (..., in) → (..., out)."""
        return linear(x, self.weight, self.bias)


def linear(x, weight, bias=None):
    """x (..., in), weight (out, in), bias (out,) → (..., out); as F.linear."""
    if (
        torch.compiler.is_compiling()  # first: it cannot trace what looks at the CPU
        or x.numel() < FEW * x.shape[-1]
        or not _mkl_is_slow()
        or x.device.type != "cpu"
        or {x.dtype, weight.dtype} != {torch.float32}
        or torch.is_autocast_enabled("cpu")
        or torch._C._are_functorch_transforms_active()  # they know F.linear better
    ):
        return F.linear(x, weight, bias)
    if torch.is_grad_enabled():
        return _Linear.apply(x, weight, bias)
    return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")


@functools.cache
def _mkl_is_slow():
    if torch.backends.cpu.get_cpu_capability() != "AVX512":
        return False
    about = Path("/proc/cpuinfo")
    amd = about.exists() and "AuthenticAMD" in about.read_text(encoding="utf-8")
    return amd and torch.backends.mkldnn.is_available()


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight, bias):
        need_x, need_weight, _ = ctx.needs_input_grad  # what is frozen keeps nothing
        ctx.save_for_backward(x if need_weight else None, weight if need_x else None)
        return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")

    @staticmethod
    def backward(ctx, d):
        x, weight = ctx.saved_tensors
        need_x, need_weight, need_bias = ctx.needs_input_grad
        rows = d.flatten(0, -2)  # (N, out)
        d_x = linear(d, weight.T) if need_x else None
        d_weight = linear(rows.T, x.flatten(0, -2).T) if need_weight else None
        return d_x, d_weight, rows.sum(0) if need_bias else None

"""Where a token stands: sinusoidal, learned and rotary positions; see lesson 05.

Attention treats its keys as a set: it needs to be told their order.
"""

import torch
from torch import nn

from lmlab.shapes import broadcasts


def sinusoidal_positions(T, D, *, base=10000.0):
    """The position table (T, D) of Vaswani et al. 2017, section 3.5, in float32.

    Columns 2i and 2i + 1 hold sin(t·ω_i) and cos(t·ω_i), with ω_i = base^(−2i/D).
    Raises ValueError when D is odd: each frequency needs a sine and a cosine.
    """
    angles = _angles(torch.arange(T, dtype=torch.float64), _even("D", D), base)
    return torch.stack([angles.sin(), angles.cos()], -1).flatten(-2).float()  # (T, D)


class LearnedPositions(nn.Module):
    """One learned vector for each position up to max_length, added to the input."""

    def __init__(self, max_length, D):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(max_length, D))
        nn.init.normal_(self.weight, std=0.02)  # as in GPT-2

    def forward(self, x, start=0):
        """X (..., T, D) plus the vectors of positions start … start + T − 1.

        Raises ValueError when x has another D, or reaches beyond max_length.
        """
        max_length, D = self.weight.shape
        T = x.shape[-2]
        if x.shape[-1] != D:
            raise ValueError(f"x must be (..., T, {D}), got {tuple(x.shape)}")
        if start < 0 or start + T > max_length:
            raise ValueError(
                f"x holds positions {start} to {start + T - 1}, but there are only "
                f"{max_length}: make max_length larger, or x shorter"
            )
        return x + self.weight[start : start + T]


def rotary(x, positions=None, base=10000.0):
    """Rotate each pair of columns of x by its position (Su et al. 2021, eq. 34).

    x (..., T, D): columns 2i and 2i + 1 are a point in the plane, turned by the angle
    position·ω_i with ω_i = base^(−2i/D). positions (T,) or any shape that broadcasts
    to x's (..., T); None for 0 … T − 1. Returns x's shape and dtype.
    The product of a rotated query and a rotated key depends on their positions only
    through the difference. (Some models, LLaMA among them, pair column i with
    i + D/2 instead: the same up to the order of the columns.)
    Raises ValueError when D is odd or positions do not fit.
    """
    D = _even("the last dimension of x", x.shape[-1])
    # Angles need float32 at least: in bfloat16, position 257 would be 256.
    exact = torch.promote_types(x.dtype, torch.float32)
    if positions is None:
        positions = torch.arange(x.shape[-2], device=x.device)
    positions = torch.as_tensor(positions, device=x.device)
    if not broadcasts(positions.shape, x.shape[:-1]):
        raise ValueError(
            f"positions must broadcast to {tuple(x.shape[:-1])}, x's shape without its "
            f"last dimension, got {tuple(positions.shape)}"
        )
    angles = _angles(positions.to(exact), D, base)  # (..., T, D/2)
    sin, cos = angles.sin(), angles.cos()
    a, b = x[..., 0::2].to(exact), x[..., 1::2].to(exact)
    turned = torch.stack([a * cos - b * sin, a * sin + b * cos], -1)  # (..., D/2, 2)
    return turned.flatten(-2).to(x.dtype)


def _angles(positions, D, base):
    exponents = torch.arange(0, D, 2, dtype=positions.dtype, device=positions.device)
    return positions[..., None] * base ** (-exponents / D)


def _even(name, D):
    if D < 2 or D % 2:
        raise ValueError(f"{name} must be even, got {D}")
    return D

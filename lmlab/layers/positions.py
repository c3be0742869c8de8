"""Where a token stands: sinusoidal, learned and rotary positions; see lesson 05.

Attention treats its keys as a set: it needs to be told their order.
"""

import functools

import torch
from torch import nn

from lmlab.layers.precision import wider
from lmlab.layers.shapes import broadcasts

KEPT_ROWS = 2**16  # `rotary` keeps no sines and cosines beyond this position


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
        """Add the vectors of positions start … start + T − 1 to x (..., T, D).

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
    position·ω_i with ω_i = base^(−2i/D). positions: None for 0 … T − 1, a range, or a
    tensor: (T,) for all alike; (B, T) for heads (B, H, T, D), each sequence its own,
    its heads alike; or with all dimensions of x but the last. Those before T may be 1.
    Sines and cosines of None and of ranges are kept for the next call. Returns x's
    shape and dtype.
    The product of a rotated query and a rotated key depends on their positions only
    through the difference. (Some models, LLaMA among them, pair column i with
    i + D/2 instead: the same up to the order of the columns.)
    Raises ValueError when D is odd or positions do not fit.
    """
    D = _even("the last dimension of x", x.shape[-1])
    # Angles need float32 at least: in bfloat16, position 257 would be 256.
    exact = wider(x.dtype)
    if positions is None:
        positions = range(x.shape[-2])
    if not isinstance(positions, range):
        positions = torch.as_tensor(positions, device=x.device)
    positions = _of_each_row(positions, x.shape)
    if _may_keep(positions):
        first, end = positions.start, positions.stop
        rows = max(64, 1 << (end - 1).bit_length())  # powers of two: few tables
        turns = _table(rows, D, base, exact, x.device)[first:end]
    else:
        positions = torch.as_tensor(positions, device=x.device)
        turns = _turns(positions.to(exact), D, base)
    return _turned(x.to(exact), turns).to(x.dtype)


def _of_each_row(positions, shape):
    """The positions, so that they broadcast to x's shape without D, or a ValueError.

    By the number of their dimensions alone: broadcasting would take (B, T) for (H, T)
    wherever B happens to equal H.
    """
    given = (len(positions),) if isinstance(positions, range) else positions.shape
    wanted = tuple(shape[:-1])
    if len(given) == len(shape) - 2 > 1:  # (B, T) → (B, 1, T)
        positions = positions.unsqueeze(-2)
    spread = given if isinstance(positions, range) else positions.shape
    if len(spread) not in (0, 1, len(wanted)) or not broadcasts(spread, wanted):
        heads = f", or {(*wanted[:-2], wanted[-1])} for all heads" * (len(wanted) > 2)
        raise ValueError(
            f"positions must broadcast to {wanted}, x's shape without its last "
            f"dimension{heads}, got {tuple(given)}"
        )
    return positions


def _may_keep(positions):
    if not isinstance(positions, range) or positions.step != 1:
        return False
    inside = positions.start >= 0 and positions.stop <= KEPT_ROWS
    return inside and not torch.compiler.is_compiling()


@functools.lru_cache(maxsize=8)
def _table(rows, D, base, dtype, device):
    # Made in inference mode, it could not take part in training afterwards.
    with torch.inference_mode(False), torch.no_grad():
        return _turns(torch.arange(rows, dtype=dtype, device=device), D, base)


def _turns(positions, D, base):
    """Cosine and sine of each position's angles: (..., T, D/2, 2)."""
    angles = _angles(positions, D, base)
    return torch.stack([angles.cos(), angles.sin()], -1)


def _turned(x, turns):
    if x.device.type not in ("cpu", "cuda") or torch.compiler.is_compiling():
        # Complex numbers, several times as fast, may be missing here.
        (a, b), (cos, sin) = x.unflatten(-1, (-1, 2)).unbind(-1), turns.unbind(-1)
        return torch.stack([a * cos - b * sin, a * sin + b * cos], -1).flatten(-2)
    x = x.contiguous()
    x = x.clone() if x.storage_offset() % 2 else x  # a view begins at a whole pair
    points = torch.view_as_complex(x.unflatten(-1, (-1, 2)))  # (..., T, D/2)
    return torch.view_as_real(points * torch.view_as_complex(turns)).flatten(-2)


def _angles(positions, D, base):
    exponents = torch.arange(0, D, 2, dtype=positions.dtype, device=positions.device)
    return positions[..., None] * base ** (-exponents / D)


def _even(name, D):
    if D < 2 or D % 2:
        raise ValueError(f"{name} must be even, got {D}")
    return D

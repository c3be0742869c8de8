"""Do the shapes fit? Errors that name the argument, what came and what was needed."""

import torch


def attention_batch(q, k, v):
    """The batch dimensions of q (..., T, D), k (..., S, D) and v (..., S, E) together.

    Raises ValueError when D differs between q and k, S between k and v, or when the
    batch dimensions do not broadcast.
    """
    for name, x in (("q", q), ("k", k), ("v", v)):
        if x.ndim < 2:
            raise ValueError(
                f"{name} needs at least two dimensions, (..., positions, width), "
                f"got shape {tuple(x.shape)}"
            )
    if k.shape[-1] != q.shape[-1]:
        raise ValueError(
            f"k must be (..., S, {q.shape[-1]}), as wide as q {tuple(q.shape)}, "
            f"got {tuple(k.shape)}"
        )
    if v.shape[-2] != k.shape[-2]:
        raise ValueError(
            f"v must be (..., {k.shape[-2]}, E), as long as k {tuple(k.shape)}, "
            f"got {tuple(v.shape)}"
        )
    if q.shape[:-2] == k.shape[:-2] == v.shape[:-2]:
        return q.shape[:-2]
    try:
        return torch.broadcast_shapes(q.shape[:-2], k.shape[:-2], v.shape[:-2])
    except RuntimeError:
        shapes = ", ".join(str(tuple(x.shape[:-2])) for x in (q, k, v))
        raise ValueError(
            f"the batch dimensions of q, k and v must broadcast, got {shapes}"
        ) from None


def check_ids(name, ids, vocab_size, length="T"):
    """Raise TypeError or ValueError unless ids are whole numbers (B, T) below a size.

    Their range is looked at on the CPU alone: a GPU would make every step wait.
    """
    if getattr(ids, "dtype", None) not in (torch.int64, torch.int32):
        got = getattr(ids, "dtype", type(ids).__name__)
        raise TypeError(f"{name} must be int64 or int32, got {got}")
    if ids.ndim != 2 or 0 in ids.shape:
        raise ValueError(f"{name} must be (B, {length}), got {tuple(ids.shape)}")
    if ids.device.type == "cpu":
        low, high = (int(x) for x in ids.aminmax())
        if low < 0 or high >= vocab_size:
            raise ValueError(
                f"{name} must lie in 0 … {vocab_size - 1}, the model's vocabulary; "
                f"got {low if low < 0 else high}"
            )


def broadcasts(shape, wanted):
    """Whether a tensor of this shape can be spread to the wanted one, not beyond."""
    try:
        return torch.broadcast_shapes(shape, wanted) == torch.Size(wanted)
    except RuntimeError:
        return False


def four_dimensional(x, batch):
    """Spread x (..., m, n) over the batch dimensions, as (B, H, m, n).

    Missing dimensions become 1, several leading ones are joined; the fused kernels
    take nothing else.
    """
    if x.ndim == 4 and x.shape[:-2] == batch:
        return x
    x = x.expand(*batch, *x.shape[-2:])
    while x.ndim < 4:
        x = x.unsqueeze(-3)  # (n, m) → (1, 1, n, m); (B, n, m) → (B, 1, n, m)
    return x.flatten(0, -4) if x.ndim > 4 else x

"""The precision to compute in, when numbers are kept in a smaller one."""

import torch


def wider(dtype):
    """The dtype to sum in: float32, or float64 where that came."""
    return torch.promote_types(dtype, torch.float32)


def widened(x):
    """The same numbers in the dtype to sum in; x itself where that is its own."""
    return x.to(wider(x.dtype))

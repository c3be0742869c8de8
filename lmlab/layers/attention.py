"""Attention: the explicit form, the fast form, and many heads; see lesson 05.

Shapes: q (..., T, D), k (..., S, D), v (..., S, E); a mask is bool and True where a
query may attend to a key. A query that may attend to nothing gets zeros, and no NaN.
"""

import re

import torch
import torch.nn.functional as F
from torch import nn

from lmlab.arguments import whole
from lmlab.layers.caches import KeysValues
from lmlab.layers.linear import Linear, linear
from lmlab.layers.positions import LearnedPositions, rotary, sinusoidal_positions
from lmlab.layers.precision import wider
from lmlab.layers.shapes import attention_batch, broadcasts, four_dimensional
from lmlab.layers.tiled import tiled_attention

__all__ = [
    "KeysValues",
    "LearnedPositions",
    "MultiHeadAttention",
    "attend",
    "causal_mask",
    "padding_mask",
    "rotary",
    "scaled_dot_product_attention",
    "sinusoidal_positions",
    "tiled_attention",
]

# Queries, on a CPU. For so few the kernels of half precision are several times as slow
# as those of float32: the backward pass of short texts, and a token behind a long one.
FEW = 256


def scaled_dot_product_attention(q, k, v, mask=None, *, causal=False):
    """Scaled dot-product attention (Vaswani et al. 2017, eq. 1); derived in lesson 05.

    q (..., T, D), k (..., S, D), v (..., S, E), any batch dimensions that broadcast;
    mask bool, broadcastable to (..., T, S), True = may attend. causal: query i sees
    the keys up to i + S − T, so that the last query sees the last key (a cache of
    earlier keys may be longer than the queries).
    Returns out (..., T, E) and weights (..., T, S), whose rows sum to 1; a row with no
    key to attend to is zero, and so are its gradients.
    Raises ValueError when shapes do not fit, TypeError when a dtype does not.
    """
    batch = attention_batch(q, k, v)
    allowed = _allowed(mask, (*batch, q.shape[-2], k.shape[-2]), causal, q.device)
    scores = (q * q.shape[-1] ** -0.5) @ k.mT  # (..., T, S)
    if allowed is None:
        weights = torch.softmax(scores, -1, dtype=wider(scores.dtype))
    else:
        # An empty row is left as it is, for a softmax without NaN, and zeroed after.
        empty = ~allowed.any(-1, keepdim=True)
        scores = scores.masked_fill(~(allowed | empty), -torch.inf)
        weights = torch.softmax(scores, -1, dtype=wider(scores.dtype)).masked_fill(
            empty, 0.0
        )
    weights = weights.expand(*batch, *weights.shape[-2:])
    return weights.to(v.dtype) @ v, weights


def attend(q, k, v, mask=None, *, causal=False, dropout=0.0):
    """The same attention on torch's fused kernels, which may never hold the weights.

    Arguments, errors and empty rows as in `scaled_dot_product_attention`. k and v may
    be kept in a smaller dtype than q's, in which the result is. dropout: the share of
    weights set to zero; pass 0.0 in evaluation. Returns out (..., T, E).
    """
    batch = attention_batch(q, k, v)
    T, S = q.shape[-2], k.shape[-2]
    allowed = empty = None
    if mask is not None or (causal and T not in (1, S)):  # not the kernels' own ways
        allowed = _allowed(mask, (*batch, T, S), causal, q.device)
        empty = ~allowed.any(-1, keepdim=True)  # not every kernel knows what to do
        allowed, causal = four_dimensional(allowed | empty, batch), False
    q, k, v = (four_dimensional(x, batch) for x in (q, k, v))
    out = _fused(q, k, v, allowed, dropout, causal and T > 1)
    out = out.reshape(*batch, T, v.shape[-1])
    return out if empty is None else out.masked_fill(empty, 0.0)


def _fused(q, k, v, allowed, dropout, causal):
    if q.device.type == "cpu" and q.shape[-2] <= FEW and wider(q.dtype) != q.dtype:
        with torch.autocast("cpu", enabled=False):
            wide = wider(q.dtype)
            return _fused(q.to(wide), k, v, allowed, dropout, causal).to(q.dtype)
    k, v = k.to(q.dtype), v.to(q.dtype)
    return F.scaled_dot_product_attention(q, k, v, allowed, dropout, causal)


def causal_mask(T, S=None, device=None):
    """Bool (T, S): True where key j ≤ i + S − T, that is, not in query i's future."""
    S = T if S is None else S
    return torch.ones(T, S, dtype=torch.bool, device=device).tril(S - T)


def padding_mask(lengths, S=None):
    """Bool (B, 1, S): True where a key lies within its sequence's length.

    lengths (B,): whole numbers in 0 … S; S: the padded length, None for the longest.
    Raises ValueError for a length outside 0 … S.
    """
    lengths = torch.as_tensor(lengths)
    longest = int(lengths.max())
    S = longest if S is None else S
    if longest > S or int(lengths.min()) < 0:
        raise ValueError(f"lengths must lie in 0 … S = {S}, got {lengths.tolist()}")
    return (torch.arange(S, device=lengths.device) < lengths[:, None])[:, None]


class MultiHeadAttention(nn.Module):
    """Several attentions side by side (Vaswani et al. 2017, section 3.2.2).

    width: of x and of the output. num_heads: of the queries; num_kv_heads: of keys and
    values, each shared by num_heads / num_kv_heads neighbouring queries (Ainslie et al.
    2023), num_heads unless given. key_width: the width D of one head's queries and
    keys, width / num_heads unless given; value_width: the width E of one head's values,
    key_width unless given. rotary: turn queries and keys by their positions, with
    rotary_base as `rotary`'s base.
    Two linear layers hold the weights, head after head: qkv (width → queries, keys and
    values, one after another, in one product) and output (num_heads·E → width).
    Raises ValueError when num_heads does not divide width and no key_width is given,
    num_kv_heads does not divide num_heads, or rotary meets an odd key_width.
    """

    def __init__(
        self,
        width,
        num_heads,
        num_kv_heads=None,
        *,
        key_width=None,
        value_width=None,
        bias=True,
        dropout=0.0,
        rotary=False,
        rotary_base=10000.0,
    ):
        super().__init__()
        whole("num_heads", num_heads)
        if key_width is None and width % num_heads:
            raise ValueError(
                "num_heads must divide width, or key_width be given: "
                f"got width={width}, num_heads={num_heads}"
            )
        shared = num_heads if num_kv_heads is None else num_kv_heads
        if num_heads % whole("num_kv_heads", shared):
            raise ValueError(
                f"num_kv_heads must divide num_heads: got num_heads={num_heads}, "
                f"num_kv_heads={shared}"
            )
        D = key_width or width // num_heads
        E = value_width or D
        if rotary and D % 2:
            raise ValueError(f"rotary needs an even key_width, got {D}")
        self.width, self.dropout = width, dropout
        self.num_heads, self.num_kv_heads = num_heads, shared
        self.rotary, self.rotary_base = rotary, rotary_base
        self.sizes = num_heads * D, shared * D, shared * E  # of queries, keys, values
        self.qkv = Linear(width, sum(self.sizes), bias)
        self.output = Linear(num_heads * E, width, bias)
        for weight in (*self.qkv.weight.detach().split(self.sizes), self.output.weight):
            nn.init.xavier_uniform_(weight)
        if bias:
            nn.init.zeros_(self.qkv.bias)
            nn.init.zeros_(self.output.bias)

    def forward(
        self, x, memory=None, mask=None, causal=False, need_weights=False, *,
        positions=None, memory_positions=None, cache=None,
    ):  # fmt: skip
        """x (..., T, width) attends to memory (..., S, width), None for x itself.

        mask bool, True = may attend: (T, S), or with batch dimensions, broadcastable to
        (..., T, S) and shared by the heads; with one dimension more than x has,
        (..., num_heads, T, S). causal: aligned at the end, as in `attend`; rotary
        positions are aligned likewise (query i stands at S − T + i) unless given:
        positions of x, (T,) or (..., T), which are also those of its own keys;
        memory_positions of memory, (S,) or (..., S).
        cache: a KeysValues. Without memory, x continues what it holds, is added to it,
        and S counts both; with memory, which is read in the first call alone, the keys
        and values made then serve again; as x may be a piece of the target, its place
        is not taken for the end then: give rotary positions, and a mask for causal.
        Returns out (..., T, width); with need_weights also weights
        (..., num_heads, T, S). Raises ValueError for shapes that do not fit, and for
        positions, or causal, where they mean nothing; TypeError for a mask of numbers.
        """
        own = memory is None
        self._check(x, memory, positions, memory_positions)
        if cache is not None and not own:
            # Where a piece of x stands is not known; causal and rotary would guess.
            if causal:
                raise ValueError(
                    "causal, with memory and a cache: x may be a piece, and not its "
                    "end, where that of memory is taken to be; pass rows of a mask"
                )
            if self.rotary and positions is None:
                raise ValueError(
                    "positions: where x stands, with memory and a cache, is not known; "
                    "pass (T,)"
                )
        T, used = x.shape[-2], 0 if cache is None else cache.used
        S = used + T if own else memory.shape[-2]
        q, k, v = self.project(x, memory, read=own or not used)
        if self.rotary:
            here = range(S - T, S) if positions is None else positions
            q = rotary(q, here, self.rotary_base)
            if k is not None:
                there = here if own else memory_positions
                k = rotary(k, there, self.rotary_base)
        if k is None:
            k, v = cache.both()
        elif cache is not None:
            k, v = cache.extend(k, v)
        if self.num_kv_heads != self.num_heads:
            times = self.num_heads // self.num_kv_heads
            k, v = (z.repeat_interleave(times, -3) for z in (k, v))
        if isinstance(mask, torch.Tensor) and 2 < mask.ndim <= x.ndim:
            mask = mask.unsqueeze(-3)  # (..., 1, T, S): the same for every head
        dropout = self.dropout if self.training else 0.0
        if not need_weights:
            return self.join(attend(q, k, v, mask, causal=causal, dropout=dropout))
        out, weights = scaled_dot_product_attention(q, k, v, mask, causal=causal)
        if dropout:
            out = F.dropout(weights, dropout).to(v.dtype) @ v
        return self.join(out), weights

    def project(self, x, memory=None, *, read=True):
        """Queries (..., H, T, D) of x, keys and values (..., num_kv_heads, S, D or E).

        The latter of memory, None for x itself; None, None unless read.
        """
        if memory is None:
            parts = self.qkv(x).split(self.sizes, -1)
        else:
            weight, bias, N = self.qkv.weight, self.qkv.bias, self.sizes[0]
            first, rest = (None, None) if bias is None else (bias[:N], bias[N:])
            parts = [linear(x, weight[:N], first)]
            if read:
                kv = linear(memory, weight[N:], rest)
                parts += kv.split(self.sizes[1:], -1)
        heads = self.num_heads, self.num_kv_heads, self.num_kv_heads
        found = [
            part.view(*part.shape[:-1], n, -1).transpose(-3, -2)  # (..., H, T, D)
            for part, n in zip(parts, heads)
        ]
        return found if read else (found[0], None, None)

    def join(self, x):
        """The heads' outputs (..., H, T, E) → (..., T, width)."""
        return self.output(x.transpose(-3, -2).flatten(-2))

    def _check(self, x, memory, positions, memory_positions):
        for name, length, value in (("x", "T", x), ("memory", "S", memory)):
            if value is not None and (value.ndim < 2 or value.shape[-1] != self.width):
                raise ValueError(
                    f"{name} must be (..., {length}, {self.width}), "
                    f"got {tuple(value.shape)}"
                )
        if not self.rotary and (positions is not None or memory_positions is not None):
            raise ValueError(
                "positions are for rotary=True, and this attention has not"
            )
        if memory is None and memory_positions is not None:
            raise ValueError(
                "memory_positions: there is no memory, x attends to itself"
            )

    @classmethod
    def from_torch(cls, theirs):
        """The same attention as an nn.MultiheadAttention: a copy of its weights.

        Raises ValueError for what this class does not have: kdim or vdim other than
        the width, add_bias_kv, add_zero_attn. (Here the batch always comes first.)
        """
        if theirs.in_proj_weight is None or theirs.bias_k is not None:
            raise ValueError("kdim, vdim and add_bias_kv are not supported")
        if theirs.add_zero_attn:
            raise ValueError("add_zero_attn is not supported")
        bias = theirs.in_proj_bias is not None
        ours = cls(
            theirs.embed_dim, theirs.num_heads, bias=bias, dropout=theirs.dropout
        ).to(theirs.in_proj_weight)  # device and dtype
        ours.load_state_dict(renamed(theirs.state_dict(), FROM_TORCH))
        return ours.train(theirs.training)


FROM_TORCH = {"in_proj_": "qkv.", "out_proj": "output"}  # names of weights


def renamed(state, names):
    """A state_dict in which each pattern of names, {theirs: ours}, is replaced."""
    for its, ours in names.items():
        state = {re.sub(its, ours, name): tensor for name, tensor in state.items()}
    return state


def _allowed(mask, shape, causal, device):
    """Mask and causality as one bool tensor, broadcastable to shape; None for all."""
    if mask is not None:
        if not isinstance(mask, torch.Tensor) or mask.dtype != torch.bool:
            got = getattr(mask, "dtype", type(mask).__name__)
            raise TypeError(f"mask must be bool, True = may attend; got {got}")
        if not broadcasts(mask.shape, shape):
            raise ValueError(
                f"mask must broadcast to {tuple(shape)} (..., T, S), "
                f"got {tuple(mask.shape)}"
            )
        mask = torch.atleast_2d(mask)
    if not causal:
        return mask
    future_closed = causal_mask(*shape[-2:], device=device)
    return future_closed if mask is None else mask & future_closed

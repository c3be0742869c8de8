"""Attention: the explicit form, the fast form, and many heads; see lesson 05.

Shapes: q (..., T, D), k (..., S, D), v (..., S, E); a mask is bool and True where a
query may attend to a key. A query that may attend to nothing gets zeros, and no NaN.
"""

import torch
import torch.nn.functional as F
from torch import nn

from lmlab.layers.positions import LearnedPositions, rotary, sinusoidal_positions
from lmlab.layers.shapes import attention_batch, broadcasts, four_dimensional
from lmlab.layers.tiled import tiled_attention, wider

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

    Arguments, errors and empty rows as in `scaled_dot_product_attention`. dropout: the
    share of weights set to zero; pass 0.0 in evaluation. Returns out (..., T, E).
    """
    batch = attention_batch(q, k, v)
    T, S = q.shape[-2], k.shape[-2]
    if causal and mask is None and T in (1, S):  # what the kernels can do unaided
        q, k, v = (four_dimensional(x, batch) for x in (q, k, v))
        out = F.scaled_dot_product_attention(
            q, k, v, dropout_p=dropout, is_causal=T == S
        )
        return out.reshape(*batch, T, v.shape[-1])
    allowed = _allowed(mask, (*batch, T, S), causal, q.device)
    q, k, v = (four_dimensional(x, batch) for x in (q, k, v))
    empty = None
    if allowed is not None:
        empty = ~allowed.any(-1, keepdim=True)  # not every kernel knows what to do
        allowed = four_dimensional(allowed | empty, batch)
    out = F.scaled_dot_product_attention(q, k, v, allowed, dropout)
    out = out.reshape(*batch, T, v.shape[-1])
    return out if empty is None else out.masked_fill(empty, 0.0)


def causal_mask(T, S=None, device=None):
    """Bool (T, S): True where key j ≤ i + S − T, that is, not in query i's future."""
    S = T if S is None else S
    return torch.ones(T, S, dtype=torch.bool, device=device).tril(S - T)


def padding_mask(lengths, S=None):
    """Bool (B, 1, S): True where a key lies within its sequence's length.

    lengths (B,): whole numbers in 0 … S; S: the padded length, None for the longest.
    """
    lengths = torch.as_tensor(lengths)
    longest = int(lengths.max())
    S = longest if S is None else S
    if longest > S or int(lengths.min()) < 0:
        raise ValueError(f"lengths must lie in 0 … S = {S}, got {lengths.tolist()}")
    return (torch.arange(S, device=lengths.device) < lengths[:, None])[:, None]


class MultiHeadAttention(nn.Module):
    """Several attentions side by side (Vaswani et al. 2017, section 3.2.2).

    width: of x and of the output. heads: how many. key_width: the width D of one
    head's queries and keys, width // heads unless given; value_width: the width E of
    one head's values, key_width unless given. rotary: turn queries and keys by their
    positions, with rotary_base as `rotary`'s base. Four linear layers hold the weights,
    head after head: query, key (width → heads·D), value (width → heads·E), output
    (heads·E → width).
    Raises ValueError when heads does not divide width and no key_width is given.
    """

    def __init__(
        self,
        width,
        heads,
        *,
        key_width=None,
        value_width=None,
        bias=True,
        dropout=0.0,
        rotary=False,
        rotary_base=10000.0,
    ):
        super().__init__()
        if heads < 1 or (key_width is None and width % heads):
            raise ValueError(
                f"heads must divide width, or key_width be given: "
                f"got width={width}, heads={heads}"
            )
        D = key_width or width // heads
        E = value_width or D
        if rotary and D % 2:
            raise ValueError(f"rotary needs an even key_width, got {D}")
        self.width, self.heads, self.dropout = width, heads, dropout
        self.rotary, self.rotary_base = rotary, rotary_base
        self.query = nn.Linear(width, heads * D, bias)
        self.key = nn.Linear(width, heads * D, bias)
        self.value = nn.Linear(width, heads * E, bias)
        self.output = nn.Linear(heads * E, width, bias)
        for layer in (self.query, self.key, self.value, self.output):
            nn.init.xavier_uniform_(layer.weight)
            if bias:
                nn.init.zeros_(layer.bias)

    def forward(
        self, x, memory=None, mask=None, causal=False, need_weights=False, *,
        positions=None, memory_positions=None, cache=None,
    ):  # fmt: skip
        """x (..., T, width) attends to memory (..., S, width), None for x itself.

        mask bool, True = may attend: (T, S), or with batch dimensions, broadcastable to
        (..., T, S) and shared by the heads; with one dimension more than x has,
        (..., heads, T, S). causal: aligned at the end, as in `attend`; rotary positions
        are aligned likewise (query i stands at S − T + i) unless given: positions of x,
        (T,) or (..., T), which are also those of its own keys; memory_positions of
        memory, (S,) or (..., S).
        cache: a KeysValues. Without memory, x continues what it holds, is added to it,
        and S counts both; with memory, which is read in the first call alone, the keys
        and values made then serve again; as x may be a piece of the target, its place
        is not taken for the end then: give rotary positions, and a mask for causal.
        Returns out (..., T, width); with need_weights also weights (..., heads, T, S).
        """
        own = memory is None
        memory = x if own else memory
        self._check(x, memory, positions, memory_positions, own)
        if cache is not None and not own:
            self._check_piece(positions, causal)
        T, used = x.shape[-2], 0 if cache is None else cache.used
        S = used + T if own else memory.shape[-2]
        q = self._split(self.query(x))  # (..., H, T, D)
        if self.rotary:
            here = range(S - T, S) if positions is None else positions
            q = rotary(q, here, self.rotary_base)
            there = here if own else memory_positions
        if own or not used:
            k = self._split(self.key(memory))  # (..., H, S, D), or T with a cache
            v = self._split(self.value(memory))  # (..., H, S, E)
            if self.rotary:
                k = rotary(k, there, self.rotary_base)
            if cache is not None:
                k, v = cache.extend(k, v)
        else:
            k, v = cache.keys, cache.values
        if isinstance(mask, torch.Tensor) and 2 < mask.ndim <= x.ndim:
            mask = mask.unsqueeze(-3)  # (..., 1, T, S): the same for every head
        dropout = self.dropout if self.training else 0.0
        if not need_weights:
            return self._join(attend(q, k, v, mask, causal=causal, dropout=dropout))
        out, weights = scaled_dot_product_attention(q, k, v, mask, causal=causal)
        if dropout:
            out = F.dropout(weights, dropout).to(v.dtype) @ v
        return self._join(out), weights

    def _split(self, x):
        return x.unflatten(-1, (self.heads, -1)).transpose(-3, -2)  # (..., H, T, D)

    def _join(self, x):
        return self.output(x.transpose(-3, -2).flatten(-2))  # (..., T, H·E) → width

    def _check(self, x, memory, positions, memory_positions, own):
        for name, value in (("x", x), ("memory", memory)):
            if value.ndim < 2 or value.shape[-1] != self.width:
                raise ValueError(
                    f"{name} must be (..., {'T' if name == 'x' else 'S'}, "
                    f"{self.width}), got {tuple(value.shape)}"
                )
        if not self.rotary and (positions is not None or memory_positions is not None):
            raise ValueError(
                "positions are for rotary=True, and this attention has not"
            )
        if own and memory_positions is not None:
            raise ValueError(
                "memory_positions: there is no memory, x attends to itself"
            )

    def _check_piece(self, positions, causal):
        if causal:
            raise ValueError(
                "causal: a piece of x, with memory and a cache, may not be its end, "
                "with which the end of memory is aligned; pass these rows of a mask"
            )
        if self.rotary and positions is None:
            raise ValueError(
                "positions: where a piece of x stands, with memory and a cache, is not "
                "known; pass the positions (T,)"
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
        layers = (ours.query, ours.key, ours.value)
        with torch.no_grad():
            for layer, weight in zip(layers, theirs.in_proj_weight.chunk(3)):
                layer.weight.copy_(weight)
            ours.output.weight.copy_(theirs.out_proj.weight)
            if bias:
                for layer, b in zip(layers, theirs.in_proj_bias.chunk(3)):
                    layer.bias.copy_(b)
                ours.output.bias.copy_(theirs.out_proj.bias)
        return ours.train(theirs.training)


class KeysValues:
    """Keys (..., H, S, D) and values (..., H, S, E) of what one attention has read."""

    def __init__(self):
        self.keys = self.values = None

    @property
    def used(self):
        """How many positions S it holds."""
        return 0 if self.keys is None else self.keys.shape[-2]

    def extend(self, keys, values):
        """Add those of more positions; returns all keys and all values."""
        if self.keys is not None:
            keys = torch.cat([self.keys, keys], -2)
            values = torch.cat([self.values, values], -2)
        self.keys, self.values = keys, values
        return keys, values

    def pick(self, rows):
        """Keep these rows of the first dimension, in this order (LongTensor)."""
        if self.keys is not None:
            self.keys, self.values = self.keys[rows], self.values[rows]


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

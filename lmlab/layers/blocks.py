"""The block that every Transformer here is a stack of; see lessons 06 and 08."""

import torch.nn.functional as F
from torch import nn

from lmlab.arguments import one_of
from lmlab.layers.activations import ACTIVATIONS
from lmlab.layers.attention import MultiHeadAttention
from lmlab.layers.linear import Linear

NORMS = ("pre", "post")


class FeedForward(nn.Module):
    """Two layers applied to every position alone: width → hidden → width.

    down(f(up(x))), as in Vaswani et al. 2017, eq. 2; with gated=True
    down(f(gate(x)) ⊙ up(x)), which is SwiGLU where f is "silu" (Shazeer 2020).
    activation: a key of ACTIVATIONS; raises ValueError for another one.
    """

    def __init__(self, width, hidden, activation="relu", *, gated=False, bias=True):
        super().__init__()
        self.activation = ACTIVATIONS[one_of("activation", activation, ACTIVATIONS)]
        self.up = Linear(width, hidden, bias)
        self.down = Linear(hidden, width, bias)
        self.gate = Linear(width, hidden, bias) if gated else None
        for layer in self.children():
            nn.init.xavier_uniform_(layer.weight)
            if bias:
                nn.init.zeros_(layer.bias)

    def forward(self, x):
        """x (..., width) → (..., width)."""
        if self.gate is None:
            return self.down(self.activation(self.up(x)))
        return self.down(self.activation(self.gate(x)) * self.up(x))


class Block(nn.Module):
    """One layer: self-attention, cross-attention where asked for, feed-forward.

    Each is a sublayer f on a residual stream x, with its own norm: x + f(norm(x)) with
    norm="pre" (Xiong et al. 2020), norm(x + f(x)) with "post" (as in 2017). hidden:
    units of the feed-forward. norm_class: makes a norm from a width, as nn.LayerNorm
    and nn.RMSNorm do. dropout acts on what a sublayer adds to the stream,
    attention_dropout on the self-attention's weights. activation, gated: see
    FeedForward; attention: num_kv_heads, rotary and what else the self-attention's
    MultiHeadAttention takes. Raises ValueError for another norm, and as these two do.
    """

    def __init__(
        self,
        width,
        num_heads,
        hidden,
        *,
        cross=False,
        norm="pre",
        norm_class=nn.LayerNorm,
        activation="relu",
        gated=False,
        bias=True,
        dropout=0.0,
        attention_dropout=0.0,
        **attention,
    ):
        super().__init__()
        self.pre = one_of("norm", norm, NORMS) == "pre"
        self.attention_norm = norm_class(width)
        self.attention = MultiHeadAttention(
            width, num_heads, bias=bias, dropout=attention_dropout, **attention
        )
        self.cross_norm = norm_class(width) if cross else None
        self.cross = MultiHeadAttention(width, num_heads, bias=bias) if cross else None
        self.mlp_norm = norm_class(width)
        self.mlp = FeedForward(width, hidden, activation, gated=gated, bias=bias)
        self.dropout = dropout

    def forward(
        self, x, mask=None, *, causal=False, memory=None, memory_mask=None, cache=None
    ):
        """x (B, T, width), memory (B, S, width) → (B, T, width).

        mask says which positions of x may be attended to, memory_mask which of memory.
        cache: KeysValues of the self-attention and of the cross-attention.
        """
        own, of_memory = cache or (None, None)

        def attention(x):
            return self.attention(x, mask=mask, causal=causal, cache=own)

        def cross(x):
            return self.cross(x, memory, mask=memory_mask, cache=of_memory)

        x = self.add(x, self.attention_norm, attention)
        if self.cross is not None:
            x = self.add(x, self.cross_norm, cross)
        return self.add(x, self.mlp_norm, self.mlp)

    def add(self, x, norm, sublayer):
        """The stream after a sublayer has added to it."""
        if self.pre:
            return x + F.dropout(sublayer(norm(x)), self.dropout, self.training)
        return norm(x + F.dropout(sublayer(x), self.dropout, self.training))

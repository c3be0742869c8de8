"""GPT: a decoder-only Transformer in GPT-2's architecture; see lesson 08.

Pre-norm blocks, learned positions, GELU in its tanh form, one matrix for the token
embedding and the logits unless tied=False (Radford et al. 2019). `Config()` is GPT-2
with 124 M parameters. Shapes: ids (B, T), hidden states (B, T, C), logits (B, T, V).
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from lmlab.layers.activations import gelu
from lmlab.layers.caches import Cache
from lmlab.layers.lean_loss import IGNORED, token_loss
from lmlab.layers.tiled import wider

__all__ = ["GPT", "IGNORED", "Cache", "Config"]


@dataclass(frozen=True)
class Config:
    """The shape of a GPT; the defaults are GPT-2's smallest (124 M parameters).

    vocabulary: number of token ids; context: most tokens it can look at; layers:
    blocks; heads per block; width: of the hidden states, a multiple of heads; dropout:
    share of activations set to zero in training; tied: whether the token embedding is
    also the matrix of the logits, or these have one of their own.
    Raises ValueError, naming the field.
    """

    vocabulary: int = 50257
    context: int = 1024
    layers: int = 12
    heads: int = 12
    width: int = 768
    dropout: float = 0.0
    tied: bool = True

    def __post_init__(self):
        for field in ("vocabulary", "context", "layers", "heads", "width"):
            value = getattr(self, field)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ValueError(
                    f"{field} must be a whole number from 1, got {value!r}"
                )
        if self.width % self.heads:
            raise ValueError(
                f"heads must divide width: got width={self.width}, heads={self.heads}"
            )
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must lie in [0, 1), got {self.dropout!r}")
        if not isinstance(self.tied, bool):
            raise ValueError(f"tied must be True or False, got {self.tied!r}")


class Attention(nn.Module):
    """Causal self-attention with one matrix for queries, keys and values."""

    def __init__(self, config):
        super().__init__()
        self.heads, self.dropout = config.heads, config.dropout
        self.qkv = nn.Linear(config.width, 3 * config.width)
        self.output = nn.Linear(config.width, config.width)

    def forward(self, x, mask, cache, layer):
        """x (B, T, C) → (B, T, C); mask bool (…, T, S), or None for plain causal."""
        B, T, C = x.shape
        qkv = self.qkv(x).view(B, T, 3, self.heads, C // self.heads)
        qkv = qkv.permute(0, 2, 3, 1, 4)  # (B, 3, H, T, D)
        if cache is None:
            q, k, v = qkv.unbind(1)  # (B, H, T, D) each
        else:
            q = qkv.select(1, 0)
            k, v = cache.extend(layer, qkv.narrow(1, 1, 2))  # (B, H, S, D)
        out = _attend(q, k, v, mask, self.dropout if self.training else 0.0)
        return self.output(out.transpose(1, 2).reshape(B, T, C))


def _attend(q, k, v, mask, dropout):
    """torch's fused attention, in the dtype of q; a mask of None is causal."""
    causal, dtype = mask is None and q.shape[2] > 1, q.dtype
    if q.requires_grad and q.device.type == "cpu" and q.shape[2] <= 256:
        # bfloat16's backward pass takes 7 times float32's at T = 64 there, and half of
        # a training step; from T = 512 on it is the faster one.
        with torch.autocast("cpu", enabled=False):
            q, k, v = (x.to(wider(x.dtype)) for x in (q, k, v))
            out = F.scaled_dot_product_attention(q, k, v, mask, dropout, causal)
    else:
        out = F.scaled_dot_product_attention(q.to(k.dtype), k, v, mask, dropout, causal)
    return out.to(dtype)


class Block(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x))."""

    def __init__(self, config):
        super().__init__()
        self.attention_norm = nn.LayerNorm(config.width)
        self.attention = Attention(config)
        self.mlp_norm = nn.LayerNorm(config.width)
        self.up = nn.Linear(config.width, 4 * config.width)
        self.down = nn.Linear(4 * config.width, config.width)
        self.dropout = config.dropout

    def forward(self, x, mask=None, cache=None, layer=0):
        """x (B, T, C) → (B, T, C)."""
        x = x + self._drop(self.attention(self.attention_norm(x), mask, cache, layer))
        hidden = gelu(self.up(self.mlp_norm(x)))  # (B, T, 4C)
        return x + self._drop(self.down(hidden))

    def _drop(self, x):
        return F.dropout(x, self.dropout) if self.training and self.dropout else x


class GPT(nn.Module):
    """A GPT with new weights, drawn as GPT-2's were (from torch's global generator).

    Matrices N(0, 0.02²), those that write into the residual stream divided by
    √(2·layers), biases 0, norms 1. Every layer's weights are (out, in), as torch has
    them; `lmlab.models.pretrained` reads and writes Hugging Face's layout.
    """

    cache_dtype = None  # of a Cache: the weights', unless a subclass says otherwise

    def __init__(self, config):
        super().__init__()
        self.config = config
        self.token_embedding = nn.Embedding(config.vocabulary, config.width)
        self.position_embedding = nn.Embedding(config.context, config.width)
        self.drop = nn.Dropout(config.dropout) if config.dropout else nn.Identity()
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.final_norm = nn.LayerNorm(config.width)
        self.head = None
        if not config.tied:
            self.head = nn.Linear(config.width, config.vocabulary, bias=False)
        self._initialise()

    def _initialise(self):
        for name, parameter in self.named_parameters():
            if parameter.ndim == 2:
                writes = name.endswith(("attention.output.weight", "down.weight"))
                shrink = math.sqrt(2 * self.config.layers) if writes else 1.0
                nn.init.normal_(parameter, std=0.02 / shrink)
            elif name.endswith("bias"):
                nn.init.zeros_(parameter)

    def forward(self, ids, cache=None):
        """ids (B, T) whole numbers → logits (B, T, V) of each next token.

        cache: what came before; the ids follow it, and are added to it.
        Raises ValueError for ids that are no (B, T), out of range (looked at where that
        is cheap: on the CPU), or more than the context or the cache holds; TypeError
        for ids of a dtype that cannot count.
        """
        return self.logits(self.hidden(ids, cache))

    def logits(self, hidden):
        """hidden (…, C) → logits (…, V)."""
        return F.linear(hidden, self.output_weight)

    @property
    def output_weight(self):
        """The matrix (V, C) of the logits: the token embedding's when tied."""
        return (self.token_embedding if self.head is None else self.head).weight

    def hidden(self, ids, cache=None):
        """The last hidden states (B, T, C), after the final norm; errors as above."""
        used = 0 if cache is None else cache.used
        self._check(ids, used, cache)
        T = ids.shape[1]
        positions, mask = _places(cache, used, T, ids.device)
        x = self.drop(self.token_embedding(ids) + self.position_embedding(positions))
        for layer, block in enumerate(self.blocks):
            x = block(x, mask, cache, layer)
        if cache is not None:
            cache.used = used + T
        return self.final_norm(x)

    def loss(self, ids, targets, reduction="mean"):
        """Cross-entropy in nats per token (reduction "mean"), or their "sum".

        ids (B, T); targets (B, T), int64 or int32: the token after each of ids, or
        IGNORED (−100) for one that does not count. The mean is over the tokens that
        count (NaN if none does). Logits of a large vocabulary are made a piece at a
        time, so that (B, T, V) never exists. Errors as in forward.
        """
        if targets.shape != ids.shape:
            raise ValueError(
                f"targets must have the shape of ids, {tuple(ids.shape)}, "
                f"got {tuple(targets.shape)}"
            )
        return token_loss(self.hidden(ids), self.output_weight, targets, reduction)

    def num_parameters(self):
        """How many numbers are trained (the tied matrix counts once)."""
        return sum(p.numel() for p in self.parameters())

    def _check(self, ids, used, cache):
        if ids.dtype not in (torch.int64, torch.int32):
            raise TypeError(f"ids must be int64 or int32, got {ids.dtype}")
        if ids.ndim != 2 or 0 in ids.shape:
            raise ValueError(f"ids must be (B, T), got {tuple(ids.shape)}")
        room = self.config.context if cache is None else cache.length
        if used + ids.shape[1] > room:
            raise ValueError(
                f"{used + ids.shape[1]} tokens do not fit: "
                + (
                    f"the model's context holds {room}; crop the ids"
                    if room == self.config.context
                    else f"this cache holds {room}; make a longer one"
                )
            )
        if ids.device.type == "cpu":
            low, high = (int(x) for x in ids.aminmax())
            if low < 0 or high >= self.config.vocabulary:
                raise ValueError(
                    f"ids must lie in 0 … {self.config.vocabulary - 1}, the model's "
                    f"vocabulary; got {low if low < 0 else high}"
                )


def _places(cache, used, T, device):
    """Positions (T,) or (B, T), and the mask that causality alone does not give."""
    positions = torch.arange(used, used + T, device=device)
    padding = None if cache is None else cache.padding
    if padding is None and (used == 0 or T == 1):
        return positions, None
    keys = torch.arange(used + T, device=device)
    mask = keys <= positions[:, None]  # (T, S)
    if padding is None:
        return positions, mask
    # A padding token attends to itself, so that no row of the softmax is empty.
    seen = (keys >= padding[:, None, None]) | (keys == positions[:, None])  # (B, T, S)
    return (positions - padding[:, None]).clamp(min=0), (mask & seen)[:, None]

"""GPT: a decoder-only Transformer in GPT-2's architecture; see lesson 08.

Pre-norm blocks, learned positions, GELU in its tanh form, one matrix for the token
embedding and the logits unless tied=False (Radford et al. 2019). `Config()` is GPT-2
with 124 M parameters. Shapes: ids (B, T), hidden states (B, T, C), logits (B, T, V).
"""

import math
from dataclasses import dataclass

import torch
from torch import nn

from lmlab.arguments import number, whole
from lmlab.layers.blocks import Block
from lmlab.layers.caches import Cache
from lmlab.layers.linear import Linear, linear
from lmlab.layers.losses import IGNORED, token_loss
from lmlab.layers.shapes import check_ids

__all__ = ["GPT", "IGNORED", "Cache", "Config"]


@dataclass(frozen=True)
class Config:
    """The shape of a GPT; the defaults are GPT-2's smallest (124 M parameters).

    vocab_size: number of token ids; context: most tokens it can look at; num_layers:
    blocks; num_heads per block; width: of the hidden states, a multiple of num_heads;
    dropout: share of activations set to zero in training; tied: whether the token
    embedding is also the matrix of the logits, or these have one of their own.
    Raises TypeError or ValueError, naming the field.
    """

    vocab_size: int = 50257
    context: int = 1024
    num_layers: int = 12
    num_heads: int = 12
    width: int = 768
    dropout: float = 0.0
    tied: bool = True

    def __post_init__(self):
        for field in ("vocab_size", "context", "num_layers", "num_heads", "width"):
            object.__setattr__(self, field, whole(field, getattr(self, field)))
        if self.width % self.num_heads:
            raise ValueError(
                "num_heads must divide width: "
                f"got width={self.width}, num_heads={self.num_heads}"
            )
        object.__setattr__(self, "dropout", number("dropout", self.dropout, "[0, 1)"))
        if not isinstance(self.tied, bool):
            raise TypeError(f"tied must be True or False, got {self.tied!r}")


class GPT(nn.Module):
    """A GPT with new weights, drawn as GPT-2's were (from torch's global generator).

    Matrices N(0, 0.02²), those that write into the residual stream divided by
    √(2·num_layers), biases 0, norms 1. Every layer's weights are (out, in), as torch
    has them; `lmlab.models.pretrained` reads and writes Hugging Face's layout.
    """

    cache_dtype = None  # of a Cache: the weights', unless a subclass says otherwise

    def __init__(self, config):
        super().__init__()
        self.config = config
        self.token_embedding = nn.Embedding(config.vocab_size, config.width)
        self.position_embedding = nn.Embedding(config.context, config.width)
        self.drop = nn.Dropout(config.dropout) if config.dropout else nn.Identity()
        self.blocks = nn.ModuleList(
            Block(
                config.width,
                config.num_heads,
                4 * config.width,
                activation="gelu_tanh",
                dropout=config.dropout,
                attention_dropout=config.dropout,
            )
            for _ in range(config.num_layers)
        )
        self.final_norm = nn.LayerNorm(config.width)
        self.head = None
        if not config.tied:
            self.head = Linear(config.width, config.vocab_size, bias=False)
        self._initialise()

    def _initialise(self):
        for name, parameter in self.named_parameters():
            if parameter.ndim == 2:
                writes = name.endswith(("attention.output.weight", "down.weight"))
                shrink = math.sqrt(2 * self.config.num_layers) if writes else 1.0
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
        return linear(hidden, self.output_weight)

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
        kept = [None] * len(self.blocks) if cache is None else cache.layers
        for block, pair in zip(self.blocks, kept):
            x = block(x, mask, causal=mask is None, cache=pair)
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
        check_ids("ids", ids, self.config.vocab_size)
        room = self.config.context if cache is None else cache.length
        if used + ids.shape[1] > room:
            said = f"the model's context holds {room}; crop the ids"
            if room < self.config.context:
                said = f"this cache holds {room}; make a longer one"
            raise ValueError(f"{used + ids.shape[1]} tokens do not fit: {said}")


def _places(cache, used, T, device):
    """Positions (T,), or (B, T) and the mask (B, T, S) where there is padding."""
    positions = torch.arange(used, used + T, device=device)
    padding = None if cache is None else cache.padding
    if padding is None:
        return positions, None
    keys = torch.arange(used + T, device=device)
    seen = (keys <= positions[:, None]) & (keys >= padding[:, None, None])  # (B, T, S)
    return (positions - padding[:, None]).clamp(min=0), seen

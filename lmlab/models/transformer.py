"""The Transformer of Vaswani et al. (2017): an encoder, a decoder, and what joins them.

`EncoderDecoder` maps vectors to vectors and equals `torch.nn.Transformer`;
`Transformer` puts embeddings, positions and an output layer around it. Derived in
lesson 06; searching for the best output is in `lmlab.generation.search`.

Shapes: source (B, S) and target (B, T) are whole numbers, x (B, S, width) and
y (B, T, width) vectors. A mask is bool and True where a position may be attended to.
"""

import torch
from torch import nn

from lmlab.layers.activations import ACTIVATIONS
from lmlab.layers.attention import (
    FROM_TORCH,
    MultiHeadAttention,
    renamed,
    sinusoidal_positions,
)
from lmlab.layers.blocks import Block
from lmlab.layers.caches import DecoderCache
from lmlab.layers.linear import Linear
from lmlab.layers.shapes import check_ids

_NAMES = {  # torch's, and ours
    r"coder\.norm": "coder_norm",
    r"\.layers": "",
    "self_attn": "attention",
    "multihead_attn": "cross",
    **FROM_TORCH,
    "linear1": "mlp.up",
    "linear2": "mlp.down",
    "norm1": "attention_norm",
    r"^(encoder.*)norm2|norm3": r"\1mlp_norm",
    "norm2": "cross_norm",
}


class EncoderDecoder(nn.Module):
    """A stack of encoder blocks and one of decoder blocks, on vectors.

    width of the stream, num_heads per attention, hidden units of the feed-forward (None
    for 4 · width). final_norm: a layer norm after each stack. Pre-norm needs it, since
    nothing else norms its stream; with post-norm the paper has none,
    torch.nn.Transformer has one. options: norm, activation, dropout, rotary and the
    others of Block.
    """

    def __init__(
        self,
        width,
        num_heads,
        num_encoder_layers=2,
        num_decoder_layers=2,
        hidden=None,
        *,
        final_norm=True,
        **options,
    ):
        super().__init__()

        def stack(depth, cross):
            return nn.ModuleList(
                Block(width, num_heads, hidden or 4 * width, cross=cross, **options)
                for _ in range(depth)
            )

        self.width = width
        self.encoder = stack(num_encoder_layers, cross=False)
        self.decoder = stack(num_decoder_layers, cross=True)
        last = nn.LayerNorm if final_norm else nn.Identity
        self.encoder_norm, self.decoder_norm = last(width), last(width)

    def encode(self, x, mask=None):
        """x (B, S, width), mask broadcastable to (B, S, S) → memory (B, S, width)."""
        self._check("x", "S", x)
        for block in self.encoder:
            x = block(x, mask)
        return self.encoder_norm(x)

    def decode(self, y, memory, memory_mask=None, mask=None, cache=None):
        """y (B, T, width) → (B, T, width); position t sees no later one of y.

        memory_mask is broadcastable to (B, T, S), mask, beside the causal one, to
        (B, T, T). cache: a DecoderCache of the positions before y, which y is added to.
        """
        self._check("y", "T", y)
        self._check("memory", "S", memory)
        pairs = [None] * len(self.decoder) if cache is None else cache.layers
        options = {"causal": True, "memory": memory, "memory_mask": memory_mask}
        for block, pair in zip(self.decoder, pairs):
            y = block(y, mask, cache=pair, **options)
        return self.decoder_norm(y)

    def forward(self, x, y, x_mask=None, y_mask=None):
        """decode(y, encode(x)); x_mask (B, S) and y_mask (B, T): True = no padding."""
        rows = [None if m is None else m[:, None] for m in (x_mask, y_mask)]
        return self.decode(y, self.encode(x, rows[0]), *rows)

    def _check(self, name, length, value):
        if value.ndim != 3 or value.shape[-1] != self.width:
            raise ValueError(
                f"{name} must be (B, {length}, {self.width}), got {tuple(value.shape)}"
            )

    @classmethod
    def from_torch(cls, theirs):
        """The same network as a torch.nn.Transformer: a copy of its weights.

        norm_first is our norm="pre". Dropout is copied for what a sublayer adds; torch
        also drops attention weights and hidden units, so compare with dropout 0 or in
        evaluation. Raises ValueError for bias=False or layers of other kinds.
        """
        first = theirs.encoder.layers[0]
        if first.linear1.bias is None:
            raise ValueError("a torch.nn.Transformer with bias=False is not supported")
        activations = {f: name for name, f in ACTIVATIONS.items()}
        if first.activation not in activations:
            known = ", ".join(ACTIVATIONS)
            raise ValueError(f"activation {first.activation} is none of {known}")
        ours = cls(
            theirs.d_model,
            theirs.nhead,
            len(theirs.encoder.layers),
            len(theirs.decoder.layers),
            first.linear1.out_features,
            norm="pre" if first.norm_first else "post",
            activation=activations[first.activation],
            dropout=first.dropout1.p,
        ).to(first.linear1.weight)  # device and dtype
        ours.load_state_dict(renamed(theirs.state_dict(), _NAMES))
        return ours.train(theirs.training)


class Transformer(nn.Module):
    """Whole numbers in, logits out: embeddings, positions, EncoderDecoder, output.

    vocab_size: how many ids there are, for source and target. tied: source, target and
    output share one matrix, as in the paper; otherwise each has its own. An embedding
    is multiplied by √width, which makes its entries O(1), like the sinusoidal positions
    that are added. pad: the id that is never attended to. max_length: of source and
    target. options: see EncoderDecoder. `config` has all of these arguments.
    """

    def __init__(
        self,
        vocab_size,
        width=64,
        num_heads=4,
        *,
        tied=True,
        pad=0,
        max_length=128,
        **options,
    ):
        super().__init__()
        self.config = {"vocab_size": vocab_size, "width": width, "num_heads": num_heads}
        self.config |= {"tied": tied, "pad": pad, "max_length": max_length, **options}
        self.core = EncoderDecoder(width, num_heads, **options)
        self.vocab_size, self.width, self.pad = vocab_size, width, pad
        self.source = nn.Embedding(vocab_size, width)
        self.target = self.source if tied else nn.Embedding(vocab_size, width)
        self.output = Linear(width, vocab_size, bias=False)
        for layer in (self.source, self.target, self.output):
            nn.init.normal_(layer.weight, std=width**-0.5)
        if tied:
            self.output.weight = self.source.weight
        self.dropout = nn.Dropout(options.get("dropout", 0.0))
        positions = sinusoidal_positions(max_length, width)
        self.register_buffer("positions", positions, persistent=False)

    def encode(self, source):
        """source (B, S) → memory (B, S, width) and its mask (B, 1, S)."""
        mask = (self._checked("source", source) != self.pad)[:, None]
        return self.core.encode(self.embed(self.source, source), mask), mask

    def decode(self, target, memory, memory_mask, cache=None):
        """target (B, T) → logits (B, T, vocab_size) of the id that comes next.

        cache: of `new_cache`; the target is what follows what it holds.
        """
        start = 0 if cache is None else cache.used
        y = self.embed(self.target, self._checked("target", target, start), start)
        return self.output(self.core.decode(y, memory, memory_mask, cache=cache))

    def new_cache(self):
        """A DecoderCache for targets that are decoded piece by piece."""
        return DecoderCache(len(self.core.decoder))

    def forward(self, source, target):
        """source (B, S), target (B, T) → logits (B, T, vocab_size).

        Padding stands at the end of a target, where the causal mask hides it already.
        Raises ValueError or TypeError when ids are not what is needed.
        """
        self._checked("target", target)
        if len(source) != len(target):
            shapes = f"{tuple(source.shape)} and {tuple(target.shape)}"
            raise ValueError(f"source and target must have one B, got {shapes}")
        return self.decode(target, *self.encode(source))

    def alignment(self, source, target):
        """Cross-attention of every decoder layer: (layers, B, num_heads, T, S).

        Row t holds what was attended to while the id after target[t] was computed.
        """
        found = []

        def keep(cross, inputs, options):
            options = {**options, "need_weights": True}
            found.append(MultiHeadAttention.forward(cross, *inputs, **options)[1])

        hooks = [
            block.cross.register_forward_pre_hook(keep, with_kwargs=True)
            for block in self.core.decoder
        ]
        try:
            self(source, target)
        finally:
            for hook in hooks:
                hook.remove()
        return torch.stack(found)

    def embed(self, table, ids, start=0):
        """ids (B, T) in a table, `source` or `target` → (B, T, width) with positions.

        start: where the first of them stands.
        """
        positions = self.positions[start : start + ids.shape[1]]
        return self.dropout(table(ids) * self.width**0.5 + positions)

    def _checked(self, name, ids, start=0):
        check_ids(name, ids, self.vocab_size, "S" if name == "source" else "T")
        if start + ids.shape[1] > len(self.positions):
            after = f" after {start}" if start else ""
            raise ValueError(
                f"{name} must be no longer than max_length={len(self.positions)}, "
                f"got {tuple(ids.shape)}{after}"
            )
        return ids

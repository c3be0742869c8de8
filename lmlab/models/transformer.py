"""The Transformer of Vaswani et al. (2017): an encoder, a decoder, and what joins them.

`EncoderDecoder` maps vectors to vectors and equals `torch.nn.Transformer`;
`Transformer` puts embeddings, positions and an output layer around it. Derived in
lesson 06; searching for the best output is in `lmlab.generation.search`.

Shapes: source (B, S) and target (B, T) are whole numbers, x (B, S, width) and
y (B, T, width) vectors. A mask is bool and True where a position may be attended to.
"""

import torch
import torch.nn.functional as F
from torch import nn

from lmlab.layers.attention import KeysValues, MultiHeadAttention, sinusoidal_positions

NORMS = ("pre", "post")
ACTIVATIONS = {"relu": F.relu, "gelu": F.gelu}


class FeedForward(nn.Module):
    """Two layers applied to every position alone: width → hidden → width (eq. 2)."""

    def __init__(self, width, hidden, activation="relu"):
        super().__init__()
        if activation not in ACTIVATIONS:
            choices = ", ".join(ACTIVATIONS)
            raise ValueError(f"activation must be one of {choices}, got {activation!r}")
        self.up, self.down = nn.Linear(width, hidden), nn.Linear(hidden, width)
        self.activation = ACTIVATIONS[activation]
        for layer in (self.up, self.down):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, x):
        """x (..., width) → (..., width)."""
        return self.down(self.activation(self.up(x)))


class Block(nn.Module):
    """One layer: self-attention, cross-attention where asked for, feed-forward.

    Each is a sublayer f on a residual stream x, with its own layer norm: x + f(norm(x))
    with norm="pre" (Xiong et al. 2020), norm(x + f(x)) with "post" (as in 2017).
    dropout acts on what a sublayer adds to the stream. rotary: self-attention turns
    queries and keys by their positions (lesson 05); cross-attention never does.
    """

    def __init__(
        self,
        width,
        heads,
        hidden,
        *,
        cross,
        norm,
        activation="relu",
        dropout=0.0,
        rotary=False,
    ):
        super().__init__()
        if norm not in NORMS:
            raise ValueError(f"norm must be one of {', '.join(NORMS)}, got {norm!r}")
        self.pre = norm == "pre"
        self.attention = MultiHeadAttention(width, heads, rotary=rotary)
        self.cross = MultiHeadAttention(width, heads) if cross else None
        self.feed_forward = FeedForward(width, hidden, activation)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2 + cross))
        self.dropout = nn.Dropout(dropout)

    def add(self, x, i, sublayer):
        """The stream after sublayer number i has added to it."""
        norm = self.norms[i]
        if self.pre:
            return x + self.dropout(sublayer(norm(x)))
        return norm(x + self.dropout(sublayer(x)))

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

        x = self.add(x, 0, attention)
        if self.cross is not None:
            x = self.add(x, 1, cross)
        return self.add(x, -1, self.feed_forward)


class DecoderCache:
    """What a decoder has read: its own tokens so far, and the memory.

    A new one for each target; `decode(…, cache=cache)` adds to it. `layers` holds a
    pair of KeysValues for each block: self-attention's and cross-attention's.
    """

    def __init__(self, num_layers):
        self.layers = [(KeysValues(), KeysValues()) for _ in range(num_layers)]

    @property
    def used(self):
        """How many positions of the target it holds."""
        return self.layers[0][0].used if self.layers else 0

    def pick(self, rows):
        """Keep these rows, in this order (LongTensor): hypotheses fork and end."""
        for pair in self.layers:
            for kept in pair:
                kept.pick(rows)


class EncoderDecoder(nn.Module):
    """A stack of encoder blocks and one of decoder blocks, on vectors.

    width of the stream, heads per attention, hidden units of the feed-forward (None for
    4 · width), norm "pre" or "post", activation "relu" or "gelu". final_norm: a layer
    norm after each stack. Pre-norm needs it, since nothing else norms its stream;
    with post-norm the paper has none, torch.nn.Transformer has one. rotary: see Block.
    """

    def __init__(
        self,
        width,
        heads,
        encoder_layers=2,
        decoder_layers=2,
        hidden=None,
        *,
        norm="pre",
        activation="relu",
        dropout=0.0,
        rotary=False,
        final_norm=True,
    ):
        super().__init__()
        settings = {
            "norm": norm, "activation": activation, "dropout": dropout, "rotary": rotary
        }  # fmt: skip

        def stack(depth, cross):
            blocks = (
                Block(width, heads, hidden or 4 * width, cross=cross, **settings)
                for _ in range(depth)
            )
            return nn.ModuleList(blocks)

        self.width = width
        self.encoder, self.decoder = (
            stack(encoder_layers, False),
            stack(decoder_layers, True),
        )
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

        norm_first is our norm="pre"; torch's two halves of a block's weights have the
        same order as ours (self-attention, cross-attention, feed-forward), and so have
        its norm1, norm2, norm3. Dropout is copied for what a sublayer adds; torch also
        drops attention weights and hidden units, so compare with dropout 0 or in
        evaluation. Raises ValueError for bias=False or layers of other kinds.
        """
        first = theirs.encoder.layers[0]
        if first.linear1.bias is None:
            raise ValueError("a torch.nn.Transformer with bias=False is not supported")
        activations = {f: name for name, f in ACTIVATIONS.items()}
        if first.activation not in activations:
            raise ValueError(f"activation {first.activation} is not relu or gelu")
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
        for name in ("encoder", "decoder"):
            for block, layer in zip(getattr(ours, name), getattr(theirs, name).layers):
                _copy_block(block, layer)
            norm = getattr(theirs, name).norm.state_dict()
            getattr(ours, f"{name}_norm").load_state_dict(norm)
        return ours.train(theirs.training)


def _copy_block(block, layer):
    pairs = [(block.attention, layer.self_attn)]
    linear = [(block.feed_forward.up, layer.linear1)]
    linear += [(block.feed_forward.down, layer.linear2)]
    if block.cross is not None:
        pairs.append((block.cross, layer.multihead_attn))
    for mine, its in pairs:
        copied = MultiHeadAttention.from_torch(its).state_dict()
        mine.load_state_dict(copied)
    for i, norm in enumerate(block.norms, 1):
        linear.append((norm, getattr(layer, f"norm{i}")))
    for mine, its in linear:
        mine.load_state_dict(its.state_dict())


class Transformer(nn.Module):
    """Whole numbers in, logits out: embeddings, positions, EncoderDecoder, output.

    vocabulary: how many ids there are, for source and target. tied: source, target and
    output share one matrix, as in the paper; otherwise each has its own. An embedding
    is multiplied by √width, which makes its entries O(1), like the sinusoidal positions
    that are added. pad: the id that is never attended to. max_length: of source and
    target.
    options: see EncoderDecoder.
    """

    def __init__(
        self,
        vocabulary,
        width=64,
        heads=4,
        *,
        tied=True,
        pad=0,
        max_length=128,
        **options,
    ):
        super().__init__()
        self.core = EncoderDecoder(width, heads, **options)
        self.vocabulary, self.width, self.pad = vocabulary, width, pad
        self.source = nn.Embedding(vocabulary, width)
        self.target = self.source if tied else nn.Embedding(vocabulary, width)
        self.output = nn.Linear(width, vocabulary, bias=False)
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
        return self.core.encode(self._embed(self.source, source), mask), mask

    def decode(self, target, memory, memory_mask, cache=None):
        """target (B, T) → logits (B, T, vocabulary) of the id that comes next.

        cache: of `new_cache`; the target is what follows what it holds.
        """
        start = 0 if cache is None else cache.used
        y = self._embed(self.target, self._checked("target", target, start), start)
        return self.output(self.core.decode(y, memory, memory_mask, cache=cache))

    def new_cache(self):
        """A DecoderCache for targets that are decoded piece by piece."""
        return DecoderCache(len(self.core.decoder))

    def forward(self, source, target):
        """source (B, S), target (B, T) → logits (B, T, vocabulary).

        Padding stands at the end of a target, where the causal mask hides it already.
        Raises ValueError or TypeError when ids are not what is needed.
        """
        self._checked("target", target)
        if len(source) != len(target):
            shapes = f"{tuple(source.shape)} and {tuple(target.shape)}"
            raise ValueError(f"source and target must have one B, got {shapes}")
        return self.decode(target, *self.encode(source))

    def alignment(self, source, target):
        """Cross-attention of every decoder layer: (layers, B, heads, T, S).

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

    def _embed(self, table, ids, start=0):
        positions = self.positions[start : start + ids.shape[1]]
        return self.dropout(table(ids) * self.width**0.5 + positions)

    def _checked(self, name, ids, start=0):
        if not isinstance(ids, torch.Tensor) or ids.dtype != torch.int64:
            got = getattr(ids, "dtype", type(ids).__name__)
            raise TypeError(f"{name} must be an int64 tensor, got {got}")
        if ids.ndim != 2 or ids.shape[1] == 0:
            length = "S" if name == "source" else "T"
            raise ValueError(f"{name} must be (B, {length}), got {tuple(ids.shape)}")
        if start + ids.shape[1] > len(self.positions):
            after = f" after {start}" if start else ""
            raise ValueError(
                f"{name} must be no longer than max_length={len(self.positions)}, "
                f"got {tuple(ids.shape)}{after}"
            )
        # On a GPU the look would make every step wait; there torch itself complains.
        if (
            ids.device.type == "cpu"
            and not 0 <= ids.min() <= ids.max() < self.vocabulary
        ):
            wrong = ids.max() if ids.max() >= self.vocabulary else ids.min()
            raise ValueError(
                f"{name} must hold ids from 0 to {self.vocabulary - 1}, got {wrong}"
            )
        return ids

"""Keys and values that attention keeps, so that each is computed once (lesson 08).

cache = Cache(model)
logits = model(prompt, cache)    # (1, T) ids
logits = model(token, cache)     # (1, 1) more, which attend to the prompt as well
"""

import torch

from lmlab.arguments import whole


class KeysValues:
    """Keys (..., H, S, D) and values (..., H, S, E) of what one attention has read.

    They are written into memory with room to spare: keys and values (..., H, room, D
    or E), if given, and twice as much as before when the room is used up.
    """

    def __init__(self, keys=None, values=None):
        self._kept, self.used = (keys, values), 0  # positions

    def both(self):
        """All keys and all values; None, None before the first."""
        return [x.narrow(-2, 0, self.used) if self.used else None for x in self._kept]

    def extend(self, keys, values):
        """Add those of more positions; returns all keys and all values."""
        self._kept = tuple(map(self._longer, self._kept, (keys, values)))
        self.used += keys.shape[-2]
        return self.both()

    def _longer(self, kept, new):
        used, end = self.used, self.used + new.shape[-2]
        if new.requires_grad and torch.is_grad_enabled():
            # What a backward pass will look at must not be written over.
            return torch.cat([kept.narrow(-2, 0, used), new], -2) if used else new
        if kept is None or end > kept.shape[-2]:
            room = max(end, 2 * used)
            with torch.inference_mode(False):  # it may be used outside as well
                longer = new.new_empty(*new.shape[:-2], room, new.shape[-1])
            if used:
                longer.narrow(-2, 0, used).copy_(kept.narrow(-2, 0, used))
            kept = longer
        kept.narrow(-2, used, end - used).copy_(new)
        return kept

    def pick(self, rows):
        """Keep these rows of the first dimension, in this order (LongTensor)."""
        self._kept = tuple(x if x is None else x[rows] for x in self._kept)


class DecoderCache:
    """What the blocks of a decoder have read: tokens of their own, and a memory.

    `layers` holds two KeysValues for each block: its self-attention's and its
    cross-attention's.
    """

    def __init__(self, num_layers):
        self.layers = [(KeysValues(), KeysValues()) for _ in range(num_layers)]

    @property
    def used(self):
        """How many positions of its own it holds; may be set back, to forget some."""
        return self.layers[0][0].used if self.layers else 0

    @used.setter
    def used(self, count):
        for own, _ in self.layers:
            own.used = whole("used", count, 0, own.used)

    def pick(self, rows):
        """Keep these rows, in this order (LongTensor): hypotheses fork and end."""
        for pair in self.layers:
            for kept in pair:
                kept.pick(rows)


class Cache(DecoderCache):
    """The same of a GPT, in memory taken once.

    batch_size rows of at most `length` tokens (None: the model's whole context).
    padding (batch_size,): how many tokens at the left of each row are none; they are
    attended to by nobody and take no position. After `model(ids, cache)` the cache
    holds these ids too, and `cache.used` counts the tokens.
    Raises ValueError for a length that the context does not have.
    """

    def __init__(self, model, batch_size=1, length=None, *, padding=None):
        config, weight = model.config, model.token_embedding.weight
        context = config.context
        self.length = context if length is None else whole("length", length, 1, context)
        D = config.width // config.num_heads
        shape = 2, batch_size, config.num_heads, self.length, D
        dtype = model.cache_dtype or weight.dtype

        def memory():
            return torch.empty(shape, dtype=dtype, device=weight.device)

        self.layers = [
            (KeysValues(*memory()), KeysValues()) for _ in range(config.num_layers)
        ]
        self.padding = None if padding is None else padding.to(weight.device)

    def pick(self, rows):
        """As above, with the rows' padding."""
        super().pick(rows)
        if self.padding is not None:
            self.padding = self.padding[rows]

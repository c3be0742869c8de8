"""Keys and values that a GPT keeps, so that each is computed once (lesson 08).

    cache = Cache(model)
    logits = model(prompt, cache)    # (1, T) ids
    logits = model(token, cache)     # (1, 1) more, which attend to the prompt as well

Its memory is taken once, not with every token.
"""

import torch


class Cache:
    """Keys and values of the tokens seen so far, in memory taken once.

    batch_size rows of at most `length` tokens (None: the model's whole context).
    padding (batch_size,): how many tokens at the left of each row are none; they are
    attended to by nobody and take no position. After `model(ids, cache)` the cache
    holds these ids too, and `cache.used` counts the tokens.
    Raises ValueError for a length that the context does not have.
    """

    def __init__(self, model, batch_size=1, length=None, *, padding=None):
        config, weight = model.config, model.token_embedding.weight
        self.length = config.context if length is None else length
        if not 1 <= self.length <= config.context:
            raise ValueError(
                f"length must lie in 1 … context = {config.context}, got {length!r}"
            )
        shape = 2, config.heads, self.length, config.width // config.heads
        dtype = model.cache_dtype or weight.dtype
        self.layers = [
            torch.empty(batch_size, *shape, dtype=dtype, device=weight.device)
            for _ in range(config.layers)
        ]  # (B, 2, H, length, D) each
        self.used = 0
        self.padding = None if padding is None else padding.to(weight.device)

    def extend(self, layer, keys_values):
        """Add (B, 2, H, T, D) of one layer; return all its keys and all its values."""
        kept, T = self.layers[layer], keys_values.shape[3]
        kept.narrow(3, self.used, T).copy_(keys_values)
        return kept.narrow(3, 0, self.used + T).unbind(1)

    def pick(self, rows):
        """Keep these rows, in this order (LongTensor): beams fork and end."""
        for layer, kept in enumerate(self.layers):
            self.layers[layer] = kept.index_select(0, rows)
        if self.padding is not None:
            self.padding = self.padding[rows]

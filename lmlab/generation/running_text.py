"""Texts that grow at the right while a GPT says what could come next; see lesson 08."""

import torch

from lmlab.models.gpt import Cache


class RunningText:
    """Rows of ids that grow at the right, and the model's logits for what comes next.

    Shorter prompts are padded at the left, which the model does not see. seen (R, V):
    True for the ids that a row holds; None unless asked for. V: vocab_size, None for
    all the ids that the model knows.
    """

    def __init__(
        self, model, prompts, num_tokens, use_cache=True, *, remember=False,
        vocab_size=None,
    ):  # fmt: skip
        self.model, self.use_cache = model, use_cache
        self.vocab_size = vocab_size or model.config.vocab_size
        self.device = model.token_embedding.weight.device
        longest = max(map(len, prompts))
        padded = [[0] * (longest - len(p)) + p for p in prompts]
        self.ids = torch.tensor(padded, device=self.device)  # (R, T)
        padding = [longest - len(prompt) for prompt in prompts]
        self.padding = (
            torch.tensor(padding, device=self.device) if any(padding) else None
        )
        self.length = longest + num_tokens - 1  # the last id is not read
        self.cache = self._cache(self.length) if use_cache else None
        self.seen = None
        if remember:
            shape = len(prompts), self.vocab_size
            self.seen = torch.zeros(shape, dtype=torch.bool, device=self.device)
            for row, prompt in enumerate(prompts):
                self.seen[row, prompt] = True

    def begin(self):
        """Read the prompts; logits (R, V)."""
        return self._read(self.ids, self.cache)

    def add(self, tokens):
        """Append one id (R,) to each row; logits (R, V)."""
        if self.seen is not None:
            self.seen.scatter_(1, tokens[:, None], True)
        if self.use_cache:
            return self._read(tokens[:, None], self.cache)
        self.ids = torch.cat([self.ids, tokens[:, None]], 1)
        return self._read(self.ids, None)

    def pick(self, rows):
        """Keep these rows, in this order; one may come several times."""
        self.ids = self.ids[rows]
        if self.seen is not None:
            self.seen = self.seen[rows]
        if self.padding is not None:
            self.padding = self.padding[rows]
        if self.use_cache:
            self.cache.pick(rows)

    def _read(self, ids, cache):
        if cache is None and self.padding is not None:
            cache = self._cache(ids.shape[1])  # it knows about padding
        hidden = self.model.hidden(ids, cache)
        return self.model.logits(hidden[:, -1])[:, : self.vocab_size]

    def _cache(self, length):
        return Cache(self.model, len(self.ids), length, padding=self.padding)

"""Text from a model: `generate` writes with a GPT; `search` and `sampling` choose."""

from lmlab.generation.generate import generate

__all__ = ["generate"]

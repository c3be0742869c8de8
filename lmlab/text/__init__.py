"""Text to token ids and back: tokenizers, how they are learnt and kept, and n-grams."""

"""What `lmlab run`, `sweep`, `compare` and `doctor` do: lessons run, kept, compared."""

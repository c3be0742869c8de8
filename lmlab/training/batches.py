"""Batches of a long text: pure functions of the step, or all of it in order."""

import numpy as np
import torch

from lmlab.layers.lean_loss import IGNORED


def blocks(ids, context, batch_size, seed=0):
    """A function step → (inputs, targets), both (batch_size, context) int64.

    ids (N,): the whole numbers of a text (a NumPy memory map is read where needed).
    Each row is a stretch of the text from a random place, the targets one token on.
    The places depend on seed and step alone: a run that resumes at a step sees what
    it would have seen.
    Raises ValueError when the text is shorter than a block and its last target.
    """
    ids, context = _text(ids, context), _count("context", context)
    batch_size = _count("batch_size", batch_size)
    views = np.lib.stride_tricks.sliding_window_view(ids, context + 1)

    def batch(step):
        rng = np.random.default_rng((seed, step))
        rows = views[rng.integers(len(views), size=batch_size)].astype(np.int64)
        rows = torch.from_numpy(rows)
        return rows[:, :-1].contiguous(), rows[:, 1:].contiguous()

    return batch


def windows(ids, context, batch_size=32):
    """The whole text as a list of (inputs, targets), each token a target once.

    ids (N,); blocks follow one another without overlap, so that the first token of
    each has none before it to look at. The last block may be shorter: it is filled up
    with targets that do not count.
    Raises ValueError for a text of fewer than two tokens.
    """
    ids, context = _text(ids, 1), _count("context", context)
    batch_size = _count("batch_size", batch_size)
    rows = -(-(len(ids) - 1) // context)
    inputs = np.zeros(rows * context, np.int64)
    targets = np.full(rows * context, IGNORED, np.int64)
    inputs[: len(ids) - 1], targets[: len(ids) - 1] = ids[:-1], ids[1:]
    pair = (torch.from_numpy(x.reshape(rows, context)) for x in (inputs, targets))
    return list(zip(*(x.split(batch_size) for x in pair)))


def counted(targets):
    """How many targets count: an int."""
    return int((targets != IGNORED).sum())


def check(batch, rows, vocabulary, where):
    """The batch as a tuple of tensors, or a ValueError that says what is wrong.

    rows: how many it must have, None for any; vocabulary: ids lie below it, None where
    the model does not say.
    """
    if not isinstance(batch, tuple | list) or len(batch) < 2:
        raise ValueError(f"{where} must be (inputs, targets), got {type(batch)}")
    batch = tuple(torch.as_tensor(x) for x in batch)
    inputs, targets = batch[:2]
    sizes = [len(x) if x.ndim else None for x in batch]
    if len(set(sizes)) > 1 or not sizes[0]:
        raise ValueError(f"{where}: as many rows in each part needed, got {sizes}")
    if rows is not None and sizes[0] != rows:
        raise ValueError(f"{where}: batch_size = {rows} rows needed, got {sizes[0]}")
    for name, ids in {"inputs": inputs, "targets": targets}.items():
        if ids.is_floating_point() or ids.dtype == torch.bool:
            continue  # not ids; the model knows what it takes
        _in_vocabulary(ids, vocabulary, name == "targets", f"{where}: {name}")
    return batch


def _in_vocabulary(ids, vocabulary, may_ignore, what):
    if vocabulary is None:
        return
    low, high = (int(x) for x in ids.aminmax())
    if low < 0 and may_ignore:
        low = int(ids.masked_fill(ids == IGNORED, 0).min())
    if low < 0 or high >= vocabulary:
        raise ValueError(
            f"{what} must lie in 0 … {vocabulary - 1}, the model's vocabulary; "
            f"got {low if low < 0 else high}. Did another tokenizer make them?"
        )


def _text(ids, context):
    """The ids as a one-dimensional array of whole numbers, long enough for a block."""
    ids = ids.numpy() if isinstance(ids, torch.Tensor) else np.asanyarray(ids)
    if ids.ndim != 1 or ids.dtype.kind not in "iu":
        raise ValueError(
            f"ids must be a row of whole numbers, got {ids.dtype} of shape {ids.shape}"
        )
    if len(ids) < context + 1:
        raise ValueError(
            f"the text is too short: {len(ids)} tokens, and a block of {context} with "
            f"its last target needs {context + 1}; use a longer text or less context"
        )
    return ids


def _count(name, value):
    whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
    if not whole or value < 1:
        raise ValueError(f"{name} must be a whole number from 1, got {value!r}")
    return int(value)

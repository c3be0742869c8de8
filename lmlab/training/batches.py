"""Batches of a long text: pure functions of the step, or all of it in order."""

import hashlib

import numpy as np
import torch

from lmlab.arguments import whole
from lmlab.layers.losses import IGNORED


def blocks(ids, context, batch_size, seed=0):
    """A function step → (inputs, targets), both (batch_size, context) int64.

    ids (N,): the whole numbers of a text (a NumPy memory map is read where needed).
    Each row is a stretch of the text from a random place, the targets one token on.
    The places depend on seed and step alone: a run that resumes at a step sees what
    it would have seen.
    Raises ValueError when the text is shorter than a block and its last target.
    """
    context, batch_size = whole("context", context), whole("batch_size", batch_size)
    seed, ids = whole("seed", seed, 0), _text(ids, context)
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
    context, batch_size = whole("context", context), whole("batch_size", batch_size)
    ids = _text(ids, 1)
    rows = -(-(len(ids) - 1) // context)
    inputs = np.zeros(rows * context, np.int64)
    targets = np.full(rows * context, IGNORED, np.int64)
    inputs[: len(ids) - 1], targets[: len(ids) - 1] = ids[:-1], ids[1:]
    pair = (torch.from_numpy(x.reshape(rows, context)) for x in (inputs, targets))
    return list(zip(*(x.split(batch_size) for x in pair)))


def in_order(data, context, batch_size):
    """Batches for an evaluation: those that the user gave, or windows of their ids.

    Raises ValueError for no batches, and for ids without a context to cut them by.
    """
    if isinstance(data, list | tuple) and len(data) == 0:
        raise ValueError("validation: one batch or more needed, got none")
    if not isinstance(data, list | tuple) or not isinstance(data[0], list | tuple):
        if context is None:
            raise ValueError("context: how long are the blocks to cut the ids into?")
        return windows(data, context, batch_size)
    return data


def counted(targets):
    """How many targets count: an int."""
    return int((targets != IGNORED).sum())


def digest(batches):
    """A hash of all numbers in some batches, with their shapes and dtypes."""
    found = hashlib.blake2b(digest_size=8)
    for part in (torch.as_tensor(part) for batch in batches for part in batch):
        found.update(f"{tuple(part.shape)} {part.dtype}".encode())
        part = part.detach().cpu().contiguous()  # it may be a view
        found.update(part.view(-1).view(torch.uint8).numpy())
    return found.hexdigest()


def check(batch, rows, vocab_size, where):
    """The batch as a tuple of tensors, or a ValueError that says what is wrong.

    rows: how many it must have, None for any; vocab_size: ids lie below it, None where
    the model does not say.
    """
    if not isinstance(batch, tuple | list) or len(batch) < 2:
        raise ValueError(f"{where} must be (inputs, targets), got {type(batch)}")
    batch = tuple(torch.as_tensor(x) for x in batch)
    sizes = [len(x) if x.ndim else None for x in batch]
    if len(set(sizes)) > 1 or not sizes[0]:
        raise ValueError(f"{where}: as many rows in each part needed, got {sizes}")
    if rows is not None and sizes[0] != rows:
        raise ValueError(f"{where}: batch_size = {rows} rows needed, got {sizes[0]}")
    for name, ids in zip(("inputs", "targets"), batch):
        if vocab_size is None or ids.is_floating_point() or ids.dtype == torch.bool:
            continue  # not ids; the model knows what it takes
        low, high = (int(x) for x in ids.aminmax())
        if low < 0 and name == "targets":
            low = int(ids.masked_fill(ids == IGNORED, 0).min())
        if low < 0 or high >= vocab_size:
            raise ValueError(
                f"{where}: {name} must lie in 0 … {vocab_size - 1}, below the model's "
                f"vocab_size; got {low if low < 0 else high}. Did another tokenizer "
                "make them?"
            )
    return batch


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

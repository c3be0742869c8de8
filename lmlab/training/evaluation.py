"""Measuring a model without training it; why that needs care is in lesson 08."""

import contextlib
import math

import torch

from lmlab import devices
from lmlab.models.wrappers import unwrapped
from lmlab.training.batches import check, counted, windows
from lmlab.training.distributed import ALONE


def evaluate(model, data, *, context=None, batch_size=32, precision="float32"):
    """The mean loss over all counted targets of the data: nats per token, a float.

    data: a row of ids (N,), which is cut into blocks of `context` (by default the
    model's), `batch_size` at a time; or a list of (inputs, targets).
    Nothing is trained: no gradients, dropout off, the modes of all parts restored, and
    torch's random numbers are as if nothing had been drawn.
    """
    model = unwrapped(model)
    device = next(model.parameters()).device
    batches = in_order(data, context or of_config(model, "context"), batch_size)
    return measure(model, batches, autocast_for(precision, device), device)


def autocast_for(precision, device):
    """A function that makes torch's autocast context for a precision on a device."""
    precision, _ = devices.choose_precision(precision, device.type)
    if precision == "float32":
        return contextlib.nullcontext
    return lambda: torch.autocast(device.type, dtype=getattr(torch, precision))


def in_order(data, context, batch_size):
    """Batches for an evaluation, from what the user gave."""
    if isinstance(data, list | tuple) and len(data) == 0:
        raise ValueError("validation: one batch or more needed, got none")
    if not isinstance(data, list | tuple) or not isinstance(data[0], list | tuple):
        if context is None:
            raise ValueError("context: how long are the blocks to cut the ids into?")
        return windows(data, context, batch_size)
    return data


@torch.no_grad()
def measure(model, batches, autocast, device, ranks=ALONE):
    """The loss as in `evaluate`, of batches, each measured by one of the ranks."""
    modes = {module: module.training for module in model.modules()}
    vocabulary = of_config(model, "vocab_size")
    nats, tokens = [0.0], 0
    model.eval()
    try:
        with own_random_numbers(device):
            for number in range(ranks.rank, len(batches), ranks.size):
                where = f"validation batch {number}"
                batch = check(batches[number], None, vocabulary, where)
                count = counted(batch[1])
                if count:
                    with autocast():
                        loss = model.loss(*devices.to_device(batch, device))
                    nats.append(float(loss) * count)
                    tokens += count
    finally:
        for module, mode in modes.items():
            module.training = mode
    nats, tokens = ranks.sum(math.fsum(nats), tokens)
    if not tokens:
        raise ValueError("validation: no target counts, all are −100")
    return nats / tokens


@contextlib.contextmanager
def own_random_numbers(device):
    """Leave torch's generators, on the CPU and this device, as they were."""
    kind = None if device.type == "cpu" else getattr(torch, device.type)
    before = kind.get_rng_state() if kind else None
    with torch.random.fork_rng(devices=[]):  # the CPU's
        try:
            yield
        finally:
            if kind:
                kind.set_rng_state(before)


def of_config(model, name):
    """What the model's config says under this name; None where it does not."""
    return getattr(getattr(model, "config", None), name, None)

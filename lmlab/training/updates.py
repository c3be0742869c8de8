"""What is done with a batch: an update of the weights, or a measurement without one."""

import contextlib
import math
from functools import partial

import numpy as np
import torch

from lmlab import devices
from lmlab.models.wrappers import modes_kept, unwrapped
from lmlab.training.batches import check, counted, in_order
from lmlab.training.distributed import ALONE


def parameter_groups(model, weight_decay):
    """Two groups for AdamW: matrices, which decay, and the rest, which does not.

    A matrix has two dimensions or more. Embeddings are matrices too: GPT-2's token
    embedding is also its output layer, which wants decay, and nanoGPT's rule is the
    same. Biases and the scales of norms are vectors: pulling them to 0 would only
    change what the layer computes. What requires no gradient is left out.
    Raises ValueError when nothing is left to train.
    """
    trained = [p for p in model.parameters() if p.requires_grad]
    if not trained:
        raise ValueError("the model has no parameter to train (requires_grad)")
    return [
        {"params": [p for p in trained if p.ndim >= 2], "weight_decay": weight_decay},
        {"params": [p for p in trained if p.ndim < 2], "weight_decay": 0.0},
    ]


class Updates:
    """A model with its optimiser, on a device, as one of the ranks of a training."""

    def __init__(self, model, recipe, device, ranks):
        self.model, self.recipe, self.device, self.ranks = model, recipe, device, ranks
        ranks.share(recipe.batch_size // recipe.accumulate, "batch_size / accumulate")
        precision, _ = devices.choose_precision(recipe.precision, device.type)
        self.autocast = partial(devices.autocast, precision, device.type)
        half = precision == "float16"
        self.scaler = torch.amp.GradScaler(device.type, enabled=half)
        self.optimizer = torch.optim.AdamW(
            parameter_groups(model, recipe.weight_decay),
            lr=recipe.lr,
            betas=recipe.betas,
            fused=device.type in ("cpu", "cuda"),  # one pass over the weights
        )
        groups = self.optimizer.param_groups
        self.trained = [p for group in groups for p in group["params"]]

    def loss(self, batch, step):
        """(loss, gradient norm) of the whole batch; the gradients are left in place.

        Both are floats. Call `apply` next, or `zero_grad`. Raises ValueError for a
        batch of which no target counts.
        """
        tokens = counted(batch[1])
        if not tokens:
            raise ValueError(f"batch of step {step + 1}: no target counts")
        _seed(self.recipe.seed, step, self.ranks.rank, self.device)
        loss = self._backward(batch, tokens)
        gradients = [p.grad for p in self.trained]
        self.ranks.all_reduce([*gradients, loss])
        self.scaler.unscale_(self.optimizer)
        norm = torch.nn.utils.get_total_norm(gradients, foreach=True)
        return tuple(torch.stack([loss, norm.to(loss)]).tolist())  # a GPU waits once

    def _backward(self, batch, tokens):
        """Gradients of this rank's share of the loss; returns that share.

        Each piece weighs as many targets as it holds of the global batch's, so that
        the sum over pieces and ranks is the mean over all tokens.
        """
        size = len(batch[0]) // self.recipe.accumulate
        total = torch.zeros((), device=self.device)
        for start in range(0, len(batch[0]), size):
            piece = [x[start : start + size][self.ranks.share(size)] for x in batch]
            weight = counted(piece[1]) / tokens
            if not weight:
                continue
            with self.autocast():
                loss = self.model.loss(*devices.to_device(piece, self.device))
            loss = loss * weight
            self.scaler.scale(loss).backward()
            total = total + loss.detach()
        for parameter in self.trained:
            if parameter.grad is None:  # the ranks must agree on what they sum
                parameter.grad = torch.zeros_like(parameter)
        return total

    def apply(self, norm, rate):
        """Clip gradients that are `norm` long, and change the weights."""
        clip = self.recipe.clip
        if clip is not None and norm > clip:
            torch._foreach_mul_([p.grad for p in self.trained], clip / norm)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.scaler.step(self.optimizer)  # float16: not if a gradient overflowed
        self.scaler.update()
        self.zero_grad()

    def zero_grad(self):
        """Drop the gradients."""
        self.optimizer.zero_grad()


def _seed(seed, step, rank, device):
    """Seed torch for one step of one rank: no state of generators need be saved."""
    words = np.random.SeedSequence((seed, step, rank)).generate_state(1, np.uint64)
    torch.default_generator.manual_seed(int(words[0]))
    if device.type != "cpu":  # torch.manual_seed asks for every kind of device: 80 µs
        getattr(torch, device.type).manual_seed(int(words[0]))


# --- Without an update; why that needs care is in lesson 08 ---------------------------


def evaluate(model, data, *, context=None, batch_size=32, precision="float32"):
    """The mean loss over all counted targets of the data: nats per token, a float.

    data: a row of ids (N,), which is cut into blocks of `context` (by default the
    model's), `batch_size` at a time; or a list of (inputs, targets).
    Nothing is trained: no gradients, dropout off, the modes of all parts restored, and
    torch's random numbers are as if nothing had been drawn.
    Raises ValueError for data that cannot be measured, and an unknown precision.
    """
    model = unwrapped(model)
    device = next(model.parameters()).device
    precision, _ = devices.choose_precision(precision, device.type)
    batches = in_order(data, context or of_config(model, "context"), batch_size)
    autocast = partial(devices.autocast, precision, device.type)
    return measure(model, batches, autocast, device)


@torch.no_grad()
def measure(model, batches, autocast, device, ranks=ALONE):
    """The loss as in `evaluate`, of batches, each measured by one of the ranks.

    Raises ValueError for batches of which no target counts, or that `check` refuses.
    """
    vocab_size = of_config(model, "vocab_size")
    nats, tokens = [0.0], 0
    with fork_rng(device), modes_kept(model):
        model.eval()
        for number in range(ranks.rank, len(batches), ranks.size):
            where = f"validation batch {number}"
            batch = check(batches[number], None, vocab_size, where)
            count = counted(batch[1])
            if count:
                with autocast():
                    loss = model.loss(*devices.to_device(batch, device))
                nats.append(float(loss) * count)
                tokens += count
    nats, tokens = map(sum, zip(*ranks.all_gather((math.fsum(nats), tokens))))
    if not tokens:
        raise ValueError("validation: no target counts, all are −100")
    return nats / tokens


@contextlib.contextmanager
def fork_rng(device):
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

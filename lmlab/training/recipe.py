"""What a training is asked to do, and what it did: plain data, no torch."""

import math
from dataclasses import dataclass, field
from numbers import Real

import numpy as np

from lmlab import schedules
from lmlab.devices import PRECISIONS


@dataclass(frozen=True)
class Recipe:
    """How to train; everything a result depends on besides model and data.

    steps: updates of the weights. lr: the highest learning rate, reached linearly over
    the first `warmup` (a fraction of all steps), from where it falls on a cosine to
    min_lr. batch_size: rows of one update, over all processes; accumulate: into how
    many pieces it is cut to save memory, which changes nothing but rounding.
    weight_decay: of matrices only (AdamW: each update first shrinks them by lr × it).
    clip: the longest gradient (its 2-norm), None for any. precision: "float32",
    "bfloat16", "float16" (with loss scaling) or "auto". evaluate_every and
    checkpoint_every: in steps, None for only at the end; keep: how many checkpoints.
    seed: of dropout. Raises ValueError or TypeError, naming the field.
    """

    steps: int
    lr: float
    batch_size: int
    min_lr: float = 0.0
    warmup: float = 0.05
    weight_decay: float = 0.1
    betas: tuple[float, float] = (0.9, 0.95)
    clip: float | None = 1.0
    accumulate: int = 1
    precision: str = "float32"
    evaluate_every: int | None = None
    checkpoint_every: int | None = None
    keep: int = 2
    seed: int = 0

    def __post_init__(self):
        for name in ("steps", "batch_size", "accumulate", "keep"):
            _need(_whole(getattr(self, name), 1), name, "a whole number from 1", self)
        for name in ("evaluate_every", "checkpoint_every"):
            fine = getattr(self, name) is None or _whole(getattr(self, name), 1)
            _need(fine, name, "a whole number from 1, or None", self)
        _need(_whole(self.seed, 0), "seed", "a whole number from 0", self)
        _need(
            _between(self.lr, 0, math.inf) and self.lr > 0, "lr", "a number > 0", self
        )
        _need(_between(self.min_lr, 0, self.lr), "min_lr", "0 ≤ it ≤ lr", self)
        _need(_between(self.warmup, 0, 1), "warmup", "a fraction of the steps", self)
        decay = _between(self.weight_decay, 0, math.inf)
        decay = decay and self.lr * self.weight_decay < 1
        _need(decay, "weight_decay", "0 ≤ lr × it < 1", self)
        betas = isinstance(self.betas, tuple | list) and len(self.betas) == 2
        betas = betas and all(_between(b, 0, 1) and b < 1 for b in self.betas)
        _need(betas, "betas", "two numbers, 0 ≤ each < 1", self)
        object.__setattr__(self, "betas", tuple(self.betas))
        clip = self.clip is None or (_between(self.clip, 0, math.inf) and self.clip > 0)
        _need(clip, "clip", "a number > 0, or None", self)
        even = self.batch_size % self.accumulate == 0
        _need(even, "accumulate", f"a divisor of batch_size {self.batch_size}", self)
        choices = ("auto", *PRECISIONS)
        _need(self.precision in choices, "precision", " or ".join(choices), self)

    def rate(self, step):
        """The learning rate of update `step`, from 0."""
        warm = self.warmup * self.steps
        return schedules.rate(
            "cosine", step, self.steps, warm, lr=self.lr, min_lr=self.min_lr
        )


@dataclass
class History:
    """What a training did, one entry an update: what it took, and what it found.

    steps count from 1; losses, in nats per counted target, are of the batch before the
    update; grad_norms before clipping; tokens: counted targets; seconds: of training up
    to here, without evaluations and checkpoints. validation_losses were measured after
    the updates in validation_steps.
    """

    steps: list[int] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    learning_rates: list[float] = field(default_factory=list)
    grad_norms: list[float] = field(default_factory=list)
    tokens: list[int] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    validation_steps: list[int] = field(default_factory=list)
    validation_losses: list[float] = field(default_factory=list)

    def add(self, step, loss, learning_rate, grad_norm, tokens, seconds):
        """Note one update."""
        self.steps.append(step)
        self.losses.append(loss)
        self.learning_rates.append(learning_rate)
        self.grad_norms.append(grad_norm)
        self.tokens.append(tokens)
        self.seconds.append(seconds)

    @property
    def best(self):
        """(step, loss) of the lowest validation loss; None without validation."""
        pairs = zip(self.validation_losses, self.validation_steps)
        return min(
            ((step, loss) for loss, step in pairs), key=lambda x: x[1], default=None
        )

    @property
    def tokens_per_second(self):
        """Counted targets per second of training; 0 before the first update."""
        return sum(self.tokens) / self.seconds[-1] if self.seconds else 0.0


def _need(condition, name, needed, recipe):
    if not condition:
        raise ValueError(f"{name}: {needed} needed, got {getattr(recipe, name)!r}")


def _whole(value, least):
    whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
    return whole and value >= least


def _between(value, low, high):
    number = isinstance(value, Real) and not isinstance(value, bool)
    return number and math.isfinite(value) and low <= value <= high

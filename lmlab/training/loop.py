"""`fit`: train, evaluate on the way, keep checkpoints, and go on from them.

What it is told is a Recipe, what it did a History. A killed run resumes from its last
checkpoint and ends, on a CPU, with the same numbers bit for bit. Under
`torchrun --nproc_per_node=2` the same call trains on two processes (`distributed`).
Derived in lesson 08.
"""

import contextlib
import json
import math
import time
from dataclasses import asdict, dataclass, field, fields, is_dataclass

import torch

from lmlab import files, progress, schedules
from lmlab.arguments import number, one_of, whole
from lmlab.devices import PRECISIONS
from lmlab.errors import LmlabError
from lmlab.models.wrappers import modes_kept, unwrapped
from lmlab.record import curves
from lmlab.training import checkpoints
from lmlab.training.batches import check, counted, digest, in_order
from lmlab.training.checkpoints import CheckpointError
from lmlab.training.distributed import join
from lmlab.training.updates import Updates, fork_rng, measure, of_config

BEST = "best" + checkpoints.SUFFIX
_DTYPES = {list[int]: torch.int64, list[float]: torch.float64}
EVALUATED = 4096  # tokens at a time, if a training batch is not larger


class TrainingError(LmlabError):
    """The training cannot go on; the message names the step."""


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
            self._checked(whole, name)
        for name in ("evaluate_every", "checkpoint_every"):
            if getattr(self, name) is not None:
                self._checked(whole, name)
        self._checked(whole, "seed", 0)
        self._checked(number, "lr", "(0, inf)")
        self._checked(number, "min_lr", f"[0, {self.lr}]")
        self._checked(number, "warmup", "[0, 1]")  # of the steps
        self._checked(number, "weight_decay", "[0, inf)")
        if self.lr * self.weight_decay >= 1:
            raise ValueError(
                f"weight_decay must be below 1 / lr, got {self.weight_decay}: "
                "an update would turn the weights round"
            )
        if not isinstance(self.betas, tuple | list) or len(self.betas) != 2:
            raise TypeError(f"betas must be two numbers, got {self.betas!r}")
        betas = tuple(number("each of betas", b, "[0, 1)") for b in self.betas)
        object.__setattr__(self, "betas", betas)
        if self.clip is not None:
            self._checked(number, "clip", "(0, inf)")
        if self.batch_size % self.accumulate:
            raise ValueError(
                f"accumulate must be a divisor of batch_size {self.batch_size}, "
                f"got {self.accumulate}"
            )
        self._checked(one_of, "precision", ("auto", *PRECISIONS))

    def _checked(self, check, name, *bounds):
        object.__setattr__(self, name, check(name, getattr(self, name), *bounds))

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

    @property
    def best(self):
        """(step, loss) of the lowest validation loss; None without validation."""
        pairs = zip(self.validation_steps, self.validation_losses)
        return min(pairs, key=lambda pair: pair[1], default=None)

    @property
    def tokens_per_second(self):
        """Counted targets per second of training; 0 before the first update."""
        return sum(self.tokens) / self.seconds[-1] if self.seconds else 0.0


def fit(
    model, batches, recipe, *, validation=None, folder=None, resume=False,
    device="cpu", tensorboard=None, log=None,
):  # fmt: skip
    """Train the model in place, on the device, and return the History.

    batches: a pure function of the step, from 0, that returns (inputs, targets) of one
    update, recipe.batch_size rows, as `blocks` makes them; targets that are −100 don't
    count. More parts, such as masks, go to model.loss as they are.
    validation: ids (N,) or a list of batches, measured as recipe.evaluate_every says.
    folder: for checkpoints, and for the weights of the lowest validation loss, in
    best.safetensors; they can go on as another training (checkpoints.load_model).
    resume: go on from the newest checkpoint in the folder, if there
    is one; without it, a folder that holds checkpoints is refused.
    tensorboard: a folder for curves. log(record) is called after each update with a
    dict of step, loss, lr, grad_norm, seconds, tokens_per_second, and validation_loss
    when there is one.
    What is wrapped around the model, by torch.compile or DataParallel or their like,
    is left aside: the module inside is trained as it is, and its names are saved.
    Dropout's random numbers depend on recipe.seed, the step and the process alone; the
    caller's generators stay as they were.
    Raises ValueError for what cannot be trained, CheckpointError for what cannot be
    resumed or saved, and TrainingError, with the last checkpoint untouched, when loss
    or gradient is no longer finite.
    """
    model = unwrapped(model)
    ranks, device = join(device)
    with modes_kept(model), fork_rng(device):
        run = _Run(model, batches, recipe, validation, folder, ranks, device)
        run.start(resume)
        steps, watching = recipe.steps, ranks.first
        with _journal(run.step, steps, watching, tensorboard, log) as note:
            while run.step < steps:
                note(run.advance())
    return run.history


TAGS = {  # in TensorBoard, of what a record holds
    "loss": "train/loss",
    "lr": "train/lr",
    "grad_norm": "train/grad_norm",
    "tokens_per_second": "train/tokens_per_second",
    "validation_loss": "validation/loss",
}


@contextlib.contextmanager
def _journal(step, steps, watching, tensorboard, log):
    """A function that takes each update's record: to the bar, TensorBoard and `log`.

    step: the last one of a run that is resumed; watching: whether this process shows
    anything. The rest is as in `fit`.
    """
    if not watching:
        yield lambda record: None
        return
    with contextlib.ExitStack() as opened:
        events = None
        if tensorboard is not None:
            events = opened.enter_context(curves(tensorboard, step))
        bar = progress.bar(desc="training", total=steps, unit="step")
        opened.callback(bar.close)
        bar.initial = bar.n = step

        def note(record):
            speed = f"{record['tokens_per_second']:,.0f}"
            shown = {"loss": f"{record['loss']:.3f}", "tokens/s": speed}
            bar.set_postfix(shown, refresh=False)
            bar.update()
            if events is not None:
                points = {TAGS[key]: record[key] for key in TAGS if key in record}
                events.scalars(points, record["step"])
            if log is not None:
                log(record)

        yield note


class _Run:
    """One training: what it works on, and how far it has come."""

    def __init__(self, model, batches, recipe, validation, folder, ranks, device):
        self.model, self.recipe, self.batches = model.to(device), recipe, batches
        self.ranks, self.device = ranks, device
        self.step, self.history = 0, History()
        self.folder = None if folder is None else files.given(folder)
        self.vocab_size = of_config(model, "vocab_size")
        self.updates = Updates(model, recipe, device, ranks)
        first = self.batch(0)
        self.validation = None
        if validation is not None:
            tokens = first[0][0].numel()
            rows = max(recipe.batch_size // recipe.accumulate, EVALUATED // tokens)
            self.validation = in_order(validation, tokens, rows)
        self.about = self.describe(first)

    def batch(self, step):
        """The global batch of a step, checked."""
        rows, where = self.recipe.batch_size, f"batch of step {step + 1}"
        return check(self.batches(step), rows, self.vocab_size, where)

    def describe(self, first):
        """What must be the same when a run is resumed, as JSON gives it back."""
        again = self.batch(0)
        if not all(torch.equal(a, b) for a, b in zip(first, again)):
            raise ValueError(
                "batches must be a pure function of the step: two calls for step 0 "
                "differ, so that no run could be resumed or shared among processes"
            )
        config = getattr(self.model, "config", None)
        free = ("checkpoint_every", "keep")  # these change no number
        about = {
            "recipe": {k: v for k, v in asdict(self.recipe).items() if k not in free},
            "model": asdict(config) if is_dataclass(config) else {},
            "data": {
                "shape of a batch": str([tuple(x.shape) for x in first]),
                "first batch": digest([first]),
                "validation": self.validation and digest(self.validation),
            },
        }
        return json.loads(json.dumps(about, default=str))

    def start(self, resume):
        """From the beginning, or from the newest checkpoint; all ranks alike."""
        if resume and not self.folder:
            raise ValueError("folder: resume=True needs to know where from")
        there = checkpoints.found(self.folder) if self.folder else []
        if there and not resume:
            raise CheckpointError(
                f"{self.folder} holds a training already, at {there[-1].stem}: "
                "resume=True goes on with it; to begin anew choose another folder"
            )
        if there:
            self.restore(there[-1])
        for rank, other in enumerate(self.ranks.all_gather([self.step, self.about])):
            if other != [self.step, self.about]:
                raise ValueError(
                    "model, recipe, data or checkpoint differs between rank "
                    f"{self.ranks.rank} and rank {rank}"
                )
        self.ranks.broadcast(checkpoints.model_tensors(self.model).values())
        self.model.train()

    def restore(self, path):
        """Go on from a checkpoint of the same training."""
        tensors, about = checkpoints.read(path)
        for part, here in self.about.items():
            differences = checkpoints.compare(about.get(part, {}), here)
            if differences:
                raise CheckpointError(
                    f"{path} cannot be resumed, the {part} differs: {differences}. "
                    "To go on from its weights with what you have now, train in a new "
                    "folder: fit after checkpoints.load_model(model, path), or "
                    f"python -m lmlab.training --weights {path}"
                )
        if about.get("last batch") != digest([self.batch(about["step"] - 1)]):
            raise CheckpointError(
                f"{path} cannot be resumed, the data differs: its last batch, of step "
                f"{about['step']}, is another here. Pass the batches it was made with"
            )
        checkpoints.restore_model(self.model, tensors, path)
        checkpoints.restore_optimizer(self.model, self.updates.optimizer, tensors)
        self.updates.scaler.load_state_dict(about["scaler"])
        self.history = History(
            **{f.name: tensors[f"history.{f.name}"].tolist() for f in fields(History)}
        )
        self.step = about["step"]

    def save(self, last_batch):
        """Write a checkpoint; last_batch: the digest of the batch just trained on."""
        tensors = {
            **checkpoints.model_tensors(self.model),
            **checkpoints.optimizer_tensors(self.model, self.updates.optimizer),
        }
        for f in fields(History):
            values = getattr(self.history, f.name)
            tensors[f"history.{f.name}"] = torch.tensor(values, dtype=_DTYPES[f.type])
        about = self.about | {
            "scaler": self.updates.scaler.state_dict(),
            "last batch": last_batch,
        }
        checkpoints.save(self.folder, self.step, tensors, about, keep=self.recipe.keep)

    def advance(self):
        """One update with all that belongs to it; returns its record."""
        started = time.perf_counter()
        rate, batch = self.recipe.rate(self.step), self.batch(self.step)
        saving = self.folder and self.ranks.first
        saving = saving and self.due(self.recipe.checkpoint_every, self.step + 1)
        seen = saving and digest([batch])  # before a loss might write into it
        loss, norm = self.updates.loss(batch, self.step)
        self.must_be_finite(loss, norm)
        self.updates.apply(norm, rate)
        self.step += 1
        took, tokens = time.perf_counter() - started, counted(batch[1])
        record = {"step": self.step, "loss": loss, "lr": rate, "grad_norm": norm}
        record["seconds"] = took + (self.history.seconds or [0.0])[-1]
        record["tokens_per_second"] = tokens / took
        history = self.history
        history.steps.append(self.step)
        history.losses.append(loss)
        history.learning_rates.append(rate)
        history.grad_norms.append(norm)
        history.tokens.append(tokens)
        history.seconds.append(record["seconds"])
        evaluating = self.due(self.recipe.evaluate_every, self.step)
        if self.validation is not None and evaluating:
            record["validation_loss"] = self.evaluate()
        if saving:
            self.save(seen)
        return record

    def due(self, every, step):
        """Whether something that is done every so many steps is to be done then."""
        last = step == self.recipe.steps
        return last or (every is not None and step % every == 0)

    def must_be_finite(self, loss, norm):
        """Stop before anything bad reaches the weights."""
        scaler = self.updates.scaler  # float16 leaves such updates out, and scales less
        skipped = scaler.is_enabled() and scaler.get_scale() >= 1
        if math.isfinite(loss) and (math.isfinite(norm) or skipped):
            return
        what = "gradient" if math.isfinite(loss) else "loss"
        kept = f"; what is in {self.folder} is untouched" if self.folder else ""
        self.updates.zero_grad()
        raise TrainingError(
            f"the {what} of step {self.step + 1} is not finite (loss {loss}, gradient "
            f"norm {norm}). The weights are those of step {self.step}{kept}. Try a "
            "lower lr, a longer warmup or clip=1.0, or look at this step's batch"
        )

    def evaluate(self):
        """Measure the validation loss, and keep the weights if it is the lowest."""
        loss = measure(
            self.model, self.validation, self.updates.autocast, self.device, self.ranks
        )
        if not math.isfinite(loss):
            raise TrainingError(f"the validation loss of step {self.step} is {loss}")
        best, history = self.history.best, self.history
        history.validation_steps.append(self.step)
        history.validation_losses.append(loss)
        better = best is None or loss < best[1]
        if better and self.folder and self.ranks.first:
            tensors = checkpoints.model_tensors(self.model)
            about = self.about | {"step": self.step, "validation_loss": loss}
            checkpoints.write(self.folder / BEST, tensors, about)
        return loss

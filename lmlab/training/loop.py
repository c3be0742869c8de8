"""`fit`: train, evaluate on the way, keep checkpoints, and go on from them.

A killed run resumes from its last checkpoint and ends, on a CPU, with the same numbers
bit for bit. Under `torchrun --nproc_per_node=2` the same call trains on two processes
(`distributed`). Derived in lesson 08.
"""

import hashlib
import json
import math
import time
from dataclasses import asdict, fields, is_dataclass

import torch

from lmlab import files
from lmlab.models.wrappers import unwrapped
from lmlab.training import checkpoints
from lmlab.training.batches import check, counted
from lmlab.training.checkpoints import CheckpointError
from lmlab.training.distributed import join
from lmlab.training.evaluation import (
    in_order,
    measure,
    of_config,
    own_random_numbers,
)
from lmlab.training.journal import Journal
from lmlab.training.recipe import History
from lmlab.training.updates import Updates

BEST = "best" + checkpoints.SUFFIX
_DTYPES = {list[int]: torch.int64, list[float]: torch.float64}
EVALUATED = 4096  # tokens at a time, if a training batch is not larger


class TrainingError(RuntimeError):
    """The training cannot go on; the message names the step."""


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
    modes = {module: module.training for module in model.modules()}
    try:
        with own_random_numbers(device):
            run = _Run(model, batches, recipe, validation, folder, ranks, device)
            run.start(resume)
            steps, watching = recipe.steps, ranks.first
            with Journal(
                run.step, steps, watching=watching, tensorboard=tensorboard, log=log
            ) as journal:
                while run.step < steps:
                    journal.note(run.advance())
    finally:
        for module, mode in modes.items():
            module.training = mode
    return run.history


class _Run:
    """One training: what it works on, and how far it has come."""

    def __init__(self, model, batches, recipe, validation, folder, ranks, device):
        self.model, self.recipe, self.batches = model.to(device), recipe, batches
        self.ranks, self.device = ranks, device
        self.step, self.history = 0, History()
        self.folder = None if folder is None else files.given(folder)
        self.vocabulary = of_config(model, "vocab_size")
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
        return check(self.batches(step), rows, self.vocabulary, where)

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
                "first batch": _digest([first]),
                "validation": self.validation and _digest(self.validation),
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
        self.ranks.agree("model, recipe, data or checkpoint", [self.step, self.about])
        self.ranks.copy_from_first_(checkpoints.model_tensors(self.model).values())
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
                    f"train_gpt --weights {path}"
                )
        if about.get("last batch") != _digest([self.batch(about["step"] - 1)]):
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
        digest = saving and _digest([batch])  # before a loss might write into it
        loss, norm = self.updates.loss(batch, self.step)
        self.must_be_finite(loss, norm)
        self.updates.apply(norm, rate)
        self.step += 1
        tokens = counted(batch[1])
        took = time.perf_counter() - started
        seconds = took + (self.history.seconds or [0.0])[-1]
        self.history.add(self.step, loss, rate, norm, tokens, seconds)
        record = {"step": self.step, "loss": loss, "lr": rate, "grad_norm": norm}
        record |= {"seconds": seconds, "tokens_per_second": tokens / took}
        evaluating = self.due(self.recipe.evaluate_every, self.step)
        if self.validation is not None and evaluating:
            record["validation_loss"] = self.evaluate()
        if saving:
            self.save(digest)
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
        self.updates.forget()
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


def _digest(batches):
    """A hash of all numbers in some batches, with their shapes and dtypes."""
    digest = hashlib.blake2b(digest_size=8)
    for batch in batches:
        for part in map(torch.as_tensor, batch):
            digest.update(f"{tuple(part.shape)} {part.dtype}".encode())
            part = part.detach().cpu().contiguous()  # it may be a view
            digest.update(part.view(-1).view(torch.uint8).numpy())
    return digest.hexdigest()

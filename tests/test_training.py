"""lmlab.training against a plain loop; resuming, several processes, bad input."""

import dataclasses
import math
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lmlab import devices
from lmlab.errors import LmlabError
from lmlab.models.gpt import GPT, Config
from lmlab.models.wrappers import unwrapped
from lmlab.training import (
    History,
    Recipe,
    TrainingError,
    blocks,
    checkpoints,
    evaluate,
    fit,
    loop,
    parameter_groups,
    windows,
)
from lmlab.training.batches import counted
from lmlab.training.checkpoints import CheckpointError

CONFIG = Config(vocab_size=23, context=8, num_layers=2, num_heads=2, width=12)
TEXT = np.random.default_rng(5).integers(23, size=400)
RECIPE = Recipe(steps=6, lr=1e-2, batch_size=6, warmup=0.4, evaluate_every=3)


def gpt(dropout=0.0, dtype=torch.float64, seed=3):
    torch.manual_seed(seed)
    config = dataclasses.replace(CONFIG, dropout=dropout)
    return GPT(config).to(dtype)


def make_blocks(batch_size=6, context=7):
    return blocks(TEXT, context, batch_size, seed=1)


def ragged(step):
    """Rows of different length: where the second half of the rows is nearly empty."""
    ids, targets = make_blocks()(step)
    targets = targets.clone()
    targets[3:, 2:] = -100
    targets[5] = -100
    return ids, targets


def flat(tensors):
    return torch.cat([t.detach().flatten() for t in tensors])


def weights(model):
    return flat(model.parameters())


class Linear(nn.Module):
    """A module that is no GPT: three-class labels, a mask as a third part."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 3)

    def loss(self, x, y, mask):
        logits = self.layer(x * mask)
        return F.cross_entropy(logits, y)


# --- What an update is ----------------------------------------------------------------


def plain_loop(model, batches, recipe):
    """The same training, written with torch's own parts and no more."""
    matrices = [p for p in model.parameters() if p.ndim > 1]
    vectors = [p for p in model.parameters() if p.ndim == 1]
    optimizer = torch.optim.AdamW(
        [{"params": matrices}, {"params": vectors, "weight_decay": 0.0}],
        lr=recipe.lr,
        betas=recipe.betas,
        weight_decay=recipe.weight_decay,
    )
    losses, norms, rates = [], [], []
    for step in range(recipe.steps):
        warm = recipe.warmup * recipe.steps
        if step < warm:
            rate = min(recipe.lr, recipe.lr * (step + 1) / warm)
        else:
            x = (step - warm) / (recipe.steps - warm)
            rate = recipe.min_lr
            rate += 0.5 * (recipe.lr - recipe.min_lr) * (1 + math.cos(math.pi * x))
        for group in optimizer.param_groups:
            group["lr"] = rate
        ids, targets = batches(step)
        logits = model(ids)
        loss = F.cross_entropy(logits.flatten(0, 1), targets.flatten())
        optimizer.zero_grad()
        loss.backward()
        norms.append(float(flat(p.grad for p in model.parameters()).norm()))
        for parameter in model.parameters():  # torch's clipping adds 1e-6 to the norm
            parameter.grad *= min(1.0, recipe.clip / norms[-1])
        optimizer.step()
        losses.append(float(loss.detach()))
        rates.append(rate)
    return losses, norms, rates


@pytest.mark.parametrize("batches", [make_blocks(), ragged])
@pytest.mark.parametrize("accumulate", [1, 2, 3, 6])
def test_updates_equal_a_plain_loop_whatever_the_accumulation(batches, accumulate):
    # clip is near the norms, so that some gradients are clipped and others not
    recipe = dataclasses.replace(
        RECIPE, accumulate=accumulate, clip=0.9, min_lr=2e-3, weight_decay=0.5
    )
    theirs, ours = gpt(), gpt()
    losses, norms, rates = plain_loop(theirs, batches, recipe)
    assert min(norms) < 0.9 < max(norms)
    history = fit(ours, batches, recipe)
    assert history.losses == pytest.approx(losses, rel=1e-9)
    assert history.grad_norms == pytest.approx(norms, rel=1e-9)
    assert history.learning_rates == pytest.approx(rates, rel=1e-12)
    torch.testing.assert_close(weights(ours), weights(theirs), atol=1e-9, rtol=0)
    assert (weights(ours) - weights(gpt())).abs().max() > 1e-3
    assert history.steps == [1, 2, 3, 4, 5, 6]
    assert history.tokens == [counted(batches(step)[1]) for step in range(6)]
    assert history.seconds == sorted(history.seconds)


def test_a_mean_of_means_would_be_noticed():
    ids, targets = ragged(0)
    model = gpt().requires_grad_(False)
    whole = model.loss(ids, targets)
    halves = [model.loss(ids[i : i + 3], targets[i : i + 3]) for i in (0, 3)]
    assert abs(float(whole - sum(halves) / 2)) > 1e-3


def test_in_float32_accumulation_changes_only_the_rounding():
    runs = [
        fit(gpt(dtype=torch.float32), ragged, dataclasses.replace(RECIPE, accumulate=n))
        for n in (1, 3)
    ]
    assert runs[0].losses == pytest.approx(runs[1].losses, rel=1e-5)


def test_only_matrices_decay_and_frozen_parameters_are_left_alone():
    model = gpt()
    model.blocks[0].requires_grad_(False)
    model.token_embedding.weight.requires_grad_(False)
    decayed, rest = parameter_groups(model, 0.3)
    assert decayed["weight_decay"] == 0.3
    assert rest["weight_decay"] == 0.0
    names = {id(p): name for name, p in model.named_parameters()}
    assert {names[id(p)] for p in decayed["params"]} == {
        "position_embedding.weight",
        "blocks.1.attention.qkv.weight",
        "blocks.1.attention.output.weight",
        "blocks.1.mlp.up.weight",
        "blocks.1.mlp.down.weight",
    }
    assert all(p.ndim == 1 for p in rest["params"])
    before = {name: p.clone() for name, p in model.named_parameters()}
    fit(model, make_blocks(), RECIPE)
    for name, parameter in model.named_parameters():
        frozen = name.startswith(("blocks.0", "token"))
        assert torch.equal(parameter, before[name]) == frozen
    model.requires_grad_(False)
    with pytest.raises(ValueError, match="no parameter to train"):
        fit(model, make_blocks(), RECIPE)


def test_no_clipping_without_clip():
    first, second = gpt(), gpt()
    fit(first, make_blocks(), dataclasses.replace(RECIPE, clip=None))
    fit(second, make_blocks(), dataclasses.replace(RECIPE, clip=1e9))
    assert torch.equal(weights(first), weights(second))


def test_the_rate_rises_to_lr_and_falls_to_min_lr():
    recipe = Recipe(steps=100, lr=0.5, batch_size=1, min_lr=0.1, warmup=0.1)
    rates = [recipe.rate(step) for step in range(100)]
    assert rates[0] == pytest.approx(0.05)
    assert rates[9] == rates[10] == max(rates) == 0.5
    assert rates[55] == pytest.approx(0.3)
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert 0.1 < rates[-1] < 0.101
    assert recipe.rate(100) == recipe.rate(150) == pytest.approx(0.1)
    assert Recipe(steps=3, lr=1, batch_size=1, warmup=0).rate(0) == 1
    assert Recipe(steps=1, lr=1, batch_size=1).rate(0) == 1


def test_any_module_with_a_loss_can_be_trained():
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(8, 4, generator=rng)
    y = x[:, :3].argmax(1)
    mask = torch.ones(8, 4)
    mask[:, 3] = 0
    torch.manual_seed(0)
    recipe = Recipe(steps=60, lr=0.3, batch_size=8, accumulate=2, weight_decay=0.0)
    history = fit(
        Linear(), lambda step: (x, y, mask), recipe, validation=[(x, y, mask)]
    )
    assert history.losses[-1] < 0.1 < history.losses[0]
    assert history.validation_losses[-1] < 0.1


# --- Precision ------------------------------------------------------------------------


def test_bfloat16_is_float32_within_its_rounding():
    exact = fit(gpt(dtype=torch.float32), make_blocks(), RECIPE)
    recipe = dataclasses.replace(RECIPE, precision="bfloat16")
    model = gpt(dtype=torch.float32)
    rough = fit(model, make_blocks(), recipe)
    assert model.blocks[0].mlp.up.weight.dtype == torch.float32
    assert rough.losses != exact.losses
    assert rough.losses == pytest.approx(exact.losses, rel=0.01)  # 8 bits of mantissa


def test_float16_scales_the_loss_and_leaves_out_what_overflows(monkeypatch):
    # A GPU's path on the CPU, which `choose_precision` refuses since it is slow there
    monkeypatch.setattr(devices, "choose_precision", lambda p, d: (p, "for the test"))
    recipe = dataclasses.replace(RECIPE, precision="float16", steps=12)
    model = gpt(dtype=torch.float32)
    mean = model.loss
    model.loss = lambda ids, targets: 1000 * mean(ids, targets)  # large gradients
    before, seen = weights(model), []
    history = fit(
        model, make_blocks(), recipe, log=lambda record: seen.append(weights(model))
    )
    # The first scale, 65,536, is too much for float16: the update is left out.
    assert not math.isfinite(history.grad_norms[0])
    assert torch.equal(seen[0], before)
    assert math.isfinite(history.grad_norms[-1])
    assert not torch.equal(seen[-1], before)
    assert all(map(math.isfinite, history.losses))


def test_float16_that_no_scale_can_save_stops(monkeypatch):
    monkeypatch.setattr(devices, "choose_precision", lambda p, d: (p, "for the test"))
    model = gpt(dtype=torch.float32)
    mean = model.loss
    model.loss = lambda ids, targets: 1e9 * mean(ids, targets)
    recipe = dataclasses.replace(RECIPE, precision="float16", steps=40)
    with pytest.raises(TrainingError, match="the gradient of step 18 is not finite"):
        fit(model, make_blocks(), recipe)  # after 65,536 was halved 17 times


# --- Evaluation -----------------------------------------------------------------------


def test_evaluation_is_the_mean_over_all_tokens_whatever_the_batches():
    model = gpt()
    expected = []
    for start in range(0, len(TEXT) - 1, 8):
        ids, after = TEXT[start : start + 8], TEXT[start + 1 : start + 9]
        ids = torch.from_numpy(ids[: len(after)])
        logp = model(ids[None]).log_softmax(-1)[0].detach()
        expected += (-logp[range(len(after)), torch.from_numpy(after)]).tolist()
    assert len(expected) == len(TEXT) - 1
    for batch_size in (1, 7, 32):
        found = evaluate(model, TEXT, batch_size=batch_size)
        assert found == pytest.approx(np.mean(expected), rel=1e-12)
    assert evaluate(model, TEXT.tolist()) == found
    batches = [ragged(0), make_blocks(2)(1)]
    parts = [float(model.loss(x, y, reduction="sum").detach()) for x, y in batches]
    expected = sum(parts) / sum(counted(y) for _, y in batches)
    assert evaluate(model, batches) == pytest.approx(expected, rel=1e-12)


def test_windows_make_every_token_a_target_once():
    for length in (2, 8, 9, 10, 30):
        pairs = windows(np.arange(length), context=8, batch_size=2)
        ids = torch.cat([x for x, _ in pairs])
        targets = torch.cat([y for _, y in pairs])
        counts = targets != -100
        assert targets[counts].tolist() == list(range(1, length))
        assert torch.equal(ids[counts] + 1, targets[counts])


def test_evaluation_cannot_train():
    model = gpt(dropout=0.4).train()
    model.blocks[1].eval()
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    before, state = weights(model), torch.get_rng_state()
    modes = [module.training for module in model.modules()]
    assert evaluate(model, TEXT) == evaluate(model, TEXT)  # no dropout
    assert torch.equal(torch.get_rng_state(), state)
    assert [module.training for module in model.modules()] == modes
    assert torch.equal(weights(model), before)
    assert all((p.grad == 1).all() for p in model.parameters())
    with pytest.raises(ValueError, match="vocab_size"):
        evaluate(model, TEXT + 1000)
    assert [module.training for module in model.modules()] == modes


def test_evaluating_changes_nothing_in_a_training_with_dropout():
    quiet, watched = gpt(dropout=0.3), gpt(dropout=0.3)
    one = fit(quiet, make_blocks(), dataclasses.replace(RECIPE, evaluate_every=None))
    two = fit(
        watched,
        make_blocks(),
        dataclasses.replace(RECIPE, evaluate_every=1),
        validation=TEXT[:50],
    )
    assert one.losses == two.losses
    assert torch.equal(weights(quiet), weights(watched))
    assert one.validation_losses == []
    assert two.validation_steps == two.steps
    assert two.validation_losses[-1] == evaluate(watched, TEXT[:50], context=7)
    assert two.best == min(
        zip(two.validation_steps, two.validation_losses), key=lambda x: x[1]
    )


def test_the_callers_random_numbers_and_modes_are_left_alone():
    model = gpt(dropout=0.3).eval()
    state = torch.get_rng_state()
    first = fit(model, make_blocks(), RECIPE)
    assert torch.equal(torch.get_rng_state(), state)
    assert not any(module.training for module in model.modules())
    torch.manual_seed(99)
    again = fit(gpt(dropout=0.3), make_blocks(), RECIPE)
    other = fit(gpt(dropout=0.3), make_blocks(), dataclasses.replace(RECIPE, seed=1))
    assert first.losses == again.losses
    assert first.losses[0] != other.losses[0]


# --- What is seen ---------------------------------------------------------------------


def test_quiet_unless_watched(capfd, monkeypatch):
    monkeypatch.setenv("LMLAB_PROGRESS", "0")
    fit(gpt(), make_blocks(), RECIPE)
    assert capfd.readouterr() == ("", "")
    monkeypatch.setenv("LMLAB_PROGRESS", "1")

    def slowly(step):  # a bar that moves on is drawn at most ten times a second
        time.sleep(0.01)
        return make_blocks()(step)

    fit(gpt(), slowly, dataclasses.replace(RECIPE, steps=40))
    shown = capfd.readouterr().err
    for word in ("training", "/40", "loss=", "tokens/s=", "<"):  # "<": time left
        assert word in shown


def test_the_log_gets_a_record_of_each_update():
    records = []
    history = fit(
        gpt(), make_blocks(), RECIPE, validation=TEXT[:60], log=records.append
    )
    assert [r["step"] for r in records] == history.steps
    assert [r["loss"] for r in records] == history.losses
    assert [r["lr"] for r in records] == history.learning_rates
    assert [r["grad_norm"] for r in records] == history.grad_norms
    measured = {r["step"]: r["validation_loss"] for r in records if len(r) > 6}
    assert list(measured) == history.validation_steps == [3, 6]
    assert list(measured.values()) == history.validation_losses
    assert all(r["tokens_per_second"] > 0 for r in records)
    assert history.tokens_per_second > 0
    assert History().tokens_per_second == 0


def scalars(folder):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(folder))
    found.Reload()
    return {
        tag: [(e.step, e.value) for e in found.Scalars(tag)]
        for tag in found.Tags()["scalars"]
    }


class Stop(Exception):
    pass


def stop_at(step):
    def log(record):
        if record["step"] == step:
            raise Stop

    return log


def test_tensorboard_shows_each_step_once_also_after_a_resume(tmp_path):
    recipe = dataclasses.replace(RECIPE, checkpoint_every=2)
    given = {"validation": TEXT[:60], "folder": tmp_path / "run"}
    given["tensorboard"] = tmp_path / "curves"
    with pytest.raises(Stop):
        fit(gpt(), make_blocks(), recipe, **given, log=stop_at(5))
    history = fit(gpt(), make_blocks(), recipe, **given, resume=True)
    curves = scalars(tmp_path / "curves")
    assert [step for step, _ in curves["train/loss"]] == history.steps
    expected = np.float32(history.losses).tolist()
    assert [value for _, value in curves["train/loss"]] == expected
    assert [step for step, _ in curves["validation/loss"]] == [3, 6]
    assert len(curves["train/lr"]) == len(curves["train/grad_norm"]) == 6
    assert all(speed > 0 for _, speed in curves["train/tokens_per_second"])


# --- Resuming -------------------------------------------------------------------------


def same(run, other):
    """Whether two histories are equal but for the seconds."""
    return dataclasses.replace(run, seconds=[]) == dataclasses.replace(
        other, seconds=[]
    )


@pytest.mark.parametrize("step", [1, 2, 5, 6])
def test_a_stopped_run_goes_on_as_if_nothing_had_happened(tmp_path, step):
    recipe = dataclasses.replace(RECIPE, accumulate=2, checkpoint_every=2)
    whole = gpt(dropout=0.3, dtype=torch.float32)
    expected = fit(whole, make_blocks(), recipe, validation=TEXT[:60])
    given = {"validation": TEXT[:60], "folder": tmp_path}
    with pytest.raises(Stop):
        fit(
            gpt(dropout=0.3, dtype=torch.float32),
            make_blocks(), recipe, **given, log=stop_at(step),
        )  # fmt: skip
    # Another start does not matter, since the weights come from the checkpoint …
    model = gpt(dropout=0.3, dtype=torch.float32, seed=3 if step == 1 else 4)
    history = fit(model, make_blocks(), recipe, **given, resume=True)
    assert same(history, expected)
    assert torch.equal(weights(model), weights(whole))
    # … and a finished run has nothing left to do.
    model = gpt(dropout=0.3, dtype=torch.float32, seed=5)
    assert fit(model, make_blocks(), recipe, **given, resume=True) == history
    assert torch.equal(weights(model), weights(whole))
    best = gpt(dropout=0.3, dtype=torch.float32, seed=6)
    about = checkpoints.load_model(best, tmp_path / loop.BEST)
    assert (about["step"], about["validation_loss"]) == history.best
    assert evaluate(best, TEXT[:60], context=7) == history.best[1]


CHILD = """
import sys
import numpy as np, torch
from lmlab.models.gpt import GPT, Config
from lmlab.training import Recipe, blocks, fit

torch.manual_seed(3)
model = GPT(Config(23, context=8, num_layers=2, num_heads=2, width=12, dropout=0.2))
text = np.random.default_rng(5).integers(23, size=400)
recipe = Recipe(
    steps=60, lr=1e-2, batch_size=6, accumulate=3, evaluate_every=7, checkpoint_every=5
)
fit(
    model, blocks(text, 7, 6, seed=1), recipe, validation=text[:60], folder=sys.argv[1],
    resume=True, log=lambda record: print(record["step"], flush=True),
)
"""


def child(folder, kill_after=None):
    """Train in a process of its own; kill it once it has said that step."""
    with subprocess.Popen(
        [sys.executable, "-W", "error", "-c", CHILD, folder],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        for line in process.stdout:
            if int(line) == kill_after:
                process.send_signal(signal.SIGKILL)
    return process.returncode


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL")
def test_a_killed_run_ends_with_the_same_bits(tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert child(whole) == 0
    steps = sorted(random.sample(range(1, 55), 2))
    for step in steps:
        assert child(killed, kill_after=step) == -signal.SIGKILL, steps
    assert child(killed) == 0
    names = [path.name for path in sorted(whole.iterdir())]
    assert names == [path.name for path in sorted(killed.iterdir())]
    assert names == [
        "best.safetensors",
        *[f"step-000000{n}.safetensors" for n in (55, 60)],
    ]
    for name in names:
        expected, about = checkpoints.read(whole / name)
        found, other = checkpoints.read(killed / name)
        assert other == about, steps
        assert list(found) == list(expected)
        for key in set(found) - {"history.seconds"}:
            assert torch.equal(found[key], expected[key]), (key, steps)
    assert len(found["history.losses"]) == 60


def changed_at(changed):
    """The same batches but for one: another text with the same beginning."""
    return lambda step: (make_blocks() if step != changed else ragged)(step)


def test_a_folder_that_holds_a_training_is_not_overwritten(tmp_path):
    fit(gpt(), make_blocks(), RECIPE, folder=tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(CheckpointError, match=r"step-00000006: resume=True goes on"):
        fit(gpt(), make_blocks(), RECIPE, folder=tmp_path)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"recipe": {"lr": 0.5}}, r"recipe differs: lr is 0\.01 there and 0\.5 here"),
        ({"recipe": {"accumulate": 2}}, r"recipe differs: accumulate is 1 there and 2"),
        ({"recipe": {"batch_size": 3}, "batches": make_blocks(3)}, "batch_size is 6"),
        ({"batches": make_blocks(context=5)}, r"shape of a batch is \[\(6, 7"),
        ({"batches": blocks(TEXT[::-1], 7, 6, 1)}, "data differs: first batch is"),
        ({"batches": changed_at(5)}, r"data differs: its last batch, of step 6"),
        ({"validation": TEXT[60:120]}, r"data differs: validation is \w+ there and \w"),
        ({"validation": None}, r"data differs: validation is \w+ there and None here"),
        ({"recipe": {"steps": 9}}, r"steps is 6 there and 9 here\. To go on from its "),
        ({"config": {"num_heads": 3}}, "model differs: num_heads is 2 there and 3 "),
        ({"config": {"width": 16}}, "model differs: width is 12 there and 16 here"),
    ],
)  # fmt: skip
def test_another_training_is_not_resumed(tmp_path, change, said):
    fit(gpt(), make_blocks(), RECIPE, validation=TEXT[:60], folder=tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    model = GPT(dataclasses.replace(CONFIG, **change.get("config", {}))).double()
    recipe = dataclasses.replace(RECIPE, **change.get("recipe", {}))
    start = weights(model)
    with pytest.raises(CheckpointError, match=said):
        fit(
            model, change.get("batches", make_blocks()), recipe,
            validation=change.get("validation", TEXT[:60]),
            folder=tmp_path, resume=True,
        )  # fmt: skip
    assert torch.equal(weights(model), start)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_training_goes_on_longer_from_its_weights_in_another_folder(tmp_path):
    model, longer = gpt(), gpt(seed=9)
    fit(model, make_blocks(), RECIPE, folder=tmp_path / "short")
    checkpoints.load_model(longer, checkpoints.found(tmp_path / "short")[-1])
    assert torch.equal(weights(longer), weights(model))
    recipe = dataclasses.replace(RECIPE, steps=9)
    history = fit(longer, make_blocks(), recipe, folder=tmp_path / "long", resume=True)
    assert history.steps == list(range(1, 10))


class Wrapper(nn.Module):
    """As FSDP and DDP have it: the module inside, whose loss it does not pass on."""

    def __init__(self, module):
        super().__init__()
        self.module = module


@pytest.mark.parametrize(
    "wrap",
    [
        lambda model: torch.compile(model, backend="eager"),
        nn.DataParallel,
        Wrapper,
        lambda model: Wrapper(torch.compile(model, backend="eager")),
    ],
)
def test_what_is_wrapped_around_a_model_changes_nothing(tmp_path, wrap):
    plain = gpt()
    expected = fit(plain, make_blocks(), RECIPE, validation=TEXT[:60])
    model = gpt()
    given = {"validation": TEXT[:60], "folder": tmp_path}
    recipe = dataclasses.replace(RECIPE, checkpoint_every=2)
    with pytest.raises(Stop):
        fit(wrap(model), make_blocks(), recipe, **given, log=stop_at(4))
    resumed = gpt(seed=8)
    history = fit(resumed, make_blocks(), recipe, **given, resume=True)
    assert same(history, expected)
    assert torch.equal(weights(resumed), weights(plain))
    again = gpt(seed=7)
    checkpoints.load_model(wrap(again), checkpoints.found(tmp_path)[-1])
    assert torch.equal(weights(again), weights(plain))
    assert evaluate(wrap(again), TEXT[:60], context=7) == history.validation_losses[-1]


def compile_parts(model):
    model.blocks[0] = torch.compile(model.blocks[0], backend="eager")
    model.blocks[1].mlp.up = torch.compile(model.blocks[1].mlp.up, backend="eager")
    return model


@pytest.mark.filterwarnings("ignore:The .grad attribute")  # of torch's compiler about
@pytest.mark.filterwarnings("ignore:.*should not be instantiated")  # what it does
def test_parts_of_a_model_may_be_compiled(tmp_path):
    expected = fit(gpt(), make_blocks(), RECIPE, validation=TEXT[:60])
    given = {"validation": TEXT[:60], "folder": tmp_path}
    recipe = dataclasses.replace(RECIPE, checkpoint_every=2)
    with pytest.raises(Stop):
        fit(compile_parts(gpt()), make_blocks(), recipe, **given, log=stop_at(2))
    with pytest.raises(Stop):  # a plain model goes on, then one in parts again
        fit(gpt(seed=8), make_blocks(), recipe, **given, resume=True, log=stop_at(4))
    resumed = compile_parts(gpt(seed=9))
    history = fit(resumed, make_blocks(), recipe, **given, resume=True)
    np.testing.assert_allclose(history.losses, expected.losses, rtol=1e-9)
    again = compile_parts(gpt(seed=7))
    checkpoints.load_model(again, checkpoints.found(tmp_path)[-1])
    assert torch.equal(weights(again), weights(resumed))


def test_a_module_whose_only_part_is_called_module_keeps_its_own_loss():
    class Mine(nn.Module):
        def __init__(self):
            super().__init__()
            self.module = nn.Linear(4, 3)

        def loss(self, x, y):
            return F.cross_entropy(self.module(x), y)

    model = Mine()
    assert unwrapped(model) is model
    assert unwrapped(nn.DataParallel(model)) is model
    sequential = nn.Sequential(nn.Linear(2, 2))
    assert unwrapped(sequential) is sequential


def columns(step):
    """Views of a larger table: every 9th number, and one number for all."""
    table = torch.arange(54).reshape(6, 9) % 23
    return table[:, :1], table[:, 1:2]


def spread(step):
    return torch.full((6, 1), 3), torch.tensor(5).expand(6, 1)


@pytest.mark.parametrize("batches", [columns, spread])
def test_batches_may_be_views(tmp_path, batches):
    recipe = dataclasses.replace(RECIPE, checkpoint_every=2)
    own = [part.clone() for part in batches(0)]
    expected = fit(gpt(), lambda step: own, recipe)
    with pytest.raises(Stop):
        fit(gpt(), batches, recipe, folder=tmp_path, log=stop_at(3))
    again = fit(gpt(), lambda step: own, recipe, folder=tmp_path, resume=True)
    assert same(again, expected)


def test_saving_asks_for_no_batch_again(tmp_path):
    asked, batches = [], make_blocks()

    def counting(step):
        asked.append(step)
        return batches(step)

    recipe = dataclasses.replace(RECIPE, checkpoint_every=1)
    fit(gpt(), counting, recipe, folder=tmp_path)
    assert asked == [0, 0, *range(6)]  # twice at first: is it a function of the step?


class Spoiling(GPT):
    """Its loss writes into the batch that it is given."""

    def loss(self, inputs, targets):
        loss = super().loss(inputs.clone(), targets.clone())
        inputs.zero_()
        return loss


def test_a_batch_is_noted_as_it_was_before_the_update(tmp_path):
    recipe = dataclasses.replace(RECIPE, checkpoint_every=2)
    expected = fit(Spoiling(CONFIG), make_blocks(), recipe)
    assert len(expected.losses) == 6
    with pytest.raises(Stop):
        fit(Spoiling(CONFIG), make_blocks(), recipe, folder=tmp_path, log=stop_at(4))
    again = fit(Spoiling(CONFIG), make_blocks(), recipe, folder=tmp_path, resume=True)
    assert again.steps == expected.steps


def test_how_often_to_save_may_change(tmp_path):
    recipe = dataclasses.replace(RECIPE, checkpoint_every=2)
    with pytest.raises(Stop):
        fit(gpt(), make_blocks(), recipe, folder=tmp_path, log=stop_at(5))
    recipe = dataclasses.replace(RECIPE, checkpoint_every=1, keep=3)
    model = gpt()
    history = fit(model, make_blocks(), recipe, folder=tmp_path, resume=True)
    assert same(history, fit(gpt(), make_blocks(), RECIPE))
    assert [p.stem[-1] for p in checkpoints.found(tmp_path)] == ["4", "5", "6"]


class Diverging(GPT):
    """Its loss is no number from some step on."""

    def __init__(self, config, step, gradient_only=False):
        super().__init__(config)
        self.left, self.gradient_only = step, gradient_only

    def loss(self, ids, targets):
        self.left -= self.training
        loss = super().loss(ids, targets)
        if self.left >= 0:
            return loss
        if self.gradient_only:  # √0 is 0, its derivative is not a number
            return loss + (self.final_norm.bias * 0).sum().abs().sqrt()
        return loss * math.nan


@pytest.mark.parametrize("gradient_only", [False, True])
def test_a_loss_that_is_no_number_stops_the_training(tmp_path, gradient_only):
    model = Diverging(CONFIG, 4, gradient_only)
    recipe = dataclasses.replace(RECIPE, checkpoint_every=1)
    seen = []
    what = "gradient" if gradient_only else "loss"
    with pytest.raises(TrainingError, match=rf"the {what} of step 5 is not finite.*lr"):
        fit(
            model, make_blocks(), recipe, folder=tmp_path,
            log=lambda record: seen.append(weights(model)),
        )  # fmt: skip
    assert torch.equal(weights(model), seen[3])  # those of step 4
    assert [p.stem[-1] for p in checkpoints.found(tmp_path)] == ["3", "4"]
    saved, _ = checkpoints.read(checkpoints.found(tmp_path)[-1])
    assert torch.equal(saved["model.final_norm.bias"], model.final_norm.bias)


class Silent(GPT):
    """It has nothing to say where it is not trained."""

    def loss(self, ids, targets):
        return super().loss(ids, targets) * (1 if self.training else math.nan)


def test_a_validation_loss_that_is_no_number_stops_the_training(tmp_path):
    with pytest.raises(TrainingError, match="validation loss of step 3 is nan"):
        fit(Silent(CONFIG), make_blocks(), RECIPE, validation=TEXT, folder=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_errors_are_of_one_family():
    assert issubclass(TrainingError, LmlabError)
    assert issubclass(CheckpointError, LmlabError)


def test_resuming_needs_a_folder():
    with pytest.raises(ValueError, match="folder: resume=True"):
        fit(gpt(), make_blocks(), RECIPE, resume=True)


# --- Several processes ----------------------------------------------------------------

RANK = """
import sys
import numpy as np, torch
from lmlab.models.gpt import GPT, Config
from lmlab.training import Recipe, blocks, distributed, fit

torch.manual_seed(3 + int(sys.argv[3]))
model = GPT(Config(23, context=8, num_layers=2, num_heads=2, width=12)).double()
text = np.random.default_rng(5).integers(23, size=400)
batches = blocks(text, 7, 6, seed=1)

def ragged(step):
    ids, targets = batches(step)
    targets = targets.clone()
    targets[3:, 2:] = -100
    return ids, targets

recipe = Recipe(
    steps=6, lr=1e-2, batch_size=int(sys.argv[2]), accumulate=3, warmup=0.4,
    evaluate_every=3, checkpoint_every=4,
)
fit(
    model, ragged, recipe, validation=text[:300], folder=sys.argv[1], resume=True,
    tensorboard=sys.argv[1] + "/curves", log=lambda record: print(record["step"]),
)
distributed.leave()
"""


def torchrun(tmp_path, *arguments, ranks=2):
    script = tmp_path / "rank.py"
    script.write_text(RANK)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    return subprocess.run(
        [*command, f"--nproc_per_node={ranks}", str(script), *map(str, arguments)],
        env=os.environ | {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"},
        capture_output=True,
        text=True,
        timeout=200,
    )


def ragged_more(step):
    ids, targets = make_blocks()(step)
    targets = targets.clone()
    targets[3:, 2:] = -100
    return ids, targets


@pytest.mark.skipif(sys.platform != "linux", reason="gloo by way of lo")
def test_two_processes_train_as_one(tmp_path):
    recipe = dataclasses.replace(RECIPE, accumulate=3, checkpoint_every=4)
    model = gpt()
    alone = fit(model, ragged_more, recipe, validation=TEXT[:300])
    folder = tmp_path / "run"
    done = torchrun(tmp_path, folder, 6, 0)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == list("123456")  # the first rank alone speaks
    assert len(list((folder / "curves").iterdir())) == 1
    tensors, _ = checkpoints.read(checkpoints.found(folder)[-1])
    # float64: sums in another order; 1e-9 after six updates of AdamW
    for name in ("losses", "grad_norms", "validation_losses"):
        found = tensors[f"history.{name}"].tolist()
        assert found == pytest.approx(getattr(alone, name), rel=1e-9)
    assert tensors["history.tokens"].tolist() == alone.tokens
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(
            tensors[f"model.{name}"], parameter.data, atol=1e-9, rtol=0
        )
    # one process goes on where two have stopped
    checkpoints.found(folder)[-1].unlink()
    resumed = gpt()
    history = fit(
        resumed, ragged_more, recipe, validation=TEXT[:300], folder=folder, resume=True
    )
    assert history.losses == pytest.approx(alone.losses, rel=1e-9)
    torch.testing.assert_close(weights(resumed), weights(model), atol=1e-9, rtol=0)


@pytest.mark.skipif(sys.platform != "linux", reason="gloo by way of lo")
def test_a_batch_that_two_processes_cannot_share_is_refused(tmp_path):
    done = torchrun(tmp_path, tmp_path / "run", 9, 0)
    assert done.returncode != 0
    assert "batch_size / accumulate must be a multiple of the number" in done.stderr
    assert not (tmp_path / "run").exists()


# --- On a GPU -------------------------------------------------------------------------

no_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")


@pytest.mark.gpu
@no_gpu
def test_a_gpu_trains_as_the_cpu_does():
    ours, theirs = gpt(), gpt()
    expected = fit(theirs, ragged, RECIPE, validation=TEXT[:60])
    history = fit(ours, ragged, RECIPE, validation=TEXT[:60], device="cuda")
    assert ours.final_norm.weight.device.type == "cuda"
    for name in ("losses", "grad_norms", "validation_losses"):  # float64
        assert getattr(history, name) == pytest.approx(
            getattr(expected, name), rel=1e-9
        )
    torch.testing.assert_close(weights(ours).cpu(), weights(theirs), atol=1e-9, rtol=0)


@pytest.mark.gpu
@no_gpu
@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_a_gpu_trains_in_half_precision(precision):
    recipe = dataclasses.replace(RECIPE, precision=precision)
    exact = fit(gpt(dtype=torch.float32), make_blocks(), RECIPE)
    model = gpt(dtype=torch.float32)
    rough = fit(model, make_blocks(), recipe, device="cuda")
    assert model.final_norm.weight.dtype == torch.float32
    assert rough.losses != exact.losses
    assert rough.losses == pytest.approx(exact.losses, rel=0.02)


@pytest.mark.gpu
@no_gpu
def test_a_gpu_resumes_and_leaves_the_callers_random_numbers_alone(tmp_path):
    recipe = dataclasses.replace(RECIPE, checkpoint_every=2)
    options = {"folder": tmp_path, "device": "cuda"}
    state = torch.cuda.get_rng_state()
    expected = fit(gpt(dropout=0.3), make_blocks(), recipe, device="cuda")
    with pytest.raises(Stop):
        fit(gpt(dropout=0.3), make_blocks(), recipe, **options, log=stop_at(5))
    again = fit(gpt(dropout=0.3), make_blocks(), recipe, **options, resume=True)
    assert again.losses == pytest.approx(expected.losses, rel=1e-9)
    assert torch.equal(torch.cuda.get_rng_state(), state)


# --- Bad input ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("steps", 0, "steps must be a whole number from 1, got 0"),
        ("steps", True, "steps"),
        ("steps", 2.5, "steps"),
        ("lr", -1e-3, r"lr must be a number in \(0, inf\), got -0\.001"),
        ("lr", 0, "lr"),
        ("lr", math.nan, "lr"),
        ("lr", "0.1", "lr"),
        ("min_lr", 0.2, r"min_lr must be a number in \[0, 0\.01\], got 0\.2"),
        ("warmup", 1.5, r"warmup must be a number in \[0, 1\]"),
        ("warmup", 100, "warmup"),
        ("weight_decay", -1, "weight_decay"),
        ("weight_decay", 1e3, "weight_decay must be below 1 / lr, got 1000.0"),
        ("betas", (0.9, 1.0), r"each of betas must be a number in \[0, 1\), got 1"),
        ("betas", 0.9, "betas must be two numbers"),
        ("clip", 0, "clip"),
        ("batch_size", 0, "batch_size"),
        ("accumulate", 4, "accumulate must be a divisor of batch_size 6, got 4"),
        ("accumulate", 0, "accumulate"),
        ("precision", "float8", "one of auto, float32, bfloat16, float16; got 'float8"),
        ("evaluate_every", 0, "evaluate_every"),
        ("checkpoint_every", -1, "checkpoint_every"),
        ("keep", 0, "keep"),
        ("seed", -1, "seed must be a whole number from 0"),
    ],
)
def test_a_recipe_that_cannot_be_is_refused(field, value, said):
    no_number = value in (True, 2.5, "0.1") or (field, value) == ("betas", 0.9)
    with pytest.raises(TypeError if no_number else ValueError, match=said):
        dataclasses.replace(RECIPE, **{field: value})


def test_numbers_of_numpy_make_the_same_recipe():
    made = Recipe(np.int64(6), np.float64(1e-2), np.int32(6), betas=[0.9, 0.95])
    assert made == Recipe(6, 1e-2, 6)
    assert type(made.steps) is int  # a checkpoint's JSON holds no other
    assert made.betas == (0.9, 0.95)


def shapes(step):
    ids, targets = make_blocks()(step)
    return ids, targets[:4]


def beyond(step):
    ids, targets = make_blocks()(step)
    return ids, targets + 20 * (step == 2)


counter = iter(range(100))


@pytest.mark.parametrize(
    ("batches", "said"),
    [
        (lambda step: make_blocks(5)(step), "batch_size = 6 rows needed, got 5"),
        (shapes, r"batch of step 1: as many rows in each part needed, got \[6, 4\]"),
        (beyond, "batch of step 3: targets must lie in 0 … 22, below .*vocab_size"),
        (lambda step: make_blocks()(step)[0], r"must be \(inputs, targets\)"),
        (lambda step: make_blocks()(next(counter)), "pure function of the step"),
        (lambda step: (make_blocks()(step)[0], torch.full((6, 7), -100)), "no target"),
        (lambda step: (make_blocks()(step)[0] - 5, torch.zeros(6, 7)), "got -"),
    ],
)
def test_batches_that_cannot_be_trained_on_are_refused(batches, said):
    with pytest.raises(ValueError, match=said):
        fit(gpt(), batches, RECIPE)


def test_texts_that_cannot_be_cut_are_refused():
    with pytest.raises(ValueError, match=r"too short: 8 tokens.*needs 9"):
        blocks(np.arange(8), 8, 2)
    assert blocks(np.arange(9), 8, 2)(0)[1].tolist() == [list(range(1, 9))] * 2
    with pytest.raises(ValueError, match="whole numbers"):
        blocks(np.ones(50), 8, 2)
    with pytest.raises(ValueError, match="whole numbers"):
        blocks(np.ones((5, 5), int), 8, 2)
    with pytest.raises(ValueError, match="context"):
        blocks(TEXT, 0, 2)
    with pytest.raises(TypeError, match="batch_size must be a whole number from 1"):
        blocks(TEXT, 8, True)
    with pytest.raises(TypeError, match="seed"):
        blocks(TEXT, 8, 2, seed=None)
    with pytest.raises(ValueError, match="too short: 1 tokens"):
        evaluate(gpt(), TEXT[:1])
    with pytest.raises(ValueError, match="one batch or more"):
        evaluate(gpt(), [])
    with pytest.raises(ValueError, match="no target counts"):
        evaluate(gpt(), [(torch.zeros(1, 3).long(), torch.full((1, 3), -100))])
    with pytest.raises(ValueError, match="precision must be one of"):
        evaluate(gpt(), TEXT, precision="float8")
    with pytest.raises(ValueError, match="float16 on a CPU"):
        fit(gpt(), make_blocks(), dataclasses.replace(RECIPE, precision="float16"))


def test_blocks_depend_on_seed_and_step_alone_and_read_memory_maps(tmp_path):
    np.save(tmp_path / "ids.npy", TEXT.astype(np.uint16))
    mapped = np.load(tmp_path / "ids.npy", mmap_mode="r")
    one, two = blocks(TEXT, 7, 6, seed=1), blocks(mapped, 7, 6, seed=1)
    later = one(5)
    assert torch.equal(later[0], two(5)[0])
    assert torch.equal(one(5)[1], later[1])
    assert not torch.equal(one(4)[0], later[0])
    assert not torch.equal(blocks(TEXT, 7, 6, seed=2)(5)[0], later[0])
    assert torch.equal(later[0][:, 1:], later[1][:, :-1])
    starts = {
        int(row[0])
        for step in range(300)
        for row in blocks(np.arange(30), 7, 6)(step)[0]
    }
    assert starts == set(range(23))  # every place, the last one too


def test_folders_may_lie_in_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    fit(gpt(), make_blocks(), RECIPE, folder="~/run", tensorboard="~/run/curves")
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
    assert len(list((tmp_path / "run" / "curves").iterdir())) == 1
    assert len(checkpoints.found(tmp_path / "run")) == 1


def test_the_checkpoint_folder_is_a_path_or_a_name(tmp_path):
    fit(gpt(), make_blocks(), RECIPE, folder=str(tmp_path / "a" / "b"))
    assert len(checkpoints.found(Path(tmp_path / "a" / "b"))) == 1

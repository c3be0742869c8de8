"""Checkpoints: whole or not at all, whatever happens while one is written."""

import io
import json
import os
import pickle
import random
import signal
import subprocess
import sys
import time

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from lmlab.models.gpt import GPT, Config
from lmlab.training import Recipe, checkpoints, fit
from lmlab.training.checkpoints import CheckpointError

TENSORS = {"model.weight": torch.arange(6.0).reshape(2, 3), "step": torch.tensor(7)}


class Tied(nn.Module):
    """Shared weights, a buffer that is saved and one that is not, several dtypes."""

    def __init__(self, seed):
        super().__init__()
        torch.manual_seed(seed)
        self.embedding = nn.Embedding(5, 3)
        self.output = nn.Linear(3, 5, bias=False)
        self.output.weight = self.embedding.weight
        self.scale = nn.Parameter(torch.randn(2, 2).bfloat16())
        self.norm = nn.BatchNorm1d(3)
        self.norm.running_mean += seed
        self.register_buffer("mask", torch.ones(3), persistent=False)


def optimizer_of(model):
    return torch.optim.AdamW(model.parameters(), lr=0.1, fused=True)


def take_steps(model, optimizer, number):
    for _ in range(number):
        sum((p.float() ** 2).sum() for p in model.parameters()).backward()
        optimizer.step()
        optimizer.zero_grad()


def test_what_is_saved_comes_back_bit_for_bit(tmp_path):
    model, other = Tied(1), Tied(2)
    optimizer = optimizer_of(model)
    take_steps(model, optimizer, 3)
    path = checkpoints.save(
        tmp_path,
        3,
        checkpoints.model_tensors(model)
        | checkpoints.optimizer_tensors(model, optimizer),
        {"loss": 0.1 + 0.2, "name": "grüße"},
    )
    assert path.name == "step-00000003.safetensors"
    tensors, about = checkpoints.read(path)
    assert about == {"loss": 0.1 + 0.2, "name": "grüße", "step": 3, "format": 1}
    assert "model.output.weight" not in tensors  # the embedding's, once
    assert "model.mask" not in tensors
    checkpoints.restore_model(other, tensors, path)
    assert other.output.weight is other.embedding.weight
    for (name, expected), found in zip(
        model.state_dict().items(), other.state_dict().values()
    ):
        assert found.dtype == expected.dtype
        assert torch.equal(found, expected), name
    again = optimizer_of(other)
    checkpoints.restore_optimizer(other, again, tensors)
    take_steps(model, optimizer, 2)
    take_steps(other, again, 2)
    for expected, found in zip(model.parameters(), other.parameters()):
        assert torch.equal(found, expected)


def test_only_the_newest_are_kept(tmp_path):
    for step in (9, 10, 100, 1000):
        checkpoints.save(tmp_path, step, TENSORS, {}, keep=3)
    assert [p.stem for p in checkpoints.found(tmp_path)] == [
        "step-00000010",
        "step-00000100",
        "step-00001000",
    ]
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(
        p.name for p in checkpoints.found(tmp_path)
    )


@pytest.mark.skipif(os.name != "posix", reason="rights of POSIX")
@pytest.mark.parametrize("mask", [0o022, 0o077])
def test_whoever_may_read_the_users_files_may_read_a_checkpoint(tmp_path, mask):
    before = os.umask(mask)
    try:
        path = checkpoints.save(tmp_path, 1, TENSORS, {})
        (tmp_path / "plain").touch()
    finally:
        os.umask(before)
    assert path.stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_a_home_folder_is_one(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    path = checkpoints.save("~/run", 1, TENSORS, {})
    assert path == tmp_path / "run" / "step-00000001.safetensors"
    assert checkpoints.found("~/run") == [path]
    assert checkpoints.read("~/run/step-00000001.safetensors")[1]["step"] == 1
    with pytest.raises(ValueError, match="~no-such-user/run: "):
        checkpoints.found("~no-such-user/run")


def test_a_checkpoint_runs_no_code_and_anyone_can_read_it(tmp_path):
    from safetensors import safe_open

    path = checkpoints.save(tmp_path, 1, TENSORS, {})
    with safe_open(path, "np") as file:
        assert file.get_tensor("model.weight").tolist() == [[0, 1, 2], [3, 4, 5]]
        assert json.loads(file.metadata()["lmlab"])["step"] == 1


class SharedMemory(nn.Module):
    """Two parameters that are one memory, and a buffer that is a view of another."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(5, 3)
        self.head = nn.Linear(3, 5, bias=False)
        self.head.weight.data = self.embedding.weight.data
        self.register_buffer("mask", torch.rand(4, 4))
        self.register_buffer("row", self.mask[1])
        self.register_buffer("none", torch.zeros(0))
        self.register_buffer("nothing", torch.zeros(0))


def test_memory_that_is_shared_is_saved_once_and_views_as_they_are(tmp_path):
    model, other = SharedMemory(), SharedMemory()
    path = checkpoints.save(tmp_path, 1, checkpoints.model_tensors(model), {})
    tensors, _ = checkpoints.read(path)
    assert "model.head.weight" not in tensors
    assert tensors["model.row"].tolist() == model.mask[1].tolist()
    assert {"model.none", "model.nothing"} <= set(tensors)
    checkpoints.load_model(other, path)
    for name, expected in model.state_dict().items():
        assert torch.equal(other.state_dict()[name], expected), name


class Spread(nn.Module):
    """Buffers of which several numbers are one in memory."""

    def __init__(self, value):
        super().__init__()
        self.weight = nn.Parameter(torch.full((3,), value))
        self.register_buffer("row", torch.full((1,), value).expand(5))
        column = torch.tensor([[value], [value + 1]])
        self.register_buffer("table", column.expand(2, 4))
        self.register_buffer("same", self.weight.data[:1].expand(7))

    def loss(self, x, y):
        return ((self.weight * x + self.row[:3] - y.float()) ** 2).mean()


def test_numbers_that_are_one_in_memory_are_saved_and_loaded(tmp_path):
    model, other = Spread(1.0), Spread(4.0)
    path = checkpoints.save(tmp_path, 1, checkpoints.model_tensors(model), {})
    checkpoints.load_model(other, path)
    for name, expected in model.state_dict().items():
        assert torch.equal(other.state_dict()[name], expected), name
    assert other.row.stride() == (0,)  # and takes no more memory than before


def test_a_training_with_such_numbers_is_resumed(tmp_path):
    def batches(step):
        return torch.arange(6.0).reshape(2, 3) + step, torch.ones(2, 3)

    recipe = Recipe(steps=4, lr=0.1, batch_size=2, checkpoint_every=2)
    expected = Spread(1.0)
    fit(expected, batches, recipe, folder=tmp_path)
    checkpoints.found(tmp_path)[-1].unlink()
    again = Spread(2.0)
    fit(again, batches, recipe, folder=tmp_path, resume=True)
    assert torch.equal(again.weight, expected.weight)
    assert torch.equal(again.row, expected.row)


def test_nothing_is_copied_before_all_fits(tmp_path):
    model, other = Spread(1.0), Spread(4.0)
    model.row = torch.arange(5.0)
    path = checkpoints.save(tmp_path, 1, checkpoints.model_tensors(model), {})
    before = {name: t.clone() for name, t in other.state_dict().items()}
    with pytest.raises(CheckpointError, match=r"row is \(5,\) .* and \(1,\)"):
        checkpoints.load_model(other, path)
    for name, expected in before.items():
        assert torch.equal(other.state_dict()[name], expected), name


def test_a_checkpoint_in_memory_is_the_one_on_the_disk(tmp_path):
    model, other = Tied(1), Tied(2)
    tensors = checkpoints.model_tensors(model)
    file = io.BytesIO()
    assert checkpoints.save(file, 3, tensors, {"name": "grüße"}) is file
    path = checkpoints.save(tmp_path, 3, tensors, {"name": "grüße"})
    file.seek(0)
    found, about = checkpoints.read(file)
    expected, known = checkpoints.read(path)
    assert about == known
    assert set(found) == set(expected)
    assert all(torch.equal(found[name], expected[name]) for name in found)
    file.seek(0)
    assert checkpoints.load_model(other, file)["step"] == 3
    assert torch.equal(other.scale, model.scale)
    with open(path, "rb") as opened:
        assert checkpoints.load_model(Tied(4), opened) == known


@pytest.mark.parametrize("what", ["cut short", "empty", "text", "a pickle"])
def test_a_damaged_file_in_memory_says_so(tmp_path, what):
    file = io.BytesIO()
    checkpoints.write(file, TENSORS, {})
    content, said = damaged(file.getvalue())[what]
    with pytest.raises(CheckpointError, match=f"this BytesIO.*{said}"):
        checkpoints.read(io.BytesIO(content))


class Counting(torch.optim.Optimizer):
    """Keeps Python numbers, None and a tensor of a dtype other than the parameter's."""

    def __init__(self, parameters):
        super().__init__(parameters, {"lr": 0.1})

    @torch.no_grad()
    def step(self):
        for p in self.param_groups[0]["params"]:
            state = self.state[p]
            if not state:
                state |= {"number": 0, "decay": 1.0, "first": None, "warm": False}
                state["sum"] = torch.zeros_like(p, dtype=torch.float64)
            state["number"] += 1
            state["decay"] *= 0.1 + 1 / 3
            state["warm"] = state["number"] > 2
            state["sum"] += p.grad.double() * state["decay"]
            p -= (state["sum"] * (0.5 if state["warm"] else 0.1)).to(p)


def test_an_optimizer_that_keeps_numbers_is_resumed_exactly(tmp_path):
    model, other = Tied(1), Tied(2)
    optimizer = Counting(model.parameters())
    take_steps(model, optimizer, 2)
    kept = checkpoints.optimizer_tensors(model, optimizer)
    path = checkpoints.save(tmp_path, 2, checkpoints.model_tensors(model) | kept, {})
    tensors, _ = checkpoints.read(path)
    checkpoints.restore_model(other, tensors, path)
    again = Counting(other.parameters())
    checkpoints.restore_optimizer(other, again, tensors)
    for p, q in zip(model.parameters(), other.parameters()):
        for key, value in optimizer.state[p].items():
            found = again.state[q][key]
            assert type(found) is type(value)
            if isinstance(value, torch.Tensor):
                assert found.dtype == value.dtype
                assert torch.equal(found, value)
            else:
                assert found == value
    take_steps(model, optimizer, 2)
    take_steps(other, again, 2)
    assert all(map(torch.equal, model.parameters(), other.parameters()))


@pytest.mark.parametrize("value", [[1, 2], 2**70, "text"])
def test_what_no_checkpoint_can_hold_is_named(value):
    model = nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    optimizer.state[model.weight]["odd"] = value
    with pytest.raises(CheckpointError, match="as odd of weight: no checkpoint can"):
        checkpoints.optimizer_tensors(model, optimizer)


# --- Written whole or not at all ------------------------------------------------------


@pytest.mark.skipif(os.name != "posix", reason="a limit on the size of files")
def test_a_write_that_fails_leaves_the_last_good_one(tmp_path):
    import resource

    checkpoints.save(tmp_path, 1, TENSORS, {})
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    large = {"model.weight": torch.zeros(300_000)}
    kept = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, kept[1]))  # as a full disk
    try:
        with pytest.raises(CheckpointError) as caught:
            checkpoints.save(tmp_path, 2, large, {}, keep=1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, kept)
    assert "cannot write" in str(caught.value)
    assert "step-00000001.safetensors, is untouched; make room" in str(caught.value)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before
    checkpoints.save(tmp_path, 2, large, {}, keep=1)
    assert [p.stem[-1] for p in checkpoints.found(tmp_path)] == ["2"]


def test_a_folder_that_cannot_be_is_told(tmp_path):
    (tmp_path / "file").write_text("here already")
    with pytest.raises(CheckpointError, match=r"cannot write .*file: name a folder"):
        checkpoints.save(tmp_path / "file" / "run", 1, TENSORS, {})
    assert (tmp_path / "file").read_text() == "here already"


SAVES = """
import sys, torch
from lmlab.training import checkpoints
for step in range(1, 100_000):
    tensors = {"model.weight": torch.full((500_000,), float(step))}
    checkpoints.save(sys.argv[1], step, tensors, {})
    print(step, flush=True)
"""


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL")
def test_a_kill_at_any_moment_leaves_a_whole_checkpoint(tmp_path):
    for _ in range(3):
        with subprocess.Popen(
            [sys.executable, "-c", SAVES, tmp_path], stdout=subprocess.PIPE, text=True
        ) as process:
            for line in process.stdout:
                if line == "3\n":
                    time.sleep(random.uniform(0, 0.02))  # somewhere in a later save
                    process.send_signal(signal.SIGKILL)
        found = checkpoints.found(tmp_path)
        assert found
        for path in found:
            tensors, about = checkpoints.read(path)
            assert (tensors["model.weight"] == about["step"]).all()
            assert about["step"] == int(path.stem[5:])
    # What was being written when the process died goes with the next save.
    (tmp_path / ".best.safetensors.12345.part").write_bytes(b"half")
    checkpoints.save(tmp_path, 99_999_999, TENSORS, {})
    assert all(path.suffix == ".safetensors" for path in tmp_path.iterdir())


def test_no_checkpoint_is_taken_for_a_pickle(tmp_path):
    # The file begins with the length of its header, which can look like a pickle's
    # first two bytes (0x80, 0x02): also when it is cut short.
    starts = set()
    for length in range(440, 800, 8):
        path = checkpoints.save(tmp_path, 1, TENSORS, {"name": "x" * length})
        starts.add(path.read_bytes()[:2])
        assert checkpoints.read(path)[1]["name"] == "x" * length
        path.write_bytes(path.read_bytes()[:-1])
        with pytest.raises(CheckpointError, match="is damaged or cut short"):
            checkpoints.read(path)
    assert {b"\x80\x02", b"\x80\x03"} <= starts


# --- Files that are no checkpoint -----------------------------------------------------


def damaged(whole):
    """{what happened to the file: (its bytes, what is said)}."""
    return {
        "cut short": (whole[:-5], "damaged or cut short"),
        "cut in its header": (whole[:40], "damaged or cut short"),
        "empty": (b"", "damaged or cut short"),
        "text": (b"these are not the weights you are looking for", "damaged"),
        "a pickle": (pickle.dumps({"model": [1.0]}), "is a pickle, which can run"),
        "an old pickle": (pickle.dumps({"model": [1.0]}, protocol=0), "damaged"),
        "torch.save's": (b"PK\x03\x04" + whole, "is a pickle, which can run"),
    }


@pytest.mark.parametrize("what", damaged(b""))
def test_a_damaged_file_says_so(tmp_path, what):
    path = checkpoints.save(tmp_path, 1, TENSORS, {})
    content, said = damaged(path.read_bytes())[what]
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=said):
        checkpoints.read(path)


def test_a_pickle_is_not_opened(tmp_path):
    class Trap:
        def __reduce__(self):
            return (pytest.fail, ("the pickle was loaded",))

    path = tmp_path / "step-00000001.safetensors"
    torch.save({"model": Trap()}, path)
    with pytest.raises(CheckpointError, match="is a pickle"):
        checkpoints.read(path)


def test_weights_without_a_training_say_so(tmp_path):
    save_file({"weight": torch.ones(2)}, tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match="no checkpoint of a training"):
        checkpoints.read(tmp_path / "model.safetensors")


def test_a_file_that_is_not_there_says_so(tmp_path):
    with pytest.raises(CheckpointError, match=r"cannot read .*No such file"):
        checkpoints.read(tmp_path / "step-1.safetensors")
    with pytest.raises(CheckpointError, match="cannot read"):
        checkpoints.read(tmp_path)
    assert checkpoints.found(tmp_path / "nowhere") == []


def test_a_model_of_another_shape_is_named_and_left_as_it_was(tmp_path):
    small = GPT(Config(vocab_size=23, context=8, num_layers=1, num_heads=2, width=12))
    large = GPT(Config(vocab_size=23, context=8, num_layers=2, num_heads=2, width=16))
    path = checkpoints.save(tmp_path, 1, checkpoints.model_tensors(small), {})
    before = [p.clone() for p in large.parameters()]
    with pytest.raises(CheckpointError) as caught:
        checkpoints.load_model(large, path)
    said = str(caught.value)
    assert "is of another model" in said
    assert "token_embedding.weight is (23, 12) torch.float32 there" in said
    assert "and (23, 16) torch.float32 here" in said
    assert "more" in said
    assert all(map(torch.equal, before, large.parameters()))
    twin = GPT(small.config)
    assert checkpoints.load_model(twin, path)["step"] == 1
    assert all(map(torch.equal, small.parameters(), twin.parameters()))

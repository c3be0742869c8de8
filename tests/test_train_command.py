"""The command that trains on a text: it goes on where it stopped, and says why not."""

import os
import re
import subprocess
import sys

import pytest
import torch

from lmlab.models import pretrained
from lmlab.training import __main__ as train_gpt
from lmlab.training import checkpoints, evaluate

SMALL = (
    "--layers 1 --heads 2 --width 8 --context 8 --batch-size 4 --tokenizer characters"
)


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text("the quick brown fox jumps over the lazy dog. " * 40)
    return path


def arguments(text, folder, more=""):
    return f"--text {text} --folder {folder} --device cpu {SMALL} {more}".split()


def test_a_text_becomes_a_model_that_loads(text, tmp_path, capsys):
    folder = tmp_path / "run"
    options = "--steps 6 --evaluate-every 3 --checkpoint-every 3"
    train_gpt.main(arguments(text, folder, options))
    said = capsys.readouterr().out
    assert "1 process(es), cpu: asked for" in said
    assert "step      3  loss " in said
    assert "6 steps, " in said
    model, tokenizer = pretrained.load(folder / "model")
    assert tokenizer.decode(tokenizer.encode("lazy fox")) == "lazy fox"
    saved, _ = checkpoints.read(checkpoints.found(folder)[-1])
    assert torch.equal(
        saved["model.blocks.0.mlp.up.weight"], model.blocks[0].mlp.up.weight
    )
    validation = tokenizer.encode(text.read_text()[1620:])
    loss = evaluate(model, validation)
    assert f"lowest validation loss {loss:.4f} nats per token, at step 6" in said
    train_gpt.main(arguments(text, folder, options))  # there is nothing left to do
    again = capsys.readouterr().out
    assert "step      3" not in again
    assert said.splitlines()[-3:] == again.splitlines()[-3:]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("--lr -1", "lr must be a number in (0, inf), got -1.0"),
        ("--text nowhere.txt", "there is no file"),
        ("--context 5000", "the text is too short: 1620 tokens"),
        ("--tokenizer nowhere", "holds no tokenizer"),
        ("--tokenizer 20", "20"),
        ("--width 9", "num_heads must divide width"),
        ("--precision float8", "precision must be one of auto, float32"),
        ("--steps 5", "recipe differs: steps is 3 there and 5 here"),
    ],
)
def test_what_cannot_be_used_is_told_in_a_line(text, tmp_path, capsys, more, said):
    folder = tmp_path / "run"
    if "there and" in said:
        train_gpt.main(arguments(text, folder, "--steps 3"))
    with pytest.raises(SystemExit) as caught:
        train_gpt.main(arguments(text, folder, f"--steps 3 {more}"))
    assert caught.value.code == 2
    assert said in capsys.readouterr().err


def test_paths_count_from_the_working_directory(text, tmp_path, monkeypatch, capsys):
    """Also where the checkout holds a file of that name, as it does a README.md."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    text.rename("README.md")
    for name, folder in (("README.md", "run"), ("~/README.md", "~/other")):
        train_gpt.main(arguments(name, folder, "--steps 1"))
        assert "README.md: 0.00 MB of training text" in capsys.readouterr().out
    assert (tmp_path / "run" / "model").is_dir()
    assert (tmp_path / "other" / "model").is_dir()
    assert not (tmp_path / "~").exists()
    with pytest.raises(SystemExit):
        train_gpt.main(arguments("LICENSE", "more"))
    said = capsys.readouterr().err
    assert f"no file {tmp_path / 'LICENSE'} (a relative path counts from" in said
    assert "they are austen, kingjames, tang, song, english, code, " in said


def test_a_training_goes_on_longer_in_a_new_folder(text, tmp_path, capsys):
    short, long = tmp_path / "short", tmp_path / "long"
    train_gpt.main(arguments(text, short, "--steps 3"))
    with pytest.raises(SystemExit):
        train_gpt.main(arguments(text, short, "--steps 5"))
    said = capsys.readouterr().err
    advised = re.search(r"python -m lmlab.training (--weights .*safetensors)", said)[1]
    train_gpt.main(arguments(text, long, f"--steps 1 --lr 1e-12 {advised}"))
    before, _ = pretrained.load(short / "model")
    after, _ = pretrained.load(long / "model")
    for p, q in zip(before.parameters(), after.parameters()):
        torch.testing.assert_close(p, q, atol=1e-9, rtol=0)
    train_gpt.main(arguments(text, tmp_path / "again", f"--steps 1 --weights {short}"))
    with pytest.raises(SystemExit):
        train_gpt.main(arguments(text, tmp_path / "no", f"--weights {tmp_path}"))
    assert "holds no checkpoint" in capsys.readouterr().err


@pytest.mark.skipif(os.name != "posix", reason="rights of POSIX")
def test_others_can_read_all_that_it_writes(text, tmp_path):
    before = os.umask(0o022)
    try:
        train_gpt.main(arguments(text, tmp_path / "run", "--steps 2"))
    finally:
        os.umask(before)
    files = [path for path in (tmp_path / "run").rglob("*") if path.is_file()]
    assert len(files) > 5
    assert {path.stat().st_mode & 0o777 for path in files} == {0o644}


@pytest.mark.skipif(sys.platform != "linux", reason="gloo by way of lo")
def test_torchrun_trains_on_two_processes(text, tmp_path):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += ["--nproc_per_node=2", "-m", "lmlab.training"]
    done = subprocess.run(
        command + arguments(text, tmp_path / "run", "--steps 4 --evaluate-every 2"),
        env=os.environ | {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"},
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("2 process(es), cpu") == 1
    assert done.stdout.count("step      4") == 1
    assert (tmp_path / "run" / "model" / "model.safetensors").exists()

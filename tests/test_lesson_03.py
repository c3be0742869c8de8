"""Lesson 03's parameters, and the logs that it leaves for TensorBoard."""

import os
import subprocess
import sys
from pathlib import Path

import nbformat
import numpy as np
import pytest

from lmlab import devices, parameters

LESSON = Path(__file__).resolve().parent.parent / "notebooks/03_mlp_frameworks.ipynb"
SMALL = {
    "epochs": 2,
    "num_seeds": 1,
    "timing_images": 1024,
    "timing_rounds": 1,
    "device": "cpu",
}


def cells():
    notebook = nbformat.read(LESSON, as_version=4)
    return [c for c in notebook.cells if c.cell_type == "code"]


def check(**given_instead):
    """Run the cell that looks at log_folder and device, with some of them changed."""
    (given,) = [c for c in cells() if "parameters" in c.metadata.get("tags", [])]
    (judge,) = [c for c in cells() if "log_folder must be" in c.source]
    names = {"np": np, "Path": Path, "devices": devices}
    exec(given.source, names)
    names.update(given_instead)
    exec(judge.source, names)


@pytest.fixture
def _print_options():
    with np.printoptions():
        yield


@pytest.mark.usefixtures("_print_options")
def test_the_defaults_are_accepted():
    check()


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("epochs", 0, "epochs must be a whole number from 1, got 0"),
        ("batch_size", 2.5, "batch_size must be a whole number"),
        ("num_seeds", True, "num_seeds must be a whole number"),
        ("timing_images", 10, "timing_images must be a whole number from 1024"),
        ("lr", float("nan"), "lr must be a finite number above 0, got nan"),
        ("lr", "0.1", "lr must be a finite number above 0, got '0.1'"),
        ("gpu_tflops", 0.0, "gpu_tflops must be a finite number above 0"),
        ("device", "tpu", 'device must be one of "auto", "cuda", "mps", "cpu", got'),
    ],
)
def test_a_bad_parameter_is_refused_by_name(name, value, message):
    (given,) = [c for c in cells() if "parameters" in c.metadata.get("tags", [])]
    with pytest.raises(ValueError, match=message):
        parameters.check(parameters.declarations(given.source)[name], value)


def test_a_log_folder_that_is_a_file_is_refused(tmp_path):
    file = tmp_path / "logs"
    file.touch()
    with pytest.raises(ValueError, match="log_folder must be a folder"):
        check(log_folder=str(file))


@pytest.mark.timeout(600)
def test_tensorboard_reads_the_logs_that_the_lesson_leaves(tmp_path):
    logs = tmp_path / "logs"
    command = [sys.executable, "-m", "lmlab.cli", "run", "03"]
    command += ["--out", str(tmp_path / "out"), "-p", f"log_folder={logs}"]
    for name, value in SMALL.items():
        command += ["-p", f"{name}={value}"]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ)
    assert done.returncode == 0, done.stdout + done.stderr
    run = logs / "run-001"
    assert steps_and_values(run / "torch", "validation/loss") == 2
    assert steps_and_values(run / "tensorflow", "validation/loss") == 2
    assert steps_and_values(run / "keras/validation", "epoch_loss") == 2


def steps_and_values(folder, tag):
    """How many values TensorBoard reads under a tag, each of them a sensible loss."""
    code = (
        "import sys\n"
        "from tensorboard.backend.event_processing import event_accumulator as ea\n"
        "from tensorboard.util.tensor_util import make_ndarray\n"
        "events = ea.EventAccumulator(sys.argv[1]).Reload()\n"
        "if sys.argv[2] in events.Tags()['scalars']:\n"
        "    values = [e.value for e in events.Scalars(sys.argv[2])]\n"
        "else:\n"
        "    found = events.Tensors(sys.argv[2])\n"
        "    values = [float(make_ndarray(e.tensor_proto)) for e in found]\n"
        "assert all(0 < v < 3 for v in values), values\n"
        "print(len(values))\n"
    )
    command = [sys.executable, "-c", code, str(folder), tag]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return int(done.stdout)

"""Lesson 03's parameters, and the logs that its deeper part leaves for TensorBoard."""

import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from lmlab import parameters
from lmlab.runner import execute

NOTEBOOKS = Path(__file__).resolve().parent.parent / "notebooks"
CORE = NOTEBOOKS / "03_mlp_frameworks.ipynb"
DEEPER = NOTEBOOKS / "deeper" / "03_mlp_frameworks.ipynb"
SMALL = {"epochs": 2, "num_seeds": 1, "timing_images": 1024, "timing_rounds": 1}


def declared(path):
    """The notebook's parameters by name, from the cell that is tagged so."""
    cells = nbformat.read(path, as_version=4).cells
    (given,) = [c for c in cells if "parameters" in c.metadata.get("tags", [])]
    return parameters.declarations(given.source)


@pytest.mark.parametrize("path", [CORE, DEEPER], ids=["core", "deeper"])
def test_the_defaults_are_accepted(path):
    for parameter in declared(path).values():
        assert parameters.check(parameter, parameter.default) == parameter.default


@pytest.mark.parametrize(
    ("path", "name", "value", "message"),
    [
        (CORE, "epochs", 0, "epochs must be a whole number from 3, got 0"),
        (CORE, "dataset", "fashion", 'dataset must be one of "digits", "mnist", got'),
        (CORE, "batch_size", 2.5, "batch_size must be a whole number"),
        (CORE, "num_seeds", True, "num_seeds must be a whole number"),
        (CORE, "lr", float("nan"), "lr must be a finite number above 0, got nan"),
        (CORE, "lr", "0.1", "lr must be a finite number above 0, got '0.1'"),
        (CORE, "device", "tpu", 'device must be one of "auto", "cuda", "mps", "cpu"'),
        (DEEPER, "timing_images", 10, "timing_images must be a whole number from 1024"),
        (DEEPER, "log_folder", 3, "log_folder must be"),
    ],
)
def test_a_bad_parameter_is_refused_by_name(path, name, value, message):
    with pytest.raises(ValueError, match=message):
        parameters.check(declared(path)[name], value)


def run_deeper(scratch, **given):
    job = execute.Job("03 deeper", DEEPER, scratch, SMALL | {"device": "cpu"} | given)
    return execute.execute(job)


def test_a_log_folder_that_is_a_file_is_refused(tmp_path):
    file = tmp_path / "logs"
    file.touch()
    outcome = run_deeper(tmp_path / "run", log_folder=str(file))
    assert outcome.status == "failed"
    assert "NotADirectoryError" in outcome.error
    assert str(file) in outcome.error


@pytest.mark.timeout(600)
def test_tensorboard_reads_the_logs_that_the_lesson_leaves(tmp_path):
    logs = tmp_path / "logs"
    outcome = run_deeper(tmp_path / "run", log_folder=str(logs))
    assert outcome.status == "ok", outcome.error
    run = logs / "run-001"
    assert values_read(run / "torch", "validation/loss") == 2
    assert values_read(run / "tensorflow", "validation/loss") == 2
    assert values_read(run / "keras/validation", "epoch_loss") == 2


def values_read(folder, tag):
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

"""Lesson 02 on the 60,000 real images, where they can be had without the network."""

import csv
import os
import subprocess
import sys

import pytest

from lmlab import data


@pytest.fixture
def _mnist(monkeypatch):
    monkeypatch.setenv("LMLAB_OFFLINE", "1")  # the cache, or a folder as mirror
    try:
        data.fetch("mnist")
    except data.DataError:
        pytest.skip("MNIST is neither in the cache nor in LMLAB_MIRROR")


@pytest.mark.usefixtures("_mnist")
@pytest.mark.timeout(900)
def test_lesson_02_reads_mnist_at_98_percent(tmp_path):
    command = [
        sys.executable,
        "-m",
        "lmlab.cli",
        "run",
        "02",
        "--out",
        tmp_path / "out",
    ]
    for setting in ("dataset=mnist", "epochs=20", "num_seeds=1"):
        command += ["-p", setting]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ)
    assert done.returncode == 0, done.stdout + done.stderr
    with (tmp_path / "out" / "summary.csv").open(encoding="utf-8") as lines:
        (row,) = csv.DictReader(lines)
    assert float(row["headline"].rsplit(maxsplit=1)[1]) >= 0.98

"""The real MNIST, where it can be had without the network: lesson 02 reads it."""

import csv
import os
import subprocess
import sys

import numpy as np
import pytest

from lmlab import data
from lmlab.data import images


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


@pytest.mark.usefixtures("_mnist")
def test_every_embedded_digit_is_mnists_byte_for_byte():
    embedded, mnist = data.load("digits"), data.load("mnist")
    places = np.stack([np.flatnonzero(mnist.y_train == d)[:500] for d in range(10)])
    train, test = places[:, :400].T.ravel(), places[:, 400:].T.ravel()
    assert np.array_equal(embedded.X_train, mnist.X_train[train])
    assert np.array_equal(embedded.y_train, mnist.y_train[train])
    assert np.array_equal(embedded.X_test, mnist.X_train[test])
    assert np.array_equal(embedded.y_test, mnist.y_train[test])
    readme = (images.DIGITS.parent / "README.md").read_text(encoding="utf-8")
    assert f"training image {places.max():,} " in readme

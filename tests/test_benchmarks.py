"""Each benchmark runs to its end on tiny sizes; the figures are not looked at."""

import os
import re
import subprocess
import sys
from pathlib import Path

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


def run(*arguments, timeout=120, **env):
    env = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"} | env
    return subprocess.run(
        [sys.executable, *arguments],
        env=env,
        capture_output=True,
        text=True,
        timeout=timeout,
        cwd=BENCHMARKS,
    )


def test_mlp_measures_speed_and_accuracy():
    done = run(
        "mlp.py",
        *("--data", "digits", "--threads", "1", "--rounds", "2"),
        *("--batch-sizes", "64", "--optimizers", "adam", "--only", "torch"),
        *("--target", "0.8", "--seeds", "1", "--epochs", "10"),
    )
    assert done.returncode == 0, done.stderr
    assert "Seconds per epoch: batch 64, adam" in done.stdout
    for name in ("floor", "lmlab", "torch"):
        (seconds,) = re.findall(rf"\n\| {name} +\| +([\d.]+) \|", done.stdout)
        assert float(seconds) > 0
    assert "over the fastest peer" in done.stdout
    assert "Best test accuracy: mean 9" in done.stdout
    assert "inf" not in done.stdout


def test_mlp_without_mnist_measures_speed_and_says_so(tmp_path):
    done = run(
        "mlp.py",
        *("--images", "300", "--rounds", "1", "--threads", "1"),
        *("--batch-sizes", "256", "--only", "floor"),
        LMLAB_OFFLINE="1",
        LMLAB_DATA=str(tmp_path),
        LMLAB_MIRROR="",
    )
    assert done.returncode == 0, done.stderr
    assert "mnist is not to be had" in done.stdout
    assert "300 images of random" in done.stdout
    assert "Seconds per epoch: batch 256, sgd" in done.stdout
    assert "Seconds per epoch: batch 256, adam" in done.stdout
    assert "test accuracy" not in done.stdout


def test_mlp_without_peers_says_so():
    done = run(
        "mlp.py",
        *("--data", "digits", "--threads", "1", "--only", "lmlab", "--skip-speed"),
        *("--target", "0.5", "--seeds", "1", "--epochs", "5"),
    )
    assert done.returncode == 0, done.stderr
    assert "no peer took part" in done.stdout


def test_mlp_names_the_contender_that_stops():
    done = run("mlp.py", "--data", "digits", "--images", "0", "--only", "floor")
    assert done.returncode == 1
    assert "lmlab stopped in epoch; for its message run" in done.stderr


def test_attention_measures_speed_and_memory():
    done = run(
        "attention.py",
        *("--batch", "1", "--heads", "2", "--length", "48", "--width", "8"),
        *("--rounds", "2", "--repeats", "1", "--threads", "1"),
        *("--lengths", "64", "128"),
    )
    assert done.returncode == 0, done.stderr
    for name in ("torch SDPA", "attend", "explicit", "tiled"):
        (ratio,) = re.findall(rf"\n\| {name} \| [\d.]+ \| ([\d.]+) \(", done.stdout)
        assert float(ratio) > 0
        assert len(
            re.findall(rf"\n\| {name} \|( [\d.]+ \|){{2}} [\d.–]+ \|", done.stdout)
        )


def test_tokenizer_measures_training_encoding_and_memory(tmp_path):
    done = run(
        "tokenizer.py",
        *("--characters", "20000", "--sizes", "300", "--rounds", "2"),
        *("--letters", "1000"),
        LMLAB_OFFLINE="1",
        LMLAB_DATA=str(tmp_path),
        LMLAB_MIRROR="",
    )
    assert done.returncode == 0, done.stderr
    assert "english: 0.02 MB; 1 thread(s)" in done.stdout
    rows = re.findall(r"\n\| (\D[^|]+) \| [\d.]+ \| [\d.]+ \| ([\d.]+) \(", done.stdout)
    assert len(rows) == 6
    assert all(float(ratio) > 0 for _, ratio in rows)
    assert len(re.findall(r"\n\| [\d.]+ \| [\d.]+ \|", done.stdout)) == 4 + 3


def test_sweep_measures_overhead_and_workers():
    done = run("sweep.py", "--quick", timeout=280)  # starts eight kernels
    assert done.returncode == 0, done.stderr
    ratios = re.findall(r"\n\| (alone|in the sweep) \| ([\d.]+) \(", done.stdout)
    assert [name for name, _ in ratios] == ["alone", "in the sweep"]
    assert all(float(ratio) > 0 for _, ratio in ratios)
    assert re.search(r"one after the other: [\d.]+ \(", done.stdout)

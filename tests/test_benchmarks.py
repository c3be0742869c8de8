"""Each benchmark runs to its end on tiny sizes; the figures are not looked at."""

import importlib.util
import math
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from test_cli import Course

from lmlab.data import corpora
from lmlab.models.gpt import GPT, Config

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
        *("--data", "digits8x8", "--threads", "1", "--rounds", "2"),
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
        *("--data", "digits8x8", "--threads", "1", "--only", "lmlab", "--skip-speed"),
        *("--target", "0.5", "--seeds", "1", "--epochs", "5"),
    )
    assert done.returncode == 0, done.stderr
    assert "no peer took part" in done.stdout


def test_mlp_names_the_contender_that_stops():
    done = run("mlp.py", "--data", "digits8x8", "--images", "0", "--only", "floor")
    assert done.returncode == 1
    assert "lmlab stopped in epoch; for its message run" in done.stderr


def test_mlp_loads_triton_before_tensorflow(tmp_path):
    loaded = tmp_path / "loaded"
    (tmp_path / "triton.py").write_text(
        "import os, sys\n"
        "assert 'tensorflow' not in sys.modules\n"
        f"open({str(loaded)!r}, 'a').write('first\\n')",
        encoding="utf-8",
    )
    paths = (str(tmp_path), os.environ.get("PYTHONPATH", ""))
    done = run(
        "mlp.py",
        *("--data", "digits", "--images", "300", "--rounds", "1", "--threads", "1"),
        *("--batch-sizes", "256", "--optimizers", "sgd", "--skip-accuracy"),
        *("--only", "keras", "tf.function"),
        PYTHONPATH=os.pathsep.join(filter(None, paths)),
    )
    assert done.returncode == 0, done.stderr
    assert loaded.read_text(encoding="utf-8") == "first\n" * 2


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
    assert "austen: 0.02 MB; 1 thread(s)" in done.stdout
    rows = re.findall(r"\n\| (\D[^|]+) \| [\d.]+ \| [\d.]+ \| ([\d.]+) \(", done.stdout)
    assert len(rows) == 7
    assert all(float(ratio) > 0 for _, ratio in rows)
    assert len(re.findall(r"\n\| [\d.]+ \| [\d.]+ \|", done.stdout)) == 4 + 3


def test_sweep_measures_overhead_and_workers():
    done = run("sweep.py", "--quick", timeout=280)  # starts eight kernels
    assert done.returncode == 0, done.stderr
    ratios = re.findall(r"\n\| (alone|in the sweep) \| ([\d.]+) \(", done.stdout)
    assert [name for name, _ in ratios] == ["alone", "in the sweep"]
    assert all(float(ratio) > 0 for _, ratio in ratios)
    assert re.search(r"one after the other: [\d.]+ \(", done.stdout)


TINY = ("--layers", "1", "--heads", "2", "--width", "8", "--context", "8")


def test_gpt_measures_speed(tmp_path):
    done = run(
        "gpt.py",
        *("--only", "speed", "--rounds", "2", "--steps", "4", "--threads", "1"),
        *("--batch", "2", *TINY),
        LMLAB_OFFLINE="1",
        LMLAB_MIRROR="",
        LMLAB_DATA=str(tmp_path),
    )
    assert done.returncode == 0, done.stderr
    for name in ("lmlab", "plain loop", "Trainer"):
        found = re.findall(rf"\n\| {name} \| ([\d,]+) \| ([\d.]+) \(", done.stdout)
        assert len(found) == 1
        assert all(float(x.replace(",", "")) > 0 for x in found[0])


def test_gpt_measures_large_models_and_their_memory():
    tiny = [each.replace("--", "--large-") for each in TINY]
    done = run(
        "gpt.py",
        *("--only", "large", "--large-rounds", "1", "--large-steps", "4"),
        *("--large-precisions", "bfloat16", "--large-vocabulary", "50"),
        *("--large-batch", "2", "--threads", "1", *tiny),
    )
    assert done.returncode == 0, done.stderr
    assert "Fine-tuning step, bfloat16: 1 layers × 8, 2 heads" in done.stdout
    for name in ("lmlab", "Trainer"):
        assert re.search(rf"\n\| {name} \| [\d,]+ \| [\d.]+ \(", done.stdout)
    assert re.search(r"Peak memory: lmlab [\d,]+ MiB, Trainer [\d,]+ MiB", done.stdout)


# Stands in for a checkout of nanoGPT: what the benchmark calls, reads and changes.
MODEL = """
import torch
from dataclasses import dataclass

@dataclass
class GPTConfig:
    vocab_size: int

class GPT(torch.nn.Module):
    def __init__(self, config):
        super().__init__()
        self.logits = torch.nn.Embedding(config.vocab_size, config.vocab_size)

    def forward(self, ids, targets):
        logits = self.logits(ids)
        return logits, torch.nn.functional.cross_entropy(
            logits.flatten(0, 1), targets.flatten(), ignore_index=-1
        )
"""
TRAIN = """
import sys, torch
from pathlib import Path
from model import GPT, GPTConfig
torch.manual_seed(1337 + 0)
assert "--max_iters=3" in sys.argv and "--n_embd=128" in sys.argv
size = len(set(Path("data/shakespeare_char/input.txt").read_text()))
for step in range(4):
    took = 500 if step in (0, 3) else 1000
    print(f"iter {step}: loss 4.1, time {took:.2f}ms, mfu 1%")
folder = Path("out-shakespeare-char")
folder.mkdir(exist_ok=True)
saved = {"model_args": {"vocab_size": size}}
saved["model"] = GPT(GPTConfig(size)).state_dict()
saved["model"]["logits.weight"].zero_()  # every character is as likely
torch.save(saved, folder / "ckpt.pt")
"""


def test_gpt_measures_beside_a_checkout_of_nanogpt(tmp_path):
    (tmp_path / "data" / "shakespeare_char").mkdir(parents=True)
    (tmp_path / "data" / "shakespeare_char" / "prepare.py").write_text("")
    (tmp_path / "model.py").write_text(MODEL)
    (tmp_path / "train.py").write_text(TRAIN)
    done = run(
        "gpt.py",
        *("--only", "nanogpt", "--nanogpt", str(tmp_path), "--nanogpt-rounds", "1"),
        *("--nanogpt-steps", "3", "--fast-steps", "2", "--threads", "1"),
        LMLAB_OFFLINE="1",
        LMLAB_MIRROR="",
        LMLAB_DATA=str(tmp_path / "empty"),
    )
    assert done.returncode == 0, done.stderr
    uniform = math.log(len({*corpora.load("english").train}))
    (seconds, loss), *_ = re.findall(
        r"\| nanoGPT \| (\S+) .*? \| (\S+) \(", done.stdout
    )
    assert (float(seconds), float(loss)) == (2.0, pytest.approx(uniform, abs=1e-3))
    assert re.search(r"\| lmlab \| [\d.]+ \(.* \| [\d.]+ \(", done.stdout)
    assert not (tmp_path / "out-shakespeare-char").exists()  # it worked on a copy


def test_gpt_without_nanogpts_train_says_so(tmp_path):
    done = run("gpt.py", "--only", "nanogpt", "--nanogpt", str(tmp_path))
    assert done.returncode == 1
    assert "there is no train.py in" in done.stderr


def test_generation_measures_speed_lengths_and_perplexity():
    done = run(
        "generation.py",
        *("--layers", "2", "--heads", "2", "--width", "32", "--vocab-size", "300"),
        *("--context", "48", "--prompt", "4", "--tokens", "6", "--rounds", "2"),
        *("--lengths", "8", "30", "--steps", "3", "--threads", "1"),
        *("--precisions", "float32", "bfloat16", "--characters", "3000"),
    )
    assert done.returncode == 0, done.stderr
    for name in ("Hugging Face float32", "lmlab float32", "lmlab bfloat16"):
        row = rf"\n\| {name} \| ([\d.]+) \| ([\d.]+) \("
        ((speed, ratio),) = re.findall(row, done.stdout)
        assert float(speed) > 0
        assert float(ratio) > 0
        assert (
            len(re.findall(rf"\n\| {name} \| [\d.]+ \| [\d.]+ \| ", done.stdout)) == 1
        )
    assert "| float32 | " in done.stdout
    assert "+0.000 %" in done.stdout
    assert not {"nan", "inf"} & set(re.findall(r"\w+", done.stdout))


# --- On a GPU -------------------------------------------------------------------------


@pytest.fixture
def gpu():
    spec = importlib.util.spec_from_file_location("gpu", BENCHMARKS / "gpu.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


LESSON = [
    'device: str = "auto"\nprecision: str = "float32"',
    "from lmlab import checks\nchecks.equal('on', device, 'cpu')",
]


def test_gpu_runs_on_a_cpu_at_toy_size(tmp_path):
    course = Course(tmp_path, _01_tiny=LESSON)
    done = run(
        "gpu.py",
        *("--device", "cpu", "--tiny", "--out", str(tmp_path / "page.md")),
        *("--lessons", "01", "--tests", "tests/test_memory.py", "--budget", "280"),
        LMLAB_NOTEBOOKS=str(course.notebooks),
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "page.md").read_text(encoding="utf-8")
    assert text in done.stdout
    assert re.search(
        r"the CPU, torch 2\.\S+, \d{4}-\d\d-\d\d; made by `make gpu`", text
    )
    assert re.search(r"Tests that need a GPU: 1 (skipped|passed), \d+ deselected", text)
    for name in ("eager", "torch.compile"):
        assert re.search(rf"\n\| {name} \| [\d,]+ \(2 rows\) \| unknown \|\n", text)
    for batch in (1, 32):
        assert re.search(rf"\n\| {batch} at a time \| [\d,]+ \|\n", text)
    assert re.search(r"\n\| 01_tiny \| \d+ s \| \d+ s \|\n", text)
    assert "left out" not in text


def test_gpu_says_what_it_left_out(gpu, capsys):
    class Arguments:
        device, tiny, lessons, tests = "cuda", True, ["01"], []

    found = gpu.measured(Arguments, time.monotonic())
    text = gpu.page(found, {"name": "NVIDIA H200", "torch": "2"}, Arguments)
    assert text.count("left out: no time was left") == 1 + 2 + 2 + 2
    assert gpu.failed(found) == []
    found["lessons, cuda"] = {"01_tiny": ("failed", 2.0), "02_b": ("timed out", 9.0)}
    found["training"] = {"rows": 4, "tokens per second": 2e5}
    text = gpu.page(found, {"name": "NVIDIA H200", "torch": "2"}, Arguments)
    assert "| 01_tiny | 2 s (failed) | left out" in text
    assert gpu.failed(found) == ["01_tiny"]
    assert re.search(r"\| eager \| 200,000 \(4 rows\) \| \d+\.\d% \|", text)


def test_gpu_ends_a_part_that_takes_too_long(gpu):
    waits = [sys.executable, "-c", "import time; time.sleep(60)"]
    with pytest.raises(gpu.LeftOutError, match="not done after 1 s"):
        gpu.limited(waits, 1)


@pytest.mark.parametrize(
    ("name", "teraflops"),
    [
        ("NVIDIA H200", 989),
        ("NVIDIA H100 80GB HBM3", 989),
        ("NVIDIA H100 PCIe", 756),
        ("NVIDIA A100-SXM4-80GB", 312),
        ("NVIDIA A10", 125),
        ("NVIDIA L40S", 362),
    ],
)
def test_gpu_knows_the_peak_of_some(gpu, name, teraflops):
    assert gpu.peak(name) == teraflops * 1e12


@pytest.mark.parametrize(
    "name", ["the CPU", "NVIDIA A10G", "NVIDIA H100 80GB HBM3 MIG 1g.10gb", "Tesla T4"]
)
def test_gpu_does_not_guess_the_peak_of_others(gpu, name):
    assert gpu.peak(name) is None


def test_gpu_counts_the_weights_that_the_model_has(gpu):
    _, context, layers, _, width = gpu.TINY
    model = GPT(Config(*gpu.TINY))
    weights = model.num_parameters() - context * width  # without the positions
    attention = 12 * layers * width * context
    assert gpu.flops_per_token(gpu.TINY) == 6 * weights + attention
    assert gpu.flops_per_token(gpu.GPT2) == pytest.approx(8.54e8, rel=0.01)


def test_without_a_gpu_it_says_so_and_what_to_do(tmp_path):
    page = tmp_path / "page.md"
    done = run("gpu.py", "--out", str(page), CUDA_VISIBLE_DEVICES="")
    assert done.returncode == 1
    assert re.match(
        r"torch \S+ (is built without CUDA: remove|.*finds no)", done.stderr
    )
    assert len(done.stderr.splitlines()) == 1
    assert not page.exists()


@pytest.mark.skipif(not shutil.which("make"), reason="make is not installed")
def test_make_gpu_sets_up_first_and_make_bench_needs_no_gpu():
    def says(target):
        command = ["make", "-n", target, "PY=python"]
        folder = BENCHMARKS.parent
        return subprocess.run(command, cwd=folder, capture_output=True, text=True)

    done = says("gpu")
    assert done.returncode == 0, done.stderr
    assert done.stdout.index(".venv/installed") < done.stdout.index("gpu.py")
    assert "benchmarks/mlp.py" in says("bench").stdout
    assert "gpu.py" not in says("bench").stdout

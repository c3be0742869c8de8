"""What does a GPU make of it? Training, generation and lessons, in eight minutes.

    make gpu                               # the same, in .venv
    python benchmarks/gpu.py               # writes benchmarks/gpu.md
    python benchmarks/gpu.py --device cpu --tiny --out try.md    # a try-out, in seconds

First the tests that need a GPU (pytest -m gpu). Then a page: tokens per second, and how
much of the device's peak that is, of GPT-2's shape (124 M parameters, random weights,
context 1,024) in training, under bfloat16 autocast with float32 weights; tokens per
second of greedy generation in bfloat16, with the cache; a lesson of each kind on the
device and on the CPU. Each part is a process of its own with a time limit; what does
not fit, or goes wrong, is on the page as left out. Exit status: 1 when a test or a
lesson failed, or there is no such device.
"""

import argparse
import contextlib
import datetime
import json
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

from lmlab.errors import LmlabError
from lmlab.files import publish

BENCHMARKS = Path(__file__).resolve().parent
BUDGET = 460  # seconds, of eight minutes
GRACE = 10  # of them, for a part that is told to end
PRECISION = "bfloat16"
LESSONS = ("03", "05", "08")
GPT2 = (50257, 1024, 12, 12, 768)  # vocabulary, context, layers, heads, width
TINY = (96, 16, 2, 2, 32)

# Dense bfloat16 products with float32 sums, in 1e12 FLOP/s, from NVIDIA's data sheets
# (half of what they give with sparsity). The first name that is part of the device's.
PEAKS = {
    "B200": 2250,
    "GH200": 989,
    "H200 NVL": 835,
    "H200": 989,
    "H100 PCIe": 756,
    "H100 NVL": 835,
    "H100": 989,
    "A100": 312,
    "L40S": 362,
    "L4": 121,
    "A10": 125,
    "RTX 4090": 165,
    "RTX 3090": 71,
}


class LeftOutError(LmlabError):
    """A part of the page that is missing; the message says why."""


def peak(name):
    """FLOP/s of the device of this name; None if unknown, or a slice of one (MIG)."""
    found = [
        flops for known, flops in PEAKS.items() if re.search(rf"\b{known}\b", name)
    ]
    return 1e12 * found[0] if found and "MIG" not in name else None


def flops_per_token(shape):
    """Of training: 6 for each weight of a matrix product, and attention's products.

    As PaLM's paper counts (Chowdhery et al. 2022, appendix B): 6N + 12 L C T. N: all
    weights but positions; the token embedding counts, as it makes the logits, too.
    """
    vocabulary, context, layers, _, width = shape
    matrices = vocabulary * width + layers * 12 * width**2
    vectors = layers * 13 * width + 2 * width  # biases and norms
    return 6 * (matrices + vectors) + 12 * layers * width * context


# --- The parts that have a process of their own: arguments → what JSON can hold -------


def about(args):
    import torch

    found = {"name": "the CPU", "torch": torch.__version__, "why": ""}
    if args.device == "cpu":
        return found
    if torch.version.cuda is None:
        why = f"torch {torch.__version__} is built without CUDA: remove .venv, unset "
        why += "PIP_EXTRA_INDEX_URL, and pip installs its default build (Linux)"
        return found | {"why": why}
    if not torch.cuda.is_available():
        why = f"torch {torch.__version__} (CUDA {torch.version.cuda}) finds no GPU: "
        why += "see nvidia-smi, and CUDA_VISIBLE_DEVICES"
        return found | {"why": why}
    return found | {"name": torch.cuda.get_device_name()}


def gpt(args):
    import torch

    from lmlab.models.gpt import GPT, Config

    torch.manual_seed(0)
    return GPT(Config(*(TINY if args.tiny else GPT2)))


def training(args, compiled=False):
    """The median speed of updates by `fit`, after some to warm up."""
    import numpy as np
    import torch

    from lmlab.training import Recipe, blocks, fit

    vocabulary, context, *_ = TINY if args.tiny else GPT2
    ids = np.random.default_rng(0).integers(vocabulary, size=100 * context)
    warm, steps, rows = (2, 5, 2) if args.tiny else (5, 20, 32)
    while True:
        model = gpt(args)
        if compiled:
            for block in model.blocks:
                block.compile(backend="eager" if args.tiny else "inductor")
        recipe = Recipe(warm + steps, 1e-4, rows, precision=PRECISION)
        try:
            history = fit(model, blocks(ids, context, rows), recipe, device=args.device)
            break
        except torch.cuda.OutOfMemoryError:
            if rows == 1:
                raise
            rows //= 2
            del model
            torch.cuda.empty_cache()
    seconds = statistics.median(np.diff(history.seconds)[warm - 1 :])
    return {"rows": rows, "tokens per second": rows * context / seconds}


def generation(args, batch):
    """The speed of greedy generation, the better of two runs after a short one."""
    import torch

    from lmlab import devices
    from lmlab.generation import generate

    model = gpt(args).to(args.device, getattr(torch, PRECISION)).eval()
    prompt, count = (4, 8) if args.tiny else (32, 128)
    prompts = torch.randint(model.config.context, (batch, prompt)).tolist()
    generate(model, prompts, 2)
    speeds = []
    for _ in range(2):
        with devices.timer(args.device) as timer:
            generate(model, prompts, count)
        speeds.append(batch * count / timer.seconds)
    return {"tokens per second": max(speeds)}


CHILDREN = {
    "about": about,
    "training": training,
    "training, compiled": partial(training, compiled=True),
    "generation 1": partial(generation, batch=1),
    "generation 32": partial(generation, batch=32),
}


# --- Parts, each within its limit -----------------------------------------------------


def limited(command, seconds):
    """(exit status, stdout, stderr) of a command; LeftOutError when it takes longer."""
    if seconds < 1:
        raise LeftOutError("no time was left")
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    process = subprocess.Popen(
        command, cwd=BENCHMARKS.parent, encoding="utf-8", start_new_session=True,
        **streams,
    )  # fmt: skip
    try:
        out, err = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.terminate()  # `lmlab run` ends its kernels then
        try:
            process.communicate(timeout=GRACE)
        except subprocess.TimeoutExpired:
            if hasattr(os, "killpg"):
                os.killpg(process.pid, signal.SIGKILL)
            process.kill()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.communicate(timeout=GRACE)  # a kernel may hold its pipes
        raise LeftOutError(f"not done after {seconds:.0f} s") from None
    return process.returncode, out, err


def child(name, args, seconds):
    """What a part of CHILDREN returns."""
    command = [sys.executable, __file__, "--part", name, "--device", args.device]
    code, out, err = limited(command + ["--tiny"] * args.tiny, seconds)
    if code:
        raise LeftOutError((err.strip().splitlines() or [f"exit status {code}"])[-1])
    return json.loads(out.splitlines()[-1])


def tests(args, seconds):
    """(good, the last line that pytest says)."""
    os.environ.pop("PYTEST_ADDOPTS", None)  # it may change how that line looks
    command = [sys.executable, "-m", "pytest", "-q", "-m", "gpu"]
    code, out, err = limited([*command, *args.tests], seconds)
    if code:
        print(out, err, file=sys.stderr)
    return code == 0, (out.strip().splitlines() or ["pytest said nothing"])[-1]


def lessons(args, device, seconds):
    """{lesson: (status, seconds)} of `lmlab run` on the device, all at a time."""
    limit = max(1, int(seconds) - 5)
    with tempfile.TemporaryDirectory(prefix="lmlab-") as folder:
        command = [sys.executable, "-m", "lmlab.cli", "run", *args.lessons]
        command += ["-p", f"device={device}", "--out", f"{folder}/run"]
        command += ["--jobs", str(len(args.lessons)), "--timeout", str(limit)]
        if device != "cpu":
            command += ["-p", f"precision={PRECISION}"]
        code, _, err = limited(command, seconds)
        kept = Path(folder, "run").glob("*.run.json")
        runs = [json.loads(path.read_text(encoding="utf-8")) for path in kept]
    if not runs:
        raise LeftOutError((err.strip().splitlines() or [f"exit status {code}"])[-1])
    return {run["lesson"]: (run["status"], run["seconds"]) for run in runs}


def measured(args, ended):
    """{part: what it gave, or why it was left out}, until the clock shows `ended`."""
    device = args.device
    parts = {  # the most seconds, and what to do; what matters less comes later
        "tests": (120, partial(tests, args)),
        **{
            name: (60, partial(child, name, args))
            for name in ("training", "generation 1", "generation 32")
        },
        f"lessons, {device}": (150, partial(lessons, args, device)),
        "lessons, cpu": (150, partial(lessons, args, "cpu")),
        "training, compiled": (120, partial(child, "training, compiled", args)),
    }
    found = {}
    for name, (limit, measure) in parts.items():
        left = ended - GRACE - time.monotonic()
        try:
            found[name] = measure(seconds=min(limit, left))
        except LeftOutError as reason:
            found[name] = f"left out: {reason}"
        print(f"{name}: {found[name]}", file=sys.stderr, flush=True)
    return found


# --- The page -------------------------------------------------------------------------


def page(found, machine, args):
    """The measurements as Markdown."""
    shape = TINY if args.tiny else GPT2
    what = "a toy, not GPT-2" if args.tiny else "GPT-2's shape, random weights"
    lines = [
        "# On a GPU",
        "",
        f"{machine['name']}, torch {machine['torch']}, {datetime.date.today()}; made "
        "by `make gpu` (`benchmarks/gpu.py` says what is measured and how).",
        "",
        f"Tests that need a GPU: {said(found['tests'], lambda x: x[1])}",
        "",
        f"Training ({what}, context {shape[1]:,}, {PRECISION}):",
        "",
        "| | tokens/s | model FLOPs utilisation¹ |",
        "|---|---:|---:|",
    ]
    for name, label in (("training", "eager"), ("training, compiled", "torch.compile")):
        cells = said(found[name], lambda x: training_cells(x, machine["name"], shape))
        lines.append(f"| {label} | {cells} |")
    lines += ["", "| generation, greedy | tokens/s |", "|---|---:|"]
    for batch in (1, 32):
        speed = said(
            found[f"generation {batch}"], lambda x: f"{x['tokens per second']:,.0f}"
        )
        lines.append(f"| {batch} at a time | {speed} |")
    here, cpu = (found[f"lessons, {device}"] for device in (args.device, "cpu"))
    lines += ["", f"| lesson | {args.device} | CPU |", "|---|---:|---:|"]
    names = sorted({name for x in (here, cpu) if isinstance(x, dict) for name in x})
    for name in names or args.lessons:
        cells = (said(x, partial(lesson_cell, name)) for x in (here, cpu))
        lines.append(f"| {name} | {' | '.join(cells)} |")
    known = peak(machine["name"])
    of = f"{known / 1e12:,.0f} · 10¹² FLOP/s, dense {PRECISION}" if known else "unknown"
    lines += ["", f"¹ {flops_per_token(shape):.3g} FLOP a token; the peak is {of}."]
    return "\n".join(lines) + "\n"


def said(result, show):
    """How a part's result is shown; a part that was left out speaks for itself."""
    return result.replace("|", "/") if isinstance(result, str) else show(result)


def training_cells(result, name, shape):
    speed, known = result["tokens per second"], peak(name)
    share = f"{speed * flops_per_token(shape) / known:.1%}" if known else "unknown"
    return f"{speed:,.0f} ({result['rows']} rows) | {share}"


def lesson_cell(name, runs):
    status, seconds = runs.get(name, ("left out", 0.0))
    return f"{seconds:.0f} s" + ("" if status == "ok" else f" ({status})")


def failed(found):
    """The parts in which a test or a lesson went wrong."""
    bad = [] if isinstance(found["tests"], str) or found["tests"][0] else ["tests"]
    for name, runs in found.items():
        if isinstance(runs, dict) and name.startswith("lessons"):
            bad += [x for x, (status, _) in runs.items() if status == "failed"]
    return bad


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    parser.add_argument("--tiny", action="store_true", help="a toy model, to try out")
    parser.add_argument("--out", type=Path, default=BENCHMARKS / "gpu.md")
    parser.add_argument("--budget", type=float, default=BUDGET, help="seconds, in all")
    parser.add_argument("--lessons", nargs="+", default=LESSONS)
    parser.add_argument("--tests", nargs="+", default=["tests"])
    parser.add_argument("--part", choices=CHILDREN, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.part:
        print(json.dumps(CHILDREN[args.part](args)))
        return

    ended = time.monotonic() + args.budget
    machine = child("about", args, 60)
    if machine["why"]:
        raise SystemExit(machine["why"])
    found = measured(args, ended)
    text = page(found, machine, args)
    publish(args.out, text)
    print(text)
    if bad := failed(found):
        raise SystemExit(f"failed: {', '.join(bad)}")


if __name__ == "__main__":
    main()

"""What does attention cost? lmlab.layers.attention against PyTorch's fused kernel.

    python benchmarks/attention.py                 # everything, a few minutes
    python benchmarks/attention.py --skip-memory   # seconds only
    python benchmarks/attention.py --batch 1 --heads 2 --length 64 --lengths 64 128

Causal attention, forward and backward, float32, on the CPU. Two tables. Seconds over
those of torch.nn.functional.scaled_dot_product_attention on the same arrays, in one
process: rounds are interleaved, each round in another order, and every ratio is between
times of one round, so that a machine that is slower for a while slows all. Peak memory
against the length, each form in a process of its own that gives freed memory back at
once, by the operating system's high-water mark.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from importlib.metadata import version

FORMS = ("torch SDPA", "attend", "explicit", "tiled")


def forms():
    """{name: function of q, k, v}."""
    import torch.nn.functional as F

    from lmlab.layers import attention

    return {
        "torch SDPA": lambda *qkv: F.scaled_dot_product_attention(*qkv, is_causal=True),
        "attend": lambda *qkv: attention.attend(*qkv, causal=True),
        "explicit": lambda *qkv: attention.scaled_dot_product_attention(
            *qkv, causal=True
        )[0],
        "tiled": lambda *qkv: attention.tiled_attention(*qkv, causal=True),
    }


def inputs(batch, heads, length, width):
    import torch

    torch.manual_seed(0)
    shape = batch, heads, length, width
    return [torch.randn(shape, requires_grad=True) for _ in range(3)]


def forward_backward(function, qkv):
    for x in qkv:
        x.grad = None
    out = function(*qkv)
    out.sum().backward()
    return out


# --- Seconds --------------------------------------------------------------------------


def measure_speed(args):
    """{form: [seconds of each round]}; raises when a form's result differs."""
    import torch

    torch.set_num_threads(args.threads)
    functions = forms()
    qkv = inputs(args.batch, args.heads, args.length, args.width)
    expected = forward_backward(functions["torch SDPA"], qkv)
    grads = [x.grad for x in qkv]
    for name, function in functions.items():  # warms up, too
        out = forward_backward(function, qkv)
        torch.testing.assert_close(out, expected, atol=1e-5, rtol=0, msg=name)
        for x, grad in zip(qkv, grads):
            torch.testing.assert_close(x.grad, grad, atol=1e-4, rtol=0, msg=name)
    seconds = {name: [] for name in functions}
    names = list(functions)
    for _ in range(args.rounds):
        for name in names:
            start = time.perf_counter()
            for _ in range(args.repeats):
                forward_backward(functions[name], qkv)
            seconds[name].append((time.perf_counter() - start) / args.repeats)
        names = names[1:] + names[:1]  # whoever comes first comes last next time
    return seconds


def report_speed(seconds, args):
    size = f"B={args.batch}, H={args.heads}, T={args.length}, D={args.width}"
    print(
        f"\nForward and backward, causal, float32: {size}, {args.threads} thread(s)\n"
    )
    print("| form | seconds | over torch SDPA: median (min–max) |")
    print("|---|---:|---:|")
    for name in seconds:
        ratios = [a / b for a, b in zip(seconds[name], seconds["torch SDPA"])]
        spread = (
            f"{statistics.median(ratios):.2f} ({min(ratios):.2f}–{max(ratios):.2f})"
        )
        print(f"| {name} | {statistics.median(seconds[name]):.4f} | {spread} |")


# --- Memory ---------------------------------------------------------------------------


def measure_memory(args):
    """{form: [peak MiB of each length]}."""
    # glibc would otherwise keep what was freed, and the next peak would look smaller.
    give_back = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "0"}
    peaks = {}
    for name in FORMS:
        command = [
            sys.executable,
            __file__,
            "--child",
            name,
            "--width",
            str(args.width),
        ]
        command += ["--lengths", *map(str, args.lengths)]
        done = subprocess.run(
            command, env=os.environ | give_back, capture_output=True, text=True
        )
        if done.returncode:
            sys.exit(f"{name} stopped while its memory was measured:\n{done.stderr}")
        peaks[name] = json.loads(done.stdout)
    return peaks


def child(name, args):
    import torch

    from lmlab.memory import peak_memory

    torch.set_num_threads(1)
    function = forms()[name]
    forward_backward(function, inputs(1, 2, 256, args.width))  # loads what it needs
    peaks = []
    for length in args.lengths:
        qkv = inputs(1, 2, length, args.width)
        with peak_memory() as peak:
            forward_backward(function, qkv)
        peaks.append(peak.mib)
    print(json.dumps(peaks))


def report_memory(peaks, args):
    first, last = args.lengths[0], args.lengths[-1]
    print(f"\nPeak memory in MiB above the inputs: B=1, H=2, D={args.width}\n")
    print(
        "| form |",
        " | ".join(f"T={n:,}" for n in args.lengths),
        f"| T={last:,} over T={first:,} |",
    )
    print("|---|" + "---:|" * (len(args.lengths) + 1))
    for name, row in peaks.items():
        growth = f"{row[-1] / row[0]:.1f}" if row[0] else "–"
        print(f"| {name} |", " | ".join(f"{p:.1f}" for p in row), f"| {growth} |")


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--heads", type=int, default=8)
    parser.add_argument("--length", type=int, default=512, help="T, for the seconds")
    parser.add_argument("--width", type=int, default=64, help="D, of each head")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--repeats", type=int, default=3, help="runs of each round")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument(
        "--lengths",
        type=int,
        nargs="+",
        default=[1024, 2048, 4096],
        help="T, for the memory",
    )
    parser.add_argument("--skip-speed", action="store_true")
    parser.add_argument("--skip-memory", action="store_true")
    parser.add_argument("--child", choices=FORMS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        return child(args.child, args)
    print(f"Python {platform.python_version()}, torch {version('torch')}")
    if not args.skip_speed:
        report_speed(measure_speed(args), args)
    if not args.skip_memory:
        report_memory(measure_memory(args), args)


if __name__ == "__main__":
    main()

"""What does a sweep cost beyond its lesson's own cells? And do two workers pay?

    python benchmarks/sweep.py                     # lesson 02, some 25 minutes
    python benchmarks/sweep.py --skip-workers      # the first table only
    python benchmarks/sweep.py --quick             # a try-out on a tiny lesson

Overhead: `lmlab sweep` of 12 runs as a user meets it, from the command to its end, over
what the lesson's cells take alone, times the runs, divided by the cores. Alone is one
run with one worker, before and after each sweep. Beside it the same over the cells'
seconds as they were in the sweep: what two runs at a time cost each other is the
difference between the two ratios.

Workers: the same runs, as many at a time as there are cores, over one after the other.
Both are whole commands, taken in turns.

A ratio is between times of one round, so that a machine that is slower for a while
slows both sides.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TINY = """\
import time
from lmlab import record
end = time.perf_counter() + 0.3
while time.perf_counter() < end:
    pass
record.metric("accuracy", seed, headline=True)"""


def tiny_course(folder):
    """Write a course of one lesson, whose only cell computes for 0.3 s."""
    from nbformat import v4, write

    parameters = v4.new_code_cell("seed: int = 0", metadata={"tags": ["parameters"]})
    language = {"name": "python3", "display_name": "Python 3", "language": "python"}
    cells = [parameters, v4.new_code_cell(TINY)]
    notebook = v4.new_notebook(cells=cells, metadata={"kernelspec": language})
    write(notebook, Path(folder) / "02_tiny.ipynb")


def sweep(lesson, seeds, workers):
    """Run the sweep: seconds of the command, and each run's record."""
    values = ",".join(map(str, seeds))
    with tempfile.TemporaryDirectory(prefix="lmlab-bench-") as folder:
        out = Path(folder) / "sweep"
        command = [sys.executable, "-m", "lmlab.cli", "sweep", lesson]
        command += ["-p", f"seed={values}", "-j", str(workers), "--out", str(out)]
        started = time.perf_counter()
        done = subprocess.run(command, capture_output=True, text=True)
        seconds = time.perf_counter() - started
        if done.returncode:
            raise SystemExit(f"the sweep failed:\n{done.stdout}{done.stderr}")
        records = [json.loads(path.read_text()) for path in out.glob("*/*.run.json")]
    assert len(records) == len(seeds)
    return seconds, records


def in_cells(records):
    """Seconds that the runs spent in cells, all together."""
    return sum(cell["seconds"] for record in records for cell in record["cells"])


def measure_overhead(options):
    """Rows of (command, alone, in the sweep, around the cells of a run), in seconds."""
    rows = []
    for number in range(options.rounds):
        alone = [in_cells(sweep(options.lesson, [number], 1)[1])]
        seconds, records = sweep(options.lesson, range(options.runs), options.cores)
        alone.append(in_cells(sweep(options.lesson, [number], 1)[1]))
        around = sum(record["seconds"] for record in records) - in_cells(records)
        rows.append(
            (
                seconds,
                statistics.fmean(alone) * options.runs / options.cores,
                in_cells(records) / options.cores,
                around / options.runs,
            )
        )
        print(
            f"round {number + 1}: {seconds:.1f} s; cells alone {alone[0]:.1f} and "
            f"{alone[1]:.1f} s, in the sweep {in_cells(records) / options.runs:.1f} s, "
            f"around them {rows[-1][3]:.1f} s a run",
            flush=True,
        )
    return rows


def measure_workers(options):
    """Pairs of seconds: one after the other, as many at a time as cores."""
    pairs = []
    for number in range(options.rounds):
        turns = [1, options.cores] if number % 2 == 0 else [options.cores, 1]
        found = {n: sweep(options.lesson, range(options.cores), n)[0] for n in turns}
        pairs.append((found[1], found[options.cores]))
        print(
            f"round {number + 1}: {found[1]:.1f} s one after the other, "
            f"{found[options.cores]:.1f} s at a time",
            flush=True,
        )
    return pairs


def spread(ratios):
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f}–{max(ratios):.2f})"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--lesson", default="02", help="its number or name")
    parser.add_argument("--runs", type=int, default=12, help="of the sweep")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cores", type=int, default=2, help="workers at a time")
    parser.add_argument("--skip-overhead", action="store_true")
    parser.add_argument("--skip-workers", action="store_true")
    parser.add_argument("--quick", action="store_true", help="a tiny lesson, one round")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="lmlab-bench-") as folder:
        if options.quick:
            tiny_course(folder)
            os.environ["LMLAB_NOTEBOOKS"] = folder
            options.lesson, options.runs, options.rounds = "2", 2, 1
        for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
            os.environ.pop(name, None)  # lmlab chooses them, as it does for a user
        report(options)


def report(options):
    print(f"lesson {options.lesson}, {options.cores} of {os.cpu_count()} cores\n")
    if not options.skip_overhead:
        rows = measure_overhead(options)
        print(f"\nA sweep of {options.runs} runs, over its cells / {options.cores}\n")
        print("| over the cells' seconds | ratio: median (min–max) |")
        print("|-------------------------|------------------------:|")
        print(f"| alone | {spread([row[0] / row[1] for row in rows])} |")
        print(f"| in the sweep | {spread([row[0] / row[2] for row in rows])} |\n")
    if not options.skip_workers:
        pairs = measure_workers(options)
        ratios = [together / alone for alone, together in pairs]
        print(
            f"\n{options.cores} runs, {options.cores} at a time over one after the "
            f"other: {spread(ratios)}"
        )


if __name__ == "__main__":
    main()

"""What a command does and says in the terminal while lessons run, and after."""

import sys


def run(requests, keep, *, workers=None, timeout=None, backend="loky", done=()):
    """Run the requests, giving each ended job to keep; the signal, or 0.

    keep(job, outcome) returns the final record: status, seconds, error, cell, line.
    done: names of requests that need no run.
    """
    from rich.console import Console

    from lmlab.runner import runs, watch

    console = Console()
    with runs.scratch_folder() as scratch:
        # Those that are done count: the others run on as many threads as they did.
        jobs = runs.prepare(requests, scratch, workers=workers, timeout=timeout)
        jobs = [job for job in jobs if job.name not in done]
        try:
            with (
                runs.running(jobs, workers, backend) as ended,
                watch.Watch(jobs, console) as shown,
            ):
                for job, outcome in ended:
                    shown.done(job.name, keep(job, outcome))
        except runs.Interrupted as interruption:
            complain(f"Interrupted ({interruption}): the lessons were stopped.")
            return interruption.number
    return 0


def show(table):
    """Print one of rich's tables."""
    from rich.console import Console

    Console().print(table)


def explain(name, record, kept=None):
    """Say how a run failed, and where."""
    where = f" in cell In [{record['cell']}]" if record["cell"] else ""
    complain(f"{name}: {record['status']}{where}: {record['error']}")
    if record["line"]:
        print(f"  {record['line']}", file=sys.stderr)
    if kept:
        print(f"  so far: {kept}", file=sys.stderr)


def complain(text):
    """One sentence on stderr."""
    print(f"lmlab: {text}", file=sys.stderr)

"""What a command says in the terminal while lessons run, and after."""

import contextlib
import sys


def run(requests, keep, *, workers=None, timeout=None, backend="processes", done=()):
    """Run the requests, giving each ended job to keep; the signal, or 0.

    keep(job, outcome) returns the final record: status, seconds, error, cell, line.
    done: names of requests that need no run.
    """
    from rich.console import Console

    from lmlab.runner import executor

    with executor.scratch_folder() as scratch:
        # Those that are done count: the others run on as many threads as they did.
        jobs = executor.prepare(requests, scratch, workers=workers, timeout=timeout)
        jobs = [job for job in jobs if job.name not in done]
        try:
            with (
                executor.running(jobs, workers, backend) as ended,
                watching(jobs, Console()) as say,
            ):
                for job, outcome in ended:
                    say(job, keep(job, outcome))
        except executor.Interrupted as interruption:
            complain(f"Interrupted ({interruption}): the lessons were stopped.")
            return interruption.number
    return 0


@contextlib.contextmanager
def watching(jobs, console):
    """Show how far the jobs are: a line for each that ended and, in a terminal, a bar.

    Yields say(job, record), to be called when a job has ended.
    """
    from rich import progress
    from rich.text import Text

    left = {job.name: job for job in jobs}

    class Running(progress.ProgressColumn):
        """The cells of what runs now, as its worker counts them in a file."""

        max_refresh = 0.5

        def render(self, _):
            counted = ((name, cells_done(job)) for name, job in list(left.items()))
            said = [f"{name} {done}" for name, done in counted if done]
            return Text(", ".join(said), no_wrap=True, overflow="ellipsis")

    def say(job, record):
        del left[job.name]
        bar.advance(task)
        mark = "✓" if record["status"] == "ok" else "✗"
        line = f"{mark} {job.name}: {record['status']}, {record['seconds']:.1f} s"
        if len(jobs) > 1:
            line += f" ({len(jobs) - len(left)} of {len(jobs)} done)"
        console.print(line, markup=False, highlight=False, soft_wrap=True)

    times = progress.TimeElapsedColumn(), progress.TimeRemainingColumn()
    columns = progress.BarColumn(20), progress.MofNCompleteColumn(), *times, Running()
    still = not console.is_terminal
    with progress.Progress(*columns, console=console, disable=still) as bar:
        task = bar.add_task("", total=len(jobs))
        yield say


def cells_done(job):
    """The cells done of how many, "3/40", or "" before the job's kernel is up."""
    try:
        done, total = job.status.read_text(encoding="utf-8").split()
    except (OSError, ValueError):  # not there yet, or being written
        return ""
    return f"{done}/{total}"


def table(columns, rows, *, title=None, right=()):
    """One of rich's tables: headings and rows of text; one with a ✗ in it is red.

    right: the columns that stand to the right.
    """
    from rich.table import Table
    from rich.text import Text

    shown = Table(title=title, title_justify="left", header_style="bold")
    shown.show_header = bool(columns)
    for name in columns:
        shown.add_column(Text(name), justify="right" if name in right else "left")
    for row in rows:
        style = "red" if any(x.startswith("✗ ") for x in row) else ""
        shown.add_row(*(Text(x, style=style) for x in row))
    return shown


def show(*what, style=None):
    """Print texts as they are, and rich's tables, a line or more each."""
    from rich.console import Console

    options = {"markup": False, "highlight": False, "style": style}
    Console().print(*what, sep="\n", **options)


def explain(name, record, kept=None):
    """Say how a run failed, and where; kept: its folder, if a notebook is there."""
    where = f" in cell In [{record['cell']}]" if record["cell"] else ""
    complain(f"{name}: {record['status']}{where}: {record['error']}")
    if record["line"]:
        print(f"  {record['line']}", file=sys.stderr)
    if kept and record["notebook"]:
        print(f"  so far: {kept / record['notebook']}", file=sys.stderr)


def complain(text):
    """One sentence on stderr."""
    print(f"lmlab: {text}", file=sys.stderr)

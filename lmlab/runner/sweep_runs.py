"""Run what is missing in a sweep, and publish what there is after each run."""

import functools
import shlex
import time
from dataclasses import replace

from lmlab.files import publish, publish_changed
from lmlab.runner import grids, hparams, results, sweep_report, sweeps, terminal

UP = ("../index.html", "all runs of this sweep")


class NotKept(Exception):
    """A run's results cannot be written: to run the others would be in vain."""


def run(sweep, *, workers=None, backend="loky", timeout=None):
    """Run what is missing: (the signal that cut it short or 0, whether all is ok).

    Each run is kept, and the table published, as soon as it has ended.
    """
    lesson = sweep.folder / sweep.lesson.path.name
    requests = [
        (name, lesson, sweep.fixed | values) for name, values in sweep.runs.items()
    ]
    options = {"workers": workers, "backend": backend, "timeout": timeout}
    print(_opening(sweep))
    signal, good = 0, True
    try:
        # As it is now: it may be opened, and changed, while the sweep goes on.
        publish_changed(lesson, sweep.lesson.path.read_bytes())
        _publish(sweep)
        if len(sweep.done) < len(sweep.runs):
            keep = functools.partial(_keep, sweep)
            signal = terminal.run(requests, keep, done=sweep.done, **options)
    except (NotKept, OSError) as error:
        good = False
        terminal.complain(f"The sweep was stopped: {_reason(error)}")
    try:
        _publish_all(sweep)
    except OSError as error:
        good = False
        terminal.complain(f"The table cannot be written: {_reason(error)}")
    good = good and len(sweep.done) == len(sweep.runs)
    _close(sweep, good, options)
    return signal, good


def _keep(sweep, job, outcome):
    own = replace(job, name=sweep.lesson.name)
    folder = sweep.folder / job.name
    record = results.keep(own, outcome, folder, sweep.defaults, up=UP)
    if not record.get("kept", True):
        raise NotKept(f"{job.name}: {record['error']}")
    sweep.records[job.name] = record
    try:
        _publish_run(sweep, job.name)
        _publish(sweep)
    except OSError as error:
        raise NotKept(f"the table cannot be written: {_reason(error)}") from None
    return record


def _publish(sweep, *, plots=False):
    """Publish the table and the page, and what TensorBoard is to know of all runs."""
    table = sweep_report.table_csv(sweep_report.rows(sweep))
    publish(sweep.folder / "sweep.csv", table)
    publish(sweep.folder / "index.html", sweep_report.page(sweep, plots=plots))
    parameters = [sweep.known[name] for name in sweep.values(next(iter(sweep.runs)))]
    measured = sweep_report.names(sweep.records.values())
    folder = sweep.folder / "tensorboard"
    hparams.write_experiment(folder, parameters, sweep.grid, measured)


def _publish_all(sweep):
    """Publish also the plots, and what an earlier, killed command may have left out."""
    for name in sweep.records:
        _publish_run(sweep, name)
    _publish(sweep, plots=True)
    if sweep.folder.parent == sweeps.every():
        results.lead_to_newest(sweep.folder.parent)


def _publish_run(sweep, name):
    record, path = sweep.records[name], sweep.record_path(name)
    hparams.write_run(
        sweep.folder / "tensorboard" / name,
        sweep.values(name),
        sweep_report.metrics(record),
        ok=record["status"] == "ok",
        seconds=record["seconds"],
        # A lesson may have recorded what no record can hold.
        ended=path.stat().st_mtime if path.exists() else time.time(),
    )


def _opening(sweep):
    """How much there is to do, before it begins."""
    product = " × ".join(f"{len(values)} {name}" for name, values in sweep.grid.items())
    runs = f"{len(sweep.runs):,} run{'s' * (len(sweep.runs) != 1)}"
    text = f"{runs} of {sweep.lesson.name} ({product}), {sweep.profile} profile"
    if sweep.records:
        text += (
            f": {len(sweep.done)} are done, {len(sweep.runs) - len(sweep.done)} to go"
        )
    return f"{text}; results in {sweep.folder}"


def _close(sweep, good, options):
    """Say how the sweep ended, where its results are, and how to go on with it."""
    terminal.show(sweep_report.table(sweep))
    for name, record in sweep.records.items():
        if record["status"] != "ok":
            folder = sweep.folder / name
            kept = folder / record["notebook"] if record["notebook"] else None
            terminal.explain(name, record, kept)
    print(f"{len(sweep.done)} of {len(sweep.runs)} runs are ok.")
    print(f"Results: {sweep.folder / 'index.html'}, and as a table sweep.csv")
    if not good:
        print(f"To run what is missing: {_again(sweep, options)}")


def _again(sweep, options):
    """The command that goes on with this sweep."""
    words = ["lmlab", "sweep", sweep.lesson.name]
    for name, values in sweep.grid.items():
        words += ["-p", grids.assignment(name, values)]
    words += ["--profile", sweep.profile] * (sweep.profile != "quick")
    if options["workers"]:
        words += ["--jobs", str(options["workers"])]
    if options["backend"] != "loky":
        words += ["--backend", options["backend"]]
    if options["timeout"]:
        words += ["--timeout", str(options["timeout"])]
    if len(sweep.runs) > grids.MOST:
        words += ["--most", str(len(sweep.runs))]
    return shlex.join([*words, "--resume", "--out", str(sweep.folder)])


def _reason(error):
    return getattr(error, "strerror", None) or error

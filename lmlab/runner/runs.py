"""Run many notebooks in parallel processes, and leave nothing half-done behind.

Each worker (a process of joblib's loky on this machine, or of a Dask or Ray cluster)
runs one notebook at a time in a scratch folder; this process alone publishes results,
to a temporary name and renamed. Every kernel, and what it starts, carries the run's
mark in its environment, so that all of them can be found and ended however it ends.
"""

import contextlib
import dataclasses
import functools
import importlib.util
import itertools
import json
import os
import tempfile
import time
import warnings
from pathlib import Path

from lmlab import threads
from lmlab.files import publish, publish_changed
from lmlab.runner import kernels
from lmlab.runner.execute import Job, Outcome, execute
from lmlab.runner.interrupts import Interrupted as Interrupted  # what `running` raises
from lmlab.runner.interrupts import held_back, interruptible

# What has to be installed for each, beside what always is.
BACKENDS = {"loky": (), "dask": ("dask", "distributed"), "ray": ("ray",)}
KILLED = "a process of the run was killed from outside (out of memory?)"


def prepare(requests, scratch, *, workers=None, timeout=None):
    """The jobs for these requests: (name, source notebook, parameters) of each.

    A fourth entry is the settings (`kernels.settings`) that this one runs under.

    With more than one worker each kernel gets one BLAS thread: two processes with
    two threads each collapse on two cores. Where the user's environment already
    says how many threads, it decides.
    """
    parallel = worker_count(requests, workers) > 1
    decided = any(os.environ.get(name) for name in threads.VARIABLES)
    return [
        Job(
            name,
            source,
            Path(scratch) / str(index),
            parameters,
            one_thread=parallel and not decided,
            timeout=timeout,
            parent=os.getpid(),
            mark=str(Path(scratch) / str(index)),
            environment=next(iter(chosen), None) or kernels.settings(),
        )
        for index, (name, source, parameters, *chosen) in enumerate(requests)
    ]


def worker_count(requests, workers=None):
    """How many run at a time: as many as asked for, or cores; never more than jobs."""
    import joblib

    return min(workers or joblib.cpu_count(), len(requests))


@contextlib.contextmanager
def scratch_folder():
    """A folder for a run's jobs, removed at the end."""
    with tempfile.TemporaryDirectory(
        prefix="lmlab-", ignore_cleanup_errors=True
    ) as folder:
        yield folder


def check_backend(name):
    """Raise LessonError for a backend that does not exist or is not installed."""
    from lmlab.runner.lessons import LessonError

    if name not in BACKENDS:
        raise LessonError(f"There is no backend {name!r}: {', '.join(BACKENDS)}.")
    if not all(importlib.util.find_spec(package) for package in BACKENDS[name]):
        raise LessonError(
            f"The backend {name!r} is not installed: "
            f"pip install -c requirements.lock -e '.[{name}]'"
        )


@contextlib.contextmanager
def running(jobs, workers=None, backend="loky"):
    """Run the jobs: yields an iterator of (job, Outcome), each as it is done.

    backend: loky (processes of this machine), or dask or ray, whose cluster may be
    of many machines: each with this Python, these packages, and no folder of ours.
    A run that is lost has failed, and the others go on. Raises LessonError for a
    backend that cannot be had, and Interrupted on SIGINT, SIGTERM or SIGHUP.
    However the block ends, no process of the run is left on this machine.
    """
    check_backend(backend)
    with interruptible(), warnings.catch_warnings():
        # joblib's advice to whoever stops before the end: here it is a person.
        warnings.filterwarnings("ignore", ".*[0-9]+ tasks (which|have)", UserWarning)
        marks = {job.mark for job in jobs}
        try:
            with contextlib.ExitStack() as stack:
                if backend == "loky":
                    done = _on_this_machine(jobs, worker_count(jobs, workers))
                else:
                    cluster = stack.enter_context(_cluster(backend, jobs, workers))
                    done = _on_a_cluster(jobs, workers, cluster)
                # What runs is ended while there is a cluster to tell.
                yield stack.enter_context(contextlib.closing(done))
        finally:
            _end_everything(marks)


def _execute(job):
    return job, execute(job)


def _on_this_machine(jobs, workers):
    """The results of loky's workers; all of them end when one of them is killed.

    What was running then has failed, and what was waiting gets new workers.
    """
    from concurrent.futures.process import BrokenProcessPool

    import joblib

    left = {job.name: job for job in jobs}
    while left:
        calls = [joblib.delayed(_execute)(job) for job in left.values()]
        try:
            # Each result as it comes.
            options = {"batch_size": 1, "return_as": "generator_unordered"}
            with held_back():
                done = joblib.Parallel(workers, **options)(calls)
            for job, outcome in done:
                del left[job.name]
                yield job, outcome
        except BrokenProcessPool:
            begun = [job for job in left.values() if job.scratch.exists()]
            kernels.end({job.mark for job in begun})
            # When none could even begin, the next would not either.
            for job in begun or list(left.values()):
                del left[job.name]
                yield job, _last_word(job)


def _last_word(job):
    """How a job ended whose worker may have been killed, before or after it."""
    try:
        return Outcome(**json.loads(job.ended.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return Outcome("failed", 0.0, KILLED)


@contextlib.contextmanager
def _cluster(name, jobs, workers):
    from lmlab.runner import clusters

    opened = {"dask": clusters.dask, "ray": clusters.ray}[name]
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(scratch_folder())
        stack.callback(kernels.end, {folder})  # workers that did not hear the end
        with held_back():
            found = stack.enter_context(opened(worker_count(jobs, workers), folder))
        # Before the cluster is left, which would wait for what still runs.
        stack.callback(kernels.end, {job.mark for job in jobs})
        yield found


def _on_a_cluster(jobs, workers, cluster):
    """The results of a cluster's workers, written where one of ours would have."""
    from lmlab.runner import backends

    at_a_time = cluster.at_a_time or min(workers or len(jobs), len(jobs))
    calls = []
    for job in jobs:
        if at_a_time > 1 and job.environment.keys().isdisjoint(threads.VARIABLES):
            job = dataclasses.replace(job, one_thread=True)
        text = job.source.read_text(encoding="utf-8")
        calls.append((job, functools.partial(backends.elsewhere, job, text)))
    with contextlib.closing(cluster.results(calls, at_a_time)) as done:
        for job, outcome, files in done:
            try:
                backends.unpack(job, files)
            except OSError as error:
                reason = f"cannot write the results: {error.strerror or error}"
                outcome = Outcome("failed", outcome.seconds, reason)
            yield job, outcome


def _end_everything(marks):
    """End loky's workers, then whatever else carries a mark of this run."""
    from joblib.externals.loky import get_reusable_executor

    get_reusable_executor(kill_workers=True).shutdown(wait=True, kill_workers=True)
    kernels.end(marks)


def keep_figures(job, folder):
    """Publish the figures that the job drew, where they are new or changed."""
    for drawn in sorted(job.figures.glob("*")):
        publish_changed(folder / drawn.name, drawn.read_bytes())


def new_folder(chosen=None):
    """The folder for a new run: the chosen one, or runs/<date>_<time>.

    An earlier run is never written over. Raises LessonError when the folder holds
    something already or cannot be written to.
    """
    from lmlab.runner.lessons import LessonError, folder

    path = Path(chosen) if chosen else _unused(folder().parent / "runs")
    try:
        if path.exists() and any(path.iterdir()):
            raise LessonError(
                f"The folder {path} holds something already, perhaps an earlier run. "
                "Name another with --out, or remove it."
            )
        path.mkdir(parents=True, exist_ok=True)
        publish(path / ".writable", "")
        (path / ".writable").unlink()
    except OSError as error:
        reason = error.strerror or error
        raise LessonError(
            f"Results cannot be written to {path}: {reason}. Name another with --out."
        ) from None
    return path


def _unused(folder):
    name = time.strftime("%Y-%m-%d_%H%M%S")
    again = itertools.chain([name], (f"{name}-{count}" for count in itertools.count(2)))
    return next(folder / each for each in again if not (folder / each).exists())

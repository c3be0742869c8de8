"""Run many notebooks in parallel processes, and leave nothing half-done behind.

Each worker (joblib's loky processes) runs one notebook at a time in a scratch
folder; this process alone publishes results, to a temporary name and renamed.
Every kernel, and what it starts, carries the scratch folder in its environment as
a mark, so that all of them can be found and ended however the run ends.
"""

import contextlib
import itertools
import os
import signal
import tempfile
import threading
import time
import warnings
from pathlib import Path

from lmlab import threads
from lmlab.execute import Job, Outcome, execute
from lmlab.files import publish, publish_changed
from lmlab.kernels import MARK


class Interrupted(KeyboardInterrupt):
    """Ctrl-C, or a request to end. number: the signal."""

    def __init__(self, number):
        super().__init__(signal.Signals(number).name)
        self.number = number


def prepare(requests, scratch, *, workers=None, timeout=None):
    """The jobs for these requests: (name, source notebook, parameters) of each.

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
        )
        for index, (name, source, parameters) in enumerate(requests)
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


@contextlib.contextmanager
def running(jobs, workers=None):
    """Run the jobs: yields an iterator of (job, Outcome), each as it is done.

    Raises Interrupted on SIGINT, SIGTERM or SIGHUP. However the block ends, no
    process of the run is left.
    """
    import joblib

    with _signals(), warnings.catch_warnings():
        # joblib's advice to whoever stops before the end: here it is a person.
        warnings.filterwarnings("ignore", "[0-9]+ tasks which were still", UserWarning)
        try:
            tasks = joblib.Parallel(
                n_jobs=worker_count(jobs, workers),
                batch_size=1,
                return_as="generator_unordered",
            )
            with _held_back():
                done = tasks(joblib.delayed(_execute)(job) for job in jobs)
            yield _each(done, jobs)
        finally:
            _end_everything({str(job.scratch) for job in jobs})


def _execute(job):
    return job, execute(job)


def _each(done, jobs):
    """The results, also when a worker was killed, which ends all workers."""
    from joblib.externals.loky.process_executor import TerminatedWorkerError

    left = {job.name: job for job in jobs}
    try:
        for job, outcome in done:
            del left[job.name]
            yield job, outcome
    except TerminatedWorkerError:
        message = "a process of the run was killed from outside (out of memory?)"
        for job in left.values():
            yield job, Outcome("failed", 0.0, message)


@contextlib.contextmanager
def _signals():
    """In the main thread, turn the signals that end a run into Interrupted, once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(number, _frame):
        for each in before:  # the cleaning up must not be cut short
            signal.signal(each, signal.SIG_IGN)
        raise Interrupted(number)

    names = ("SIGINT", "SIGTERM", "SIGHUP")
    numbers = [getattr(signal, name) for name in names if hasattr(signal, name)]
    before = {number: signal.signal(number, interrupt) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _held_back():
    """Hold Ctrl-C back while workers are started: they inherit that.

    So it cannot strike a worker that is still importing, and end in its traceback;
    the worker lets it through when it has learnt to ignore it.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    from multiprocessing import resource_tracker

    resource_tracker.ensure_running()  # its start would let the signal through
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _end_everything(marks):
    """End the workers, then whatever else carries a mark of this run."""
    import psutil
    from joblib.externals.loky import get_reusable_executor

    get_reusable_executor(kill_workers=True).shutdown(wait=True, kill_workers=True)
    left = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.environ().get(MARK) in marks:
                process.kill()
                left.append(process)
    psutil.wait_procs(left, timeout=5)


def keep_figures(job, folder):
    """Publish the figures that the job drew, where they are new or changed."""
    for drawn in sorted(job.figures.glob("*")):
        publish_changed(folder / drawn.name, drawn.read_bytes())


def refresh(job, outcome, figures):
    """Put a job's notebook, normalised, and its figures in the place of the old ones.

    Nothing is replaced unless all of it ran. Returns how it ended.
    """
    import nbformat

    from lmlab.lessons import read_notebook
    from lmlab.normalize import normalize

    if outcome.status != "ok":
        return outcome
    text = nbformat.writes(normalize(read_notebook(job.executed)))
    try:
        publish(job.source, text.rstrip() + "\n")
        keep_figures(job, figures)
    except OSError as error:
        return Outcome("failed", outcome.seconds, f"cannot write: {error}")
    return outcome


def new_folder(chosen=None):
    """The folder for a new run: the chosen one, or runs/<date>_<time>.

    An earlier run is never written over. Raises LessonError when the folder holds
    something already or cannot be written to.
    """
    from lmlab.lessons import LessonError, folder

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

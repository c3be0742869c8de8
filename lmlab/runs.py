"""Run many notebooks in parallel processes, and leave nothing half-done behind.

Each worker (joblib's loky processes) runs one notebook at a time in a scratch
folder; this process alone publishes results, to a temporary name and renamed.
Every kernel, and what it starts, carries the scratch folder in its environment as
a mark, so that all of them can be found and ended however the run ends.
"""

import contextlib
import os
import signal
import tempfile
from pathlib import Path

from lmlab.execute import MARK, THREADS, Job, Outcome, execute


class Interrupted(KeyboardInterrupt):
    """Ctrl-C, or a request to end. number: the signal."""

    def __init__(self, number):
        super().__init__(signal.Signals(number).name)
        self.number = number


def run(jobs, workers=None):
    """Run the jobs; yields (job, Outcome) as each is done.

    workers: processes at a time; by default as many as cores or jobs, the fewer.
    With more than one, each kernel gets one BLAS thread, unless the user's own
    environment says how many.
    Raises Interrupted on SIGINT, SIGTERM or SIGHUP. However it ends, no process of
    the run is left.
    """
    import joblib

    workers = min(workers or joblib.cpu_count(), len(jobs))
    with _signals():
        try:
            tasks = joblib.Parallel(
                n_jobs=workers, batch_size=1, return_as="generator_unordered"
            )
            yield from tasks(joblib.delayed(_execute)(job) for job in jobs)
        finally:
            _end_everything({str(job.scratch) for job in jobs})


def _execute(job):
    return job, execute(job)


@contextlib.contextmanager
def prepare(requests, *, workers=None, timeout=None):
    """Jobs in a scratch folder that is removed at the end.

    requests: (name, source notebook, parameters) of each.
    """
    import joblib

    parallel = min(workers or joblib.cpu_count(), len(requests)) > 1
    one_thread = parallel and not any(os.environ.get(name) for name in THREADS[:3])
    with tempfile.TemporaryDirectory(
        prefix="lmlab-", ignore_cleanup_errors=True
    ) as scratch:
        yield [
            Job(
                name,
                source,
                Path(scratch) / str(index),
                parameters,
                one_thread=one_thread,
                timeout=timeout,
                parent=os.getpid(),
            )
            for index, (name, source, parameters) in enumerate(requests)
        ]


@contextlib.contextmanager
def _signals():
    def interrupt(number, _frame):
        for each in numbers:  # once is enough: the cleaning up must not be cut
            signal.signal(each, signal.SIG_IGN)
        raise Interrupted(number)

    numbers = [signal.SIGINT, signal.SIGTERM]
    if hasattr(signal, "SIGHUP"):
        numbers.append(signal.SIGHUP)
    before = {number: signal.signal(number, interrupt) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


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


def publish(path, data):
    """Write the file under a temporary name and rename it: all of it or nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        partial.write_bytes(data if isinstance(data, bytes) else data.encode())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def refresh(lessons, *, workers=None, timeout=None, figures):
    """Execute committed notebooks in place; yields (name, Outcome) as each is done.

    A notebook and its figures are replaced only when all of it ran.
    """
    from lmlab.lessons import read_notebook
    from lmlab.normalize import normalize

    paths = {lesson.name: lesson.path for lesson in lessons}
    requests = [(lesson.name, lesson.path, {}) for lesson in lessons]
    with prepare(requests, workers=workers, timeout=timeout) as jobs:
        for job, outcome in run(jobs, workers):
            if outcome.status == "ok":
                import nbformat

                text = nbformat.writes(normalize(read_notebook(job.executed)))
                try:
                    publish(paths[job.name], text.rstrip() + "\n")
                    keep_figures(job, figures)
                except OSError as error:
                    outcome = Outcome("failed", outcome.seconds, str(error))
            yield job.name, outcome


def keep_figures(job, folder):
    """Move the figures that the job drew into the folder, where they changed."""
    for drawn in sorted(job.figures.glob("*")):
        kept = folder / drawn.name
        if not kept.exists() or kept.read_bytes() != drawn.read_bytes():
            publish(kept, drawn.read_bytes())

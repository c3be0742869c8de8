"""Run jobs on the workers of a cluster, which share no folder with this machine.

The work is handed out below: joblib's way to Dask waits for ever when a worker is
killed, and Ray's gives nothing back before everything is done. A job travels with its
notebook's text, and its results come back as bytes.
"""

import asyncio
import concurrent.futures
import contextlib
import dataclasses
import itertools
import queue
import tempfile
import threading
from pathlib import Path

from lmlab.runner import kernels
from lmlab.runner.execute import Outcome, execute
from lmlab.runner.interrupts import held_back

PULSE_SECONDS = 1.0  # between two looks whether a run is still wanted


class Futures:
    """Runs jobs over anything that turns a call into a future.

    start(call, name) returns the future, with result() and add_done_callback;
    cancel(futures) ends what still runs. at_a_time: how many can run, if that is
    fixed. A run whose worker was lost, or that could not be sent, has failed, and the
    others go on.
    """

    def __init__(self, start, cancel, at_a_time=None):
        self.start, self.cancel, self.at_a_time = start, cancel, at_a_time
        self.sent = set()

    def results(self, calls, at_a_time):
        """Yield what each call returns, as it comes: (job, Outcome, files).

        calls: pairs of a job and a function of no argument; at most so many of them
        are at work at a time. Those that are when this is closed are cancelled.
        """
        waiting, ended = iter(calls), queue.SimpleQueue()
        try:
            for job, call in itertools.islice(waiting, at_a_time):
                self._send(job, call, ended)
            while self.sent:
                job, future = ended.get()
                self.sent.discard(future)  # or the cluster would keep its result
                for following in itertools.islice(waiting, 1):
                    self._send(*following, ended)
                yield _result(job, future)
        finally:
            with contextlib.suppress(Exception):  # the cluster itself may be gone
                self.cancel(list(self.sent))

    def _send(self, job, call, ended):
        with held_back():  # or what was just started might not be cancelled
            try:
                future = self.start(call, job.name)
            except Exception as error:
                future = concurrent.futures.Future()
                future.set_exception(error)
            self.sent.add(future)
        future.add_done_callback(lambda future: ended.put((job, future)))


def _result(job, future):
    try:
        return future.result()
    except (Exception, asyncio.CancelledError) as error:
        return job, Outcome("failed", 0.0, _why(error)), {}


def _why(error):
    name = type(error).__name__  # of classes that are in Dask or in Ray
    if name in ("KilledWorker", "WorkerCrashedError", "NodeDiedError"):
        return "its worker was killed from outside (out of memory?)"
    if name in ("CancelledError", "FutureCancelledError"):
        return "the connection to the cluster was lost"
    return f"{name}: {error}".splitlines()[0].rstrip(": ")


def elsewhere(job, notebook):
    """Run the job, whose notebook has this text, in a folder of its own.

    Returns the job, its Outcome and the files that it left: {path below the job's
    scratch folder: bytes}.
    """
    with tempfile.TemporaryDirectory(
        prefix="lmlab-", ignore_cleanup_errors=True
    ) as folder:
        here = Path(folder)
        run = dataclasses.replace(
            job, source=here / job.source.name, scratch=here / "run", parent=0
        )
        run.source.write_text(notebook, encoding="utf-8")
        with _while_wanted(run):
            outcome = execute(run)
        files = [run.executed, run.log, run.status, *run.figures.glob("*")]
        found = {
            str(path.relative_to(run.scratch)): path.read_bytes()
            for path in files
            if path.is_file()
        }
    return job, outcome, found


@contextlib.contextmanager
def _while_wanted(job):
    """End the job's kernel when the one who asked has gone.

    Dask cannot end a task that is running, only forget it: it would compute on.
    (Ray ends the worker, and the kernel ends with it.)
    """
    try:
        from distributed import get_worker

        worker = get_worker()
        key = worker.get_current_task()
    except (ImportError, ValueError):  # not in a worker of Dask
        yield
        return

    def watch():
        while not done.wait(PULSE_SECONDS):
            task = worker.state.tasks.get(key)
            if task is None or task.state == "cancelled":
                kernels.end({job.mark})

    done = threading.Event()
    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        done.set()
        watcher.join()


def unpack(job, files):
    """Write the files that came back to the job's scratch folder."""
    for name, data in files.items():
        path = job.scratch / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)

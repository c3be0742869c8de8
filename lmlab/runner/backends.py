"""Run jobs on the workers of a cluster, which share no folder with this machine.

joblib hands the work out, through the backend below: its own one for Dask waits for
ever when a worker is killed, and Ray's gives nothing back before everything is done.
A job travels with its notebook's text, and its results come back as bytes.
"""

import concurrent.futures
import contextlib
import dataclasses
import tempfile
import threading
from pathlib import Path

from joblib.parallel import ParallelBackendBase

from lmlab.runner import kernels
from lmlab.runner.execute import Outcome, execute

PULSE_SECONDS = 1.0  # between two looks whether a run is still wanted


class Futures(ParallelBackendBase):
    """A joblib backend over anything that turns a call into a future.

    start(call, name) returns the future, with result() and add_done_callback;
    cancel(futures) ends what still runs. at_a_time: how many can run, if that is
    fixed. A run whose worker was lost, or that could not be sent, has failed, and the
    others go on.
    """

    supports_retrieve_callback = True

    def __init__(self, start, cancel, at_a_time=None):
        super().__init__(nesting_level=0)
        self.start, self.cancel, self.at_a_time = start, cancel, at_a_time
        self.sent = set()

    def effective_n_jobs(self, n_jobs):
        """2, for joblib would run the jobs right here if it were 1.

        How many are sent at a time is decided by joblib's pre_dispatch.
        """
        return 2

    def submit(self, func, callback):
        """Send one job; the callback gets it and its future."""
        ((_, (job, _), _),) = func.items

        def done(future):
            self.sent.discard(future)  # or the cluster would keep its result
            callback((job, future))

        try:
            future = self.start(func, job.name)
            self.sent.add(future)
            future.add_done_callback(done)
        except Exception as error:
            # In a thread: the callback sends the next job, which may fail as well.
            future = concurrent.futures.Future()
            future.set_exception(error)
            threading.Thread(target=done, args=(future,)).start()
        return future

    def retrieve_result_callback(self, out):
        """The batch of one result."""
        job, future = out
        try:
            return future.result()
        except BaseException as error:  # a cancelled future's is no Exception
            return [(job, Outcome("failed", 0.0, _why(error)), {})]

    def abort_everything(self, ensure_ready=True):
        """End the runs that are not done."""
        with contextlib.suppress(Exception):  # the cluster itself may be gone
            self.cancel(list(self.sent))


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

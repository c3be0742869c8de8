"""Run jobs on a Dask or Ray cluster, whose workers share no folder with this machine.

joblib hands the work out, through the backend below: its own one for Dask waits for
ever when a worker is killed, and Ray's gives nothing back before everything is done.
A job travels with its notebook's text, and its results come back as bytes.

A cluster of our own (without an address) listens on the loopback device alone. Dask
and Ray run what they are told by whoever can reach them: on a machine with users
that you do not trust, stay with loky.
"""

import concurrent.futures
import contextlib
import dataclasses
import logging
import os
import tempfile
import threading
from pathlib import Path

from joblib.parallel import ParallelBackendBase

from lmlab import kernels
from lmlab.execute import Outcome, execute
from lmlab.lessons import LessonError

CONNECT_SECONDS = 30  # for a cluster, and its first worker, to answer
PULSE_SECONDS = 1.0  # between two looks whether a run is still wanted


class Futures(ParallelBackendBase):
    """A joblib backend over anything that turns a call into a future.

    start(call, name) returns the future, with result() and add_done_callback;
    cancel(futures) ends what still runs. A run whose worker was lost, or that could
    not be sent, has failed, and the others go on.
    """

    supports_retrieve_callback = True

    def __init__(self, start, cancel, slots):
        super().__init__(nesting_level=0)
        self.start, self.cancel, self.slots = start, cancel, slots
        self.sent = []

    def effective_n_jobs(self, n_jobs):
        """At least 2: what is 1 joblib would run right here."""
        return max(2, self.slots)

    def submit(self, func, callback):
        """Send one job; the callback gets it and its future."""
        ((_, (job, _), _),) = func.items
        try:
            future = self.start(func, job.name)
            self.sent.append(future)
            future.add_done_callback(lambda done: callback((job, done)))
        except Exception as error:
            # In a thread: the callback sends the next job, which may fail as well.
            future = concurrent.futures.Future()
            future.set_exception(error)
            threading.Thread(target=callback, args=((job, future),)).start()
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
        self.cancel(self.sent)


def _why(error):
    lost = ("KilledWorker", "WorkerCrashedError", "NodeDiedError", "OutOfMemoryError")
    if type(error).__name__ in lost:
        return "its worker was killed from outside (out of memory?)"
    return f"{type(error).__name__}: {error}".splitlines()[0].rstrip(": ")


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


@contextlib.contextmanager
def dask(workers, folder):
    """The backend on the cluster at DASK_SCHEDULER_ADDRESS, or on one of our own.

    Our own has so many workers, of one run each, on this machine, with their files
    in the folder. Raises LessonError when there is no cluster at the address.
    """
    import dask
    from distributed import Client, LocalCluster

    address = dask.config.get("scheduler-address", None)
    # A worker that is lost costs the run that it was running, not three workers more.
    ours = {
        "distributed.scheduler.allowed-failures": 0,
        "distributed.nanny.pre-spawn-environ": {"TMPDIR": folder, kernels.MARK: folder},
        "distributed.comm.retry.count": 0,
    }
    with contextlib.ExitStack() as stack:
        stack.enter_context(_silent("distributed", "asyncio", "tornado"))
        if not address:
            stack.enter_context(dask.config.set(ours))
            address = stack.enter_context(
                LocalCluster(
                    n_workers=workers,
                    threads_per_worker=1,
                    host="127.0.0.1",
                    dashboard_address=None,
                    memory_limit=0,
                    local_directory=folder,
                    silence_logs=logging.CRITICAL,
                )
            )
        try:
            client = Client(address, timeout=CONNECT_SECONDS, set_as_default=False)
            client = stack.enter_context(client)
            client.wait_for_workers(1, timeout=CONNECT_SECONDS)
        except OSError as error:
            raise LessonError(
                f"The Dask cluster at {address} does not answer: {error}. "
                "It is the one that DASK_SCHEDULER_ADDRESS names."
            ) from None

        def start(call, name):
            return client.submit(call, key=f"{name}-{os.urandom(8).hex()}")

        def cancel(futures):
            client.cancel([future for future in futures if not future.done()])

        yield Futures(start, cancel, sum(client.nthreads().values()))


@contextlib.contextmanager
def ray(workers, folder):
    """The backend on the cluster at RAY_ADDRESS, or on one of our own.

    Our own runs so many at a time. Raises LessonError when there is no cluster at
    the address.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    import ray

    address = os.environ.get("RAY_ADDRESS")
    options = {"num_cpus": workers, "include_dashboard": False}
    options |= {"_node_ip_address": "127.0.0.1", "object_store_memory": 2**27}
    with _silent("ray"):
        try:
            ray.init(
                address or "local",
                **({} if address else options),
                logging_level=logging.CRITICAL,
                log_to_driver=False,
            )
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise LessonError(
                f"The Ray cluster at {address} does not answer: {error}. "
                "It is the one that RAY_ADDRESS names."
            ) from None
        try:
            # What one process was killed by would kill the next one too.
            task = ray.remote(num_cpus=1, max_retries=0)(lambda call: call())
            sent = {}

            def start(call, name):
                reference = task.options(name=name).remote(call)
                future = reference.future()
                sent[future] = reference
                return future

            def cancel(futures):
                for future in futures:
                    if not future.done():
                        ray.cancel(sent[future], force=True)

            slots = int(ray.cluster_resources().get("CPU", 1))
            yield Futures(start, cancel, slots)
        finally:
            ray.shutdown()


@contextlib.contextmanager
def _silent(*names):
    """Keep these libraries' own log off the terminal: what matters is raised."""
    loggers = [logging.getLogger(name) for name in names]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for logger, level in zip(loggers, before):
            logger.setLevel(level)

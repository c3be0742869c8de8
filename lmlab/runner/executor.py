"""Run many notebooks at a time, and leave nothing half-done behind.

Each runs in a worker, a process of this machine that takes one job after the other, or
on a Dask cluster; this process alone publishes results. Every worker and kernel, and
what it starts, carries a mark in its environment, so that all of them can be found and
ended however a run ends.
"""

import concurrent.futures
import contextlib
import importlib.util
import itertools
import logging
import os
import pickle
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import replace
from pathlib import Path

from lmlab import threads
from lmlab.runner import kernels
from lmlab.runner.execute import Job, Outcome, execute
from lmlab.runner.lessons import LessonError

BACKENDS = {"processes": (), "dask": ("distributed",)}  # and what each one needs
KILLED = "a process of the run was killed from outside (out of memory?)"
LOST = "the connection to the cluster was lost"
CONNECT_SECONDS = 30  # for a cluster, and its first worker, to answer
LOOPBACK = "127.0.0.1:0"  # no other machine, any port
PULSE_SECONDS = 0.5  # between two looks whether a run on a cluster is still wanted


class Interrupted(KeyboardInterrupt):
    """Ctrl-C, or a request to end. number: the signal."""

    def __init__(self, number):
        super().__init__(signal.Signals(number).name)
        self.number = number


def scratch_folder():
    """A folder for a run's jobs; a context, at whose end it is removed."""
    return tempfile.TemporaryDirectory(prefix="lmlab-", ignore_cleanup_errors=True)


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
            environment=next(iter(chosen), None) or kernels.settings(),
        )
        for index, (name, source, parameters, *chosen) in enumerate(requests)
    ]


def worker_count(requests, workers=None):
    """How many run at a time: as many as asked for, or cores; never more than jobs."""
    import joblib

    return min(workers or joblib.cpu_count(), len(requests))


def check_backend(name):
    """Raise LessonError for a backend that does not exist or is not installed."""
    if name not in BACKENDS:
        raise LessonError(f"There is no backend {name!r}: {', '.join(BACKENDS)}.")
    if not all(map(importlib.util.find_spec, BACKENDS[name])):
        raise LessonError(
            f"The backend {name!r} is not installed: "
            f"pip install -c requirements.lock -e '.[{name}]'"
        )


@contextlib.contextmanager
def running(jobs, workers=None, backend="processes"):
    """Run the jobs: yields an iterator of (job, Outcome), each as it is done.

    backend: processes of this machine, or dask, whose cluster may be of many machines:
    each with this Python, these packages, and no folder of ours. A run that is lost
    has failed, and the others go on. Raises LessonError for a backend that cannot be
    had, and Interrupted on SIGINT, SIGTERM or SIGHUP.
    However the block ends, no process of the run is left on this machine.
    """
    check_backend(backend)
    opened = {"processes": _processes, "dask": _dask}[backend]
    with _interruptible(), opened(jobs, workers) as ended:
        yield ended


@contextlib.contextmanager
def _interruptible():
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


# --- Processes of this machine --------------------------------------------------------


class _Worker:
    """A process that runs the jobs it is given, one after the other.

    It has a session of its own, out of reach of the terminal's Ctrl-C, and ends with
    its kernels when this process does: it reads the end of its input.
    """

    # As this process finds modules: where it was started does not matter.
    CODE = "import sys; sys.path[:] = {path}; from lmlab.runner import executor as e; "

    def __init__(self, mark):
        code = self.CODE.format(path=sys.path) + "e.work()"
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-c", code],
            env=os.environ | {kernels.MARK: mark},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )

    def run(self, job):
        """The job's Outcome; a failed one when the worker was killed meanwhile."""
        try:
            pickle.dump(job, self.process.stdin)
            self.process.stdin.flush()
            return pickle.load(self.process.stdout)
        except (OSError, EOFError, pickle.UnpicklingError):
            kernels.end({job.mark})
            self.close()
            return Outcome("failed", 0.0, KILLED)

    def close(self):
        """End the process, if it has not ended."""
        self.process.kill()
        self.process.wait()
        for end in (self.process.stdin, self.process.stdout):
            with contextlib.suppress(OSError):  # a killed one leaves what was not sent
                end.close()


def work():
    """What a worker does: run each job that comes on stdin, and answer on stdout."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints is no answer
    jobs, marks = queue.SimpleQueue(), set()

    def listen():
        with contextlib.suppress(EOFError, OSError):
            while job := pickle.load(sys.stdin.buffer):
                marks.add(job.mark)
                jobs.put(job)
        kernels.end(marks)
        os._exit(0)

    threading.Thread(target=listen, daemon=True).start()
    while True:
        outcome = execute(jobs.get())
        with contextlib.suppress(OSError):  # who asked has gone: the other thread ends
            pickle.dump(outcome, answers)
            answers.flush()


@contextlib.contextmanager
def _processes(jobs, workers):
    """The results of workers on this machine; a killed one costs the run it had."""
    count, mark = worker_count(jobs, workers), f"{os.getpid()}-{os.urandom(8).hex()}"
    mine, everyone = threading.local(), []

    def run(job):
        worker = getattr(mine, "worker", None)
        if worker is None or worker.process.poll() is not None:
            try:
                worker = mine.worker = _Worker(mark)
            except OSError as error:
                return Outcome("failed", 0.0, f"no process could be started: {error}")
            everyone.append(worker)
        return worker.run(job)

    pool, futures = concurrent.futures.ThreadPoolExecutor(max(1, count)), {}
    try:
        futures |= {pool.submit(run, job): job for job in jobs}
        done = concurrent.futures.as_completed(futures)
        yield ((futures[future], future.result()) for future in done)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        kernels.end({mark, *(job.mark for job in jobs)})
        while not all(future.done() for future in futures):
            time.sleep(0.1)
            kernels.end({mark})  # one that was just being started
        for worker in everyone:
            worker.close()


# --- A Dask cluster -------------------------------------------------------------------


@contextlib.contextmanager
def _dask(jobs, workers):
    """The results of the cluster at DASK_SCHEDULER_ADDRESS, or of one of our own.

    Our own has so many workers, threads of this process: no other machine reaches it.
    A job travels with its notebook's text, and its results come back as bytes.
    """
    import dask
    from distributed import Client

    address = dask.config.get("scheduler-address", None)
    count = worker_count(jobs, workers) if not address else workers or len(jobs)
    with contextlib.ExitStack() as stack:
        logging.disable()  # its own log: what matters is raised
        stack.callback(logging.disable, logging.NOTSET)
        options = {"address": address}
        if not address:
            options = {"processes": False, "n_workers": 1, "threads_per_worker": count}
            options |= {"dashboard_address": LOOPBACK, "silence_logs": logging.CRITICAL}
            options["memory_limit"] = 0  # none
            place = {"temporary-directory": stack.enter_context(scratch_folder())}
            stack.enter_context(dask.config.set(place))
        try:
            client = Client(timeout=CONNECT_SECONDS, set_as_default=False, **options)
            stack.enter_context(client)
            client.wait_for_workers(1, timeout=CONNECT_SECONDS)
        except (OSError, RuntimeError) as error:
            said = f"A Dask cluster could not be started: {_said(error)}"
            if address:
                said = f"The Dask cluster at {address} does not answer: {error}. "
                said += "It is the one that DASK_SCHEDULER_ADDRESS names."
            raise LessonError(said) from None
        # What runs is ended while there is a cluster, which would wait for it.
        stack.callback(kernels.end, {job.mark for job in jobs})
        yield stack.enter_context(contextlib.closing(_sent(client, jobs, count)))


def _sent(client, jobs, at_a_time):
    """Send the jobs, so many at a time, and yield each with its Outcome as it ends."""
    from distributed import as_completed

    waiting, sent = iter(jobs), {}

    def send(count):
        for job in itertools.islice(waiting, count):
            decided = not job.environment.keys().isdisjoint(threads.VARIABLES)
            if at_a_time > 1 and not decided:
                job.one_thread = True
            text, key = job.source.read_text(encoding="utf-8"), os.urandom(8).hex()
            future = client.submit(elsewhere, job, text, key=f"{job.name}-{key}")
            sent[future] = job
            ended.add(future)

    ended = as_completed(loop=client.loop)
    try:
        send(at_a_time)
        for future in ended:
            job = sent.pop(future)
            yield job, _brought(job, future)
            if client.status != "running":
                raise ConnectionError(LOST)
            send(1)
    except Exception as error:  # the cluster is gone: so are the runs
        for job in (*sent.values(), *waiting):
            yield job, Outcome("failed", 0.0, _said(error))
    finally:
        with contextlib.suppress(Exception):  # as above
            client.cancel(list(sent))


def _brought(job, future):
    """How the job ended; what it left is written where a worker of ours would have."""
    from distributed import KilledWorker

    try:
        outcome, files = future.result()
    except KilledWorker:
        return Outcome("failed", 0.0, KILLED)
    except concurrent.futures.CancelledError:
        return Outcome("failed", 0.0, LOST)
    except Exception as error:  # of whatever library: the other runs go on
        return Outcome("failed", 0.0, _said(error))
    try:
        for name, data in files.items():
            (job.scratch / name).parent.mkdir(parents=True, exist_ok=True)
            (job.scratch / name).write_bytes(data)
    except OSError as error:
        reason = f"cannot write the results: {error.strerror or error}"
        return Outcome("failed", outcome.seconds, reason)
    return outcome


def _said(error):
    return f"{type(error).__name__}: {error}".splitlines()[0].rstrip(": ")


def elsewhere(job, notebook):
    """On a worker of Dask: run the job, whose notebook has this text, in a process.

    Returns its Outcome and the files that it left: {path below the job's scratch
    folder: bytes}.
    """
    from distributed import get_worker

    dask = get_worker()
    key = dask.get_current_task()

    def watch():  # Dask cannot end a task that is running, only forget it
        while not done.wait(PULSE_SECONDS):
            task = dask.state.tasks.get(key)
            if task is None or task.state == "cancelled":
                kernels.end({job.mark})

    done = threading.Event()
    watcher = threading.Thread(target=watch, daemon=True)
    with scratch_folder() as folder:
        here = Path(folder)
        run = replace(job, source=here / job.source.name, scratch=here / "run")
        run.source.write_text(notebook, encoding="utf-8")
        worker = _Worker(job.mark)
        watcher.start()
        try:
            outcome = worker.run(run)
        finally:
            done.set()
            worker.close()
        files = [run.executed, run.log, run.status, *run.figures.glob("*")]
        left = {
            str(path.relative_to(run.scratch)): path.read_bytes()
            for path in files
            if path.is_file()
        }
    return outcome, left

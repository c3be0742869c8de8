"""A Dask or Ray cluster to run jobs on: one that is there, or one of our own.

A cluster of our own listens on the loopback device alone. Dask and Ray run what they
are told by whoever can reach them: on a machine with users that you do not trust,
stay with loky.
"""

import contextlib
import logging
import os
import signal
import threading

from lmlab.runner import kernels
from lmlab.runner.backends import Futures
from lmlab.runner.lessons import LessonError

LOCAL = "127.0.0.1:0"  # no other machine, any port
CONNECT_SECONDS = 30  # for a cluster, and its first worker, to answer


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
        "temporary-directory": folder,
        "distributed.nanny.pre-spawn-environ": {"TMPDIR": folder, kernels.MARK: folder},
    }
    with contextlib.ExitStack() as stack:
        stack.enter_context(_own_environment())
        stack.enter_context(_silent("distributed", "asyncio", "tornado"))
        at_a_time = None if address else workers
        if not address:
            stack.enter_context(dask.config.set(ours))
            address = stack.enter_context(
                LocalCluster(
                    n_workers=workers,
                    threads_per_worker=1,
                    host="127.0.0.1",
                    scheduler_kwargs={"dashboard": False, "dashboard_address": LOCAL},
                    worker_dashboard_address=LOCAL,
                    memory_limit=0,
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

        yield Futures(start, client.cancel, at_a_time)


@contextlib.contextmanager
def ray(workers, folder):
    """The backend on the cluster at RAY_ADDRESS, or on one of our own.

    Our own runs so many at a time. Raises LessonError when there is none at the
    address, or it cannot be started.
    """
    with _own_environment(), _silent("ray"):
        address = os.environ.get("RAY_ADDRESS", "local")
        options = _of_our_own(workers, folder) if address == "local" else {}
        import ray

        try:
            with _own_signals():
                ray.init(
                    address,
                    **options,
                    logging_level=logging.CRITICAL,
                    log_to_driver=False,
                )
        except Exception as error:  # some of Ray's are no more than that
            reason = f"{error}".partition("\n")[0]
            message = f"The Ray cluster at {address} does not answer: {reason}"
            if address == "local":
                message = f"A Ray cluster could not be started: {reason}"
            raise LessonError(message) from None
        try:
            # What one process was killed by would kill the next one too.
            task = ray.remote(num_cpus=1, max_retries=0)(lambda call: call())

            def start(call, name):
                reference = task.options(name=name).remote(call)
                future = reference.future()
                future.reference = reference
                return future

            def cancel(futures):
                for future in futures:
                    ray.cancel(future.reference, force=True)

            yield Futures(start, cancel, workers if address == "local" else None)
        finally:
            ray.shutdown()


def _of_our_own(workers, folder):
    # Unless told, Ray reports its use to its makers and listens to other machines.
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
    options = {"num_cpus": workers, "include_dashboard": False}
    options["object_store_memory"] = 2**27  # bytes; a result is a notebook
    if len(folder) < 40:  # for its sockets, whose names may have 107 letters
        options["_temp_dir"] = folder
    return options


@contextlib.contextmanager
def _own_environment():
    """Keep this process's variables: those for workers are set in it as well."""
    before = dict(os.environ)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


@contextlib.contextmanager
def _own_signals():
    """Keep what this process does on Ctrl-C and SIGTERM: Ray puts its own there."""
    before = {
        number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)
    }
    yield
    if threading.current_thread() is threading.main_thread():
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _silent(*libraries):
    """Keep these libraries' own log off the terminal: what matters is raised."""
    known = [name for name in logging.root.manager.loggerDict if "." in name]
    parts = [name for name in known if name.partition(".")[0] in libraries]
    loggers = [logging.getLogger(name) for name in (*libraries, *parts)]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for logger, level in zip(loggers, before):
            logger.setLevel(level)

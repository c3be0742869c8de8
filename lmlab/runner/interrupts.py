"""Ctrl-C and other requests to end, while processes of ours are at work."""

import contextlib
import signal
import threading


class Interrupted(KeyboardInterrupt):
    """Ctrl-C, or a request to end. number: the signal."""

    def __init__(self, number):
        super().__init__(signal.Signals(number).name)
        self.number = number


@contextlib.contextmanager
def interruptible():
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
def held_back():
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

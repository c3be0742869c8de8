"""How many threads a matrix product may use.

Two processes that use every core for small products wait for each other at each one
and can be ten times slower than with one thread each; and with one thread, a float32
sum comes out the same on every machine of a kind. So lessons with small matrices take
one.
"""

import contextlib
import os

from lmlab.arguments import whole

SMALL = 2 * 256 * 784 * 128  # additions and multiplications; benchmarks/README.md
VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "TF_NUM_INTRAOP_THREADS",
    "TF_NUM_INTEROP_THREADS",
)
_limit = None


def thread_count():
    """Threads in use: the limit that was set, else OMP_NUM_THREADS, else our cores."""
    if _limit is not None:
        return _limit
    chosen = os.environ.get("OMP_NUM_THREADS", "")
    if chosen.isdigit() and int(chosen) > 0:
        return int(chosen)
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def limit_threads(number):
    """Let matrix products use `number` threads in this process from now on.

    Holds for NumPy, SciPy and torch where they are loaded already and, through the
    environment, for them and TensorFlow when they come later.
    Raises TypeError or ValueError unless number is an int of 1 or more.
    """
    import threadpoolctl

    global _limit
    _limit = number = whole("threads", number)
    os.environ.update(dict.fromkeys(VARIABLES, str(number)))
    threadpoolctl.threadpool_limits(number)  # BLAS, and OpenMP, which torch uses


def threads_for(operations):
    """A context for many matrix products, each of at most so many operations.

    Small ones get one BLAS thread, and large ones what they had.
    """
    import threadpoolctl

    if operations > SMALL:
        return contextlib.nullcontext()
    return threadpoolctl.threadpool_limits(1, "blas")

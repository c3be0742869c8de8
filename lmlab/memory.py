"""How much memory a piece of work takes, and what to do when there is not enough."""

import contextlib
import ctypes
import os
import threading
from pathlib import Path

MIB = 2**20


class OutOfMemory(MemoryError):
    """The work did not fit; the message says which parameter to lower."""


class peak_memory:
    """`with peak_memory(device) as m: …` gives m.mib, the most memory in use, in MiB.

    On cuda: what torch allocated. On the CPU and mps: the process's resident memory
    above what it was at the start; Linux's own high-water mark where there is one,
    otherwise sampled every 5 ms (m.how says which). What was freed before is given back
    first where that can be done (glibc): used again, it would not be counted.
    """

    def __init__(self, device="cpu"):
        self.device, self.mib, self.how = str(device), None, None

    def __enter__(self):
        _give_back_freed()
        if self.device.startswith("cuda"):
            self._meter = _CudaMeter(self.device)
        elif _reset_high_water():
            self._meter = _HighWaterMeter()
        else:
            self._meter = _SamplingMeter()
        self.how = self._meter.how
        return self

    def __exit__(self, *_):
        self.mib = max(0.0, self._meter.stop() / MIB)


class _CudaMeter:
    how = "torch's allocator"

    def __init__(self, device):
        import torch

        self.cuda, self.device = torch.cuda, device
        self.cuda.synchronize(device)
        self.cuda.reset_peak_memory_stats(device)
        self.before = self.cuda.memory_allocated(device)

    def stop(self):
        self.cuda.synchronize(self.device)
        return self.cuda.max_memory_allocated(self.device) - self.before


class _HighWaterMeter:
    how = "the kernel's high-water mark"

    def __init__(self):
        self.before = _status("VmRSS")

    def stop(self):
        return _status("VmHWM") - self.before


class _SamplingMeter:
    how = "sampled every 5 ms"

    def __init__(self):
        import psutil

        process = psutil.Process()
        self.rss = lambda: process.memory_info().rss
        self.before = self.most = self.rss()
        self.done = threading.Event()
        self.thread = threading.Thread(target=self._watch, daemon=True)
        self.thread.start()

    def _watch(self):
        while not self.done.wait(0.005):
            self.most = max(self.most, self.rss())

    def stop(self):
        self.done.set()
        self.thread.join()
        return max(self.most, self.rss()) - self.before


def _give_back_freed():
    """Hand memory that was freed, and kept by the allocator, back to the system."""
    with contextlib.suppress(OSError, AttributeError, TypeError):  # no glibc
        ctypes.CDLL(None).malloc_trim(0)


def _reset_high_water():
    """Set Linux's VmHWM back to the present; False where that cannot be done."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")
        return True
    except OSError:
        return False


def _status(field):
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    raise KeyError(field)


@contextlib.contextmanager
def memory_hint(parameter, value):
    """Turn any out-of-memory error in the block into one that says what to lower.

    parameter: the lesson's parameter that drives the memory, with its present value.
    Raises OutOfMemory from the original error; other errors pass unchanged.
    """
    try:
        yield
    except Exception as error:
        if not _is_out_of_memory(error):
            raise
        lower = f"lower {parameter} (now {value!r})"
        if isinstance(value, int) and value > 1:
            lower += f", for example to {value // 2}"
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise OutOfMemory(f"not enough memory: {lower}. It was: {first}") from error


def _is_out_of_memory(error):
    if isinstance(error, MemoryError):  # Python's and NumPy's
        return True
    if type(error).__name__ in ("OutOfMemoryError", "ResourceExhaustedError"):
        return True  # torch's on a GPU, TensorFlow's
    said = str(error).lower()
    return "can't allocate memory" in said or "out of memory" in said


def free_memory():
    """Memory that can still be taken on this machine, in MiB."""
    import psutil

    return psutil.virtual_memory().available / MIB


def own_memory():
    """Resident memory of this process, in MiB."""
    import psutil

    return psutil.Process(os.getpid()).memory_info().rss / MIB

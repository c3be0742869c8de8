"""How much memory a piece of work takes, and what to do when there is not enough."""

import contextlib
import ctypes
import threading
from pathlib import Path

from lmlab import record

MIB = 2**20


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


def hint(kind, said, parameters=None):
    """What to do about an error that means there was not enough memory, or "".

    kind: the name of the error's class, said: its text, as a notebook records them.
    parameters: the lesson's, {name: value}; those that are whole numbers are named.
    """
    if not _means_out_of_memory(kind, said):
        return ""
    sizes = [
        f"{name} (now {value})"
        for name, value in (parameters or {}).items()
        if type(value) is int and value > 1 and name != "seed"
    ]
    lower = ", ".join(sizes) or "batch_size, width, and the like"
    return (
        f"There was not enough memory. Lower what makes arrays large ({lower}), or "
        "close other programs; `lmlab run --jobs 1` runs one lesson at a time."
    )


def _means_out_of_memory(kind, said):
    if kind.endswith("MemoryError") or kind == "ResourceExhaustedError":
        return True  # Python's and NumPy's, torch's on a GPU; TensorFlow's
    said = said.lower()  # torch's on a CPU, on Metal, from a kernel on a GPU
    plain = kind in ("RuntimeError", "AcceleratorError")
    return plain and ("can't allocate memory" in said or "out of memory" in said)


def explain_errors():
    """In a notebook, let an error for want of memory end with what to do about it."""
    if not record.in_kernel():
        return

    def show(shell, kind, error, traceback, tb_offset=None):
        if advice := hint(kind.__name__, str(error)):
            error.add_note(advice)
        raised = kind, error, traceback
        shell.showtraceback(raised, tb_offset=tb_offset, running_compiled_code=True)

    record.shell().set_custom_exc((MemoryError, RuntimeError), show)

"""The shared GPU helpers: device, precision, seeds, timing, moving tensors.

Every choice comes with its reason, so that a reader knows why a lesson runs where
it runs. torch and TensorFlow are imported only by the functions that need them.
"""

import contextlib
import copy
import importlib
import importlib.util
import os
import random
import sys
import tempfile
import time
from dataclasses import dataclass

from lmlab.arguments import one_of, whole

DEVICES = ("cuda", "mps", "cpu")
PRECISIONS = ("float32", "bfloat16", "float16")


@dataclass(frozen=True)
class Machine:
    """What a lesson runs on. device: cuda, mps or cpu; each choice with its reason."""

    device: str
    device_reason: str
    precision: str
    precision_reason: str
    threads: int
    seed: int

    def __str__(self):
        return (
            f"device     {self.device}: {self.device_reason}\n"
            f"precision  {self.precision}: {self.precision_reason}\n"
            f"threads    {self.threads}\n"
            f"seed       {self.seed}"
        )

    def autocast(self):
        """A context in which torch computes in this machine's precision."""
        return autocast(self.precision, self.device)


def autocast(precision, device="cpu"):
    """A context in which torch computes in a precision of PRECISIONS on a device."""
    import torch

    if precision == "float32":
        return contextlib.nullcontext()
    return torch.autocast(device, dtype=getattr(torch, precision))


def start(seed, *, device="auto", precision="auto", threads=None):
    """Choose device and precision, seed everything, and show what was chosen and why.

    The parameters that the notebook or the script declares are checked first, against
    the types and ranges in their comments (lmlab.parameters).
    device: auto, cuda, mps or cpu; precision: auto, float32, bfloat16 or float16;
    threads: how many a matrix product may use, None for as many as the machine lets.
    Returns a Machine. Raises ValueError when the choice is not one of these, or
    names a device that this machine does not have; ParameterError, which is one, too,
    for a parameter of another type or out of its range.
    """
    from lmlab import memory, parameters, record
    from lmlab.threads import limit_threads, thread_count

    parameters.check_declared()
    if threads is not None:
        limit_threads(threads)

    device, device_reason = choose_device(device)
    precision, precision_reason = choose_precision(precision, device)
    seed_everything(seed)
    memory.explain_errors()
    machine = Machine(
        device, device_reason, precision, precision_reason, thread_count(), int(seed)
    )
    record.emit(
        str(machine),
        "device",
        device=device,
        precision=precision,
        threads=machine.threads,
        seed=machine.seed,
    )
    return machine


def choose_device(wanted="auto"):
    """(device, reason): cuda, then mps, then cpu.

    LMLAB_DEVICE, when set, decides for "auto"; CUDA_VISIBLE_DEVICES="" hides the
    GPU. Raises ValueError for an unknown device or one that is not there.
    """
    reason, named = "asked for by the lesson's parameter", "device"
    if wanted == "auto" and os.environ.get("LMLAB_DEVICE"):
        wanted, named = os.environ["LMLAB_DEVICE"], "LMLAB_DEVICE"
        reason = "asked for by LMLAB_DEVICE"
    one_of(named, wanted, ("auto", *DEVICES))
    if wanted == "cpu":  # no need to ask torch
        return "cpu", reason
    found = _accelerators()
    if wanted == "auto":
        for device in ("cuda", "mps"):
            if device in found:
                return device, found[device]
        return "cpu", _why_no_gpu()
    if wanted not in found:
        here = ", ".join([*found, "cpu"])
        raise ValueError(f"device {wanted!r}, {reason}, is not here; there is {here}")
    return wanted, reason


def _accelerators():
    import torch

    found = {}
    if torch.cuda.is_available():
        found["cuda"] = torch.cuda.get_device_name(0)
    if torch.backends.mps.is_available():
        found["mps"] = "Apple's Metal"
    return found


def _why_no_gpu():
    if os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1"):
        return "CUDA_VISIBLE_DEVICES hides the GPU"
    return "neither CUDA nor Apple's Metal was found"


def choose_precision(wanted="auto", device="cpu"):
    """(precision, reason) for torch's autocast on this device.

    Raises ValueError for an unknown precision, or float16 on a CPU, where it has
    neither speed nor range to offer.
    """
    one_of("precision", wanted, ("auto", *PRECISIONS))
    if wanted == "float16" and device == "cpu":
        raise ValueError("float16 on a CPU is slow and overflows; choose bfloat16")
    if wanted != "auto":
        return wanted, "asked for by the lesson's parameter"
    if device == "cpu":
        return "float32", "exact and repeatable; bfloat16 is a choice on newer CPUs"
    if device == "mps":
        return "float32", "the safe choice on Metal"
    import torch

    major, minor = torch.cuda.get_device_capability()
    capability = f"compute capability {major}.{minor}"
    if major >= 8:
        return "bfloat16", f"{capability} has bfloat16: float32's range, half the size"
    if major >= 7:
        return "float16", f"{capability} has float16 matrix units but no bfloat16"
    return "float32", f"{capability} has no fast half precision"


def seed_everything(seed):
    """Seed Python, NumPy, torch and TensorFlow, where they are installed.

    TensorFlow takes seconds to import, so it is seeded at once only if it is already
    there, and otherwise when `tensorflow()` brings it in.
    Raises TypeError or ValueError unless seed is an int in [0, 2**32).
    """
    import numpy as np

    seed = whole("seed", seed, 0, 2**32 - 1)
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 (libraries still draw from this one)
    global _seed
    _seed = seed
    if importlib.util.find_spec("torch"):
        import torch

        torch.manual_seed(seed)
    if "tensorflow" in sys.modules:
        sys.modules["tensorflow"].random.set_seed(seed)


_seed = None


def tensorflow(*, gpu=False):
    """The tensorflow module: silent, and kept off the GPU unless gpu=True.

    TensorFlow takes all of a GPU's memory at its first operation, so beside torch
    it works on the CPU; with gpu=True it is told to grow its share as needed.
    Keras, which comes with it, has its own defaults, whatever a keras.json or KERAS_*
    say. Raises RuntimeError when Keras is here already, on another backend.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    fresh = "tensorflow" not in sys.modules
    if fresh and importlib.util.find_spec("triton"):
        # torch's CUDA builds bring it and load it late, at the first optimiser say: the
        # process then ends in a segmentation fault if TensorFlow is there already.
        importlib.import_module("triton")
    with (
        _silent_stderr() if fresh else contextlib.nullcontext(),
        _keras_of_its_own(),
    ):
        import tensorflow as tf

        if fresh:
            tf.get_logger().setLevel("ERROR")
            _share_gpu(tf, gpu)
            tf.constant(0.0)  # the first operation is what starts the runtime
    if fresh and _seed is not None:
        tf.random.set_seed(_seed)
    return tf


@contextlib.contextmanager
def _keras_of_its_own():
    """Keras' defaults, on TensorFlow, without the settings that the reader has."""
    for name in [k for k in os.environ if k.startswith("KERAS_")]:
        del os.environ[name]
    os.environ.pop("TF_USE_LEGACY_KERAS", None)
    os.environ["KERAS_BACKEND"] = "tensorflow"
    with tempfile.TemporaryDirectory(prefix="lmlab-") as home:
        os.environ["KERAS_HOME"] = home  # where keras.json would be
        try:
            yield
            import keras
        finally:
            del os.environ["KERAS_HOME"]
    backend = keras.backend.backend()
    if backend != "tensorflow":
        raise RuntimeError(
            f"Keras was imported before, on the backend {backend}: restart the kernel, "
            "and begin with devices.tensorflow()"
        )
    keras.config.set_floatx("float32")
    keras.config.set_epsilon(1e-7)
    keras.config.set_image_data_format("channels_last")
    keras.config.set_max_epochs(None)
    keras.config.set_max_steps_per_epoch(None)


def _share_gpu(tf, gpu):
    if not gpu:
        tf.config.set_visible_devices([], "GPU")
        return
    for device in tf.config.list_physical_devices("GPU"):
        tf.config.experimental.set_memory_growth(device, True)


@contextlib.contextmanager
def _silent_stderr():
    """Send file descriptor 2 to nowhere: TensorFlow's C++ writes there directly."""
    sys.stderr.flush()
    kept = os.dup(2)
    try:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def to_device(value, device):
    """The same nested value (dict, list, tuple, named tuple) with its tensors moved.

    Anything that has a `to` method is moved (tensors, modules); the rest is kept.
    """
    if hasattr(value, "to"):
        return value.to(device)
    if isinstance(value, dict):
        moved = copy.copy(value)  # a subclass may not be made from items alone
        for key, entry in value.items():
            moved[key] = to_device(entry, device)
        return moved
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(to_device(v, device) for v in value))
    if isinstance(value, (list, tuple)):
        return type(value)(to_device(v, device) for v in value)
    return value


def synchronize(device="cpu"):
    """Wait until the device has finished what it was given; nothing to do on a CPU."""
    name = str(device).partition(":")[0]
    if name == "cpu":
        return
    import torch

    getattr(torch, name).synchronize()


class timer:
    """`with timer(device) as t: …` gives t.seconds, the device's work included."""

    def __init__(self, device="cpu"):
        self.device, self.seconds = device, None

    def __enter__(self):
        synchronize(self.device)
        self._start = time.perf_counter()
        return self

    def __exit__(self, *_):
        synchronize(self.device)
        self.seconds = time.perf_counter() - self._start

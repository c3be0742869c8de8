"""The kernel that a lesson runs in: this Python, clean, marked, and its end explained.

A user's kernelspecs, start-up files and runtime folder have no part in it; nor have
their settings of Python and of the libraries. Set for other work, those would change a
lesson's numbers or end it: a warning that is an error, an assert that is skipped,
another backend of Keras. What says where and on what a run takes place is heeded:
LMLAB_*, HF_*, devices, threads and kernel sets.

In Jupyter the variables count as everywhere, but for those of Keras and matplotlib:
`devices.tensorflow` and `figures` begin with the defaults, whoever runs a lesson.
"""

import contextlib
import os
import signal
import sys
from fnmatch import fnmatchcase
from pathlib import Path

from lmlab import threads
from lmlab.runner import kernel_sets

MARK = "LMLAB_RUN"  # the variable that names the run to each of its processes
# Left out by the package itself, in Jupyter as well.
EVERYWHERE = ("KERAS_*", "TF_USE_LEGACY_KERAS", "MATPLOTLIBRC")
IGNORED = (
    *(*EVERYWHERE, "MPLBACKEND"),
    # What runs before a lesson, what a warning does, whether an assert counts.
    *("PYTHONSTARTUP", "PYTHONWARNINGS", "PYTHONOPTIMIZE", "PYTHONDEVMODE"),
    *("PYTHONINSPECT", "PYTHONIOENCODING", "PYTHONUTF8"),
    # Which program TensorFlow makes of an operation, and how much it says.
    *("TF2_BEHAVIOR", "TF_XLA_FLAGS", "TF_FUNCTION_JIT_COMPILE_DEFAULT", "TF_CPP_*"),
    # The same for torch; shorter numbers in products; what may be loaded.
    *("PYTORCH_JIT", "TORCHDYNAMO_*", "TORCH_COMPILE_*", "TORCH_LOGS*"),
    *("NVIDIA_TF32_OVERRIDE", "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE"),
    *("TORCH_FORCE_WEIGHTS_ONLY_LOAD", "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"),
    # Other defaults of other libraries.
    *("ACCELERATE_*", "SCIPY_ARRAY_API", "SKLEARN_*", "TQDM_*"),
    *("TRANSFORMERS_VERBOSITY", "TRANSFORMERS_NO_ADVISORY_WARNINGS"),
)


def manager(job):
    """A kernel of this very Python, whatever kernelspecs the machine has."""
    from jupyter_client import AsyncKernelManager
    from jupyter_client.kernelspec import KernelSpec

    command = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    # ipykernel warns at each start that TCP on this machine is not encrypted.
    command.append("--IPKernelApp.log_level=40")
    spec = KernelSpec(
        argv=command, display_name="Python 3 (ipykernel)", language="python"
    )

    class Kernel(AsyncKernelManager):
        def __init__(self, **options):
            # Beside the log, so that it goes with the scratch folder.
            connection = str(job.scratch / "kernel.json")
            super().__init__(
                connection_file=connection, shutdown_wait_time=2.0, **options
            )

        @property
        def kernel_spec(self):
            return spec

        async def _async_launch_kernel(self, kernel_cmd, **options):
            with job.log.open("wb") as log:
                options |= {"stdout": log, "stderr": log}
                options["env"] = _environment(job, options["env"])
                await super()._async_launch_kernel(kernel_cmd, **options)

        async def is_alive(self):
            code = await self.provisioner.poll() if self.provisioner else None
            if code is not None:
                job.exit.write_text(str(code), encoding="utf-8")
            return await super().is_alive()

    return Kernel


def settings():
    """The variables of this process that a lesson's results can depend on."""
    return {name: value for name, value in os.environ.items() if _is_setting(name)}


def _is_setting(name):
    others = (*threads.VARIABLES, *kernel_sets.VARIABLES)
    return name.startswith("LMLAB_") or name in others


def _environment(job, inherited):
    environment = {k: v for k, v in inherited.items() if not _matches(k, IGNORED)}
    if job.environment is not None:  # asked for by another process, perhaps far away
        for name in filter(_is_setting, inherited):
            environment.pop(name, None)
        environment |= job.environment
    environment |= {
        MARK: job.mark,
        "LMLAB_FIGURES": str(job.figures),
        "LMLAB_PROGRESS": "0",
        # In the place of the reader's own, so that none of those files is read.
        "KERAS_BACKEND": "tensorflow",
        "KERAS_HOME": str(job.scratch / "keras"),
        "MATPLOTLIBRC": os.devnull,
        "PYTHONUTF8": "1",
        "IPYTHONDIR": str(job.scratch / "ipython"),
    }
    if job.one_thread:
        environment |= dict.fromkeys(threads.VARIABLES, "1")
    return environment


def end(marks):
    """End every process on this machine that carries one of the marks."""
    import psutil

    left = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.environ().get(MARK) in marks and process.pid != os.getpid():
                process.kill()
                left.append(process)
    psutil.wait_procs(left, timeout=5)


def why_dead(job):
    """What is known about the end of the kernel's process."""
    code = int(job.exit.read_text(encoding="utf-8")) if job.exit.exists() else 0
    if code == -signal.SIGKILL:
        return "it was killed from outside (SIGKILL), often for want of memory"
    if code < 0:
        return f"it crashed ({signal.Signals(-code).name})"
    said = job.log.read_bytes() if job.log.exists() else b""
    said = said.decode("utf-8", errors="replace").split("\n")
    last = next((line for line in reversed(said) if line.strip()), "it said nothing")
    return f"exit code {code}: {last.strip()}"


def left_out(environment=None, home=None):
    """What is left out (everywhere, by `lmlab run` alone): variables and files.

    environment, home: this process's and its user's by default.
    """
    environment = os.environ if environment is None else environment
    home = Path(home or Path.home())
    names = [k for k in sorted(environment) if _matches(k, IGNORED)]
    everywhere = [name for name in names if _matches(name, EVERYWHERE)]
    keras = Path(environment.get("KERAS_HOME") or home / ".keras")
    matplotlib = Path(environment.get("MPLCONFIGDIR") or home / ".config/matplotlib")
    files = [keras / "keras.json", matplotlib / "matplotlibrc"]
    everywhere += [_short(path, home) for path in files if path.is_file()]
    profile = Path(environment.get("IPYTHONDIR") or home / ".ipython")
    profile = profile / "profile_default"
    patterns = ("startup/*.py", "startup/*.ipy", "ipython_config.py")
    patterns += ("ipython_kernel_config.py",)
    files = [path for each in patterns for path in sorted(profile.glob(each))]
    there = [name for name in names if name not in everywhere]
    return everywhere, there + [_short(path, home) for path in files]


def _matches(name, patterns):
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _short(path, home):
    return f"~/{path.relative_to(home)}" if path.is_relative_to(home) else str(path)

"""The kernel that a lesson runs in: this Python, clean, marked, and its end explained.

A user's kernelspecs, start-up files and runtime folder have no part in it.
"""

import signal
import sys

from lmlab import threads

MARK = "LMLAB_RUN"  # names the scratch folder to every process of a run


def manager(job):
    """A kernel of this very Python, whatever kernelspecs the machine has."""
    from jupyter_client import AsyncKernelManager
    from jupyter_client.kernelspec import KernelSpec

    command = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    # ipykernel warns at each start that TCP on this machine is not encrypted.
    command.append("--IPKernelApp.log_level=40")
    environment = _environment(job)
    spec = KernelSpec(
        argv=command,
        display_name="Python 3 (ipykernel)",
        language="python",
        env={name: value.replace("$", "$$") for name, value in environment.items()},
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
                streams = {"stdout": log, "stderr": log}
                await super()._async_launch_kernel(kernel_cmd, **(options | streams))

        async def is_alive(self):
            code = await self.provisioner.poll() if self.provisioner else None
            if code is not None:
                job.exit.write_text(str(code))
            return await super().is_alive()

    return Kernel


def _environment(job):
    own = {
        MARK: str(job.scratch),
        "LMLAB_FIGURES": str(job.figures),
        "LMLAB_PROGRESS": "0",
        # The user's IPython start-up files are not part of a lesson.
        "IPYTHONDIR": str(job.scratch / "ipython"),
    }
    if job.one_thread:
        own |= dict.fromkeys(threads.VARIABLES, "1")
    return own


def why_dead(job):
    """What is known about the end of the kernel's process."""
    code = int(job.exit.read_text()) if job.exit.exists() else 0
    if code == -signal.SIGKILL:
        return "it was killed from outside (SIGKILL), often for want of memory"
    if code < 0:
        return f"it crashed ({signal.Signals(-code).name})"
    said = job.log.read_text(errors="replace").split("\n") if job.log.exists() else []
    last = next((line for line in reversed(said) if line.strip()), "it said nothing")
    return f"exit code {code}: {last.strip()}"

"""The kernel that a lesson runs in: this Python, clean, marked, and its end explained.

A user's kernelspecs, start-up files, runtime folder and settings of tools
(lmlab.runner.tool_settings) have no part in it.
"""

import contextlib
import os
import signal
import sys

from lmlab import threads
from lmlab.runner import kernel_sets, tool_settings

MARK = "LMLAB_RUN"  # the variable that names the run to each of its processes


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
    environment = tool_settings.without(inherited)
    if job.environment is not None:  # asked for by another process, perhaps far away
        for name in filter(_is_setting, inherited):
            environment.pop(name, None)
        environment |= job.environment
    environment |= {
        MARK: job.mark or str(job.scratch),
        "LMLAB_FIGURES": str(job.figures),
        "LMLAB_PROGRESS": "0",
        **tool_settings.own(job.scratch),
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

"""Run one notebook in one kernel and say honestly how it ended.

papermill alone calls a run good when the kernel died, the time ran out or a cell
left early; here it is good only when its last cell ran. Nothing is written but in
a scratch folder: what becomes of the result is decided by `lmlab.runner.records`.
"""

import contextlib
import logging
import math
import re
import time
from dataclasses import dataclass, field
from pathlib import Path

from lmlab import memory
from lmlab.runner import kernels

START_SECONDS = 60  # for a kernel to answer, on a busy machine
QUIET_SECONDS = 60  # for the rest of a cell's output, after the cell has ended


@dataclass
class Job:
    """One notebook to run: name, source notebook, scratch folder, and how.

    Below the scratch folder are the executed notebook and the figures, the status
    (cells done, and cells), the log, what the kernel's process wrote before and past
    Jupyter, and its exit code, where it ended by itself.
    """

    name: str
    source: Path
    scratch: Path
    parameters: dict = field(default_factory=dict)
    one_thread: bool = False
    timeout: float | None = None
    environment: dict | None = None  # the settings to run under; None: this process's
    mark: str = ""  # names the run to all its processes (lmlab.runner.kernels)

    def __post_init__(self):
        self.mark = self.mark or str(self.scratch)
        self.executed = self.scratch / "executed.ipynb"
        self.figures = self.scratch / "figures"
        self.status = self.scratch / "status"
        self.log = self.scratch / "kernel.log"
        self.exit = self.scratch / "exit"


@dataclass
class Outcome:
    """How a run ended. status: ok, failed, timed out or kernel died.

    cell: the number that Jupyter shows in In [ ]; line: what it says where the error
    was raised, or its first line where that is not known.
    """

    status: str
    seconds: float
    error: str = ""
    cell: int | None = None
    line: str = ""


def execute(job):
    """Run the job's notebook; the executed notebook is at job.executed.

    Returns an Outcome; a lesson that fails is an outcome, not an exception.
    """
    import nbformat

    started = time.monotonic()
    progress = _Progress(job)
    try:
        job.figures.mkdir(parents=True, exist_ok=True)
        outcome = _run(job, progress, started)
        if (notebook := progress.notebook) is not None:
            for place in ("input_path", "output_path"):  # they are nobody's business
                notebook.metadata.get("papermill", {}).pop(place, None)
            job.executed.write_text(nbformat.writes(notebook), encoding="utf-8")
    except Exception as error:  # whatever it is, the other lessons still run
        outcome = Outcome("failed", 0, f"{type(error).__name__}: {error}")
    outcome.seconds = round(time.monotonic() - started, 3)
    return outcome


def _run(job, progress, started):
    import papermill
    from nbclient.exceptions import CellTimeoutError, DeadKernelError
    from papermill.exceptions import PapermillExecutionError

    from lmlab.runner.lessons import read_notebook
    from lmlab.runner.profiles import assigned

    for noisy in ("papermill", "traitlets", "asyncio"):
        logging.getLogger(noisy).setLevel(logging.CRITICAL)
    options, patience = {}, START_SECONDS
    if job.timeout:
        deadline = started + job.timeout
        patience = math.ceil(min(patience, job.timeout))
        # nbclient takes 0 for "no limit".
        options["timeout_func"] = lambda _: max(0.01, deadline - time.monotonic())
    options |= {
        "kernel_name": "python3",
        "kernel_manager_class": kernels.manager(job),
        "start_timeout": patience,
        "iopub_timeout": QUIET_SECONDS,
        "on_notebook_start": progress.start,
        "on_cell_start": progress.cell,
        "progress_bar": False,
    }
    try:
        # Without an output path papermill writes nothing by itself.
        source = read_notebook(job.source)
        papermill.execute_notebook(source, None, job.parameters, **options)
    except PapermillExecutionError as error:
        message = f"{error.ename}: {error.evalue}".rstrip(": ")
        values = assigned(source) | job.parameters
        if advice := memory.hint(error.ename, error.evalue, values):
            message += f"\n{advice}"
        from_there = _from_where_it_raised(error)
        return progress.outcome("failed", message, error.exec_count, from_there)
    except (CellTimeoutError, RuntimeError) as error:
        if job.timeout and time.monotonic() >= deadline:
            message = f"not done after {job.timeout:g} s (--timeout)"
            return progress.outcome("timed out", message)
        if isinstance(error, CellTimeoutError):
            message = f"its output had not ended {QUIET_SECONDS} s after it"
            return progress.outcome("failed", message)
        if isinstance(error, DeadKernelError):
            return progress.outcome("kernel died", kernels.why_dead(job))
        message = f"it did not start: {error} ({kernels.why_dead(job)})"
        return progress.outcome("kernel died", message)
    return progress.finished()


class _Progress:
    """Follows a run from outside papermill, whose own marks cannot be trusted."""

    def __init__(self, job):
        self.job, self.notebook, self.current, self.done = job, None, None, 0

    def start(self, notebook):
        self.notebook = notebook
        self.code = [cell for cell in notebook.cells if _runs(cell)]
        self._report()

    def cell(self, cell, cell_index):
        if not _runs(cell):
            return
        if self.current is not None:
            self.done += 1
        self.current = cell
        self._report()

    def _report(self):
        with contextlib.suppress(OSError):
            done = f"{self.done} {len(self.code)}"
            self.job.status.write_text(done, encoding="utf-8")

    def outcome(self, status, error, number=None, source=None):
        if source is None and self.current is not None:
            number, source = self.done + 1, self.current.source
        line = next((x for x in (source or "").splitlines() if x.strip()), "")
        return Outcome(status, 0, error, number, line.strip())

    def finished(self):
        for number, cell in enumerate(self.code, start=1):
            ended = cell.metadata.get("execution", {}).get("shell.execute_reply")
            if cell.get("execution_count") is None or not ended:
                message = "the run ended before this cell (did a cell call exit?)"
                return self.outcome("failed", message, number, cell.source)
        self.done = len(self.code)
        self._report()
        return Outcome("ok", 0)


def _from_where_it_raised(error):
    """The failed cell's source from the line on that its traceback names."""
    said = re.sub(r"\x1b\[[0-9;]*m", "", "\n".join(error.traceback))
    found = re.search(rf"Cell In ?\[{error.exec_count}\], line (\d+)", said)
    lines = error.source.lstrip("\n").splitlines()  # IPython counts from the first
    return "\n".join(lines[int(found[1]) - 1 :]) if found else error.source


def _runs(cell):
    skipped = "skip-execution" in cell.metadata.get("tags", [])
    return cell.cell_type == "code" and bool(cell.source.strip()) and not skipped

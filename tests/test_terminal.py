"""Progress: a line for each run that ended and, in a terminal, one bar."""

import io
import time
from pathlib import Path

import pytest
from rich.console import Console

from lmlab.runner import terminal
from lmlab.runner.execute import Job

OK = {"status": "ok", "seconds": 3.21}
FAILED = {"status": "failed", "seconds": 0.5}


@pytest.fixture
def jobs(tmp_path):
    """Twelve jobs with long names that differ at their end."""
    long = "lr=0.001,optimizer=momentum,schedule=cosine,hidden=128,seed="
    folders = [tmp_path / str(number) for number in range(12)]
    for folder in folders:
        folder.mkdir()
    return [Job(f"{long}{x.name}", Path("02.ipynb"), x) for x in folders]


def console(**options):
    return Console(file=io.StringIO(), **options)


def test_cells_done_are_read_when_they_are_there(jobs):
    job = jobs[0]
    assert terminal.cells_done(job) == ""
    job.status.write_text("")  # being written
    assert terminal.cells_done(job) == ""
    job.status.write_text("3 40")
    assert terminal.cells_done(job) == "3/40"


def test_elsewhere_there_are_only_lines_counted_and_never_broken(jobs):
    to = console(force_terminal=False, width=40)
    with terminal.watching(jobs, to) as say:
        jobs[1].status.write_text("2 4")
        for job in jobs:
            say(job, FAILED if job is jobs[3] else OK)
    lines = to.file.getvalue().splitlines()
    assert len(lines) == 12
    assert lines[3] == f"✗ {jobs[3].name}: failed, 0.5 s (4 of 12 done)"
    assert lines[-1] == f"✓ {jobs[-1].name}: ok, 3.2 s (12 of 12 done)"


def test_a_single_run_is_not_counted(jobs):
    to = console(force_terminal=False)
    with terminal.watching(jobs[:1], to) as say:
        say(jobs[0], OK)
    assert to.file.getvalue() == f"✓ {jobs[0].name}: ok, 3.2 s\n"


@pytest.mark.parametrize("width", [80, 120])
def test_in_a_terminal_a_bar_of_one_line_says_what_runs(jobs, width):
    to = console(force_terminal=True, width=width, height=30)
    with terminal.watching(jobs, to) as say:
        for job in jobs[:5]:
            say(job, OK)
        jobs[5].status.write_text("2 4")
        deadline = time.monotonic() + 30
        while "lr=0.001,op" not in to.file.getvalue().rpartition("5/12")[2]:
            assert time.monotonic() < deadline
            time.sleep(0.05)
    text = to.file.getvalue()
    for job in jobs[:5]:
        assert f"✓ {job.name}: ok, 3.2 s" in text.replace("\r", "")
    assert "\x1b[2A" not in text  # the bar never had a second line to go back over

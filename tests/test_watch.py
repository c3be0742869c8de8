"""Progress: bars in a terminal, plain lines elsewhere."""

import io
import threading
from pathlib import Path

import pytest
from rich.console import Console

from lmlab import watch
from lmlab.execute import Job

OK = {"status": "ok", "seconds": 3.21}
FAILED = {"status": "failed", "seconds": 0.5}


@pytest.fixture
def job(tmp_path):
    return Job("01_backprop", Path("01_backprop.ipynb"), tmp_path)


def show(job, *, terminal):
    """Watch a job that is half-way and then ends well; what was written."""
    console = Console(file=io.StringIO(), force_terminal=terminal, width=100)
    job.status.write_text("2 4")
    seen = threading.Semaphore(0)
    with watch.Watch([job], console) as shown:
        progress = shown.show.progress
        shown.show.progress = lambda *said: (progress(*said), seen.release())
        for _ in range(2):
            assert seen.acquire(timeout=30)
        shown.done(job.name, OK)
    return console.file.getvalue()


def test_cells_done_are_read_when_they_are_there(job):
    assert watch.cells_done(job) is None
    job.status.write_text("")  # being written
    assert watch.cells_done(job) is None
    job.status.write_text("3 40")
    assert watch.cells_done(job) == (3, 40)


def test_lines_are_plain(job, monkeypatch):
    monkeypatch.setattr(watch, "LINE_SECONDS", 0.0)
    lines = show(job, terminal=False).splitlines()
    assert lines[0] == "  01_backprop: 2 of 4 cells after 0 s"
    assert lines[-1] == "✓ 01_backprop: ok, 3.2 s"


def test_lines_do_not_come_all_the_time(job):
    assert show(job, terminal=False) == "✓ 01_backprop: ok, 3.2 s\n"


def test_bars_move_in_a_terminal(job):
    text = show(job, terminal=True)
    assert "waiting" in text
    assert "2 of 4 cells" in text
    assert "ok, 3.2 s" in text


def test_a_failure_has_its_mark(job):
    console = Console(file=io.StringIO(), force_terminal=False, width=100)
    with watch.Watch([job], console) as shown:
        shown.done(job.name, FAILED)
    assert console.file.getvalue() == "✗ 01_backprop: failed, 0.5 s\n"

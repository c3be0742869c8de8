"""Progress: bars in a terminal, plain lines elsewhere."""

import io
import re
import threading
from pathlib import Path

import pytest
from rich.console import Console

from lmlab.runner import watch
from lmlab.runner.execute import Job

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


def many(tmp_path, count=12):
    """Jobs with long names that differ at their end."""
    long = "lr=0.001,optimizer=momentum,schedule=cosine,hidden=128,seed="
    jobs = [
        Job(f"{long}{n}", Path("02.ipynb"), tmp_path / str(n)) for n in range(count)
    ]
    for job in jobs:
        job.scratch.mkdir()
    return jobs


@pytest.mark.parametrize("width", [80, 120])
def test_of_many_only_the_running_have_bars_that_fit(tmp_path, width):
    jobs = many(tmp_path)
    console = Console(file=io.StringIO(), force_terminal=True, width=width, height=30)
    with watch.Watch(jobs, console) as shown:
        for job in jobs[:5]:
            shown.done(job.name, OK)
        jobs[5].status.write_text("2 4")
        while jobs[5].name not in shown.show.tasks:
            shown.ended.wait(0.05)
        screen = Console(file=io.StringIO(), width=width)
        screen.print(shown.show.bars.get_renderable())
        lines = screen.file.getvalue().splitlines()
    assert len(lines) == 2
    running = next(line for line in lines if "cells" in line)
    assert "…" in running or width > 110
    assert "seed=5" in running
    assert "2 of 4 cells" in running
    whole = next(line for line in lines if "all runs" in line)
    assert "5 of 12 done" in whole
    assert re.search(r"\d:\d\d:\d\d$", whole.rstrip())
    text = console.file.getvalue()
    for job in jobs[:5]:
        assert f"✓ {job.name}: ok, 3.2 s\n" in text.replace("\r", "")


def test_lines_count_the_runs_and_are_never_broken(tmp_path):
    jobs = many(tmp_path)
    console = Console(file=io.StringIO(), force_terminal=False, width=40)
    with watch.Watch(jobs, console) as shown:
        for job in jobs:
            shown.done(job.name, FAILED if job is jobs[3] else OK)
    lines = console.file.getvalue().splitlines()
    assert len(lines) == 12
    assert lines[3].startswith(f"✗ {jobs[3].name}: failed, 0.5 s (4 of 12 done, about")
    assert lines[-1].endswith("ok, 3.2 s (12 of 12 done)")


@pytest.mark.parametrize(("count", "lines"), [(8, 1), (9, 0)])
def test_many_runs_say_less_on_their_way(tmp_path, monkeypatch, count, lines):
    console = Console(file=io.StringIO(), force_terminal=False)
    now = 0.0
    monkeypatch.setattr(watch.time, "monotonic", lambda: now)
    shown = watch._Lines(many(tmp_path, count), console, watch._Pace(count))
    shown.progress("a", 1, 4)
    now = watch.LINE_SECONDS
    shown.progress("a", 2, 4)
    assert console.file.getvalue().count("a: 2 of 4 cells after 10 s") == lines


def test_what_is_left_is_estimated_from_what_has_ended(monkeypatch):
    now = 100.0
    monkeypatch.setattr(watch.time, "monotonic", lambda: now)
    pace = watch._Pace(12)
    assert pace.text() == "0 of 12 done"
    for name in "ab":
        pace.progress(name)
    now = 160.0
    assert pace.seconds_left() is None
    for name in "ab":
        pace.done(name, {"seconds": 60.0})
    assert pace.seconds_left() == pytest.approx(60 * 10 / 2)
    for name in "cd":
        pace.progress(name)
    now = 190.0  # both half-way, at the pace of the others
    assert pace.seconds_left() == pytest.approx(90 * 9 / 3)
    assert pace.text() == "2 of 12 done, about 4 min left"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(2, "10 s"), (44, "40 s"), (89, "90 s"), (100, "2 min"), (9000, "2.5 h")],
)
def test_what_is_left_is_said_roughly(seconds, text):
    assert watch._roughly(seconds) == f"about {text}"

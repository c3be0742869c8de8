"""Show how far each lesson of a run is: bars in a terminal, plain lines elsewhere.

Of many only those that are running have a bar, and the others a line when they end.
"""

import threading
import time

LINE_SECONDS = 10.0  # between two plain lines about the same lesson
MANY_SECONDS = 60.0  # the same, when many are running one after the other
FEW = 8  # lessons that have a bar each from the start
BESIDE = 52  # columns of a terminal beside a lesson's name


class Watch:
    """Shows the jobs' progress while the block runs.

    The workers write how many cells are done to a small file each; a thread here
    reads them.
    """

    def __init__(self, jobs, console):
        pace = _Pace(len(jobs))
        self.show = (_Bars if console.is_terminal else _Lines)(jobs, console, pace)
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self._follow, args=(jobs,), daemon=True)
        self.running = {job.name for job in jobs}

    def __enter__(self):
        """Start to show."""
        self.show.start()
        self.thread.start()
        return self

    def __exit__(self, *_):
        """Stop, and leave the lines of the lessons that are done."""
        self.ended.set()
        self.thread.join()
        self.show.stop()

    def _follow(self, jobs):
        while not self.ended.wait(0.2):
            for job in jobs:
                if job.name in self.running and (done := cells_done(job)):
                    self.show.progress(job.name, *done)

    def done(self, name, outcome):
        """Show that a lesson has ended. outcome: a record with status and seconds."""
        self.running.discard(name)
        self.show.done(name, outcome)


def cells_done(job):
    """(cells done, cells) of a job, or None before its kernel is up."""
    try:
        done, total = job.status.read_text(encoding="utf-8").split()
    except (OSError, ValueError):  # not there yet, or being written
        return None
    return int(done), int(total)


class _Pace:
    """How many jobs have ended, and how long the others will take at that pace."""

    def __init__(self, jobs):
        self.jobs, self.took, self.began = jobs, [], {}
        self.start = time.monotonic()

    def progress(self, name):
        """The job is running; the seconds since that was first said of it."""
        now = time.monotonic()
        return now - self.began.setdefault(name, now)

    def done(self, name, outcome):
        self.began.pop(name, None)
        self.took.append(outcome["seconds"])

    def text(self):
        """How many are done, and roughly how long is left."""
        said = f"{len(self.took)} of {self.jobs} done"
        left = self.seconds_left()
        return f"{said}, {_roughly(left)} left" if left else said

    def seconds_left(self):
        """An estimate from the jobs that have ended; None before the first has."""
        now, mean = time.monotonic(), sum(self.took) / max(1, len(self.took))
        if not mean or len(self.took) == self.jobs:
            return None
        running = [min(1, (now - began) / mean) for began in list(self.began.values())]
        worth = len(self.took) + sum(running)  # in whole jobs
        return (now - self.start) * (self.jobs - worth) / worth


def _roughly(seconds):
    if seconds < 90:
        return f"about {max(1, round(seconds / 10)) * 10} s"
    minutes = round(seconds / 60)
    return f"about {minutes} min" if minutes < 90 else f"about {minutes / 60:.1f} h"


class _Lines:
    def __init__(self, jobs, console, pace):
        self.console, self.pace = console, pace
        self.said = {}

    def start(self):
        pass

    stop = start

    def progress(self, name, done, total):
        seconds = self.pace.progress(name)
        now = time.monotonic()
        pause = LINE_SECONDS if self.pace.jobs <= FEW else MANY_SECONDS
        if now - self.said.setdefault(name, now - seconds) >= pause:
            self.said[name] = now
            self._say(f"  {name}: {done} of {total} cells after {seconds:.0f} s")

    def done(self, name, outcome):
        self.pace.done(name, outcome)
        whole = f" ({self.pace.text()})" if self.pace.jobs > 1 else ""
        self._say(f"{_mark(outcome)} {name}: {_ending(outcome)}{whole}")

    def _say(self, text):
        self.console.print(text, markup=False, highlight=False, soft_wrap=True)


class _Bars:
    def __init__(self, jobs, console, pace):
        from rich import progress

        self.console, self.pace = console, pace
        self.few = len(jobs) <= FEW
        self.bars = progress.Progress(
            progress.TextColumn("{task.fields[mark]} {task.description}", markup=False),
            progress.BarColumn(bar_width=30 if self.few else 10),
            progress.TextColumn("{task.fields[note]}", markup=False),
            progress.TimeElapsedColumn(),
            console=console,
        )
        self.tasks = {}
        if self.few:
            for job in jobs:
                self._add(job.name)
        elif jobs:
            self.whole = self._add("all runs", total=len(jobs), note=pace.text())

    def _add(self, name, total=None, note="waiting"):
        wide = max(20, self.console.width - BESIDE)
        if not self.few and len(name) > wide:  # what differs is often at the end
            name = f"{name[: wide // 2]}…{name[-(wide - wide // 2 - 1) :]}"
        options = {"mark": " ", "note": note, "start": False}
        self.tasks[name] = self.bars.add_task(name, total=total, **options)
        return self.tasks[name]

    def start(self):
        self.bars.start()
        if not self.few:
            self.bars.start_task(self.whole)

    def stop(self):
        self.bars.stop()

    def progress(self, name, done, total):
        self.pace.progress(name)
        if name not in self.tasks:
            self.tasks[name] = self._add(name)
        task = self.tasks[name]
        self.bars.start_task(task)
        note = f"{done} of {total} cells"
        self.bars.update(task, completed=done, total=total, note=note)

    def done(self, name, outcome):
        self.pace.done(name, outcome)
        if self.few:
            self._end(self.tasks[name], outcome)
            return
        if name in self.tasks:
            self.bars.remove_task(self.tasks.pop(name))
        line = f"{_mark(outcome)} {name}: {_ending(outcome)}"
        self.console.print(line, markup=False, highlight=False, soft_wrap=True)
        self.bars.update(self.whole, advance=1, note=self.pace.text())

    def _end(self, task, outcome):
        self.bars.start_task(task)
        shown = {"mark": _mark(outcome), "note": _ending(outcome)}
        if outcome["status"] == "ok":
            total = self.bars.tasks[task].total or 1
            shown |= {"completed": total, "total": total}
        self.bars.update(task, **shown)
        self.bars.stop_task(task)


def _mark(outcome):
    return "✓" if outcome["status"] == "ok" else "✗"


def _ending(outcome):
    return f"{outcome['status']}, {outcome['seconds']:.1f} s"

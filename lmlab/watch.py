"""Show how far each lesson of a run is: bars in a terminal, plain lines elsewhere."""

import threading
import time

LINE_SECONDS = 10.0  # between two plain lines about the same lesson


class Watch:
    """Shows the jobs' progress while the block runs.

    The workers write how many cells are done to a small file each; a thread here
    reads them.
    """

    def __init__(self, jobs, console):
        self.console = console
        self.show = (_Bars if console.is_terminal else _Lines)(jobs, console)
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
        done, total = job.status.read_text().split()
    except (OSError, ValueError):  # not there yet, or being written
        return None
    return int(done), int(total)


class _Lines:
    def __init__(self, jobs, console):
        self.console = console
        self.began, self.said = {}, {}

    def start(self):
        pass

    stop = start

    def progress(self, name, done, total):
        now = time.monotonic()
        began = self.began.setdefault(name, now)
        if now - self.said.setdefault(name, began) >= LINE_SECONDS:
            self.said[name] = now
            self._say(f"  {name}: {done} of {total} cells after {now - began:.0f} s")

    def done(self, name, outcome):
        self._say(f"{_mark(outcome)} {name}: {_ending(outcome)}")

    def _say(self, text):
        self.console.print(text, markup=False, highlight=False)


class _Bars:
    def __init__(self, jobs, console):
        from rich import progress

        self.bars = progress.Progress(
            progress.TextColumn("{task.fields[mark]} {task.description}", markup=False),
            progress.BarColumn(bar_width=30),
            progress.TextColumn("{task.fields[note]}", markup=False),
            progress.TimeElapsedColumn(),
            console=console,
        )
        self.tasks = {
            job.name: self.bars.add_task(
                job.name, total=None, start=False, mark=" ", note="waiting"
            )
            for job in jobs
        }

    def start(self):
        self.bars.start()

    def stop(self):
        self.bars.stop()

    def progress(self, name, done, total):
        task = self.tasks[name]
        self.bars.start_task(task)
        note = f"{done} of {total} cells"
        self.bars.update(task, completed=done, total=total, note=note)

    def done(self, name, outcome):
        task = self.tasks[name]
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

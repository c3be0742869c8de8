"""`lmlab run`: run lessons in parallel and sum up what they gave, in a folder."""

import csv
import os
import time

from lmlab.files import publish
from lmlab.runner import lessons, pages, profiles, records, terminal


def run(names, profile, assignments, out=None, *, also=(), workers=None, timeout=None):
    """Run the lessons: (the signal that cut the run short or 0, whether all is ok).

    also: the kinds of notebooks (`lessons.KINDS`) that are run with their lessons.
    Executed notebooks, records and the summary go to out, or to a new folder under
    runs/. Raises LessonError for input that cannot be used, before anything is run.
    """
    chosen = lessons.select(names, also)
    values = profiles.settings(chosen, profile, assignments)
    defaults = {
        lesson.name: {p.name: p.default for p in profiles.inspect(lesson).values()}
        for lesson in chosen
    }
    folder = records.new_folder(out)
    requests = [(lesson.name, lesson.path, values[lesson]) for lesson in chosen]
    found = {}

    def keep(job, outcome):
        found[job.name] = records.keep(job, outcome, folder, defaults[job.name])
        return found[job.name]

    signal = terminal.run(requests, keep, workers=workers, timeout=timeout)
    rows = [found.get(each.name) or _interrupted(each.name) for each in chosen]
    title = f"{len(rows)} lessons, {profile} profile" + " (interrupted)" * bool(signal)
    written = True
    try:
        _summarize(rows, folder, title)
        if not out:
            lead_to_newest(folder.parent)
    except OSError as error:
        reason = f"{folder}: {error.strerror}"
        terminal.complain(f"The summary cannot be written to {reason}.")
        written = False
    terminal.show(pages.table(rows))
    for row in rows:
        if row["status"] not in ("ok", "interrupted"):
            terminal.explain(row["lesson"], row, folder)
    if written:
        print(f"Results: {folder / 'index.html'}")
    return signal, written and all(row["status"] == "ok" for row in rows)


def _interrupted(name):
    """The record of a lesson that was cut short or never began."""
    nothing = {"lesson": name, "status": "interrupted", "seconds": 0.0, "notebook": ""}
    return nothing | records.facts({"cells": []})


def _summarize(rows, folder, title):
    """Publish summary.csv and index.html of the run."""
    publish(folder / "summary.csv", pages.as_csv([pages.row(each) for each in rows]))
    when = time.strftime("%Y-%m-%d %H:%M")
    publish(folder / "index.html", pages.summary_page(rows, title=title, when=when))


def lead_to_newest(runs):
    """Publish index.html in the folder of all runs, and the link `latest`."""
    found = []
    for summary in sorted(runs.glob("*/summary.csv"), reverse=True):
        if not summary.parent.is_symlink() and (rows := _rows(summary)):
            there = {page.stem for page in summary.parent.glob("*.html")}
            found.append((summary.parent.name, rows, there))
    sweeps = [
        (table.parent.name, rows)
        for table in sorted(runs.glob("sweep_*/sweep.csv"), reverse=True)
        if (rows := _csv(table)) and "status" in rows[0]
    ]
    if found or sweeps:
        publish(runs / "index.html", pages.overview_page(found, sweeps))
    if found:
        _link(runs / "latest", found[0][0])


def _rows(summary):
    """The rows of a run's summary; none when it is damaged or of another form."""
    rows = _csv(summary)
    return rows if all(row.keys() == pages.COLUMNS.keys() for row in rows) else []


def _csv(path):
    try:
        with path.open(encoding="utf-8") as lines:
            return list(csv.DictReader(lines))
    except (ValueError, csv.Error):
        return []


def _link(path, target):
    """A symbolic link, where the system allows one."""
    fresh = path.with_name(f".latest.{os.getpid()}")
    try:
        fresh.symlink_to(target, target_is_directory=True)
        fresh.replace(path)
    except OSError:
        fresh.unlink(missing_ok=True)

"""Keep what a run of lessons gave: executed notebooks, records, one summary."""

import csv
import functools
import json
import os
import platform
import subprocess
import time
from dataclasses import asdict
from pathlib import Path

from lmlab.files import publish
from lmlab.runner import parameters, report
from lmlab.runner.lessons import folder
from lmlab.runner.runs import keep_figures

PACKAGES = (
    "lmlab",
    "numpy",
    "scikit-learn",
    "matplotlib",
    "torch",
    "tensorflow",
    "keras",
)


def versions():
    """The versions that a lesson's results can depend on."""
    from importlib.metadata import PackageNotFoundError, version

    found = {"python": platform.python_version()}
    for name in PACKAGES:
        # TensorFlow for the CPU is another package of the same name and version.
        for installed in (name, f"{name}-cpu"):
            try:
                found[name] = version(installed)
                break
            except PackageNotFoundError:
                continue
    return found


@functools.cache
def commit():
    """The git commit of the lessons, with + when files differ; "" where unknown."""
    describe = [
        "git",
        "describe",
        "--always",
        "--abbrev=12",
        "--dirty=+",
        "--exclude=*",
    ]
    try:
        done = subprocess.run(
            describe,
            cwd=folder(),
            capture_output=True,
            encoding="utf-8",
            timeout=10,
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def keep(job, outcome, out, defaults, *, up=report.UP):
    """Publish what the job left under `out`, and return the lesson's record.

    A run that failed keeps its partial notebook, marked, as NN_name.failed.ipynb.
    When it cannot be written, the record says so, is not ok and holds kept=False.
    up: (link, words) from the lesson's page to that of all.
    """
    values = defaults | job.parameters
    result = {
        "lesson": job.name,
        **asdict(outcome),
        "notebook": "",
        "parameters": values,
        "of_a_profile": parameters.of_a_profile(job.name, defaults, values),
        "claims": [],
        "caught": 0,
        "broken": 0,
        "metrics": [],
        "device": {},
        "versions": versions(),
        "commit": commit(),
        "one_thread": job.one_thread,
        "cells": [],
    }
    result["error"] = report.hide_places(result["error"])
    try:
        if job.executed.exists():
            _keep_notebook(job, result, out, up)
        keep_figures(job, out / "figures")
        record = json.dumps(result, indent=1, ensure_ascii=False) + "\n"
        publish(out / f"{job.name}.run.json", record)
    except OSError as error:
        reason = error.strerror or error
        error = f"cannot write the results: {reason}"
        result |= {"status": "failed", "error": error, "kept": False}
    except Exception as error:  # whatever it is, the other lessons still run
        reason = f"what it recorded cannot be read: {type(error).__name__}: {error}"
        result |= {"status": "failed", "error": reason}
    return result


def _keep_notebook(job, result, out, up):
    import nbformat

    from lmlab.runner.lessons import read_notebook

    notebook = read_notebook(job.executed)
    result |= report.facts(notebook)
    result["cells"] = report.cells(notebook)
    name = f"{job.name}.ipynb"
    if result["status"] != "ok":
        name = f"{job.name}.failed.ipynb"
        _mark(notebook, result)
    publish(out / name, nbformat.writes(notebook))
    result["digest"] = report.digest(read_notebook(out / name))
    page = report.notebook_page(notebook, title=job.name, up=up)
    publish(out / f"{job.name}.html", page)
    if result["status"] == "ok":  # of an earlier attempt at the same run
        (out / f"{job.name}.failed.ipynb").unlink(missing_ok=True)
    result["notebook"] = name


def _mark(notebook, result):
    """Say on top of a partial notebook that it is one."""
    import nbformat
    from papermill.execute import remove_error_markers

    remove_error_markers(notebook)
    text = f"# ✗ This run did not finish: {result['status']}\n\n"
    if result["cell"]:
        text += f"It ended in cell **In [{result['cell']}]**, `{result['line']}`:\n\n"
    text += "".join(f"    {line}\n" for line in result["error"].splitlines())
    text += "\nThe cells after it did not run.\n"
    notebook.cells.insert(0, nbformat.v4.new_markdown_cell(text))


def interrupted(name):
    """The record of a lesson that was cut short or never began."""
    return {
        "lesson": name,
        "status": "interrupted",
        "seconds": 0.0,
        "notebook": "",
        "claims": [],
        "metrics": [],
    }


def summarize(results, out, title):
    """Publish summary.csv and index.html of the run, and the page of all runs."""
    publish(out / "summary.csv", report.summary_csv(results))
    when = time.strftime("%Y-%m-%d %H:%M")
    publish(out / "index.html", report.summary_page(results, title=title, when=when))


def lead_to_newest(runs):
    """Publish index.html in the folder of all runs, and the link `latest`."""
    found = []
    for summary in sorted(runs.glob("*/summary.csv"), reverse=True):
        if not summary.parent.is_symlink() and (rows := _rows(summary)):
            pages = {page.stem for page in summary.parent.glob("*.html")}
            found.append((summary.parent.name, rows, pages))
    sweeps = [
        (table.parent.name, rows)
        for table in sorted(runs.glob("sweep_*/sweep.csv"), reverse=True)
        if (rows := _csv(table)) and "status" in rows[0]
    ]
    if found or sweeps:
        publish(runs / "index.html", report.overview_page(found, sweeps))
    if found:
        _link(runs / "latest", found[0][0])


def _rows(summary):
    """The rows of a run's summary; none when it is damaged or of another form."""
    rows = _csv(summary)
    return rows if all(row.keys() == report.COLUMNS.keys() for row in rows) else []


def _csv(path):
    try:
        with path.open(encoding="utf-8") as lines:
            return list(csv.DictReader(lines))
    except (ValueError, csv.Error):
        return []


def _link(path: Path, target):
    """A symbolic link, where the system allows one."""
    fresh = path.with_name(f".latest.{os.getpid()}")
    try:
        fresh.symlink_to(target, target_is_directory=True)
        fresh.replace(path)
    except OSError:
        fresh.unlink(missing_ok=True)

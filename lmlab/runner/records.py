"""The record of a run: kept beside its executed notebook, and read back from either."""

import contextlib
import functools
import hashlib
import itertools
import json
import platform
import subprocess
import time
from collections import defaultdict
from dataclasses import asdict
from pathlib import Path

from lmlab import record
from lmlab.files import publish, publish_changed
from lmlab.runner import lessons, pages, profiles
from lmlab.runner.lessons import LessonError

PACKAGES = ("lmlab", "numpy", "scikit-learn", "matplotlib", "torch", "tensorflow")
PACKAGES += ("keras",)
HINT = "Give a run's folder (runs/latest, say), its .run.json, or an executed .ipynb."


def new_folder(chosen=None, prefix=""):
    """The folder for a new run: the chosen one, or runs/<prefix><date>_<time>.

    An earlier run is never written over. Raises LessonError when the folder holds
    something already or cannot be written to.
    """
    path = first = Path(chosen) if chosen else lessons.runs() / f"{prefix}{now()}"
    again = itertools.count(2)
    try:
        while not chosen and path.exists():
            path = first.with_name(f"{first.name}-{next(again)}")
        if path.exists() and any(path.iterdir()):
            raise LessonError(
                f"The folder {path} holds something already, perhaps an earlier run. "
                "Name another with --out, or remove it."
            )
        path.mkdir(parents=True, exist_ok=True)
        publish(path / ".writable", "")
        (path / ".writable").unlink()
    except OSError as error:
        said = f"Results cannot be written to {path}: {error.strerror or error}."
        raise LessonError(f"{said} Name another with --out.") from None
    return path


def now():
    """The date and time as they stand in a folder's name."""
    return time.strftime("%Y-%m-%d_%H%M%S")


# --- What a run says of itself --------------------------------------------------------


def facts(notebook):
    """What an executed notebook states: claims, broken versions, metrics, device.

    unasserted: the claims that speak of other parameters than the run had.
    """
    kinds = defaultdict(list)
    for fact in record.read(notebook):
        kinds[fact["kind"]].append(fact)
    named = ("name", "value", "headline", "digits")
    device = next(iter(kinds["device"]), {}).items()
    return {
        "claims": record.claims(kinds["claim"]),
        "unasserted": [fact["text"] for fact in kinds["unasserted"]],
        "caught": sum(fact["caught"] for fact in kinds["catch"]),
        "broken": sum(fact["of"] for fact in kinds["catch"]),
        "metrics": [
            {key: fact[key] for key in named} | {"band": fact.get("band")}
            for fact in kinds["metric"]
        ],
        "device": {k: v for k, v in device if k not in ("kind", "text", "cell")},
    }


def digest(notebook):
    """A digest of the code and outputs: it tells whether a record is of this notebook.

    What Jupyter changes by saving, without running anything, does not count.
    """
    cells = [[cell["source"], cell["outputs"]] for cell in _code_cells(notebook)]
    text = json.dumps(cells, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _code_cells(notebook):
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def _seconds(notebook):
    """Of each code cell that ran: number in In [ ], first line, seconds."""
    timed = []
    for cell in _code_cells(notebook):
        seconds = cell["metadata"].get("papermill", {}).get("duration")
        if cell.get("execution_count") and seconds:
            line = next((x for x in cell["source"].splitlines() if x.strip()), "")
            about = {"cell": cell["execution_count"], "line": line.strip()}
            timed.append(about | {"seconds": round(seconds, 3)})
    return timed


def versions():
    """The versions that a lesson's results can depend on."""
    from importlib.metadata import PackageNotFoundError, version

    found = {"python": platform.python_version()}
    for name in PACKAGES:
        # TensorFlow for the CPU is another package of the same name and version.
        for installed in (f"{name}-cpu", name):
            with contextlib.suppress(PackageNotFoundError):
                found[name] = version(installed)
    return found


@functools.cache
def commit():
    """The git commit of the lessons, with + when files differ; "" where unknown."""
    command = ["git", "describe", "--always", "--abbrev=12", "--dirty=+", "--exclude=*"]
    options = {"capture_output": True, "encoding": "utf-8", "timeout": 10}
    try:
        done = subprocess.run(command, cwd=lessons.folder(), **options)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


# --- Kept -----------------------------------------------------------------------------


def keep(job, outcome, out, defaults, *, up=pages.UP):
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
        "of_a_profile": profiles.of_a_profile(job.name, defaults, values),
        **facts({"cells": []}),
        "versions": versions(),
        "commit": commit(),
        "one_thread": job.one_thread,
        "cells": [],
    }
    result["error"] = pages.hide_places(result["error"])
    try:
        if job.executed.exists():
            _keep_notebook(job, result, out, up)
        keep_figures(job, out / "figures")
        text = json.dumps(result, indent=1, ensure_ascii=False) + "\n"
        publish(out / f"{job.name}.run.json", text)
    except OSError as error:
        error = f"cannot write the results: {error.strerror or error}"
        result |= {"status": "failed", "error": error, "kept": False}
    except Exception as error:  # whatever it is, the other lessons still run
        reason = f"what it recorded cannot be read: {type(error).__name__}: {error}"
        result |= {"status": "failed", "error": reason}
    return result


def _keep_notebook(job, result, out, up):
    import nbformat

    notebook = lessons.read_notebook(job.executed)
    result |= facts(notebook)
    result["cells"] = _seconds(notebook)
    name = f"{job.name}.ipynb"
    if result["status"] != "ok":
        name = f"{job.name}.failed.ipynb"
        _mark(notebook, result)
    publish(out / name, nbformat.writes(notebook))
    result["digest"] = digest(lessons.read_notebook(out / name))
    page = pages.notebook_page(notebook, title=job.name, up=up)
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


def keep_figures(job, folder):
    """Publish the figures that the job drew, where they are new or changed."""
    for drawn in sorted(job.figures.glob("*")):
        publish_changed(folder / drawn.name, drawn.read_bytes())


# --- Read back ------------------------------------------------------------------------


def load(place):
    """The records of a run, {lesson: record}, from its folder, record or notebook.

    A notebook speaks for itself, named or in the folder: the record beside it is used
    only if it was made of this very code and these outputs. A record that is named
    itself, or whose notebook is gone, speaks of its own run. A record has "code", the
    lesson's lines, None where they are not known; and "of_a_profile", see
    `profiles.of_a_profile`.
    Raises LessonError, saying what is needed, when there is no run there.
    """
    path = Path(place)
    if not path.exists() and not path.is_absolute():
        path = lessons.runs() / place
    if not path.exists():
        raise LessonError(f"There is no run {place!r}. {HINT}")
    if path.is_dir():
        found = [_of_folder(each) for each in sorted(path.glob("*.run.json"))]
        if not found and (path / "sweep.json").exists():
            said = f"{place} is a sweep: give the folder of one of its runs."
            raise LessonError(said)
        if not found:
            raise LessonError(f"The folder {place} holds no run's record. {HINT}")
    elif path.name.endswith(".run.json"):
        found = [_recorded(path)]
    elif path.suffix == ".ipynb":
        found = [_of_notebook(path)]
    else:
        raise LessonError(f"{place} is not a run. {HINT}")
    return {each["lesson"]: each for each in found}


def _of_folder(path):
    """The record at path, or what its notebook says that was run again since."""
    found = _recorded(path)
    notebook = _beside(path, found)
    return _of_notebook(notebook) if found["code"] is None and notebook else found


def _recorded(path):
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        found["lesson"], found["parameters"], found["metrics"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise LessonError(f"The record {path} cannot be read: {error!r}") from None
    place = _beside(path, found)
    notebook = lessons.read_notebook(place) if place else {"cells": []}
    code = _code(notebook) if found.get("digest") == digest(notebook) else None
    return {"of_a_profile": False} | found | {"code": code}


def _beside(path, found):
    """Where the notebook of the record at this path is; None if it is gone."""
    place = path.parent / (found.get("notebook") or "")
    return place if place.is_file() else None


def _of_notebook(path):
    """The record of an executed notebook: that of its run, or what it says itself."""
    notebook, lesson = lessons.read_notebook(path), lessons.name_of(path)
    beside = path.with_name(f"{lesson}.run.json")
    if beside.exists() and (found := _recorded(beside)).get("digest") == digest(
        notebook
    ):
        return found | {"code": _code(notebook)}
    stated = facts(notebook)
    if not stated["claims"] and not stated["metrics"]:
        raise LessonError(f"{path} states no claim and no metric: has it been run?")
    defaults = profiles.assigned(notebook)
    values = defaults | profiles.assigned(notebook, "injected-parameters")
    return stated | {
        "lesson": lesson,
        "parameters": values,
        "of_a_profile": profiles.of_a_profile(lesson, defaults, values),
        "code": _code(notebook),
    }


def _code(notebook):
    """The lines of a lesson's code, its parameters left out."""
    own, lines = {"parameters", "injected-parameters"}, []
    for cell in _code_cells(notebook):
        if not own & set(cell.metadata.get("tags", [])):
            lines += cell.source.splitlines()
    return lines

"""Read a past run back, from its records or from nothing but an executed notebook."""

import json
from pathlib import Path

from lmlab.runner import parameters, report
from lmlab.runner.lessons import LessonError, assigned, folder, read_notebook

HINT = "Give a run's folder (runs/latest, say), its .run.json, or an executed .ipynb."


def load(place):
    """The records of a run, {lesson: record}, from its folder, record or notebook.

    A notebook speaks for itself, named or in the folder: the record beside it is used
    only if it was made of this very code and these outputs. A record that is named
    itself, or whose notebook is gone, speaks of its own run. A record has "code", the
    lesson's lines, None where they are not known; and "of_a_profile", see
    `parameters.of_a_profile`.
    Raises LessonError, saying what is needed, when there is no run there.
    """
    path = Path(place)
    if not path.exists() and not path.is_absolute():
        path = folder().parent / "runs" / place
    if not path.exists():
        raise LessonError(f"There is no run {place!r}. {HINT}")
    if path.is_dir():
        paths = sorted(path.glob("*.run.json"))
        if not paths and (path / "sweep.json").exists():
            raise LessonError(
                f"{place} is a sweep: give the folder of one of its runs."
            )
        if not paths:
            raise LessonError(f"The folder {place} holds no run's record. {HINT}")
        found = [_of_folder(each) for each in paths]
    elif path.name.endswith(".run.json"):
        found = [_record(path)]
    elif path.suffix == ".ipynb":
        found = [_of_notebook(path)]
    else:
        raise LessonError(f"{place} is not a run. {HINT}")
    return {record["lesson"]: record for record in found}


def _of_folder(path):
    """The record, or what its notebook says where that has been run again since."""
    record = _record(path)
    notebook = _notebook(path, record)
    return _of_notebook(notebook) if record["code"] is None and notebook else record


def _record(path):
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        record["lesson"], record["parameters"], record["metrics"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise LessonError(f"The record {path} cannot be read: {error!r}") from None
    code, place = None, _notebook(path, record)
    if place and _belongs(record, notebook := read_notebook(place)):
        code = _code(notebook)
    return {"of_a_profile": False} | record | {"code": code}


def _notebook(path, record):
    """Where the notebook of the record at this path is; None if it is gone."""
    place = path.parent / (record.get("notebook") or "")
    return place if place.is_file() else None


def _belongs(record, notebook):
    return record.get("digest") == report.digest(notebook)


def _of_notebook(path):
    """The record of an executed notebook: that of its run, or what it says itself."""
    notebook, lesson = read_notebook(path), path.name.split(".")[0]
    beside = path.with_name(f"{lesson}.run.json")
    if beside.exists() and _belongs(record := _record(beside), notebook):
        return record | {"code": _code(notebook)}
    facts = report.facts(notebook)
    if not facts["claims"] and not facts["metrics"]:
        raise LessonError(f"{path} states no claim and no metric: has it been run?")
    defaults = assigned(notebook)
    values = defaults | assigned(notebook, "injected-parameters")
    return facts | {
        "lesson": lesson,
        "parameters": values,
        "of_a_profile": parameters.of_a_profile(lesson, defaults, values),
        "code": _code(notebook),
    }


def _cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def _code(notebook):
    """The lines of a lesson's code, its parameters left out."""
    own = {"parameters", "injected-parameters"}
    cells = [c for c in _cells(notebook) if not own & set(c.metadata.get("tags", []))]
    return [line for cell in cells for line in cell.source.splitlines()]

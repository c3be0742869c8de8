"""Read a past run back, from its records or from nothing but an executed notebook."""

import ast
import json
from pathlib import Path

from lmlab.runner import report
from lmlab.runner.lessons import LessonError, folder, read_notebook

HINT = "Give a run's folder (runs/latest, say), its .run.json, or an executed .ipynb."


def load(place):
    """The records of a run, {lesson: record}, from its folder, record or notebook.

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
        found = [_record(each) for each in paths]
    elif path.name.endswith(".run.json"):
        found = [_record(path)]
    elif path.suffix == ".ipynb":
        beside = path.with_name(path.name.split(".")[0] + ".run.json")
        found = [_record(beside) if beside.exists() else _from_notebook(path)]
    else:
        raise LessonError(f"{place} is not a run. {HINT}")
    return {record["lesson"]: record for record in found}


def _record(path):
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        record["lesson"], record["parameters"], record["metrics"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise LessonError(f"The record {path} cannot be read: {error!r}") from None
    notebook = path.parent / record["notebook"] if record.get("notebook") else None
    there = notebook is not None and notebook.exists()
    return record | {"code": _code(read_notebook(notebook)) if there else None}


def _from_notebook(path):
    """A record of what an executed notebook says of itself."""
    notebook = read_notebook(path)
    facts = report.facts(notebook)
    if not facts["claims"] and not facts["metrics"]:
        raise LessonError(f"{path} states no claim and no metric: has it been run?")
    values = {}
    for tag in ("parameters", "injected-parameters"):
        for cell in _cells(notebook):
            if tag in cell.metadata.get("tags", []):
                values |= _literals(cell.source)
    about = {"lesson": path.stem, "parameters": values, "code": _code(notebook)}
    return facts | about


def _literals(source):
    for node in ast.parse(source).body:
        target = getattr(node, "target", None) or getattr(node, "targets", [None])[0]
        if isinstance(target, ast.Name):
            yield target.id, ast.literal_eval(node.value)


def _cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def _code(notebook):
    """The lines of a lesson's code, its parameters left out."""
    own = {"parameters", "injected-parameters"}
    cells = [c for c in _cells(notebook) if not own & set(c.metadata.get("tags", []))]
    return [line for cell in cells for line in cell.source.splitlines()]

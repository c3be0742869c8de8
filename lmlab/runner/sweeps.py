"""Run a lesson over a grid of parameters, and go on where a sweep was cut short.

A sweep is a folder: `sweep.json` says what is to be run, each run leaves a folder with
its record, and everything else there (the table, the page, TensorBoard's files) is
made from these. A run counts as done once its record says that it ended well.
"""

import hashlib
import json
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

from lmlab.files import publish
from lmlab.runner import grids, lessons, parameters, results, runs
from lmlab.runner.lessons import Lesson, LessonError

PLAN = "sweep.json"
# What makes a sweep another one, as a refusal names it.
DECISIVE = {
    "lesson": "the lesson",
    "profile": "the profile",
    "grid": "the grid",
    "fixed": "what the profile sets",
    "source": "the lesson's code",
}

# What the table and the page are made from.
NEEDED = (
    *("status", "error", "seconds", "notebook", "metrics", "claims", "caught"),
    *("broken", "device", "versions", "one_thread"),
)


@dataclass
class Sweep:
    """What is to be run, and where; records: what has ended, by the run's name.

    grid: {parameter: values to try}; fixed: what the profile sets; source: a digest
    of the lesson's code.
    """

    lesson: Lesson
    profile: str
    grid: dict
    fixed: dict
    source: str
    folder: Path | None = None
    records: dict = field(default_factory=dict)

    def __post_init__(self):
        self.known = parameters.inspect(self.lesson)
        self.defaults = {x.name: x.default for x in self.known.values()}
        self.runs = grids.combinations(self.grid)

    @property
    def decisive(self):
        """What a sweep must share with this one to be gone on with."""
        return {
            "lesson": self.lesson.name,
            "profile": self.profile,
            "grid": self.grid,
            "fixed": self.fixed,
            "source": self.source,
        }

    @property
    def done(self):
        """The names of the runs that ended well."""
        return {x for x, record in self.records.items() if record["status"] == "ok"}

    def values(self, name):
        """All parameters of a run, those of the grid first."""
        return self.runs[name] | {
            key: value
            for key, value in (self.defaults | self.fixed).items()
            if key not in self.grid
        }

    def record_path(self, name):
        """Where the record of a run is kept."""
        return self.folder / name / f"{self.lesson.name}.run.json"


def plan(name, profile, assignments, most=grids.MOST):
    """The sweep that is asked for, checked, without a folder yet.

    Raises LessonError, as grids.read does, before anything is run or written.
    """
    lesson = lessons.find(name)
    grid = grids.read(lesson, parameters.inspect(lesson), assignments)
    grids.check_size(grid, most)
    fixed = parameters.settings([lesson], profile)[lesson]
    fixed = {key: value for key, value in fixed.items() if key not in grid}
    return Sweep(lesson, profile, grid, fixed, _digest(lesson))


def _digest(lesson):
    """Of the lesson's code: its text may be corrected in the middle of a sweep."""
    cells = lessons.read_notebook(lesson.path).cells
    code = [
        [cell.source, sorted(cell.metadata.get("tags", []))]
        for cell in cells
        if cell.cell_type == "code"
    ]
    return hashlib.sha256(json.dumps(code).encode()).hexdigest()


def begin(sweep, out=None):
    """Give the sweep a new folder: out, or runs/sweep_<date>_<time>.

    Raises LessonError when the folder holds something or cannot be written to.
    """
    if out and (Path(out) / PLAN).exists():
        raise LessonError(
            f"{out} holds a sweep already: add --resume to go on with it, or name "
            "another folder with --out."
        )
    sweep.folder = runs.new_folder(out or every() / f"sweep_{_now()}")
    about = {"began": _now(), "commit": results.commit(), "runs": sweep.runs}
    text = json.dumps(sweep.decisive | about, indent=1, ensure_ascii=False)
    publish(sweep.folder / PLAN, text + "\n")
    return sweep


def every():
    """The folder of all runs and sweeps."""
    return lessons.folder().parent / "runs"


def _now():
    return time.strftime("%Y-%m-%d_%H%M%S")


def find(sweep, out=None):
    """The begun sweep to go on with: that in out, or the newest that is the same.

    Raises LessonError when there is none, and when its lesson or grid has changed.
    """
    if out:
        folder = Path(out)
        if not (folder / PLAN).exists():
            raise LessonError(f"{out} holds no sweep to resume: it has no {PLAN}.")
        begun = _read(folder)
    else:
        folder, begun = _newest(sweep)
    if changed := _changes(begun, sweep.decisive):
        raise LessonError(
            f"The sweep in {folder} cannot be gone on with, its runs would not belong "
            f"together: {'; '.join(changed)}. Without --resume a new one begins."
        )
    # The order of the grid as it was begun: the runs' names come from it.
    sweep = replace(sweep, grid=begun["grid"], folder=folder)
    for name in sweep.runs:
        if record := _record(sweep, name):
            sweep.records[name] = record
    return sweep


def _newest(sweep):
    found = []
    for path in sorted(every().glob(f"sweep_*/{PLAN}"), reverse=True):
        begun = _read(path.parent)
        if begun["lesson"] == sweep.lesson.name:
            found.append((path.parent, begun))
    same = ("profile", "grid", "fixed")
    for folder, begun in found:
        if not set(same) & set(_differing(begun, sweep.decisive)):
            return folder, begun
    why = f"There is no sweep of {sweep.lesson.name} in {every()}"
    if found:
        folder, begun = found[0]
        why += f" with this grid and profile. The newest is {folder.name}: "
        why += "; ".join(_changes(begun, sweep.decisive))
    raise LessonError(f"{why}. Without --resume a new one begins.")


def _read(folder):
    try:
        begun = json.loads((folder / PLAN).read_text(encoding="utf-8"))
        return {name: begun[name] for name in DECISIVE}
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise LessonError(f"{folder / PLAN} cannot be read: {reason}") from None


def _differing(begun, now):
    return [name for name in DECISIVE if _plain(begun[name]) != _plain(now[name])]


def _plain(value):
    """For comparing: a grid is the same whatever the order of its values."""
    if not isinstance(value, dict):
        return value
    return {
        key: sorted(map(repr, each)) if isinstance(each, list) else repr(each)
        for key, each in value.items()
    }


def _changes(begun, now):
    """What differs, in words."""
    return [
        f"{DECISIVE[name]} has changed"
        if name == "source"
        else f"{DECISIVE[name]} was {_told(begun[name])} and is now {_told(now[name])}"
        for name in _differing(begun, now)
    ]


def _told(value):
    if not isinstance(value, dict):
        return value
    return (
        " ".join(
            grids.assignment(name, x if isinstance(x, list) else [x])
            for name, x in value.items()
        )
        or "empty"
    )


def _record(sweep, name):
    """The record of an earlier run, or None when there is no whole one."""
    try:
        record = json.loads(sweep.record_path(name).read_text(encoding="utf-8"))
        fits = record["parameters"] == sweep.values(name)
        return record if fits and all(key in record for key in NEEDED) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None

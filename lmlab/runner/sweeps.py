"""Run a lesson over a grid of parameters, and go on where a sweep was cut short.

A grid is the values to try, in every combination. They stand between commas:
`lr=0.1,0.01`. Those of a parameter that is itself a list stand between semicolons:
`sizes=32,16;64` is a list of two, then a list of one.

A sweep is a folder: `sweep.json` says what is to be run, each run leaves a folder with
its record, and everything else there (the table, the page, TensorBoard's files) is
made from these. A run counts as done once its record says that it ended well.
"""

import functools
import hashlib
import itertools
import json
import math
import re
import shlex
import time
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path

from lmlab.errors import LmlabError
from lmlab.files import publish, publish_changed
from lmlab.parameters import ParameterError, convert
from lmlab.runner import hparams, lessons, profiles, records, sweep_page, terminal
from lmlab.runner.lessons import Lesson, LessonError
from lmlab.runner.runs import lead_to_newest
from lmlab.runner.sweep_page import show

MOST = 1000  # runs that are started without being asked for in so many words
LONGEST = 60  # characters of a run's name
UNSAFE = re.compile(r"[^A-Za-z0-9.,=+_-]+")
PLAN = "sweep.json"
UP = ("../index.html", "all runs of this sweep")
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


class NotKeptError(LmlabError):
    """A run's results cannot be written: to run the others would be in vain."""


# --- The grid -------------------------------------------------------------------------


def read_grid(lesson, known, assignments):
    """The values of each parameter to try: {name: [value, …]}, in the order given.

    known: the lesson's parameters, by name. assignments: NAME=A,B,C. Raises
    LessonError, naming the parameter, for one that does not exist or is given twice, a
    value of the wrong type, an empty or a repeated one, and when nothing is given.
    """
    grid = {}
    for assigned in assignments:
        chosen, name, text = profiles.split(assigned)
        profiles.reached(chosen, name, {lesson: known})
        if name in grid:
            said = f"The parameter {name!r} is given twice: write all its values in one"
            raise LessonError(f"{said} -p {name}=A,B,C.")
        grid[name] = _values(lesson, known[name], text)
    if not grid:
        said = "A sweep needs values to try, for one parameter or more: -p NAME=A,B,C."
        raise LessonError(f"{said}\n{profiles.listing({lesson: known})}")
    return grid


def _values(lesson, parameter, text):
    mark, example = (";", "A,B;C") if parameter.is_list else (",", "A,B,C")
    of = f"The parameter {parameter.name!r}"
    texts = [item.strip() for item in text.split(mark)]
    if texts == [""]:
        raise LessonError(f"{of} has no values: -p {parameter.name}={example}.")
    if "" in texts:
        raise LessonError(f"{of} has an empty value in {text!r}.")
    found = {}
    for item in texts:
        try:
            if parameter.is_list and re.search(r"\]\s*,\s*\[", item):
                raise ParameterError(f"{of} is a list: {item!r}.")
            value = convert(parameter, item)
        except ParameterError as error:
            hint = f"\nA grid has ; between lists: -p '{parameter.name}=A,B;C'."
            listing = profiles.listing({lesson: {parameter.name: parameter}})
            raise LessonError(f"{error}{hint * parameter.is_list}\n{listing}") from None
        key = show(value)
        if key in found:
            both = f"{found[key][0]!r} and {item!r}"
            raise LessonError(f"{of} has the value {key} twice: {both}.")
        found[key] = item, value
    return [value for _, value in found.values()]


def combinations(grid):
    """Every combination, by a name for it: {name: {parameter: value}}.

    A name is that of a folder on any system, short, and the same each time.
    """
    chosen = [dict(zip(grid, values)) for values in itertools.product(*grid.values())]
    swept = sweep_page.swept(grid)
    plain = [",".join(f"{x}={_plain(each[x])}" for x in swept) for each in chosen]
    safe = [UNSAFE.sub("-", name) for name in plain]
    times = Counter(map(str.casefold, safe))
    names = {}
    for name, safely, each in zip(plain, safe, chosen):
        if name != safely or times[name.casefold()] > 1 or len(name) > LONGEST:
            # A digest keeps apart what would look alike, or had to be cut.
            name = f"{safely[: LONGEST - 9]}-{_digest(sorted(each.items()))[:8]}"
        names[name] = each
    return names


def _plain(value):
    return "-".join(map(_plain, value)) if isinstance(value, list) else show(value)


def _digest(what):
    return hashlib.sha256(repr(what).encode()).hexdigest()


def assignment(name, values):
    """NAME=A,B,C, as it was given."""
    lists = any(isinstance(value, list) for value in values)
    return f"{name}={(';' if lists else ',').join(map(show, values))}"


def _product(grid):
    return " × ".join(f"{len(values)} {name}" for name, values in grid.items())


# --- What is to be run ----------------------------------------------------------------


@dataclass
class Sweep:
    """What is to be run, and where.

    grid: {parameter: values to try}; fixed: what the profile sets; source: a digest of
    the lesson's code; records: what has ended, by the run's name.
    """

    lesson: Lesson
    profile: str
    grid: dict
    fixed: dict
    source: str
    folder: Path | None = None
    records: dict = field(default_factory=dict)

    def __post_init__(self):
        self.known = profiles.inspect(self.lesson)
        self.defaults = {x.name: x.default for x in self.known.values()}
        self.runs = combinations(self.grid)

    @property
    def decisive(self):
        """What a sweep must share with this one to be gone on with."""
        values = {key: getattr(self, key) for key in DECISIVE}
        return values | {"lesson": self.lesson.name}

    @property
    def done(self):
        """The names of the runs that ended well."""
        return {x for x, record in self.records.items() if record["status"] == "ok"}

    def values(self, name):
        """All parameters of a run, those of the grid first."""
        others = (self.defaults | self.fixed).items()
        return self.runs[name] | {k: v for k, v in others if k not in self.grid}

    def record_path(self, name):
        """Where the record of a run is kept."""
        return self.folder / name / f"{self.lesson.name}.run.json"


def plan(name, profile, assignments, most=MOST):
    """The sweep that is asked for, checked, without a folder yet.

    Raises LessonError, before anything is run or written, as `read_grid` does, and for
    more than so many runs.
    """
    lesson = lessons.find(name)
    grid = read_grid(lesson, profiles.inspect(lesson), assignments)
    if (runs := math.prod(map(len, grid.values()))) > most:
        raise LessonError(
            f"The grid has {runs:,} runs ({_product(grid)}), more than {most:,}. "
            f"If you mean it, add --most {runs}."
        )
    fixed = profiles.settings([lesson], profile)[lesson]
    fixed = {key: value for key, value in fixed.items() if key not in grid}
    # The code alone: the lesson's text may be corrected in the middle of a sweep.
    code = [
        (cell.source, sorted(cell.metadata.get("tags", [])))
        for cell in lessons.read_notebook(lesson.path).cells
        if cell.cell_type == "code"
    ]
    return Sweep(lesson, profile, grid, fixed, _digest(code))


def begin(sweep, out=None):
    """Give the sweep a new folder: out, or runs/sweep_<date>_<time>.

    Raises LessonError when the folder holds something or cannot be written to.
    """
    if out and (Path(out) / PLAN).exists():
        said = f"{out} holds a sweep already: add --resume to go on with it, or name"
        raise LessonError(f"{said} another folder with --out.")
    sweep.folder = records.new_folder(out, "sweep_")
    about = {"began": records.now(), "commit": records.commit(), "runs": sweep.runs}
    text = json.dumps(sweep.decisive | about, indent=1, ensure_ascii=False)
    publish(sweep.folder / PLAN, text + "\n")
    return sweep


def find(sweep, out=None):
    """The begun sweep to go on with: that in out, or the newest that is the same.

    Raises LessonError when there is none, and when its lesson or grid has changed.
    """
    if out:
        folder = Path(out)
        if not (folder / PLAN).exists():
            raise LessonError(f"{out} holds no sweep to resume: it has no {PLAN}.")
    folder, begun = (folder, _read_plan(folder)) if out else _newest(sweep)
    if changed := _changes(begun, sweep.decisive):
        raise LessonError(
            f"The sweep in {folder} cannot be gone on with, its runs would not belong "
            f"together: {'; '.join(changed)}. Without --resume a new one begins."
        )
    # The order of the grid as it was begun: the runs' names come from it.
    sweep = replace(sweep, grid=begun["grid"], folder=folder)
    found = {name: _read_record(sweep, name) for name in sweep.runs}
    sweep.records |= {name: record for name, record in found.items() if record}
    return sweep


def _newest(sweep):
    there = lessons.runs()
    paths = sorted(there.glob(f"sweep_*/{PLAN}"), reverse=True)
    found = [(path.parent, _read_plan(path.parent)) for path in paths]
    found = [each for each in found if each[1]["lesson"] == sweep.lesson.name]
    for folder, begun in found:
        # A changed lesson is no other sweep: to go on with it is refused by its name.
        if not _changes(begun | {"source": sweep.source}, sweep.decisive):
            return folder, begun
    why = f"There is no sweep of {sweep.lesson.name} in {there}"
    for folder, begun in found[:1]:
        why += f" with this grid and profile. The newest is {folder.name}: "
        why += "; ".join(_changes(begun, sweep.decisive))
    raise LessonError(f"{why}. Without --resume a new one begins.")


def _read_plan(folder):
    try:
        begun = json.loads((folder / PLAN).read_text(encoding="utf-8"))
        return {name: begun[name] for name in DECISIVE}
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise LessonError(f"{folder / PLAN} cannot be read: {reason}") from None


def _read_record(sweep, name):
    """The record of an earlier run, or None when there is no whole one."""
    try:
        record = json.loads(sweep.record_path(name).read_text(encoding="utf-8"))
        fits = record["parameters"] == sweep.values(name)
        return record if fits and all(key in record for key in NEEDED) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _changes(begun, now):
    """What differs, in words; a grid is the same whatever the order of its values."""
    return [
        f"{said} has changed"
        if name == "source"
        else f"{said} was {_told(begun[name])} and is now {_told(now[name])}"
        for name, said in DECISIVE.items()
        if _told(begun[name], ordered=True) != _told(now[name], ordered=True)
    ]


def _told(value, *, ordered=False):
    """A text, or parameters as they stand on the command line."""
    if not isinstance(value, dict):
        return value
    values = {k: v if isinstance(v, list) else [v] for k, v in value.items()}
    if ordered:
        values = {k: sorted(values[k], key=repr) for k in sorted(values)}
    return " ".join(itertools.starmap(assignment, values.items())) or "empty"


# --- Run ------------------------------------------------------------------------------


def run(sweep, *, workers=None, backend="processes", timeout=None):
    """Run what is missing: (the signal that cut it short or 0, whether all is ok).

    Each run is kept, and the table published, as soon as it has ended.
    """
    lesson = sweep.folder / sweep.lesson.path.name
    requests = [(name, lesson, sweep.fixed | x) for name, x in sweep.runs.items()]
    options = {"workers": workers, "backend": backend, "timeout": timeout}
    runs, left = len(sweep.runs), len(sweep.runs) - len(sweep.done)
    text = f"{runs:,} run{'s' * (runs != 1)} of {sweep.lesson.name} "
    text += f"({_product(sweep.grid)}), {sweep.profile} profile"
    if sweep.records:
        text += f": {len(sweep.done)} are done, {left} to go"
    print(f"{text}; results in {sweep.folder}")
    signal, good = 0, True
    try:
        # As it is now: it may be opened, and changed, while the sweep goes on.
        publish_changed(lesson, sweep.lesson.path.read_bytes())
        _publish(sweep)
        if left:
            keep = functools.partial(_keep, sweep)
            signal = terminal.run(requests, keep, done=sweep.done, **options)
    except (NotKeptError, OSError) as error:
        good = False
        terminal.complain(f"The sweep was stopped: {_reason(error)}")
    try:  # the plots, and what an earlier, killed command may have left out
        _publish(sweep, sweep.records, plots=True)
        if sweep.folder.parent == lessons.runs():
            lead_to_newest(sweep.folder.parent)
    except OSError as error:
        good = False
        terminal.complain(f"The table cannot be written: {_reason(error)}")
    good = good and len(sweep.done) == len(sweep.runs)
    _close(sweep, good, options)
    return signal, good


def _keep(sweep, job, outcome):
    own = replace(job, name=sweep.lesson.name)
    folder = sweep.folder / job.name
    record = records.keep(own, outcome, folder, sweep.defaults, up=UP)
    if not record.get("kept", True):
        raise NotKeptError(f"{job.name}: {record['error']}")
    sweep.records[job.name] = record
    _publish(sweep, [job.name])
    return record


def _publish(sweep, names=(), *, plots=False):
    """Publish the table and the page, and for TensorBoard the runs of these names."""
    publish(sweep.folder / "sweep.csv", sweep_page.table_csv(sweep))
    publish(sweep.folder / "index.html", sweep_page.page(sweep, plots=plots))
    known = [sweep.known[name] for name in sweep.values(next(iter(sweep.runs)))]
    measured = sweep_page.metric_names(sweep)
    folder = sweep.folder / "tensorboard"
    hparams.write_experiment(folder, known, sweep.grid, measured)
    for name in names:
        record, path = sweep.records[name], sweep.record_path(name)
        hparams.write_run(
            folder / name,
            sweep.values(name),
            sweep_page.metrics(record),
            ok=record["status"] == "ok",
            seconds=record["seconds"],
            # A lesson may have recorded what no record can hold.
            ended=path.stat().st_mtime if path.exists() else time.time(),
        )


def _close(sweep, good, options):
    """Say how the sweep ended, where its results are, and how to go on with it."""
    terminal.show(sweep_page.table(sweep))
    for name, record in sweep.records.items():
        if record["status"] != "ok":
            terminal.explain(name, record, sweep.folder / name)
    print(f"{len(sweep.done)} of {len(sweep.runs)} runs are ok.")
    print(f"Results: {sweep.folder / 'index.html'}, and as a table sweep.csv")
    if good:
        return
    words = ["lmlab", "sweep", sweep.lesson.name]
    for name, values in sweep.grid.items():
        words += ["-p", assignment(name, values)]
    given = {"--profile": sweep.profile, "--jobs": options["workers"]}
    given |= {"--backend": options["backend"], "--timeout": options["timeout"]}
    given["--most"] = len(sweep.runs) if len(sweep.runs) > MOST else None
    for name, value in given.items():
        words += [name, str(value)] * (value not in (None, "quick", "processes"))
    command = shlex.join([*words, "--resume", "--out", str(sweep.folder)])
    print(f"To run what is missing: {command}")


def _reason(error):
    return getattr(error, "strerror", None) or error

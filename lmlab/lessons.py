"""Find the lessons, read their parameters, and check the values given for them.

A lesson is notebooks/NN_name.ipynb with one cell tagged `parameters`. Its defaults
are the quick profile; notebooks/full.yaml holds the full one. papermill neither
refuses an unknown parameter nor checks a type, so both are done here, before
anything runs.
"""

import ast
import difflib
import math
import os
import re
from dataclasses import dataclass
from pathlib import Path

PROFILES = ("quick", "full")
SCALARS = ("int", "float", "str", "bool")
INTEGER = re.compile(r"[+-]?[0-9]+(_[0-9]+)*")


class LessonError(Exception):
    """Input that cannot be used: the message says what is wrong and what to do."""


@dataclass(frozen=True)
class Parameter:
    """One parameter of a lesson; type is int, float, str, bool or list of these."""

    name: str
    type: str
    default: object
    help: str

    def __str__(self):
        line = f"{self.name}: {self.type} = {self.default!r}"
        return f"{line}  # {self.help}" if self.help else line


@dataclass(frozen=True)
class Lesson:
    """One notebook. name: NN_name, or exercises/NN_name for its exercises."""

    name: str
    path: Path

    @property
    def number(self):
        """The two digits that the file's name starts with."""
        return self.path.stem[:2]


def folder():
    """The folder of the lessons: LMLAB_NOTEBOOKS, or notebooks/ of the checkout.

    Raises LessonError when there is none, as in an install without the checkout.
    """
    chosen = os.environ.get("LMLAB_NOTEBOOKS")
    path = Path(chosen) if chosen else Path(__file__).resolve().parents[1] / "notebooks"
    if path.is_dir():
        return path.resolve()
    if chosen:
        raise LessonError(f"LMLAB_NOTEBOOKS names {chosen}, which is not a folder.")
    raise LessonError(
        "The lessons are not here: lmlab is installed without its checkout. Clone the "
        "repository and `pip install -e .` there, or set LMLAB_NOTEBOOKS to the folder."
    )


def find_all(*, exercises=False):
    """Every lesson in order; with exercises, each followed by its exercises."""
    here = folder()
    found = [Lesson(path.stem, path) for path in here.glob("[0-9][0-9]_*.ipynb")]
    if exercises:
        paths = here.glob("exercises/[0-9][0-9]_*.ipynb")
        found += [Lesson(f"exercises/{path.stem}", path) for path in paths]
    return sorted(found, key=lambda lesson: (lesson.path.stem, lesson.name))


def select(names, *, exercises=False):
    """The lessons that were asked for, each once, in order; all when none is named.

    names: numbers or names ("2", "02", "mlp_numpy", "02_mlp_numpy"). With
    exercises, a lesson brings its exercises along.
    Raises LessonError for a name that no lesson has, naming the near ones.
    """
    lessons = find_all(exercises=exercises)
    if not lessons:
        raise LessonError(f"{folder()} holds no lesson (NN_name.ipynb).")
    wanted = {lesson for name in names for lesson in _matching(name, lessons)}
    return [lesson for lesson in lessons if lesson in wanted or not names]


def find(name):
    """The one lesson of that number or name."""
    return _matching(name, find_all())[0]


def _matching(name, lessons):
    key = name.removesuffix(".ipynb")
    key = key if key.startswith("exercises/") else key.rpartition("/")[2]
    number = f"{int(key):02d}" if key.isascii() and key.isdigit() else None
    found = [
        lesson
        for lesson in lessons
        if key in (lesson.name, lesson.path.stem, lesson.path.stem[3:])
        or number == lesson.number
    ]
    if found:
        return found
    names = {part: x.name for x in lessons for part in (x.name, x.name[3:], x.number)}
    near = difflib.get_close_matches(key, names, n=3, cutoff=0.5)
    near = dict.fromkeys(names[match] for match in near) or [x.name for x in lessons]
    raise LessonError(f"There is no lesson {name!r}. Did you mean {_either(near)}?")


def _either(names):
    *first, last = names
    return f"{', '.join(first)} or {last}" if first else last


def parameters(lesson):
    """The parameters of a lesson, by name, as papermill reads them.

    Raises LessonError when the notebook cannot be read, or when its parameters
    cell holds something that papermill would skip in silence.
    """
    import papermill

    try:
        # A notebook node: papermill expands braces in a path.
        notebook = read_notebook(lesson.path)
        found = papermill.inspect_notebook(notebook)
    except (OSError, ValueError, AttributeError) as error:
        raise LessonError(
            f"{lesson.name} is not a readable notebook: {error}"
        ) from None
    known = {name: _parameter(lesson, entry) for name, entry in found.items()}
    missed = [name for name in _assigned(lesson, notebook) if name not in known]
    if missed:
        raise LessonError(
            f"{lesson.name}: papermill cannot read the parameter {missed[0]!r}. "
            "Write it on one line, with no second = (not in the comment either)."
        )
    return known


def read_notebook(path):
    """The notebook at path, in the current format."""
    import nbformat

    return nbformat.read(path, as_version=4)


def _assigned(lesson, notebook):
    for cell in notebook.cells:
        if "parameters" in cell.metadata.get("tags", []):
            try:
                body = ast.parse(cell.source).body
            except SyntaxError as error:
                raise LessonError(f"{lesson.name}: parameters cell: {error}") from None
            for node in body:
                for target in getattr(node, "targets", [getattr(node, "target", None)]):
                    if isinstance(target, ast.Name):
                        yield target.id
            return


def _parameter(lesson, entry):
    name, kind = entry["name"], entry["inferred_type_name"].replace(" ", "")
    try:
        default = ast.literal_eval(entry["default"])
    except (ValueError, SyntaxError):
        raise LessonError(
            f"{lesson.name}: the parameter {name!r} is not a literal; compute derived "
            "values in the set-up cell."
        ) from None
    if kind == "None":
        kind = type(default).__name__
    if kind not in SCALARS and kind not in [f"list[{scalar}]" for scalar in SCALARS]:
        raise LessonError(f"{lesson.name}: the parameter {name!r} has type {kind!r}.")
    return Parameter(name, kind, default, entry["help"])


def settings(lessons, profile="quick", assignments=()):
    """The values to give to each lesson: {lesson: {name: value}}.

    assignments: NAME=VALUE, for every lesson that has it, or LESSON.NAME=VALUE,
    which wins. Raises LessonError, naming the parameter and the ones that exist,
    for an unknown one, a value of the wrong type, or one given twice.
    """
    if profile not in PROFILES:
        raise LessonError(f"There is no profile {profile!r}: choose quick or full.")
    known = {lesson: parameters(lesson) for lesson in lessons}
    values = {lesson: {} for lesson in lessons}
    if profile == "full":
        for name, chosen in _full_profile().items():
            for lesson in _matching(name, find_all()):
                if lesson in values:
                    values[lesson] |= _typed(lesson, known[lesson], chosen)
    given = [_split(assignment) for assignment in assignments]
    twice = {pair[:2] for pair in given if [p[:2] for p in given].count(pair[:2]) > 1}
    if twice:
        raise LessonError(f"The parameter {min(twice)[1]!r} is given twice.")
    for address, name, text in sorted(given, key=lambda one: one[0]):
        for lesson in _addressed(address, name, known):
            values[lesson] |= _typed(lesson, known[lesson], {name: text})
    return values


def _full_profile():
    import yaml

    path = folder() / "full.yaml"
    try:
        profile = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (OSError, yaml.YAMLError) as error:
        raise LessonError(f"The full profile cannot be read: {error}") from None
    if not all(isinstance(entry, dict) for entry in [profile, *profile.values()]):
        raise LessonError(f"{path.name} must map each lesson to its parameters.")
    return {str(name): chosen for name, chosen in profile.items()}


def _split(assignment):
    key, equals, text = assignment.partition("=")
    address, _, name = key.strip().rpartition(".")
    if not equals or not name:
        raise LessonError(
            f"-p {assignment}: write NAME=VALUE, or LESSON.NAME=VALUE for one lesson."
        )
    return address, name, text


def _addressed(address, name, known):
    if address:
        chosen = _matching(address, find_all())[0]
        if chosen not in known:
            raise LessonError(f"-p {address}.{name}: {chosen.name} is not being run.")
        return [chosen]
    having = [lesson for lesson in known if name in known[lesson]]
    if not having:
        raise _unknown(name, known)
    return having


def _typed(lesson, known, chosen):
    if unknown := [name for name in chosen if name not in known]:
        raise _unknown(unknown[0], {lesson: known})
    try:
        return {name: convert(known[name], value) for name, value in chosen.items()}
    except LessonError as error:
        raise LessonError(f"{error}\n{_listing({lesson: known})}") from None


def _unknown(name, known):
    names = {each for parameters in known.values() for each in parameters}
    near = difflib.get_close_matches(name, names, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return LessonError(f"There is no parameter {name!r}.{hint}\n{_listing(known)}")


def _listing(known):
    lines = []
    for lesson, parameters in known.items():
        lines.append(f"The parameters of {lesson.name}:")
        lines += [f"  {parameter}" for parameter in parameters.values()] or ["  none"]
    return "\n".join(lines)


def convert(parameter, value):
    """The value as the parameter's type: from a command-line text, or from YAML.

    An int is digits only, a bool true or false, a list its items between commas,
    with or without brackets. A float must be finite: a lesson that is given nan
    trains on nothing and fails far from the cause. Raises LessonError otherwise.
    """
    kind = parameter.type
    try:
        if kind.startswith("list["):
            items = _items(value) if isinstance(value, str) else list(value)
            return [_scalar(kind[5:-1], item) for item in items]
        return _scalar(kind, value)
    except (ValueError, TypeError):
        shown = value if isinstance(value, str) else repr(value)
        raise LessonError(
            f"The parameter {parameter.name!r} is {_described(kind)}, not {shown!r}."
        ) from None


def _described(kind):
    words = {
        "int": "a whole number (int)",
        "float": "a finite number (float)",
        "str": "a text (str)",
        "bool": "true or false (bool)",
    }
    return words.get(kind, f"a list with commas ({kind})")


def _items(text):
    text = text.strip()
    if text.startswith("[") and text.endswith("]"):
        text = text[1:-1]
    return [item.strip().strip("'\"") for item in text.split(",")] if text else []


def _scalar(kind, value):
    if isinstance(value, str) and kind != "str":
        value = _parse(kind, value.strip())
    if kind == "float" and type(value) in (int, float) and math.isfinite(value):
        return float(value)
    if type(value).__name__ != kind or kind == "float":
        raise ValueError(value)
    return value


def _parse(kind, text):
    if kind == "bool":
        return {"true": True, "false": False}[text.lower()]
    if kind == "int" and not INTEGER.fullmatch(text):
        raise ValueError(text)
    return {"int": int, "float": float}[kind](text)

"""A grid: the values to try for some parameters of a lesson, in every combination.

Values stand between commas: `lr=0.1,0.01`. Those of a parameter that is itself a list
stand between semicolons: `sizes=32,16;64` is a list of two, then a list of one.
"""

import hashlib
import itertools
import math
import re
from collections import Counter

from lmlab.runner import parameters
from lmlab.runner.lessons import LessonError

SEED = "seed"  # the parameter that repeats a run, and changes nothing else
MOST = 1000  # runs that are started without being asked for in so many words
LONGEST = 60  # characters of a run's name
UNSAFE = re.compile(r"[^A-Za-z0-9.,=+_-]+")


def read(lesson, known, assignments):
    """The values of each parameter to try: {name: [value, …]}, in the order given.

    known: the lesson's parameters, by name. assignments: NAME=A,B,C. Raises
    LessonError, naming the parameter, for one that does not exist or is given twice, a
    value of the wrong type, an empty or a repeated one, and when nothing is given.
    """
    grid = {}
    for assignment in assignments:
        chosen, name, text = parameters.split(assignment)
        parameters.reached(chosen, name, {lesson: known})
        if name in grid:
            raise LessonError(
                f"The parameter {name!r} is given twice: write all its values in one "
                f"-p {name}=A,B,C."
            )
        grid[name] = _values(lesson, known[name], text)
    if not grid:
        raise LessonError(
            "A sweep needs values to try, for one parameter or more: -p NAME=A,B,C.\n"
            + parameters.listing({lesson: known})
        )
    return grid


def _values(lesson, parameter, text):
    name, mark = parameter.name, ";" if parameter.type.startswith("list") else ","
    example = "A,B;C" if mark == ";" else "A,B,C"
    texts = [item.strip() for item in text.split(mark)]
    if texts == [""]:
        raise LessonError(f"The parameter {name!r} has no values: -p {name}={example}.")
    if "" in texts:
        raise LessonError(f"The parameter {name!r} has an empty value in {text!r}.")
    found = {}
    for item in texts:
        value = _value(lesson, parameter, item)
        key = tuple(value) if isinstance(value, list) else value
        if key in found:
            before = found[key][0]
            raise LessonError(
                f"The parameter {name!r} has the value {show(value)} twice: {before!r} "
                f"and {item!r}."
            )
        found[key] = item, value
    return [value for _, value in found.values()]


def _value(lesson, parameter, text):
    try:
        if parameter.type.startswith("list") and re.search(r"\]\s*,\s*\[", text):
            raise LessonError(f"The parameter {parameter.name!r} is a list: {text!r}.")
        return parameters.convert(parameter, text)
    except LessonError as error:
        hint = ""
        if parameter.type.startswith("list"):
            hint = f"\nA grid has ; between lists: -p '{parameter.name}=A,B;C'."
        listing = parameters.listing({lesson: {parameter.name: parameter}})
        raise LessonError(f"{error}{hint}\n{listing}") from None


def size(grid):
    """How many runs the grid has."""
    return math.prod(len(values) for values in grid.values())


def check_size(grid, most=MOST):
    """Raise LessonError for a grid of more than so many runs."""
    if (runs := size(grid)) > most:
        product = " × ".join(f"{len(values)} {name}" for name, values in grid.items())
        raise LessonError(
            f"The grid has {runs:,} runs ({product}), more than {most:,}. "
            f"If you mean it, add --most {runs}."
        )


def combinations(grid):
    """Every combination, by a name for it: {name: {parameter: value}}.

    A name is that of a folder on any system, short, and the same each time.
    """
    products = itertools.product(*grid.values())
    chosen = [dict(zip(grid, values)) for values in products]
    swept = [name for name, values in grid.items() if len(values) > 1] or list(grid)
    plain = [",".join(f"{x}={_plain(each[x])}" for x in swept) for each in chosen]
    safe = [UNSAFE.sub("-", name) for name in plain]
    seen = [name.casefold() for name in safe]
    times = Counter(seen)
    names = [
        name
        if name == safely and times[key] == 1 and len(name) <= LONGEST
        # A digest keeps apart what would look alike, or had to be cut.
        else f"{safely[: LONGEST - 9]}-{_digest(each)}"
        for name, safely, key, each in zip(plain, safe, seen, chosen)
    ]
    return dict(zip(names, chosen))


def _digest(values):
    return hashlib.sha256(repr(sorted(values.items())).encode()).hexdigest()[:8]


def _plain(value):
    return "-".join(map(_plain, value)) if isinstance(value, list) else show(value)


def show(value):
    """A value as one writes it on the command line."""
    if isinstance(value, list):
        return ",".join(map(show, value)) or "[]"
    return str(value).lower() if isinstance(value, bool) else str(value)


def assignment(name, values):
    """NAME=A,B,C, as it was given."""
    lists = any(isinstance(value, list) for value in values)
    return f"{name}={(';' if lists else ',').join(map(show, values))}"

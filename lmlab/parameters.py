"""A lesson's parameters: each on a line of its own, with its type and its range.

    name: type = literal  # help, range

The type is int, float, str or bool, or list[…] of one. A number is finite, and a bool
is no int. The range is the end of the comment, or all of it:

    from 1                               1 or more
    from 1 to 8                          1, 8, or between them
    above 0                              more than 0
    from 0, below 1                      0 is in and 1 is not; so is: from 0 and below 1
    above 0, below 1                     neither is
    one of "cpu", "cuda" (a GPU), "mps"  for a str; a remark stands in brackets

What stands before it ends in a comma, a semicolon or a colon. A list's range is that
of each item; a str without choices is any text, such as a path. How one parameter
bounds another is said in the help, and checked where the lesson uses the two.

`lmlab run` reads the declarations from the notebook. In the notebook itself
`devices.start` does, by `check_declared`: from the cells that were run.
"""

import ast
import contextlib
import io
import math
import re
import sys
import tokenize
from dataclasses import dataclass
from numbers import Integral, Real
from pathlib import Path

from lmlab import record
from lmlab.errors import LmlabError

SCALARS = ("int", "float", "str", "bool")
TYPES = (*SCALARS, *(f"list[{scalar}]" for scalar in SCALARS))

_INTEGER = re.compile(r"[+-]?[0-9]+(_[0-9]+)*")
_NUMBER = r"[+-]?\d+(?:\.\d+)?(?:e[+-]?\d+)?"
_CHOICE = r'"[^"]*"(?: \([^()"]*\))?'
_INTERVAL = re.compile(
    rf"(?:^|[,;:] )(?P<text>(?P<begin>from|above) (?P<low>{_NUMBER})"
    rf"(?:(?:,| and)? (?P<end>to|below) (?P<high>{_NUMBER}))?)$"
)
_CHOICES = re.compile(
    rf"(?:^|[,;:] )one of (?P<choices>{_CHOICE}(?:(?:,| or|, or) {_CHOICE})*)$"
)
# What was surely meant as a range, and would be ignored.
_MEANT = re.compile(
    r"\b(?:from|above|below|between|up to|at least|at most) [+-]?\.?\d|\bone of \""
)


class ParameterError(LmlabError, ValueError):
    """A value of another type or out of its range, or a range that cannot be read."""


@dataclass(frozen=True)
class Range:
    """Where a value lies: between two ends, which may be in or out, or among choices.

    text: as the comment says it.
    """

    text: str
    low: float = -math.inf
    high: float = math.inf
    low_is_in: bool = True
    high_is_in: bool = True
    choices: tuple = ()

    def __contains__(self, value):
        if self.choices:
            return value in self.choices
        above = value >= self.low if self.low_is_in else value > self.low
        below = value <= self.high if self.high_is_in else value < self.high
        return above and below

    def __str__(self):
        return self.text


@dataclass(frozen=True)
class Parameter:
    """One declaration; help: its whole comment. Its range is there, or None.

    Raises ParameterError for a range that cannot be read, or does not fit the type.
    """

    name: str
    type: str
    default: object
    help: str

    def __post_init__(self):
        if self.range is None and _MEANT.search(self.help):
            self._refuse("cannot be read")

    def __str__(self):
        line = f"{self.name}: {self.type} = {self.default!r}"
        return f"{line}  # {self.help}" if self.help else line

    @property
    def range(self):
        """The Range that the comment ends in, or None."""
        if found := _CHOICES.search(self.help):
            if self.scalar != "str":
                self._refuse(f"does not fit {self.type}")
            choices = re.findall(r'"([^"]*)"', found["choices"])
            listed = ", ".join(f'"{choice}"' for choice in choices)
            return Range(f"one of {listed}", choices=tuple(choices))
        if not (found := _INTERVAL.search(self.help)):
            return None
        if self.scalar not in ("int", "float"):
            self._refuse(f"does not fit {self.type}")
        low, high = float(found["low"]), float(found["high"] or "inf")
        ends = low, high, found["begin"] == "from", found["end"] != "below"
        if low > high or (low == high and not (ends[2] and ends[3])):
            self._refuse("is empty")
        return Range(found["text"], *ends)

    def _refuse(self, what):
        said = f"the range of the parameter {self.name!r} {what}: {self.help!r}"
        raise ParameterError(said)

    @property
    def scalar(self):
        """The type, or that of a list's items."""
        return self.type.removeprefix("list[").removesuffix("]")

    @property
    def is_list(self):
        """Whether the value is a list."""
        return self.type != self.scalar

    @property
    def needs(self):
        """What its value must be, in words."""
        within = self.range
        if within and within.choices:
            return f"a list, each {within}" if self.is_list else str(within)
        words = {"int": "whole number", "float": "finite number", "str": "text"}
        word = words.get(self.scalar, "true or false")
        if self.is_list:
            some = word if self.scalar == "bool" else f"{word}s"
            return f"a list of {some}" + (f", each {within}" if within else "")
        some = word if self.scalar == "bool" else f"a {word}"
        return f"{some} {within}" if within else some


def convert(parameter, value):
    """The value as the parameter's type: from a command-line text, or from YAML.

    An int is digits only, a bool true or false, a list its items between commas,
    with or without brackets. A float must be finite: a lesson that is given nan
    trains on nothing and fails far from the cause. Raises ParameterError for another
    type, or a value out of the parameter's range.
    """
    if not parameter.is_list:
        return check(parameter, _parsed(parameter.type, value))
    items = _items(value) if isinstance(value, str) else value
    if isinstance(items, list):
        items = [_parsed(parameter.scalar, item) for item in items]
    return check(parameter, items)


def _items(text):
    text = text.strip()
    if text.startswith("[") and text.endswith("]"):
        text = text[1:-1]
    return [item.strip().strip("'\"") for item in text.split(",")] if text else []


def _parsed(kind, value):
    """What a text says, as int, float or bool; the text itself where it says none."""
    if not isinstance(value, str) or kind == "str":
        return value
    text = value.strip()
    if kind == "bool":
        return {"true": True, "false": False}.get(text.lower(), value)
    if kind == "int" and not _INTEGER.fullmatch(text):
        return value
    try:
        return {"int": int, "float": float}[kind](text)
    except ValueError:
        return value


def check(parameter, value):
    """The value, an int given for a float as a float; items of a list alike.

    Raises ParameterError, which names parameter, value and range.
    """
    kind, within = parameter.scalar, parameter.range
    items = value if parameter.is_list else [value]
    fits = isinstance(items, list) and all(
        _is(kind, item) and (within is None or item in within) for item in items
    )
    if not fits:
        raise ParameterError(
            f"{parameter.name} must be {parameter.needs}, got {value!r}"
        )
    items = [float(item) for item in items] if kind == "float" else items
    return items if parameter.is_list else items[0]


def _is(kind, value):
    if kind in ("str", "bool") or isinstance(value, bool):
        return type(value).__name__ == kind
    if kind == "int":
        return isinstance(value, Integral)
    with contextlib.suppress(OverflowError):  # a whole number too large for a float
        return isinstance(value, Real) and math.isfinite(value)
    return False


def declarations(source):
    """{name: Parameter} of a source's top level: typed literals with a comment or none.

    Raises ParameterError for a range that cannot be read, SyntaxError as Python does.
    """
    return {line[0]: Parameter(*line) for line in _declared(source)}


def _declared(source):
    """(name, type, default, comment) of each; what is no literal is none of them."""
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    comments = {
        token.start[0]: token.string.lstrip("# ").rstrip()
        for token in tokens
        if token.type == tokenize.COMMENT
    }
    for node in ast.parse(source).body:
        if _is_declaration(node):
            kind = ast.unparse(node.annotation).replace(" ", "")
            default = ast.literal_eval(node.value)
            yield node.target.id, kind, default, comments.get(node.end_lineno, "")


def _is_declaration(node):
    if not (isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)):
        return False
    with contextlib.suppress(ValueError, TypeError, SyntaxError):
        ast.literal_eval(node.value)
        return ast.unparse(node.annotation).replace(" ", "") in TYPES
    return False


def namespace():
    """The user's variables, {name: value}: a notebook's, or the script's."""
    shell = record.shell()
    return vars(sys.modules["__main__"]) if shell is None else shell.user_ns


def check_declared():
    """Check the user's variables against the declarations of what is running.

    In IPython these are in the cells that were run and hold nothing but declarations,
    one range or more among them; elsewhere in the script, on the lines with a range.
    Where there are none, nothing is checked. Raises ParameterError.
    """
    values, shell = namespace(), record.shell()
    if shell is not None:
        cells = shell.history_manager.input_hist_raw
        known = [parameter for cell in cells for parameter in _of_a_cell(cell)]
    else:
        known = [p for p in _readable(_script()) if p.range]
    latest = {parameter.name: parameter for parameter in known}  # a cell that ran again
    for name, parameter in latest.items():
        if name in values:
            _check_here(parameter, values[name])


def _check_here(parameter, value):
    try:
        check(parameter, value)
    except ParameterError as error:
        error.add_note("Change it where it is declared, run that, and go on here.")
        raise


def _of_a_cell(source):
    try:
        pure = all(_is_declaration(node) for node in ast.parse(source).body)
    except (SyntaxError, ValueError):  # magics, or half a cell
        return []
    found = _readable(source) if pure else []
    return found if any(p.range for p in found) else []


def _readable(source):
    """The parameters of any source: a comment that is not a range is left alone."""
    found = []
    for line in _declared(source):
        with contextlib.suppress(ParameterError):
            found.append(Parameter(*line))
    return found


def _script():
    path = getattr(sys.modules["__main__"], "__file__", None)
    with contextlib.suppress(OSError, ValueError, SyntaxError):
        source = Path(path or "").read_text(encoding="utf-8")
        ast.parse(source)
        return source
    return ""

"""What is tried on the exercises: wrong answers and short cuts, as data.

NN_name.py holds ANSWERS for the exercises of lesson NN: for each exercise at least
three wrong answers that people give, and one short cut. Each is put in the place of the
solution, and the named test has to reject it, for the reason that it has:

    from proofs import Answer

    ANSWERS = [
        Answer("sqrt", "returns a itself", test="sqrt-slope", says="of √a", code='''
    def sqrt(a):
        return a
    '''),
    ]

What else is proved, and what a notebook has to look like, is in suite.py: four to six
headings `## N ★★ Title`, at least two of them with ` · debug this` or ` · predict, then
run` at the end; a table `| N | ★★ title | minutes | points |` in the first cell.
`pytest tests/proofs/NN_name.py` runs all of it for one lesson.
"""

import functools
import importlib.util
import textwrap
from dataclasses import dataclass
from pathlib import Path

import pytest

pytest.register_assert_rewrite("proofs.suite")
FOLDER = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Answer:
    """One answer that must be rejected.

    cell: grade_id of the solution cell whose whole source `code` replaces.
    name: what is wrong with it, in a few words.
    test: grade_id of the first test cell that rejects it; those before it accept it.
    says: a piece of the message that it meets. Messages of other answers to the same
    exercise must not hold it, unless they are rejected for the same reason.
    short_cut: it is right, or looks so, but goes past what the exercise is about.
    """

    cell: str
    name: str
    test: str
    says: str
    code: str
    short_cut: bool = False

    def __init__(self, cell, name, *, test, says, code, short_cut=False):
        given = {"cell": cell, "name": name, "test": test, "says": says}
        code = textwrap.dedent(code).strip("\n")
        for field, value in {**given, "code": code, "short_cut": short_cut}.items():
            object.__setattr__(self, field, value)


def names():
    """The lessons that have a file of answers, in order."""
    return sorted(path.stem for path in FOLDER.glob("[0-9][0-9]_*.py"))


@functools.cache
def load(name):
    """The file of answers for the exercises of a lesson, as a module."""
    path = FOLDER / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"proof_{name}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def answers(name):
    """The ANSWERS for the exercises of a lesson."""
    return load(name).ANSWERS


def together(name):
    """TOGETHER of the file: grade_ids of tests of more than the solution above them."""
    return getattr(load(name), "TOGETHER", ())

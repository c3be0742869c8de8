"""What is proved of a lesson's exercises, and how their cells are run.

The tests here are those of each file of answers beside it: conftest.py puts them there.
The cells run in process, in a namespace of their own, without a kernel.
"""

import collections
import contextlib
import functools
import itertools
import linecache
import lzma
import re
import sys
import types
import warnings
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import nbformat
from IPython.display import display

import proofs
from lmlab.runner import exercises, lessons

ROOT = Path(__file__).resolve().parent.parent.parent
NEW_KINDS = ("debug this", "predict, then run")


def lesson(name):
    path = ROOT / "notebooks" / "exercises" / f"{name}.ipynb"
    return lessons.Lesson(f"{name}-exercises", path)


@functools.cache
def source(name):
    return nbformat.read(lesson(name).path, as_version=4)


@functools.cache
def student(name):
    """The student's version, as `lmlab start NN --exercises` makes it."""
    return exercises.student(lesson(name), ROOT / "work")


def grading(cell):
    return cell.metadata.get("nbgrader", {})


def grade_id(cell):
    return grading(cell).get("grade_id")


@dataclass
class Exercise:
    """One heading `## N ★ Title`, and the indices of its cells."""

    number: int
    stars: str
    title: str
    kind: str  # one of NEW_KINDS, or ""
    cells: list


HEADING = re.compile(rf"^## (\d+) (★+) (.+?)(?: · ({'|'.join(NEW_KINDS)}))?$", re.M)


def parts(notebook):
    """(indices of the cells before the first exercise, the exercises)."""
    before, found, now = [], [], None
    for index, cell in enumerate(notebook.cells):
        if cell.cell_type == "markdown" and re.search(r"^## ", cell.source, re.M):
            heading = HEADING.search(cell.source)
            now = []
            if heading:
                number, stars, title, kind = heading.groups()
                found.append(Exercise(int(number), stars, title, kind or "", now))
        (before if now is None else now).append(index)
    return before, found


def ids(notebook, exercise, what):
    """The grade_ids of an exercise's cells that are "solution" or "grade" cells."""
    cells = (notebook.cells[index] for index in exercise.cells)
    return [grade_id(cell) for cell in cells if grading(cell).get(what)]


def owners(name):
    """{grade_id of a solution cell: its exercise} of a lesson."""
    notebook = source(name)
    return {
        cell: exercise
        for exercise in parts(notebook)[1]
        for cell in ids(notebook, exercise, "solution")
    }


# --- running cells --------------------------------------------------------------------


@contextlib.contextmanager
def as_main():
    """A new namespace that code in it takes for the notebook's."""
    module, outside = types.ModuleType("__main__"), sys.modules["__main__"]
    module.display = display
    sys.modules["__main__"] = module
    try:
        with warnings.catch_warnings(), mock.patch("lzma.decompress", _decompress):
            warnings.simplefilter("ignore")  # as a kernel shows them, and goes on
            yield vars(module)
    finally:
        sys.modules["__main__"] = outside


_numbers = itertools.count()
_decompress = functools.lru_cache(4)(lzma.decompress)  # the digits, for each answer


def execute(code, namespace):
    """Run a cell; the error that it ends in, or None. inspect finds its source."""
    file = f"<cell {next(_numbers)}>"
    linecache.cache[file] = len(code), None, code.splitlines(keepends=True), file
    try:
        exec(compile(code, file, "exec"), namespace)
    except Exception as error:
        return error
    return None


def run(cells, stop=None):
    """{grade_id: error or None} of code cells that are run in turn, whatever fails.

    stop: the grade_id of the last one to run.
    """
    ended = {}
    with as_main() as namespace:
        for number, cell in enumerate(cells):
            if cell.cell_type == "code":
                key = grade_id(cell) or number
                ended[key] = execute(cell.source, namespace)
                if stop is not None and key == stop:
                    break
    return ended


def graded(notebook):
    return [grade_id(cell) for cell in notebook.cells if grading(cell).get("grade")]


def replaced(notebook, others):
    """The notebook's cells, with other sources for some: {grade_id: source}."""
    cells = [nbformat.NotebookNode(cell) for cell in notebook.cells]
    for cell in cells:
        cell.source = others.get(grade_id(cell), cell.source)
    return cells


# --- what is proved -------------------------------------------------------------------


def test_there_are_enough_exercises_and_the_table_is_true(name):
    notebook = source(name)
    found = parts(notebook)[1]
    assert 4 <= len(found) <= 6
    assert [exercise.number for exercise in found] == list(range(1, len(found) + 1))
    kinds = [exercise.kind for exercise in found if exercise.kind]
    assert len(kinds) >= 2, "debug this; predict, then run"
    points = collections.Counter()
    for exercise in found:
        for index in exercise.cells:
            points[exercise.number] += grading(notebook.cells[index]).get("points", 0)
    row = re.compile(r"^\| (\d+) \| (★+) (.+?) \| (\d+) \| (\d+) \|$", re.M)
    rows = row.findall(notebook.cells[0].source)
    assert [(int(n), stars, title.lower()) for n, stars, title, *_ in rows] == [
        (exercise.number, exercise.stars, exercise.title.lower()) for exercise in found
    ]
    assert {int(n): int(worth) for n, *_, worth in rows} == points
    assert all(0 < int(minutes) <= 45 for *_, minutes, _ in rows)


def test_each_exercise_has_wrong_answers_and_a_short_cut(name):
    tried, exercises_of = collections.Counter(), owners(name)
    for answer in proofs.answers(name):
        tried[exercises_of[answer.cell].number, answer.short_cut] += 1
    for exercise in parts(source(name))[1]:
        assert tried[exercise.number, False] >= 3, exercise.title
        assert tried[exercise.number, True] >= 1, exercise.title


def test_the_solution_passes_every_test(name):
    ended = run(source(name).cells)
    assert {key: error for key, error in ended.items() if error} == {}


def test_every_test_fails_where_nothing_is_solved(name):
    """With a claim or the stub's own error, not with a name that is missing."""
    ended = run(student(name).cells)
    for test in graded(source(name)):
        assert isinstance(ended[test], AssertionError | NotImplementedError), (
            f"{test}: {ended[test]!r}"
        )


def test_an_exercise_that_is_not_solved_costs_only_its_own_points(name, number):
    notebook, stubs = source(name), {grade_id(c): c.source for c in student(name).cells}
    exercise = parts(notebook)[1][number - 1]
    solutions = ids(notebook, exercise, "solution")
    ended = run(replaced(notebook, {cell: stubs[cell] for cell in solutions}))
    failed = [test for test in graded(notebook) if ended[test]]
    assert failed == ids(notebook, exercise, "grade")


def test_a_cell_that_is_not_solved_costs_only_the_points_of_its_tests(name, number):
    """Those below it, up to the next solution; the file may say TOGETHER of others."""
    notebook, stubs = source(name), {grade_id(c): c.source for c in student(name).cells}
    before, exercise = parts(notebook)[0], parts(notebook)[1][number - 1]
    below, last = {}, None
    for cell in (notebook.cells[index] for index in exercise.cells):
        last = grade_id(cell) if grading(cell).get("solution") else last
        if grading(cell).get("grade") and grade_id(cell) not in proofs.together(name):
            below.setdefault(last, []).append(grade_id(cell))
    assert None not in below, "a test above its solution"
    for solution in below if len(below) > 1 else []:
        cells = replaced(notebook, {solution: stubs[solution]})
        ended = run([cells[index] for index in before + exercise.cells])
        failed = [test for tests in below.values() for test in tests if ended[test]]
        assert failed == below[solution], f"{solution} is not solved"


def test_a_test_that_is_not_run_costs_no_other_its_points(name, number):
    notebook = source(name)
    before, exercise = parts(notebook)[0], parts(notebook)[1][number - 1]
    tests = ids(notebook, exercise, "grade")
    for alone in tests:
        others = set(tests) - {alone}
        cells = [notebook.cells[index] for index in before + exercise.cells]
        ended = run([cell for cell in cells if grade_id(cell) not in others])
        assert ended[alone] is None, f"{alone} needs another test"


def ended_with(name, answer):
    """(the tests of its exercise before the named one that fail, that one's error)."""
    notebook, before = source(name), parts(source(name))[0]
    exercise = owners(name)[answer.cell]
    cells = replaced(notebook, {answer.cell: answer.code})
    chosen = [cells[index] for index in before + exercise.cells]
    ended = run(chosen, stop=answer.test)
    tests = ids(notebook, exercise, "grade")
    before = tests[: tests.index(answer.test)]
    return [test for test in before if ended[test]], ended[answer.test]


def test_an_answer_is_rejected_where_it_should_be_with_what_fits_it(name, answer):
    earlier, error = ended_with(name, answer)
    assert earlier == [], "an earlier test rejects it"
    assert error is not None, "it is accepted"
    assert isinstance(error, AssertionError), f"{type(error).__name__}: {error}"
    assert answer.says in str(error)
    beside = ids(source(name), owners(name)[answer.cell], "solution")
    for other in proofs.answers(name):
        same = other.says in answer.says or answer.says in other.says
        if other.cell in beside and not same:
            assert other.says not in str(error), f"that is for: {other.name}"

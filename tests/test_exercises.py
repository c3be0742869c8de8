"""Each exercise has a student's version, a solution that passes, and honest tests.

For the lessons with a file in tests/proofs: what students get wrong is rejected, by the
test that should, with the message that fits; an exercise costs no other its points. The
cells run here, in process, in a namespace of their own, without a kernel.
"""

import collections
import contextlib
import copy
import functools
import itertools
import linecache
import re
import sys
import types
import warnings
from dataclasses import dataclass
from pathlib import Path

import nbformat
import proofs
import pytest

from lmlab.runner import exercises, lessons

ROOT = Path(__file__).resolve().parent.parent
SOURCES = sorted(ROOT.glob("notebooks/exercises/[0-9][0-9]_*.ipynb"))
# A lesson's exercises are proved once it has a file of answers; these have none yet.
PROVED = proofs.names()
TO_COME = [
    "05_attention", "06_transformer",
    "01_backprop", "02_mlp_numpy",
    "07_tokenizer", "08_gpt", "09_gpt2_finetune",
    "03_mlp_frameworks", "04_training",
]  # fmt: skip
NEW_KINDS = ("debug this", "predict, then run")
ANSWERS = [(name, answer) for name in PROVED for answer in proofs.answers(name)]

each_source = pytest.mark.parametrize("name", [path.stem for path in SOURCES])
each_proved = pytest.mark.parametrize("name", PROVED)
pytestmark = pytest.mark.timeout(60)


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


HEADING = re.compile(
    r"^## (\d+) (★+) (.+?)(?: · (debug this|predict, then run))?$", re.M
)


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


def exercise_of(name, cell):
    """The exercise that a solution cell, by its grade_id, belongs to."""
    notebook = source(name)
    (found,) = [
        exercise
        for exercise in parts(notebook)[1]
        if cell in ids(notebook, exercise, "solution")
    ]
    return found


# --- running cells --------------------------------------------------------------------


@contextlib.contextmanager
def as_main():
    """A new namespace that code in it takes for the notebook's."""
    module, outside = types.ModuleType("__main__"), sys.modules["__main__"]
    sys.modules["__main__"] = module
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # as a kernel shows them, and goes on
            yield vars(module)
    finally:
        sys.modules["__main__"] = outside


_numbers = itertools.count()


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
    cells = copy.deepcopy(notebook.cells)
    for cell in cells:
        cell.source = others.get(grade_id(cell), cell.source)
    return cells


# --- the student's version ------------------------------------------------------------


def marked(notebook):
    """(lines between marks, all others), each stripped; the marks are in neither."""
    within, without, deep = set(), set(), 0
    for cell in notebook.cells:
        for line in map(str.strip, cell.source.splitlines()):
            if re.search(r"(BEGIN|END) (SOLUTION|HIDDEN TESTS)", line):
                deep += 1 if "BEGIN" in line else -1
            else:
                (within if deep else without).add(line)
    return within, without


@each_source
def test_a_student_gets_neither_solutions_nor_hidden_tests_nor_outputs(name):
    within, without = marked(source(name))
    assert within
    given = "\n".join(cell.source for cell in student(name).cells)
    assert re.search(r"(BEGIN|END) (SOLUTION|HIDDEN)", given) is None
    lines = {line.strip() for line in given.splitlines()}
    assert lines & (within - without) == set()
    for cell in student(name).cells:
        assert cell.get("outputs", []) == []
        assert cell.get("execution_count") is None


@each_source
def test_a_student_can_write_in_the_solutions_only(name):
    for cell in student(name).cells:
        if grading(cell).get("solution"):
            assert "# YOUR CODE HERE" in cell.source
            assert cell.metadata.get("editable", True)
            assert not cell.metadata.deletable
        elif grading(cell):
            assert not cell.metadata.editable
            assert not cell.metadata.deletable
    assert len(graded(student(name))) == len(set(graded(source(name)))) > 0


@each_source
def test_the_students_text_fits_the_students_version(name):
    folder = ROOT / "work"
    text = "\n".join(c.source for c in student(name).cells if c.cell_type == "markdown")
    links = [x for x in re.findall(r"\]\(([^)#\s]+)", text) if ":" not in x]
    assert f"../notebooks/{name}.ipynb" in links
    for link in links:
        assert Path(folder, link).resolve().exists(), link
    assert "two marks" not in " ".join(text.split())


def links_and_text(path):
    """(the targets of the links, the text) of a notebook."""
    cells = nbformat.read(path, as_version=4).cells
    text = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    return re.findall(r"\]\(([^)\s]+)", text), text


@each_source
def test_a_lesson_leads_to_the_command_and_not_to_the_solutions(name):
    folder = ROOT / "notebooks"
    for path in (folder / f"{name}.ipynb", folder / "deeper" / f"{name}.ipynb"):
        links, text = links_and_text(path) if path.exists() else ([], "")
        assert [link for link in links if "exercises" in link] == []
        assert path.parent != folder or f"`lmlab start {name[:2]} --exercises`" in text


# --- what is proved of the lessons in tests/proofs ------------------------------------


def test_every_lesson_is_proved_or_waits_for_it():
    assert sorted(PROVED + TO_COME) == [path.stem for path in SOURCES]


@each_proved
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


@each_proved
def test_each_exercise_has_wrong_answers_and_a_short_cut(name):
    tried = collections.Counter()
    for answer in proofs.answers(name):
        number = exercise_of(name, answer.cell).number
        tried[number, answer.short_cut] += 1
    for exercise in parts(source(name))[1]:
        assert tried[exercise.number, False] >= 3, exercise.title
        assert tried[exercise.number, True] >= 1, exercise.title


@each_proved
def test_the_solution_passes_every_test(name):
    ended = run(source(name).cells)
    assert {key: error for key, error in ended.items() if error} == {}


@each_proved
def test_every_test_fails_where_nothing_is_solved(name):
    """With a claim or the stub's own error, not with a name that is missing."""
    ended = run(student(name).cells)
    for test in graded(source(name)):
        assert isinstance(ended[test], AssertionError | NotImplementedError), (
            f"{test}: {ended[test]!r}"
        )


@pytest.mark.parametrize(
    ("name", "number"),
    [
        pytest.param(name, exercise.number, id=f"{name}-{exercise.number}")
        for name in PROVED
        for exercise in parts(source(name))[1]
    ],
)
def test_an_exercise_that_is_not_solved_costs_only_its_own_points(name, number):
    notebook, stubs = source(name), {grade_id(c): c.source for c in student(name).cells}
    (exercise,) = [e for e in parts(notebook)[1] if e.number == number]
    solutions = ids(notebook, exercise, "solution")
    ended = run(replaced(notebook, {cell: stubs[cell] for cell in solutions}))
    failed = [test for test in graded(notebook) if ended[test]]
    assert failed == ids(notebook, exercise, "grade")


def ended_with(name, answer):
    """(tests of its exercise up to the named one that pass, the named one's error)."""
    notebook, before = source(name), parts(source(name))[0]
    exercise = exercise_of(name, answer.cell)
    cells = replaced(notebook, {answer.cell: answer.code})
    chosen = [cells[index] for index in before + exercise.cells]
    ended = run(chosen, stop=answer.test)
    tests = [test for test in ids(notebook, exercise, "grade") if test in ended]
    return [test for test in tests[:-1] if ended[test]], ended[answer.test]


@pytest.mark.parametrize(
    ("name", "answer"),
    [pytest.param(n, a, id=f"{n}-{a.cell}-{a.name}") for n, a in ANSWERS],
)
def test_an_answer_is_rejected_where_it_should_be_with_what_fits_it(name, answer):
    earlier, error = ended_with(name, answer)
    assert earlier == [], "an earlier test rejects it"
    assert error is not None, "it is accepted"
    assert isinstance(error, AssertionError), f"{type(error).__name__}: {error}"
    assert answer.says in str(error)
    exercise = exercise_of(name, answer.cell)
    for other in proofs.answers(name):
        same = other.says in answer.says or answer.says in other.says
        if not same and exercise_of(name, other.cell).number == exercise.number:
            assert other.says not in str(error), f"that is for: {other.name}"

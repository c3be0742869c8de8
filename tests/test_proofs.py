"""The proofs of the exercises can fail: each fault of a small notebook is noticed."""

import nbformat
import proofs
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
from proofs import Answer, suite

TABLE = "| 1 | ★ Twice | 5 | 2 |\n| 2 | ★ Half | 5 | 1 |"
STUB = "# YOUR CODE HERE\nraise NotImplementedError()"
TWICE = """\
def twice(x):
    ### BEGIN SOLUTION
    return 2 * x
    ### END SOLUTION
"""
CHECK = """\
hint = "once more" if twice(3) == 3 else "too often" if twice(3) == 9 else ""
checks.close("twice 3", twice(3), 6, atol=0, hint=hint)
"""


def cell(source, grade_id, **kind):
    plain = {"schema_version": 3, "grade": False, "solution": False, "locked": True}
    nbgrader = {**plain, "task": False, "grade_id": grade_id, **kind}
    return new_code_cell(source, metadata={"nbgrader": nbgrader})


def solution(source, grade_id):
    return cell(source, grade_id, solution=True, locked=False)


def grader(source, grade_id):
    return cell(source, grade_id, grade=True, points=1)


class Lesson:
    """A notebook of two exercises, which a test may spoil, and what is tried on it."""

    def __init__(self):
        self.cells = {
            "title": new_markdown_cell(TABLE),
            "set-up": cell("from lmlab import checks, forbid", "set-up"),
            "one": new_markdown_cell("## 1 ★ Twice · debug this"),
            "twice": solution(TWICE, "twice"),
            "twice-test": grader(CHECK, "twice-test"),
            "twice-more": grader("assert twice(5) == 10", "twice-more"),
            "two": new_markdown_cell("## 2 ★ Half · predict, then run"),
            "half": solution(
                TWICE.replace("twice", "half").replace("2 *", ".5 *"), "half"
            ),
            "half-test": grader("assert half(3) == 1.5", "half-test"),
        }
        self.answers, self.together = [], ()

    def notebook(self):
        return new_notebook(cells=list(self.cells.values()))


@pytest.fixture
def lesson(monkeypatch, tmp_path):
    made = Lesson()
    path = tmp_path / "00_small.ipynb"

    def student(_):
        nbformat.write(made.notebook(), path)
        of = suite.lessons.Lesson("00_small-exercises", path)
        return suite.exercises.student(of, tmp_path)

    monkeypatch.setattr(suite, "source", lambda _: made.notebook())
    monkeypatch.setattr(suite, "student", student)
    monkeypatch.setattr(proofs, "answers", lambda _: made.answers)
    monkeypatch.setattr(proofs, "together", lambda _: made.together)
    return made


def noticed(proof, *arguments, match=None):
    with pytest.raises(AssertionError, match=match):
        proof("00_small", *arguments)


def answer(code, says="likely cause: once more", test="twice-test"):
    return Answer("twice", "wrong", test=test, says=says, code=code)


rejected = suite.test_an_answer_is_rejected_where_it_should_be_with_what_fits_it
unsolved = suite.test_an_exercise_that_is_not_solved_costs_only_its_own_points
separate = suite.test_a_cell_that_is_not_solved_costs_only_the_points_of_its_tests
alone = suite.test_a_test_that_is_not_run_costs_no_other_its_points


def test_a_sound_notebook_passes(lesson):
    suite.test_the_solution_passes_every_test("00_small")
    suite.test_every_test_fails_where_nothing_is_solved("00_small")
    for number in (1, 2):
        unsolved("00_small", number)
        separate("00_small", number)
        alone("00_small", number)
    rejected("00_small", answer("def twice(x):\n    return x"))


@pytest.mark.parametrize(
    ("given", "match"),
    [
        (answer("def twice(x):\n    return x + x"), "it is accepted"),
        (answer("def twice(x):\n    return 3 * x"), "once more"),
        (answer("def twice(x):\n    return y"), "NameError"),
        (answer("def twice(x)"), "NameError"),
        (answer("def twice(x):\n    return x", test="twice-more"), "an earlier test"),
    ],
)
def test_an_answer_that_is_not_rejected_as_it_should_be(lesson, given, match):
    noticed(rejected, given, match=match)


def test_a_hint_for_another_mistake(lesson):
    lesson.answers = [answer("def twice(x):\n    return 3 * x", says="too often")]
    once = answer("def twice(x):\n    return x")
    rejected("00_small", once)
    both = CHECK.replace('"once more"', '"once more, or too often"')
    lesson.cells["twice-test"].source = both.replace("cause: ", "")
    noticed(
        rejected, answer("def twice(x):\n    return x", says="once more"), match="for"
    )


def test_a_solution_that_does_not_pass(lesson):
    lesson.cells["half-test"].source = "assert half(3) == 2"
    noticed(suite.test_the_solution_passes_every_test)


@pytest.mark.parametrize("source", ["twice", "missing(1)", "half_of = 1"])
def test_a_test_that_passes_or_stumbles_where_nothing_is_solved(lesson, source):
    lesson.cells["twice-more"].source = source
    noticed(suite.test_every_test_fails_where_nothing_is_solved, match="twice-more")


def test_an_exercise_that_needs_another(lesson):
    lesson.cells["half-test"].source = "assert half(twice(1)) == 1"
    noticed(unsolved, 1, match="half-test")
    unsolved("00_small", 2)


def test_solutions_of_one_exercise_that_need_each_other(lesson):
    more = [solution(TWICE.replace("twice", "same").replace("2 *", ""), "same")]
    more += [grader("assert same(twice(1)) == 2", "same-test")]
    at = list(lesson.cells.items())
    lesson.cells = dict([*at[:6], *zip(("same", "same-test"), more), *at[6:]])
    noticed(separate, 1, match="twice is not solved")
    lesson.together = ("same-test",)
    separate("00_small", 1)


def test_a_test_that_needs_another(lesson):
    lesson.cells["twice-test"].source += "\nten = 10"
    lesson.cells["twice-more"].source = "assert twice(5) == ten"
    noticed(alone, 1, match="twice-more needs another test")


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("title", "| 5 | 2 |", "| 5 | 3 |"),
        ("title", "★ Twice", "★★ Twice"),
        ("title", "Twice", "Thrice"),
        ("title", "| 5 | 1 |", "| 0 | 1 |"),
        ("one", " · debug this", ""),
        ("two", "## 2", "## 3"),
        ("three", "## 3", "### 3"),
    ],
)
def test_a_table_that_is_not_true(lesson, name, old, new):
    true = suite.test_there_are_enough_exercises_and_the_table_is_true
    for number, word in ((3, "three"), (4, "four")):
        lesson.cells[word] = new_markdown_cell(f"## {number} ★ {word.title()}")
        lesson.cells[f"{word}-test"] = grader("", f"{word}-test")
        lesson.cells["title"].source += f"\n| {number} | ★ {word} | 5 | 1 |"
    true("00_small")
    lesson.cells[name].source = lesson.cells[name].source.replace(old, new)
    noticed(true)


def test_too_few_answers(lesson):
    enough = suite.test_each_exercise_has_wrong_answers_and_a_short_cut
    tried = [
        Answer(name, "", test="", says="", code="", short_cut=short)
        for name in ("twice", "half")
        for short in (False, False, False, True)
    ]
    lesson.answers = tried
    enough("00_small")
    for missing in (0, 3, 4, 7):
        lesson.answers = tried[:missing] + tried[missing + 1 :]
        noticed(enough, match="Twice" if missing < 4 else "Half")


def test_what_a_cell_uses_is_there(lesson):
    """The source of functions, the notebook's own variables, display."""
    lesson.cells["twice-more"].source = (
        "forbid.loops(twice)\n"
        "from json import dumps as put\n"
        "with forbid.calls('json.dumps', why='no'):\n"
        "    checks.raises('no', AssertionError, lambda: put(twice(1)))\n"
        "display(twice(1))\n"
    )
    with pytest.raises(AssertionError, match="no call of json"):
        raise suite.run(lesson.notebook().cells)["twice-more"]

"""A student's version is nbgrader's, with links that work; a bad source is refused."""

import shlex
import sys

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from lmlab import cli
from lmlab.runner import exercises, lessons
from lmlab.runner.lessons import LessonError

SOLUTION = """\
def double(x):
    ### BEGIN SOLUTION
    return 2 * x
    ### END SOLUTION
"""
TEST = """\
assert double(2) == 4
### BEGIN HIDDEN TESTS
assert double(3) == 6
### END HIDDEN TESTS
"""
TEXT = """\
Exercises for [lesson 02](../02_mlp_numpy.ipynb), or its
[end](../02_mlp_numpy.ipynb#Summary "there"), a [page](https://example.org/a),
[another](../deeper/02%20b.ipynb) and f[i](x).
"""


def marked(source, grade_id, **kind):
    plain = {"schema_version": 3, "grade": False, "solution": False, "locked": True}
    nbgrader = {**plain, "task": False, "grade_id": grade_id, **kind}
    return new_code_cell(source, metadata={"nbgrader": nbgrader}, execution_count=1)


def cells():
    shown = new_output("stream", name="stdout", text="done\n")
    locked = marked("import numpy", "set-up")
    locked.outputs = [shown]
    return [
        new_markdown_cell(TEXT),
        locked,
        marked(SOLUTION, "double", solution=True, locked=False),
        marked(TEST, "double-test", grade=True, points=2),
    ]


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(new_notebook(cells=content, metadata={"kernelspec": kernel}), path)
    return path


@pytest.fixture
def course(tmp_path, monkeypatch):
    folder = tmp_path / "the lessons, ü"
    for name in ("01_backprop", "02_mlp_numpy", "deeper/02 b", "deeper/02_mlp_numpy"):
        write(folder / f"{name}.ipynb", [new_markdown_cell("# A lesson")])
    write(folder / "exercises" / "02_mlp_numpy.ipynb", cells())
    monkeypatch.setenv("LMLAB_NOTEBOOKS", str(folder))
    return folder


def command(monkeypatch, capsys, *arguments):
    monkeypatch.setattr(sys, "argv", ["lmlab", *arguments])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    shown = capsys.readouterr()
    return caught.value.code or 0, shown.out, shown.err


def started(name="02-exercises"):
    return lessons.read_notebook(lessons.start(lessons.find(name))).cells


class TestStart:
    @pytest.mark.parametrize(
        "arguments",
        [
            ["2", "--exercises"],
            ["--exercises", "mlp_numpy"],
            ["02-deeper", "--exercises"],
            ["02-exercises"],
            ["02-exercises", "--exercises"],
            ["exercises/02_mlp_numpy"],
            ["notebooks/exercises/02_mlp_numpy.ipynb"],
        ],
    )
    def test_every_name_leads_to_a_students_version(
        self, course, monkeypatch, capsys, arguments
    ):
        code, out, err = command(monkeypatch, capsys, "start", *arguments)
        assert (code, err) == (0, "")
        copy = course.parent / "work" / "02_mlp_numpy-exercises.ipynb"
        first, second = out.splitlines()
        assert first == f"Your copy of 02_mlp_numpy-exercises: {copy}"
        *_, root, opened = shlex.split(second)
        assert opened == str(copy)
        assert root == f"--ServerApp.root_dir={course.parent}"  # links go above work/
        text = copy.read_text(encoding="utf-8")
        assert "2 * x" not in text
        assert "double(3)" not in text

    def test_work_is_never_written_over(self, course):
        first = lessons.start(lessons.find("02-exercises"))
        first.write_text("my work")
        second = lessons.start(lessons.find("02-exercises"))
        assert second.name == "02_mlp_numpy-exercises-2.ipynb"
        assert first.read_text() == "my work"

    def test_a_lesson_without_exercises(self, course, monkeypatch, capsys):
        code, _, err = command(monkeypatch, capsys, "start", "1", "--exercises")
        assert (code, err) == (2, "lmlab: Lesson 01_backprop has no exercises.\n")

    def test_the_lesson_itself_is_copied_as_ever(self, course, monkeypatch, capsys):
        code, out, _ = command(monkeypatch, capsys, "start", "2")
        assert code == 0
        assert out.splitlines()[0].endswith("02_mlp_numpy.ipynb")

    def test_without_nbgrader_the_command_is_named(self, course, monkeypatch, capsys):
        monkeypatch.setitem(sys.modules, "nbgrader", None)
        code, out, err = command(monkeypatch, capsys, "start", "2", "--exercises")
        assert (code, out) == (1, "")
        assert "pip install -c requirements.lock -e '.[course]'" in err
        assert not (course.parent / "work").exists()


class TestVersion:
    def test_solutions_and_hidden_tests_are_gone_and_cells_locked(self, course):
        before = lessons.find("02-exercises").path.read_bytes()
        text, locked, solution, test = started()
        stub = "# YOUR CODE HERE\n    raise NotImplementedError()"
        assert solution.source.strip() == f"def double(x):\n    {stub}"
        assert test.source.strip() == "assert double(2) == 4"
        assert (locked.outputs, locked.execution_count) == ([], None)
        assert not locked.metadata.editable
        assert not test.metadata.editable
        assert "editable" not in solution.metadata
        assert not solution.metadata.deletable
        assert "editable" not in text.metadata
        assert lessons.find("02-exercises").path.read_bytes() == before

    def test_it_is_what_nbgrader_itself_makes(self, course, tmp_path):
        from nbgrader.converters import GenerateAssignment
        from nbgrader.coursedir import CourseDirectory
        from nbgrader.preprocessors import SaveCells
        from traitlets.config import Config

        source = lessons.find("02-exercises").path
        root = tmp_path / "of nbgrader"
        there = root / "source" / "one" / source.name
        there.parent.mkdir(parents=True)
        there.write_bytes(source.read_bytes())
        config = Config()
        config.CourseDirectory.root = str(root)
        config.CourseDirectory.assignment_id = "one"
        config.GenerateAssignment.no_database = True
        its = GenerateAssignment(
            coursedir=CourseDirectory(config=config), config=config
        )
        its.preprocessors = [x for x in its.preprocessors if x is not SaveCells]
        its.start()  # without its database of students
        theirs = lessons.read_notebook(root / "release" / "one" / source.name).cells
        assert theirs[1:] == started()[1:]  # the first has links

    def test_links_work_from_the_copys_folder(self, course):
        there = "../the%20lessons%2C%20%C3%BC"
        assert started()[0].source == (
            f"Exercises for [lesson 02]({there}/02_mlp_numpy.ipynb), or its\n"
            f'[end]({there}/02_mlp_numpy.ipynb#Summary "there"), a '
            "[page](https://example.org/a),\n"
            f"[another]({there}/deeper/02%20b.ipynb) and f[i](x).\n"
        )


class TestRefusals:
    """What nbgrader would refuse, or, worse, let through, is refused by its cell."""

    @pytest.mark.parametrize(
        ("at", "old", "new", "message"),
        [
            (
                2,
                "    ### END SOLUTION",
                "",
                r"cell 3 \(double\): 1 × BEGIN SOLUTION, b",
            ),
            (
                2,
                "BEGIN SOLUTION",
                "",
                r"cell 3 \(double\): 0 × BEGIN SOLUTION, but 1 ×",
            ),
            (
                3,
                "### END HIDDEN TESTS",
                "",
                r"cell 4 \(double-test\): 1 × BEGIN HIDDEN T",
            ),
            (
                1,
                "import numpy",
                SOLUTION,
                r"cell 2 \(set-up\): Solution region detected",
            ),
            (
                1,
                "import numpy",
                TEST,
                r"cell 2 \(set-up\): Hidden test region detected",
            ),
        ],
    )
    def test_marks_that_do_not_fit(self, course, at, old, new, message):
        content = cells()
        content[at].source = content[at].source.replace(old, new)
        write(course / "exercises" / "02_mlp_numpy.ipynb", content)
        with pytest.raises(LessonError, match=f"^02_mlp_numpy-exercises, {message}"):
            started()
        assert not (course.parent / "work").exists()

    @pytest.mark.parametrize(
        ("at", "changed", "message"),
        [
            (3, {"grade_id": "double"}, r"4 \(double\): cell 3 has the same grade_id"),
            (3, {"schema_version": 2}, r"4 \(double-test\): Outdated schema version"),
            (3, {"points": None}, r"4 \(double-test\): None is not of type 'number'"),
            (2, {"solution": 1}, r"3 \(double\): 1 is not of type 'boolean'"),
        ],
    )
    def test_metadata_that_is_wrong(self, course, at, changed, message):
        content = cells()
        content[at].metadata["nbgrader"].update(changed)
        write(course / "exercises" / "02_mlp_numpy.ipynb", content)
        with pytest.raises(LessonError, match=f"cell {message}"):
            started()

    def test_metadata_that_is_not_there(self, course):
        content = cells()
        del content[3].metadata["nbgrader"]["points"]
        write(course / "exercises" / "02_mlp_numpy.ipynb", content)
        with pytest.raises(LessonError, match=r"cell 4 \(double-test\).*points"):
            started()
        content = cells()
        del content[2].metadata["nbgrader"]
        write(course / "exercises" / "02_mlp_numpy.ipynb", content)
        with pytest.raises(LessonError, match="cell 3: Solution region detected in a"):
            started()


def test_an_installation_that_is_named_exists():
    import tomllib

    project = tomllib.loads((lessons.files.checkout() / "pyproject.toml").read_text())
    extra = exercises.INSTALL.rpartition("[")[2].rstrip("]'")
    assert extra in project["project"]["optional-dependencies"]

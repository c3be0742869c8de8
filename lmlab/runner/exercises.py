"""A student's version of an exercise notebook, made by nbgrader from the one source.

The source, notebooks/exercises/NN_name.ipynb, holds solutions and hidden tests between
nbgrader's marks. nbgrader's own preprocessors take them out, in the order in which
`nbgrader generate_assignment` does, and lock what is not to be written in. Ours is only
what nbgrader lacks: an error says which cell it is about, a mark without its other half
is refused, and links work from where the copy stands.
"""

from lmlab.errors import LmlabError
from lmlab.runner import lessons
from lmlab.runner.lessons import LessonError

INSTALL = "pip install -c requirements.lock -e '.[course]'"
PAIRS = ("SOLUTION", "HIDDEN TESTS")


class ExerciseError(LmlabError):
    """A student's version that cannot be made on this machine."""


def of(lesson):
    """The exercises that belong to a lesson, or to any notebook of that lesson.

    Raises LessonError when it has none.
    """
    for other in lessons.find_all(["exercises"]):
        if other.kind == "exercises" and other.path.stem == lesson.path.stem:
            return other
    raise LessonError(f"Lesson {lesson.path.stem} has no exercises.")


def student(lesson, folder):
    """The student's version of exercises, for a copy in folder, as a notebook.

    lesson: a Lesson of the kind "exercises"; its file is not changed. The version has
    stubs for solutions, no hidden tests and no outputs; cells that are not to be
    written in are locked. Relative links lead, from folder, to what they lead to from
    the source.
    Raises LessonError for a source that nbgrader would refuse, naming the cell;
    ExerciseError where nbgrader is not installed.
    """
    try:
        from nbgrader import preprocessors
        from nbgrader.nbgraderformat import MetadataValidator
    except ImportError as error:
        raise ExerciseError(
            f"A student's version is made by nbgrader, which cannot be imported here "
            f"({error}). In the project's folder: {INSTALL}"
        ) from None

    notebook = lessons.read_notebook(lesson.path)
    lessons.relink(notebook, lesson.path.parent, folder)
    _validate(lesson, notebook, MetadataValidator())
    for make in (
        preprocessors.LockCells,
        preprocessors.ClearSolutions,
        preprocessors.ClearOutput,
        preprocessors.ClearHiddenTests,
        preprocessors.ClearMarkScheme,
        preprocessors.ComputeChecksums,
    ):
        _apply(lesson, notebook, make())
    return notebook


def _validate(lesson, notebook, validator):
    """Refuse what nbgrader's validator does, and marks that are not in pairs."""
    seen = {}
    for number, cell in enumerate(notebook.cells, 1):
        try:
            validator.validate_cell(cell)
        except Exception as error:  # of jsonschema, and nbgrader's own
            raise _refusal(lesson, number, cell, _first_line(error)) from None
        for name in PAIRS:
            begins, ends = (cell.source.count(f"{m} {name}") for m in ("BEGIN", "END"))
            if begins != ends:
                said = f"{begins} × BEGIN {name}, but {ends} × END {name}"
                raise _refusal(lesson, number, cell, said)
        grade_id = cell.metadata.get("nbgrader", {}).get("grade_id")
        if grade_id in seen:
            said = f"cell {seen[grade_id]} has the same grade_id"
            raise _refusal(lesson, number, cell, said)
        if grade_id:
            seen[grade_id] = number


def _apply(lesson, notebook, preprocessor):
    """Let a preprocessor of nbgrader change the notebook, one cell after the other."""
    resources = {"language": "python"}
    for index, cell in enumerate(notebook.cells):
        try:
            preprocessor.preprocess_cell(cell, resources, index)
        except RuntimeError as error:
            raise _refusal(lesson, index + 1, cell, _first_line(error)) from None


def _first_line(error):
    return getattr(error, "message", "") or str(error).splitlines()[0]


def _refusal(lesson, number, cell, said):
    grade_id = cell.metadata.get("nbgrader", {}).get("grade_id")
    which = f"cell {number}" + (f" ({grade_id})" if grade_id else "")
    return LessonError(f"{lesson.name}, {which}: {said}.")

"""Find the lessons, by number or name, and hand out copies of them."""

import ast
import difflib
import os
from dataclasses import dataclass
from pathlib import Path

from lmlab import files
from lmlab.errors import LmlabError


class LessonError(LmlabError):
    """Input that cannot be used: the message says what is wrong and what to do."""


# Notebooks that belong to a lesson have its file's name, in a folder of their kind.
KINDS = ("exercises",)


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
    checkout = files.checkout()
    if chosen or checkout:
        path = Path(chosen) if chosen else checkout / "notebooks"
        if path.is_dir():
            return path.resolve()
        raise LessonError(f"LMLAB_NOTEBOOKS names {chosen}, which is not a folder.")
    raise LessonError(
        "The lessons are not here: lmlab is installed without its checkout. Clone the "
        "repository and `pip install -e .` there, or set LMLAB_NOTEBOOKS to the folder."
    )


def find_all(also=()):
    """Every lesson in order, each followed by its notebooks of the KINDS in also."""
    here = folder()
    found = [
        Lesson(f"{kind}{path.stem}", path)
        for kind in ("", *(f"{kind}/" for kind in also))
        for path in here.glob(f"{kind}[0-9][0-9]_*.ipynb")
    ]
    return sorted(found, key=lambda lesson: (lesson.path.stem, lesson.name))


def select(names, also=()):
    """The lessons that were asked for, each once, in order; all when none is named.

    names: numbers or names ("2", "02", "mlp_numpy", "02_mlp_numpy"). With a kind in
    also they come with their lesson, or alone, as exercises/02_mlp_numpy.
    Raises LessonError for a name that no lesson has, naming the near ones.
    """
    lessons = find_all(also)
    if not lessons:
        raise LessonError(f"{folder()} holds no lesson (NN_name.ipynb).")
    wanted = {lesson for name in names for lesson in _matching(name, lessons)}
    return [lesson for lesson in lessons if lesson in wanted or not names]


def find(name):
    """The one lesson of that number or name."""
    return _matching(name, find_all())[0]


def _matching(name, lessons):
    *above, key = name.removesuffix(".ipynb").split("/")
    number = f"{int(key):02d}" if key.isascii() and key.isdigit() else None
    kind = f"{above[-1]}/" if above and above[-1] in KINDS else None
    found = [
        lesson
        for lesson in lessons
        if (key in (lesson.path.stem, lesson.path.stem[3:]) or number == lesson.number)
        and (kind is None or lesson.name.startswith(kind))
    ]
    if found:
        return found
    names = {part: x.name for x in lessons for part in (x.name, x.name[3:], x.number)}
    near = difflib.get_close_matches(key, names, n=3, cutoff=0.5)
    near = dict.fromkeys(names[match] for match in near) or [x.name for x in lessons]
    *others, last = near
    said = f"{', '.join(others)} or {last}" if others else last
    raise LessonError(f"There is no lesson {name!r}. Did you mean {said}?")


def read_notebook(path):
    """The notebook at path, in the current format.

    Raises LessonError when there is none, or something that is no notebook.
    """
    import nbformat

    try:
        return nbformat.read(path, as_version=4)
    except Exception as error:  # nbformat's own are of many kinds
        message = f"{path.stem} is not a readable notebook: {error}"
        raise LessonError(message) from None


def assigned(notebook, tag="parameters"):
    """{name: value} of what the code cells with this tag assign, literals all."""
    values = {}
    for cell in notebook.cells:
        if cell.cell_type == "code" and tag in cell.metadata.get("tags", []):
            for node in ast.parse(cell.source).body:
                targets = getattr(node, "targets", [getattr(node, "target", None)])
                if isinstance(targets[0], ast.Name):
                    values[targets[0].id] = ast.literal_eval(node.value)
    return values


def start(lesson):
    """A copy of the lesson to work on, without outputs, in work/ beside notebooks/.

    Nothing is ever overwritten. When there is a copy already, the next one gets a
    number: an error would only send a reader who wants to begin again off to delete
    their own work. Returns the copy's path.
    """
    import nbformat

    notebook = read_notebook(lesson.path)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    work = folder().parent / "work"
    path, again = work / lesson.path.name, 1
    try:
        work.mkdir(exist_ok=True)
        while True:
            try:
                with path.open("x", encoding="utf-8") as copy:
                    copy.write(nbformat.writes(notebook) + "\n")
                return path
            except FileExistsError:
                again += 1
                path = work / f"{lesson.path.stem}-{again}.ipynb"
    except OSError as error:
        message = f"The copy cannot be written to {work}: {error.strerror}."
        raise LessonError(message) from None

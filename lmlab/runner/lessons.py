"""Find the lessons and what belongs to them, by number or name, and hand out copies."""

import difflib
import os
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, unquote

from lmlab import files
from lmlab.errors import LmlabError


class LessonError(LmlabError):
    """Input that cannot be used: the message says what is wrong and what to do."""


# Notebooks that belong to a lesson have its file's name, in a folder of their kind.
KINDS = ("deeper", "exercises")
_LINK = re.compile(r"(?<=\]\()([^)#\s]+)")


@dataclass(frozen=True)
class Lesson:
    """One notebook. name: NN_name of a lesson, NN_name-kind of what belongs to it."""

    name: str
    path: Path

    @property
    def number(self):
        """The two digits that the file's name starts with."""
        return self.path.stem[:2]

    @property
    def kind(self):
        """One of KINDS, or "" for a lesson."""
        return self.name.removeprefix(self.path.stem).removeprefix("-")


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


def runs():
    """The folder of all runs and sweeps, beside that of the lessons."""
    return folder().parent / "runs"


def find_all(also=()):
    """Every lesson in order, each followed by its notebooks of the KINDS in also."""
    found = [
        Lesson(f"{path.stem}-{kind}" if kind else path.stem, path)
        for kind in ("", *also)
        for path in (folder() / kind).glob("[0-9][0-9]_*.ipynb")
    ]
    return sorted(found, key=lambda lesson: (lesson.path.stem, lesson.name))


def select(names, also=()):
    """The lessons that were asked for, each once, in order; all when none is named.

    names: numbers or names ("2", "02", "mlp_numpy", "02_mlp_numpy"). What belongs to a
    lesson has its kind behind or before it ("02-deeper", "deeper/02_mlp_numpy"); with
    the kind in also it comes with its lesson, too.
    Raises LessonError for a name that no lesson has, naming the near ones.
    """
    if not find_all():
        raise LessonError(f"{folder()} holds no lesson (NN_name.ipynb).")
    if not names:
        return find_all(also)
    wanted = {lesson for name in names for lesson in _matching(name, also)}
    return [lesson for lesson in find_all(KINDS) if lesson in wanted]


def find(name):
    """The one lesson, or notebook of a kind, of that number or name."""
    return _matching(name)[0]


def _matching(name, also=()):
    *above, key = name.removesuffix(".ipynb").split("/")
    kind = above[-1] if above and above[-1] in KINDS else ""
    before, _, last = key.rpartition("-")
    if last in KINDS:
        key, kind = before, last
    kinds = {kind} if kind else {"", *also}
    lessons = [lesson for lesson in find_all(KINDS) if lesson.kind in kinds]
    number = f"{int(key):02d}" if key.isascii() and key.isdigit() else None
    found = [
        lesson
        for lesson in lessons
        if key in (lesson.path.stem, lesson.path.stem[3:]) or number == lesson.number
    ]
    if found:
        return found
    lessons = [lesson for lesson in lessons if lesson.kind == kind] or find_all()
    parts = ((x.path.stem, x.path.stem[3:], x.number) for x in lessons)
    names = {part: x.name for x, each in zip(lessons, parts) for part in each}
    near = difflib.get_close_matches(key, names, n=3, cutoff=0.5)
    near = dict.fromkeys(names[match] for match in near) or [x.name for x in lessons]
    *others, last = near
    said = f"{', '.join(others)} or {last}" if others else last
    raise LessonError(f"There is no lesson {name!r}. Did you mean {said}?")


def name_of(path):
    """A notebook's name by its path, as a Lesson has it; what is behind a dot is not.

    So that one of the course, and a run's copy of it in whatever folder, have the same.
    """
    stem, kind = path.name.split(".")[0], path.absolute().parent.name
    return f"{stem}-{kind}" if kind in KINDS else stem


def read_notebook(path):
    """The notebook at path, in the current format.

    Raises LessonError when there is none, or something that is no notebook.
    """
    import nbformat

    try:
        return nbformat.read(path, as_version=4)
    except Exception as error:  # nbformat's own are of many kinds
        message = f"{name_of(path)} is not a readable notebook: {error}"
        raise LessonError(message) from None


def relink(notebook, source, folder):
    """Let the relative links of text, which lead from source, lead from folder."""

    def moved(match):
        target = source / unquote(match[0])
        if ":" in match[0] or not target.exists():
            return match[0]
        path = os.path.relpath(target.resolve(), Path(folder).resolve())
        return quote(Path(path).as_posix())

    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = _LINK.sub(moved, cell.source)


def start(lesson):
    """A copy of the lesson to work on, without outputs, in work/ beside notebooks/.

    Of exercises it is the student's version, without solutions (LmlabError: see
    `exercises.student`). Nothing is ever overwritten. When there is a copy already, the
    next one gets a number: an error would only send a reader who wants to begin again
    off to delete their own work. Returns the copy's path.
    """
    import nbformat

    work = folder().parent / "work"
    if lesson.kind == "exercises":
        from lmlab.runner import exercises

        notebook = exercises.student(lesson, work)
    else:
        notebook = read_notebook(lesson.path)
        relink(notebook, lesson.path.parent, work)
        for cell in notebook.cells:
            if cell.cell_type == "code":
                cell.outputs, cell.execution_count = [], None
    path, again = work / f"{lesson.name}.ipynb", 1
    try:
        work.mkdir(exist_ok=True)
        while True:
            try:
                with path.open("x", encoding="utf-8") as copy:
                    copy.write(nbformat.writes(notebook) + "\n")
                return path
            except FileExistsError:
                again += 1
                path = work / f"{lesson.name}-{again}.ipynb"
    except OSError as error:
        message = f"The copy cannot be written to {work}: {error.strerror}."
        raise LessonError(message) from None

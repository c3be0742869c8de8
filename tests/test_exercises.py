"""Each exercise has a student's version without solutions, and a lesson leads to it.

What is proved of single answers is in tests/proofs, a file for each lesson.
"""

import re
from pathlib import Path

import nbformat
import proofs
import pytest
from proofs.suite import ROOT, graded, grading, source, student

SOURCES = sorted(ROOT.glob("notebooks/exercises/[0-9][0-9]_*.ipynb"))
# A lesson's exercises are proved once it has a file of answers; these have none yet.
PROVED = proofs.names()
TO_COME = [
    "05_attention", "06_transformer",
    "07_tokenizer", "08_gpt", "09_gpt2_finetune",
]  # fmt: skip

each_source = pytest.mark.parametrize("name", [path.stem for path in SOURCES])


def test_every_lesson_is_proved_or_waits_for_it():
    assert sorted(PROVED + TO_COME) == [path.stem for path in SOURCES]


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

"""The glossary has every term that a lesson gives in Chinese, and gives it alike."""

import re
from pathlib import Path

import nbformat
import pytest

NOTEBOOKS = Path(__file__).resolve().parent.parent / "notebooks"
GLOSSARY = NOTEBOOKS / "deeper" / "00_start_here.ipynb"
CJK = r"[\u4e00-\u9fff]"
# **term** · 中文, with what follows; the Chinese may begin with a letter: n 元模型.
MARK = re.compile(rf"\*\*([^*\n]+)\*\* ·\s((?:\w+ )?{CJK}.*)")


def prose(path):
    cells = nbformat.read(path, as_version=4).cells
    return "\n".join(c.source for c in cells if c.cell_type == "markdown")


def rows(text):
    """[(English, 中文)] of the table below the heading of the glossary."""
    _, _, table = text.partition("\n## Glossary")
    row = re.compile(rf"^\| ([^|]+?) \| ([^|]*{CJK}[^|]*?) \|$", re.MULTILINE)
    return row.findall(table)[1:]  # without the head


def forms(term):
    """The term as the glossary may have it: without the article, in the singular."""
    term = term.lower()
    bare = re.sub(r"^(?:a|an|the) ", "", term)
    return [term, bare, bare.removesuffix("s"), bare.removesuffix("es")]


def differing(text, glossary):
    """The marks of a text that the glossary lacks, or translates otherwise."""
    found = []
    for term, rest in MARK.findall(text):
        known = [glossary[form] for form in forms(term) if form in glossary]
        if not any(re.match(rf"{re.escape(k)}(?!{CJK})", rest) for k in known):
            found.append(f"{term} · {rest[:12]}")
    return found


@pytest.fixture(scope="module")
def glossary():
    return {english.lower(): chinese for english, chinese in rows(prose(GLOSSARY))}


def test_the_glossary_is_in_order_and_has_each_term_once(glossary):
    english = [row[0].lower() for row in rows(prose(GLOSSARY))]
    assert len(english) > 150
    assert english == sorted(set(english))


@pytest.mark.parametrize(
    "path",
    sorted(NOTEBOOKS.glob("**/[0-9][0-9]_*.ipynb")),
    ids=lambda path: str(path.relative_to(NOTEBOOKS)),
)
def test_every_term_that_a_notebook_marks_is_in_the_glossary(path, glossary):
    assert differing(prose(path), glossary) == []


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("the **weights** · 权重, and", 0),
        ("a **weight** · 权值 is", 1),
        ("a **weight** · 权 is", 1),
        ("a **weight** · 权重值 is", 1),
        ("**nothing of ours** · 无", 1),
        ("an **n-gram model** · n 元模型.", 0),
        ("**bold** · no Chinese", 0),
    ],
)
def test_a_term_that_is_missing_or_differs_is_noticed(text, count, glossary):
    assert len(differing(text, glossary)) == count

"""The pages of a run: formulas set without a script, pictures and texts inside."""

import re
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_markdown_cell, new_notebook

from lmlab.runner import pages

ROOT = Path(__file__).resolve().parent.parent
LESSONS = sorted(ROOT.glob("notebooks/**/[0-9][0-9]_*.ipynb"))


def page(text):
    notebook = new_notebook(cells=[new_markdown_cell(text)])
    return pages.notebook_page(notebook, title="a page")


def test_a_formula_in_a_line_and_one_of_its_own():
    html = page("Slope $\\sigma'(z)$ and\n\n$$\\frac{a}{b}$$\n")
    inline, block = re.findall(r"<math[^>]*>", html)
    assert 'display="inline"' in inline
    assert 'display="block"' in block
    assert "<mfrac>" in html


@pytest.mark.parametrize(
    "tex", ["\\left(", "\\frac{a", "a^", "a_b_c", "\\begin{x}", "}"]
)
def test_a_formula_with_a_slip_is_shown_and_the_rest_of_the_page_too(tex):
    html = page(f"Before ${tex}$ after <b>")
    assert "Before" in html
    assert "after &lt;b&gt;" in html


def test_a_price_and_code_are_not_formulas():
    assert "<math" not in page("It costs 5 $ or `$x$`, and\n\n    $y$\n")


def test_markup_in_a_lesson_is_text_on_the_page():
    assert "<script>" not in page("<script>alert(1)</script>")


@pytest.mark.parametrize(
    "path", LESSONS, ids=[f"{p.parent.name}/{p.stem}" for p in LESSONS]
)
def test_every_formula_of_a_lesson_is_set(path):
    notebook = nbformat.read(path, as_version=4)
    html = pages.notebook_page(notebook, title=path.stem)
    prose = re.sub(r"<pre.*?</pre>|<code>.*?</code>|<img[^>]*>", "", html, flags=re.S)
    assert "$" not in prose
    assert r"\frac" not in prose
    # A column mark or a backslash in MathML was not understood.
    assert re.findall(r"<math(?:(?!</math>).)*(?:>&<|\\).*?</math>", html) == []
    assert re.findall(r"(?:src|href)=\"(?:https?:)?//", prose.split("<body>")[0]) == []

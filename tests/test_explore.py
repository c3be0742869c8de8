"""Sliders where a reader sits, and nothing where none does."""

import re
import sys
import types
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook
from test_jupyterlab import CHROMIUM, lab  # noqa: F401

from lmlab import explore, figures, record


def draw(height=2, width=1.5):
    fig, ax = figures.new(width=2, height=1)
    ax.plot([0, height * width])
    return fig


@pytest.fixture
def kernel(monkeypatch):
    pytest.importorskip("ipywidgets")
    monkeypatch.setattr(record, "in_kernel", lambda: True)
    for name in ("JPY_SESSION_NAME", "LMLAB_WIDGETS"):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


def test_nothing_is_shown_without_a_reader(capsys):
    assert not explore.live()
    assert explore.sliders(draw, height=(0, 5)) is None
    assert capsys.readouterr().out == ""


def test_a_kernel_that_papermill_starts_has_no_reader(kernel):
    assert not explore.live()


def test_a_kernel_that_jupyter_or_vs_code_starts_has_one(kernel):
    kernel.setenv("JPY_SESSION_NAME", "05_attention.ipynb")
    assert explore.live()
    kernel.setenv("LMLAB_WIDGETS", "0")
    assert not explore.live()
    kernel.delenv("LMLAB_WIDGETS")
    kernel.delenv("JPY_SESSION_NAME")
    main = types.SimpleNamespace(__vsc_ipynb_file__="a.ipynb")
    kernel.setitem(sys.modules, "__main__", main)
    assert explore.live()


def test_without_ipywidgets_there_are_no_sliders(kernel):
    kernel.setenv("LMLAB_WIDGETS", "1")
    assert explore.live()
    kernel.setattr("importlib.util.find_spec", lambda name: None)
    assert not explore.live()


def test_the_picture_follows_the_sliders(kernel):
    kernel.setenv("LMLAB_WIDGETS", "1")
    kernel.setattr("IPython.display.display", lambda *shown: None)
    box = explore.sliders(draw, height=(0, 5), width=(0.5, 3.0))
    height, width, picture = box.children
    assert (height.value, height.min, height.max, height.step) == (2, 0, 5, 1)
    assert (width.value, width.step) == (1.5, 0.05)
    first = bytes(picture.value)
    assert first.startswith(b"\x89PNG")
    height.value = 4
    assert bytes(picture.value) != first
    height.value = 2
    assert bytes(picture.value) == first


@pytest.mark.parametrize("ranges", [{"height": (3, 5)}, {"depth": (0, 1)}])
def test_a_slider_needs_a_place_to_start(ranges):
    with pytest.raises(ValueError, match="draw needs a default for"):
        explore.sliders(draw, **ranges)


CELL = """
from lmlab import explore, figures

def draw(height=2):
    fig, ax = figures.new(width=2, height=1)
    ax.plot([0, height])
    return fig

_ = explore.sliders(draw, height=(0, 5))
"""


@pytest.mark.skipif(not CHROMIUM, reason="no Chromium here: JupyterLab is not tested")
@pytest.mark.timeout(240)
def test_sliders_work_in_jupyterlab(lab, tmp_path):  # noqa: F811
    pytest.importorskip("ipywidgets")
    from playwright.sync_api import sync_playwright

    notebook = new_notebook(cells=[new_code_cell(CELL)])
    notebook.metadata.kernelspec = {"name": "python3", "display_name": "Python 3"}
    nbformat.write(notebook, tmp_path / "notebooks" / "sliders.ipynb")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM,
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
        )
        page = browser.new_page(viewport={"width": 1400, "height": 1000})
        page.goto(re.sub(r"tree/[^?]+", "tree/sliders.ipynb", lab))
        page.get_by_text("| Idle").wait_for(timeout=90_000)
        page.get_by_role("menuitem", name="Run", exact=True).click()
        page.get_by_text("Run All Cells", exact=True).click()
        picture = page.locator(".jp-OutputArea img")
        picture.wait_for(timeout=90_000)
        before = picture.get_attribute("src")
        page.locator(".jp-OutputArea .noUi-handle").press("ArrowRight")
        for _ in range(60):
            if picture.get_attribute("src") != before:
                break
            page.wait_for_timeout(500)
        assert picture.get_attribute("src") != before
        assert page.locator(".widget-readout").inner_text() == "3"
        browser.close()


def test_no_committed_notebook_holds_a_widget():
    for path in Path(__file__).parent.parent.glob("notebooks/**/*.ipynb"):
        assert "vnd.jupyter.widget" not in path.read_text(encoding="utf-8"), path.name

"""Every figure looks alike, says what it shows, and is kept as a file."""

import numpy as np
import pytest
from matplotlib import image
from PIL import Image

from lmlab import figures
from tools import font


def draw():
    fig, ax = figures.new(width=4, height=3)
    ax.plot([1, 3, 2])
    return fig


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("LMLAB_FIGURES", str(tmp_path / "new"))
    return tmp_path / "new"


def test_the_background_is_opaque_white(folder):
    figures.show(draw(), "99-line", "a line that rises and falls")
    pixels = image.imread(folder / "99-line.png")
    assert pixels.shape[:2] == (3 * figures.DPI, 4 * figures.DPI)
    assert np.allclose(pixels[0, 0], 1.0)


def test_a_figure_does_not_name_the_version_that_drew_it(folder):
    figures.show(draw(), "99-line", "a line that rises and falls")
    assert "Software" not in Image.open(folder / "99-line.png").text


def test_the_same_drawing_gives_the_same_bytes_and_leaves_the_file_alone(folder):
    figures.show(draw(), "99-line", "a line that rises and falls")
    first = (folder / "99-line.png").stat()
    figures.show(draw(), "99-line", "a line that rises and falls")
    assert (folder / "99-line.png").stat().st_mtime_ns == first.st_mtime_ns
    assert [path.name for path in folder.iterdir()] == ["99-line.png"]


def test_a_figure_is_closed_once_it_is_shown(folder):
    import matplotlib.pyplot as plt

    before = plt.get_fignums()
    figures.show(draw(), "99-line", "a line that rises and falls")
    assert plt.get_fignums() == before


def test_a_figure_needs_a_description(folder):
    with pytest.raises(ValueError, match="'99-line' needs a description"):
        figures.show(draw(), "99-line", "plot")


def test_a_checkout_that_is_only_to_be_read_ends_no_lesson(
    tmp_path, monkeypatch, capsys
):
    (tmp_path / "file").write_text("")
    monkeypatch.delenv("LMLAB_FIGURES", raising=False)
    monkeypatch.setattr(figures, "folder", lambda: tmp_path / "file" / "figures")
    figures.show(draw(), "99-line", "a line that rises and falls")
    assert capsys.readouterr().err == "99-line.png is not kept: Not a directory\n"
    monkeypatch.setenv("LMLAB_FIGURES", str(tmp_path / "file" / "figures"))
    with pytest.raises(OSError, match="Not a directory"):
        figures.show(draw(), "99-line", "a line that rises and falls")


DARK = {
    "text.usetex": True,
    "text.color": "white",
    "axes.labelcolor": "white",
    "axes.facecolor": "black",
    "savefig.bbox": "tight",
    "font.size": 30,
}


def test_a_readers_own_style_is_not_drawn_in(folder):
    import matplotlib

    figures.show(draw(), "99-line", "a line that rises and falls")
    usual = (folder / "99-line.png").read_bytes()
    with matplotlib.rc_context(DARK):
        fig = draw()
        label = fig.axes[0].set_xlabel("x")
        assert (label.get_usetex(), label.get_color()) == (False, "black")
        label.set_text("")
        figures.show(fig, "99-line", "a line that rises and falls")
    assert (folder / "99-line.png").read_bytes() == usual


def test_the_colours_can_be_told_apart():
    from matplotlib.colors import to_rgb

    colors = np.array([to_rgb(c) for c in figures.COLORS])
    gaps = np.abs(colors[:, None] - colors[None]).sum(-1)
    assert gaps[~np.eye(len(colors), dtype=bool)].min() > 0.3


def test_only_fonts_that_are_there_are_named():
    from matplotlib import font_manager

    named = figures.fonts()
    assert named[:2] == ["DejaVu Sans", "lmlab Sans SC"]
    assert set(named) <= set(font_manager.get_font_names())


def test_every_chinese_character_of_the_project_can_be_drawn():
    from fontTools.ttLib import TTFont
    from matplotlib import font_manager

    path = font_manager.findfont(figures.fonts()[1])
    there = set(map(chr, TTFont(path).getBestCmap()))
    assert "苹" in there
    assert set(font.characters()) <= there, "run tools/font.py again"


def test_a_chinese_label_is_drawn_without_a_chinese_font_installed(monkeypatch):
    monkeypatch.setattr(figures, "CJK_FONTS", ())
    fig, ax = figures.new()
    ax.set_title("二〇二六年三月五日")
    figures.png(fig)  # a missing character would be a warning, and that an error
    fig, ax = figures.new()
    ax.set_title("\u3105")  # bopomofo, of which the font has none
    with pytest.warns(UserWarning, match="Glyph 12549"):
        figures.png(fig)


def test_figures_go_to_the_checkout_by_default(monkeypatch):
    monkeypatch.delenv("LMLAB_FIGURES", raising=False)
    assert figures.folder().name == "figures"

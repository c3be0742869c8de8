"""Every figure looks alike, says what it shows, and is kept as a file."""

import numpy as np
import pytest
from matplotlib import image
from PIL import Image

from lmlab import figures


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


def test_only_installed_fonts_are_named():
    from matplotlib import font_manager

    installed = set(font_manager.get_font_names())
    assert figures.fonts()[0] == "DejaVu Sans"
    assert set(figures.fonts()) <= installed


def test_figures_go_to_the_checkout_by_default(monkeypatch):
    monkeypatch.delenv("LMLAB_FIGURES", raising=False)
    assert figures.folder().name == "figures"

"""Schematics: what is drawn stands where it should, and says what it should."""

import pytest

from lmlab import schematics
from lmlab.schematics import Schematic


@pytest.fixture
def page():
    import matplotlib.pyplot as plt

    page = Schematic(width=6, height=4)
    yield page
    plt.close(page.fig)


def lines(page):
    """The corners of each line that was drawn, in inches."""
    return [list(zip(*line.get_data())) for line in page.ax.lines]


def inside(inner, outer):
    return (
        outer.left[0] < inner.left[0]
        and inner.right[0] < outer.right[0]
        and outer.bottom[1] < inner.bottom[1]
        and inner.top[1] < outer.top[1]
    )


def test_the_page_is_measured_in_inches(page):
    assert tuple(page.fig.get_size_inches()) == (6, 4)
    assert page.ax.get_xlim() == (0, 6)
    assert page.ax.get_ylim() == (0, 4)
    box = page.ax.get_window_extent()
    assert (box.width / page.fig.dpi, box.height / page.fig.dpi) == (6, 4)


def test_a_box_is_as_large_as_its_text_needs(page):
    short, long = page.box("x", 1, 1), page.box("layer norm\n(C)", 3, 1)
    assert short.width < long.width
    assert short.height < long.height
    drawn = {text.get_text(): text.get_window_extent() for text in page.ax.texts}
    for frame, text in ((short, "x"), (long, "layer norm\n(C)")):
        extent = drawn[text]
        assert extent.width / page.fig.dpi < frame.width
        assert extent.height / page.fig.dpi < frame.height
    assert long.name == "layer norm (C)"
    assert page.box("x", 1, 3, width=2.5, height=1.5).width == 2.5


def test_an_unknown_kind_is_refused_before_anything_is_drawn(page):
    with pytest.raises(ValueError, match="kind must be one of data, weights, step"):
        page.box("x", 1, 1, kind="layer")
    assert not page.ax.patches


def test_kinds_differ_without_colours():
    looks = [(kind.line, kind.dashes) for kind in schematics.KINDS.values()]
    assert len(set(looks)) == len(looks)
    grey = [sum(int(k.fill[i : i + 2], 16) for i in (1, 3, 5)) for k in
            schematics.KINDS.values()]  # fmt: skip
    assert min(grey) > 3 * 200  # black text can be read on each


@pytest.mark.parametrize(
    ("place", "leaves", "enters"),
    [
        ((3, 2), "right", "left"),
        ((1, 2), "left", "right"),
        ((2, 3), "top", "bottom"),
        ((2, 1), "bottom", "top"),
    ],
)
def test_an_arrow_joins_the_sides_that_face_each_other(page, place, leaves, enters):
    a, b = page.box("a", 2, 2), page.box("b", *place)
    page.arrow(a, b, "(B, T)")
    assert lines(page) == [[getattr(a, leaves)]]
    (head,) = [x for x in page.ax.texts if x.get_text() == ""]
    assert head.xy == getattr(b, enters)
    assert head.get_position() == getattr(a, leaves)
    assert page.arrows == [("a", "(B, T)", "b")]


def test_an_arrow_goes_through_points_and_its_label_stands_on_the_longest_line(page):
    plus = page.box("+", 3, 3)
    page.arrow((3, 1), plus, "C", through=[(1, 1), (1, 3)], beside="above")
    assert lines(page) == [[(3, 1), (1, 1), (1, 3)]]
    (label,) = [x for x in page.ax.texts if x.get_text() == "C"]
    assert label.get_position() == (2, 1.05)  # 2 inches long, as is the next
    (head,) = [x for x in page.ax.texts if x.get_text() == ""]
    assert head.xy == plus.left


def test_groups_hold_what_is_in_them_and_nest(page):
    a, b, c = page.box("a", 1, 1), page.box("b", 2, 1.5), page.box("c", 4, 2)
    inner = page.group([a, b], "inner")
    outer = page.group([inner, c], "outer")
    assert inside(a, inner)
    assert inside(b, inner)
    assert not inside(c, inner)
    assert inside(inner, outer)
    assert inside(c, outer)
    page.arrow(inner, c)
    assert lines(page)[0][0] == inner.right


def test_a_large_layer_shows_some_units_and_a_small_one_all(page):
    large = page.units(784, 1, 2, shown=7, title="784 pixels")
    small = page.units(3, 3, 2, shown=7, title="3 units")
    assert (len(large.places), len(small.places)) == (6, 3)
    dots = [text for text in page.ax.texts if text.get_text() == "⋮"]
    assert [dot.get_position() for dot in dots] == [(1, 2)]
    page.connect(large, small, "W (784, 3)")
    joined = {(line[0][1], line[1][1]) for line in lines(page)}
    assert joined == {(a, b) for a in large.places for b in small.places}
    assert page.arrows == [("784 pixels", "W (784, 3)", "3 units")]


def test_showing_needs_words_and_the_same_drawing_gives_the_same_file(
    tmp_path, monkeypatch
):
    monkeypatch.setenv("LMLAB_FIGURES", str(tmp_path))

    def draw():
        page = Schematic(width=3, height=1)
        page.arrow(page.box("x", 0.5, 0.5), page.box("y", 2, 0.5), "(B,)")
        return page

    with pytest.raises(ValueError, match="needs a description"):
        draw().show("00-a", "x")
    for name in ("00-a", "00-b"):
        draw().show(name, "x goes to y, a vector of B")
    assert (tmp_path / "00-a.png").read_bytes() == (tmp_path / "00-b.png").read_bytes()

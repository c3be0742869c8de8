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


def test_the_circles_stand_within_their_column_and_the_title_above(page):
    layer = page.units(10, 1, 2, shown=10, height=2.5, title="10 classes")
    circles = [x for x in page.ax.patches if x.get_facecolor()[:3] != (1, 1, 1)]
    assert min(x.center[1] - x.radius for x in circles) == pytest.approx(0.75)
    assert max(x.center[1] + x.radius for x in circles) == pytest.approx(3.25)
    (title,) = [x for x in page.ax.texts if x.get_text() == "10 classes"]
    assert title.get_position()[1] > layer.top[1] == 3.25
    assert page.units(1, 3, 2).places == (2,)
    with pytest.raises(TypeError, match="count must be a whole number from 1"):
        page.units(2.5, 1, 1)


def test_a_residual_path_goes_around_what_lies_between(page):
    x, high, plus = page.box("x", 1, 2), page.box("a\nb\nc", 3, 2), page.box("+", 5, 2)
    way = page.arrow(x, plus, "(B, T, C)", around="above")
    (points,) = lines(page)
    assert points[0] == x.top
    assert [place[0] for place in points] == [1, 1, 5]
    assert points[1][1] == points[2][1] == pytest.approx(high.top[1] + 0.25)
    (head,) = [each for each in page.ax.texts if each.get_text() == ""]
    assert head.xy == plus.top
    assert inside(way, page.group([x, high, plus, way]))
    assert page.problems() == []
    with pytest.raises(ValueError, match="give one of them"):
        page.arrow(x, plus, around="below", through=[(3, 1)])
    with pytest.raises(ValueError, match="around must be one of left, right"):
        page.arrow(x, plus, around="over")


@pytest.mark.parametrize(
    ("side", "axis", "place"), [("below", 1, 0.5), ("left", 0, 0.5), ("right", 0, 3.5)]
)
def test_a_path_goes_around_on_each_side(page, side, axis, place):
    ends = ((1, 2), (3, 2)) if side == "below" else ((2, 1), (2, 3))
    page.box("wide", 2, 2, width=2.5, height=2.5)
    page.arrow(*ends, around=side)
    (points,) = lines(page)
    assert points[1][axis] == points[2][axis] == pytest.approx(place)


def test_a_shape_stands_on_a_long_line_and_next_to_a_short_one(page):
    a, far, near = page.box("a", 1, 1), page.box("far", 3, 1), page.box("near", 1, 1.6)
    page.arrow(a, far, "(B, T, C)")
    page.arrow(a, near, "(B, T, C)")
    left, right = page.box("le\nft", 1, 3), page.box("right", 1.8, 3)
    page.arrow(left, right, "(B, T, C)")
    on, beside, above = [x for x in page.ax.texts if x.get_text() == "(B, T, C)"]
    assert on.get_position()[1] == 1
    assert beside.get_ha() == "left"
    assert beside.get_position()[0] > 1
    assert above.get_position()[1] > left.top[1]  # not between them: it is wider
    assert page.problems() == []


def test_a_grid_is_of_equal_cells_side_by_side(page):
    tokens = page.grid([["the", "cat", "sat"], ["a", "", "b"]], 3, 2, title="tokens")
    (first, second, third), (below, _, _) = tokens.cells
    assert first.right == pytest.approx(second.left)
    assert first.bottom == pytest.approx(below.top)
    assert {cell.width for row in tokens.cells for cell in row} == {first.width}
    assert tokens.left[0] == pytest.approx(first.left[0])
    assert tokens.right[0] == pytest.approx(third.right[0])
    assert (tokens.x, tokens.y, tokens.name) == (3, 2, "tokens")
    page.arrow((1, 2), tokens)
    page.arrow(third, (5, 3))
    assert page.problems() == []
    kinds = page.grid([["1", ""]], 3, 1, kind=[["weights", "data"]], width=0.3)
    assert kinds.width == pytest.approx(0.6)
    with pytest.raises(ValueError, match="kind must be one of"):
        page.grid([["1"]], 3, 3, kind="token")


def test_a_groups_title_may_stand_outside(page):
    a = page.box("a", 3, 2)
    for side in ("left", "right"):
        group = page.group([a], "× 6", beside=side)
        assert group.height == pytest.approx(a.height + 2 * schematics.ROOM)
    titles = [x.get_position()[0] for x in page.ax.texts if x.get_text() == "× 6"]
    assert titles[0] < group.left[0] < group.right[0] < titles[1]


def label_on_label(page):
    page.text("one label", 2, 2)
    page.text("another", 2.2, 2.05)


def label_on_box(page):
    page.box("a box", 2, 2)
    page.text("a label", 2.4, 2.15)


def box_on_box(page):
    page.box("a box", 2, 2)
    page.box("another", 2.2, 2.1)


def group_across_a_box(page):
    page.group([page.box("a", 2, 2)], "few")
    page.box("wide", 2.5, 2, width=0.7)


def arrow_through_a_box(page):
    page.box("between", 2, 2)
    page.arrow(page.box("a", 1, 2), page.box("b", 3, 2))


def arrow_through_a_title(page):
    a = page.box("a", 2, 2)
    page.group([a], "a title")
    page.arrow(a, (2, 3))


def off_the_page(page):
    page.box("outside", 5.9, 2)


def too_wide_for_its_box(page):
    page.box("a long text", 2, 2, width=0.5)


@pytest.mark.parametrize(
    ("draw", "said"),
    [
        (label_on_label, ["'one label' lies on 'another'"]),
        (label_on_box, ["the outlines of 'a label' and 'a box' cross"]),
        (box_on_box, ["the outlines of 'a box' and 'another' cross"]),
        (group_across_a_box, ["the outlines of 'few' and 'wide' cross"]),
        (arrow_through_a_box, ["an arrow from 'a' goes through 'between'"]),
        (arrow_through_a_title, ["an arrow from 'a' goes through 'a title'"]),
        (off_the_page, ["'outside' leaves the page"]),
        (too_wide_for_its_box, ["'a long text' leaves its box"]),
    ],
)
def test_what_could_not_be_read_is_found(page, draw, said):
    draw(page)
    found = page.problems()
    assert [each for each in found if each in said] == said
    with pytest.warns(UserWarning, match="schematic '00-a': "):
        page.show("00-a", "a drawing that cannot be read")


def test_what_is_meant_is_no_problem(page):
    a, b = page.box("", 1, 2, width=1, height=1), page.box("b", 4, 2)
    page.text("in a box", 1, 2)
    page.arrow(a, b)
    page.text("w", 2.5, 2, bbox={"facecolor": "white"})  # on an arrow, as its label
    page.text("", 4, 2)
    page.arrow(a, b, "(B, T)", beside="above")
    assert page.problems() == []


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

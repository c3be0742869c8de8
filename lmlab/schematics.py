"""Schematics: boxes, arrows with the shapes that they carry, and nested groups.

    s = schematics.Schematic(width=6, height=2)
    x = s.box("x", 0.8, 1, kind="data")
    norm = s.box("layer norm", 2.6, 1, kind="weights")
    plus = s.box("+", 4, 1)
    s.arrow(x, norm, "(B, T, C)")
    s.arrow(norm, plus)
    s.arrow(x, plus, around="above")  # the residual path
    s.group([norm, plus], "half a block")
    s.show("06-block", "x goes through …")

Places are in inches from the lower left corner, so that a text's size beside a box's
is what a reader will see. Nothing is told by colour alone: each kind of box has an
outline of its own, too. `show` warns of things that lie on one another.
"""

import itertools
import warnings
from collections import namedtuple
from dataclasses import dataclass

from matplotlib.patches import Circle, FancyBboxPatch
from matplotlib.path import Path
from matplotlib.transforms import Bbox

from lmlab import figures
from lmlab.arguments import one_of, whole

FONT = 9.5
LINE = 1.2
LABEL = FONT - 1.5  # of what stands at an arrow
ROOM = 0.16  # inches between a group's outline and what is in it
TITLE = 0.22  # more of them above, for its title
AWAY = 0.25  # inches between a path around boxes and the boxes
TOUCH = 0.02  # inches: things that overlap by less do not look so
SIDES = ("left", "right", "above", "below")


# How a kind of box looks: tints of the palette of the figures, and its full colours.
Kind = namedtuple("Kind", "fill line dashes", defaults="-")
KINDS = {
    "data": Kind("#FFFFFF", "#000000"),
    "weights": Kind("#D6E8F5", figures.COLORS[0]),  # has numbers that are trained
    "step": Kind("#EEEEEE", "#555555"),  # computes, and has none
    "loss": Kind("#FBE3D3", figures.COLORS[1]),
    "frozen": Kind("#F5EBD2", figures.COLORS[4], "--"),  # has numbers, not trained
}


@dataclass(frozen=True)
class Frame:
    """A rectangle on the page: centre, width and height in inches, and its name.

    places: the heights of a column's circles; cells: a grid's Frames, row by row.
    """

    x: float
    y: float
    width: float
    height: float
    name: str = ""
    places: tuple = ()
    cells: tuple = ()

    @property
    def left(self):
        """The middle of the left edge."""
        return self.x - self.width / 2, self.y

    @property
    def right(self):
        """The middle of the right edge."""
        return self.x + self.width / 2, self.y

    @property
    def top(self):
        """The middle of the upper edge."""
        return self.x, self.y + self.height / 2

    @property
    def bottom(self):
        """The middle of the lower edge."""
        return self.x, self.y - self.height / 2


class Schematic:
    """A drawing that grows by boxes, arrows and groups; `show` ends it.

    width, height: of the page, in inches; 8 wide is as wide as a notebook shows.
    arrows: what was joined, as (from, shape, to), for tests and for the alt text.
    """

    def __init__(self, *, width=8.0, height=3.0):
        self.fig, self.ax = figures.new(width=width, height=height)
        self.fig.set_layout_engine("none")
        self.ax.set_position((0, 0, 1, 1))
        self.ax.set(xlim=(0, width), ylim=(0, height))
        self.ax.set_axis_off()
        self.arrows = []
        # For `problems`: frames, texts with their box, ways with what they may touch.
        self._boxes, self._groups, self._texts, self._paths = [], [], {}, []

    def box(self, text, x, y, *, kind="step", width=None, height=None, corner=0.06):
        """A box around a text, its centre at (x, y); as large as the text needs.

        kind: "data", "weights" (trained), "frozen" (weights that are not trained),
        "step" (computes without weights) or "loss"; corner: its radius. Its Frame.
        Raises ValueError for another kind.
        """
        one_of("kind", kind, KINDS)
        wide, high = self._size(text)
        name = " ".join(text.split())
        frame = Frame(x, y, width or wide + 0.24, height or high + 0.16, name)
        self._outline(frame, KINDS[kind], corner)
        self._boxes.append(frame)
        self._texts[self.text(text, x, y)] = frame
        return frame

    def grid(self, rows, x, y, *, kind="data", width=None, height=None, title=""):
        """Cells side by side, as tokens in a row or the entries of a mask; their Frame.

        rows: the texts of each row, from the top; all cells are as large as the largest
        text needs, or width by height. (x, y): the centre. kind: of all cells, or a
        list of kinds for each row. title: stands above. Errors as of `box`.
        """
        sizes = [self._size(text) for row in rows for text in row]
        width = width or max(wide for wide, _ in sizes) + 0.16
        height = height or max(high for _, high in sizes) + 0.12
        kinds = [[kind] * len(row) for row in rows] if isinstance(kind, str) else kind
        columns = max(map(len, rows))
        left = x - width * (columns - 1) / 2
        top = y + height * (len(rows) - 1) / 2
        size = {"width": width, "height": height, "corner": 0}
        cells = tuple(
            tuple(
                self.box(text, left + j * width, top - i * height, kind=look, **size)
                for j, (text, look) in enumerate(zip(row, kinds[i], strict=True))
            )
            for i, row in enumerate(rows)
        )
        if title:
            self.text(title, x, y + height * len(rows) / 2 + 0.06, va="bottom")
        return Frame(x, y, columns * width, len(rows) * height, title, cells=cells)

    def text(self, text, x, y, *, size=FONT, color="black", **options):
        """A text centred at (x, y); options go to matplotlib's text, which returns."""
        options = {"ha": "center", "va": "center", "zorder": 5} | options
        drawn = self.ax.text(x, y, text, size=size, color=color, **options)
        self._texts[drawn] = None
        return drawn

    def arrow(
        self, start, end, shape="", *, through=(), around="", beside="", color="black"
    ):
        """An arrow from one box, group or point to another, labelled with a shape.

        It leaves and enters where the two face each other, or goes through the given
        points, in straight lines. around: "above", "below", "left" or "right" of all
        boxes between the two, as a residual path does. shape: what travels, as
        "(B, T, C)"; it stands at the middle of the longest line, beside: "left",
        "right", "above" or "below" of it; without, on the line where that is long
        enough, or else next to it. Returns the Frame of its way, for a group to hold.
        Raises ValueError for another side, and for both through and around.
        """
        if around and through:
            raise ValueError("through and around are two ways: give one of them")
        if around:
            through = self._around(start, end, one_of("around", around, SIDES))
        one_of("beside", beside, ("", *SIDES))
        points = [_edge(start, end, through[:1]), *through]
        points.append(_edge(end, start, through[-1:]))
        xs, ys = zip(*points[:-1])
        look = {"linewidth": LINE, "zorder": 3, "solid_joinstyle": "round"}
        self.ax.plot(xs, ys, color=color, **look)
        style = {"arrowstyle": "-|>", "color": color, "linewidth": LINE}
        style |= {"shrinkA": 0, "shrinkB": 0, "mutation_scale": 10}
        self.ax.annotate("", points[-1], points[-2], arrowprops=style, zorder=3)
        label = shape and self._label(shape, points, (start, end), beside, color)
        cells = (row for end in (start, end) for row in getattr(end, "cells", ()))
        self._paths.append((points, [start, end, label, *itertools.chain(*cells)]))
        self.arrows.append((_name(start), shape, _name(end)))
        box = Bbox([*zip(*map(sorted, zip(*points)))][:: len(points) - 1])
        return Frame(*box.min + box.size / 2, *box.size)

    def _around(self, start, end, side):
        """Two corners of a path from start to end on that side of what lies between."""
        a, b = (x if isinstance(x, Frame) else Frame(*x, 0, 0) for x in (start, end))
        axis = int(side in ("left", "right"))  # the one along which they lie apart
        low, high = sorted(((a.x, a.y)[axis], (b.x, b.y)[axis]))
        spans = ((box, _extent(box)) for box in self._boxes)
        between = [f for f, e in spans if e.max[axis] > low and e.min[axis] < high]
        extents = _union([a, b, *between]).padded(AWAY).extents
        line = dict(zip(("left", "below", "right", "above"), extents))[side]
        return [(line, a.y), (line, b.y)] if axis else [(a.x, line), (b.x, line)]

    def _label(self, shape, points, ends, beside, color):
        """Write what travels along the longest line."""
        pairs = itertools.pairwise(points)
        (x, y), (u, v) = max(pairs, key=lambda p: abs(complex(*p[0]) - complex(*p[1])))
        wide, high = self._size(shape, LABEL)
        flat = abs(u - x) >= abs(v - y)
        if not beside and max(abs(u - x), abs(v - y)) < (wide if flat else high) + 0.3:
            beside = "above" if flat else "right"
        frames = [end for end in ends if isinstance(end, Frame)]
        if flat and frames and abs(u - x) < wide + 0.04:  # it would be on the boxes
            extent = _union(frames)
            y = v = {"above": extent.y1, "below": extent.y0}.get(beside, y)
        dx, dy, look = {
            "": (0, 0, {}),
            "left": (-0.06, 0, {"ha": "right"}),
            "right": (0.06, 0, {"ha": "left"}),
            "above": (0, 0.05, {"va": "bottom"}),
            "below": (0, -0.05, {"va": "top"}),
        }[beside]
        look["bbox"] = {"facecolor": "white", "linewidth": 0, "pad": 1}
        x, y = (x + u) / 2 + dx, (y + v) / 2 + dy
        return self.text(shape, x, y, size=LABEL, color=color, **look)

    def group(self, members, title="", *, beside=""):
        """An outline around boxes, grids and groups; its Frame.

        title: in its upper left corner; or outside, beside: "left" or "right" of it,
        as the "× N" of layers that are repeated, where arrows go through the top.
        """
        one_of("beside", beside, ("", "left", "right"))
        left, bottom, right, top = _union(members).padded(ROOM).extents
        top += TITLE if title and not beside else 0
        x, y = (left + right) / 2, (bottom + top) / 2
        frame = Frame(x, y, right - left, top - bottom, title)
        self._outline(frame, Kind("none", "#777777", (0, (4, 2))), corner=0.12)
        self._groups.append(frame)
        look = {"size": FONT - 0.5, "color": "#333", "ha": "left", "va": "center"}
        x, y = right + 0.08, frame.y
        if beside == "left":
            x, look["ha"] = left - 0.08, "right"
        elif not beside:
            x, y, look["va"] = left + 0.1, top - 0.06, "top"
        self.text(title, x, y, **look)
        return frame

    def units(self, count, x, y, *, shown=5, height=2.0, title=""):
        """A layer of `count` units as a column of circles, all of them or some and ….

        (x, y): its centre; height: from the upper edge to the lower one; shown: the
        most circles, the middle one of which gives way to a ⋮ for the rest; title:
        stands above. Returns the column's Frame, for `connect` to join to another.
        Raises TypeError or ValueError unless count and shown are whole, from 1 and 3.
        """
        count, shown = whole("count", count), whole("shown", shown, 3)
        radius = min(0.1, height / (2.6 * max(min(count, shown), 2)))
        places = _spread(min(count, shown), y, height - 2 * radius)
        hidden = [places.pop(len(places) // 2)] if count > shown else []
        frame = Frame(x, y, 2 * radius, height, title, tuple(places))
        if hidden:  # the gap in the middle stands for the rest
            self._texts[self.text("⋮", x, y, size=FONT + 4)] = frame
        for place in places:
            look = {"facecolor": KINDS["step"].fill, "edgecolor": KINDS["step"].line}
            self.ax.add_patch(Circle((x, place), radius, zorder=4, **look))
        self._boxes.append(frame)
        if title:
            self.text(title, x, y + height / 2 + 0.08, va="bottom")
        return frame

    def connect(self, layer, following, weights=""):
        """A line from every circle of a layer to every one of the next, and a label."""
        (left, _), (right, _) = layer.right, following.left
        look = {"color": figures.COLORS[0], "linewidth": 0.6, "alpha": 0.55}
        for ends in itertools.product(layer.places, following.places):
            self.ax.plot((left, right), ends, zorder=2, **look)
        if weights:
            low = min(layer.bottom[1], following.bottom[1]) - 0.12
            self.text(weights, (left + right) / 2, low, size=FONT - 1, va="top")
        self.arrows.append((layer.name, weights, following.name))

    def show(self, name, alt):
        """Keep and show the drawing under a name, as `figures.show` does.

        alt: what it shows, in words: the parts in their order, what travels between.
        Warns of what `problems` finds; raises as `figures.show` does.
        """
        if found := self.problems():
            warnings.warn(f"schematic {name!r}: {'; '.join(found)}", stacklevel=2)
        figures.show(self.fig, name, alt)

    def problems(self):
        """What a reader could not read: a list of sentences, empty for a good drawing.

        Texts on one another or too large for their box; outlines that cross; arrows
        through others' boxes, or texts without a background; what leaves the page.
        """
        page = Bbox([(0, 0), (self.ax.get_xlim()[1], self.ax.get_ylim()[1])])
        texts = [
            (t, own, self._extent(t)) for t, own in self._texts.items() if t.get_text()
        ]
        labels = [each for each in texts if each[1] is None]
        boxes = [(frame, None, _extent(frame)) for frame in self._boxes]
        frames = [*((frame, None, _extent(frame)) for frame in self._groups), *boxes]
        found = [
            f"{_name(thing)!r} leaves {'its box' if own else 'the page'}"
            for thing, own, extent in (*texts, *frames)
            if not _within(extent, _extent(own) if own else page)
        ]
        found += [
            f"{_name(one)!r} lies on {_name(other)!r}"
            for (one, _, a), (other, _, b) in itertools.combinations(texts, 2)
            if _overlap(a, b)
        ]
        pairs = [*itertools.combinations(frames, 2), *itertools.product(labels, boxes)]
        found += [
            f"the outlines of {_name(one)!r} and {_name(other)!r} cross"
            for (one, _, a), (other, _, b) in pairs
            if _overlap(a, b) and not _within(a, b) and not _within(b, a)
        ]
        plain = [each for each in labels if each[0].get_bbox_patch() is None]
        found += [
            f"an arrow from {_name(ends[0])!r} goes through {_name(thing)!r}"
            for points, ends in self._paths
            for thing, _, extent in (*plain, *boxes)
            if thing not in ends
            and Path(points).intersects_bbox(extent.padded(-TOUCH), filled=False)
        ]
        return found

    def _outline(self, frame, kind, corner):
        look = {"facecolor": kind.fill, "edgecolor": kind.line, "linewidth": LINE}
        look |= {"linestyle": kind.dashes, "zorder": 1 if kind.fill == "none" else 4}
        look["boxstyle"] = f"round,pad=0,rounding_size={corner}"
        place = frame.left[0], frame.bottom[1]
        self.ax.add_patch(FancyBboxPatch(place, frame.width, frame.height, **look))

    def _size(self, text, size=FONT):
        """Width and height of a text in inches."""
        drawn = self.ax.text(0, 0, text, size=size)
        extent = self._extent(drawn)
        drawn.remove()
        return extent.width, extent.height

    def _extent(self, text):
        """Where a text is, as matplotlib's Bbox in inches."""
        drawn = text.get_window_extent(self.fig.canvas.get_renderer())
        return drawn.transformed(self.ax.transData.inverted())


def _extent(frame):
    return Bbox([(frame.left[0], frame.bottom[1]), (frame.right[0], frame.top[1])])


def _union(frames):
    return Bbox.union([_extent(frame) for frame in frames])


def _overlap(a, b):  # more than an edge
    return a.padded(-TOUCH / 2).overlaps(b.padded(-TOUCH / 2))


def _within(a, b):
    """Whether the extent a lies in b."""
    b = b.padded(TOUCH)
    return b.contains(a.x0, a.y0) and b.contains(a.x1, a.y1)


def _spread(count, y, height):
    """`count` heights, evenly spaced from top to bottom around y."""
    step = height / max(count - 1, 1)
    return [y + step * ((count - 1) / 2 - i) for i in range(count)]


def _name(thing):
    """What a frame, a text or a point is called, on one line."""
    name = getattr(thing, "name", "")
    return " ".join((thing.get_text() if hasattr(thing, "get_text") else name).split())


def _edge(frame, other, via):
    """Where an arrow between the two touches the frame's outline; a point is itself."""
    if not isinstance(frame, Frame):
        return tuple(frame)
    toward = via[0] if via else other
    x, y = (toward.x, toward.y) if isinstance(toward, Frame) else toward
    dx, dy = x - frame.x, y - frame.y
    # Beside rather than above where the way is flatter than the frame's diagonal.
    if abs(dx) * frame.height > abs(dy) * frame.width:
        edge_x, _ = frame.right if dx > 0 else frame.left
        inside = isinstance(toward, Frame) or abs(dy) >= frame.height / 2
        return edge_x, frame.y if inside else y
    _, edge_y = frame.top if dy > 0 else frame.bottom
    inside = isinstance(toward, Frame) or abs(dx) >= frame.width / 2
    return frame.x if inside else x, edge_y

"""Schematics: boxes, arrows with the shapes that they carry, and nested groups.

    s = schematics.Schematic(width=6, height=2)
    x = s.box("x", 0.8, 1, kind="data")
    norm = s.box("layer norm", 2.6, 1, kind="weights")
    s.arrow(x, norm, "(B, T, C)")
    s.group([norm], "block")
    s.show("06-block", "x goes through …")

Places are in inches from the lower left corner, so that a text's size beside a box's
is what a reader will see. Nothing is told by colour alone: each kind of box has an
outline of its own, too.
"""

import itertools
from dataclasses import dataclass

from lmlab import figures

FONT = 9.5
LINE = 1.2
ROOM = 0.16  # inches between a group's outline and what is in it
TITLE = 0.22  # more of them above, for its title


@dataclass(frozen=True)
class Kind:
    """How one kind of box looks: its fill, its outline and the outline's dashes."""

    fill: str
    line: str
    dashes: str = "-"


# Tints of the palette of the figures; the outlines carry the full colours.
KINDS = {
    "data": Kind("#FFFFFF", "#000000"),
    "weights": Kind("#D6E8F5", figures.COLORS[0]),  # has numbers that are trained
    "step": Kind("#EEEEEE", "#555555"),  # computes, and has none
    "loss": Kind("#FBE3D3", figures.COLORS[1]),
    "frozen": Kind("#F5EBD2", figures.COLORS[4], "--"),  # has numbers, not trained
}


@dataclass(frozen=True)
class Frame:
    """A rectangle on the page: centre, width and height in inches, and its name."""

    x: float
    y: float
    width: float
    height: float
    name: str = ""

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

    width, height: of the page, in inches.
    """

    def __init__(self, *, width=8.0, height=3.0):
        self.fig, self.ax = figures.new(width=width, height=height)
        self.fig.set_layout_engine("none")
        self.ax.set_position((0, 0, 1, 1))
        self.ax.set(xlim=(0, width), ylim=(0, height))
        self.ax.set_axis_off()
        self.arrows = []

    def box(self, text, x, y, *, kind="step", width=None, height=None):
        """A box around a text, its centre at (x, y); as large as the text needs.

        kind: "data", "weights" (trained), "frozen" (weights that are not trained),
        "step" (computes without weights) or "loss". Returns its Frame.
        Raises ValueError for another kind.
        """
        if kind not in KINDS:
            raise ValueError(f"kind must be one of {', '.join(KINDS)}, got {kind!r}")
        wide, high = self._size(text)
        frame = Frame(
            x, y, width or wide + 0.24, height or high + 0.16, " ".join(text.split())
        )
        look = KINDS[kind]
        self._outline(frame, look.fill, look.line, look.dashes, rounding=0.06)
        self.text(text, x, y)
        return frame

    def text(self, text, x, y, *, size=FONT, color="black", **options):
        """A text centred at (x, y); options go to matplotlib's text."""
        options = {"ha": "center", "va": "center", "zorder": 5} | options
        return self.ax.text(x, y, text, size=size, color=color, **options)

    def arrow(self, start, end, shape="", *, through=(), beside="", color="black"):
        """An arrow from one box, group or point to another, labelled with a shape.

        It leaves and enters where the two face each other, or goes through the given
        points, in straight lines: a way around for a residual path. shape: what
        travels, as "(B, T, C)"; it stands at the middle of the longest line, beside:
        "left", "right", "above" or "below" of it, or on it.
        """
        points = [_edge(start, end, through[:1]), *through]
        points.append(_edge(end, start, through[-1:]))
        xs, ys = zip(*points)
        self.ax.plot(
            xs[:-1], ys[:-1], color=color, linewidth=LINE, zorder=3,
            solid_joinstyle="round",
        )  # fmt: skip
        style = {"arrowstyle": "-|>", "color": color, "linewidth": LINE}
        style |= {"shrinkA": 0, "shrinkB": 0, "mutation_scale": 10}
        self.ax.annotate("", points[-1], points[-2], arrowprops=style, zorder=3)
        if shape:
            self._label(shape, points, beside, color)
        self.arrows.append((_name(start), shape, _name(end)))

    def _label(self, shape, points, beside, color):
        pairs = itertools.pairwise(points)
        (x, y), (u, v) = max(pairs, key=lambda p: abs(complex(*p[0]) - complex(*p[1])))
        places = {
            "": {"bbox": {"facecolor": "white", "edgecolor": "none", "pad": 1}},
            "left": {"ha": "right"},
            "right": {"ha": "left"},
            "above": {"va": "bottom"},
            "below": {"va": "top"},
        }
        shift = {"left": (-0.06, 0), "right": (0.06, 0)}
        shift |= {"above": (0, 0.05), "below": (0, -0.05)}
        dx, dy = shift.get(beside, (0, 0))
        middle = (x + u) / 2 + dx, (y + v) / 2 + dy
        self.text(shape, *middle, size=FONT - 1.5, color=color, **places[beside])

    def group(self, members, title=""):
        """An outline around boxes and groups, its title above them; its Frame."""
        left = min(m.left[0] for m in members) - ROOM
        right = max(m.right[0] for m in members) + ROOM
        bottom = min(m.bottom[1] for m in members) - ROOM
        top = max(m.top[1] for m in members) + ROOM + (TITLE if title else 0)
        frame = Frame(
            (left + right) / 2, (bottom + top) / 2, right - left, top - bottom, title
        )
        self._outline(frame, "none", "#777777", (0, (4, 2)), rounding=0.12)
        if title:
            where = left + 0.1, top - 0.06
            self.text(title, *where, size=FONT - 0.5, ha="left", va="top", color="#333")
        return frame

    def units(self, count, x, y, *, shown=5, height=2.0, title=""):
        """A layer of `count` units as a column of circles, all of them or some and ….

        Returns the Frame of the column; its circles are joined by `connect`.
        """
        places = _spread(min(count, shown), y, height)
        radius = min(0.11, height / (2.6 * max(len(places), 2)))
        if count > shown:  # a gap in the middle stands for the rest
            places.pop(len(places) // 2)
            self.text("⋮", x, y, size=FONT + 4)
        from matplotlib.patches import Circle

        for place in places:
            look = {"facecolor": KINDS["step"].fill, "edgecolor": KINDS["step"].line}
            self.ax.add_patch(Circle((x, place), radius, zorder=4, **look))
        frame = Units(x, y, 2 * radius, height, title, tuple(places))
        if title:
            self.text(title, x, y + height / 2 + 0.1, va="bottom")
        return frame

    def connect(self, layer, following, weights=""):
        """A line from every circle of a layer to every one of the next, and a label."""
        (left, _), (right, _) = layer.right, following.left
        for start in layer.places:
            for end in following.places:
                self.ax.plot(
                    (left, right), (start, end), color=figures.COLORS[0], linewidth=0.6,
                    alpha=0.55, zorder=2,
                )  # fmt: skip
        if weights:
            low = min(layer.bottom[1], following.bottom[1]) - 0.12
            self.text(weights, (left + right) / 2, low, size=FONT - 1, va="top")
        self.arrows.append((layer.name, weights, following.name))

    def show(self, name, alt):
        """Keep and show the drawing, as `figures.show` does."""
        figures.show(self.fig, name, alt)

    def _outline(self, frame, fill, line, dashes, rounding):
        from matplotlib.patches import FancyBboxPatch

        corner = frame.left[0], frame.bottom[1]
        style = f"round,pad=0,rounding_size={rounding}"
        self.ax.add_patch(
            FancyBboxPatch(
                corner, frame.width, frame.height, boxstyle=style, facecolor=fill,
                edgecolor=line, linewidth=LINE, linestyle=dashes,
                zorder=1 if fill == "none" else 4,
            )
        )  # fmt: skip

    def _size(self, text):
        """Width and height of a text in inches."""
        drawn = self.ax.text(0, 0, text, size=FONT)
        box = drawn.get_window_extent(self.fig.canvas.get_renderer())
        drawn.remove()
        return box.width / self.fig.dpi, box.height / self.fig.dpi


@dataclass(frozen=True)
class Units(Frame):
    """A column of circles; places: their heights on the page."""

    places: tuple = ()


def _spread(count, y, height):
    """`count` heights, evenly spaced from top to bottom around y."""
    if count == 1:
        return [y]
    return [y + height / 2 - height * i / (count - 1) for i in range(count)]


def _name(end):
    return end.name if isinstance(end, Frame) else ""


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

"""The course: its lessons, what each builds on, and a map of them."""

from dataclasses import dataclass
from textwrap import fill

from lmlab import figures
from lmlab.runner import lessons

PARTS = (
    "Foundations",
    "Transformers",
    "Beyond text",
    "From model to product",
    "Today",
)
WIDTH, HEIGHT = 0.78, 0.72  # of a box; lessons are 1 apart
# Number, name, part, the lessons that come directly before, the place on the map.
_TABLE = """
00 start_here     1  -      0,0
01 backprop       1  00     1,0
02 mlp_numpy      1  01     2,0
03 mlp_frameworks 1  02     3,0
04 training       1  03     4,0
05 attention      2  03     4,1
06 transformer    2  05     5,1
07 tokenizer      2  00     5,2
08 gpt            2  06,07  6,1
09 gpt2_finetune  2  08     7,1
10 bert           2  06,07  6,2
11 gan            3  04     5,4
12 gnn            3  03     4,3
13 multimodal     3  05     5,3
14 meta_learning  3  03     4,4
15 automl         4  04     5,5
16 compression    4  04     5,6
17 explain        4  05     5,7
18 scale          4  08     7,5
19 serve          4  09     8,5
20 responsible    4  09     8,6
21 applications   4  10     7,6
22 modern_llm     5  09     8,8
23 align          5  22     9,8
"""


@dataclass(frozen=True)
class Entry:
    """One lesson of the course, written or planned.

    part: from 1. needs: the numbers of the lessons directly before it. place: its
    column and its row on the map.
    """

    number: str
    name: str
    part: int
    needs: tuple
    place: tuple


def _entry(number, name, part, needs, place):
    before = () if needs == "-" else tuple(needs.split(","))
    return Entry(number, name, int(part), before, tuple(map(int, place.split(","))))


COURSE = tuple(_entry(*row.split()) for row in _TABLE.strip().splitlines())


def written():
    """The numbers of the lessons that are there, in order.

    Raises LessonError where there is no folder of lessons.
    """
    return sorted(lesson.number for lesson in lessons.find_all())


def describe(ready=None):
    """The map in words. ready: the numbers of the lessons that are there."""
    ready = written() if ready is None else ready
    return (
        f"Map of {len(COURSE)} lessons in {len(PARTS)} parts, arrows from each to "
        f"those that build on it. Filled: {', '.join(ready)}. Outlined: to come."
    )


def draw(ready=None):
    """The map: a row or more for each part, an arrow to each lesson from those before.

    Lessons that are there are filled, the others outlined. Returns the figure.
    """
    ready = written() if ready is None else ready
    fig, ax = figures.new(width=9.6, height=6.2)
    for part, name in enumerate(PARTS, start=1):
        rows = [entry.place[1] for entry in COURSE if entry.part == part]
        top, bottom = min(rows) - 0.5, max(rows) + 0.5
        ax.axhspan(top, bottom, color="0.5", alpha=0.1 if part % 2 == 0 else 0)
        label = f"Part {('I', 'II', 'III', 'IV', 'V')[part - 1]}\n{fill(name, 12)}"
        ax.text(-1.55, (top + bottom) / 2, label, va="center", weight="bold", size=8.5)
    places = {entry.number: entry.place for entry in COURSE}
    for entry in COURSE:
        _draw_box(ax, entry, filled=entry.number in ready)
        for earlier in entry.needs:
            _draw_arrow(ax, places[earlier], entry.place)
    ax.set(xlim=(-1.6, 9.5), ylim=(8.5, -0.5))
    ax.axis("off")
    return fig


def _draw_box(ax, entry, *, filled):
    from matplotlib.patches import Rectangle

    (x, y), color = entry.place, figures.COLORS[entry.part - 1]
    style = {"facecolor": color if filled else "white", "edgecolor": color}
    corner = x - WIDTH / 2, y - HEIGHT / 2
    ax.add_patch(Rectangle(corner, WIDTH, HEIGHT, lw=1.2, zorder=2, **style))
    text = "\n".join([entry.number, *entry.name.split("_")])
    ink = "white" if filled else "0.35"
    ax.text(x, y, text, size=6.8, color=ink, ha="center", va="center", zorder=3)


def _draw_arrow(ax, start, end):
    (x0, y0), (x1, y1) = start, end
    bend = x0 + 0.43 + 0.05 * y0  # its own lane between the columns
    style = {"color": "0.45", "lw": 1, "zorder": 1}
    ax.plot([x0, bend, bend, x1 - 0.44], [y0, y0, y1, y1], **style)
    ax.plot(x1 - 0.44, y1, marker=">", markersize=5, **style)

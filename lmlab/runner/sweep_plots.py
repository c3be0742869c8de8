"""The plots of a sweep: a metric against each parameter, the seeds as a band."""

import math
import statistics
from itertools import pairwise

from lmlab import figures
from lmlab.runner import grids

ACROSS = 2  # panels side by side
TOLD = 6  # values of a parameter whose means the description gives


def draw(metric, grid, points):
    """(PNG, description) of the metric against each parameter that is swept.

    grid: {parameter: its values}; points: ({parameter: value}, metric) of each run.
    A point is a run; a line leads through the means, a band from the least to the
    most; colours are the other parameters. What is not finite is left out.
    """
    import matplotlib

    matplotlib.use("agg")  # no window
    swept = [name for name, values in grid.items() if len(values) > 1] or list(grid)[:1]
    good = [(values, value) for values, value in points if math.isfinite(value)]
    down = math.ceil(len(swept) / ACROSS)
    across = min(ACROSS, len(swept))
    fig, axes = figures.new(
        down, across, width=4.6 * across + 0.6, height=3.2 * down, squeeze=False
    )
    for ax, name in zip(axes.flat, swept):
        _panel(ax, name, grid, swept, good)
    for ax in axes.flat[len(swept) :]:
        ax.set_axis_off()
    for ax in axes[:, 0]:
        ax.set_ylabel(metric)
    return figures.png(fig), _described(metric, grid, swept, good, len(points))


def _panel(ax, name, grid, swept, points):
    others = _colours(name, grid, swept)
    groups = {}
    for values, value in points:
        key = tuple(grids.show(values[other]) for other in others)
        at = _index(grid[name], values[name])
        groups.setdefault(key, {}).setdefault(at, []).append(value)
    number = name != grids.SEED and all(type(x) in (int, float) for x in grid[name])
    for index, (key, found) in enumerate(groups.items()):
        shift = 0 if number else 0.4 * ((index + 0.5) / len(groups) - 0.5)
        places = [grid[name][at] if number else at + shift for at in sorted(found)]
        label = ", ".join(key) if others else None
        _series(ax, places, [found[at] for at in sorted(found)], index, label, number)
    _axis(ax, name, grid[name], number)
    values = [value for _, value in points]
    if values and min(values) > 0 and max(values) / min(values) > 100:
        ax.set_yscale("log")
    if len(groups) > 1:
        beside = {"loc": "upper left", "bbox_to_anchor": (1, 1)}
        ax.legend(title=", ".join(others), fontsize=8, title_fontsize=8, **beside)


def _colours(name, grid, swept):
    """The other parameters that get colours: all, as long as there are enough."""
    others = [other for other in swept if other not in (name, grids.SEED)]
    enough = len(figures.COLORS)
    if math.prod(len(grid[other]) for other in others) <= enough:
        return others
    return [other for other in others if len(grid[other]) <= enough][:1]


def _index(values, value):
    return next(i for i, each in enumerate(values) if each == value)


def _series(ax, places, found, index, label, number):
    color = figures.COLORS[index % len(figures.COLORS)]
    means = [statistics.fmean(values) for values in found]
    least, most = [min(x) for x in found], [max(x) for x in found]
    order = sorted(range(len(places)), key=places.__getitem__)
    places, means, least, most, found = (
        [items[i] for i in order] for items in (places, means, least, most, found)
    )
    if number:
        ax.plot(places, means, color=color, label=label)
        ax.fill_between(places, least, most, color=color, alpha=0.15, linewidth=0)
    else:
        ax.vlines(places, least, most, color=color, alpha=0.3, linewidth=5)
        ax.plot(places, means, "_", color=color, markersize=14, label=label)
    x = [place for place, values in zip(places, found) for _ in values]
    y = [value for values in found for value in values]
    ax.plot(x, y, "o", color=color, markersize=4, alpha=0.8)


def _axis(ax, name, values, number):
    """Ticks at the values that were tried, unless they are many."""
    ax.set_xlabel(name)
    if not number:
        ax.set_xticks(range(len(values)), [grids.show(x) for x in values])
        ax.set_xlim(-0.6, len(values) - 0.4)
        if max(len(grids.show(x)) for x in values) * len(values) > 40:
            ax.tick_params("x", rotation=30)
        return
    if logarithmic(values):
        ax.set_xscale("log")
    if len(values) <= 7:
        ax.set_xticks(values, [f"{x:g}" for x in values])
        ax.minorticks_off()


def logarithmic(values):
    """Whether the values span a decade and lie more evenly on a logarithmic axis."""
    values = sorted(values)
    if values[0] <= 0 or values[-1] < 10 * values[0]:
        return False
    steps = [b - a for a, b in pairwise(values)]
    ratios = [math.log(b / a) for a, b in pairwise(values)]
    unevenness = [statistics.pstdev(x) / statistics.fmean(x) for x in (steps, ratios)]
    return unevenness[1] <= unevenness[0]


def _described(metric, grid, swept, points, runs):
    """What the picture shows, in words: also its alternative text."""
    text = f"{metric} against {', '.join(swept)}: a point for each of {runs} runs"
    if len(swept) > 1:
        text += ", a line through the means, a band from the least to the most"
    text += "."
    for name in swept:
        means = {}
        for values, value in points:
            means.setdefault(grids.show(values[name]), []).append(value)
        means = {key: statistics.fmean(found) for key, found in means.items()}
        if name == grids.SEED or not means:
            continue
        if len(means) > TOLD:
            ends = min(means, key=means.get), max(means, key=means.get)
            means = {key: means[key] for key in ends}
        told = ", ".join(f"{mean:.4g} at {key}" for key, mean in means.items())
        text += f" Mean by {name}: {told}."
    if left := runs - len(points):
        text += f" Not finite, and left out: {left}."
    return text

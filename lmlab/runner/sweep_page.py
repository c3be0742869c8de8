"""What a sweep leaves to read: one tidy table as CSV, and a page with its plots.

A plot shows a metric against each parameter, the seeds as a band.
"""

import base64
import math
import statistics
from itertools import pairwise
from urllib.parse import quote

from lmlab import figures
from lmlab.runner import pages, terminal

SEED = "seed"  # the parameter that repeats a run, and changes nothing else
NOT_RUN = "not run"
MANY = 40  # rows that a terminal shows in full
ACROSS = 2  # panels side by side
TOLD = 6  # values of a parameter whose means the description gives
# The table's own columns: no parameter, metric or fact has such a name there.
OWN = ("status", "seconds", "claims", "caught", "broken", "commit", "error")
OWN += ("run", "lesson")


def show(value):
    """A value as one writes it on the command line."""
    if isinstance(value, list):
        return ",".join(map(show, value)) or "[]"
    return str(value).lower() if isinstance(value, bool) else str(value)


def swept(grid):
    """The parameters of a grid with several values; all, when none has."""
    return [name for name, values in grid.items() if len(values) > 1] or list(grid)


def metrics(record):
    """{name: value} of a record's metrics, nan and infinities as such."""
    return {x["name"]: float(x["value"]) for x in record["metrics"]}


def _measured(sweep):
    """{name: its last entry} of the metrics of all runs, the headline first."""
    records = sweep.records.values()
    found = {x["name"]: x for record in records for x in record["metrics"]}
    return dict(sorted(found.items(), key=lambda each: not each[1]["headline"]))


def metric_names(sweep):
    """The names of all metrics, the headline first."""
    return list(_measured(sweep))


# --- Tables ---------------------------------------------------------------------------


def rows(sweep):
    """One row per run of the grid, as {column: value}; all rows have all columns.

    Parameters first, those that are swept before the others. A metric, or a fact about
    the machine, whose name is taken already gets a word in brackets.
    """
    measured, found = metric_names(sweep), []
    for name in sweep.runs:
        record, row = sweep.records.get(name), {}
        _put(row, "parameter", sweep.values(name))
        row["status"] = record["status"] if record else NOT_RUN
        values = metrics(record) if record else {}
        _put(row, "metric", {metric: values.get(metric) for metric in measured})
        if record:
            row |= {"seconds": record["seconds"], "claims": len(record["claims"])}
            row |= {"caught": record["caught"], "broken": record["broken"]}
            device = {"device": None} | record["device"]
            device.pop(SEED, None)  # a parameter
            _put(row, "device", device | {"one_thread": record["one_thread"]})
            _put(row, "version", record["versions"])
            row |= {"commit": record.get("commit"), "error": record["error"]}
        found.append(row)
    columns = list(dict.fromkeys(key for row in found for key in row))
    return [
        {column: row.get(column) for column in columns}
        | {"lesson": sweep.lesson.name, "run": name}
        for name, row in zip(sweep.runs, found)
    ]


def _put(row, kind, values):
    for name, value in values.items():
        row[f"{name} ({kind})" if name in (*row, *OWN) else name] = value


def table_csv(sweep):
    """The rows as CSV; what is not known is empty, a list has commas in it."""
    return pages.as_csv(
        [
            {key: "" if value is None else show(value) for key, value in row.items()}
            for row in rows(sweep)
        ]
    )


def _short(sweep):
    """The rows that a person looks at: run, its swept parameters, how it ended."""
    measured, found = _measured(sweep), []
    for name, values in sweep.runs.items():
        shown = {"status": NOT_RUN, "error": "", "seconds": "", "page": "", "run": name}
        value = {}
        if record := sweep.records.get(name):
            shown |= {key: record[key] for key in ("status", "error")}
            shown["seconds"] = f"{record['seconds']:.1f}"
            if record["notebook"]:
                shown["page"] = f"{quote(name)}/{sweep.lesson.name}.html"
            value = metrics(record)
        shown["parameters"] = {key: show(x) for key, x in values.items()}
        shown["metrics"] = {
            x: f"{value[x]:.{about['digits']}f}" if x in value else ""
            for x, about in measured.items()
        }
        found.append(shown)
    return found


def table(sweep):
    """The short rows for a terminal; of many runs only those that are not ok."""
    found = _short(sweep)
    if len(found) > MANY:
        found = [row for row in found if row["status"] != "ok"][:MANY]
    measured = metric_names(sweep)[:1]
    shown = [
        (
            *row["parameters"].values(),
            f"{'✓' if row['status'] == 'ok' else '✗'} {row['status']}",
            *(row["metrics"][metric] for metric in measured),
            row["seconds"],
        )
        for row in found
    ]
    columns = (*sweep.grid, "status", *measured, "seconds")
    return terminal.table(columns, shown, right=(*measured, "seconds"))


def _over_seeds(sweep):
    """What the seeds make of the headline metric, for each of the other parameters.

    Rows of the other swept parameters, the number of runs, mean, standard deviation,
    least and most; none unless several seeds are swept.
    """
    headline = metric_names(sweep)[:1]
    if not headline or len(sweep.grid.get(SEED, [])) < 2 or len(sweep.grid) < 2:
        return []
    groups = {}
    for values, value in _points(sweep, *headline):
        others = {k: show(v) for k, v in values.items() if k != SEED}
        groups.setdefault(tuple(others.items()), []).append(value)
    digits = _measured(sweep)[headline[0]]["digits"]
    return [
        (dict(others), [len(found), *(f"{x:.{digits}f}" for x in _spread(found))])
        for others, found in groups.items()
    ]


def _spread(values):
    finite = all(math.isfinite(x) for x in values)
    deviation = statistics.stdev(values) if len(values) > 1 and finite else math.nan
    mean = statistics.fmean(values) if finite else math.nan
    return mean, deviation, min(values), max(values)


def _points(sweep, metric):
    """(parameters, value) of each run that ended well and has the metric."""
    ended = [x for x in sweep.runs if x in sweep.done]
    found = ((sweep.runs[x], metrics(sweep.records[x])) for x in ended)
    return [(values, value[metric]) for values, value in found if metric in value]


# --- The page -------------------------------------------------------------------------


def page(sweep, *, plots=False):
    """The sweep as a page: plots of each metric, means over seeds, every run."""
    measured = metric_names(sweep)
    drawn = [
        (metric, base64.b64encode(png).decode(), alt)
        for metric in (measured if plots else [])
        for png, alt in [draw(metric, sweep.grid, _points(sweep, metric))]
    ]
    fixed = sweep.values(next(iter(sweep.runs))).items()
    return pages.template("sweep.html.j2").render(
        sweep=sweep,
        title=f"{sweep.lesson.name}: a sweep of {len(sweep.runs)} runs",
        rows=_short(sweep),
        metrics=measured,
        plots=drawn,
        plotted=plots,
        seeds=_over_seeds(sweep),
        fixed={k: show(v) for k, v in fixed if k not in sweep.grid},
        versions=_versions(sweep.records.values()),
    )


def _versions(records):
    """{what: the versions found}, one in most sweeps: also commit and device."""
    found = {}
    for record in records:
        facts = record["versions"] | {"commit": record.get("commit") or "unknown"}
        facts["device"] = record["device"].get("device", "unknown")
        for name, version in facts.items():
            found.setdefault(name, {})[str(version)] = None
    return {name: ", ".join(versions) for name, versions in found.items()}


# --- Plots ----------------------------------------------------------------------------


def draw(metric, grid, points):
    """(PNG, description) of the metric against each parameter that is swept.

    grid: {parameter: its values}; points: ({parameter: value}, metric) of each run.
    A point is a run; a line leads through the means, a band from the least to the
    most; colours are the other parameters. What is not finite is left out.
    """
    import matplotlib

    matplotlib.use("agg")  # no window
    names = swept(grid)
    if len(grid[names[0]]) == 1:  # then one stands for all
        names = names[:1]
    good = [(values, value) for values, value in points if math.isfinite(value)]
    down = math.ceil(len(names) / ACROSS)
    across = min(ACROSS, len(names))
    fig, axes = figures.new(
        down, across, width=4.6 * across + 0.6, height=3.2 * down, squeeze=False
    )
    for ax, name in zip(axes.flat, names):
        _panel(ax, name, grid, names, good)
    for ax in axes.flat[len(names) :]:
        ax.set_axis_off()
    for ax in axes[:, 0]:
        ax.set_ylabel(metric)
    return figures.png(fig), _described(metric, grid, names, good, len(points))


def _panel(ax, name, grid, names, points):
    others = _colours(name, grid, names)
    groups = {}
    for values, value in points:
        key = tuple(show(values[other]) for other in others)
        at = grid[name].index(values[name])
        groups.setdefault(key, {}).setdefault(at, []).append(value)
    number = name != SEED and all(type(x) in (int, float) for x in grid[name])
    for index, (key, found) in enumerate(groups.items()):
        shift = 0 if number else 0.4 * ((index + 0.5) / len(groups) - 0.5)
        places = {(grid[name][at] if number else at + shift): found[at] for at in found}
        _series(ax, places, index, ", ".join(key) if others else None, number)
    _axis(ax, name, grid[name], number)
    values = [value for _, value in points]
    if values and min(values) > 0 and max(values) / min(values) > 100:
        ax.set_yscale("log")
    if len(groups) > 1:
        beside = {"loc": "upper left", "bbox_to_anchor": (1, 1)}
        ax.legend(title=", ".join(others), fontsize=8, title_fontsize=8, **beside)


def _colours(name, grid, names):
    """The other parameters that get colours: all, as long as there are enough."""
    others = [other for other in names if other not in (name, SEED)]
    enough = len(figures.COLORS)
    if math.prod(len(grid[other]) for other in others) <= enough:
        return others
    return [other for other in others if len(grid[other]) <= enough][:1]


def _series(ax, found, index, label, number):
    """Points, means and a band; found: {place on the axis: values there}."""
    color = figures.COLORS[index % len(figures.COLORS)]
    found = dict(sorted(found.items()))
    places, values = list(found), found.values()
    means, least, most = (list(map(f, values)) for f in (statistics.fmean, min, max))
    if number:
        ax.plot(places, means, color=color, label=label)
        ax.fill_between(places, least, most, color=color, alpha=0.15, linewidth=0)
    else:
        ax.vlines(places, least, most, color=color, alpha=0.3, linewidth=5)
        ax.plot(places, means, "_", color=color, markersize=14, label=label)
    points = [(place, value) for place in places for value in found[place]]
    ax.plot(*zip(*points), "o", color=color, markersize=4, alpha=0.8)


def _axis(ax, name, values, number):
    """Ticks at the values that were tried, unless they are many."""
    ax.set_xlabel(name)
    if not number:
        ax.set_xticks(range(len(values)), [show(x) for x in values])
        ax.set_xlim(-0.6, len(values) - 0.4)
        if max(len(show(x)) for x in values) * len(values) > 40:
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


def _described(metric, grid, names, points, runs):
    """What the picture shows, in words: also its alternative text."""
    text = f"{metric} against {', '.join(names)}: a point for each of {runs} runs"
    if len(names) > 1:
        text += ", a line through the means, a band from the least to the most"
    text += "."
    for name in names:
        means = {}
        for values, value in points:
            means.setdefault(show(values[name]), []).append(value)
        means = {key: statistics.fmean(found) for key, found in means.items()}
        if name == SEED or not means:
            continue
        if len(means) > TOLD:
            ends = min(means, key=means.get), max(means, key=means.get)
            means = {key: means[key] for key in ends}
        told = ", ".join(f"{mean:.4g} at {key}" for key, mean in means.items())
        text += f" Mean by {name}: {told}."
    if left := runs - len(points):
        text += f" Not finite, and left out: {left}."
    return text

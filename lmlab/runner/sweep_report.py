"""What a sweep leaves to read: one tidy table as CSV, and a page with its plots."""

import base64
import csv
import io
import math
import statistics
from urllib.parse import quote

from lmlab.runner import grids, report, sweep_plots

NOT_RUN = "not run"
MANY = 40  # rows that a terminal shows in full
# The table's own columns, in this order, between the metrics and the machine's facts.
OWN = (
    "status",
    "seconds",
    "claims",
    "caught",
    "broken",
    "commit",
    "error",
    "run",
    "lesson",
)


def metrics(record):
    """{name: value} of a record's metrics, nan and infinities as such."""
    return {x["name"]: float(x["value"]) for x in record["metrics"]}


def names(records):
    """The names of all metrics, the headline first."""
    found = {x["name"]: x for record in records for x in record["metrics"]}
    return sorted(found, key=lambda name: not found[name]["headline"])


def digits(records):
    """How many digits of each metric the lesson shows."""
    return {x["name"]: x["digits"] for record in records for x in record["metrics"]}


def rows(sweep):
    """One row per run of the grid, as {column: value}; all rows have all columns.

    Parameters first, those that are swept before the others. A metric, or a fact about
    the machine, whose name is taken already gets a word in brackets.
    """
    measured = names(sweep.records.values())
    found = []
    for name in sweep.runs:
        parameters = {
            _free(key, "parameter", OWN): value
            for key, value in sweep.values(name).items()
        }
        record = sweep.records.get(name)
        row = parameters | {"status": record["status"] if record else NOT_RUN}
        values = metrics(record) if record else {}
        for metric in measured:
            row[_free(metric, "metric", (*parameters, *OWN))] = values.get(metric)
        row |= _about(record, (*parameters, *OWN, *measured)) if record else {}
        found.append(row)
    columns = list(dict.fromkeys(key for row in found for key in row))
    found = [{column: row.get(column) for column in columns} for row in found]
    return [
        row | {"lesson": sweep.lesson.name, "run": name}
        for name, row in zip(sweep.runs, found)
    ]


def _about(record, taken):
    row = {
        "seconds": record["seconds"],
        "claims": len(record["claims"]),
        "caught": record["caught"],
        "broken": record["broken"],
    }
    device = {"device": None} | record["device"] | {"one_thread": record["one_thread"]}
    for name, value in device.items():
        if name != "seed":  # a parameter
            row[_free(name, "device", taken)] = value
    for name, value in record["versions"].items():
        row[_free(name, "version", taken)] = value
    return row | {"commit": record.get("commit"), "error": record["error"]}


def _free(name, kind, taken):
    return f"{name} ({kind})" if name in taken else name


def table_csv(table):
    """The rows as CSV; what is not known is empty, a list has commas in it."""
    text = io.StringIO()
    writer = csv.DictWriter(text, table[0], lineterminator="\n")
    writer.writeheader()
    for row in table:
        shown = {k: "" if v is None else grids.show(v) for k, v in row.items()}
        writer.writerow(shown)
    return text.getvalue()


def short(sweep):
    """The rows that a person looks at: run, its swept parameters, how it ended."""
    shown, measured = digits(sweep.records.values()), names(sweep.records.values())
    found = []
    for name, values in sweep.runs.items():
        record = sweep.records.get(name)
        value = metrics(record) if record else {}
        found.append(
            {
                "run": name,
                "parameters": {key: grids.show(x) for key, x in values.items()},
                "status": record["status"] if record else NOT_RUN,
                "error": record["error"] if record else "",
                "metrics": {
                    x: f"{value[x]:.{shown[x]}f}" if x in value else ""
                    for x in measured
                },
                "seconds": f"{record['seconds']:.1f}" if record else "",
                "page": f"{quote(name)}/{sweep.lesson.name}.html"
                if record and record["notebook"]
                else "",
            }
        )
    return found


def table(sweep):
    """The short rows for a terminal; of many runs only those that are not ok."""
    from rich.table import Table
    from rich.text import Text

    found = short(sweep)
    if len(found) > MANY:
        found = [row for row in found if row["status"] != "ok"][:MANY]
    measured = names(sweep.records.values())[:1]
    shown = Table(header_style="bold")
    for column in (*sweep.grid, "status", *measured, "seconds"):
        right = column in (*measured, "seconds")
        shown.add_column(Text(column), justify="right" if right else "left")
    for row in found:
        good = row["status"] == "ok"
        values = [*row["parameters"].values(), ("✓ " if good else "✗ ") + row["status"]]
        values += [row["metrics"][x] for x in measured] + [row["seconds"]]
        style = "" if good else "red"
        shown.add_row(*(Text(value, style=style) for value in values))
    return shown


def over_seeds(sweep):
    """What the seeds make of the headline metric, for each of the other parameters.

    Rows of the other swept parameters, the number of runs, mean, standard deviation,
    least and most; none unless several seeds are swept.
    """
    headline = names(sweep.records.values())[:1]
    if not headline or len(sweep.grid.get(grids.SEED, [])) < 2 or len(sweep.grid) < 2:
        return []
    groups = {}
    for name, values in sweep.runs.items():
        others = {k: grids.show(v) for k, v in values.items() if k != grids.SEED}
        value = metrics(sweep.records[name]) if name in sweep.done else {}
        group = groups.setdefault(tuple(others.items()), [])
        group += [x for x in map(value.get, headline) if x is not None]
    places = digits(sweep.records.values())[headline[0]]
    return [
        (dict(others), [len(found), *(f"{x:.{places}f}" for x in _spread(found))])
        for others, found in groups.items()
        if found
    ]


def _spread(values):
    finite = all(math.isfinite(x) for x in values)
    deviation = statistics.stdev(values) if len(values) > 1 and finite else math.nan
    mean = statistics.fmean(values) if finite else math.nan
    return mean, deviation, min(values), max(values)


def page(sweep, *, plots=False):
    """The sweep as a page: plots of each metric, means over seeds, every run."""
    records = sweep.records.values()
    measured = names(records)
    drawn = [
        (metric, base64.b64encode(png).decode(), alt)
        for metric in (measured if plots else [])
        for png, alt in [sweep_plots.draw(metric, sweep.grid, _points(sweep, metric))]
    ]
    fixed = {k: v for k, v in sweep.defaults.items() if k not in sweep.grid}
    return report.template("sweep.html.j2").render(
        sweep=sweep,
        title=f"{sweep.lesson.name}: a sweep of {len(sweep.runs)} runs",
        rows=short(sweep),
        metrics=measured,
        plots=drawn,
        plotted=plots,
        seeds=over_seeds(sweep),
        fixed={k: grids.show(v) for k, v in (fixed | sweep.fixed).items()},
        versions=_versions(records),
    )


def _points(sweep, metric):
    """(parameters, value) of each run that ended well and has the metric."""
    found = (
        (sweep.runs[x], metrics(sweep.records[x]))
        for x in sweep.runs
        if x in sweep.done
    )
    return [(values, value[metric]) for values, value in found if metric in value]


def _versions(records):
    """{what: the versions found}, one in most sweeps: also commit and device."""
    found = {}
    for record in records:
        facts = record["versions"] | {"commit": record.get("commit") or "unknown"}
        facts["device"] = record["device"].get("device", "unknown")
        for name, version in facts.items():
            found.setdefault(name, {})[str(version)] = None
    return {name: ", ".join(versions) for name, versions in found.items()}

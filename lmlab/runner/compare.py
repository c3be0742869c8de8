"""Say what differs between two runs of a lesson, and whether chance explains it.

A metric's difference is judged against the band that the lesson declares with
`record.metric(..., band=)`: how far apart two runs lie that differ in their seed. It
was measured at the parameters of a profile, and says nothing about others: with ten
times the learning rate the seed may matter ten times as much. So a run's band counts
only if its parameters, the seed apart, are those of the quick or the full profile.
One such run is enough: the question is then whether the other one, changed as it is,
still lies where a change of seed would have put it. Where neither is, no band is known.
"""

import difflib
import math
import re
from dataclasses import dataclass, field

from lmlab.runner.lessons import LessonError

ABSENT = "—"
RUN = ("status", "error", "seconds", "commit")
LINES = 20  # of claims or code that a table shows


@dataclass(frozen=True)
class Metric:
    """One metric of both runs; difference is B − A, None where one has no number."""

    name: str
    a: float | None
    b: float | None
    difference: float | None
    band: float | None
    digits: int
    holds: str = "AB"  # the runs whose settings are those at which bands are measured
    seed_alone: bool = False  # nothing that was recorded differs but the seed

    @property
    def beyond(self):
        """Whether the difference is more than a change of seed gives; None: unknown."""
        if self.difference is None or self.band is None:
            return None
        return abs(self.difference) > self.band

    @property
    def change(self):
        """The difference as text, with what leads on to the verdict."""
        if self.difference is None:
            return ""
        return f"{self.difference:+.{self.digits}f}, "

    @property
    def verdict(self):
        """The judgement in words."""
        if self.a is None or self.b is None:
            return "not in both"
        if self.difference is None:
            return "not a finite number in both"
        if self.difference == 0:
            return "the same"
        if self.band is None and self.seed_alone:
            return "that is what a change of seed does here"
        if self.band is None:
            known = "the lesson declares no band"
            return known if self.holds else "no band is known at these settings"
        return self._against_the_band()

    def _against_the_band(self):
        of, there = ("", "") if self.holds == "AB" else (f" of {self.holds}", " there")
        if not self.beyond:
            return f"within the band{of}: a change of seed does as much{there}"
        if not self.band:
            return f"beyond the band{of}, which is 0: no seed moves it{there}"
        times = f"{abs(self.difference) / self.band:.1f} times it"
        yet = ", though the seed alone differs" if self.seed_alone else ""
        return f"beyond the band{of}, {times}{yet}"


@dataclass
class Comparison:
    """What differs between two runs: rows (name, in A, in B), metrics, claims, code."""

    lesson: str
    rows: dict[str, list[tuple[str, str, str]]]
    metrics: list[Metric]
    claims_only_a: list[str] = field(default_factory=list)
    claims_only_b: list[str] = field(default_factory=list)
    code: list[str] = field(default_factory=list)
    code_unknown: str = ""  # the runs whose code is not known

    @property
    def causes(self):
        """What could explain a difference, most likely first, each in a few words."""
        found = [f"{n} ({a} → {b})" for n, a, b in self.rows["parameters"]]
        if self.code:
            found.append("the lesson's code")
        machine = self.rows["versions"] + self.rows["device"]
        found += [f"{n} ({a} → {b})" for n, a, b in machine]
        commits = [row[1:] for row in self.rows["run"] if row[0] == "commit"]
        return found + [f"git commit ({a} → {b})" for a, b in commits if b != ABSENT]

    @property
    def summary(self):
        """Sentences: each metric that moved, how that compares with chance, and why."""
        moved = [m for m in self.metrics if m.difference != 0]
        said = [f"{m.name}: {m.change}{m.verdict}." for m in moved]
        if self.metrics and not moved:
            said.append("Every metric that is in both runs is the same.")
        causes = "; ".join(self.causes)
        said.append(f"What differs: {causes or 'nothing that was recorded'}.")
        if self.code_unknown:
            whose = " and ".join(f"{run}'s" for run in self.code_unknown)
            said.append(
                f"The code is not compared: {whose} notebook is gone or has changed."
            )
        return said


def pairs(a, b):
    """The lessons that are in both runs, in order, as Comparisons.

    a, b: {lesson: record}, from `past_runs.load`.
    Raises LessonError when the runs share no lesson.
    """
    both = [name for name in a if name in b]
    if not both:
        raise LessonError(
            f"The runs share no lesson: {', '.join(a)} there, {', '.join(b)} here."
        )
    return [compare(a[name], b[name]) for name in both]


def compare(a, b):
    """What differs between two records of the same lesson."""
    rows = {
        "run": _differing(_run(a), _run(b)),
        "parameters": _differing(a["parameters"], b["parameters"]),
        "device": _differing(_device(a), _device(b)),
        "versions": _differing(a.get("versions"), b.get("versions")),
    }
    claims = [{_without_value(text): text for text in x["claims"]} for x in (a, b)]
    only = [
        [text for key, text in here.items() if key not in there]
        for here, there in (claims, reversed(claims))
    ]
    found = Comparison(a["lesson"], rows, [], *only, code=_changed(a, b))
    found.code_unknown = _which(a, b, lambda run: run.get("code") is None)
    found.metrics = _metrics(a, b, _seed_alone(found))
    return found


def _which(a, b, true):
    """The names of the runs of which it is true: "", "A", "B" or "AB"."""
    return "".join(name for name, run in (("A", a), ("B", b)) if true(run))


def _seed_alone(comparison):
    parameters = [name for name, *_ in comparison.rows["parameters"]]
    known = not comparison.code_unknown and len(comparison.causes) == 1
    return known and parameters == ["seed"]


def _run(record):
    return {key: record[key] for key in RUN if record.get(key)}


def _device(record):
    """What it ran on; the seed that is recorded with it is a parameter."""
    return {k: v for k, v in (record.get("device") or {}).items() if k != "seed"}


def _differing(a, b):
    """(name, a's value, b's value) where they differ; none where one has no record."""
    if not a or not b:
        return []
    return [
        (name, str(a.get(name, ABSENT)), str(b.get(name, ABSENT)))
        for name in a | b
        if a.get(name, ABSENT) != b.get(name, ABSENT)
    ]


def _without_value(text):
    """A claim without the measured value that it shows."""
    return re.sub(r" \S+ in \[", " in [", text)


def _metrics(a, b, seed_alone):
    found = [{metric["name"]: metric for metric in x["metrics"]} for x in (a, b)]
    holds = _which(a, b, lambda run: run["of_a_profile"])
    return [
        _metric(name, *(x.get(name) for x in found), holds, seed_alone)
        for name in found[0] | found[1]
    ]


def _metric(name, a, b, holds, seed_alone):
    values = [float(x["value"]) if x else None for x in (a, b)]
    usable = all(value is not None and math.isfinite(value) for value in values)
    declared = [
        x.get("band") if x and run in holds else None for run, x in zip("AB", (a, b))
    ]
    bands = [band for band in declared if band is not None]
    return Metric(
        name,
        *values,
        difference=values[1] - values[0] if usable else None,
        band=max(bands, default=None),
        digits=(a or b)["digits"],
        holds=holds,
        seed_alone=seed_alone,
    )


def _changed(a, b):
    """The lines of code that differ, with - (only in A) and + (only in B)."""
    if a.get("code") is None or b.get("code") is None:
        return []
    lines = difflib.unified_diff(a["code"], b["code"], n=0, lineterm="")
    return [line for line in lines if not line.startswith(("---", "+++", "@@"))]


def tables(comparison):
    """The comparison for a terminal: what differs, and each metric's verdict."""
    for title, rows in comparison.rows.items():
        if rows:
            yield _table(title, ("", "A", "B"), rows)
    if comparison.metrics:
        columns = ("", "A", "B", "B − A", "band", "verdict")
        rows = [_shown(metric) for metric in comparison.metrics]
        yield _table("metrics", columns, rows)
    for title, lines in (
        ("claims only in A", comparison.claims_only_a),
        ("claims only in B", comparison.claims_only_b),
        ("code (- A, + B)", comparison.code),
    ):
        if lines:
            more = len(lines) - LINES
            shown = [*lines[:LINES], *[f"… and {more} more"] * (more > 0)]
            yield _table(title, (), [(line,) for line in shown])


def _table(title, columns, rows):
    from rich.table import Table
    from rich.text import Text

    shown = Table(*columns, title=title, title_justify="left", header_style="bold")
    shown.show_header = bool(columns)
    for row in rows:
        shown.add_row(*(Text(entry) for entry in row))
    return shown


def _shown(metric):
    def number(value, sign=""):
        return ABSENT if value is None else f"{value:{sign}.{metric.digits}f}"

    band = ABSENT if metric.band is None else f"±{number(metric.band)}"
    difference = number(metric.difference, "+")
    values = number(metric.a), number(metric.b), difference, band
    return metric.name, *values, metric.verdict

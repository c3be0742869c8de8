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

from lmlab.runner import terminal
from lmlab.runner.lessons import LessonError

ABSENT = "—"
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
        of, there = ("", "") if self.holds == "AB" else (f" of {self.holds}", " there")
        if not self.beyond:
            return f"within the band{of}: a change of seed does as much{there}"
        if not self.band:
            return f"beyond the band{of}, which is 0: no seed moves it{there}"
        times = f"{abs(self.difference) / self.band:.1f} times it"
        yet = ", though the seed alone differs" if self.seed_alone else ""
        return f"beyond the band{of}, {times}{yet}"

    def text(self, value, sign=""):
        """The value with the digits that the lesson shows."""
        return ABSENT if value is None else f"{value:{sign}.{self.digits}f}"


@dataclass
class Comparison:
    """What differs between two runs: rows (name, in A, in B), metrics, claims, code."""

    lesson: str
    rows: dict[str, list[tuple[str, str, str]]]
    claims_only_a: list[str]
    claims_only_b: list[str]
    code: list[str]
    code_unknown: str  # the runs whose code is not known
    metrics: list[Metric] = field(default_factory=list)

    @property
    def causes(self):
        """What could explain a difference, most likely first, each in a few words."""
        commits = [row for row in self.rows["run"] if row[0] == "commit"]
        commits = [("git commit", a, b) for _, a, b in commits if b != ABSENT]
        machine = self.rows["versions"] + self.rows["device"] + commits
        before, after = (
            [f"{name} ({a} → {b})" for name, a, b in rows]
            for rows in (self.rows["parameters"], machine)
        )
        return [*before, *["the lesson's code"] * bool(self.code), *after]

    @property
    def summary(self):
        """Sentences: each metric that moved, how that compares with chance, and why."""
        said = []
        for metric in self.metrics:
            if metric.difference is None:
                said.append(f"{metric.name}: {metric.verdict}.")
            elif metric.difference:
                change = metric.text(metric.difference, "+")
                said.append(f"{metric.name}: {change}, {metric.verdict}.")
        if self.metrics and not said:
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

    a, b: {lesson: record}, from `records.load`.
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
    about = ("status", "error", "seconds", "commit")
    runs = [{key: run[key] for key in about if run.get(key)} for run in (a, b)]
    # The seed that is recorded with the device is a parameter.
    devices = [dict(run.get("device") or {}, seed=None) for run in (a, b)]
    rows = {
        "run": _differing(*runs),
        "parameters": _differing(a["parameters"], b["parameters"]),
        "device": _differing(*devices) if a.get("device") and b.get("device") else [],
        "versions": _differing(a.get("versions"), b.get("versions")),
    }
    # A claim is the same whatever measured value it shows.
    value = re.compile(r" \S+ in \[")
    claims = [{value.sub(" in [", x): x for x in run["claims"]} for run in (a, b)]
    only = [
        [text for key, text in here.items() if key not in there]
        for here, there in (claims, reversed(claims))
    ]
    unknown = _which(a, b, lambda run: run.get("code") is None)
    found = Comparison(a["lesson"], rows, *only, _changed(a, b), unknown)
    swept = [name for name, *_ in rows["parameters"]]
    seed_alone = not unknown and len(found.causes) == 1 and swept == ["seed"]
    holds = _which(a, b, lambda run: run["of_a_profile"])
    found.metrics += _metrics(a, b, holds, seed_alone)
    return found


def _which(a, b, true):
    """The names of the runs of which it is true: "", "A", "B" or "AB"."""
    return "".join(name for name, run in (("A", a), ("B", b)) if true(run))


def _differing(a, b):
    """(name, a's value, b's value) where they differ; none where one has no record."""
    if not a or not b:
        return []
    both = {name: (a.get(name, ABSENT), b.get(name, ABSENT)) for name in a | b}
    return [(name, str(x), str(y)) for name, (x, y) in both.items() if x != y]


def _metrics(a, b, holds, seed_alone):
    a, b = ({metric["name"]: metric for metric in run["metrics"]} for run in (a, b))
    for name in a | b:
        both = a.get(name), b.get(name)
        values = [float(x["value"]) if x else None for x in both]
        usable = all(value is not None and math.isfinite(value) for value in values)
        bands = [x.get("band") for run, x in zip("AB", both) if run in holds and x]
        yield Metric(
            name,
            *values,
            difference=values[1] - values[0] if usable else None,
            band=max((band for band in bands if band is not None), default=None),
            digits=(both[0] or both[1])["digits"],
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
            yield terminal.table(("", "A", "B"), rows, title=title)
    if comparison.metrics:
        rows = [
            (
                *(x.name, x.text(x.a), x.text(x.b), x.text(x.difference, "+")),
                *(ABSENT if x.band is None else f"±{x.text(x.band)}", x.verdict),
            )
            for x in comparison.metrics
        ]
        columns = ("", "A", "B", "B − A", "band", "verdict")
        yield terminal.table(columns, rows, title="metrics")
    for title, lines in (
        ("claims only in A", comparison.claims_only_a),
        ("claims only in B", comparison.claims_only_b),
        ("code (- A, + B)", comparison.code),
    ):
        if lines:
            more = len(lines) - LINES
            shown = [*lines[:LINES], *[f"… and {more} more"] * (more > 0)]
            yield terminal.table((), [(line,) for line in shown], title=title)

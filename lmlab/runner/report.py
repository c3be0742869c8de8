"""What a run leaves to read: one table as text, CSV and HTML, and a page per lesson.

The pages are self-contained: no script, no style sheet and no picture from
elsewhere, and no folder or name of the machine that made them.
"""

import base64
import contextlib
import csv
import hashlib
import html
import io
import json
import os
from collections import defaultdict
from pathlib import Path

from lmlab import files

COLUMNS = {
    "lesson": "lesson",
    "status": "status",
    "seconds": "seconds",
    "claims": "claims held",
    "caught": "broken versions caught",
    "headline": "headline",
}
UP = ("index.html", "all lessons of this run")


def facts(notebook):
    """What an executed notebook states: claims, broken versions, metrics, device."""
    from lmlab import record

    kinds = defaultdict(list)
    for fact in record.read(notebook):
        kinds[fact["kind"]].append(fact)
    metrics = [
        {key: fact[key] for key in ("name", "value", "headline", "digits")}
        | {"band": fact.get("band")}
        for fact in kinds["metric"]
    ]
    device = {
        key: value
        for fact in kinds["device"][:1]
        for key, value in fact.items()
        if key not in ("kind", "text", "cell")
    }
    return {
        "claims": [fact["text"] for fact in kinds["claim"]],
        "caught": sum(fact["caught"] for fact in kinds["catch"]),
        "broken": sum(fact["of"] for fact in kinds["catch"]),
        "metrics": metrics,
        "device": device,
    }


def digest(notebook):
    """A digest of the code and outputs: it tells whether a record is of this notebook.

    What Jupyter changes by saving, without running anything, does not count.
    """
    cells = [
        [cell["source"], cell["outputs"]]
        for cell in notebook["cells"]
        if cell["cell_type"] == "code"
    ]
    text = json.dumps(cells, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def cells(notebook):
    """Seconds of each code cell that ran: number in In [ ], first line, seconds."""
    timed = []
    for cell in notebook["cells"]:
        seconds = cell["metadata"].get("papermill", {}).get("duration")
        if cell["cell_type"] == "code" and cell.get("execution_count") and seconds:
            line = next((x for x in cell["source"].splitlines() if x.strip()), "")
            timed.append(
                {
                    "cell": cell["execution_count"],
                    "line": line.strip(),
                    "seconds": round(seconds, 3),
                }
            )
    return timed


def headline(result):
    """The lesson's headline metric as text, or nothing."""
    for metric in result["metrics"]:
        if metric["headline"]:
            return f"{metric['name']} {float(metric['value']):.{metric['digits']}f}"
    return ""


def row(result):
    """One row of the summary, as text, in the order of COLUMNS."""
    ran = result["status"] != "interrupted"
    return {
        "lesson": result["lesson"],
        "status": result["status"],
        "seconds": f"{result['seconds']:.1f}" if ran else "",
        "claims": str(len(result["claims"])) if ran else "",
        "caught": f"{result['caught']} of {result['broken']}" if ran else "",
        "headline": headline(result),
    }


def table(results):
    """The summary for a terminal."""
    from rich.table import Table
    from rich.text import Text

    shown = Table(*COLUMNS.values(), header_style="bold")
    for name, column in zip(COLUMNS, shown.columns):
        column.justify = "right" if name in ("seconds", "claims", "caught") else "left"
        column.no_wrap = name in ("lesson", "status")
        column.max_width = 15 if name == "caught" else None
    for result in results:
        values = row(result)
        good = values["status"] == "ok"
        values["status"] = ("✓ " if good else "✗ ") + values["status"]
        style = "" if good else "red"
        shown.add_row(*(Text(value, style=style) for value in values.values()))
    return shown


def summary_csv(results):
    """The summary as CSV, one line per lesson."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(row(result) for result in results)
    return text.getvalue()


def summary_page(results, *, title, when):
    """The summary as a page; each lesson with its claims, metrics and parameters."""
    return template("index.html.j2").render(
        columns=COLUMNS, results=[(x, row(x)) for x in results], title=title, when=when
    )


def overview_page(runs, sweeps=()):
    """The page that leads to every run. runs: (folder, rows of summary), newest first.

    The newest one is shown in full. sweeps: (folder, rows of its table) likewise.
    """
    return template("runs.html.j2").render(columns=COLUMNS, runs=runs, sweeps=sweeps)


def notebook_page(notebook, *, title, up=UP):
    """The executed notebook as a page: text, code, outputs and pictures.

    up: (link, words) to the page of all lessons or runs.
    """
    from pygments import highlight
    from pygments.formatters import HtmlFormatter
    from pygments.lexers import PythonLexer

    markdown = _markdown()
    formatter = HtmlFormatter(nowrap=True)
    shown = []
    for cell in notebook["cells"]:
        entry = {"kind": cell["cell_type"], "count": cell.get("execution_count")}
        if cell["cell_type"] == "code":
            entry["html"] = highlight(cell["source"], PythonLexer(), formatter)
            entry["outputs"] = [_output(output) for output in cell["outputs"]]
        else:
            entry["html"] = markdown.render(cell["source"])
        shown.append(entry)
    return template("notebook.html.j2").render(
        cells=shown, title=title, up=up, style=formatter.get_style_defs(".code")
    )


def _markdown():
    """Jupyter's Markdown: tables, and formulas between dollars, as MathML."""
    from latex2mathml.converter import convert
    from markdown_it import MarkdownIt
    from mdit_py_plugins.dollarmath import dollarmath_plugin

    def formula(tex, options):
        try:
            display = "block" if options["display_mode"] else "inline"
            return convert(tex, display=display)
        except Exception:  # a slip in a formula: it is shown as it was written
            return f"<code>{html.escape(tex)}</code>"

    return (
        MarkdownIt("commonmark", {"html": False})
        .enable(["table"])
        .use(dollarmath_plugin, double_inline=True, allow_space=False, renderer=formula)
    )


def _output(output):
    """{"text": ..., "picture": data URI or nothing}; a picture's text is its alt."""
    if output["output_type"] == "stream":
        text, data = output["text"], {}
    elif output["output_type"] == "error":
        text, data = f"{output['ename']}: {output['evalue']}", {}
    else:
        text, data = output["data"].get("text/plain", ""), output["data"]
    picture = ""
    if "image/png" in data:
        picture = f"data:image/png;base64,{''.join(data['image/png'].split())}"
    elif "image/svg+xml" in data:
        svg = base64.b64encode(data["image/svg+xml"].encode()).decode()
        picture = f"data:image/svg+xml;base64,{svg}"
    return {"text": hide_places(text), "picture": picture}


def hide_places(text):
    """The text without this machine's folders: a page may be shown to others."""
    places = {str(files.PACKAGE.parent): ".", str(Path.home()): "~"}
    with contextlib.suppress(FileNotFoundError):  # it may have been removed meanwhile
        places[os.getcwd()] = "."
    for place in sorted(places, key=len, reverse=True):
        if len(place) > 1:
            text = text.replace(place, places[place])
    return text


def template(name):
    """A page's template, from templates/."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("lmlab.runner"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    return environment.get_template(name)

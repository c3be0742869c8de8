"""What a run leaves to read: one table for a terminal and as CSV, a page per lesson.

The pages are self-contained: no script, no style sheet and no picture from
elsewhere, and no folder or name of the machine that made them.
"""

import base64
import contextlib
import csv
import html
import io
import os
from pathlib import Path

import jinja2
from latex2mathml.converter import convert
from markdown_it import MarkdownIt
from mdit_py_plugins.dollarmath import dollarmath_plugin
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonLexer

from lmlab import files
from lmlab.runner import terminal

COLUMNS = {
    "lesson": "lesson",
    "status": "status",
    "seconds": "seconds",
    "claims": "claims held",
    "caught": "broken versions caught",
    "headline": "headline",
}
NUMBERS = [COLUMNS[name] for name in ("seconds", "claims", "caught")]
UP = ("index.html", "all lessons of this run")


def _headline(result):
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
        "headline": _headline(result),
    }


def table(results):
    """The summary for a terminal."""
    shown = []
    for values in map(row, results):
        mark = "✓" if values["status"] == "ok" else "✗"
        shown.append((values | {"status": f"{mark} {values['status']}"}).values())
    found = terminal.table(COLUMNS.values(), shown, right=NUMBERS)
    for column in found.columns[:2]:
        column.no_wrap = True
    found.columns[4].max_width = 15
    return found


def as_csv(rows):
    """The rows, {column: text} each, as CSV under a line of their columns."""
    text = io.StringIO()
    writer = csv.DictWriter(text, rows[0], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
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
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("lmlab.runner"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    return environment.get_template(name)

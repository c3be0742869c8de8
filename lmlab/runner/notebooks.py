"""Renew the notebooks' stored outputs, which must be the same on every processor.

Each notebook is executed twice, on this machine's own kernels and on the reduced set
(`lmlab.runner.kernel_sets`). A cell whose text differs between the two would differ on
somebody else's machine as well: then nothing is replaced, and the cell is named.

A notebook is committed in one form: whatever changes from run to run without meaning
is removed, so that a second run leaves no difference but in what the lesson computes.
"""

import hashlib
import itertools
from collections import Counter, defaultdict

from lmlab.files import publish
from lmlab.runner import kernel_sets, kernels, lessons, records, terminal
from lmlab.runner.execute import Outcome

KERNELSPEC = {
    "display_name": "Python 3 (ipykernel)",
    "language": "python",
    "name": "python3",
}
# Without the patch version of Python, which papermill and Jupyter do not need.
LANGUAGE = {
    "codemirror_mode": {"name": "ipython", "version": 3},
    "file_extension": ".py",
    "mimetype": "text/x-python",
    "name": "python",
    "nbconvert_exporter": "python",
    "pygments_lexer": "ipython3",
}
KEPT = ("deletable", "editable", "jupyter", "nbgrader", "slideshow", "tags")
VARIES = "nbval-ignore-output"  # the tag of a cell whose output is not compared
# Of these nbval compares nothing either.
_WIDGET = "application/vnd.jupyter.widget-view+json"
_UNCOMPARED = ("image/png", "image/jpeg", _WIDGET)
_AGAIN = " (reduced kernel set)"


def renew(names, *, workers=None, timeout=None):
    """Execute notebooks and put them in the place of the old.

    A lesson comes with its notebooks of all KINDS. Returns (the signal that cut it
    short or 0, whether all were replaced). Raises LessonError for a name that no
    lesson has.
    """
    figures = lessons.folder().parent / "figures"
    own, reduced = kernels.settings(), kernel_sets.SETS["reduced"]
    if kernel_sets.in_force(own) == "reduced":  # then it is no set to compare with
        own = {name: own[name] for name in own.keys() - reduced.keys()}
    requests = []
    for lesson in lessons.select(names, lessons.KINDS):
        requests += [
            (lesson.name, lesson.path, {}, own),
            (lesson.name + _AGAIN, lesson.path, {}, own | reduced),
        ]
    ended = {}

    def keep(job, outcome):
        ended[job.name] = job, outcome
        name = job.name.removesuffix(_AGAIN)
        both = [ended.get(each) for each in (name, name + _AGAIN)]
        if all(both) and all(outcome.status == "ok" for _, outcome in both):
            ended[job.name] = job, _replace(*(job for job, _ in both), outcome, figures)
        return vars(ended[job.name][1])

    signal = terminal.run(requests, keep, workers=workers, timeout=timeout)
    for name, (_, outcome) in ended.items():
        if outcome.status != "ok":
            terminal.explain(name, vars(outcome))
    return signal, all(outcome.status == "ok" for _, outcome in ended.values())


def _replace(own, reduced, outcome, figures):
    """Publish what `own` left, unless `reduced` differs from it; how that ended."""
    import nbformat

    notebook = lessons.read_notebook(own.executed)
    found = differences(notebook, lessons.read_notebook(reduced.executed))
    if found:
        said = [f"In [{n}]: {a!r}, and {b!r} there" for n, a, b in found]
        text = (
            f"{len(found)} compared cells print something else under the reduced "
            f"kernel set; show what is compared in fewer digits, or tag the cell "
            f"{VARIES} and claim it in a band:\n  " + "\n  ".join(said)
        )
        return Outcome("failed", outcome.seconds, text, found[0][0])
    try:
        text = nbformat.writes(normalize(notebook))
        publish(own.source, text.rstrip() + "\n")
        records.keep_figures(own, figures)
    except OSError as error:
        return Outcome("failed", outcome.seconds, f"cannot write: {error}")
    return outcome


def differences(a, b):
    """[(number of the code cell, a's line, b's line)]: the first of each compared cell.

    a, b: the same notebook, executed twice. Cells tagged VARIES and pictures are left
    out; the line is "" where there is none.
    """
    found = []
    pairs = zip(_code(a), _code(b), strict=True)
    for number, (here, there) in enumerate(pairs, start=1):
        if VARIES not in here.metadata.get("tags", []):
            lines = _first_difference(_compared(here), _compared(there))
            found += [(number, *lines)] if lines else []
    return found


def _code(notebook):
    return [c for c in notebook.cells if c.cell_type == "code" and c.source.strip()]


def _compared(cell):
    """The cell's text, by kind: what each stream got, and each MIME type in turn."""
    text = defaultdict(str)
    for output in cell.outputs:
        if output.output_type == "stream":
            text[output.name] += output.text
        for kind, content in output.get("data", {}).items():
            if kind not in _UNCOMPARED:
                text[kind] += f"{content}\n"
    return text


def _first_difference(a, b):
    for kind in a | b:
        lines = (text.get(kind, "").splitlines() for text in (a, b))
        for pair in itertools.zip_longest(*lines, fillvalue=""):
            if pair[0] != pair[1]:
                return pair
    return None


def normalize(notebook):
    """The notebook with stable ids, counts 1 to n, merged streams and little metadata.

    A cell's id is a hash of its type and source, so that it moves with the cell.
    Changes the notebook in place and returns it.
    """
    from nbformat import from_dict

    title = {key: notebook.metadata[key] for key in notebook.metadata if key == "title"}
    metadata = {"kernelspec": KERNELSPEC, "language_info": LANGUAGE, **title}
    notebook.metadata = from_dict(metadata)
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    taken, count = Counter(), 0
    for cell in notebook.cells:
        written = {key: cell.metadata[key] for key in KEPT if key in cell.metadata}
        cell.metadata = from_dict({k: v for k, v in written.items() if v != []})
        text = f"{cell.cell_type}\n{cell.source}".encode()
        digest = hashlib.sha256(text).hexdigest()[:8]
        taken[digest] += 1
        again = f"-{taken[digest]}" if taken[digest] > 1 else ""
        cell["id"] = f"{digest}{again}"
        if cell.cell_type == "code":
            if cell.execution_count is not None:
                count += 1
                cell.execution_count = count
            cell.outputs = merge_streams(cell.outputs)
            for output in cell.outputs:
                if "execution_count" in output:
                    output.execution_count = cell.execution_count
    return notebook


def merge_streams(outputs):
    """The outputs with neighbouring pieces of the same stream joined.

    Where a print is cut into pieces depends on timing. Streams are not moved past
    other outputs: a reader sees text and pictures in the order they were shown.
    """
    merged = []
    for output in outputs:
        last = merged[-1] if merged else {}
        if output.output_type == "stream" and output.name == last.get("name"):
            last["text"] += output.text
        else:
            merged.append(output)
    return merged

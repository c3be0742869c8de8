"""Bring an executed notebook into the one form in which it is committed.

Whatever changes from run to run without meaning is removed: a second run then
leaves no difference but in what the lesson itself computes differently.
"""

import hashlib

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
    taken, count = set(), 0
    for cell in notebook.cells:
        written = {key: cell.metadata[key] for key in KEPT if key in cell.metadata}
        cell.metadata = from_dict({k: v for k, v in written.items() if v != []})
        cell["id"] = _unique(cell, taken)
        if cell.cell_type == "code":
            if cell.execution_count is not None:
                count += 1
                cell.execution_count = count
            cell.outputs = merge_streams(cell.outputs)
            for output in cell.outputs:
                if "execution_count" in output:
                    output.execution_count = cell.execution_count
    return notebook


def _unique(cell, taken):
    text = f"{cell.cell_type}\n{cell.source}".encode()
    name = digest = hashlib.sha256(text).hexdigest()[:8]
    again = 1
    while name in taken:
        again += 1
        name = f"{digest}-{again}"
    taken.add(name)
    return name


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

"""The committed notebooks: executed, covered, compared, and safe to publish.

nbval re-executes them and compares their stored outputs, but a notebook without
execution counts would pass it untested: the rules here close that gap.
"""

import copy
import re
import statistics
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
import yaml
from nbformat.v4 import new_code_cell, new_notebook, new_output

from lmlab import parameters, record

ROOT = Path(__file__).resolve().parent.parent
LESSONS = sorted(ROOT.glob("notebooks/[0-9][0-9]_*.ipynb"))
DEEPER = sorted(ROOT.glob("notebooks/deeper/[0-9][0-9]_*.ipynb"))
EXERCISES = sorted(ROOT.glob("notebooks/exercises/[0-9][0-9]_*.ipynb"))
NOTEBOOKS = LESSONS + DEEPER + EXERCISES
# The lessons in the shape of an evening: their core is counted.
EVENING = [
    "00_start_here", "01_backprop", "02_mlp_numpy", "03_mlp_frameworks", "04_training",
    "05_attention", "06_transformer", "07_tokenizer",
]  # fmt: skip
VARIES = "nbval-ignore-output"


def address(path):
    return str(path.relative_to(ROOT / "notebooks"))


each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=address)
each_lesson = pytest.mark.parametrize("path", LESSONS, ids=[p.stem for p in LESSONS])


def load(path):
    return nbformat.read(path, as_version=4)


def code_cells(notebook):
    return [c for c in notebook.cells if c.cell_type == "code" and c.source.strip()]


def tags(cell):
    return cell.metadata.get("tags", [])


def texts(cell):
    """Every text that the cell's outputs hold, pictures left out."""
    for output in cell.outputs:
        yield output.get("text", "")
        for kind, content in output.get("data", {}).items():
            if not kind.startswith("image/"):
                yield str(content)
        yield "\n".join(output.get("traceback", []))


def unsound(notebook):
    """What makes the stored outputs worth less than they look."""
    cells = code_cells(notebook)
    said = []
    if [c.execution_count for c in cells] != list(range(1, len(cells) + 1)):
        said.append("the code cells are not executed 1 to n")
    for number, cell in enumerate(cells, 1):
        for output in cell.outputs:
            if output.output_type == "error":
                said.append(f"cell {number} ends in an error")
            if output.get("name") == "stderr":
                said.append(f"cell {number} writes to stderr")
        if re.search(r"(?<![\w.])/(root|home|tmp|work|Users)/", "".join(texts(cell))):
            said.append(f"cell {number} shows a path of the machine")
        if "nbval-skip" in tags(cell):
            said.append(f"cell {number} is not run by the tests")
        if "execution" in cell.metadata:
            said.append(f"cell {number} says when it was run")
    if notebook.metadata.kernelspec.name != "python3":
        said.append("the kernel is not python3")
    return said


def share_compared(notebooks):
    """(compared, with outputs): cells whose stored output the tests compare."""
    shown = [c for nb in notebooks for c in code_cells(nb) if c.outputs]
    return sum(VARIES not in tags(c) for c in shown), len(shown)


@each_notebook
def test_stored_outputs_are_sound(path):
    assert unsound(load(path)) == []


@each_notebook
def test_cells_are_short_and_narrow(path):
    cells = code_cells(load(path))
    lines = [len(c.source.splitlines()) for c in cells]
    assert max(lines) <= 40
    assert statistics.median(lines) < 10
    wide = [ln for c in cells for ln in c.source.splitlines() if len(ln) > 88]
    assert wide == []


@each_notebook
def test_the_file_stays_small(path):
    assert path.stat().st_size < 1_000_000


@each_lesson
def test_a_lesson_has_typed_parameters_and_a_seed(path):
    tagged = [c for c in code_cells(load(path)) if "parameters" in tags(c)]
    assert len(tagged) == 1
    typed = re.compile(r"\w+: (int|float|str|bool|list\[\w+\]) = \S.*  # \S")
    lines = [ln for ln in tagged[0].source.splitlines() if not ln.startswith("#")]
    assert [ln for ln in lines if not typed.match(ln)] == []
    assert any(ln.startswith("seed: int = ") for ln in lines)


def longer_than_an_evening(notebook):
    """What of a core notebook does not fit into a reader's evening."""
    cells = code_cells(notebook)
    lines = sum(bool(ln.strip()) for c in cells for ln in c.source.splitlines())
    prose = [c.source for c in notebook.cells if c.cell_type == "markdown"]
    words = len(" ".join(prose).split())
    first = [n for n, c in enumerate(cells, 1) if "first-success" in tags(c)]
    said = []
    if len(cells) > 70:
        said.append(f"{len(cells)} code cells, at most 70")
    if words > 3200:
        said.append(f"{words} words, at most 3,200")
    if lines > 600:
        said.append(f"{lines} lines of code, at most 600")
    if max(len(c.source.splitlines()) for c in cells) > 30:
        said.append("a cell of more than 30 lines")
    if len(first) != 1 or first[0] > 15:
        said.append(f"first success in cells {first}, not in one of the first 15")
    if "schematics." not in "".join(c.source for c in cells):
        said.append("no schematic")
    return said


@pytest.mark.parametrize("name", EVENING)
def test_a_core_notebook_fits_into_an_evening(name):
    (path,) = [path for path in LESSONS if path.stem == name]
    assert longer_than_an_evening(load(path)) == []


def test_what_does_not_fit_into_an_evening_is_noticed():
    cell = new_code_cell("schematics.new()", metadata={"tags": ["first-success"]})
    short = new_notebook(cells=[cell])
    assert longer_than_an_evening(short) == []
    long = new_notebook(cells=[new_code_cell("x = 1\n" * 31) for _ in range(71)])
    long.cells.append(nbformat.v4.new_markdown_cell("word " * 3201))
    assert [said.split()[0] for said in longer_than_an_evening(long)] == [
        "71", "3201", "2201", "a", "first", "no"
    ]  # fmt: skip


def declared(path):
    """The lesson's parameters, by name; a range that cannot be read is an error."""
    (cell,) = [c for c in code_cells(load(path)) if "parameters" in tags(c)]
    return parameters.declarations(cell.source)


@each_lesson
def test_numbers_declare_a_range_and_the_profiles_lie_in_it(path):
    found = declared(path)
    (cell,) = [c for c in code_cells(load(path)) if "parameters" in tags(c)]
    lines = [ln for ln in cell.source.splitlines() if not ln.startswith("#")]
    assert len(found) == len(lines)
    without = [name for name, p in found.items() if p.range is None]
    assert [n for n in without if found[n].scalar in ("int", "float")] == []
    full = yaml.safe_load((ROOT / "notebooks" / "full.yaml").read_text("utf-8"))
    for profile in ({}, full.get(path.stem, {})):
        values = {name: p.default for name, p in found.items()} | profile
        for name, value in values.items():
            assert parameters.check(found[name], value) == value


@each_notebook
def test_no_cell_looks_into_its_own_globals(path):
    assert [c.source for c in code_cells(load(path)) if "globals()" in c.source] == []


@each_lesson
def test_the_running_lesson_is_checked_at_its_start(path):
    """In one cell, before which there are only the parameters and the imports."""
    cells = code_cells(load(path))
    (at,) = [i for i, c in enumerate(cells) if "devices.start(seed" in c.source]
    assert "parameters" in tags(cells[0])
    assert at <= 2


@each_lesson
def test_a_lesson_states_facts_and_shows_that_its_checks_can_fail(path):
    kinds = [fact["kind"] for fact in record.read(load(path))]
    assert kinds.count("claim") >= 3
    assert kinds.count("catch") >= 1
    assert sum(f.get("headline", False) for f in record.read(load(path))) == 1


def test_lessons_01_and_02_keep_their_number_of_claims():
    paths = [p for p in LESSONS + DEEPER if p.name.startswith(("01_", "02_"))]
    notebooks = [load(p) for p in paths]
    facts = [fact for notebook in notebooks for fact in record.read(notebook)]
    claims = len(record.claims(facts))
    caught = sum(fact["caught"] for fact in facts if fact["kind"] == "catch")
    assert claims >= 60
    assert caught >= 20


@each_lesson
def test_the_readme_counts_what_the_lesson_states(path):
    rows = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    (row,) = [row for row in rows if f"](notebooks/{path.name})" in row]
    facts = record.read(load(path))
    claims = len(record.claims(facts))
    caught = sum(fact["caught"] for fact in facts if fact["kind"] == "catch")
    assert row.split("|")[-2].strip() == f"{claims}, {caught}"


def test_most_stored_outputs_are_compared():
    compared, shown = share_compared(load(path) for path in NOTEBOOKS)
    assert compared / shown >= 0.70


@pytest.mark.parametrize("path", LESSONS + DEEPER, ids=address)
def test_every_picture_has_a_description_and_every_figure_a_file(path):
    notebook = load(path)
    for cell in code_cells(notebook):
        for output in cell.outputs:
            if "image/png" in output.get("data", {}):
                assert output.metadata.get("image/png", {}).get("alt", "").strip()
    number, further = path.name[:2], path.parent.name == "deeper"
    kept = {p.stem for p in (ROOT / "figures").glob(f"{number}-*")}
    ours = {n for n in kept if n.startswith(f"{number}-deeper-") == further}
    assert drawn(notebook) == ours


def drawn(notebook):
    """The names of the figures and schematics that the notebook shows."""
    source = "\n".join(c.source for c in code_cells(notebook))
    return set(re.findall(r"\.show\(\s*(?:\w+,\s*)?\"(\d\d-[\w-]+)\"", source))


@each_notebook
def test_links_lead_somewhere(path):
    text = "\n".join(c.source for c in load(path).cells if c.cell_type == "markdown")
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", text):
        if not re.match(r"https?:|mailto:", target):
            assert (path.parent / target).exists(), target


# The tests of the tests: a stored output that is wrong, or missing, is noticed.


def small():
    shown = new_output("stream", name="stdout", text="42\n")
    cell = new_code_cell("print(6 * 7)", execution_count=1, outputs=[shown])
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return new_notebook(cells=[cell], metadata={"kernelspec": kernel})


def nbval(notebook, folder):
    nbformat.write(notebook, folder / "small.ipynb")
    command = [sys.executable, "-m", "pytest", "--nbval", "--nbval-current-env"]
    options = ["-p", "no:cacheprovider", "-p", "no:xdist", "small.ipynb"]
    return subprocess.run(
        command + options, cwd=folder, capture_output=True, text=True, timeout=120
    )


def test_nbval_passes_what_is_true_and_catches_a_tampered_output(tmp_path):
    assert nbval(small(), tmp_path).returncode == 0
    tampered = small()
    tampered.cells[0].outputs[0].text = "43\n"
    done = nbval(tampered, tmp_path)
    assert done.returncode == 1
    assert "43" in done.stdout


def test_nbval_alone_would_pass_a_stripped_notebook_and_the_rules_do_not(tmp_path):
    stripped = small()
    stripped.cells[0].execution_count = None
    stripped.cells[0].outputs = []
    assert nbval(stripped, tmp_path).returncode == 0
    assert unsound(stripped) == ["the code cells are not executed 1 to n"]
    lesson = load(LESSONS[0])
    for cell in code_cells(lesson):
        cell.execution_count, cell.outputs = None, []
    assert unsound(lesson) != []


@pytest.mark.parametrize(
    ("output", "what"),
    [
        (new_output("stream", name="stderr", text="Warning"), "writes to stderr"),
        (new_output("error", ename="E", evalue="", traceback=[]), "ends in an error"),
        (
            new_output("stream", name="stdout", text="saved /home/ann/a.txt"),
            "shows a path of the machine",
        ),
    ],
)
def test_what_should_not_be_stored_is_noticed(output, what):
    notebook = small()
    notebook.cells[0].outputs = [output]
    assert unsound(notebook) == [f"cell 1 {what}"]


def test_a_cell_that_says_when_it_was_run_is_noticed():
    notebook = small()
    notebook.cells[0].metadata["execution"] = {"iopub.status.busy": "2026-11-30"}
    assert unsound(notebook) == ["cell 1 says when it was run"]


def test_a_skipped_cell_is_noticed():
    notebook = small()
    notebook.cells[0].metadata["tags"] = ["nbval-skip"]
    assert unsound(notebook) == ["cell 1 is not run by the tests"]


def test_cells_that_vary_do_not_count_as_compared():
    notebook = small()
    notebook.cells.append(copy.deepcopy(notebook.cells[0]))
    notebook.cells[1].metadata["tags"] = [VARIES]
    assert share_compared([notebook]) == (1, 2)

"""Parameters are declared with type and range, and checked before anything runs."""

import subprocess
import sys
import types

import pytest

from lmlab import parameters
from lmlab.errors import LmlabError
from lmlab.parameters import Parameter, ParameterError

CELL = """\
# The dials.
steps: int = 5  # updates of each model, from 1
lr: float = 0.1  # learning rate, above 0
share: float = 0.0  # of what is kept: from 0, below 1
sizes: list[int] = [
    3,
    4,
]  # of the layers; from 2 to 8
device: str = "cpu"  # where to train, one of "cpu", "cuda" (a GPU) or "auto"
path: str = ""  # a file; "" for none
shuffle: bool = True
"""


def of(kind, comment, default=None):
    return Parameter("it", kind, default, comment)


def test_declarations_are_read_with_their_ranges():
    found = parameters.declarations(CELL)
    assert list(found) == ["steps", "lr", "share", "sizes", "device", "path", "shuffle"]
    assert {name: (p.type, p.default) for name, p in found.items()} == {
        "steps": ("int", 5),
        "lr": ("float", 0.1),
        "share": ("float", 0.0),
        "sizes": ("list[int]", [3, 4]),
        "device": ("str", "cpu"),
        "path": ("str", ""),
        "shuffle": ("bool", True),
    }
    assert {name: str(p.range) for name, p in found.items() if p.range} == {
        "steps": "from 1",
        "lr": "above 0",
        "share": "from 0, below 1",
        "sizes": "from 2 to 8",
        "device": 'one of "cpu", "cuda", "auto"',
    }
    assert str(found["lr"]) == "lr: float = 0.1  # learning rate, above 0"


def test_what_is_no_typed_literal_is_no_declaration():
    source = "a = 1  # from 1\nb: int = a\nc: dict = {}\nd: int\nx.y: int = 1\n"
    assert parameters.declarations(source) == {}


@pytest.mark.parametrize(
    ("comment", "inside", "outside"),
    [
        ("from 1", [1, 10**9], [0, -1]),
        ("passes, from 1 to 8", [1, 8], [0, 9]),
        ("passes; above 0", [1], [0]),
        ("the 3 of them: from -2 to -1", [-2, -1], [-3, 0]),
        ("from 2 and below 4", [2, 3], [1, 4]),
        ("from 2, below 4", [2, 3], [1, 4]),
        ("from 3 to 3", [3], [2, 4]),
        ("out of 10 from the deck, from 1e3", [1000], [999]),
    ],
)
def test_a_range_has_its_ends(comment, inside, outside):
    parameter = of("int", comment)
    assert [parameters.check(parameter, value) for value in inside] == inside
    for value in outside:
        with pytest.raises(ParameterError, match=f"it must be a whole .* got {value}$"):
            parameters.check(parameter, value)


@pytest.mark.parametrize("comment", ["above 0, below 0.5", "above 0 and below 5e-1"])
def test_an_open_interval_leaves_its_ends_out(comment):
    parameter = of("float", comment)
    assert parameters.check(parameter, 0.25) == 0.25
    for value in (0, 0.0, 0.5, -1.0, 1):
        with pytest.raises(ParameterError, match="finite number above 0"):
            parameters.check(parameter, value)


@pytest.mark.parametrize(
    ("kind", "comment", "value", "message"),
    [
        ("int", "from 1", True, "it must be a whole number from 1, got True"),
        ("int", "from 1", 2.0, "it must be a whole number from 1, got 2.0"),
        ("int", "", "2", "it must be a whole number, got '2'"),
        ("int", "", None, "it must be a whole number, got None"),
        ("float", "", True, "it must be a finite number, got True"),
        ("float", "above 0", float("nan"), "a finite number above 0, got nan"),
        ("float", "above 0", float("inf"), "a finite number above 0, got inf"),
        ("float", "", 10**400, "a finite number, got 1000"),
        ("float", "", "0.1", "a finite number, got '0.1'"),
        ("str", "", 3, "it must be a text, got 3"),
        ("str", 'one of "a", "b"', "c", 'it must be one of "a", "b", got \'c\''),
        ("bool", "", 1, "it must be true or false, got 1"),
        ("bool", "", "true", "it must be true or false, got 'true'"),
        (
            "list[int]",
            "from 1",
            [1, 0],
            "list of whole numbers, each from 1, got [1, 0]",
        ),
        ("list[int]", "from 1", 1, "a list of whole numbers, each from 1, got 1"),
        ("list[float]", "", [float("inf")], "a list of finite numbers, got [inf]"),
        ("list[bool]", "", [1], "a list of true or false, got [1]"),
        ("list[str]", 'one of "a" or "b"', ["c"], 'a list, each one of "a", "b", got'),
    ],
)
def test_another_type_or_value_is_refused(kind, comment, value, message):
    with pytest.raises(ParameterError) as caught:
        parameters.check(of(kind, comment), value)
    assert message in str(caught.value)
    assert isinstance(caught.value, LmlabError)
    assert isinstance(caught.value, ValueError)


def test_an_int_is_a_float_and_the_rest_comes_back_as_it_is():
    value = parameters.check(of("float", "above 0"), 3)
    assert (value, type(value)) == (3.0, float)
    assert parameters.check(of("list[float]", "from 1"), [1, 2.5]) == [1.0, 2.5]
    assert parameters.check(of("list[int]", "from 1"), []) == []
    assert parameters.check(of("bool", ""), False) is False
    assert parameters.check(of("str", 'one of "a" (so), "b"'), "b") == "b"


@pytest.mark.parametrize(
    ("kind", "comment", "message"),
    [
        ("int", "passes, at least 2", "cannot be read"),
        ("int", "passes from 1", "cannot be read"),
        ("int", "from 1, and a word more", "cannot be read"),
        ("int", "from 1 to many", "cannot be read"),
        ("int", "below 4", "cannot be read"),
        ("str", 'one of "a", b', "cannot be read"),
        ("int", "from 8 to 1", "is empty"),
        ("float", "above 1, below 1", "is empty"),
        ("float", "above 1 to 1", "is empty"),
        ("str", "from 1", "does not fit str"),
        ("bool", "from 0", "does not fit bool"),
        ("int", 'one of "1", "2"', "does not fit int"),
    ],
)
def test_a_range_that_says_nothing_is_refused(kind, comment, message):
    with pytest.raises(ParameterError, match=f"of the parameter 'it' {message}"):
        of(kind, comment)


def test_words_of_a_help_are_no_range():
    for comment in ("from the memory to it", "one of several", "mean of 3 to 5", ""):
        assert of("int", comment).range is None


# In the running notebook, or script.


class Shell:
    """What IPython keeps of the cells that were run, and of the user's variables."""

    def __init__(self, cells, values):
        self.history_manager = types.SimpleNamespace(input_hist_raw=["", *cells])
        self.user_ns = values


@pytest.fixture
def notebook(monkeypatch):
    def run(cells, **values):
        shell = Shell(cells, values)
        ipython = types.SimpleNamespace(get_ipython=lambda: shell)
        monkeypatch.setitem(sys.modules, "IPython", ipython)
        parameters.check_declared()

    return run


GIVEN = {"steps": 5, "lr": 0.1, "share": 0.0, "sizes": [3], "device": "cpu"}
GIVEN |= {"path": "", "shuffle": True}


def test_a_notebooks_values_are_checked_against_the_cell_that_was_run(notebook):
    notebook([CELL, "import numpy"], **GIVEN)
    for name, wrong in {"steps": 0, "lr": -1.0, "device": "tpu", "shuffle": 1}.items():
        with pytest.raises(ParameterError, match=f"^{name} must be "):
            notebook([CELL, "import numpy"], **GIVEN | {name: wrong})


def test_injected_values_count_and_the_declarations_stay(notebook):
    with pytest.raises(ParameterError, match=r"^steps must be .* from 1, got 0\n"):
        notebook([CELL, "# Parameters\nsteps = 0"], **GIVEN | {"steps": 0})


def test_the_cell_that_ran_last_declares(notebook):
    wider = CELL.replace("from 1\n", "from 0\n")
    notebook([CELL, wider], **GIVEN | {"steps": 0})
    with pytest.raises(ParameterError, match="steps"):
        notebook([wider, CELL], **GIVEN | {"steps": 0})


@pytest.mark.parametrize(
    "cell",
    [
        "steps = 5  # from 1",  # no type
        "steps: int = 5  # updates",  # no range in the cell
        "steps: int = 5  # updates, from 1\nprint(steps)",  # more than declarations
        "steps: int = 5  # at least 3",  # of the user's own grammar
        "%matplotlib inline",
        "def f(:",
        "",
        "steps: int = '",
    ],
)
def test_a_notebook_of_ones_own_is_left_alone(notebook, cell):
    notebook([cell], steps=0)


def test_what_is_not_there_is_not_checked(notebook):
    notebook([CELL])
    notebook([])


SCRIPT = """\
import sys
from lmlab import devices

steps: int = 5  # updates, from 1
size: int = 3  # at least 2, as I wrote it
free: int = 3
steps, size, free = int(sys.argv[1]), 0, "text"
devices.start(0, device="cpu")
"""


@pytest.mark.parametrize(("steps", "ends"), [("1", 0), ("0", 1)])
def test_a_script_is_checked_from_its_own_source(tmp_path, steps, ends):
    path = tmp_path / "script.py"
    path.write_text(SCRIPT, encoding="utf-8")
    command = [sys.executable, str(path), steps]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == ends, done.stderr
    said = "ParameterError: steps must be a whole number from 1, got 0"
    assert (said in done.stderr) == bool(ends)


def test_without_a_source_nothing_is_checked():
    code = (
        "from lmlab import devices\n"
        "steps: int = 0  # from 1\n"
        "devices.start(0, device='cpu')"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


START = 'from lmlab import devices\n_ = devices.start(0, device="cpu", threads=1)'


def executed(path, given):
    """The outputs' text of a notebook of CELL and START, run by papermill alone."""
    import nbformat
    import papermill

    new = nbformat.v4
    cell = new.new_code_cell(CELL, metadata={"tags": ["parameters"]})
    cells = [cell, new.new_code_cell(START), new.new_code_cell("print('went on')")]
    language = {"name": "python3", "display_name": "Python 3", "language": "python"}
    notebook = new.new_notebook(cells=cells, metadata={"kernelspec": language})
    nbformat.write(notebook, path)
    try:
        papermill.execute_notebook(path, path, given, progress_bar=False)
    except papermill.PapermillExecutionError as error:
        return str(error)
    return str(nbformat.read(path, as_version=4).cells)


def test_in_a_kernel_the_start_line_says_what_lmlab_run_says(tmp_path):
    assert "went on" in executed(tmp_path / "good.ipynb", {"steps": 1})
    said = executed(tmp_path / "wrong.ipynb", {"steps": 0})
    assert "ParameterError: steps must be a whole number from 1, got 0" in said

"""`lmlab` as a user meets it: what it prints, leaves behind, and how it exits.

The lessons here are small; each of them ends in another way.
"""

import csv
import errno
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import psutil
import pytest

from lmlab import cli, record
from lmlab.errors import LmlabError
from lmlab.files import publish
from lmlab.runner import doctor, executor, records
from lmlab.runner.lessons import LessonError

GOOD = [
    "seed: int = 0  # the seed\nlr: float = 0.1",
    """\
    import os, sys
    from pathlib import Path
    from lmlab import checks, figures, record
    checks.holds("one is one", 1 == 1)
    checks.close("halves", 0.5, 0.5, atol=1e-9)
    is_zero = lambda f: checks.equal("zero", f(), 0)
    checks.catches(is_zero, {"one": lambda: 1}, correct=int)
    record.metric("accuracy", 0.98765, headline=True, digits=3)""",
    """\
    # The first is BLAS's, the second TensorFlow's.
    threads = [os.environ.get(x) for x in ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS")]
    print(seed, lr, *threads, os.environ["LMLAB_PROGRESS"])
    print(os.getcwd(), Path.home(), file=sys.stdout)
    assert Path(sys.executable) == Path(os.environ["EXPECTED_PYTHON"])""",
    """\
    fig, ax = figures.new()
    _ = ax.plot([1, 2, 3])
    figures.show(fig, "00-line", "a line that goes up")""",
]
DIVERGES = [
    "seed: int = 0",
    "from lmlab import record\nrecord.metric('loss', float('nan'), headline=True)",
]
FAILS = ["seed: int = 0", "x = 1", "\n# the reason\nraise ValueError('no [good]')", "3"]
DIES = ["seed: int = 0", "import os\nos.kill(os.getpid(), 9)", "3"]
LEAVES = ["seed: int = 0", "import sys\nsys.exit(0)", "print('never')"]
WAITS = [
    "seed: int = 0",
    # A process that even leaves the kernel's session must not outlive the run.
    """\
    import os, pathlib, subprocess, sys, time
    busy = [sys.executable, "-c", "import time; time.sleep(600)"]
    other = subprocess.Popen(busy, start_new_session=True)
    pathlib.Path(os.environ["MARKER"] + str(seed)).touch()
    time.sleep(600)""",
]


def write(path, sources):
    """A lesson of these code cells, the first tagged as its parameters."""
    new = nbformat.v4
    lines = [[line.removeprefix("    ") for line in x.split("\n")] for x in sources]
    cells = [new.new_code_cell("\n".join(each)) for each in lines]
    cells[0].metadata["tags"] = ["parameters"]
    cells.insert(0, new.new_markdown_cell(f"# {path.stem}\n\nSome *text*."))
    language = {"name": "python3", "display_name": "Python 3", "language": "python"}
    metadata = {"kernelspec": language, "language_info": {"name": "python"}}
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(new.new_notebook(cells=cells, metadata=metadata), path)


def assert_self_contained(page, folder):
    """A page that loads nothing, tells no place, and puts every picture in words."""
    text = page.read_text(encoding="utf-8")
    assert "://" not in text
    assert "<script" not in text
    assert text.count("<img") == text.count('alt="')
    assert str(folder) not in text
    assert str(Path.home()) not in text


class Course:
    """A folder with lessons, and `lmlab` run in it as a process of its own."""

    def __init__(self, folder, **lessons):
        self.folder = folder
        self.notebooks = folder / "notebooks"
        for name, sources in lessons.items():
            write(self.notebooks / f"{name[1:]}.ipynb", sources)
        self.environment = {
            **{k: v for k, v in os.environ.items() if "_THREADS" not in k},
            "LMLAB_NOTEBOOKS": str(self.notebooks),
            "EXPECTED_PYTHON": sys.executable,
            "TEST_COURSE": str(folder),
            "TMPDIR": str(folder / "tmp"),
            "MARKER": str(folder / "marker"),
            "COLUMNS": "100",
            # Another python3 kernel, that a lesson must not run in.
            "JUPYTER_PATH": str(folder / "jupyter"),
        }
        (folder / "tmp").mkdir()
        kernel = folder / "jupyter" / "kernels" / "python3" / "kernel.json"
        kernel.parent.mkdir(parents=True)
        spec = {"argv": ["false"], "display_name": "other", "language": "python"}
        kernel.write_text(json.dumps(spec))

    def start(self, *arguments):
        return subprocess.Popen(
            [sys.executable, "-m", "lmlab.cli", *arguments],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def lmlab(self, *arguments):
        """Run to the end; (exit code, stdout, stderr). No process may be left."""
        process = self.start(*arguments)
        out, err = process.communicate(timeout=120)
        assert not self.left()
        assert not list((self.folder / "tmp").iterdir())
        return process.returncode, out, err

    def left(self):
        """Command lines of processes of this course, once they had time to end."""
        deadline = time.monotonic() + 5
        while (found := list(self.processes())) and time.monotonic() < deadline:
            time.sleep(0.1)
        return found

    def processes(self):
        for process in psutil.process_iter():
            try:
                if process.environ().get("TEST_COURSE") == str(self.folder):
                    yield process.cmdline()
            except (psutil.Error, OSError):
                continue


def files(folder):
    return {str(path.relative_to(folder)) for path in folder.rglob("*.*")}


def summary(folder):
    with (folder / "summary.csv").open(encoding="utf-8") as lines:
        return {row["lesson"]: row for row in csv.DictReader(lines)}


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """One run of lessons that end in four ways, two at a time."""
    course = Course(
        tmp_path_factory.mktemp("ran"),
        _00_good=GOOD,
        _01_fails=FAILS,
        _02_dies=DIES,
        _03_leaves=LEAVES,
    )
    course.code, course.out, course.err = course.lmlab("run", "--jobs", "2")
    (course.run,) = (course.folder / "runs").glob("20*")
    return course


class TestRun:
    def test_one_failure_is_exit_1_and_the_others_still_run(self, ran):
        assert ran.code == 1
        assert {name: row["status"] for name, row in summary(ran.run).items()} == {
            "00_good": "ok",
            "01_fails": "failed",
            "02_dies": "kernel died",
            "03_leaves": "failed",
        }

    def test_the_summary_counts_what_the_lesson_recorded(self, ran):
        row = summary(ran.run)["00_good"]
        assert float(row.pop("seconds")) > 0.5
        assert row == {
            "lesson": "00_good",
            "status": "ok",
            "claims": "2",
            "caught": "1 of 1",
            "headline": "accuracy 0.988",
        }

    def test_the_table_shows_it_too(self, ran):
        (line,) = [x for x in ran.out.splitlines() if "│ 00_good" in x]
        for text in ("✓ ok", "2", "1 of 1", "accuracy 0.988"):
            assert text in line
        assert "✗ kernel died" in ran.out

    def test_a_failure_names_lesson_cell_line_and_error(self, ran):
        assert "01_fails: failed in cell In [3]: ValueError: no [good]" in ran.err
        assert "  raise ValueError('no [good]')" in ran.err
        assert "02_dies: kernel died in cell In [2]: " in ran.err
        assert "SIGKILL" in ran.err
        assert "03_leaves: failed in cell In [3]: the run ended before" in ran.err
        assert "Traceback" not in ran.err + ran.out

    def test_nothing_else_is_said_on_stderr(self, ran):
        known = ("lmlab: 0", "  ")
        assert [x for x in ran.err.splitlines() if not x.startswith(known)] == []

    def test_what_is_left_behind(self, ran):
        ended = {"00_good": "", "01_fails": ".failed", "02_dies": ".failed"}
        ended["03_leaves"] = ".failed"
        expected = {"summary.csv", "index.html", "figures/00-line.png"}
        for name, mark in ended.items():
            expected |= {f"{name}{mark}.ipynb", f"{name}.html", f"{name}.run.json"}
        assert files(ran.run) == expected

    def test_a_partial_notebook_is_marked_on_top_and_keeps_what_ran(self, ran):
        cells = nbformat.read(ran.run / "01_fails.failed.ipynb", 4).cells
        assert cells[0].source.startswith("# ✗ This run did not finish: failed")
        assert "In [3]" in cells[0].source
        assert "ValueError: no [good]" in cells[0].source
        counts = [x.execution_count for x in cells if x.cell_type == "code"]
        assert counts == [1, 2, 3, None]
        assert not any("papermill-error" in str(cell.metadata) for cell in cells)

    def test_the_executed_notebook_is_its_own_record(self, ran):
        notebook = nbformat.read(ran.run / "00_good.ipynb", 4)
        kinds = [fact["kind"] for fact in record.read(notebook)]
        assert kinds == ["claim", "claim", "catch", "metric"]
        assert str(ran.folder / "notebooks") not in json.dumps(notebook.metadata)

    def test_the_record_of_a_run(self, ran):
        kept = json.loads((ran.run / "00_good.run.json").read_text())
        assert kept["parameters"] == {"seed": 0, "lr": 0.1}
        assert kept["claims"] == ["✓ one is one", "✓ halves"]
        assert kept["metrics"][0]["value"] == 0.98765
        assert kept["versions"]["python"].startswith("3.")
        assert {"lmlab", "numpy", "torch", "tensorflow"} <= set(kept["versions"])
        assert [cell["cell"] for cell in kept["cells"]] == [1, 2, 3, 4]
        assert all(cell["seconds"] > 0 for cell in kept["cells"])
        assert kept["one_thread"] is True
        assert kept["of_a_profile"] is True

    def test_its_record_belongs_to_the_notebook_that_was_kept(self, ran):
        for name in ("00_good.ipynb", "01_fails.failed.ipynb"):
            (found,) = records.load(ran.run / name).values()
            assert found["versions"]["python"].startswith("3.")

    def test_two_at_a_time_get_one_thread_each(self, ran):
        notebook = nbformat.read(ran.run / "00_good.ipynb", 4)
        assert notebook.cells[3].outputs[0].text.startswith("0 0.1 1 1 0\n")

    def test_the_pages_need_nothing_and_tell_nothing(self, ran):
        pages = [*ran.run.glob("*.html"), ran.folder / "runs" / "index.html"]
        assert len(pages) == 6
        for page in pages:
            assert_self_contained(page, ran.folder)

    def test_the_page_of_a_lesson_shows_pictures_with_their_words(self, ran):
        text = (ran.run / "00_good.html").read_text(encoding="utf-8")
        assert '<img src="data:image/png;base64,' in text
        assert 'alt="a line that goes up"' in text
        assert "<em>text</em>" in text

    def test_the_pages_lead_to_each_other(self, ran):
        newest = (ran.folder / "runs" / "index.html").read_text(encoding="utf-8")
        assert f'href="{ran.run.name}/index.html"' in newest
        index = (ran.run / "index.html").read_text(encoding="utf-8")
        for name in ("00_good.html", "01_fails.failed.ipynb", "00_good.run.json"):
            assert f'href="{name}"' in index
        assert "ValueError: no [good]" in index
        assert (ran.folder / "runs" / "latest").resolve() == ran.run

    def test_without_a_terminal_progress_is_plain_lines(self, ran):
        assert "✗ 01_fails: failed, " in ran.out
        assert "\x1b" not in ran.out


def test_parameters_all_threads_and_a_folder_of_ones_choice(tmp_path):
    course = Course(tmp_path, _00_good=GOOD)
    arguments = ("run", "0", "-p", "lr=1e-3", "-p", "00.seed=7", "--out", "mine")
    code, out, _ = course.lmlab(*arguments)
    assert code == 0
    assert f"Results: {Path('mine', 'index.html')}" in out
    notebook = nbformat.read(tmp_path / "mine" / "00_good.ipynb", 4)
    assert notebook.cells[4].outputs[0].text.startswith("7 0.001 None None 0\n")
    kept = json.loads((tmp_path / "mine" / "00_good.run.json").read_text("utf-8"))
    assert kept["of_a_profile"] is False
    before = (tmp_path / "mine" / "summary.csv").read_bytes()
    code, _, err = course.lmlab(*arguments)
    assert code == 2
    assert "mine holds something already" in err
    assert (tmp_path / "mine" / "summary.csv").read_bytes() == before
    assert not (tmp_path / "runs").exists()


DEEPER = [
    "seed: int = 0  # the seed\nlr: float = 0.2",
    """\
    from lmlab import figures, record
    record.metric("depth", 2.0, headline=True, digits=1)
    fig, ax = figures.new()
    figures.show(fig, "00-deeper-line", "a line that goes down")""",
]


def test_what_goes_deeper_is_run_beside_its_lesson(tmp_path):
    course = Course(tmp_path, _00_good=GOOD)
    write(course.notebooks / "deeper" / "00_good.ipynb", DEEPER)
    code, out, err = course.lmlab("run", "--deeper", "-p", "00-deeper.seed=3")
    assert (code, err) == (0, "")
    (run,) = (tmp_path / "runs").glob("20*")
    rows = summary(run)
    assert rows["00_good"]["headline"] == "accuracy 0.988"
    assert rows["00_good-deeper"]["headline"] == "depth 2.0"
    assert "│ 00_good-deeper │" in out
    expected = {"summary.csv", "index.html"}
    expected |= {"figures/00-line.png", "figures/00-deeper-line.png"}
    for name, lr in (("00_good", 0.1), ("00_good-deeper", 0.2)):
        expected |= {f"{name}.ipynb", f"{name}.html", f"{name}.run.json"}
        kept = json.loads((run / f"{name}.run.json").read_text(encoding="utf-8"))
        seed = 3 if name.endswith("deeper") else 0
        assert kept["parameters"] == {"seed": seed, "lr": lr}
    assert files(run) == expected
    assert records.load(run).keys() == rows.keys()


def test_one_notebook_that_goes_deeper_is_run_alone(tmp_path):
    course = Course(tmp_path, _00_good=GOOD)
    write(course.notebooks / "deeper" / "00_good.ipynb", DEEPER)
    code, _, _ = course.lmlab("run", "00-deeper", "--out", "mine")
    assert code == 0
    assert list(summary(tmp_path / "mine")) == ["00_good-deeper"]
    (tmp_path / "mine" / "00_good-deeper.run.json").unlink()
    ran = tmp_path / "mine" / "00_good-deeper.ipynb"
    stored = course.notebooks / "deeper" / "00_good.ipynb"
    stored.write_bytes(ran.read_bytes())
    assert list(records.load(ran)) == list(records.load(stored)) == ["00_good-deeper"]


def test_a_lesson_that_needs_too_much_memory_says_what_to_lower(tmp_path):
    too_large = [
        "seed: int = 1\nbatch_size: int = 512\nlr: float = 0.1",
        "import numpy as np\nnp.ones(2**40 * batch_size)",
    ]
    course = Course(tmp_path, _00_large=too_large)
    code, _, err = course.lmlab("run", "-p", "batch_size=1024", "--out", "mine")
    assert code == 1
    assert "00_large: failed in cell In [3]: MemoryError: Unable to allocate" in err
    assert "Lower what makes arrays large (batch_size (now 1024)), or" in err


HOSTILE = {
    "KERAS_BACKEND": "torch",
    "KERAS_MAX_EPOCHS": "1",
    "TF_USE_LEGACY_KERAS": "1",
    "TQDM_MININTERVAL": "often",
    "MPLBACKEND": "TkAgg",
    "PYTHONWARNINGS": "error",
    "PYTHONOPTIMIZE": "1",
    "PYTHONIOENCODING": "ascii",
    "HF_HOME": "kept",
}
SETTINGS = [
    "seed: int = 0",
    """\
    import json, os, sys, warnings
    from pathlib import Path
    from lmlab import figures
    asserted = False
    try:
        assert asserted
    except AssertionError:
        asserted = True
    warnings.warn("no error")
    path = Path(os.environ["MARKER"])
    _ = path.write_text("é")
    fig, ax = figures.new()
    texts = ax.set_title("x").get_usetex()
    figures.show(fig, "00-line", "a line that goes up")
    names = [*json.loads(os.environ["HOSTILE"]), "PYTHONSTARTUP"]
    kept = {name: os.environ[name] for name in names if name in os.environ}
    startup = "STARTED" in os.environ
    print(json.dumps([asserted, path.read_bytes().decode(), texts, startup, kept]))""",
]


def test_a_reader_who_has_settings_of_their_own_gets_the_same_lesson(tmp_path):
    course = Course(tmp_path, _00_settings=SETTINGS)
    home = tmp_path / "home"
    started = "import os; os.environ['STARTED'] = '1'"
    for name, text in (
        (".config/matplotlib/matplotlibrc", "text.usetex : True"),
        (".ipython/profile_default/startup/00-mine.py", started),
        ("startup.py", started),
    ):
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_text(text)
    course.environment |= HOSTILE | {
        "HOSTILE": json.dumps(HOSTILE),
        "HOME": str(home),
        "PYTHONSTARTUP": str(home / "startup.py"),
    }
    code, _, err = course.lmlab("run", "--out", "mine")
    assert (code, err) == (0, "")
    notebook = nbformat.read(tmp_path / "mine" / "00_settings.ipynb", 4)
    (*_, said) = [out for out in notebook.cells[2].outputs if "text" in out]
    kept = {"KERAS_BACKEND": "tensorflow", "HF_HOME": "kept"}
    kept["MPLBACKEND"] = "module://matplotlib_inline.backend_inline"
    assert json.loads(said.text) == [True, "é", False, False, kept]


def test_a_lesson_that_runs_out_of_time(tmp_path):
    course = Course(tmp_path, _01_waits=WAITS)
    code, _, err = course.lmlab("run", "--timeout", "10", "--out", "mine")
    assert code == 1
    assert "01_waits: timed out" in err
    assert "not done after 10 s (--timeout)" in err
    assert summary(tmp_path / "mine")["01_waits"]["status"] == "timed out"
    assert (tmp_path / "mine" / "01_waits.failed.ipynb").exists()


def test_a_metric_that_is_no_number_is_shown_and_recorded_as_json(tmp_path):
    course = Course(tmp_path, _00_diverges=DIVERGES)
    code, out, _ = course.lmlab("run", "--out", "mine")
    assert code == 0
    assert "loss nan" in out
    assert summary(tmp_path / "mine")["00_diverges"]["headline"] == "loss nan"
    assert "<td>nan</td>" in (tmp_path / "mine" / "index.html").read_text("utf-8")
    for path in ("00_diverges.run.json", "00_diverges.ipynb"):
        assert "NaN" not in (tmp_path / "mine" / path).read_text("utf-8")


def test_claims_that_did_not_count_are_listed_on_the_page(tmp_path):
    unusual = [
        "lr: float = 0.1",
        """\
    from lmlab import checks
    with checks.usual({"lr": 0.1}):
            checks.between("accuracy", 0.9, 0.5, 1.0)
    checks.holds("it ran", True)""",
    ]
    course = Course(tmp_path, _00_unusual=unusual)
    code, _, _ = course.lmlab("run", "-p", "lr=0.2", "--out", "mine")
    assert code == 0
    assert summary(tmp_path / "mine")["00_unusual"]["claims"] == "1"
    page = (tmp_path / "mine" / "index.html").read_text(encoding="utf-8")
    listed = page.split("not asserted at other parameters: 1")[1]
    assert "○ accuracy 0.900 in [0.500, 1.000]" in listed
    assert "not asserted at lr=0.2" in listed


def test_an_earlier_run_that_cannot_be_read_is_left_out(tmp_path):
    course = Course(tmp_path, _00_good=GOOD)
    for name, text in {
        "a": b"",
        "b": b"lesson,state\n00,ok\n",
        "c": b"\xff\xfe",
    }.items():
        (tmp_path / "runs" / name).mkdir(parents=True)
        (tmp_path / "runs" / name / "summary.csv").write_bytes(text)
    code, _, err = course.lmlab("run")
    assert (code, err) == (0, "")
    (run,) = (tmp_path / "runs").glob("20*")
    assert (tmp_path / "runs" / "latest").resolve() == run
    text = (tmp_path / "runs" / "index.html").read_text(encoding="utf-8")
    assert re.findall(r'href="(.*)/index.html"', text) == [run.name]


def workers_of(process):
    """The worker processes of a run: parents of its kernels."""
    found = psutil.Process(process.pid).children(recursive=True)
    kernels = [x for x in found if "ipykernel_launcher" in x.cmdline()]
    assert len(kernels) == 2
    return [kernel.parent() for kernel in kernels]


def hears_ctrl_c(process, terminal):
    """Whether Ctrl-C in the terminal of this session reaches the process."""
    return os.getsid(process.pid) == os.getsid(terminal.pid)


@pytest.mark.parametrize(
    ("number", "everyone", "workers", "code"),
    [
        (signal.SIGINT, True, "2", 130),
        (signal.SIGINT, False, "1", 130),
        (signal.SIGTERM, False, "2", 143),
    ],
)
def test_interrupted_in_the_middle(tmp_path, number, everyone, workers, code):
    second = ["seed: int = 1", *WAITS[1:]]
    course = Course(tmp_path, _01_waits=WAITS, _02_waits=second)
    process = course.start("run", "--jobs", workers)
    markers = [tmp_path / f"marker{seed}" for seed in range(int(workers))]
    deadline = time.monotonic() + 60
    while not all(marker.exists() for marker in markers):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    if everyone:
        assert not any(hears_ctrl_c(worker, process) for worker in workers_of(process))
    (os.killpg if everyone else os.kill)(process.pid, number)
    out, err = process.communicate(timeout=30)
    assert process.returncode == code
    assert course.left() == []
    assert err == f"lmlab: Interrupted ({number.name}): the lessons were stopped.\n"
    assert "✓" not in out
    (run,) = (tmp_path / "runs").glob("20*")
    assert files(run) == {"summary.csv", "index.html"}
    assert {row["status"] for row in summary(run).values()} == {"interrupted"}
    assert list((tmp_path / "tmp").iterdir()) == []


def test_a_worker_that_is_killed(tmp_path):
    kills = ["seed: int = 0", "import os\nos.kill(os.getppid(), 9)", "3"]
    course = Course(tmp_path, _01_kills=kills, _02_good=GOOD)
    code, out, err = course.lmlab("run", "--jobs", "2")
    assert code == 1
    assert "01_kills: failed: a process of the run was killed" in err
    assert "Traceback" not in err
    assert "✓ 02_good: ok" in out  # it costs no other run


@pytest.fixture(scope="module")
def refreshed(tmp_path_factory):
    course = Course(
        tmp_path_factory.mktemp("refreshed"), _00_good=GOOD, _01_fails=FAILS
    )
    write(course.notebooks / "exercises" / "00_good.ipynb", ["n: int = 3", "n + 1"])
    write(course.notebooks / "deeper" / "00_good.ipynb", ["n: int = 3", "n + 2"])
    course.before = (course.notebooks / "01_fails.ipynb").read_bytes()
    course.code, course.out, course.err = course.lmlab("notebooks", "-j", "2")
    return course


class TestNotebooks:
    def test_a_failure_is_named_and_its_notebook_left_alone(self, refreshed):
        assert refreshed.code == 1
        assert "01_fails: failed in cell In [3]: ValueError" in refreshed.err
        assert (refreshed.notebooks / "01_fails.ipynb").read_bytes() == refreshed.before

    def test_the_others_are_replaced_with_what_belongs_to_them(self, refreshed):
        notebook = nbformat.read(refreshed.notebooks / "00_good.ipynb", 4)
        assert len(record.read(notebook)) == 4
        exercise = refreshed.notebooks / "exercises" / "00_good.ipynb"
        assert nbformat.read(exercise, 4).cells[2].outputs[0].data["text/plain"] == "4"
        deeper = refreshed.notebooks / "deeper" / "00_good.ipynb"
        assert nbformat.read(deeper, 4).cells[2].outputs[0].data["text/plain"] == "5"
        assert files(refreshed.folder / "figures") == {"00-line.png"}
        assert not (refreshed.folder / "runs").exists()

    def test_a_second_run_leaves_no_difference(self, refreshed):
        places = [refreshed.notebooks, refreshed.folder / "figures"]
        paths = [path for place in places for path in place.rglob("*.*")]
        before = {path: path.read_bytes() for path in paths}
        code, _, _ = refreshed.lmlab("notebooks", "0", "--jobs", "2")
        assert code == 0
        assert {path: path.read_bytes() for path in paths} == before
        assert {x for place in places for x in place.rglob("*.*")} == set(paths)


def command(monkeypatch, capsys, *arguments):
    """The command in this process: (exit code, stdout, stderr)."""
    monkeypatch.setattr(sys, "argv", ["lmlab", *arguments])
    with pytest.raises(SystemExit) as exit:
        cli.main()
    said = capsys.readouterr()
    return exit.value.code or 0, said.out, said.err


@pytest.fixture
def course(tmp_path, monkeypatch):
    course = Course(tmp_path, _00_good=GOOD, _01_fails=FAILS)
    monkeypatch.setenv("LMLAB_NOTEBOOKS", str(course.notebooks))
    monkeypatch.setenv("EXPECTED_PYTHON", sys.executable)
    return course


class TestBadInput:
    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (
                ["run", "0", "-p", "seeds=3"],
                "no parameter 'seeds'. Did you mean 'seed'",
            ),
            (
                ["run", "0", "-p", "seed=three"],
                "seed must be a whole number",
            ),
            (["run", "0", "-p", "seed=three"], "  lr: float = 0.1"),
            (
                ["run", "00_goood"],
                "There is no lesson '00_goood'. Did you mean 00_good",
            ),
            (["run", "--profile", "huge"], "no profile 'huge'"),
            (["run", "--profile", "full"], "full profile cannot be read"),
            (["run", "--jobs", "0"], "--jobs"),
            (["run", "--timeout", "soon"], "--timeout"),
            (["run", "--timeout", "inf"], "--timeout"),
            (["run", "--speed"], "--speed"),
            (["notebooks", "9"], "There is no lesson '9'"),
            (["start", "9"], "There is no lesson '9'"),
            (["fetch", "mnst"], "mnst"),
        ],
    )
    def test_is_exit_2_with_a_sentence_and_runs_nothing(
        self, course, monkeypatch, capsys, arguments, message
    ):
        def never(*_):
            raise AssertionError("something was run")

        monkeypatch.setattr(executor, "running", never)
        code, out, err = command(monkeypatch, capsys, *arguments)
        assert code == 2
        assert message in err
        assert "Traceback" not in err
        assert out == ""
        assert not (course.folder / "runs").exists()

    def test_a_folder_that_cannot_be_written(self, course, monkeypatch, capsys):
        (course.folder / "file").write_text("")
        code, _, err = command(
            monkeypatch,
            capsys,
            "run",
            "0",
            "--out",
            str(course.folder / "file" / "out"),
        )
        assert code == 2
        assert "Results cannot be written to" in err
        assert "Not a directory. Name another with --out." in err


def full_disk(monkeypatch):
    def write_half(path, data):
        with path.open("wb") as file:
            file.write(data[: len(data) // 2])
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(Path, "write_bytes", write_half)


class TestFullDisk:
    def test_publish_leaves_the_old_file_whole(self, tmp_path, monkeypatch):
        kept = tmp_path / "summary.csv"
        publish(kept, "the old one")
        full_disk(monkeypatch)
        with pytest.raises(OSError, match="No space left"):
            publish(kept, "the new one")
        assert kept.read_text() == "the old one"
        assert files(tmp_path) == {"summary.csv"}

    def test_a_run_whose_results_cannot_be_kept_is_no_success(
        self, course, monkeypatch, capsys
    ):
        real = records.new_folder

        def new_folder(chosen):
            folder = real(chosen)
            full_disk(monkeypatch)
            return folder

        monkeypatch.setattr(records, "new_folder", new_folder)
        code, out, err = command(monkeypatch, capsys, "run", "0")
        assert code == 1
        assert "00_good: failed: cannot write the results: No space left on" in err
        assert "The summary cannot be written" in err
        assert "✓" not in out
        (run,) = (course.folder / "runs").glob("20*")
        assert list(run.rglob("*.*")) == []


class TestErrors:
    """What lmlab itself has to say is a sentence and a status, in every command."""

    @pytest.mark.parametrize(("error", "status"), [(LessonError, 2), (LmlabError, 1)])
    def test_is_no_traceback(self, monkeypatch, capsys, error, status):
        def examine():
            raise error("no such luck")

        monkeypatch.setattr(doctor, "examine", examine)
        code, out, err = command(monkeypatch, capsys, "doctor")
        assert (code, out, err) == (status, "", "lmlab: no such luck\n")


class TestOtherCommands:
    def test_start_says_where_the_copy_is(self, course, monkeypatch, capsys):
        (course.notebooks / "00_good.ipynb").rename(course.notebooks / "00_a b.ipynb")
        code, out, _ = command(monkeypatch, capsys, "start", "a b")
        assert code == 0
        path = str(course.folder / "work" / "00_a b.ipynb")
        first, second = out.splitlines()
        assert first == f"Your copy of 00_a b: {path}"
        assert shlex.split(second.removeprefix("Open it with: "))[-1] == path

    def test_fetch_of_what_is_embedded(self, monkeypatch, capsys):
        code, out, _ = command(monkeypatch, capsys, "fetch", "digits")
        assert (code, out) == (0, "✓ digits: embedded\n")

    def test_a_terminal_without_check_marks(self):
        environment = os.environ | {"PYTHONIOENCODING": "latin-1"}
        ended = subprocess.run(
            [sys.executable, "-m", "lmlab.cli", "fetch", "digits"],
            env=environment,
            capture_output=True,
        )
        assert (ended.stdout, ended.stderr) == (b"? digits: embedded\n", b"")

    def test_fetch_without_a_network(self, monkeypatch, capsys, tmp_path):
        monkeypatch.setenv("LMLAB_OFFLINE", "1")
        monkeypatch.setenv("LMLAB_DATA", str(tmp_path))
        monkeypatch.delenv("LMLAB_MIRROR", raising=False)
        code, _, err = command(monkeypatch, capsys, "fetch")
        assert code == 1
        assert "lmlab fetch mnist" in err

    def test_help_names_every_command(self, monkeypatch, capsys):
        code, out, _ = command(monkeypatch, capsys, "--help")
        assert code == 0
        for name in ("run", "notebooks", "start", "fetch", "doctor"):
            assert f"\n  {name} " in out

    def test_the_command_starts_without_heavy_imports(self):
        heavy = "{'papermill', 'nbformat', 'joblib', 'numpy', 'torch', 'tensorflow'}"
        code = f"import sys, lmlab.cli; sys.exit(str({heavy} & set(sys.modules)))"
        ended = subprocess.run([sys.executable, "-c", code], capture_output=True)
        assert ended.stderr.strip() == b"set()"

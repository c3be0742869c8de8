"""The reduced kernel set is in force wherever a lesson or a test computes."""

import os
import platform
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from test_cli import Course, write

from lmlab.runner import kernel_sets

ROOT = Path(__file__).resolve().parent.parent
REDUCED = kernel_sets.SETS["reduced"]
# What the libraries themselves say they compute with.
PROBE = """\
    import json, os
    import numpy, torch
    from threadpoolctl import threadpool_info
    from lmlab.runner import kernel_sets
    said = {
        "set": kernel_sets.in_force(),
        "torch": torch.backends.cpu.get_cpu_capability(),
        "openblas": {x["architecture"] for x in threadpool_info()
                     if x["internal_api"] == "openblas"},
        "numpy": numpy.show_config(mode="dicts")["SIMD Extensions"].get("found", []),
    }
    names = {"set": "reduced", "torch": "DEFAULT", "openblas": {"Nehalem"}}
    assert said == names | {"numpy": []}, said
    print("reduced")"""
LESSON = ["seed: int = 0", PROBE]

of_x86 = pytest.mark.skipif(
    platform.machine() not in ("x86_64", "AMD64"), reason="the sets are of x86"
)


def environment(**more):
    clean = {k: v for k, v in os.environ.items() if k not in kernel_sets.VARIABLES}
    return clean | more


@pytest.fixture
def course(tmp_path):
    course = Course(tmp_path, _00_probe=LESSON, _01_probe=LESSON)
    course.environment = {
        k: v for k, v in course.environment.items() if k not in kernel_sets.VARIABLES
    }
    return course


@of_x86
class TestInForce:
    def test_in_the_kernels_of_a_run_one_worker_or_two(self, course):
        code, _, _ = course.lmlab("run", "0", "--out", "own")
        assert code == 1  # the probe can fail: it does on the machine's own kernels
        course.environment |= REDUCED
        for jobs in "12":
            out = f"reduced-{jobs}"
            code, said, err = course.lmlab("run", "-j", jobs, "--out", out)
            assert code == 0, said + err
            for name in ("00_probe", "01_probe"):
                ran = nbformat.read(course.folder / out / f"{name}.ipynb", 4)
                assert ran.cells[2].outputs[0].text == "reduced\n"

    def test_in_the_kernels_of_workers_that_started_without_it(self, course):
        course.environment |= REDUCED
        options = ("-p", "seed=0,1", "-j", "2", "--backend", "dask")
        code, said, err = course.lmlab("sweep", "0", *options, "--out", "far")
        assert code == 0, said + err

    @pytest.mark.parametrize("workers", ["0", "2"])
    def test_in_the_tests_and_in_the_kernels_of_nbval(self, tmp_path, workers):
        for name in "ab":
            write(tmp_path / f"{name}.ipynb", LESSON)
            notebook = nbformat.read(tmp_path / f"{name}.ipynb", 4)
            text = nbformat.v4.new_output("stream", name="stdout", text="reduced\n")
            notebook.cells[2].outputs = [text]
            for number, cell in enumerate(notebook.cells[1:], 1):
                cell.execution_count = number
            nbformat.write(notebook, tmp_path / f"{name}.ipynb")
        test = "\n".join(
            f"    {line.removeprefix('    ')}" for line in PROBE.split("\n")
        )
        (tmp_path / "test_probe.py").write_text(f"def test_probe():\n{test}\n")
        options = [
            "--nbval",
            "--nbval-current-env",
            "-n",
            workers,
            "-p",
            "no:cacheprovider",
        ]
        command = [sys.executable, "-m", "pytest", *options, "--dist", "loadfile"]
        for settings, code in ((environment(), 1), (environment(**REDUCED), 0)):
            done = subprocess.run(
                command, cwd=tmp_path, env=settings, capture_output=True, text=True
            )
            assert done.returncode == code, done.stdout


class TestNames:
    def test_the_set_in_force_is_found_by_its_variables(self):
        for name, variables in kernel_sets.SETS.items():
            assert kernel_sets.in_force(variables) == name
        assert kernel_sets.in_force({"OPENBLAS_CORETYPE": "Nehalem"}) == "mixed"

    def test_the_command_prints_what_env_takes(self, capsys):
        assert kernel_sets.main(["reduced"]) == 0
        said = capsys.readouterr().out
        assert dict(pair.split("=") for pair in said.split()) == REDUCED

    @pytest.mark.parametrize("arguments", [[], ["sse"], ["own", "reduced"]])
    def test_an_unknown_set_is_refused(self, capsys, arguments):
        assert kernel_sets.main(arguments) == 2
        assert "own, avx2, reduced" in capsys.readouterr().err

    @pytest.mark.parametrize("goal", ["run", "test"])
    @pytest.mark.parametrize(("kernels", "starts"), [("reduced", True), ("sse", False)])
    def test_make_computes_under_the_set_or_not_at_all(
        self, goal, kernels, starts, tmp_path
    ):
        options = [f"KERNELS={kernels}", "JOBS=1", f"PY={sys.executable}"]
        # As at a prompt: a make above this one would say which folder it enters.
        outside = {k: v for k, v in environment().items() if not k.startswith("MAKE")}
        said = subprocess.run(
            ["make", "--no-print-directory", "-n", goal, *options],
            cwd=ROOT,
            env=outside,
            capture_output=True,
            text=True,
        ).stdout
        last = said.replace("\\\n", " ").splitlines()[-1]  # what computes
        # In the place of pytest or the command, a note of what it would start under.
        (tmp_path / "sitecustomize.py").write_text(
            "import os, sys\n"
            "if {'pytest', 'lmlab.cli'} & set(sys.orig_argv):\n"
            "    print(os.environ.get('OPENBLAS_CORETYPE'))\n"
            "    os._exit(0)\n"
        )
        settings = environment(PYTHONPATH=str(tmp_path), PYTHONUNBUFFERED="1")
        done = subprocess.run(
            last, shell=True, cwd=ROOT, env=settings, capture_output=True, text=True
        )
        assert (done.returncode == 0) == starts
        assert done.stdout == ("Nehalem\n" if starts else "")
        assert ("KERNELS must be one of" in done.stderr) != starts


DIFFERS = "import os\nprint('one')\nprint(os.environ.get('OPENBLAS_CORETYPE'))"


@pytest.fixture
def varies(course):
    sources = ["seed: int = 0", "print('the same')", DIFFERS]
    write(course.notebooks / "02_differs.ipynb", sources)
    write(course.notebooks / "03_tagged.ipynb", sources)
    tagged = nbformat.read(course.notebooks / "03_tagged.ipynb", 4)
    tagged.cells[3].metadata["tags"] = ["nbval-ignore-output"]
    nbformat.write(tagged, course.notebooks / "03_tagged.ipynb")
    return course


class TestRenewal:
    @pytest.mark.parametrize("settings", [{}, REDUCED], ids=["own", "reduced"])
    def test_a_compared_cell_that_differs_is_named_and_nothing_replaced(
        self, varies, settings
    ):
        varies.environment |= settings
        path = varies.notebooks / "02_differs.ipynb"
        before = path.read_bytes()
        code, _, err = varies.lmlab("notebooks", "2", "3", "-j", "2")
        assert code == 1
        assert "02_differs" in err
        assert "In [3]: 'None', and 'Nehalem' there" in err
        assert "03_tagged" not in err
        assert path.read_bytes() == before
        renewed = nbformat.read(varies.notebooks / "03_tagged.ipynb", 4)
        assert renewed.cells[3].outputs[0].text == "one\nNone\n"  # the machine's own

    def test_a_failure_under_one_set_alone_replaces_nothing(self, varies):
        failing = "import os\nassert 'OPENBLAS_CORETYPE' not in os.environ, 'old'"
        path = varies.notebooks / "04_fails.ipynb"
        write(path, ["seed: int = 0", failing])
        before = path.read_bytes()
        code, _, err = varies.lmlab("notebooks", "4")
        assert code == 1
        assert "04_fails (reduced kernel set): failed in cell In [2]" in err
        assert path.read_bytes() == before


def cell(*outputs, tags=()):
    new = nbformat.v4.new_code_cell("x", outputs=list(outputs))
    new.metadata["tags"] = list(tags)
    return new


def stream(text, name="stdout"):
    return nbformat.v4.new_output("stream", name=name, text=text)


def shown(**data):
    kinds = {"plain": "text/plain", "html": "text/html", "png": "image/png"}
    data = {kinds[kind]: content for kind, content in data.items()}
    return nbformat.v4.new_output("display_data", data=data)


CASES = {  # outputs of a cell, those of the other run, the lines that differ
    "the same": ([stream("1\n2\n")], [stream("1\n2\n")], None),
    "a line": ([stream("1\n2\n")], [stream("1\n3\n")], ("2", "3")),
    "pieces": ([stream("1\n"), stream("2\n")], [stream("1\n2\n")], None),
    "a line more": ([stream("1\n")], [stream("1\n2\n")], ("", "2")),
    "html": ([shown(plain="t", html="a")], [shown(plain="t", html="b")], ("a", "b")),
    "a picture": ([shown(plain="p", png="aa")], [shown(plain="p", png="bb")], None),
    "no picture": ([shown(plain="p", png="aa")], [shown(plain="q")], ("p", "q")),
    "order": (
        [shown(plain="a"), stream("1\n")],
        [stream("1\n"), shown(plain="a")],
        None,
    ),
    "none": ([shown(plain="a")], [], ("a", "")),
}


class TestDifferences:
    @pytest.mark.parametrize("name", CASES)
    def test_the_first_line_that_differs_is_found(self, name):
        from lmlab.runner import notebooks

        a, b, expected = CASES[name]
        books = [nbformat.v4.new_notebook(cells=[cell(*x)]) for x in (a, b)]
        found = notebooks.differences(*books)
        assert found == ([] if expected is None else [(1, *expected)])

    @pytest.mark.parametrize("name", CASES)
    def test_nbval_judges_alike(self, name, monkeypatch):
        from types import SimpleNamespace

        from nbval.plugin import IPyNbCell, coalesce_streams

        a, b, expected = CASES[name]
        skipped = ("metadata", "traceback", "prompt_number", "output_type", "name")
        skipped += ("execution_count", "image/png", "image/jpeg")
        item = SimpleNamespace(
            colors=SimpleNamespace(**dict.fromkeys(("OKBLUE", "FAIL", "ENDC"), "")),
            sanitize=lambda text: text,
            parent=SimpleNamespace(skip_compare=skipped),
            format_output_compare=lambda *_: None,
        )
        new, old = ([x.copy() for x in each] for each in (b, a))
        same = IPyNbCell.compare_outputs(
            item, coalesce_streams(new), coalesce_streams(old)
        )
        assert same == (expected is None)

    def test_a_cell_that_varies_is_left_out_and_counted(self):
        from lmlab.runner import notebooks

        cells = [cell(stream(x), tags=["nbval-ignore-output"]) for x in "ab"]
        last = [cell(stream(x)) for x in "cd"]
        books = [
            nbformat.v4.new_notebook(cells=list(pair)) for pair in zip(cells, last)
        ]
        assert notebooks.differences(*books) == [(2, "c", "d")]


def test_continuous_integration_computes_on_the_reduced_set():
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert script.splitlines()[-1] == "exec make test KERNELS=reduced"

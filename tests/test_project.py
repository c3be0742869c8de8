"""The house rules that a reader relies on: one list of versions, a light import."""

import ast
import importlib.metadata
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import Version

import lmlab

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def requirements():
    extras = PROJECT["optional-dependencies"]
    listed = [*PROJECT["dependencies"], *(r for rs in extras.values() for r in rs)]
    return [Requirement(r) for r in listed if not r.startswith("lmlab[")]


def locked():
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    lines = [line for line in lines if line and not line.startswith("#")]
    pins = [Requirement(line) for line in lines]
    return {canonical(p.name): str(p.specifier).removeprefix("==") for p in pins}


def canonical(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def unlocked(requirements, lock):
    """Requirements that the lock does not pin, or pins to a version they refuse."""
    return [
        str(r)
        for r in requirements
        if canonical(r.name) not in lock
        or not r.specifier.contains(Version(lock[canonical(r.name)]), prereleases=True)
    ]


def test_the_lock_pins_every_dependency_to_a_version_it_allows():
    assert unlocked(requirements(), locked()) == []


def test_a_lock_that_disagrees_would_be_noticed():
    lock = locked() | {"numpy": "1.0"}
    del lock["torch"]
    assert {Requirement(r).name for r in unlocked(requirements(), lock)} == {
        "numpy",
        "torch",
    }


def test_every_line_of_the_lock_is_an_exact_pin():
    for name, version in locked().items():
        assert re.fullmatch(r"[0-9][\w.+-]*", version), f"{name} is not pinned"
        assert "+" not in version, (
            f"{name}: a local build cannot be installed elsewhere"
        )


def refused(pythons, distributions, lock):
    """Locked packages that one of these Pythons is too old or too new for."""
    return {
        name
        for name, version, wanted in distributions
        if lock.get(name) == version
        and not all(python in SpecifierSet(wanted or "") for python in pythons)
    }


def test_every_python_that_is_promised_can_install_the_lock():
    installed = [
        (canonical(d.name), d.version, d.metadata.get("Requires-Python"))
        for d in importlib.metadata.distributions()
    ]
    pythons = ["3.11.0", "3.12.0", "3.13.0"]
    wanted = SpecifierSet(PROJECT["requires-python"])
    assert all(python in wanted for python in pythons)
    assert refused(pythons, installed, locked()) == set()
    late = [("soupsieve", "4.1.2", ">=3.11.5")]
    assert refused(pythons, late, {"soupsieve": "4.1.2"}) == {"soupsieve"}


def test_torch_is_pinned_exactly():
    (torch,) = [r for r in requirements() if r.name == "torch"]
    assert [s.operator for s in torch.specifier] == ["=="]


def test_conda_installs_the_same_project_and_lock():
    conda = yaml.safe_load((ROOT / "environment.yml").read_text())
    python, pip, by_pip = conda["dependencies"]
    assert python == f"python {PROJECT['requires-python']}"
    assert pip == "pip"
    assert by_pip == {"pip": ["-c requirements.lock", "-e .[all]"]}


def test_importing_lmlab_imports_nothing_else():
    code = (
        "import sys; before = set(sys.modules); import lmlab; "
        "print(sorted(set(sys.modules) - before))"
    )
    out = subprocess.check_output([sys.executable, "-c", code], text=True)
    assert out == "['lmlab']\n"


TEXT_CALLS = {"open", "read_text", "write_text", "run", "check_output", "Popen"}


def left_to_the_system(source):
    """The lines of the calls that read or write text in whatever the system encodes."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        name = getattr(node.func, "attr", None) or getattr(node.func, "id", None)
        given = {keyword.arg: keyword.value for keyword in node.keywords}
        if name not in TEXT_CALLS or "encoding" in given:
            continue
        if is_text(node, name, given):
            found.append(node.lineno)
    return found


def is_text(node, name, given):
    """Whether a call has to do with text rather than bytes."""
    if name in ("read_text", "write_text"):
        positional = len(node.args) > (name == "write_text")
        return not positional  # the encoding may stand without its name
    if name != "open":
        return bool({"text", "universal_newlines"} & given.keys())
    of_a_path = isinstance(node.func, ast.Attribute)
    mode = [*node.args[not of_a_path :][:1], *(given[x] for x in given if x == "mode")]
    if not mode:
        return True
    if not (isinstance(mode[0], ast.Constant) and isinstance(mode[0].value, str)):
        return not of_a_path  # Image.open(file), and the like, open no text
    return "b" not in mode[0].value


def test_no_text_is_read_or_written_in_the_systems_encoding():
    found = {
        str(path.relative_to(ROOT)): lines
        for path in ROOT.glob("lmlab/**/*.py")
        if (lines := left_to_the_system(path.read_text(encoding="utf-8")))
    }
    assert found == {}


@pytest.mark.parametrize(
    ("call", "noticed"),
    [
        ("path.read_text()", True),
        ("path.read_text(encoding='utf-8')", False),
        ("path.read_text('utf-8')", False),
        ("path.write_text(text)", True),
        ("path.open()", True),
        ("path.open('x')", True),
        ("path.open('xb')", False),
        ("open(path)", True),
        ("open(path, 'w', encoding='utf-8')", False),
        ("open(path, mode='w')", True),
        ("open(path, 'rb+')", False),
        ("Image.open(drawn)", False),
        ("subprocess.run(command, text=True)", True),
        ("subprocess.run(command)", False),
    ],
)
def test_an_encoding_that_is_left_to_the_system_is_noticed(call, noticed):
    assert bool(left_to_the_system(call)) is noticed


# What each room may import, besides itself. "" is the top of the package: what every
# lesson uses, and Part I. Imports point one way, so that a room can be read alone.
ROOMS = {
    "": set(),
    "data": {""},
    "text": {""},
    "layers": {""},
    "models": {"", "data", "text", "layers"},
    "generation": {"", "layers", "models"},
    "methods": {"", "layers", "models"},
    "training": {"", "data", "text", "layers", "models"},
    "runner": {"", "data", "models"},
}
OF_TORCH = ("layers", "models", "generation", "methods", "training")


def room_of(parts):
    """The room of a module, given as the parts of its dotted name below lmlab."""
    if parts[0] == "cli":
        return "runner"
    return parts[0] if parts[0] in ROOMS else ""


def imported(source, package):
    """The modules of lmlab that a source imports anywhere, as parts of their names."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: len(package) - node.level + 1])
            base = (
                f"{base}.{node.module or ''}".strip(".") if node.level else node.module
            )
            names = [f"{base}.{alias.name}" for alias in node.names]
        else:
            continue
        yield from (n.split(".")[1:] for n in names if n.startswith("lmlab."))


def trespasses(path, source):
    """The imports of a module, {its path below lmlab}, that its room may not make."""
    parts = path.with_suffix("").parts
    room = room_of(parts)
    allowed = ROOMS[room] | {room}
    found = imported(source, ("lmlab", *parts[:-1]))
    return sorted({".".join(x) for x in found if room_of(x) not in allowed})


def test_every_room_imports_only_what_lies_below_it():
    found = {}
    for path in ROOT.glob("lmlab/**/*.py"):
        name = path.relative_to(ROOT / "lmlab")
        if wrong := trespasses(name, path.read_text(encoding="utf-8")):
            found[str(name)] = wrong
    assert found == {}
    folders = {p.parent.name for p in ROOT.glob("lmlab/*/__init__.py")}
    assert folders == set(ROOMS) - {""}


@pytest.mark.parametrize(
    ("module", "source", "wrong"),
    [
        ("layers/attention.py", "from lmlab.models.gpt import GPT", ["models.gpt.GPT"]),
        ("layers/attention.py", "def f():\n    from lmlab import text", ["text"]),
        ("data/dates.py", "import lmlab.training.loop", ["training.loop"]),
        ("data/dates.py", "from ..text import bpe", ["text.bpe"]),
        ("mlp.py", "from lmlab import layers", ["layers"]),
        ("mlp.py", "from lmlab import optimizers", []),
        ("models/gpt.py", "from lmlab.layers import tiled\nfrom . import hub", []),
        ("cli.py", "from lmlab.runner import runs", []),
    ],
)
def test_an_import_that_points_up_is_noticed(module, source, wrong):
    assert trespasses(Path(module), source) == wrong


def test_no_room_but_those_of_torch_imports_a_framework_by_itself():
    modules = (p.relative_to(ROOT / "lmlab") for p in ROOT.glob("lmlab/**/*.py"))
    names = (".".join(p.with_suffix("").parts) for p in modules)
    others = {name for name in names if name.split(".")[0] not in OF_TORCH}
    code = (
        "import importlib, sys\n"
        "for name in sys.argv[1:]:\n"
        "    importlib.import_module(f'lmlab.{name}')\n"
        "    found = [m for m in ('torch', 'tensorflow') if m in sys.modules]\n"
        "    assert not found, (name, found)"
    )
    subprocess.run([sys.executable, "-c", code, *sorted(others)], check=True)


def test_rooms_of_torch_leave_tensorflow_alone():
    paths = [p for room in OF_TORCH for p in ROOT.glob(f"lmlab/{room}/*.py")]
    names = [".".join(p.relative_to(ROOT).with_suffix("").parts) for p in paths]
    modules = ", ".join(n for n in names if "__" not in n)
    code = f"import sys, {modules}; print('tensorflow' in sys.modules)"
    said = subprocess.check_output([sys.executable, "-c", code], text=True)
    assert said == "False\n"


def test_the_public_listing_is_whole_and_lazy():
    modules = {p.stem for p in ROOT.glob("lmlab/*.py")}
    rooms = {p.parent.name for p in ROOT.glob("lmlab/*/__init__.py")}
    private = {
        "__init__",
        "arguments",
        "cli",
        "files",
        "schedules",
    }  # the command, and helpers
    assert set(lmlab.__all__) == (modules | rooms) - private
    code = (
        "import sys, lmlab\n"
        "assert set(lmlab.__all__) <= set(dir(lmlab))\n"
        "assert not [m for m in sys.modules if m.startswith('lmlab.')]\n"
        "assert lmlab.checks.holds and 'lmlab.checks' in sys.modules\n"
        "lmlab.nothing"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stderr.strip().endswith("module 'lmlab' has no attribute 'nothing'")


@pytest.mark.parametrize("name", lmlab.__all__)
def test_every_public_module_says_what_it_is_for(name):
    assert getattr(lmlab, name).__doc__.strip()


@pytest.mark.skipif(not shutil.which("make"), reason="make is not installed")
def test_make_help_names_the_commands():
    done = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True)
    for target in ("run", "test", "lab", "notebooks", "bench"):
        assert f"make {target} " in done.stdout


@pytest.fixture
def checkout(tmp_path):
    """What decides about .venv, with a pretend Python that only writes down calls."""
    folder = tmp_path / "the lessons, ü"
    folder.mkdir()
    for name in ("Makefile", "pyproject.toml", "requirements.lock"):
        shutil.copy(ROOT / name, folder)
    python = folder / "pretend-python"
    python.write_text(
        f"""#!/bin/sh
case "$*" in
  *"-m venv"*) mkdir -p .venv/bin; cp "{python}" .venv/bin/python; echo VENV ;;
  *"pip install"*) echo PIP ;;
esac
"""
    )
    python.chmod(0o755)
    return folder


def setup(checkout):
    done = subprocess.run(
        ["make", "--no-print-directory", "setup", "PYTHON=./pretend-python"],
        cwd=checkout,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return [line for line in done.stdout.split() if line in ("VENV", "PIP")]


@pytest.mark.skipif(not shutil.which("make"), reason="make is not installed")
def test_the_environment_is_made_when_missing_or_stale_and_only_then(checkout):
    assert setup(checkout) == ["VENV", "PIP"]
    assert setup(checkout) == []
    with (checkout / "requirements.lock").open("a") as lock:
        lock.write("another==1.0\n")
    assert setup(checkout) == ["PIP"]
    assert setup(checkout) == []
    (checkout / ".venv" / "bin" / "python").unlink()  # its Python is gone
    assert setup(checkout) == ["VENV", "PIP"]
    moved = checkout.with_name(checkout.name + "-moved")
    checkout.rename(moved)
    (moved / "pretend-python").write_text(
        (moved / "pretend-python").read_text().replace(str(checkout), str(moved))
    )
    assert setup(moved) == ["VENV", "PIP"]


@pytest.mark.skipif(not shutil.which("make"), reason="make is not installed")
def test_workers_are_as_many_as_the_cores_that_we_may_use(checkout):
    setup(checkout)
    python = checkout / ".venv" / "bin" / "python"
    python.write_text('#!/bin/sh\ncase "$*" in *cpu_count*) echo 3;; esac\n')
    for target, option in (("run", "--jobs 3"), ("test", "-n 3 ")):
        done = subprocess.run(
            ["make", "-n", target], cwd=checkout, capture_output=True, text=True
        )
        assert option in done.stdout


@pytest.mark.skipif(not shutil.which("make"), reason="make is not installed")
def test_an_old_python_is_told_so(checkout):
    (checkout / "pretend-python").write_text("#!/bin/sh\nexit 1\n")
    done = subprocess.run(
        ["make", "setup", "PYTHON=./pretend-python"],
        cwd=checkout,
        capture_output=True,
        text=True,
    )
    assert done.returncode != 0
    assert "lmlab needs Python 3.11 to 3.13" in done.stdout

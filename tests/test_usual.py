"""Each lesson asserts all its claims at its defaults and at the full profile."""

import ast
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
import yaml

from lmlab import checks, record

NOTEBOOKS = Path(__file__).resolve().parent.parent / "notebooks"
LESSONS = sorted(NOTEBOOKS.glob("[0-9][0-9]_*.ipynb"))
each_lesson = pytest.mark.parametrize("path", LESSONS, ids=[p.stem for p in LESSONS])


def code(path):
    return [
        cell.source
        for cell in nbformat.read(path, as_version=4).cells
        if cell.cell_type == "code"
    ]


def defaults(path):
    """{parameter: its default} of the lesson's parameters cell."""
    for cell in nbformat.read(path, as_version=4).cells:
        if "parameters" in cell.metadata.get("tags", []):
            body = ast.parse(cell.source).body
            return {node.target.id: ast.literal_eval(node.value) for node in body}


def full(path):
    """The parameters of the full profile."""
    profile = yaml.safe_load((NOTEBOOKS / "full.yaml").read_text(encoding="utf-8"))
    return defaults(path) | (profile.get(path.stem) or {})


def written(path):
    """The arguments of the lesson's `usual`: its settings, and a profile if any.

    They may be put together of dicts just above, which hold nothing but literals.
    """
    found = [
        (body, node.value)
        for body in (ast.parse(source).body for source in code(path))
        for node in body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "usual"
    ]
    ((body, call),) = found  # once, at the top of a cell
    assert ast.unparse(call.func) == "checks.usual"
    above = [
        node
        for node in body
        if isinstance(node, ast.Assign | ast.AugAssign)
        and isinstance(node.value, ast.Dict)
    ]
    names = {}
    exec(compile(ast.Module(above, []), path.name, "exec"), {"__builtins__": {}}, names)
    arguments = ast.Expression(ast.List(call.args, ast.Load()))
    ast.fix_missing_locations(arguments)
    return eval(compile(arguments, path.name, "eval"), {"__builtins__": {}}, names)


# The lesson that has no full profile was measured on MNIST all the same.
MEASURED = {"00_start_here": [{"dataset": "mnist"}]}


@pytest.fixture
def made(monkeypatch):
    """Makes the `usual` of a lesson in a notebook with these parameters."""

    def make(path, parameters):
        for name, value in parameters.items():
            monkeypatch.setitem(vars(sys.modules["__main__"]), name, value)
        return checks.usual(*written(path))

    return make


@each_lesson
def test_the_settings_are_the_defaults_and_the_profile_is_what_the_file_has(path):
    settings, *profiles = written(path)
    own = defaults(path)
    assert settings == {name: own[name] for name in settings}
    changed = {name: full(path)[name] for name in settings}
    changed = {name: value for name, value in changed.items() if value != own[name]}
    assert profiles == ([changed] if changed else MEASURED.get(path.stem, []))


@each_lesson
def test_the_defaults_and_the_full_profile_assert_every_claim(path, made):
    assert made(path, defaults(path)).other == {}
    assert made(path, full(path)).other == {}


@each_lesson
def test_each_named_parameter_counts_and_the_seed_is_none_of_them(path, made):
    own = defaults(path)
    for name in written(path)[0]:
        assert made(path, own | {name: "another"}).other == {name: "another"}
    for free in {"seed", "device", "threads", "precision"} & set(own):
        assert made(path, own | {free: 7}).other == {}


@each_lesson
def test_no_stored_claim_is_unasserted(path):
    facts = record.read(nbformat.read(path, as_version=4))
    assert [fact for fact in facts if fact["kind"] == "unasserted"] == []


def test_at_other_settings_a_lesson_shows_what_it_does_not_assert(tmp_path):
    command = [sys.executable, "-m", "lmlab.cli", "run", "00", "-p", "num_steps=10"]
    command += ["-p", "num_seeds=1", "--jobs", "1", "--out", str(tmp_path / "out")]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert ended.returncode == 0, ended.stderr
    facts = record.read(nbformat.read(tmp_path / "out" / "00_start_here.ipynb", 4))
    shown = [fact for fact in facts if fact["kind"] == "unasserted"]
    assert all(fact["text"].endswith("not asserted at num_steps=10") for fact in shown)
    assert {fact["held"] for fact in shown} == {True, False}
    stored = record.read(nbformat.read(NOTEBOOKS / "00_start_here.ipynb", 4))
    claims, before = (
        [f["kind"] for f in found].count("claim") for found in (facts, stored)
    )
    assert claims + len(shown) == before


@each_lesson
def test_claims_depend_on_settings_in_one_way_only(path):
    """No condition of a lesson's own decides whether its numbers are claimed."""
    own = set(written(path)[0])
    for source in code(path):
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.If) and "checks." in ast.unparse(node):
                names = {x.id for x in ast.walk(node.test) if isinstance(x, ast.Name)}
                assert names & own <= ALLOWED.get(path.stem, set()), source


# What a claim is about can be missing at other settings: the shipped model's own
# texts.
ALLOWED = {
    "09_gpt2_finetune": {"model", "last"},
}

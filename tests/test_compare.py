"""Two runs side by side: what differs is found, and judged against the band."""

import json
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from lmlab.record import KEY
from lmlab.runner import past_runs
from lmlab.runner.compare import compare, pairs
from lmlab.runner.lessons import LessonError

VERSIONS = {"python": "3.11.7", "numpy": "2.4.6"}


def metric(value, *, name="accuracy", band=0.02):
    return {"name": name, "value": value, "headline": True, "digits": 3, "band": band}


def run(**changes):
    """The record of a run of the lesson 07_small, with changes."""
    return {
        "lesson": "07_small",
        "status": "ok",
        "seconds": 2.5,
        "commit": "abc",
        "parameters": {"seed": 0, "lr": 0.1},
        "metrics": [metric(0.95)],
        "claims": ["test accuracy 0.950 in [0.900, 1.000]", "rows sum to 1"],
        "device": {"device": "cpu", "threads": 1, "seed": 0},
        "versions": VERSIONS,
        "code": ["import numpy", "x = 1"],
    } | changes


def test_equal_runs_differ_in_nothing():
    found = compare(run(), run())
    assert not any(found.rows.values())
    assert (found.claims_only_a, found.claims_only_b, found.code) == ([], [], [])
    assert found.summary == [
        "Every metric that is in both runs is the same.",
        "What differs: nothing that was recorded.",
    ]


def test_a_difference_within_the_band_is_what_a_change_of_seed_gives():
    other = run(metrics=[metric(0.935)], parameters={"seed": 1, "lr": 0.1})
    found = compare(run(), other)
    assert found.rows["parameters"] == [("seed", "0", "1")]
    assert found.metrics[0].beyond is False
    assert found.summary == [
        "accuracy: -0.015, within the band: a change of seed does as much.",
        "What differs: seed (0 → 1).",
    ]


def test_a_difference_beyond_the_band_comes_with_all_that_could_explain_it():
    other = run(
        metrics=[metric(0.9)],
        parameters={"seed": 0, "lr": 10.0},
        versions=VERSIONS | {"numpy": "2.5.0"},
        code=["import numpy", "x = 2"],
        commit="def",
        device={"device": "cuda", "threads": 1, "seed": 5},
    )
    found = compare(run(), other)
    assert found.metrics[0].beyond is True
    assert found.code == ["-x = 1", "+x = 2"]
    assert found.summary == [
        "accuracy: -0.050, beyond the band, 2.5 times it.",
        "What differs: lr (0.1 → 10.0); the lesson's code; numpy (2.4.6 → 2.5.0); "
        "device (cpu → cuda); git commit (abc → def).",
    ]


@pytest.mark.parametrize(
    ("a", "b", "verdict", "beyond"),
    [
        (metric(0.9, band=None), metric(0.8, band=None), "declares no band", None),
        (metric(0.9, band=None), metric(0.8), "beyond the band", True),
        (metric(0.9, band=0.5), metric(0.8), "within the band", False),
        (metric(0.9, band=0), metric(0.8, band=0), "which is 0: no seed", True),
        (metric("nan"), metric(0.8), "not a finite number in both", None),
        (metric(0.9), metric(0.9), "the same", False),
    ],
)
def test_each_metric_has_its_verdict(a, b, verdict, beyond):
    (found,) = compare(run(metrics=[a]), run(metrics=[b])).metrics
    assert verdict in found.verdict
    assert found.beyond is beyond


def test_a_run_that_failed_says_why_and_a_commit_that_is_unknown_explains_nothing():
    found = compare(run(), run(status="failed", error="ClaimError: no", commit=""))
    assert ("status", "ok", "failed") in found.rows["run"]
    assert ("error", "—", "ClaimError: no") in found.rows["run"]
    assert found.causes == []


def test_a_metric_or_claim_that_only_one_run_has_is_named():
    other = run(metrics=[metric(0.1, name="loss")], claims=["rows sum to 1", "new"])
    found = compare(run(), other)
    assert [(m.name, m.a, m.b) for m in found.metrics] == [
        ("accuracy", 0.95, None),
        ("loss", None, 0.1),
    ]
    assert found.summary[:2] == ["accuracy: not in both.", "loss: not in both."]
    assert found.claims_only_a == ["test accuracy 0.950 in [0.900, 1.000]"]
    assert found.claims_only_b == ["new"]


def test_a_claim_that_shows_another_value_is_the_same_claim():
    claims = ["test accuracy 0.913 in [0.900, 1.000]", "rows sum to 1"]
    found = compare(run(), run(claims=claims))
    assert (found.claims_only_a, found.claims_only_b) == ([], [])


def test_runs_of_several_lessons_are_paired_and_strangers_refused():
    a = {"00": run(), "07_small": run()}
    assert [x.lesson for x in pairs(a, {"07_small": run()})] == ["07_small"]
    with pytest.raises(LessonError, match="share no lesson: 00, 07_small there, 09"):
        pairs(a, {"09": run()})


# Reading runs back.


def notebook(path, *, injected="", facts=True):
    """An executed notebook that states one claim and one metric."""
    new = nbformat.v4
    cells = [new.new_code_cell("seed: int = 0  # the seed\nlr: float = 0.1")]
    cells[0].metadata["tags"] = ["parameters"]
    if injected:
        cells.append(new.new_code_cell(injected))
        cells[1].metadata["tags"] = ["injected-parameters"]
    kinds = [{"kind": "claim", "text": "holds"}, {"kind": "metric"} | metric(0.9)]
    outputs = [
        new.new_output("display_data", metadata={KEY: {"text": "", **kind}})
        for kind in kinds * facts
    ]
    cells.append(new.new_code_cell("x = 1", outputs=outputs))
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(new.new_notebook(cells=cells), path)
    return path


def test_a_notebook_that_papermill_ran_is_a_record_by_itself(tmp_path):
    path = notebook(tmp_path / "07_small.ipynb", injected="# Parameters\nlr = 0.01")
    (record,) = past_runs.load(path).values()
    assert record["parameters"] == {"seed": 0, "lr": 0.01}
    assert record["metrics"] == [metric(0.9)]
    assert record["code"] == ["x = 1"]
    found = compare(run(metrics=[metric(0.9)], code=["x = 1"]), record)
    assert found.rows["parameters"] == [("lr", "0.1", "0.01")]
    assert not found.rows["versions"]  # it records none: not a difference


def test_a_folder_gives_every_record_in_it_with_its_code(tmp_path):
    for name in ("01_a", "02_b"):
        record = run(lesson=name, notebook=f"{name}.ipynb")
        (tmp_path / f"{name}.run.json").write_text(json.dumps(record))
    notebook(tmp_path / "01_a.ipynb")
    found = past_runs.load(tmp_path)
    assert list(found) == ["01_a", "02_b"]
    assert found["01_a"]["code"] == ["x = 1"]
    assert found["02_b"]["code"] is None
    assert past_runs.load(tmp_path / "01_a.ipynb") == {"01_a": found["01_a"]}


def test_what_is_no_run_is_refused_with_what_is_needed(tmp_path):
    (tmp_path / "damaged.run.json").write_text('{"lesson": "07_')
    (tmp_path / "other.run.json").write_text("[]")
    (tmp_path / "notes.txt").write_text("")
    notebook(tmp_path / "new.ipynb", facts=False)
    (tmp_path / "empty").mkdir()
    (tmp_path / "sweep").mkdir()
    (tmp_path / "sweep" / "sweep.json").write_text("{}")
    for name, message in (
        ("missing", "There is no run"),
        ("empty", "holds no run's record"),
        ("sweep", "is a sweep: give the folder of one of its runs"),
        ("notes.txt", "is not a run"),
        ("damaged.run.json", "cannot be read"),
        ("other.run.json", "cannot be read"),
        ("new.ipynb", "has it been run"),
    ):
        with pytest.raises(LessonError, match=message):
            past_runs.load(tmp_path / name)


def lmlab(*arguments):
    command = [sys.executable, "-m", "lmlab.cli", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def test_the_command_explains_a_planted_difference(tmp_path):
    folders = [tmp_path / "a", tmp_path / "b"]
    records = [run(), run(metrics=[metric(0.5)], parameters={"seed": 0, "lr": 10.0})]
    for folder, record in zip(folders, records):
        folder.mkdir()
        (folder / "07_small.run.json").write_text(json.dumps(record))
    done = lmlab("compare", *folders)
    assert done.returncode == 0, done.stderr
    assert "accuracy: -0.450, beyond the band, 22.5 times it." in done.stdout
    assert "What differs: lr (0.1 → 10.0)." in done.stdout


def test_the_command_refuses_what_is_no_run():
    done = lmlab("compare", Path("no-such-run"), Path("neither"))
    assert done.returncode == 2
    assert "There is no run 'no-such-run'" in done.stderr

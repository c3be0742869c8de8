"""Two runs side by side: what differs is found, and judged against the band."""

import json
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from lmlab.record import KEY
from lmlab.runner import records
from lmlab.runner.compare import compare, pairs
from lmlab.runner.lessons import LessonError, read_notebook

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
        "of_a_profile": True,
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


AWAY = {"of_a_profile": False}
HERE = {"seed": 0, "lr": 0.5}


def said(a, b):
    return compare(a, b).summary[0].removeprefix("accuracy: ").rstrip(".")


def test_a_band_holds_at_the_settings_of_a_profile_only():
    other = run(metrics=[metric(0.9)], parameters=HERE, **AWAY)
    for pair in ((run(), other), (other, run())):
        (found,) = compare(*pair).metrics
        assert found.band == 0.02
        usual = "A" if pair[1] is other else "B"
        assert said(*pair).endswith(f"beyond the band of {usual}, 2.5 times it")
    near = run(metrics=[metric(0.94)], parameters=HERE, **AWAY)
    assert said(run(), near).endswith(
        "within the band of A: a change of seed does as much there"
    )
    away = run(metrics=[metric(0.5)], parameters=HERE | {"lr": 0.6}, **AWAY)
    (found,) = compare(other, away).metrics
    assert (found.band, found.beyond) == (None, None)
    assert said(other, away) == "-0.400, no band is known at these settings"


def test_a_change_of_the_seed_alone_is_called_that_whatever_the_band():
    away = [
        run(metrics=[metric(value)], parameters=HERE | {"seed": seed}, **AWAY)
        for value, seed in ((0.5, 0), (0.9, 1))
    ]
    assert said(*away) == "+0.400, that is what a change of seed does here"
    usual = run(metrics=[metric(0.98)], parameters={"seed": 1, "lr": 0.1})
    assert said(run(), usual) == (
        "+0.030, beyond the band, 1.5 times it, though the seed alone differs"
    )
    other_code = run(
        metrics=[metric(0.9)], parameters=HERE | {"seed": 1}, code=["x"], **AWAY
    )
    assert said(away[0], other_code) == "+0.400, no band is known at these settings"


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


def notebook(path, *, injected="", facts=True, value=0.9):
    """An executed notebook that states one claim and one metric, of this value."""
    new = nbformat.v4
    cells = [new.new_code_cell("seed: int = 0  # the seed\nlr: float = 0.1")]
    cells[0].metadata["tags"] = ["parameters"]
    if injected:
        cells.append(new.new_code_cell(injected))
        cells[1].metadata["tags"] = ["injected-parameters"]
    kinds = [{"kind": "claim", "text": "holds"}, {"kind": "metric"} | metric(value)]
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
    (record,) = records.load(path).values()
    assert record["parameters"] == {"seed": 0, "lr": 0.01}
    assert record["metrics"] == [metric(0.9)]
    assert record["code"] == ["x = 1"]
    found = compare(run(metrics=[metric(0.9)], code=["x = 1"]), record)
    assert found.rows["parameters"] == [("lr", "0.1", "0.01")]
    assert not found.rows["versions"]  # it records none: not a difference


@pytest.fixture
def lessons(tmp_path, monkeypatch):
    """A folder of lessons with a full profile of 07_small."""
    folder = tmp_path / "notebooks"
    folder.mkdir()
    (folder / "full.yaml").write_text("07_small:\n  lr: 0.02\n  # é\n", "utf-8")
    monkeypatch.setenv("LMLAB_NOTEBOOKS", str(folder))


@pytest.mark.parametrize(
    ("injected", "usual"),
    [
        ("", True),
        ("# Parameters\nseed = 5", True),
        ("lr = 0.1", True),
        ("lr = 0.02\nseed = 3", True),  # the full profile
        ("lr = 0.01", False),
        ("lr = 0.02\nother = 3", False),
    ],
)
def test_a_notebook_says_whether_it_ran_as_a_profile_does(
    lessons, tmp_path, injected, usual
):
    (record,) = records.load(
        notebook(tmp_path / "07_small.later.ipynb", injected=injected)
    ).values()
    assert (record["lesson"], record["of_a_profile"]) == ("07_small", usual)


def test_runs_can_be_compared_without_the_checkout(tmp_path, monkeypatch):
    monkeypatch.setenv("LMLAB_NOTEBOOKS", str(tmp_path / "nowhere"))
    (record,) = records.load(notebook(tmp_path / "07_small.ipynb")).values()
    assert record["of_a_profile"] is True


def recorded(path, **changes):
    """A record beside this notebook, as a run leaves it."""
    about = run(notebook=path.name, metrics=[metric(0.9)], **changes)
    about["digest"] = records.digest(read_notebook(path))
    del about["code"]
    place = path.with_name("07_small.run.json")
    place.write_text(json.dumps(about), encoding="utf-8")
    return place


def test_a_record_is_believed_of_the_notebook_that_it_was_made_of(lessons, tmp_path):
    path = notebook(tmp_path / "07_small.ipynb")
    recorded(path)
    (found,) = records.load(path).values()
    assert found["versions"] == VERSIONS
    beside = notebook(tmp_path / "07_small.lr0.2.ipynb", injected="lr = 0.2", value=0.7)
    (other,) = records.load(beside).values()
    assert other["metrics"] == [metric(0.7)]
    assert other["parameters"] == {"seed": 0, "lr": 0.2}
    assert "versions" not in other
    assert "accuracy: -0.200, beyond the band of A, 10.0 times it." in (
        compare(found, other).summary
    )


def test_a_notebook_that_was_run_again_speaks_for_itself(lessons, tmp_path):
    path = notebook(tmp_path / "07_small.ipynb")
    place = recorded(path)
    notebook(path, injected="lr = 0.2", value=0.8)
    for of_the_notebook in (path, tmp_path):
        (again,) = records.load(of_the_notebook).values()
        assert again["metrics"] == [metric(0.8)]
        assert again["parameters"] == {"seed": 0, "lr": 0.2}
        assert again["code"] == ["x = 1"]
        assert "versions" not in again  # those are known of the run before only
    (found,) = records.load(place).values()
    assert found["metrics"] == [metric(0.9)]  # the record speaks of its own run,
    assert found["code"] is None  # and what is in the notebook now is not its code
    said = compare(found, again).summary
    assert "accuracy: -0.100, beyond the band of A, 5.0 times it." in said
    assert "The code is not compared: A's notebook is gone or has changed." in said


def test_saving_a_notebook_again_leaves_it_its_record(lessons, tmp_path):
    path = notebook(tmp_path / "07_small.ipynb")
    place = recorded(path)
    again = read_notebook(path)
    again.metadata["kernelspec"] = {"name": "python3", "display_name": "Python"}
    again.cells[0].metadata["collapsed"] = False
    nbformat.write(again, path)
    for of_the_run in (path, tmp_path, place):
        assert records.load(of_the_run)["07_small"]["versions"] == VERSIONS


def test_a_folder_whose_notebook_was_emptied_says_so(tmp_path):
    path = notebook(tmp_path / "07_small.ipynb")
    place = recorded(path)
    notebook(path, facts=False)
    with pytest.raises(LessonError, match=r"07_small.ipynb .* has it been run"):
        records.load(tmp_path)
    assert records.load(place)["07_small"]["metrics"] == [metric(0.9)]


def test_a_run_that_failed_before_its_first_claim_keeps_its_record(tmp_path):
    path = notebook(tmp_path / "07_small.failed.ipynb", facts=False)
    recorded(path, status="failed")
    assert records.load(tmp_path)["07_small"]["status"] == "failed"


def test_a_folder_gives_every_record_in_it_with_its_code(tmp_path):
    digest = records.digest(nbformat.read(notebook(tmp_path / "01_a.ipynb"), 4))
    for name in ("01_a", "02_b"):
        record = run(lesson=name, notebook=f"{name}.ipynb", digest=digest)
        (tmp_path / f"{name}.run.json").write_text(json.dumps(record))
    found = records.load(tmp_path)
    assert list(found) == ["01_a", "02_b"]
    assert found["01_a"]["code"] == ["x = 1"]
    assert found["02_b"]["code"] is None
    assert records.load(tmp_path / "01_a.ipynb") == {"01_a": found["01_a"]}


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
            records.load(tmp_path / name)


def lmlab(*arguments):
    command = [sys.executable, "-m", "lmlab.cli", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def test_the_command_explains_a_planted_difference(tmp_path):
    folders = [tmp_path / "a", tmp_path / "b"]
    for folder, value, lr in zip(folders, (0.95, 0.5), (0.1, 10.0)):
        path = folder / "07_small.ipynb"
        recorded(notebook(path, injected=f"lr = {lr}", value=value))
        about = json.loads((folder / "07_small.run.json").read_text("utf-8"))
        about |= {"metrics": [metric(value)], "parameters": {"seed": 0, "lr": lr}}
        about["of_a_profile"] = lr == 0.1
        (folder / "07_small.run.json").write_text(json.dumps(about), "utf-8")
    done = lmlab("compare", *folders)
    assert done.returncode == 0, done.stderr
    said = " ".join(done.stdout.split())
    assert "accuracy: -0.450, beyond the band of A, 22.5 times it." in said
    assert "What differs: lr (0.1 → 10.0)." in said


def test_the_command_refuses_what_is_no_run():
    done = lmlab("compare", Path("no-such-run"), Path("neither"))
    assert done.returncode == 2
    assert "There is no run 'no-such-run'" in done.stderr

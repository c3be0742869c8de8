"""`lmlab sweep`: the grid, the table, and what is left when it is cut short.

The lessons here are tiny; one run of them costs little more than its kernel.
"""

import contextlib
import csv
import errno
import json
import re
import shlex
import signal
import sys
import time
from pathlib import Path
from types import ModuleType

import nbformat
import pytest
from test_cli import Course, assert_self_contained, command, files, write

from lmlab import figures
from lmlab.runner import executor, hparams, lessons, profiles, sweep_page, sweeps
from lmlab.runner.lessons import LessonError

PARAMETERS = """\
seed: int = 0  # the seed
lr: float = 0.1  # the rate
optimizer: str = "sgd"
fast: bool = False
sizes: list[int] = [3, 4]  # widths"""
MEASURES = """\
import os
from pathlib import Path
from lmlab import checks, record
assert type(seed) is int and type(lr) is float and type(fast) is bool
checks.holds("it ran", True)
record.metric("accuracy", 0.9 + lr + seed / 100, headline=True, digits=3)
record.metric("width", sum(sizes), digits=0)
record.metric("seed", 7)  # named as a parameter is
with Path(os.environ["MARKER"]).open("a") as marker:
        print(seed, lr, file=marker)"""


@pytest.fixture
def course(tmp_path, monkeypatch):
    course = Course(tmp_path, _01_tiny=[PARAMETERS, MEASURES])
    monkeypatch.setenv("LMLAB_NOTEBOOKS", str(course.notebooks))
    return course


def began(course):
    """What the runs of a course said when they ran: (seed, lr), sorted."""
    path = Path(course.environment["MARKER"])
    lines = path.read_text().splitlines() if path.exists() else []
    return sorted(lines)


def table(folder):
    with (folder / "sweep.csv").open(encoding="utf-8") as lines:
        return list(csv.DictReader(lines))


def statuses(folder):
    return {row["run"]: row["status"] for row in table(folder)}


def test_a_sweep_of_what_goes_deeper_is_no_sweep_of_its_lesson(course):
    write(course.notebooks / "deeper" / "01_tiny.ipynb", [PARAMETERS, MEASURES])
    begun = sweeps.begin(sweeps.plan("01-deeper", "quick", ["seed=0,1"]))
    assert begun.record_path("seed=0").name == "01_tiny-deeper.run.json"
    assert sweeps.find(sweeps.plan("01-deeper", "quick", ["seed=0,1"])).folder
    with pytest.raises(LessonError, match="There is no sweep of 01_tiny in"):
        sweeps.find(sweeps.plan("1", "quick", ["seed=0,1"]))


# --- The grid ---


def grid(*assignments):
    lesson = lessons.find("1")
    return sweeps.read_grid(lesson, profiles.inspect(lesson), assignments)


class TestGrid:
    def test_values_have_the_types_that_the_lesson_declares(self, course):
        found = grid("lr=1e-3,1", "seed=0,1", "optimizer=sgd, adam", "fast=true,False")
        assert found == {
            "lr": [0.001, 1.0],
            "seed": [0, 1],
            "optimizer": ["sgd", "adam"],
            "fast": [True, False],
        }
        assert [type(x) for x in found["lr"]] == [float, float]
        assert [type(x) for x in found["seed"]] == [int, int]

    def test_lists_stand_between_semicolons(self, course):
        assert grid("sizes=32,16;64") == {"sizes": [[32, 16], [64]]}
        assert grid("sizes=[1, 2];[]") == {"sizes": [[1, 2], []]}
        assert grid("sizes=1,2") == {"sizes": [[1, 2]]}

    @pytest.mark.parametrize(
        ("assignments", "message"),
        [
            (["lrr=1"], "There is no parameter 'lrr'. Did you mean 'lr'"),
            (["lr=0.1,fast"], "lr must be a finite number, got 'fast'"),
            (["seed=0,1.0"], "seed must be a whole number, got '1.0'"),
            (["seed=0,one"], "  seed: int = 0  # the seed"),
            (["fast=0,1"], "fast must be true or false, got '0'"),
            (["lr="], "The parameter 'lr' has no values: -p lr=A,B,C"),
            (["optimizer="], "The parameter 'optimizer' has no values"),
            (["lr=0.1,,0.2"], "The parameter 'lr' has an empty value in '0.1,,0.2'"),
            (["lr=0.1,"], "The parameter 'lr' has an empty value"),
            (["sizes=1;;2"], "The parameter 'sizes' has an empty value"),
            (["lr=0.1,1e-1"], "'lr' has the value 0.1 twice: '0.1' and '1e-1'"),
            (["fast=true,True"], "'fast' has the value true twice"),
            (["sizes=1,2;[1,2]"], "'sizes' has the value 1,2 twice"),
            (["sizes=[1,2],[3]"], "A grid has ; between lists: -p 'sizes=A,B;C'"),
            (["lr=1", "lr=2"], "The parameter 'lr' is given twice"),
            (["lr=1", "01.lr=2"], "The parameter 'lr' is given twice"),
            (["lr"], "write NAME=VALUE"),
            ([], "-p NAME=A,B,C.\nThe parameters of 01_tiny:\n  seed: int = 0"),
        ],
    )
    def test_bad_input_is_named_before_anything_runs(
        self, course, monkeypatch, capsys, assignments, message
    ):
        options = [word for each in assignments for word in ("-p", each)]
        code, out, err = command(monkeypatch, capsys, "sweep", "1", *options)
        assert code == 2
        assert message in err
        assert "Traceback" not in err
        assert out == ""
        assert not (course.folder / "runs").exists()

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["9", "-p", "lr=1"], "There is no lesson '9'"),
            (["1", "-p", "lr=1", "--profile", "huge"], "no profile 'huge'"),
            (["1", "-p", "lr=1", "--backend", "slurm"], "no backend 'slurm'"),
            (["1", "-p", "seed=" + ",".join(map(str, range(1001)))], "--most 1001"),
            (["1", "-p", "seed=0,1", "-p", "lr=1,2", "--most", "3"], "2 seed × 2 lr"),
            (["1", "-p", "lr=1", "--resume"], "There is no sweep of 01_tiny"),
            (["1", "-p", "lr=1", "--resume", "--out", "x"], "x holds no sweep"),
        ],
    )
    def test_other_bad_input(self, course, monkeypatch, capsys, arguments, message):
        code, out, err = command(monkeypatch, capsys, "sweep", *arguments)
        assert (code, out) == (2, "")
        assert message in err
        assert not (course.folder / "runs").exists()

    def test_a_backend_that_is_not_installed(self, course, monkeypatch, capsys):
        monkeypatch.setitem(executor.BACKENDS, "dask", ("no_such_package",))
        arguments = ("sweep", "1", "-p", "lr=1", "--backend", "dask")
        code, out, err = command(monkeypatch, capsys, *arguments)
        assert (code, out) == (2, "")
        assert "'.[dask]'" in err
        assert not (course.folder / "runs").exists()

    def test_a_value_as_it_was_given(self):
        assert sweeps.assignment("lr", [0.1, 1e-5]) == "lr=0.1,1e-05"
        assert sweeps.assignment("fast", [True]) == "fast=true"
        assert sweeps.assignment("sizes", [[1, 2], [], [3]]) == "sizes=1,2;[];3"


class TestNames:
    def test_they_read_as_the_values_that_differ(self):
        found = sweeps.combinations({"lr": [0.1, 1e-5], "seed": [0], "fast": [True]})
        assert list(found) == ["lr=0.1", "lr=1e-05"]
        assert found["lr=1e-05"] == {"lr": 1e-5, "seed": 0, "fast": True}
        found = sweeps.combinations({"sizes": [[1, 2], [3]], "fast": [True, False]})
        assert list(found)[:2] == ["sizes=1-2,fast=true", "sizes=1-2,fast=false"]
        assert list(sweeps.combinations({"seed": [3]})) == ["seed=3"]

    @pytest.mark.parametrize(
        "values",
        [
            ["../../up", "a/b", "a\\b", "a:b", "a b", "a*", "数字", "-", ""],
            ["Adam", "adam", "ADAM"],
            ["x" * 200, "x" * 199 + "y"],
            [["a-b"], ["a", "b"]],
        ],
    )
    def test_any_value_makes_a_safe_short_and_different_name(self, values):
        found = list(sweeps.combinations({"name": values, "seed": [0, 1]}))
        assert len({name.casefold() for name in found}) == 2 * len(values)
        for name in found:
            assert re.fullmatch(r"[A-Za-z0-9.,=+_-]{1,60}", name)
            assert name[0] not in ".-"
        again = list(sweeps.combinations({"name": values, "seed": [0, 1]}))
        assert again == found


# --- A whole sweep ---


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """A sweep with a profile, two runs at a time."""
    folder = tmp_path_factory.mktemp("swept")
    course = Course(folder, _01_tiny=[PARAMETERS, MEASURES])
    (course.notebooks / "full.yaml").write_text("'01': {optimizer: adam, lr: 9}")
    arguments = ("-p", "lr=1e-3,1e-2,0.1", "-p", "seed=0,1", "--profile", "full")
    course.code, course.out, course.err = course.lmlab(
        "sweep", "tiny", *arguments, "-j", "2"
    )
    (course.run,) = (folder / "runs").glob("sweep_*")
    return course


def test_every_combination_ran_once_and_well(swept):
    assert (swept.code, swept.err) == (0, "")
    expected = sorted(f"{s} {lr}" for s in (0, 1) for lr in (0.001, 0.01, 0.1))
    assert began(swept) == expected
    assert swept.out.startswith("6 runs of 01_tiny (3 lr × 2 seed), full profile; ")
    assert "6 of 6 runs are ok." in swept.out
    assert "(6 of 6 done)" in swept.out


def test_the_table_is_tidy(swept):
    found = table(swept.run)
    assert len(found) == 6
    row = found[3]
    assert list(row)[:5] == ["lr", "seed", "optimizer", "fast", "sizes"]
    assert list(row)[5:9] == ["status", "accuracy", "width", "seed (metric)"]
    assert {"claims", "caught", "device", "python", "numpy", "commit"} <= set(row)
    expected = {
        "lr": "0.01",
        "seed": "1",
        "optimizer": "adam",  # the profile's; lr of the grid wins over it
        "fast": "false",
        "sizes": "3,4",
        "status": "ok",
        "width": "7.0",
        "seed (metric)": "7.0",
        "claims": "1",
        "run": "lr=0.01,seed=1",
        "one_thread": "true",
    }
    assert {key: row[key] for key in expected} == expected
    assert float(row["accuracy"]) == pytest.approx(0.92, abs=1e-12)
    assert float(row["seconds"]) > 0.1


def test_what_is_left_behind(swept):
    expected = {"sweep.json", "sweep.csv", "index.html", "01_tiny.ipynb"}
    expected.add(f"tensorboard/{hparams.FILE}")
    for name in sweeps.combinations({"lr": [0.001, 0.01, 0.1], "seed": [0, 1]}):
        expected |= {f"{name}/01_tiny{end}" for end in (".ipynb", ".html", ".run.json")}
        expected.add(f"tensorboard/{name}/{hparams.FILE}")
        # A folder with a dot in its name.
        expected |= {name, f"tensorboard/{name}"}
    assert files(swept.run) == expected


def test_the_plan_says_what_is_run(swept):
    plan = json.loads((swept.run / "sweep.json").read_text())
    assert plan["lesson"] == "01_tiny"
    assert plan["profile"] == "full"
    assert plan["grid"] == {"lr": [0.001, 0.01, 0.1], "seed": [0, 1]}
    assert plan["fixed"] == {"optimizer": "adam"}
    assert re.fullmatch("[0-9a-f]{64}", plan["source"])
    assert plan["runs"]["lr=0.1,seed=1"] == {"lr": 0.1, "seed": 1}
    assert {"began", "commit"} <= set(plan)


def test_the_page_needs_nothing_and_tells_nothing(swept):
    pages = [swept.run / "index.html", swept.folder / "runs" / "index.html"]
    for page in [*pages, *swept.run.glob("*/01_tiny.html")]:
        assert_self_contained(page, swept.folder)


def test_the_page_has_a_plot_of_each_metric_the_headline_first(swept):
    text = (swept.run / "index.html").read_text(encoding="utf-8")
    shown = re.findall(r'<img src="data:image/png;base64,[^"]+" alt="([^"]+)">', text)
    assert [alt.split(" against ")[0] for alt in shown] == ["accuracy", "width", "seed"]
    assert "Mean by lr: 0.906 at 0.001, 0.915 at 0.01, 1.005 at 0.1." in shown[0]
    links = re.findall(r'href="([^"]+/01_tiny\.html)"', text)
    assert len(links) == 6
    for link in links:
        assert (swept.run / link.replace("%3D", "=").replace("%2C", ",")).exists()
    up = (swept.run / "lr=0.1,seed=0" / "01_tiny.html").read_text(encoding="utf-8")
    assert 'href="../index.html"' in up


def test_the_page_of_all_runs_leads_to_the_sweep(swept):
    text = (swept.folder / "runs" / "index.html").read_text(encoding="utf-8")
    assert f'href="{swept.run.name}/index.html"' in text
    assert "01_tiny" in text
    assert "6 of 6 ok" in text


def test_the_seeds_are_summed_up(swept):
    text = (swept.run / "index.html").read_text(encoding="utf-8")
    means = text.split("accuracy over the seeds")[1].split("Every run")[0]
    cells = re.findall(r"<td[^>]*>([^<]*)</td>", means)
    assert cells[:6] == ["0.001", "2", "0.906", "0.007", "0.901", "0.911"]


def without_tensorflow():
    """TensorBoard reads without TensorFlow, which takes seconds to import."""
    mark = "tensorboard.compat.notf"
    sys.modules.setdefault(mark, ModuleType(mark))


def test_tensorboard_reads_the_runs(swept):
    without_tensorflow()
    from tensorboard.backend.event_processing import event_accumulator

    folder = swept.run / "tensorboard" / "lr=0.1,seed=1"
    events = event_accumulator.EventAccumulator(str(folder)).Reload()
    assert set(events.Tags()["scalars"]) == {"accuracy", "width", "seed"}
    (accuracy,) = events.Scalars("accuracy")
    assert accuracy.value == pytest.approx(1.01, abs=1e-6)


def test_tensorboard_shows_them_as_hyperparameters(swept):
    groups, experiment = hyperparameters(swept.run / "tensorboard")
    assert [x.name for x in experiment.hparam_infos][:2] == ["lr", "seed"]
    rates = experiment.hparam_infos[0]
    assert [x.number_value for x in rates.domain_discrete.values] == [0.001, 0.01, 0.1]
    assert rates.description == "the rate"
    assert next(x.name.tag for x in experiment.metric_infos) == "accuracy"
    assert len(groups) == 6
    found = {}
    for group in groups:
        key = group.hparams["lr"].number_value, group.hparams["seed"].number_value
        found[key] = {x.name.tag: x.value for x in group.metric_values}
        assert group.hparams["optimizer"].string_value == "adam"
        assert group.hparams["sizes"].string_value == "[3, 4]"
        assert group.hparams["fast"].bool_value is False
        assert group.sessions[0].status == 1  # success
    assert found[0.1, 1]["accuracy"] == pytest.approx(1.01, abs=1e-6)
    assert found[0.001, 0]["accuracy"] == pytest.approx(0.901, abs=1e-6)


def hyperparameters(folder):
    """(session groups, experiment), as TensorBoard's HParams view would show them."""
    without_tensorflow()
    from tensorboard import context
    from tensorboard.backend.event_processing import (
        data_provider,
        plugin_event_multiplexer,
    )
    from tensorboard.plugins import base_plugin
    from tensorboard.plugins.hparams import (
        api_pb2,
        backend_context,
        get_experiment,
        list_session_groups,
    )

    events = plugin_event_multiplexer.EventMultiplexer()
    events.AddRunsFromDirectory(str(folder)).Reload()
    provider = data_provider.MultiplexerDataProvider(events, str(folder))
    shown = backend_context.Context(base_plugin.TBContext(data_provider=provider))
    request = api_pb2.ListSessionGroupsRequest(start_index=0, slice_size=100)
    request.allowed_statuses.extend([api_pb2.STATUS_SUCCESS, api_pb2.STATUS_FAILURE])
    here = context.RequestContext()
    groups = list_session_groups.Handler(here, shown, "", request).run()
    experiment = get_experiment.Handler(
        here, shown, "", api_pb2.GetExperimentRequest()
    ).run()
    return groups.session_groups, experiment


def test_a_sweep_that_is_done_is_not_run_again(swept):
    before = began(swept)
    (swept.run / "index.html").unlink()
    arguments = ("-p", "seed=1,0", "-p", "lr=0.1,0.01,0.001", "--profile", "full")
    code, out, err = swept.lmlab("sweep", "1", *arguments, "--resume")
    assert (code, err) == (0, "")
    assert "6 are done, 0 to go" in out
    assert began(swept) == before
    assert (swept.run / "index.html").exists()
    assert len(list((swept.folder / "runs").glob("sweep_*"))) == 1


def test_a_folder_with_a_sweep_is_not_begun_again(swept):
    out = str(swept.run)
    code, _, err = swept.lmlab("sweep", "1", "-p", "lr=1", "--out", out)
    assert code == 2
    assert "holds a sweep already: add --resume" in err
    assert len(table(swept.run)) == 6


# --- Cut short, and gone on with ---

# Each run waits until the test lets it, but for those that it lets go at once.
HELD = [
    "seed: int = 0\nlr: float = 0.1",
    """\
    import os, time
    from pathlib import Path
    from lmlab import record
    marker = Path(os.environ["MARKER"])
    with marker.open("a") as file:
        print(seed, lr, file=file)
    while seed >= 2 and not Path(f"{marker}.go").exists():
        time.sleep(0.05)
    record.metric("accuracy", 0.9 + seed / 100, headline=True)""",
]
SEEDS = ("-p", "seed=0,1,2,3")


def wait_for(condition, seconds=90):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@contextlib.contextmanager
def started(course, *arguments):
    """A sweep as a process that does not outlive the block."""
    process = course.start("sweep", "1", *arguments, "-j", "2")
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def half_way(course):
    """Wait for the sweep's folder with two runs kept, and two that are running."""
    wait_for(lambda: len(began(course)) == 4)
    (folder,) = (course.folder / "runs").glob("sweep_*")
    wait_for(lambda: list(statuses(folder).values()).count("ok") == 2)
    return folder


def resumed(course, folder, *arguments):
    """Go on, and look that nothing was run but what was missing."""
    kept = {path: path.read_bytes() for path in folder.glob("seed=[01]/*")}
    assert len(kept) == 6
    Path(course.environment["MARKER"] + ".go").touch()
    code, out, err = course.lmlab("sweep", "1", *SEEDS, "--resume", *arguments)
    assert (code, err) == (0, "")
    assert "2 are done, 2 to go" in out
    assert {path: path.read_bytes() for path in kept} == kept
    assert set(statuses(folder).values()) == {"ok"}
    assert began(course) == ["0 0.1", "1 0.1", *2 * ["2 0.1"], *2 * ["3 0.1"]]
    assert len(hyperparameters(folder / "tensorboard")[0]) == 4


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_the_command_is_killed_and_the_sweep_gone_on_with(tmp_path, number):
    course = Course(tmp_path, _01_held=HELD)
    with started(course, *SEEDS) as process:
        folder = half_way(course)
        process.send_signal(number)
        _, err = process.communicate(timeout=60)
    assert not course.left()
    assert "Traceback" not in err
    expected = {
        "seed=0": "ok",
        "seed=1": "ok",
        "seed=2": "not run",
        "seed=3": "not run",
    }
    assert statuses(folder) == expected
    if number == signal.SIGINT:
        assert process.returncode == 130
        assert "Interrupted (SIGINT)" in err
        page = (folder / "index.html").read_text(encoding="utf-8")
        assert "accuracy against seed: a point for each of 2 runs" in page
    for path in (tmp_path / "tmp").iterdir():  # a killed command leaves its scratch
        assert number == signal.SIGKILL
        path.rename(tmp_path / "left")
    resumed(course, folder)


def test_the_lesson_may_be_changed_while_its_sweep_goes_on(tmp_path):
    course = Course(tmp_path, _01_held=HELD)
    seeds = ("-p", "seed=2,3,4")
    with started(course, *seeds) as process:
        wait_for(lambda: len(began(course)) == 2)
        write(course.notebooks / "01_held.ipynb", [HELD[0], "1 / 0"])
        Path(course.environment["MARKER"] + ".go").touch()
        _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")
    code, _, err = course.lmlab("sweep", "1", *seeds, "--resume")
    assert code == 2
    assert "the lesson's code has changed" in err


def test_a_killed_worker_fails_its_run_and_resume_completes(tmp_path):
    dies = HELD[1].replace(
        "while",
        "if seed == 2 and not Path(f'{marker}.go').exists():\n"
        "        os.kill(os.getppid(), 9)\n    while False and",
    )
    course = Course(tmp_path, _01_held=[HELD[0], dies])
    code, out, err = course.lmlab("sweep", "1", *SEEDS, "-j", "2")
    assert code == 1
    assert "seed=2: failed: a process of the run was killed" in err
    assert "Traceback" not in err
    (folder,) = (tmp_path / "runs").glob("sweep_*")
    assert [row["status"] for row in table(folder)[:3]] == ["ok", "ok", "failed"]
    row = next(row for row in table(folder) if row["run"] == "seed=2")
    assert (row["status"], row["accuracy"]) == ("failed", "")
    assert "killed from outside" in row["error"]
    (again,) = [x for x in out.splitlines() if x.startswith("To run what is missing")]
    words = shlex.split(again.split(": ", 1)[1])
    Path(course.environment["MARKER"] + ".go").touch()
    code, out, _ = course.lmlab(*words[1:])
    assert code == 0
    assert set(statuses(folder).values()) == {"ok"}
    assert not list(folder.rglob("*.failed.ipynb"))


KINDS = [
    "seed: int = 0\nstatus: str = 'free'",
    """\
    import os
    from lmlab import record
    if seed == 1:
        raise ValueError("no [good]")
    if seed == 4:
        record.emit("odd", "metric", name="odd")
    value = {0: 0.5, 2: float("nan"), 3: float("inf")}.get(seed)
    record.metric("loss", value, headline=True)""",
]


def test_a_run_that_fails_and_metrics_that_are_no_numbers(tmp_path):
    course = Course(tmp_path, _01_kinds=KINDS)
    seeds = ("-p", "seed=0,1,2,3,4")
    code, out, err = course.lmlab("sweep", "1", *seeds, "--out", "mine")
    assert code == 1
    assert "seed=1: failed in cell In [3]: ValueError: no [good]" in err
    assert "so far: mine/seed=1/01_kinds.failed.ipynb" in err
    assert "seed=4: failed" in err
    assert "Traceback" not in err
    assert "3 of 5 runs are ok." in out
    folder = tmp_path / "mine"
    found = [(row["status"], row["loss"]) for row in table(folder)]
    ended = [("ok", "0.5"), ("failed", ""), ("ok", "nan"), ("ok", "inf")]
    assert found == [*ended, ("failed", "")]
    assert {row["status (parameter)"] for row in table(folder)} == {"free"}
    page = (folder / "index.html").read_text(encoding="utf-8")
    assert "Not finite, and left out: 2." in page
    assert "ValueError: no [good]" in page
    assert not (tmp_path / "runs").exists()
    groups, _ = hyperparameters(folder / "tensorboard")
    assert sorted(group.sessions[0].status for group in groups) == [1, 1, 1, 2, 2]


class TestResume:
    """What a sweep may be gone on with; nothing is run here."""

    @pytest.fixture
    def begun(self, course, monkeypatch):
        monkeypatch.setattr(executor, "running", None)
        return sweeps.begin(sweeps.plan("1", "quick", ["lr=0.1,0.2", "seed=0,1"]))

    def refused(self, *assignments, out=None, profile="quick"):
        with pytest.raises(LessonError) as caught:
            sweeps.find(sweeps.plan("1", profile, assignments), out)
        return str(caught.value)

    def test_the_newest_of_the_same_grid_in_any_order(self, begun, course):
        older = begun.folder.with_name("sweep_2020-01-01_000000")
        older.mkdir()
        text = (begun.folder / "sweep.json").read_text()
        (older / "sweep.json").write_text(text)
        other = sweeps.plan("1", "quick", ["lr=0.1,0.3"])
        sweeps.begin(other, course.folder / "runs" / "sweep_9999-01-01_000000")
        planned = sweeps.plan("1", "quick", ["seed=1,0", "lr=0.2,0.1"])
        found = sweeps.find(planned)
        assert found.folder == begun.folder
        assert list(found.runs) == list(begun.runs)
        assert sweeps.find(planned, older).folder == older

    def test_another_grid_is_named(self, begun):
        message = self.refused("lr=0.1,0.3", "seed=0,1")
        assert "with this grid and profile. The newest is sweep_" in message
        assert "was lr=0.1,0.2 seed=0,1 and is now lr=0.1,0.3 seed=0,1" in message
        message = self.refused("lr=0.1,0.3", out=begun.folder)
        assert "the grid was lr=0.1,0.2 seed=0,1 and is now lr=0.1,0.3" in message

    def test_another_profile_is_named(self, begun, course):
        (course.notebooks / "full.yaml").write_text("'01': {optimizer: adam}")
        given = ("lr=0.1,0.2", "seed=0,1")
        message = self.refused(*given, profile="full", out=begun.folder)
        assert "the profile was quick and is now full" in message
        full = sweeps.begin(sweeps.plan("1", "full", given), course.folder / "full")
        (course.notebooks / "full.yaml").write_text("'01': {optimizer: sgd}")
        message = self.refused(*given, profile="full", out=full.folder)
        changed = "what the profile sets was optimizer=adam and is now optimizer=sgd"
        assert changed in message

    @pytest.mark.parametrize("out", [None, "the folder"])
    def test_a_changed_lesson_is_named_but_its_text_may_change(
        self, begun, course, out
    ):
        path = course.notebooks / "01_tiny.ipynb"
        notebook = nbformat.read(path, 4)
        notebook.cells[0].source = "# Better words"
        notebook.cells[2].execution_count = 7
        nbformat.write(notebook, path)
        given = ("lr=0.1,0.2", "seed=0,1")
        out = out and begun.folder
        assert sweeps.find(sweeps.plan("1", "quick", given), out)
        notebook.cells[2].source += "\nseed + 1"
        nbformat.write(notebook, path)
        assert "the lesson's code has changed" in self.refused(*given, out=out)

    @pytest.mark.parametrize("text", ["", "[]", "{}", '{"lesson": "01_tiny"}'])
    def test_a_damaged_plan(self, begun, text):
        (begun.folder / "sweep.json").write_text(text)
        message = self.refused("lr=0.1,0.2", "seed=0,1", out=begun.folder)
        assert "sweep.json cannot be read" in message

    @pytest.mark.parametrize("text", ["", "[]", "{}", '{"status": "ok"}'])
    def test_a_damaged_record_is_a_run_to_do_again(self, begun, text):
        planned = sweeps.plan("1", "quick", ["lr=0.1,0.2", "seed=0,1"])
        (begun.folder / "lr=0.1,seed=0").mkdir()
        begun.record_path("lr=0.1,seed=0").write_text(text)
        assert sweeps.find(planned).records == {}

    @pytest.mark.parametrize(
        ("changed", "done"),
        [
            ({}, {"lr=0.1,seed=0"}),
            ({"status": "failed"}, set()),
            ({"parameters": {"lr": 0.1, "seed": 0}}, set()),
        ],
    )
    def test_a_record_counts_when_it_is_ok_and_of_these_parameters(
        self, begun, changed, done
    ):
        values = begun.values("lr=0.1,seed=0")
        assert values == {
            "lr": 0.1,
            "seed": 0,
            "optimizer": "sgd",
            "fast": False,
            "sizes": [3, 4],
        }
        record = dict.fromkeys(sweeps.NEEDED, "") | {"parameters": values}
        record |= {"status": "ok"} | changed
        begun.record_path("lr=0.1,seed=0").parent.mkdir()
        begun.record_path("lr=0.1,seed=0").write_text(json.dumps(record))
        planned = sweeps.plan("1", "quick", ["lr=0.1,0.2", "seed=0,1"])
        assert sweeps.find(planned).done == done


class TestFullDisk:
    @pytest.mark.parametrize("what", ["01_tiny.run.json", "sweep.csv"])
    def test_the_sweep_stops_and_keeps_what_is_finished(
        self, course, monkeypatch, capsys, what
    ):
        """The disk is full from the second time on that such a file is written."""
        for name, value in course.environment.items():
            monkeypatch.setenv(name, value)
        real, written = Path.write_bytes, []

        def write_bytes(path, data):
            written.extend([path] * (f".{what}." in path.name))
            # The table is written once before the first run.
            if len(written) > 1 + (what == "sweep.csv"):
                real(path, data[: len(data) // 2])
                raise OSError(errno.ENOSPC, "No space left on device", str(path))
            return real(path, data)

        monkeypatch.setattr(Path, "write_bytes", write_bytes)
        options = ("-p", "seed=0,1,2,3", "-j", "1", "--out", "mine")
        monkeypatch.chdir(course.folder)
        code, out, err = command(monkeypatch, capsys, "sweep", "1", *options)
        folder = course.folder / "mine"
        assert code == 1
        assert "The sweep was stopped: " in err
        assert "No space left on device" in err
        assert "Traceback" not in err
        assert "To run what is missing: lmlab sweep 01_tiny -p seed=0,1,2,3" in out
        assert len(began(course)) <= 3
        whole = list(folder.glob("*/01_tiny.run.json"))
        assert all(json.loads(x.read_text())["status"] == "ok" for x in whole)
        assert len(whole) in (1, 2)
        assert not list(folder.rglob("*.part"))
        monkeypatch.setattr(Path, "write_bytes", real)
        code, out, err = command(
            monkeypatch, capsys, "sweep", "1", *options, "--resume"
        )
        assert (code, err) == (0, "")
        assert f"{len(whole)} are done" in out
        assert set(statuses(folder).values()) == {"ok"}


class TestPlots:
    @pytest.mark.parametrize(
        ("values", "expected"),
        [
            ([0.1, 0.01], True),
            ([1e-4, 1e-2, 1e-3], True),
            ([1, 2, 5, 10, 20, 50], True),
            ([0.1, 0.2, 0.3], False),
            (list(range(1, 13)), False),
            ([0, 0.1, 10], False),
            ([-1, 10], False),
            ([3], False),
        ],
    )
    def test_an_axis_is_logarithmic_for_values_over_decades(self, values, expected):
        assert sweep_page.logarithmic(values) is expected

    def drawn(self, monkeypatch, grid, value):
        """The panels' axes and the description of a metric over the grid."""
        kept = []
        png = figures.png
        monkeypatch.setattr(figures, "png", lambda fig: (kept.append(fig), png(fig))[1])
        points = [(x, value(**x)) for x in sweeps.combinations(grid).values()]
        picture, alt = sweep_page.draw("loss", grid, points)
        assert picture.startswith(b"\x89PNG")
        return kept[0].axes, alt

    def test_the_seeds_are_a_band_and_the_other_parameter_colours(self, monkeypatch):
        grid = {"lr": [0.1, 0.01, 1.0], "seed": [0, 1], "kind": ["a", "b"], "n": [5]}
        (lr, seed, kind, none), alt = self.drawn(
            monkeypatch, grid, lambda lr, seed, kind, n: lr + seed + 5 * (kind == "b")
        )
        assert [x.get_xlabel() for x in (lr, seed, kind)] == ["lr", "seed", "kind"]
        assert not none.axison
        assert lr.get_xscale() == "log"
        lines = {x.get_label(): x for x in lr.get_lines() if x.get_label() in "ab"}
        # In the order of the axis, the mean of the two seeds.
        assert list(lines["a"].get_xdata()) == [0.01, 0.1, 1.0]
        assert list(lines["a"].get_ydata()) == pytest.approx([0.51, 0.6, 1.5])
        assert list(lines["b"].get_ydata()) == pytest.approx([5.51, 5.6, 6.5])
        low, high = lr.collections[0].get_datalim(lr.transData).intervaly
        assert (low, high) == pytest.approx((0.01, 2.0))
        points = [x for x in lr.get_lines() if x.get_marker() == "o"]
        assert sum(len(x.get_xdata()) for x in points) == 12
        assert [x.get_text() for x in kind.get_xticklabels()] == ["a", "b"]
        assert "Mean by kind: 0.87 at a, 5.87 at b." in alt

    def test_too_many_for_colours_are_taken_together(self, monkeypatch):
        grid = {"lr": [1, 2], "a": list(range(9)), "b": [True, False]}
        (lr, a, *_), alt = self.drawn(monkeypatch, grid, lambda lr, a, b: lr + a)
        legend = lr.get_legend()
        assert [x.get_text() for x in legend.get_texts()] == ["true", "false"]
        assert [x.get_text() for x in a.get_legend().get_texts()] == [
            *("1, true", "1, false", "2, true", "2, false")
        ]
        assert "Mean by a: 1.5 at 0, 9.5 at 8." in alt

    def test_nothing_to_draw_is_drawn_as_nothing(self, monkeypatch):
        axes, alt = self.drawn(monkeypatch, {"lr": [1, 2]}, lambda lr: float("nan"))
        assert len(axes) == 1
        assert "Not finite, and left out: 2." in alt

"""A run goes the same way on loky, Dask and Ray, and a lost worker costs one run.

The workers of the cluster here are processes of their own, in other folders: what
they share with the one who asks is a port.
"""

import concurrent.futures
import functools
import importlib.util
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import nbformat
import psutil
import pytest
from test_cli import write

from lmlab.runner import backends, clusters, execute, kernels, results, runs
from lmlab.runner.lessons import LessonError, read_notebook

distributed = pytest.importorskip("distributed")

GOOD = [
    "seed: int = 0",
    """\
    import json, os, sys
    from pathlib import Path
    from lmlab import figures, record
    names = ("LMLAB_DATA", "LMLAB_OFFLINE", "OMP_NUM_THREADS", "TMPDIR")
    print(json.dumps({name: os.environ.get(name) for name in names}))
    print(os.getcwd())
    print(os.getppid())
    record.metric("seed", seed, headline=True)
    os.write(2, b"said past Jupyter")""",
    """\
    fig, ax = figures.new()
    _ = ax.plot([1, 2, 3])
    figures.show(fig, "00-line", "a line that goes up")""",
]
QUICK = ["seed: int = 0", "print(seed)"]
FAILS = ["seed: int = 0", "raise ValueError('no')"]
DIES = ["seed: int = 0", "import os\nos.kill(os.getpid(), 9)"]
KILLS = ["seed: int = 0", "import os\nos.kill(os.getppid(), 9)", "3"]
MEETS = [  # neither ends before the other has begun
    "here: str = ''\nthere: str = ''",
    """\
    import time
    from pathlib import Path
    Path(here).touch()
    end = time.monotonic() + 30
    while not Path(there).exists():
        assert time.monotonic() < end
        time.sleep(0.05)""",
]
WAITS = [
    "begun: str = ''",
    """\
    import pathlib, subprocess, sys, time
    busy = [sys.executable, "-c", "import time; time.sleep(600)"]
    _ = subprocess.Popen(busy, start_new_session=True)
    pathlib.Path(begun).touch()
    time.sleep(600)""",
]


@pytest.fixture(scope="module")
def lessons(tmp_path_factory):
    """The path of each of these lessons."""
    folder = tmp_path_factory.mktemp("notebooks")
    sources = {"good": GOOD, "quick": QUICK, "fails": FAILS, "dies": DIES}
    sources |= {"kills": KILLS, "meets": MEETS, "waits": WAITS}
    for name, cells in sources.items():
        write(folder / f"{name}.ipynb", cells)
    return lambda name: folder / f"{name}.ipynb"


@pytest.fixture
def jobs(lessons, tmp_path):
    """Jobs for (name, lesson, parameters), two at a time."""

    def prepare(*requests, workers=2):
        requests = [(name, lessons(which), p) for name, which, p in requests]
        return runs.prepare(requests, tmp_path / "scratch", workers=workers)

    return prepare


def finish(jobs, workers, backend):
    with runs.running(jobs, workers, backend=backend) as done:
        return {job.name: outcome for job, outcome in done}


def wait_for(condition, seconds=20):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def marked(marks):
    """The processes that carry one of these marks, or whose mark this accepts."""
    accepts = marks if callable(marks) else marks.__contains__
    found = []
    for process in psutil.process_iter():
        try:
            if accepts(process.environ().get(kernels.MARK)):
                found.append(process)
        except (psutil.Error, OSError):
            continue
    return found


class Cluster:
    """A scheduler and two workers, in folders and with settings of their own."""

    def __init__(self, folder):
        self.folder, self.processes = folder, []
        clean = {k: v for k, v in os.environ.items() if not k.startswith("LMLAB_")}
        # A killed worker is missed at once; by default the run is tried three times.
        clean |= {"DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "0"}
        place = folder / "scheduler.json"
        self.start(clean, "dask_scheduler", "--port=0", f"--scheduler-file={place}")
        wait_for(place.exists)
        for name in ("one", "two"):
            (folder / name / "tmp").mkdir(parents=True)
            self.start(
                clean | {"TMPDIR": str(folder / name / "tmp")},
                "dask_worker",
                f"--scheduler-file={place}",
                "--nthreads=1",
                f"--local-directory={folder / name}",
                cwd=folder / name,
            )
        self.address = json.loads(place.read_text())["address"]

    def start(self, environment, which, *options, cwd=None):
        command = [sys.executable, "-m", f"distributed.cli.{which}", "--no-dashboard"]
        with (self.folder / f"{len(self.processes)}.log").open("wb") as log:
            process = subprocess.Popen(
                [*command, "--host=127.0.0.1", *options],
                cwd=cwd or self.folder,
                env=environment,
                stdout=log,
                stderr=log,
            )
        self.processes.append(process)

    def stop(self):
        """Kill them all: they would take seconds to take their leave."""
        for process in self.processes:
            for child in psutil.Process(process.pid).children(recursive=True):
                child.kill()
            process.kill()
            process.wait()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    cluster = Cluster(tmp_path_factory.mktemp("cluster"))
    with distributed.Client(cluster.address, set_as_default=False) as client:
        client.wait_for_workers(2, timeout=30)
    yield cluster
    cluster.stop()


@pytest.fixture
def far_away(cluster, monkeypatch):
    """Dask is told of the cluster, as the variable would do it."""
    import dask

    with dask.config.set({"scheduler-address": cluster.address}):
        yield cluster


@pytest.fixture(scope="module")
def ran(cluster, lessons, tmp_path_factory):
    """A run of every kind of ending on the cluster."""
    import dask

    scratch = tmp_path_factory.mktemp("scratch")
    meets = {"here": str(scratch / "a"), "there": str(scratch / "b")}
    back = {"here": meets["there"], "there": meets["here"]}
    requests = [
        ("meets-1", lessons("meets"), meets),
        ("meets-2", lessons("meets"), back),
        ("good", lessons("good"), {"seed": 7}),
        ("fails", lessons("fails"), {}),
        ("dies", lessons("dies"), {}),
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LMLAB_DATA", "our data")
        patch.setenv("LMLAB_OFFLINE", "1")
        for name in execute.kernels.threads.VARIABLES:
            patch.delenv(name, raising=False)
        jobs = runs.prepare(requests, scratch, workers=1)
        with dask.config.set({"scheduler-address": cluster.address}):
            ended = finish(jobs, None, "dask")
    return {job.name: job for job in jobs}, ended


class TestOnACluster:
    def test_each_run_ends_as_it_does_here(self, ran):
        _, ended = ran
        assert {name: outcome.status for name, outcome in ended.items()} == {
            "meets-1": "ok",  # so two ran at a time
            "meets-2": "ok",
            "good": "ok",
            "fails": "failed",
            "dies": "kernel died",
        }
        assert ended["fails"].error == "ValueError: no"
        assert ended["fails"].cell == 2
        assert "SIGKILL" in ended["dies"].error

    def test_what_it_left_is_brought_back(self, ran):
        jobs, _ = ran
        job = jobs["good"]
        cells = read_notebook(job.executed).cells
        assert [cell.execution_count for cell in cells[1:]] == [1, 2, 3, 4]
        assert [path.name for path in job.figures.iterdir()] == ["00-line.png"]
        assert "said past Jupyter" in job.log.read_text()
        assert job.status.read_text() == "4 4"

    def test_it_ran_there_under_our_settings(self, ran, cluster):
        jobs, _ = ran
        text = read_notebook(jobs["good"].executed).cells[3].outputs[0].text
        settings, folder, *_ = text.splitlines()
        settings = json.loads(settings)
        assert settings.pop("TMPDIR") == str(Path(folder) / "tmp")
        assert settings == {
            "LMLAB_DATA": "our data",
            "LMLAB_OFFLINE": "1",
            "OMP_NUM_THREADS": "1",
        }
        assert Path(folder).parent == cluster.folder

    def test_the_workers_keep_nothing(self, ran, cluster):
        left = [*cluster.folder.glob("*/tmp/lmlab-*"), *cluster.folder.glob("lmlab-*")]
        assert left == []

    def test_its_record_is_as_any_other(self, ran, tmp_path):
        jobs, ended = ran
        kept = results.keep(jobs["good"], ended["good"], tmp_path, {"seed": 0})
        assert kept["status"] == "ok"
        assert kept["parameters"] == {"seed": 7}
        assert kept["metrics"][0]["value"] == 7
        assert (tmp_path / "figures" / "00-line.png").exists()

    def test_results_come_as_each_run_ends(self, far_away, jobs, tmp_path):
        asked = jobs(
            ("waits", "meets", {"here": str(tmp_path / "a"), "there": str(tmp_path)}),
            ("stays", "meets", {"here": str(tmp_path / "c"), "there": "/nowhere/d"}),
        )
        with runs.running(asked, 2, backend="dask") as done:
            job, outcome = next(done)
            assert (job.name, outcome.status) == ("waits", "ok")
        assert not marked({job.mark for job in asked})

    def test_an_end_before_the_end_ends_the_kernel_there(
        self, cluster, lessons, tmp_path
    ):
        begun = tmp_path / "begun"
        job = execute.Job(
            "waits",
            lessons("waits"),
            tmp_path / "run",
            {"begun": str(begun)},
            mark=str(tmp_path / "run"),
        )
        text = job.source.read_text()
        with distributed.Client(cluster.address, set_as_default=False) as client:
            future = client.submit(backends.elsewhere, job, text, pure=False)
            wait_for(begun.exists)
            assert len(marked({job.mark})) == 2
            future.cancel()
            wait_for(lambda: not marked({job.mark}))

    def test_a_full_disk_here(self, far_away, jobs, monkeypatch):
        def full(job, files):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(backends, "unpack", full)
        ended = finish(jobs(("quick", "quick", {})), 2, "dask")
        assert ended["quick"].status == "failed"
        assert (
            ended["quick"].error == "cannot write the results: No space left on device"
        )


class TestALostWorker:
    def test_on_this_machine_what_ran_has_failed_and_the_rest_runs(self, jobs):
        names = ["kills", "a", "b", "c", "d"]
        asked = jobs(*((x, "kills" if x == "kills" else "quick", {}) for x in names))
        ended = finish(asked, 2, "loky")
        assert ended.keys() == set(names)
        assert ended["kills"].error == runs.KILLED
        lost = [name for name, outcome in ended.items() if outcome.status != "ok"]
        assert len(lost) <= 2
        assert not marked({job.mark for job in asked})

    def test_a_run_that_had_ended_is_kept(self, jobs):
        (job,) = jobs(("quick", "quick", {}))
        execute.execute(job)
        assert runs._last_word(job).status == "ok"

    def test_on_a_cluster_of_our_own_one_run_has_failed(
        self, jobs, capfd, tmp_path, monkeypatch
    ):
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
        names = ["kills", "a", "b", "c"]
        asked = jobs(*((x, "kills" if x == "kills" else "quick", {}) for x in names))
        before = dict(os.environ)
        ended = finish(asked, 2, "dask")
        assert dict(os.environ) == before
        assert {name: outcome.status for name, outcome in ended.items()} == {
            "kills": "failed",
            "a": "ok",
            "b": "ok",
            "c": "ok",
        }
        assert ended["kills"].error.startswith("its worker was killed")
        assert capfd.readouterr() == ("", "")
        ours = str(tmp_path)
        assert not marked(lambda mark: mark is not None and mark.startswith(ours))
        assert [path.name for path in tmp_path.iterdir()] == ["scratch"]

    def test_on_a_cluster_elsewhere(self, far_away, jobs):
        ended = finish(jobs(("kills", "kills", {}), ("a", "quick", {})), 2, "dask")
        assert ended["kills"].error.startswith("its worker was killed")
        assert ended["a"].status == "ok"


ASKS = """\
import sys
from pathlib import Path
from lmlab.runner import runs

if __name__ == "__main__":
    backend, lesson, *begun = sys.argv[1:]
    asked = [(Path(x).name, Path(lesson), {"begun": x}) for x in begun]
    with runs.scratch_folder() as scratch:
        jobs = runs.prepare(asked, scratch, workers=2)
        try:
            with runs.running(jobs, 2, backend=backend) as done:
                list(done)
        except runs.Interrupted as error:
            sys.exit(str(error))
"""


@pytest.mark.parametrize(
    ("backend", "number", "everyone", "said"),
    [
        ("dask", signal.SIGINT, True, "SIGINT\n"),
        ("loky", signal.SIGKILL, False, None),
    ],
)
def test_no_process_is_left(lessons, tmp_path, backend, number, everyone, said):
    (tmp_path / "ask.py").write_text(ASKS)
    begun = [tmp_path / "a", tmp_path / "b"]
    process = subprocess.Popen(
        [sys.executable, "ask.py", backend, str(lessons("waits")), *map(str, begun)],
        cwd=tmp_path,
        env=os.environ | {"TEST_COURSE": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    wait_for(lambda: all(path.exists() for path in begun), 60)
    (os.killpg if everyone else os.kill)(process.pid, number)
    out, _ = process.communicate(timeout=30)
    if number != signal.SIGKILL:  # loky's watcher says what it cleans up after it
        assert out == said

    def ended():
        for other in psutil.process_iter():
            try:
                if other.environ().get("TEST_COURSE") == str(tmp_path):
                    return False
            except (psutil.Error, OSError):
                continue
        return True

    wait_for(ended, 10)


class TestWhatCannotBeHad:
    def test_a_backend_that_does_not_exist(self):
        with pytest.raises(LessonError, match=r"no backend 'spark': loky, dask, ray\."):
            runs.check_backend("spark")

    @pytest.mark.parametrize("name", ["dask", "ray"])
    def test_a_backend_that_is_not_installed(self, name, jobs, monkeypatch):
        monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
        asked = jobs(("quick", "quick", {}))
        with (
            pytest.raises(LessonError, match=rf"'{name}' is not.*pip .*'\.\[{name}\]'"),
            runs.running(asked, backend=name),
        ):
            raise AssertionError("something was run")
        runs.check_backend("loky")

    def test_a_cluster_that_does_not_answer(self, jobs, monkeypatch):
        import dask

        monkeypatch.setattr(clusters, "CONNECT_SECONDS", 1)
        with (
            dask.config.set({"scheduler-address": "tcp://127.0.0.1:1"}),
            pytest.raises(LessonError, match=r"127\.0\.0\.1:1 does not answer"),
            runs.running(jobs(("quick", "quick", {})), backend="dask"),
        ):
            raise AssertionError("something was run")


class TestFutures:
    def run(self, start, count, at_a_time=2):
        backend = backends.Futures(start, lambda futures: None)
        jobs = [execute.Job(str(i), Path(), Path()) for i in range(count)]
        calls = [(job, functools.partial(_answer, job)) for job in jobs]
        done = backend.results(calls, at_a_time)
        return {job.name: outcome for job, outcome, _ in done}, backend

    def test_every_result_once_and_nothing_is_held(self):
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            ended, backend = self.run(lambda call, name: pool.submit(call), 20)
        assert ended.keys() == {str(i) for i in range(20)}
        assert all(outcome.status == "ok" for outcome in ended.values())
        assert backend.sent == set()

    def test_an_end_before_the_end_cancels_what_is_at_work(self):
        first, second = concurrent.futures.Future(), concurrent.futures.Future()
        cancelled, futures = [], iter([first, second])
        backend = backends.Futures(lambda *_: next(futures), cancelled.extend)
        job = execute.Job("0", Path(), Path())
        first.set_result((job, execute.Outcome("ok", 0.0), {}))
        done = backend.results([(job, None)] * 2, 1)
        assert next(done)[1].status == "ok"
        done.close()
        assert cancelled == [second]

    @pytest.mark.parametrize("limit", [1, 3])
    def test_at_most_so_many_at_a_time_and_none_in_this_process(self, limit):
        now, most, names = [], [], []

        def start(call, name):
            now.append(name)
            names.append(name)
            most.append(len(now))
            return pool.submit(lambda: (time.sleep(0.01), now.remove(name), call())[2])

        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            self.run(start, 12, limit)
        assert max(most) == limit
        assert len(names) == 12

    def test_what_cannot_be_sent_has_failed_however_many(self):
        def start(call, name):
            raise RuntimeError("closed\nat length")

        ended, _ = self.run(start, 300)
        assert len(ended) == 300
        assert {outcome.error for outcome in ended.values()} == {"RuntimeError: closed"}


def _answer(job):
    return job, execute.Outcome("ok", 0.0), {}


@pytest.mark.skipif(not importlib.util.find_spec("ray"), reason="Ray is not installed")
def test_ray(jobs):
    names = ["kills", "good", "quick"]
    asked = jobs(*((name, name, {}) for name in names))
    try:
        ended = finish(asked, 2, "ray")
    except LessonError as error:
        if "timed out during startup" in str(error):
            pytest.skip("Ray did not start within its 30 s on this busy machine")
        raise
    assert {name: outcome.status for name, outcome in ended.items()} == {
        "kills": "failed",
        "good": "ok",
        "quick": "ok",
    }
    assert ended["kills"].error.startswith("its worker was killed")
    good = next(job for job in asked if job.name == "good")
    assert nbformat.read(good.executed, 4).cells[3].execution_count == 3
    assert [path.name for path in good.figures.iterdir()] == ["00-line.png"]

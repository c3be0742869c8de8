"""A run goes the same way here and on a Dask cluster; a lost worker costs one run.

The workers of the cluster here are processes of their own, in other folders: what
they share with the one who asks is a port.
"""

import importlib.util
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import psutil
import pytest
from test_cli import write

from lmlab.runner import execute, executor, kernels, records
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
ENDS = [
    "seed: int = 0",
    """\
    import os, psutil
    psutil.Process(os.getppid()).parent().kill()""",
    "3",
]
COUNTS = [  # how many of them run meanwhile
    "folder: str = ''",
    """\
    import os, time
    from pathlib import Path
    mine = Path(folder) / f"{os.getpid()}.now"
    mine.touch()
    most, end = 1, time.monotonic() + 3
    while time.monotonic() < end:
        most = max(most, len(list(Path(folder).glob("*.now"))))
        time.sleep(0.05)
    mine.unlink()
    _ = mine.with_suffix(".most").write_text(str(most))""",
]
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
    sources |= {"ends the machine": ENDS, "counts": COUNTS}
    for name, cells in sources.items():
        write(folder / f"{name}.ipynb", cells)
    return lambda name: folder / f"{name}.ipynb"


@pytest.fixture
def jobs(lessons, tmp_path):
    """Jobs for (name, lesson, parameters), two at a time."""

    def prepare(*requests, workers=2):
        requests = [(name, lessons(which), p) for name, which, p in requests]
        return executor.prepare(requests, tmp_path / "scratch", workers=workers)

    return prepare


def finish(jobs, workers, backend):
    with executor.running(jobs, workers, backend=backend) as done:
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
        folder.mkdir(exist_ok=True)
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
        while self.processes:
            process = self.processes.pop(0)  # the scheduler first
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
        jobs = executor.prepare(requests, scratch, workers=1)
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
        kept = records.keep(jobs["good"], ended["good"], tmp_path, {"seed": 0})
        assert kept["status"] == "ok"
        assert kept["parameters"] == {"seed": 7}
        assert kept["metrics"][0]["value"] == 7
        assert (tmp_path / "figures" / "00-line.png").exists()

    def test_results_come_as_each_run_ends(self, far_away, jobs, tmp_path):
        asked = jobs(
            ("waits", "meets", {"here": str(tmp_path / "a"), "there": str(tmp_path)}),
            ("stays", "meets", {"here": str(tmp_path / "c"), "there": "/nowhere/d"}),
        )
        with executor.running(asked, 2, backend="dask") as done:
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
            future = client.submit(executor.elsewhere, job, text, pure=False)
            wait_for(begun.exists)
            assert len(marked({job.mark})) == 3  # with the kernel's own child
            future.cancel()
            wait_for(lambda: not marked({job.mark}))

    def test_a_full_disk_here(self, far_away, jobs):
        (asked,) = jobs(("quick", "quick", {}))
        asked.scratch.parent.write_text("no folder")
        ended = finish([asked], 2, "dask")
        assert ended["quick"].status == "failed"
        assert ended["quick"].error == "cannot write the results: Not a directory"


class TestALostWorker:
    @pytest.mark.parametrize("backend", ["processes", "dask"])
    def test_one_run_has_failed_and_the_rest_runs(
        self, backend, jobs, capfd, tmp_path, monkeypatch
    ):
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
        names = ["kills", "a", "b", "c", "d"]
        asked = jobs(*((x, "kills" if x == "kills" else "quick", {}) for x in names))
        before = dict(os.environ)
        ended = finish(asked, 2, backend)
        assert dict(os.environ) == before
        failed = {"kills": ("failed", executor.KILLED)}
        assert {name: (x.status, x.error) for name, x in ended.items()} == (
            dict.fromkeys(names, ("ok", "")) | failed
        )
        assert capfd.readouterr() == ("", "")
        ours = str(tmp_path)
        assert not marked(lambda mark: mark is not None and mark.startswith(ours))
        assert [path.name for path in tmp_path.iterdir()] == ["scratch"]

    def test_on_a_cluster_elsewhere(self, far_away, jobs):
        ended = finish(jobs(("kills", "kills", {}), ("a", "quick", {})), 2, "dask")
        assert ended["kills"].error == executor.KILLED
        assert ended["a"].status == "ok"

    def test_a_machine_of_a_cluster_that_is_lost(self, far_away, jobs):
        """The run's grandparent there is Dask's own process."""
        asked = jobs(("ends", "ends the machine", {}), ("a", "quick", {}))
        ended = finish(asked, 2, "dask")
        assert ended["ends"].error == executor.KILLED
        assert ended["a"].status == "ok"

    def test_a_cluster_that_is_lost_fails_what_is_left(self, jobs, tmp_path):
        import dask

        begun, lost = tmp_path / "begun", Cluster(tmp_path / "lost")
        asked = jobs(("waits", "waits", {"begun": str(begun)}), ("a", "quick", {}))
        stop = threading.Thread(
            target=lambda: (wait_for(begun.exists, 60), lost.stop())
        )
        stop.start()
        with dask.config.set({"scheduler-address": lost.address}):
            ended = finish(asked, 1, "dask")
        stop.join()
        lost.stop()
        assert [x.status for x in ended.values()] == ["failed", "failed"]
        assert all(executor.LOST in outcome.error for outcome in ended.values())

    def test_a_process_that_cannot_be_started(self, jobs, monkeypatch):
        monkeypatch.setattr(sys, "executable", "/no/such/python")
        ended = finish(jobs(("a", "quick", {}), ("b", "quick", {})), 2, "processes")
        assert {x.status for x in ended.values()} == {"failed"}
        assert "no process could be started" in ended["a"].error


ASKS = """\
import sys
from pathlib import Path
from lmlab.runner import executor

if __name__ == "__main__":
    backend, lesson, *begun = sys.argv[1:]
    asked = [(Path(x).name, Path(lesson), {"begun": x}) for x in begun]
    with executor.scratch_folder() as scratch:
        jobs = executor.prepare(asked, scratch, workers=2)
        try:
            with executor.running(jobs, 2, backend=backend) as done:
                list(done)
        except executor.Interrupted as error:
            sys.exit(str(error))
"""


@pytest.mark.parametrize(
    ("backend", "number", "everyone", "said"),
    [
        ("dask", signal.SIGINT, True, "SIGINT\n"),
        ("processes", signal.SIGKILL, False, ""),
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
        with pytest.raises(LessonError, match=r"no backend 'spark': processes, dask\."):
            executor.check_backend("spark")

    def test_a_backend_that_is_not_installed(self, jobs, monkeypatch):
        monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
        asked = jobs(("quick", "quick", {}))
        with (
            pytest.raises(LessonError, match=r"'dask' is not.*pip .*'\.\[dask\]'"),
            executor.running(asked, backend="dask"),
        ):
            raise AssertionError("something was run")
        executor.check_backend("processes")

    def test_a_cluster_that_does_not_answer(self, jobs, monkeypatch):
        import dask

        monkeypatch.setattr(executor, "CONNECT_SECONDS", 1)
        with (
            dask.config.set({"scheduler-address": "tcp://127.0.0.1:1"}),
            pytest.raises(LessonError, match=r"127\.0\.0\.1:1 does not answer"),
            executor.running(jobs(("quick", "quick", {})), backend="dask"),
        ):
            raise AssertionError("something was run")


class TestManyAtATime:
    @pytest.mark.parametrize("backend", ["processes", "dask"])
    def test_at_most_so_many_each_once(self, jobs, backend, tmp_path):
        names = [str(number) for number in range(5)]
        asked = jobs(*((x, "counts", {"folder": str(tmp_path)}) for x in names))
        ended = finish(asked, 2, backend)
        assert ended.keys() == set(names)
        assert {outcome.status for outcome in ended.values()} == {"ok"}
        at_a_time = [int(x.read_text()) for x in tmp_path.glob("*.most")]
        assert len(at_a_time) == 5
        assert max(at_a_time) == 2

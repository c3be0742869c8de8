"""The doctor sees what is wrong, and each line that is not good says what to do."""

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from lmlab import cli
from lmlab.runner import doctor


def only(findings):
    (finding,) = findings
    return finding


class TestPython:
    @pytest.mark.parametrize("running", ["3.11.0", "3.12.4", "3.13.9"])
    def test_these_will_do(self, running):
        assert only(doctor.python(running)).good

    @pytest.mark.parametrize("running", ["3.10.14", "3.14.0", "4.0.0"])
    def test_these_will_not(self, running):
        finding = only(doctor.python(running))
        assert not finding.good
        assert running in finding.text


class TestPackages:
    def lock(self, tmp_path, *lines):
        path = tmp_path / "requirements.lock"
        path.write_text("# tested\n" + "\n".join(lines) + "\n")
        return path

    def look(self, tmp_path, *lines, **versions):
        """What is said of a lock with these lines when these are installed."""
        needed = dict.fromkeys(doctor.required(), "1.0")
        installed = {k: v for k, v in (needed | versions).items() if v}
        return only(doctor.packages(self.lock(tmp_path, *lines), installed))

    def test_as_tested_whatever_the_build(self, tmp_path):
        lock = "numpy==2.4.6", "torch==2.13.0", "Some.Thing==1.0"
        installed = {"numpy": "2.4.6", "torch": "2.13.0+cpu", "some_thing": "1.0"}
        finding = self.look(tmp_path, *lock, **installed)
        assert finding.good
        assert "3 packages" in finding.text

    def test_another_version(self, tmp_path):
        finding = self.look(tmp_path, "numpy==2.4.6", numpy="2.3.0")
        assert not finding.good
        assert finding.text == "other versions: numpy 2.3.0 (tested: 2.4.6)"
        assert "pip install -c requirements.lock" in finding.advice

    def test_a_missing_package_counts_when_lmlab_requires_it(self, tmp_path):
        lock = "numpy==2.4.6", "torch==2.13.0"
        assert self.look(tmp_path, *lock, numpy="2.4.6").good
        finding = self.look(tmp_path, *lock, numpy="", torch="2.13.0")
        assert not finding.good
        assert finding.text == "missing: numpy"

    def test_no_lock(self, tmp_path):
        assert not only(doctor.packages(tmp_path / "requirements.lock")).good

    def test_this_environment_has_what_lmlab_requires(self, tmp_path):
        assert {"papermill", "numpy"} <= set(doctor.required())
        assert "torch" not in doctor.required()  # an extra
        assert only(doctor.packages(self.lock(tmp_path, "no-such-package==1"))).good


class TestMachine:
    def test_a_device_that_does_not_exist(self, monkeypatch):
        monkeypatch.setenv("LMLAB_DEVICE", "tpu")
        finding = only(doctor.device())
        assert not finding.good
        assert "tpu" in finding.text
        assert finding.advice.startswith("unset LMLAB_DEVICE, or set it to cuda, mps")

    def test_device_and_precision_with_their_reasons(self, monkeypatch):
        monkeypatch.setenv("LMLAB_DEVICE", "cpu")
        device, precision = doctor.device()
        assert device.good
        assert "asked for by LMLAB_DEVICE" in device.text
        assert precision.text.startswith("float32 (")

    def test_without_torch(self, monkeypatch):
        monkeypatch.delenv("LMLAB_DEVICE", raising=False)
        monkeypatch.setitem(sys.modules, "torch", None)
        finding = only(doctor.device())
        assert not finding.good
        assert "pip install" in finding.advice

    def test_memory(self):
        assert only(doctor.memory(3 * 2**30)).good
        low = only(doctor.memory(2**30))
        assert not low.good
        assert "--jobs 1" in low.advice

    def test_a_full_disk(self, tmp_path, monkeypatch):
        usage = SimpleNamespace(free=2**29)
        monkeypatch.setattr(doctor.shutil, "disk_usage", lambda _: usage)
        finding = doctor.room("disk", tmp_path / "not" / "yet", "name another")
        assert not finding.good
        assert finding.advice == "free some space, or name another"
        assert finding.text.startswith("0.5 GiB free")

    def test_a_place_that_cannot_be_written(self, tmp_path, monkeypatch):
        (tmp_path / "file").write_text("")
        finding = doctor.room("disk", tmp_path / "file" / "runs", "name another")
        assert not finding.good
        assert f"{tmp_path / 'file'} is none" in finding.text
        assert finding.advice == "name another"  # the file may be the reader's own

        def refuse(**_):
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(doctor.tempfile, "TemporaryFile", refuse)
        finding = doctor.room("disk", tmp_path, "clean up")
        assert not finding.good
        assert "Permission denied" in finding.text

    @pytest.mark.parametrize(
        ("variables", "advice"),
        [
            ({"HOME": "/dev/null"}, "set LMLAB_DATA (or HOME) to another folder"),
            ({"LMLAB_DATA": "/dev/null/data"}, "set LMLAB_DATA to another folder"),
        ],
    )
    def test_a_home_that_is_no_folder_names_the_variable_to_set(
        self, monkeypatch, variables, advice
    ):
        for name in ("LMLAB_DATA", "XDG_CACHE_HOME"):
            monkeypatch.delenv(name, raising=False)
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        room, _ = doctor.cache()
        assert not room.good
        assert "/dev/null is none" in room.text
        assert room.advice == advice

    def test_lessons_that_are_elsewhere_and_no_place_for_temporary_files(
        self, monkeypatch, tmp_path
    ):
        def nowhere():
            raise FileNotFoundError(2, "No usable temporary directory found")

        monkeypatch.setenv("LMLAB_NOTEBOOKS", str(tmp_path / "gone"))
        monkeypatch.setattr(doctor.tempfile, "gettempdir", nowhere)
        runs, temporary = doctor.disk()
        assert not runs.good
        assert not temporary.good
        assert runs.advice.startswith("set LMLAB_NOTEBOOKS")
        assert temporary.advice == "set TMPDIR to another folder"

    def test_nothing_is_made_by_looking(self, tmp_path):
        assert doctor.room("disk", tmp_path / "a" / "b", "").good
        assert list(tmp_path.iterdir()) == []

    def test_an_empty_cache_names_the_command(self, tmp_path, monkeypatch):
        monkeypatch.setenv("LMLAB_DATA", str(tmp_path))
        _, held = doctor.cache()
        assert held.good
        assert (
            "nothing; not yet: mnist, tinyshakespeare (lmlab fetch mnist" in held.text
        )


class TestKernel:
    def test_a_kernel_answers(self):
        finding = only(doctor.kernel())
        assert finding.good, finding.text

    def test_a_python_that_starts_no_kernel(self, tmp_path, monkeypatch):
        broken = tmp_path / "python"
        broken.write_text("#!/bin/sh\necho no ipykernel >&2\nexit 3\n")
        broken.chmod(0o755)
        monkeypatch.setattr(sys, "executable", str(broken))
        finding = only(doctor.kernel())
        assert not finding.good
        assert "did not start" in finding.text
        assert "exit code 3: no ipykernel" in finding.text

    @pytest.mark.parametrize(
        ("command", "good"),
        [("python", True), (sys.executable, True), ("/usr/bin/false", False)],
    )
    def test_what_plain_jupyter_would_start(self, command, good):
        finding = only(doctor.jupyter(lambda _: SimpleNamespace(argv=[command])))
        assert finding.good is good


class TestSettings:
    def test_none_that_matter(self, tmp_path):
        finding = only(doctor.settings({"HF_HOME": "x", "LMLAB_DATA": "y"}, tmp_path))
        assert finding.good
        assert finding.text.startswith("no setting of another tool")

    def test_those_that_lessons_leave_out_and_those_that_count_in_jupyter(
        self, tmp_path
    ):
        files = (".keras/keras.json", ".config/matplotlib/matplotlibrc")
        files += (".ipython/profile_default/startup/00-mine.py",)
        for name in files:
            (tmp_path / name).parent.mkdir(parents=True)
            (tmp_path / name).write_text("")
        variables = {"KERAS_BACKEND": "torch", "PYTHONWARNINGS": "error"}
        everywhere, by_run = doctor.settings(variables, tmp_path)
        assert everywhere.text == (
            "left out of lessons: KERAS_BACKEND, ~/.keras/keras.json, "
            "~/.config/matplotlib/matplotlibrc"
        )
        assert by_run.text == (
            "`lmlab run` leaves out PYTHONWARNINGS, "
            "~/.ipython/profile_default/startup/00-mine.py; in Jupyter they count"
        )

    def test_a_home_that_is_no_folder(self):
        assert only(doctor.settings({}, "/dev/null")).good


class TestReport:
    def run(self, monkeypatch, capsys, findings):
        monkeypatch.setattr(doctor, "examine", lambda: findings)
        monkeypatch.setattr(sys, "argv", ["lmlab", "doctor"])
        with pytest.raises(SystemExit) as exit:
            cli.main()
        return exit.value.code or 0, capsys.readouterr().out

    def test_all_is_well(self, monkeypatch, capsys):
        good = doctor.Finding("memory", True, "8 GiB", "buy more")
        code, out = self.run(monkeypatch, capsys, [good])
        assert code == 0
        assert "✓ memory" in out
        assert "buy more" not in out

    def test_something_is_wrong(self, monkeypatch, capsys):
        bad = doctor.Finding("memory", False, "1 GiB", "buy more")
        code, out = self.run(monkeypatch, capsys, [bad])
        assert code == 1
        assert "✗ memory" in out
        assert "→ buy more" in out

    def test_a_check_that_breaks_is_a_line_and_not_the_end(self, monkeypatch):
        def device():
            raise RuntimeError("broken torch")
            yield

        quick = ("python", "packages", "memory", "disk", "cache", "kernel", "jupyter")
        for name in (*quick, "settings"):
            monkeypatch.setattr(doctor, name, lambda name=name: [name])
        monkeypatch.setattr(doctor, "device", device)
        found = list(doctor.examine())
        assert len(found) == 9
        assert found[2].subject == "device"
        assert "RuntimeError: broken torch" in found[2].text


def test_the_lock_is_where_the_doctor_looks():
    assert (Path(doctor.__file__).parents[2] / "requirements.lock").is_file()

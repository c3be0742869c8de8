"""Facts travel in the notebook itself, and can be read back from it."""

import io

import nbformat
import pytest
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_notebook

from lmlab import progress, record


def run(*sources):
    notebook = new_notebook(cells=[new_code_cell(source) for source in sources])
    NotebookClient(notebook, kernel_name="python3", timeout=120).execute()
    return notebook


def test_outside_a_kernel_a_fact_is_a_line_of_text(capsys):
    record.metric("test accuracy", 0.97801, headline=True)
    assert capsys.readouterr().out == "• test accuracy 0.9780\n"


def test_a_band_is_kept_and_a_senseless_one_refused(capsys):
    shown = run("from lmlab import record\nrecord.metric('loss', 0.5, band=0.25)")
    assert record.read(shown)[0]["band"] == 0.25
    for senseless in (-0.1, float("inf"), float("nan")):
        with pytest.raises(ValueError, match=r"'loss'\): band must be a number in"):
            record.metric("loss", 0.5, band=senseless)
    with pytest.raises(TypeError, match="band must be a number"):
        record.metric("loss", 0.5, band="0.25")


def test_facts_are_read_back_from_an_executed_notebook(tmp_path):
    path = tmp_path / "lesson.ipynb"
    nbformat.write(
        run(
            "from lmlab import checks, record",
            "checks.between('accuracy', 0.5, 0, 1)\n"
            "record.metric('loss', 0.123456, headline=True, digits=2)",
            "checks.catches(lambda f: checks.equal('two', f(1), 2),\n"
            "               {'adds nothing': lambda x: x}, correct=lambda x: x + 1)",
        ),
        path,
    )
    notebook = nbformat.read(path, as_version=4)
    claim, metric, catch = record.read(notebook)
    assert (claim["kind"], claim["cell"], claim["value"]) == ("claim", 1, 0.5)
    assert metric["name"] == "loss"
    assert metric["value"] == 0.123456
    assert metric["headline"] is True
    assert (catch["kind"], catch["caught"], catch["of"]) == ("catch", 1, 1)
    shown = notebook.cells[1].outputs[1].data["text/plain"]
    assert shown == "• loss 0.12"


def test_a_picture_carries_its_description(tmp_path, monkeypatch):
    monkeypatch.setenv("LMLAB_FIGURES", str(tmp_path))
    notebook = run(
        "from lmlab import figures\n"
        "fig, ax = figures.new()\n"
        "ax.plot([1, 3, 2])\n"
        "figures.show(fig, '99-a-line', 'a line that rises, then falls')"
    )
    (output,) = notebook.cells[0].outputs
    assert output.data["text/plain"] == "a line that rises, then falls"
    assert output.metadata["image/png"]["alt"] == "a line that rises, then falls"
    assert (tmp_path / "99-a-line.png").read_bytes().startswith(b"\x89PNG")


def test_a_bar_is_silent_in_a_batch_run(capsys, monkeypatch):
    monkeypatch.delenv("LMLAB_PROGRESS", raising=False)
    assert list(progress.bar(range(3), "epochs")) == [0, 1, 2]
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("variable", "value"), [("JPY_SESSION_NAME", "a.ipynb"), ("LMLAB_PROGRESS", "1")]
)
def test_a_bar_moves_when_someone_is_watching(capsys, monkeypatch, variable, value):
    monkeypatch.setenv(variable, value)
    assert list(progress.bar(range(3), "epochs")) == [0, 1, 2]
    assert "epochs" in capsys.readouterr().err


def test_events_hold_their_time_and_what_was_written():
    """Read without the writer's help: length, its checksum, the event, its checksum."""
    from tensorboard.compat.proto.event_pb2 import Event

    file, found = io.BytesIO(), []
    events = record.Events(file, clock=lambda: 12.5)
    events.scalars({"train/loss": 0.5, "lr": 2.0}, step=3)
    data = file.getvalue()
    while data:
        size = 12 + int.from_bytes(data[:8], "little")
        found.append(Event.FromString(data[12:size]))
        data = data[size + 4 :]
    version, points = found
    assert version.file_version == "brain.Event:2"
    assert (points.step, points.wall_time) == (3, 12.5)
    values = [(x.tag, x.simple_value) for x in points.summary.value]
    assert values == [("train/loss", 0.5), ("lr", 2.0)]

"""What is found out on the way, readable by people and by programs.

Facts that a lesson states: a claim, a metric or a device is shown as one line of text.
In a notebook the same line carries the fact as output metadata, so an executed notebook
is its own record: `read` gathers the facts from any .ipynb, whoever ran it.

Events for TensorBoard: `curves` of a training, and what else `Events` can write.
"""

import math
import sys
import time

from lmlab.arguments import number
from lmlab.files import given

KEY = "lmlab"


def shell():
    """The IPython that runs this code, in a kernel or a terminal; None elsewhere."""
    ipython = sys.modules.get("IPython")
    return ipython.get_ipython() if ipython else None


def in_kernel():
    """True inside a Jupyter kernel, where outputs can carry metadata."""
    return hasattr(shell(), "kernel")


def emit(text, kind, **facts):
    """Show `text`; in a notebook, attach {"kind": kind, **facts} to the output.

    The facts must be JSON types (str, int, float, bool, None, list, dict).
    """
    if not in_kernel():
        print(text)
        return
    from IPython.display import display

    display(
        {"text/plain": text},
        raw=True,
        metadata={KEY: {"kind": kind, "text": text, **facts}},
    )


def metric(name, value, *, headline=False, digits=4, band=None):
    """Record a measured number and show it as `• name value`.

    headline marks the one number that a run's summary shows for this lesson.
    band: two runs that differ only in their seed are nearly always this close, or
    closer: 2√2 standard deviations over seeds. `lmlab compare` judges by it.
    Only the rounded value is shown; the record keeps it in full, nan and infinities
    as text, since JSON has no such numbers. Raises TypeError or ValueError unless band
    is a finite number ≥ 0.
    """
    value = float(value)
    if band is not None:
        band = number(f"metric({name!r}): band", band, "[0, inf)")
    emit(
        f"• {name} {value:.{digits}f}",
        "metric",
        name=name,
        value=value if math.isfinite(value) else str(value),
        headline=headline,
        digits=digits,
        **({} if band is None else {"band": band}),
    )


def read(notebook):
    """The facts in an executed notebook, in order, each with its cell's index.

    notebook: an nbformat notebook, or a dict of the same shape. Returns a list of
    dicts with "kind", "text", "cell" and what `emit` was given.
    """
    facts = []
    for index, cell in enumerate(notebook["cells"]):
        for output in cell.get("outputs", []):
            fact = output.get("metadata", {}).get(KEY)
            if fact is not None:
                facts.append({**fact, "cell": index})
    return facts


def claims(facts):
    """The text of each claim among the facts of `read`, of those in batteries too."""
    stated = [fact for fact in facts if fact["kind"] == "claim"]
    folded = [[f"✓ {text}" for text in fact.get("texts", [])] for fact in stated]
    return [
        text for fact, texts in zip(stated, folded) for text in texts or [fact["text"]]
    ]


# --- TensorBoard ----------------------------------------------------------------------


class Events:
    """TensorBoard's records, written to a file that is open for writing bytes.

    The package's own protobufs: torch's writer would import TensorFlow, for seconds.
    clock: a function that gives an event's time, in seconds since 1970.
    """

    def __init__(self, file, clock=time.time):
        from tensorboard.compat.proto import event_pb2
        from tensorboard.summary.writer.record_writer import RecordWriter

        self._event, self._clock = event_pb2.Event, clock
        self._file, self._records = file, RecordWriter(file)
        self.write(file_version="brain.Event:2")

    def write(self, **fields):
        """Write one event, its fields as TensorBoard's protobuf Event has them."""
        event = self._event(wall_time=self._clock(), **fields)
        self._records.write(event.SerializeToString())
        self._file.flush()  # TensorBoard can show it at once

    def scalars(self, values, step):
        """Write {tag: number} at a step."""
        from tensorboard.compat.proto.summary_pb2 import Summary

        points = [Summary.Value(tag=k, simple_value=v) for k, v in values.items()]
        self.write(step=step, summary=Summary(value=points))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._file.close()


def curves(folder, step=0):
    """Events in a new file of a run's folder: `with curves(folder) as events: …`.

    step: the last one of a run that is resumed; of the later ones, which come again,
    TensorBoard drops what an earlier process logged. Raises OSError.
    """
    from tensorboard.compat.proto.event_pb2 import SessionLog

    folder = given(folder)
    folder.mkdir(parents=True, exist_ok=True)
    # A name that sorts after those that are there: so TensorBoard reads them.
    there = len(list(folder.glob("events.out.tfevents.*")))
    name = f"events.out.tfevents.{int(time.time()):010d}.{there:04d}.lmlab"
    events = Events((folder / name).open("xb"))
    if step:
        started = SessionLog(status=SessionLog.START)
        events.write(step=step + 1, session_log=started)
    return events

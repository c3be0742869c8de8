"""What a person sees of a training: a progress bar, and curves in TensorBoard."""

import time

from lmlab import progress
from lmlab.files import given

TAGS = {
    "loss": "train/loss",
    "lr": "train/lr",
    "grad_norm": "train/grad_norm",
    "tokens_per_second": "train/tokens_per_second",
    "validation_loss": "validation/loss",
}


class Journal:
    """Shows and logs the updates from `step` on: `with Journal(…) as journal`.

    watching: whether this process is the one that does; tensorboard: a folder or None;
    log: a function of a record, or None.
    """

    def __init__(self, step, steps, *, watching, tensorboard=None, log=None):
        self.step, self.steps, self.watching = step, steps, watching
        self.tensorboard, self.log = tensorboard, log
        self.curves, self.bar = None, None

    def __enter__(self):
        if self.watching:
            if self.tensorboard is not None:
                self.curves = Curves(self.tensorboard, self.step)
            self.bar = progress.bar(desc="training", total=self.steps, unit="step")
            self.bar.initial = self.bar.n = self.step
        return self

    def __exit__(self, *_):
        if self.bar is not None:
            self.bar.close()
        if self.curves is not None:
            self.curves.close()

    def note(self, record):
        """Take in the record of one update, as `fit` describes it."""
        if not self.watching:
            return
        shown = {
            "loss": f"{record['loss']:.3f}",
            "tokens/s": f"{record['tokens_per_second']:,.0f}",
        }
        self.bar.set_postfix(shown, refresh=False)
        self.bar.update()
        if self.curves is not None:
            points = {tag: record[key] for key, tag in TAGS.items() if key in record}
            self.curves.add(record["step"], points)
        if self.log is not None:
            self.log(record)


class Curves:
    """One run's file for TensorBoard: `curves.add(step, {"train/loss": 2.3})`.

    TensorBoard's own records; torch's writer would import TensorFlow, for seconds.

    step: the last one of a run that is resumed; of the later ones, which come again,
    TensorBoard drops what an earlier process logged.
    """

    def __init__(self, folder, step=0):
        from tensorboard.compat.proto import event_pb2
        from tensorboard.summary.writer.record_writer import RecordWriter

        self._event = event_pb2.Event
        folder = given(folder)
        folder.mkdir(parents=True, exist_ok=True)
        self._file = (folder / _fresh(folder)).open("xb")
        self._records = RecordWriter(self._file)
        self._write(file_version="brain.Event:2")
        if step:
            started = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
            self._write(step=step + 1, session_log=started)

    def add(self, step, values):
        """Log {tag: number} at a step; TensorBoard can show it at once."""
        from tensorboard.compat.proto.summary_pb2 import Summary

        points = [Summary.Value(tag=k, simple_value=v) for k, v in values.items()]
        self._write(step=step, summary=Summary(value=points))

    def close(self):
        """Close the file."""
        self._file.close()

    def _write(self, **fields):
        event = self._event(wall_time=time.time(), **fields)
        self._records.write(event.SerializeToString())
        self._file.flush()


def _fresh(folder):
    """A name that sorts after those that are there, as TensorBoard reads them."""
    number = len(list(folder.glob("events.out.tfevents.*")))
    return f"events.out.tfevents.{int(time.time()):010d}.{number:04d}.lmlab"

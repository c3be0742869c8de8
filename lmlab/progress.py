"""A progress bar when a person is watching, silence in batch runs."""

import os
import sys


def watched():
    """True when someone can see a bar move: a terminal, JupyterLab or VS Code.

    papermill, nbval and `lmlab run` start kernels without these marks, and a bar
    there would end up in the stored outputs. LMLAB_PROGRESS=0 or 1 overrides.
    """
    choice = os.environ.get("LMLAB_PROGRESS")
    if choice is not None:
        return choice != "0"
    marks = ("JPY_SESSION_NAME", "VSCODE_PID", "COLAB_RELEASE_TAG")
    return sys.stderr.isatty() or any(mark in os.environ for mark in marks)


def bar(iterable=None, desc=None, total=None, unit="it", **options):
    """A tqdm bar over `iterable` that vanishes when done and is off in batch runs.

    options: more of tqdm's own.
    """
    from tqdm import tqdm

    return tqdm(
        iterable,
        desc=desc,
        total=total,
        unit=unit,
        leave=False,
        disable=not watched(),
        file=sys.stderr,
        **options,
    )

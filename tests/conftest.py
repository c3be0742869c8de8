"""What every test run shares: no drawing into the checkout, and a closing line."""

import atexit
import os
import shutil
import tempfile

import pytest

# The kernels that nbval starts inherit this: a test run must not redraw figures/.
if "LMLAB_FIGURES" not in os.environ:
    os.environ["LMLAB_FIGURES"] = tempfile.mkdtemp(prefix="lmlab-figures-")
    atexit.register(shutil.rmtree, os.environ["LMLAB_FIGURES"], ignore_errors=True)
# Nor must it draw progress bars because it was started from an editor or a notebook.
for mark in ("JPY_SESSION_NAME", "VSCODE_PID", "COLAB_RELEASE_TAG"):
    os.environ.pop(mark, None)


@pytest.fixture
def smollm2():
    """The folder of SmolLM2-135M-Instruct; the test is skipped where it is not."""
    return fetched("smollm2")


@pytest.fixture
def minilm():
    """The folder of all-MiniLM-L6-v2; the test is skipped where it is not."""
    return fetched("minilm")


def fetched(name):
    """The folder of a real model in the cache, or a skip that names the command."""
    from lmlab.models import packages

    try:
        return packages.folder(name)
    except packages.WeightsError as error:
        pytest.skip(str(error))


def pytest_terminal_summary(terminalreporter):
    """Say how much of the stored outputs nbval compares, and on which kernels."""
    from test_notebooks import NOTEBOOKS, load, share_compared

    from lmlab.runner import kernel_sets

    compared, shown = share_compared(map(load, NOTEBOOKS))
    terminalreporter.write_line(
        f"{len(NOTEBOOKS)} notebooks: {compared} of {shown} output cells "
        f"({compared / max(shown, 1):.0%}) are compared with what was stored, "
        f"on the kernel set: {kernel_sets.in_force()}"
    )

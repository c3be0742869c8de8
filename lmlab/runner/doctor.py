"""Look at this machine the way a lesson will, and say what to do about what is wrong.

Each check returns findings: one line each, good or not; a line that is not good
ends with what to do. `lmlab doctor` exits with 1 when any is not good.
"""

import os
import platform
import re
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from lmlab.files import checkout

MEMORY_GIB = 2.0  # torch and TensorFlow in one kernel take about 1 GiB
DISK_GIB = 1.0  # room for executed notebooks and a data set
PIN = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;#]+)", re.MULTILINE)


@dataclass(frozen=True)
class Finding:
    """One line of the report. good: False when something has to be done."""

    subject: str
    good: bool
    text: str
    advice: str = ""


def examine():
    """All findings, in the order of the report."""
    checks = (python, packages, device, memory, disk, cache, kernel, jupyter, settings)
    for check in checks:
        try:
            yield from check()
        except Exception as error:  # a broken package must not hide the other lines
            text = f"cannot be checked: {type(error).__name__}: {error}"
            yield Finding(check.__name__, False, text, "reinstall with `make`")


def python(running=None):
    """The Python version, against the one that the package asks for."""
    from importlib.metadata import metadata

    from packaging.specifiers import SpecifierSet

    running = running or platform.python_version()
    wanted = metadata("lmlab")["Requires-Python"]
    good = running in SpecifierSet(wanted, prereleases=True)
    yield Finding(
        "python", good, f"{running} (needs {wanted})", "install Python 3.11 to 3.13"
    )


def packages(lock=None, installed=None):
    """The installed packages against requirements.lock, the versions that were tested.

    A package of the lock that is not installed is fine unless lmlab requires it:
    torch and TensorFlow are extras. A build tag (2.13.0+cpu) does not count.
    installed: {name: version}, by default of what is installed here.
    """
    from importlib.metadata import distributions

    from packaging.utils import canonicalize_name

    lock = lock or (checkout() or Path()) / "requirements.lock"
    if not lock.is_file():
        yield Finding("packages", False, f"there is no {lock.name}", "use a checkout")
        return
    if installed is None:
        installed = {x.name: x.version for x in distributions() if x.name}
    there = {canonicalize_name(name): found for name, found in installed.items()}
    pins = dict(PIN.findall(lock.read_text(encoding="utf-8")))
    found = {name: there.get(canonicalize_name(name)) for name in pins}
    other = [
        f"{name} {version} (tested: {pins[name]})"
        for name, version in found.items()
        if version and version.partition("+")[0] != pins[name]
    ]
    missing = [name for name in required() if canonicalize_name(name) not in there]
    repair = f"pip install -c {lock.name} -e '.[all]'"
    for problem, names in (("missing", missing), ("other versions", other)):
        if names:
            yield Finding("packages", False, f"{problem}: {', '.join(names)}", repair)
    if not missing and not other:
        count = sum(version is not None for version in found.values())
        yield Finding("packages", True, f"{count} packages, all as tested")


def required():
    """The names of the packages that lmlab needs without any extra."""
    from importlib.metadata import requires

    from packaging.requirements import Requirement

    needs = [Requirement(line) for line in requires("lmlab") or []]
    plain = [x for x in needs if not x.marker or x.marker.evaluate({"extra": ""})]
    return [need.name for need in plain]


def device():
    """The device and precision that lessons will choose, each with its reason."""
    from lmlab import devices
    from lmlab.threads import thread_count

    advice = f"unset LMLAB_DEVICE, or set it to {', '.join(devices.DEVICES)} or auto"
    try:
        chosen, reason = devices.choose_device()
        precision, why = devices.choose_precision(device=chosen)
    except ValueError as error:
        yield Finding("device", False, str(error), advice)
    except ImportError:
        text = "torch is not installed: lessons that need it will not run"
        yield Finding("device", False, text, "pip install -e '.[all]'")
    else:
        text = f"{chosen} ({reason}), {thread_count()} threads"
        yield Finding("device", True, text)
        yield Finding("precision", True, f"{precision} ({why})")


def memory(available=None):
    """Free memory, against what one lesson needs."""
    import psutil

    free = (available or psutil.virtual_memory().available) / 2**30
    text = f"{free:.1f} GiB free (a lesson needs up to {MEMORY_GIB:g})"
    advice = "close other programs, or run one lesson at a time: lmlab run --jobs 1"
    yield Finding("memory", free >= MEMORY_GIB, text, advice)


def disk():
    """Room and permission where runs and temporary files go."""
    from lmlab.runner import lessons

    try:
        runs = lessons.runs()
    except lessons.LessonError as error:
        advice = "set LMLAB_NOTEBOOKS to the folder of the lessons, or unset it"
        yield Finding("disk, runs", False, str(error), advice)
    else:
        yield room("disk, runs", runs, "name another folder with --out")
    subject, advice = "disk, temporary files", "set TMPDIR to another folder"
    try:
        yield room(subject, Path(tempfile.gettempdir()), advice)
    except FileNotFoundError as error:  # none of the usual ones will do
        yield Finding(subject, False, error.strerror, advice)


def cache():
    """Room and permission where data sets are kept."""
    from lmlab import data

    place = Path(data.cache_dir())
    decides = "LMLAB_DATA" if os.environ.get("LMLAB_DATA") else "LMLAB_DATA (or HOME)"
    yield room("disk, data", place, f"set {decides} to another folder")
    held = {name: entry.files for name, entry in data.DATASETS.items() if entry.files}
    here = [
        name
        for name, files in held.items()
        if all(_is_of_size(place / name / file.name, file.bytes) for file in files)
    ]
    absent = [name for name in held if name not in here]
    text = f"in the cache: {', '.join(here) or 'nothing'}"
    if absent:
        text += f"; not yet: {', '.join(absent)} (lmlab fetch {' '.join(absent)})"
    yield Finding("data", True, text)


def _is_of_size(path, size):
    return path.is_file() and path.stat().st_size == size


def room(subject, place, elsewhere):
    """Whether files can be written to the place: it, or its nearest parent, now.

    elsewhere: what to do to have another place.
    """
    there = next(path for path in [place, *place.parents] if path.exists())
    if not there.is_dir():
        text = f"there can be no folder {place}: {there} is none"
        return Finding(subject, False, text, elsewhere)
    try:
        with tempfile.TemporaryFile(dir=there):
            free = shutil.disk_usage(there).free / 2**30
    except OSError as error:
        text = f"{place} cannot be written to: {error.strerror}"
        return Finding(subject, False, text, elsewhere)
    text, advice = f"{free:.1f} GiB free in {place}", f"free some space, or {elsewhere}"
    return Finding(subject, free >= DISK_GIB, text, advice)


def kernel():
    """A kernel of this Python starts and answers."""
    import nbformat

    from lmlab.runner import execute, executor, notebooks

    cells = [nbformat.v4.new_code_cell("import lmlab")]
    metadata = {"kernelspec": notebooks.KERNELSPEC, "language_info": notebooks.LANGUAGE}
    with executor.scratch_folder() as scratch:
        job = execute.Job("kernel", Path(scratch) / "probe.ipynb", Path(scratch))
        probe = nbformat.v4.new_notebook(cells=cells, metadata=metadata)
        nbformat.write(probe, job.source)
        outcome = execute.execute(job)
    text = f"answers after {outcome.seconds:.1f} s"
    if outcome.status != "ok":
        text = f"{outcome.status}: {outcome.error}"
    advice = "reinstall with `make`; is something else using all of the machine?"
    yield Finding("kernel", outcome.status == "ok", text, advice)


def jupyter(find=None):
    """What plain Jupyter and papermill start under the name python3."""
    from jupyter_client.kernelspec import KernelSpecManager

    find = find or KernelSpecManager().get_kernel_spec
    command = find("python3").argv[0]
    # Jupyter reads a bare "python" as the Python it runs on itself.
    bare = os.path.basename(command) == command and command.startswith("python")
    found = sys.executable if bare else shutil.which(command) or command
    good = os.path.abspath(found) == os.path.abspath(sys.executable)
    text = "python3 is this Python" if good else f"python3 is another Python: {found}"
    advice = f"{sys.executable} -m ipykernel install --sys-prefix, or use `lmlab run`"
    yield Finding("jupyter", good, text, advice)


def settings(environment=None, home=None):
    """Settings of tools that lessons leave out, and those that count in Jupyter."""
    from lmlab.runner import kernels

    everywhere, by_run = kernels.left_out(environment, home)
    if everywhere:
        yield Finding("settings", True, f"left out of lessons: {', '.join(everywhere)}")
    if by_run:
        text = f"`lmlab run` leaves out {', '.join(by_run)}; in Jupyter they count"
        yield Finding("settings", True, text)
    if not everywhere and not by_run:
        yield Finding("settings", True, "no setting of another tool that would matter")

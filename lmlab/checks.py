"""Claims that hold or raise, and the broken versions that prove they can fail.

A claim is one line that states a fact about what was built. It prints `✓ …` when
the fact holds and raises `ClaimError` when it does not, saying what was expected,
what came, and where the largest error sits. A claim that could never fail is
refused: nothing to compare, an infinite tolerance, an empty interval.

`catches` turns the question round: it runs a check on implementations broken on
purpose, and fails when one of them slips through.

Some claims are about the numbers that a lesson's own settings reach. `usual` asserts
them there, and elsewhere shows what was measured, with a ○ that is no ✓.
"""

import contextlib
import functools
import math

import numpy as np

from lmlab import parameters, record
from lmlab.arguments import number
from lmlab.errors import LmlabError


class ClaimError(LmlabError, AssertionError):
    """A claim that does not hold."""

    def __init__(self, text, message):
        self.claim = text
        super().__init__(f"✗ {text}\n{message}")


_quiet = 0  # > 0 while `catches` runs claims whose success should not be shown


@contextlib.contextmanager
def _quietly():
    global _quiet
    _quiet += 1
    try:
        yield
    finally:
        _quiet -= 1


class usual:
    """`with usual(...):` claims what was measured at the lesson's own settings.

    At those settings the claims of the block are claims like all others. At any other
    a claim is shown with a ○, whether it holds, what was measured and which parameter
    differs: it does not count as a claim, and nothing stops.
    """

    def __init__(self, settings, *profiles):
        """Compare the user's parameters, the notebook's variables, with the settings.

        settings: {name: value}, the lesson's defaults of the parameters that its
        numbers depend on; profiles: what other sets of parameters, at which the claims
        were measured too, change in them.
        Raises ValueError for no settings, or a profile with a name that they lack;
        ParameterError, which is one, for parameters that were never given a value.
        """
        if not settings or any(set(profile) - set(settings) for profile in profiles):
            raise ValueError("usual() needs settings, and profiles of the same names")
        here = parameters.namespace()
        if missing := [name for name in settings if name not in here]:
            raise parameters.ParameterError(
                f"not defined: {', '.join(missing)}. Run the cell of parameters first, "
                "at the top of the lesson."
            )
        every = [settings, *({**settings, **profile} for profile in profiles)]
        differ = [[n for n in own if here[n] != own[n]] for own in every]
        self.other = {name: here[name] for name in min(differ, key=len)}

    def __enter__(self):
        global _elsewhere
        self._outside, _elsewhere = _elsewhere, self.other or _elsewhere

    def __exit__(self, *_):
        global _elsewhere
        _elsewhere = self._outside


_elsewhere = {}  # the parameters that keep claims from being asserted, if any do


class battery:
    """`with battery("what is the same in six frameworks"):` folds claims into one line.

    The claims of the block are asserted as everywhere, and counted: `✓ 36 claims: …`.
    When one fails, those that held before it are shown, a line each, and it raises.
    What `usual` does not assert stays a line of its own, and so does `catches`.
    Raises ValueError for a block that claims nothing.
    """

    def __init__(self, text):
        self.text, self.held, self.shown = text, [], 0

    def __enter__(self):
        global _battery
        self._outside, _battery = _battery, self
        return self

    def __exit__(self, kind, error, traceback):
        global _battery
        _battery = self._outside
        if kind is not None:
            for text, facts in self.held:
                _held(text, **facts)
            return
        if not self.held and not self.shown:
            raise ValueError(f"battery({self.text!r}) claims nothing")
        if self.held and not _quiet:
            total, texts = len(self.held), [text for text, _ in self.held]
            said = f"✓ {total} {'claim' if total == 1 else 'claims'}: {self.text}"
            record.emit(said, "claim", texts=texts)


_battery = None  # the one that gathers claims now


def _stated(claim):
    """The claim as a function that raises when it fails, or shows it in `usual`."""

    @functools.wraps(claim)
    def state(*arguments, **options):
        try:
            return claim(*arguments, **options)
        except ClaimError as error:
            if _quiet or not _elsewhere:  # what `catches` breaks must fail anywhere
                raise
            _show_unasserted(str(error).removeprefix("✗ "), "fails here", held=False)

    return state


def _show_unasserted(text, verdict, **facts):
    if _battery is not None:
        _battery.shown += 1
    settings = ", ".join(f"{name}={value!r}" for name, value in _elsewhere.items())
    said = f"○ {text}\n  {verdict}; not asserted at {settings}"
    record.emit(said, "unasserted", **facts)


def _held(text, **facts):
    if _quiet:
        if _battery is not None:
            _battery.shown += 1
        return
    if _elsewhere:
        _show_unasserted(text, "holds here", held=True, **facts)
    elif _battery is not None:
        _battery.held.append((text, facts))
    else:
        record.emit(f"✓ {text}", "claim", **facts)


def _fail(text, *lines, hint=""):
    if hint:
        lines = (*lines, f"likely cause: {hint}")
    raise ClaimError(text, "\n".join(f"  {line}" for line in lines))


def _array(value):
    """A NumPy array of a NumPy, torch or TensorFlow value, on any device."""
    if hasattr(value, "detach"):  # torch: leave the graph and the device
        value = value.detach().cpu()
        if value.dtype.is_floating_point and value.dtype.itemsize < 4:
            value = value.float()  # NumPy has no bfloat16
        value = value.numpy()
    return np.asarray(value)


@_stated
def holds(text, condition, detail=""):
    """Claim that `condition` is true. detail: shown when it is not.

    Raises TypeError for what is not one True or False.
    """
    verdict = _array(condition)
    if verdict.shape != () or verdict.dtype != np.bool_:
        raise TypeError(f"holds({text!r}) needs one True or False, got {condition!r}")
    if not verdict:
        _fail(text, str(detail) or "expected True, got False")
    _held(text)


@_stated
def equal(text, actual, expected):
    """Claim that two values are exactly equal (arrays: same shape, every entry)."""
    a, b = _entries(actual), _entries(expected)
    if a.shape != b.shape:
        _fail(text, f"expected shape {b.shape}, got {a.shape}")
    different = np.argwhere(a != b)
    if len(different):
        at = tuple(int(i) for i in different[0])
        _fail(
            text,
            f"expected {b.item(at)!r}, got {a.item(at)!r}{_place(at)}",
            *([f"{len(different)} of {a.size} entries differ"] if a.ndim else []),
        )
    _held(text)


def _entries(value):
    """The array of a value, text kept as it is; rows of several lengths are one entry.

    Entries that NumPy has no type for are compared as Python compares them.
    """
    try:
        array = _array(value)
    except ValueError:
        array = np.empty((), object)
        array[()] = value
    # As text of its own NumPy would forget a \0 at the end.
    return np.array(value, object) if array.dtype.kind in "SU" else array


@_stated
def close(text, actual, expected, *, atol=0.0, rtol=0.0, hint=""):
    """Claim that |actual − expected| ≤ atol + rtol·|expected| in every entry.

    expected: an array of the same shape, or one number that every entry must meet.
    hint: the likely cause, shown when the claim fails.
    """
    a, b = _array(actual), _array(expected)
    _refuse_idle(text, a, atol=atol, rtol=rtol)
    if b.shape not in (a.shape, ()):
        _fail(text, f"expected shape {b.shape}, got {a.shape}", hint=hint)
    wide = np.complex128 if np.iscomplexobj(a) or np.iscomplexobj(b) else np.float64
    a, b = a.astype(wide), np.broadcast_to(b.astype(wide), a.shape)
    with np.errstate(invalid="ignore"):
        error = np.where(a == b, 0.0, np.abs(a - b))  # equal infinities are equal
        allowed = np.where(a == b, atol, atol + rtol * np.abs(b))
        off = error - allowed
        bad = ~((off <= 0) & np.isfinite(error))  # NaN and infinity are never within
    if bad.any():
        excess = np.where(np.isfinite(off), off, np.where(bad, np.inf, -np.inf))
        at = tuple(int(i) for i in np.unravel_index(excess.argmax(), a.shape))
        _fail(
            text,
            f"expected {b[at]:.6g}, got {a[at]:.6g}{_place(at)}: "
            f"off by {error[at]:.3g}, allowed {allowed[at]:.3g}",
            *([f"{int(bad.sum())} of {a.size} entries are off"] if a.ndim else []),
            hint=hint,
        )
    _held(text)


def _place(at):
    return f" at {list(at)}" if at else ""


def _refuse_idle(text, a, **tolerances):
    if a.size == 0:
        raise ValueError(f"close({text!r}) has nothing to compare: shape {a.shape}")
    for name, tolerance in tolerances.items():
        number(f"{name} of close({text!r})", tolerance, "[0, inf)")


@_stated
def between(text, value, low, high, *, digits=3, hint=""):
    """Claim that low ≤ value ≤ high; the value is shown, to `digits` decimals.

    Raises ValueError for an interval that is empty, or holds every number.
    """
    if not low <= high:
        raise ValueError(f"between({text!r}) has an empty interval [{low}, {high}]")
    if low == -math.inf and high == math.inf:
        raise ValueError(f"between({text!r}) could not fail: the interval is endless")
    value = float(_array(value))
    interval = f"[{low:.{digits}f}, {high:.{digits}f}]"
    if not low <= value <= high:
        _fail(text, f"expected a value in {interval}, got {value:.6g}", hint=hint)
    _held(f"{text} {value:.{digits}f} in {interval}", value=value)


@_stated
def raises(text, exception, function, *, match=""):
    """Claim that calling `function` raises `exception`, its message holding `match`."""
    try:
        result = function()
    except exception as error:
        if match not in str(error):
            _fail(text, f"expected {match!r} in the message, got {str(error)!r}")
        return _held(text)
    wanted = getattr(exception, "__name__", exception)  # or a tuple of exceptions
    _fail(text, f"expected {wanted}, but it returned {result!r:.200}")


def gradient(text, function, x, grad, *, h=1e-5, atol=1e-7, rtol=1e-6, hint=""):
    """Claim that `grad` is the gradient of a scalar function, by central differences.

    function: called with no argument (it reads x) or with x; returns a scalar.
    x: float64 array of any shape, perturbed entry by entry and restored.
    grad: array of the same shape. The error of the difference itself is about h²
    plus 1e-16/h, so h = 1e-5 in float64 leaves about 1e-10 for O(1) functions.
    """
    if not isinstance(x, np.ndarray) or x.dtype != np.float64:
        kind = getattr(x, "dtype", type(x).__name__)
        raise TypeError(f"gradient({text!r}) needs x as a float64 array, got {kind}")
    numeric = numeric_gradient(function, x, h)
    close(text, grad, numeric, atol=atol, rtol=rtol, hint=hint)


def numeric_gradient(function, x, h=1e-5):
    """Central differences (f(x + h) − f(x − h)) / 2h for every entry of x.

    x: float64 array, changed in place one entry at a time and restored even when
    `function` raises. Returns an array of x's shape.
    """
    call = _caller(function, x)
    numeric = np.empty_like(x)
    for at in np.ndindex(x.shape):
        kept = x[at]
        try:
            x[at] = kept + h
            above = float(call())
            x[at] = kept - h
            below = float(call())
        finally:
            x[at] = kept
        numeric[at] = (above - below) / (2 * h)
    return numeric


def _caller(function, x):
    import inspect

    required = [
        p
        for p in inspect.signature(function).parameters.values()
        if p.default is p.empty
        and p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
    ]
    return (lambda: function(x)) if required else function


@_stated
def catches(check, broken, *, correct):
    """Claim that `check` passes on `correct` and fails on every broken version.

    check: a function of one implementation that makes claims about it.
    broken: {what is wrong with it: implementation}. A broken version counts as
    caught only when a claim fails: one that crashes proves nothing about the
    check, and raises RuntimeError here.
    """
    if not broken:
        raise ValueError("catches() needs at least one broken version")
    with _quietly():
        check(correct)
        noticed = {name: _noticed(check, name, wrong) for name, wrong in broken.items()}
    missed = [name for name, claim in noticed.items() if claim is None]
    total = len(broken)
    if missed:
        _fail(
            f"{total} of {total} broken versions are caught",
            f"expected every broken version to fail a claim, {len(missed)} did not:",
            *missed,
        )
    if _quiet:
        return
    lines = [f"    {name}  →  {claim}" for name, claim in noticed.items()]
    plural = "version is" if total == 1 else "versions are"
    text = "\n".join([f"{total} of {total} broken {plural} caught", *lines])
    if _elsewhere:
        _show_unasserted(text, "holds here", held=True)
    else:
        record.emit(f"✓ {text}", "catch", caught=total, of=total)


def _noticed(check, name, implementation):
    """The text of the claim that fails on `implementation`; None when none does."""
    try:
        with np.errstate(all="ignore"):  # what overflows on purpose need not warn
            check(implementation)
    except ClaimError as error:
        return error.claim
    except Exception as error:
        what = f"crashed with {type(error).__name__}: {error}"
        raise RuntimeError(
            f"the broken version {name!r} {what}; it must run, and be noticed"
        ) from error
    return None

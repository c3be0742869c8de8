"""Claims hold or raise, and a broken version that slips through is an error."""

import copy
import sys

import numpy as np
import pytest

from lmlab import checks
from lmlab.checks import ClaimError
from lmlab.errors import LmlabError
from lmlab.parameters import ParameterError

X = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.5]])


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def check_softmax(function):
    p = function(X)
    checks.close("rows sum to 1", p.sum(-1), 1.0, atol=1e-12)
    checks.close("ratios are e^difference", p[:, 1] / p[:, 0], np.e, rtol=1e-12)


def test_a_claim_that_holds_says_so(capsys):
    checks.close("two is two", 2.0, 2.0)
    checks.holds("it holds", X[0, 0] == 1.0)
    checks.equal("the same list", [1, 2], [1, 2])
    checks.between("accuracy", 0.978, 0.96, 1.0)
    assert capsys.readouterr().out.splitlines() == [
        "✓ two is two",
        "✓ it holds",
        "✓ the same list",
        "✓ accuracy 0.978 in [0.960, 1.000]",
    ]


def test_a_failure_says_what_was_expected_what_came_and_where():
    wrong = X.copy()
    wrong[1, 2] += 0.25
    wrong[0, 1] += 0.125
    with pytest.raises(ClaimError) as failure:
        checks.close("equals X", wrong, X, atol=1e-6, hint="a stray offset")
    said = str(failure.value)
    assert "✗ equals X" in said
    assert "expected 6.5, got 6.75 at [1, 2]" in said
    assert "off by 0.25, allowed 1e-06" in said
    assert "2 of 6 entries are off" in said
    assert "likely cause: a stray offset" in said


def test_the_largest_error_is_the_one_furthest_over_its_tolerance():
    with pytest.raises(ClaimError, match=r"at \[0\]"):
        checks.close("relative", [1.1, 1000.5], [1.0, 1000.0], rtol=1e-2)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_never_close(bad):
    with pytest.raises(ClaimError):
        checks.close("finite", np.array([1.0, bad]), np.array([1.0, 1.0]), atol=1e9)
    with pytest.raises(ClaimError):
        checks.close("finite", np.array([1.0]), np.array([bad]), rtol=0.5)
    with pytest.raises(ClaimError):
        checks.between("finite", bad, -1e300, 1e300)


def test_nan_does_not_equal_nan_and_infinity_equals_infinity():
    with pytest.raises(ClaimError):
        checks.close("nan", np.nan, np.nan, atol=1.0)
    checks.close("infinity", np.inf, np.inf)


def test_a_claim_that_could_not_fail_is_refused():
    with pytest.raises(ValueError, match="nothing to compare"):
        checks.close("empty", np.zeros((0, 3)), np.zeros((0, 3)), atol=1)
    with pytest.raises(
        ValueError, match=r"of close\(.*\) must be a number in \[0, inf\)"
    ):
        checks.close("anything", 1.0, 2.0, atol=np.inf)
    with pytest.raises(
        ValueError, match=r"of close\(.*\) must be a number in \[0, inf\)"
    ):
        checks.close("anything", 1.0, 2.0, rtol=np.nan)
    with pytest.raises(ValueError, match="empty interval"):
        checks.between("nowhere", 0.5, 1.0, 0.0)
    with pytest.raises(ValueError, match="endless"):
        checks.between("anywhere", 0.5, -np.inf, np.inf)
    with pytest.raises(ValueError, match="at least one"):
        checks.catches(check_softmax, {}, correct=softmax)


def test_shapes_do_not_broadcast_into_agreement():
    with pytest.raises(ClaimError, match=r"expected shape \(3,\), got \(2, 3\)"):
        checks.close("one row", X, X[0], atol=1e9)
    with pytest.raises(ClaimError, match="expected shape"):
        checks.equal("one row", X, X[:1])


def test_equal_names_the_first_difference():
    with pytest.raises(ClaimError, match=r"expected 5, got 4 at \[1\]"):
        checks.equal("digits", [3, 4], [3, 5])
    with pytest.raises(ClaimError, match="expected 'b', got 'a'"):
        checks.equal("text", "a", "b")


@pytest.mark.parametrize(
    ("actual", "expected"),
    [
        (b"a\0", b"a"),
        (["x", "a"], ["x", "a\0"]),
        ([(784, 128), (128,)], [(784, 128), (10,)]),
        ({"a": 1}, {"a": 2}),
        ([None, 1], [None, 2]),
        ([1], ["1"]),
    ],
)
def test_what_is_not_a_number_is_equal_to_itself_only(actual, expected):
    checks.equal("itself", actual, copy.deepcopy(actual))
    with pytest.raises(ClaimError, match="expected"):
        checks.equal("the other", actual, expected)


def test_text_in_a_list_equals_text_in_an_array():
    checks.equal("names", np.array(["a", "bc"]), ["a", "bc"])


def test_holds_wants_one_truth_value():
    with pytest.raises(ClaimError, match="the loss rose"):
        checks.holds("the loss falls", False, "the loss rose")
    for not_one in (X, 1, "yes", None, np.array([True])):
        with pytest.raises(TypeError, match="one True or False"):
            checks.holds("one", not_one)


def test_raises_wants_the_right_exception_and_message():
    checks.raises("division by zero", ZeroDivisionError, lambda: 1 / 0, match="zero")
    with pytest.raises(ClaimError, match="it returned 1"):
        checks.raises("it fails", ValueError, lambda: 1)
    with pytest.raises(ClaimError, match=r"ValueError.*it returned 1"):
        checks.raises("it fails", (ValueError, KeyError), lambda: 1)
    with pytest.raises(ClaimError, match="expected 'seven' in the message"):
        checks.raises("seven", ZeroDivisionError, lambda: 1 / 0, match="seven")
    with pytest.raises(ZeroDivisionError):
        checks.raises("another one", ValueError, lambda: 1 / 0)


def test_gradient_agrees_with_calculus_and_restores_x():
    x = X.copy()
    checks.gradient("of a cube", lambda: (x**3).sum(), x, 3 * x**2)
    checks.gradient("of a cube", lambda v: (v**3).sum(), x, 3 * x**2)
    checks.gradient("with a default", lambda n=3: (x**n).sum(), x, 3 * x**2)
    assert (x == X).all()
    with pytest.raises(ClaimError):
        checks.gradient("transposed", lambda: (x**3).sum(), x, 3 * x.T**2)
    with pytest.raises(ClaimError):
        checks.gradient("one off", lambda: (x**3).sum(), x, 3 * x**2 + 1e-4)
    y = x.astype(np.float32)
    with pytest.raises(TypeError, match="float64 array, got float32"):
        checks.gradient("too coarse", lambda: (y**3).sum(), y, 3 * y**2)


def test_gradient_restores_x_when_the_function_fails():
    x = X.copy()
    with pytest.raises(ZeroDivisionError):
        checks.numeric_gradient(lambda: 1 / 0, x)
    assert (x == X).all()


def test_catches_names_the_claim_that_noticed(capsys):
    broken = {
        "wrong axis": lambda x: softmax(x.T).T,
        "uniform": lambda x: np.full_like(x, 1 / x.shape[1]),
    }
    checks.catches(check_softmax, broken, correct=softmax)
    assert capsys.readouterr().out.splitlines() == [
        "✓ 2 of 2 broken versions are caught",
        "    wrong axis  →  rows sum to 1",
        "    uniform  →  ratios are e^difference",
    ]


def test_a_broken_version_that_slips_through_is_named():
    def shape_only(function):
        checks.equal("the shape is kept", function(X).shape, X.shape)

    with pytest.raises(ClaimError, match="wrong axis"):
        checks.catches(
            shape_only, {"wrong axis": lambda x: softmax(x.T).T}, correct=softmax
        )


def test_a_check_that_fails_on_the_correct_version_proves_nothing():
    with pytest.raises(ClaimError, match="rows sum to 1"):
        checks.catches(check_softmax, {"none": np.exp}, correct=np.exp)


def test_a_broken_version_that_crashes_is_not_caught():
    with pytest.raises(RuntimeError, match="'typo' crashed with NameError"):
        checks.catches(
            check_softmax,
            {"typo": lambda x: undefined(x)},  # noqa: F821
            correct=softmax,
        )


def test_torch_and_tensorflow_values_are_compared_as_numbers():
    import torch

    from lmlab import devices

    weights = torch.tensor([[1.0, 2.0]], requires_grad=True)
    checks.close("torch", weights, [[1.0, 2.0]])
    checks.close("bfloat16", weights.bfloat16() / 3, [[1 / 3, 2 / 3]], rtol=2**-8)
    checks.holds("a torch truth", (weights > 0).all())
    with pytest.raises(ClaimError):
        checks.close("torch", weights, [[1.0, 2.1]], atol=1e-3)
    checks.close("tensorflow", devices.tensorflow().constant([1.0, 2.0]), [1.0, 2.0])


def test_complex_numbers_keep_their_imaginary_part():
    with pytest.raises(ClaimError):
        checks.close("a rotation", np.array([1j]), np.array([0.0]), atol=1e-6)


PARAMETERS = {"lr": 1.0, "num_steps": 100, "dataset": "digits", "seed": 0}
SETTINGS = {"lr": 1.0, "num_steps": 100, "dataset": "digits"}
FULL = {"dataset": "mnist", "num_steps": 200}


@pytest.fixture
def here(monkeypatch):
    """Give the user's variables, __main__'s, these values: the parameters' and more."""

    def give(**values):
        for name, value in (PARAMETERS | values).items():
            monkeypatch.setitem(vars(sys.modules["__main__"]), name, value)

    give()
    return give


@pytest.mark.parametrize("given", [{}, {"seed": 7}, FULL])
def test_at_the_lessons_own_settings_usual_claims_are_claims(given, here, capsys):
    here(**given)
    usual = checks.usual(SETTINGS, FULL)
    with usual:
        checks.between("accuracy", 0.978, 0.96, 1.0)
        checks.catches(check_softmax, {"uniform": lambda x: x / 3}, correct=softmax)
    first, second, _ = capsys.readouterr().out.splitlines()
    assert first == "✓ accuracy 0.978 in [0.960, 1.000]"
    assert second == "✓ 1 of 1 broken version is caught"
    with usual, pytest.raises(ClaimError, match=r"got 0\.9"):
        checks.between("accuracy", 0.9, 0.96, 1.0)


@pytest.mark.parametrize(
    ("given", "where"),
    [
        ({"lr": 0.1}, "lr=0.1"),
        ({"dataset": "mnist"}, "dataset='mnist'"),
        ({**FULL, "lr": 0.1}, "lr=0.1"),
        ({"num_steps": 10, "lr": 0.1}, "lr=0.1, num_steps=10"),
    ],
)
def test_at_other_settings_a_usual_claim_is_shown_and_not_asserted(
    given, where, here, capsys
):
    here(**given)
    with checks.usual(SETTINGS, FULL):
        checks.between("accuracy", 0.978, 0.96, 1.0)
        checks.between("accuracy", 0.9, 0.96, 1.0)
        checks.equal("two shapes", X, X[0])
        checks.gradient("of a cube", lambda: (X**3).sum(), X.copy(), X)
    checks.holds("a claim after the block", True)
    said = capsys.readouterr().out
    assert said.startswith(
        "○ accuracy 0.978 in [0.960, 1.000]\n"
        f"  holds here; not asserted at {where}\n"
        "○ accuracy\n"
        "  expected a value in [0.960, 1.000], got 0.9\n"
        f"  fails here; not asserted at {where}\n"
        "○ two shapes\n"
        "  expected shape (3,), got (2, 3)\n"
        f"  fails here; not asserted at {where}\n"
        "○ of a cube\n"
    )
    assert said.count("✓") == 1
    with pytest.raises(ClaimError):
        checks.between("accuracy", 0.9, 0.96, 1.0)


def test_broken_versions_must_fail_at_other_settings_too(here, capsys):
    here(lr=0.1)
    uniform = {"uniform": lambda x: np.full_like(x, 1 / x.shape[1])}
    with checks.usual(SETTINGS):
        checks.catches(check_softmax, uniform, correct=softmax)
        checks.catches(check_softmax, uniform, correct=np.exp)
    said = capsys.readouterr().out
    assert "○ 1 of 1 broken version is caught\n    uniform  →  ratios" in said
    assert "○ rows sum to 1\n  expected 1, got" in said
    assert "✓" not in said


def test_usual_settings_end_with_their_block_whatever_ends_it(here, capsys):
    here(lr=2.0)
    with pytest.raises(ZeroDivisionError), checks.usual({"lr": 1.0}):
        raise ZeroDivisionError
    with checks.usual({"lr": 1.0}), checks.usual({"lr": 2}):
        checks.holds("inside", True)
    checks.holds("outside", True)
    assert capsys.readouterr().out == (
        "○ inside\n  holds here; not asserted at lr=2.0\n✓ outside\n"
    )


def test_usual_settings_that_could_not_differ_are_refused(here):
    with pytest.raises(ValueError, match="needs settings"):
        checks.usual({})
    with pytest.raises(ValueError, match="the same names"):
        checks.usual(SETTINGS, {"epochs": 3})


def test_usual_names_the_cell_to_run_when_the_parameters_are_not_there(here):
    with pytest.raises(ParameterError, match=r"not defined: epochs, depth\. Run the"):
        checks.usual({"epochs": 3, "lr": 1.0, "depth": 2})


def test_a_claim_that_fails_is_one_of_our_errors_and_an_assertion():
    with pytest.raises(LmlabError) as caught:
        checks.holds("it holds", False)
    assert isinstance(caught.value, AssertionError)

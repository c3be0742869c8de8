"""What is forbidden is noticed, is said, and leaves everything as it was."""

import contextlib
import functools
import json
import sys
import types

import numpy as np
import pytest

from lmlab import forbid
from lmlab.checks import ClaimError


@pytest.fixture
def user(monkeypatch):
    """The user's variables, as in a notebook."""
    module = types.ModuleType("__main__")
    monkeypatch.setitem(sys.modules, "__main__", module)
    return module


class TestCalls:
    def test_a_call_fails_with_what_is_forbidden_and_why(self):
        message = r"✗ no call of numpy.linalg.inv\n  solve the equations yourself"
        with (
            pytest.raises(ClaimError, match=message),
            forbid.calls("numpy.linalg.inv", why="solve the equations yourself"),
        ):
            np.linalg.inv(np.eye(2))
        assert np.linalg.inv(np.eye(2)).sum() == 2

    def test_other_calls_go_on_and_nothing_is_said(self, capsys):
        with forbid.calls("numpy.linalg.inv", "numpy.linalg.pinv", why="no"):
            assert np.linalg.det(np.eye(2)) == 1
        assert capsys.readouterr().out == ""

    def test_the_same_function_under_other_names_is_seen(self, user):
        torch = pytest.importorskip("torch")
        functional = torch.nn.functional
        user.attend = original = functional.scaled_dot_product_attention
        q = torch.ones(1, 2, 3)
        path = "torch.nn.functional.scaled_dot_product_attention"
        for call in (
            lambda: user.attend(q, q, q),
            lambda: torch._C._nn.scaled_dot_product_attention(q, q, q),
            lambda: functional.scaled_dot_product_attention(q, q, q),
        ):
            with (
                pytest.raises(ClaimError, match=path),
                forbid.calls(path, why="write it"),
            ):
                call()
        assert user.attend is functional.scaled_dot_product_attention is original
        assert torch._C._nn.scaled_dot_product_attention is original

    def test_methods_inherited_ones_too(self):
        torch = pytest.importorskip("torch")
        own = "softmax" in vars(torch.Tensor)
        with (
            pytest.raises(ClaimError, match=r"no call of torch.Tensor.softmax"),
            forbid.calls("torch.Tensor.softmax", why="write it"),
        ):
            torch.ones(3).softmax(0)
        assert ("softmax" in vars(torch.Tensor)) is own
        assert torch.ones(4).softmax(0)[0] == 0.25

    def test_classes_and_their_subclasses_under_any_name(self, user):
        torch = pytest.importorskip("torch")
        init = torch.optim.AdamW.__init__
        user.Mine = type("Mine", (torch.optim.AdamW,), {})
        user.held = functools.partial(torch.optim.AdamW)  # one that was put away
        weights = [torch.ones(1, requires_grad=True)]
        for made in (user.Mine, user.held):
            with (
                pytest.raises(ClaimError, match=r"no call of torch.optim.AdamW"),
                forbid.calls("torch.optim.AdamW", why="write it"),
            ):
                made(weights)
        assert torch.optim.AdamW.__init__ is init
        assert user.Mine(weights).param_groups

    def test_a_static_method_stays_one(self, user):
        class Tools:
            @staticmethod
            def double(x):
                return 2 * x

        user.Tools = Tools
        with (
            pytest.raises(ClaimError),
            forbid.calls("__main__.Tools.double", why="write it"),
        ):
            Tools().double(3)
        assert Tools().double(3) == 6
        assert isinstance(vars(Tools)["double"], staticmethod)

    def test_an_error_that_is_swallowed_comes_at_the_end(self):
        with (
            pytest.raises(ClaimError, match=r"no call of json.dumps"),
            forbid.calls("json.dumps", why="write it"),
            contextlib.suppress(Exception),
        ):
            json.dumps(1)
        assert json.dumps(1) == "1"

    def test_another_error_passes_and_all_is_restored(self):
        with pytest.raises(IndexError), forbid.calls("json.dumps", why="no"):
            json.loads([][0])
        assert json.dumps(1) == "1"

    @pytest.mark.parametrize(
        ("path", "message"),
        [
            ("numpy.linalg.nothing", "there is no such thing"),
            ("no_such_package.f", "there is no such thing"),
            ("numpy", "there is no such thing"),
            ("numpy.pi", "nothing to call"),
            ("numpy.ndarray.dot", "ndarray is written in C"),
        ],
    )
    def test_a_path_that_cannot_be_watched_is_refused(self, path, message):
        dumps = json.dumps
        with pytest.raises(ValueError, match=message):  # noqa: SIM117
            with forbid.calls("json.dumps", path, why="no"):
                pass
        assert json.dumps is dumps

    def test_nothing_forbidden_is_refused(self):
        with pytest.raises(ValueError, match="needs the path"), forbid.calls(why="no"):
            pass


def rows(X):
    """For each row, not a loop."""
    return np.cumsum(X, axis=1) @ np.ones(X.shape[1])


def helped(X):
    return one_by_one(X)


def one_by_one(X):
    return np.array([x.sum() for x in X])


def down(n):
    return 0 if n == 0 else 1 + down(n - 1)


class Layer:
    def __init__(self, W):
        self.W = W

    @property
    def size(self):
        return sum(x for x in self.W)

    @staticmethod
    def plain(x):
        return x


@functools.cache
def cached(n):
    while n > 3:
        n -= 1
    return n


class TestLoops:
    def test_none_is_a_claim(self, capsys):
        forbid.loops(rows)
        assert capsys.readouterr().out == "✓ rows has no loop\n"

    @pytest.mark.parametrize(
        ("function", "message"),
        [
            (
                one_by_one,
                r"one_by_one has no loop\n  there is a comprehension: return np",
            ),
            (helped, "helped has no loop\n  there is a comprehension in one_by_one: "),
            (down, "there is a call of itself: return 0 if"),
            (Layer, "Layer has no loop\n  there is a generator expression in size: "),
            (cached, "there is a while loop: while n > 3"),
            (lambda X: [2 * x for x in X], "there is a comprehension"),
            (lambda X: list(map(sum, X)), "there is map, which hides one"),
            (lambda X: np.vectorize(abs)(X), "there is vectorize, which hides one"),
            (np.vectorize(abs), "expected what a def makes, got "),
            (functools.partial(rows), "expected what a def makes, got "),
        ],
    )
    def test_one_in_any_form_is_noticed(self, function, message):
        with pytest.raises(ClaimError, match=message):
            forbid.loops(function)

    def test_a_given_helper_may_have_one(self):
        forbid.loops(helped, apart=("one_by_one",))

    def test_a_source_that_cannot_be_read_is_no_proof(self):
        space = {}
        exec("def hidden(x):\n    return x", space)
        with pytest.raises(ClaimError, match="source of hidden cannot be read"):
            forbid.loops(space["hidden"])


def through_torch(x):
    from torch.nn.functional import softmax as chosen

    return chosen(x, 0)


def by_text(x):
    return getattr(x, "softmax")(0)  # noqa: B009


def inverse(A):
    """Not by np.linalg.inv, nor softmax."""
    return np.linalg.inv(A)


class TestNames:
    def test_none_is_a_claim(self, capsys):
        forbid.names(rows, "softmax", "linalg.inv")
        assert capsys.readouterr().out == "✓ rows does without softmax, linalg.inv\n"

    @pytest.mark.parametrize(
        ("function", "name"),
        [
            (through_torch, "softmax"),
            (through_torch, "functional.softmax"),
            (by_text, "softmax"),
            (inverse, "inv"),
            (inverse, "linalg.inv"),
            (inverse, "np.linalg.inv"),
            (inverse, "linalg"),
            (helped, "np.array"),
            (Layer, "sum"),
        ],
    )
    def test_a_name_is_noticed_wherever_it_stands(self, function, name):
        message = f"does without unused, {name}\n  there is {name}.*\n  a reason"
        with pytest.raises(ClaimError, match=message):
            forbid.names(function, "unused", name, why="a reason")

    def test_a_part_of_a_name_or_a_docstring_is_none(self):
        forbid.names(inverse, "softmax", "nv", "alg.inv", "vectorize")

    def test_nothing_forbidden_is_refused(self):
        with pytest.raises(ValueError, match="needs a name"):
            forbid.names(rows)

"""The scalar engine: exact gradients, any depth, clear errors (lesson 01)."""

import math
import random
from operator import methodcaller

import numpy as np
import pytest

from lmlab.autograd import Value, gradients, topological_order


def slope(function, x, h=1e-5):
    """Central difference of a function of one float."""
    return (function(x + h) - function(x - h)) / (2 * h)


@pytest.mark.parametrize("length", [10_000, 100_000])
def test_long_chain_of_operations_is_exact(length):
    x = Value(1.0)
    y = x
    for i in range(length):
        y = y + x if i % 2 else y - 0.5
    y.backward()
    assert x.grad == 1 + length // 2
    assert y.data == 1 + length // 2 * 0.5
    del y  # taking the chain apart must not overflow the stack either


def test_long_product_matches_the_closed_form():
    x = Value(1.0)
    y = x
    for _ in range(9_999):
        y = y * x
    y.backward()
    assert x.grad == 10_000  # d x^n / dx = n at x = 1, in floats too


def test_second_backward_changes_nothing():
    a, b = Value(2.0), Value(-3.0)
    c = (a * b + a) * b
    c.backward()
    first = [v.grad for v in topological_order(c)]
    c.backward()
    assert [v.grad for v in topological_order(c)] == first
    assert (a.grad, b.grad) == (6.0, -10.0)


def test_backward_from_a_second_output_starts_afresh():
    a = Value(2.0)
    b, c = a * 3.0, a * 5.0
    b.backward()
    c.backward()
    assert a.grad == 5.0
    (b + c).backward()
    assert a.grad == 8.0


def test_gradients_leaves_grad_alone_and_answers_0_for_what_was_not_used():
    a, b, unused = Value(2.0), Value(4.0), Value(1.0)
    a.grad = 7.0
    assert gradients(a * b, [a, b, unused]) == [4.0, 2.0, 0.0]
    assert (a.grad, b.grad) == (7.0, 0.0)


def test_backward_leaves_what_it_does_not_reach():
    a, b = Value(2.0), Value(3.0)
    (a * b).backward()
    (a * a).backward()
    assert (a.grad, b.grad) == (4.0, 2.0)


def test_reuse_adds_up():
    a = Value(3.0)
    for expression, expected in [
        (a + a, 2.0),
        (a * a, 6.0),
        (a - a, 0.0),
        (a / a, 0.0),
    ]:
        expression.backward()
        assert a.grad == pytest.approx(expected, abs=1e-15)


def test_diamond_is_complete_before_it_is_passed_on():
    a = Value(2.0)
    b = a * a
    c = b * 3.0 + b * b  # b reaches the output by three edges
    c.backward()
    assert b.grad == 3.0 + 2 * 4.0
    assert a.grad == 11.0 * 4.0


def test_late_reuse_of_an_early_node():
    # A depth-first walk that is not a topological order passes b on too early.
    a = Value(1.5)
    b = a * 2.0
    c = (b * b) * b + b
    c.backward()
    assert a.grad == pytest.approx(2 * (3 * 9.0 + 1), rel=1e-15)


def test_diamonds_in_a_row_take_linear_time():
    a = Value(1.0)
    b = a
    for _ in range(60):  # 2 ** 60 paths, 61 nodes
        b = b + b
    assert len(topological_order(b)) == 61
    b.backward()
    assert a.grad == 2.0**60


def test_topological_order_puts_inputs_first_and_each_node_once():
    a, b = Value(2.0), Value(5.0)
    c = (a * b + a).tanh() - b / a
    order = topological_order(c)
    place = {node: i for i, node in enumerate(order)}
    assert len(place) == len(order)
    assert order[-1] is c
    assert all(place[p] < place[n] for n in order for p in n.parents)


@pytest.mark.parametrize("x", [-2.3, -0.4, 0.3, 1.7])
@pytest.mark.parametrize(
    "name", ["exp", "tanh", "sigmoid", "softplus", "relu", "leaky_relu", "gelu"]
)
def test_functions_against_central_differences(name, x):
    v = Value(x)
    getattr(v, name)().backward()
    assert v.grad == pytest.approx(
        slope(lambda t: getattr(Value(t), name)().data, x), abs=1e-9
    )


def test_log_against_central_differences():
    v = Value(1.7)
    v.log().backward()
    assert v.grad == pytest.approx(slope(math.log, 1.7), abs=1e-9)


@pytest.mark.parametrize("n", [-3, -1, -0.5, 0, 0.5, 1, 2, 3.7])
def test_powers(n):
    v = Value(1.3)
    out = v**n
    out.backward()
    assert out.data == 1.3**n
    assert v.grad == pytest.approx(n * 1.3 ** (n - 1), rel=1e-15)


def test_powers_at_zero_and_below():
    for n, expected in [(0, 0.0), (1, 1.0), (2, 0.0), (1.5, 0.0)]:
        v = Value(0.0)
        (v**n).backward()
        assert v.grad == expected
    v = Value(-2.0)
    (v**-3).backward()
    assert v.grad == -3 / 16


def test_plain_numbers_on_either_side():
    a = Value(4.0)
    for expression, data, grad in [
        (3 + a, 7, 1), (3 - a, -1, -1), (3 * a, 12, 3), (2 / a, 0.5, -0.125),
        (a + 3, 7, 1), (a - 3, 1, 1), (a * 3, 12, 3), (a / 2, 2, 0.5), (-a, -4, -1),
    ]:  # fmt: skip
        expression.backward()
        assert (expression.data, a.grad) == (data, grad)
    assert sum([a, a, a]).data == 12


@pytest.mark.parametrize("kind", [np.float64, np.float32, np.int64])
def test_numpy_numbers_on_the_left_give_a_value(kind):
    a = Value(4.0)
    product = kind(2) * a
    assert type(product) is Value
    assert (product.data, (kind(2) - a).data, (kind(2) / a).data) == (8.0, -2.0, 0.5)
    assert type(Value(kind(2)).data) is float


def test_stable_functions_at_the_ends():
    assert Value(-1000.0).sigmoid().data == 0.0
    assert Value(1000.0).sigmoid().data == 1.0
    assert Value(1000.0).softplus().data == 1000.0
    assert Value(-1000.0).softplus().data == 0.0
    z = Value(-40.0)
    z.sigmoid().backward()
    assert z.grad == pytest.approx(math.exp(-40), rel=1e-12, abs=0)
    z = Value(40.0)  # 1 − σ(40) rounds to 0; the slope must not
    z.sigmoid().backward()
    assert z.grad == pytest.approx(math.exp(-40), rel=1e-12, abs=0)


def test_slopes_at_the_kink():
    for function, expected in [("relu", 0.0), ("leaky_relu", 0.01)]:
        z = Value(0.0)
        getattr(z, function)().backward()
        assert z.grad == expected


OPERATIONS = [  # f: the functions by name, as Values or as tensors have them
    lambda a, b, f: a + b,
    lambda a, b, f: a - b * 0.7,
    lambda a, b, f: f["tanh"](a) * b,
    lambda a, b, f: a / (b * b + 1.5),
    lambda a, b, f: f["sigmoid"](a) - b,
    lambda a, b, f: f["gelu"](a * 0.3 + b),
    lambda a, b, f: f["softplus"](a) / 2,
    lambda a, b, f: f["relu"](a) + 0.1 * b,
    lambda a, b, f: f["leaky_relu"](b) - a,
    lambda a, b, f: (a * a + 1.0) ** -1.5 + 2 - f["exp"](f["tanh"](b)),
    lambda a, b, f: f["log"](a * a + 0.4),
]
FUNCTIONS = ["tanh", "sigmoid", "gelu", "softplus", "relu", "leaky_relu", "exp", "log"]


def random_expression(rng, leaves, functions):
    """The same random graph for Values and for tensors: nodes are reused at random."""
    nodes = list(leaves)
    for _ in range(40):
        operation = rng.choice(OPERATIONS)
        nodes.append(operation(rng.choice(nodes), rng.choice(nodes), functions))
    return sum(nodes[-3:])


@pytest.mark.parametrize("seed", range(40))
def test_random_expressions_against_torch(seed):
    torch = pytest.importorskip("torch")
    functional = torch.nn.functional
    theirs = {
        name: getattr(torch, name, None) or getattr(functional, name)
        for name in FUNCTIONS
        if name != "softplus"
    }
    # torch's softplus becomes the identity above a threshold of 20
    theirs["softplus"] = lambda x: functional.softplus(x, threshold=1e9)
    numbers = [random.Random(seed + 1000).uniform(-1.5, 1.5) for _ in range(4)]
    tensors = [
        torch.tensor(x, dtype=torch.float64, requires_grad=True) for x in numbers
    ]
    values = [Value(x) for x in numbers]
    methods = {name: methodcaller(name) for name in FUNCTIONS}
    ours = random_expression(random.Random(seed), values, methods)
    expected = random_expression(random.Random(seed), tensors, theirs)
    ours.backward()
    expected.backward()
    assert ours.data == pytest.approx(expected.item(), rel=1e-11, abs=1e-11)
    for value, tensor in zip(values, tensors):
        grad = 0.0 if tensor.grad is None else tensor.grad.item()
        assert value.grad == pytest.approx(grad, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize(
    ("expression", "error", "match"),
    [
        (lambda: Value(-1.0).log(), ValueError, "positive number, not -1"),
        (lambda: Value(0.0).log(), ValueError, "positive number, not 0"),
        (lambda: Value(math.nan).log(), ValueError, "positive number, not nan"),
        (lambda: Value(0.0) ** -1, ZeroDivisionError, "x = 0"),
        (lambda: Value(0.0) ** 0.5, ZeroDivisionError, "x = 0"),
        (lambda: Value(-8.0) ** (1 / 3), ValueError, "not a real number"),
        (lambda: 2 / Value(0.0), ZeroDivisionError, "Value of 0"),
        (lambda: Value(1000.0).exp(), OverflowError, "exp\\(1000\\)"),
        (lambda: Value(2.0) ** Value(3.0), TypeError, "constant"),
        (lambda: Value("2"), TypeError, "not str"),
        (lambda: Value(2.0) + "2", TypeError, "not str"),
        (lambda: Value(2.0) * np.ones(2), TypeError, "not ndarray"),
        (lambda: np.ones(2) * Value(2.0), TypeError, "not ndarray"),
        (lambda: Value(Value(2.0)), TypeError, "not Value"),
        (lambda: Value(1j), TypeError, "not complex"),
        (lambda: gradients(3.0, []), TypeError, "not float"),
        (lambda: Value.backward(sum([])), TypeError, "not int"),
    ],
)
def test_errors_say_what_is_wrong(expression, error, match):
    with pytest.raises(error, match=match):
        expression()


@pytest.mark.parametrize(
    ("name", "z", "value", "slope"),
    [
        ("relu", -math.inf, 0.0, 0.0),
        ("relu", -4.0, 0.0, 0.0),
        ("relu", math.inf, math.inf, 1.0),
        ("gelu", -math.inf, 0.0, 0.0),
        ("gelu", math.inf, math.inf, 1.0),
        ("softplus", -math.inf, 0.0, 0.0),
        ("sigmoid", -math.inf, 0.0, 0.0),
        ("tanh", -math.inf, -1.0, 0.0),
    ],
)
def test_functions_have_their_limits_at_infinity(name, z, value, slope):
    x = Value(z)
    out = getattr(x, name)()
    out.backward()
    assert (out.data, x.grad) == (value, slope)
    if name == "relu":
        assert math.copysign(1.0, out.data) == 1.0  # no −0.0
        assert math.copysign(1.0, x.leaky_relu(0.0).data) == 1.0


def test_relu_passes_nan_on():
    assert math.isnan(Value(math.nan).relu().data)

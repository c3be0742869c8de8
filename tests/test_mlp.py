"""lmlab.mlp against finite differences, PyTorch and a naive form of itself."""

import itertools
import math

import numpy as np
import pytest

from lmlab import mlp, schedules
from lmlab.mlp import MLP, fit

SIZES = (7, 6, 5, 3)  # every dimension different: a transposed version cannot pass


def example(n=11, sizes=SIZES, seed=0, dtype=np.float64):
    rng = np.random.default_rng(seed)
    model = MLP(sizes, seed=seed + 1, dtype=dtype)
    for b in model.biases:
        b[...] = rng.normal(0, 0.5, b.shape)
    X = rng.normal(0, 1, (n, sizes[0])).astype(dtype)
    return model, X, rng.integers(0, sizes[-1], n)


def naive(model, X, y):
    """Loss and gradients row by row, in Python floats wherever that is bearable."""
    loss, grads = 0.0, [np.zeros(p.shape) for p in model.parameters]
    for x, label in zip(X, y):
        acts = [x]
        for i, (W, b) in enumerate(zip(model.weights, model.biases)):
            z = np.array([math.fsum(acts[-1] * W[:, j]) + b[j] for j in range(len(b))])
            acts.append(z if i == len(model.weights) - 1 else z * (z > 0))
        p = np.exp(acts[-1] - acts[-1].max())
        p /= p.sum()
        loss -= math.log(p[label]) / len(y)
        delta = (p - np.eye(len(p))[label]) / len(y)
        for i in range(len(model.weights) - 1, -1, -1):
            grads[2 * i] += np.outer(acts[i], delta)
            grads[2 * i + 1] += delta
            delta = (model.weights[i] @ delta) * (acts[i] > 0)
    return loss, grads


def largest_error(actual, expected):
    return max(np.abs(a - e).max() for a, e in zip(actual, expected, strict=True))


def test_parameters_have_the_stated_shapes_and_are_views_of_flat():
    model = MLP()
    shapes = [p.shape for p in model.parameters]
    assert shapes == [(784, 128), (128,), (128, 10), (10,)]
    assert all(p.dtype == np.float32 for p in model.parameters)
    assert model.flat.size == 101_770
    model.weights[1][3, 4] = 42
    assert (model.flat == 42).sum() == 1
    model.flat[:] = 7
    assert all((p == 7).all() for p in model.parameters)


@pytest.mark.parametrize(
    ("init", "std"), [("he", (2 / 784) ** 0.5), ("xavier", (1 / 784) ** 0.5)]
)
def test_initial_weights_have_the_stated_spread(init, std):
    model = MLP(init=init)
    assert model.weights[0].std() == pytest.approx(std, rel=0.01)
    assert abs(model.weights[0].mean()) < 0.01 * std
    assert not any(b.any() for b in model.biases)
    assert not MLP(init="zeros").flat.any()


def test_seed_decides_the_weights():
    assert np.array_equal(MLP(seed=3).flat, MLP(seed=3).flat)
    assert not np.array_equal(MLP(seed=3).flat, MLP(seed=4).flat)


@pytest.mark.parametrize("sizes", [SIZES, (7, 6, 3), (7, 3)])
def test_gradients_match_central_differences(sizes):
    model, X, y = example(sizes=sizes)
    loss, grads = model.loss_and_gradients(X, y)
    assert loss == pytest.approx(model.loss(X, y), abs=1e-14)
    h, flat = 1e-6, model.flat
    for index, exact in enumerate(np.concatenate([g.ravel() for g in grads])):
        value = flat[index]
        flat[index] = value + h
        up = model.loss(X, y)
        flat[index] = value - h
        slope = (up - model.loss(X, y)) / (2 * h)
        flat[index] = value
        # the loss is O(1), so rounding alone makes about 1e-16 / 1e-6
        assert slope == pytest.approx(exact, abs=1e-8), index


@pytest.mark.parametrize("n", [1, 11])
def test_gradients_match_the_naive_form(n):
    model, X, y = example(n)
    loss, grads = model.loss_and_gradients(X, y)
    expected_loss, expected = naive(model, X, y)
    assert loss == pytest.approx(expected_loss, abs=1e-13)
    assert largest_error(grads, expected) < 1e-13


def torch_twin(model):
    torch = pytest.importorskip("torch")
    layers = []
    for W, b in zip(model.weights, model.biases):
        layer = torch.nn.Linear(*W.shape, dtype=torch.float64)
        layer.weight.data[...] = torch.from_numpy(W.T.copy())
        layer.bias.data[...] = torch.from_numpy(b.copy())
        layers += [layer, torch.nn.ReLU()]
    return torch, torch.nn.Sequential(*layers[:-1])


def torch_parameters(twin):
    parameters = [p.detach().numpy() for p in twin.parameters()]
    return [p.T if p.ndim == 2 else p for p in parameters]


def test_loss_and_gradients_match_torch():
    model, X, y = example(64, (784, 128, 10))
    torch, twin = torch_twin(model)
    theirs = torch.nn.functional.cross_entropy(
        twin(torch.from_numpy(X)), torch.from_numpy(y)
    )
    theirs.backward()
    loss, grads = model.loss_and_gradients(X, y)
    assert loss == pytest.approx(theirs.item(), abs=1e-12)
    for p in twin.parameters():
        p.data = p.grad
    assert largest_error(grads, torch_parameters(twin)) < 1e-10


@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "adam"])
@pytest.mark.parametrize("extras", [{}, {"weight_decay": 0.3, "label_smoothing": 0.2}])
def test_fit_takes_the_steps_that_torch_takes(optimizer, extras):
    """Full batches, so that the order of the rows does not matter; 70 steps > 64."""
    model, X, y = example(20)
    torch, twin = torch_twin(model)
    lr, decay = 0.02, extras.get("weight_decay", 0.0)
    if optimizer == "adam":
        stepper = torch.optim.AdamW(twin.parameters(), lr=lr, weight_decay=decay)
    else:
        stepper = torch.optim.SGD(
            twin.parameters(), lr=lr, momentum=0.9 if optimizer == "momentum" else 0
        )
    losses = []
    for _ in range(70):
        stepper.zero_grad()
        loss = torch.nn.functional.cross_entropy(
            twin(torch.from_numpy(X)),
            torch.from_numpy(y),
            label_smoothing=extras.get("label_smoothing", 0.0),
        )
        loss.backward()
        losses.append(loss.item())
        if optimizer != "adam":  # decoupled, as AdamW does it
            for p in twin.parameters():
                p.data *= 1 - lr * decay
        stepper.step()
    history = fit(
        model, X, y, epochs=70, batch_size=20, lr=lr, optimizer=optimizer, **extras
    )
    assert [r["loss"] for r in history] == pytest.approx(losses, abs=1e-10)
    assert largest_error(model.parameters, torch_parameters(twin)) < 1e-10


def test_gradients_stay_as_they_are_after_another_call():
    model, X, y = example()
    _, grads = model.loss_and_gradients(X, y)
    before = [g.copy() for g in grads]
    model.loss_and_gradients(X[:4] * 2, y[:4])
    assert largest_error(grads, before) == 0


def test_logits_probabilities_predictions_and_accuracy_agree():
    model, X, y = example(50)
    P = model.probabilities(X)
    assert P.shape == (50, 3)
    assert np.abs(P.sum(axis=1) - 1).max() < 1e-14
    assert np.array_equal(P.argmax(axis=1), model.predict(X))
    assert model.accuracy(X, y) == np.mean(model.logits(X).argmax(axis=1) == y)
    assert model.loss(X, y) == pytest.approx(-np.log(P[np.arange(50), y]).mean())


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_logits_of_a_thousand_overflow_nothing(dtype):
    model = MLP((2, 2), init="zeros", dtype=dtype)
    model.weights[0][...] = [[1000, -1000], [-1000, 1000]]
    X = np.eye(2, dtype=dtype)
    assert np.array_equal(model.probabilities(X), np.eye(2))
    right, wrong = np.array([0, 1]), np.array([1, 0])
    for y, expected, slope in ((right, 0.0, 0.0), (wrong, 2000.0, 0.5)):
        assert model.loss(X, y) == expected
        loss, (dW, _) = model.loss_and_gradients(X, y)
        assert loss == expected
        assert np.array_equal(np.abs(dW), np.full((2, 2), slope))


def test_same_seed_same_result():
    def run(seed):
        model, X, y = example(50)
        history = fit(model, X, y, epochs=3, batch_size=8, lr=0.01, seed=seed)
        return [r["loss"] for r in history], model.flat

    (losses, flat), (again, flat_again), (other, _) = run(0), run(0), run(1)
    assert losses == again
    assert np.array_equal(flat, flat_again)
    assert losses != other


@pytest.mark.parametrize("n", [1, 9, 10, 11])
def test_ragged_last_batch_counts_by_its_rows(n):
    """With a vanishing lr, the epoch's loss is that of all rows, whatever the batches.

    A mean of batch means would weigh the last row of 11 as much as the first ten.
    """
    model, X, y = example(n)
    y[-1] = model.predict(X[-1:] * 3)[0]
    X[-1] *= 3
    expected = model.loss(X, y)
    (record,) = fit(model, X, y, epochs=1, batch_size=10, lr=1e-12, optimizer="sgd")
    assert record["loss"] == pytest.approx(expected, abs=1e-10)


def test_ragged_last_batch_steps_by_the_mean_of_its_rows():
    """SGD by hand over the same order of rows."""
    model, X, y = example(11)
    twin, _, _ = example(11)
    fit(model, X, y, epochs=2, batch_size=4, lr=0.3, optimizer="sgd", seed=5)
    rng = np.random.default_rng(5)
    for _ in range(2):
        order = rng.permutation(11)
        for rows in (order[:4], order[4:8], order[8:]):
            _, grads = twin.loss_and_gradients(X[rows], y[rows])
            for p, g in zip(twin.parameters, grads):
                p -= 0.3 * g
    assert np.abs(model.flat - twin.flat).max() < 1e-13


@pytest.mark.parametrize(
    ("schedule", "warmup", "expected"),
    [
        ("constant", 0.0, [1, 1, 1, 1]),
        ("constant", 0.5, [0.5, 1, 1, 1]),
        ("linear", 0.0, [1, 0.75, 0.5, 0.25]),
        ("linear", 0.5, [0.5, 1, 1, 0.5]),
        ("cosine", 0.0, [1, 0.5 + 8**-0.5, 0.5, 0.5 - 8**-0.5]),
    ],
)
def test_schedule_scales_each_step(schedule, warmup, expected):
    """Of a model whose gradient is known: one class too few makes P − T constant."""
    model, X, y = example(5, (7, 3))
    flats = [model.flat.copy()]
    gradients = []

    def note(record):
        flats.append(model.flat.copy())

    twin = MLP((7, 3), dtype=np.float64)
    fit(
        model, X, y, epochs=4, batch_size=5, lr=0.1, optimizer="sgd",
        schedule=schedule, warmup=warmup, on_epoch=note,
    )  # fmt: skip
    for flat in flats[:-1]:
        twin.flat[:] = flat
        _, grads = twin.loss_and_gradients(X, y)
        gradients.append(np.concatenate([g.ravel() for g in grads]))
    steps = -np.diff(flats, axis=0)
    rates = [s @ g / (g @ g) / 0.1 for s, g in zip(steps, gradients)]
    assert rates == pytest.approx(expected, abs=1e-9)


def test_fit_learns_and_reports():
    rng = np.random.default_rng(0)
    X = rng.normal(0, 1, (300, 7)).astype(np.float32)
    y = (X[:, 0] > 0) + (X[:, 1] > 0).astype(int)
    model, seen = MLP((7, 16, 3), seed=0), []
    history = fit(model, X, y, epochs=40, lr=0.01, on_epoch=seen.append)
    assert seen == history
    assert [r["epoch"] for r in history] == list(range(1, 41))
    assert all(set(r) == {"epoch", "loss", "seconds"} for r in history)
    assert history[-1]["loss"] < 0.3 * history[0]["loss"]
    assert model.accuracy(X, y) > 0.95


def test_moments_of_dead_pixels_never_turn_denormal():
    """Pixel 0 is on in one row of the first epoch only; its momentum decays after."""
    model, X, y = example(40, dtype=np.float32)
    X[:, 0] = 0
    X[3, 0] = 1
    tiny = np.finfo(np.float32).tiny
    seen = []
    real = np.abs

    def watch(moment):
        seen.append(real(moment[moment != 0]).min())
        return real(moment)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(np, "abs", watch)
        fit(model, X[4:], y[4:], epochs=40, batch_size=1, lr=1e-3, optimizer="momentum")
    assert min(seen) > tiny


def test_a_diverging_run_says_nan_instead_of_warning():
    model, X, y = example(40, dtype=np.float32)
    history = fit(model, X, y, epochs=30, lr=1e30, batch_size=8, optimizer="sgd")
    assert math.isnan(history[-1]["loss"])


def good():
    model, X, y = example(6)
    return {"model": model, "X": X, "y": y, "epochs": 1, "lr": 0.1}


def with_one(value):
    def put(X):
        X[1, 2] = value
        return X

    return put


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("X", lambda X: X[0], r"X: shape \(N, 7\) needed, got \(7,\)"),
        ("X", lambda X: X[:, :6], r"X: shape \(N, 7\) needed, got \(6, 6\)"),
        (
            "X",
            lambda X: X.astype(np.uint8),
            r"X: floats .*X / 255.* needed, got 'uint8'",
        ),
        ("X", with_one(np.nan), "X: finite numbers needed"),
        ("X", with_one(np.inf), "X: finite numbers needed"),
        ("X", lambda X: X[:0], r"X: one row or more needed, got \(0, 7\)"),
        ("y", lambda y: y[:4], r"y: shape \(6,\), one label a row, needed, got \(4,\)"),
        ("y", lambda y: np.eye(3)[y], r"y: shape \(6,\).*got \(6, 3\)"),
        ("y", lambda y: y / 1, "y: integer labels needed, got 'float64'"),
        ("y", lambda y: y + 2, "y: labels 0 to 2 needed, got .2, 4."),
        ("y", lambda y: y - 1, "y: labels 0 to 2 needed, got .-1, "),
        ("epochs", lambda _: 0, "epochs must be a whole number from 1, got 0"),
        ("epochs", lambda _: 2.0, "epochs must be a whole number from 1, got 2.0"),
        ("batch_size", lambda _: 0, "batch_size must be a whole .* from 1, got 0"),
        ("lr", lambda _: 0, r"lr must be a number in \(0, inf\), got 0"),
        ("lr", lambda _: math.nan, "lr must be a number .*, got nan"),
        ("lr", lambda _: "fast", "lr must be a number .*, got 'fast'"),
        ("lr", lambda _: 1j, "lr must be a number .*, got 1j"),
        ("warmup", lambda _: None, "warmup must be a number .*, got None"),
        (
            "weight_decay",
            lambda _: -1,
            r"weight_decay must be .* in \[0, inf\), got -1",
        ),
        ("weight_decay", lambda _: 10, r"lr × weight_decay .* in \[0, 1\), got 1.0"),
        ("label_smoothing", lambda _: 1, r"label_smoothing .* in \[0, 1\), got 1"),
        ("warmup", lambda _: 5, r"warmup must be a number in \[0, 1\), got 5"),
        ("optimizer", lambda _: "adan", "optimizer must be one of sgd, .* got 'adan'"),
        ("schedule", lambda _: "cos", "schedule must be one of .*cosine.* got 'cos'"),
        ("seed", lambda _: 1.0, "seed must be a whole number from 0, got 1.0"),
        ("seed", lambda _: -1, "seed must be a whole number from 0, got -1"),
    ],
)
def test_bad_input_is_named(name, value, message):
    arguments = good()
    arguments[name] = value(arguments.get(name))
    if name == "X" and len(arguments["X"]) == 0:
        arguments["y"] = arguments["y"][:0]
    before = arguments["model"].flat.copy()
    with pytest.raises((ValueError, TypeError), match=message):
        fit(**arguments)
    assert np.array_equal(arguments["model"].flat, before)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"sizes": (784,)}, r"sizes: two or more needed, got \(784,\)"),
        ({"sizes": (784, 0, 10)}, "each of sizes must be a whole .* from 1, got 0"),
        ({"sizes": (784, 12.5, 10)}, "each of sizes must be a whole .* got 12.5"),
        ({"init": "glorot"}, "init must be one of he, xavier, zeros; got 'glorot'"),
        ({"dtype": np.int64}, "dtype must be one of float32, float64; got 'int64'"),
        ({"seed": None}, "seed must be a whole number from 0, got None"),
    ],
)
def test_bad_model_is_named(arguments, message):
    with pytest.raises((ValueError, TypeError), match=message):
        MLP(**arguments)


def test_predict_refuses_pixels_that_are_not_scaled():
    with pytest.raises(ValueError, match="got 'uint8'"):
        MLP().predict(np.zeros((2, 784), np.uint8))


@pytest.mark.parametrize(("rows", "threads"), [(256, 1), (512, 2)])
def test_small_products_get_one_thread_and_large_ones_what_there_is(rows, threads):
    from threadpoolctl import threadpool_info, threadpool_limits

    def blas():
        return {p["num_threads"] for p in threadpool_info() if p["user_api"] == "blas"}

    seen, recipe = [], {"epochs": 1, "lr": 0.1, "batch_size": rows}
    X, y = np.ones((rows, 784), np.float32), np.zeros(rows, int)
    with threadpool_limits(2, "blas"):
        fit(MLP(), X, y, **recipe, on_epoch=lambda _: seen.append(blas()))
        assert blas() == {2}
    assert seen == [{threads}]


def test_a_warm_up_of_half_a_step_does_not_overshoot():
    """One step of plain descent at lr 0.1, whatever the warm-up's share of it."""
    X, y = np.random.default_rng(0).random((8, 4)), np.arange(8) % 3
    moved = {}
    for warmup in (0.0, 0.5):
        model = mlp.MLP((4, 3), dtype=np.float64)
        before = model.flat.copy()
        settings = {"epochs": 1, "lr": 0.1, "batch_size": 8, "optimizer": "sgd"}
        mlp.fit(model, X, y, warmup=warmup, **settings)
        moved[warmup] = model.flat - before
    np.testing.assert_allclose(moved[0.5], moved[0.0], rtol=1e-12)


def test_a_new_optimizer_is_given_the_gradient_itself(monkeypatch):
    seen = []

    def look(w, g, state, t, rate):
        seen.append((g.copy(), rate))

    monkeypatch.setitem(mlp.OPTIMIZERS, "look", (look, 0))
    X, y = np.random.default_rng(0).random((8, 4)), np.arange(8) % 3
    model = mlp.MLP((4, 3), dtype=np.float64)
    _, gradients = model.loss_and_gradients(X, y)
    mlp.fit(model, X, y, epochs=1, lr=0.1, batch_size=8, optimizer="look")
    ((gradient, rate),) = seen
    expected = np.concatenate([g.ravel() for g in gradients])
    np.testing.assert_allclose(gradient, expected, rtol=1e-12)
    assert rate == 0.1


@pytest.mark.parametrize("schedule", schedules.SCHEDULES)
@pytest.mark.parametrize("warm", [0, 0.5, 3, 4.5, 10])
def test_a_rate_never_exceeds_lr_and_stays_at_its_end(schedule, warm):
    rates = [
        schedules.rate(schedule, t, 10, warm, lr=0.3, min_lr=0.1) for t in range(25)
    ]
    assert max(rates) == pytest.approx(0.3, rel=1e-12)
    rise = [0.3 * min(1, (t + 1) / warm) for t in range(10) if t < warm]
    assert rates[: len(rise)] == pytest.approx(rise, rel=1e-12)
    falls = rates[max(0, len(rise) - 1) :]
    assert all(b <= a + 1e-15 for a, b in itertools.pairwise(falls))
    end = 0.3 if schedule == "constant" else 0.1
    assert rates[10:] == pytest.approx([end] * 15, rel=1e-12)

"""A multilayer perceptron in NumPy: the fast form of lesson 02's network.

The lesson writes each layer's backward pass as its own function; here the same
equations work in buffers that are made once. All parameters are views of one flat
vector, and so are their gradients, so that an optimiser's step is a handful of
ufunc calls whatever the number of layers.
"""

import math
import time
from functools import partial
from itertools import pairwise

import numpy as np

from lmlab import schedules
from lmlab.arguments import number, one_of, require, whole
from lmlab.optimizers import OPTIMIZERS, drop_denormals
from lmlab.schedules import SCHEDULES
from lmlab.threads import threads_for

INITS = {"he": 2.0, "xavier": 1.0, "zeros": 0.0}  # variance × fan_in


class MLP:
    """Linear layers with ReLU between them and logits out; derived in lesson 02.

    sizes (in, hidden…, classes). `weights` is a list of (fan_in, fan_out) arrays,
    `biases` of (fan_out,), and `parameters` is W1, b1, W2, b2, …; all are views of
    the vector `flat`: write into them (`W[...] = …`), don't replace them.
    init "he" draws weights from N(0, 2/fan_in), "xavier" from N(0, 1/fan_in), and
    "zeros" is there to show why not to; biases start at 0.
    """

    def __init__(self, sizes=(784, 128, 10), *, seed=0, init="he", dtype=np.float32):
        sizes = tuple(whole("each of sizes", n) for n in sizes)
        require(len(sizes) >= 2, "sizes", "two or more", sizes)
        one_of("init", init, INITS)
        one_of("dtype", np.dtype(dtype).name, ("float32", "float64"))
        self.sizes, self.dtype = sizes, np.dtype(dtype)
        size = sum((n + 1) * m for n, m in pairwise(sizes))
        self.flat = np.zeros(size, self.dtype)
        self.parameters = self.split(self.flat)
        self.weights, self.biases = self.parameters[::2], self.parameters[1::2]
        rng = np.random.default_rng(whole("seed", seed, 0))
        for W in self.weights:
            W[...] = rng.normal(0.0, math.sqrt(INITS[init] / len(W)), W.shape)

    def split(self, flat):
        """Views of a vector laid out as `flat`, shaped as W1, b1, W2, b2, …"""
        views, start = [], 0
        for n, m in pairwise(self.sizes):
            for shape in ((n, m), (m,)):
                views.append(flat[start : start + math.prod(shape)].reshape(shape))
                start += math.prod(shape)
        return views

    def logits(self, X):
        """Scores before the softmax: X (N, in) float -> (N, classes)."""
        A = _inputs(self, X)
        for W, b in zip(self.weights[:-1], self.biases[:-1]):
            A = A @ W
            A += b
            np.maximum(A, 0, out=A)
        return A @ self.weights[-1] + self.biases[-1]

    def probabilities(self, X):
        """Softmax of the logits: X (N, in) -> (N, classes), rows sum to 1."""
        Z = self.logits(X)
        P = np.exp(Z - Z.max(axis=1, keepdims=True))
        return P / P.sum(axis=1, keepdims=True)

    def predict(self, X):
        """The most likely class of each row: X (N, in) -> (N,) int64."""
        return self.logits(X).argmax(axis=1)

    def accuracy(self, X, y):
        """The share of rows whose most likely class is y: a float in [0, 1]."""
        X, y = _pair(self, X, y)
        return float(np.mean(self.predict(X) == y))

    def loss(self, X, y):
        """Mean softmax cross-entropy of X (N, in), y (N,), in nats."""
        X, y = _pair(self, X, y)
        Z = self.logits(X)
        Z -= Z.max(axis=1, keepdims=True)
        nll = np.log(np.exp(Z).sum(axis=1)) - Z[np.arange(len(y)), y]
        return float(nll.mean(dtype=np.float64))

    def loss_and_gradients(self, X, y):
        """The mean loss in nats, and its gradients aligned with `parameters`.

        X (B, in) float, y (B,) integer labels. Each gradient is that of the mean
        over the B rows, in an array of its own that later calls leave alone.
        """
        X, y = _pair(self, X, y)
        grad = np.empty_like(self.flat)
        step = _Step(self, len(X), grad)
        step.X[...] = X
        step.T[...] = np.eye(self.sizes[-1])[:, y]
        totals = np.empty(len(X), self.dtype)
        matched = step.run(totals)
        loss = np.log(totals).sum(dtype=np.float64) - matched
        return float(loss) / len(X), self.split(grad)


class _Step:
    """Forward and backward for exactly n rows, in buffers that are made once.

    Fill X (n, in) and T (classes, n), the target probabilities; `run` writes the
    gradients into `grad`, laid out as the model's flat vector.
    """

    def __init__(self, model, n, grad):
        self.n, self.weights, self.biases = n, model.weights, model.biases
        views = model.split(grad)
        self.grads = list(zip(views[::2], views[1::2]))
        empty = partial(np.empty, dtype=model.dtype)
        hidden, classes = model.sizes[1:-1], model.sizes[-1]
        self.X, self.T = empty((n, model.sizes[0])), empty((classes, n))
        # The softmax reduces over classes, which is vectorised only along columns:
        # the logits and their gradient lie transposed in memory.
        self.A = [self.X, *(empty((n, h)) for h in hidden), empty((classes, n)).T]
        self.D = [*(empty((n, h)) for h in hidden), empty((classes, n)).T]
        self.masks = [np.empty((n, h), bool) for h in hidden]
        self.top, self.ones = empty(n), np.ones(n, model.dtype)

    def run(self, totals):
        """Gradients of the mean cross-entropy over the n rows.

        The loss comes in two parts, so that its logarithms can be taken once per
        epoch: with Z the logits less their maximum, `totals` (n,) is filled with
        Σ exp Z of each row, and Σ T Z is returned; the sum of the n losses is
        Σ log(totals) − Σ T Z.
        """
        A, D, last = self.A, self.D, len(self.weights) - 1
        for i, (W, b) in enumerate(zip(self.weights, self.biases)):
            Z = np.matmul(A[i], W, out=A[i + 1])
            Z += b
            if i < last:
                np.maximum(Z, 0, out=Z)
        Z, P = A[-1].T, D[-1].T  # (classes, n)
        Z -= np.maximum.reduce(Z, axis=0, out=self.top)
        np.exp(Z, out=P)
        P /= np.add.reduce(P, axis=0, out=totals)
        P -= self.T
        P *= 1.0 / self.n
        for i in range(last, -1, -1):
            delta, (dW, db) = D[i], self.grads[i]
            np.matmul(A[i].T, delta, out=dW)
            np.matmul(self.ones, delta, out=db)  # the sum over rows, by BLAS
            if i:  # nobody needs the gradient of the input
                np.matmul(delta, self.weights[i].T, out=D[i - 1])
                D[i - 1] *= np.greater(A[i], 0, out=self.masks[i - 1])
        return float(np.vdot(self.T, Z))


@np.errstate(over="ignore", invalid="ignore", divide="ignore")  # diverging shows nan
def fit(
    model, X, y, *, epochs, lr, batch_size=64, optimizer="adam", schedule="constant",
    warmup=0.0, weight_decay=0.0, label_smoothing=0.0, seed=0, on_epoch=None,
):  # fmt: skip
    """Train the model in place; returns one dict per epoch: epoch, loss, seconds.

    X (N, in) float, y (N,) integer labels. Each epoch visits every row once in a new
    order; the last batch may be smaller. `loss` is the mean over the epoch's N rows,
    each as its batch found it, against the smoothed targets if there are any.
    lr rises linearly over the first `warmup` (a fraction) of all steps, then follows
    `schedule`: "constant", or "linear" or "cosine" down to 0 at the last step.
    weight_decay is decoupled: each step first shrinks all parameters by lr × it.
    label_smoothing spreads that much of the target evenly over all classes.
    The same seed gives the same result (with the same number of BLAS threads, which
    is one while the products are small: two would wait for each other).
    on_epoch(record) is called after each epoch, outside the measured seconds.
    Raises ValueError or TypeError, which name the argument; a diverging run returns a
    loss of nan.
    """
    X, y = _pair(model, X, y)
    whole("epochs", epochs)
    whole("batch_size", batch_size)
    number("lr", lr, "(0, inf)")
    number("weight_decay", weight_decay, "[0, inf)")
    number("lr × weight_decay", lr * weight_decay, "[0, 1)")
    number("warmup", warmup, "[0, 1)")
    number("label_smoothing", label_smoothing, "[0, 1)")
    one_of("optimizer", optimizer, OPTIMIZERS)
    one_of("schedule", schedule, SCHEDULES)
    rng = np.random.default_rng(whole("seed", seed, 0))
    N, B, w = len(X), min(batch_size, len(X)), model.flat
    grad, totals = np.empty_like(w), np.empty(N, model.dtype)
    step_of = {n: _Step(model, n, grad) for n in {B, N % B or B}}
    targets = np.full((model.sizes[-1],) * 2, label_smoothing / model.sizes[-1])
    targets = (targets + (1 - label_smoothing) * np.eye(len(targets))).astype(w.dtype)
    update, slots = OPTIMIZERS[optimizer]
    state = [np.zeros_like(w) for _ in range(slots)]
    before = w.copy()
    t, steps, history = 0, epochs * -(-N // B), []
    with threads_for(2 * B * max(W.size for W in model.weights)):
        for epoch in range(1, epochs + 1):
            started, matched = time.perf_counter(), 0.0
            order = rng.permutation(N)
            labels = y[order]
            for start in range(0, N, B):
                rows = slice(start, start + B)
                step = step_of[min(B, N - start)]
                np.take(X, order[rows], axis=0, out=step.X, mode="clip")
                np.take(targets, labels[rows], axis=1, out=step.T, mode="clip")
                rate = schedules.rate(schedule, t, steps, warmup * steps, lr=lr)
                t += 1
                matched += step.run(totals[rows])
                if weight_decay:
                    w *= 1 - rate * weight_decay
                update(w, grad, state, t, rate)
                if t % 64 == 0:
                    drop_denormals(state)
            loss = (float(np.log(totals).sum(dtype=np.float64)) - matched) / N
            if not math.isfinite(loss + w.sum()) and not np.isfinite(X).all():
                w[...] = before  # looked for only now, since it costs a pass over X
                require(False, "X", "finite numbers", "nan or inf")
            seconds = time.perf_counter() - started
            history.append({"epoch": epoch, "loss": loss, "seconds": seconds})
            if on_epoch is not None:
                on_epoch(history[-1])
    return history


def _inputs(model, X):
    """X as an array of the model's dtype, or a ValueError that says what is wrong."""
    X, width = np.asarray(X), model.sizes[0]
    require(X.ndim == 2 and X.shape[1] == width, "X", f"shape (N, {width})", X.shape)
    require(X.dtype.kind == "f", "X", "floats (pixels: X / 255)", X.dtype.name)
    return np.ascontiguousarray(X, model.dtype)


def _pair(model, X, y):
    """X and y, checked to belong together."""
    X, y = _inputs(model, X), np.asarray(y)
    require(len(X) > 0, "X", "one row or more", X.shape)
    require(y.shape == (len(X),), "y", f"shape ({len(X)},), one label a row,", y.shape)
    require(y.dtype.kind in "iu", "y", "integer labels", y.dtype.name)
    top, span = model.sizes[-1] - 1, (int(y.min()), int(y.max()))
    require(span[0] >= 0 and span[1] <= top, "y", f"labels 0 to {top}", span)
    return X, y

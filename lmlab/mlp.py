"""A multilayer perceptron in NumPy: the fast form of lesson 02's network.

The notebook writes each layer's backward pass as its own function; here the same
equations work in buffers that are made once. All parameters are views of one flat
vector, and so are their gradients, so that an optimiser's step is a handful of
ufunc calls whatever the number of layers.
"""

import math
import time

import numpy as np

INITS = {"he": 2.0, "xavier": 1.0, "zeros": 0.0}
OPTIMIZERS = ("sgd", "momentum", "adam")
SCHEDULES = ("constant", "cosine", "linear")


class MLP:
    """Linear layers with ReLU between them and logits out; derived in lesson 02.

    sizes (in, hidden…, classes). `weights` is a list of (fan_in, fan_out) arrays,
    `biases` of (fan_out,), and `parameters` is W1, b1, W2, b2, …; all are views of
    the vector `flat`, so write into them (`W[...] = …`), don't replace them.
    init "he" draws from N(0, 2/fan_in), "xavier" from N(0, 1/fan_in); biases are 0.
    """

    def __init__(self, sizes=(784, 128, 10), *, seed=0, init="he", dtype=np.float32):
        sizes = tuple(sizes)
        if len(sizes) < 2 or any(int(n) != n or n < 1 for n in sizes):
            raise ValueError(f"sizes: two or more positive integers, not {sizes}")
        _one_of("init", init, INITS)
        if np.dtype(dtype) not in (np.float32, np.float64):
            raise ValueError(f"dtype: float32 or float64, not {np.dtype(dtype)}")
        self.sizes = tuple(int(n) for n in sizes)
        self.dtype = np.dtype(dtype)
        count = sum(n * m + m for n, m in zip(self.sizes, self.sizes[1:]))
        self.flat = np.zeros(count, self.dtype)
        self.parameters = self.split(self.flat)
        self.weights, self.biases = self.parameters[::2], self.parameters[1::2]
        rng = np.random.default_rng(seed)
        for W in self.weights:
            W[...] = rng.normal(0.0, math.sqrt(INITS[init] / len(W)), W.shape)

    def split(self, flat):
        """Views of a vector laid out as `flat`, shaped as W1, b1, W2, b2, …"""
        views, start = [], 0
        for n, m in zip(self.sizes, self.sizes[1:]):
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
        np.exp(Z - Z.max(axis=1, keepdims=True), out=Z)
        return Z / Z.sum(axis=1, keepdims=True)

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
        """The mean loss and its gradients, aligned with `parameters`.

        X (B, in) float, y (B,) integer labels. Gradients are those of the mean over
        the B rows.
        """
        X, y = _pair(self, X, y)
        work = _Workspace(self, len(X))
        work.X[...] = X
        work.T[...] = np.eye(self.sizes[-1], dtype=self.dtype)[y]
        loss = work.step(len(X)) / len(X)
        return float(loss), self.split(work.grad)


class _Workspace:
    """The buffers of one training step, for batches of at most `size` rows."""

    def __init__(self, model, size):
        self.model = model
        self.grad = np.empty_like(model.flat)
        self.grads = model.split(self.grad)
        self.buffers = [np.empty((size, n), model.dtype) for n in model.sizes]
        self.deltas = [np.empty((size, n), model.dtype) for n in model.sizes[1:]]
        self.X = self.buffers[0]
        self.T = np.empty((size, model.sizes[-1]), model.dtype)

    def step(self, n, scale=1.0):
        """Loss sum over the first n rows of X and T; fills grad (of the mean)."""
        m = self.model
        A = [buffer[:n] for buffer in self.buffers]
        D = [delta[:n] for delta in self.deltas]
        T, last = self.T[:n], len(m.weights) - 1
        for i, (W, b) in enumerate(zip(m.weights, m.biases)):
            np.matmul(A[i], W, out=A[i + 1])
            A[i + 1] += b
            if i < last:
                np.maximum(A[i + 1], 0, out=A[i + 1])
        Z, P = A[-1], D[-1]
        Z -= Z.max(axis=1, keepdims=True)
        np.exp(Z, out=P)
        total = P.sum(axis=1, keepdims=True)
        loss = np.log(total).sum(dtype=np.float64) - np.vdot(T, Z)
        P /= total
        P -= T
        P *= scale / n
        for i in range(last, -1, -1):
            np.matmul(A[i].T, D[i], out=self.grads[2 * i])
            np.add.reduce(D[i], axis=0, out=self.grads[2 * i + 1])
            if i:
                np.matmul(D[i], m.weights[i].T, out=D[i - 1])
                D[i - 1] *= A[i] > 0
        return loss


def fit(
    model,
    X,
    y,
    *,
    epochs,
    lr,
    batch_size=64,
    optimizer="adam",
    weight_decay=0.0,
    label_smoothing=0.0,
    schedule="constant",
    warmup=0.0,
    seed=0,
    on_epoch=None,
):
    """Train the model in place; returns one dict per epoch: epoch, loss, seconds.

    X (N, in) float, y (N,) integer labels. `loss` is the mean over the epoch's N
    rows, each taken at the moment its batch was seen. `on_epoch(record)` is called
    after each epoch, outside the measured seconds.
    """
    X, y = _pair(model, X, y)
    _one_of("optimizer", optimizer, OPTIMIZERS)
    _one_of("schedule", schedule, SCHEDULES)
    rng = np.random.default_rng(seed)
    N, B, classes = len(X), min(batch_size, len(X)), model.sizes[-1]
    targets = np.eye(classes, dtype=model.dtype)[y]
    targets *= 1 - label_smoothing
    targets += label_smoothing / classes
    work = _Workspace(model, B)
    g, w = work.grad, model.flat
    m, v = np.zeros_like(w), np.zeros_like(w)
    steps = epochs * math.ceil(N / B)
    warm = warmup * steps
    step, history = 0, []
    for epoch in range(1, epochs + 1):
        started, total = time.perf_counter(), 0.0
        order = rng.permutation(N)
        for start in range(0, N, B):
            rows = order[start : start + B]
            n = len(rows)
            np.take(X, rows, axis=0, out=work.X[:n], mode="clip")
            np.take(targets, rows, axis=0, out=work.T[:n], mode="clip")
            rate = lr * _factor(schedule, step, steps, warm)
            step += 1
            if optimizer == "adam":
                total += work.step(n)
                c1, c2 = 1 - 0.9**step, 1 - 0.999**step
                m *= 0.9
                m += g
                v *= 0.999
                np.multiply(g, g, out=g)
                v += g
                np.sqrt(v, out=g)
                # the stored moments lack the factors (1 - beta)
                k = math.sqrt(0.001 / c2)
                g += 1e-8 / k
                np.divide(m, g, out=g)
                g *= rate * 0.1 / c1 / k
            else:
                total += work.step(n, rate)
                if optimizer == "momentum":
                    m *= 0.9
                    m += g
            if weight_decay:
                w *= 1 - rate * weight_decay
            w -= m if optimizer == "momentum" else g
        seconds = time.perf_counter() - started
        record = {"epoch": epoch, "loss": float(total / N), "seconds": seconds}
        history.append(record)
        if on_epoch is not None:
            on_epoch(record)
    return history


def _factor(schedule, step, steps, warm):
    """What the learning rate is multiplied by before step `step` of `steps`."""
    if step < warm:
        return (step + 1) / warm
    done = (step - warm) / max(1.0, steps - warm)
    if schedule == "cosine":
        return 0.5 * (1 + math.cos(math.pi * done))
    return 1 - done if schedule == "linear" else 1.0


def _inputs(model, X):
    """X as an array of the model's dtype, or a ValueError that says what is wrong."""
    X = np.asarray(X)
    if X.ndim != 2 or X.shape[1] != model.sizes[0]:
        raise ValueError(f"X: shape (N, {model.sizes[0]}) is needed, not {X.shape}")
    if X.dtype.kind != "f":
        raise ValueError(
            f"X: floats are needed, not {X.dtype}; scale pixels first: X / 255"
        )
    return np.ascontiguousarray(X, model.dtype)


def _pair(model, X, y):
    """X and y, checked to belong together."""
    X, y = _inputs(model, X), np.asarray(y)
    if y.shape != (len(X),) or len(y) == 0:
        raise ValueError(f"y: shape ({len(X)},) is needed, one label a row: {y.shape}")
    if y.dtype.kind not in "iu":
        raise ValueError(f"y: integer labels are needed, not {y.dtype}")
    if y.min() < 0 or y.max() >= model.sizes[-1]:
        raise ValueError(
            f"y: labels 0 to {model.sizes[-1] - 1} are needed,"
            f" not {y.min()} to {y.max()}"
        )
    return X, y


def _one_of(name, value, known):
    if value not in known:
        raise ValueError(f"{name}: one of {', '.join(known)}, not {value!r}")

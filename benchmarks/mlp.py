"""How fast is lmlab.mlp, and what does it reach? The 784-128-10 network against peers.

    python benchmarks/mlp.py                       # everything, some ten minutes
    python benchmarks/mlp.py --skip-accuracy       # seconds per epoch only
    python benchmarks/mlp.py --images 2000 --rounds 1 --skip-accuracy      # a try-out

Three tables. Seconds per epoch: each contender, with the same batch size and
optimiser, over the floor: the same five matrix products alone, on the same batches,
into buffers made beforehand. Seconds to a test accuracy on MNIST: the peers with their
default Adam recipe, lmlab.mlp with a recipe of its own. The best test accuracy.

Each library runs in a process of its own, which waits while the others work. Rounds
are interleaved (A B C, A B C, …) and every ratio is between times of one round, so that
a machine that is slower for a while slows both sides.
"""

import argparse
import contextlib
import json
import os
import platform
import shlex
import statistics
import subprocess
import sys
import time
from functools import partial
from importlib.metadata import version

PACKAGES = ("numpy", "torch", "tensorflow-cpu", "keras", "scikit-learn")
SIZES = (784, 128, 10)
SGD_LR = 0.1
NEVER = float("inf")  # seconds to an accuracy that was not reached

# Chosen on a validation split (the last 10,000 of the 60,000 training images),
# never on the test set. "centre" subtracts the training images' mean image.
PEERS = {"optimizer": "adam", "lr": 1e-3, "batch_size": 128}
FAST = {
    "centre": True,
    "optimizer": "momentum",
    "lr": 0.7,
    "batch_size": 128,
    "epochs": 3,
    "schedule": "linear",
    "warmup": 0.2,
    "label_smoothing": 0.05,
}
BEST = {
    "centre": False,
    "optimizer": "momentum",
    "lr": 0.2,
    "batch_size": 128,
    "epochs": 30,
    "schedule": "cosine",
    "warmup": 0.05,
    "label_smoothing": 0.1,
    "weight_decay": 1e-3,
}


# --- The data, in the worker processes ------------------------------------------------


def images(name, count):
    """X (N, 784) float32 in 0…1 and y (N,) int64, for training and for testing."""
    import numpy as np

    if name == "random":
        rng = np.random.default_rng(0)
        X = rng.random((count, SIZES[0]), dtype=np.float32)
        y = rng.integers(0, SIZES[-1], count)
        return X, y, X[:100], y[:100]
    from lmlab import data

    loaded = data.load(name)
    X, X_test = (
        A.reshape(len(A), -1).astype(np.float32) / np.float32(255)
        for A in (loaded.X_train, loaded.X_test)
    )
    return X[:count], loaded.y_train[:count], X_test, loaded.y_test


# --- The contenders: f(images) -> start; start(seed, …) -> epoch, accuracy ----------


def floor(X, y, X_test, y_test):
    """Only the five matrix products of a step, on successive batches of X.

    Reading each image once from memory is part of it: every epoch has to.
    """
    import numpy as np

    def start(seed, batch_size, **_):
        n, h, c = SIZES
        rng = np.random.default_rng(seed)  # O(1) numbers: denormal ones are slow
        W1, W2, dW1, dW2, A_, Z_, dA_, dZ_ = (
            rng.normal(0, 1, shape).astype(np.float32)
            for shape in 2 * [(n, h), (h, c)] + 2 * [(batch_size, h), (batch_size, c)]
        )

        def epoch():
            for first in range(0, len(X), batch_size):
                B = X[first : first + batch_size]
                A, Z, dA, dZ = (buffer[: len(B)] for buffer in (A_, Z_, dA_, dZ_))
                np.matmul(B, W1, out=A)
                np.matmul(A, W2, out=Z)
                np.matmul(A.T, dZ, out=dW2)
                np.matmul(dZ, W2.T, out=dA)
                np.matmul(B.T, dA, out=dW1)

        return epoch, None

    return start


def lmlab(X, y, X_test, y_test):
    """lmlab.mlp; an epoch's seconds are those that fit reports for it."""
    from lmlab.mlp import MLP, fit

    def start(seed, **recipe):
        model = MLP(SIZES, seed=seed)

        def epoch():
            return fit(model, X, y, epochs=1, **recipe)[0]["seconds"]

        return epoch, lambda: model.accuracy(X_test, y_test)

    return start


def torch(X, y, X_test, y_test):
    """PyTorch, eager: nn.Sequential, cross_entropy, batches by indexing a tensor."""
    import torch
    from torch import nn

    X, y, X_test, y_test = map(torch.from_numpy, (X, y, X_test, y_test))

    def start(seed, batch_size, optimizer, lr):
        torch.manual_seed(seed)
        n, h, c = SIZES
        model = nn.Sequential(nn.Linear(n, h), nn.ReLU(), nn.Linear(h, c))
        kind = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}[optimizer]
        stepper = kind(model.parameters(), lr=lr)

        def epoch():
            for rows in torch.randperm(len(X)).split(batch_size):
                loss = nn.functional.cross_entropy(model(X[rows]), y[rows])
                stepper.zero_grad()
                loss.backward()
                stepper.step()

        @torch.no_grad
        def accuracy():
            return (model(X_test).argmax(1) == y_test).float().mean().item()

        return epoch, accuracy

    return start


def keras_model(seed, optimizer, lr):
    from lmlab import devices

    devices.tensorflow()  # in the order that torch's CUDA builds need
    import keras

    keras.utils.set_random_seed(seed)
    n, h, c = SIZES
    layers = keras.layers.Dense(h, activation="relu"), keras.layers.Dense(c)
    kind = {"sgd": keras.optimizers.SGD, "adam": keras.optimizers.Adam}[optimizer]
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    return keras.Sequential([keras.Input((n,)), *layers]), kind(lr), loss


def keras(X, y, X_test, y_test):
    """Keras on TensorFlow: compile, then fit, one epoch at a time."""

    def start(seed, batch_size, optimizer, lr):
        model, stepper, loss = keras_model(seed, optimizer, lr)
        model.compile(stepper, loss)

        def epoch():
            model.fit(X, y, batch_size=batch_size, verbose=0)

        def accuracy():
            logits = model.predict(X_test, batch_size=1000, verbose=0)
            return float((logits.argmax(1) == y_test).mean())

        return epoch, accuracy

    return start


def tf_function(X, y, X_test, y_test):
    """TensorFlow: a GradientTape step that gathers its batch, under tf.function."""
    from lmlab import devices

    tf = devices.tensorflow()
    X, y = tf.constant(X), tf.constant(y)

    def start(seed, batch_size, optimizer, lr):
        model, stepper, loss = keras_model(seed, optimizer, lr)
        variables = model.trainable_variables
        stepper.build(variables)

        @tf.function(reduce_retracing=True)
        def step(rows):
            with tf.GradientTape() as tape:
                logits = model(tf.gather(X, rows), training=True)
                cost = loss(tf.gather(y, rows), logits)
            gradients = tape.gradient(cost, variables)
            stepper.apply_gradients(zip(gradients, variables))

        def epoch():
            order = tf.random.shuffle(tf.range(len(X)))
            for first in range(0, len(X), batch_size):
                step(order[first : first + batch_size])

        def accuracy():
            logits = model(tf.constant(X_test)).numpy()
            return float((logits.argmax(1) == y_test).mean())

        return epoch, accuracy

    return start


def sklearn(X, y, X_test, y_test):
    """scikit-learn's MLPClassifier; one call of partial_fit is one epoch."""
    from sklearn.neural_network import MLPClassifier

    def start(seed, batch_size, optimizer, lr):
        model = MLPClassifier(
            SIZES[1:-1],
            solver=optimizer,
            learning_rate_init=lr,
            batch_size=min(batch_size, len(X)),
            momentum=0.0,  # read by sgd only
            random_state=seed,
        )

        def epoch():
            model.partial_fit(X, y, classes=range(SIZES[-1]))

        return epoch, lambda: float(model.score(X_test, y_test))

    return start


CONTENDERS = {
    "floor": floor,
    "lmlab": lmlab,
    "torch": torch,
    "tf.function": tf_function,
    "keras": keras,
    "sklearn": sklearn,
}


def train(arrays, seed, recipe, target):
    """Train lmlab.mlp by a recipe of its own: [seconds, test accuracy] per epoch.

    The seconds hold all of it except the tests: centring, set-up, the epochs. Training
    stops after the first epoch that reaches the target, as it does for the peers.
    """
    from lmlab.mlp import MLP, fit

    X, y, X_test, y_test = arrays
    recipe, curve, testing = dict(recipe), [], 0.0
    started = time.perf_counter()
    model = MLP(SIZES, seed=seed)
    if recipe.pop("centre", False):
        mean = X.mean(axis=0)
        X, X_test = X - mean, X_test - mean

    def test(record):
        nonlocal testing
        begun = time.perf_counter()
        curve.append([begun - started - testing, model.accuracy(X_test, y_test)])
        testing += time.perf_counter() - begun
        if curve[-1][1] >= target:
            raise StopIteration

    with contextlib.suppress(StopIteration):
        fit(model, X, y, seed=seed, on_epoch=test, **recipe)
    return curve


# --- Worker processes: one JSON line in, one JSON line out ----------------------------


def work(name, dataset, count):
    """Serve requests on stdin until it closes."""
    replies = os.fdopen(os.dup(1), "w")  # whatever a library prints goes to stderr
    os.dup2(2, 1)
    arrays = images(dataset, count)
    methods = {"train": partial(train, arrays)}
    start = CONTENDERS[name](*arrays)
    for line in sys.stdin:
        method, arguments = json.loads(line)
        started, cpu, result = time.perf_counter(), time.process_time(), None
        if method == "start":
            methods["epoch"], methods["accuracy"] = start(**arguments)
        else:
            result = methods[method](**arguments)
        cpu = time.process_time() - cpu
        seconds = time.perf_counter() - started
        print(json.dumps([seconds, result, cpu]), file=replies, flush=True)


class Worker:
    """A contender in its own process."""

    def __init__(self, name, dataset, count, threads):
        names = ("OMP", "OPENBLAS", "MKL")
        env = os.environ | {f"{n}_NUM_THREADS": str(threads) for n in names}
        env |= {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}
        env |= {f"TF_NUM_{kind}OP_THREADS": str(threads) for kind in ("INTRA", "INTER")}
        command = [sys.executable, __file__, "--worker", name, dataset, str(count)]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        pipes["stderr"] = subprocess.DEVNULL  # TensorFlow greets at length
        self.process = subprocess.Popen(command, env=env, text=True, **pipes)
        self.name = name

    def call(self, method, **arguments):
        """Run a method of the contender: [seconds, result, seconds of CPU time]."""
        print(json.dumps([method, arguments]), file=self.process.stdin, flush=True)
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(
                f"{self.name} stopped in {method}; for its message run:\n"
                f"  echo '{json.dumps([method, arguments])}' | "
                f"{shlex.join(self.process.args)}"
            )
        return json.loads(line)

    def close(self):
        """Let the process end."""
        self.process.stdin.close()
        self.process.wait()


# --- The measurements -----------------------------------------------------------------


def measure_epochs(workers, batch_size, optimizer, rounds, clock):
    """Seconds of an epoch: {name: [one per round]}. A first epoch warms each up."""
    lr = SGD_LR if optimizer == "sgd" else PEERS["lr"]
    for worker in workers.values():
        worker.call("start", seed=0, batch_size=batch_size, optimizer=optimizer, lr=lr)
        worker.call("epoch")
    seconds = {name: [] for name in workers}
    for _ in range(rounds):
        for name, worker in workers.items():
            wall, reported, cpu = worker.call("epoch")
            seconds[name].append(cpu if clock == "cpu" else reported or wall)
    return seconds


def print_epochs(seconds, title):
    print(f"\n{title}\n")
    print(f"| {'contender':12} | seconds | over the floor: median (min–max) |")
    print(f"|{'-' * 14}|--------:|---------------------------------:|")
    for name, times in seconds.items():
        ratios = [t / floor for t, floor in zip(times, seconds["floor"])]
        spread = (
            f"{statistics.median(ratios):.2f} ({min(ratios):.2f}–{max(ratios):.2f})"
        )
        print(f"| {name:12} | {statistics.median(times):7.3f} | {spread:>32} |")


def seconds_to(worker, recipe, target, seed, limit):
    """[epochs, seconds, accuracy] at the first epoch whose test accuracy is reached.

    Only training is timed. Without success, seconds is infinite.
    """
    if worker.name == "lmlab":
        recipe = {"epochs": limit, **recipe}
        curve = worker.call("train", seed=seed, recipe=recipe, target=target)[1]
    else:
        worker.call("start", seed=seed, **recipe)
        spent, curve = 0.0, []
        while len(curve) < limit and (not curve or curve[-1][1] < target):
            spent += worker.call("epoch")[0]
            curve.append((spent, worker.call("accuracy")[1]))
    spent, accuracy = curve[-1]
    return len(curve), spent if accuracy >= target else NEVER, accuracy


def race(workers, target, seeds, limit):
    """Rounds of all contenders, one seed a round, the first of them a warm-up."""
    entries = {f"{n}, peers' recipe": (w, PEERS) for n, w in workers.items()}
    entries = {"lmlab, own recipe": (workers["lmlab"], FAST), **entries}
    results = {name: [] for name in entries}
    for worker, recipe in entries.values():
        seconds_to(worker, recipe, 0.0, 0, 1)
    for seed in seeds:
        for name, (worker, recipe) in entries.items():
            results[name].append(seconds_to(worker, recipe, target, seed, limit))
    return results


def print_race(results, target, limit):
    ours = "lmlab, own recipe"
    medians = {n: statistics.median(r[1] for r in runs) for n, runs in results.items()}
    print(f"\nSeconds of training to {target:.1%} test accuracy\n")
    print(f"| {'contender':24} | seconds: median (min–max) | epochs | reached |")
    print(f"|{'-' * 26}|--------------------------:|-------:|--------:|")
    for name, runs in results.items():
        epochs, times = [r[0] for r in runs], [r[1] for r in runs]
        spread = f"{medians[name]:.2f} ({min(times):.2f}–{max(times):.2f})"
        reached = f"{sum(t < NEVER for t in times)} of {len(times)}"
        span = f"{min(epochs)}–{max(epochs)}"
        print(f"| {name:24} | {spread:>25} | {span:>6} | {reached:>7} |")
    peers = {n: seconds for n, seconds in medians.items() if "lmlab" not in n}
    fastest = min(peers, key=peers.get, default=None)
    if fastest is None:
        print("\nno peer took part")
    elif peers[fastest] < NEVER:
        ratio = medians[ours] / peers[fastest]
        print(f"\n{ours}, over the fastest peer ({fastest}): {ratio:.2f}")
    else:
        print(f"\nno peer reached it within {limit} epochs in most of its runs")
    print(f"own recipe: {describe(FAST)}\npeers' recipe: {describe(PEERS)}, defaults")


def describe(recipe):
    return ", ".join(f"{name} {value}" for name, value in recipe.items())


def print_best(worker, seeds):
    finals, spent = [], []
    for seed in seeds:
        curve = worker.call("train", seed=seed, recipe=BEST, target=2.0)[1]
        finals.append(curve[-1][1])
        spent.append(curve[-1][0])
    shown = ", ".join(f"{a:.2%}" for a in finals)
    print(f"\nBest test accuracy: mean {statistics.mean(finals):.2%} of {shown}")
    print(f"{statistics.median(spent):.1f} s each; recipe: {describe(BEST)}")


def machine(threads):
    """One line: what this ran on."""
    import numpy as np

    blas = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
    versions = ", ".join(f"{package} {version(package)}" for package in PACKAGES)
    return (
        f"{os.cpu_count()} cores of {platform.machine()}, {threads} thread(s), Python "
        f"{platform.python_version()}, {blas['name']} {blas['version']}, {versions}"
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7, help="rounds per epoch table")
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[64, 256])
    parser.add_argument("--optimizers", nargs="+", default=["sgd", "adam"])
    parser.add_argument("--data", default="mnist", help="mnist; digits8x8 to try")
    parser.add_argument("--images", type=int, default=60_000)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument(
        "--clock",
        choices=("wall", "cpu"),
        default="wall",
        help="cpu: processor time, steadier on a busy machine; use --threads 1",
    )
    parser.add_argument("--target", type=float, default=0.98, help="test accuracy")
    parser.add_argument("--seeds", type=int, default=3, help="of both accuracy tables")
    parser.add_argument("--epochs", type=int, default=30, help="most epochs of a peer")
    parser.add_argument("--only", nargs="+", default=CONTENDERS, choices=CONTENDERS)
    parser.add_argument("--skip-speed", action="store_true")
    parser.add_argument("--skip-accuracy", action="store_true")
    parser.add_argument("--worker", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        name, dataset, count = options.worker
        return work(name, dataset, int(count))

    from lmlab import data

    try:
        data.fetch(options.data)
        dataset = options.data
    except data.DataError as error:
        dataset = "random"
        print(f"{options.data} is not to be had, so speed is measured on random images")
        print(f"of the same shape, and accuracy not at all:\n{error}\n")
    print(machine(options.threads))
    print(f"{options.images} images of {dataset}, network {SIZES}, float32")
    names = dict.fromkeys(("floor", "lmlab", *options.only))
    workers = {n: Worker(n, dataset, options.images, options.threads) for n in names}
    if not options.skip_speed:
        for optimizer in options.optimizers:
            for size in options.batch_sizes:
                seconds = measure_epochs(
                    workers, size, optimizer, options.rounds, options.clock
                )
                print_epochs(seconds, f"Seconds per epoch: batch {size}, {optimizer}")
    if dataset != "random" and not options.skip_accuracy:
        del workers["floor"]
        seeds = range(options.seeds)
        results = race(workers, options.target, seeds, options.epochs)
        print_race(results, options.target, options.epochs)
        print_best(workers["lmlab"], seeds)
    for worker in workers.values():
        worker.close()


if __name__ == "__main__":
    main()

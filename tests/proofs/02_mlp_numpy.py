"""What students get wrong in lesson 02's exercises, and what each is told."""

from proofs import Answer

COUNTS = {"updates": "48", "last": "40", "learned": "50890", "merged": "7850"}
STARTS = {"after_one": "0", "after_two": '"yes"', "equal": "1", "unequal": "64"}
LETTERS = dict(zip(("zeros", "rate", "pixels", "moved", "renamed", "relu"), "BCCAAA"))


def counts(name, says, **wrong):
    values = ", ".join((COUNTS | wrong).values())
    code = f"def predict_counts():\n    return {values}"
    return Answer("predict-counts", name, test="test-counts", says=says, code=code)


def starts(name, says, **wrong):
    values = ", ".join((STARTS | wrong).values())
    code = f"def predict_starts():\n    return {values}"
    return Answer("predict-starts", name, test="test-starts", says=says, code=code)


def trainings(name, says, **wrong):
    values = ", ".join(repr(value) for value in (LETTERS | wrong).values())
    code = f"def predict_trainings():\n    return {values}"
    return Answer(
        "predict-trainings", name, test="test-trainings", says=says, code=code
    )


ANSWERS = [
    # 1 · what small changes do
    counts(
        "drops the last batch",
        "the images that are left over make a batch, too",
        updates="45",
    ),
    counts(
        "3,000 images in one row",
        "batches do not reach across the end",
        updates="47",
    ),
    counts("one epoch", "that is one epoch", updates="16"),
    counts("a full last batch", "64 does not divide 1,000", last="64"),
    counts("no biases", "and the biases?", learned="50816"),
    counts("no biases without a hidden layer", "and the biases?", merged="7840"),
    counts(
        "the ReLU makes no difference to the count",
        "W₁W₂ is one matrix; of which shape?",
        merged="50890",
    ),
    counts(
        "computed, not predicted",
        "write numbers and letters",
        learned="mlp.MLP((784, 64, 10)).flat.size",
    ),
    starts("all of W1 moves at once", "what is that while W₂ is 0?", after_one="50176"),
    starts("W1 never moves", "where is W₂ after the first update?", after_two='"no"'),
    starts("equal units part", "in what do they differ?", equal="64"),
    starts("equal units stay equal", "what does each of them receive?", unequal="1"),
    trainings("zeros learn", "which weights have a gradient that is not 0?", zeros="A"),
    trainings("a large step is only quick", "does it end in the valley?", rate="A"),
    trainings("pixels may have any size", "both of its factors?", pixels="A"),
    trainings("moved pixels", "which pixels are neighbours?", moved="B"),
    trainings("renamed classes", "which number a class has?", renamed="B"),
    trainings("no ReLU", "can that learn something?", relu="B"),
    Answer(
        "predict-trainings",
        "lets the trainings answer",
        short_cut=True,
        test="test-trainings",
        says="write numbers and letters",
        code="""
def predict_trainings():
    lost = [losses_with(init="zeros"), losses_with(lr=10.0)]
    return *(letter(losses) for losses in lost), "C", "A", "A", "A"
""",
    ),
    Answer(
        "predict-starts",
        "a number that was computed before",
        short_cut=True,
        test="test-starts",
        says="write numbers and letters",
        code="""
model = mlp.MLP((784, 64, 10), dtype=np.float64)
model.weights[1][...] = 0
dW1 = model.loss_and_gradients(X_train[:64], y_train[:64])[1][0]
moved_after_one = int(np.count_nonzero(dW1))


def predict_starts():
    return moved_after_one, "yes", 1, 64
""",
    ),
]

BATCHES = """
class Batches:
    def __init__(self, X, y, batch_size, seed):
        self.X, self.y, self.batch_size = X, y, batch_size
        self.rng = np.random.default_rng(seed)
        self.start()

    def start(self):
        pass

    def order(self):
        return self.rng.permutation(len(self.X))

    def __iter__(self):
        order = self.order()
        for start in range(0, len(order), self.batch_size):
            now = order[start : start + self.batch_size]
            yield self.X[now], self.y[now]
"""


def batches(name, test, says, before, after, short_cut=False):
    """The solution with a line that is wrong."""
    assert before in BATCHES
    code = BATCHES.replace(before, after)
    return Answer("batches", name, test=test, says=says, code=code, short_cut=short_cut)


ONCE = "        self.drawn = self.rng.permutation(len(self.X))"
ANSWERS += [
    batches(
        "labels in an order of their own",
        "test-pairs",
        "the labels are not those of the images beside them",
        "self.y[now]",
        "self.rng.permutation(self.y[now])",
    ),
    batches(
        "labels in the order of the file",
        "test-pairs",
        "the labels are not those of the images beside them",
        "self.y[now]",
        "self.y[start : start + self.batch_size]",
    ),
    batches(
        "shuffles in place",
        "test-pairs",
        "something was shuffled in place",
        "return self.rng.permutation(len(self.X))",
        "state = self.rng.bit_generator.state\n        self.rng.shuffle(self.X)\n"
        "        self.rng.bit_generator.state = state\n"
        "        self.rng.shuffle(self.y)\n        return np.arange(len(self.X))",
    ),
    batches(
        "mixes the pixels, too",
        "test-pairs",
        "the pixels of images were mixed",
        "self.X[now]",
        "self.X[now][:, ::-1]",
    ),
    batches(
        "images without labels",
        "test-pairs",
        "yield images and labels together",
        "yield self.X[now], self.y[now]",
        "yield self.X[now]",
    ),
    batches(
        "no rest",
        "test-complete",
        "is the end of the file there?",
        "range(0, len(order), self.batch_size)",
        "range(0, len(order) - self.batch_size, self.batch_size)",
    ),
    batches(
        "no rest, but all full batches",
        "test-complete",
        "is the end of the file there?",
        "range(0, len(order), self.batch_size)",
        "range(0, len(order) - self.batch_size + 1, self.batch_size)",
    ),
    batches(
        "with replacement",
        "test-complete",
        "some images come twice",
        "self.rng.permutation(len(self.X))",
        "self.rng.integers(len(self.X), size=len(self.X))",
    ),
    batches(
        "drawn once",
        "test-new-order",
        "when is it drawn?",
        "        pass\n\n    def order(self):\n"
        "        return self.rng.permutation(len(self.X))",
        f"{ONCE}\n\n    def order(self):\n        return self.drawn",
    ),
    batches(
        "made afresh from the seed in each epoch",
        "test-new-order",
        "when is it drawn?",
        "self.rng.permutation(len(self.X))",
        "np.random.default_rng(0).permutation(len(self.X))",
    ),
    batches(
        "the second epoch is the first one backwards",
        "test-new-order",
        "when is it drawn?",
        "        pass\n\n    def order(self):\n"
        "        return self.rng.permutation(len(self.X))",
        f"{ONCE}\n\n    def order(self):\n        self.drawn = self.drawn[::-1]\n"
        "        return self.drawn",
    ),
    batches(
        "the same batches, mixed inside",
        "test-new-order",
        "share a batch in each epoch",
        "        pass\n\n    def order(self):\n"
        "        return self.rng.permutation(len(self.X))",
        f"{ONCE}\n\n    def order(self):\n"
        "        cuts = range(self.batch_size, len(self.drawn), self.batch_size)\n"
        "        parts = np.split(self.drawn, cuts)\n"
        "        return np.concatenate([self.rng.permutation(p) for p in parts])",
    ),
    batches(
        "the order of the file",
        "test-new-order",
        "still do",
        "self.rng.permutation(len(self.X))",
        "np.arange(len(self.X))",
    ),
    batches(
        "the seed is ignored",
        "test-new-order",
        "two iterators with one seed differ",
        "default_rng(seed)",
        "default_rng()",
    ),
    Answer(
        "batches",
        "used up after one epoch",
        test="test-pairs",
        says="each `for` must begin anew",
        code="""
class Batches:
    def __init__(self, X, y, batch_size, seed):
        order = np.random.default_rng(seed).permutation(len(X))
        cuts = range(batch_size, len(order), batch_size)
        self.batches = iter([(X[now], y[now]) for now in np.split(order, cuts)])

    def __iter__(self):
        return self.batches
""",
    ),
    Answer(
        "batches",
        "PyTorch's loader",
        short_cut=True,
        test="test-pairs",
        says="Write it in NumPy",
        code="""
class Batches:
    def __init__(self, X, y, batch_size, seed):
        from torch.utils.data import DataLoader, TensorDataset

        both = TensorDataset(torch.tensor(X), torch.tensor(y))
        draw = torch.Generator().manual_seed(seed)
        self.loader = DataLoader(both, batch_size, shuffle=True, generator=draw)

    def __iter__(self):
        for X, y in self.loader:
            yield X.numpy(), y.numpy()
""",
    ),
    Answer(
        "batches",
        "the labels put right, the rest left as it is",
        test="test-complete",
        says="is the end of the file there?",
        code="""
class Batches(BrokenBatches):
    def __init__(self, X, y, batch_size, seed):
        super().__init__(X, y, batch_size, seed)
        self.labels = self.images
""",
    ),
]

LEAKY = """
class LeakyReLU:
    def __init__(self, s=0.1):
        self.s = s

    def forward(self, Z):
        self.slope = np.where(Z > 0, 1.0, self.s)
        return Z * self.slope

    def backward(self, dA):
        return dA * self.slope
"""


def leaky(name, way, says, before, after, short_cut=False):
    """The solution with a line that is wrong."""
    assert before in LEAKY
    test, code = f"test-leaky-{way}", LEAKY.replace(before, after)
    return Answer(
        "leaky-relu", name, test=test, says=says, code=code, short_cut=short_cut
    )


def start(name, says, line):
    code = f"def leaky_start(rng, fan_in, fan_out, s):\n    return {line}"
    return Answer("leaky-start", name, test="test-leaky-start", says=says, code=code)


ANSWERS += [
    leaky(
        "the negative side becomes s",
        "forward",
        "multiplied by s, not set to it",
        "return Z * self.slope",
        "return np.where(Z > 0, Z, self.s)",
    ),
    leaky(
        "a plain ReLU",
        "forward",
        "as in a plain ReLU",
        "return Z * self.slope",
        "return np.maximum(Z, 0)",
    ),
    leaky(
        "s is always 0.1",
        "forward",
        "is it this layer's own s?",
        "1.0, self.s)",
        "1.0, 0.1)",
    ),
    leaky(
        "changes Z",
        "forward",
        "Z was changed",
        "return Z * self.slope",
        "Z *= self.slope\n        return Z",
    ),
    leaky(
        "the sign of dA",
        "backward",
        "it looks at the sign of dA",
        "return dA * self.slope",
        "return np.where(dA > 0, dA, self.s * dA)",
    ),
    leaky(
        "all comes through",
        "backward",
        "it lets everything through",
        "return dA * self.slope",
        "return dA",
    ),
    leaky(
        "keeps the first batch",
        "backward",
        "it remembers an earlier batch",
        "self.slope = np.where(Z > 0, 1.0, self.s)\n        return Z * self.slope",
        "slope = np.where(Z > 0, 1.0, self.s)\n"
        '        self.slope = getattr(self, "slope", slope)\n        return Z * slope',
    ),
    leaky(
        "changes dA",
        "backward",
        "dA was changed",
        "return dA * self.slope",
        "dA *= self.slope\n        return dA",
    ),
    leaky(
        "PyTorch's",
        "forward",
        "Work from the formula",
        "return Z * self.slope",
        "f = torch.nn.functional.leaky_relu\n"
        "        return f(torch.tensor(Z), self.s).numpy()",
        short_cut=True,
    ),
    leaky(
        "nudges",
        "backward",
        "Work from the formula",
        "        self.slope = np.where(Z > 0, 1.0, self.s)\n"
        "        return Z * self.slope\n\n"
        "    def backward(self, dA):\n        return dA * self.slope",
        "        self.Z = Z\n        return np.where(Z > 0, Z, self.s * Z)\n\n"
        "    def backward(self, dA):\n"
        "        C = lambda z: (np.where(z > 0, z, self.s * z) * dA).sum()\n"
        "        return checks.numeric_gradient(C, self.Z.copy())",
        short_cut=True,
    ),
    leaky(
        "nudging of one's own",
        "backward",
        "some digits are right: is that nudging?",
        "        self.slope = np.where(Z > 0, 1.0, self.s)\n"
        "        return Z * self.slope\n\n"
        "    def backward(self, dA):\n        return dA * self.slope",
        "        self.Z = Z\n        return np.where(Z > 0, Z, self.s * Z)\n\n"
        "    def backward(self, dA):\n        Z, h = self.Z.copy(), 1e-5\n"
        "        rise = self.forward(Z + h) - self.forward(Z - h)\n"
        "        return dA * rise / (2 * h)",
        short_cut=True,
    ),
    start(
        "He's",
        "the start for a plain ReLU",
        "rng.normal(0, np.sqrt(2 / fan_in), (fan_in, fan_out))",
    ),
    start(
        "1 + s for 1 + s²",
        "what becomes of s?",
        "rng.normal(0, np.sqrt(2 / (1 + s) / fan_in), (fan_in, fan_out))",
    ),
    start(
        "the variance for the deviation",
        "is that the variance, or the deviation?",
        "rng.normal(0, 2 / (1 + s**2) / fan_in, (fan_in, fan_out))",
    ),
    start(
        "fan_out for fan_in",
        "how many numbers does a unit add up?",
        "rng.normal(0, np.sqrt(2 / (1 + s**2) / fan_out), (fan_in, fan_out))",
    ),
    start(
        "transposed",
        "fan_in first",
        "rng.normal(0, np.sqrt(2 / (1 + s**2) / fan_in), (fan_out, fan_in))",
    ),
    start(
        "all positive",
        "of the weights are positive",
        "np.abs(rng.normal(0, np.sqrt(2 / (1 + s**2) / fan_in), (fan_in, fan_out)))",
    ),
    start(
        "all equal",
        "some units start alike",
        "np.full((fan_in, fan_out), np.sqrt(2 / (1 + s**2) / fan_in))",
    ),
]

ADAMW = """
def adamw_step(p, g, state, lr=0.001, decay=0.01, betas=(0.9, 0.999), eps=1e-8):
    if not state:
        state.update(t=0, m=np.zeros_like(p), v=np.zeros_like(p))
    state["t"] += 1
    t = state["t"]
    state["m"] = betas[0] * state["m"] + (1 - betas[0]) * g
    state["v"] = betas[1] * state["v"] + (1 - betas[1]) * g**2
    m_hat = state["m"] / (1 - betas[0] ** t)
    v_hat = state["v"] / (1 - betas[1] ** t)
    p *= 1 - lr * decay
    p -= lr * m_hat / (np.sqrt(v_hat) + eps)
"""


def adamw(name, which, says, before, after, short_cut=False):
    """The solution with a line that is wrong."""
    assert before in ADAMW
    test, code = f"test-adamw-{which}", ADAMW.replace(before, after)
    return Answer("adamw", name, test=test, says=says, code=code, short_cut=short_cut)


SHRINK = "p *= 1 - lr * decay"
ANSWERS += [
    adamw(
        "a new array",
        "first",
        "p = … makes a new array",
        f"{SHRINK}\n    p -=",
        "p = p * (1 - lr * decay)\n    p -=",
    ),
    adamw(
        "no correction",
        "first",
        "are the averages corrected?",
        "m_hat = state",
        'm_hat, t = state["m"], 10**9\n    _ = state',
    ),
    adamw("no decay", "first", "nothing shrinks", SHRINK, "pass"),
    Answer(
        "adamw",
        "λθ in the gradient",
        test="test-adamw-first",
        says="nothing shrinks",
        code=ADAMW.replace(SHRINK, "pass").replace(
            '    state["m"] =', '    g = g + decay * p\n    state["m"] ='
        ),
    ),
    adamw(
        "shrinks by λ",
        "first",
        "the factor lacks η",
        SHRINK,
        "p *= 1 - decay",
    ),
    adamw(
        "shrinks after the step",
        "first",
        "Adam's step comes first here",
        f"{SHRINK}\n    p -= lr * m_hat / (np.sqrt(v_hat) + eps)",
        f"p -= lr * m_hat / (np.sqrt(v_hat) + eps)\n    {SHRINK}",
    ),
    adamw("uphill", "first", "it goes uphill", "p -= lr", "p += lr"),
    adamw(
        "λθ in the gradient, besides",
        "still",
        "keep it apart",
        '    state["m"] =',
        '    g = g + 1e-9 * p\n    state["m"] =',
    ),
    adamw(
        "ε under the root",
        "torch",
        "inside the root or outside?",
        "(np.sqrt(v_hat) + eps)",
        "np.sqrt(v_hat + eps)",
    ),
    adamw(
        "t stays 1",
        "torch",
        "a later one is not",
        't = state["t"]',
        "t = 1",
    ),
    adamw(
        "no memory",
        "torch",
        "each step is like the first",
        "    if not state:\n        state",
        "    state",
    ),
    adamw(
        "β₁ and β₂ exchanged",
        "torch",
        "a later one is not",
        "    if not state:",
        "    betas = betas[::-1]\n    if not state:",
    ),
    adamw(
        "changes g",
        "first",
        "g was changed",
        "(1 - betas[1]) * g**2",
        "(1 - betas[1]) * np.multiply(g, g, out=g)",
    ),
    Answer(
        "adamw",
        "keeps its averages outside the state",
        test="test-adamw-first",
        says="something is left from another p",
        code="""
kept = {}


def adamw_step(p, g, state, lr=0.001, decay=0.01, betas=(0.9, 0.999), eps=1e-8):
    if not kept:
        kept.update(t=0, m=0.0, v=0.0)
    kept["t"] += 1
    kept["m"] = betas[0] * kept["m"] + (1 - betas[0]) * g
    kept["v"] = betas[1] * kept["v"] + (1 - betas[1]) * g**2
    m_hat = kept["m"] / (1 - betas[0] ** kept["t"])
    v_hat = kept["v"] / (1 - betas[1] ** kept["t"])
    p *= 1 - lr * decay
    p -= lr * m_hat / (np.sqrt(v_hat) + eps)
""",
    ),
    Answer(
        "adamw",
        "PyTorch's AdamW",
        short_cut=True,
        test="test-adamw-first",
        says="Write Adam's step yourself",
        code="""
def adamw_step(p, g, state, lr=0.001, decay=0.01, betas=(0.9, 0.999), eps=1e-8):
    if not state:
        state["p"] = torch.tensor(p, requires_grad=True)
        state["adamw"] = torch.optim.AdamW([state["p"]], lr, betas, eps, decay)
    state["p"].grad = torch.tensor(g)
    state["adamw"].step()
    p[...] = state["p"].detach().numpy()
""",
    ),
    Answer(
        "adamw",
        "PyTorch's AdamW under another name",
        short_cut=True,
        test="test-adamw-first",
        says="Write Adam's step yourself",
        code="""
from torch import from_numpy as wrap
from torch.optim import AdamW as Steps


def adamw_step(p, g, state, lr=0.001, decay=0.01, betas=(0.9, 0.999), eps=1e-8):
    if not state:
        state["p"] = wrap(p).requires_grad_()
        state["steps"] = Steps([state["p"]], lr, betas, eps, decay)
    state["p"].grad = wrap(g)
    state["steps"].step()
""",
    ),
    Answer(
        "adamw",
        "the package's Adam",
        short_cut=True,
        test="test-adamw-first",
        says="Write Adam's step yourself",
        code="""
from lmlab.optimizers import OPTIMIZERS


def adamw_step(p, g, state, lr=0.001, decay=0.01, betas=(0.9, 0.999), eps=1e-8):
    if not state:
        state.update(t=0, moments=[np.zeros_like(p), np.zeros_like(p)])
    state["t"] += 1
    p *= 1 - lr * decay
    OPTIMIZERS["adam"][0](p, g.copy(), state["moments"], state["t"], lr)
""",
    ),
    Answer(
        "adamw",
        "knows the answers of the visible steps",
        short_cut=True,
        test="test-adamw-torch",
        says="each step is like the first",
        code="""
def adamw_step(p, g, state, lr=0.001, decay=0.01, betas=(0.9, 0.999), eps=1e-8):
    p *= 1 - lr * decay
    p -= lr * np.sign(g)
""",
    ),
]

LOSS = """
def loss(Z, y, T=1.0):
    Z = np.asarray(Z, np.float64) / T
    Z = Z - Z.max(axis=1, keepdims=True)
    log_P = Z - np.log(np.exp(Z).sum(axis=1, keepdims=True))
    return -log_P[np.arange(len(y)), y].mean()
"""


def temperature(name, says, before, after):
    """The solution with a line that is wrong."""
    assert before in LOSS
    code, test = LOSS.replace(before, after), "test-temperature-loss"
    return Answer("temperature", name, test=test, says=says, code=code)


def search(name, says, code, short_cut=False):
    test = "test-best-temperature"
    return Answer(
        "best-temperature", name, test=test, says=says, code=code, short_cut=short_cut
    )


ANSWERS += [
    temperature("multiplied", "is it multiplied?", "/ T", "* T"),
    temperature("T is not used", "T makes no difference", " / T", ""),
    temperature("summed", "it is the sum over the examples", ".mean()", ".sum()"),
    temperature("in bits", "is not the natural one", ".mean()", ".mean() / np.log(2)"),
    temperature("no minus sign", "where is the minus sign?", "return -", "return "),
    temperature(
        "no maximum",
        "what does e^2000 become?",
        "    Z = Z - Z.max(axis=1, keepdims=True)\n",
        "",
    ),
    temperature(
        "a maximum without its axis",
        "write the shape of each array",
        "Z.max(axis=1, keepdims=True)",
        "Z.max(axis=1)",
    ),
    temperature("each loss", "its shape is (6,): the mean", ".mean()", ""),
    Answer(
        "temperature",
        "the loss is divided, not the logits",
        test="test-temperature-loss",
        says="the loss that is divided",
        code=LOSS.replace(" / T", "").replace(".mean()", ".mean() / T"),
    ),
    Answer(
        "temperature",
        "PyTorch's loss",
        short_cut=True,
        test="test-temperature-loss",
        says="Write the loss in NumPy",
        code="""
def loss(Z, y, T=1.0):
    logits, classes = torch.tensor(Z) / T, torch.tensor(y)
    return torch.nn.functional.cross_entropy(logits, classes).item()
""",
    ),
    Answer(
        "temperature",
        "asks the oracle of the test",
        short_cut=True,
        test="test-temperature-loss",
        says="Write the loss in NumPy",
        code="""
def loss(Z, y, T=1.0):
    return loss_by_torch(Z, y, T)
""",
    ),
    search(
        "steps of 12 %",
        "1 % is asked",
        """
def best_temperature(loss_at):
    return min(np.geomspace(0.05, 20, 50), key=loss_at)
""",
        short_cut=True,
    ),
    search(
        "all temperatures in one call",
        "in a call",
        """
def best_temperature(loss_at):
    grid = np.geomspace(0.05, 20, 2000)
    return grid[np.argmin(loss_at(grid))]
""",
        short_cut=True,
    ),
    search(
        "steps of 2 %, whatever they cost",
        "a fine grid costs too much",
        """
def best_temperature(loss_at):
    return min(np.geomspace(0.05, 20, 300), key=loss_at)
""",
    ),
    search(
        "two grids, the second not fine enough",
        "1 % is asked",
        """
def best_temperature(loss_at):
    coarse = min(np.geomspace(0.05, 20, 25), key=loss_at)
    low, high = max(0.05, coarse / 1.29), min(20, coarse * 1.29)
    return min(np.geomspace(low, high, 12), key=loss_at)
""",
    ),
    search(
        "stops too early",
        "1 % is asked",
        """
def best_temperature(loss_at):
    low, high = np.log(0.05), np.log(20)
    while high - low > 0.3:
        a, b = low + (high - low) / 3, high - (high - low) / 3
        if loss_at(np.exp(a)) < loss_at(np.exp(b)):
            high = b
        else:
            low = a
    return np.exp((low + high) / 2)
""",
    ),
    search(
        "1/T",
        "that is 1/T",
        """
def best_temperature(loss_at):
    low, high = np.log(0.05), np.log(20)
    while high - low > 0.01:
        a, b = low + (high - low) / 3, high - (high - low) / 3
        if loss_at(np.exp(a)) < loss_at(np.exp(b)):
            high = b
        else:
            low = a
    return np.exp(-(low + high) / 2)
""",
    ),
    search(
        "keeps the third that cannot hold it",
        "which part may the search drop?",
        """
def best_temperature(loss_at):
    low, high = np.log(0.05), np.log(20)
    while high - low > 0.01:
        a, b = low + (high - low) / 3, high - (high - low) / 3
        if loss_at(np.exp(a)) > loss_at(np.exp(b)):
            high = b
        else:
            low = a
    return np.exp((low + high) / 2)
""",
    ),
    search(
        "downhill by the slope, past the end",
        "loss_at was called with",
        """
def best_temperature(loss_at):
    T = 10.0
    for _ in range(24):
        T -= 1e4 * (loss_at(T + 1e-3) - loss_at(T - 1e-3))
    return T
""",
    ),
]

LAYER_NORM = """
class LayerNorm:
    def __init__(self, width, eps=1e-5):
        self.parameters = [np.ones(width), np.zeros(width)]
        self.eps = eps

    def forward(self, Z):
        mean, var = Z.mean(axis=1, keepdims=True), Z.var(axis=1, keepdims=True)
        self.s = np.sqrt(var + self.eps)
        self.Z_hat = (Z - mean) / self.s
        gamma, beta = self.parameters
        return gamma * self.Z_hat + beta

    def backward(self, dA):
        self.gradients = [(dA * self.Z_hat).sum(axis=0), dA.sum(axis=0)]
        d = self.parameters[0] * dA
        along = self.Z_hat * (d * self.Z_hat).mean(axis=1, keepdims=True)
        return (d - d.mean(axis=1, keepdims=True) - along) / self.s
"""


def norm(name, which, says, before, after, short_cut=False):
    """The solution with a line that is wrong."""
    assert before in LAYER_NORM
    test, code = f"test-layer-norm-{which}", LAYER_NORM.replace(before, after)
    return Answer(
        "layer-norm", name, test=test, says=says, code=code, short_cut=short_cut
    )


ANSWERS += [
    norm(
        "over the batch",
        "forward",
        "of the batch, unit by unit",
        "Z.mean(axis=1, keepdims=True), Z.var(axis=1, keepdims=True)",
        "Z.mean(axis=0), Z.var(axis=0)",
    ),
    norm(
        "no keepdims",
        "forward",
        "does a sum keep its axis?",
        "Z.mean(axis=1, keepdims=True), Z.var(axis=1, keepdims=True)",
        "Z.mean(axis=1), Z.var(axis=1)",
    ),
    norm(
        "D − 1",
        "forward",
        "the variance divides by D − 1",
        "Z.var(axis=1, keepdims=True)",
        "Z.var(axis=1, ddof=1, keepdims=True)",
    ),
    norm(
        "ε outside the root",
        "forward",
        "where does ε stand?",
        "np.sqrt(var + self.eps)",
        "np.sqrt(var) + self.eps",
    ),
    norm(
        "divides by the variance",
        "forward",
        "is it the variance, or its root",
        "np.sqrt(var + self.eps)",
        "var + self.eps",
    ),
    norm(
        "no γ, no β",
        "forward",
        "γ and β play no part",
        "return gamma * self.Z_hat + beta",
        "return self.Z_hat",
    ),
    norm(
        "normalises in place",
        "forward",
        "forward changes Z",
        "self.Z_hat = (Z - mean) / self.s",
        "Z -= mean\n        self.Z_hat = Z / self.s",
    ),
    norm(
        "a gradient for each example",
        "parameters",
        "what does each row add?",
        "(dA * self.Z_hat).sum(axis=0)",
        "dA * self.Z_hat",
    ),
    norm(
        "the mean over the examples",
        "parameters",
        "not their mean",
        "[(dA * self.Z_hat).sum(axis=0), dA.sum(axis=0)]",
        "[(dA * self.Z_hat).mean(axis=0), dA.mean(axis=0)]",
    ),
    norm(
        "γ's gradient without Ẑ",
        "parameters",
        "what is A's slope along this parameter?",
        "(dA * self.Z_hat).sum(axis=0)",
        "dA.sum(axis=0)",
    ),
    norm(
        "the gradients are only returned",
        "parameters",
        "it is None",
        "self.gradients =",
        "_ =",
    ),
    norm(
        "mean and variance for constants",
        "input",
        "the mean and the variance move with Z, too",
        "(d - d.mean(axis=1, keepdims=True) - along)",
        "d",
    ),
    norm(
        "only the mean moves",
        "input",
        "the variance is not",
        "(d - d.mean(axis=1, keepdims=True) - along)",
        "(d - d.mean(axis=1, keepdims=True))",
    ),
    norm(
        "batch norm's way back",
        "input",
        "a mean over the wrong axis",
        "d.mean(axis=1, keepdims=True) - along",
        "d.mean(axis=0) - along",
    ),
    norm(
        "no γ on the way back",
        "input",
        "γ stands between Ẑ and A",
        "d = self.parameters[0] * dA",
        "d = dA",
    ),
    norm(
        "PyTorch's",
        "forward",
        "Work from the formulas",
        "return gamma * self.Z_hat + beta",
        "z, *parts = map(torch.tensor, (Z, gamma, beta))\n"
        "        f = torch.nn.functional.layer_norm\n"
        "        return f(z, gamma.shape, *parts, self.eps).numpy()",
        short_cut=True,
    ),
    Answer(
        "layer-norm",
        "nudging of one's own on the way back",
        short_cut=True,
        test="test-layer-norm-input",
        says="some seven digits are right",
        code="""
class LayerNorm:
    def __init__(self, width, eps=1e-5):
        self.parameters = [np.ones(width), np.zeros(width)]
        self.eps = eps

    def forward(self, Z):
        self.Z = Z.copy()
        self.Z_hat = Z - Z.mean(axis=1, keepdims=True)
        self.Z_hat /= np.sqrt(Z.var(axis=1, keepdims=True) + self.eps)
        return self.parameters[0] * self.Z_hat + self.parameters[1]

    def backward(self, dA):
        Z, dZ = self.Z, np.empty_like(self.Z)
        self.gradients = [(dA * self.Z_hat).sum(axis=0), dA.sum(axis=0)]
        for at in np.ndindex(Z.shape):
            ends = []
            for h in (1e-5, -1e-5):
                moved = Z.copy()
                moved[at] += h
                ends.append((self.forward(moved) * dA).sum())
            dZ[at] = (ends[0] - ends[1]) / 2e-5
        return dZ
""",
    ),
]

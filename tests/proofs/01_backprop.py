"""What students get wrong in lesson 01's exercises, and what each is told."""

from proofs import Answer

ANSWERS = [
    # 1 · slopes and visits
    Answer(
        "predict-slopes",
        "forgets that s also leads to r directly",
        test="test-slopes",
        says="s also leads to r directly",
        code="""
def predict_slopes():
    return 24, 0.450
""",
    ),
    Answer(
        "predict-slopes",
        "stops at s",
        test="test-slopes",
        says="that is ∂r/∂s",
        code="""
def predict_slopes():
    return 13, 0.450
""",
    ),
    Answer(
        "predict-slopes",
        "only one of the two uses of w",
        test="test-slopes",
        says="only the path through the second layer",
        code="""
def predict_slopes():
    return 26, 0.290
""",
    ),
    Answer(
        "predict-slopes",
        "only the other use of w",
        test="test-slopes",
        says="only the path through the first layer",
        code="""
def predict_slopes():
    return 26, 0.160
""",
    ),
    Answer(
        "predict-walk",
        "counts nodes, not arrows",
        test="test-walk",
        says="count arrows, not nodes",
        code="""
def predict_walk():
    return 2, 5, 4
""",
    ),
    Answer(
        "predict-walk",
        "counts only the calls that reach a",
        test="test-walk",
        says="these are the calls that arrive at a",
        code="""
def predict_walk():
    return 6, 6, 4
""",
    ),
    Answer(
        "predict-walk",
        "one visit for each path",
        test="test-walk",
        says="a path is not a visit",
        code="""
def predict_walk():
    return 6, 11, 6
""",
    ),
    Answer(
        "predict-broken",
        "does not notice that a is overwritten",
        test="test-broken",
        says="now a is used twice",
        code="""
def predict_broken():
    return 12, 102
""",
    ),
    Answer(
        "predict-broken",
        "twice the slope",
        test="test-broken",
        says="not only a.grad",
        code="""
def predict_broken():
    return 6, 52
""",
    ),
    Answer(
        "predict-slopes",
        "lets the engine compute it",
        short_cut=True,
        test="test-slopes",
        says="write numbers, not code",
        code="""
def predict_slopes():
    a, w = Value(3.0), Value(0.5)
    s, z = a + a, w * (w * 2).tanh()
    return gradients(s * s + s, [a])[0], gradients(0.5 * z * z, [w])[0]
""",
    ),
    Answer(
        "predict-walk",
        "computed in another cell, only returned here",
        short_cut=True,
        test="test-walk",
        says="write numbers, not code",
        code="""
a = Value(3.0)
s = a + a
visits_of_r = len(topological_order(s * s + s))


def predict_walk():
    return 6, 11, visits_of_r
""",
    ),
    # 2 · depth first
    Answer(
        "smallest",
        "a node that is used twice by one operation",
        test="test-smallest",
        says="which node must wait, and for whom?",
        code="""
def smallest(a):
    b = a * a
    return b + b
""",
    ),
    Answer(
        "smallest",
        "only the leaf is used again",
        test="test-smallest",
        says="which node must wait, and for whom?",
        code="""
def smallest(a):
    return a * a * 2 + a
""",
    ),
    Answer(
        "smallest",
        "right, but not small",
        test="test-smallest",
        says="there are 8",
        code="""
def smallest(a):
    return tangle(a)
""",
    ),
    Answer(
        "smallest",
        "the number, not the node",
        test="test-smallest",
        says="return the formula's result",
        code="""
def smallest(a):
    b = a * a
    return (b + b * 2.0).data
""",
    ),
    Answer(
        "smallest",
        "changes the engine instead",
        short_cut=True,
        test="test-smallest",
        says="was it changed?",
        code="""
def broken_backward(root):
    root.grad = 1.0


def smallest(a):
    return a + a
""",
    ),
    Answer(
        "repaired",
        "breadth first",
        test="test-slopes-repaired",
        says="after all nodes that use it: is that so?",
        code="""
def backward(root):
    order = [root]
    for node in order:
        order += [p for p, _ in node.inputs if p not in order]
    for node in order:
        node.grad = 0.0
    root.grad = 1.0
    for node in order:
        for parent, slope in node.inputs:
            parent.grad += slope * node.grad
""",
    ),
    Answer(
        "repaired",
        "the other order, from the leaves up",
        test="test-slopes-repaired",
        says="not even a chain",
        code="""
def backward(root):
    order, seen, stack = [], set(), [(root, False)]
    while stack:
        node, inputs_done = stack.pop()
        if inputs_done:
            order.append(node)
        elif node not in seen:
            seen.add(node)
            stack.append((node, True))
            stack.extend((parent, False) for parent, _ in node.inputs)
    for node in order:
        node.grad = 0.0
    root.grad = 1.0
    for node in order:
        for parent, slope in node.inputs:
            parent.grad += slope * node.grad
""",
    ),
    Answer(
        "repaired",
        "= instead of +=",
        test="test-slopes-repaired",
        says="do they add up?",
        code="""
def backward(root):
    order, seen, stack = [], set(), [(root, False)]
    while stack:
        node, inputs_done = stack.pop()
        if inputs_done:
            order.append(node)
        elif node not in seen:
            seen.add(node)
            stack.append((node, True))
            stack.extend((parent, False) for parent, _ in node.inputs)
    root.grad = 1.0
    for node in reversed(order):
        for parent, slope in node.inputs:
            parent.grad = slope * node.grad
""",
    ),
    Answer(
        "repaired",
        "does not start afresh",
        test="test-slopes-repaired",
        says="a second call must start afresh",
        code="""
def backward(root):
    order, seen, stack = [], set(), [(root, False)]
    while stack:
        node, inputs_done = stack.pop()
        if inputs_done:
            order.append(node)
        elif node not in seen:
            seen.add(node)
            stack.append((node, True))
            stack.extend((parent, False) for parent, _ in node.inputs)
    root.grad = 1.0
    for node in reversed(order):
        for parent, slope in node.inputs:
            parent.grad += slope * node.grad
""",
    ),
    Answer(
        "repaired",
        "the right order, by calling itself",
        test="test-cost",
        says="keep a stack of your own",
        code="""
def backward(root):
    order, seen = [], set()

    def visit(node):
        if node not in seen:
            seen.add(node)
            for parent, _ in node.inputs:
                visit(parent)
            order.append(node)

    visit(root)
    for node in order:
        node.grad = 0.0
    root.grad = 1.0
    for node in reversed(order):
        for parent, slope in node.inputs:
            parent.grad += slope * node.grad
""",
    ),
    Answer(
        "repaired",
        "the sum over all paths",
        short_cut=True,
        test="test-cost",
        says="again for each path",
        code="""
def backward(root):
    def clear(node):
        node.grad = 0.0
        for parent, _ in node.inputs:
            clear(parent)

    def add(node, grad):
        node.grad += grad
        for parent, slope in node.inputs:
            add(parent, slope * grad)

    clear(root)
    add(root, 1.0)
""",
    ),
    Answer(
        "repaired",
        "asks the locked sum over all paths",
        short_cut=True,
        test="test-cost",
        says="again for each path",
        code="""
def backward(root):
    nodes, left = [], [root]
    while left:
        node = left.pop()
        if node not in nodes:
            nodes.append(node)
            left += [parent for parent, _ in node.inputs]
    for node in nodes:
        node.grad = slope_by_paths(root, node)
""",
    ),
    Answer(
        "repaired",
        "any order, again and again until nothing changes",
        short_cut=True,
        test="test-cost",
        says="again for each path",
        code="""
def backward(root):
    nodes, left = [], [root]
    while left:
        node = left.pop()
        if node not in nodes:
            nodes.append(node)
            left += [parent for parent, _ in node.inputs]
    for node in nodes:
        node.grad = 0.0
    for _ in nodes:
        grads = {node: 0.0 for node in nodes} | {root: 1.0}
        for node in nodes:
            for parent, slope in node.inputs:
                grads[parent] += slope * node.grad
        for node in nodes:
            node.grad = grads[node]
""",
    ),
    # 3 · two operations
    Answer(
        "maximum",
        "the smaller one gets the gradient",
        test="test-maximum",
        says="the other does not",
        code="""
def maximum(a, b):
    b_wins = b.data > a.data
    return Value(max(a.data, b.data), (a, b), (float(b_wins), float(not b_wins)))
""",
    ),
    Answer(
        "maximum",
        "at a tie the second gets it",
        test="test-maximum",
        says="at a tie the first argument",
        code="""
def maximum(a, b):
    a_wins = a.data > b.data
    return Value(max(a.data, b.data), (a, b), (float(a_wins), float(not a_wins)))
""",
    ),
    Answer(
        "maximum",
        "at a tie both get it",
        test="test-maximum",
        says="at a tie the first argument",
        code="""
def maximum(a, b):
    slopes = (float(a.data >= b.data), float(b.data >= a.data))
    return Value(max(a.data, b.data), (a, b), slopes)
""",
    ),
    Answer(
        "maximum",
        "always the first argument",
        test="test-maximum",
        says="is that the maximum, or one of the arguments?",
        code="""
def maximum(a, b):
    return Value(a.data, (a, b), (1.0, 0.0))
""",
    ),
    Answer(
        "sqrt",
        "returns a itself",
        test="test-sqrt",
        says="is that the sqrt, or one of the arguments?",
        code="""
def sqrt(a):
    return a
""",
    ),
    Answer(
        "sqrt",
        "returns a itself, where it does not refuse",
        test="test-sqrt",
        says="is that the sqrt, or one of the arguments?",
        code="""
def sqrt(a):
    if not a.data > 0:
        raise ValueError(f"{a.data:g} has no square root with a slope")
    return a
""",
    ),
    Answer(
        "sqrt",
        "the slope without its half",
        test="test-sqrt",
        says="is that your slope?",
        code="""
def sqrt(a):
    if not a.data > 0:
        raise ValueError(f"not {a.data:g}")
    root = math.sqrt(a.data)
    return Value(root, (a,), (1 / root,))
""",
    ),
    Answer(
        "sqrt",
        "a slope that is right at 2.25 alone",
        test="test-sqrt",
        says="a length",
        code="""
def sqrt(a):
    if not a.data > 0:
        raise ValueError(f"not {a.data:g}")
    return Value(math.sqrt(a.data), (a,), (1 / 3,))
""",
    ),
    Answer(
        "sqrt",
        "parentheses without a comma",
        test="test-sqrt",
        says="with a comma",
        code="""
def sqrt(a):
    if not a.data > 0:
        raise ValueError(f"not {a.data:g}")
    root = math.sqrt(a.data)
    return Value(root, (a), (0.5 / root))
""",
    ),
    Answer(
        "sqrt",
        "0 is not refused",
        test="test-sqrt",
        says="refuse it before you compute with it",
        code="""
def sqrt(a):
    if a.data < 0:
        raise ValueError(f"not {a.data:g}")
    root = math.sqrt(a.data)
    return Value(root, (a,), (0.5 / root,))
""",
    ),
    Answer(
        "sqrt",
        "a message without the number",
        test="test-sqrt",
        says="the message has no -2 in it",
        code="""
def sqrt(a):
    if not a.data > 0:
        raise ValueError("sqrt needs a positive number")
    root = math.sqrt(a.data)
    return Value(root, (a,), (0.5 / root,))
""",
    ),
    Answer(
        "maximum",
        "put together from relu",
        short_cut=True,
        test="test-maximum",
        says="its parents are not the arguments",
        code="""
def maximum(a, b):
    return a + (b - a).relu()
""",
    ),
    Answer(
        "maximum",
        "hands on the winner",
        short_cut=True,
        test="test-maximum",
        says="its parents are not the arguments",
        code="""
def maximum(a, b):
    return a if a.data >= b.data else b
""",
    ),
    Answer(
        "sqrt",
        "the engine's power",
        short_cut=True,
        test="test-sqrt",
        says="Work out the slope yourself",
        code="""
def sqrt(a):
    if not a.data > 0:
        raise ValueError(f"not {a.data:g}")
    return a**0.5
""",
    ),
    Answer(
        "sqrt",
        "logarithm and exponential",
        short_cut=True,
        test="test-sqrt",
        says="its parents are not the arguments",
        code="""
def sqrt(a):
    if not a.data > 0:
        raise ValueError(f"not {a.data:g}")
    return (0.5 * a.log()).exp()
""",
    ),
]

EQUATIONS = """
def slopes(layers, A, Y):
    delta = START
    grads = []
    for i in range(len(layers) - 1, -1, -1):
        grads.insert(0, (WEIGHTS, BIASES))
        if i:
            delta = BACK
    return grads
"""
RIGHT = {
    "START": "(A[-1] - Y) * (1 - A[-1] ** 2) / len(Y)",
    "WEIGHTS": "A[i].T @ delta",
    "BIASES": "delta.sum(axis=0)",
    "BACK": "delta @ layers[i][0].T * (1 - A[i] ** 2)",
}


def equations(name, says, **wrong):
    """The backward pass with one line that is wrong."""
    code = EQUATIONS
    for place, line in (RIGHT | wrong).items():
        code = code.replace(place, line)
    return Answer("slopes", name, test="test-equations", says=says, code=code)


ANSWERS += [
    equations(
        "no 1/N",
        "the loss is a mean over the examples",
        START="(A[-1] - Y) * (1 - A[-1] ** 2)",
    ),
    equations(
        "no slope of tanh at the output",
        "equation (1): which two factors",
        START="(A[-1] - Y) / len(Y)",
    ),
    equations(
        "y − a",
        "the sign is the wrong way round",
        START="(Y - A[-1]) * (1 - A[-1] ** 2) / len(Y)",
    ),
    equations(
        "biases averaged",
        "1/N belongs in one place only",
        BIASES="delta.mean(axis=0)",
    ),
    equations(
        "biases not summed",
        "and b is (4,): sum over the examples",
        BIASES="delta",
    ),
    equations(
        "dW transposed",
        "one has the fan-out first",
        WEIGHTS="delta.T @ A[i]",
    ),
    equations(
        "no outer product in (4)",
        "which activation is it?",
        WEIGHTS="np.ones_like(A[i]).T @ delta",
    ),
    equations(
        "no transpose in (2)",
        "write the shapes beside each product",
        BACK="delta @ layers[i][0] * (1 - A[i] ** 2)",
    ),
    equations(
        "no slope of tanh in (2)",
        "equation (2): what lies between",
        BACK="delta @ layers[i][0].T",
    ),
    equations(
        "tanh of z taken for its slope in (2)",
        "equation (2): what lies between",
        BACK="delta @ layers[i][0].T * (1 - A[i])",
    ),
    Answer(
        "slopes",
        "from the last layer to the first",
        test="test-equations",
        says="the pairs stand from the last layer to the first",
        code="""
def slopes(layers, A, Y):
    delta = (A[-1] - Y) * (1 - A[-1] ** 2) / len(Y)
    grads = []
    for i in range(len(layers) - 1, -1, -1):
        grads.append((A[i].T @ delta, delta.sum(axis=0)))
        if i:
            delta = delta @ layers[i][0].T * (1 - A[i] ** 2)
    return grads
""",
    ),
    Answer(
        "slopes",
        "the last layer only",
        test="test-equations",
        says="there are 1 pairs for 3 layers",
        code="""
def slopes(layers, A, Y):
    delta = (A[-1] - Y) * (1 - A[-1] ** 2) / len(Y)
    return [(A[-2].T @ delta, delta.sum(axis=0))]
""",
    ),
    Answer(
        "slopes",
        "the package nudges",
        short_cut=True,
        test="test-equations",
        says="A and Y hold all that they need",
        code="""
def slopes(layers, A, Y):
    loss = partial(mean_loss, layers, A[0], Y)
    return [tuple(checks.numeric_gradient(loss, p) for p in pair) for pair in layers]
""",
    ),
    Answer(
        "slopes",
        "torch.autograd",
        short_cut=True,
        test="test-equations",
        says="A and Y hold all that they need",
        code="""
def slopes(layers, A, Y):
    parts = [[torch.tensor(p, requires_grad=True) for p in pair] for pair in layers]
    out = torch.tensor(A[0])
    for W, b in parts:
        out = torch.tanh(out @ W + b)
    (0.5 * ((out - torch.tensor(Y)) ** 2).sum(1).mean()).backward()
    return [(W.grad.numpy(), b.grad.numpy()) for W, b in parts]
""",
    ),
    Answer(
        "slopes",
        "nudging of one's own",
        short_cut=True,
        test="test-equations",
        says="A and Y hold all that they need",
        code="""
def slopes(layers, A, Y):
    def nudge(p):
        out = np.empty_like(p)
        for at in np.ndindex(p.shape):
            kept, ends = p[at], []
            for h in (1e-5, -1e-5):
                p[at] = kept + h
                ends.append(mean_loss(layers, A[0], Y))
            p[at] = kept
            out[at] = (ends[0] - ends[1]) / 2e-5
        return out

    return [(nudge(W), nudge(b)) for W, b in layers]
""",
    ),
    Answer(
        "slopes",
        "an imaginary nudge, which is exact",
        short_cut=True,
        test="test-equations",
        says="A and Y hold all that they need",
        code="""
def slopes(layers, A, Y):
    def nudge(number, part):
        out = np.empty(layers[number][part].shape)
        for at in np.ndindex(out.shape):
            moved = [[p.astype(complex) for p in pair] for pair in layers]
            moved[number][part][at] += 1e-20j
            a = A[0]
            for W, b in moved:
                a = np.tanh(a @ W + b)
            out[at] = (0.5 * ((a - Y) ** 2).sum(axis=1).mean()).imag / 1e-20
        return out

    return [(nudge(i, 0), nudge(i, 1)) for i in range(len(layers))]
""",
    ),
    Answer(
        "slopes",
        "nudging of one's own, with a loss of one's own",
        short_cut=True,
        test="test-equations",
        says="some seven digits are right",
        code="""
def slopes(layers, A, Y):
    def loss():
        a = A[0]
        for W, b in layers:
            a = 1 - 2 / (1 + np.exp(2 * (a @ W + b)))
        return 0.5 * ((a - Y) ** 2).sum(axis=1).mean()

    def nudge(p):
        out = np.empty_like(p)
        for at in np.ndindex(p.shape):
            kept, ends = p[at], []
            for h in (1e-5, -1e-5):
                p[at] = kept + h
                ends.append(loss())
            p[at] = kept
            out[at] = (ends[0] - ends[1]) / 2e-5
        return out

    return [(nudge(W), nudge(b)) for W, b in layers]
""",
    ),
]

FOCAL = """
def focal_loss(z, y, gamma=2.0):
    sign = 2 * y - 1
    s = sign * z
    small = np.exp(-np.abs(s))
    p = np.where(s >= 0, 1.0, small) / (1 + small)
    rest = np.where(s >= 0, small, 1.0) / (1 + small)
    log_p = -(np.maximum(-s, 0) + np.log1p(small))
    slope = gamma * rest**gamma * p * log_p - rest ** (gamma + 1)
    return -(rest**gamma) * log_p, sign * slope
"""


def focal(name, test, says, before, after, short_cut=False):
    """The solution with a line that is wrong."""
    assert before in FOCAL
    code = FOCAL.replace(before, after)
    return Answer("focal", name, test=test, says=says, code=code, short_cut=short_cut)


ANSWERS += [
    focal(
        "s = z everywhere",
        "test-focal-loss",
        "where y = 0, s is −z",
        "s = sign * z",
        "s = z",
    ),
    focal(
        "no minus sign",
        "test-focal-loss",
        "a loss is positive",
        "return -(rest**gamma) * log_p",
        "return rest**gamma * log_p",
    ),
    focal(
        "p to the power γ",
        "test-focal-loss",
        "that is p_t to the power γ",
        "return -(rest**gamma)",
        "return -(p**gamma)",
    ),
    focal(
        "γ is ignored",
        "test-focal-loss",
        "how does γ come in?",
        "    sign =",
        "    gamma = 0\n    sign =",
    ),
    focal(
        "the mean, not each loss",
        "test-focal-loss",
        "no sum, no mean",
        "return -(rest**gamma) * log_p,",
        "return -(rest**gamma * log_p).mean(),",
    ),
    focal(
        "∂C/∂s, not ∂C/∂z",
        "test-focal-slope",
        "that is ∂C/∂s",
        "sign * slope",
        "slope",
    ),
    focal(
        "the factor taken for a constant",
        "test-focal-slope",
        "two factors move with z",
        "gamma * rest**gamma * p * log_p - rest",
        "-rest",
    ),
    focal(
        "the slope of another loss",
        "test-focal-slope",
        "for γ = 0 you know it",
        "slope = gamma * rest**gamma * p * log_p - rest ** (gamma + 1)",
        "slope = gamma * rest**gamma * p * log_p - rest**gamma",
    ),
    focal(
        "−z alone instead of |z|",
        "test-focal-far",
        "NaN or infinity in the loss",
        "small = np.exp(-np.abs(s))\n    p = np.where(s >= 0, 1.0, small) / (1 + small)"
        "\n    rest = np.where(s >= 0, small, 1.0) / (1 + small)"
        "\n    log_p = -(np.maximum(-s, 0) + np.log1p(small))",
        "p = 1 / (1 + np.exp(-s))\n    rest = np.exp(-s) / (1 + np.exp(-s))"
        "\n    log_p = np.log(p)",
    ),
    focal(
        "p clipped",
        "test-focal-far",
        "is something clipped?",
        "log_p = -(np.maximum(-s, 0) + np.log1p(small))",
        "log_p = np.log(np.clip(p, 1e-300, 1.0))",
        short_cut=True,
    ),
    focal(
        "1 − p by subtraction",
        "test-focal-far",
        "digits are lost",
        "rest = np.where(s >= 0, small, 1.0) / (1 + small)",
        "rest = 1 - p",
    ),
    focal(
        "ln(1 + e^−40) without log1p",
        "test-focal-far",
        "digits are lost",
        "np.log1p(small)",
        "np.log(1 + small)",
    ),
    Answer(
        "focal",
        "torch finds the slope",
        short_cut=True,
        test="test-focal-slope",
        says="Derive the slope on paper",
        code="""
def focal_loss(z, y, gamma=2.0):
    t = torch.tensor(z, requires_grad=True)
    s = t * torch.tensor(2 * y - 1)
    rest, log_p = torch.sigmoid(-s), torch.nn.functional.logsigmoid(s)
    loss = -(rest**gamma) * log_p
    loss.sum().backward()
    return loss.detach().numpy(), t.grad.numpy()
""",
    ),
    Answer(
        "focal",
        "nudging of one's own",
        short_cut=True,
        test="test-focal-slope",
        says="some digits are right: nudging?",
        code="""
def focal_loss(z, y, gamma=2.0):
    def loss(z):
        s = (2 * y - 1) * z
        small = np.exp(-np.abs(s))
        rest = np.where(s >= 0, small, 1.0) / (1 + small)
        return rest**gamma * (np.maximum(-s, 0) + np.log1p(small))

    return loss(z), (loss(z + 1e-5) - loss(z - 1e-5)) / 2e-5
""",
    ),
    Answer(
        "focal",
        "four nudges, exact to more digits",
        short_cut=True,
        test="test-focal-far",
        says="some digits are right: nudging?",
        code="""
def focal_loss(z, y, gamma=2.0):
    def loss(z):
        s = (2 * y - 1) * z
        small = np.exp(-np.abs(s))
        rest = np.where(s >= 0, small, 1.0) / (1 + small)
        return rest**gamma * (np.maximum(-s, 0) + np.log1p(small))

    one, two = (loss(z + h) - loss(z - h) for h in (1e-3, 2e-3))
    return loss(z), (8 * one - two) / 12e-3
""",
    ),
]

CULPRIT = """
def culprit(run, layers, X, Y):
    def right(p, slope):
        nudged = checks.numeric_gradient(lambda: sigmoid_loss(layers, X, Y), p)
        return np.allclose(slope, nudged, TOLERANCE)

    pairs = ORDER(list(zip(layers, run(layers, X, Y))))
    for depth, ((W, b), (dW, db)) in enumerate(pairs):
        weights, biases = right(W, dW), right(b, db)
        if not weights and not biases:
            return BOTH
        if not biases:
            return 3
        if not weights:
            return 4
    return 0
"""
CULPRIT_RIGHT = {
    "TOLERANCE": "rtol=1e-6, atol=1e-8",
    "ORDER": "reversed",
    "BOTH": "1 if depth == 0 else 2",
}


def culprit(name, says, test="test-culprit", **wrong):
    code = CULPRIT
    for place, text in (CULPRIT_RIGHT | wrong).items():
        code = code.replace(place, text)
    return Answer("culprit", name, test=test, says=says, code=code)


ANSWERS += [
    culprit(
        "from the input up",
        "where do you look first?",
        ORDER="list",
        BOTH="2 if depth == 0 else 1",
    ),
    culprit(
        "does not tell (1) from (2)",
        "is not yet seen in the last layer",
        BOTH="1",
    ),
    culprit(
        "too coarse",
        "how small may a slip be?",
        test="test-culprit-small",
        TOLERANCE="rtol=0.05, atol=0.001",
    ),
    culprit(
        "asks more of nudging than it can give",
        "how exact is nudging?",
        TOLERANCE="rtol=0, atol=1e-15",
    ),
    Answer(
        "culprit",
        "looks at the weights alone",
        test="test-culprit",
        says="leaves the slopes of all weights right",
        code="""
def culprit(run, layers, X, Y):
    (W, b), (dW, db) = layers[-1], run(layers, X, Y)[-1]
    nudged = checks.numeric_gradient(lambda: sigmoid_loss(layers, X, Y), W)
    return 0 if np.allclose(dW, nudged, rtol=1e-6, atol=1e-8) else 4
""",
    ),
    Answer(
        "culprit",
        "compares each slope with the other layer's parameter",
        test="test-culprit",
        says="is each slope beside its own parameter?",
        code="""
def culprit(run, layers, X, Y):
    for (W, b), (dW, db) in zip(reversed(layers), run(layers, X, Y)):
        nudged = checks.numeric_gradient(lambda: sigmoid_loss(layers, X, Y), W)
        if not np.allclose(dW, nudged):
            return 4
    return 0
""",
    ),
    Answer(
        "culprit",
        "compares with a right pass that lies about",
        short_cut=True,
        test="test-culprit",
        says="run it, and nudge",
        code="""
def culprit(run, layers, X, Y):
    pairs = zip(reversed(run(layers, X, Y)), reversed(make_pass()(layers, X, Y)))
    for depth, ((dW, db), (W, b)) in enumerate(pairs):
        weights, biases = np.allclose(dW, W, 1e-9), np.allclose(db, b, 1e-9)
        if not (weights or biases):
            return 1 if depth == 0 else 2
        if not (weights and biases):
            return 4 if biases else 3
    return 0
""",
    ),
    Answer(
        "culprit",
        "reads the pass instead of running it",
        short_cut=True,
        test="test-culprit",
        says="run it, and nudge",
        code="""
def culprit(run, layers, X, Y):
    (at,) = [c.cell_contents for c in run.__closure__]
    return at.__closure__[0].cell_contents
""",
    ),
    Answer(
        "culprit",
        "knows the order of the visible tests",
        short_cut=True,
        test="test-culprit",
        says="leaves the slopes of all weights right",
        code="""
known = iter([0, 3, 1, 4, 2, 2, 0, 3, 1, 4])


def culprit(run, layers, X, Y):
    return next(known, 0)
""",
    ),
]

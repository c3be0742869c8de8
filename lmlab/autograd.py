"""Reverse-mode automatic differentiation of single numbers; derived in lesson 01.

A Value holds a number, the Values that it was computed from, and one slope for each of
them: the operation's local derivative, known as soon as the forward pass has run.
Going backward is then one line for every operation there is: each parent receives
slope × gradient (the chain rule; Linnainmaa 1970).

    w, x = Value(2.0), Value(3.0)
    loss = (w * x - 1.0) ** 2
    loss.backward()             # w.grad is 30.0, x.grad is 20.0
"""

import math
from numbers import Real


class Value:
    """A number that remembers how it was computed.

    data: the number. grad: d output / d self, as the latest backward() left it.
    parents, slopes: the inputs of the operation and its derivative by each of them.
    op: the operation's name, for drawings; "" for a number that nothing computed.
    """

    __slots__ = ("data", "grad", "op", "parents", "slopes")
    __array_ufunc__ = None  # np.float64(2) * value comes to __rmul__, not to NumPy

    def __init__(self, data, parents=(), slopes=(), op=""):
        if not isinstance(data, Real):
            raise TypeError(f"a Value holds one real number, not {type(data).__name__}")
        self.data = float(data)
        self.grad = 0.0
        self.parents, self.slopes, self.op = parents, slopes, op

    def __repr__(self):
        return f"Value({self.data:.6g}, grad={self.grad:.6g})"

    # Arithmetic. Each line: the result, its inputs, one slope for each input.

    def __add__(self, other):
        other = _lift(other)
        return Value(self.data + other.data, (self, other), (1.0, 1.0), "+")

    def __sub__(self, other):
        other = _lift(other)
        return Value(self.data - other.data, (self, other), (1.0, -1.0), "−")

    def __mul__(self, other):
        other = _lift(other)
        slopes = (other.data, self.data)
        return Value(self.data * other.data, (self, other), slopes, "×")

    def __truediv__(self, other):
        other = _lift(other)
        if other.data == 0:
            raise ZeroDivisionError(f"{self.data:g} / 0: the divisor is a Value of 0")
        out = self.data / other.data
        return Value(out, (self, other), (1 / other.data, -out / other.data), "/")

    def __pow__(self, n):
        """Self to a constant power; two Values x, y: (y * x.log()).exp()."""
        if not isinstance(n, Real):
            raise TypeError(f"the power must be a constant, not {type(n).__name__}")
        x = self.data
        if x == 0 and (n < 0 or 0 < n < 1):
            raise ZeroDivisionError(f"x ** {n:g} has no finite derivative at x = 0")
        if x < 0 and n != int(n):
            raise ValueError(f"({x:g}) ** {n:g} is not a real number")
        slope = n * x ** (n - 1) if n else 0.0
        return Value(x**n, (self,), (slope,), f"^{n:g}")

    def __neg__(self):
        return Value(-self.data, (self,), (-1.0,), "neg")

    __radd__, __rmul__ = __add__, __mul__

    def __rsub__(self, other):
        return _lift(other) - self

    def __rtruediv__(self, other):
        return _lift(other) / self

    # Functions of one number.

    def exp(self):
        """e ** self; raises OverflowError above 709, where a float ends."""
        try:
            out = math.exp(self.data)
        except OverflowError:
            message = f"exp({self.data:g}) is too large for a float"
            raise OverflowError(message) from None
        return Value(out, (self,), (out,), "exp")

    def log(self):
        """Natural logarithm; raises ValueError unless self is positive."""
        if not self.data > 0:
            raise ValueError(f"log needs a positive number, not {self.data:g}")
        return Value(math.log(self.data), (self,), (1 / self.data,), "log")

    def tanh(self):
        """Hyperbolic tangent; slope 1 − tanh²."""
        out = math.tanh(self.data)
        return Value(out, (self,), (1 - out * out,), "tanh")

    def sigmoid(self):
        """1 / (1 + e ** −self), for any size of self; slope σ(z) σ(−z)."""
        slope = _sigmoid(self.data) * _sigmoid(-self.data)
        return Value(_sigmoid(self.data), (self,), (slope,), "σ")

    def softplus(self):
        """log(1 + e ** self), for any size of self; slope σ."""
        out = max(self.data, 0.0) + math.log1p(math.exp(-abs(self.data)))
        return Value(out, (self,), (_sigmoid(self.data),), "softplus")

    def relu(self):
        """max(self, 0); slope 0 at 0, as in PyTorch and TensorFlow."""
        return self.leaky_relu(0.0)

    def leaky_relu(self, alpha=0.01):
        """Self where positive, else alpha × self (Maas et al. 2013)."""
        z = self.data
        slope = 1.0 if z > 0 else alpha
        # With alpha 0 the product would be NaN for −∞, and −0.0 for what is negative.
        out = 0.0 if z <= 0 and not alpha else slope * z
        return Value(out, (self,), (slope,), "lrelu" if alpha else "relu")

    def gelu(self):
        """Self × Φ(self), Φ the normal distribution (Hendrycks & Gimpel 2016)."""
        z = self.data
        if math.isinf(z):  # where 0 × ∞ would be NaN: the limits
            return Value(max(z, 0.0), (self,), (float(z > 0),), "gelu")
        cdf = 0.5 * math.erfc(-z / math.sqrt(2))
        pdf = math.exp(-0.5 * z * z) / math.sqrt(2 * math.pi)
        return Value(z * cdf, (self,), (cdf + z * pdf,), "gelu")

    def backward(self):
        """Set grad = d self / d node on self and on everything it was computed from.

        Gradients are made afresh: a second call changes nothing, and calls from two
        outputs do not add up (add the outputs instead). A Value that self does not
        depend on keeps the grad it had; gradients() answers 0 for it.
        """
        for node, grad in accumulate(self).items():
            node.grad = grad


def gradients(output, inputs):
    """d output / d x for each x in inputs, as floats; 0 where output ignores x.

    Leaves every .grad alone. Raises TypeError when output is not a Value.
    """
    grads = accumulate(output)
    return [grads.get(x, 0.0) for x in inputs]


def topological_order(root):
    """Everything root was computed from, inputs before results; root comes last.

    A loop with a stack of its own, so that no depth of graph is too deep for Python.
    """
    order, seen, stack = [], set(), [(root, False)]
    while stack:
        node, parents_done = stack.pop()
        if parents_done:
            order.append(node)
        elif node not in seen:
            seen.add(node)
            stack.append((node, True))
            stack.extend((parent, False) for parent in node.parents)
    return order


def accumulate(root):
    """{node: d root / d node}; results first, so each sum is complete when used."""
    if not isinstance(root, Value):
        raise TypeError(f"only a Value has gradients, not {type(root).__name__}")
    order = topological_order(root)
    grads = dict.fromkeys(order, 0.0)
    grads[root] = 1.0
    for node in reversed(order):
        for parent, slope in zip(node.parents, node.slopes):
            grads[parent] += slope * grads[node]
    return grads


def _lift(number):
    """The Value of a plain number; a Value as it is."""
    return number if isinstance(number, Value) else Value(number)


def _sigmoid(z):
    """σ(z) without overflow: e ** −|z| is at most 1."""
    small = math.exp(-abs(z))
    return (1.0 if z >= 0 else small) / (1.0 + small)

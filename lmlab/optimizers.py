"""Steps downhill on one flat vector; used in lesson 02.

An optimiser is a function (w, g, state, t, rate) that changes the parameters w in
place. g: their gradient, used up as a buffer. state: moments, each as long as w, zero
to begin with. t: steps done, this one included. rate: the learning rate of this step.
OPTIMIZERS maps a name to the function and its number of moments; one that is added
there is given the gradient itself and the rate, like the others.
"""

import math

import numpy as np


def sgd(w, g, state, t, rate):
    """w −= lr g."""
    g *= rate
    w -= g


def momentum(w, g, state, t, rate):
    """v = 0.9 v + lr g; w −= v (Polyak 1964)."""
    (v,) = state
    g *= rate
    v *= 0.9
    v += g
    w -= v


def adam(w, g, state, t, rate):
    """Adam (Kingma and Ba 2015): betas 0.9 and 0.999, epsilon 1e-8.

    The moments are kept without their factors (1 − beta): two passes fewer.
    """
    m, v = state
    k = math.sqrt((1 - 0.999) / (1 - 0.999**t))
    m *= 0.9
    m += g
    v *= 0.999
    g *= g
    v += g
    np.sqrt(v, out=g)
    g += 1e-8 / k
    np.divide(m, g, out=g)
    g *= rate * (1 - 0.9) / (1 - 0.9**t) / k
    w -= g


OPTIMIZERS = {"sgd": (sgd, 0), "momentum": (momentum, 1), "adam": (adam, 2)}


def drop_denormals(state):
    """Zero the moments of pixels that are nearly always 0, before they are denormal.

    They decay for ever, and arithmetic on denormal numbers is many times slower: it
    lengthened Adam's epochs at batch 64 by 40 % from the second one on.
    """
    for moment in state:
        moment *= np.abs(moment) > 1e-30

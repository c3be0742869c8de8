"""lmlab: the GPU helpers, data, checks and fast forms that the lessons share.

Importing the package is cheap on purpose: its modules and rooms come in when they are
named (`lmlab.checks`), and each imports torch, TensorFlow or scikit-learn only inside
the functions that need them.
"""

import importlib

__version__ = "0.1.0"

# What every lesson uses, and Part I; then the rooms.
__all__ = [
    "autograd",
    "checks",
    "data",
    "devices",
    "errors",
    "explore",
    "figures",
    "forbid",
    "generation",
    "layers",
    "memory",
    "methods",
    "mlp",
    "models",
    "optimizers",
    "parameters",
    "progress",
    "record",
    "runner",
    "schematics",
    "text",
    "threads",
    "training",
]


def __getattr__(name):
    """Import a public module when it is first asked for."""
    if name in __all__:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__():
    """The public modules, imported or not."""
    return sorted({*globals(), *__all__})

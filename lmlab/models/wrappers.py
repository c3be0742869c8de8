"""The module inside what torch.compile, DataParallel and their like wrap around it.

And the modes of its parts, which whoever borrows a model gives back as they were.
"""

import contextlib

from lmlab.models.gpt import Config

INSIDE = ("_orig_mod", "module")  # what torch.compile calls it, and all the others


def unwrapped(model):
    """The module inside; the model itself where nothing is around it.

    Names, checkpoints and losses are the inner module's, whatever was put around it.
    A wrapper is a module with one child, so called, no parameter and no `loss` of its
    own. What is no module (for tests, a stand-in) comes back as it is.
    Raises ValueError for a model whose parameters are cut up among processes (FSDP).
    """
    while True:
        if type(model).__module__.startswith("torch.distributed.fsdp"):
            raise ValueError(_CUT_UP)
        inside = _inside(model)
        if inside is None:
            break
        model = inside
    parameters = model.parameters() if hasattr(model, "parameters") else ()
    if any(type(p).__name__ == "DTensor" for p in parameters):
        raise ValueError(_CUT_UP)
    return model


def gpt_inside(model):
    """The GPT inside: `unwrapped`, or a TypeError that says what is needed."""
    inside = unwrapped(model)
    if not isinstance(getattr(inside, "config", None), Config):
        raise TypeError(
            f"model: a GPT of lmlab.models is needed, got a {type(inside).__name__}. "
            "If there is one in it, pass the GPT inside; pretrained.from_huggingface "
            "makes one of transformers' GPT2LMHeadModel"
        )
    return inside


@contextlib.contextmanager
def modes_kept(model):
    """Leave each part of the model in training mode, or not, as it was."""
    modes = {module: module.training for module in model.modules()}
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode


def plain_name(name):
    """A parameter's name without what torch.compile puts around parts of a model."""
    return name.replace(f"{INSIDE[0]}.", "")


_CUT_UP = (
    "the model's parameters are cut up among processes (FSDP), and each holds a piece: "
    "pass the module before it is sharded; under torchrun `fit` shares out the batch"
)


def _inside(model):
    children = dict(model.named_children()) if hasattr(model, "named_children") else {}
    if len(children) != 1 or hasattr(type(model), "loss"):
        return None
    ((name, child),) = children.items()
    own = list(model.parameters(recurse=False))
    return child if name in INSIDE and not own else None

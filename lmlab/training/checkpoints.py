"""Checkpoints: everything a training needs to go on, in files that hold only arrays.

A checkpoint is one safetensors file, `step-00000120.safetensors`: tensors, and a JSON
text that says what they belong to. Loading one runs no code (a pickle can run any).
It is written in a folder beside, flushed to the disk, and renamed: whoever kills the
process, or fills the disk, at whatever moment, finds the last good one untouched.
"""

import json
import os
import shutil
from pathlib import Path

import torch

SUFFIX = ".safetensors"
PARTIAL = ".partial"  # what a killed process leaves there, the next save removes
FORMAT = 1
PICKLES = (b"\x80", b"PK\x03\x04")  # how files of pickle and torch.save begin


class CheckpointError(RuntimeError):
    """A checkpoint cannot be written, read or used; the message says what to do."""


def save(folder, step, tensors, about, *, keep=2):
    """Write the checkpoint of a step, then remove all but the newest `keep`.

    tensors: {name: tensor}; about: what JSON can hold. Returns the path.
    Raises CheckpointError; what was there before stays as it was.
    """
    folder = Path(folder)
    path = folder / f"step-{step:08d}{SUFFIX}"
    write(path, tensors, about | {"step": step})
    for old in found(folder)[:-keep]:
        old.unlink()
    return path


def found(folder):
    """The checkpoints in a folder, oldest first."""
    return sorted(Path(folder).glob(f"step-*{SUFFIX}"))


def write(path, tensors, about):
    """Write one safetensors file, whole or not at all; errors as in `save`."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    path = Path(path)
    partial = path.parent / PARTIAL
    text = json.dumps(about | {"format": FORMAT}, allow_nan=False)
    tensors = {name: t.detach().contiguous() for name, t in tensors.items()}
    try:
        partial.mkdir(parents=True, exist_ok=True)
        save_file(tensors, partial / path.name, metadata={"lmlab": text})
        with open(partial / path.name, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(partial / path.name, path)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(_unwritten(path, error)) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _unwritten(path, error):
    good = [each for each in found(path.parent) if each != path]
    last = f"; the last good one, {good[-1].name}, is untouched" if good else ""
    return f"cannot write {path}: {error}{last}. Make room there, then resume"


def read(path, *, device="cpu"):
    """(tensors, about) of a checkpoint.

    Raises CheckpointError for a file that is missing, cut short, no safetensors file
    (a pickle is not opened), or not one of lmlab's.
    """
    from safetensors import SafetensorError, safe_open

    path = Path(path)
    try:
        with safe_open(path, "pt", device=str(device)) as file:
            text = (file.metadata() or {}).get("lmlab")
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error}") from error
    except SafetensorError as error:
        raise CheckpointError(f"{path} {_what_it_is(path, error)}") from error
    if text is None:
        raise CheckpointError(
            f"{path} holds weights but is no checkpoint of a training; "
            "lmlab.pretrained.load reads models"
        )
    return tensors, json.loads(text)


def _what_it_is(path, error):
    """What is wrong with a file that safetensors could not read."""
    with open(path, "rb") as file:
        start = file.read(4)
    if start.startswith(PICKLES):
        return (
            "is a pickle, which can run any code when it is loaded; it was not opened. "
            "Checkpoints are safetensors files"
        )
    return f"is damaged or cut short ({error}): delete it, resume from the one before"


# --- Models and optimisers as named tensors -------------------------------------------


def model_tensors(model):
    """{"model.<name>": tensor}: parameters and buffers; tied ones once."""
    tensors, seen = {}, set()
    for name, tensor in model.state_dict(keep_vars=True).items():
        if id(tensor) not in seen:
            seen.add(id(tensor))
            tensors[f"model.{name}"] = tensor.detach()
    return tensors


def optimizer_tensors(model, optimizer):
    """{"optimizer.<key>.<parameter's name>": tensor} of what the optimiser keeps."""
    return {
        f"optimizer.{key}.{name}": value
        for name, parameter in model.named_parameters()
        for key, value in optimizer.state.get(parameter, {}).items()
    }


@torch.no_grad()
def load_model(model, path):
    """Copy a checkpoint's weights into the model; returns what `read` says about it.

    Raises CheckpointError, before anything is copied, when names or shapes differ.
    """
    tensors, about = read(path)
    restore_model(model, tensors, path)
    return about


@torch.no_grad()
def restore_model(model, tensors, path):
    """Copy the tensors named "model.…" into the model; errors as in `load_model`."""
    own = model_tensors(model)
    saved = {name: t for name, t in tensors.items() if name.startswith("model.")}
    differences = compare(_shapes(saved), _shapes(own))
    if differences:
        raise CheckpointError(f"{path} is of another model: {differences}")
    for name, tensor in own.items():
        tensor.copy_(saved[name])


def restore_optimizer(model, optimizer, tensors):
    """Give the optimiser what it kept when the checkpoint was written."""
    kept = {}  # {parameter's name: {key: value}}
    for full, value in tensors.items():
        kind, _, rest = full.partition(".")
        if kind == "optimizer":
            key, _, name = rest.partition(".")
            kept.setdefault(name, {})[key] = value
    name_of = {parameter: name for name, parameter in model.named_parameters()}
    state = optimizer.state_dict()
    order = [p for group in optimizer.param_groups for p in group["params"]]
    state["state"] = {i: kept.get(name_of[p], {}) for i, p in enumerate(order)}
    optimizer.load_state_dict(state)  # knows what lives on which device


def _shapes(tensors):
    return {name: f"{tuple(t.shape)} {t.dtype}" for name, t in tensors.items()}


def compare(there, here, limit=3):
    """What differs between two dicts, as a text for an error message; "" if nothing."""
    names = [n for n in {**here, **there} if there.get(n) != here.get(n)]
    said = [
        f"{n} is {there.get(n, 'missing')} there and {here.get(n, 'missing')} here"
        for n in names[:limit]
    ]
    more = [f"and {len(names) - limit} more"] if len(names) > limit else []
    return "; ".join(said + more)

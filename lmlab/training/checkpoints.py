"""Checkpoints: everything a training needs to go on, in files that hold only arrays.

A checkpoint is one safetensors file, `step-00000120.safetensors`: tensors, and a JSON
text that says what they belong to. Loading one runs no code (a pickle can run any).
It is written under another name, flushed to the disk, and renamed: whoever kills the
process, or fills the disk, at whatever moment, finds the last good one untouched.
"""

import json

import torch

from lmlab import files
from lmlab.errors import LmlabError
from lmlab.models.wrappers import plain_name, unwrapped

SUFFIX = ".safetensors"
FORMAT = 1
NUMBERS = {"int": torch.int64, "float": torch.float64, "bool": torch.bool}


class CheckpointError(LmlabError):
    """A checkpoint cannot be written, read or used; the message says what to do."""


def save(folder, step, tensors, about, *, keep=2):
    """Write the checkpoint of a step, then remove all but the newest `keep`.

    What a killed process left half written in the folder goes, too.

    folder: a path, or a file open for writing (io.BytesIO), which takes this one
    checkpoint. tensors: {name: tensor}; about: what JSON can hold. Returns the path, or
    the file. Raises CheckpointError; what was there before stays as it was.
    """
    about = about | {"step": step}
    if hasattr(folder, "write"):
        return write(folder, tensors, about)
    path = files.given(folder) / f"step-{step:08d}{SUFFIX}"
    write(path, tensors, about)
    for old in [*found(folder)[:-keep], *files.unfinished(path.parent, SUFFIX)]:
        old.unlink()
    return path


def found(folder):
    """The checkpoints in a folder, oldest first."""
    return sorted(files.given(folder).glob(f"step-*{SUFFIX}"))


def write(path, tensors, about):
    """Write one safetensors file, whole or not at all; returns the path.

    path: or a file open for writing, where it then begins. Errors as in `save`.
    """
    metadata = {"lmlab": json.dumps(about | {"format": FORMAT}, allow_nan=False)}
    if hasattr(path, "write"):
        from safetensors.torch import save as as_bytes

        path.write(as_bytes(files.apart(tensors), metadata=metadata))
        return path
    path = files.given(path)
    try:
        files.publish_tensors(path, tensors, metadata)
    except OSError as error:
        raise CheckpointError(_unwritten(path, error)) from error
    return path


def _unwritten(path, error):
    good = [each for each in found(path.parent) if each != path]
    last = f"; the last good one, {good[-1].name}, is untouched" if good else ""
    advice = files.advice(path.parent, error)
    return f"cannot write {path}: {error}{last}; {advice}, then resume"


def read(path, *, device="cpu"):
    """(tensors, about) of a checkpoint: of a path, or of a file open for reading.

    Raises CheckpointError for a file that is missing, cut short, no safetensors file
    (a pickle is not opened), or not one of lmlab's.
    """
    from safetensors import SafetensorError

    start = b""
    try:
        if hasattr(path, "read"):
            path, content = f"this {type(path).__name__}", path.read()
            start = content[:8]
            text, tensors = _of_bytes(content, device)
        else:
            path = files.given(path)
            with open(path, "rb") as file:
                start = file.read(8)
            text, tensors = _of_file(path, device)
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error}") from error
    except SafetensorError as error:
        raise CheckpointError(f"{path} {_what_it_is(start, error)}") from error
    if text is None:
        raise CheckpointError(
            f"{path} holds weights but is no checkpoint of a training; "
            "lmlab.models.pretrained.load reads models"
        )
    return tensors, json.loads(text)


def _of_file(path, device):
    from safetensors import safe_open

    with safe_open(path, "pt", device=str(device)) as file:
        text = (file.metadata() or {}).get("lmlab")
        return text, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118


def _of_bytes(content, device):
    from safetensors.torch import load

    tensors = {name: t.to(device) for name, t in load(content).items()}
    end = 8 + int.from_bytes(content[:8], "little")  # of the header, which is JSON
    about = json.loads(content[8:end]).get("__metadata__") or {}
    return about.get("lmlab"), tensors


def _what_it_is(start, error):
    """What is wrong with a file, beginning so, that safetensors could not read."""
    if files.is_pickle(start):
        return (
            "is a pickle, which can run any code when it is loaded; it was not opened. "
            "Checkpoints are safetensors files"
        )
    return f"is damaged or cut short ({error}): delete it, resume from the one before"


# --- Models and optimisers as named tensors -------------------------------------------


def model_tensors(model):
    """{"model.<name>": tensor}: parameters and buffers; those that are one memory once.

    Names are those of the module inside, if something is wrapped around it, and of its
    parts as if none were compiled. What is one number in memory comes once as well: a
    buffer that was expanded, as it was before. The tensors are the model's own: who
    writes into them changes it.
    """
    tensors, seen = {}, set()
    for name, tensor in unwrapped(model).state_dict(keep_vars=True).items():
        tensor = _unexpanded(tensor.detach())
        memory = _memory(tensor)
        if memory not in seen:
            seen.add(memory)
            tensors[f"model.{plain_name(name)}"] = tensor
    return tensors


def _unexpanded(tensor):
    """The tensor without repetitions of what is one number in memory."""
    for axis, (size, stride) in enumerate(zip(tensor.shape, tensor.stride())):
        if size > 1 and stride == 0:
            tensor = tensor.narrow(axis, 0, 1)
    return tensor


def _memory(tensor):
    """What two tensors have in common just if all their numbers are the same ones."""
    if not tensor.data_ptr():  # nothing in it, or nothing behind it (meta)
        return id(tensor)
    kind = tensor.device, tensor.dtype, tensor.shape, tensor.stride()
    return tensor.data_ptr(), *kind


def optimizer_tensors(model, optimizer):
    """{"optimizer.<key>.<parameter's name>": tensor} of what the optimiser keeps.

    A Python number or None that it keeps is a tensor, too, under a name that begins
    with its kind: "optimizer:int.", "optimizer:float.", "optimizer:bool.",
    "optimizer:None.". Raises CheckpointError for what is neither.
    """
    return {
        f"{kind}.{key}.{plain_name(name)}": tensor
        for name, parameter in unwrapped(model).named_parameters()
        for key, value in optimizer.state.get(parameter, {}).items()
        for kind, tensor in [_kept(value, f"{key} of {name}")]
    }


def _kept(value, what):
    """(how its name begins, tensor) of something that an optimiser keeps."""
    if isinstance(value, torch.Tensor):
        return "optimizer", value
    if value is None:
        return "optimizer:None", torch.zeros(0)
    kind = type(value).__name__
    if kind not in NUMBERS or (kind == "int" and not -(2**63) <= value < 2**63):
        raise CheckpointError(
            f"the optimiser keeps {value!r:.40} ({kind}) as {what}: no checkpoint can "
            "hold that, only tensors, numbers and None"
        )
    return f"optimizer:{kind}", torch.tensor(value, dtype=NUMBERS[kind])


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
        kind, _, number = kind.partition(":")
        if kind == "optimizer":
            key, _, name = rest.partition(".")
            if number:
                value = None if number == "None" else value.item()
            kept.setdefault(name, {})[key] = value
    named = unwrapped(model).named_parameters()
    name_of = {p: plain_name(name) for name, p in named}
    state = optimizer.state_dict()
    order = [p for group in optimizer.param_groups for p in group["params"]]
    state["state"] = {i: kept.get(name_of[p], {}) for i, p in enumerate(order)}
    optimizer.load_state_dict(state)  # knows what lives on which device
    for p in order:  # … and rounds to the parameter's dtype what had one of its own
        for key, value in kept.get(name_of[p], {}).items():
            if isinstance(value, torch.Tensor):
                there = optimizer.state[p][key]
                if there.dtype != value.dtype:
                    optimizer.state[p][key] = value.to(there.device)


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

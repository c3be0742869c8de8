"""GPT-2 as Hugging Face names and lays it out: config.json and the names of weights.

Their weights of a layer are (in, out), as TensorFlow had them; ours are torch's (out,
in). The matrix of the logits is not stored where it is the token embedding. Older
files have no "transformer." before the names, and hold the causal masks too.
"""

import re

import torch

from lmlab.models.gpt import GPT, Config
from lmlab.models.hub import WeightsError
from lmlab.models.wrappers import plain_name

PREFIX, HEAD = "transformer.", "lm_head.weight"
_BUFFERS = re.compile(r"h\.\d+\.attn\.(masked_)?bias")  # masks, not weights
_NAMES = {
    "token_embedding": "wte",
    "position_embedding": "wpe",
    "final_norm": "ln_f",
    "attention_norm": "ln_1",
    "attention.qkv": "attn.c_attn",
    "attention.output": "attn.c_proj",
    "mlp_norm": "ln_2",
    "mlp.up": "mlp.c_fc",
    "mlp.down": "mlp.c_proj",
}
_TRANSPOSED = ("c_attn.weight", "c_proj.weight", "c_fc.weight")

# What a GPT here always has; a file that says otherwise is of another model.
_FIXED = {
    "model_type": ("gpt2",),
    "activation_function": ("gelu_new", "gelu_pytorch_tanh"),
    "layer_norm_epsilon": (1e-5,),
    "scale_attn_weights": (True,),
    "scale_attn_by_inverse_layer_idx": (False,),
    "add_cross_attention": (False,),
    "tie_word_embeddings": (True, False),
}
_SIZES = {
    "vocab_size": "vocab_size",
    "context": "n_positions",
    "num_layers": "n_layer",
    "num_heads": "n_head",
    "width": "n_embd",
}
_DROPOUTS = ("resid_pdrop", "embd_pdrop", "attn_pdrop")


def read_config(values, where, dropout=None):
    """The Config that the values of a config.json describe.

    dropout: None takes theirs. Raises WeightsError, naming `where` and the key, for a
    model that is not one of ours.
    """
    if not isinstance(values, dict):
        raise WeightsError(f"{where} holds no configuration")
    if "auto_map" in values:
        raise WeightsError(
            f"{where} asks for code of its own (auto_map): lmlab runs no code of models"
        )
    if values.get("model_type") != "gpt2":
        raise WeightsError(
            f'{where} is of a {values.get("model_type")!r} model: only "gpt2" fits here'
        )
    for key, known in _FIXED.items():
        if values.get(key, known[0]) not in known:
            raise WeightsError(
                f"{where} has {key} = {values[key]!r}; this GPT has {known[0]!r}"
            )
    missing = [key for key in _SIZES.values() if key not in values]
    if missing:
        raise WeightsError(f"{where} lacks {', '.join(missing)}")
    sizes = {ours: values[theirs] for ours, theirs in _SIZES.items()}
    inner = values.get("n_inner")
    if inner not in (None, 4 * sizes["width"]):
        raise WeightsError(f"{where} has n_inner = {inner}; this GPT has 4·n_embd")
    shares = {values.get(key, 0.1) for key in _DROPOUTS}  # 0.1: their default
    if dropout is None and len(shares) > 1:
        raise WeightsError(
            f"{where} has different {', '.join(_DROPOUTS)}; pass one share as dropout"
        )
    try:
        return Config(
            **sizes,
            dropout=shares.pop() if dropout is None else dropout,
            tied=values.get("tie_word_embeddings", True),
        )
    except (TypeError, ValueError) as error:
        raise WeightsError(f"{where}: {error}") from None


def their_config(config, end=None):
    """The values of a config.json for this Config; end: the id that ends a text."""
    sizes = {theirs: getattr(config, ours) for ours, theirs in _SIZES.items()}
    return {
        "architectures": ["GPT2LMHeadModel"],
        **{key: known[0] for key, known in _FIXED.items()},
        "tie_word_embeddings": config.tied,
        **sizes,
        "n_inner": None,
        **dict.fromkeys(_DROPOUTS, config.dropout),
        "initializer_range": 0.02,
        "bos_token_id": end,
        "eos_token_id": end,
        "use_cache": True,
    }


def their_name(name):
    """The name of one of our parameters in their files, without PREFIX.

    Raises WeightsError for a name that no GPT has.
    """
    if name == "head.weight":
        return HEAD
    block = re.fullmatch(r"blocks\.(\d+)\.(.+)\.(weight|bias)", name)
    module, _, kind = name.rpartition(".")
    module = block[2] if block else module
    if module not in _NAMES:
        raise WeightsError(
            f"{name} is no weight of a GPT, and Hugging Face's format has no name for "
            "it: take out what was added to the model"
        )
    place = f"h.{block[1]}." if block else ""
    return f"{place}{_NAMES[module]}.{kind}"


def their_tensors(model, vocab_size=None):
    """{their name, with PREFIX: tensor} of the model's weights, on the CPU.

    vocab_size: how many ids, from 0, are written; None for all. Raises WeightsError
    for a model with other parts than a GPT's.
    """
    tensors = {}
    for name, tensor in model.state_dict().items():
        name = plain_name(name)
        theirs = their_name(name)
        tensor = tensor.detach().cpu()
        if name in ("token_embedding.weight", "head.weight"):
            tensor = tensor[:vocab_size]
        tensor = tensor.T if theirs.endswith(_TRANSPOSED) else tensor
        prefix = "" if theirs == HEAD else PREFIX
        tensors[prefix + theirs] = tensor.contiguous()
    return tensors


def build(tensors, config, where, dtype=torch.float32):
    """A GPT in evaluation mode with these weights, copied.

    tensors: {their name: tensor}. Raises WeightsError, naming `where` and the weights,
    when some are missing, too many, or of another shape, and when the matrix of the
    logits is not the token embedding though the config says so.
    """
    tensors = {name.removeprefix(PREFIX): t for name, t in tensors.items()}
    tensors = {n: t for n, t in tensors.items() if not _BUFFERS.fullmatch(n)}
    head = tensors.pop(HEAD, None) if config.tied else None
    with torch.device("meta"):  # shapes alone: nothing is drawn, no memory taken
        model = GPT(config)
    shapes = {their_name(n): t.shape for n, t in model.state_dict().items()}
    shapes = {n: s[::-1] if n.endswith(_TRANSPOSED) else s for n, s in shapes.items()}
    problem = _misfit(tensors, shapes, head)
    if problem:
        raise WeightsError(f"{where} is not the checkpoint of this shape: {problem}")
    state = {}
    for name in model.state_dict():
        theirs = their_name(name)
        tensor = tensors[theirs].T if theirs.endswith(_TRANSPOSED) else tensors[theirs]
        state[name] = torch.empty(tensor.shape, dtype=dtype).copy_(tensor)
    model.load_state_dict(state, assign=True)
    return model.requires_grad_().eval()


def _misfit(tensors, shapes, head):
    """What is wrong with the names and shapes, in words; None when all is well."""
    missing = [name for name in shapes if name not in tensors]
    extra = [name for name in tensors if name not in shapes]
    if missing or extra:
        said = []
        for what, names in (("it lacks", missing), ("it has besides", extra)):
            if names:
                more = f" and {len(names) - 3} more" if len(names) > 3 else ""
                said.append(f"{what} {', '.join(names[:3])}{more}")
        return "; ".join(said)
    for name, shape in shapes.items():
        if tensors[name].shape != shape:
            return (
                f"{name} is {tuple(tensors[name].shape)}, "
                f"and config.json asks for {tuple(shape)}"
            )
    if head is not None and not torch.equal(head, tensors["wte.weight"]):
        return (
            f"{HEAD} differs from wte.weight, and by config.json's tie_word_embeddings "
            "the two are one"
        )
    return None

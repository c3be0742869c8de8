"""Models that were trained before: load and save them in Hugging Face's format.

    model, tokenizer = load()             # the small one inside lmlab, "shipped"
    model, tokenizer = load("gpt2")       # OpenAI's, from the Hub; see lmlab.models.hub
    folder("smollm2")                     # one for transformers; see `models.packages`
    model, tokenizer = load("my-folder")  # what `save` or transformers wrote
    save(model, tokenizer, "my-folder")   # and AutoModelForCausalLM loads it
    load_transformer()                    # lesson 06's, which reads dates

Weights come from safetensors files alone, which hold arrays and run no code; a pickle
(pytorch_model.bin) can run any, and is refused. Wrong weights are a WeightsError.
"""

import json
import os
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

import torch

from lmlab import files
from lmlab.models import gpt2_format, hub, packages
from lmlab.models.hub import CONFIG, INDEX, WEIGHTS, WeightsError
from lmlab.models.transformer import Transformer
from lmlab.models.wrappers import gpt_inside
from lmlab.text import tokenizer_files
from lmlab.text.tokenizer import Tokenizer

folder = packages.folder  # of a model that transformers loads
SHIPPED = files.ASSETS / "gpt2-mini"
SHIPPED_DATES = files.ASSETS / "dates-transformer"
_PICKLES = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt")
_PARTIAL = ".partial"  # what a killed process leaves there, the next save removes
# Of another model, and read beside what is saved, or in its place:
_READ_TOO = (
    "added_tokens.json", "special_tokens_map.json",  # more tokens, by AutoTokenizer
    "chat_template.jinja",  # and additional_chat_templates: what it makes of a chat
    "adapter_config.json",  # AutoModel puts that adapter on the model
    # Where safetensors are not wanted (use_safetensors=False), or not known.
    "pytorch_model.bin", "pytorch_model.bin.index.json",
    # Tools that look for an index first, or take every part that lies there.
    "model.safetensors.index.json",
    "model-[0-9][0-9][0-9][0-9][0-9]-of-[0-9][0-9][0-9][0-9][0-9].safetensors",
)  # fmt: skip


def load(name="shipped", *, revision=None, dropout=None):
    """A pretrained model, in evaluation mode and float32, and its tokenizer.

    name: "shipped", a name in `hub.KNOWN`, "owner/name" on the Hub with a commit
    as revision, or a folder ("./gpt2" for one with the name of a model). dropout: None
    takes what the model was trained with. A model with more rows than the tokenizer has
    ids (some are made a multiple of 64) is loaded without those to spare.
    Raises WeightsError, which says what to do, for weights that cannot be had or do not
    fit; ValueError for a name or a revision that is none, FileNotFoundError for a
    folder that lacks a file.
    """
    name = os.fspath(name)
    if name in packages.KNOWN:
        raise WeightsError(
            f"{name!r} is no GPT-2: transformers loads it from "
            f"lmlab.models.pretrained.folder({name!r})"
        )
    if revision is not None or name in hub.KNOWN:
        return _from_hub(name, revision, dropout)
    if name == "shipped":
        return _from_folder(SHIPPED, dropout)
    path = files.given(name)
    if path.is_dir():
        return _from_folder(path, dropout)
    if path.exists():
        raise WeightsError(f"{path} is a file: {_advice(path)}")
    return _from_hub(name, None, dropout)  # says what a name can be


def fetch(name, *, revision=None):
    """Make sure that a published model is in the cache; return {file name: path}.

    name: of `packages.KNOWN`, or as `hub.files` takes it, with the commit. Errors as
    there.
    """
    if name in packages.KNOWN:
        return {path.name: path for path in packages.fetch(name).iterdir()}
    return hub.files(name, revision)


def load_model(folder, *, dropout=None):
    """The model alone, from a folder that may have no tokenizer; errors as in load.

    It has all the rows that the folder says.
    """
    folder = files.given(folder)
    paths = {path.name: path for path in folder.iterdir()}
    if CONFIG not in paths:
        raise FileNotFoundError(f"{folder} holds no model: it lacks {CONFIG}")
    return _build(paths, folder, dropout)


def _from_folder(folder, dropout):
    if folder == SHIPPED and not folder.is_dir():
        raise WeightsError(f"the shipped model is not in this copy of lmlab: {folder}")
    model = load_model(folder, dropout=dropout)
    return _together(model, Tokenizer.load(folder), folder)


def _from_hub(name, revision, dropout):
    paths = hub.files(name, revision)
    model = _build(paths, name, dropout)
    with tempfile.TemporaryDirectory() as folder:  # they may lie in several places
        for file in tokenizer_files.FILES:
            if file in paths:
                shutil.copyfile(paths[file], Path(folder) / file)
        return _together(model, Tokenizer.load(folder), name)


def _build(paths, where, dropout):
    """The GPT of {file name: path}."""
    config = _read_config(paths[CONFIG], dropout)
    names = [WEIGHTS]
    if WEIGHTS not in paths:
        if INDEX not in paths:
            raise WeightsError(_no_weights(paths, where))
        names = hub.shards_of(paths[INDEX])
    tensors = {}
    for name in names:
        if name not in paths:
            raise WeightsError(f"{where} lacks {name}, which its {INDEX} names")
        tensors |= _read_tensors(paths[name])
    return gpt2_format.build(tensors, config, where)


def _read_config(path, dropout):
    try:
        values = files.read_json(path)
    except ValueError as error:
        raise WeightsError(str(error)) from None
    return gpt2_format.read_config(values, path, dropout)


def _read_tensors(path):
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except SafetensorError as error:
        with open(path, "rb") as file:
            start = file.read(8)
        if files.is_pickle(start):
            raise WeightsError(f"{path} is not what its name says: {_PICKLE}") from None
        raise WeightsError(
            f"{path} is damaged or cut short ({error}): fetch or save it again"
        ) from None


_PICKLE = (
    "it is a pickle, which can run any code when it is loaded, and was not opened. Ask "
    "for model.safetensors; if you trust the file, transformers converts it: "
    "from_pretrained(…).save_pretrained(…)"
)


def _advice(path):
    if path.suffix in _PICKLES:
        return _PICKLE
    return "name the folder that holds config.json and model.safetensors"


def _no_weights(paths, where):
    pickles = sorted(name for name in paths if Path(name).suffix in _PICKLES)
    if pickles:
        return f"{where} has no {WEIGHTS}, only {pickles[0]}: {_PICKLE}"
    return f"{where} holds no weights: it lacks {WEIGHTS}"


def _together(model, tokenizer, where):
    """The two, the model without rows that the tokenizer has no ids for."""
    config = _fitting(model.config, tokenizer, where)
    if config != model.config:
        tensors = gpt2_format.their_tensors(model, config.vocab_size)
        model = gpt2_format.build(tensors, config, where)
    return model, tokenizer


def _fitting(config, tokenizer, where):
    """The config with the tokenizer's vocabulary, which may not be the larger one."""
    if tokenizer.vocab_size > config.vocab_size:
        raise WeightsError(
            f"the tokenizer of {where} has {tokenizer.vocab_size} ids, and its model "
            f"knows {config.vocab_size}: they do not belong together"
        )
    return replace(config, vocab_size=tokenizer.vocab_size)


# --- Saving ---------------------------------------------------------------------------


def save(model, tokenizer, folder, card=None, *, dtype=None):
    """Write model and tokenizer in Hugging Face's format, every file whole.

    AutoModelForCausalLM and AutoTokenizer load the folder. card: the text of README.md.
    dtype: of the stored weights, None for the model's. Rows of the model that the
    tokenizer has no ids for are left out, and what is wrapped around the model, too.
    All files are first written beside those of the folder, so that a full disk changes
    nothing in it. Then, if it held a model or a tokenizer, those of its files that
    libraries would read as well are removed; all else that the folder holds stays.
    Raises WeightsError when they cannot be written or do not fit together, TypeError
    for a model that is no GPT.
    """
    model, folder = gpt_inside(model), files.given(folder)
    fitting = _fitting(model.config, tokenizer, folder)
    config = gpt2_format.their_config(fitting, tokenizer.end)
    tensors = gpt2_format.their_tensors(model, fitting.vocab_size)
    if dtype is not None:
        tensors = {name: tensor.to(dtype) for name, tensor in tensors.items()}
    stored = next(iter(tensors.values())).dtype
    config["dtype"] = str(stored).removeprefix("torch.")
    ends = {key: config[key] for key in ("bos_token_id", "eos_token_id")}
    texts = {CONFIG: config, "generation_config.json": ends}
    texts = {name: json.dumps(text, indent=2) + "\n" for name, text in texts.items()}
    if card is not None:
        texts["README.md"] = card
    another = any(
        (folder / name).is_file() for name in (CONFIG, "tokenizer_config.json")
    )
    try:
        _publish(folder, tokenizer, texts, tensors)
    except OSError as error:
        raise WeightsError(
            f"cannot write {folder}: {error}. What was there is as it was; "
            f"{files.advice(folder, error)}, then save again"
        ) from error
    if another:
        _remove_others(folder)


def _publish(folder, tokenizer, texts, tensors):
    """Write all files, then give them their names."""
    new = not folder.exists()
    partial = folder / _PARTIAL
    if new:  # beside it, to be renamed at once
        partial = folder.with_name(f".{folder.name}{_PARTIAL}")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        tokenizer.save(partial)
        for name, text in texts.items():
            (partial / name).write_text(text, encoding="utf-8")
        files.write_tensors(partial / WEIGHTS, tensors, {"format": "pt"})
        for path in partial.iterdir():  # the disk has them before a name changes
            with open(path, "rb+") as file:
                os.fsync(file.fileno())
        if new:
            os.rename(partial, folder)
            return
        for path in sorted(partial.iterdir(), key=lambda path: path.name == WEIGHTS):
            os.replace(path, folder / path.name)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _remove_others(folder):
    """Remove what other libraries would take for part of the model just saved."""
    templates = folder / "additional_chat_templates"
    link = templates.is_symlink()  # then what it points to is not touched
    found = [templates] if link else list(templates.glob("*.jinja"))
    for path in found + [each for p in _READ_TOO for each in folder.glob(p)]:
        if path.is_dir() and not path.is_symlink():
            continue  # no one reads a folder so called
        try:
            path.unlink()
        except OSError as error:
            raise WeightsError(
                f"the model is saved in {folder}, but {path.name} there, of another "
                f"one, cannot be removed ({error}): remove it, or others read it too"
            ) from error


# --- To and from transformers' own objects --------------------------------------------


def from_huggingface(theirs, *, dropout=None):
    """The same model as a GPT2LMHeadModel: a copy of its weights, in float32.

    Device and training mode are kept. Raises WeightsError for another kind of model.
    """
    where = f"this {type(theirs).__name__}"
    config = gpt2_format.read_config(theirs.config.to_dict(), where, dropout)
    ours = gpt2_format.build(theirs.state_dict(), config, where)
    return ours.to(theirs.device).train(theirs.training)


def to_huggingface(model, end=None):
    """The same model as transformers' GPT2LMHeadModel: a copy of its weights.

    end: the id that ends a text. Device, dtype and training mode are kept; the global
    random generator is not used. Raises WeightsError for a GPT with other parts,
    TypeError for what is no GPT.
    """
    from transformers import GPT2Config, GPT2LMHeadModel

    model = gpt_inside(model)
    config = GPT2Config(**gpt2_format.their_config(model.config, end))
    weight = model.token_embedding.weight
    with torch.random.fork_rng(devices=[]):
        theirs = GPT2LMHeadModel(config)
    theirs.load_state_dict(gpt2_format.their_tensors(model), strict=False)
    theirs.tie_weights()
    return theirs.to(weight.device, weight.dtype).train(model.training)


# --- Lesson 06's Transformer ----------------------------------------------------------


def save_transformer(model, folder, card):
    """Write a `models.transformer.Transformer`, its weights in float16.

    card: the text of README.md. Every file is written whole; `load_transformer` reads
    them. Raises OSError.
    """
    folder = files.given(folder)
    tensors = {name: p.detach().half() for name, p in model.named_parameters()}
    files.publish_tensors(folder / WEIGHTS, tensors, {"format": "pt"})
    files.publish(folder / CONFIG, json.dumps(model.config, indent=2) + "\n")
    files.publish(folder / "README.md", card)


def load_transformer(folder=SHIPPED_DATES):
    """What `save_transformer` wrote, in evaluation mode and float32.

    folder: by default that of the model inside lmlab, which lesson 06's full profile
    trained: it reads dates in English and Chinese (`data.dates`) and writes ISO 8601.
    Raises WeightsError for weights that do not fit, FileNotFoundError where there are
    none.
    """
    folder = files.given(folder)
    model = Transformer(**files.read_json(folder / CONFIG)).eval()
    tensors, own = _read_tensors(folder / WEIGHTS), dict(model.named_parameters())
    shapes = [{n: t.shape for n, t in each.items()} for each in (own, tensors)]
    if shapes[0] != shapes[1]:
        raise WeightsError(f"the weights in {folder} are not those of its {CONFIG}")
    model.load_state_dict(tensors, strict=False)  # tied ones are there once
    return model

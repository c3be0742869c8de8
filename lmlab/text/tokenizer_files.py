"""The files of a tokenizer: GPT-2's vocab.json and merges.txt, and tokenizer.json.

GPT-2's files name a token by printable characters, one per byte (bpe.CHARACTERS: a
space is Ġ). tokenizer.json holds the same and the special tokens, for the `tokenizers`
library; tokenizer_config.json tells transformers which class to load it with, and may
name more tokens, as special_tokens_map.json and added_tokens.json do in older folders.
The tokens of a character vocabulary are named as they are, and have no merges.

A folder is read as transformers reads it, or refused: what is read here gives the same
ids there. How a text was once cut or padded is no part of a vocabulary.
"""

import gzip
import json

from lmlab.files import ASSETS, given, publish, read_json, read_text
from lmlab.text import bpe

END = "<|endoftext|>"
_BYTES = {character: byte for byte, character in bpe.CHARACTERS.items()}
_BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False}
_BYTE_LEVEL |= {"trim_offsets": True, "use_regex": True}
_NAMES = ("unk_token", "continuing_subword_prefix", "end_of_word_suffix")
_MODEL = {"type": "BPE"} | dict.fromkeys(("dropout", *_NAMES))
_MODEL |= dict.fromkeys(("fuse_unk", "byte_fallback", "ignore_merges"), False)
_WHOLE = "tokenizer.json"  # the two files and the special tokens in one
_CONFIG, _MODEL_CONFIG = "tokenizer_config.json", "config.json"
_NAMED, _MORE = "special_tokens_map.json", "added_tokens.json"  # of older folders
# All that a folder may have; the last three change ids.
FILES = (_WHOLE, "vocab.json", "merges.txt", _CONFIG, _NAMED, _MORE)
# In the order in which transformers gives ids to those that have none.
_KEYS = [f"{key}_token" for key in ("bos", "eos", "unk", "sep", "pad", "cls", "mask")]
_LISTS = ("additional_special_tokens", "extra_special_tokens")
_GPT2 = ("GPT2Tokenizer", "GPT2TokenizerFast")  # they name END unless told not to
_CLASSES = (None, *_GPT2, "PreTrainedTokenizerFast", "TokenizersBackend")
# Settings that give a text other ids: do they beside a tokenizer.json, too, and how.
_ADDS = "adds to every text what is not in it. Set it to false, and add that yourself"
_SPLITS = "cuts special tokens into letters. Set it to false: encode does so by itself"
_SETTINGS = {
    "add_prefix_space": (True, _ADDS),
    "add_bos_token": (False, _ADDS),
    "add_eos_token": (False, _ADDS),
    "split_special_tokens": (True, _SPLITS),
}
# What an unknown character becomes: every byte is known, so there is none.
_UNKNOWN = {"unk_token", "fuse_unk", "byte_fallback"}
_ADDED = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
_ADDED |= {"special": True}


# --- Writing --------------------------------------------------------------------------


def save(folder, tokens, merges, special, *, end, characters):
    """Write the four files; see Tokenizer.save. end: that token's name, or None."""
    folder, as_text = given(folder), set(special.values())
    names = [_name(t, characters or i in as_text) for i, t in enumerate(tokens)]
    vocab = {name: i for i, name in enumerate(names)}
    merges = [(names[a], names[b]) for a, b in merges]
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": end,
        "eos_token": end,
        "unk_token": end,
        "clean_up_tokenization_spaces": False,
        "additional_special_tokens": [name for name in special if name != end],
    }
    whole = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {"id": i, "content": name, **_ADDED} for name, i in special.items()
        ],
        "normalizer": None,
        "pre_tokenizer": None if characters else _BYTE_LEVEL,
        "post_processor": None,
        "decoder": {"type": "Fuse"} if characters else _BYTE_LEVEL,
        "model": _MODEL | {"vocab": vocab, "merges": merges},
    }
    lines = ["#version: 0.2", *(f"{a} {b}" for a, b in merges)]
    publish(folder / "vocab.json", json.dumps(vocab, ensure_ascii=False))
    publish(folder / "merges.txt", "\n".join(lines) + "\n")
    publish(folder / _CONFIG, json.dumps(config, indent=1))
    for older in (_NAMED, _MORE):  # they would speak of another vocabulary
        (folder / older).unlink(missing_ok=True)
    # Last, because it is what `load` reads first.
    publish(folder / _WHOLE, json.dumps(whole, ensure_ascii=False, indent=1))


def _name(token, as_text):
    return token.decode() if as_text else "".join(map(bpe.CHARACTERS.get, token))


# --- Reading --------------------------------------------------------------------------


def gpt2():
    """GPT-2's tokens, merges and special tokens, as `load` has them, from its merges.

    These come with the package: lmlab/assets/gpt2-vocabulary/README.md.
    """
    path = ASSETS / "gpt2-vocabulary" / "merges.txt.gz"
    merges = _numbered_merges(gzip.decompress(path.read_bytes()).decode())
    names = [*sorted(_BYTES), *("".join(pair) for _, pair in merges), END]
    ids = {name: i for i, name in enumerate(names)}
    special = {END: ids[END]}
    return _tokens(ids, special, path, False), _pairs(merges, ids, path), special


def load(folder):
    """Return tokens (bytes), merges (pairs of ids), special tokens, and characters.

    See Tokenizer.load for the errors.
    """
    folder = given(folder)
    whole, *two = (folder / name for name in (_WHOLE, "vocab.json", "merges.txt"))
    if whole.is_file():
        more, path, merges_path = _more_tokens(folder, whole=True), whole, whole
        vocab, merges, special, characters = _from_tokenizer_json(whole)
    elif all(path.is_file() for path in two):
        more, (path, merges_path) = _more_tokens(folder, whole=False), two
        vocab, merges = _read_object(path), _numbered_merges(read_text(merges_path))
        special, characters = {}, False  # they do not say which are special
    else:
        raise FileNotFoundError(
            f"{folder} holds no tokenizer: it needs tokenizer.json, or vocab.json and "
            "merges.txt"
        )
    ids = _checked_ids(vocab | special, path)
    pairs = _pairs(merges, ids, merges_path)
    # What texts are made of: the characters, or the bytes and what is merged.
    ordinary = {*_BYTES, *("".join(pair) for _, pair in merges)}
    ordinary = vocab.keys() - special if characters else ordinary
    _add(more, ids, special, ordinary)
    for name in ids if path != whole else ():
        # Another name in brackets has an id, but no text gets it.
        if not (name in ordinary or name in special or _looks_special(name)):
            raise ValueError(
                f"{path} holds {name!r}, which no merge makes: is {merges_path.name} "
                "whole, and of the same tokenizer?"
            )
    return _tokens(ids, special, path, characters), pairs, special, characters


def _numbered_merges(text):
    """(where it stands, two names) for each merge of a merges.txt."""
    lines = text.replace("\r\n", "\n").split("\n")
    numbered = [(f"line {i}", line.split(" ")) for i, line in enumerate(lines, 1)]
    if lines[0].startswith("#version"):
        del numbered[0]
    return [(place, pair) for place, pair in numbered if pair != [""]]


def _from_tokenizer_json(path):
    """Vocab, merges with their places, special tokens, and whether of characters."""
    data = _read_object(path)
    try:
        model, added = data["model"], data.get("added_tokens") or []
        vocab = dict(model["vocab"])
        merges = [m.split(" ") if isinstance(m, str) else m for m in model["merges"]]
        special = {token["content"]: token["id"] for token in added}
        reason = _unlike_gpt2(data)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(
            f"{path} is not a tokenizer.json of a byte-pair encoding: it has no "
            f"{error}. Other kinds of tokenizer are not supported"
        ) from None
    if reason:
        raise ValueError(f"{path} is not a tokenizer like GPT-2's: {reason}")
    numbered = [(f"merge {i}", pair) for i, pair in enumerate(merges, 1)]
    return vocab, numbered, special, _only(data.get("pre_tokenizer")) is None


def _unlike_gpt2(data):
    """Why a tokenizer.json would give other ids than this package does; or None."""
    before, after = _only(data.get("pre_tokenizer")), data.get("post_processor")
    model, decoder = data["model"], data.get("decoder") or {}
    options = {k: model[k] for k in _MODEL if k not in _UNKNOWN and model.get(k)}
    if options != {"type": "BPE"}:
        return f"its model has the options {options}"
    if data.get("normalizer"):
        return "it has a normalizer"
    if after and _adds_tokens(after):
        return f"its post_processor ({after['type']}) adds tokens to every text"
    for token in data.get("added_tokens") or []:
        if reason := _unlike_a_special_token(token):
            return reason
    if before is None:
        if decoder.get("type") != "Fuse" or model["merges"]:
            return "it has no pre_tokenizer"
    elif before["type"] != "ByteLevel" or before.get("add_prefix_space", True):
        return f"its pre_tokenizer is {before}"
    elif not before.get("use_regex", True):
        return "its pre_tokenizer does not cut words"
    return None


def _only(step):
    """The one step of a sequence of one; any other step as it is."""
    while step and step["type"] == "Sequence" and len(step["pretokenizers"]) == 1:
        (step,) = step["pretokenizers"]
    return step


def _unlike_a_special_token(token):
    """Why an added token (as tokenizer.json describes it) cannot be one; or None."""
    name = token["content"]
    if any(token.get(key) for key in ("single_word", "lstrip", "rstrip")):
        return f"its special token {name!r} takes spaces with it"
    if not token.get("special", True) and not _looks_special(name):
        return f"its added token {name!r} is one that texts may have"
    return None


def _adds_tokens(processor):
    """Whether a post_processor does more to a text's ids than leave them as they are.

    transformers saves a template even where it only says "the text itself".
    """
    if processor["type"] == "Sequence":
        return any(map(_adds_tokens, processor["processors"]))
    if processor["type"] == "TemplateProcessing":
        parts = [part.get("Sequence", {}).get("id") for part in processor["single"]]
        return parts != ["A"]
    return processor["type"] != "ByteLevel"


def _looks_special(name):
    return len(name) > 2 and name[0] + name[-1] in ("<>", "[]")


# --- What the smaller files add -------------------------------------------------------


def _more_tokens(folder, whole):
    """Special tokens that the smaller files name: a list of (path, id or None, token).

    whole: there is a tokenizer.json. A token is described as there. Raises ValueError
    for a setting that would give a text other ids, and for what is no token.
    """
    path, named, more = (folder / name for name in (_CONFIG, _NAMED, _MORE))
    config = _read_object(path)
    for key, (always, effect) in _SETTINGS.items():
        if config.get(key) and (always or not whole):
            raise ValueError(f"{path}: its {key} {effect}")
    kind = _kind(folder, config)
    numbered = _numbered(config.get("added_tokens_decoder") or {}, path)
    older = {}
    if "added_tokens_decoder" not in config:  # with it, transformers reads none of them
        older = _read_object(named)
        by_id = {i: {"content": name} for name, i in _read_object(more).items()}
        numbered = _numbered(by_id, more)
    if kind in _GPT2 or not whole:  # no other class reads the two files
        config = dict.fromkeys(("bos_token", "eos_token", "unk_token"), END) | config
    tokens = []
    for key, values in _named_tokens(config | older):
        at = named if key in older else path
        tokens += [(at, None, _described(v, at) | {"special": True}) for v in values]
    names = {token["content"] for *_, token in tokens}
    for *_, token in numbered:  # older files leave it to the names
        token.setdefault("special", token["content"] in names)
    return numbered + tokens


def _kind(folder, config):
    """The class that transformers reads a folder with; None for one that adds nothing.

    The first file that names a class decides, then the kind of model beside it.
    Raises ValueError for a class that may give a text other ids than GPT-2's.
    """
    path, beside = folder / _CONFIG, folder / _MODEL_CONFIG
    kind, key = config.get("tokenizer_class"), "tokenizer_class"
    if kind is None:
        path, model = beside, _read_object(beside)
        kind = model.get("tokenizer_class")
        if kind is None:
            kind, key = model.get("model_type"), "model_type"
            kind = _GPT2[0] if kind == "gpt2" else kind
    if kind not in _CLASSES:
        raise ValueError(
            f"{path}: its {key} {kind} may read a tokenizer's files in another way "
            f"than GPT-2's. If it does not, set tokenizer_class in {_CONFIG} to "
            "PreTrainedTokenizerFast, or to GPT2Tokenizer where there is no "
            "tokenizer.json"
        )
    return kind


def _numbered(tokens, path):
    """(path, id, token) of tokens by id, in the order of the ids."""
    try:
        found = [(path, int(i), _described(t, path)) for i, t in tokens.items()]
    except (TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"{path} does not number its tokens: {error}") from None
    return sorted(found, key=lambda token: token[1])


def _named_tokens(config):
    """(key, the tokens that it names) for each key that names some, in order."""
    for key in _KEYS:
        if config.get(key) is not None:
            yield key, [config[key]]
    for key, value in config.items():  # a model's own, such as image_token
        own = isinstance(value, str) or (isinstance(value, dict) and "content" in value)
        if key.endswith("_token") and key not in _KEYS and own:
            yield key, [value]
    for key in _LISTS:
        several = config.get(key) or []
        yield key, several.values() if isinstance(several, dict) else several


def _described(token, path):
    """A token as tokenizer.json describes it, from that or from its name."""
    token = {"content": token} if isinstance(token, str) else token
    if not isinstance(token, dict) or not isinstance(token.get("content"), str):
        raise ValueError(f"{path}: {token!r} is no token: it must be a name, or say it")
    return dict(token)


def _add(more, ids, special, ordinary):
    """Put the further tokens into ids and special: under their id, or the next one."""
    for path, i, token in more:
        name = token["content"]
        if reason := _unlike_a_special_token(token):
            raise ValueError(f"{path}: {reason}")
        if name in ordinary:
            raise ValueError(
                f"{path}: its special token {name!r} is an ordinary token, which texts "
                "may have. Name another one"
            )
        right = ids.get(name, len(ids))
        if i not in (None, right):
            raise ValueError(
                f"{path}: {name!r} has the id {i}, but by the other files it is {right}"
            )
        ids[name] = special[name] = right


def _checked_ids(vocab, path):
    """The vocab {name: id} sorted by id, which must run from 0 without a gap."""
    if not vocab:
        raise ValueError(f"{path} holds no vocabulary: it must be {{token: id}}")
    if not all(type(i) is int for i in vocab.values()):
        raise ValueError(f"{path}: every id must be a whole number")
    ordered = sorted(vocab.items(), key=lambda item: item[1])
    for i, (name, found) in enumerate(ordered):
        if found != i:
            raise ValueError(
                f"{path}: the ids must run from 0 without a gap, but {name!r} has "
                f"{found} where {i} comes next"
            )
    return dict(ordered)


def _tokens(ids, special, path, characters):
    tokens = []
    for name in ids:
        try:
            as_text = characters or name in special
            token = name.encode() if as_text else bytes(_BYTES[c] for c in name)
        except KeyError as error:
            raise ValueError(
                f"{path}: the token {name!r} holds {error}, which stands for no byte; "
                "this is not a byte-level vocabulary"
            ) from None
        tokens.append(token)
    return tokens


def _pairs(merges, ids, path):
    """The merges, given as (place in the file, two names), as pairs of ids."""
    pairs = []
    for place, names in merges:
        if len(names) != 2 or not all(name in ids for name in names):
            raise ValueError(
                f"{path}, {place}: {' '.join(map(str, names))!r} is not two tokens of "
                "the vocabulary with a space between"
            )
        pairs.append((ids[names[0]], ids[names[1]]))
    return pairs


def _read_object(path):
    """The {name: value} of a JSON file, empty where there is no file."""
    content = read_json(path) if path.is_file() else {}
    if not isinstance(content, dict):
        raise ValueError(f"{path} must be a JSON object, {{name: value}}")
    return content

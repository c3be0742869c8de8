"""The files of a tokenizer: GPT-2's vocab.json and merges.txt, and tokenizer.json.

GPT-2's files name a token by printable characters, one per byte (bpe.CHARACTERS: a
space is Ġ). tokenizer.json holds the same and the special tokens, for the `tokenizers`
library; tokenizer_config.json tells transformers which class to load it with. The
tokens of a character vocabulary are named as they are, and have no merges.
"""

import json
from pathlib import Path

from lmlab import bpe
from lmlab.files import publish

_BYTES = {character: byte for byte, character in bpe.CHARACTERS.items()}
_HEADER = "#version: 0.2"
_BYTE_LEVEL = {
    "type": "ByteLevel",
    "add_prefix_space": False,
    "trim_offsets": True,
    "use_regex": True,
}
_MODEL = {
    "type": "BPE",
    "dropout": None,
    "unk_token": None,
    "continuing_subword_prefix": None,
    "end_of_word_suffix": None,
    "fuse_unk": False,
    "byte_fallback": False,
    "ignore_merges": False,
}
_ADDED = {
    "single_word": False,
    "lstrip": False,
    "rstrip": False,
    "normalized": False,
    "special": True,
}


# --- Writing --------------------------------------------------------------------------


def save(folder, tokens, merges, special, *, end, characters):
    """Write the four files; see Tokenizer.save. end: that token's name, or None."""
    folder, as_text = Path(folder), set(special.values())
    names = [_name(t, characters or i in as_text) for i, t in enumerate(tokens)]
    vocabulary = {name: i for i, name in enumerate(names)}
    merges = [(names[a], names[b]) for a, b in merges]
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": end,
        "eos_token": end,
        "unk_token": end,
        "clean_up_tokenization_spaces": False,
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
        "model": _MODEL | {"vocab": vocabulary, "merges": merges},
    }
    lines = [_HEADER, *(f"{a} {b}" for a, b in merges)]
    publish(folder / "vocab.json", json.dumps(vocabulary, ensure_ascii=False))
    publish(folder / "merges.txt", "\n".join(lines) + "\n")
    publish(folder / "tokenizer_config.json", json.dumps(config, indent=1))
    # Last, because it is what `load` reads first.
    publish(folder / "tokenizer.json", json.dumps(whole, ensure_ascii=False, indent=1))


def _name(token, as_text):
    return token.decode() if as_text else "".join(map(bpe.CHARACTERS.get, token))


# --- Reading --------------------------------------------------------------------------


def load(folder):
    """Return tokens (bytes), merges (pairs of ids), special tokens, and characters.

    See Tokenizer.load for the errors.
    """
    folder = Path(folder)
    whole, vocabulary = folder / "tokenizer.json", folder / "vocab.json"
    merges = folder / "merges.txt"
    if whole.is_file():
        return _from_tokenizer_json(whole)
    if vocabulary.is_file() and merges.is_file():
        return _from_two_files(vocabulary, merges)
    raise FileNotFoundError(
        f"{folder} holds no tokenizer: it needs tokenizer.json, or vocab.json and "
        "merges.txt"
    )


def _from_tokenizer_json(path):
    data = _read_json(path)
    try:
        model, added = data["model"], data.get("added_tokens") or []
        vocabulary = dict(model["vocab"])
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
    characters = data.get("pre_tokenizer") is None
    ids = _checked_ids(vocabulary | special, path)
    places = [(f"merge {i + 1}", pair) for i, pair in enumerate(merges)]
    tokens = _tokens(ids, special, path, characters)
    return tokens, _pairs(places, ids, path), special, characters


def _unlike_gpt2(data):
    """Why a tokenizer.json would give other ids than this package does; or None."""
    before, after = data.get("pre_tokenizer"), data.get("post_processor")
    model, decoder = data["model"], data.get("decoder") or {}
    options = {key: model.get(key) for key in _MODEL if model.get(key)}
    if options != {"type": "BPE"}:
        return f"its model has the options {options}"
    for key in ("normalizer", "truncation"):
        if data.get(key):
            return f"it has a {key}"
    if after and _adds_tokens(after):
        return f"its post_processor ({after['type']}) adds tokens to every text"
    for token in data.get("added_tokens") or []:
        if any(token.get(key) for key in ("single_word", "lstrip", "rstrip")):
            return f"its special token {token['content']!r} takes spaces with it"
        if not token.get("special", True):
            return f"its added token {token['content']!r} is one that texts may have"
    if before is None:
        if decoder.get("type") != "Fuse" or model["merges"]:
            return "it has no pre_tokenizer"
    elif before["type"] != "ByteLevel" or before.get("add_prefix_space", True):
        return f"its pre_tokenizer is {before}"
    elif not before.get("use_regex", True):
        return "its pre_tokenizer does not cut words"
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


def _from_two_files(vocabulary_path, merges_path):
    """GPT-2's own two files: they do not say which tokens are special."""
    ids = _checked_ids(_read_json(vocabulary_path), vocabulary_path)
    lines = _read_text(merges_path).replace("\r\n", "\n").split("\n")
    numbered = [(f"line {i + 1}", line.split(" ")) for i, line in enumerate(lines)]
    if lines[0].startswith("#version"):
        del numbered[0]
    merges = [(place, pair) for place, pair in numbered if pair != [""]]
    pairs = _pairs(merges, ids, merges_path)
    made = {"".join(pair) for _, pair in merges}
    other = [name for name in ids if name not in made and name not in _BYTES]
    special = {name: ids[name] for name in other if _looks_special(name)}
    for name in other:
        if name not in special:
            raise ValueError(
                f"{vocabulary_path} holds {name!r}, which no merge makes: is "
                f"{merges_path.name} whole, and of the same tokenizer?"
            )
    return _tokens(ids, special, vocabulary_path, False), pairs, special, False


def _looks_special(name):
    return len(name) > 2 and name[0] == "<" and name[-1] == ">"


def _checked_ids(vocabulary, path):
    """The vocabulary {name: id} sorted by id, which must run from 0 without a gap."""
    if not isinstance(vocabulary, dict) or not vocabulary:
        raise ValueError(f"{path} holds no vocabulary: it must be {{token: id}}")
    if not all(type(i) is int for i in vocabulary.values()):
        raise ValueError(f"{path}: every id must be a whole number")
    ordered = sorted(vocabulary.items(), key=lambda item: item[1])
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


def _read_json(path):
    try:
        return json.loads(_read_text(path))
    except json.JSONDecodeError as error:
        raise ValueError(
            f"{path} is not whole JSON ({error}): fetch or save it again"
        ) from None


def _read_text(path):
    try:
        return path.read_bytes().decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 ({error}): fetch it again") from None

"""Published models from the Hugging Face Hub: pinned, verified, kept once.

A model is asked for by name and commit, never by a branch, which moves. Every file is
compared with its hash whenever it is asked for: with the SHA-256 in `data.published`
for the models named there, else with the hash that the Hub's ETag gives (a SHA-256 for
large files, a git blob's SHA-1 for small ones). Only the files of a model are fetched,
and no code among them is ever run.

Order: Hugging Face's cache, lmlab's cache and LMLAB_MIRROR (`<mirror>/gpt2/<file>`, for
those models), then the Hub or what HF_ENDPOINT names in its place.
LMLAB_OFFLINE=1 and HF_HUB_OFFLINE=1 open no socket. huggingface_hub downloads to a
temporary name, resumes what was cut, and keeps files where transformers finds them.
"""

import contextlib
import hashlib
import json
import re
from pathlib import Path

from lmlab.data import downloads
from lmlab.data.published import KNOWN, endpoint
from lmlab.models import hub_download

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
# They change a tokenizer's ids; a repository has some of them, or none.
SMALLER = ("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json")
COMMIT = re.compile(r"[0-9a-f]{40}")


class WeightsError(RuntimeError):
    """Weights cannot be had or used; the message says why, and what to do."""


class NotThereError(WeightsError):
    """The repository has no such file."""


def files(name, revision=None):
    """Make sure that a model's files are here and whole; return {file name: path}.

    name: one of KNOWN, or "owner/name" on the Hub with a commit as revision. Of a model
    in KNOWN, these are the pinned files and no others.
    Raises WeightsError, which lists what was tried and says what to do; ValueError for
    a name or a revision that is none.
    """
    model = _Model(name, revision)
    if model.pinned is not None:
        return {file.name: model.get(file.name) for file in model.pinned.files}
    paths = {"config.json": model.get("config.json")}
    try:
        paths[WEIGHTS] = model.get(WEIGHTS)
    except NotThereError:
        paths[INDEX] = model.get(INDEX)
        shards = shards_of(paths[INDEX])
        paths |= {shard: model.get(shard) for shard in shards}
    try:
        paths["tokenizer.json"] = model.get("tokenizer.json")
    except NotThereError:
        paths |= {name: model.get(name) for name in ("vocab.json", "merges.txt")}
    for name in SMALLER:
        with contextlib.suppress(NotThereError):
            paths[name] = model.get(name)
    return paths


def shards_of(index):
    """The names of the files that an index (model.safetensors.index.json) lists.

    Raises WeightsError for an index that is broken or points out of its folder.
    """
    try:
        listed = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        names = sorted(set(listed.values()))
        safe = names and all(
            Path(name).name == name and name.endswith(".safetensors") for name in names
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        safe = False
    if not safe:
        raise WeightsError(f"{index} is no list of safetensors files: fetch it again")
    return names


class _Model:
    """One model on the Hub, whose files `get` finds or fetches."""

    def __init__(self, name, revision):
        pinned = KNOWN.get(name)
        repository = pinned.repository if pinned else name
        commit = revision or (pinned.commit if pinned else None)
        if not re.fullmatch(r"[\w.-]+/[\w.-]+", repository):
            raise ValueError(
                f'there is no model {name!r}: name a folder, "shipped", '
                f'{", ".join(map(repr, KNOWN))}, or "owner/name" on the Hub'
            )
        if commit is None or not COMMIT.fullmatch(commit):
            raise ValueError(
                f"revision must be a commit of {repository}, 40 hex digits, got "
                f"{commit!r}: a branch or a tag can move"
            )
        self.name, self.repository, self.commit = name, repository, commit
        self.pinned = pinned if pinned and commit == pinned.commit else None

    def get(self, file):
        """The path of one verified file."""
        reasons = []
        for place in (self._from_cache, self._from_mirror, self._from_hub):
            path = place(file, reasons)
            if path is not None:
                return path
        raise WeightsError(self._failed(file, reasons))

    def _whole(self, path, file):
        """Whether a file's content is what it should be."""
        if self.pinned is not None:
            accepted = {f.sha256 for f in self.pinned.accepted(file)}
            return _digest(path, "sha256") in accepted
        etag = path.resolve().name  # Hugging Face's cache names contents by their hash
        return matches(path, etag)

    def _from_cache(self, file, reasons):
        from huggingface_hub import (
            _CACHED_NO_EXIST,
            constants,
            try_to_load_from_cache,
        )

        for repository in dict.fromkeys((self.repository, self.name)):
            with contextlib.suppress(ValueError):  # of a name that is no repository
                found = try_to_load_from_cache(
                    repository, file, constants.HF_HUB_CACHE, revision=self.commit
                )
                if found is _CACHED_NO_EXIST and self.pinned is None:
                    raise NotThereError(self._lacks(file))  # a commit never changes
                if isinstance(found, str):
                    if self._whole(Path(found), file):
                        return Path(found)
                    reasons.append(
                        (f"cache {found}", "it is damaged (its hash differs)")
                    )
        return None

    def _from_mirror(self, file, reasons):
        accepted = self.pinned.accepted(file) if self.pinned is not None else ()
        tried = ()
        for content in accepted:
            try:
                return downloads.fetch(self.name, [content], [])[0]
            except downloads.DataError as error:
                tried = error.tried
        # Whether the network may be asked is the Hub's turn to say.
        reasons += [each for each in tried if each[0] != downloads.NETWORK]
        return None

    def _from_hub(self, file, reasons):
        from huggingface_hub import constants

        for switch, on in (
            ("LMLAB_OFFLINE", downloads.offline()),
            ("HF_HUB_OFFLINE", constants.is_offline_mode()),
        ):
            if on:
                reason = f"{switch} is set, no server was asked"
                reasons.append((downloads.NETWORK, reason))
                return None
        damaged = any(place.startswith("cache ") for place, _ in reasons)
        token = False if self.pinned else None  # a public model needs no one's name
        server = endpoint()
        try:
            path, etag = hub_download.fetch(
                server, self.repository, self.commit, file, token=token, again=damaged
            )
        except hub_download.NotThere:
            raise NotThereError(self._lacks(file)) from None
        except hub_download.NoAnswer as error:
            reasons.append((f"{server}/{self.repository}", str(error)))
            return None
        good = self._whole(path, file) if self.pinned else matches(path, etag)
        if good:
            return path
        _remove(path)  # nothing good was there, or it would not have been fetched
        reasons.append((f"{server}/{self.repository}", "its content is wrong"))
        return None

    def _lacks(self, file):
        return f"{self.repository} has no {file} at {self.commit}"

    def _failed(self, file, reasons):
        advice = [
            'use "shipped", the small model in lmlab: it never needs a network',
            "with a network, and LMLAB_OFFLINE and HF_HUB_OFFLINE unset, load it once: "
            "it is kept",
            f"set HF_HOME to a cache that has {self.repository} at {self.commit}",
        ]
        if self.pinned:
            mirror = f"set LMLAB_MIRROR to a folder or URL that has {self.name}/{file}"
            advice.insert(2, mirror)
        return downloads.not_had(f"the model {self.name!r}", file, reasons, advice)


def matches(path, etag):
    """Whether a file's content has the hash that an ETag of the Hub names."""
    if re.fullmatch(r"[0-9a-f]{64}", etag or ""):
        return _digest(path, "sha256") == etag
    if COMMIT.fullmatch(etag or ""):
        return _digest(path, "sha1", b"blob %d\0" % path.stat().st_size) == etag
    return False


def _digest(path, kind, start=b""):
    digest = hashlib.new(kind, start, usedforsecurity=False)
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _remove(path):
    """Remove a file of Hugging Face's cache: the link and what it points to."""
    content = path.resolve()
    for each in (path, content):
        with contextlib.suppress(OSError):
            each.unlink(missing_ok=True)

"""Published models from the Hugging Face Hub: pinned, verified, kept once.

A model is asked for by name and commit, never by a branch, which moves. Every file is
compared with its hash whenever it is asked for: of the models in KNOWN with the SHA-256
there, else with the hash that the Hub names it by (a SHA-256 for large files, a git
blob's SHA-1 for small ones). Only the files of a model are fetched, and no code among
them is ever run.

Order: Hugging Face's cache, lmlab's cache and LMLAB_MIRROR (`<mirror>/gpt2/<file>`, for
the models in KNOWN), then the Hub or what HF_ENDPOINT names in its place.
LMLAB_OFFLINE=1 and HF_HUB_OFFLINE=1 open no socket. huggingface_hub downloads to a
temporary name, resumes what was cut, and keeps files where transformers finds them.
"""

import contextlib
import hashlib
import json
import os
import re
from dataclasses import dataclass
from pathlib import Path

from lmlab import progress
from lmlab.data import downloads
from lmlab.data.downloads import DataError, File
from lmlab.errors import LmlabError
from lmlab.text import tokenizer_files

CONFIG, WEIGHTS = "config.json", "model.safetensors"
INDEX = "model.safetensors.index.json"
COMMIT = re.compile(r"[0-9a-f]{40}")


class WeightsError(LmlabError):
    """Weights cannot be had or used; the message says why, and what to do."""


@dataclass(frozen=True)
class Pinned:
    """A published model: repository, commit, and its files' accepted contents.

    A file that comes from a mirror may have any of its contents.
    """

    repository: str
    commit: str
    files: tuple[File, ...]

    def accepted(self, name):
        """The contents that a file may have: the Hub's first, then a mirror's."""
        return [file for file in self.files if file.name == name]


def files(name, revision=None):
    """Make sure that a model's files are here and whole; return {file name: path}.

    name: one of KNOWN, or "owner/name" on the Hub with a commit as revision. Of a model
    in KNOWN, these are the pinned files and no others.
    Raises WeightsError, which lists what was tried and says what to do; ValueError for
    a name or a revision that is none.
    """
    model = _Model(name, revision)
    if model.pinned is None:
        found = model.from_hub(
            (CONFIG, INDEX, "model*.safetensors", *tokenizer_files.FILES)
        )
        for group in ((CONFIG,), (WEIGHTS, INDEX), ("tokenizer.json", "vocab.json")):
            if not found.keys() & set(group):
                raise WeightsError(
                    f"{model.repository} has no {group[0]} at {model.commit}"
                )
        return found
    names = dict.fromkeys(file.name for file in model.pinned.files)
    found = {name: model.kept(name) for name in names}
    missing = [name for name, path in found.items() if path is None]
    return found | (model.from_hub(missing) if missing else {})


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


def endpoint():
    """The address of the Hub, or what HF_ENDPOINT names in its place."""
    return (os.environ.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/")


class _Model:
    """One model on the Hub; tried: (place, reason) of each that did not deliver."""

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
        self.place, self.tried = f"{endpoint()}/{repository}", []
        self.off = _switched_off()

    def kept(self, name):
        """The path of a pinned file in either cache, or from the mirror, or None."""
        from huggingface_hub import constants, try_to_load_from_cache

        for repository in (self.repository, self.name):  # "gpt2" is on the Hub, too
            with contextlib.suppress(ValueError):  # of a name that is no repository
                path = try_to_load_from_cache(
                    repository, name, constants.HF_HUB_CACHE, revision=self.commit
                )
                if isinstance(path, str):
                    if self._whole(Path(path)):
                        return Path(path)
                    self.tried.append(_damaged(path))
        try:
            path, reasons = downloads.find(self.name, self.pinned.accepted(name))
        except DataError as error:  # it came, and there is no room
            raise WeightsError(str(error)) from error
        # Whether the network may be asked is the Hub's turn to say.
        self.tried += [each for each in reasons if each[0] != downloads.NETWORK]
        return path

    def from_hub(self, names, again=False):
        """{name: path} of the repository's files of these names or patterns, whole.

        What is in Hugging Face's cache is taken from there, unless again is True.
        Raises WeightsError where one cannot be had, or is not what it should be.
        """
        folder = self._download(names, again)
        paths = [path for name in names for path in folder.glob(name)]
        damaged = [path for path in paths if not self._whole(path)]
        if damaged and not again:
            self.tried += map(_damaged, damaged)
            mended = self.from_hub([path.name for path in damaged], again=True)
            return {path.name: path for path in paths} | mended
        for path in damaged:
            for each in (path, path.resolve()):  # the link, and what it points to
                each.unlink(missing_ok=True)
            self._fail(path.name, "its content is wrong")
        for name in names:
            if self.pinned and not (folder / name).is_file():
                self._fail(name, "it has no such file, or no answer came")
        return {path.name: path for path in paths}

    def _whole(self, path):
        """Whether a file's content is what it should be."""
        if self.pinned is not None:
            accepted = {file.sha256 for file in self.pinned.accepted(path.name)}
            return downloads.sha256(path) in accepted
        etag = path.resolve().name  # the cache names contents by their hash,
        return etag == path.name or matches(path, etag)  # if the disk knows links

    def _download(self, names, again):
        """The folder with the files; where all are cached, no one is asked."""
        import huggingface_hub as hub
        from huggingface_hub import constants, errors
        from huggingface_hub.utils import tqdm

        class Silent(tqdm):
            def __init__(self, *args, **options):
                super().__init__(*args, **options | {"disable": True})

        if self.off and again:
            self._fail(names[0])
        try:
            folder = hub.snapshot_download(
                self.repository,
                revision=self.commit,
                endpoint=endpoint(),
                cache_dir=constants.HF_HUB_CACHE,
                allow_patterns=list(names),
                token=False if self.pinned else None,  # a public one asks for no name
                tqdm_class=None if progress.watched() else Silent,
                force_download=again,
                local_files_only=bool(self.off),
            )
        except (errors.HTTPError, OSError, RuntimeError, ValueError) as error:
            self._fail(names[0], _reason(error))
        return Path(folder)

    def _fail(self, file, reason=None):
        """Raise the error about a file; reason: the Hub's, if it was asked."""
        advice = [
            'use "shipped", the small model in lmlab: it never needs a network',
            "with a network, and LMLAB_OFFLINE and HF_HUB_OFFLINE unset, load it once: "
            "it is kept",
            f"set HF_HOME to a cache that has {self.repository} at {self.commit}",
        ]
        if self.pinned:
            mirror = f"set LMLAB_MIRROR to a folder or URL that has {self.name}/{file}"
            advice.insert(2, mirror)
        tried = dict.fromkeys([*self.tried, self.off or (self.place, reason)])
        text = downloads.not_had(f"the model {self.name!r}", file, tried, advice)
        raise WeightsError(text) from None


def _switched_off():
    """What a list of places tried says in the Hub's place, or None."""
    from huggingface_hub import constants

    switches = {
        "LMLAB_OFFLINE": downloads.offline(),
        "HF_HUB_OFFLINE": constants.is_offline_mode(),
    }
    off = next((switch for switch, on in switches.items() if on), None)
    return off and (downloads.NETWORK, f"{off} is set, no server was asked")


def _damaged(path):
    return f"cache {path}", "it is damaged (its hash differs)"


def _reason(error):
    """Why the Hub did not deliver, in words."""
    from huggingface_hub import errors

    if isinstance(error, errors.LocalEntryNotFoundError) and error.__cause__:
        error = error.__cause__  # of which huggingface_hub says that nothing is cached
    name, text = type(error).__name__, str(error).splitlines() or [""]
    if isinstance(error, errors.HfHubHTTPError):
        status = error.response.status_code
        if isinstance(error, errors.RevisionNotFoundError):
            return f"HTTP {status}: it has no such commit"
        if isinstance(error, errors.EntryNotFoundError):
            return f"HTTP {status}: it has no such file"
        if status in (401, 403, 404):
            return (
                f"HTTP {status}: there is no such repository, or it is private or "
                "gated; for your own, `hf auth login`"
            )
        return f"HTTP {status} {error.response.reason_phrase}: try again later"
    if "Timeout" in name:
        return "no answer in time"
    if "RemoteProtocol" in name or "Consistency check" in text[0]:
        return "the download was cut"
    if isinstance(error, OSError) and error.errno is not None:
        return f"{error.strerror or text[0]}; no part of the file was left"
    if isinstance(error, ValueError):
        return "it does not answer like the Hub: is HF_ENDPOINT right?"
    said = text[0] or name
    return f"no connection ({said})" if "Connect" in name else said


def matches(path, etag):
    """Whether a file's content has the hash that an ETag of the Hub names."""
    if re.fullmatch(r"[0-9a-f]{64}", etag or ""):
        return downloads.sha256(path) == etag
    if COMMIT.fullmatch(etag or ""):
        content = path.read_bytes()  # only small files are named like this
        blob = b"blob %d\0" % len(content) + content
        return hashlib.sha1(blob, usedforsecurity=False).hexdigest() == etag
    return False


# The hashes were taken from several public records that agree with one another; whoever
# changes a commit changes them all.
KNOWN = {
    "gpt2": Pinned(
        "openai-community/gpt2",
        "607a30d783dfa663caf39e06633721c8d4cfcd7e",
        (
            File(
                "config.json",
                "0daed7749b4f02b8f76240d5444551d7b08712dab4d0adb8239c56ba823bb7b4",
                665,
            ),
            File(
                "model.safetensors",
                "248dfc3911869ec493c76e65bf2fcf7f615828b0254c12b473182f0f81d3a707",
                548_105_171,
            ),
            File(
                "vocab.json",
                "196139668be63f3b5d6574427317ae82f612a97c5d1cdaf36ed2256dbf636783",
                1_042_301,
            ),
            File(
                "merges.txt",
                "1ce1664773c50f3e0cc8842619a93edc4624525b728b188a9e0be33b7726adc5",
                456_318,
            ),
            File(  # without the header line, as some mirrors have it
                "merges.txt",
                "ac33235097fe06d4a8fff0feac994644809e6eb6ab70669e1e9fd40ae032428e",
                456_304,
            ),
        ),
    )
}

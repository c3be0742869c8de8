"""Texts to train a language model on, each cut into training and validation text.

    text = corpora.load("austen")           # six novels, embedded: no network, ever
    text = corpora.load("kingjames")        # the Bible, English of another style
    text = corpora.load("tang")             # quatrains of the Tang; "song": ci
    text = corpora.load("tinyshakespeare")  # 1.1 MB, downloaded once (see lmlab.data)
    text = corpora.load("my/letters.txt")   # any UTF-8 text file of yours
    source = corpora.markov(symbols=8)      # generated; its entropy rate is known

`tools` made the embedded ones; lmlab/assets/corpora/README.md says how.
"""

from dataclasses import dataclass

import numpy as np

from lmlab import data
from lmlab.data.downloads import DataError
from lmlab.data.embedded import unpack
from lmlab.data.markov import markov
from lmlab.files import ASSETS, absolute

__all__ = [
    "BREAK",
    "DataError",
    "Text",
    "documents",
    "load",
    "markov",
    "names",
    "token_ids",
]

BREAK = "\n\n\n"  # between two documents of a text, and nowhere else
SHORTEST = 1000  # characters; a tenth of fewer says nothing as validation text
FOLDER = ASSETS / "corpora"


@dataclass(frozen=True, repr=False)
class Text:
    """A corpus: train and validation, no sentence of one meant to be in the other."""

    train: str
    validation: str
    name: str
    source: str
    licence: str

    def __repr__(self):
        """Show one line: the name and the sizes."""
        sizes = (len(part.encode()) / 1e6 for part in (self.train, self.validation))
        return "{}: {:.2f} MB of training text, {:.2f} MB to validate".format(
            self.name, *sizes
        )


# SHA-256 of each text; the READMEs in lmlab/assets/corpora hold them, too.
CHECKSUMS = """
austen-train a809c20a0483088830be2ac662e16a1e7bab0278aa7d3f3d3c82b9fc68b4f5cc
austen-validation 2c77b1dbbe069837bfe1e48aa6d7bbe6884b9ed3b9fa11ecd077ec40c7c55880
kingjames-train 0e8e52322a1ae4c42f2a68d0a79f1cb095a081ef915eaafc739febd19c7231d5
kingjames-validation 3b08513acda035504938ca7c2f97585dde0a5a0ff5d20c8b1767e5f0ca9144c9
tang-train cb8c432baf305f938ad921af2a1a8b4dd5e69932cb642255afa2906e078b8735
tang-validation 5f1cc07e1fdb6c6bc3e3ae6347d62b4517fa25649ca76bb2133d1a07e18513b5
song-train ce5caae3de02f71ec662d766724cd29729131b7f70b618c1d70a2617eabd9e7d
song-validation b4a540377bcb4117a7809e2ddff4a39ea80c8364e6500db493b2d062152c925b
english-train bc72212ef35e1c4eeb55074b144df5259a7341803dfbcc04f5d7e7e245569073
english-validation c0de988038a6734e112a18acb0aaa6b82487ea9135210d9f714f846e4bfe95b7
code-train 0386685cba4f48fe4da1f5423b431379442fc2bf97b31c4f6b9e11231e71c52b
code-validation 1b16ed0443ba6e6e12da634fb2329ab8ae8d640d6ef2ebebaeded0785beebe10
"""


def load(name) -> Text:
    """Return a corpus by name, or a text file of yours by path.

    A relative path counts from the checkout, as in
    `lmlab.files.absolute`. A file that
    is no embedded corpus is cut after 90 % of its characters (nanoGPT's rule): the rest
    is validation text. Its line ends, of Windows and old Macs too, become line feeds.
    Raises DataError, which says what to do, when the name is unknown, or the file is
    missing, empty, shorter than 1,000 characters, or not UTF-8.
    """
    if name in names():
        return data.load(name)
    path = absolute(name)
    if not path.exists() and not _looks_like_a_path(name):
        raise DataError(
            f"there is no corpus {name!r}: {data.nearest(name, names())}They are: "
            f"{', '.join(sorted(names()))}, or a file's path"
        )
    return _cut(_read(path), path.name, str(name), "the file's own")


def names():
    """The texts with a name, which `data.load` reads, too."""
    return [name for name, known in data.DATASETS.items() if known.kind == "text"]


def read(dataset, paths):
    """The Text of a data set: of its file, which is cut, or embedded in two parts."""
    facts = dataset.name, dataset.source, dataset.licence
    if paths:
        return _cut(_read(paths[0]), *facts)
    sums = dict(line.split() for line in CHECKSUMS.strip().splitlines())
    parts = (f"{dataset.name}-{part}" for part in ("train", "validation"))
    texts = (unpack(FOLDER / f"{part}.txt.xz", sums[part]) for part in parts)
    return Text(*(text.decode("utf-8") for text in texts), *facts)


def documents(text):
    """The documents of a text, apart by BREAK; one where there is none.

    Line ends of any system count, and come back as line feeds.
    """
    return _unix(text).split(BREAK)


def _unix(text):
    """The text with line feeds as line ends: BREAK and paragraphs are made of them."""
    return text.replace("\r\n", "\n").replace("\r", "\n")


def token_ids(tokenizer, text):
    """The text as one array of token ids, the end token between documents.

    Line ends of any system become line feeds, as in `load`; without an end token, too.
    Each end token stands for the three bytes of BREAK: the ids say all that the text
    with line feeds says, so a loss in bits per byte of it is fair to other methods.
    """
    if tokenizer.end is None:
        return np.asarray(tokenizer.encode(_unix(text)), dtype=np.int64)
    pieces = []
    for document in documents(text):
        pieces += [tokenizer.encode(document), [tokenizer.end]]
    return np.concatenate([np.asarray(ids, dtype=np.int64) for ids in pieces[:-1]])


def _read(path):
    """The text of a file, with an error for each way in which it can be none."""
    try:
        content = path.read_bytes()
    except IsADirectoryError:
        raise DataError(f"{path} is a folder: name one text file in it") from None
    except FileNotFoundError:
        raise DataError(
            f"there is no file {path}. A relative path counts from the checkout; the "
            f"corpora with a name are: {', '.join(sorted(names()))}"
        ) from None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from error
    try:
        text = content.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path} is not UTF-8: byte {error.start:,} is "
            f"0x{content[error.start]:02x} ({error.reason}). "
            "Save it as UTF-8, or convert it with iconv."
        ) from None
    text = _unix(text)
    if not text.strip():
        raise DataError(f"{path} is empty: there is nothing to learn from")
    return text


def _cut(text, name, source, licence):
    if len(text) < SHORTEST:
        raise DataError(
            f"{name} has {len(text):,} characters, and {SHORTEST:,} are the least that "
            "can be trained on and validated"
        )
    cut = int(len(text) * 0.9)
    return Text(text[:cut], text[cut:], name, source, licence)


def _looks_like_a_path(name):
    return any(mark in str(name) for mark in "/\\.~")

"""Data sets by name: where each comes from, its licence, and the bytes it must have.

    images = data.load("digits")      # arrays; 5,000 digits that need no network, ever
    images = data.load("mnist")       # the same shapes; 60,000 + 10,000 images
    text = data.load("austen")        # a text, as lmlab.data.corpora reads them
    data.fetch("mnist")               # only the files, verified

`lmlab.data.downloads` gets the files; its docstring explains the cache, LMLAB_DATA,
LMLAB_MIRROR and LMLAB_OFFLINE. Nothing falls back from one data set to another: asking
for one that cannot be had is an error that says what to do. What is made anew from a
seed has a module of its own: `lmlab.data.dates`, `lmlab.data.markov`.
"""

import difflib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from lmlab.data import corpora, downloads, images
from lmlab.data.downloads import DataError, File, cache_dir
from lmlab.data.images import Images

__all__ = [
    "DATASETS",
    "DataError",
    "Dataset",
    "File",
    "Images",
    "cache_dir",
    "describe",
    "fetch",
    "load",
]


@dataclass(frozen=True)
class Dataset:
    """What is known about a data set before it is read.

    read(dataset, paths) makes what `load` returns; kind is that in a word. sources are
    base URLs, asked in order; a file's address is base + its name. A data set without
    files is embedded; instead names the embedded one that serves as well where there
    is no network.
    """

    name: str
    about: str
    licence: str
    source: str
    read: Callable[["Dataset", list[Path]], object]
    kind: str = "images"
    files: tuple[File, ...] = ()
    sources: tuple[str, ...] = ()
    instead: str = "digits"


def load(name: str):
    """Return the data set `name`, fetching its files first if need be.

    `Images` for pictures, a `lmlab.data.corpora.Text` for a text.
    Raises DataError when the name is unknown or the files cannot be had.
    """
    dataset = _find(name)
    return dataset.read(dataset, fetch(name))


def fetch(name: str) -> list[Path]:
    """Make sure that every file of `name` is in the cache and whole; return the paths.

    An embedded set has no files: the list is empty. Raises DataError as `load` does.
    """
    dataset = _find(name)
    return downloads.fetch(
        dataset.name, dataset.files, dataset.sources, dataset.instead
    )


def describe(name: str) -> str:
    """Say in a few lines what `name` is, its licence, its size and its sources."""
    dataset = _find(name)
    size = sum(file.bytes for file in dataset.files)
    place = f"{size / 1e6:.1f} MB to download" if size else "embedded, no network"
    lines = [f"{dataset.name}: {dataset.about} ({dataset.kind}; {place})"]
    lines += [f"  source: {dataset.source}", f"  licence: {dataset.licence}"]
    return "\n".join(lines + [f"  from: {url}" for url in dataset.sources])


def nearest(name, known):
    """The beginning of a sentence about names like this one; "" where there is none."""
    near = difflib.get_close_matches(str(name).lower(), known, n=3, cutoff=0.4)
    return f"did you mean {' or '.join(near)}? " if near else ""


def _find(name):
    if name in DATASETS:
        return DATASETS[name]
    known = ", ".join(sorted(DATASETS))
    raise DataError(
        f"there is no data set {name!r}: {nearest(name, DATASETS)}The data sets are: "
        f"{known}"
    )


MNIST_FILES = (
    File(
        "train-images-idx3-ubyte.gz",
        "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
        9_912_422,
    ),
    File(
        "train-labels-idx1-ubyte.gz",
        "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
        28_881,
    ),
    File(
        "t10k-images-idx3-ubyte.gz",
        "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
        1_648_877,
    ),
    File(
        "t10k-labels-idx1-ubyte.gz",
        "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
        4_542,
    ),
)
_MNIST = {
    "licence": "CC BY-SA 3.0",
    "source": "LeCun, Cortes and Burges (1998), the MNIST database",
}

_LITERATURE = {
    "licence": "public domain; the packages' own terms are in "
    "lmlab/assets/corpora/LICENSES.txt",
    "read": corpora.read,
}

DATASETS = {
    dataset.name: dataset
    for dataset in (
        Dataset(
            name="digits",
            about="5,000 of MNIST's handwritten digits, 1,000 of them for testing",
            read=images.read_digits,
            **_MNIST,
        ),
        Dataset(
            name="digits8x8",
            about="1,797 handwritten digits, 8×8 scaled to 28×28; every fifth is test",
            licence="CC BY 4.0",
            source="Alpaydin and Kaynak (1998), UCI Machine Learning Repository, "
            "doi:10.24432/C50P49; as bundled with scikit-learn",
            read=images.read_digits8x8,
        ),
        Dataset(
            name="mnist",
            about="70,000 handwritten digits of 28×28, 10,000 of them for testing",
            read=images.read_idx_images,
            files=MNIST_FILES,
            sources=(
                "https://ossci-datasets.s3.amazonaws.com/mnist/",
                "https://storage.googleapis.com/cvdf-datasets/mnist/",
            ),
            **_MNIST,
        ),
        Dataset(
            name="austen",
            about="Jane Austen's six novels, 3.7 MB; 19 chapters are held out",
            kind="text",
            source="the novels (1811 to 1818) as Debian's r-cran-janeaustenr 1.0.0-1 "
            "has them from Project Gutenberg",
            **_LITERATURE,
        ),
        Dataset(
            name="kingjames",
            about="the King James Bible, 4 MB: English of another style",
            kind="text",
            source="the translation of 1611 as Debian's bible-kjv 4.38 has it",
            **_LITERATURE,
        ),
        Dataset(
            name="tang",
            about="12,293 quatrains of the Tang dynasty, 1.4 MB: title, author, lines",
            kind="text",
            source="the npm package chinese-poetry 2.0.1, in simplified characters",
            **_LITERATURE,
        ),
        Dataset(
            name="song",
            about="8,386 short ci of the Song dynasty, 1.7 MB: tune, author, lines",
            kind="text",
            source="the npm package chinese-poetry 2.0.1, in simplified characters",
            **_LITERATURE,
        ),
        Dataset(
            name="english",
            about="4.6 MB of technical prose; lessons 08 and 09 train on it",
            kind="text",
            licence="PSF-2.0, BSD-3-Clause and matplotlib's; see "
            "lmlab/assets/corpora/LICENSES-technical.txt",
            source="docstrings and comments of Python, NumPy, SciPy, scikit-learn, "
            "matplotlib, networkx, SymPy and mpmath",
            read=corpora.read,
        ),
        Dataset(
            name="code",
            about="0.5 MB of Python, another domain than the prose",
            kind="text",
            licence="PSF-2.0; see lmlab/assets/corpora/LICENSES-technical.txt",
            source="modules of Python's standard library, without docstrings and "
            "comments",
            read=corpora.read,
        ),
        Dataset(
            name="tinyshakespeare",
            about="1.1 MB of Shakespeare's plays; lessons 08 and 09 can train on it",
            kind="text",
            licence="public domain",
            source="Karpathy (2015), char-rnn, from the works of Shakespeare",
            read=corpora.read,
            files=(
                File(
                    "input.txt",
                    "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
                    1_115_394,
                ),
            ),
            sources=(
                "https://raw.githubusercontent.com/karpathy/char-rnn/master/data/"
                "tinyshakespeare/",
                "https://github.com/karpathy/char-rnn/raw/master/data/tinyshakespeare/",
            ),
            instead="austen",
        ),
    )
}

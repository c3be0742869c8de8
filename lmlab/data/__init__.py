"""Data sets by name: where each comes from, its licence, and the bytes it must have.

    images = data.load("digits")      # arrays; 1,797 digits that need no network, ever
    images = data.load("mnist")       # the same shapes; 60,000 + 10,000 images
    text = data.load("tinyshakespeare")  # a text, as lmlab.data.corpora reads them
    data.fetch("mnist")               # only the files, verified

`lmlab.data.downloads` gets the files; its docstring explains the cache, LMLAB_DATA,
LMLAB_MIRROR and LMLAB_OFFLINE. Nothing falls back from one data set to another: asking
for one that cannot be had is an error that says what to do.
"""

import difflib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lmlab.data import downloads
from lmlab.data.downloads import DataError, File, cache_dir

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

    read(dataset, paths) makes what `load` returns. sources are base URLs, asked in
    order; a file's address is base + its name. A data set without files is embedded;
    instead names the embedded one that serves as well where there is no network.
    """

    name: str
    about: str
    licence: str
    source: str
    read: Callable[["Dataset", list[Path]], object]
    files: tuple[File, ...] = ()
    sources: tuple[str, ...] = ()
    instead: str = "digits"


@dataclass(frozen=True, repr=False)
class Images:
    """Labelled images: X uint8 (N, 28, 28), 0 = background; y int64 (N,)."""

    X_train: np.ndarray
    y_train: np.ndarray
    X_test: np.ndarray
    y_test: np.ndarray
    name: str
    source: str
    licence: str

    def __repr__(self):
        """Show one line: the name, the counts and the size of an image."""
        height, width = self.X_train.shape[1:]
        return (
            f"{self.name}: {len(self.X_train):,} training and {len(self.X_test):,} "
            f"test images of {height}×{width}"
        )


def load(name: str):
    """Return the data set `name`, fetching its files first if need be.

    Images for pictures, a `lmlab.data.corpora.Text` for a text.
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
    lines = [f"{dataset.name}: {dataset.about} ({place})"]
    lines += [f"  source: {dataset.source}", f"  licence: {dataset.licence}"]
    return "\n".join(lines + [f"  from: {url}" for url in dataset.sources])


def _find(name):
    if name in DATASETS:
        return DATASETS[name]
    near = difflib.get_close_matches(str(name).lower(), DATASETS, n=3, cutoff=0.4)
    hint = f"did you mean {' or '.join(near)}? " if near else ""
    known = ", ".join(sorted(DATASETS))
    raise DataError(f"there is no data set {name!r}: {hint}The data sets are: {known}")


def _read_digits(dataset, _paths):
    """Scale scikit-learn's 8×8 digits (0…16) to 28×28 (0…255) and split them."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    # In whole numbers, of which every processor makes the same images: some grey levels
    # lie just between two. The weights, (28, 8) for rows and for columns, are of 14ths.
    spread = np.rint(14 * _bilinear(8, 28)).astype(np.int64)
    X = spread @ bunch.images.astype(np.int64) @ spread.T * 255  # (N, 28, 28)
    whole = 14 * 14 * 16
    X, y = (2 * X + whole) // (2 * whole), bunch.target.astype(np.int64)
    X = X.astype(np.uint8)
    test = np.zeros(len(y), dtype=bool)
    test[np.argsort(y, kind="stable")[::5]] = True  # every fifth, digit by digit
    facts = dataset.name, dataset.source, dataset.licence
    return Images(X[~test], y[~test], X[test], y[test], *facts)


def _bilinear(size, larger):
    """Return (larger, size): each row weighs the two nearest pixels; rows sum to 1."""
    centre = (np.arange(larger) + 0.5) * size / larger - 0.5
    distance = np.abs(centre.clip(0, size - 1)[:, None] - np.arange(size))
    return (1 - distance).clip(0)


def _read_idx_images(dataset, paths):
    """Read four IDX files: training images and labels, test images and labels."""
    X_train, y_train, X_test, y_test = (_read_idx(path) for path in paths)
    for X, y in ((X_train, y_train), (X_test, y_test)):
        if X.ndim != 3 or y.shape != X.shape[:1]:
            raise DataError(
                f"{dataset.name}: images of shape {X.shape} do not go with labels of "
                f"shape {y.shape}"
            )
    y_train, y_test = y_train.astype(np.int64), y_test.astype(np.int64)
    facts = dataset.name, dataset.source, dataset.licence
    return Images(X_train, y_train, X_test, y_test, *facts)


def _read_idx(path):
    """Read a gzipped IDX file of bytes: magic 0 0 8 d, then d sizes, then the data."""
    import gzip

    raw = gzip.decompress(path.read_bytes())
    if len(raw) < 4 or raw[:3] != b"\0\0\x08" or len(raw) < 4 + 4 * raw[3]:
        raise DataError(f"{path} is not an IDX file of bytes: it begins {raw[:4]!r}")
    start = 4 + 4 * raw[3]
    shape = tuple(int(size) for size in np.frombuffer(raw[4:start], ">u4"))
    if len(raw) - start != np.prod(shape):
        raise DataError(f"{path} has {len(raw) - start:,} bytes for the shape {shape}")
    return np.frombuffer(raw, np.uint8, offset=start).reshape(shape).copy()


def _read_text(dataset, _paths):
    """A text, as the texts to train a language model on are read and cut."""
    from lmlab.data import corpora

    return corpora.load(dataset.name)


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

DATASETS = {
    dataset.name: dataset
    for dataset in (
        Dataset(
            name="digits",
            about="1,797 handwritten digits, 8×8 scaled to 28×28; every fifth is test",
            licence="CC BY 4.0",
            source="Alpaydin and Kaynak (1998), UCI Machine Learning Repository, "
            "doi:10.24432/C50P49; as bundled with scikit-learn",
            read=_read_digits,
        ),
        Dataset(
            name="mnist",
            about="70,000 handwritten digits of 28×28, 10,000 of them for testing",
            licence="CC BY-SA 3.0",
            source="LeCun, Cortes and Burges (1998), the MNIST database",
            read=_read_idx_images,
            files=MNIST_FILES,
            sources=(
                "https://ossci-datasets.s3.amazonaws.com/mnist/",
                "https://storage.googleapis.com/cvdf-datasets/mnist/",
            ),
        ),
        Dataset(
            name="tinyshakespeare",
            about="1.1 MB of Shakespeare's plays; lessons 08 and 09 can train on it",
            licence="public domain",
            source="Karpathy (2015), char-rnn, from the works of Shakespeare",
            read=_read_text,
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
            instead="english",
        ),
    )
}

"""Labelled images: MNIST's files, 5,000 of its digits inside lmlab, smaller ones."""

import gzip
import io
from dataclasses import dataclass

import numpy as np

from lmlab.data.downloads import DataError
from lmlab.data.embedded import unpack
from lmlab.files import ASSETS

DIGITS = ASSETS / "digits" / "digits.npy.xz"  # made by tools.digits
# Of the content.
DIGITS_SHA256 = "cf5ef2c5f850ca93fc2f506e0062a314d8e6a3b65dda61578b21c926c6157dd0"


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


def read_digits(dataset, _paths):
    """Four arrays, one after the other: training images, labels, test images, labels.

    The labels are uint8 there.
    """
    content = io.BytesIO(unpack(DIGITS, DIGITS_SHA256))
    return _images(dataset, *(np.load(content, allow_pickle=False) for _ in range(4)))


def read_digits8x8(dataset, _paths):
    """Scale scikit-learn's 8×8 digits (0…16) to 28×28 (0…255) and split them."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    # In whole numbers, of which every processor makes the same images: some grey levels
    # lie just between two. The weights, (28, 8) for rows and for columns, are of 14ths.
    spread = np.rint(14 * bilinear(8, 28)).astype(np.int64)
    X = spread @ bunch.images.astype(np.int64) @ spread.T * 255  # (N, 28, 28)
    whole = 14 * 14 * 16
    X, y = ((2 * X + whole) // (2 * whole)).astype(np.uint8), bunch.target
    test = np.zeros(len(y), dtype=bool)
    test[np.argsort(y, kind="stable")[::5]] = True  # every fifth, digit by digit
    return _images(dataset, X[~test], y[~test], X[test], y[test])


def bilinear(size, larger):
    """Return (larger, size): each row weighs the two nearest pixels; rows sum to 1."""
    centre = (np.arange(larger) + 0.5) * size / larger - 0.5
    distance = np.abs(centre.clip(0, size - 1)[:, None] - np.arange(size))
    return (1 - distance).clip(0)


def read_idx_images(dataset, paths):
    """Read four IDX files: training images and labels, test images and labels.

    Raises DataError for files that are none, or do not belong together.
    """
    return _images(dataset, *map(read_idx, paths))


def _images(dataset, X_train, y_train, X_test, y_test):
    for X, y in ((X_train, y_train), (X_test, y_test)):
        if X.ndim != 3 or y.shape != X.shape[:1]:
            raise DataError(
                f"{dataset.name}: images of shape {X.shape} do not go with labels of "
                f"shape {y.shape}"
            )
    y_train, y_test = y_train.astype(np.int64), y_test.astype(np.int64)
    facts = dataset.name, dataset.source, dataset.licence
    return Images(X_train, y_train, X_test, y_test, *facts)


def read_idx(path):
    """Read a gzipped IDX file of bytes: magic 0 0 8 d, then d sizes, then the data.

    Raises DataError for another file.
    """
    raw = gzip.decompress(path.read_bytes())
    if len(raw) < 4 or raw[:3] != b"\0\0\x08" or len(raw) < 4 + 4 * raw[3]:
        raise DataError(f"{path} is not an IDX file of bytes: it begins {raw[:4]!r}")
    start = 4 + 4 * raw[3]
    shape = tuple(int(size) for size in np.frombuffer(raw[4:start], ">u4"))
    if len(raw) - start != np.prod(shape):
        raise DataError(f"{path} has {len(raw) - start:,} bytes for the shape {shape}")
    return np.frombuffer(raw, np.uint8, offset=start).reshape(shape).copy()

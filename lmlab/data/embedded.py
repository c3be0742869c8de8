"""Files of lmlab/assets, read only if they hold what the lessons were written for."""

import hashlib
import lzma

from lmlab.data.downloads import DataError

_ADVICE = "Install lmlab again, or restore the file from the repository."


def unpack(path, sha256):
    """The content of an .xz file, which has this SHA-256. Raises DataError."""
    try:
        content = lzma.decompress(path.read_bytes())
    except (OSError, lzma.LZMAError, EOFError) as error:
        raise DataError(f"{path} cannot be read: {error}. {_ADVICE}") from error
    if hashlib.sha256(content).hexdigest() != sha256:
        raise DataError(
            f"{path} is not the one that lessons were written for (SHA-256 differs). "
            f"{_ADVICE}"
        )
    return content

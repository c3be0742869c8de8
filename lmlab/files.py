"""Write a file whole or not at all."""

import contextlib
import os
from pathlib import Path


def publish(path, data):
    """Write the file (bytes, or text as UTF-8) under a temporary name and rename it.

    Makes the folders above it. Raises OSError, and leaves what was there before.
    """
    with _renamed(path) as partial:
        partial.write_bytes(data if isinstance(data, bytes) else data.encode())


def publish_changed(path, data):
    """Publish the bytes unless the file already holds just them."""
    if not path.exists() or path.read_bytes() != data:
        publish(path, data)


def publish_array(path, lists, dtype):
    """Publish lists of numbers, one after the other, as a .npy file; return it, mapped.

    dtype: a NumPy type. Memory holds one list at a time. Otherwise as `publish`.
    """
    import numpy as np

    form, count = {"descr": dtype.str, "fortran_order": False}, 0
    with _renamed(Path(path)) as partial, open(partial, "wb") as file:
        np.lib.format.write_array_header_1_0(file, form | {"shape": (0,)})
        start = file.tell()
        for some in lists:
            file.write(np.array(some, dtype).tobytes())
            count += len(some)
        file.seek(0)  # the header's size does not depend on the count
        np.lib.format.write_array_header_1_0(file, form | {"shape": (count,)})
        if file.tell() != start:
            raise RuntimeError("NumPy's header changed its size")
    return np.load(path, mmap_mode="r")


@contextlib.contextmanager
def _renamed(path):
    """A temporary name beside the path, which takes its place if all goes well."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield partial
        partial.replace(path)
    finally:
        with contextlib.suppress(OSError):  # a read-only folder has its own error
            partial.unlink(missing_ok=True)

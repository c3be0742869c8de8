"""Write a file whole or not at all."""

import contextlib
import os


def publish(path, data):
    """Write the file (bytes, or text as UTF-8) under a temporary name and rename it.

    Makes the folders above it. Raises OSError, and leaves what was there before.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        partial.write_bytes(data if isinstance(data, bytes) else data.encode())
        partial.replace(path)
    finally:
        with contextlib.suppress(OSError):  # a read-only folder has its own error
            partial.unlink(missing_ok=True)


def publish_changed(path, data):
    """Publish the bytes unless the file already holds just them."""
    if not path.exists() or path.read_bytes() != data:
        publish(path, data)

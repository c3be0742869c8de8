"""Where things are, paths that users name, and files that are written whole or not."""

import contextlib
import errno
import json
import os
from pathlib import Path

LONGEST_HEADER = 100_000_000  # bytes; safetensors takes no longer one


PACKAGE = Path(__file__).resolve().parent
ASSETS = PACKAGE / "assets"  # texts and a model that come with the package


def checkout():
    """The folder that holds notebooks/, figures/ and this package.

    None where the package is installed without it.
    """
    return PACKAGE.parent if (PACKAGE.parent / "notebooks").is_dir() else None


def given(path):
    """The path that a user named, in full; ~ is a home folder, "." the working one.

    Raises ValueError when there is no such home folder, TypeError for what is no path.
    """
    try:
        return Path(os.path.abspath(Path(path).expanduser()))
    except RuntimeError as error:
        raise ValueError(f"{path}: {error}") from None


def absolute(path):
    """The path in full; a relative one counts from the checkout.

    So a terminal and a notebook, which run in different folders, mean the same place.
    Without a checkout it counts from the working directory.
    """
    base = checkout() or Path.cwd()
    return (base / Path(path).expanduser()).resolve()


def read_text(path):
    """The text of a UTF-8 file; raises ValueError, naming the file, for another one."""
    try:
        return path.read_bytes().decode("utf-8-sig")  # Windows puts a mark in front
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 ({error}): fetch it again") from None


def read_json(path):
    """What a JSON file holds; raises ValueError, naming the file, for another one."""
    try:
        return json.loads(read_text(path))
    except json.JSONDecodeError as error:
        raise ValueError(
            f"{path} is not whole JSON ({error}): fetch or save it again"
        ) from None


def publish(path, data):
    """Write the file (bytes, or text as UTF-8) under a temporary name and rename it.

    Makes the folders above it. Raises OSError, and leaves what was there before.
    """
    with _renamed(given(path)) as partial:
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

    path = given(path)
    form, count = {"descr": dtype.str, "fortran_order": False}, 0
    with _renamed(path) as partial, open(partial, "wb") as file:
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


def advice(folder, error):
    """What to do about an OSError of writing into a folder, as an imperative."""
    for path in (folder, *folder.parents):
        if os.path.isfile(path):  # False, too, where one may not look
            return f"{path} is a file: name a folder"
    if isinstance(error, PermissionError) or error.errno == errno.EROFS:
        return "name a folder that you may write to"
    return "make room there"


def unfinished(folder, suffix):
    """What processes that were killed left in the folder of files with that suffix."""
    return folder.glob(f".*{suffix}.*.part")  # as _renamed calls them


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


# --- Tensors --------------------------------------------------------------------------


def write_tensors(path, tensors, metadata):
    """Write {name: tensor} as a safetensors file, and flush it to the disk.

    Others may read it if they may read the user's files; whoever wants it whole or not
    at all writes it elsewhere first. metadata: {str: str}. Raises OSError.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    path.touch()
    mode = path.stat().st_mode  # as any new file's; safetensors shuts others out
    try:
        save_file(apart(tensors), path, metadata=metadata)
    except SafetensorError as error:
        raise OSError(f"{path.name}: {error}") from error
    path.chmod(mode)
    with open(path, "rb+") as file:
        os.fsync(file.fileno())


def publish_tensors(path, tensors, metadata):
    """Publish {name: tensor} as a safetensors file; errors as in `publish`."""
    with _renamed(given(path)) as partial:
        write_tensors(partial, tensors, metadata)


def apart(tensors):
    """The tensors, each with memory of its own, which safetensors asks for.

    Only where two have one memory, or one is a view of another, is anything copied.
    """
    found, memories = {}, set()
    for name, tensor in tensors.items():
        tensor = tensor.detach().contiguous()
        memory = tensor.untyped_storage().data_ptr()
        found[name] = tensor.clone() if memory in memories else tensor
        memories.add(memory)
    return found


def is_pickle(start):
    """Whether a file that begins with these bytes, 8 or more, is pickle's or torch's.

    A safetensors file begins with the length of its header, which may look like a
    pickle's first two bytes, but then is too long, or no pickle's goes on like this.
    """
    if start.startswith(b"PK\x03\x04"):
        return True  # torch.save's: a zip file with a pickle in it
    if len(start) < 8 or start[0] != 0x80 or not 2 <= start[1] <= 5:
        return False
    framed = start[1] >= 4 and start[2] == 0x95
    return framed or int.from_bytes(start[:8], "little") > LONGEST_HEADER

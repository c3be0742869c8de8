"""Get the files of a data set: cache, then mirror, then each public source in turn.

Every file is compared with its SHA-256 whenever it is asked for, so a damaged cache is
noticed. A download goes to a temporary name in the same folder and is renamed once its
hash is right: no name in the cache ever holds part of a file. pooch does the hashing,
the temporary file and the renaming; this module adds what it lacks: retries, the next
source, one error that lists every reason, and cached files that other users may read.

Settings, all environment variables (a relative folder counts from the checkout, see
`lmlab.files.absolute`):

LMLAB_DATA     the cache, `<dataset>/<file>` below it (default: the user's cache folder)
LMLAB_MIRROR   a folder or a URL (http, https, file) with the same layout, asked before
               the public
LMLAB_OFFLINE  1 = open no socket at all: an http mirror counts as network even on this
               machine (the rule stays simple); a folder as mirror is still read

Two processes that need a file at once both download it and rename a whole file.
"""

import contextlib
import os
import shutil
import sys
import time
import urllib.parse
import urllib.request
import warnings
from dataclasses import dataclass
from pathlib import Path

from lmlab import progress
from lmlab.errors import LmlabError
from lmlab.files import absolute

ATTEMPTS = 3  # per source, when a server is busy or a download is cut
PAUSE = 1.0  # seconds before the second attempt, doubled for the third
TIMEOUT = (10, 30)  # seconds to connect, and to wait for the next bytes
LOOPBACK = {"localhost", "127.0.0.1", "::1"}
NETWORK = "the network"  # what an error names in the place of a server


class DataError(LmlabError):
    """A data set cannot be had; the message says why, and what to do.

    tried: (place, reason) of each source that did not deliver.
    """

    def __init__(self, message, tried=()):
        super().__init__(message)
        self.tried = tuple(tried)


class _SourceError(Exception):
    """One source did not deliver; the message is the reason."""


@dataclass(frozen=True)
class File:
    """One file of a data set: name, SHA-256 (hex) and size in bytes."""

    name: str
    sha256: str
    bytes: int


def cache_dir() -> Path:
    """Return the folder that holds downloaded files (it may not exist yet)."""
    chosen = os.environ.get("LMLAB_DATA") or _pooch().os_cache("lmlab")
    return absolute(chosen)


def offline() -> bool:
    """Return whether LMLAB_OFFLINE forbids the network."""
    return os.environ.get("LMLAB_OFFLINE", "").lower() not in ("", "0", "false", "no")


def fetch(
    dataset: str, files: list[File], sources: list[str], instead: str = "digits"
) -> list[Path]:
    """Make sure that every file is in the cache and whole; return the paths.

    sources are base URLs: a file's address is base + its name.
    instead: the embedded set that an error names as the way without a network.
    Raises DataError, which lists what was tried, when a file cannot be had.
    """
    paths = []
    for file in files:
        path, tried = find(dataset, [file], sources)
        if path is None:
            raise DataError(_all_failed(dataset, file, tried, instead), tried)
        paths.append(path)
    return paths


def find(dataset: str, contents: list[File], sources: list[str] = ()):
    """One file as (path, []), or (None, tried): (place, reason) of each place.

    contents: all that the file may be, under one name. Without sources, cache and
    mirror are asked. Raises DataError for a file that came and cannot be written.
    """
    folder, tried = cache_dir() / dataset, []
    path = folder / contents[0].name
    _sweep(folder)
    state = _cached_state(path, {file.sha256 for file in contents})
    if state == "good":
        return path, []
    if state != "missing":
        tried.append((f"cache {path}", state))
    for file in contents:
        for place, get in _places(dataset, file, sources, tried):
            try:
                _store(get, place, path, file)
            except _SourceError as error:
                tried.append((place, str(error)))
                continue
            if tried:  # a fallback is never silent
                print(f"lmlab.data: {file.name} came from {place}", file=sys.stderr)
                print(_list(dict.fromkeys(tried), "    not from "), file=sys.stderr)
            return path, []
    return None, list(dict.fromkeys(tried))


def sha256(path) -> str:
    """The SHA-256 of a file, in hex."""
    return _pooch().file_hash(path)


def _cached_state(path, accepted):
    try:
        if not path.exists():
            return "missing"
        whole = sha256(path) in accepted
    except OSError as error:
        return f"it cannot be read ({error.strerror})"
    return "good" if whole else "it is damaged (SHA-256 differs)"


def _places(dataset, file, sources, reasons):
    """Yield (place, get) in order; get(temporary_path) writes the file or raises."""
    mirror, urls = os.environ.get("LMLAB_MIRROR", ""), [s + file.name for s in sources]
    folder = _mirror_folder(mirror)
    if folder is not None:
        source = folder / dataset / file.name
        yield f"mirror {source}", lambda temporary: _copy(source, temporary)
    elif mirror:
        urls.insert(0, f"{mirror.rstrip('/')}/{dataset}/{file.name}")
    if offline():
        reasons.append((NETWORK, "LMLAB_OFFLINE is set, no server was asked"))
        return
    for url in urls:
        yield url, lambda temporary, url=url: _download(url, temporary, file)


def _mirror_folder(mirror):
    """The folder that a path or a file URL names; None for a server, or for nothing."""
    kind, colon, rest = mirror.partition(":")
    if colon and kind.lower() == "file":
        host, slash, path = rest[2:].partition("/")
        if not rest.startswith("//"):  # file:/a/folder has no place for a host
            return absolute(urllib.request.url2pathname(rest))
        if host in ("", "localhost"):
            return Path(urllib.request.url2pathname(slash + path))
    return absolute(mirror) if mirror and "://" not in mirror else None


def _store(get, place, path, file):
    """Write one file through pooch: temporary name, SHA-256, rename."""
    try:
        with _quiet(_pooch().get_logger()):
            _pooch().retrieve(
                place,
                known_hash=file.sha256,
                fname=path.name,
                path=path.parent,
                downloader=lambda _url, temporary, _its_pooch: get(Path(temporary)),
            )
    except ValueError:  # pooch's word for a wrong hash
        raise _SourceError("its content is wrong (SHA-256 differs)") from None
    except OSError as error:  # get() reports a source's trouble, so this one is ours
        raise DataError(
            f"cannot write {path}: {error.strerror or error}. No part of it was "
            f"left. Free {file.bytes:,} bytes there, or choose another LMLAB_DATA."
        ) from error


def _copy(source, temporary):
    try:
        content = source.read_bytes()
    except OSError as error:
        raise _SourceError(error.strerror or str(error)) from None
    temporary.unlink()  # pooch made it private; made anew, it obeys the umask
    temporary.write_bytes(content)


def _download(url, temporary, file):
    """Write url to temporary; try again while the trouble may pass."""
    for attempt in range(1, ATTEMPTS + 1):
        reason, may_pass = _download_once(url, temporary, file)
        if reason is None:
            return
        if not may_pass or attempt == ATTEMPTS:
            tries = f" ({attempt} attempts)" if attempt > 1 else ""
            raise _SourceError(reason + tries)
        time.sleep(PAUSE * 2 ** (attempt - 1))


def _download_once(url, temporary, file):
    """Return (None, False) after success, else (reason, whether to try again)."""
    import requests

    temporary.unlink(missing_ok=True)  # see _copy
    try:
        _stream(url, temporary, file)
    except requests.HTTPError as error:
        status = error.response.status_code
        busy = status == 429 or status >= 500
        return f"HTTP {status} {error.response.reason}", busy
    except requests.exceptions.ChunkedEncodingError:
        return "the download was cut", True
    except requests.Timeout:
        return "no answer in time", False
    except (requests.RequestException, ValueError) as error:  # a URL may be nonsense
        return f"no connection ({_root(error)})", False
    size = temporary.stat().st_size
    if size == file.bytes:
        return None, False
    # Cut without a Content-Length, or a login page in the file's place.
    return f"{size:,} bytes came, {file.bytes:,} were expected", size < file.bytes


def _stream(url, temporary, file):
    host = urllib.parse.urlsplit(url).hostname
    direct = {"http": None, "https": None, "all": None} if host in LOOPBACK else {}
    title = f"{file.name} from {host}"
    with progress.bar(None, title, file.bytes, unit="B", unit_scale=True) as bar:
        get = _pooch().HTTPDownloader(bar, 65536, timeout=TIMEOUT, proxies=direct)
        get(url, temporary, None)


def _root(error):
    """Return the plain reason at the bottom of a nest of network errors."""
    while (inner := error.__cause__ or error.__context__) is not None:
        error = inner
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def _pooch():
    """Import pooch, whose tqdm warns in a kernel that has no ipywidgets."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import pooch
    return pooch


@contextlib.contextmanager
def _quiet(logger):
    level = logger.level
    logger.setLevel("ERROR")
    try:
        yield
    finally:
        logger.setLevel(level)


def _sweep(folder):
    """Remove what a killed process left more than a day ago, a file or a folder."""
    for stray in folder.glob("tmp????????"):
        with contextlib.suppress(OSError):
            if time.time() - stray.stat().st_mtime > 86_400:
                shutil.rmtree(stray) if stray.is_dir() else stray.unlink()


def _list(reasons, bullet):
    return "\n".join(f"{bullet}{place}: {reason}" for place, reason in reasons)


def not_had(what, file_name, tried, advice):
    """The text of an error about a file that could not be had.

    tried: (place, reason) of each source; advice: what the reader can do, a line each.
    """
    can_do = "\n".join(f"  - {line}" for line in advice)
    return (
        f"{what} is not here, and {file_name} could not be had:\n"
        f"{_list(tried, '  - ')}\nWhat you can do:\n{can_do}"
    )


def _all_failed(dataset, file, reasons, instead):
    advice = (
        f'use "{instead}", which is embedded: it never needs a network',
        f"with a network and LMLAB_OFFLINE unset, run once: lmlab fetch {dataset}",
        f"set LMLAB_MIRROR to a folder or URL that has {dataset}/{file.name}",
        f"set LMLAB_DATA to a cache that has it (now {cache_dir()})",
    )
    return not_had(f"the data set {dataset!r}", file.name, reasons, advice)

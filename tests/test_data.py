"""The data sets: what they hold, and every way in which a file can fail to arrive."""

import dataclasses
import errno
import gzip
import hashlib
import http.server
import lzma
import os
import pathlib
import socket
import subprocess
import sys
import threading
import time
import urllib.parse

import numpy as np
import pooch
import pytest

import tools.digits
from lmlab import data
from lmlab.data import corpora, downloads
from lmlab.data import images as of_images

ROOT = pathlib.Path(__file__).parents[1]
REAL = (ROOT / (os.environ.get("LMLAB_MIRROR") or "../shared/data")).resolve()


def idx(array):
    """Return the bytes of a gzipped IDX file."""
    head = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
    return gzip.compress(head + array.astype(np.uint8).tobytes(), mtime=0)


def tiny_files():
    """Return name -> content of a small data set in MNIST's four files."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (50, 28, 28)), rng.integers(0, 256, (20, 28, 28))
    labels = np.arange(50) % 10, np.arange(20) % 10
    arrays = images[0], labels[0], images[1], labels[1]
    return {f.name: idx(a) for f, a in zip(data.MNIST_FILES, arrays)}


CONTENT = tiny_files()
FIRST = next(iter(CONTENT))


class Server(http.server.ThreadingHTTPServer):
    """A loopback server. behave[prefix] answers for the addresses under /prefix/."""

    daemon_threads = True

    def __init__(self, content):
        super().__init__(("127.0.0.1", 0), Handler)
        self.content, self.behave, self.log = content, {}, []
        self.url = f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, *_):
        """A client that went away is part of these tests."""


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.log.append(self.path)
        prefix, name = self.path.strip("/").rsplit("/", 1)
        self.body = self.server.content[name]
        self.server.behave.get(prefix, whole)(self)

    def send(self, status, body, length=None):
        self.send_response(status)
        self.send_header("Content-Length", len(body) if length is None else length)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def whole(handler):
    handler.send(200, handler.body)


def cut(handler):
    handler.send(200, handler.body[: len(handler.body) // 2], len(handler.body))


def cut_without_length(handler):
    handler.send_response(200)
    handler.end_headers()
    handler.wfile.write(handler.body[: len(handler.body) // 2])


def wrong_byte(handler):
    at = len(handler.body) // 2
    wrong = bytes([handler.body[at] ^ 1])
    handler.send(200, handler.body[:at] + wrong + handler.body[at + 1 :])


def login_page(handler):
    handler.send(200, b"<html>Please log in</html>")


def missing(handler):
    handler.send(404, b"")


def busy(handler):
    handler.send(503, b"")


def silent(handler):
    time.sleep(5)


def stalls(handler):
    handler.send_response(200)
    handler.send_header("Content-Length", len(handler.body))
    handler.end_headers()
    handler.wfile.write(handler.body[:10])
    handler.wfile.flush()
    time.sleep(5)


def times(count, first, then):
    """Return a behaviour: `first` for the first `count` requests, then `then`."""
    left = iter([first] * count)
    return lambda handler: next(left, then)(handler)


@pytest.fixture(autouse=True)
def clean(monkeypatch, tmp_path):
    for name in ("LMLAB_MIRROR", "LMLAB_OFFLINE", "LMLAB_PROGRESS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LMLAB_DATA", str(tmp_path / "cache"))
    monkeypatch.setattr(downloads, "PAUSE", 0.01)
    monkeypatch.setattr(downloads, "TIMEOUT", (20, 20))


@pytest.fixture
def server():
    with Server(CONTENT) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def tiny(server, monkeypatch):
    """The data set "tiny", which the server offers at two sources, /a/ and /b/."""
    return register(monkeypatch, server.url + "/a/", server.url + "/b/")


def register(monkeypatch, *sources):
    files = tuple(
        data.File(name, hashlib.sha256(body).hexdigest(), len(body))
        for name, body in CONTENT.items()
    )
    mnist = data.DATASETS["mnist"]
    tiny = dataclasses.replace(mnist, name="tiny", files=files, sources=sources)
    monkeypatch.setitem(data.DATASETS, "tiny", tiny)
    return tiny


def closed_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def cache_holds():
    """Return the names of all files under the cache, temporary ones too."""
    return {p.name for p in data.cache_dir().rglob("*") if p.is_file()}


def failure():
    """Return the message of the error that fetching "tiny" must raise."""
    with pytest.raises(data.DataError) as caught:
        data.fetch("tiny")
    for place, reason in caught.value.tried:
        assert f"{place}: {reason}" in str(caught.value)
    return str(caught.value)


# --- the embedded digits ----------------------------------------------------------


def test_digits_are_5000_of_mnists_the_same_number_of_each():
    images = data.load("digits")
    assert repr(images) == "digits: 4,000 training and 1,000 test images of 28×28"
    for X, y in (
        (images.X_train, images.y_train),
        (images.X_test, images.y_test),
    ):
        assert X.shape == (len(y), 28, 28)
        assert (X.dtype, y.dtype) == (np.uint8, np.int64)
        assert (X.min(), X.max()) == (0, 255)
        assert np.array_equal(y, np.arange(len(y)) % 10)
    every = np.concatenate([images.X_train, images.X_test]).reshape(5000, -1)
    assert len(np.unique(every, axis=0)) == 5000
    assert images.licence == data.DATASETS["mnist"].licence == "CC BY-SA 3.0"
    assert images.source == data.DATASETS["mnist"].source


def test_the_digits_are_light_and_their_readme_names_them():
    path = of_images.DIGITS
    assert path.stat().st_size < 1_500_000
    readme = (path.parent / "README.md").read_text(encoding="utf-8")
    assert of_images.DIGITS_SHA256 in readme
    assert f"{path.stat().st_size:,} bytes" in readme
    licence = (path.parent / "LICENSE.txt").read_text(encoding="utf-8")
    assert "creativecommons.org/licenses/by-sa/3.0" in licence


@pytest.mark.parametrize("harm", ["missing", "cut", "other content"])
def test_damaged_digits_are_noticed(monkeypatch, tmp_path, harm):
    whole = of_images.DIGITS.read_bytes()
    content = {"cut": whole[:-100], "other content": lzma.compress(b"a")}
    if harm != "missing":
        (tmp_path / "digits.npy.xz").write_bytes(content[harm])
    monkeypatch.setattr(of_images, "DIGITS", tmp_path / "digits.npy.xz")
    with pytest.raises(data.DataError, match="restore"):
        data.load("digits")


def test_they_are_made_of_the_packages_first_ones():
    of_digits = [
        np.full((600, 28, 28), digit, np.uint8)
        + (np.arange(600) % 200)[:, None, None].astype(np.uint8)
        for digit in range(10)
    ]
    X_train, y_train, X_test, y_test = tools.digits.split(of_digits)
    assert (X_train.shape, X_test.shape) == ((4000, 28, 28), (1000, 28, 28))
    assert (y_train[13], X_train[13, 0, 0]) == (3, 3 + 1)
    assert (y_test[13], X_test[13, 0, 0]) == (3, 3 + 401 % 200)


def test_small_digits_are_real_and_have_mnists_shapes():
    images = data.load("digits8x8")
    assert repr(images) == "digits8x8: 1,437 training and 360 test images of 28×28"
    for X, y, n in (
        (images.X_train, images.y_train, 1437),
        (images.X_test, images.y_test, 360),
    ):
        assert X.shape == (n, 28, 28)
        assert y.shape == (n,)
        assert (X.dtype, y.dtype) == (np.uint8, np.int64)
        assert (X.min(), X.max()) == (0, 255)
    assert "10.24432/C50P49" in images.source
    assert images.licence == "CC BY 4.0"


def test_digits_split_is_fixed_stratified_and_without_overlap():
    from sklearn.datasets import load_digits

    images = data.load("digits8x8")
    counts = np.bincount(load_digits().target)
    share = np.bincount(images.y_test) / counts
    assert np.all(abs(share - 0.2) < 0.01)
    every = np.concatenate([images.X_train, images.X_test]).reshape(1797, -1)
    assert len(np.unique(every, axis=0)) == 1797
    # The very images: a change of the split or of the scaling would move every lesson.
    digest = hashlib.sha256(images.X_test.tobytes() + images.y_test.tobytes())
    assert digest.hexdigest()[:16] == "f4ca75076fd46766"


def test_scaling_is_bilinear():
    from scipy.ndimage import zoom

    spread = of_images.bilinear(8, 28)
    assert spread.shape == (28, 8)
    assert np.allclose(spread.sum(1), 1, atol=1e-15)
    assert np.all((spread > 0).sum(1) <= 2)
    small = np.random.default_rng(1).random((8, 8))
    oracle = zoom(small, 3.5, order=1, mode="nearest", grid_mode=True)
    assert np.allclose(spread @ small @ spread.T, oracle, atol=1e-12)


def test_digits_need_neither_network_nor_cache(monkeypatch, tmp_path):
    def no_socket(*_):
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket, "socket", no_socket)
    monkeypatch.setenv("LMLAB_DATA", str(tmp_path / "never"))
    assert data.fetch("digits") == data.fetch("digits8x8") == []
    assert len(data.load("digits").y_train) == 4000
    assert len(data.load("digits8x8").y_train) == 1437
    assert not (tmp_path / "never").exists()


# --- names and descriptions -------------------------------------------------------


def test_unknown_name_names_the_near_ones():
    with pytest.raises(
        data.DataError, match=r"did you mean mnist.*digits, digits8x8, .*, mnist"
    ):
        data.load("MNITS")
    with pytest.raises(data.DataError, match="there is no data set 7"):
        data.fetch(7)


def test_describe_says_size_licence_and_sources():
    text = data.describe("mnist")
    assert "11.6 MB to download" in text
    assert "CC BY-SA 3.0" in text
    assert text.count("\n  from: https://") == 2
    assert "embedded, no network" in data.describe("digits")
    for name in data.DATASETS:
        said = data.describe(name)
        assert said.startswith(f"{name}: ")
        assert data.DATASETS[name].licence in said


def test_every_registered_name_loads(monkeypatch, tmp_path):
    contents = CONTENT | {"input.txt": b"To be, or not to be.\n" * 100}
    for name, dataset in list(data.DATASETS.items()):
        files = tuple(
            data.File(
                file.name,
                hashlib.sha256(contents[file.name]).hexdigest(),
                len(contents[file.name]),
            )
            for file in dataset.files
        )
        known = dataclasses.replace(dataset, files=files)
        monkeypatch.setitem(data.DATASETS, name, known)
        write(tmp_path / "mirror" / name, {f.name: contents[f.name] for f in files})
    monkeypatch.setenv("LMLAB_MIRROR", str(tmp_path / "mirror"))
    monkeypatch.setenv("LMLAB_OFFLINE", "1")
    for name in data.DATASETS:
        assert data.load(name).name == name
    kinds = {"images": data.Images, "text": corpora.Text}
    for name, dataset in data.DATASETS.items():
        assert isinstance(data.load(name), kinds[dataset.kind])
    text = data.load("tinyshakespeare")
    assert text.train + text.validation == contents["input.txt"].decode()


def test_registry_is_well_formed():
    for name, dataset in data.DATASETS.items():
        assert name == dataset.name
        assert dataset.about
        assert dataset.licence
        assert dataset.source
        assert len(dataset.sources) >= 2 or not dataset.files
        assert all(
            s.startswith("https://") and s.endswith("/") for s in dataset.sources
        )
        assert all(len(bytes.fromhex(file.sha256)) == 32 for file in dataset.files)


def test_importing_data_is_light():
    code = "import sys, lmlab.data; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    heavy = {"pooch", "requests", "sklearn", "torch", "tensorflow", "tqdm"}
    assert "numpy" in done.stdout.split()
    assert not heavy & set(done.stdout.split())


def test_nothing_is_written_to_stderr_in_a_kernel_without_ipywidgets(tmp_path):
    code = """
import sys, types
shell = types.SimpleNamespace(config={"IPKernelApp": {}})
sys.modules["IPython"] = types.ModuleType("IPython")
sys.modules["IPython"].get_ipython = lambda: shell
sys.modules["ipywidgets"] = None
from lmlab import data
from lmlab.data import downloads
print(downloads.cache_dir().name, len(data.load("digits8x8").y_test))
"""
    run = [sys.executable, "-c", code]
    done = subprocess.run(run, capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("cache 360\n", "")


# --- files that arrive ------------------------------------------------------------


def test_load_downloads_once_and_then_reads_the_cache(server, tiny, capsys):
    images = data.load("tiny")
    assert images.X_train.shape == (50, 28, 28)
    assert images.y_test.tolist() == list(range(10)) * 2
    assert images.y_train.dtype == np.int64
    rng = np.random.default_rng(0)
    assert np.array_equal(images.X_train, rng.integers(0, 256, (50, 28, 28)))
    images.X_train[0] = 0  # the arrays are the caller's own
    assert [path.split("/")[1] for path in server.log] == ["a"] * 4

    before = [path.stat().st_mtime_ns for path in data.fetch("tiny")]
    assert data.load("tiny").X_train[0].any()
    assert [path.stat().st_mtime_ns for path in data.fetch("tiny")] == before
    assert len(server.log) == 4
    assert cache_holds() == set(CONTENT)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("how", ["http", "folder"])
def test_cached_files_obey_the_umask(tiny, monkeypatch, tmp_path, how):
    if how == "folder":
        write(tmp_path / "mirror/tiny", CONTENT)
        monkeypatch.setenv("LMLAB_MIRROR", str(tmp_path / "mirror"))
    old = os.umask(0o022)
    try:
        modes = {path.stat().st_mode & 0o777 for path in data.fetch("tiny")}
    finally:
        os.umask(old)
    assert modes == {0o644}


@pytest.mark.parametrize("slash", ["", "/"])
def test_http_mirror_is_asked_first(server, tiny, monkeypatch, slash):
    monkeypatch.setenv("LMLAB_MIRROR", server.url + "/mirror" + slash)
    data.fetch("tiny")
    assert server.log == [f"/mirror/tiny/{name}" for name in CONTENT]


def test_folder_mirror_is_asked_first_and_works_offline(
    server, tiny, monkeypatch, tmp_path
):
    write(tmp_path / "mirror/tiny", CONTENT)
    monkeypatch.setenv("LMLAB_MIRROR", str(tmp_path / "mirror"))
    monkeypatch.setenv("LMLAB_OFFLINE", "1")
    assert len(data.load("tiny").y_train) == 50
    assert server.log == []
    assert cache_holds() == set(CONTENT)


@pytest.mark.parametrize("start", ["file://", "file://localhost", "file:", "FILE://"])
def test_a_file_url_is_a_folder_and_works_offline(
    server, tiny, monkeypatch, tmp_path, start
):
    folder = tmp_path / "a mirror, ü"
    write(folder / "tiny", CONTENT)
    monkeypatch.setenv("LMLAB_MIRROR", start + urllib.parse.quote(str(folder)))
    monkeypatch.setenv("LMLAB_OFFLINE", "1")
    assert len(data.load("tiny").y_train) == 50
    assert server.log == []


def test_loopback_is_reached_without_a_proxy(tiny, monkeypatch):
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{closed_port()}")
    assert len(data.fetch("tiny")) == 4


@pytest.mark.parametrize("watched", ["0", "1"])
def test_progress_is_shown_to_a_person_only(tiny, monkeypatch, capsys, watched):
    monkeypatch.setenv("LMLAB_PROGRESS", watched)
    data.fetch("tiny")
    shown = capsys.readouterr().err
    assert (f"{FIRST} from 127.0.0.1" in shown) == (watched == "1")
    assert "lmlab.data" not in shown


def test_relative_folders_count_from_the_checkout(tiny, monkeypatch, tmp_path):
    write(tmp_path / "mirror/tiny", CONTENT)
    monkeypatch.chdir(tmp_path)
    relative = os.path.relpath(tmp_path, ROOT)
    monkeypatch.setenv("LMLAB_MIRROR", f"{relative}/mirror")
    monkeypatch.setenv("LMLAB_DATA", f"{relative}/here")
    monkeypatch.setenv("LMLAB_OFFLINE", "1")
    assert data.fetch("tiny")[0] == tmp_path / "here/tiny" / FIRST


def test_default_cache_is_the_platforms(monkeypatch):
    monkeypatch.delenv("LMLAB_DATA")
    assert data.cache_dir() == pathlib.Path(pooch.os_cache("lmlab")).resolve()


def write(folder, content):
    folder.mkdir(parents=True, exist_ok=True)
    for name, body in content.items():
        (folder / name).write_bytes(body)


@pytest.mark.parametrize("how", ["folder", "http"])
def test_real_mnist(monkeypatch, how):
    folder = REAL / "mnist"
    if not folder.is_dir():
        pytest.skip("the official MNIST files are not on this machine")
    content = {path.name: path.read_bytes() for path in folder.iterdir()}
    with Server(content) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        monkeypatch.setenv("LMLAB_MIRROR", str(REAL) if how == "folder" else server.url)
        images = data.load("mnist")
        server.shutdown()
    assert (images.X_train.shape, images.X_test.shape) == (
        (60_000, 28, 28),
        (10_000, 28, 28),
    )
    assert images.y_train[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    # The mean and deviation that everyone normalises MNIST with.
    assert abs(images.X_train.mean() / 255 - 0.1307) < 5e-5
    assert abs(images.X_train.std() / 255 - 0.3081) < 5e-5


# --- files that do not ------------------------------------------------------------


@pytest.mark.parametrize(
    ("trouble", "reason", "requests"),
    [
        (cut, "the download was cut (3 attempts)", 3),
        (cut_without_length, "bytes came", 3),
        (wrong_byte, "its content is wrong (SHA-256 differs)", 1),
        (login_page, "26 bytes came", 3),
        (missing, "HTTP 404 Not Found", 1),
        (busy, "HTTP 503 Service Unavailable (3 attempts)", 3),
        (silent, "no answer in time", 1),
        (stalls, "timed out", 1),
    ],
)
def test_trouble_at_one_source_is_told_and_the_next_one_serves(
    server, tiny, capsys, monkeypatch, trouble, reason, requests
):
    if trouble in (silent, stalls):
        monkeypatch.setattr(downloads, "TIMEOUT", (20, 1.5))
    server.behave["a"] = times(requests, trouble, whole)
    assert len(data.load("tiny").y_train) == 50
    told = capsys.readouterr().err
    assert f"{FIRST} came from {server.url}/b/" in told
    assert f"not from {server.url}/a/{FIRST}: " in told
    assert reason in told
    assert server.log[: requests + 1] == [f"/a/{FIRST}"] * requests + [f"/b/{FIRST}"]
    assert cache_holds() == set(CONTENT)


@pytest.mark.parametrize("trouble", [busy, cut])
def test_trouble_that_passes_needs_no_other_source(server, tiny, capsys, trouble):
    server.behave["a"] = times(2, trouble, whole)
    data.fetch("tiny")
    assert server.log[:4] == [f"/a/{FIRST}"] * 3 + ["/a/train-labels-idx1-ubyte.gz"]
    assert capsys.readouterr().err == ""


def test_refused_connection_then_next_source(server, monkeypatch, capsys):
    closed = f"http://127.0.0.1:{closed_port()}/"
    register(monkeypatch, closed, server.url + "/b/")
    assert len(data.fetch("tiny")) == 4
    assert f"not from {closed}{FIRST}: no connection (Connection refused)" in (
        capsys.readouterr().err
    )


def test_all_sources_fail_in_one_clear_error(server, monkeypatch, capsys, tmp_path):
    closed = f"http://127.0.0.1:{closed_port()}/"
    register(monkeypatch, closed, server.url + "/a/", server.url + "/b/")
    monkeypatch.setenv("LMLAB_MIRROR", str(tmp_path / "nowhere"))
    server.behave.update(a=wrong_byte, b=cut)
    message = failure()
    for part in (
        f"nowhere/tiny/{FIRST}: No such file or directory",
        f"{closed}{FIRST}: no connection (Connection refused)",
        f"{server.url}/a/{FIRST}: its content is wrong",
        f"{server.url}/b/{FIRST}: the download was cut (3 attempts)",
        'use "digits"',
        "lmlab fetch tiny",
        "LMLAB_MIRROR",
        f"LMLAB_DATA to a cache that has it (now {tmp_path / 'cache'})",
    ):
        assert part in message
    assert cache_holds() == set()
    assert capsys.readouterr().err == ""  # the error says it all, once


@pytest.mark.parametrize(
    "mirror", ["ftp://127.0.0.1/x", "http://[", "http:///x", "file://server/x"]
)
def test_nonsense_as_mirror_is_a_reason_like_any_other(
    tiny, monkeypatch, capsys, mirror
):
    monkeypatch.setenv("LMLAB_MIRROR", mirror)
    assert len(data.fetch("tiny")) == 4
    told = capsys.readouterr().err
    assert f"not from {mirror}" in told
    assert told.count("no connection (") == 4


@pytest.mark.parametrize("mirror", ["", "{server}/mirror"])
def test_offline_opens_no_socket(server, tiny, monkeypatch, mirror):
    monkeypatch.setenv("LMLAB_OFFLINE", "1")
    monkeypatch.setenv("LMLAB_MIRROR", mirror.format(server=server.url))
    message = failure()
    assert "LMLAB_OFFLINE is set, no server was asked" in message
    assert 'use "digits"' in message
    assert server.log == []


@pytest.mark.parametrize("value", ["0", "", "false", "No"])
def test_offline_can_be_switched_off(tiny, monkeypatch, value):
    monkeypatch.setenv("LMLAB_OFFLINE", value)
    assert len(data.fetch("tiny")) == 4


@pytest.mark.parametrize("damage", ["flip", "truncate", "empty"])
def test_damaged_cache_is_noticed_and_replaced(server, tiny, capsys, damage):
    path = data.fetch("tiny")[0]
    body = CONTENT[FIRST]
    path.write_bytes(
        {"flip": body[:-1] + b"?", "truncate": body[:-1], "empty": b""}[damage]
    )
    data.load("tiny")
    assert path.read_bytes() == body
    assert f"not from cache {path}: it is damaged" in capsys.readouterr().err
    assert len(server.log) == 5


def test_damaged_cache_offline_is_reported_and_kept(tiny, monkeypatch):
    path = data.fetch("tiny")[0]
    path.write_bytes(b"damaged")
    monkeypatch.setenv("LMLAB_OFFLINE", "1")
    message = failure()
    assert f"cache {path}: it is damaged (SHA-256 differs)" in message
    assert path.read_bytes() == b"damaged"


# --- the disk ---------------------------------------------------------------------


@pytest.mark.parametrize("how", ["http", "folder"])
def test_write_error_is_the_disks_not_the_sources(
    server, tiny, monkeypatch, tmp_path, how
):
    resource = pytest.importorskip("resource")
    if how == "folder":
        write(tmp_path / "mirror/tiny", CONTENT)
        monkeypatch.setenv("LMLAB_MIRROR", str(tmp_path / "mirror"))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))  # a real refusal
    try:
        message = failure()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "cannot write" in message
    assert "File too large" in message
    assert f"Free {len(CONTENT[FIRST]):,} bytes" in message
    assert "LMLAB_DATA" in message
    assert len(server.log) == (how == "http")  # no other source is bothered
    assert cache_holds() == set()


def test_full_disk_half_way(tiny, monkeypatch):
    def write_half(self, url, output, _pooch):
        pathlib.Path(output).write_bytes(CONTENT[FIRST][:1000])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(pooch.HTTPDownloader, "__call__", write_half)
    assert "No space left on device" in failure()
    assert cache_holds() == set()


def test_cache_that_cannot_be_a_folder(tiny, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("LMLAB_DATA", str(tmp_path / "file" / "cache"))
    message = failure()
    assert "cannot write" in message
    assert "LMLAB_DATA" in message


def test_interrupted_download_leaves_nothing(tiny, monkeypatch):
    def interrupt(self, url, output, _pooch):
        pathlib.Path(output).write_bytes(CONTENT[FIRST][:1000])
        raise KeyboardInterrupt

    monkeypatch.setattr(pooch.HTTPDownloader, "__call__", interrupt)
    with pytest.raises(KeyboardInterrupt):
        data.fetch("tiny")
    assert cache_holds() == set()


def test_strays_of_a_killed_download_are_swept_after_a_day(tiny):
    folder = data.fetch("tiny")[0].parent
    old, new = folder / "tmpabcd1234", folder / "tmpefgh5678"
    for path in (old, new):
        path.write_bytes(b"half")
    os.utime(old, (time.time() - 90_000,) * 2)
    data.fetch("tiny")
    assert cache_holds() == {*CONTENT, new.name}


def test_two_processes_at_once(server, tiny):
    both = threading.Barrier(2, timeout=15)

    def together(handler):
        if handler.path.endswith(FIRST):
            both.wait()  # neither is answered before both have asked
        whole(handler)

    server.behave["a"] = together
    files = [dataclasses.astuple(file) for file in tiny.files]
    code = (
        "from lmlab.data import downloads\n"
        f"files = [downloads.File(*file) for file in {files}]\n"
        f"print(len(downloads.fetch('tiny', files, {list(tiny.sources)})))"
    )
    run = [sys.executable, "-c", code]
    pipe = subprocess.PIPE
    children = [
        subprocess.Popen(run, stdout=pipe, stderr=pipe, text=True) for _ in range(2)
    ]
    outputs = [child.communicate(timeout=30) for child in children]
    assert outputs == [("4\n", "")] * 2
    assert server.log.count(f"/a/{FIRST}") == 2
    assert cache_holds() == set(CONTENT)


# --- content that is not what it says ---------------------------------------------


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "begins b''"),
        (b"\0\0\x0d\3" + b"\0" * 20, "not an IDX file of bytes"),
        (b"\0\0\x08\3\0\0", "not an IDX file"),
        (b"\0\0\x08\1\0\0\0\5abc", "3 bytes for the shape"),
    ],
)
def test_idx_header_is_checked(tmp_path, body, reason):
    path = tmp_path / "x.gz"
    path.write_bytes(gzip.compress(body))
    with pytest.raises(data.DataError, match=reason):
        of_images.read_idx(path)


def test_labels_must_go_with_images(tmp_path):
    short = dict(zip(CONTENT, CONTENT.values()))
    short["t10k-labels-idx1-ubyte.gz"] = idx(np.arange(19))
    write(tmp_path, short)
    with pytest.raises(
        data.DataError, match=r"\(20, 28, 28\) do not go with .*\(19,\)"
    ):
        of_images.read_idx_images(data.DATASETS["mnist"], [tmp_path / n for n in short])

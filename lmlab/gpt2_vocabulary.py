"""GPT-2's vocabulary: two files at a pinned revision of the Hub, verified by hash."""

import contextlib

from lmlab import downloads

_SOURCE = (
    "https://huggingface.co/openai-community/gpt2/resolve/"
    "607a30d783dfa663caf39e06633721c8d4cfcd7e/"
)
_VOCABULARY = downloads.File(
    "vocab.json",
    "196139668be63f3b5d6574427317ae82f612a97c5d1cdaf36ed2256dbf636783",
    1_042_301,
)
_MERGES = downloads.File(
    "merges.txt",
    "1ce1664773c50f3e0cc8842619a93edc4624525b728b188a9e0be33b7726adc5",
    456_318,
)
# The same merges without the header line, as some mirrors have them.
_BARE_MERGES = downloads.File(
    "merges.txt",
    "ac33235097fe06d4a8fff0feac994644809e6eb6ab70669e1e9fd40ae032428e",
    456_304,
)


def fetch():
    """The folder with GPT-2's vocab.json and merges.txt, fetched once.

    See lmlab.downloads for the cache, the mirror and LMLAB_OFFLINE. Raises DataError.
    """
    try:
        (path,) = downloads.fetch("gpt2", [_VOCABULARY], [_SOURCE])
        for merges in (_MERGES, _BARE_MERGES):
            with contextlib.suppress(downloads.DataError):
                downloads.fetch("gpt2", [merges], [])  # from the cache or a mirror
                return path.parent
        downloads.fetch("gpt2", [_MERGES], [_SOURCE])
    except downloads.DataError as error:
        tried = str(error).partition("What you can do:")[0]
        raise downloads.DataError(
            f"{tried}What you can do:\n"
            "  - use lmlab.tokenizer.train: it needs no network\n"
            "  - with a network and LMLAB_OFFLINE unset, ask once: it is kept\n"
            "  - set LMLAB_MIRROR to a folder that has gpt2/vocab.json and merges.txt"
        ) from None
    return path.parent

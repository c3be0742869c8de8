"""GPT-2's vocabulary: two files of the model in lmlab.published, no weights."""

import contextlib

from lmlab import downloads
from lmlab.published import KNOWN


def fetch():
    """The folder with GPT-2's vocab.json and merges.txt, fetched once.

    See lmlab.downloads for the cache, the mirror and LMLAB_OFFLINE; HF_ENDPOINT names
    a server in the Hub's place. Raises DataError.
    """
    known = KNOWN["gpt2"]
    (vocabulary,) = known.accepted("vocab.json")
    merges = known.accepted("merges.txt")
    try:
        (path,) = downloads.fetch("gpt2", [vocabulary], [known.source()])
        for content in merges:
            with contextlib.suppress(downloads.DataError):
                downloads.fetch("gpt2", [content], [])  # from the cache or a mirror
                return path.parent
        downloads.fetch("gpt2", merges[:1], [known.source()])
    except downloads.DataError as error:
        tried = str(error).partition("What you can do:")[0]
        raise downloads.DataError(
            f"{tried}What you can do:\n"
            "  - use lmlab.tokenizer.train: it needs no network\n"
            "  - with a network and LMLAB_OFFLINE unset, ask once: it is kept\n"
            "  - set LMLAB_MIRROR to a folder that has gpt2/vocab.json and merges.txt"
        ) from None
    return path.parent

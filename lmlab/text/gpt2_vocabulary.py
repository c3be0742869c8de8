"""GPT-2's vocabulary: two files of the model in lmlab.data.published, no weights."""

import contextlib

from lmlab.data import downloads
from lmlab.data.published import KNOWN

FILES = ("vocab.json", "merges.txt")


def fetch():
    """The folder with GPT-2's vocab.json and merges.txt, fetched once.

    See `data.downloads` for the cache, mirror and LMLAB_OFFLINE; HF_ENDPOINT names a
    server in the Hub's place. Raises DataError.
    """
    vocabulary, _ = (_file(name) for name in FILES)
    return vocabulary.parent


def _file(name):
    """The path of one file, in any of the contents that it may have."""
    known = KNOWN["gpt2"]
    first, *others = known.accepted(name)
    for content in (first, *others) if others else ():
        with contextlib.suppress(downloads.DataError):
            return downloads.fetch("gpt2", [content], [])[0]  # the cache, or a mirror
    try:
        return downloads.fetch("gpt2", [first], [known.source()])[0]
    except downloads.DataError as error:
        if not error.tried:  # it came, and could not be written
            raise
        advice = (
            "use lmlab.text.tokenizer.train: it needs no network",
            "with a network and LMLAB_OFFLINE unset, ask once: it is kept",
            f"set LMLAB_MIRROR to a folder or URL that has {' and '.join(FILES)} "
            "in gpt2/",
        )
        text = downloads.not_had("GPT-2's vocabulary", name, error.tried, advice)
        raise downloads.DataError(text, error.tried) from None

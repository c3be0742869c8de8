"""Models published elsewhere that lmlab knows by name: commit, and hash of every file.

The hashes were taken from several public records that agree with one another; whoever
changes a commit changes them all.
"""

import os
from dataclasses import dataclass

from lmlab.data.downloads import File


def endpoint():
    """The address of the Hub, or what HF_ENDPOINT names in its place."""
    return (os.environ.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/")


@dataclass(frozen=True)
class Pinned:
    """A published model: repository, commit, and its files' accepted contents."""

    repository: str
    commit: str
    files: tuple[File, ...]

    def accepted(self, name):
        """The contents that a file may have: the Hub's first, then a mirror's."""
        return [file for file in self.files if file.name == name]

    def source(self):
        """The address of its files: a file's own is this and its name."""
        return f"{endpoint()}/{self.repository}/resolve/{self.commit}/"


KNOWN = {
    "gpt2": Pinned(
        "openai-community/gpt2",
        "607a30d783dfa663caf39e06633721c8d4cfcd7e",
        (
            File(
                "config.json",
                "0daed7749b4f02b8f76240d5444551d7b08712dab4d0adb8239c56ba823bb7b4",
                665,
            ),
            File(
                "model.safetensors",
                "248dfc3911869ec493c76e65bf2fcf7f615828b0254c12b473182f0f81d3a707",
                548_105_171,
            ),
            File(
                "vocab.json",
                "196139668be63f3b5d6574427317ae82f612a97c5d1cdaf36ed2256dbf636783",
                1_042_301,
            ),
            File(
                "merges.txt",
                "1ce1664773c50f3e0cc8842619a93edc4624525b728b188a9e0be33b7726adc5",
                456_318,
            ),
            File(  # without the header line, as some mirrors have it
                "merges.txt",
                "ac33235097fe06d4a8fff0feac994644809e6eb6ab70669e1e9fd40ae032428e",
                456_304,
            ),
        ),
    )
}

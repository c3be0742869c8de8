"""Make the embedded literature from four packages, as they were published.

    apt-get download r-cran-janeaustenr bible-kjv bible-kjv-text   # in SOURCES
    npm pack chinese-poetry@2.0.1                                   # in SOURCES
    pip install opencc==1.4.2                                       # into this Python
    python -m tools.literature SOURCES lmlab/assets/corpora

Every step is a function of these files and of opencc's dictionaries: the texts, whose
SHA-256 `lmlab.data.corpora` holds, come out byte for byte. Debian's packages are opened
by dpkg-deb, and the program of bible-kjv prints the Bible.
"""

import hashlib
import importlib
import lzma
import re
import subprocess
import sys
import tarfile
import tempfile
import zlib
from collections import Counter
from pathlib import Path

from lmlab.data.corpora import BREAK
from lmlab.files import publish
from tools import poems

AUSTEN = "r-cran-janeaustenr_1.0.0-1_all.deb"
BIBLE = "bible-kjv_4.38_amd64.deb"
VERSES = "bible-kjv-text_4.38_all.deb"
POEMS = "chinese-poetry-2.0.1.tgz"
PACKAGES = {  # file: SHA-256
    AUSTEN: "df6bddf211906d1ff404f8ff662c21b34e6660e7f54a311084e749050c019c95",
    BIBLE: "75a49c032a6efa9faa2beb4a9acb70974380122906329d0e100de36cc88ff02d",
    VERSES: "d61b6aad4c51ba9e2800b825325fa6a09e99a0d02a9bb6dc4724fcc4995a1b7a",
    POEMS: "25b549e46919c3a0569db6b68ddc96956b04a484ea4518ad2bbd4f137e307e86",
}
NOVELS = (  # in the order of the package
    "Emma",
    "Mansfield Park",
    "Northanger Abbey",
    "Persuasion",
    "Pride and Prejudice",
    "Sense and Sensibility",
)
SHORTEST = 20  # characters of a line that may not stand in both parts


def novels(database):
    """{title: lines} of the character vectors in R's lazy-load database, in its order.

    Each entry is the length of what it unpacks to, four bytes, and a zlib stream.
    """
    lines, start = [], 0
    while start < len(database):
        stream = zlib.decompressobj()
        lines.append(strings(stream.decompress(database[start + 4 :])))
        start = len(database) - len(stream.unused_data)
    return dict(zip(NOVELS, lines, strict=True))


def strings(serialised):
    """The strings of an R character vector, serialised in binary (XDR, version 3)."""
    at = serialised.index(b"\0\0\0\x10", 14)  # the type after the header: STRSXP
    number, at = int.from_bytes(serialised[at + 4 : at + 8], "big"), at + 8
    found = []
    for _ in range(number):  # the type and flags of a CHARSXP, its length, its bytes
        end = at + 8 + int.from_bytes(serialised[at + 4 : at + 8], "big")
        found.append(serialised[at + 8 : end].decode("utf-8"))
        at = end
    return found


CHAPTER = re.compile(r" *chapter (?:\d+|[ivxlc]+)$", re.IGNORECASE)
NOT_HERS = re.compile(
    r"VOLUME [IV]+$|FINIS$|Finis$|THE END$|[* ]+$|\*Vide|\[At |\[End "
)


def chapters(lines):
    """The chapters of a novel, each a list of paragraphs of one line."""
    end = lines.index("A NOTE ON THE TEXT") if "A NOTE ON THE TEXT" in lines else None
    starts = [i for i, line in enumerate(lines) if CHAPTER.match(line)]
    for start, stop in zip(starts, [*starts[1:], end]):
        blocks = re.split(r"\n{2,}", "\n".join(lines[start + 1 : stop]))
        yield [line for b in blocks if (line := paragraph(b))]


def paragraph(block):
    """One line of a paragraph's lines, its marks for the printer taken away; or ""."""
    text = " ".join(block.split())
    return "" if NOT_HERS.match(text) else re.sub(r"[_*]", "", text)


def verses(printed):
    """The chapters of the Bible, each a list of verses, from lines like "Ge1:1 In"."""
    found = {}
    for line in printed.splitlines():
        chapter, _, verse = re.match(r"(\w+):(\d+) (.*)", line).groups()
        found.setdefault(chapter, []).append(verse)
    return list(found.values())


def held_out(documents, one_in):
    """Which of the documents, lists of lines, become validation text: a set of numbers.

    One in so many, in the order of their hashes, among those that nothing else repeats:
    no line of 20 characters or more stands anywhere else in the documents, in a longer
    line either, and at most one in 20 of the runs of eight words.
    """
    everything = "\n".join(line for lines in documents for line in lines)
    runs = [eights("\n".join(lines)) for lines in documents]
    holders = Counter(run for of_one in runs for run in of_one)

    def alone(i):
        long = [line for line in documents[i] if len(line) >= SHORTEST]
        if any(everything.find(x, everything.find(x) + 1) >= 0 for x in long):
            return False
        return sum(holders[run] > 1 for run in runs[i]) <= len(runs[i]) / 20

    chosen = set()
    for i in sorted(range(len(documents)), key=lambda i: _hash(documents[i])):
        if len(chosen) < round(len(documents) / one_in) and alone(i):
            chosen.add(i)
    return chosen


def _hash(lines):
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def eights(text):
    """The set of runs of eight words in a text, in small letters, without marks."""
    words = re.findall("[a-z]+", text.lower())
    return {tuple(words[i : i + 8]) for i in range(len(words) - 7)}


def split(documents, one_in, between):
    """(training, validation) texts of documents, their lines joined by `between`."""
    chosen = held_out(documents, one_in)
    parts = [], []
    for i, lines in enumerate(documents):
        parts[i in chosen].append(between.join(lines))
    return parts


def unpacked(sources, folder):
    """Check the four packages and open them: {name of a file: bytes} of the poems.

    The Debian packages' files come to lie in folder.
    """
    for name, expected in PACKAGES.items():
        content = (sources / name).read_bytes()
        if hashlib.sha256(content).hexdigest() != expected:
            sys.exit(f"{name} is not the package that the texts were made from")
        if name.endswith(".deb"):
            subprocess.run(["dpkg-deb", "-x", sources / name, folder], check=True)
    with tarfile.open(sources / POEMS) as archive:
        wanted = re.compile("package/(LICENSE|dist/(quantangshi/poet.tang|songci/ci))")
        files = [member for member in archive if wanted.match(member.name)]
        return {file.name: archive.extractfile(file).read() for file in files}


def english(folder):
    """{name: (training, validation)}: documents of Austen and of the King James."""
    data = folder / "usr/lib/R/site-library/janeaustenr/data/Rdata.rdb"
    austen = [], []
    for lines in novels(data.read_bytes()).values():
        for part, texts in zip(austen, split([*chapters(lines)], 14, "\n\n")):
            part += texts
    bible = [folder / "usr/bin/bible", "-p", folder / "usr/lib", "-l9999", "-f"]
    printed = subprocess.run(
        [*bible, "Gen1:1-Rev22:21"], check=True, capture_output=True, text=True
    ).stdout
    return {"austen": austen, "kingjames": split(verses(printed), 20, "\n")}


def chinese(files):
    """{name: (training, validation)}: documents of Tang and of Song."""
    simplify = importlib.import_module("opencc").OpenCC("t2s").convert
    tang = poems.distinct(poems.quatrains(files, simplify))
    song = poems.distinct(poems.short_ci(files, simplify))
    both = {"tang": (tang, song), "song": (song, tang)}
    return {
        name: [[*map(poems.written, part)] for part in poems.divided(own, others)]
        for name, (own, others) in both.items()
    }


def main(sources, out):
    """Write the texts into the folder out, with the README and the licences."""
    with tempfile.TemporaryDirectory() as folder:
        files = unpacked(Path(sources), folder)
        texts = english(Path(folder)) | chinese(files)
        publish(Path(out) / "LICENSES.txt", licences(Path(folder), files))
    rows = []
    for name, parts in texts.items():
        for part, documents in zip(("train", "validation"), parts):
            text = (BREAK.join(documents) + "\n").encode()
            packed = lzma.compress(text, preset=9 | lzma.PRESET_EXTREME)
            publish(Path(out) / f"{name}-{part}.txt.xz", packed)
            digest = hashlib.sha256(text).hexdigest()
            sizes = f"{len(documents):,} | {len(text):,} | {len(packed):,}"
            rows.append(f"| `{name}-{part}.txt.xz` | {sizes} | `{digest}` |")
            print(f"{name}-{part} {digest}")
    publish(Path(out) / "README.md", README.format("\n".join(rows)))


def licences(folder, files):
    """What the packages say about rights in them, word for word."""
    stated = {
        name: (folder / "usr/share/doc" / package / "copyright").read_text("utf-8")
        for name, package in (
            ("austen: r-cran-janeaustenr", "r-cran-janeaustenr"),
            ("kingjames: bible-kjv", "bible-kjv-text"),
        )
    }
    stated["tang, song: chinese-poetry"] = files["package/LICENSE"].decode()
    line = "=" * 72
    return "\n".join(
        f"{line}\n{name}\n{line}\n\n{text.strip()}\n" for name, text in stated.items()
    )


README = """\
# The embedded literature

Text that lessons use offline, read by `lmlab.data.corpora`. `python -m
tools.literature` made it, byte for byte, from four packages; it says how to get them.

| file | documents | bytes of text | bytes here | SHA-256 of the text |
|---|---|---|---|---|
{}

Documents are apart by two empty lines; the text is UTF-8.

**austen** is Jane Austen's six novels, from Debian's r-cran-janeaustenr 1.0.0-1. A
document is a chapter, a paragraph is a line, paragraphs are apart by one empty line.
Title pages, headings, editors' notes, and marks for the printer (`_`, `*`) are left
out. Of each novel, one chapter in 14 is validation text.

**kingjames** is the King James Bible, all of it, from Debian's bible-kjv 4.38. A
document is a chapter, a verse is a line, without its number. One chapter in 20 is
validation text.

**tang** is quatrains of the Tang dynasty, of five or seven characters a line, from the
npm package chinese-poetry 2.0.1, in simplified characters (opencc 1.4.2, `t2s`).
**song** is short *ci* of the Song dynasty, of up to 58 characters (小令), from the same
package; the longer ones were left out to keep the file small. A document is a poem: its
title, or the tune of a ci, is the first line, its author the second, and each verse
has a line, with the mark that ends it. So a title and an author, each with a line feed,
are a prompt for a poem. Titles lost the names and numbers of their series;
poems with missing characters, or with one outside U+4E00 … U+9FFF, were left out.

## Nothing twice

A validation text says what a model has learnt only as long as the training text does
not hold it, too.

- Chapters are held out in the order of their hashes, if no line of 20 characters or
  more stands anywhere else in the novel or in the Bible, and at most one in 20 of their
  runs of eight words.
- A poem that shares two fifths of its runs of three characters with another one is left
  out; it often goes by another poet's name. One poem in 16 is validation text, chosen
  by its hash among those of which no five characters in a row stand in another poem of
  either collection.

## Licences

The works are in the public domain. `LICENSES.txt` holds what the packages say about
their rights, word for word: r-cran-janeaustenr is under the MIT licence, its text came
from Project Gutenberg; bible-kjv calls the copyright of the King James text expired;
chinese-poetry is under the MIT licence.
"""


if __name__ == "__main__":
    main(*sys.argv[1:])

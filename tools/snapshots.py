"""Make the embedded corpora from what Python has installed: no network, no code run.

    python -m tools.snapshots FOLDER  # english-*.txt.xz, code-*.txt.xz, README

"english" is the prose of docstrings and comments, see `prose`; "code" is modules
of the standard library as they are. Both are cut into training and validation text by
module, near-duplicates are left out, and every step is a function of the installed
versions alone. The committed snapshots in lmlab/assets/corpora were made by this
command: other versions of the packages make other text, which is why they are kept.
"""

import ast
import hashlib
import importlib.metadata
import importlib.util
import io
import lzma
import re
import sys
import sysconfig
import tokenize
from pathlib import Path

from lmlab.data.corpora import BREAK
from lmlab.files import publish
from tools import prose
from tools.duplicates import Seen, distinct, overlap, split

PACKAGES = {  # distribution: import name
    "matplotlib": "matplotlib",
    "mpmath": "mpmath",
    "networkx": "networkx",
    "numpy": "numpy",
    "scikit-learn": "sklearn",
    "scipy": "scipy",
    "sympy": "sympy",
}
# Folders that came from elsewhere under terms of their own, and those without prose.
NOT_THEIRS = {
    "extern",
    "externals",
    "external",
    "_vendor",
    "_external",
    "site-packages",
}
NOT_THEIRS |= {"array_api_compat", "array_api_extra", "ma", "lapack_lite"}
NO_PROSE = {"tests", "test", "idle_test", "lib2to3", "encodings", "_pyinstaller"}
OTHER_TERMS = re.compile(
    "permission is hereby granted|permission to use, copy|apache license|mit license|"
    "general public license|free of charge",
    re.IGNORECASE,
)
# Of the standard library, for "code": files, and folders with what is in them.
MODULES = """ast.py bisect.py calendar.py collections configparser.py contextlib.py
copy.py csv.py dataclasses.py difflib.py enum.py fractions.py functools.py graphlib.py
json pathlib.py pprint.py queue.py random.py shutil.py statistics.py string.py
textwrap.py threading.py"""
CODE = MODULES.split()


def modules(folder):
    """Yield (path below folder, text) of each module that is the package's own."""
    for path in sorted(folder.rglob("*.py"), key=lambda p: p.as_posix()):
        name = path.relative_to(folder)
        if not {*name.parts} & (NOT_THEIRS | NO_PROSE):
            try:
                text = path.read_text(encoding="utf-8")
            except UnicodeDecodeError:
                continue
            if not OTHER_TERMS.search(text):
                yield name.as_posix(), text


def folders():
    """{name: folder} of the packages, and of the standard library as "python"."""
    found = {"python": Path(sysconfig.get_paths()["stdlib"])}
    for package in PACKAGES.values():
        found[package] = Path(importlib.util.find_spec(package).origin).parent
    return found


def english():
    """{module: paragraphs} of every module that holds prose, in a fixed order."""
    documents = {}
    for package, folder in folders().items():
        for name, text in modules(folder):
            try:
                found = prose.paragraphs(text)
            except (SyntaxError, tokenize.TokenError):
                continue
            if found:
                documents[f"{package}/{name}"] = found
    return documents


def code():
    """{module: [source]} of standard-library modules, without docstrings and comments.

    What is left is code: the prose of these modules is part of "english".
    """
    own = dict(modules(folders()["python"]))
    chosen = (n for n in own if n in CODE or n.split("/")[0] in CODE)
    return {name: [bare] for name in chosen if (bare := without_prose(own[name]))}


def without_prose(source):
    """Python source without docstrings, comments and runs of blank lines."""
    lines = source.splitlines()
    for node in ast.walk(ast.parse(source)):
        body = node.body if isinstance(getattr(node, "body", None), list) else []
        idle = [statement for statement in body if _does_nothing(statement)]
        for statement in idle:
            for row in range(statement.lineno, statement.end_lineno + 1):
                lines[row - 1] = ""
        if idle and len(idle) == len(body):
            lines[body[0].lineno - 1] = " " * body[0].col_offset + "pass"
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        row, column = token.start
        if token.type == tokenize.COMMENT and lines[row - 1]:
            lines[row - 1] = lines[row - 1][:column]
    text = "\n".join(line.rstrip() for line in lines).expandtabs(4)
    text = re.sub(r"\n{3,}", "\n\n", text)
    return re.sub(r":\n\n(?= )", ":\n", text).strip()


def _does_nothing(statement):
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)


def divided(documents, one_in, most=0.6):
    """(training, validation) documents, free of near-duplicates within and between."""
    seen = Seen(most)
    return [
        distinct({name: documents[name] for name in names}, seen)
        for names in split(documents, one_in)
    ]


def joined(documents):
    """One text: paragraphs apart by an empty line, documents by two."""
    return BREAK.join("\n\n".join(ps) for ps in documents.values()) + "\n"


def write(folder):
    """Make both corpora in folder, with the README and the licences they need."""
    corpora = {"english": divided(english(), 16), "code": divided(code(), 10, most=2)}
    rows = []
    for name, parts in corpora.items():
        for part, documents in zip(("train", "validation"), parts):
            text = joined(documents).encode()
            file = folder / f"{name}-{part}.txt.xz"
            publish(file, lzma.compress(text, preset=9 | lzma.PRESET_EXTREME))
            digest = hashlib.sha256(text).hexdigest()
            sizes = f"{len(documents):,} | {len(text):,} | {file.stat().st_size:,}"
            rows.append(f"| `{file.name}` | {sizes} | `{digest}` |")
    publish(folder / "LICENSES-technical.txt", licences())
    publish(folder / "README-technical.md", readme(rows, corpora))


def licences():
    """The terms of each package, as it states them, without those of bundled parts."""
    python = folders()["python"] / "LICENSE.txt"
    texts = {"Python": python.read_text(encoding="utf-8")}
    for name in PACKAGES:
        files = importlib.metadata.files(name)
        own = (f for f in files if re.match(r"(LICENSE|COPYING)(\.txt)?$", f.name))
        shortest = min(own, key=lambda f: len(f.parts))
        stated = shortest.locate().read_text(encoding="utf-8")
        texts[name] = re.split(r"^-{4}$", stated, flags=re.MULTILINE)[0]
    line = "=" * 72
    return "\n".join(f"{line}\n{n}\n{line}\n\n{t.strip()}\n" for n, t in texts.items())


README = """\
# The embedded corpora

Text that lessons 07 to 09 use offline, read by `lmlab.data.corpora`. Made by

    python -m tools.snapshots lmlab/assets/corpora

with {versions}.
Other versions make another text: the files are kept so that results do not move.

| file | documents | bytes of text | bytes here | SHA-256 of the text |
|---|---|---|---|---|
{rows}

**english** is the prose of docstrings and comments: technical English, written by
many hands about computing, mathematics and statistics. `tools.prose` kept
paragraphs that read as sentences and dropped code, signatures, tables, doctests,
formulas and references; marks like `:class:` are gone and lines are joined. What nearly
repeats an earlier paragraph (three fifths of its runs of three words) was left out,
which took away {dropped:.0%} of the characters. A document is a module; its name's hash
decided whether it is validation text. Of the runs of eight words in the validation
text, {english:.1%} also occur in the training text.

**code** is {modules} modules of the standard library without docstrings and comments,
whose prose is part of **english**. Of its validation text, {code:.1%} of the runs of
eight words also occur in its training text, and {between:.1%} in the training text of
**english**.

Paragraphs are apart by one empty line, documents by two; the text is UTF-8.

## Licences

The text is a derived work of the packages named above, changed as described. Their
terms are in `LICENSES-technical.txt`: the PSF licence for Python (copyright © 2001
Python Software Foundation; all rights reserved), a licence of the same form for
matplotlib, the three-clause BSD licence for the others. Files that state other terms
were left out.
"""


def readme(rows, corpora):
    """What the corpora are and how they were made, with measured numbers."""
    versions = [f"{name} {importlib.metadata.version(name)}" for name in PACKAGES]
    flat = {
        name: [[p for ps in part.values() for p in ps] for part in parts]
        for name, parts in corpora.items()
    }
    train, validation = flat["english"]
    everything = sum(len(p) for ps in english().values() for p in ps)
    return README.format(
        versions=",\n".join([f"Python {sys.version.split()[0]}", *versions]),
        rows="\n".join(rows),
        dropped=1 - sum(map(len, train + validation)) / everything,
        english=overlap(validation, train),
        modules=sum(map(len, corpora["code"])),
        code=overlap(flat["code"][1], flat["code"][0]),
        between=overlap(flat["code"][1], train),
    )


if __name__ == "__main__":
    write(Path(sys.argv[1]))

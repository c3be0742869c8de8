"""English prose out of Python source: docstrings and comments, cleaned to paragraphs.

`paragraphs(source)` reads a module's text, runs none of it, and returns what a person
would read as sentences. Code, signatures, tables, doctests, lists of names, formulas
and references are dropped; marks such as :class:`x` or ``x`` give way to x.
`tools.snapshots` makes the corpus "english" of lessons 07 to 09 from it.
"""

import ast
import inspect
import io
import re
import tokenize

from tools.duplicates import WORD

SHORTEST = 60  # characters of a paragraph; below it, few are sentences

# The words that hold English sentences together: in prose they are a third or more of
# all words, in a list of names or a formula hardly any.
SMALL_WORDS = """\
a about after all also an and any are as at be because been before between
both but by can cannot could did different do does each either even for from given has
have here how however i if in instead into is it its just less like made make may
means might more most must need never no none not note of on once one only or other
our out over same see should since so some still such than that the their them then
there therefore these they this those though three through thus to too two under
unless until up used uses using was way we were what when where whether which while
who whose why will with within without would yet you your"""
COMMON = frozenset(SMALL_WORDS.split())


def paragraphs(source):
    """The paragraphs of prose in a Python module's text, in its order.

    Raises SyntaxError when the text is not Python.
    """
    found = []
    for _, text in sorted([*_strings(source), *_comments(source)]):
        found += from_text(text)
    return found


def from_text(text):
    """The paragraphs of prose in a docstring, or in any text with marks like one's."""
    blocks = (clean(block) for block in _blocks(inspect.cleandoc(text)))
    return [block for block in blocks if is_prose(block)]


def _strings(source):
    """Yield (line, text) of each constant string of several words: no f-string."""
    waiting = [ast.parse(source)]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.JoinedStr):
            continue
        value = node.value if isinstance(node, ast.Constant) else None
        if isinstance(value, str) and len(value) >= SHORTEST:
            yield node.lineno, value
        waiting += ast.iter_child_nodes(node)


def _comments(source):
    """Yield (line, text) of each run of comment lines that stand alone."""
    start, lines = 0, []
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT and not token.line[: token.start[1]].strip():
            if not lines:
                start = token.start[0]
            lines.append(token.string.lstrip("#!:").removeprefix(" "))
        elif lines and token.type not in (tokenize.NL, tokenize.COMMENT):
            yield start, "\n".join(lines)
            lines = []
        elif lines and token.type == tokenize.NL and not token.line.strip():
            lines.append("")  # a blank line ends a paragraph


UNDERLINE = re.compile(r"([-=~^*#+\"'`.])\1{2,}$")
DROPPED = {"references", "see also", "examples", "example", "authors", "author"}


def _blocks(text):
    """Yield runs of lines of one indent: a paragraph lies in one of them, whole."""
    block, indent, skipping = [], 0, False
    lines = text.expandtabs().splitlines()
    for line, after in zip(lines, [*lines[1:], ""]):
        bare = line.strip()
        if UNDERLINE.match(after.strip()):  # a heading: which section begins?
            skipping = bare.lower().rstrip(":") in DROPPED
            bare = ""
        elif UNDERLINE.match(bare):
            bare = ""
        here = len(line) - len(line.lstrip())
        if block and (not bare or here != indent or BULLET.match(bare)):
            yield block
            block = []
        if bare and not skipping:
            indent = here + len(BULLET.match(bare)[0] if BULLET.match(bare) else "")
            block.append(bare)
    if block:
        yield block


BULLET = re.compile(r"(?:[-*+•]|\(?[0-9a-z]{1,2}[.)])\s+|\.\. (?:\w+::|\[\d+\])\s*")
ROLE = re.compile(r":[\w:+-]+:`[~!.]*([^`<]*?)(?: *<[^`>]*>)?`")
MARKS = (
    (re.compile(r"\s+"), " "),
    (re.compile(r"``([^`]*)``"), r"\1"),
    (re.compile(r"`[~!.]*([^`<]*?)(?: *<[^`>]*>)?`_*"), r"\1"),
    (re.compile(r" ?\[[\w+#]*\]_"), ""),  # a reference
    (re.compile(r"(?<!\w)(\*\*?)(\S(?:[^*]*\S)?)\1(?!\w)"), r"\2"),  # emphasis
    (re.compile(r"\*(?=args\b)|\*\*(?=kwargs\b)"), ""),
    (re.compile(r"(\w)_(?=[\s,.;:)]|$)"), r"\1"),  # a link, a name kept from clashing
    (re.compile(r"\\([*_ ])"), r"\1"),
    (re.compile(r"---?"), " - "),
    (re.compile(r"\s+([,;:)]|\.(?!\w))"), r"\1"),
    (re.compile(r"\s+"), " "),
)


def clean(block):
    """One line of text from a block's lines, its marks removed."""
    first = block[0]
    if bullet := BULLET.match(first):
        first = first[bullet.end() :]
    text = ROLE.sub(r"\1", "\n".join([first, *block[1:]]))
    for pattern, replacement in MARKS:
        text = pattern.sub(replacement, text)
    return text.strip()


BEGINS = re.compile(r"[\"'(]?[A-Z]")
ENDS = re.compile(r"[.!?][\"')]?$")
# Marks of code, of formulas, of addresses and of text made for a machine.
NOT_PROSE = re.compile(
    r">>>|\.\.\.|::|==|!=|<=|>=|->|=>|//|\w\(\w*=|[\\{}|<>^$@#~`&]|%[\w(]|_\w*_\w*_|"
    r"\[.*\[|\w=\w|[=/*+]\s|^Copyright|^TODO|^XXX|^FIXME|All rights reserved|©|"
    r"\(c\) |\*\w|\w\*|[ .]\.\w|\.pyx?\b|isort|noqa|pylint|"
    r"[^\x00-\x7f“”‘’–—…éöüäèáñçæøåß]"
)


def is_prose(text):
    """Whether a paragraph reads as sentences: made of English, begun and ended."""
    if len(text) < SHORTEST or not BEGINS.match(text) or not ENDS.search(text):
        return False
    if NOT_PROSE.search(text):
        return False
    words = WORD.findall(text)
    common = sum(word.lower() in COMMON for word in words)
    letters = sum(map(len, words)) + text.count(" ")
    names = sum("_" in word or "." in word[:-1] for word in text.split())
    return (
        common >= 0.3 * len(words)
        and letters >= 0.88 * len(text)
        and names <= 0.06 * len(words)
    )

"""Chinese poems from the npm package chinese-poetry, each once and in one form.

A poem is (title, author, lines): quatrains of the Tang, whose four lines have five or
seven characters each, and short ci of the Song, whose lines follow a tune. `simplify`
makes simplified characters of traditional ones; of the ci, only a few are not yet.
"""

import hashlib
import json
import re
from collections import Counter, defaultdict

HAN = "[\u4e00-\u9fff]"
NUMERALS = "[一二三四五六七八九十百]"
NUMBERED = re.compile(rf"[\s　]+{NUMERALS}+$|{NUMERALS}+[首绝章]?(?:绝句)?(?=\s|$)")
LONGEST_CI = 58  # characters: a xiaoling (小令), the short form of the ci, has no more


def quatrains(archive, simplify):
    """Yield the Tang quatrains among a package's files {name: bytes}."""
    for poem in _read(archive, r"/quantangshi/poet\.tang\.(\d+)\.json$"):
        title, author, text = map(
            simplify, (poem["title"], poem["author"], "".join(poem["paragraphs"]))
        )
        lines = cut(text)
        sizes = {len(line) for line in lines}
        if len(lines) == 4 and sizes in ({6}, {8}) and text == "".join(lines):
            yield from _named(_bare(title), author, lines)


def short_ci(archive, simplify):
    """Yield the Song ci of up to 58 characters among a package's files."""
    for poem in _read(archive, r"/songci/ci\.song\.(\d+)\.json$"):
        title, author, text = map(
            simplify, (poem["rhythmic"], poem["author"], "".join(poem["paragraphs"]))
        )
        lines = cut(text)
        short = len(lines) >= 4 and len(han(text)) <= LONGEST_CI
        if short and text == "".join(lines):
            yield from _named(title, author, lines)


def cut(text):
    """The lines of a poem: each ends with its mark; what is no line is left out."""
    return re.findall(rf"(?:{HAN}|、)+[，。？！；]", text)


def han(text):
    """The Chinese characters of a text alone, without its marks."""
    return "".join(re.findall(HAN, text))


def written(poem):
    """A poem as a document: its title, its author, and its lines, each on a line."""
    title, author, lines = poem
    return "\n".join([title, author, *lines])


def _read(archive, pattern):
    """Yield the poems of the files whose names match, in the order of their numbers."""
    found = {int(m[1]): name for name in archive if (m := re.search(pattern, name))}
    for number in sorted(found):
        yield from json.loads(archive[found[number]])


def _bare(title):
    """A title without number and name of its series: 宫词一百首 七十四 is 宫词."""
    return NUMBERED.sub("", title.strip()).split(" ")[-1]


def _named(title, author, lines):
    """Yield the poem if its title and author are names, and it is no fragment (句)."""
    good = re.fullmatch(f"{HAN}{{1,12}}", title) and re.fullmatch(
        f"{HAN}{{2,4}}", author
    )
    if good and title != "句":
        yield title, author, tuple(lines)


def runs(poem, width):
    """The set of runs of `width` characters that lie within a line of a poem."""
    return {
        text[i : i + width]
        for text in map(han, poem[2])
        for i in range(len(text) - width + 1)
    }


def distinct(poems, most=0.4):
    """The poems without those that share `most` of their runs of three with another.

    Collections give one poem to several poets: what the poet of more poems has stays.
    """
    poems = list(dict.fromkeys(poems))
    fertile = Counter(author for _, author, _ in poems)
    holders, kept = defaultdict(list), []
    order = range(len(poems))
    for i in sorted(order, key=lambda i: (-fertile[poems[i][1]], i)):
        threes = runs(poems[i], 3)
        shared = Counter(j for run in threes for j in holders[run]).most_common(1)
        if not shared or shared[0][1] < most * min(
            len(threes), len(runs(poems[shared[0][0]], 3))
        ):
            kept.append(i)
            for run in threes:
                holders[run].append(i)
    return [poems[i] for i in sorted(kept)]


def divided(poems, others=(), one_in=16):
    """(training, validation) poems: a hash chooses among those that nobody repeats.

    A poem can be held out if no other one, of `others` either, has five characters in
    a row that stand in one of its lines.
    """
    poets = Counter(run for poem in (*poems, *others) for run in runs(poem, 5))
    parts = [], []
    for poem in poems:
        digest = hashlib.sha256(written(poem).encode()).digest()
        alone = all(poets[run] == 1 for run in runs(poem, 5))
        parts[alone and digest[0] < 256 // one_in].append(poem)
    return parts

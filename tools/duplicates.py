"""Near-duplicates in text, and what a test text shares with the training text.

Text that people wrote repeats itself. A corpus that does not know it counts some
sentences many times, and its validation text is partly a copy of its training text.
"""

import hashlib
import re
from collections import Counter, defaultdict
from itertools import chain

WORD = re.compile(r"[A-Za-z]+(?:['’-][A-Za-z]+)*")


def words(text):
    """The words of a text in small letters; numbers and marks do not count."""
    return [word.lower() for word in WORD.findall(text)]


def shingles(text, width):
    """The set of runs of `width` words; the whole text where it has fewer."""
    all_words = words(text)
    starts = range(max(1, len(all_words) - width + 1))
    return {hash(tuple(all_words[i : i + width])) for i in starts}


class Seen:
    """Paragraphs so far, by their runs of three words.

    `new(text)` is False when one earlier paragraph holds `most` of the text's runs:
    a copy, or one with a word or two exchanged.
    """

    def __init__(self, most=0.6):
        self.most, self.count, self.holders = most, 0, defaultdict(list)

    def new(self, text):
        """Whether text is no near-duplicate; if so, it is remembered."""
        runs = shingles(text, 3)
        # A phrase that hundreds share says nothing about which one was copied.
        lists = (self.holders[r] for r in runs if len(self.holders[r]) < 400)
        nearest = Counter(chain.from_iterable(lists)).most_common(1)
        if nearest and nearest[0][1] >= self.most * len(runs):
            return False
        for run in runs:
            self.holders[run].append(self.count)
        self.count += 1
        return True


def distinct(documents, seen):
    """The documents without paragraphs that are near-duplicates of earlier ones."""
    kept = {name: [p for p in ps if seen.new(p)] for name, ps in documents.items()}
    return {name: paragraphs for name, paragraphs in kept.items() if paragraphs}


def split(names, one_in=16):
    """(training, validation) names: a name's hash decides, so a new one moves none."""
    held_out = {
        n for n in names if hashlib.sha256(n.encode()).digest()[0] % one_in == 0
    }
    return [n for n in names if n not in held_out], [n for n in names if n in held_out]


def overlap(text, others, width=8):
    """The share of text's runs of `width` words that also occur in others."""
    known = set().union(*(shingles(p, width) for p in others))
    runs = [shingles(p, width) for p in text]
    return sum(len(r & known) for r in runs) / sum(map(len, runs))

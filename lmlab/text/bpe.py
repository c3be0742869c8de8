"""Byte-pair encoding of words: learn merges from counted words, apply them to one.

Derived in lesson 07; the algorithm is Gage's (1994), used on words by Sennrich, Haddow
and Birch (2016) and on bytes by Radford et al. (GPT-2, 2019). A word is a list of token
ids. Tokens 0 to 255 are the bytes in the order that GPT-2 and the `tokenizers` library
give them, which decides ties. `learn` makes that library's merges, one for one.
"""

from heapq import heapify, heappop, heappush
from itertools import pairwise
from math import inf

from lmlab.arguments import whole

NONE = -1  # no symbol: the edge of a word, or one that was merged into its neighbour
NO_MERGE = (inf,)  # comes after every merge
SHORT = 32  # bytes; up to here the simple way is the faster one
CACHED_WORDS = 1 << 17  # then the cache starts anew
CACHED_LENGTH = 64  # characters; a longer word hardly ever comes twice


def _byte_characters():
    """{byte: the printable character that stands for it in GPT-2's files}."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    named = {byte: chr(byte) for byte in printable}
    return named | {byte: chr(256 + i) for i, byte in enumerate(others)}


CHARACTERS = _byte_characters()
BYTES = bytes(sorted(CHARACTERS, key=CHARACTERS.get))  # the byte of token 0, 1, … 255
_IDS = bytes(BYTES.index(byte) for byte in range(256))  # the token of byte 0, 1, … 255


def learn(counts, vocab_size):
    """Learn merges from counted words up to `vocab_size` tokens, or to the last pair.

    counts: {word as str: how often it occurs}. Each step merges the pair of neighbours
    that occurs most often; of equals, the one whose tokens were there first.
    Returns the tokens as a list of bytes, token i at place i, and the merges in order
    as a list of pairs of ids. Raises ValueError for a vocab_size below 256.

    All words stand in one line (see _Line), and for each pair its places are known. A
    merge looks only at those, changes the counts by what changed there, and leaves a
    queue of pairs with counts that may be out of date: they are looked up when a pair
    comes up. Every merge takes a symbol away and adds two places at most, so n symbols
    need time n log n, in words of any length.
    """
    vocab_size = whole("vocab_size", vocab_size, len(BYTES))
    tokens = [bytes([byte]) for byte in BYTES]
    line = _Line(counts, len(tokens))
    queue = [(-count, pair) for pair, count in line.pair_counts.items()]
    heapify(queue)
    merges = []
    while queue and len(tokens) < vocab_size:
        queued, pair = heappop(queue)
        count = line.pair_counts[pair]
        if count == -queued:
            for new in line.merge(pair):
                heappush(queue, (-line.pair_counts[new], new))
            tokens.append(tokens[pair[0]] + tokens[pair[1]])
            merges.append(pair)
        elif count > 0:
            heappush(queue, (-count, pair))
    return tokens, merges


class _Line:
    """Counted words side by side, NONE between them, with the places of their pairs.

    A symbol of w bytes fills w places: its id stands at the first and at the last of
    them, so that both neighbours are found without a search. What stands between is
    out of date, and never the first place of its id.
    pair_counts: {pair: how often it occurs}. A pair comes into being in one merge, the
    one that makes the later of its two symbols, so its places never have to be joined.
    """

    def __init__(self, counts, alphabet):
        self.symbols, self.times = [NONE], [0]
        self.widths, self.places = [1] * alphabet, {}  # by id, by pair
        for word, count in counts.items():
            ids = encoded(word).translate(_IDS)
            for place, pair in enumerate(pairwise(ids), len(self.symbols)):
                if pair in self.places:
                    self.places[pair].append(place)
                else:
                    self.places[pair] = [place]
            self.symbols += ids
            self.symbols.append(NONE)
            self.times += [count] * (len(ids) + 1)
        self.pair_counts = {pair: self._count(ps) for pair, ps in self.places.items()}

    def _count(self, places):
        return sum([self.times[place] for place in places])

    def merge(self, pair):
        """Make the next id of each place of a pair, from the left; the new pairs."""
        a, b = pair
        new = len(self.widths)
        self.widths.append(self.widths[a] + self.widths[b])
        before, after = self._replace(a, b, new)
        made = [((b, right), (new, right), after[right]) for right in after]
        made += [((left, a), (left, new), before[left]) for left in before]
        for old, now, places in made:
            count = self._count(places)
            self.pair_counts[old] -= count
            self.pair_counts[now], self.places[now] = count, places
        del self.pair_counts[pair]
        return [pair for _, pair, _ in made if self.pair_counts[pair]]

    def _replace(self, a, b, new):
        """{neighbour: places of the new pair with it}, for left and right neighbours.

        The places of a pair are in order, so those in a run such as aaa, of which only
        every second can be merged, are taken from the left.
        """
        symbols, widths, before, after = self.symbols, self.widths, {}, {}
        width, whole = widths[a], widths[new]
        for i in self.places.pop((a, b)):
            j, end = i + width, i + whole
            if symbols[i] != a or symbols[j] != b:
                continue  # another merge took one of them
            symbols[i], symbols[j], symbols[end - 1] = new, NONE, new
            left, right = symbols[i - 1], symbols[end]
            if left != NONE:
                before.setdefault(left, []).append(i - widths[left])
            if right != NONE:
                after.setdefault(right, []).append(i)
        return before, after


def apply(word, ranks):
    """The word (a list of the ids of bytes) with every merge made that can be made.

    ranks: {pair: (rank, *pair, new id)}. The merge learnt first goes first; of its
    places, the leftmost. Takes time n log n for n symbols.
    """
    return _apply_short(word, ranks) if len(word) <= SHORT else _apply(word, ranks)


def _apply_short(word, ranks):
    """The same, as the definition says it: n² steps, but each of them quick."""
    word, get = list(word), ranks.get
    found = [get(pair, NO_MERGE) for pair in pairwise(word)]
    while found:
        merge = min(found)
        if merge is NO_MERGE:
            break
        i = found.index(merge)
        word[i : i + 2] = merge[3:]
        del found[i]
        if i > 0:
            found[i - 1] = get((word[i - 1], word[i]), NO_MERGE)
        if i < len(found):
            found[i] = get((word[i], word[i + 1]), NO_MERGE)
    return word


def _apply(word, ranks):
    """The same with a queue of merges, each with all the places where it can be made.

    The symbols stand as in _Line.
    """
    symbols, widths = [NONE, *word, NONE], dict.fromkeys(word, 1)
    places = {}
    for i, pair in enumerate(pairwise(word), 1):
        if pair in ranks:
            places.setdefault(ranks[pair], []).append(i)
    queue = list(places)
    heapify(queue)

    def offer(merge, place):
        if merge in places:
            places[merge].append(place)
        else:
            places[merge] = [place]
            heappush(queue, merge)

    while queue:
        merge = heappop(queue)
        rank, a, b, new = merge
        width, whole = widths[a], widths[a] + widths[b]
        widths[new] = whole
        todo = sorted(places.pop(merge))
        for done, i in enumerate(todo, 1):
            j, end = i + width, i + whole
            if symbols[i] != a or symbols[j] != b:
                continue  # another merge took one of them
            symbols[i], symbols[j], symbols[end - 1] = new, NONE, new
            left, right = symbols[i - 1], symbols[end]
            if (left, new) in ranks:
                offer(ranks[left, new], i - widths[left])
            if (new, right) in ranks:
                offer(ranks[new, right], i)
            if queue and queue[0][0] < rank:  # only in merges that nobody learnt
                places[merge] = todo[done:]
                heappush(queue, merge)
                break
    out, i = [], 1
    while i <= len(word):
        out.append(symbols[i])
        i += widths[symbols[i]]
    return out


class Words(dict):
    """{word: its ids}, worked out when first asked for, and bounded.

    byte_ids: the id of each byte. ranks: as in `apply`. Raises ValueError for a word
    that holds half of a character.
    """

    def __init__(self, byte_ids, ranks):
        self.byte_ids, self.ranks = byte_ids, ranks

    def __missing__(self, word):
        ids = apply([self.byte_ids[byte] for byte in encoded(word)], self.ranks)
        if len(word) <= CACHED_LENGTH:
            if len(self) >= CACHED_WORDS:
                self.clear()
            self[word] = ids
        return ids


def encoded(text):
    """The text's UTF-8 bytes; an error that explains for half of a character."""
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        code = ord(text[error.start])
        raise ValueError(
            f"the text holds the lone surrogate U+{code:04X}, half of a character: it "
            "was read wrongly. Read the file as UTF-8, or drop the halves with "
            'text.encode("utf-8", "ignore").decode()'
        ) from None

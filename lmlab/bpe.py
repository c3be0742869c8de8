"""Byte-pair encoding of words: learn merges from counted words, apply them to one.

Derived in lesson 07; the algorithm is Gage's (1994), used on words by Sennrich, Haddow
and Birch (2016) and on bytes by Radford et al. (GPT-2, 2019). A word is a list of token
ids. Tokens 0 to 255 are the bytes in the order that GPT-2 and the `tokenizers` library
give them, which decides ties. `learn` makes that library's merges, one for one.
"""

from heapq import heapify, heappop, heappush
from itertools import pairwise

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


def learn(counts, size):
    """Learn merges from counted words until there are `size` tokens, or no more pairs.

    counts: {word as str: how often it occurs}. Each step merges the pair of neighbours
    that occurs most often; of equals, the one whose tokens were there first.
    Returns the tokens as a list of bytes, token i at place i, and the merges in order
    as a list of pairs of ids. Raises ValueError for a size below 256.

    A word's symbols are counted in pairs once. A merge then looks only at the words
    that hold its pair, changes the counts by what changed there, and leaves a queue of
    pairs with counts that may be out of date: they are looked up when a pair comes up.
    """
    if size < len(BYTES):
        raise ValueError(f"a vocabulary needs at least the 256 bytes, not {size}")
    tokens = [bytes([byte]) for byte in BYTES]
    ids = {token: i for i, token in enumerate(tokens)}
    words = [list(encoded(word).translate(_IDS)) for word in counts]
    counts = list(counts.values())
    pair_counts, where = _count_pairs(words, counts)
    queue = [(-pair_counts[pair], pair, places) for pair, places in where.items()]
    heapify(queue)
    merges = []
    while queue and len(tokens) < size:
        count, pair, places = heappop(queue)
        if -count != pair_counts[pair]:
            if pair_counts[pair] > 0:
                heappush(queue, (-pair_counts[pair], pair, places))
            continue
        token = tokens[pair[0]] + tokens[pair[1]]
        new = ids.setdefault(token, len(tokens))  # should two pairs spell one token
        if new == len(tokens):
            tokens.append(token)
        merges.append(pair)
        found = {}
        for place in places:
            word = words[place]
            words[place] = _replace(
                word, pair, new, counts[place], pair_counts, found, place
            )
        for pair, places in found.items():
            if pair_counts[pair] > 0:
                heappush(queue, (-pair_counts[pair], pair, places))
    return tokens, merges


def _count_pairs(words, counts):
    """{pair: how often} and {pair: places of the words that hold it}."""
    pair_counts, where = {}, {}
    for place, (word, count) in enumerate(zip(words, counts)):
        for pair in pairwise(word):
            if pair in pair_counts:
                pair_counts[pair] += count
                where[pair].append(place)
            else:
                pair_counts[pair] = count
                where[pair] = [place]
    return pair_counts, where


def _replace(word, pair, new, count, pair_counts, found, place):
    """The word with `new` for each occurrence of the pair, from the left.

    Keeps pair_counts right for what was around it, and notes in `found` the pairs
    that are new here. The pair's own count stays: it never comes up again.
    """
    a, b = pair
    out, start, i, last = [], 0, 0, len(word) - 1

    def change(gone, come):
        pair_counts[gone] -= count
        pair_counts[come] = pair_counts.get(come, 0) + count
        found.setdefault(come, []).append(place)

    while True:
        try:
            i = word.index(a, i, last)
        except ValueError:
            return out + word[start:] if out else word
        if word[i + 1] != b:
            i += 1
            continue
        out += word[start:i]
        if out:
            change((out[-1], a), (out[-1], new))
        out.append(new)
        start = i = i + 2
        if start <= last:
            change((b, word[start]), (new, word[start]))


def apply(word, ranks):
    """The word (a list of ids) with every merge made that can be made.

    ranks: {pair: (rank, new id)}. The merge learnt first goes first; of its places,
    the leftmost. Takes time n log n for n symbols: a queue of (rank, place) and links
    between the symbols left. A symbol merged into its left neighbour becomes None; a
    queued merge counts only while its place still begins its pair.
    """
    word, size = list(word), len(word)
    after, before = list(range(1, size + 1)), list(range(-1, size - 1))
    queue = []
    for i, pair in enumerate(pairwise(word)):
        if pair in ranks:
            queue.append((ranks[pair][0], i, pair))
    heapify(queue)

    def offer(i, j):
        rank = ranks.get((word[i], word[j]))
        if rank:
            heappush(queue, (rank[0], i, (word[i], word[j])))

    while queue:
        _, i, pair = heappop(queue)
        j = after[i]
        if j == size or (word[i], word[j]) != pair:
            continue
        word[i], word[j], after[i] = ranks[pair][1], None, after[j]
        if after[i] < size:
            before[after[i]] = i
            offer(i, after[i])
        if before[i] >= 0:
            offer(before[i], i)
    return [symbol for symbol in word if symbol is not None]


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

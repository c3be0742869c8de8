"""Cut a text into words as GPT-2 does: no token ever reaches over such a cut.

Lesson 07 derives the pattern piece by piece. Every character is part of exactly one
word, so the words joined are the text again. `stream` gives the same words for a text
that comes in pieces, and holds one piece of it at a time.

Which characters are letters and numbers is what the `regex` package's Unicode tables
say; libraries with older tables see a newly assigned letter as a sign.
"""

import codecs
from itertools import chain, groupby

import regex

from lmlab.files import given

# GPT-2 (Radford et al. 2019), encoder.py. A run of white space leaves its last space
# to the word that follows: \s+(?!\S) steps back by one where \S follows.
PATTERN = regex.compile(
    r"'s|'t|'re|'ve|'m|'ll|'d"
    r"| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+"
    r"|\s+(?!\S)|\s+"
)
LOOK_AHEAD = 2  # of an apostrophe: is it 're or ' alone? No alternative looks further
PIECE = 1 << 20  # characters that are cut at a time


def words(text):
    """The words of a text, in order, as a list of str."""
    return PATTERN.findall(text)


def pieces(text, size=PIECE):
    """Yield the text in slices of `size` characters."""
    for start in range(0, len(text), size):
        yield text[start : start + size]


def stream(pieces):
    """Yield lists of words: together, the words of the pieces joined to one text.

    pieces: an iterable of str, cut anywhere. Holds about one piece, or the longest
    word when that is longer.
    """
    held, length, enough = [], 0, 0
    for piece in pieces:
        held.append(piece)
        length += len(piece)
        if length < enough:  # a word of many pieces is not looked at for each of them
            continue
        text = "".join(held)
        found, cut = _settled(text)
        if found:
            yield found
        held, length = [text[cut:]], len(text) - cut
        enough = 2 * length
    if length:
        yield words("".join(held))


def apart(pieces, names):
    """Yield (a name or None, pieces of text): a text cut at each of the names in it.

    pieces: an iterable of str, cut anywhere, also through a name. Of names that begin
    at one place the longest counts. Holds one piece and less than one name; the pieces
    of a text must be used up before the next is asked for.
    """
    if not names:
        yield None, pieces
        return
    found = _found(pieces, sorted(names, key=len, reverse=True))
    for is_name, group in groupby(found, key=lambda part: part[0] is not None):
        if is_name:
            yield from group
        else:
            yield None, (text for _, text in group)


def _found(pieces, names):
    """Yield (name, name) for each name in the text and (None, text) for the rest."""
    pattern = regex.compile("|".join(map(regex.escape, names)))
    look_ahead, held = len(names[0]) - 1, ""
    for piece in chain(pieces, [None]):  # the end
        text, at = held + (piece or ""), 0
        # What begins from here on may be a longer name, if there is more to come.
        last = len(text) - (0 if piece is None else look_ahead)
        for match in pattern.finditer(text):
            if match.start() >= last:
                break
            if match.start() > at:
                yield None, text[at : match.start()]
            yield match[0], match[0]
            at = match.end()
        if last > at:
            yield None, text[at:last]
        held = text[max(at, last, 0) :]


def _settled(text):
    """The words that no further text could change, and where they end.

    A word may look LOOK_AHEAD characters on and no word looks back, so what comes
    after a settled word is cut as if it stood alone.
    """
    found, cut = words(text), len(text)
    while found and cut + LOOK_AHEAD > len(text):
        cut -= len(found.pop())
    return found, cut


def read(path, size=PIECE):
    """Yield a UTF-8 file's text in pieces of about `size` bytes, as it stands there.

    Neither line ends nor a byte order mark are touched. Raises OSError, and ValueError
    for an empty file and for bytes that are not UTF-8, with their place: without the
    file's name, which the caller has.
    """
    decoder, count = codecs.getincrementaldecoder("utf-8")(), 0
    with open(given(path), "rb") as file:
        while True:
            piece = file.read(size)
            count += len(piece)
            try:
                yield decoder.decode(piece, final=not piece)
            except UnicodeDecodeError as error:
                at = count - len(error.object) + error.start
                byte = error.object[error.start]
                raise ValueError(
                    f"it is not UTF-8: byte {at:,} is 0x{byte:02x} "
                    f"({error.reason}). Convert the file to UTF-8 first"
                ) from None
            if not piece:
                break
    if not count:
        raise ValueError("it is empty: there is no text in it")

"""Text to token ids and back: byte-level BPE as GPT-2 has it, or one id per character.

    tokenizer = train(text, vocab_size=1000)        # learn from a text
    tokenizer = gpt2()                              # or take GPT-2's
    tokenizer = Tokenizer.load("folder")            # or read vocab.json and merges.txt
    ids = tokenizer.encode("人工智能")
    tokenizer.decode(ids)                           # the text again
    tokenizer.save("folder")                        # AutoTokenizer loads it too

Lesson 07 derives it. A special token ("<|endoftext|>", which separates documents) has
an id that no text has: whoever writes "<|endoftext|>" in a text gets the ids of its
letters. Only with `special=True` are the names of special tokens read as such; use it
on text of your own making, not on what others typed.
"""

import array
from collections import Counter
from collections.abc import Iterable
from itertools import chain

import numpy as np

from lmlab.arguments import whole
from lmlab.files import publish_array
from lmlab.text import bpe, pretokenize, tokenizer_files
from lmlab.text.tokenizer_files import END


def train(texts, vocab_size, special_tokens=(END,)):
    """Learn a byte-level BPE tokenizer from text (lesson 07).

    texts: a str, or an iterable of str whose ends no word crosses. vocab_size counts
    the 256 bytes, the merges and the special tokens, which come last; it ends up
    smaller when the text runs out of pairs. The names of special tokens are cut out of
    the text, and no word crosses them. (The `tokenizers` library learns from them as
    from any text; on texts without such names the merges are the same.)
    Raises TypeError or ValueError for wrong types, no text, a vocab_size without room
    for the bytes and special tokens, text that is not Unicode.
    """
    special = _special_names(special_tokens)
    vocab_size = whole("vocab_size", vocab_size, len(bpe.BYTES) + len(special))
    counts = Counter()
    for text in [texts] if isinstance(texts, str | bytes) else texts:
        pieces = pretokenize.pieces(_checked(text))
        for name, between in pretokenize.apart(pieces, special):
            if name is None:
                for words in pretokenize.stream(between):
                    counts.update(words)
    if not counts:
        raise ValueError(
            "there is no text to learn from: it is empty, or special tokens only"
        )
    tokens, merges = bpe.learn(counts, vocab_size - len(special))
    ids = {name: len(tokens) + i for i, name in enumerate(special)}
    return Tokenizer([*tokens, *map(bpe.encoded, special)], merges, ids)


def gpt2():
    """GPT-2's own tokenizer: 50,257 tokens, which come with the package."""
    return Tokenizer(*tokenizer_files.gpt2())


class Tokenizer:
    """Byte-level BPE with a given vocabulary; `train` or `load` makes one.

    tokens: the bytes of each id, in order. merges: pairs of ids, the first learnt
    first. special_tokens: {name: id}. All three can be read, and do not change.
    Raises ValueError when they do not fit together.
    """

    def __init__(self, tokens, merges=(), special_tokens=None):
        self.tokens = list(tokens)
        self.merges = [tuple(pair) for pair in merges]
        self.special_tokens = dict(special_tokens or {})
        special = set(self.special_tokens.values())
        ids = {t: i for i, t in enumerate(self.tokens) if i not in special}
        if len(ids) + len(special) != len(self.tokens):
            raise ValueError("two ids stand for the same bytes")
        for name, i in self.special_tokens.items():
            if name.encode() in ids:
                raise ValueError(f"the special token {name!r} is an ordinary token too")
            if self.tokens[i] != name.encode():
                raise ValueError(f"token {i} is not the special token {name!r}")
        self._prepare(ids)

    def _prepare(self, ids):
        missing = [byte for byte in range(256) if bytes([byte]) not in ids]
        if missing:
            raise ValueError(
                f"the vocabulary lacks {len(missing)} of the 256 bytes, such as "
                f"0x{missing[0]:02x}: it could not encode every text"
            )
        byte_ids = [ids[bytes([byte])] for byte in range(256)]
        ranks = {}
        for rank, (a, b) in enumerate(self.merges):
            token = self.tokens[a] + self.tokens[b]
            if token not in ids:
                raise ValueError(f"merge {rank} makes {token!r}, which has no id")
            ranks[a, b] = rank, a, b, ids[token]
        self._ids = bpe.Words(byte_ids, ranks)

    @classmethod
    def characters(cls, text):
        """A tokenizer with one id for each character that the text has, sorted.

        nanoGPT's setting for tiny Shakespeare. It has no special tokens, and refuses
        to encode any other character. Raises TypeError for what is not a str,
        ValueError for a text without characters or a lone surrogate.
        """
        if not _checked(text):
            raise ValueError("there is no character in the text: it is empty")
        return Characters(bpe.encoded(c) for c in sorted(set(text)))

    @property
    def vocab_size(self):
        """How many ids there are: 0 to vocab_size − 1."""
        return len(self.tokens)

    @property
    def end(self):
        """The id of "<|endoftext|>", which separates documents; None without one."""
        return self.special_tokens.get(END)

    @property
    def dtype(self):
        """The smallest NumPy type that holds every id."""
        return np.dtype(np.uint16 if self.vocab_size <= 1 << 16 else np.uint32)

    def __repr__(self):
        """Show one line: the sizes and the special tokens."""
        special = ", ".join(self.special_tokens) or "none"
        merges = f"{len(self.merges):,} merges"
        return f"Tokenizer({self.vocab_size:,} tokens, {merges}, special: {special})"

    def add_special_tokens(self, names):
        """A tokenizer with these special tokens, too; this one stays as it is.

        Their ids follow the last; a name that is there already keeps its id. A model
        needs as many more rows. Raises TypeError or ValueError for what is no list of
        names, and for a name that is an ordinary token.
        """
        new = [n for n in _special_names(names) if n not in self.special_tokens]
        ids = {name: self.vocab_size + i for i, name in enumerate(new)}
        tokens = [*self.tokens, *map(bpe.encoded, new)]
        return type(self)(tokens, self.merges, self.special_tokens | ids)

    def encode(self, text, special=False):
        """The ids of a text, as a list of int.

        special: read the names of special tokens in the text as those tokens.
        Raises TypeError for what is not a str, ValueError for a lone surrogate.
        """
        pieces = pretokenize.pieces(_checked(text))
        return list(chain.from_iterable(self._stream(pieces, special)))

    def encode_iterable(self, texts, special=False):
        """Yield the ids of a text that comes in pieces: those of `encode` on the whole.

        texts: an iterable of str, such as an open file's lines, cut anywhere: also
        inside a word or the name of a special token. Holds one piece at a time.
        Raises as `encode`.
        """
        return chain.from_iterable(self._stream(map(_checked, texts), special))

    def encode_file(self, path, out=None, *, special=False, piece=pretokenize.PIECE):
        """The ids of a UTF-8 file, as an array: those of `encode` on its whole text.

        The text is read `piece` bytes at a time. The ids take 2 bytes each (4 in a
        vocabulary above 65,536). out: a path for a .npy file that takes them instead
        of memory; what comes back is then read from it as needed.
        Raises OSError, and ValueError, which names the file, for text that is not
        UTF-8 or cannot be encoded, and for a file without any.
        """
        ids = self._stream(pretokenize.read(path, piece), special)
        try:
            if out is not None:
                return publish_array(out, ids, self.dtype)
            held = array.array(self.dtype.char)
            for some in ids:
                held.extend(some)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None
        return np.frombuffer(held, self.dtype)

    def _stream(self, pieces, special):
        """Yield lists of ids; the pieces of text may be cut anywhere."""
        names = self.special_tokens if special else ()
        for name, between in pretokenize.apart(pieces, names):
            if name is None:
                yield from self._ordinary(between)
            else:
                yield [self.special_tokens[name]]

    def _ordinary(self, pieces):
        for words in pretokenize.stream(pieces):
            yield list(chain.from_iterable(map(self._ids.__getitem__, words)))

    def decode_bytes(self, ids):
        """The bytes that the ids stand for: they need not be whole characters.

        ids: a list, an array or a tensor of one dimension. Raises TypeError for
        what is not a whole number, ValueError for an id that does not exist.
        """
        ids = ids.tolist() if hasattr(ids, "tolist") else ids
        if not isinstance(ids, Iterable):
            raise TypeError(f"ids must be a sequence of whole numbers, not {ids!r}")
        ids, tokens, size = list(ids), self.tokens, len(self.tokens)
        try:
            if not ids or (min(ids) >= 0 and max(ids) < size):
                return b"".join([tokens[i] for i in ids])
        except TypeError:
            raise TypeError(
                "ids must be whole numbers, one sequence at a time, not "
                f"{next(i for i in ids if not hasattr(i, '__index__'))!r}"
            ) from None
        bad = next(i for i in ids if not 0 <= i < size)
        raise ValueError(f"{bad} is no id of this vocabulary: they are 0 to {size - 1}")

    def decode(self, ids):
        """The text of the ids; bytes that are not UTF-8 show as U+FFFD (�).

        Otherwise as `decode_bytes`.
        """
        return self.decode_bytes(ids).decode(errors="replace")

    def save(self, folder):
        """Write vocab.json, merges.txt, tokenizer.json and tokenizer_config.json.

        `load` reads them, and so does transformers' AutoTokenizer. Makes the folder;
        each file is written whole or not at all. Raises OSError.
        """
        tokenizer_files.save(
            folder,
            self.tokens,
            self.merges,
            self.special_tokens,
            end=None if self.end is None else END,
            characters=isinstance(self, Characters),
        )

    @classmethod
    def load(cls, folder):
        """Read tokenizer.json, or vocab.json and merges.txt without it.

        Raises FileNotFoundError when neither is there, and ValueError, naming the
        file and the place, for one that is broken or not of GPT-2's kind.
        """
        tokens, merges, special, characters = tokenizer_files.load(folder)
        kind = Characters if characters else Tokenizer
        try:
            return kind(tokens, merges, special)
        except ValueError as error:
            raise ValueError(f"the tokenizer in {folder}: {error}") from None


class Characters(Tokenizer):
    """One id per character; `Tokenizer.characters` makes one."""

    def _prepare(self, ids):
        self._ids = {token.decode(): i for token, i in ids.items()}

    def _ordinary(self, pieces):
        for piece in pieces:
            try:
                yield [self._ids[character] for character in piece]
            except KeyError as error:
                raise ValueError(
                    f"{error.args[0]!r} is not among the {len(self._ids)} characters "
                    "of this vocabulary: it knows those of the text it was made from"
                ) from None


def _checked(text):
    if not isinstance(text, str):
        hint = ": decode it first, data.decode('utf-8')" * isinstance(text, bytes)
        raise TypeError(f"text must be a str, not {type(text).__name__}{hint}")
    return text


def _special_names(names):
    if isinstance(names, str):
        raise TypeError(
            f"special_tokens must be a list of names, not the str {names!r}"
        )
    names = list(names)
    for name in names:
        if not _checked(name) or names.count(name) > 1:
            raise ValueError(f"the special token {name!r} is empty or named twice")
        if len(bpe.encoded(name)) == 1:
            raise ValueError(f"the special token {name!r} is an ordinary token too")
    return names

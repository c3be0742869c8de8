"""The tokenizer against the `tokenizers` library, GPT-2's vocabulary and bad input."""

import gzip
import hashlib
import inspect
import itertools
import json
import os
import pickle
import random
import subprocess
import sys
import textwrap
import tracemalloc
import unicodedata
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import regex
from tokenizers import ByteLevelBPETokenizer, Regex, models, pre_tokenizers, trainers
from tokenizers import Tokenizer as Library

from lmlab import data
from lmlab.data import corpora
from lmlab.files import ASSETS
from lmlab.models.hub import KNOWN
from lmlab.text import bpe, pretokenize, tokenizer
from lmlab.text.tokenizer import END, Tokenizer, train
from tools import gpt2_vocabulary as tool

# The library would otherwise warn when a test forks after it used its threads.
os.environ["TOKENIZERS_PARALLELISM"] = "false"

CHINESE = (
    "人工智能是一门让机器学会思考的学问。人工智能的模型从文字里学习，文字由字组成，"
    "字由字节组成。模型不认识字，只认识数；把文字变成数的工具叫分词器。分词器先看哪两个"
    "字节最常在一起，再把它们合成一个新的词元，然后一遍又一遍地做下去。"
)
MANY_SCRIPTS = (
    "Zażółć gęślą jaźń, Съешь ещё этих булок; Ξεσκεπάζω την ψυχοφθόρα — "
    "דג סקרן שט בים، صِف خَلقَ خَودٍ. नमस्ते दुनिया कैसे हो? สวัสดีชาวโลก 안녕하세요 세계 "
    "こんにちは世界 人工智能 😀👩‍👩‍👧‍👦🏳️‍🌈 e\u0301 ﬁ ½ ²³ ٣٤٥ Ⅳ 𝒳 𐍈 ßẞ İı"
)


def code():
    return inspect.getsource(textwrap) + inspect.getsource(json)


def english():
    return corpora.load("austen").validation


def assigned():
    """Every character but the halves of some, and letters too new for the library."""
    old = regex.compile(r"[^\p{L}\p{N}]")
    return [
        chr(i)
        for i in range(0x110000)
        if not 0xD800 <= i < 0xE000
        and (unicodedata.category(chr(i)) != "Cn" or old.match(chr(i)))
    ]


def random_text(seed, length, alphabet=None):
    rng = random.Random(seed)
    return "".join(rng.choices(alphabet or ASSIGNED, k=length))


def random_bytes(seed, length):
    return random.Random(seed).randbytes(length).decode(errors="replace")


ASSIGNED = assigned()
ODD = [
    "",
    " ",
    "\n",
    "a",
    "   lead and trail   ",
    "\t\ttabs\t and \r\n line \x0b ends \x0c\x1c\x1d\x1e\x1f \x85 \u2028\u2029 \xa0 x",
    "\u3000全角\u3000\u200b\u00ad\ufeff\u180e\u2003 em",
    "don't DON'T it's'S 're 'RE we'll'll ''' ' s 't'ta",
    "x = {'a': 1}  # 12345 0x7f\n\n\n    return f'{x!r:>10}'\n",
    "\x00\x01\x7f\x80\x9f null",
    END,
    f"a{END}b {END}",
    "  " * 300 + "x" + " " * 300,
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa" * 40,
    MANY_SCRIPTS,
    CHINESE,
]


# --- Training -------------------------------------------------------------------------


def library_trained(text, size):
    """The library's tokenizer, and its merges by name in order."""
    library = Library(models.BPE())
    library.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    library.train_from_iterator(
        [text],
        trainers.BpeTrainer(
            vocab_size=size, initial_alphabet=alphabet, show_progress=False
        ),
    )
    merges = json.loads(library.to_str())["model"]["merges"]
    return library, [tuple(pair) for pair in merges]


def name(token):
    return "".join(bpe.CHARACTERS[byte] for byte in token)


def check_like_library(text, size):
    library, expected = library_trained(text, size)
    ours = train(text, size, special_tokens=())
    merges = [(name(ours.tokens[a]), name(ours.tokens[b])) for a, b in ours.merges]
    assert merges == expected
    vocabulary = {name(token): i for i, token in enumerate(ours.tokens)}
    assert vocabulary == library.get_vocab()
    for sample in (text[:3000], *ODD):
        assert ours.encode(sample) == library.encode(sample).ids
    return ours


TEXTS = {
    "English": english,
    "Chinese": lambda: CHINESE,
    "code": code,
    "many scripts": lambda: MANY_SCRIPTS * 3,
    "random characters": lambda: random_text(1, 3000),
    "random bytes": lambda: random_bytes(2, 3000),
    "random bytes as Latin-1": lambda: random.Random(3).randbytes(9000).decode("l1"),
    "one word": lambda: random_text(4, 3000, "abc"),
    "one letter": lambda: "a" * 1001,
    "DNA": lambda: random_text(5, 6000, "ACGT"),
    "runs": lambda: "".join(c * random.Random(6).randrange(90) for c in "ab=a中" * 9),
    "two letters in turn": lambda: "ab" * 1500 + "a",
    "Chinese without spaces": lambda: random_text(7, 2000, CHINESE[:40]),
    "spaces": lambda: " " * 100 + "\n" * 77 + "x y",
}


@pytest.mark.parametrize("kind", TEXTS)
def test_every_merge_is_the_librarys(kind):
    text = TEXTS[kind]()
    for size in (257, 300, 1000):
        check_like_library(text, size)


def test_every_merge_is_the_librarys_where_ties_and_overlaps_abound():
    for seed in range(60):
        rng = random.Random(seed)
        alphabet = rng.choice(["ab", "abc", "ab ", "abcd ", "aàé中 ", "xyz\n '"])
        text = random_text(seed, rng.choice([5, 20, 100, 400]), alphabet)
        check_like_library(text, 256 + rng.choice([3, 10, 40, 200]))


class Merge(tuple):
    """A merge of `bpe.apply` that counts how often merges are compared."""

    compared = 0

    def __lt__(self, other):
        Merge.compared += 1
        return tuple.__lt__(self, other)

    def __gt__(self, other):
        Merge.compared += 1
        return tuple.__gt__(self, other)

    def __eq__(self, other):
        Merge.compared += 1
        return tuple.__eq__(self, other)

    __hash__ = tuple.__hash__


def work(call):
    """How many lines of text.bpe a call runs and merges it compares, on any machine.

    A line may look at many merges, as min does.
    """
    count, before = 0, sys.gettrace()

    def trace(frame, event, _):
        nonlocal count
        if frame.f_code.co_filename != bpe.__file__:
            return None
        count += event == "line"
        return trace

    Merge.compared = 0
    sys.settrace(trace)
    try:
        call()
    finally:
        sys.settrace(before)
    return count + Merge.compared


LONG_WORDS = {
    "random letters": lambda size: random_text(8, size, "ACGT"),
    "one letter": lambda size: "=" * size,
    "two in turn": lambda size: "ab" * (size // 2),
    "runs": lambda size: ("a" * 37 + "b" * 50) * (size // 87),
}
# So small that a way with n² steps fails within seconds: at a million it would not end.
SIZES = (348, 696)


@pytest.mark.parametrize("kind", LONG_WORDS)
def test_a_word_twice_as_long_is_twice_the_work(kind, monkeypatch):
    words = [LONG_WORDS[kind](size) for size in SIZES]
    short, long = (work(partial(bpe.learn, {word: 1}, 300)) for word in words)
    assert short < long < 2.2 * short
    monkeypatch.setattr(bpe, "NO_MERGE", Merge(bpe.NO_MERGE))
    ids = train(words[0], 300)._ids
    ids.ranks = {pair: Merge(merge) for pair, merge in ids.ranks.items()}
    short, long = (work(partial(ids.__getitem__, word)) for word in words)
    assert short < long < 2.2 * short


def test_a_long_word_that_occurs_often_is_learnt_from_once():
    word = random_text(9, 3_000, "ACGT")
    once, often = ({word: count, "ab": 1} for count in (1, 1000))
    assert bpe.learn(once, 280)[1] == bpe.learn(often, 280)[1]
    assert work(lambda: bpe.learn(often, 280)) < 1.1 * work(
        lambda: bpe.learn(once, 280)
    )


def test_tiny_shakespeare_has_the_librarys_merges(monkeypatch):
    monkeypatch.setenv("LMLAB_OFFLINE", "1")
    try:
        text = corpora.load("tinyshakespeare").train
    except data.DataError:
        pytest.skip("tiny Shakespeare is neither in the cache nor in LMLAB_MIRROR")
    ours = check_like_library(text, 1000)
    assert ours.vocab_size == 1000


def test_ties_go_to_the_tokens_that_were_there_first():
    # ("b", "c"), ("x", "y") and ("a", "d") occur twice each.
    _, merges = bpe.learn({"xy": 2, "bc": 2, "ad": 2}, 259)
    first = [tuple(bpe.BYTES[i] for i in pair) for pair in merges]
    assert first == [tuple(b"ad"), tuple(b"bc"), tuple(b"xy")]


def test_training_by_hand():
    # we 8 | lo 7, while ow is down to 5 | four pairs at 6: (e, we) comes first, since
    # e has the smallest id; then (n, ewe) and (s, t), where n is before s.
    tokens, merges = bpe.learn({"low": 5, "lower": 2, "newest": 6}, 261)
    assert tokens[256:] == [b"we", b"lo", b"ewe", b"newe", b"st"]
    pairs = [(tokens[a], tokens[b]) for a, b in merges]
    assert pairs[2:4] == [(b"e", b"we"), (b"n", b"ewe")]


def test_a_word_is_counted_as_often_as_it_occurs_and_never_joined_to_another():
    tokenizer = train("xy xy xy xy ab", 258, special_tokens=())
    assert tokenizer.tokens[256:] == [b"xy", b" xy"]
    # "b" and " " stand side by side most often, but in two words.
    tokenizer = train("b c b d b e b f", 257, special_tokens=())
    assert tokenizer.tokens[256:] == [b" b"]


def test_texts_are_kept_apart_and_taken_from_any_iterable():
    apart = train(iter(["ab", "ab", "cd"]), 257, special_tokens=())
    assert apart.tokens[256:] == [b"ab"]
    text = english()[:5000]
    whole = train(text, 400)
    assert whole.merges == train([text], 400).merges
    assert whole.merges != train(text[::-1], 400).merges


def test_special_tokens_come_last_and_count():
    tokenizer = train("abab", 300, special_tokens=("<a>", END))
    assert tokenizer.vocab_size == 256 + 2 + 2  # ab, abab: then no pair is left
    assert tokenizer.special_tokens == {"<a>": 258, END: 259}
    assert tokenizer.end == 259
    assert train("abab", 258, special_tokens=()).end is None


def test_special_tokens_are_cut_out_of_what_is_learnt_from(monkeypatch):
    parts = [english()[i : i + 300] for i in range(0, 9000, 300)]
    expected = train(parts, 400)
    assert train(END.join(parts), 400).merges == expected.merges
    assert train(["<a>", *parts, "<a>"], 400, ("<a>",)).merges == expected.merges
    assert train(END.join(parts), 400, ()).merges != expected.merges
    monkeypatch.setattr(pretokenize.pieces, "__defaults__", (7,))
    assert train(END.join(parts), 400).merges == expected.merges


def test_special_tokens_can_be_added_later(trained, tmp_path):
    before = pickle.dumps(trained)
    more = trained.add_special_tokens(["<a>", END, "<|user|>"])
    V = trained.vocab_size
    assert more.special_tokens == {END: trained.end, "<a>": V, "<|user|>": V + 1}
    assert more.vocab_size == V + 2
    assert pickle.dumps(trained) == before
    assert more.encode(f"x<a>{END}", special=True)[1:] == [V, trained.end]
    assert more.encode(MANY_SCRIPTS) == trained.encode(MANY_SCRIPTS)
    more.save(tmp_path / "bytes")
    assert same(check_like_transformers(tmp_path / "bytes"), more)
    letters = Tokenizer.characters("abc").add_special_tokens([END])
    assert letters.encode(f"ab{END}c", special=True) == [0, 1, 3, 2]
    assert letters.end == 3
    letters.save(tmp_path / "letters")
    assert same(Tokenizer.load(tmp_path / "letters"), letters)


@pytest.mark.parametrize(
    ("names", "error", "message"),
    [
        (END, TypeError, "list of names"),
        ([5], TypeError, "str, not int"),
        (["<a>", "<a>"], ValueError, "named twice"),
        ([""], ValueError, "empty"),
        ([" the"], ValueError, "ordinary token"),
        (["a"], ValueError, "ordinary token"),
        (["<\ud800>"], ValueError, "lone surrogate"),
    ],
)
def test_names_that_cannot_be_added_are_refused(trained, names, error, message):
    with pytest.raises(error, match=message):
        trained.add_special_tokens(names)


def test_a_long_text_is_read_in_pieces(monkeypatch):
    text = english()[:20_000]
    whole = train(text, 400)
    monkeypatch.setattr(pretokenize.pieces, "__defaults__", (7,))
    assert train(text, 400).merges == whole.merges


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (("", 300), ValueError, "no text"),
        (([], 300), ValueError, "no text"),
        (("a", 256), ValueError, "vocab_size must be a whole number from 257, got 256"),
        (("a", 255, ()), ValueError, "vocab_size must be a whole number from 256"),
        (("a", "1000"), TypeError, "vocab_size must be .* got '1000'"),
        (("a", 300.0), TypeError, "vocab_size must be .* got 300.0"),
        ((b"a", 300), TypeError, "decode it first"),
        ((["a", None], 300), TypeError, "str, not NoneType"),
        (("a", 300, END), TypeError, "list of names"),
        (("a", 300, ("<a>", "<a>")), ValueError, "named twice"),
        (("a", 300, ("",)), ValueError, "empty"),
        (("a", 300, ("a",)), ValueError, "ordinary token"),
        (("ab", 300, ("<\ud800>",)), ValueError, "lone surrogate"),
        ((END, 300), ValueError, "special tokens only"),
        (("ab\ud800", 300), ValueError, "lone surrogate U\\+D800"),
    ],
)
def test_training_refuses(arguments, error, message):
    with pytest.raises(error, match=message):
        train(*arguments)


# --- Encoding and decoding ------------------------------------------------------------


def naive(symbols, ranks):
    """The leftmost place of the lowest rank, again and again."""
    symbols = list(symbols)
    while True:
        places = [
            (ranks[pair][0], i)
            for i, pair in enumerate(itertools.pairwise(symbols))
            if pair in ranks
        ]
        if not places:
            return symbols
        _, i = min(places)
        symbols[i : i + 2] = [ranks[tuple(symbols[i : i + 2])][-1]]


def test_merges_are_applied_as_the_definition_says():
    for seed in range(40):
        text = random_text(seed, 300, "aab bc")
        tokenizer = train(text, 320)
        ranks, byte_ids = tokenizer._ids.ranks, tokenizer._ids.byte_ids
        for word in pretokenize.words(text):
            symbols = [byte_ids[byte] for byte in word.encode()]
            expected = naive(symbols, ranks)
            assert bpe.apply(symbols, ranks) == expected
            assert bpe._apply(symbols, ranks) == expected


def test_merges_that_nobody_learnt_are_applied_as_the_definition_says():
    """A merge may be ranked before those that make its two parts."""
    rng, byte_ids = random.Random(0), list(range(256))
    for _ in range(200):
        tokens, pairs = [bytes([i]) for i in range(256)], []
        while len(pairs) < 12:
            pair = tuple(rng.choices([97, 98, 99, *range(256, len(tokens))], k=2))
            token = tokens[pair[0]] + tokens[pair[1]]
            if token not in tokens:
                tokens.append(token)
                pairs.append(pair)
        rng.shuffle(pairs)
        ranks = Tokenizer(tokens, pairs)._ids.ranks
        word = [byte_ids[byte] for byte in rng.choices(b"abc", k=60)]
        assert bpe._apply(word, ranks) == naive(word, ranks)
        assert bpe._apply_short(word, ranks) == naive(word, ranks)


@pytest.fixture(scope="module")
def trained():
    return train([english(), CHINESE, code()], 1500)


@pytest.fixture(scope="module")
def gpt2():
    return tokenizer.gpt2()


def samples():
    yield from ODD
    yield english()[:20_000]
    yield code()
    for seed in range(30):
        yield random_text(seed, 400)
        yield random_bytes(seed, 400)
        yield random_text(seed, 400, " \t\n\r\x0b\u3000\xa0'sdmtrevlSa1½é中_.")


@pytest.fixture(scope="module")
def published(gpt2, tmp_path_factory):
    """A folder with vocab.json and merges.txt, byte for byte as OpenAI published them.

    Their hashes are in `data.published`, which had them from several public records.
    """
    folder = tmp_path_factory.mktemp("gpt2")
    names = [name(token) for token in gpt2.tokens[:-1]] + [END]
    vocab = {token: i for i, token in enumerate(names)}
    (folder / "vocab.json").write_text(json.dumps(vocab), "ascii")
    lines = ["#version: 0.2", *(f"{names[a]} {names[b]}" for a, b in gpt2.merges), ""]
    (folder / "merges.txt").write_bytes("\n".join(lines).encode())
    return folder


@pytest.mark.parametrize("file", ["vocab.json", "merges.txt"])
def test_the_embedded_vocabulary_is_the_published_one(published, file):
    found = hashlib.sha256((published / file).read_bytes()).hexdigest()
    expected = KNOWN["gpt2"].accepted(file)[0]
    assert found == expected.sha256
    assert (published / file).stat().st_size == expected.bytes


def test_the_embedded_vocabulary_is_made_again_by_its_tool(
    published, tmp_path, monkeypatch
):
    asset = ASSETS / "gpt2-vocabulary"
    (tmp_path / "vocab.bpe").write_bytes((published / "merges.txt").read_bytes())
    (tmp_path / "LICENSE").write_bytes((asset / "LICENSE.txt").read_bytes())
    monkeypatch.setattr(tool, "FOLDER", tmp_path / "asset")
    tool.main(tmp_path)
    made = {p.name: p.read_bytes() for p in (tmp_path / "asset").iterdir()}
    assert set(made) == {"merges.txt.gz", "LICENSE.txt"}
    kept = (asset / "merges.txt.gz").read_bytes()
    unpacked = {gzip.decompress(some) for some in (kept, made["merges.txt.gz"])}
    assert len(unpacked) == 1  # what packs them may differ from machine to machine
    assert kept[4:8] == bytes(4)  # the time
    (tmp_path / "vocab.bpe").write_bytes(b"#version: 0.2\na b\n")
    with pytest.raises(SystemExit, match="not GPT-2's"):
        tool.main(tmp_path)


def test_gpt2_needs_no_network_and_takes_light_imports(tmp_path):
    offline = {"LMLAB_OFFLINE": "1", "LMLAB_DATA": str(tmp_path), "LMLAB_MIRROR": ""}
    code = (
        "import sys; from lmlab.text import tokenizer\n"
        "print(tokenizer.gpt2().encode('Hello world'))\n"
        "heavy = 'huggingface_hub', 'torch', 'tokenizers', 'pooch', 'lmlab.data'\n"
        "print([module for module in heavy if module in sys.modules])"
    )
    said = subprocess.check_output(
        [sys.executable, "-c", code], text=True, env=os.environ | offline
    )
    assert said == "[15496, 995]\n[]\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["GPT2Tokenizer", "GPT2TokenizerFast"])
def test_gpt2_encodes_as_transformers_does(gpt2, published, kind):
    import transformers

    files = {"vocab": "vocab.json", "merges": "merges.txt"}
    theirs = getattr(transformers, kind)(
        **{key: str(published / file) for key, file in files.items()}
    )
    assert len(theirs) == gpt2.vocab_size
    for text in samples():
        ids = theirs(text)["input_ids"]
        assert gpt2.encode(text, special=True) == ids
        assert theirs.decode(ids, clean_up_tokenization_spaces=False) == text


def test_gpt2_encodes_and_decodes_as_the_library_does(gpt2, published, tmp_path):
    gpt2.save(tmp_path)
    library = ByteLevelBPETokenizer(
        str(published / "vocab.json"), str(published / "merges.txt")
    )
    saved = Library.from_file(str(tmp_path / "tokenizer.json"))
    for text in samples():
        ids = gpt2.encode(text)
        assert ids == library.encode(text).ids
        assert gpt2.decode(ids) == text
        assert gpt2.encode(text, special=True) == saved.encode(text).ids
    assert same(Tokenizer.load(published), gpt2)
    rng = random.Random(0)
    for _ in range(300):  # ids that no text has: bytes that are no characters
        ids = rng.choices(range(50_256), k=20)
        assert gpt2.decode(ids) == library.decode(ids)


def test_gpt2_is_what_it_is_known_to_be(gpt2):
    assert gpt2.vocab_size == 50_257
    assert gpt2.end == 50_256
    assert len(gpt2.merges) == 50_000
    assert gpt2.encode("Hello world") == [15496, 995]  # the example in GPT-2's docs
    assert gpt2.dtype == np.uint16


def test_the_character_classes_are_the_librarys():
    """Letters, numbers, spaces: for every character that Python's tables know."""
    known = [c for c in ASSIGNED if unicodedata.category(c) != "Cn" and c != "\x01"]
    text = "\x01".join(known)
    for kind in (r"\p{L}", r"\p{N}", r"\s"):
        pieces = pre_tokenizers.Split(Regex(kind), "isolated").pre_tokenize_str(text)
        theirs = {piece for piece, _ in pieces if len(piece) == 1 and piece != "\x01"}
        assert theirs == set(regex.findall(kind, text)) != set()


def test_what_is_encoded_comes_back(trained):
    for text in samples():
        assert trained.decode(trained.encode(text)) == text
    for seed in range(50):  # any bytes, by way of the ids of bytes
        content = random.Random(seed).randbytes(200)
        ids = [trained.tokens.index(bytes([byte])) for byte in content]
        assert trained.decode_bytes(ids) == content
        assert trained.decode(ids) == content.decode(errors="replace")


def test_special_tokens_are_read_only_when_asked_for(trained):
    text = f"ab{END}cd{END}{END} e"
    plain = trained.encode(text)
    assert trained.end not in plain
    assert trained.decode(plain) == text
    ids = trained.encode(text, special=True)
    assert ids.count(trained.end) == 3
    parts = [trained.encode(part) for part in ("ab", "cd", "", " e")]
    assert ids == [
        *parts[0],
        trained.end,
        *parts[1],
        trained.end,
        trained.end,
        *parts[3],
    ]
    assert trained.decode(ids) == text


def test_the_longest_special_token_wins():
    tokenizer = train("abc", 300, special_tokens=("<a", "<a>", "<ab>"))
    special = tokenizer.special_tokens
    assert tokenizer.encode("<ab><a><a", special=True) == [
        special["<ab>"],
        special["<a>"],
        special["<a"],
    ]


@pytest.mark.parametrize("kind", [list, tuple, np.array, "torch"])
def test_ids_may_come_as_a_list_an_array_or_a_tensor(trained, kind):
    if kind == "torch":
        import torch

        kind = torch.tensor
    ids = trained.encode("any text")
    assert trained.decode(kind(ids)) == "any text"
    assert trained.decode(kind([])) == ""
    assert all(type(i) is int for i in ids)


def test_bad_ids_and_texts_are_refused(trained):
    last = trained.vocab_size - 1
    for bad in (-1, last + 1, 10**20):
        with pytest.raises(ValueError, match=f"{bad} is no id .* 0 to {last}"):
            trained.decode([5, bad])
    for bad in (5, np.array(5), None):
        with pytest.raises(TypeError, match="must be a sequence of whole numbers, not"):
            trained.decode(bad)
    for bad in ([[1, 2]], [1.0], ["a"], np.ones((2, 2), int), "abc", [None]):
        with pytest.raises(TypeError, match="whole numbers, one sequence at a time"):
            trained.decode(bad)
    with pytest.raises(TypeError, match="decode it first"):
        trained.encode(b"bytes")
    with pytest.raises(TypeError, match="str, not int"):
        trained.encode(5)
    for special in (False, True):
        with pytest.raises(ValueError, match=r"lone surrogate U\+DC80"):
            trained.encode("ab \udc80 c", special=special)


def test_the_cache_is_bounded_and_holds_no_long_words(monkeypatch):
    tokenizer = train("abc", 257)
    monkeypatch.setattr(bpe, "CACHED_WORDS", 10)
    tokenizer.encode(" ".join(f"w{i}" for i in range(1000)))
    assert 1 <= len(tokenizer._ids) <= 10
    tokenizer.encode("x" * (bpe.CACHED_LENGTH + 1))
    assert max(map(len, tokenizer._ids)) <= bpe.CACHED_LENGTH


def test_it_can_be_sent_to_another_process(trained):
    again = pickle.loads(pickle.dumps(trained))
    assert again.encode(MANY_SCRIPTS + "new words") == trained.encode(
        MANY_SCRIPTS + "new words"
    )


# --- Pieces of a text, and files ------------------------------------------------------


def test_words_do_not_depend_on_where_the_pieces_are_cut():
    rng = random.Random(0)
    alphabet = [*" \n\t'sdmtrevl1a中.", "  ", "'re", "'ll "]
    for _ in range(300):
        text = "".join(rng.choices(alphabet, k=rng.randrange(60)))
        expected = pretokenize.words(text)
        assert "".join(expected) == text
        for size in (1, 2, 3, 5, 17):
            lists = pretokenize.stream(pretokenize.pieces(text, size))
            assert list(itertools.chain.from_iterable(lists)) == expected
        cuts = sorted(rng.choices(range(len(text) + 1), k=5))
        pieces = [text[a:b] for a, b in itertools.pairwise([0, *cuts, len(text)])]
        lists = pretokenize.stream(pieces)
        assert list(itertools.chain.from_iterable(lists)) == expected


@pytest.mark.parametrize("piece", [1, 2, 3, 7, 1000, 1 << 20])
def test_a_file_has_the_ids_of_its_text(trained, tmp_path, piece):
    text = "".join(ODD) + "\r\n\ufeff" + english()[:2000] + "\n \n  '"
    path = tmp_path / "text.txt"
    path.write_bytes(text.encode())
    ids = trained.encode_file(path, piece=piece)
    assert ids.dtype == np.uint16
    assert ids.tolist() == trained.encode(text)
    mapped = trained.encode_file(path, tmp_path / "new" / "ids.npy", piece=piece)
    assert isinstance(mapped, np.memmap)
    assert mapped.dtype == np.uint16
    assert np.array_equal(mapped, ids)
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["ids.npy"]


def test_a_file_of_characters(tmp_path):
    tokenizer = Tokenizer.characters("abc 中\n")
    path = tmp_path / "text.txt"
    path.write_text("cab 中中\nb", encoding="utf-8")
    for piece in (1, 2, 100):
        ids = tokenizer.encode_file(path, piece=piece)
        assert ids.tolist() == tokenizer.encode("cab 中中\nb")


NAMES = ("<a>", "<ab>", "<a", "b><c>", "<c>", "aba")


def pieces_of(text, rng):
    cuts = sorted(rng.choices(range(len(text) + 1), k=rng.randrange(9)))
    return [text[a:b] for a, b in itertools.pairwise([0, *cuts, len(text)])]


def test_a_text_in_pieces_has_the_ids_of_the_whole(trained):
    """Cut anywhere: inside words, line ends and the names of special tokens."""
    several = trained.add_special_tokens(NAMES)
    letters = Tokenizer.characters("<>abc '\n").add_special_tokens(NAMES)
    pattern = regex.compile("|".join(sorted(NAMES, key=len, reverse=True)))
    rng = random.Random(0)
    for _ in range(300):
        text = "".join(rng.choices([*NAMES, *"<>abc '\n"], k=rng.randrange(30)))
        for some in (several, letters):
            expected, at = [], 0
            for match in pattern.finditer(text):
                expected += some.encode(text[at : match.start()])
                expected.append(some.special_tokens[match[0]])
                at = match.end()
            expected += some.encode(text[at:])
            assert some.encode(text, special=True) == expected
            for pieces in (pieces_of(text, rng), text, [text]):
                assert list(some.encode_iterable(pieces, special=True)) == expected
                assert list(some.encode_iterable(pieces)) == some.encode(text)


def test_special_tokens_are_read_in_a_file_too(trained, tmp_path):
    text = END.join(["a b", "", "中 c\r\n", "<|endof", "text|>", " d"])
    path = tmp_path / "text.txt"
    path.write_bytes(text.encode())
    expected = trained.encode(text, special=True)
    assert expected.count(trained.end) == 5
    for piece in (1, 2, 5, 13, 1000):
        ids = trained.encode_file(path, special=True, piece=piece)
        assert ids.tolist() == expected
        plain = trained.encode_file(path, piece=piece)
        assert plain.tolist() == trained.encode(text) != expected


@pytest.mark.parametrize("bad", [[b"a"], ["a", None], b"ab"])
def test_pieces_that_are_no_text_are_refused(trained, bad):
    with pytest.raises(TypeError, match="text must be a str, not"):
        list(trained.encode_iterable(bad))


def test_ids_of_pieces_come_before_the_text_has_ended(trained):
    def endless():
        while True:
            yield f"some words {END[:5]}"
            yield f"{END[5:]} and more"

    trained.encode("some words and more")
    tracemalloc.start()
    some = list(itertools.islice(trained.encode_iterable(endless(), True), 100_000))
    held = tracemalloc.get_traced_memory()[1] - sys.getsizeof(some)
    tracemalloc.stop()
    assert some.count(trained.end) > 5_000
    assert held < 500_000


def test_a_character_that_is_unknown_names_the_file(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text("abz", encoding="utf-8")
    with pytest.raises(ValueError, match=r"text\.txt: 'z' is not among"):
        Tokenizer.characters("ab").encode_file(path)


def test_no_encoding_is_left_to_the_system(tmp_path):
    """Python warns where one is, and here a warning is an error."""
    script = r"""
import pathlib, sys, warnings
warnings.filterwarnings("error", category=EncodingWarning, module="lmlab")
from lmlab.data import corpora
from lmlab.text.tokenizer import Tokenizer, train
folder = pathlib.Path(sys.argv[1])
path = folder / "text.txt"
path.write_bytes("\u4e2d\u6587 \u00e9 ".encode() * 500)
train(corpora.load(path).train, 300, ["<\u4e2d>"]).save(folder)
whole = Tokenizer.load(folder)
(folder / "tokenizer.json").unlink()
assert Tokenizer.load(folder).special_tokens == whole.special_tokens
assert list(whole.special_tokens) == ["<\u4e2d>"]
text = whole.decode(whole.encode_file(path, folder / "ids.npy"))
assert text.encode() == path.read_bytes()
"""
    options = ["-X", "warn_default_encoding"]
    ascii_only = os.environ | {
        "LC_ALL": "C",
        "PYTHONUTF8": "0",
        "PYTHONCOERCECLOCALE": "0",
    }
    subprocess.run(
        [sys.executable, *options, "-c", script, tmp_path], check=True, env=ascii_only
    )


def test_decoding_looks_at_each_id_once(trained):
    class Counting(list):
        looked_up = 0

        def __getitem__(self, i):
            Counting.looked_up += 1
            return super().__getitem__(i)

    counting = Tokenizer(trained.tokens, trained.merges, trained.special_tokens)
    counting.tokens = Counting(counting.tokens)
    for count in (1_000, 2_000):
        Counting.looked_up = 0
        counting.decode([97] * count)
        assert Counting.looked_up == count


def test_a_large_vocabulary_gets_wider_ids():
    byte = [bytes([i]) for i in range(256)]
    pairs = [a + b for a in byte for b in byte]
    assert Tokenizer([*byte, *pairs[:-256]]).dtype == np.uint16
    tokenizer = Tokenizer([*byte, *pairs])
    assert tokenizer.dtype == np.uint32
    assert tokenizer.decode_bytes([65_535 + 256]) == b"\xff\xff"


def test_a_long_file_needs_memory_for_a_piece(trained, tmp_path):
    path, text = tmp_path / "long.txt", english()
    trained.encode(text)  # fills the cache of words

    def peak(repeats, out=None):
        path.write_text(text * repeats, encoding="utf-8")
        tracemalloc.start()
        ids = trained.encode_file(path, out, piece=1 << 15)
        size = tracemalloc.get_traced_memory()[1] - (0 if out else ids.nbytes)
        tracemalloc.stop()
        return size, len(ids)

    (one, count), (many, counts) = peak(1), peak(8)
    assert counts > 7 * count
    assert many < one + 3 * counts  # array.array keeps some room to grow
    out = tmp_path / "ids.npy"
    (one, _), (many, _) = peak(1, out), peak(8, out)
    assert many < 1.2 * one + 10_000


@pytest.mark.parametrize("piece", [1, 5, 1 << 20])
def test_a_file_that_is_not_utf8_says_where(trained, tmp_path, piece):
    path = tmp_path / "latin1.txt"
    path.write_bytes(b"0123456789" + "é".encode("latin-1") + b" more")
    with pytest.raises(ValueError, match="is not UTF-8: byte 10 is 0xe9"):
        trained.encode_file(path, piece=piece)
    path.write_bytes("人".encode()[:2])
    with pytest.raises(ValueError, match=r"byte 0 is 0xe4 .*unexpected end"):
        trained.encode_file(path, tmp_path / "ids.npy", piece=piece)
    assert [p.name for p in tmp_path.iterdir()] == ["latin1.txt"]


def test_an_empty_or_missing_file_is_refused(trained, tmp_path):
    with pytest.raises(FileNotFoundError):
        trained.encode_file(tmp_path / "none.txt")
    (tmp_path / "empty.txt").touch()
    with pytest.raises(ValueError, match="is empty"):
        trained.encode_file(tmp_path / "empty.txt")


def test_a_full_disk_leaves_the_ids_that_were_there(trained, tmp_path, monkeypatch):
    path, out = tmp_path / "text.txt", tmp_path / "ids.npy"
    path.write_text("some text", encoding="utf-8")
    trained.encode_file(path, out)
    before = out.read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "array", full)
    with pytest.raises(OSError, match="No space left"):
        trained.encode_file(path, out)
    assert out.read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["ids.npy", "text.txt"]


# --- Saving and loading ---------------------------------------------------------------


def same(a, b):
    return (
        type(a) is type(b)
        and a.tokens == b.tokens
        and a.merges == b.merges
        and a.special_tokens == b.special_tokens
    )


def test_saved_files_are_read_here_and_by_hugging_face(trained, tmp_path):
    import transformers

    trained.save(tmp_path / "new")
    assert same(Tokenizer.load(tmp_path / "new"), trained)
    assert same(Tokenizer.load(str(tmp_path / "new")), trained)
    library = Library.from_file(str(tmp_path / "new" / "tokenizer.json"))
    auto = transformers.AutoTokenizer.from_pretrained(tmp_path / "new")
    assert auto.eos_token_id == auto.bos_token_id == trained.end
    assert len(auto) == trained.vocab_size
    for text in samples():
        ids = trained.encode(text, special=True)
        assert library.encode(text).ids == ids
        assert auto(text)["input_ids"] == ids
        assert library.decode(ids, skip_special_tokens=False) == text
        assert auto.decode(ids) == text


def test_a_home_folder_is_the_same_one_to_read_and_to_write(
    trained, tmp_path, monkeypatch
):
    home, work = tmp_path / "home", tmp_path / "work"
    home.mkdir()
    work.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("USERPROFILE", str(home))  # of Windows
    monkeypatch.chdir(work)
    trained.save("~/saved")
    (home / "saved" / "added_tokens.json").write_text('{"<of another>": 9}', "utf-8")
    trained.save("~/saved")
    assert same(Tokenizer.load("~/saved"), trained)
    assert not (home / "saved" / "added_tokens.json").exists()
    (home / "text.txt").write_text("some text", "utf-8")
    ids = trained.encode_file("~/text.txt", "~/ids.npy")
    assert ids.tolist() == trained.encode("some text")
    assert sorted(p.name for p in home.iterdir()) == ["ids.npy", "saved", "text.txt"]
    assert not list(work.iterdir())


def test_without_tokenizer_json_the_two_old_files_do(trained, tmp_path):
    trained.save(tmp_path)
    (tmp_path / "tokenizer.json").unlink()
    assert same(Tokenizer.load(tmp_path), trained)
    merges = tmp_path / "merges.txt"
    bare = merges.read_bytes().split(b"\n", 1)[1].replace(b"\n", b"\r\n")
    merges.write_bytes(bare)  # without the header line, with Windows' line ends
    assert same(Tokenizer.load(tmp_path), trained)


def test_what_the_library_saved_is_read(tmp_path):
    text = english()[:5000]
    library, _ = library_trained(text, 400)
    library.add_special_tokens([END, "<pad>"])
    library.save(str(tmp_path / "tokenizer.json"))
    loaded = Tokenizer.load(tmp_path)
    assert loaded.special_tokens == {END: 400, "<pad>": 401}
    assert loaded.encode(text) == library.encode(text).ids


@pytest.mark.parametrize("kind", ["AutoTokenizer", "GPT2Tokenizer"])
def test_what_transformers_saved_again_is_read(trained, tmp_path, kind):
    import transformers

    trained.save(tmp_path / "ours")
    theirs = getattr(transformers, kind).from_pretrained(tmp_path / "ours")
    theirs.save_pretrained(tmp_path / "theirs")
    saved = json.loads((tmp_path / "theirs" / "tokenizer.json").read_text("utf-8"))
    assert saved["post_processor"]["type"] == "TemplateProcessing"
    again = Tokenizer.load(tmp_path / "theirs")
    assert same(again, trained)
    for text in samples():
        ids = again.encode(text, special=True)
        assert ids == trained.encode(text, special=True) == theirs(text)["input_ids"]


def test_what_transformers_saved_with_more_tokens_in_a_text_is_not(trained, tmp_path):
    import transformers

    trained.save(tmp_path / "ours")
    ends = transformers.AutoTokenizer.from_pretrained(
        tmp_path / "ours", add_bos_token=True
    )
    assert ends("it")["input_ids"] == [trained.end, *trained.encode("it")]
    ends.save_pretrained(tmp_path / "ends")
    with pytest.raises(
        ValueError, match=r"\(TemplateProcessing\) adds tokens to every"
    ):
        Tokenizer.load(tmp_path / "ends")
    word = transformers.AutoTokenizer.from_pretrained(tmp_path / "ours")
    word.add_tokens(["zebra"])
    assert word("a zebra")["input_ids"] != trained.encode("a zebra")
    word.save_pretrained(tmp_path / "word")
    with pytest.raises(ValueError, match="its added token 'zebra' is one that texts"):
        Tokenizer.load(tmp_path / "word")


def test_characters_are_numbered_in_order_and_saved(tmp_path):
    import transformers

    text = 'hello 中\n wörld "\\'
    tokenizer = Tokenizer.characters(text)
    assert tokenizer.vocab_size == len(set(text))
    assert tokenizer.encode("\n ") == [0, 1]
    assert tokenizer.decode(tokenizer.encode(text)) == text
    assert tokenizer.end is None
    tokenizer.save(tmp_path)
    assert same(Tokenizer.load(tmp_path), tokenizer)
    auto = transformers.AutoTokenizer.from_pretrained(tmp_path)
    assert auto(text)["input_ids"] == tokenizer.encode(text)
    assert auto.decode(tokenizer.encode(text)) == text
    auto.save_pretrained(tmp_path / "again")
    assert same(Tokenizer.load(tmp_path / "again"), tokenizer)
    with pytest.raises(ValueError, match="'z' is not among the 13 characters"):
        tokenizer.encode("hez")
    with pytest.raises(ValueError, match="no character"):
        Tokenizer.characters("")
    with pytest.raises(ValueError, match="lone surrogate"):
        Tokenizer.characters("a\ud800")


def test_saving_is_whole_or_not_at_all(trained, tmp_path, monkeypatch):
    trained.save(tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert set(before) == {
        "merges.txt",
        "tokenizer.json",
        "tokenizer_config.json",
        "vocab.json",
    }

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space left"):
        train("other text", 300).save(tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def edited(folder, name, change):
    """Change one JSON file of a saved tokenizer in place."""
    path = folder / name
    content = json.loads(path.read_text(encoding="utf-8"))
    change(content)
    path.write_text(json.dumps(content), encoding="utf-8")


@pytest.fixture
def saved(tmp_path):
    train("low lower newest 人", 270).save(tmp_path)
    return tmp_path


def test_an_empty_folder_is_no_tokenizer(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"needs tokenizer.json, or vocab"):
        Tokenizer.load(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"needs tokenizer.json, or vocab"):
        Tokenizer.load(tmp_path / "none")


def test_a_cut_file_is_refused(saved):
    whole = saved / "tokenizer.json"
    content = whole.read_bytes()
    for cut in (0, 1, 1000, len(content) - 2):
        whole.write_bytes(content[:cut])
        with pytest.raises(ValueError, match=r"tokenizer.json is not whole JSON"):
            Tokenizer.load(saved)
    whole.write_bytes(b"\xff\xfe")
    with pytest.raises(ValueError, match="not UTF-8"):
        Tokenizer.load(saved)
    whole.unlink()
    merges = saved / "merges.txt"
    merges.write_text("".join(merges.read_text("utf-8").splitlines(True)[:-2]), "utf-8")
    with pytest.raises(ValueError, match=r"no merge makes: is merges.txt whole"):
        Tokenizer.load(saved)


@pytest.mark.parametrize("whole", [True, False])
def test_a_byte_order_mark_before_a_file_is_no_part_of_it(saved, whole):
    before = Tokenizer.load(saved)
    if not whole:
        (saved / "tokenizer.json").unlink()
    for path in saved.iterdir():
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert same(Tokenizer.load(saved), before)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("l", "line 4: 'l' is not two tokens"),
        ("l o w", "line 4: 'l o w' is not two tokens"),
        ("l zz", "line 4: 'l zz' is not two tokens"),
        ("l l", "merge 2 makes b'll', which has no id"),
    ],
)
def test_a_broken_line_of_merges_is_named(saved, line, message):
    (saved / "tokenizer.json").unlink()
    path = saved / "merges.txt"
    lines = path.read_text("utf-8").splitlines()
    path.write_text("\n".join([*lines[:3], line, *lines[3:]]), "utf-8")
    with pytest.raises(ValueError, match=message):
        Tokenizer.load(saved)


def change_vocabulary(change):
    def edit(saved):
        (saved / "tokenizer.json").unlink()
        edited(saved, "vocab.json", change)

    return edit


def change_whole(change):
    return lambda saved: edited(saved, "tokenizer.json", change)


TEXT = {"Sequence": {"id": "A", "type_id": 0}}
START = {"SpecialToken": {"id": END, "type_id": 0}}


def template(*parts):
    return {"type": "TemplateProcessing", "single": list(parts)}


def sequence(*parts):
    both = [{"type": "ByteLevel"}, template(*parts)]
    return {"type": "Sequence", "processors": both}


BYTES = {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True}
DIGITS = {"type": "Digits", "individual_digits": True}


def cuts(*steps):
    return {"type": "Sequence", "pretokenizers": list(steps)}


def keep_one_byte(whole):
    whole["model"].update(vocab={"a": 0}, merges=[])
    whole["added_tokens"].clear()


BROKEN = {
    "a gap": (
        change_vocabulary(lambda v: v.update({"<x>": 999})),
        "ids must run from 0 without a gap, but '<x>' has 999",
    ),
    "one id twice": (
        change_vocabulary(lambda v: v.update({"<x>": 5})),
        "without a gap",
    ),
    "not a number": (
        change_vocabulary(lambda v: v.update({"<x>": "7"})),
        "every id must be a whole number",
    ),
    "empty": (change_vocabulary(lambda v: v.clear()), "holds no vocabulary"),
    "another alphabet": (
        change_vocabulary(lambda v: v.update({"人": len(v)})),
        "no merge makes|stands for no byte",
    ),
    "no model": (change_whole(lambda w: w.pop("model")), "no 'model'"),
    "another model": (
        change_whole(lambda w: w["model"].update(type="WordPiece")),
        "not a tokenizer like GPT-2's: its model has the options",
    ),
    "a normalizer": (
        change_whole(lambda w: w.update(normalizer={"type": "NFC"})),
        "it has a normalizer",
    ),
    "another cut": (
        change_whole(lambda w: w.update(pre_tokenizer={"type": "Whitespace"})),
        "its pre_tokenizer is",
    ),
    "a space in front": (
        change_whole(lambda w: w["pre_tokenizer"].update(add_prefix_space=True)),
        "its pre_tokenizer is",
    ),
    "no cut": (
        change_whole(lambda w: w.update(pre_tokenizer=None)),
        "it has no pre_tokenizer",
    ),
    "whole texts": (
        change_whole(lambda w: w["pre_tokenizer"].update(use_regex=False)),
        "does not cut words",
    ),
    "a template": (
        change_whole(lambda w: w.update(post_processor=template(START, TEXT))),
        r"its post_processor \(TemplateProcessing\) adds tokens to every text",
    ),
    "a text twice": (
        change_whole(lambda w: w.update(post_processor=template(TEXT, TEXT))),
        r"its post_processor \(TemplateProcessing\) adds tokens",
    ),
    "a template in a sequence": (
        change_whole(lambda w: w.update(post_processor=sequence(TEXT, START))),
        r"its post_processor \(Sequence\) adds tokens",
    ),
    "another processor": (
        change_whole(lambda w: w.update(post_processor={"type": "BertProcessing"})),
        r"its post_processor \(BertProcessing\) adds tokens",
    ),
    "an option of the model": (
        change_whole(lambda w: w["model"].update(ignore_merges=True)),
        "its model has the options .*ignore_merges",
    ),
    "two cuts": (
        change_whole(lambda w: w.update(pre_tokenizer=cuts(DIGITS, BYTES))),
        "its pre_tokenizer is",
    ),
    "greedy special": (
        change_whole(lambda w: w["added_tokens"][0].update(lstrip=True)),
        "takes spaces with it",
    ),
    "not all bytes": (change_whole(keep_one_byte), "lacks 255 of the 256 bytes"),
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_file_that_would_give_other_ids_is_refused(saved, what):
    break_it, message = BROKEN[what]
    break_it(saved)
    with pytest.raises(ValueError, match=message):
        Tokenizer.load(saved)


HARMLESS = {
    "truncation": {"truncation": {"max_length": 64, "strategy": "LongestFirst"}},
    "padding": {"padding": {"strategy": "BatchLongest", "pad_id": 0}},
    "one cut in a sequence": {"pre_tokenizer": cuts(cuts(BYTES))},
    "a byte-level post-processor": {"post_processor": {"type": "ByteLevel"}},
}


@pytest.mark.parametrize("what", HARMLESS)
def test_what_does_not_change_ids_is_no_reason_to_refuse(saved, what):
    before = Tokenizer.load(saved)
    edited(saved, "tokenizer.json", lambda w: w.update(HARMLESS[what]))
    assert same(Tokenizer.load(saved), before)


def test_a_name_for_unknown_characters_does_not_matter_to_bytes(saved):
    before = Tokenizer.load(saved)
    edited(
        saved,
        "tokenizer.json",
        lambda w: w["model"].update(unk_token=END, fuse_unk=True),
    )
    assert same(Tokenizer.load(saved), before)


def test_what_was_once_cut_and_padded_is_read(trained, tmp_path):
    import transformers

    trained.save(tmp_path / "ours")
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path / "ours")
    theirs.pad_token = theirs.eos_token
    theirs(["a", "b c d"], truncation=True, padding="max_length", max_length=64)
    theirs.save_pretrained(tmp_path / "theirs")
    saved = json.loads((tmp_path / "theirs" / "tokenizer.json").read_text("utf-8"))
    assert saved["truncation"]
    assert saved["padding"]
    assert same(Tokenizer.load(tmp_path / "theirs"), trained)


PLAIN = {"lstrip": False, "rstrip": False, "single_word": False, "normalized": False}
GPT2 = {"tokenizer_class": "GPT2Tokenizer"}
FAST = {"tokenizer_class": "PreTrainedTokenizerFast"}
OTHERS = dict.fromkeys(("bos_token", "eos_token", "unk_token"), "<a>")


def more(V):
    """What the smaller files say: config, special_tokens_map, added_tokens.

    V: the first id after the vocabulary.
    """
    return {
        "nothing": (None, None, None),
        "an added token": (None, None, {"<|pad|>": V}),
        "an added token that a map names": (
            None,
            {"pad_token": "pad!", "additional_special_tokens": ["<a>", "<b>"]},
            {"<b>": V, "pad!": V + 1, "<a>": V + 2},
        ),
        "a map": (
            GPT2,
            {"pad_token": "<|pad|>", "bos_token": {"content": END, **PLAIN}},
            None,
        ),
        "a pad token in the config": (GPT2 | {"pad_token": "<|pad|>"}, None, None),
        "a name without brackets": (GPT2 | {"pad_token": "PAD"}, None, None),
        "many names": (
            GPT2
            | {
                "image_token": "<b>",
                "mask_token": "<a>",
                "additional_special_tokens": [
                    {"content": "<|pad|>", "__type": "AddedToken", **PLAIN}
                ],
                "pad_token": {"content": "[PAD]", "__type": "AddedToken", **PLAIN},
            },
            None,
            None,
        ),
        "names of a model's own": (
            GPT2 | {"extra_special_tokens": {"image_token": "<b>", "x": "<a>"}},
            None,
            None,
        ),
        "added tokens in the config": (
            GPT2
            | {
                "added_tokens_decoder": {
                    str(V + 1): {"content": "<a>", "special": True, **PLAIN},
                    str(V): {"content": "<|pad|>", "special": True, **PLAIN},
                }
            },
            None,
            None,
        ),
        "older files that the config overrules": (
            GPT2 | {"added_tokens_decoder": {}},
            {"pad_token": "<|pad|>"},
            {"<a>": V},
        ),
        "settings that are off": (
            GPT2
            | {"add_prefix_space": False, "add_bos_token": False, "eos_token": END},
            None,
            None,
        ),
        "other names than GPT-2's": (GPT2 | OTHERS, None, None),
        "other names and no class": (OTHERS | {"pad_token": "<|pad|>"}, None, None),
        "no names": (GPT2 | dict.fromkeys(OTHERS), None, None),
        "one other name": (GPT2 | {"eos_token": "<a>"}, None, None),
        "special tokens that stay whole": (
            GPT2 | {"split_special_tokens": False},
            None,
            None,
        ),
        "a fast class that names a token": (
            FAST | {"pad_token": "<|pad|>"},
            None,
            None,
        ),
    }


MORE = more(0)


def write_more(folder, *contents):
    """Put the smaller files, as in `more`, into a folder."""
    names = "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"
    (folder / "config.json").write_text('{"model_type": "gpt2"}', "utf-8")
    for name, content in zip(names, contents):
        (folder / name).unlink(missing_ok=True)
        if content is not None:
            (folder / name).write_text(json.dumps(content), "utf-8")


def check_like_transformers(folder):
    import transformers

    ours = Tokenizer.load(folder)
    theirs = transformers.AutoTokenizer.from_pretrained(folder)
    assert len(theirs) == ours.vocab_size
    rng = random.Random(0)
    parts = ["<a>", "<b>", "<|pad|>", "[PAD]", "PAD", "pad!", END, " ", "Hello", "é"]
    for text in [*parts, *("".join(rng.choices(parts, k=9)) for _ in range(50)), *ODD]:
        assert ours.encode(text, special=True) == theirs(text)["input_ids"]
    return ours


@pytest.mark.parametrize(
    ("what", "whole"),
    # transformers has no way to read the fast class without a tokenizer.json
    [(what, w) for what in MORE for w in (False, True) if w or "fast" not in what],
)
def test_what_the_smaller_files_say_is_heard(trained, tmp_path, what, whole):
    trained.save(tmp_path)
    if not whole:
        (tmp_path / "tokenizer.json").unlink()
    write_more(tmp_path, *more(trained.vocab_size)[what])
    loaded = check_like_transformers(tmp_path)
    count = sum(name in loaded.special_tokens for name in ("<|pad|>", "<a>", "PAD"))
    assert bool(count) == (what not in NOTHING_MORE)
    loaded.save(tmp_path)  # and what was heard is not lost, nor said twice
    assert same(check_like_transformers(tmp_path), loaded)


@pytest.mark.parametrize("config", [None, GPT2, GPT2 | OTHERS])
def test_names_in_the_two_files_are_special_only_where_a_name_is_given(
    trained, tmp_path, config
):
    several = trained.add_special_tokens(["<b>", "[PAD]", "<|pad|>"])
    several.save(tmp_path)
    (tmp_path / "tokenizer.json").unlink()
    assert same(Tokenizer.load(tmp_path), several)  # the config names them
    write_more(tmp_path, config, None, None)
    loaded = check_like_transformers(tmp_path)
    assert list(loaded.special_tokens) == (["<a>"] if config not in SILENT else [END])
    unread = several.special_tokens["[PAD]"]
    assert unread not in loaded.encode("[PAD]", special=True)
    assert loaded.decode([unread]) == "[PAD]"


def test_without_the_end_token_the_two_files_get_it(tmp_path):
    train("low lower", 260, special_tokens=()).save(tmp_path)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / name).unlink()
    write_more(tmp_path, None, None, None)
    assert check_like_transformers(tmp_path).end == 260


def test_gpt2_with_more_tokens_is_what_transformers_reads(gpt2, tmp_path):
    gpt2.save(tmp_path)
    (tmp_path / "tokenizer.json").unlink()
    write_more(tmp_path, *more(50_257)["an added token"])
    loaded = check_like_transformers(tmp_path)
    assert loaded.encode("x<|pad|>y", special=True) == [87, 50_257, 88]


SILENT = (None, GPT2)
NOTHING_MORE = (
    "nothing",
    "older files that the config overrules",
    "settings that are off",
    "no names",
    "special tokens that stay whole",
)
TOO_MUCH = {
    "a space in front": (
        GPT2 | {"add_prefix_space": True},
        "tokenizer_config.json: its add_prefix_space adds",
    ),
    "letters for special tokens": (
        GPT2 | {"split_special_tokens": True},
        "tokenizer_config.json: its split_special_tokens cuts",
    ),
    "a token in front": (
        GPT2 | {"add_bos_token": True},
        "tokenizer_config.json: its add_bos_token adds",
    ),
    "a token behind": (
        GPT2 | {"add_eos_token": True},
        "tokenizer_config.json: its add_eos_token adds",
    ),
    "another class": (
        {"tokenizer_class": "RobertaTokenizer"},
        "tokenizer_config.json: its tokenizer_class RobertaTokenizer may read",
    ),
    "an ordinary token": (
        GPT2 | {"pad_token": "!"},
        "special token '!' is an ordinary token",
    ),
    "a greedy token": (
        GPT2 | {"mask_token": {"content": "<a>", **PLAIN, "lstrip": True}},
        "'<a>' takes spaces with it",
    ),
    "another id": (
        GPT2 | {"added_tokens_decoder": {"9999": {"content": "<a>"}}},
        "'<a>' has the id 9999, but by the other files it is",
    ),
    "a word": (
        GPT2 | {"added_tokens_decoder": {"9": {"content": "zebra", "special": False}}},
        "'zebra' is one that texts may have",
    ),
    "no id": (
        GPT2 | {"added_tokens_decoder": {"x": {"content": "<a>"}}},
        "does not number its tokens",
    ),
    "no token": (GPT2 | {"pad_token": 7}, "7 is no token"),
    "no names": ([], "must be a JSON object"),
}


@pytest.mark.parametrize("what", TOO_MUCH)
def test_what_the_smaller_files_say_and_cannot_be_done_is_refused(saved, what):
    config, message = TOO_MUCH[what]
    (saved / "tokenizer.json").unlink()
    write_more(saved, config, None, None)
    with pytest.raises(ValueError, match=message):
        Tokenizer.load(saved)


ADDED = {
    "by the tokenizer's config": ({"tokenizer_class": "RobertaTokenizer"}, {}),
    "by the model's config": ({}, {"tokenizer_class": "RobertaTokenizerFast"}),
    "by the kind of model": ({}, {"model_type": "roberta"}),
}


@pytest.mark.parametrize("what", ADDED)
def test_a_class_that_adds_tokens_beside_a_tokenizer_json_is_refused(saved, what):
    import transformers

    ours, (config, model) = Tokenizer.load(saved), ADDED[what]
    (saved / "tokenizer_config.json").write_text(json.dumps(config), "utf-8")
    (saved / "config.json").write_text(json.dumps(model), "utf-8")
    theirs = transformers.AutoTokenizer.from_pretrained(saved)
    assert len(theirs("low")["input_ids"]) == len(ours.encode("low")) + 2
    with pytest.raises(
        ValueError, match=r"config.json: its \w+ [Rr]oberta\w* may read"
    ):
        Tokenizer.load(saved)


@pytest.mark.parametrize(
    "kind",
    [None, *GPT2.values(), "GPT2TokenizerFast", *FAST.values(), "TokenizersBackend"],
)
def test_a_class_that_adds_nothing_is_read(trained, tmp_path, kind):
    trained.save(tmp_path)
    config = {"tokenizer_class": kind} if kind else None
    write_more(tmp_path, config, None, None)
    assert same(check_like_transformers(tmp_path), trained)


def test_letters_for_special_tokens_are_refused_beside_a_tokenizer_json(saved):
    write_more(saved, FAST | {"split_special_tokens": True}, None, None)
    with pytest.raises(ValueError, match="its split_special_tokens cuts"):
        Tokenizer.load(saved)


def test_saving_leaves_no_older_files_that_speak_of_another_vocabulary(saved):
    write_more(saved, *more(270)["an added token that a map names"])
    tokenizer = train("abab", 300)
    tokenizer.save(saved)
    assert same(check_like_transformers(saved), tokenizer)


@pytest.mark.parametrize("make", [template, sequence])
def test_a_template_that_is_the_text_itself_adds_nothing(saved, make):
    before = Tokenizer.load(saved)
    edited(saved, "tokenizer.json", lambda w: w.update(post_processor=make(TEXT)))
    assert same(Tokenizer.load(saved), before)

"""The embedded texts are what their README says; every bad file has its own error."""

import hashlib
import json
import lzma
import os
import re
import zlib
from pathlib import Path

import numpy as np
import pytest

from lmlab import data
from lmlab.data import corpora, downloads
from lmlab.data.markov import MarkovSource, markov
from tools import duplicates, literature, poems, prose, snapshots

ROOT = Path(__file__).parents[1]
REAL = (ROOT / (os.environ.get("LMLAB_MIRROR") or "../shared/data")).resolve()


@pytest.fixture(autouse=True)
def clean(monkeypatch, tmp_path):
    for name in ("LMLAB_MIRROR", "LMLAB_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LMLAB_DATA", str(tmp_path / "cache"))


def paragraphs(text):
    return [p for d in corpora.documents(text) for p in d.split("\n\n")]


# The embedded texts


LITERATURE = ["austen", "kingjames", "tang", "song"]


@pytest.mark.parametrize("name", [*LITERATURE, "english", "code"])
def test_the_readme_says_what_the_files_hold(name):
    text = corpora.load(name)
    file = "README.md" if name in LITERATURE else "README-technical.md"
    readme = (corpora.FOLDER / file).read_text(encoding="utf-8")
    for part in ("train", "validation"):
        content = getattr(text, part)
        row = re.search(rf"^\| `{name}-{part}.*$", readme, re.MULTILINE)[0]
        path = corpora.FOLDER / f"{name}-{part}.txt.xz"
        numbers = [
            len(corpora.documents(content)),
            len(content.encode()),
            path.stat().st_size,
        ]
        assert [cell.strip() for cell in row.split("|")[2:5]] == [
            f"{number:,}" for number in numbers
        ]
        assert hashlib.sha256(content.encode()).hexdigest() in row


def test_literature_is_small_and_says_whose_it_is():
    files = [path for n in LITERATURE for path in corpora.FOLDER.glob(f"{n}-*.xz")]
    assert len(files) == 8
    assert sum(path.stat().st_size for path in files) < 4_000_000
    terms = (corpora.FOLDER / "LICENSES.txt").read_text(encoding="utf-8")
    for holder in (
        "Julia Silge",
        "Chip Chapin",
        "JackeyGao",
        "text of the Bible is ex",
    ):
        assert holder in " ".join(terms.split())


@pytest.mark.parametrize("name", LITERATURE)
def test_nothing_held_out_stands_in_the_training_text(name):
    text = corpora.load(name)
    assert data.load(name) == text
    assert 0.04 < len(text.validation) / len(text.train) < 0.08
    lines = text.validation.split("\n")
    if name in ("tang", "song"):  # any line of verse, without title and author
        documents = corpora.documents(text.validation)
        lines = [line for d in documents for line in d.split("\n")[2:]]
    long = [line for line in lines if len(line) >= (20 if name[0] in "ak" else 6)]
    assert len(long) > 500
    for other in LITERATURE:
        train = corpora.load(other).train
        assert not [line for line in long if line in train]


def windows(text, width):
    return {text[i : i + width] for i in range(len(text) - width + 1)}


@pytest.mark.parametrize(("name", "most"), [("austen", 0.003), ("kingjames", 0.05)])
def test_held_out_chapters_share_few_runs_with_the_others(name, most):
    text = corpora.load(name)
    held_out = windows(text.validation, 30)
    assert len(held_out & windows(text.train, 30)) < most * len(held_out)


def test_chapters_are_held_out_of_every_novel_and_the_text_is_clean():
    text = corpora.load("austen")
    people = ["Knightley", "Crawford", "Tilney", "Elliot", "Bingley", "Dashwood"]
    chapters = corpora.documents(text.validation)
    for name in people:  # one of every novel
        of_novel = sum(name in chapter for chapter in chapters)
        assert 1 < of_novel < 6, name
        assert name in text.train
    both = text.train + text.validation
    assert len(corpora.documents(text.train)) + len(chapters) == 269
    assert not re.search(
        r"(?i)^chapter \w+$|volume [iv]+$|^finis$|[_*|]|  ", both, re.M
    )
    assert {*re.sub("[ -~\n]", "", both)} == {"£"}
    assert both.count("[") == 1  # of a letter, to Mrs. Weston


def test_the_bible_is_whole_and_without_numbers():
    text = corpora.load("kingjames")
    chapters = corpora.documents(text.train) + corpora.documents(text.validation)
    assert len(chapters) == 1189
    assert sum(chapter.strip().count("\n") + 1 for chapter in chapters) == 31_102
    assert text.train.startswith("In the beginning God created the heaven and the ea")
    assert not re.search(r"\d", text.train + text.validation)


@pytest.mark.parametrize("name", ["tang", "song"])
def test_a_poem_is_title_author_and_lines(name):
    text = corpora.load(name)
    documents = corpora.documents(text.train) + corpora.documents(text.validation)
    found = set()
    for document in documents:
        title, author, *lines = document.rstrip("\n").split("\n")
        assert re.fullmatch("[\u4e00-\u9fff]{1,12}", title)
        assert re.fullmatch("[\u4e00-\u9fff]{2,4}", author)
        sizes = {len(line) for line in lines}
        for line in lines:
            assert re.fullmatch("[\u4e00-\u9fff、]+[，。？！；]", line)
        if name == "tang":
            assert len(lines) == 4
            assert sizes in ({6}, {8})
        else:
            assert len(poems.han("".join(lines))) <= 58
        found.add((author, *lines))
    assert len(found) == len(documents) > 8000
    assert not re.search("[國風雲無來時長見馬東後於]", "".join(documents))


def test_known_poems_are_there_under_their_poets():
    tang, song = corpora.load("tang"), corpora.load("song")
    both = corpora.BREAK + tang.train + corpora.BREAK + tang.validation
    for beginning in (
        "静夜思\n李白\n床前",
        "登鹳雀楼\n王之涣\n白日",
        "春晓\n孟浩然\n春眠",
    ):
        assert corpora.BREAK + beginning in both
    assert "如梦令\n李清照\n" in song.train + song.validation


def test_english_is_sentences_and_its_parts_share_little():
    text = corpora.load("english")
    train, validation = paragraphs(text.train), paragraphs(text.validation)
    assert 3e6 < len(text.train) < 6e6
    assert len(text.validation) > 150_000
    for paragraph in [*validation, *train[::20]]:
        assert prose.is_prose(paragraph.strip()), paragraph
    assert duplicates.overlap(validation, train) < 0.01
    assert len(set(train)) == len(train)


def test_code_is_python_and_unlike_the_prose():
    text = corpora.load("code")
    for document in corpora.documents(text.validation):
        compile(document, "a module", "exec")
        assert "\n# " not in document
    english = paragraphs(corpora.load("english").train)
    assert duplicates.overlap(corpora.documents(text.validation), english) < 0.01


@pytest.mark.parametrize("harm", ["missing", "cut", "other text"])
def test_a_damaged_snapshot_is_noticed(monkeypatch, tmp_path, harm):
    whole = (corpora.FOLDER / "code-train.txt.xz").read_bytes()
    content = {"cut": whole[:-100], "other text": lzma.compress(b"a")}
    if harm != "missing":
        (tmp_path / "code-train.txt.xz").write_bytes(content[harm])
    monkeypatch.setattr(corpora, "FOLDER", tmp_path)
    with pytest.raises(data.DataError, match="restore"):
        corpora.load("code")


# A file of the user's


def test_a_file_is_cut_after_nine_tenths(tmp_path):
    path = tmp_path / "mine.txt"
    path.write_text("é" * 1001, encoding="utf-8-sig")
    text = corpora.load(path)
    assert (len(text.train), len(text.validation)) == (900, 101)
    assert set(text.train + text.validation) == {"é"}  # no byte-order mark
    assert text.name == "mine.txt"
    assert "0.00 MB" in repr(text)
    assert corpora.load(str(path)).train == text.train


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b"a" * 1200 + b"caf\xe9" + b"a" * 100, "byte 1,203 is 0xe9"),
        (b"", "is empty"),
        (b" \n" * 800, "is empty"),
        (b"a" * 999, "999 characters, and 1,000"),
    ],
)
def test_a_file_that_will_not_do(tmp_path, content, match):
    path = tmp_path / "bad.txt"
    path.write_bytes(content)
    with pytest.raises(data.DataError, match=match):
        corpora.load(str(path))


def test_no_file_a_folder_and_a_wrong_name(tmp_path):
    with pytest.raises(data.DataError, match=r"no file .*none\.txt"):
        corpora.load(str(tmp_path / "none.txt"))
    with pytest.raises(data.DataError, match="is a folder"):
        corpora.load(str(tmp_path))
    with pytest.raises(data.DataError, match="did you mean english"):
        corpora.load("englisch")
    with pytest.raises(data.DataError, match="tinyshakespeare, or a file's path"):
        corpora.load("xyz")


# Tiny Shakespeare


def test_tinyshakespeare_offline_names_what_is_embedded(monkeypatch):
    monkeypatch.setenv("LMLAB_OFFLINE", "1")
    with pytest.raises(data.DataError, match='use "austen"') as caught:
        corpora.load("tinyshakespeare")
    assert "lmlab fetch tinyshakespeare" in str(caught.value)


def test_a_text_is_described_like_any_data_set():
    assert "1.1 MB to download" in data.describe("tinyshakespeare")


@pytest.mark.skipif(not (REAL / "tinyshakespeare").is_dir(), reason="no mirror here")
def test_tinyshakespeare_is_nanogpts(monkeypatch):
    monkeypatch.setenv("LMLAB_MIRROR", str(REAL))
    text = corpora.load("tinyshakespeare")
    assert (len(text.train), len(text.validation)) == (1_003_854, 111_540)
    assert len(set(text.train)) == 65
    assert text.train.startswith("First Citizen:\n")
    assert downloads.cache_dir().joinpath("tinyshakespeare/input.txt").exists()


# Tokens


class Letters:
    """A tokenizer of letters; `end` as asked."""

    def __init__(self, end):
        self.end = end

    def encode(self, text):
        return [ord(letter) for letter in text]


def test_token_ids_put_the_end_between_documents():
    text = "ab\n\nc" + corpora.BREAK + "d\n"
    assert corpora.token_ids(Letters(0), text).tolist() == [
        97,
        98,
        10,
        10,
        99,
        0,
        100,
        10,
    ]
    assert corpora.token_ids(Letters(None), text).tolist() == [ord(c) for c in text]


@pytest.mark.parametrize("end", ["\r\n", "\r"])
def test_line_ends_of_other_systems_part_documents_too(tmp_path, end):
    text = corpora.BREAK.join(f"{i}. A line\nand é.\n\nMore. " * 9 for i in range(40))
    paths = tmp_path / "lf.txt", tmp_path / "other.txt"
    for path, content in zip(paths, (text, text.replace("\n", end))):
        path.write_bytes(content.encode())
    unix, other = map(corpora.load, paths)
    assert (unix.train, unix.validation) == (other.train, other.validation)
    ids = corpora.token_ids(Letters(0), unix.train)
    assert (ids == 0).sum() == unix.train.count(corpora.BREAK) > 30
    # A text that did not come through `load`:
    assert corpora.documents(text.replace("\n", end)) == corpora.documents(text)
    other = corpora.token_ids(Letters(0), unix.train.replace("\n", end))
    assert np.array_equal(other, ids)


@pytest.mark.parametrize("end_token", [0, None])
def test_token_ids_say_all_of_a_text_but_which_line_ends_it_has(end_token):
    text = "a\r\nb\rc\n\r\n\r\n\r\nd"
    ids = corpora.token_ids(Letters(end_token), text)
    assert ids.dtype == np.int64
    said = "".join(corpora.BREAK if i == end_token else chr(i) for i in ids.tolist())
    assert said == "a\nb\nc\n\n\n\nd"


# How the snapshots are made

MODULE = '''"""Return the first word that is long enough to be part of a sentence.

Parameters
----------
words : list of str
    The words to look through, in any order; they need not be distinct at all.

>>> first(["a", "the sentence that stands in an example is no part of the text."])

See Also
--------
last : The same for the last word, with all that has been said about the first.
"""
x = 1  # a remark beside the code is not read, however long it may be or want to be.
# A comment that stands alone, on two lines or on more of them,
# is read as one paragraph, with `marks` and :class:`~a.Word` taken away.
y = f"A string with a {x} in it is no prose, since we do not know what will be there."
'''


def test_paragraphs_of_a_module():
    assert prose.paragraphs(MODULE) == [
        "Return the first word that is long enough to be part of a sentence.",
        "The words to look through, in any order; they need not be distinct at all.",
        "A comment that stands alone, on two lines or on more of them, is read as one "
        "paragraph, with marks and a.Word taken away.",
    ]


@pytest.mark.parametrize(
    "text",
    [
        "no capital letter begins this sentence, although it ends with a full stop.",
        "This one begins as a sentence should and then it does not end like one",
        "Too short to be one.",
        "Alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi pi.",
        "The value of the_first_name and of other_name is that of yet_another_name.",
        "It is x = a + b where the sum of the two is what you get if you add them up.",
        "Copyright is held by the authors, who have all the rights that there may be.",
    ],
)
def test_what_is_no_prose(text):
    assert not prose.is_prose(text)


def test_near_duplicates():
    seen = duplicates.Seen()
    text = "The quick brown fox jumps over the lazy dog that sleeps in the warm sun."
    assert seen.new(text)
    assert not seen.new(text)
    assert not seen.new(text.replace("quick", "slow"))
    assert seen.new("A different sentence, about nothing that has been said before it.")
    assert duplicates.overlap([text], [text.upper()]) == 1
    assert (
        duplicates.overlap([text], ["Something else that has eight words or more."])
        == 0
    )


def test_the_split_is_by_name_and_covers_all():
    names = [f"package/module_{i}.py" for i in range(800)]
    train, validation = duplicates.split(names)
    assert sorted(train + validation) == sorted(names)
    assert 20 < len(validation) < 90
    assert duplicates.split(names[::2])[1] == [n for n in validation if n in names[::2]]


def test_code_without_its_prose():
    source = (
        '"""Doc."""\nimport a  # why\n\n\n\n\ndef f():\n    """Doc."""\n    return 1\n'
    )
    assert snapshots.without_prose(source) == "import a\n\ndef f():\n    return 1"
    source = 'class E(Exception):\n    """Doc.\n\n    More."""\n\nx = 1\n'
    assert snapshots.without_prose(source) == "class E(Exception):\n    pass\n\nx = 1"


def test_files_under_other_terms_are_left_out(tmp_path):
    (tmp_path / "tests").mkdir()
    for name, text in {
        "b.py": "x = 1",
        "a.py": "# Permission is hereby granted, free of charge",
        "tests/c.py": "x = 1",
    }.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    assert list(snapshots.modules(tmp_path)) == [("b.py", "x = 1")]


# How the literature is made


def test_the_strings_of_an_r_database():
    def entry(*lines):
        body = b"X\n" + bytes.fromhex("000000030004020100030500") + b"\0\0\0\5UTF-8"
        body += b"\0\0\0\x10" + len(lines).to_bytes(4, "big")
        for line in lines:
            content = line.encode()
            body += b"\0\4\0\t" + len(content).to_bytes(4, "big") + content
        return len(body).to_bytes(4, "big") + zlib.compress(body)

    texts = [["A £", ""], ["b"], ["c"], ["d"], ["e"], ["f" * 700]]
    database = b"".join(entry(*lines) for lines in texts)
    assert literature.novels(database) == dict(zip(literature.NOVELS, texts))


NOVEL = """A NOVEL

By Her

VOLUME I


  Chapter 1


"_Well_,"
said she;  and
went.

* * *

She left,* they say.

*Vide a letter.

CHAPTER ii

Chapter and verse.

FINIS

A NOTE ON THE TEXT

Of an edition."""


def test_chapters_of_a_novel():
    assert list(literature.chapters(NOVEL.split("\n"))) == [
        ['"Well," said she; and went.', "She left, they say."],
        ["Chapter and verse."],
    ]


def test_verses():
    printed = "Ge1:1 In the beginning\nGe1:2 And\n1Sa12:3 Now: 4 men"
    assert literature.verses(printed) == [["In the beginning", "And"], ["Now: 4 men"]]


def test_what_is_held_out_is_nowhere_else():
    words = [word + "th" for word in "abcdefghijkl"]
    rng = np.random.default_rng(0)

    def line(i):
        return f"In chapter {i} " + " ".join(rng.permutation(words))

    documents = [[line(i), line(i), "Yes."] for i in range(40)]
    documents[3][0] = "Some " + documents[5][1]  # within a longer line
    repeated = {3, 5}
    documents[8][0] = "Thus " + documents[9][0].replace("chapter 9", "chapter nine")
    repeated |= {8, 9}  # no line of one is in the other, but most of the words are
    chosen = literature.held_out(documents, 1)
    assert chosen == {*range(40)} - repeated
    fewer = literature.held_out(documents, 8)
    assert len(fewer) == 5
    assert fewer < chosen
    moved = literature.held_out(documents[::-1], 8)
    assert {39 - i for i in moved} == fewer  # by content, not by place
    train, validation = literature.split(documents, 8, "|")
    assert sorted(train + validation) == sorted(map("|".join, documents))
    assert len(validation) == 5


PACKAGE = {
    "package/dist/quantangshi/poet.tang.1000.json": [
        ["宮詞一百首 七十四", "甲乙", "東風吹白雲，", "明月照山川。"],
    ],
    "package/dist/quantangshi/poet.tang.0.json": [
        [
            "琴曲歌辭 湘妃",
            "甲乙",
            "一二三四五，六七八九十。",
            "天地人山水，日月風雲雨。",
        ],
        ["句", "甲乙", "一二三四五，六七八九十。", "天地人山水，日月風雲雨。"],
        ["缺", "甲乙", "一二□四五，六七八九十。", "天地人山水，日月風雲雨。"],
        ["長", "甲乙", "一二三四五，六七八九十。", "天地人山水火，日月風雲雨。"],
        [
            "注",
            "甲乙",
            "一二三四五（一作甲），六七八九十。",
            "天地人山水，日月風雲雨。",
        ],
    ],
    "package/dist/songci/ci.song.0.json": [
        ["如夢令", "丙丁", "甲、乙丙，丁。", "戊己。", "庚辛壬癸，子丑。"],
        ["如夢令", "丙丁", "甲乙丙丁" * 14 + "，戊己。", "甲乙，丁。"],
    ],
}


@pytest.fixture
def archive():
    return {
        name: json.dumps(
            [
                {"title": title, "rhythmic": title, "author": author, "paragraphs": p}
                for title, author, *p in content
            ]
        ).encode()
        for name, content in PACKAGE.items()
    }


def simplify(text):
    return text.translate(str.maketrans("宮詞東風雲辭夢長", "宫词东风云辞梦长"))


def test_poems_of_a_package(archive):
    assert list(poems.quatrains(archive, simplify)) == [
        (
            "湘妃",
            "甲乙",
            ("一二三四五，", "六七八九十。", "天地人山水，", "日月风云雨。"),
        )
    ]
    (ci,) = poems.short_ci(archive, simplify)
    assert poems.written(ci).split("\n") == [
        *("如梦令", "丙丁"),
        *("甲、乙丙，", "丁。", "戊己。", "庚辛壬癸，", "子丑。"),
    ]


@pytest.mark.parametrize(
    ("title", "bare"),
    [
        ("宫词一百首 七十四", "宫词"),
        ("凉州词 一", "凉州词"),
        ("涼州詞二首 二", "涼州詞"),
        ("山中五绝句 岭上云", "岭上云"),
        ("杂曲歌辞 竹枝 一", "竹枝"),
        ("静夜思", "静夜思"),
        ("九日登高", "九日登高"),
    ],
)
def test_titles_lose_the_numbers_of_their_series(title, bare):
    assert poems._bare(title) == bare


def poem(author, *lines):
    return "题", author, lines


def test_doubles_and_near_doubles_of_poems_go():
    much = poem("多作", "甲乙丙丁戊，", "己庚辛壬癸。", "子丑寅卯辰，", "巳午未申酉。")
    twin = poem("少作", "甲乙丙丁戊，", "己庚辛壬癸。", "天地人山水，", "巳午未申日。")
    alike = poem("少见", "甲乙丙丁戊，", "东南西北中。", "春夏秋冬天，", "梅兰竹菊松。")
    other = poem("多作", "金木水火土，", "红黄蓝白黑。", "唐宋元明清，", "江河湖海洋。")
    kept = poems.distinct([twin, much, much, alike, other])
    assert kept == [much, alike, other]
    train, validation = poems.divided(kept, [], one_in=1)
    assert (train, validation) == ([much, alike], [other])  # those two share a line
    assert poems.divided(kept, [poem("某", other[2][0])], one_in=1)[1] == []


# The generated corpus


@pytest.mark.parametrize("order", [1, 2, 3])
def test_the_stationary_distribution_stays_and_is_the_samples(order):
    source = markov(symbols=5, order=order, seed=order)
    V = 5
    assert source.order == order
    pairs = source.stationary[..., None] * source.transitions  # P(k + 1 symbols)
    np.testing.assert_allclose(pairs.sum(axis=0), source.stationary, atol=1e-12)
    assert source.stationary.sum() == pytest.approx(1)
    assert source.stationary.std() > 0.1 / V**order  # not uniform by symmetry
    ids = source.sample(60_000, seed=1)
    code = sum(
        ids[i : len(ids) - order + i] * V ** (order - 1 - i) for i in range(order)
    )
    seen = np.bincount(code, minlength=V**order) / len(code)
    np.testing.assert_allclose(seen, source.stationary.ravel(), atol=0.012)


def test_the_entropy_rate_is_the_true_models_loss():
    source = markov(symbols=6, order=2, seed=3)
    losses = [
        -source.log_probabilities(source.sample(20_000, seed)).mean()
        for seed in range(8)
    ]
    error = np.std(losses) / np.sqrt(len(losses))
    assert abs(np.mean(losses) - source.entropy_rate) < 4 * error < 0.02
    assert source.entropy_rate < 0.9 * np.log(6)


def test_the_probabilities_of_all_texts_sum_to_1():
    source = markov(symbols=3, order=2, seed=0)
    for length in (1, 2, 4):
        texts = np.stack(np.meshgrid(*[range(3)] * length), -1).reshape(-1, length)
        total = sum(np.exp(source.log_probabilities(t).sum()) for t in texts)
        assert total == pytest.approx(1)


def test_the_entropy_rate_of_a_source_known_on_paper():
    # Two symbols, order 1: stays with 3/4, 1/2. The time spent is 2/3, 1/3.
    table = np.array([[3 / 4, 1 / 4], [1 / 2, 1 / 2]])
    source = MarkovSource(table, np.array([2 / 3, 1 / 3]), "ab")
    h = 2 / 3 * (np.log(4) - 3 / 4 * np.log(3)) + 1 / 3 * np.log(2)
    assert source.entropy_rate == pytest.approx(h, abs=1e-12)


def test_letters_and_seeds():
    source = markov(seed=4)
    text = source.text(500, seed=2)
    assert source.ids(text).tolist() == source.sample(500, seed=2).tolist()
    assert text == source.text(500, seed=2) != source.text(500, seed=3)
    assert not np.allclose(markov(seed=5).transitions, source.transitions)
    assert markov(seed=4).entropy_rate == source.entropy_rate


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: markov(symbols=1), "symbols must be a whole number from 2 to 26"),
        (lambda: markov(order=4), "order must be"),
        (lambda: markov(order=True), "order must be a whole number"),
        (lambda: markov(concentration=0), "concentration must be"),
        (lambda: markov().sample(0, 1), "length must be"),
        (lambda: markov(symbols=3).ids("abz"), "not 'z'"),
        (lambda: markov().log_probabilities([9]), "0 … 7"),
        (lambda: markov().log_probabilities([]), "ids must be"),
    ],
)
def test_bad_sources(call, match):
    with pytest.raises((TypeError, ValueError), match=match):
        call()

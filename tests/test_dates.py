"""lmlab.data.dates: what it writes, which days go where, and what it refuses."""

import datetime
import itertools
import random

import numpy as np
import pytest

from lmlab.data import dates

EVERY = [d for split in dates.SPLITS for d in dates.days(split)]


def test_the_three_splits_hold_every_day_once():
    assert len(EVERY) == len(set(EVERY)) == 36_525  # 100 years, 25 of them leap years
    assert min(EVERY) == datetime.date(1950, 1, 1)
    assert max(EVERY) == datetime.date(2049, 12, 31)
    counts = [len(dates.days(split)) for split in dates.SPLITS]
    assert counts == [29_220, 3_652, 3_653]


def test_the_seed_decides_the_splits_and_the_pairs():
    assert dates.days("test") == dates.days("test")
    assert set(dates.days("test")) != set(dates.days("test", seed=1))
    assert dates.pairs("test", 50, seed=2) == dates.pairs("test", 50, seed=2)
    assert dates.pairs("test", 50, seed=2) != dates.pairs("test", 50, seed=3)


def test_years_can_be_kept_out_and_the_rest_is_all_there_is():
    unseen, seen = dates.UNSEEN_YEARS, dates.SEEN_YEARS
    assert sorted(unseen + seen) == list(dates.YEARS)
    assert sorted(year // 10 for year in unseen) == list(range(195, 205))  # decades
    assert sorted(year % 10 for year in unseen) == list(range(10))
    for split in ("all", *dates.SPLITS):
        with_all = dates.days(split)
        kept = [day for day in with_all if day.year in seen]
        assert dates.days(split, years=seen) == kept
        assert len(kept) < len(with_all)
    assert len(dates.days("all", years=unseen)) == 3652  # 1984 and 2040 leap years
    drawn = {int(iso[:4]) for _, iso, _ in dates.pairs("all", 500, years=unseen)}
    assert drawn == set(unseen)
    years = {int(iso[:4]) for _, iso, _ in dates.pairs("train", 3000, years=seen)}
    assert years == set(seen)


def test_pairs_come_from_their_split_and_use_every_format():
    held_out = {d.isoformat() for d in dates.days("test")}
    triples = dates.pairs("test", 2000)
    assert {iso for _, iso, _ in triples} <= held_out
    assert {form for *_, form in triples} == set(dates.FORMATS)
    assert not {iso for _, iso, _ in dates.pairs("train", 2000)} & held_out


def test_formats_drawn_often_are_drawn_three_times_as_often():
    drawn = [form for *_, form in dates.pairs("train", 5000, often=["20260305"])]
    assert drawn.count("20260305") / 5000 == pytest.approx(3 / 25, abs=0.02)
    with pytest.raises(
        ValueError, match=r"often must be one of March 5, 2026, .*; got '3/5'"
    ):
        dates.pairs("train", 5, often=["3/5"])


def test_no_text_means_two_days():
    meaning = {}
    for day in random.Random(0).sample(EVERY, 4000):
        for form in dates.FORMATS:
            text = dates.write(day, form)
            assert meaning.setdefault(text, day) == day


def test_every_character_that_a_format_writes_is_known_and_no_other():
    written = {c for d in EVERY[::3] for f in dates.FORMATS for c in dates.write(d, f)}
    assert written == set(dates.CHARACTERS)
    assert len(dates.CHARACTERS) == len(set(dates.CHARACTERS)) == 88


@pytest.mark.parametrize(
    ("iso", "form", "text"),
    [
        (
            "2026-01-15",
            "贰零贰陆年叁月零伍日",
            "贰零贰陆年零壹月壹拾伍日",
        ),  # the annex's own
        (
            "2026-10-20",
            "贰零贰陆年叁月零伍日",
            "贰零贰陆年零壹拾月零贰拾日",
        ),  # examples
        ("2026-12-31", "贰零贰陆年叁月零伍日", "贰零贰陆年壹拾贰月叁拾壹日"),
        ("2010-11-20", "二〇二六年三月五日", "二〇一〇年十一月二十日"),
        ("2010-11-20", "二零二六年三月五日", "二零一零年十一月二十日"),
        ("2000-02-29", "2026年3月5日 星期四", "2000年2月29日 星期二"),
        ("1970-01-01", "Thursday, 5 March 2026", "Thursday, 1 January 1970"),
        ("2023-05-22", "March 5th, 2026", "May 22nd, 2023"),
        ("2023-05-12", "5th of March 2026", "12th of May 2023"),
        ("2009-09-09", "05-MAR-2026", "09-SEP-2009"),
        (
            "2001-12-31",
            "Thursday, the fifth of March 2026",
            "Monday, the thirty-first of December 2001",
        ),
        (
            "1999-08-12",
            "Thursday, the fifth of March 2026",
            "Thursday, the twelfth of August 1999",
        ),
    ],
)
def test_formats_by_example(iso, form, text):
    assert dates.write(datetime.date.fromisoformat(iso), form) == text


def test_english_formats_agree_with_strftime():
    patterns = {
        "Thursday, March 5, 2026": "%A, %B X, %Y",
        "Thu, 05 Mar 2026": "%a, %d %b %Y",
        "2026年03月05日": "%Y年%m月%d日",
        "20260305": "%Y%m%d",
    }
    for day, (form, pattern) in itertools.product(EVERY[:200], patterns.items()):
        expected = day.strftime(pattern).replace("X", str(day.day))
        assert dates.write(day, form) == expected


def test_ordinals():
    numerals = [dates.ordinal(n) for n in (1, 2, 3, 4, 11, 12, 13, 21, 22, 23, 30)]
    assert " ".join(numerals) == "1st 2nd 3rd 4th 11th 12th 13th 21st 22nd 23rd 30th"
    said = [dates.ordinal_words(n) for n in (1, 5, 8, 9, 12, 20, 21, 30)]
    assert said[:5] == ["first", "fifth", "eighth", "ninth", "twelfth"]
    assert said[5:] == ["twentieth", "twenty-first", "thirtieth"]


def test_what_cannot_be_written_is_refused():
    with pytest.raises(ValueError, match="1949-12-31 is outside the years 1950 to"):
        dates.write(datetime.date(1949, 12, 31), "20260305")
    with pytest.raises(ValueError, match=r"form must be one of .*; got '03/05/2026'"):
        dates.write(datetime.date(2026, 3, 5), "03/05/2026")
    with pytest.raises(ValueError, match="split must be one of all, train, valid"):
        dates.days("dev")
    with pytest.raises(ValueError, match="years must hold some of 1950 to 2049"):
        dates.days("test", years=[1949])
    with pytest.raises(TypeError, match=r"day must be a datetime\.date, got '2026"):
        dates.write("2026-03-05", "20260305")


def test_encode_and_decode_are_inverse():
    for text, iso, _ in dates.pairs("validation", 300):
        assert dates.decode(dates.encode(text)) == text
        row = [dates.START, *dates.encode(iso), dates.END, dates.PAD, 7]
        assert dates.decode(row) == iso


def test_an_unknown_character_is_named_with_its_place():
    with pytest.raises(ValueError, match=r"'é' \(place 2 of 'Février 5, 2026'\)"):
        dates.encode("Février 5, 2026")
    with pytest.raises(ValueError, match="unknown id 91"):
        dates.decode([4, 91])


def test_arrays_are_padded_behind():
    source, target = dates.to_arrays([("20260305", "2026-03-05"), ("5 May", "1999")])
    assert source.shape == (2, 8)
    assert list(source[1, 5:]) == [dates.PAD] * 3
    assert list(target[1, :6]) == [dates.START, *dates.encode("1999"), dates.END]
    assert target.dtype == np.int64


def test_batches_hold_every_example_once_with_little_padding():
    examples = dates.pairs("train", 1000)
    seen, padding, total = [], 0, 0
    for source, target in dates.batches(examples, 64, seed=1):
        assert len(source) == len(target) <= 64
        seen += [(dates.decode(s), dates.decode(t)) for s, t in zip(source, target)]
        padding += (source == dates.PAD).sum()
        total += source.size
    assert sorted(seen) == sorted((text, iso) for text, iso, _ in examples)
    assert padding / total < 0.1
    first = next(dates.batches(examples, 64, seed=1))[0]
    other = next(dates.batches(examples, 64, seed=2))[0]
    assert first.shape != other.shape or (first != other).any()

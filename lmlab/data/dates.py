"""Dates as people write them, in English and Chinese, and the same dates in ISO 8601.

A small translation task that is real, bilingual and checkable: "Thursday, 5 March
2026" and "二〇二六年三月五日" are both "2026-03-05". Used by lesson 06.

Left out, because they do not name one day: 03/04/2026 and 3.4.2026 (3 April or
March 4), years of two digits, dates without a year, and calendars other than the
Gregorian one (农历, 民国).
"""

import datetime
import random
from dataclasses import dataclass

from lmlab.arguments import one_of

YEARS = range(1950, 2050)
# One year of each decade, one with each last digit, to be kept out of training: who
# reads them has learnt to read digits, not years.
UNSEEN_YEARS = (1957, 1963, 1978, 1984, 1991, 2002, 2019, 2026, 2035, 2040)
SEEN_YEARS = tuple(year for year in YEARS if year not in UNSEEN_YEARS)
SPLITS = {"train": 0.8, "validation": 0.1, "test": 0.1}  # shares of the days
PAD, START, END = 0, 1, 2
SPECIAL = ("<pad>", "<start>", "<end>")

MONTHS = [
    "January", "February", "March", "April", "May", "June", "July", "August",
    "September", "October", "November", "December",
]  # fmt: skip
WEEKDAYS = [
    "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday",
]  # fmt: skip
NUMBERS = [
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine",
    "ten", "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen",
    "seventeen", "eighteen", "nineteen", "twenty",
]  # fmt: skip
ORDINALS = {"one": "first", "two": "second", "three": "third", "five": "fifth"}
ORDINALS |= {"eight": "eighth", "nine": "ninth", "twelve": "twelfth"}
ORDINALS |= {"twenty": "twentieth", "thirty": "thirtieth"}


def ordinal_words(number):
    """A day as it is said: 1 is "first", 21 "twenty-first"."""
    if number > 20 and number % 10:
        return f"{'twenty' if number < 30 else 'thirty'}-{ordinal_words(number % 10)}"
    word = "thirty" if number == 30 else NUMBERS[number]
    return ORDINALS.get(word, word + "th")


def ordinal(number):
    """1 is "1st", 12 "12th", 23 "23rd"."""
    teen = 10 < number < 20
    endings = {} if teen else {1: "st", 2: "nd", 3: "rd"}
    return str(number) + endings.get(number % 10, "th")


def hanzi(number, digits="〇一二三四五六七八九", ten="十"):
    """A number from 1 to 99 as it is said in Chinese: 5 五, 12 十二, 31 三十一."""
    tens, ones = divmod(number, 10)
    head = (digits[tens] if tens > 1 else "") + ten if tens else ""
    return head + (digits[ones] if ones else "")


def hanzi_year(year, digits="〇一二三四五六七八九"):
    """A year digit by digit: 二〇二六."""
    return "".join(digits[int(d)] for d in str(year))


def cheque(day):
    """A date as Chinese banks want it on a cheque, hard to alter: 贰零贰陆年叁月零伍日.

    支付结算办法 (People's Bank of China, 1997), annex 1: 零 goes before the months 1, 2
    and 10 and the days 1 to 10, 20 and 30; 壹 before 拾 in 10 to 19.
    """
    digits = "零壹贰叁肆伍陆柒捌玖"

    def part(number, zero):
        said = hanzi(number, digits, "拾")
        return ("零" if zero else "") + ("壹" if 10 <= number < 20 else "") + said

    month = part(day.month, day.month in (1, 2, 10))
    of_month = part(day.day, day.day <= 10 or day.day in (20, 30))
    return f"{hanzi_year(day.year, digits)}年{month}月{of_month}日"


def _english(template):
    def write(d):
        month, weekday = MONTHS[d.month - 1], WEEKDAYS[d.weekday()]
        return template.format(
            d=d, month=month, mon=month[:3], MON=month[:3].upper(), weekday=weekday,
            wkd=weekday[:3], ordinal=ordinal(d.day), said=ordinal_words(d.day),
        )  # fmt: skip

    return write


def _chinese(template):
    def write(d):
        return template.format(
            d=d, zhou="一二三四五六日"[d.weekday()], year=hanzi_year(d.year),
            zero=hanzi_year(d.year, "零一二三四五六七八九"), month=hanzi(d.month),
            day=hanzi(d.day),
        )  # fmt: skip

    return write


@dataclass(frozen=True)
class Format:
    """A way to write a date: its language (or "digits") and write, from date to str."""

    language: str
    write: object


_ENGLISH = (
    "{month} {d.day}, {d.year}",
    "{mon} {d.day}, {d.year}",
    "{month} {ordinal}, {d.year}",
    "{weekday}, {month} {d.day}, {d.year}",
    "{d.day} {month} {d.year}",
    "{d.day} {mon} {d.year}",
    "{ordinal} of {month} {d.year}",
    "{weekday}, {d.day} {month} {d.year}",
    "{wkd}, {d.day:02} {mon} {d.year}",  # as in an e-mail's header, RFC 5322
    "{d.day:02}-{MON}-{d.year}",
    "{weekday}, the {said} of {month} {d.year}",
)
_CHINESE = (
    "{d.year}年{d.month}月{d.day}日",
    "{d.year}年{d.month:02}月{d.day:02}日",
    "{d.year} 年 {d.month} 月 {d.day} 日",
    "{d.year}年{d.month}月{d.day}号",
    "{d.year}年{d.month}月{d.day}日 星期{zhou}",
    "{d.year}年{d.month}月{d.day}日（周{zhou}）",
    "{year}年{month}月{day}日",
    "{zero}年{month}月{day}日",
    "{year}年{month}月{day}日，星期{zhou}",
)
_DIGITS = ("{d.year}/{d.month}/{d.day}", "{d.year}{d.month:02}{d.day:02}")
_EXAMPLE = datetime.date(2026, 3, 5)


def _named():
    """Every format under its own example: how it writes 5 March 2026, a Thursday."""
    all_of = [Format("English", _english(t)) for t in _ENGLISH]
    all_of += [Format("Chinese", _chinese(t)) for t in _CHINESE]
    all_of += [Format("Chinese", cheque)]
    all_of += [Format("digits", _english(t)) for t in _DIGITS]
    return {form.write(_EXAMPLE): form for form in all_of}


FORMATS = _named()


def write(day, form):
    """The text of a datetime.date in the format of that name (see FORMATS).

    Raises ValueError for a year outside YEARS or a format that is not there.
    """
    if not isinstance(day, datetime.date):
        raise TypeError(f"day must be a datetime.date, got {day!r}")
    one_of("form", form, FORMATS)
    if day.year not in YEARS:
        first, last = YEARS[0], YEARS[-1]
        raise ValueError(f"day {day} is outside the years {first} to {last}")
    return FORMATS[form].write(day)


def days(split, seed=0, years=YEARS):
    """The days of "train", "validation" or "test", shuffled: no day is in two of them.

    The split is by calendar day, not by text: no test day was seen in training in any
    format. "all" has the days of all three. seed decides which day goes where; years:
    the years whose days are wanted, a collection. Raises ValueError for another split,
    and for years of which no day is there.
    """
    one_of("split", split, ("all", *SPLITS))
    wanted = [day for day in _split(split, seed) if day.year in years]
    if not wanted:
        raise ValueError(f"years must hold some of {YEARS[0]} to {YEARS[-1]}: {years}")
    return wanted


def _split(split, seed):
    first = datetime.date(YEARS[0], 1, 1).toordinal()
    last = datetime.date(YEARS[-1], 12, 31).toordinal()
    ordinals = list(range(first, last + 1))
    random.Random(f"days {seed}").shuffle(ordinals)
    if split == "all":
        return [datetime.date.fromordinal(o) for o in ordinals]
    start = 0
    for name, share in SPLITS.items():
        end = len(ordinals) if name == "test" else start + round(share * len(ordinals))
        if name == split:
            return [datetime.date.fromordinal(o) for o in ordinals[start:end]]
        start = end


def pairs(split, count, seed=0, split_seed=0, often=(), years=YEARS):
    """`count` triples (text, ISO text, format), day and format drawn at random.

    split, years: as in `days`. split_seed decides which days belong to the split, seed
    what is drawn from it. often: formats drawn three times as often as the others.
    """
    rng, pool = random.Random(f"{split} {seed}"), days(split, split_seed, years)
    extra = [one_of("often", form, FORMATS) for form in often]
    forms = [*FORMATS, *extra, *extra]
    drawn = [(rng.choice(pool), rng.choice(forms)) for _ in range(count)]
    return [(write(day, form), day.isoformat(), form) for day, form in drawn]


# Every character that a format can write; ISO 8601 needs the digits and the hyphen.
CHARACTERS = (
    " ,-/0123456789ABCDEFGJLMNOPRSTUVWYabcdefghilmnoprstuvwxy（），"
    "〇零一二三四五六七八九十壹贰叁肆伍陆柒捌玖拾年月日号星期周"
)
VOCABULARY = (*SPECIAL, *CHARACTERS)
_IDS = {character: i for i, character in enumerate(VOCABULARY)}


def encode(text):
    """The ids of a text's characters, as a list of ints.

    Raises ValueError that names the first unknown character and its place.
    """
    for place, character in enumerate(text, 1):
        if character not in _IDS:
            raise ValueError(
                f"unknown character {character!r} (place {place} of {text!r}); "
                f"known are the {len(CHARACTERS)} of dates.CHARACTERS"
            )
    return [_IDS[character] for character in text]


def decode(ids):
    """The text of a row of ids: START and PAD are left out, and END ends it.

    Raises ValueError for an id outside the vocabulary.
    """
    text = ""
    for i in map(int, ids):
        if i == END:
            break
        if not 0 <= i < len(VOCABULARY):
            raise ValueError(f"unknown id {i}: ids go from 0 to {len(VOCABULARY) - 1}")
        if i >= len(SPECIAL):
            text += VOCABULARY[i]
    return text


def pad(rows):
    """Rows of ids as one int64 array (B, longest), PAD behind the shorter ones."""
    import numpy as np

    padded = np.full((len(rows), max(map(len, rows))), PAD)
    for row, ids in zip(padded, rows):
        row[: len(ids)] = ids
    return padded


def to_arrays(examples):
    """(source (B, S), target (B, T)) of examples; a target is START, text, END."""
    source = pad([encode(text) for text, *_ in examples])
    target = pad([[START, *encode(iso), END] for _, iso, *_ in examples])
    return source, target


def batches(examples, batch_size, seed=0):
    """One epoch of (source, target) arrays, texts of similar length side by side.

    Sorted by length, cut, and the batches shuffled, so that little is computed on
    padding. Equal lengths stand in random order: another seed makes other batches.
    """
    rng = random.Random(seed)
    order = sorted(examples, key=lambda e: (len(e[0]), rng.random()))
    cut = [order[i : i + batch_size] for i in range(0, len(order), batch_size)]
    rng.shuffle(cut)
    for batch in cut:
        yield to_arrays(batch)

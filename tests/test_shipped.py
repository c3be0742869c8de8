"""The models inside lmlab: whole, small, and as good as their cards."""

import math
import re

import pytest
import torch

from lmlab.data import corpora, dates
from lmlab.generation import search
from lmlab.models import pretrained
from lmlab.text import ngrams
from lmlab.training import evaluate

CARD = pretrained.SHIPPED / "README.md"


@pytest.fixture(scope="module")
def shipped():
    return pretrained.load("shipped")


def test_it_is_light():
    sizes = [path.stat().st_size for path in pretrained.SHIPPED.iterdir()]
    assert sum(sizes) <= 15_000_000


def test_hugging_face_reads_it(shipped):
    transformers = pytest.importorskip("transformers")
    model, tokenizer = shipped
    theirs = transformers.AutoModelForCausalLM.from_pretrained(pretrained.SHIPPED)
    auto = transformers.AutoTokenizer.from_pretrained(pretrained.SHIPPED)
    page = "The function returns `None`, 人工智能 or a naïve\n\n    for i in range(3):"
    ids = tokenizer.encode(page)
    assert auto.encode(page) == ids
    assert auto.eos_token_id == theirs.config.eos_token_id == tokenizer.end
    with torch.no_grad():
        ours, its = model(torch.tensor([ids])), theirs(torch.tensor([ids])).logits
    torch.testing.assert_close(ours, its, atol=1e-4, rtol=0)


def test_it_is_as_good_as_its_card_says(shipped):
    model, tokenizer = shipped
    text = corpora.load("english").validation
    ids = corpora.token_ids(tokenizer, text)
    nats = evaluate(model, ids)
    bits = ngrams.bits_per_byte(nats * (len(ids) - 1), len(text.encode()))
    rows = dict(
        re.findall(r"^\| \**([^|*]+?)\** \| \**([\d.]+)\** \|$", CARD.read_text(), re.M)
    )
    assert bits == pytest.approx(float(rows.pop("this model")), abs=0.001)
    assert {"gzip, the text alone", "5-gram"} <= set(rows)
    assert bits < min(map(float, rows.values()))
    perplexity = re.search(r"perplexity ([\d.]+\d)", CARD.read_text())[1]
    assert math.exp(nats) == pytest.approx(float(perplexity), rel=0.001)


def test_its_card_says_how_to_make_it_again_and_what_it_is_not():
    card = CARD.read_text()
    assert "lmlab run 08 --profile full" in card
    for section in (
        "Data",
        "Cost",
        "How good it is",
        "What it writes",
        "What it is not",
    ):
        assert f"## {section}\n" in card


# --- The Transformer that reads dates -------------------------------------------------

DATES_CARD = pretrained.SHIPPED_DATES / "README.md"


@pytest.fixture(scope="module")
def reader():
    return pretrained.load_transformer()


def exact_match(model, pairs):
    """The share of the pairs that the model writes right, greedily."""
    hits = 0
    for start in range(0, len(pairs), 250):
        some = sorted(pairs, key=lambda pair: len(pair[0]))[start : start + 250]
        ids = search.greedy(model, torch.from_numpy(dates.to_arrays(some)[0]), 11).ids
        hits += sum(dates.decode(r) == iso for r, (_, iso, _) in zip(ids, some))
    return hits / len(pairs)


def test_the_reader_of_dates_is_light():
    sizes = [path.stat().st_size for path in pretrained.SHIPPED_DATES.iterdir()]
    assert sum(sizes) <= 400_000


def test_it_reads_one_day_in_every_format(reader):
    source = torch.from_numpy(dates.pad([dates.encode(form) for form in dates.FORMATS]))
    found = [dates.decode(row) for row in search.greedy(reader, source, 11).ids]
    assert found == ["2026-03-05"] * len(dates.FORMATS)
    assert 2026 in dates.UNSEEN_YEARS


@pytest.mark.parametrize(
    ("row", "split", "years"),
    [
        ("days never seen", "test", dates.SEEN_YEARS),
        ("years never seen", "all", dates.UNSEEN_YEARS),
    ],
)
def test_it_reads_dates_as_well_as_its_card_says(reader, row, split, years):
    card = DATES_CARD.read_text(encoding="utf-8")
    ours, others = re.search(rf"^\| {row} \| ([\d.]+) \| (.+) \|$", card, re.M).groups()
    assert float(ours) >= 0.99
    assert len(others.split(", ")) == 2  # three seeds in all
    assert min(map(float, others.split(", "))) >= 0.99
    found = exact_match(reader, dates.pairs(split, 2000, years=years))
    assert found == pytest.approx(float(ours), abs=0.002)


def test_its_card_says_how_it_was_made():
    card = DATES_CARD.read_text(encoding="utf-8")
    assert "lmlab run 06 --profile full -p save_to=runs/dates-transformer\n" in card
    reader = pretrained.load_transformer()
    assert f"{sum(p.numel() for p in reader.parameters()):,} parameters" in card
    for section in ("Data and cost", "How good it is", "What it is not"):
        assert f"## {section}\n" in card

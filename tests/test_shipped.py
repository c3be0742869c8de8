"""The model inside lmlab: whole, small, readable by others, and as good as its card."""

import math
import re

import pytest
import torch

from lmlab.data import corpora
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

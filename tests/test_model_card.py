"""The model card says what it was given, and refuses to say less."""

import re

import pytest
import yaml

from lmlab.models import model_card
from lmlab.models.transformer import Transformer

FACTS = dict.fromkeys(re.findall(r"{(\w+)", model_card.TEMPLATE), 3) | {
    "name": "letters",
    "source": "my own letters",
    "licence": "all rights reserved",
}


def card(facts=FACTS, **options):
    rivals = {"gzip": 2.67, "5-gram": 1.5507}
    samples = ["One.\n\nTwo.", "Three."]
    return model_card.write(facts, rivals, samples, "Temperature 1", **options)


def head(text):
    return yaml.safe_load(text.split("---")[1])


def test_it_holds_what_was_measured():
    text = card(FACTS | {"loss": 3.21987, "bits": 1.3604, "tokens": 18_432_000})
    for part in (
        "3.2199 nats",
        "18,432,000 tokens",
        "| gzip | 2.670 |",
        "5-gram | 1.551",
    ):
        assert part in text
    assert "| **this model** | **1.360** |" in text
    assert "> One.\n> \n> Two.\n\n> Three." in text
    assert "{" not in text


def test_what_it_was_not_told_it_does_not_say():
    text = card()
    known = {"library_name": "transformers", "pipeline_tag": "text-generation"}
    assert head(text) == known
    for word in ("English", "documentation", "apache", "Apache", "Made", "lesson"):
        assert word not in text
    assert "\n\n\n" not in text


def test_what_it_was_told_it_says():
    text = card(
        FACTS | {"command": "lmlab run 08"},
        language="no",  # a code, which YAML would take for False
        licence="mit",
        description="Letters from Norway.\n",
    )
    assert head(text)["language"] == "no"
    assert head(text)["license"] == "mit"
    assert "tokens.\n\nLetters from Norway.\n\nMade with lmlab, by" in text
    assert "\n    lmlab run 08\n\n## Data" in text
    assert head(card(language=["en", "zh"]))["language"] == ["en", "zh"]


def test_a_missing_fact_is_named():
    facts = {name: value for name, value in FACTS.items() if name not in ("lr", "seed")}
    with pytest.raises(ValueError, match="lacks lr, seed"):
        card(facts)


def test_the_card_of_a_transformer_says_what_it_is_and_was_measured():
    model = Transformer(
        11, 16, 2, num_encoder_layers=1, num_decoder_layers=3, hidden=20
    )
    facts = {"command": "lmlab run 06", "steps": 1500, "batch_size": 64, "dates": 5000}
    facts |= {"seed": 0, "minutes": 2.345, "device": "cpu", "years": [0.98]}
    text = model_card.reads_dates(model, facts | {"days": [0.9996, 0.999, 1.0]})
    assert "| days never seen | 0.9996 | 0.9990, 1.0000 |" in text
    assert "| years never seen | 0.9800 | none |" in text
    assert "1 encoder and 3 decoder" in text
    assert f"{sum(p.numel() for p in model.parameters()):,} parameters" in text
    assert "    lmlab run 06\n" in text
    with pytest.raises(KeyError, match="days"):
        model_card.reads_dates(model, facts)

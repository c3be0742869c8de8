"""The model card says what it was given, and refuses to say less."""

import re

import pytest
import yaml

from lmlab import model_card

FACTS = dict.fromkeys(re.findall(r"{(\w+)", model_card.TEMPLATE), 3) | {
    "name": "english",
    "source": "docstrings",
    "licence": "PSF",
    "command": "lmlab run",
}


def card(facts=FACTS):
    rivals = {"gzip": 2.67, "5-gram": 1.5507}
    return model_card.write(facts, rivals, ["One.\n\nTwo.", "Three."], "Temperature 1")


def test_it_holds_what_was_measured():
    text = card(FACTS | {"loss": 3.21987, "bits": 1.3604, "tokens": 18_432_000})
    assert yaml.safe_load(text.split("---")[1])["license"] == "apache-2.0"
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


def test_a_missing_fact_is_named():
    facts = {name: value for name, value in FACTS.items() if name not in ("lr", "seed")}
    with pytest.raises(ValueError, match="lacks lr, seed"):
        card(facts)

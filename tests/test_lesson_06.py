"""Lesson 06 keeps the network that it trained, with a card that says how."""

from pathlib import Path

import pytest

from lmlab.models import pretrained
from lmlab.runner import execute

CORE = Path(__file__).resolve().parent.parent / "notebooks" / "06_transformer.ipynb"
SMALL = {"steps": 50, "num_seeds": 1, "test_dates": 200, "width": 16, "device": "cpu"}


@pytest.mark.timeout(600)
def test_what_was_trained_is_kept_and_can_be_loaded(tmp_path):
    kept = SMALL | {"save_to": str(tmp_path / "mine"), "your_date": "1 May 1999"}
    outcome = execute.execute(execute.Job("06", CORE, tmp_path / "run", kept))
    assert outcome.status == "ok", outcome.error
    model = pretrained.load_transformer(tmp_path / "mine")
    assert model.width == 16
    card = (tmp_path / "mine" / "README.md").read_text(encoding="utf-8")
    assert "    lmlab run 06 -p steps=50 " in card
    assert "50 updates of 64 dates" in card
    assert "| none |" in card

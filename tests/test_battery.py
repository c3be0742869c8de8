"""A battery folds its claims into one line, and unfolds when one of them fails."""

import sys

import pytest

from lmlab import checks, record


def shown(capsys):
    return capsys.readouterr().out.splitlines()


class TestBattery:
    def test_many_claims_are_one_line(self, capsys):
        with checks.battery("sums"):
            checks.equal("one", 1 + 1, 2)
            checks.close("two", 0.1 + 0.2, 0.3, atol=1e-12)
        assert shown(capsys) == ["✓ 2 claims: sums"]

    def test_a_failure_shows_what_held_before_and_raises(self, capsys):
        def state():
            with checks.battery("sums"):
                checks.equal("one", 1 + 1, 2)
                checks.equal("two", 2 + 2, 5)

        with pytest.raises(checks.ClaimError, match="✗ two"):
            state()
        assert shown(capsys) == ["✓ one"]
        checks.equal("three", 3, 3)
        assert shown(capsys) == ["✓ three"]  # the fold is over

    def test_another_error_unfolds_too(self, capsys):
        def state():
            with checks.battery("sums"):
                checks.equal("one", 1, 1)
                raise KeyError

        with pytest.raises(KeyError):
            state()
        assert shown(capsys) == ["✓ one"]

    def test_a_block_without_claims_is_refused(self):
        with pytest.raises(ValueError, match="nothing"), checks.battery("nothing"):
            pass

    def test_broken_versions_keep_their_lines(self, capsys):
        def check(double):
            with checks.battery("doubles"):
                checks.equal("doubles", double(2), 4)
                checks.equal("doubles three", double(3), 6)

        broken = {"squares": lambda x: x * x}
        checks.catches(check, broken, correct=lambda x: 2 * x)
        assert shown(capsys) == [
            "✓ 1 of 1 broken version is caught",
            "    squares  →  doubles three",
        ]

    def test_what_is_not_asserted_stays_a_line(self, capsys, monkeypatch):
        monkeypatch.setitem(vars(sys.modules["__main__"]), "lr", 2.0)
        elsewhere = checks.usual({"lr": 1.0})
        with elsewhere, checks.battery("sums"):
            checks.equal("one", 1, 2)
        assert shown(capsys)[0] == "○ one"


def test_the_record_lists_what_was_folded():
    folded = {"kind": "claim", "text": "✓ 2 claims: sums", "texts": ["one", "two"]}
    facts = [folded, {"kind": "claim", "text": "✓ three"}, {"kind": "metric"}]
    assert record.claims(facts) == ["✓ one", "✓ two", "✓ three"]

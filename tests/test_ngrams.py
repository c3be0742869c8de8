"""n-grams against a slow count from the definition; units against each other."""

import gzip
import math
from collections import Counter

import numpy as np
import pytest

from lmlab.text import ngrams

RNG = np.random.default_rng(0)
V = 23
# As in text, few tokens are frequent and many rare; runs of up to four come back.
TRAIN = RNG.permutation(V)[(V * RNG.random(1200) ** 3).astype(int)]
TRAIN = np.concatenate([TRAIN, TRAIN[:300], TRAIN[:120], TRAIN[:40]])
TEST = np.concatenate([TRAIN[30:60], RNG.integers(V, size=30)])


def by_definition(train, n, context, token):
    """Chen and Goodman's formula (1999, section 3), with dictionaries."""
    padded = [V] * (n - 1) + list(train)
    grams = [Counter() for _ in range(n + 1)]
    for end in range(n, len(padded) + 1):
        grams[n][tuple(padded[end - n : end])] += 1
    for k in range(n - 1, 0, -1):
        for gram in grams[k + 1]:
            grams[k][gram[1:]] += 1
    p, estimated = 1 / V, set()
    for k in range(1, n + 1):
        h = tuple(([V] * n + list(context))[len(context) + n - k + 1 :])
        followers = {g[-1]: c for g, c in grams[k].items() if g[:-1] == h}
        if not followers:
            return p, estimated
        held = Counter(grams[k].values())
        d = [0, 0.5, 0.75, 0.75]  # what is taken when one of the four is missing
        if all(held[i] for i in (1, 2, 3, 4)):
            y = held[1] / (held[1] + 2 * held[2])
            d = [0, *(i - (i + 1) * y * held[i + 1] / held[i] for i in (1, 2, 3))]
            assert all(0 < d[i] < i for i in (1, 2, 3))
            estimated.add(k)
        taken = sum(d[min(c, 3)] for c in followers.values())
        count = followers.get(token, 0)
        p = (count - d[min(count, 3)] + taken * p) / sum(followers.values())
    return p, estimated


@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_equal_to_the_definition_and_sums_to_1(n):
    model = ngrams.NGrams(TRAIN, n, V)
    said, estimated = model.log_probabilities(TEST), set()
    for i in range(0, len(TEST), 3):
        context = TEST[max(0, i - 5) : i].tolist()
        told = [by_definition(TRAIN, n, context, token) for token in range(V)]
        p = [probability for probability, _ in told]
        estimated = estimated.union(*(lengths for _, lengths in told))
        np.testing.assert_allclose(model.distribution(context), p, rtol=1e-10)
        assert sum(p) == pytest.approx(1, abs=1e-12)
        if i >= n - 1 or i == 0:
            assert said[i] == pytest.approx(math.log(p[TEST[i]]), rel=1e-10)
    assert estimated >= set(range(2, n + 1))  # by the formula, not by the substitute


def test_one_gram_is_no_less_than_uniform_on_what_was_never_seen():
    model = ngrams.NGrams(np.zeros(50, dtype=int), 3, V)
    p = model.distribution([4, 4])  # never seen: all lengths but one give up
    assert p[0] > 0.6
    np.testing.assert_allclose(p[1:], p[1])
    assert p.sum() == pytest.approx(1)


def test_longer_memory_helps_where_there_is_something_to_remember():
    text = np.tile([0, 1, 0, 2, 3, 1, 4], 60)
    losses = [
        -ngrams.NGrams(text, n, V).log_probabilities(text).mean() for n in (1, 2, 4)
    ]
    assert losses[0] > 1.5 > losses[1] > 0.3 > losses[2]


@pytest.mark.parametrize(
    ("ids", "n", "vocab_size", "error", "match"),
    [
        ([], 2, V, ValueError, "ids must be"),
        ([0.5], 2, V, ValueError, "ids must be"),
        ([[1]], 2, V, ValueError, "ids must be"),
        ([0, V], 2, V, ValueError, "ids must lie in 0 … 22; got 0 … 23"),
        ([-1], 2, V, ValueError, "0 … 22"),
        ([1], 0, V, ValueError, "n must be a whole number from 1, got 0"),
        ([1], 1.5, V, TypeError, "n must be a whole number from 1, got 1.5"),
        ([1], 2, 0, ValueError, "vocab_size must be a whole number from 1, got 0"),
        ([1], 2, "V", TypeError, "vocab_size must be a whole number from 1, got 'V'"),
    ],
)
def test_bad_input_is_named(ids, n, vocab_size, error, match):
    with pytest.raises(error, match=match):
        ngrams.NGrams(np.array(ids), n, vocab_size=vocab_size)


def test_bits_per_byte_is_the_same_for_any_cut_into_tokens():
    # 8 bits for each of four bytes: as 4 tokens of 256 kinds, or 2 of 65,536.
    assert ngrams.bits_per_byte(4 * math.log(256), 4) == pytest.approx(8)
    assert ngrams.bits_per_byte(2 * math.log(256**2), 4) == pytest.approx(8)


def test_compressors():
    text = "naïve " * 100
    bits = ngrams.compressed_bits_per_byte(text)
    size = len(text.encode())
    assert bits["gzip"] == 8 * len(gzip.compress(text.encode(), 9, mtime=0)) / size
    assert set(bits) == {"gzip", "lzma"}
    letters = "".join(map(chr, RNG.integers(97, 123, 3000)))
    again = ngrams.compressed_bits_per_byte(letters, after=letters)
    assert again["lzma"] < 0.2 < 4 < ngrams.compressed_bits_per_byte(letters)["lzma"]
    with pytest.raises(ValueError, match="empty"):
        ngrams.compressed_bits_per_byte("")

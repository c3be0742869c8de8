"""lmlab.generation against Hugging Face's generate, and what changes nothing."""

import math
import random

import numpy as np
import pytest
import torch
from transformers import LogitsProcessorList
from transformers.generation.logits_process import (
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from lmlab.generation import generate, sampling, search
from lmlab.methods import quantization as quantized
from lmlab.models import pretrained
from lmlab.models.gpt import GPT, Config

CONFIG = Config(
    vocab_size=53, context=40, num_layers=3, num_heads=4, width=20, dropout=0.2
)
PROMPTS = [[1, 2, 3], [4, 5, 6, 7, 8, 9, 10], [7]]


@pytest.fixture(scope="module")
def model():
    """What it says depends on all that it read, and is seldom the same twice."""
    torch.manual_seed(1)
    model = GPT(CONFIG)
    for name, p in model.named_parameters():
        is_norm = name.endswith("norm.weight")
        torch.nn.init.normal_(p, float(is_norm), 0.1 if p.ndim == 1 else 0.5)
    return model.eval()


@pytest.fixture(scope="module")
def theirs(model):
    return pretrained.to_huggingface(model).eval()


def cases(number):
    """Prompts with a repetition penalty and stop tokens, none alike."""
    for seed in range(number):
        rng = random.Random(seed)
        prompt = [rng.randrange(53) for _ in range(rng.randint(1, 20))]
        stops = (), (3,), *(tuple(rng.sample(range(53), n)) for n in (8, 20))
        yield prompt, rng.choice([1.0, 1.3, 0.8]), rng.choice(stops)


def by_huggingface(theirs, prompt, penalty, stop, **options):
    ids = torch.tensor([prompt])
    out = theirs.generate(
        ids,
        attention_mask=torch.ones_like(ids),
        max_new_tokens=15,
        do_sample=False,
        pad_token_id=0,
        repetition_penalty=penalty,
        eos_token_id=list(stop) or None,
        **options,
    )
    return [until(ids, stop) for ids in out[:, len(prompt) :].tolist()]


def until(ids, stop):
    """Ids up to the first that stops; what follows there is padding."""
    ends = [place for place, i in enumerate(ids) if i in stop]
    return ids[: ends[0] + 1] if ends else ids


class Chain:
    """A text of ids 0, 1, 2 whose next id depends on the last one, and on the place."""

    def __init__(self, after, at):
        self.after, self.at = after, at

    def begin(self):
        self.length, self.rows = 0, [0]
        return self._logits()

    def add(self, ids):
        self.length, self.rows = self.length + 1, ids.tolist()
        return self._logits()

    def pick(self, rows):
        self.rows = [self.rows[row] for row in rows.tolist()]

    def _logits(self):
        tables = [self.at.get(self.length, self.after.get(row)) for row in self.rows]
        p = [[(table or {}).get(i, 0.0) for i in range(3)] for table in tables]
        return torch.tensor(p).log()


# --- Against Hugging Face -------------------------------------------------------------


@pytest.mark.parametrize("use_cache", [True, False])
def test_greedy_equals_huggingfaces(model, theirs, use_cache):
    lengths, texts = set(), set()
    for prompt, penalty, stop in cases(12):
        expected = by_huggingface(theirs, prompt, penalty, stop)
        texts.add(tuple(expected[0][-5:]))
        ours = generate(
            model,
            prompt,
            15,
            repetition_penalty=penalty,
            stop=stop,
            use_cache=use_cache,
        )
        assert ours == expected
        lengths.add(len(ours[0]))
    assert len(lengths) > 1  # some stopped early
    assert len(texts) > 8  # and they differ


@pytest.mark.parametrize(("num_beams", "best"), [(2, 1), (3, 3), (5, 2)])
def test_beams_equal_huggingfaces(model, theirs, num_beams, best):
    for prompt, penalty, stop in cases(12):
        expected = by_huggingface(
            theirs,
            prompt,
            penalty,
            stop,
            num_beams=num_beams,
            num_return_sequences=best,
        )
        ours = generate(
            model,
            prompt,
            15,
            repetition_penalty=penalty,
            stop=stop,
            num_beams=num_beams,
            num_sequences=best,
        )
        assert ours == expected


@pytest.mark.parametrize("length_penalty", [0.0, 1.0, 2.0, -1.0])
@pytest.mark.parametrize("num_beams", [2, 3, 4])
def test_the_length_penalty_is_huggingfaces(model, theirs, num_beams, length_penalty):
    """The stops end many continuations early: long and short ones are compared."""
    found, options = [], {"num_beams": num_beams, "length_penalty": length_penalty}
    for prompt, _, stop in cases(14):
        expected = by_huggingface(
            theirs, prompt, 1.0, stop, num_return_sequences=num_beams, **options
        )
        ours = generate(
            model, prompt, 15, stop=stop, num_sequences=num_beams, **options
        )
        assert ours == expected
        found.append(ours[0])
    plain = [
        generate(model, prompt, 15, stop=stop, num_beams=num_beams)[0]
        for prompt, _, stop in cases(14)
    ]
    assert (found == plain) == (length_penalty == 1.0)  # it decides something


def test_a_penalty_by_hand():
    """Two ways out: at once with p = 0.3, or three ids of 0.7 · 0.8 · 0.8 = 0.448."""
    a, b = math.log(0.3), math.log(0.7 * 0.8 * 0.8)
    for length_penalty, first in ((-1.0, [2]), (0.0, [1, 1, 2]), (1.0, [1, 1, 2])):
        text = Chain({0: {1: 0.7, 2: 0.3}, 1: {1: 0.8, 2: 0.2}}, {2: {1: 0.2, 2: 0.8}})
        (found,) = search.search(text, 3, 4, {2}, length_penalty=length_penalty)
        scores = {tuple(ids): score for score, ids in found}
        assert found[0][1] == first
        assert scores[2,] == pytest.approx(a)
        assert scores[1, 1, 2] == pytest.approx(b / 3**length_penalty)


@pytest.mark.parametrize("seed", [9, 86, 182])
def test_only_a_continuation_among_the_best_beams_may_end(model, theirs, seed):
    """Cases where the rule decides: without it these texts are others."""
    rng = random.Random(seed)
    prompt = [rng.randrange(53) for _ in range(5)]
    stop = rng.sample(range(53), rng.choice([10, 20, 30, 45]))
    assert rng.choice([2, 3, 5]) == 2
    expected = by_huggingface(
        theirs, prompt, 1.0, stop, num_beams=2, num_return_sequences=2
    )
    assert (
        generate(model, prompt, 15, num_beams=2, num_sequences=2, stop=stop) == expected
    )


@pytest.mark.parametrize("looked_at", [4, 1024])
@pytest.mark.parametrize("top_k", [None, 1, 7, 100])
@pytest.mark.parametrize("top_p", [None, 1e-6, 0.3, 0.9, 1.0])
def test_the_distribution_equals_huggingfaces(monkeypatch, top_k, top_p, looked_at):
    monkeypatch.setattr(sampling, "LIKELY", looked_at)  # few: the whole is sorted
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(6, 53, generator=generator) * 3
    warpers = [TemperatureLogitsWarper(0.7)]
    warpers += [TopKLogitsWarper(top_k)] if top_k else []
    warpers += [TopPLogitsWarper(top_p)] if top_p else []
    expected = LogitsProcessorList(warpers)(None, logits).softmax(-1)
    ours = sampling.filtered(logits, 0.7, top_k, top_p).softmax(-1)
    assert torch.equal(ours > 0, expected > 0)
    torch.testing.assert_close(ours, expected)


def test_the_repetition_penalty_equals_huggingfaces():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(4, 53, generator=generator)
    ids = torch.randint(53, (4, 9), generator=generator)
    seen = torch.zeros(4, 53, dtype=torch.bool).scatter_(1, ids, True)
    for penalty in (0.5, 1.0, 1.7):
        expected = RepetitionPenaltyLogitsProcessor(penalty)(ids, logits)
        assert torch.equal(sampling.penalise(logits, seen, penalty), expected)


# --- What is drawn --------------------------------------------------------------------


def test_tokens_are_drawn_as_often_as_the_model_says(model):
    with torch.no_grad():
        logits = model(torch.tensor([PROMPTS[0]]))[:, -1]
    expected = sampling.filtered(logits, 1.3, top_k=8).softmax(-1)[0]
    n = 2000
    drawn = generate(
        model, PROMPTS[0], 1, num_sequences=n, temperature=1.3, top_k=8, seed=0
    )
    counts = torch.bincount(torch.tensor(drawn)[:, 0], minlength=53)
    error = (expected * (1 - expected) / n).sqrt()
    assert (counts[expected == 0] == 0).all()
    assert ((counts / n - expected).abs() <= 4 * error).all()
    assert (counts > 0).sum() > 3


def test_a_seed_reproduces_and_touches_no_one_elses(model):
    options = {"temperature": 1.0, "top_k": 20, "top_p": 0.95, "num_sequences": 5}
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first = generate(model, PROMPTS, 12, seed=3, **options)
    assert generate(model, PROMPTS, 12, seed=3, **options) == first
    assert generate(model, PROMPTS, 12, seed=3, use_cache=False, **options) == first
    assert generate(model, PROMPTS, 12, seed=4, **options) != first
    assert generate(model, PROMPTS, 12, **options) != first
    assert torch.equal(torch.get_rng_state(), before)
    assert len(first) == 15
    assert len({tuple(ids) for ids in first[:5]}) == 5


def test_a_very_low_temperature_is_greedy(model):
    greedy = generate(model, PROMPTS[1], 12)
    assert generate(model, PROMPTS[1], 12, temperature=1e-4, seed=0) == greedy
    assert generate(model, PROMPTS[1], 12, temperature=5.0, top_k=1, seed=0) == greedy


# --- What changes nothing -------------------------------------------------------------


@pytest.mark.parametrize("use_cache", [True, False])
@pytest.mark.parametrize("options", [{}, {"repetition_penalty": 1.4}, {"num_beams": 3}])
def test_prompts_side_by_side_are_as_one_by_one(model, use_cache, options):
    alone = [generate(model, prompt, 10, **options)[0] for prompt in PROMPTS]
    assert generate(model, PROMPTS, 10, use_cache=use_cache, **options) == alone
    assert generate(model, PROMPTS, 10, stop=(alone[0][4],), **options) == [
        generate(model, prompt, 10, stop=(alone[0][4],), **options)[0]
        for prompt in PROMPTS
    ]


def test_beams_share_the_reading_of_their_prompts(model, monkeypatch):
    read, inner = [], GPT.hidden

    def hidden(self, ids, cache):
        read.append(tuple(ids.shape))
        return inner(self, ids, cache)

    monkeypatch.setattr(GPT, "hidden", hidden)
    found = generate(model, PROMPTS, 5, num_beams=4, num_sequences=2)
    assert len(found) == 6
    assert read == [(3, 7), *[(12, 1)] * 4]  # the last id is not read


def test_where_every_id_ends_a_text_there_is_one_id(model):
    best = generate(model, PROMPTS[0], 5)[0][:1]
    options = {"stop": range(53), "num_beams": 3}
    assert generate(model, PROMPTS[0], 5, **options) == [best]
    three = generate(model, PROMPTS[0], 5, num_sequences=3, **options)
    assert three[0] == best
    assert sorted(map(len, three)) == [1, 1, 1]


def test_prompts_may_be_arrays_or_tensors(model):
    expected = generate(model, [[3, 1, 4], [1, 5, 9]], 5)
    ids = torch.tensor([[3, 1, 4], [1, 5, 9]])
    assert generate(model, ids, 5) == expected
    assert generate(model, ids.numpy().astype("uint16"), 5) == expected
    assert generate(model, ids[0], 5) == expected[:1]
    assert generate(model, tuple(ids[1]), 5) == expected[1:]


def test_a_sequence_ends_with_its_stop(model):
    free = generate(model, PROMPTS, 12)
    stop = free[0][3]
    assert generate(model, PROMPTS[0], 12, stop=stop) == [until(free[0], {stop})]
    assert len(until(free[0], {stop})) <= 4


def test_the_model_is_left_as_it_was(model):
    model.train()
    try:
        ids = generate(model, PROMPTS[0], 8)
        assert model.training
    finally:
        model.eval()
    assert generate(model, PROMPTS[0], 8) == ids  # dropout had been off
    assert all(p.requires_grad and p.grad is None for p in model.parameters())


def test_each_part_of_the_model_keeps_its_mode(model):
    frozen = model.train().blocks[0].eval()
    try:
        generate(model, PROMPTS[0], 2)
        assert model.training
        assert model.blocks[1].training
        assert not any(part.training for part in frozen.modules())
    finally:
        model.eval()


def test_the_context_can_be_filled_to_its_end(model):
    prompt = [i % 53 for i in range(30)]
    options = {"temperature": 2.0, "seed": 0}
    ids = generate(model, prompt, 11, **options)[0]  # the last id is not read
    assert len(ids) == 11
    assert generate(model, prompt, 11, use_cache=False, **options)[0] == ids
    whole = [50, 51, 52, *prompt]
    assert generate(model, whole, 11, crop=True, **options)[0] == ids
    assert (
        generate(model, [whole, prompt], 11, crop=True)
        == [generate(model, prompt, 11)[0]] * 2
    )


# --- What is refused ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"num_sequences": 5}, "would all be the same with temperature=0"),
        ({"top_k": 5}, "temperature=0 draws nothing"),
        ({"top_p": 0.5}, "temperature=0 draws nothing"),
        ({"temperature": -1}, r"temperature must be a number in \[0, inf\), got -1"),
        ({"temperature": float("nan")}, r"temperature must be .*\[0, inf\), got nan"),
        ({"temperature": 1, "top_k": 0}, "top_k must be a whole number from 1, got 0"),
        ({"temperature": 1, "top_p": 0}, r"top_p must be a number in \(0, 1\], got 0"),
        ({"temperature": 1, "top_p": 1.5}, r"top_p must be a .* in \(0, 1\], got 1.5"),
        ({"repetition_penalty": 0}, r"repetition_penalty must .* in \(0, inf\), got 0"),
        ({"num_beams": 2, "temperature": 1}, "beams search and do not draw"),
        ({"num_beams": 2, "num_sequences": 3}, "2 beams cannot give 3 sequences"),
        ({"num_beams": 0}, "num_beams must be a whole number from 1, got 0"),
        ({"num_beams": 2, "length_penalty": math.nan}, "length_penalty must be .* nan"),
        ({"stop": [53]}, "stop must be a whole number from 0 to 52, got 53"),
        ({"vocab_size": 54}, "vocab_size must be a whole number from 1 to 53, got 54"),
    ],
)
def test_options_that_make_no_sense(model, options, said):
    with pytest.raises(ValueError, match=said):
        generate(model, [1, 2], 3, **options)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"stop": ["."]}, "stop must be a whole number from 0 to 52, got '.'"),
        ({"stop": True}, "stop must be a whole number from 0 to 52, got True"),
        ({"num_beams": 2.0}, "num_beams must be a whole number from 1, got 2.0"),
        ({"num_sequences": True}, "num_sequences must be a whole number"),
        ({"length_penalty": "1"}, "length_penalty must be a number, got '1'"),
        ({"temperature": None}, r"temperature must be a number in \[0, inf\)"),
        ({"vocab_size": 50.0}, "vocab_size must be a whole number from 1 to 53"),
    ],
)
def test_options_of_another_type(model, options, said):
    with pytest.raises(TypeError, match=said):
        generate(model, [1, 2], 3, **options)


@pytest.mark.parametrize(
    ("prompt", "num_tokens", "kind", "said"),
    [
        ([], 3, ValueError, "prompt_ids is empty: begin with one id"),
        ([[1], []], 3, ValueError, "holds an empty prompt"),
        ("Once", 3, TypeError, "text is encoded by tokenizer.encode"),
        ([1.5], 3, TypeError, "must be ids"),
        ([1, 53], 3, ValueError, "prompt_ids must lie in 0 … 52, got 53"),
        ([[1], [-1]], 3, ValueError, "prompt_ids must lie in 0 … 52, got -1"),
        ([1], 0, ValueError, "num_tokens must be a whole number from 1, got 0"),
        ([1] * 38, 4, ValueError, "38 tokens, and with num_tokens=4 .* room for 37"),
        ([1], 41, ValueError, "num_tokens=41 is more than the model's context of 40"),
    ],
)
def test_prompts_that_are_none(model, prompt, num_tokens, kind, said):
    with pytest.raises(kind, match=said):
        generate(model, prompt, num_tokens)


# --- Smaller copies -------------------------------------------------------------------


def test_rows_to_spare_are_never_chosen():
    torch.manual_seed(0)
    model = GPT(Config(40, context=24, num_layers=1, num_heads=2, width=8)).eval()
    with torch.no_grad():
        model.token_embedding.weight[30:] *= 40  # these would often be the likeliest
    options = {
        "greedy": {},
        "beams": {"num_beams": 3, "num_sequences": 3},
        "drawn": {"temperature": 3.0, "num_sequences": 40, "seed": 1},
        "nucleus": {"temperature": 3.0, "top_p": 0.9, "top_k": 35, "seed": 1},
        "penalty": {"repetition_penalty": 1.5},
        "no cache": {"use_cache": False},
    }
    for name, some in options.items():
        prompts = [[3, 4], [5]]
        rows = generate(model, prompts, 12, vocab_size=30, **some)
        assert max(map(max, rows)) < 30, name
        rows = generate(model, prompts, 12, **some)
        assert max(map(max, rows)) >= 30, name
    for wrong in (0, 41, True, 3.0):
        kind = ValueError if type(wrong) is int else TypeError
        with pytest.raises(kind, match="vocab_size must be a whole number"):
            generate(model, [1], 2, vocab_size=wrong)
    with pytest.raises(ValueError, match="prompt_ids must lie in 0 … 29, got 30"):
        generate(model, [30], 2, vocab_size=30)


def test_numbers_may_be_numpys(model):
    four = np.int64(4)
    options = {"temperature": 1.0, "seed": 1}
    expected = generate(
        model, [1, 2], 4, top_k=4, num_sequences=4, vocab_size=50, stop=4, **options
    )
    options |= {"top_k": four, "num_sequences": four, "stop": four}
    assert generate(model, [1, 2], four, vocab_size=np.int64(50), **options) == expected
    stop = np.array([4, 5])
    expected = generate(model, [1, 2], 4, **options | {"stop": [4, 5]})
    for several in (stop, torch.tensor([4, 5]), {4, 5}):
        assert generate(model, [1, 2], 4, **options | {"stop": several}) == expected
    found = generate(model, [1, 2], 4, num_beams=four, num_sequences=four)
    assert found == generate(model, [1, 2], 4, num_beams=4, num_sequences=4)


def test_a_wrapped_model_writes_what_the_one_inside_does():
    model = GPT(Config(40, context=24, num_layers=1, num_heads=2, width=8)).eval()
    expected = generate(model, [3, 4], 12)
    assert generate(torch.compile(model, backend="eager"), [3, 4], 12) == expected
    assert generate(torch.nn.DataParallel(model), [3, 4], 12) == expected


INT8 = quantized.ENGINE in torch.backends.quantized.supported_engines
needs_int8 = pytest.mark.skipif(not INT8, reason="torch has no 8-bit kernels here")


@pytest.fixture(scope="module")
def trained():
    """A GPT that learnt a text, so that its logits are far from flat."""
    torch.manual_seed(0)
    text = torch.tensor([ord(c) % 64 for c in "the cat sat on the mat. " * 40])
    model = GPT(Config(vocab_size=64, context=48, num_layers=2, num_heads=4, width=64))
    optimizer = torch.optim.AdamW(model.parameters(), 3e-3)
    for _ in range(60):
        starts = torch.randint(len(text) - 49, (16,))
        block = torch.stack([text[s : s + 49] for s in starts.tolist()])
        loss = model.loss(block[:, :-1], block[:, 1:])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 0.5
    return model.eval(), text


@pytest.mark.parametrize(
    ("precision", "share"),
    [
        ("float32", 0),
        ("bfloat16", 0.02),
        pytest.param("int8", 0.03, marks=needs_int8),
    ],
)
def test_a_smaller_copy_says_nearly_the_same(trained, precision, share):
    model, text = trained
    small = quantized.for_generation(model, precision)
    ids, targets = text[None, 5:45], text[None, 6:46]
    with torch.no_grad():
        logits = model(ids)
        near = small(ids).float()
        assert (near - logits).norm() <= share * logits.norm()
        exact, ours = model.loss(ids, targets), small.loss(ids, targets)
    assert ours.item() == pytest.approx(exact.item(), abs=0.01)
    prompt = text[:12].tolist()
    # Two ids may be as good as equal, and another processor takes the other: what is
    # written must be the best but for an error of the logits, twice.
    allowed = 2 * share * logits.abs().max() + 1e-4
    for use_cache in (True, False):
        (written,) = generate(small, prompt, 20, use_cache=use_cache)
        row = torch.tensor([prompt + written])
        with torch.no_grad():
            exact = model(row)[0, len(prompt) - 1 : -1]  # of each id written
        chosen = exact.gather(1, row[0, len(prompt) :, None])[:, 0]
        assert (exact.amax(1) - chosen).max() <= allowed
    assert not any(p.requires_grad for p in small.parameters())
    assert all(p.requires_grad for p in model.parameters())


@needs_int8
def test_a_head_of_its_own_is_the_copys_too():
    torch.manual_seed(0)
    model = GPT(
        Config(31, context=12, num_layers=1, num_heads=2, width=16, tied=False)
    ).eval()
    ids = torch.randint(31, (2, 12))
    small = quantized.for_generation(model, "int8")
    with torch.no_grad():
        exact, near = model(ids), small(ids)
        assert (near - exact).norm() < 0.05 * exact.norm()
        loss = small.loss(ids, ids.int())
    assert loss.item() == pytest.approx(model.loss(ids, ids).item(), abs=0.02)


@needs_int8
def test_torchs_engine_is_left_as_it_was(monkeypatch):
    others = set(torch.backends.quantized.supported_engines) - {quantized.ENGINE}
    monkeypatch.setattr(torch.backends.quantized, "engine", min(others))
    quantized.Int8Linear(torch.ones(4, 4))
    assert torch.backends.quantized.engine == min(others)


@needs_int8
def test_eight_bits_are_stored_and_each_token_has_its_own_range():
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(30, 16, generator=generator)
    bias = torch.randn(30, generator=generator)
    x = torch.randn(2, 3, 16, generator=generator)
    x[0, 0] *= 1000  # one token with large numbers must not spoil the others
    layer = quantized.Int8Linear(weight, bias)
    expected = x @ weight.T + bias
    error = (layer(x) - expected).norm(dim=-1) / expected.norm(dim=-1)
    assert error.max() < 0.03
    assert error.min() > 1e-5  # it is not float32 in disguise
    torch.testing.assert_close(layer(x[:1, 1:2]), layer(x)[:1, 1:2], atol=0.2, rtol=0)
    zero = quantized.Int8Linear(torch.zeros(4, 16))
    assert torch.equal(zero(torch.zeros(2, 16)), torch.zeros(2, 4))


def test_precisions_that_there_are_not(model, monkeypatch):
    with pytest.raises(ValueError, match="float32, bfloat16, int8; got 'int4'"):
        quantized.for_generation(model, "int4")
    monkeypatch.setattr(quantized, "ENGINE", "none such")
    with pytest.raises(ValueError, match="on an x86 CPU alone"):
        quantized.for_generation(model, "int8")

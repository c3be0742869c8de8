"""The Transformer against torch.nn.Transformer, its search by brute force."""

import itertools
import math

import pytest
import torch
import torch.nn.functional as F

from lmlab import devices
from lmlab.generation.search import beam_search, greedy
from lmlab.layers.blocks import Block, FeedForward
from lmlab.models.transformer import EncoderDecoder, Transformer

# torch's remark that its own encoder has a faster path for post-norm
pytestmark = pytest.mark.filterwarnings("ignore:enable_nested_tensor")

B, S, T, WIDTH, HEADS, HIDDEN = 4, 7, 5, 12, 3, 20
X_MASK = torch.arange(S) < torch.tensor([[7], [5], [3], [6]])
Y_MASK = torch.arange(T) < torch.tensor([[5], [4], [2], [5]])


def theirs(norm_first, activation="relu", dtype=torch.float64, seed=0):
    torch.manual_seed(seed)
    model = torch.nn.Transformer(
        WIDTH, HEADS, 2, 3, HIDDEN, 0.0, activation,
        batch_first=True, norm_first=norm_first, dtype=dtype,
    )  # fmt: skip
    for name, p in model.named_parameters():  # biases and norms too
        torch.nn.init.normal_(p, float("norm" in name), std=0.3)
    return model


def vectors(dtype=torch.float64):
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(B, S, WIDTH, generator=generator, dtype=dtype)
    y = torch.randn(B, T, WIDTH, generator=generator, dtype=dtype)
    weights = torch.randn(B, T, WIDTH, generator=generator, dtype=dtype)
    return x.requires_grad_(), y.requires_grad_(), weights


def run_theirs(model, x, y):
    future = torch.ones(T, T, dtype=torch.bool).triu(1)
    return model(
        x, y, tgt_mask=future, src_key_padding_mask=~X_MASK,
        tgt_key_padding_mask=~Y_MASK, memory_key_padding_mask=~X_MASK,
    )  # fmt: skip


@pytest.mark.parametrize("activation", ["relu", "gelu"])
@pytest.mark.parametrize("norm_first", [True, False])
@pytest.mark.parametrize(
    ("dtype", "atol"), [(torch.float64, 1e-12), (torch.float32, 1e-6)]
)
def test_equal_to_torch_in_outputs_and_gradients(norm_first, activation, dtype, atol):
    oracle = theirs(norm_first, activation, dtype)
    ours = EncoderDecoder.from_torch(oracle)
    grads = []
    for model, run in ((oracle, run_theirs), (ours, None)):
        x, y, weights = vectors(dtype)
        out = run(model, x, y) if run else model(x, y, X_MASK, Y_MASK)
        loss = (out * weights).sum() / 25
        loss.backward()
        grads.append((out.detach(), x.grad, y.grad, model))
    (a, ax, ay, _), (b, bx, by, _) = grads
    scale = a.abs().max().item()  # outputs are O(1): within a few units of it
    assert 0.5 < scale < 20, scale
    torch.testing.assert_close(b, a, atol=scale * atol, rtol=0)
    torch.testing.assert_close(bx, ax, atol=atol, rtol=0)
    torch.testing.assert_close(by, ay, atol=atol, rtol=0)
    assert 1e-3 < ax.abs().max() < 2  # not zero against zero
    for name, mine, its in weight_gradients(ours, oracle):
        torch.testing.assert_close(mine, its, atol=atol, rtol=0, msg=name)


def weight_gradients(ours, oracle):
    for side in ("encoder", "decoder"):
        for block, layer in zip(getattr(ours, side), getattr(oracle, side).layers):
            for name in ("weight", "bias"):
                its = getattr(layer.self_attn, f"in_proj_{name}").grad
                mine = getattr(block.attention.qkv, name).grad
                yield f"{side} self qkv {name}", mine, its
                if side == "decoder":
                    its = getattr(layer.multihead_attn, f"in_proj_{name}").grad
                    yield f"cross {name}", getattr(block.cross.qkv, name).grad, its
                    its = getattr(layer.norm2, name).grad
                    yield (
                        f"cross norm {name}",
                        getattr(block.cross_norm, name).grad,
                        its,
                    )
                up = getattr(block.mlp.up, name).grad
                yield f"{side} up {name}", up, getattr(layer.linear1, name).grad
                last = getattr(block.mlp_norm, name).grad
                norm = layer.norm3 if side == "decoder" else layer.norm2
                yield f"{side} last norm {name}", last, getattr(norm, name).grad


def test_the_copy_is_a_copy():
    oracle = theirs(True)
    ours = EncoderDecoder.from_torch(oracle)
    x, y, _ = vectors()
    before = ours(x, y)
    for p in oracle.parameters():
        p.data.zero_()
    assert torch.equal(ours(x, y), before)


def test_the_copy_refuses_what_it_cannot_be():
    model = torch.nn.Transformer(8, 2, 1, 1, 8, bias=False, batch_first=True)
    with pytest.raises(ValueError, match="bias=False is not supported"):
        EncoderDecoder.from_torch(model)
    model = torch.nn.Transformer(8, 2, 1, 1, 8, activation=F.elu, batch_first=True)
    with pytest.raises(ValueError, match=r"activation .*elu.* is none of relu, gelu"):
        EncoderDecoder.from_torch(model)


VOCABULARY = 11


def small(**options):
    torch.manual_seed(3)
    options = {"num_encoder_layers": 2, "num_decoder_layers": 2} | options
    model = Transformer(VOCABULARY, 16, 4, **options).double()
    return model.eval()


def example():
    generator = torch.Generator().manual_seed(5)
    source = torch.randint(3, VOCABULARY, (3, 6), generator=generator)
    target = torch.randint(3, VOCABULARY, (3, 5), generator=generator)
    return source, target


@pytest.mark.parametrize("norm", ["pre", "post"])
def test_padding_changes_nothing(norm):
    model, (source, target) = small(norm=norm), example()
    padded = F.pad(source, (0, 4))
    torch.testing.assert_close(
        model(padded, target), model(source, target), atol=1e-12, rtol=0
    )
    longer = F.pad(target, (0, 2))
    torch.testing.assert_close(
        model(source, longer)[:, :5], model(source, target), atol=1e-12, rtol=0
    )


def test_the_past_does_not_see_the_future():
    model, (source, target) = small(), example()
    changed = target.clone()
    changed[:, 3] = (changed[:, 3] - 3 + 1) % 8 + 3
    before, after = model(source, target), model(source, changed)
    torch.testing.assert_close(before[:, :3], after[:, :3], atol=1e-13, rtol=0)
    assert (before[:, 3:] - after[:, 3:]).abs().amin(-1).min() > 1e-8


def test_order_matters_in_source_and_target():
    model, (source, target) = small(), example()
    out = model(source, target)
    assert (model(source.flip(1), target) - out).abs().max() > 1e-3
    turned = target[:, [1, 0, 2, 3, 4]]
    assert (model(source, turned) - out)[:, -1].abs().max() > 1e-3


def test_rotary_tells_self_attention_the_order_and_not_cross_attention():
    x, y, _ = vectors()
    for rotary in (False, True):
        torch.manual_seed(0)
        model = EncoderDecoder(WIDTH, HEADS, rotary=rotary).double()
        memory = model.encode(x)
        blind = torch.allclose(model.encode(x.flip(1)).flip(1), memory, atol=1e-9)
        assert blind != rotary
        out = model.decode(y, memory)
        torch.testing.assert_close(model.decode(y, memory.flip(1)), out)


def test_tied_embeddings_are_one_matrix_and_separate_ones_three():
    tied, separate = small(), small(tied=False)
    assert tied.output.weight is tied.source.weight is tied.target.weight
    count = [sum(p.numel() for p in m.parameters()) for m in (tied, separate)]
    assert count[1] - count[0] == 2 * VOCABULARY * 16


def test_embeddings_are_of_the_size_of_the_positions():
    model = Transformer(1000, 64)
    x = model.source(torch.arange(1000)) * 64**0.5
    assert x.std().item() == pytest.approx(1.0, abs=0.02)
    assert model.positions.std().item() == pytest.approx(0.7, abs=0.15)


def test_alignment_is_cross_attention_and_sums_to_one():
    model, (source, target) = small(), example()
    source = F.pad(source, (0, 2))
    before = model(source, target)
    weights = model.alignment(source, target)
    assert weights.shape == (2, 3, 4, 5, 8)  # layers, B, num_heads, T, S
    torch.testing.assert_close(weights.sum(-1), torch.ones(2, 3, 4, 5).double())
    assert weights[..., 6:].abs().max() == 0
    assert torch.equal(model(source, target), before)  # no hook is left behind


def test_weights_save_and_load():
    model, (source, target) = small(), example()
    other = small()
    for p in other.parameters():
        p.data.zero_()
    other.load_state_dict(model.state_dict())
    assert torch.equal(other(source, target), model(source, target))


def test_bfloat16_agrees_with_float32():
    # bfloat16 keeps 8 bits: 2⁻⁸ = 0.004 per rounding, a few dozen in a row.
    machine = devices.start(0, precision="bfloat16")
    model, (source, target) = small().float().to(machine.device), example()
    source, target = source.to(machine.device), target.to(machine.device)
    full = model(source, target)
    with machine.autocast():
        half = model(source, target)
    assert half.dtype == torch.bfloat16
    error = (half.float() - full).abs().max() / full.abs().max()
    assert 1e-5 < error.item() < 0.05
    F.cross_entropy(half.float().flatten(0, 1), target.flatten()).backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters())


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("norm", ["pre", "post"])
def test_the_gpu_agrees_with_the_cpu(norm):
    model, (source, target) = small(norm=norm).float(), example()
    expected = model(source, target), greedy(model, source, 6).ids
    model, source, target = devices.to_device((model, source, target), "cuda")
    torch.testing.assert_close(
        model(source, target).cpu(), expected[0], atol=1e-4, rtol=1e-4
    )
    assert torch.equal(greedy(model, source, 6).ids.cpu(), expected[1])
    assert beam_search(model, source, 6, num_beams=3).ids.device.type == "cuda"


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: FeedForward(8, 16, "tanh"), ValueError, "activation must be one of"),
        (
            lambda: Block(8, 2, 16, cross=False, norm="both"),
            ValueError,
            "norm must be one of pre, post; got 'both'",
        ),
        (lambda: Transformer(9, 10, 4), ValueError, "num_heads must divide width"),
        (
            lambda: EncoderDecoder(8, 2)(torch.zeros(2, 3, 9), torch.zeros(2, 3, 8)),
            ValueError,
            r"x must be \(B, S, 8\), got \(2, 3, 9\)",
        ),
        (
            lambda: EncoderDecoder(8, 2)(torch.zeros(2, 3, 8), torch.zeros(3, 8)),
            ValueError,
            r"y must be \(B, T, 8\), got \(3, 8\)",
        ),
        (
            lambda: small()(torch.zeros(2, 3), torch.ones(2, 3).long()),
            TypeError,
            "source must be int64 or int32, got torch.float32",
        ),
        (
            lambda: small()(torch.ones(2, 3).long(), torch.ones(3).long()),
            ValueError,
            r"target must be \(B, T\), got \(3,\)",
        ),
        (
            lambda: small(max_length=4).encode(torch.ones(2, 5).long()),
            ValueError,
            r"source must be no longer than max_length=4, got \(2, 5\)",
        ),
        (
            lambda: small()(torch.tensor([[3, 11]]), torch.tensor([[1]])),
            ValueError,
            "source must lie in 0 … 10, the model's vocabulary; got 11",
        ),
        (
            lambda: small()(torch.ones(2, 5).long(), torch.ones(3, 4).long()),
            ValueError,
            r"source and target must have one B, got \(2, 5\) and \(3, 4\)",
        ),
        (
            lambda: greedy(small(), torch.ones(1, 2).long(), 0),
            ValueError,
            "max_length must be a whole number from 1, got 0",
        ),
        (
            lambda: beam_search(small(), torch.ones(1, 2).long(), 3, num_beams=True),
            TypeError,
            "num_beams must be a whole number from 1, got True",
        ),
        (
            lambda: beam_search(
                small(), torch.ones(1, 2).long(), 3, length_penalty=math.nan
            ),
            ValueError,
            "length_penalty must be a number, got nan",
        ),
    ],
)  # fmt: skip
def test_errors_name_the_argument_and_both_shapes(call, error, message):
    with pytest.raises(error, match=message):
        call()


class Table:
    """A stand-in for a model: the next id's logits depend on the last two ids."""

    def __init__(self, size=5, seed=0, spread=2.0):
        generator = torch.Generator().manual_seed(seed)
        self.logits = spread * torch.randn(size, size, size, generator=generator)
        self.logits[..., 0] = -torch.inf  # padding is never predicted
        self.logits[..., 1] = -torch.inf  # nor is the start

    def encode(self, source):
        return source, source[:, None]

    def decode(self, target, memory, mask):
        before = F.pad(target, (1, 0))[:, :-1]
        return self.logits[before, target] + memory[:, :1, None]  # a row's offset


def score(model, row, max_length):
    """The sum of log-probabilities of a row of ids, by teacher forcing."""
    ids = torch.tensor([row])
    steps = (
        model.decode(ids[:, :-1], torch.zeros(1, 1), None)[0].double().log_softmax(-1)
    )
    total = 0.0
    for i, target in enumerate(row[1:]):
        total += steps[i, target].item()
        if target == 2:
            break
    return total


def every_target(size, max_length):
    words = range(3, size)
    for length in range(max_length):
        for word in itertools.product(words, repeat=length):
            yield (1, *word, 2)
    yield from ((1, *word) for word in itertools.product(words, repeat=max_length))


SOURCE = torch.tensor([[0.5], [-0.25]])


@pytest.mark.parametrize("seed", range(8))
def test_a_beam_of_one_is_greedy(seed):
    model = Table(seed=seed)
    a, b = greedy(model, SOURCE, 6), beam_search(model, SOURCE, 6, num_beams=1)
    assert torch.equal(a.ids, b.ids)
    torch.testing.assert_close(a.scores, b.scores, atol=0, rtol=0)


@pytest.mark.parametrize("length_penalty", [0.0, 0.6, 1.0, -1.0])
def test_a_wider_beam_never_scores_lower(length_penalty):
    gained = 0
    for seed in range(40):
        model, before = Table(size=7, seed=seed), None
        for num_beams in range(1, 7):
            found = beam_search(
                model, SOURCE, 6, num_beams, length_penalty=length_penalty
            )
            if before is not None:
                assert (found.scores >= before).all()
                gained += (found.scores > before).sum().item()
            before = found.scores
    assert gained > 10  # it does find better ones


def test_scores_are_those_of_teacher_forcing():
    for seed, num_beams in itertools.product(range(6), (1, 2, 5)):
        model = Table(seed=seed)
        found = beam_search(model, SOURCE, 5, num_beams)
        for row, value in zip(found.ids.tolist(), found.scores):
            assert score(model, row, 5) == pytest.approx(value.item(), abs=1e-5)


@pytest.mark.parametrize("nested", [True, False])
@pytest.mark.parametrize("length_penalty", [0.0, 1.0])
def test_a_beam_as_wide_as_everything_finds_the_best(length_penalty, nested):
    for seed in range(4):
        model = Table(size=5, seed=seed)
        rows = list(every_target(5, 4))

        def judged(row, model=model):
            length = (row.index(2) if 2 in row else len(row) - 1) or 1
            return score(model, [*row], 4) / length**length_penalty

        best = max(rows, key=judged)
        found = beam_search(
            model, SOURCE[:1], 4, 40, length_penalty=length_penalty, nested=nested
        )
        assert [i for i in found.ids[0].tolist() if i] == list(best)
        assert found.scores[0].item() == pytest.approx(judged(best), abs=1e-5)


def test_plain_beams_that_are_more_can_score_lower():
    """What nested beams are there for."""
    lower = 0
    for seed in range(40):
        model = Table(size=20, seed=seed, spread=1.0)
        scores = [
            beam_search(model, SOURCE, 8, num_beams, nested=False).scores
            for num_beams in range(1, 5)
        ]
        lower += sum((b < a).sum().item() for a, b in itertools.pairwise(scores))
    assert lower > 0


PAD = 22  # not 0, for which Hugging Face writes the end in its place


class Theirs:
    """Hugging Face's encoder–decoder, as the search wants one."""

    def __init__(self, model):
        self.model = model

    def encode(self, source):
        mask = (source != PAD).long()
        hidden = self.model.get_encoder()(source, attention_mask=mask)[0]
        return hidden, mask

    def decode(self, target, memory, mask):
        return self.model(
            encoder_outputs=(memory,), attention_mask=mask, decoder_input_ids=target
        ).logits


@pytest.mark.parametrize("length_penalty", [0.0, 1.0, 2.0])
def test_plain_beams_are_huggingfaces(length_penalty):
    from transformers import T5Config, T5ForConditionalGeneration

    torch.manual_seed(1)
    model = T5ForConditionalGeneration(
        T5Config(
            vocab_size=23, d_model=16, d_kv=8, d_ff=32, num_layers=1, num_heads=2,
            decoder_start_token_id=1, pad_token_id=PAD,
            tie_word_embeddings=False,
        )
    ).double().eval()  # fmt: skip
    for name, p in model.named_parameters():  # so that the logits are far from flat
        torch.nn.init.normal_(p, float("norm" in name), 0.5)
    source = torch.randint(3, PAD, (6, 7))
    source[1, 4:] = source[4, 2:] = PAD
    ends = beam_search(Theirs(model), source, 9, 1).ids[:, 1:].unique().tolist()
    found = set()
    for num_beams, end in itertools.product((2, 3, 4), ends[:5]):
        expected = model.generate(
            source,
            attention_mask=(source != PAD).long(),
            max_new_tokens=9,
            num_beams=num_beams,
            length_penalty=length_penalty,
            eos_token_id=end,
            do_sample=False,
        )
        ours = beam_search(
            Theirs(model), source, 9, num_beams,
            length_penalty=length_penalty, nested=False, end=end, pad=PAD,
        ).ids  # fmt: skip
        assert torch.equal(ours[:, : expected.shape[1]], expected)
        assert (ours[:, expected.shape[1] :] == PAD).all()
        found |= {(row != PAD).sum().item() for row in ours}
    assert len(found) > 1  # some end early


def test_a_hypothesis_that_never_ends_is_cut_off():
    model = Table()
    model.logits[..., 2] = -30.0
    for found in (greedy(model, SOURCE, 4), beam_search(model, SOURCE, 4, 3)):
        assert found.ids.shape == (2, 5)
        assert (found.ids[:, 1:] > 2).all()
        assert math.isfinite(found.scores.sum().item())


def test_a_row_is_decoded_alone_as_in_company():
    model, (source, _) = small().float(), example()
    together = beam_search(model, source, 6, 3)
    for i in range(len(source)):
        alone = beam_search(model, source[i : i + 1], 6, 3)
        assert torch.equal(alone.ids[0], together.ids[i])


class Forgetful:
    """The same model, whose decode takes no cache."""

    def __init__(self, model):
        self.model, self.encode = model, model.encode

    def decode(self, target, memory, mask):
        return self.model.decode(target, memory, mask)


@pytest.mark.parametrize("norm", ["pre", "post"])
@pytest.mark.parametrize("rotary", [False, True])
def test_each_id_is_read_once_and_the_same_is_found(norm, rotary, monkeypatch):
    torch.manual_seed(5)
    model = Transformer(11, 16, 2, norm=norm, rotary=rotary).double().eval()
    with torch.no_grad():
        for p in model.parameters():
            p.mul_(2)  # so that the logits are far from flat
    (source, _), lengths = example(), []
    inner = Transformer.decode

    def decode(self, target, memory, memory_mask, cache=None):
        lengths.append(target.shape[1])
        return inner(self, target, memory, memory_mask, cache)

    for search, options in ((greedy, {}), (beam_search, {"num_beams": 3})):
        expected = search(Forgetful(model), source, 9, end=10, **options)
        with monkeypatch.context() as patch:
            patch.setattr(Transformer, "decode", decode)
            found = search(model, source, 9, end=10, **options)
        assert torch.equal(found.ids, expected.ids)
        torch.testing.assert_close(found.scores, expected.scores)
    assert len(lengths) > 10
    assert set(lengths) == {1}


def test_a_cache_ends_with_the_positions():
    model, (source, _) = small(max_length=8).eval(), example()
    memory, mask = model.encode(source[:, :8])
    cache = model.new_cache()
    model.decode(torch.ones(len(source), 8).long(), memory, mask, cache)
    with pytest.raises(ValueError, match=r"max_length=8, got \(\d+, 1\) after 8"):
        model.decode(torch.ones(len(source), 1).long(), memory, mask, cache)

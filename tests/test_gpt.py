"""lmlab.models.gpt against Hugging Face's GPT-2, its loss and GELU against torch's."""

import math

import pytest
import torch
import torch.nn.functional as F

from lmlab.layers import losses
from lmlab.layers.activations import gelu
from lmlab.layers.losses import token_loss
from lmlab.models import pretrained
from lmlab.models.gpt import GPT, Cache, Config
from lmlab.models.gpt2_format import PREFIX, their_name

SMALL = Config(vocab_size=53, context=24, num_layers=3, num_heads=4, width=20)


def model_of(config=SMALL, seed=0, std=0.3):
    """A GPT whose weights, biases and norms are all far from where they start."""
    torch.manual_seed(seed)
    model = GPT(config)
    for p in model.parameters():
        torch.nn.init.normal_(p, float(p.ndim == 1), std)
    return model.eval()


def ids_of(config=SMALL, batch=3, length=17, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(config.vocab_size, (batch, length), generator=generator)


# --- The model ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "config",
    [
        SMALL,
        Config(vocab_size=2, context=1, num_layers=1, num_heads=1, width=1),
        Config(vocab_size=101, context=64, num_layers=2, num_heads=1, width=48),
        Config(vocab_size=300, context=300, num_layers=5, num_heads=8, width=64),
        Config(
            vocab_size=31, context=20, num_layers=2, num_heads=2, width=12, tied=False
        ),
    ],
)
def test_logits_and_gradients_equal_huggingfaces(config):
    ours = model_of(config, std=0.2)
    theirs = pretrained.to_huggingface(ours)
    ids = ids_of(config, length=config.context)
    a, b = ours(ids), theirs(ids).logits
    torch.testing.assert_close(a, b, atol=1e-4, rtol=0)
    if config.context < 2:
        return
    ours.loss(ids[:, :-1], ids[:, 1:]).backward()
    theirs(ids, labels=ids).loss.backward()
    names = dict(theirs.named_parameters())
    for name, p in ours.named_parameters():
        prefix = PREFIX * (name != "head.weight")
        grad = names[prefix + their_name(name)].grad
        conv = "h." in their_name(name) and p.ndim == 2  # theirs is (in, out)
        torch.testing.assert_close(
            p.grad, grad.T if conv else grad, atol=1e-5, rtol=1e-3
        )


def test_gpt2s_own_shape_has_its_size():
    with torch.device("meta"):
        model = GPT(Config())
    assert model.num_parameters() == 124_439_808


def test_new_weights_are_drawn_as_gpt2s_were():
    torch.manual_seed(0)
    model = GPT(
        Config(vocab_size=500, context=100, num_layers=8, num_heads=4, width=128)
    )
    for name, p in model.named_parameters():
        if p.ndim == 2:
            writes = "attention.output" in name or "down" in name
            std = 0.02 / math.sqrt(16) if writes else 0.02
            assert p.std().item() == pytest.approx(std, rel=0.03), name
            assert abs(p.mean().item()) < 0.1 * std
        else:
            assert torch.equal(p, torch.full_like(p, float(name.endswith("weight"))))
    ids = torch.randint(500, (4, 100))
    assert model.loss(ids, ids.roll(-1)).item() == pytest.approx(math.log(500), abs=0.1)


def test_the_future_is_not_seen():
    model, ids = model_of(), ids_of()
    other = ids.clone()
    other[:, 9:] = (other[:, 9:] + 1) % 53
    a, b = model(ids), model(other)
    assert torch.equal(a[:, :9], b[:, :9])
    assert not torch.allclose(a[:, 9], b[:, 9], atol=1e-2)


def test_dropout_acts_in_training_alone():
    config = Config(
        vocab_size=53, context=24, num_layers=2, num_heads=4, width=20, dropout=0.3
    )
    model, ids = model_of(config), ids_of()
    assert torch.equal(model(ids), model(ids))
    model.train()
    assert not torch.allclose(model(ids), model(ids), atol=1e-2)


@pytest.mark.parametrize("steps", [[1] * 17, [5, 1, 1, 7, 3], [16, 1], [17]])
def test_a_cache_changes_nothing(steps):
    model, ids = model_of(), ids_of()
    cache, start, parts = Cache(model, 3, 20), 0, []
    for step in steps:
        parts.append(model(ids[:, start : start + step], cache))
        start += step
        assert cache.used == start
    torch.testing.assert_close(torch.cat(parts, 1), model(ids), atol=1e-5, rtol=0)


def test_a_cache_forgets_what_came_last():
    model, ids = model_of(), ids_of()
    cache = Cache(model, 3)
    with torch.no_grad():
        model(ids[:, :10], cache)
        model(ids[:, 3:8], cache)
        cache.used = 10
        logits = model(ids[:, 10:], cache)
        torch.testing.assert_close(logits, model(ids)[:, 10:], atol=1e-5, rtol=0)
    with pytest.raises(ValueError, match="used must be a whole number from 0 to 17"):
        cache.used = 18


@pytest.mark.parametrize("steps", [[17], [12, 1, 4]])
def test_padding_at_the_left_changes_nothing(steps):
    model, ids = model_of(), ids_of()
    padding = torch.tensor([0, 3, 11])
    cache, start, parts = Cache(model, 3, padding=padding), 0, []
    for step in steps:
        parts.append(model(ids[:, start : start + step], cache))
        start += step
    logits = torch.cat(parts, 1)
    for row, pad in enumerate(padding.tolist()):
        alone = model(ids[row : row + 1, pad:])[0]
        torch.testing.assert_close(logits[row, pad:], alone, atol=1e-5, rtol=0)


def test_a_cache_whose_rows_are_picked():
    model, ids = model_of(), ids_of()
    cache = Cache(model, 3, padding=torch.tensor([0, 2, 4]))
    model(ids[:, :10], cache)
    rows = torch.tensor([2, 0, 2, 1])
    cache.pick(rows)
    padded = Cache(model, 4, padding=torch.tensor([4, 0, 4, 2]))
    model(ids[rows, :10], padded)
    new = ids[rows, 10:11]
    torch.testing.assert_close(model(new, cache), model(new, padded))


def test_bfloat16_is_near_float32():
    model, ids = model_of(std=0.15), ids_of()
    targets = ids.roll(-1, 1)
    exact = model.loss(ids, targets)
    exact.backward()
    grads = [p.grad.clone() for p in model.parameters()]
    model.zero_grad()
    with torch.autocast("cpu", torch.bfloat16):
        near = model.loss(ids, targets)
    near.backward()
    assert near.item() == pytest.approx(exact.item(), rel=0.02)
    for p, grad in zip(model.parameters(), grads):
        assert p.grad.dtype == torch.float32
        if grad.norm() > 1e-3:
            assert F.cosine_similarity(p.grad.flatten(), grad.flatten(), 0) > 0.98


def test_parameters_in_bfloat16_can_be_trained():
    model, ids = model_of(std=0.15).bfloat16(), ids_of()
    loss = model.loss(ids, ids.roll(-1, 1))
    loss.backward()
    assert loss.dtype == torch.float32
    assert all(p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize(
    ("field", "value", "kind", "said"),
    [
        (
            "num_layers",
            0,
            ValueError,
            "num_layers must be a whole number from 1, got 0",
        ),
        ("width", 2.0, TypeError, "width must be a whole number from 1, got 2.0"),
        (
            "num_heads",
            3,
            ValueError,
            "num_heads must divide width: got width=20, num_heads=3",
        ),
        ("dropout", 1.0, ValueError, r"dropout must be a number in \[0, 1\), got 1.0"),
        (
            "vocab_size",
            True,
            TypeError,
            "vocab_size must be a whole number from 1, got True",
        ),
        ("tied", 1, TypeError, "tied must be True or False, got 1"),
    ],
)
def test_a_config_that_makes_no_model(field, value, kind, said):
    with pytest.raises(kind, match=said):
        Config(**(vars(SMALL) | {field: value}))


@pytest.mark.parametrize(
    ("ids", "kind", "said"),
    [
        (torch.tensor([[0, 53]]), ValueError, "0 … 52, the model's vocabulary; got 53"),
        (torch.tensor([[-1, 5]]), ValueError, "vocabulary; got -1"),
        (torch.zeros(1, 25).long(), ValueError, "25 tokens do not fit: the model's co"),
        (torch.zeros(5).long(), ValueError, r"ids must be \(B, T\), got \(5,\)"),
        (torch.zeros(1, 0).long(), ValueError, r"got \(1, 0\)"),
        (torch.zeros(1, 5), TypeError, "ids must be int64 or int32, got torch.float32"),
    ],
)
def test_ids_that_are_none(ids, kind, said):
    with pytest.raises(kind, match=said):
        model_of()(ids)


def test_a_cache_that_is_full_or_too_long():
    model, ids = model_of(), ids_of()
    cache = Cache(model, 3, 10)
    model(ids[:, :8], cache)
    with pytest.raises(ValueError, match="11 tokens do not fit: this cache holds 10"):
        model(ids[:, 8:11], cache)
    model(ids[:, 8:10], cache)  # what was refused left nothing behind
    with pytest.raises(
        ValueError, match="length must be a whole number from 1 to 24, got 25"
    ):
        Cache(model, 1, 25)


# --- The loss -------------------------------------------------------------------------


@pytest.fixture(params=["in pieces", "in one"])
def sizes(request, monkeypatch):
    """Both ways of token_loss on the same small sizes."""
    if request.param == "in pieces":
        monkeypatch.setattr(losses, "SMALL", 0)
        monkeypatch.setattr(losses, "PIECE", 4 * 37 + 1)  # 4 rows, the last 3
        monkeypatch.setattr(losses, "BLOCK", 2 * 37)
        monkeypatch.setattr(losses, "SLICE", 10)


def inputs(dtype=torch.float64, rows=11, vocabulary=37):
    generator = torch.Generator().manual_seed(2)
    hidden = torch.randn(rows, 6, generator=generator, dtype=dtype)
    weight = torch.randn(vocabulary, 6, generator=generator, dtype=dtype)
    targets = torch.randint(vocabulary, (rows,), generator=generator)
    targets[[0, 4, 5]] = -100
    return hidden.requires_grad_(), weight.requires_grad_(), targets


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_the_loss_equals_torchs(sizes, reduction):
    hidden, weight, targets = inputs()
    expected = F.cross_entropy(hidden @ weight.T, targets, reduction=reduction)
    loss = token_loss(hidden, weight, targets, reduction)
    torch.testing.assert_close(loss, expected)
    grads = torch.autograd.grad(3 * loss, (hidden, weight))
    for ours, theirs in zip(grads, torch.autograd.grad(3 * expected, (hidden, weight))):
        torch.testing.assert_close(ours, theirs)


def test_the_loss_in_bfloat16_is_near_the_exact_one(sizes):
    hidden, weight, targets = inputs(torch.float32)
    expected = F.cross_entropy(hidden @ weight.T, targets)
    with torch.autocast("cpu", torch.bfloat16):
        loss = token_loss(hidden, weight, targets)
    torch.testing.assert_close(loss, expected, atol=0, rtol=0.01)
    grads = torch.autograd.grad(loss, (hidden, weight))
    for ours, theirs in zip(grads, torch.autograd.grad(expected, (hidden, weight))):
        assert ours.dtype == torch.float32
        assert (ours - theirs).norm() < 0.01 * theirs.norm()  # bfloat16 has 8 bits


def test_the_loss_of_large_logits_is_no_infinity(sizes):
    hidden, weight, targets = inputs(torch.float32)
    loss = token_loss(hidden * 1e3, weight, targets)
    expected = F.cross_entropy(hidden * 1e3 @ weight.T, targets)
    torch.testing.assert_close(loss, expected)
    assert all(g.isfinite().all() for g in torch.autograd.grad(loss, (hidden, weight)))


def test_without_a_target_the_mean_is_nan_as_torchs(sizes):
    hidden, weight, targets = inputs()
    assert token_loss(hidden, weight, torch.full_like(targets, -100)).isnan()
    assert token_loss(hidden, weight, torch.full_like(targets, -100), "sum") == 0


def test_one_of_the_two_may_need_no_gradient(sizes):
    hidden, weight, targets = inputs()
    both = torch.autograd.grad(token_loss(hidden, weight, targets), (hidden, weight))
    (d_hidden,) = torch.autograd.grad(
        token_loss(hidden, weight.detach(), targets), hidden
    )
    (d_weight,) = torch.autograd.grad(
        token_loss(hidden.detach(), weight, targets), weight
    )
    assert torch.equal(d_hidden, both[0])
    assert torch.equal(d_weight, both[1])
    with torch.no_grad():
        token_loss(hidden, weight, targets)


def test_the_pieces_go_backward_once(monkeypatch):
    monkeypatch.setattr(losses, "SMALL", 0)
    hidden, weight, targets = inputs()
    loss = token_loss(hidden, weight, targets)
    loss.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="backward once"):
        loss.backward()


def test_all_logits_are_never_alive(monkeypatch):
    monkeypatch.setattr(losses, "SMALL", 0)
    monkeypatch.setattr(losses, "PIECE", 4 * 37)
    rows = []
    inner = losses._losses
    monkeypatch.setattr(
        losses, "_losses", lambda *a: rows.append(len(a[0])) or inner(*a)
    )
    token_loss(*inputs())
    assert rows == [4, 4, 3]


@pytest.mark.parametrize("target", [37, -1, -101])
def test_targets_out_of_range(sizes, target):
    hidden, weight, targets = inputs()
    targets[3] = target
    with pytest.raises(ValueError, match=f"0 … 36 or be -100, got {target}"):
        token_loss(hidden, weight, targets)


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32])
def test_the_loss_takes_any_shape_and_both_dtypes(sizes, dtype):
    hidden, weight, targets = inputs(rows=12)
    expected = F.cross_entropy(hidden @ weight.T, targets)
    shaped = targets.view(2, 3, 2).to(dtype)
    loss = token_loss(hidden.view(2, 3, 2, 6), weight, shaped)
    torch.testing.assert_close(loss, expected)
    for ours, theirs in zip(
        torch.autograd.grad(loss, (hidden, weight)),
        torch.autograd.grad(expected, (hidden, weight)),
    ):
        torch.testing.assert_close(ours, theirs)
    with pytest.raises(TypeError, match=r"int64 or int32, got torch\.float32"):
        token_loss(hidden, weight, targets.float())
    with pytest.raises(ValueError, match=r"targets must be \(12,\), one.*got \(4, 3\)"):
        token_loss(hidden, weight, targets.view(4, 3))


def test_a_models_loss_takes_int32(sizes):
    model, ids = model_of(), ids_of()
    torch.testing.assert_close(model.loss(ids.int(), ids.int()), model.loss(ids, ids))
    with pytest.raises(TypeError, match="targets must be int64 or int32"):
        model.loss(ids, ids.to(torch.uint8))


def test_a_loss_that_makes_no_sense():
    model, ids = model_of(), ids_of()
    with pytest.raises(ValueError, match=r"shape of ids, \(3, 17\), got \(3, 16\)"):
        model.loss(ids, ids[:, 1:])
    with pytest.raises(ValueError, match="mean, sum; got 'max'"):
        model.loss(ids, ids, "max")


# --- GELU -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dtype", "atol"),
    [(torch.float64, 1e-12), (torch.float32, 4e-6), (torch.bfloat16, 0.04)],
)
def test_gelu_equals_torchs(dtype, atol):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(3, 70_001, generator=generator, dtype=torch.float64) * 3
    grad = torch.randn(x.shape, generator=generator, dtype=torch.float64)
    x = x.to(dtype).mT.requires_grad_()  # more than one piece, and not contiguous
    grad = grad.to(dtype).mT
    expected = F.gelu(x, approximate="tanh")
    out = gelu(x)
    assert out.dtype == dtype
    torch.testing.assert_close(out, expected, atol=atol, rtol=0)
    ours, theirs = (torch.autograd.grad(y, x, grad)[0] for y in (out, expected))
    torch.testing.assert_close(ours, theirs, atol=atol * 3, rtol=0.02)


def test_gelu_far_from_zero():
    x = torch.tensor([-1e4, -30.0, -0.0, 30.0, 1e4], requires_grad=True)
    out = gelu(x)
    assert out.tolist() == [0.0, 0.0, 0.0, 30.0, 1e4]
    (slope,) = torch.autograd.grad(out.sum(), x)
    assert slope.tolist() == [0.0, 0.0, 0.5, 1.0, 1.0]

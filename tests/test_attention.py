"""Attention against PyTorch's and Keras's, masks of every kind, and bad input."""

import itertools
import math
from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lmlab import devices
from lmlab.layers import positions
from lmlab.layers.attention import (
    KeysValues,
    LearnedPositions,
    MultiHeadAttention,
    attend,
    causal_mask,
    padding_mask,
    rotary,
    scaled_dot_product_attention,
    sinusoidal_positions,
    tiled_attention,
)

BATCHES = [(), (2,), (2, 3), (2, 3, 2), (2, 1, 3, 2)]
SIZES = [  # T, S, D, E: equal and not, odd, one query, one key
    (5, 7, 4, 3),
    (7, 5, 3, 4),
    (6, 6, 8, 8),
    (1, 6, 3, 5),
    (6, 1, 2, 3),
    (1, 1, 1, 1),
]


def explicit(q, k, v, mask=None, *, causal=False):
    return scaled_dot_product_attention(q, k, v, mask, causal=causal)[0]


def draw(*shape, dtype=torch.float64):
    return torch.randn(*shape, dtype=dtype, requires_grad=True)


def oracle(q, k, v, allowed):
    """Torch's own, one batch entry at a time, on float64; rows without a key are 0."""
    batch = torch.broadcast_shapes(q.shape[:-2], k.shape[:-2], v.shape[:-2])
    T, S = q.shape[-2], k.shape[-2]
    allowed = allowed.expand(*batch, T, S).reshape(-1, T, S)
    q, k, v = (
        x.expand(*batch, *x.shape[-2:]).reshape(-1, *x.shape[-2:]) for x in (q, k, v)
    )
    outs = []
    for a, b, c, seen in zip(q, k, v, allowed):
        rows = [
            F.scaled_dot_product_attention(a[i : i + 1], b[seen[i]], c[seen[i]])
            if seen[i].any()
            else 0 * a[i : i + 1].sum() + c.new_zeros(1, c.shape[-1])
            for i in range(T)
        ]
        outs.append(torch.cat(rows))
    return torch.stack(outs).reshape(*batch, T, v.shape[-1])


def agree(function, reference, inputs, atol):
    """Outputs and the gradients of every input."""
    ours, theirs = function(*inputs), reference(*inputs)
    R = torch.randn_like(theirs)
    ours_grads = torch.autograd.grad((ours * R).sum(), inputs, allow_unused=True)
    grads = torch.autograd.grad((theirs * R).sum(), inputs, allow_unused=True)
    assert ours.shape == theirs.shape
    torch.testing.assert_close(ours, theirs, atol=atol, rtol=0)
    for a, b in zip(ours_grads, grads):
        a = torch.zeros(1) if a is None else a
        b = torch.zeros_like(a) if b is None else b
        torch.testing.assert_close(a, b, atol=atol, rtol=0)


MASKS = {
    "none": lambda batch, T, S: None,
    "one for all": lambda batch, T, S: torch.rand(T, S) > 0.4,
    "of keys": lambda batch, T, S: torch.arange(S) != 0,
    "of each entry": lambda batch, T, S: torch.rand(*batch, T, S) > 0.4,
    "padding": lambda batch, T, S: torch.rand(*batch[:1], *[1] * len(batch), S) > 0.4,
    "an empty row": lambda batch, T, S: torch.arange(T)[:, None].expand(T, S) != 0,
    "nothing": lambda batch, T, S: torch.zeros(T, S, dtype=torch.bool),
}


@pytest.mark.parametrize("function", [explicit, attend])
@pytest.mark.parametrize("kind", MASKS)
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("batch", BATCHES, ids=str)
def test_attention_equals_torchs(function, kind, causal, batch):
    torch.manual_seed(0)
    for T, S, D, E in SIZES:
        mask = MASKS[kind](batch, T, S)
        allowed = torch.ones(T, S, dtype=torch.bool) if mask is None else mask
        if causal:
            allowed = allowed & causal_mask(T, S)
        inputs = draw(*batch, T, D), draw(*batch, S, D), draw(*batch, S, E)
        agree(
            partial(function, mask=mask, causal=causal),
            partial(oracle, allowed=allowed),
            inputs,
            1e-12,
        )


@pytest.mark.parametrize("block", [1, 3, 128])
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("batch", BATCHES, ids=str)
def test_tiled_attention_equals_torchs(block, causal, batch):
    torch.manual_seed(1)
    for T, S, D, E in SIZES:
        allowed = causal_mask(T, S) if causal else torch.ones(T, S, dtype=torch.bool)
        agree(
            partial(tiled_attention, causal=causal, block=block),
            partial(oracle, allowed=allowed),
            (draw(*batch, T, D), draw(*batch, S, D), draw(*batch, S, E)),
            1e-12,
        )


@pytest.mark.parametrize("function", [explicit, attend, tiled_attention])
def test_float32_is_within_a_rounding_for_each_addition(function):
    torch.manual_seed(2)
    inputs = [draw(2, 3, n, 16, dtype=torch.float32) for n in (33, 45, 45)]
    allowed = causal_mask(33, 45)
    agree(
        lambda q, k, v: function(q, k, v, causal=True),
        lambda q, k, v: oracle(q.double(), k.double(), v.double(), allowed).float(),
        inputs,
        (33 + 45 + 16) * 2**-24,  # queries, keys, entries of each
    )


@pytest.mark.parametrize("function", [explicit, attend, tiled_attention])
def test_batch_dimensions_broadcast(function):
    torch.manual_seed(3)
    agree(
        function,
        lambda q, k, v: oracle(q, k, v, torch.ones(5, 6, dtype=torch.bool)),
        (draw(4, 1, 5, 2), draw(3, 6, 2), draw(6, 3)),
        1e-12,
    )


@pytest.mark.parametrize("function", [explicit, attend, tiled_attention])
def test_large_scores_overflow_nowhere(function):
    q, k, v = 300 * draw(4, 8), 300 * draw(5, 8), draw(5, 3)
    assert function(q, k, v).isfinite().all()
    assert function(q.float(), k.float(), v.float()).isfinite().all()


@pytest.mark.parametrize("function", [explicit, attend, tiled_attention])
def test_a_sequence_of_no_keys_gives_zeros(function):
    q, k, v = draw(2, 3, 4), draw(2, 0, 4), draw(2, 0, 5)
    out = function(q, k, v)
    assert out.shape == (2, 3, 5)
    assert (out == 0).all()


def test_weights_are_shares_and_empty_rows_zero():
    torch.manual_seed(4)
    q, k, v = draw(2, 3, 5, 4), draw(2, 3, 6, 4), draw(2, 3, 6, 2)
    mask = torch.rand(2, 1, 5, 6) > 0.5
    mask[0, 0, 2] = False
    out, weights = scaled_dot_product_attention(q, k, v, mask)
    assert weights.shape == (2, 3, 5, 6)
    sums = mask.any(-1).double().expand(2, 3, 5)
    torch.testing.assert_close(weights.sum(-1), sums)
    assert (weights[~mask.expand_as(weights)] == 0).all()
    torch.testing.assert_close(out, weights @ v)


def test_causal_is_aligned_at_the_end_so_that_a_cache_works():
    torch.manual_seed(5)
    q, k, v = draw(2, 7, 4), draw(2, 7, 4), draw(2, 7, 3)
    for function in (explicit, attend, tiled_attention):
        whole = function(q, k, v, causal=True)
        for n in (1, 3):
            last = function(q[:, -n:], k, v, causal=True)
            torch.testing.assert_close(last, whole[:, -n:])
    assert causal_mask(2, 4).tolist() == [[True] * 3 + [False], [True] * 4]
    assert causal_mask(3, 2).tolist() == [[False] * 2, [True, False], [True] * 2]


def test_dropout_keeps_the_mean_and_repeats_with_the_seed():
    q, k, v = draw(1, 8, 4), draw(1, 8, 4), torch.ones(1, 8, 1, dtype=torch.float64)

    def many(p):
        torch.manual_seed(6)
        return torch.stack([attend(q, k, v, dropout=p) for _ in range(400)])

    assert torch.equal(many(0.4), many(0.4))
    assert many(0.4).std() > 0.1
    assert abs(many(0.4).mean() - 1) < 0.05
    assert torch.allclose(many(0.0), torch.ones(1, dtype=torch.float64))


def test_padding_mask():
    expected = [[[True, True, False]], [[False] * 3], [[True] * 3]]
    assert padding_mask([2, 0, 3]).tolist() == expected
    assert padding_mask(torch.tensor([1]), 2).tolist() == [[[True, False]]]
    with pytest.raises(ValueError, match=r"0 … S = 2, got \[3\]"):
        padding_mask([3], 2)
    with pytest.raises(ValueError, match="-1"):
        padding_mask([-1, 2])


# --- Many heads -----------------------------------------------------------------------


def torch_pair(width=12, heads=3, bias=True, dtype=torch.float64):
    theirs = nn.MultiheadAttention(
        width, heads, bias=bias, batch_first=True, dtype=dtype
    )
    for p in theirs.parameters():
        nn.init.normal_(p, std=0.5)  # biases too
    return MultiHeadAttention.from_torch(theirs), theirs


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize(("T", "S"), [(5, 7), (6, 6), (1, 4), (1, 1), (7, 5)])
def test_multi_head_equals_torchs(bias, causal, T, S):
    torch.manual_seed(7)
    ours, theirs = torch_pair(bias=bias)
    x, memory = draw(2, T, 12), draw(2, S, 12)
    padding = padding_mask([S, max(1, S - 2)], S)
    allowed = causal_mask(T, S) & padding if causal else padding.expand(2, T, S)
    if not allowed.any(-1).all():  # theirs would be NaN
        allowed = allowed | ~allowed.any(-1, keepdim=True)

    def reference(x, memory):
        mask = ~allowed.repeat_interleave(3, 0)  # (B·H, T, S), True = closed
        return theirs(x, memory, memory, attn_mask=mask, need_weights=False)[0]

    agree(lambda x, m: ours(x, m, allowed), reference, (x, memory), 1e-12)
    out, weights = ours(x, memory, allowed, need_weights=True)
    mask = ~allowed.repeat_interleave(3, 0)
    expected, shares = theirs(
        x, memory, memory, attn_mask=mask, average_attn_weights=False
    )
    torch.testing.assert_close(out, expected, atol=1e-12, rtol=0)
    torch.testing.assert_close(weights, shares, atol=1e-12, rtol=0)


def test_multi_head_weight_gradients_equal_torchs():
    torch.manual_seed(8)
    ours, theirs = torch_pair()
    x = draw(2, 5, 12)
    R = torch.randn(2, 5, 12, dtype=torch.float64)
    (ours(x, causal=True) * R).sum().backward()
    closed = ~causal_mask(5)
    (theirs(x, x, x, attn_mask=closed, need_weights=False)[0] * R).sum().backward()
    for mine, its in (
        (ours.qkv.weight, theirs.in_proj_weight),
        (ours.qkv.bias, theirs.in_proj_bias),
        (ours.output.weight, theirs.out_proj.weight),
    ):
        torch.testing.assert_close(mine.grad, its.grad, atol=1e-12, rtol=0)


@pytest.mark.parametrize("masked", ["causal", "padding", "no mask"])
def test_multi_head_equals_kerass(masked):
    tf = devices.tensorflow()
    tf.keras.utils.set_random_seed(0)
    T, S, width, heads, D, E = 5, 7, 12, 3, 2, 5
    theirs = tf.keras.layers.MultiHeadAttention(heads, D, E, dtype="float64")
    rng = np.random.default_rng(0)
    x, memory = rng.normal(size=(2, T, width)), rng.normal(size=(2, S, width))
    theirs.build(x.shape, memory.shape, memory.shape)
    theirs.set_weights([rng.normal(0, 0.5, w.shape) for w in theirs.get_weights()])
    ours = MultiHeadAttention(width, heads, key_width=D, value_width=E).double()
    copy_from_keras(ours, theirs.get_weights())
    mask = {
        "causal": causal_mask(T, S),
        "padding": padding_mask([S, 4], S),
        "no mask": torch.ones(T, S, dtype=torch.bool),
    }[masked]
    R = rng.normal(size=(2, T, width))

    with tf.GradientTape() as tape:
        a, b = tf.constant(x), tf.constant(memory)
        tape.watch([a, b])
        expected, shares = theirs(
            a,
            b,
            attention_mask=tf.constant(mask.expand(2, T, S).numpy()),
            return_attention_scores=True,
        )
        loss = tf.reduce_sum(expected * R)
    expected_grads = tape.gradient(loss, [a, b])

    a, b = (torch.tensor(z, requires_grad=True) for z in (x, memory))
    out, weights = ours(a, b, mask, need_weights=True)
    grads = torch.autograd.grad((ours(a, b, mask) * torch.tensor(R)).sum(), (a, b))
    np.testing.assert_allclose(out.detach(), expected, atol=1e-6)
    np.testing.assert_allclose(weights.detach(), shares, atol=1e-6)
    for ours_, theirs_ in zip(grads, expected_grads):
        np.testing.assert_allclose(ours_, theirs_, atol=1e-6)


def copy_from_keras(ours, weights):
    """Keras keeps (width, heads, D) and (heads, E, width); torch (out, in)."""
    *parts, out = (torch.tensor(W) for W in weights[0::2])
    *biases, last = (torch.tensor(b.reshape(-1)) for b in weights[1::2])
    with torch.no_grad():
        ours.qkv.weight.copy_(torch.cat([W.flatten(1).T for W in parts]))
        ours.qkv.bias.copy_(torch.cat(biases))
        ours.output.weight.copy_(out.flatten(0, 1).T)
        ours.output.bias.copy_(last)


@pytest.mark.parametrize("batch", [(), (2,), (2, 3)], ids=str)
def test_multi_head_takes_any_batch(batch):
    torch.manual_seed(9)
    ours = MultiHeadAttention(6, 3).double()
    x = draw(*batch, 4, 6)
    whole = ours(x, causal=True)
    for at in itertools.product(*map(range, batch)):
        torch.testing.assert_close(whole[at], ours(x[at], causal=True))


def test_a_mask_of_each_head():
    torch.manual_seed(10)
    ours = MultiHeadAttention(6, 3).double()
    x = draw(2, 4, 6)
    mask = torch.rand(2, 3, 4, 4) > 0.4
    _, weights = ours(x, mask=mask, need_weights=True)
    assert ((weights == 0) == ~mask).all()
    shared = mask[:, :1]
    _, weights = ours(x, mask=mask[:, 0], need_weights=True)
    assert ((weights == 0) == ~shared.expand_as(weights)).all()
    torch.testing.assert_close(ours(x, mask=mask[:, 0]), ours(x, mask=shared))


def test_dropout_works_in_training_only():
    torch.manual_seed(11)
    ours = MultiHeadAttention(6, 3, dropout=0.5)
    x = torch.randn(2, 4, 6)
    assert not torch.equal(ours(x), ours(x))
    assert not torch.equal(ours(x, need_weights=True)[0], ours(x, need_weights=True)[0])
    ours.eval()
    assert torch.equal(ours(x), ours(x))


def test_rotary_heads_continue_from_a_cache_and_know_only_distances():
    torch.manual_seed(12)
    ours = MultiHeadAttention(8, 2, rotary=True).double()
    x = draw(2, 6, 8)
    whole = ours(x, causal=True)
    torch.testing.assert_close(ours(x[:, -2:], x, causal=True), whole[:, -2:])
    mixed = ours(x.flip(1)).flip(1)
    assert not torch.allclose(ours(x), mixed)  # order matters
    plain = MultiHeadAttention(8, 2).double()
    torch.testing.assert_close(plain(x), plain(x.flip(1)).flip(1))


@pytest.mark.parametrize("rotary", [False, True])
@pytest.mark.parametrize("need_weights", [False, True])
def test_bfloat16_is_near_float32(rotary, need_weights):
    torch.manual_seed(13)
    ours = MultiHeadAttention(64, 4, rotary=rotary)
    x = torch.randn(4, 32, 64)
    machine = devices.Machine("cpu", "", "bfloat16", "", 1, 0)

    def run(context):
        ours.zero_grad()
        with context:
            out = ours(x, causal=True, need_weights=need_weights)
        out = out[0] if need_weights else out
        out.float().square().mean().backward()
        return out, *(w.clone() for w in ours.qkv.weight.grad.split(ours.sizes)[::2])

    exact = run(devices.Machine("cpu", "", "float32", "", 1, 0).autocast())
    rough = run(machine.autocast())
    assert rough[0].dtype == torch.bfloat16
    for a, b in zip(rough, exact):
        # bfloat16 keeps 8 bits, 0.4 %; a handful of roundings follow each other.
        error = (a.float() - b).norm() / b.norm()
        assert 1e-4 < error < 0.02


@pytest.mark.parametrize("function", [explicit, attend, tiled_attention])
def test_bfloat16_inputs(function):
    torch.manual_seed(14)
    q, k, v = (torch.randn(2, 16, 8) for _ in range(3))
    out = function(*(x.bfloat16() for x in (q, k, v)), causal=True)
    assert out.dtype == torch.bfloat16
    expected = function(q, k, v, causal=True)
    assert (out.float() - expected).norm() / expected.norm() < 0.02


def test_keys_and_values_may_be_kept_in_half_precision():
    torch.manual_seed(19)
    q, k, v = draw(2, 3, 1, 8), draw(2, 3, 500, 8), draw(2, 3, 500, 4)
    q, k, v = q.float(), k.bfloat16(), v.bfloat16()
    exact = attend(q.double(), k.double(), v.double())
    out = attend(q, k, v)
    assert out.dtype == torch.float32
    torch.testing.assert_close(out.double(), exact, atol=1e-5, rtol=0)
    # In half precision throughout, a sum is rounded once, at its end: 8 bits.
    near = attend(q.bfloat16(), k, v)
    assert near.dtype == torch.bfloat16
    exact = attend(q.bfloat16().double(), k.double(), v.double())
    torch.testing.assert_close(near, exact.bfloat16(), atol=1e-5, rtol=2**-7)


def test_tiled_attention_under_autocast_stays_exact():
    q, k, v = (torch.randn(2, 16, 8, requires_grad=True) for _ in range(3))
    with torch.autocast("cpu", torch.bfloat16):
        out = tiled_attention(q, k, v, block=4)
        out.sum().backward()
    torch.testing.assert_close(out, attend(q, k, v), atol=1e-6, rtol=0)
    assert q.grad.dtype == torch.float32


# --- Positions ------------------------------------------------------------------------


def test_sinusoidal_positions_are_the_papers():
    table = sinusoidal_positions(50, 6)
    assert table.shape == (50, 6)
    for t, i in itertools.product((0, 1, 49), range(3)):
        angle = t / 10000 ** (2 * i / 6)
        assert table[t, 2 * i] == pytest.approx(math.sin(angle), abs=1e-6)
        assert table[t, 2 * i + 1] == pytest.approx(math.cos(angle), abs=1e-6)


def test_rotary_turns_pairs_and_keeps_lengths():
    torch.manual_seed(15)
    x = draw(2, 3, 5, 6)
    turned = rotary(x)
    pairs = torch.view_as_complex(x.detach().unflatten(-1, (-1, 2)).contiguous())
    omega = 10000.0 ** (-torch.arange(0, 6, 2).double() / 6)
    angles = torch.arange(5).double()[:, None] * omega
    expected = torch.view_as_real(pairs * torch.polar(torch.ones_like(angles), angles))
    torch.testing.assert_close(turned.detach(), expected.flatten(-2))
    torch.testing.assert_close(turned.norm(dim=-1), x.norm(dim=-1))


def test_rotary_products_depend_on_the_distance_only():
    q, k = draw(4, 8), draw(6, 8)
    near = rotary(q, torch.arange(4)) @ rotary(k, torch.arange(6)).mT
    far = rotary(q, torch.arange(4) + 90) @ rotary(k, torch.arange(6) + 90).mT
    torch.testing.assert_close(near, far, atol=1e-10, rtol=0)


@pytest.mark.parametrize("heads", [3, 2, 1])  # 3: as many as there are sequences
def test_rotary_positions_of_each_sequence_are_shared_by_its_heads(heads):
    x = draw(3, heads, 4, 6)
    places = torch.tensor([[0, 1, 2, 3], [5, 6, 7, 8], [2, 2, 9, 4]])
    expected = torch.stack([rotary(x[b], places[b]) for b in range(3)])
    torch.testing.assert_close(rotary(x, places), expected)
    torch.testing.assert_close(rotary(x, places[:, None]), expected)
    torch.testing.assert_close(rotary(x, places[1:2]), rotary(x, places[1]))
    torch.testing.assert_close(rotary(x[:, 0], places), expected[:, 0])
    each = places[:, None].expand(3, heads, 4)
    torch.testing.assert_close(rotary(x, each), expected)


def test_rotary_positions_of_five_dimensions_are_not_guessed():
    x = draw(2, 3, 3, 4, 6)
    with pytest.raises(ValueError, match=r"or \(2, 3, 4\) for all heads, got \(3, 4\)"):
        rotary(x, torch.zeros(3, 4))


def test_rotary_heads_take_a_base_and_positions():
    torch.manual_seed(13)
    ours = MultiHeadAttention(8, 2, rotary=True, rotary_base=50.0).double()
    other = MultiHeadAttention(8, 2, rotary=True).double()
    other.load_state_dict(ours.state_dict())
    x = draw(2, 5, 8)
    assert not torch.allclose(ours(x), other(x))  # the base counts
    q, k, v = ours.project(x)
    places = torch.tensor([[0, 1, 2, 3, 4], [0, 0, 7, 8, 9]])
    turned = [rotary(t, places[:, None], base=50.0) for t in (q, k)]
    expected = ours.join(attend(*turned, v))
    torch.testing.assert_close(ours(x, positions=places), expected)
    torch.testing.assert_close(ours(x, x, positions=places, memory_positions=places),
        expected)  # fmt: skip
    torch.testing.assert_close(ours(x, positions=torch.arange(5) + 30), ours(x))
    with pytest.raises(ValueError, match="positions are for rotary=True"):
        MultiHeadAttention(8, 2)(x.float(), positions=places)
    with pytest.raises(ValueError, match="memory_positions: there is no memory"):
        ours(x, memory_positions=places)


@pytest.mark.parametrize("rotary", [False, True])
def test_heads_go_on_from_the_keys_and_values_they_kept(rotary):
    torch.manual_seed(14)
    ours = MultiHeadAttention(8, 2, rotary=rotary).double()
    x, memory = draw(2, 6, 8), draw(2, 4, 8)
    whole, read = ours(x, causal=True), KeysValues()
    parts = [
        ours(x[:, part], causal=True, cache=read)
        for part in (slice(0, 3), slice(3, 4), slice(4, 6))
    ]
    torch.testing.assert_close(torch.cat(parts, 1), whole)
    assert read.used == 6
    read.pick(torch.tensor([1, 1]))
    again = ours(x[[1, 1], :1], causal=True, cache=read)
    alone = ours(torch.cat([x[1:], x[1:, :1]], 1), causal=True)[:, -1:]
    torch.testing.assert_close(again, alone.expand(2, -1, -1))
    if not rotary:
        kept = KeysValues()
        torch.testing.assert_close(ours(x, memory, cache=kept), ours(x, memory))
        torch.testing.assert_close(ours(x, memory * 9, cache=kept), ours(x, memory))


def test_kept_keys_and_values_outgrow_their_memory_and_pass_gradients_on():
    torch.manual_seed(17)
    ours = MultiHeadAttention(8, 2).double()
    x, room = draw(2, 9, 8), torch.zeros(2, 2, 2, 4, 4).double()
    whole = ours(x, causal=True)
    expected = torch.autograd.grad(whole.sum(), x)[0]
    pieces = [slice(0, 2), slice(2, 3), slice(3, 4), slice(4, 6), slice(6, 9)]
    read = KeysValues()
    parts = [ours(x[:, part], causal=True, cache=read) for part in pieces]
    torch.testing.assert_close(torch.cat(parts, 1), whole)
    (grad,) = torch.autograd.grad(torch.cat(parts, 1).sum(), x)
    torch.testing.assert_close(grad, expected)
    for kept in (KeysValues(), KeysValues(*room)):
        addresses = set()
        for part in pieces:  # what it holds may be made in inference mode and used on
            mode = torch.inference_mode if part.start < 3 else torch.no_grad
            with mode():
                out = ours(x[:, part], causal=True, cache=kept)
            torch.testing.assert_close(out, whole[:, part].detach())
            addresses.add(kept.both()[0].data_ptr())
        assert len(addresses) < len(pieces)  # not taken anew for every piece
    assert (room != 0).all()  # what was given served until it was full


@pytest.mark.parametrize("num_kv_heads", [1, 2])
@pytest.mark.parametrize("masked", [False, True])
def test_queries_share_keys_and_values_as_torchs_do(num_kv_heads, masked):
    torch.manual_seed(18)
    ours = MultiHeadAttention(16, 4, num_kv_heads, value_width=3).double()
    assert ours.qkv.weight.shape == (16 + num_kv_heads * (4 + 3), 16)
    x, memory, kept = draw(2, 5, 16), draw(2, 7, 16), KeysValues()
    mask = torch.rand(2, 1, 5, 7) > 0.2 if masked else None
    q, k, v = ours.project(x, memory)
    assert k.shape == (2, num_kv_heads, 7, 4)
    expected = F.scaled_dot_product_attention(q, k, v, mask, enable_gqa=True)
    out, weights = ours(x, memory, mask, need_weights=True)
    assert weights.shape == (2, 4, 5, 7)
    torch.testing.assert_close(ours(x, memory, mask), ours.join(expected))
    torch.testing.assert_close(out, ours.join(expected))
    whole = ours(x, causal=True)
    parts = [ours(x[:, i : i + 1], causal=True, cache=kept) for i in range(5)]
    torch.testing.assert_close(torch.cat(parts, 1), whole)
    assert kept.both()[0].shape == (2, num_kv_heads, 5, 4)  # this is what sharing saves


def test_rotary_heads_read_memory_in_pieces_at_the_positions_given():
    torch.manual_seed(15)
    ours = MultiHeadAttention(8, 2, rotary=True).double()
    x, memory, kept = draw(2, 6, 8), draw(2, 4, 8), KeysValues()
    places = torch.arange(6)
    whole = ours(x, memory, positions=places)
    parts = [
        ours(x[:, part], memory, positions=places[part], cache=kept)
        for part in (slice(0, 3), slice(3, 4), slice(4, 6))
    ]
    torch.testing.assert_close(torch.cat(parts, 1), whole)
    # Where the last query will stand is not known before all pieces are there.
    for cache in (KeysValues(), kept):
        with pytest.raises(ValueError, match=r"positions: .* with memory and a cache"):
            ours(x[:, :3], memory, cache=cache)


def test_no_piece_of_a_target_is_masked_as_if_it_were_the_end():
    ours, kept = MultiHeadAttention(8, 2).double(), KeysValues()
    x, memory = draw(2, 6, 8), draw(2, 6, 8)
    with pytest.raises(ValueError, match=r"causal, with memory and a cache"):
        ours(x[:, :3], memory, causal=True, cache=kept)
    assert kept.used == 0
    mask = torch.ones(6, 6, dtype=torch.bool).tril()
    parts = [
        ours(x[:, part], memory, mask[part], cache=kept)
        for part in (slice(0, 3), slice(3, 6))
    ]
    whole = ours(x, memory, causal=True)
    torch.testing.assert_close(torch.cat(parts, 1), whole)


def test_rotary_in_bfloat16_still_tells_far_positions_apart():
    x = torch.ones(1, 2, dtype=torch.bfloat16)
    at = [rotary(x, torch.tensor([p])) for p in (256, 257)]
    assert not torch.equal(*at)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("first", [0, 3, 64, 200])
def test_rotary_with_kept_turns_is_rotary_with_given_positions(dtype, first):
    x = torch.randn(2, 70, 6).to(dtype)
    for _ in range(2):  # the first call makes the table, the second finds it
        kept = rotary(x, range(first, first + 70), base=500.0)
        given = rotary(x, torch.arange(first, first + 70), base=500.0)
        assert kept.dtype == dtype
        torch.testing.assert_close(kept, given, atol=0, rtol=0)


@pytest.mark.parametrize("places", [range(-2, 3), range(0, 10, 2), range(4, -1, -1)])
def test_rotary_takes_any_range(places):
    x = torch.randn(3, 5, 4)
    torch.testing.assert_close(rotary(x, places), rotary(x, torch.tensor([*places])))


def test_rotary_keeps_a_bounded_number_of_tables():
    positions._table.cache_clear()
    for length in range(1, 400):  # a decoder's growing prefix
        rotary(torch.ones(length, 4))
    assert positions._table.cache_info().currsize == 4  # 64, 128, 256, 512 rows
    for D in range(2, 60, 2):
        rotary(torch.ones(3, D))
    info = positions._table.cache_info()
    assert info.currsize == info.maxsize == 8
    x, far = torch.ones(2, 4), range(2**40, 2**40 + 2)  # no table of a million million
    torch.testing.assert_close(rotary(x, far), rotary(x, torch.tensor([*far])))
    assert positions._table.cache_info().misses == info.misses


def test_rotary_trains_after_inference_and_keeps_no_graph():
    positions._table.cache_clear()
    x = torch.randn(3, 4, requires_grad=True)
    with torch.inference_mode():
        rotary(x)
    rotary(x).sum().backward()  # an inference tensor could not be saved for this
    assert x.grad is not None
    table = positions._table(64, 4, 10000.0, torch.float32, x.device)
    assert not table.requires_grad
    assert not table.is_inference()


def test_rotary_of_views_and_without_complex_numbers(monkeypatch):
    flat = torch.randn(60)
    views = flat[1:25].view(2, 3, 4), flat.view(3, 4, 5).mT[..., :2], flat[:24:2]
    for x in (*views[:2], views[2].view(3, 4)):
        turned = rotary(x)
        torch.testing.assert_close(turned, rotary(x.clone()))
        monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
        torch.testing.assert_close(turned, rotary(x))
        monkeypatch.undo()


def test_rotary_on_a_device_of_its_own():
    x = rotary(torch.ones(2, 3, 4, device="meta"))
    assert x.device.type == "meta"
    assert x.shape == (2, 3, 4)
    assert rotary(torch.ones(2, 3, 4)).device.type == "cpu"


def test_learned_positions():
    table = LearnedPositions(6, 4)
    x = torch.randn(2, 3, 4)
    torch.testing.assert_close(table(x), x + table.weight[:3])
    torch.testing.assert_close(table(x, start=3), x + table.weight[3:])
    with pytest.raises(ValueError, match="positions 4 to 6, but there are only 6"):
        table(x, start=4)
    with pytest.raises(
        ValueError, match=r"x must be \(\.\.\., T, 4\), got \(2, 3, 5\)"
    ):
        table(torch.randn(2, 3, 5))


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: sinusoidal_positions(4, 5), "D must be even, got 5"),
        (lambda: rotary(torch.ones(4, 5)), "last dimension of x must be even, got 5"),
        (
            lambda: rotary(torch.ones(2, 4, 6), torch.arange(3)),
            r"positions must broadcast to \(2, 4\).*got \(3,\)",
        ),
        (
            lambda: rotary(torch.ones(2, 4, 6), range(3)),
            r"positions must broadcast to \(2, 4\).*got \(3,\)",
        ),
        (lambda: MultiHeadAttention(9, 3, rotary=True), "even key_width, got 3"),
    ],
)
def test_positions_that_do_not_fit(call, says):
    with pytest.raises(ValueError, match=says):
        call()


# --- Bad input ------------------------------------------------------------------------


def ones(*shape):
    return torch.ones(shape)


@pytest.mark.parametrize("function", [explicit, attend, tiled_attention])
@pytest.mark.parametrize(
    ("q", "k", "v", "says"),
    [
        (ones(4), ones(5, 3), ones(5, 2), r"q needs at least two .* \(4,\)"),
        (ones(4, 3), ones(5, 2), ones(5, 2), r"k must be \(\.\.\., S, 3\).*\(5, 2\)"),
        (ones(4, 3), ones(5, 3), ones(6, 2), r"v must be \(\.\.\., 5, E\).*\(6, 2\)"),
        (
            ones(2, 4, 3),
            ones(3, 5, 3),
            ones(3, 5, 2),
            r"batch .* broadcast, got \(2,\), \(3,\), \(3,\)",
        ),
    ],
)
def test_shapes_that_do_not_fit(function, q, k, v, says):
    with pytest.raises(ValueError, match=says):
        function(q, k, v)


@pytest.mark.parametrize("function", [explicit, attend])
@pytest.mark.parametrize("causal", [False, True])
def test_masks_that_do_not_fit(function, causal):
    q, k, v = ones(2, 4, 3), ones(2, 5, 3), ones(2, 5, 2)
    for shape in ((5, 4), (3, 4, 5), (2, 2, 4, 5), (1, 2, 4, 5)):
        mask = torch.ones(shape, dtype=torch.bool)
        with pytest.raises(ValueError, match=r"mask .* \(2, 4, 5\) .*, got"):
            function(q, k, v, mask, causal=causal)
    for mask in (ones(4, 5), torch.ones(4, 5, dtype=torch.long), [[True] * 5] * 4):
        with pytest.raises(TypeError, match="mask must be bool, True = may attend"):
            function(q, k, v, mask, causal=causal)


def test_heads_and_widths_that_do_not_fit():
    with pytest.raises(
        ValueError, match=r"num_heads must divide .* width=10, num_heads=3"
    ):
        MultiHeadAttention(10, 3)
    with pytest.raises(ValueError, match=r"num_heads must be .* from 1, got 0"):
        MultiHeadAttention(10, 0)
    with pytest.raises(ValueError, match=r"num_kv_heads must divide .* num_kv_heads=4"):
        MultiHeadAttention(12, 6, 4)
    assert MultiHeadAttention(10, 3, key_width=4)(ones(1, 2, 10)).shape == (1, 2, 10)
    ours = MultiHeadAttention(6, 3)
    with pytest.raises(
        ValueError, match=r"x must be \(\.\.\., T, 6\), got \(2, 4, 5\)"
    ):
        ours(ones(2, 4, 5))
    with pytest.raises(
        ValueError, match=r"memory must be \(\.\.\., S, 6\), got \(6,\)"
    ):
        ours(ones(2, 4, 6), ones(6))
    with pytest.raises(ValueError, match=r"mask must broadcast .* got \(5, 4\)"):
        ours(ones(2, 4, 6), ones(2, 5, 6), torch.ones(5, 4, dtype=torch.bool))
    with pytest.raises(TypeError, match=r"mask must be bool.*torch.float32"):
        ours(ones(2, 4, 6), mask=ones(4, 4))
    with pytest.raises(ValueError, match="block must be a whole number from 1, got 0"):
        tiled_attention(ones(2, 3), ones(2, 3), ones(2, 3), block=0)


@pytest.mark.parametrize(
    "options",
    [{"kdim": 5}, {"vdim": 5}, {"add_bias_kv": True}, {"add_zero_attn": True}],
)
def test_from_torch_refuses_what_it_cannot_copy(options):
    with pytest.raises(ValueError, match="not supported"):
        MultiHeadAttention.from_torch(nn.MultiheadAttention(6, 2, **options))


# --- On an accelerator ----------------------------------------------------------------


@pytest.mark.gpu
@pytest.mark.skipif(devices.choose_device()[0] == "cpu", reason="no GPU here")
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_on_a_gpu(precision):
    torch.manual_seed(16)
    device = devices.choose_device()[0]
    machine = devices.Machine(device, "", precision, "", 1, 0)
    ours = MultiHeadAttention(64, 4, rotary=True)
    x, mask = torch.randn(3, 32, 64), padding_mask([32, 20, 0], 32)
    expected = ours(x, mask=mask, causal=True)
    ours.to(device)
    x = x.to(device).requires_grad_()
    with machine.autocast():
        out = ours(x, mask=mask.to(device), causal=True)
    out.float().square().sum().backward()
    assert x.grad.isfinite().all()
    error = (out.cpu().float() - expected).norm() / expected.norm()
    assert error < (1e-3 if precision == "float32" else 0.02)

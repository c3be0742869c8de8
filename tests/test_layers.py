"""Linear layers against torch's, blocks against those of LLaMA in transformers."""

import functools

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lmlab.layers import linear as module
from lmlab.layers.blocks import Block, FeedForward
from lmlab.layers.linear import Linear, linear


@pytest.fixture(params=[False, True], ids=["torch's", "oneDNN"])
def library(request, monkeypatch):
    """Both ways of `linear`, whatever the processor."""
    if request.param and not torch.backends.mkldnn.is_available():
        pytest.skip("torch has no oneDNN here")
    monkeypatch.setattr(module, "_mkl_is_slow", lambda: request.param)


def inputs(*batch, rows=40, dtype=torch.float32):
    torch.manual_seed(0)
    shapes = (*batch, rows, 7), (5, 7), (5,)
    return [torch.randn(shape, dtype=dtype, requires_grad=True) for shape in shapes]


@pytest.mark.parametrize("batch", [(), (2,), (2, 3)], ids=str)
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("rows", [0, 1, 40])
def test_a_product_and_its_gradients_equal_torchs(library, batch, bias, rows):
    x, W, b = inputs(*batch, rows=rows)
    given = (x, W, b) if bias else (x, W)
    exact = [z.double() for z in given]
    out, expected = linear(*given), F.linear(*exact)
    R = torch.randn(out.shape, dtype=torch.float64)
    torch.testing.assert_close(out.double(), expected, atol=1e-5, rtol=0)
    ours = torch.autograd.grad((out * R).sum(), given)
    for a, b in zip(ours, torch.autograd.grad((expected * R).sum(), given)):
        torch.testing.assert_close(a, b, atol=2e-4, rtol=0)
    with torch.inference_mode():
        assert torch.equal(linear(*given), out)


def test_only_what_is_needed_gets_a_gradient(library):
    x, W, b = inputs(2)
    for wanted in (x, W, b):
        given = [z if z is wanted else z.detach() for z in (x, W, b)]
        (alone,) = torch.autograd.grad(linear(*given).square().sum(), wanted)
        (both,) = torch.autograd.grad(linear(x, W, b).square().sum(), wanted)
        torch.testing.assert_close(alone, both)


def test_a_frozen_layer_keeps_no_inputs(library):
    x, W, b = inputs(2)
    for given, count in (((x, W, b), 2), ((x, W.detach(), b), 1), ((x.detach(), W), 1)):
        kept = []
        with torch.autograd.graph.saved_tensors_hooks(kept.append, lambda x: x):
            linear(*given)
        assert len(kept) == count


def test_second_derivatives_and_gradients_of_each_example(library):
    x, W, b = inputs(3, rows=20)

    def loss(W, x):
        return linear(x, W, b.detach()).pow(3).mean()

    def steepness(function):
        (grad,) = torch.autograd.grad(function(W, x), W, create_graph=True)
        return torch.autograd.grad(grad.square().sum(), W)[0]

    expected = steepness(lambda W, x: F.linear(x, W, b.detach()).pow(3).mean())
    torch.testing.assert_close(steepness(loss), expected, atol=1e-4, rtol=1e-4)
    each = torch.func.vmap(torch.func.grad(loss), (None, 0))(W, x)
    for grad, example in zip(each, x):
        alone = torch.autograd.grad(loss(W, example), W)[0]
        torch.testing.assert_close(grad, alone, atol=1e-4, rtol=1e-4)


def test_other_dtypes_and_autocast_are_torchs(library):
    x, W, b = inputs(dtype=torch.float64)
    assert torch.equal(linear(x, W, b), F.linear(x, W, b))
    layer = Linear(7, 5)
    with torch.autocast("cpu", torch.bfloat16):
        assert layer(x.float()).dtype == torch.bfloat16


# --- Blocks ---------------------------------------------------------------------------


def llama(**changes):
    """A decoder layer of transformers' LLaMA, and what its attention is told."""
    from transformers import LlamaConfig
    from transformers.models.llama import modeling_llama

    config = LlamaConfig(
        hidden_size=24, intermediate_size=40, num_attention_heads=6,
        num_key_value_heads=2, num_hidden_layers=1, rms_norm_eps=1e-5, vocab_size=9,
        rope_parameters={"rope_type": "default", "rope_theta": 500.0},
    )  # fmt: skip
    config._attn_implementation = "eager"
    torch.manual_seed(0)
    layer = modeling_llama.LlamaDecoderLayer(config, 0).double()
    for p in layer.parameters():
        nn.init.normal_(p, float(p.ndim == 1), 0.3)
    return layer, modeling_llama.LlamaRotaryEmbedding(config)


def paired(weight, heads):
    """Rows i and i + D/2 of each head, which LLaMA turns together, side by side."""
    halves = weight.unflatten(0, (heads, 2, -1))  # (H, 2, D/2, C)
    return halves.transpose(1, 2).flatten(0, 2)


def test_a_gated_network_equals_llamas():
    theirs = llama()[0].mlp
    ours = FeedForward(24, 40, "silu", gated=True, bias=False).double()
    names = {"up": "up_proj", "down": "down_proj", "gate": "gate_proj"}
    for name, its in names.items():
        getattr(ours, name).load_state_dict(getattr(theirs, its).state_dict())
    x = torch.randn(2, 5, 24, dtype=torch.float64)
    torch.testing.assert_close(ours(x), theirs(x), atol=1e-12, rtol=0)


def test_a_block_can_be_one_of_llama():
    """RMS norms, grouped queries, rotary positions, a gated network, no biases."""
    theirs, turns = llama()
    ours = Block(
        24, 6, 40, num_kv_heads=2, norm_class=functools.partial(nn.RMSNorm, eps=1e-5),
        activation="silu", gated=True, bias=False, rotary=True, rotary_base=500.0,
    ).double()  # fmt: skip
    heads = theirs.self_attn
    parts = paired(heads.q_proj.weight, 6), paired(heads.k_proj.weight, 2)
    state = {
        "attention_norm.weight": theirs.input_layernorm.weight,
        "attention.qkv.weight": torch.cat([*parts, heads.v_proj.weight]),
        "attention.output.weight": heads.o_proj.weight,
        "mlp_norm.weight": theirs.post_attention_layernorm.weight,
        "mlp.up.weight": theirs.mlp.up_proj.weight,
        "mlp.down.weight": theirs.mlp.down_proj.weight,
        "mlp.gate.weight": theirs.mlp.gate_proj.weight,
    }
    ours.load_state_dict(state)
    x = torch.randn(2, 5, 24, dtype=torch.float64)
    closed = torch.full((5, 5), -torch.inf, dtype=torch.float64).triu(1)
    expected = theirs(
        x,
        attention_mask=closed[None, None],
        position_embeddings=turns(x, torch.arange(5)[None]),
    )
    # transformers computes angles and norms in float32, whatever the dtype.
    torch.testing.assert_close(ours(x, causal=True), expected, atol=1e-4, rtol=1e-4)

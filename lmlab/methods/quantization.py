"""A GPT made small for generation: its matrices in 8 bits, or all of it in 16.

One sequence at a time, making a token means reading every weight once and doing little
with it: what counts is how many bytes they take. With int8 each row of a matrix (one
output) has a scale of its own and whole numbers from −127 to 127; what comes in is
rounded to 8 bits too, each token by its own range, and products are summed in 32 bits
(LLM.int8(), Dettmers et al. 2022, without its treatment of outliers). Embeddings,
norms and attention stay in float32; the cache takes bfloat16, half the bytes.
"""

import contextlib
import copy
import warnings

import torch
from torch import nn

from lmlab.arguments import one_of
from lmlab.layers.losses import logits_loss
from lmlab.models.gpt import GPT
from lmlab.models.wrappers import unwrapped

PRECISIONS = ("float32", "bfloat16", "int8")
ENGINE = "fbgemm"  # torch's library for x86; on one token the fastest of four tried

_linear = torch.ops.quantized.linear_dynamic.default


def for_generation(model, precision="int8"):
    """A copy of the model for `generate`, in evaluation mode; it cannot be trained.

    precision: "float32", "bfloat16", or "int8" (on an x86 CPU).
    Raises ValueError for another precision, or one that this machine cannot do.
    """
    one_of("precision", precision, PRECISIONS)
    model = unwrapped(model)
    device = model.token_embedding.weight.device
    if precision == "int8":
        if (
            device.type != "cpu"
            or ENGINE not in torch.backends.quantized.supported_engines
        ):
            raise ValueError(
                f'precision="int8" works on an x86 CPU alone, not on {device} here: '
                'take "bfloat16"'
            )
        return _Int8GPT(model)
    other = copy.deepcopy(model).to(getattr(torch, precision)).requires_grad_(False)
    if precision == "float32" and device.type == "cpu":
        _turn(other)
    return other.eval()


def _turn(model):
    """Lay matrices out as (in, out) in memory, where that is read faster: wide ones."""
    for part in model.modules():
        weight = getattr(part, "weight", None)
        if weight is not None and weight.ndim == 2 and len(weight) > weight.shape[1]:
            part.weight.data = weight.data.T.contiguous().T


class _Int8GPT(GPT):
    """A GPT whose matrices are Int8Linear; ids, Cache and logits as in GPT."""

    cache_dtype = torch.bfloat16

    def __init__(self, model):
        with torch.device("meta"):  # matrices of float32 are never made
            super().__init__(model.config)
        for name, part in model.named_modules():
            if isinstance(part, nn.Linear) and name != "head":
                self.set_submodule(name, Int8Linear(part.weight, part.bias))
            elif any(True for _ in part.parameters(recurse=False)):
                self.set_submodule(name, copy.deepcopy(part))
        self.head = Int8Linear(model.output_weight)
        self.float().requires_grad_(False).eval()

    def logits(self, hidden):
        """hidden (…, C) → logits (…, V)."""
        return self.head(hidden)

    def loss(self, ids, targets, reduction="mean"):
        """As GPT's, of the logits that this copy gives."""
        return logits_loss(self(ids), targets, reduction)


class Int8Linear(nn.Module):
    """x @ weight.T + bias in 8 bits; weight (out, in) and bias (out,) are float."""

    def __init__(self, weight, bias=None):
        super().__init__()
        weight = weight.detach().float()
        scales = weight.abs().amax(1).clamp(min=1e-30) / 127  # (out,)
        zeros = torch.zeros(len(weight), dtype=torch.int64)
        with _quantizing():
            whole = torch.quantize_per_channel(weight, scales, zeros, 0, torch.qint8)
            self.bias = None if bias is None else bias.detach().float().clone()
            self.packed = torch.ops.quantized.linear_prepack(whole, self.bias)
        # Without VNNI, sums of two products are kept in 16 bits: leave one bit free.
        self.narrow = not torch.cpu._is_vnni_supported()

    def forward(self, x):
        """x (…, in) → (…, out)."""
        if x.numel() == x.shape[-1]:
            return _linear(x, self.packed, self.narrow)
        # The range is taken over all of x: bring every token to the same one.
        sizes = x.abs().amax(-1, keepdim=True).clamp(min=1e-30)
        y = _linear(x / sizes, self.packed, self.narrow)
        if self.bias is None:
            return y.mul_(sizes)
        return y.sub_(self.bias).mul_(sizes).add_(self.bias)


@contextlib.contextmanager
def _quantizing():
    """torch packs weights for the engine that is set; its 8-bit tensors are said to go
    one day, with a warning that is of no use here: torch's version is pinned."""
    before = torch.backends.quantized.engine
    torch.backends.quantized.engine = ENGINE
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "torch.quantize_per_tensor", UserWarning)
            yield
    finally:
        torch.backends.quantized.engine = before

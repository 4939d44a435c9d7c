"""What a decoder computes between its matrices, in fewer passes over memory: root-mean-square norms, attention on a CPU.

Both give what the model's own code gives, up to rounding, and keep no more for the backward pass. A norm is replaced only
where its class was seen to compute the formula. Knows no method and no loop.
"""

from __future__ import annotations

import copy
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.nn.functional import rms_norm, scaled_dot_product_attention

ATTENTION = "graft_causal"
SCORES_AT_ONCE = 2**21
"""Of attention, in bf16: 4 MiB stay in a CPU's cache."""
MOST_SCORES = 2**26
"""Of one row: beyond, flash attention's thrift with memory is worth more than speed."""


def quicken(model: nn.Module) -> None:
    """Makes the model's norms and, on a CPU, its attention compute this way from now on."""
    for module, offset in _norms(model):
        module.forward = partial(_norm, module, offset)
    adapted: Any = model
    decoder = adapted.get_base_model() if hasattr(model, "get_base_model") else adapted
    if next(model.parameters()).device.type == "cpu" and hasattr(decoder, "set_attn_implementation"):
        _attend_our_way(decoder)


def _attend_our_way(decoder: Any) -> None:
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import sdpa_mask

    if decoder.config._attn_implementation == "sdpa":
        AttentionInterface.register(ATTENTION, attention)
        AttentionMaskInterface.register(ATTENTION, sdpa_mask)
        decoder.set_attn_implementation(ATTENTION)


def _norms(model: nn.Module) -> list[tuple[Any, float]]:
    """The norms of a known formula, and what theirs adds to the weight: 0, or 1 in Gemma's."""
    offsets: dict[type, float | None] = {}
    found = []
    for module in model.modules():
        kind = type(module)
        if kind.__name__.endswith("RMSNorm") and "forward" not in vars(module):
            if kind not in offsets:
                offsets[kind] = _offset(module)
            offset = offsets[kind]
            if offset is not None:
                found.append((module, offset))
    return found


def _offset(module: Any) -> float | None:
    if getattr(module, "weight", None) is None or _epsilon(module) is None or len(list(module.parameters())) != 1:
        return None
    trial = copy.deepcopy(module).float().cpu()
    with torch.no_grad():
        x, trial.weight = torch.rand(3, len(module.weight)), nn.Parameter(torch.rand(len(module.weight)))
        for offset in (0.0, 1.0):
            if torch.allclose(trial(x), rms_norm(x, x.shape[1:], trial.weight + offset, _epsilon(module)), atol=1e-5):
                return offset
    return None


def _epsilon(module: Any) -> float | None:
    return getattr(module, "variance_epsilon", getattr(module, "eps", None))


def _norm(module: Any, offset: float, x: torch.Tensor) -> torch.Tensor:
    weight = module.weight
    if x.is_cuda and weight.dtype == x.dtype and not offset:
        with torch.autocast("cuda", enabled=False):  # it would widen to fp32; the kernel does so by itself
            return rms_norm(x, x.shape[-1:], weight, _epsilon(module))
    return _Norm.apply(x, weight, _epsilon(module), offset)  # type: ignore[no-any-return, no-untyped-call]


class _Norm(torch.autograd.Function):
    """x / sqrt(mean(x²) + epsilon), in fp32, rounded to x's dtype, times weight; Gemma multiplies before it rounds."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weight: torch.Tensor, epsilon: float, offset: float) -> torch.Tensor:
        wide = x.float()
        size = torch.linalg.vector_norm(wide, dim=-1, keepdim=True)
        scale = size.square_().div_(x.shape[-1]).add_(epsilon).rsqrt_()
        ctx.save_for_backward(x, weight, scale)
        ctx.offset = offset
        normed: torch.Tensor = wide * scale
        return normed.mul_(weight.float() + offset).to(x.dtype) if offset else normed.to(x.dtype) * weight

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, torch.Tensor | None, None, None]:
        x, weight, scale = ctx.saved_tensors
        (grad,) = grads
        wide = x.float()
        to_x = to_weight = None
        if ctx.needs_input_grad[1]:
            to_weight = (grad * (wide * scale)).reshape(-1, x.shape[-1]).sum(0).to(weight.dtype)
        if ctx.needs_input_grad[0]:
            to_normed = grad.float() * (weight.float() + ctx.offset)
            along = torch.linalg.vecdot(to_normed, wide).unsqueeze(-1)
            to_x = to_normed.mul_(scale).addcmul_(wide, along.mul_(scale**3).div_(-x.shape[-1])).to(x.dtype)
        return to_x, to_weight, None, None


def attention(
    module: nn.Module, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, attention_mask: torch.Tensor | None,
    scaling: float | None = None, is_causal: bool | None = None, dropout: float = 0.0, **kwargs: Any,
) -> tuple[torch.Tensor, None]:  # fmt: skip
    """(rows, length, heads, width) of (rows, heads, length, width); transformers' own way where it is not plainly causal."""
    if torch.is_autocast_enabled(query.device.type):  # rotated in fp32 where the weights are
        query, key, value = (one.to(torch.get_autocast_dtype(query.device.type)) for one in (query, key, value))
    length = query.shape[2]
    is_plain = attention_mask is None and not dropout and is_causal is not False and getattr(module, "is_causal", True)
    is_plain &= not any(kwargs.get(bend) is not None for bend in ("position_bias", "cache", "softcap"))
    is_plain &= key.shape[2] == length and value.shape[3] == query.shape[3]
    if not is_plain or query.dtype != torch.bfloat16 or query.shape[1] * length**2 > MOST_SCORES:
        from transformers.integrations.sdpa_attention import sdpa_attention_forward

        return sdpa_attention_forward(  # type: ignore[no-any-return]
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, is_causal=is_causal, **kwargs
        )
    scale = scaling if scaling is not None else query.shape[3] ** -0.5
    said: torch.Tensor = _Attention.apply(query, key, value, scale)  # type: ignore[no-untyped-call]
    return said.transpose(1, 2).contiguous(), None


class _Attention(torch.autograd.Function):
    """softmax(scale · q k^T, causal) v: forwards torch's flash attention, backwards our own.

    In bf16 on a CPU flash attention's backward pass takes two to seven times as long as plain products of matrices. Those
    compute the scores once more, in bf16, as transformers' own attention does in both directions.
    """

    @staticmethod
    def forward(ctx: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float) -> torch.Tensor:
        ctx.save_for_backward(query, key, value)
        ctx.scale = scale
        shared = key.shape[1] != query.shape[1]
        return scaled_dot_product_attention(query, key, value, is_causal=True, scale=scale, enable_gqa=shared)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, None]:
        query, key, value = ctx.saved_tensors
        found = [torch.empty_like(one, memory_format=torch.contiguous_format) for one in (query, key, value)]
        length = query.shape[2]
        later = torch.full((length, length), -torch.inf, dtype=query.dtype).triu_(1).repeat(query.shape[1] // key.shape[1], 1)
        rows = max(1, SCORES_AT_ONCE // (query.shape[1] * length**2))
        for start in range(0, len(query), rows):
            part = slice(start, start + rows)
            q, k, v, to_said = (_heads(one[part], key.shape[1]) for one in (query, key, value, grads[0]))
            to_q, to_k, to_v = (_heads(one[part], key.shape[1]) for one in found)
            shares = torch.baddbmm(later, q, k.mT, alpha=ctx.scale).softmax(-1)
            torch.bmm(shares.mT, to_said, out=to_v)
            to_scores = torch._softmax_backward_data(torch.bmm(to_said, v.mT), shares, -1, shares.dtype).mul_(ctx.scale)
            torch.bmm(to_scores, k, out=to_q)
            torch.bmm(to_scores.mT, q, out=to_k)
        return found[0], found[1], found[2], None


def _heads(one: torch.Tensor, keys: int) -> torch.Tensor:
    """(rows · key heads, length, width): queries that share a key one after another; a view where memory allows."""
    return one.reshape(one.shape[0] * keys, -1, one.shape[3])

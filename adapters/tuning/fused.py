"""LoRA layers that compute base and adapter as one: half the passes over memory, one input kept in place of four.

peft's own layer computes the adapter apart and keeps a copy of its input in each precision. The results are the same.
Knows no method and no loop.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import nn
from torch.nn.functional import linear


def fuse(model: nn.Module) -> int:
    """Makes peft's plain LoRA layers on frozen linear layers compute fused from now on; how many there were.

    Layers of a variant, in 4 bits or with dropout stay as they are, and so does any layer while its adapter is off.
    """
    from peft.tuners.lora.layer import Linear

    layers = [module for module in model.modules() if type(module) is Linear and _is_plain(module)]
    for layer in layers:
        layer.forward = partial(_forward, layer)
    return len(layers)


def _is_plain(layer: Any) -> bool:
    base = layer.get_base_layer()
    return (
        type(base) is nn.Linear
        and not base.weight.requires_grad
        and list(layer.lora_A) == layer.active_adapters
        and len(layer.active_adapters) == 1
        and not layer.lora_variant
        and all(isinstance(dropout, nn.Identity) for dropout in layer.lora_dropout.values())
        and all(matrix.bias is None for matrices in (layer.lora_A, layer.lora_B) for matrix in matrices.values())
    )


def _forward(layer: Any, x: torch.Tensor) -> torch.Tensor:
    if layer.disable_adapters or layer.merged:
        return type(layer).forward(layer, x)  # type: ignore[no-any-return]
    base, (name,) = layer.get_base_layer(), layer.active_adapters
    down, up = layer.lora_A[name].weight, layer.lora_B[name].weight
    return _Adapted.apply(  # type: ignore[no-any-return, no-untyped-call]
        x.to(base.weight.dtype), base.weight, base.bias, down, up, layer.scaling[name]
    )


class _Adapted(torch.autograd.Function):
    """x W^T + bias + scaling · (x down^T) up^T, with gradients to x, down and up; W is frozen.

    The small matrices are kept in fp32 and computed with in the precision of W, as under autocast.
    """

    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, down: torch.Tensor, up: torch.Tensor,
        scaling: float,
    ) -> torch.Tensor:  # fmt: skip
        rows, narrow = x.reshape(-1, x.shape[-1]), down.to(x.dtype)
        wide = up.to(x.dtype, copy=True).mul_(scaling)
        low = rows @ narrow.T
        said = linear(rows, weight, bias).addmm_(low, wide.T)
        ctx.save_for_backward(rows, weight, narrow, wide, low)
        ctx.scaling, ctx.dtypes = scaling, (down.dtype, up.dtype)
        return said.view(*x.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, None, None, torch.Tensor, torch.Tensor, None]:
        rows, weight, narrow, wide, low = ctx.saved_tensors
        (grad,) = grads
        to_said = grad.reshape(-1, grad.shape[-1])
        to_low = to_said @ wide
        to_up = (to_said.T @ low).to(ctx.dtypes[1]).mul_(ctx.scaling)
        to_down = (to_low.T @ rows).to(ctx.dtypes[0])
        to_x = None
        if ctx.needs_input_grad[0]:
            to_x = (to_said @ weight).addmm_(to_low, narrow).view(*grad.shape[:-1], -1)
        return to_x, None, None, to_down, to_up, None

"""Full tuning: every weight moves. It adapts most, costs most and forgets most.

Served as a base of its own, or, with `as_lora`, as the low-rank part of what changed in the linear layers; then nothing
else is tuned, since nothing else would be served. Knows no training loop.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adapters import bases
from adapters.adapted_model import AdapterRef
from adapters.methods import peft_folder
from adapters.methods.contract import Ground, OfTheBase
from adapters.methods.lora import adapter_off
from adapters.tuning.adapted import open_adapted
from adapters.tuning.model_folder import write_model
from adapters.tuning.recipe import Recipe

if TYPE_CHECKING:
    import torch
    from torch import nn


class Full(OfTheBase):
    kind = "checkpoint"

    def prepare(self, model: Any, ground: Ground) -> nn.Module:
        """All weights trainable: in fp32, computing in the base's dtype, or all in the base's dtype (`precision`)."""
        import torch

        torch.manual_seed(ground.recipe.seed)
        if ground.recipe.precision == "mixed":
            model.computes_in = model.dtype
            model.float()
        tuned = _linear(model) if ground.recipe.as_lora else {name: None for name, _ in model.named_parameters()}
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(name in tuned)
        return model  # type: ignore[no-any-return]

    def served_rank(self, recipe: Recipe) -> int:
        return recipe.as_lora

    def save(self, model: Any, folder: Path, ground: Ground) -> AdapterRef:
        from adapters.tuning import device

        rank, dtype = ground.recipe.as_lora, device.dtype()
        if rank:
            return peft_folder.write_differences(folder, _differences(model, ground), rank, ground.base_name, dtype)
        return write_model(model.to(dtype), ground.base_folder, folder)

    def open(self, folder: Path, ground: Ground) -> Any:
        from adapters.tuning import device

        if ground.recipe.as_lora:
            return open_adapted(ground.base_folder, folder, device.dtype()).to(device.device())
        return bases.open_model(folder, device.dtype()).to(device.device()).eval()

    def untuned(self, model: Any, ground: Ground) -> AbstractContextManager[Any]:
        return adapter_off(model) if ground.recipe.as_lora else _anew(model, ground)


@contextmanager
def _anew(model: Any, ground: Ground) -> Iterator[Any]:
    first = next(model.parameters())
    yield bases.open_model(ground.base_folder, first.dtype).to(first.device).eval()


def _linear(model: Any) -> dict[str, torch.Tensor]:
    """The weights of the linear layers by parameter name, without one that is tied to the embedding."""
    import torch

    tied = model.get_input_embeddings().weight
    return {
        f"{name}.weight": module.weight
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and module.weight is not tied
    }


def _differences(model: Any, ground: Ground) -> dict[str, torch.Tensor]:
    import torch

    before = dict(bases.open_model(ground.base_folder, torch.float32).named_parameters())
    with torch.no_grad():
        return {
            name.removesuffix(".weight"): parameter.float().cpu() - before[name] for name, parameter in _linear(model).items()
        }

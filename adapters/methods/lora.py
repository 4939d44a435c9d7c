"""LoRA: low-rank matrices beside linear layers (Hu et al., 2021, arXiv 2106.09685), trained by peft; and its variants.

DoRA and PiSSA are trained as they are and saved as plain LoRA, since engines take nothing else. On a base in 4 bits it
is QLoRA. Knows no training loop and no engine.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adapters.adapted_model import AdapterRef
from adapters.errors import InvalidInput
from adapters.methods import peft_folder
from adapters.methods.contract import Ground, OfTheBase
from adapters.tuning.adapted import open_adapted
from adapters.tuning.recipe import Recipe

if TYPE_CHECKING:
    import torch
    from torch import nn

PLACES = {"attention": ("attn", "attention"), "mlp": ("mlp", "feed_forward", "ffn", "moe")}
"""How decoders name the part of a block that a layer stands in."""
PISSA_START = "pissa_start"


class Lora(OfTheBase):
    """All linear layers unless the recipe says otherwise: attention alone loses even at equal parameters (Biderman et al.,
    2024, arXiv 2405.09673); the MLP alone forgets less for the same gain (PEFT's MetaMathQA benchmark)."""

    kind = "lora"

    def prepare(self, model: Any, ground: Ground) -> nn.Module:
        """The base frozen, the new matrices trainable in fp32: bf16 would round small steps away."""
        import torch
        from peft import LoraConfig, get_peft_model

        from adapters.tuning.fused import fuse

        recipe = ground.recipe
        torch.manual_seed(recipe.seed)
        config = LoraConfig(
            r=recipe.rank, lora_alpha=recipe.alpha, use_rslora=recipe.rslora, use_dora=recipe.variant == "dora",
            # sixteen rounds of the fast decomposition are as good as the exact one (peft's own figure)
            init_lora_weights="pissa_niter_16" if recipe.variant == "pissa" else True,
            target_modules=_targets(model, recipe), lora_dropout=0.0, bias="none", task_type="CAUSAL_LM",
        )  # fmt: skip
        adapted: Any = get_peft_model(model, config, autocast_adapter_dtype=True)
        if recipe.variant == "pissa":
            setattr(adapted, PISSA_START, {name: tensor.detach().clone() for name, tensor in _tensors(adapted).items()})
        fuse(adapted)
        return adapted  # type: ignore[no-any-return]

    def served_rank(self, recipe: Recipe) -> int:
        return {"plain": recipe.rank, "pissa": 2 * recipe.rank, "dora": _dora_rank(recipe)}[recipe.variant]

    def save(self, model: Any, folder: Path, ground: Ground) -> AdapterRef:
        """A PEFT folder of two files. Rounds the matrices to the base's dtype first, as the engine would at load."""
        from adapters.tuning import device

        dtype, recipe = device.dtype(), ground.recipe
        if recipe.variant == "dora":
            return peft_folder.write_differences(folder, _dora_differences(model), _dora_rank(recipe), ground.base_name, dtype)
        tensors, config = _pissa_as_plain(model) if recipe.variant == "pissa" else (_tensors(model), _config(model))
        return peft_folder.write(folder, {k: v.to(dtype) for k, v in tensors.items()}, config, ground.base_name)

    def open(self, folder: Path, ground: Ground) -> Any:
        from adapters.tuning import device

        return open_adapted(ground.base_folder, folder, device.dtype()).to(device.device())

    def untuned(self, model: Any, ground: Ground) -> AbstractContextManager[Any]:
        return adapter_off(model)


@contextmanager
def adapter_off(model: Any) -> Iterator[Any]:
    """The adapted model with its adapter switched off."""
    with model.disable_adapter():
        yield model


def _dora_rank(recipe: Recipe) -> int:
    """DoRA also scales the base's own rows, which no small rank holds: twice its rank keeps most of that."""
    return recipe.as_lora or 2 * recipe.rank


def _targets(model: Any, recipe: Recipe) -> str | list[str]:
    if recipe.targets == "all":
        return "all-linear"
    import torch

    linear = [name for name, module in model.named_modules() if isinstance(module, torch.nn.Linear)]
    within = {part: [name for name in linear if any(word in name for word in words)] for part, words in PLACES.items()}
    chosen = within[recipe.targets]
    if not chosen:
        raise InvalidInput(
            f"this base has no linear layers that are called {' or '.join(PLACES[recipe.targets])}", param="targets"
        )
    last = {name.rpartition(".")[2] for name in chosen}
    others = {name.rpartition(".")[2] for name in linear if name not in chosen}
    return chosen if last & others else sorted(last)


def _tensors(model: Any) -> dict[str, torch.Tensor]:
    from peft import get_peft_model_state_dict

    return dict(get_peft_model_state_dict(model))


def _config(model: Any) -> Any:
    return copy.copy(model.peft_config["default"])


def _pissa_as_plain(model: Any) -> tuple[dict[str, torch.Tensor], Any]:
    """PiSSA starts from the base's largest directions and takes them out of it. What it learned is the end minus the
    start, and as two products side by side that is a plain LoRA of twice the rank, exactly (peft's documentation)."""
    import torch

    start = getattr(model, PISSA_START)
    tensors = {}
    for name, now in _tensors(model).items():
        before = start[name]
        tensors[name] = torch.cat([now, before] if ".lora_A." in name else [now, -before], dim=0 if ".lora_A." in name else 1)
    config = _config(model)
    rank = config.r
    config.init_lora_weights, config.r = True, 2 * rank
    config.lora_alpha = config.lora_alpha * (2**0.5 if config.use_rslora else 2)
    return tensors, config


def _dora_differences(model: Any) -> dict[str, torch.Tensor]:
    """By module name, magnitude · (W + s·BA) / ‖W + s·BA‖ - W, in fp32; norms are over each output's inputs."""
    import torch

    differences = {}
    with torch.no_grad():
        for name, module in model.get_base_model().named_modules():
            if hasattr(module, "lora_magnitude_vector") and "default" in module.lora_A:
                weight = module.get_base_layer().weight.float()
                directed = weight + module.get_delta_weight("default").float()
                size = module.lora_magnitude_vector["default"].weight.float().unsqueeze(1)
                differences[name] = directed * (size / directed.norm(dim=1, keepdim=True)) - weight
    return differences

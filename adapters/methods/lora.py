"""LoRA: low-rank matrices beside every linear layer (Hu et al., 2021, arXiv 2106.09685), made and saved by peft.

Knows no training loop and no engine, but saves only what the engine takes.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adapters.adapted_model import AdapterRef
from adapters.registry import WEIGHTS, file_digest
from adapters.tuning.recipe import Recipe

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedModel

CONFIG = "adapter_config.json"


class Lora:
    """All linear layers: attention only loses even at equal parameters (Biderman et al., 2024, arXiv 2405.09673)."""

    def prepare(self, model: PreTrainedModel, recipe: Recipe) -> nn.Module:
        """The base frozen, the new matrices trainable in fp32: bf16 would round small steps away."""
        import torch
        from peft import LoraConfig, get_peft_model

        torch.manual_seed(recipe.seed)
        config = LoraConfig(
            r=recipe.rank,
            lora_alpha=recipe.alpha,
            use_rslora=recipe.rslora,
            target_modules="all-linear",
            lora_dropout=0.0,
            bias="none",
            task_type="CAUSAL_LM",
        )
        adapted: nn.Module = get_peft_model(model, config, autocast_adapter_dtype=True)
        return adapted

    def save(self, model: nn.Module, folder: Path, base_name: str) -> AdapterRef:
        """A PEFT folder of two files. Rounds the matrices to the base's dtype first, as the engine would at load."""
        from peft import get_peft_model_state_dict
        from safetensors.torch import save_file

        peft_model: Any = model
        dtype = peft_model.get_base_model().dtype
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.data = parameter.data.to(dtype)
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in get_peft_model_state_dict(model).items()}
        save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
        config = copy.copy(peft_model.peft_config["default"])
        config.base_model_name_or_path, config.inference_mode = base_name, True
        config.target_modules = sorted(config.target_modules)
        config.save_pretrained(folder)
        for file in (folder / WEIGHTS, folder / CONFIG):
            file.chmod(0o644)  # safetensors writes 0600, and the engine may run as somebody else
        return AdapterRef("lora", file_digest(folder / WEIGHTS), config.r)

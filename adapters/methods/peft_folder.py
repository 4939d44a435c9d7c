"""A LoRA adapter as the two files that engines take, and low-rank parts of weight differences to put into one.

Knows no training; the methods that end as LoRA adapters do.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adapters.adapted_model import ADAPTER_KINDS, AdapterRef
from adapters.registry import file_digest

if TYPE_CHECKING:
    import torch

CONFIG, WEIGHTS = "adapter_config.json", ADAPTER_KINDS["lora"]
PREFIX = "base_model.model."
OVERSAMPLED = 16
"""Directions looked at beyond those that are kept."""


def write(folder: Path, tensors: Mapping[str, torch.Tensor], config: Any, base_name: str) -> AdapterRef:
    """Writes tensors, named as peft names them, and their LoraConfig into the folder."""
    from safetensors.torch import save_file

    save_file({k: v.detach().cpu().contiguous() for k, v in tensors.items()}, folder / WEIGHTS, metadata={"format": "pt"})
    config.base_model_name_or_path, config.inference_mode = base_name, True
    config.target_modules = sorted(config.target_modules)
    config.save_pretrained(folder)
    for file in (folder / WEIGHTS, folder / CONFIG):
        file.chmod(0o644)  # safetensors writes 0600, and the engine may run as somebody else
    return AdapterRef("lora", file_digest(folder / WEIGHTS), config.r)


def write_differences(
    folder: Path, differences: Mapping[str, torch.Tensor], rank: int, base_name: str, dtype: torch.dtype
) -> AdapterRef:
    """By module name, what a linear layer's weights (outputs, inputs) have changed by: saved as its best part of that rank."""
    from peft import LoraConfig

    tensors = {}
    for module, difference in differences.items():
        down, up = low_rank(difference, rank)
        tensors[f"{PREFIX}{module}.lora_A.weight"] = down.to(dtype)
        tensors[f"{PREFIX}{module}.lora_B.weight"] = up.to(dtype)
    config = LoraConfig(r=rank, lora_alpha=rank, target_modules=list(differences), bias="none", task_type="CAUSAL_LM")
    return write(folder, tensors, config, base_name)


def low_rank(difference: torch.Tensor, rank: int) -> tuple[torch.Tensor, torch.Tensor]:
    """(rank, inputs) and (outputs, rank) whose product is nearest to the difference, by randomised SVD (Halko et al., 2011).

    Where the matrix has fewer directions than the rank, the rest is zero.
    """
    import torch

    outputs, inputs = difference.shape
    looked_at = min(rank + OVERSAMPLED, outputs, inputs)
    left, sizes, right = torch.svd_lowrank(difference.float(), q=looked_at, niter=4)
    kept = min(rank, looked_at)
    root = sizes[:kept].sqrt()
    down, up = torch.zeros(rank, inputs), torch.zeros(outputs, rank)
    down[:kept], up[:, :kept] = (right[:, :kept] * root).T.cpu(), (left[:, :kept] * root).cpu()
    return down, up

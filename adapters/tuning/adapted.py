"""A base with somebody's PEFT adapter on it, in memory. Knows no recipe; whether an engine would take it is preflight's."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from adapters import bases
from adapters.errors import Unservable

if TYPE_CHECKING:
    import torch


def open_adapted(base_folder: Path, adapter_folder: Path, dtype: torch.dtype) -> Any:
    """The peft model, base and adapter both in `dtype`, in evaluation mode.

    Raises Unservable where the adapter does not fit the base, in shape or in names: peft alone would drop such weights.
    """
    from peft import PeftConfig, get_peft_model
    from safetensors import SafetensorError

    base = bases.open_model(base_folder, dtype)
    try:
        config = PeftConfig.from_pretrained(adapter_folder)
        config.base_model_name_or_path = base.name_or_path  # else peft warns that it is not the one it was made on
        model = get_peft_model(base, config, autocast_adapter_dtype=False)
        loaded = model.load_adapter(adapter_folder, "default", autocast_adapter_dtype=False)
    except (OSError, RuntimeError, ValueError, KeyError, TypeError, SafetensorError) as error:
        reason = str(error).strip().splitlines()
        raise Unservable(
            f"{adapter_folder.name} cannot be put on {base_folder.name}: {' '.join(reason[:2])[:300]}",
            code="adapter_wrong_base", param="adapter",
        ) from error  # fmt: skip
    if loaded.unexpected_keys:
        raise Unservable(
            f"{adapter_folder.name} holds weights that {base_folder.name} has no place for, such as "
            f"'{loaded.unexpected_keys[0]}': made for another base",
            code="adapter_wrong_base", param="adapter",
        )  # fmt: skip
    return model.eval()

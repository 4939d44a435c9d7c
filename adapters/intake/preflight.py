"""Will the engine take this adapter, and serve what was trained? Answered from the files alone, without a GPU.

Some things the engine refuses, others it would load and silently not apply; each has a code here.
Knows no engine process; the probe after loading is the gateway's.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from adapters.bases import linear_shapes
from adapters.errors import Unservable
from adapters.intake.config import LoraConfig, read_config
from adapters.intake.listing import check_files, list_folder
from adapters.intake.weights import LAYER, check_weights
from adapters.registry import WEIGHTS


@dataclass(frozen=True, slots=True)
class AdapterReport:
    rank: int
    """The highest of any module; a slot of the engine must be as wide."""
    alpha: float
    rslora: bool
    modules: tuple[str, ...]
    """Kinds of layers it is clipped onto: `q_proj`, `down_proj`."""
    matrices: int
    """How many layers of the base it is clipped onto, each with an A and a B."""
    layers: int
    """How many of the base's blocks hold one of them."""
    dtype: str
    size_bytes: int
    claimed_base: str | None
    """What the config calls the base it was made for: a hub id, or a path on somebody else's machine."""
    made_by: str | None
    """The tool, where the config tells."""
    notes: tuple[str, ...]


def check_adapter(folder: Path, base_folder: Path, max_rank: int) -> AdapterReport:
    """What the PEFT folder holds, or Unservable: its code says which rule, its message what to do.

    `max_rank` is the engine's --max-lora-rank.
    """
    try:
        return _look(folder, base_folder, max_rank)
    except Unservable as error:
        raise Unservable(f"{folder.name}: {error.message}", code=error.code, param=error.param) from error


def _look(folder: Path, base_folder: Path, max_rank: int) -> AdapterReport:
    if not folder.is_dir():
        raise Unservable("there is no such folder", code="adapter_unreadable")
    check_files({name for name in list_folder(folder).sizes if "/" not in name})
    config = read_config(folder)
    if config.highest_rank > max_rank:
        raise Unservable(
            f"its rank {config.highest_rank} is above the engine's {max_rank}; raise engine.max_lora_rank or train a lower one",
            code="adapter_rank_too_high",
            param="r",
        )
    weights = check_weights(folder / WEIGHTS, config, linear_shapes(base_folder))
    blocks = {found[1] for module in weights.modules if (found := LAYER.search(module))}
    return AdapterReport(
        rank=config.highest_rank,
        alpha=config.alpha,
        rslora=config.rslora,
        modules=tuple(sorted({module.rpartition(".")[2] for module in weights.modules})),
        matrices=len(weights.modules),
        layers=len(blocks),
        dtype=weights.dtype,
        size_bytes=weights.size_bytes,
        claimed_base=_claimed_base(config),
        made_by=_made_by(config),
        notes=_notes(config, weights.dtype),
    )


def _claimed_base(config: LoraConfig) -> str | None:
    claimed = config.raw.get("base_model_name_or_path")
    return claimed if isinstance(claimed, str) and claimed else None


def _made_by(config: LoraConfig) -> str | None:
    mapping, version = config.raw.get("auto_mapping"), config.raw.get("peft_version")
    if isinstance(mapping, dict) and mapping.get("unsloth_fixed"):
        return "unsloth"
    return f"peft {version}" if isinstance(version, str) and re.fullmatch(r"[\w.+@-]{1,40}", version) else None


def _notes(config: LoraConfig, dtype: str) -> tuple[str, ...]:
    notes = []
    if config.rank_pattern:
        notes.append(f"ranks differ by layer: {sorted({config.rank, *config.rank_pattern.values()})}")
    if dtype not in ("BF16", "F16"):
        notes.append(f"stored as {dtype}; the engine rounds it to the base's dtype")
    return tuple(notes)

"""A training run's state as one safetensors file, replaced whole: weights that train, Adam's moments, dice, position.

Continuing from it gives the same weights as never having stopped. Where several processes train, all call this together
and the first writes; a tensor that is split over them is whole in the file. Knows no loop; the loop decides when.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

CHECKPOINT = "checkpoint.safetensors"
BEST = "best.safetensors"
DICE = ("dice/cpu", "dice/cuda")


@dataclass(slots=True)
class Position:
    """Where a run is. What changes is all here, so that a checkpoint cannot miss any of it."""

    epoch: int = 0
    window: int = 0
    """Optimiser steps done in this epoch."""
    step: int = 0
    best_loss: float = math.inf
    best_step: int = 0
    epochs_without_gain: int = 0


def save(path: Path, trainable: Mapping[str, nn.Parameter], optimiser: torch.optim.Optimizer, position: Position) -> None:
    tensors = {f"weight/{name}": parameter.detach() for name, parameter in trainable.items()}
    for name, parameter in trainable.items():
        tensors |= {f"adam/{key}/{name}": value for key, value in optimiser.state[parameter].items()}
    for rank, dice in enumerate(_everybodys(_dice())):
        tensors |= {_of(rank, name): state for name, state in dice.items()}
    _write(path, tensors, {"position": json.dumps(asdict(position))})


def restore(path: Path, trainable: Mapping[str, nn.Parameter], optimiser: torch.optim.Optimizer) -> Position:
    """Fills weights and optimiser from the file and returns the position; a fresh one where there is no file yet."""
    from safetensors import safe_open

    if not path.is_file():
        return Position()
    with safe_open(path, framework="pt") as file:
        names = list(file.keys())
        position = Position(**json.loads(file.metadata()["position"]))
        _fill(trainable, lambda name: file.get_tensor(f"weight/{name}"))
        for _, key, name in (stored.split("/", 2) for stored in names if stored.startswith("adam/")):
            value = file.get_tensor(f"adam/{key}/{name}")
            # the step count is everybody's own, beside the parameter, where the fused AdamW keeps it
            kept = _laid_out_as(trainable[name], value) if value.ndim else value.to(trainable[name].device)
            optimiser.state.setdefault(trainable[name], {})[key] = kept
        dice = {name: file.get_tensor(_of(_rank(), name)) for name in DICE if _of(_rank(), name) in names}
    if "dice/cpu" in dice:
        torch.set_rng_state(dice["dice/cpu"])
    if "dice/cuda" in dice and torch.cuda.is_available():
        torch.cuda.set_rng_state(dice["dice/cuda"])
    return position


def save_weights(path: Path, trainable: Mapping[str, nn.Parameter]) -> None:
    _write(path, {name: parameter.detach() for name, parameter in trainable.items()}, {})


def epoch_files(folder: Path) -> dict[int, Path]:
    """The kept ends of epochs, by step, oldest first."""
    found = {int(file.name.split("-")[1].split(".")[0]): file for file in folder.glob("epoch-*.safetensors")}
    return dict(sorted(found.items()))


def keep_epoch(folder: Path, trainable: Mapping[str, nn.Parameter], step: int, *, keep: int) -> None:
    """Keeps the weights after this step, and of the earlier ones the last, `keep` in all."""
    if keep > 0:
        save_weights(folder / f"epoch-{step}.safetensors", trainable)
    if _rank() != 0:
        return
    for old in list(epoch_files(folder).values())[: -keep or None]:
        old.unlink()


def restore_weights(path: Path, trainable: Mapping[str, nn.Parameter]) -> None:
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        _fill(trainable, file.get_tensor)


def _fill(trainable: Mapping[str, nn.Parameter], stored: Callable[[str], torch.Tensor]) -> None:
    with torch.no_grad():
        for name, parameter in trainable.items():
            parameter.copy_(_laid_out_as(parameter, stored(name)))


def _laid_out_as(parameter: Any, whole: torch.Tensor) -> torch.Tensor:
    """The tensor where the parameter is: on its device, or this process's part of it where it is split."""
    whole = whole.to(parameter.device)
    if not hasattr(parameter, "device_mesh"):
        return whole
    from torch.distributed.tensor import distribute_tensor

    # every process has read the file, so nothing needs to be sent
    return distribute_tensor(whole, parameter.device_mesh, parameter.placements, src_data_rank=None)


def _write(path: Path, tensors: Mapping[str, torch.Tensor], metadata: dict[str, str]) -> None:
    from safetensors.torch import save_file

    held = {}
    for name, tensor in tensors.items():
        whole = tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor  # all processes take part
        if _rank() == 0:
            held[name] = whole.cpu().contiguous()
    if _rank() != 0:
        return
    beside = path.with_name(f".{path.name}.new")
    save_file(held, beside, metadata=metadata)
    with beside.open("rb") as file:
        os.fsync(file.fileno())
    os.replace(beside, path)


def _dice() -> dict[str, torch.Tensor]:
    cuda = {"dice/cuda": torch.cuda.get_rng_state()} if torch.cuda.is_available() else {}
    return {"dice/cpu": torch.get_rng_state()} | cuda


def _everybodys(own: dict[str, torch.Tensor]) -> list[dict[str, torch.Tensor]]:
    """What each process has, by rank; every process throws its own dice."""
    if not _is_several():
        return [own]
    found: list[Any] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(found, own)
    return found


def _of(rank: int, name: str) -> str:
    return name if rank == 0 else f"{name}/{rank}"


def _rank() -> int:
    return torch.distributed.get_rank() if _is_several() else 0


def _is_several() -> bool:
    return torch.distributed.is_available() and torch.distributed.is_initialized()

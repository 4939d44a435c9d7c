"""A training run's state as one safetensors file, replaced whole: weights that train, Adam's moments, dice, position.

Continuing from it gives the same weights as never having stopped. Knows no loop; the loop decides when.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import nn

CHECKPOINT = "checkpoint.safetensors"
BEST = "best.safetensors"


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
    tensors["dice/cpu"] = torch.get_rng_state()
    if torch.cuda.is_available():
        tensors["dice/cuda"] = torch.cuda.get_rng_state()
    _write(path, tensors, {"position": json.dumps(asdict(position))})


def restore(path: Path, trainable: Mapping[str, nn.Parameter], optimiser: torch.optim.Optimizer) -> Position:
    """Fills weights and optimiser from the file and returns the position; a fresh one where there is no file yet."""
    from safetensors import safe_open

    if not path.is_file():
        return Position()
    with safe_open(path, framework="pt") as file:
        position = Position(**json.loads(file.metadata()["position"]))
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    _fill(trainable, {name: tensors[f"weight/{name}"] for name in trainable})
    for name, parameter in trainable.items():
        moments = {
            key.split("/")[1]: value for key, value in tensors.items() if key.endswith(f"/{name}") and key[:5] == "adam/"
        }
        # the step count stays on the CPU, where AdamW keeps it
        optimiser.state[parameter] = {k: v if v.ndim == 0 else v.to(parameter.device) for k, v in moments.items()}
    torch.set_rng_state(tensors["dice/cpu"])
    if "dice/cuda" in tensors and torch.cuda.is_available():
        torch.cuda.set_rng_state(tensors["dice/cuda"])
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
    for old in list(epoch_files(folder).values())[: -keep or None]:
        old.unlink()


def restore_weights(path: Path, trainable: Mapping[str, nn.Parameter]) -> None:
    from safetensors.torch import load_file

    _fill(trainable, load_file(path))


def _fill(trainable: Mapping[str, nn.Parameter], tensors: Mapping[str, torch.Tensor]) -> None:
    with torch.no_grad():
        for name, parameter in trainable.items():
            parameter.copy_(tensors[name])


def _write(path: Path, tensors: Mapping[str, torch.Tensor], metadata: dict[str, str]) -> None:
    from safetensors.torch import save_file

    beside = path.with_name(f".{path.name}.new")
    save_file({name: tensor.cpu().contiguous() for name, tensor in tensors.items()}, beside, metadata=metadata)
    with beside.open("rb") as file:
        os.fsync(file.fileno())
    os.replace(beside, path)

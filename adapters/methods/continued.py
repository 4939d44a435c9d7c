"""Continued pretraining: the base reads on, in plain text of a domain it knows too little of; by LoRA or whole.

Knows no training loop; the weights are those of the two methods it is made with.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adapters.adapted_model import AdapterRef
from adapters.methods.contract import Ground, OfTheBase, Weights
from adapters.methods.full import Full
from adapters.methods.lora import Lora
from adapters.tuning.recipe import Recipe

if TYPE_CHECKING:
    from torch import nn


class ContinuedPretraining(OfTheBase):
    kind = "lora"

    def __init__(self) -> None:
        self._by: dict[str, Weights] = {"lora": Lora(), "full": Full()}

    def prepare(self, model: Any, ground: Ground) -> nn.Module:
        return self._by[ground.recipe.weights].prepare(model, ground)

    def served_rank(self, recipe: Recipe) -> int:
        return self._by[recipe.weights].served_rank(recipe)

    def save(self, model: Any, folder: Path, ground: Ground) -> AdapterRef:
        return self._by[ground.recipe.weights].save(model, folder, ground)

    def open(self, folder: Path, ground: Ground) -> Any:
        return self._by[ground.recipe.weights].open(folder, ground)

    def untuned(self, model: Any, ground: Ground) -> AbstractContextManager[Any]:
        return self._by[ground.recipe.weights].untuned(model, ground)

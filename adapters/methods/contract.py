"""What a method is: what it puts into the prompt, and what it does to the weights. Either may be nothing.

A sum such as `rag+lora` is the prompt part of one and the weights part of the other. Knows no training loop: the loop
is the same for all, a method only hands it a prepared model.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from adapters.adapted_model import AdapterRef
from adapters.conversation import Example
from adapters.prompts import PromptTemplate
from adapters.tuning.recipe import Recipe

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedModel


class Weights(Protocol):
    """How a method changes weights. `prepare` and `save` load torch; nothing else does."""

    def prepare(self, model: PreTrainedModel, recipe: Recipe) -> nn.Module:
        """The model with exactly the parameters trainable that this method trains, seeded by the recipe."""

    def save(self, model: nn.Module, folder: Path, base_name: str) -> AdapterRef:
        """Writes what was trained into the folder, which exists and is empty, in the form the engine takes.

        What the model computes afterwards is what the engine will compute from the folder.
        """


Prompt = Callable[[PromptTemplate | None, Sequence[Example], Recipe], PromptTemplate | None]
"""From the template the user gave and the training rows to the template that trains and serves."""


@dataclass(frozen=True, slots=True)
class Method:
    prompt: Prompt
    weights: Weights | None = None

    @property
    def trains(self) -> bool:
        return self.weights is not None

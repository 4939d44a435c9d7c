"""What a method is: what it puts into the prompt, and what it does to the weights. Either may be nothing.

A sum such as `rag+lora` is the prompt part of one and the weights part of the other. Knows no training loop: the loop
is the same for all, a method only hands it a prepared model.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from adapters.adapted_model import AdapterRef
from adapters.conversation import Example
from adapters.data.tokens import Encoded
from adapters.evaluation.probe import Probe
from adapters.evaluation.recording import record
from adapters.prompts import PromptTemplate
from adapters.tuning.recipe import Recipe

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True, slots=True)
class Ground:
    """What a method stands on when it changes weights."""

    recipe: Recipe
    base_folder: Path
    base_name: str
    """What the base is served under."""
    tokenizer: PreTrainedTokenizerBase
    template: PromptTemplate | None
    examples: Sequence[Example]
    """The training rows."""


@dataclass(frozen=True, slots=True)
class Watched:
    """The validation rows, as examples and as tokens."""

    examples: Sequence[Example]
    tokens: Sequence[Encoded]


class Weights(Protocol):
    """How a method changes weights. Its functions load torch; nothing else does."""

    kind: str
    """Of the adapter it saves; a word of `adapted_model.ADAPTER_KINDS`."""

    def prepare(self, model: Any, ground: Ground) -> nn.Module:
        """The model with exactly the parameters trainable that this method trains, seeded by the recipe."""

    def rate(self, parameter: str, epoch: int, recipe: Recipe) -> float:
        """The share of the recipe's learning rate that a trainable parameter moves with; 0 leaves it as it is."""

    def served_rank(self, recipe: Recipe) -> int:
        """Of the LoRA adapter it will save, which an engine must have room for; 0 where it saves none."""

    def save(self, model: Any, folder: Path, ground: Ground) -> AdapterRef:
        """Writes what was trained into the folder, which exists and is empty, in the form the engine takes. The model may
        be rounded by this; it is saved again only after its weights were set anew."""

    def open(self, folder: Path, ground: Ground) -> Any:
        """The model that computes what the engine will compute from a saved folder."""

    def asked(self, ground: Ground) -> Ground:
        """The ground on which rows and questions are rendered for the tuned model; the same, unless it reads other tokens
        than the base."""

    def probe(self, model: Any, ground: Ground, watched: Watched, between: Callable[[], None]) -> Probe:
        """What an engine that serves the opened model must answer. Raises Unservable where that is what the base answers."""

    def untuned(self, model: Any, ground: Ground) -> AbstractContextManager[Any]:
        """The base beside an opened model, for as long as the context lasts: its adapter off, or the base anew."""


class OfTheBase:
    """What methods that change the base's own weights have in common."""

    def rate(self, parameter: str, epoch: int, recipe: Recipe) -> float:
        return 1.0

    def asked(self, ground: Ground) -> Ground:
        return ground

    def probe(self: Weights, model: Any, ground: Ground, watched: Watched, between: Callable[[], None]) -> Probe:
        return record(model, watched.tokens, between=between, untuned=lambda: self.untuned(model, ground))


Prompt = Callable[[PromptTemplate | None, Sequence[Example], Recipe], PromptTemplate | None]
"""From the template the user gave and the training rows to the template that trains and serves."""


@dataclass(frozen=True, slots=True)
class Method:
    prompt: Prompt
    weights: Weights | None = None
    objectives: tuple[str, ...] = ("sft",)
    """The first is what it minimises unless told otherwise."""
    bits: int = 16
    """Of the base's weights while it trains."""
    classifies: bool = False
    """Trains a layer that gives labels, beside the language model."""

    @property
    def trains(self) -> bool:
        return self.weights is not None or self.classifies

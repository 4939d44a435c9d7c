"""What a method is: what it puts into the prompt, how it chooses that, and what it does to the weights. Each may be nothing.

A sum such as `rag+lora` is the prompt part of one and the weights part of the other. Knows no training loop: the loop
is the same for all, a method only hands it a prepared model.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from adapters import embedded
from adapters.adapted_model import AdapterRef, RetrievalSpec, Sampling
from adapters.conversation import Example, WireMessage
from adapters.data.dataset import Splits
from adapters.data.tokens import Encoded
from adapters.evaluation.loss import RowLoss
from adapters.evaluation.probe import Probe
from adapters.evaluation.recording import record
from adapters.prompts import PromptTemplate
from adapters.tuning.progress import Progress
from adapters.tuning.recipe import Recipe

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
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
class Choosing:
    """What a fitter chooses with."""

    ground: Ground
    """Its template is the user's own; only its training rows may get into a pool or a prompt."""
    validation: Sequence[Example]
    """The rows that candidates are scored on, in the order in which they are taken."""
    complete: Callable[[Sequence[list[WireMessage]], Sequence[str]], list[str]]
    """The base's greedy answers to rendered conversations; given choices, it can write nothing else."""
    encode: Callable[[Sequence[str]], NDArray[np.float32]]
    """The sentence encoder: (texts, width), every row of length 1."""
    prompt_tokens: int
    """That a prompt may have, so that the answer still finds room behind it."""
    progress: Progress
    """Its folder is the run's; what lies there is still there after a kill."""
    encoder_folder: Path = field(default_factory=embedded.encoder_folder)
    """Of the sentence encoder, which vectors that are kept must name (`encoder.identity`)."""
    losses: Callable[[Sequence[Asked]], Sequence[RowLoss]] | None = None
    """How surprised the base is by the rows' answers; None where only its answers can be had."""


@dataclass(frozen=True, slots=True)
class Fitted:
    """What was chosen: all that an adapted model has beside its base."""

    template: PromptTemplate | None
    sampling: Sampling
    pool: Path | None
    """The folder that the template's selection chooses from; inside the run's folder."""
    retrieval: RetrievalSpec | None
    report: dict[str, Any]
    """Why: the candidates with their scores and prices. Goes into the scorecard as `fitted`."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One row as the adapted model will be asked it."""

    example: Example
    """The row; of methods that retrieve, with the passages before its question."""
    template: PromptTemplate | None
    """Around this row: the shots chosen for its question stand among the fixed ones, and `select` is empty."""


class Fitter(Protocol):
    """How a method chooses its prompt on validation rows, with the base as it is. Its functions load torch; nothing else
    does."""

    def searches(self, recipe: Recipe) -> bool:
        """Whether the recipe leaves anything to choose; if not, the method's `prompt` alone is it."""

    def longest_prompt(self, recipe: Recipe, row_tokens: int) -> int:
        """Tokens of the longest prompt it may ask with, where the longest row alone has `row_tokens`."""

    def fit(self, choosing: Choosing) -> Fitted:
        """The same for the same rows and recipe. Killed and called again, it asks nothing again that was answered."""

    def asked(self, fitted: Fitted, examples: Sequence[Example], choosing: Choosing) -> list[Asked]:
        """The rows as a gateway that serves `fitted` will put them to the base."""


class Contexts(Fitter, Protocol):
    """A fitter whose choice the weights are then trained with: rows are learned as they will be asked."""

    def taught(self, fitted: Fitted, parts: Splits, choosing: Choosing) -> Splits:
        """The rows as they are to be learned, watched and scored. The same for the same rows, choice and recipe."""


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
    fitter: Fitter | None = None
    """Chooses the prompt that serves, where its recipe leaves that open."""
    contexts: Contexts | None = None
    """Chooses what stands before questions, before weights are trained to read it."""
    retrieves: bool = False
    """Needs documents to search, and a store that the adapted model will search."""
    objectives: tuple[str, ...] = ("sft",)
    """The first is what it minimises unless told otherwise."""
    bits: int = 16
    """Of the base's weights while it trains."""
    classifies: bool = False
    """Trains a layer that gives labels, beside the language model."""

    @property
    def chooser(self) -> Fitter | None:
        """Whichever of both it has."""
        return self.fitter or self.contexts

    @property
    def trains(self) -> bool:
        return self.weights is not None or self.classifies

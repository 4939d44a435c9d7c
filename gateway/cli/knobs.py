"""What may be turned about a tuning, as flags: every field of a recipe, by the recipe's own names. Or a file of them.

What is left out gets a default for this data and base. Knows no queue.
"""

from __future__ import annotations

import dataclasses
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from adapters.errors import InvalidInput
from adapters.tuning.recipe import Recipe


@Parameter(name="*")
@dataclass(frozen=True, slots=True)
class Knobs:
    """What may be turned; what is left out gets a default for this data and base.

    Parameters
    ----------
    objective
        What is minimised: sft (answers), dpo (preferences), lm (plain text), classification (labels).
    epochs
        Times through the training rows.
    learning_rate
        Highest learning rate.
    batch_size
        Rows to one optimiser step.
    micro_batch_size
        Rows in memory at once.
    max_length
        Tokens to a row at most; longer rows are left out and counted.
    seed
        Decides the splits, the order and the start.
    early_stop_patience
        Epochs without a lower validation loss after which training ends.
    gradient_checkpointing
        Less memory, a third more time.
    precision
        Of weights that are tuned themselves: mixed (fp32, computed in bf16) or pure (bf16).
    rank
        LoRA rank.
    alpha
        LoRA alpha; twice the rank unless said.
    targets
        Layers that LoRA adapts: all, attention or mlp.
    variant
        plain, dora or pissa; the last two are saved as plain LoRA.
    rslora
        Scale LoRA by alpha / sqrt(rank).
    as_lora
        After full tuning: serve the change as a LoRA of this rank, instead of a base of its own.
    weights
        What continued_pretraining tunes: lora or full.
    virtual_tokens
        Length of a soft prompt.
    initial_text
        What a soft prompt starts from.
    beta
        How closely DPO keeps to the base.
    backbone
        What a head reads its features from: encoder or base.
    unfreeze_epochs
        Epochs in which the backbone of a head is tuned with it, after the head alone.
    unfreeze_learning_rate
        Highest learning rate of the backbone.
    layer_decay
        Share of the rate that each layer further down learns at.
    replay_share
        Share of the rows learned from that are the base's own answers, against forgetting.
    forgetting_budget
        Most nats per token that the loss on the base's own answers may rise.
    keep_checkpoints
        Ends of epochs that are kept as models of their own, the last so many.
    shots
        Examples in the prompt, for few_shot and many_shot; 0 chooses how many on validation rows.
    selector
        Which examples: fixed, random, balanced, knn, mmr or bm25; fitted chooses on validation rows.
    fitting_rows
        Validation rows that candidates for the prompt are scored on, at most.
    wordings
        Other system texts to try, with a line of three hyphens between them.
    when_nothing
        Where rag finds no passage: tell the model so, or refuse to answer.
    without_gold_share
        Share of the rows that rag+lora learns with passages that do not answer them.
    """

    objective: Literal["sft", "dpo", "lm", "classification"] | None = None
    epochs: int | None = None
    learning_rate: float | None = None
    batch_size: int | None = None
    micro_batch_size: int | None = None
    max_length: int | None = None
    seed: int | None = None
    early_stop_patience: int | None = None
    gradient_checkpointing: Annotated[bool | None, Parameter(negative="")] = None
    precision: Literal["mixed", "pure"] | None = None
    rank: int | None = None
    alpha: int | None = None
    targets: Literal["all", "attention", "mlp"] | None = None
    variant: Literal["plain", "dora", "pissa"] | None = None
    rslora: Annotated[bool | None, Parameter(negative="")] = None
    as_lora: int | None = None
    weights: Literal["lora", "full"] | None = None
    virtual_tokens: int | None = None
    initial_text: str | None = None
    beta: float | None = None
    backbone: Literal["encoder", "base"] | None = None
    unfreeze_epochs: int | None = None
    unfreeze_learning_rate: float | None = None
    layer_decay: float | None = None
    replay_share: float | None = None
    forgetting_budget: float | None = None
    keep_checkpoints: int | None = None
    shots: int | None = None
    selector: Literal["fitted", "fixed", "random", "balanced", "knn", "mmr", "bm25"] | None = None
    fitting_rows: int | None = None
    wordings: str | None = None
    when_nothing: Literal["tell", "refuse"] | None = None
    without_gold_share: float | None = None


NOTHING_TURNED = Knobs()


def turned(knobs: Knobs, file: Path | None) -> dict[str, Any]:
    """What was said, flags before the file. Raises InvalidInput for a file that is no TOML or names what no recipe has."""
    said = {name: value for name, value in dataclasses.asdict(knobs).items() if value is not None}
    return _read(file) | said if file is not None else said


def _read(file: Path) -> dict[str, Any]:
    try:
        found = tomllib.loads(file.read_text())
    except OSError as error:
        raise InvalidInput(f"{file} cannot be read ({error.strerror})", param="recipe") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{file} is not TOML: {error}", param="recipe") from error
    known = {field.name for field in dataclasses.fields(Recipe)}
    for name in found:
        if name not in known:
            raise InvalidInput(f"{file}: a recipe has no '{name}'; it has: {', '.join(sorted(known))}", param=name)
    return found

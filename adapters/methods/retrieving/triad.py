"""What documents are worth to a base: asked without them, with the passage that answers, and with what is found.

The distances say where the loss is: in the base's own knowledge, in the search, or in the reading of what was found. A
passage drawn at random is the control: what it does, any text before a question does. Knows no way of searching.
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Sequence
from typing import Any

from adapters.conversation import Example
from adapters.evaluation.scorecard import mean_of, paired
from adapters.methods.contract import Asked, Choosing
from adapters.methods.retrieving.contexts import Shelf
from adapters.methods.retrieving.cuts import Key
from adapters.methods.trials import Candidate, Trials
from adapters.retrieval.gold import holds

ARMS = ("closed_book", "oracle_passage", "retrieved_passages", "random_passages")
DISTANCES = {
    "headroom": ("oracle_passage", "closed_book"),
    "gain": ("retrieved_passages", "closed_book"),
    "retrieval_loss": ("oracle_passage", "retrieved_passages"),
    "any_text": ("random_passages", "closed_book"),
}
"""Each the first arm's score less the second's, on the same rows."""


def triad(choosing: Choosing, shelf: Shelf, rows: Sequence[Example], found: Sequence[Sequence[Key]]) -> dict[str, Any]:
    """Scores of the arms on the rows that a passage answers. `found`: what a gateway would show before each row.

    `answer_held` is the share of answers in which the wanted one stands: far above the score, the base knows what to say and
    not how, which shots or training teach. Without such rows there is nothing to tell apart, and it says only that.
    """
    answers = shelf.gold(rows)
    told = [at for at, gold in enumerate(answers) if gold]
    said: dict[str, Any] = {"n": len(told), "without_answer": len(rows) - len(told)}
    if not told:
        return said
    seed = choosing.ground.recipe.seed
    dice = random.Random(seed)  # noqa: S311 - a control, not a secret
    keys = [piece.key for piece in shelf.cut.pieces if piece.key not in shelf.barred]
    arms: dict[str, list[Example]] = {
        "closed_book": [rows[at] for at in told],
        "oracle_passage": [shelf.shown(rows[at], answers[at][:1]) for at in told],
        "retrieved_passages": [shelf.shown(rows[at], found[at]) for at in told],
        "random_passages": [shelf.shown(rows[at], _random(keys, len(found[at]) or 1, answers[at], dice)) for at in told],
    }
    asked = dataclasses.replace(choosing, validation=[rows[at] for at in told])
    trials = Trials(asked, len(told))
    template = choosing.ground.template
    values: dict[str, list[float]] = {}
    for arm in ARMS:
        put = [Asked(example, template) for example in arms[arm]]
        (trial,) = trials.stage([Candidate(arm.replace("_", " "), lambda examples, put=put: put[: len(examples)])])  # type: ignore[misc]
        values[arm] = trial.values
        held = [float(holds(answer, rows[at].answer)) for at, answer in zip(told, trial.answers, strict=True)]
        said[arm] = mean_of(trial.values, seed).to_json() | {
            "answer_held": mean_of(held, seed).to_json(), "prompt_tokens": round(trial.prompt_tokens, 1),
        }  # fmt: skip
    differences = {
        name: paired([one - other for one, other in zip(values[high], values[low], strict=True)], [1] * len(told), seed)
        for name, (high, low) in DISTANCES.items()
    }
    residual = mean_of([1 - value for value in values["oracle_passage"]], seed)
    distances = {name: difference.to_json() for name, difference in (differences | {"residual": residual}).items()}
    return said | {"metric": trials.metric} | distances


def _random(keys: Sequence[Key], passages: int, but: Sequence[Key], dice: random.Random) -> list[Key]:
    """As many as were found, none of which answers."""
    others = [key for key in dice.sample(keys, min(len(keys), passages + len(but))) if key not in but]
    return others[:passages]

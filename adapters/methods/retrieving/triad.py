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
from adapters.evaluation.loss import nats_per_token
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
"""Each the first arm's score less the second's, on the same rows; of the loss, the second's less the first's."""


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
    dice = random.Random(choosing.ground.recipe.seed)  # noqa: S311 - a control, not a secret
    keys = [piece.key for piece in shelf.cut.pieces if piece.key not in shelf.barred]
    arms: dict[str, list[Example]] = {
        "closed_book": [rows[at] for at in told],
        "oracle_passage": [shelf.shown(rows[at], answers[at][:1]) for at in told],
        "retrieved_passages": [shelf.shown(rows[at], found[at]) for at in told],
        "random_passages": [shelf.shown(rows[at], _random(keys, len(found[at]) or 1, answers[at], dice)) for at in told],
    }
    put = {arm: [Asked(example, choosing.ground.template) for example in arms[arm]] for arm in ARMS}
    scored = _scores(dataclasses.replace(choosing, validation=[rows[at] for at in told]), put)
    return said | scored | _losses(choosing, put)


def _scores(choosing: Choosing, put: dict[str, list[Asked]]) -> dict[str, Any]:
    """By arm, and by distance between two."""
    seed, n = choosing.ground.recipe.seed, len(choosing.validation)
    trials = Trials(choosing, n)
    said: dict[str, Any] = {"metric": trials.metric}
    values: dict[str, list[float]] = {}
    for arm, asked in put.items():
        (trial,) = trials.stage([Candidate(arm.replace("_", " "), lambda rows, asked=asked: asked[: len(rows)])])  # type: ignore[misc]
        values[arm] = trial.values
        held = [float(holds(answer, row.answer)) for answer, row in zip(trial.answers, choosing.validation, strict=True)]
        said[arm] = mean_of(trial.values, seed).to_json() | {
            "answer_held": mean_of(held, seed).to_json(), "prompt_tokens": round(trial.prompt_tokens, 1),
        }  # fmt: skip
    for name, (high, low) in DISTANCES.items():
        said[name] = paired([a - b for a, b in zip(values[high], values[low], strict=True)], [1] * n, seed).to_json()
    return said | {"residual": mean_of([1 - value for value in values["oracle_passage"]], seed).to_json()}


def _losses(choosing: Choosing, put: dict[str, list[Asked]]) -> dict[str, Any]:
    """How much less surprised by the wanted answers the base is with documents: tells more than the scores where it is small,
    and knows what to say without saying it."""
    if choosing.losses is None:
        return {}
    found = {arm: choosing.losses(asked) for arm, asked in put.items()}
    tokens = [row.tokens for row in found["closed_book"]]
    said: dict[str, Any] = {arm: nats_per_token(rows) for arm, rows in found.items()}
    for name, (high, low) in DISTANCES.items():
        less = [b.nats - a.nats for a, b in zip(found[high], found[low], strict=True)]
        said[name] = paired(less, tokens, choosing.ground.recipe.seed).to_json()
    return {"nats_per_token": said}


def _random(keys: Sequence[Key], passages: int, but: Sequence[Key], dice: random.Random) -> list[Key]:
    """As many as were found, none of which answers."""
    others = [key for key in dice.sample(keys, min(len(keys), passages + len(but))) if key not in but]
    return others[:passages]

"""What tuning makes a model forget, and replay, which fights it.

Before anything is tuned the base answers general prompts. How much less likely the tuned model finds those answers, in
nats per token, is an estimate of the divergence KL(base ‖ tuned) on what the base says: cross-entropy minus entropy (Cover
and Thomas, Elements of Information Theory, 2.3). Beside it some questions with one right answer. Knows no method.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adapters.data.tokens import Encoded
from adapters.evaluation.completer import LocalCompleter
from adapters.evaluation.general import MEASURED, QUESTIONS, REPLAYED, is_right
from adapters.evaluation.loss import RowLoss, measure, nats_per_token
from adapters.evaluation.scorecard import paired, wilson
from adapters.evaluation.speaking import own_answers
from adapters.registry import write_whole

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

REFERENCES, REPLAY = "references.json", "replayed.json"
LONGEST_ANSWER_TOKENS, LONGEST_QUESTION_TOKENS = 32, 8


@dataclass(frozen=True, slots=True)
class References:
    """What the base said before, and how it stood."""

    rows: list[Encoded]
    losses: list[RowLoss]
    """The base's own, on its own words."""
    right: list[bool]
    """Which of the questions the base answered."""


class Watch:
    """Measures one run's forgetting. `model` in its functions is whatever the base has become."""

    def __init__(self, folder: Path, tokenizer: PreTrainedTokenizerBase, between: Callable[[], None]) -> None:
        self._file, self._tokenizer, self._between = folder / REFERENCES, tokenizer, between

    def begin(self, base: Any) -> None:
        """Lets the untouched base speak, once: a killed run finds in its folder what it said."""
        if self._file.is_file():
            return
        rows = own_answers(base, self._tokenizer, MEASURED, longest=LONGEST_ANSWER_TOKENS, between=self._between)
        rows = [row for row in rows if row.supervised]
        said = References(rows, self._losses(base, rows), self._right(base))
        write_whole(self._file, json.dumps(dataclasses.asdict(said)))

    def rise(self, model: Any) -> float:
        """Nats per token, above what the base had."""
        references = self._read()
        return nats_per_token(self._losses(model, references.rows)) - nats_per_token(references.losses)

    def end(self, model: Any, seed: int) -> dict[str, Any]:
        """For the scorecard: the rise with its interval over prompts, and the questions before and after."""
        references = self._read()
        now, right = self._losses(model, references.rows), self._right(model)
        tokens = [loss.tokens for loss in references.losses]
        rise = paired([after.nats - before.nats for before, after in zip(references.losses, now, strict=True)], tokens, seed)
        return {
            "nats_per_token": rise.mean,
            "interval": list(rise.interval),
            "before": nats_per_token(references.losses),
            "after": nats_per_token(now),
            "n": len(tokens),
            "questions": {
                "before": sum(references.right) / len(QUESTIONS),
                "after": sum(right) / len(QUESTIONS),
                "interval": list(wilson(sum(right), len(QUESTIONS))),
                "n": len(QUESTIONS),
            },
        }

    def _read(self) -> References:
        raw = json.loads(self._file.read_bytes())
        return References([Encoded(**row) for row in raw["rows"]], [RowLoss(**loss) for loss in raw["losses"]], raw["right"])

    def _losses(self, model: Any, rows: Sequence[Encoded]) -> list[RowLoss]:
        return measure(model, rows, next(model.parameters()).device, between=self._between)

    def _right(self, model: Any) -> list[bool]:
        ask = LocalCompleter(model, self._tokenizer, max_new_tokens=LONGEST_QUESTION_TOKENS, between=self._between)
        answers = ask([[{"role": "user", "content": question}] for question, _ in QUESTIONS])
        return [is_right(answer, words) for answer, (_, words) in zip(answers, QUESTIONS, strict=True)]


def replayed(
    folder: Path, base: Any, tokenizer: PreTrainedTokenizerBase, *, share: float, beside: int, seed: int,
    between: Callable[[], None] = lambda: None,
) -> list[Encoded]:  # fmt: skip
    """The base's own answers, so many that they are this share of all rows learned from; made once for a run.

    Rows of the model's own distribution hold it there (self-distillation; Li and Hoiem, 2016, arXiv 1606.09282).
    """
    file = folder / REPLAY
    if not file.is_file():
        count = math.ceil(beside * share / (1 - share))
        prompts = [REPLAYED[number % len(REPLAYED)] for number in range(count)]
        rows = own_answers(base, tokenizer, prompts, longest=LONGEST_ANSWER_TOKENS, sampled_with=seed, between=between)
        write_whole(file, json.dumps([dataclasses.asdict(row) for row in rows if row.supervised]))
    return [Encoded(**row) for row in json.loads(file.read_bytes())]

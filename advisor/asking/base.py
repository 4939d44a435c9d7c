"""The base as the advisor asks it: opened once, greedy answers, losses of answers and of plain text.

What was answered is not asked again. Knows no question and no right answer.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from adapters import bases
from adapters.conversation import DOCUMENT, Example, Message, WireMessage
from adapters.data.tokens import IGNORED, Encoded, encode, encode_documents, prompt_ids
from adapters.evaluation.loss import RowLoss
from adapters.prompts import PromptTemplate
from advisor.rows.counting import Counting

SPEED_READ = {"cpu": 800.0, "cuda": 60_000.0}
"""Prompt tokens a second of a base of NOMINAL_PARAMS, read many at once: on two cores in bf16, of which one alone read 350 to
580 while others used it too; on one large GPU."""
NOMINAL_PARAMS = 135e6
MADE_WEIGHT = {"cpu": 5.0, "cuda": 20.0}
"""What a token that is made costs, beside one that is read, sixteen answers at once."""
LOOKING_BACK = {"cpu": 0.01, "cuda": 0.0}
"""What it costs besides, for each token before it."""
LONGEST_TEXT = 512


class Base:
    """A model folder; the tokenizer is opened at once, the weights when they are first needed."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.facts = folder, bases.facts(folder)
        self.tokenizer = bases.open_tokenizer(folder)
        self._answers: dict[str, str] = {}

    @cached_property
    def device(self) -> Any:
        from adapters.tuning import device

        return device.device()

    @cached_property
    def model(self) -> Any:
        from adapters.tuning import device

        return bases.open_model(self.folder, device.dtype()).to(self.device).eval()

    def tokens_in(self, seconds: float) -> int:
        """How many prompt tokens are read in so many seconds on a machine as it is assumed to be; made ones weigh more."""
        return round(seconds * SPEED_READ[self._kind] * NOMINAL_PARAMS / self.facts.params)

    def cost_of_making(self, tokens: int, before: int) -> float:
        """In prompt tokens, what an answer of so many tokens costs after so many."""
        return tokens * (MADE_WEIGHT[self._kind] + LOOKING_BACK[self._kind] * before)

    @property
    def _kind(self) -> str:
        return "cuda" if self.device.type == "cuda" else "cpu"

    def sizes(self, texts: Sequence[str]) -> list[int]:
        return [len(ids) for ids in self.tokenizer(list(texts), add_special_tokens=False)["input_ids"]] if texts else []

    def counting(self) -> Counting:
        word = Example((Message("user", "x"), Message("assistant", "x")), 1, (1,))
        frame = len(encode(self.tokenizer, word).input_ids) - 2 * self.sizes(["x"])[0]
        return Counting(self.sizes, max(0, frame), self.facts.context)

    def prompt(self, said: Sequence[WireMessage]) -> list[int]:
        return prompt_ids(self.tokenizer, said)

    def cannot_read(self, examples: Sequence[Example]) -> list[bool]:
        """Of each row, whether it is longer than the base reads, or holds text that the tokenizer takes for structure."""
        texts = ["\n".join(message.content for message in example.messages) for example in examples]
        structure, most = self.tokenizer.all_special_tokens, self.facts.context - self.counting().frame
        return [
            size > most or any(token in text for token in structure)
            for text, size in zip(texts, self.sizes(texts), strict=True)
        ]

    def answers(
        self, conversations: Sequence[list[WireMessage]], *, most: int, choices: Sequence[str] = ()
    ) -> list[str]:  # fmt: skip
        """Of at most so many tokens, in the order of the conversations; of nothing but `choices` where there are any."""
        from adapters.evaluation.completer import LocalCompleter

        keys = [json.dumps([said, most, list(choices)], sort_keys=True) for said in conversations]
        fresh = {key: said for key, said in zip(keys, conversations, strict=True) if key not in self._answers}
        if fresh:
            complete = LocalCompleter(self.model, self.tokenizer, max_new_tokens=most, choices=choices)
            self._answers |= dict(zip(fresh, complete(list(fresh.values())), strict=True))
        return [self._answers[key] for key in keys]

    def losses(self, examples: Sequence[Example], templates: Sequence[PromptTemplate | None]) -> list[RowLoss]:
        """Of each row's last answer under its template."""
        from adapters.evaluation.loss import measure

        last = [dataclasses.replace(example, supervised=(len(example.messages) - 1,)) for example in examples]
        rows = [encode(self.tokenizer, row, template) for row, template in zip(last, templates, strict=True)]
        return measure(self.model, rows, self.device)

    def text_losses(self, texts: Sequence[str]) -> list[RowLoss]:
        """Of plain texts, cut to LONGEST_TEXT tokens; nothing that ends a text is foretold."""
        from adapters.evaluation.loss import measure

        rows = [self._plain(text) for text in texts]
        return measure(self.model, rows, self.device)

    def _plain(self, text: str) -> Encoded:
        found = encode_documents(self.tokenizer, [Example((Message(DOCUMENT, text),), 1, (0,))], LONGEST_TEXT)
        if not found:
            return Encoded([0, 0], [IGNORED, IGNORED], 1, 0)
        row, end = found[0], self.tokenizer.eos_token_id
        if row.input_ids[-1] == end and len(row.input_ids) > 2:
            return Encoded(row.input_ids[:-1], row.labels[:-1], row.line, row.answer_bytes)
        return row

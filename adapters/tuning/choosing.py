"""A run whose method chooses its prompt: candidates on validation rows, then the chosen one on held-out rows.

The base answers all of them, and stays as it is. What was chosen lies in the run's folder. Knows no candidate.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adapters import embedded, prompts
from adapters.adapted_model import RetrievalSpec, Sampling
from adapters.conversation import WireMessage, wire
from adapters.data.tokens import encode
from adapters.errors import InvalidInput
from adapters.evaluation.completer import LocalCompleter
from adapters.evaluation.loss import RowLoss, measure
from adapters.evaluation.scorecard import Item, sample, score_asked
from adapters.methods.contract import Asked, Choosing, Fitted, Fitter
from adapters.methods.table import method
from adapters.prompts import render
from adapters.registry import write_whole
from adapters.tuning.making import Making
from adapters.tuning.request import read_request

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from adapters.retrieval.encoder import Encoder

FITTED = "fitted.json"


class ChoosingMaking(Making):
    _encoder: Encoder | None = None
    _fitted: Fitted | None = None

    def choose(self) -> Fitted:
        """Read where it was chosen before."""
        file = self.folder / FITTED
        if not file.is_file():
            write_whole(file, json.dumps(_to_json(self._fitter().fit(self._choosing()), self.folder), indent=1))
            self._fitted = None
        if self._fitted is None:
            self._fitted = _from_json(json.loads(file.read_bytes()), self.folder)
        return self._fitted

    def adapted(self) -> list[Item]:
        fitted, scored = self.choose(), self.material.scored
        asked = self._fitter().asked(fitted, scored, self._choosing())
        losses = self._losses(asked)
        answers = self._complete([render(one.template, wire(one.example.prompt)) for one in asked], fitted.sampling.choices)
        return score_asked(answers, losses, scored)

    @property
    def _encoder_folder(self) -> Path:
        return read_request(self.folder).encoder or embedded.encoder_folder()

    def _fitter(self) -> Fitter:
        fitter = method(self.recipe.method).chooser
        if fitter is None:
            raise InvalidInput(f"{self.recipe.method} chooses nothing", param="method")
        return fitter

    def _choosing(self) -> Choosing:
        material, recipe = self.material, self.recipe
        validation = sample(material.validation.examples, len(material.validation.examples), recipe.seed)
        longest = min(recipe.max_length, material.facts.context)
        return Choosing(
            ground=material.ground, validation=validation, complete=self._complete, encode=self._encode,
            prompt_tokens=longest - material.answer_tokens, progress=self.progress, encoder_folder=self._encoder_folder,
            losses=self._losses,
        )  # fmt: skip

    def _complete(self, conversations: Sequence[list[WireMessage]], choices: Sequence[str] = ()) -> list[str]:
        completer = LocalCompleter(
            self.base(), self.material.tokenizer, max_new_tokens=self.material.answer_tokens,
            between=self.progress.raise_if_stopped, choices=choices,
        )  # fmt: skip
        return completer(conversations)

    def _losses(self, asked: Sequence[Asked]) -> list[RowLoss]:
        from adapters.tuning import device

        rows = [encode(self.material.tokenizer, one.example, one.template) for one in asked]
        return measure(self.base(), rows, device.device(), between=self.progress.raise_if_stopped)

    def _encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        if self._encoder is None:
            from adapters.retrieval.encoder import Encoder

            self._encoder = Encoder(self._encoder_folder)
        return self._encoder.encode(texts)


def _to_json(fitted: Fitted, folder: Path) -> dict[str, Any]:
    pool = str(fitted.pool.relative_to(folder)) if fitted.pool is not None else None  # a run's folder can be moved
    template = dataclasses.asdict(fitted.template) if fitted.template is not None else None
    retrieval = dataclasses.asdict(fitted.retrieval) if fitted.retrieval is not None else None
    sampling = dataclasses.asdict(fitted.sampling)
    return {"template": template, "sampling": sampling, "pool": pool, "retrieval": retrieval, "report": fitted.report}


def _from_json(raw: dict[str, Any], folder: Path) -> Fitted:
    listed = {name: tuple(raw["sampling"][name]) for name in ("stop", "choices")}
    return Fitted(
        template=prompts.from_json(raw["template"]) if raw["template"] else None,
        sampling=Sampling(**raw["sampling"] | listed),
        pool=folder / raw["pool"] if raw["pool"] else None,
        retrieval=RetrievalSpec(**raw["retrieval"]) if raw["retrieval"] else None,
        report=raw["report"],
    )

"""A run that trains a head: features once, the head alone, then, if asked, the backbone with it.

The head first, or a random one would tear the features apart (Kumar et al., 2022, arXiv 2202.10054); then from the last
layer down, one more each epoch, slower the deeper (Howard and Ruder, 2018, arXiv 1801.06146). Knows no registry.
"""

from __future__ import annotations

import copy
import dataclasses
import json
import math
import os
import shutil
from collections import Counter
from typing import TYPE_CHECKING, Any

from adapters.conversation import Example
from adapters.data.tokens import encode_all
from adapters.errors import InvalidInput
from adapters.evaluation.loss import RowLoss
from adapters.evaluation.metrics import METRICS
from adapters.evaluation.scorecard import Item
from adapters.registry import write_whole
from adapters.tuning.making import ADAPTER, ADAPTER_REF, BEST_STEP, Making, place
from adapters.tuning.recipe import Recipe

if TYPE_CHECKING:
    import torch
    from torch import nn

    from adapters.classifier import Backbone, Classifier
    from adapters.tuning.objectives import Labelled

FEATURES, UNFROZEN = "features.safetensors", "unfrozen"
FEWEST_ROWS_A_LABEL = 2
UNSEEN = 1e-6
"""The probability of a label that no training row has."""


class HeadMaking(Making):
    _classifier: Classifier | None = None

    def adapted(self) -> list[Item]:
        if self._classifier is None:
            self.reopen()
        classifier, material = self._classifier, self.material
        assert classifier is not None
        found = classifier.probabilities([example.question for example in material.scored])
        rows, _ = encode_all(material.tokenizer, material.scored, material.template, material.facts.context)
        return [_item(*row, classifier.labels) for row in zip(material.scored, rows, found, strict=True)]

    def reopen(self) -> None:
        from adapters.classifier import open_classifier

        self._classifier = open_classifier(place(self.folder, BEST_STEP) / ADAPTER, self.material.ground.base_folder)

    def train(self) -> None:
        from adapters.classifier import HeadModel, open_backbone
        from adapters.tuning.trainer import train

        self._model = None  # the base answered as it is, and is not needed to train a head
        labels = _labels(self.material.train.examples)
        backbone = open_backbone(self.recipe.backbone, self.material.ground.base_folder)
        train_rows, validation_rows = self._rows_with_features(backbone, labels)
        mean, spread = _standard(train_rows)
        model = HeadModel(backbone.width, len(labels))
        scaled = [[_scaled(row, mean, spread) for row in rows] for rows in (train_rows, validation_rows)]
        outcome = train(model, scaled[0], scaled[1], self.recipe, self.progress)
        self.progress.event("trained", **dataclasses.asdict(outcome))
        _unscale(model.head, mean, spread)
        own = None
        if self.recipe.unfreeze_epochs:
            own = self._unfreeze(backbone, model.head, train_rows, validation_rows, outcome.validation_loss)
        self._keep(backbone if own is None else own.backbone, (own or model).head, labels, validation_rows, own is not None)

    def _rows_with_features(self, backbone: Backbone, labels: list[str]) -> tuple[list[Labelled], list[Labelled]]:
        """Computed once: a killed run finds them in its folder."""
        from safetensors.torch import load_file, save_file

        from adapters.tuning.objectives import Labelled

        parts = {"train": self.material.train.examples, "validation": self.material.validation.examples}
        known = {label: number for number, label in enumerate(labels)}
        parts = {part: [example for example in rows if example.answer in known] for part, rows in parts.items()}
        if not parts["validation"]:
            raise InvalidInput("no validation row has a label that a training row has; bring more rows", param="training_file")
        file = self.folder / FEATURES
        if not file.is_file():
            found = {part: backbone.features([row.question for row in rows]) for part, rows in parts.items()}
            self.progress.event("features", rows=sum(map(len, parts.values())), width=backbone.width)
            save_file(found, file.with_name(f".{FEATURES}"))
            os.replace(file.with_name(f".{FEATURES}"), file)
        stored = load_file(file)
        train, validation = (
            [Labelled(row.question, known[row.answer], vector) for row, vector in zip(parts[part], stored[part], strict=True)]
            for part in ("train", "validation")
        )
        return train, validation

    def _unfreeze(
        self, backbone: Backbone, head: nn.Linear, train_rows: list[Labelled], validation_rows: list[Labelled], before: float
    ) -> Any:
        """The head with its backbone tuned; None where that did not lower the validation loss."""
        from adapters.classifier import HeadModel
        from adapters.tuning.trainer import train

        model = HeadModel(backbone.width, head.out_features, backbone.float())
        model.head.load_state_dict(head.state_dict())
        recipe = dataclasses.replace(
            self.recipe, epochs=self.recipe.unfreeze_epochs, learning_rate=self.recipe.unfreeze_learning_rate,
            batch_size=16, micro_batch_size=8, early_stop_patience=2,
        )  # fmt: skip
        rows = [[dataclasses.replace(row, features=None) for row in part] for part in (train_rows, validation_rows)]

        def rate(parameter: str, epoch: int, recipe: Recipe) -> float:
            depth = 0 if parameter.startswith("head.") else backbone.depth(parameter)
            return recipe.layer_decay**depth if depth <= epoch else 0.0

        outcome = train(model, rows[0], rows[1], recipe, self.progress.within(UNFROZEN), rate=rate)
        self.progress.event("unfrozen", **dataclasses.asdict(outcome), before=before)
        return model if outcome.validation_loss < before else None

    def _keep(self, backbone: Any, head: nn.Linear, labels: list[str], validation_rows: list[Labelled], is_own: bool) -> None:
        import torch

        from adapters.classifier import PROOFS, Card, Classifier, open_classifier, save_classifier

        head = copy.deepcopy(head).cpu()
        features = backbone.features([row.text for row in validation_rows])
        wanted = torch.tensor([row.label for row in validation_rows])
        temperature = _calibrate(head, features, wanted)
        card = Card(labels, self.recipe.backbone, is_own, backbone.width, backbone.digest, [])
        texts = [row.text for row in validation_rows[:PROOFS]]
        found = Classifier(card, head, backbone).of_features(features[: len(texts)])
        proofs = [{"text": text, "probabilities": values} for text, values in zip(texts, found, strict=True)]
        self.progress.event("calibrated", temperature=round(temperature, 3), rows=len(validation_rows))
        beside = place(self.folder, BEST_STEP).with_name(".best")
        shutil.rmtree(beside, ignore_errors=True)
        (beside / ADAPTER).mkdir(parents=True)
        ref = save_classifier(beside / ADAPTER, dataclasses.replace(card, proofs=proofs), head, backbone if is_own else None)
        write_whole(beside / ADAPTER_REF, json.dumps(dataclasses.asdict(ref)))
        self._classifier = open_classifier(beside / ADAPTER, self.material.ground.base_folder)
        os.rename(beside, place(self.folder, BEST_STEP))


def _labels(examples: list[Example]) -> list[str]:
    counted = Counter(example.answer for example in examples)
    if len(counted) < 2:
        only = next(iter(counted))
        raise InvalidInput(f"a head tells labels apart, and every training row has the label '{only}'", param="method")
    rare = sorted(label for label, count in counted.items() if count < FEWEST_ROWS_A_LABEL)
    if len(rare) > len(counted) // 2:
        raise InvalidInput(
            f"{len(rare)} of {len(counted)} labels have a single training row, such as '{rare[0][:60]}': are these labels? "
            "A head needs at least two rows of each; take lora for free answers",
            param="method",
        )
    return sorted(counted)


def _standard(rows: list[Labelled]) -> tuple[torch.Tensor, torch.Tensor]:
    import torch

    features = torch.stack([row.features for row in rows if row.features is not None])
    return features.mean(dim=0), features.std(dim=0, correction=0).clamp_min(1e-6)


def _scaled(row: Labelled, mean: torch.Tensor, spread: torch.Tensor) -> Labelled:
    assert row.features is not None
    return dataclasses.replace(row, features=(row.features - mean) / spread)


def _unscale(head: nn.Linear, mean: torch.Tensor, spread: torch.Tensor) -> None:
    """The same head for features as they come."""
    import torch

    with torch.no_grad():
        head.cpu()
        head.weight.div_(spread)
        head.bias.sub_(head.weight @ mean)


def _calibrate(head: nn.Linear, features: torch.Tensor, wanted: torch.Tensor) -> float:
    """Divides the logits by the temperature that makes the validation labels likeliest (Guo et al., 2017, arXiv 1706.04599)."""
    import torch
    from torch.nn.functional import cross_entropy

    with torch.no_grad():
        logits = head(features)
        tried = [math.exp(step / 20) for step in range(-40, 41)]
        best = min(tried, key=lambda temperature: cross_entropy(logits / temperature, wanted).item())
        head.weight.div_(best)
        head.bias.div_(best)
    return best


def _item(example: Example, row: Any, probabilities: list[float], labels: list[str]) -> Item:
    likeliest = labels[max(range(len(labels)), key=probabilities.__getitem__)]
    right = probabilities[labels.index(example.answer)] if example.answer in labels else UNSEEN
    values = {name: rate(likeliest, example.answer) for name, rate in METRICS.items()}
    # as many tokens as the base needed for the label, so that the two losses are of the same thing
    loss = RowLoss(-math.log(max(right, UNSEEN)), row.supervised, row.answer_bytes)
    return Item(example.line, example.answer, likeliest, values, loss)

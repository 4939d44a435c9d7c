"""A backbone that turns texts into features, and one linear layer on them that gives labels: trained here, served anywhere.

    head.safetensors   weight (labels, features), bias (labels,), fp32; standardisation and temperature are in them
    head.json          the labels, what the features come from, and some texts with the probabilities they must get
    backbone/          only where the backbone was tuned too

Knows no run, no engine and no request.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from adapters import bases, embedded
from adapters.adapted_model import ADAPTER_KINDS, AdapterRef
from adapters.errors import Unproven, Unservable
from adapters.registry import file_digest, write_whole
from adapters.retrieval.encoder import Encoder

HEAD, HEAD_CARD, OWN_BACKBONE = ADAPTER_KINDS["head"], "head.json", "backbone"
TEXTS_AT_ONCE = 16
LONGEST_TEXT_TOKENS = 512
"""What the base reads of a text; the sentence encoder has a window of its own."""
PROOFS, PROOF_TOLERANCE = 8, 0.02
LAYER = re.compile(r"\blayers?\.(\d+)\.")


@dataclass(frozen=True, slots=True)
class Card:
    """What stands in head.json."""

    labels: list[str]
    reads: str
    """`encoder` or `base`."""
    is_own: bool
    """Whether the backbone was tuned and lies beside the head."""
    features: int
    backbone: str
    """Digest of what the features come from; another backbone's would mean something else."""
    proofs: list[dict[str, Any]]
    """`text` and `probabilities`, recorded when it was made."""


class Backbone(nn.Module):
    """Texts to features, (texts, width), fp32, differentiable where its parameters are."""

    width: int
    digest: str

    def features(self, texts: Sequence[str]) -> torch.Tensor:
        """Without gradients, some at a time, longest first."""
        self.eval()
        found = torch.zeros(len(texts), self.width)
        order = sorted(range(len(texts)), key=lambda index: -len(texts[index]))
        with torch.inference_mode():
            for start in range(0, len(order), TEXTS_AT_ONCE):
                chosen = order[start : start + TEXTS_AT_ONCE]
                found[chosen] = self([texts[index] for index in chosen]).cpu()
        return found.clone()

    @property
    def layers(self) -> int:
        return 1 + max((int(hit[1]) for name, _ in self.named_parameters() if (hit := LAYER.search(name))), default=-1)

    def depth(self, parameter: str) -> int:
        """Blocks above this parameter's: 0 for the last and what follows it, `layers` for the embeddings."""
        block = LAYER.search(parameter)
        if block is not None:
            return self.layers - 1 - int(block[1])
        return self.layers if "embed" in parameter else 0


class EncoderBackbone(Backbone):
    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.encoder = Encoder(folder)
        self.module = self.encoder.module
        self.width = self.encoder.width
        self.digest = _weights_digest(folder)

    def forward(self, texts: Sequence[str]) -> torch.Tensor:
        return self.encoder.embed(texts)

    def save(self, folder: Path) -> None:
        self.encoder.save(folder)


class BaseBackbone(Backbone):
    """The mean of a causal base's last hidden states over the text's tokens."""

    def __init__(self, folder: Path, dtype: torch.dtype) -> None:
        super().__init__()
        self.tokenizer = bases.open_tokenizer(folder)
        self.causal = bases.open_model(folder, dtype)
        self.width = self.causal.config.hidden_size
        self.digest = bases.facts(folder).digest

    def forward(self, texts: Sequence[str]) -> torch.Tensor:
        device = next(self.parameters()).device
        ids = [self.tokenizer(text, truncation=True, max_length=LONGEST_TEXT_TOKENS)["input_ids"] or [0] for text in texts]
        longest = max(map(len, ids))
        # on the right: a causal model never looks there
        padded = torch.tensor([row + [0] * (longest - len(row)) for row in ids], device=device)
        seen = torch.tensor([[1.0] * len(row) + [0.0] * (longest - len(row)) for row in ids], device=device).unsqueeze(-1)
        states = self.causal.model(input_ids=padded, use_cache=False).last_hidden_state.float()
        mean: torch.Tensor = (states * seen).sum(dim=1) / seen.sum(dim=1)
        return mean

    def save(self, folder: Path) -> None:
        self.causal.save_pretrained(folder, max_shard_size="100TB")
        self.tokenizer.save_pretrained(folder)


class HeadModel(nn.Module):
    """Logits of the labels for rows that bring a text or features."""

    def __init__(self, width: int, labels: int, backbone: Backbone | None = None) -> None:
        super().__init__()
        self.head = nn.Linear(width, labels)
        nn.init.zeros_(self.head.weight)  # every label equally likely, whatever the seed
        nn.init.zeros_(self.head.bias)
        self.backbone = backbone

    def forward(self, rows: Sequence[Any]) -> torch.Tensor:
        if self.backbone is not None:
            return self.head(self.backbone([row.text for row in rows]))  # type: ignore[no-any-return]
        device = self.head.weight.device
        return self.head(torch.stack([row.features for row in rows]).to(device))  # type: ignore[no-any-return]


class Classifier:
    def __init__(self, card: Card, head: nn.Linear, backbone: Backbone) -> None:
        self.card, self.head, self.backbone = card, head, backbone

    @property
    def labels(self) -> list[str]:
        return self.card.labels

    def probabilities(self, texts: Sequence[str]) -> list[list[float]]:
        """For every text the probability of each label, in the order of `labels`."""
        return self.of_features(self.backbone.features(texts))

    def of_features(self, features: torch.Tensor) -> list[list[float]]:
        """The same from features that the backbone gave before."""
        with torch.inference_mode():
            found: list[list[float]] = self.head(features).softmax(dim=-1).tolist()
        return found


def open_backbone(reads: str, base_folder: Path, own: Path | None = None) -> Backbone:
    """The sentence encoder or the base; from `own`, where it was tuned for one head."""
    from adapters.tuning import device

    opened: Backbone = (
        EncoderBackbone(own or embedded.encoder_folder())
        if reads == "encoder"
        else BaseBackbone(own or base_folder, device.dtype())
    )
    if own is not None:
        opened.digest = _weights_digest(own)
    return opened.to(device.device())


def save_classifier(folder: Path, card: Card, head: nn.Linear, own: Any | None = None) -> AdapterRef:
    """Writes the files into the folder; `own` is the backbone where it was tuned."""
    from safetensors.torch import save_file

    if own is not None:
        own.save(folder / OWN_BACKBONE)
        card = replace(card, is_own=True, backbone=_weights_digest(folder / OWN_BACKBONE))
    tensors = {"weight": head.weight.detach().float().cpu().contiguous(), "bias": head.bias.detach().float().cpu().contiguous()}
    # the digest of this file stands for all of it, so it names the backbone
    save_file(tensors, folder / HEAD, metadata={"backbone": card.backbone, "labels": json.dumps(card.labels)})
    write_whole(folder / HEAD_CARD, json.dumps(asdict(card), indent=1))
    for file in folder.rglob("*"):
        file.chmod(0o755 if file.is_dir() else 0o644)
    return AdapterRef("head", file_digest(folder / HEAD))


def read_card(folder: Path) -> Card:
    try:
        return Card(**json.loads((folder / HEAD_CARD).read_bytes()))
    except (OSError, ValueError, TypeError) as error:
        raise Unservable(f"{folder / HEAD_CARD} cannot be read ({error}); make the head again", param="adapter") from error


def open_classifier(folder: Path, base_folder: Path, shared: Backbone | None = None) -> Classifier:
    """`shared` is a backbone that is open already and whose digest the card names.

    Raises Unproven where it does not answer as recorded, Unservable where the backbone is another than it was trained on.
    """
    from safetensors.torch import load_file

    card = read_card(folder)
    backbone = shared or open_backbone(card.reads, base_folder, folder / OWN_BACKBONE if card.is_own else None)
    if backbone.digest != card.backbone:
        raise Unservable("the head was trained on the features of another backbone; train it again", param="adapter")
    head = nn.Linear(card.features, len(card.labels))
    head.load_state_dict(load_file(folder / HEAD))
    classifier = Classifier(card, head.eval(), backbone)
    found = classifier.probabilities([proof["text"] for proof in card.proofs])
    pairs = [
        pair for now, proof in zip(found, card.proofs, strict=True) for pair in zip(now, proof["probabilities"], strict=True)
    ]
    worst = max((abs(now - recorded) for now, recorded in pairs), default=0.0)
    if worst > PROOF_TOLERANCE:
        raise Unproven(f"the head gives probabilities that are up to {worst:.3f} off those it was trained to give")
    return classifier


def _weights_digest(folder: Path) -> str:
    digests = [file_digest(file) for file in sorted(folder.rglob("*.safetensors"))]
    return hashlib.sha256("".join(digests).encode()).hexdigest()

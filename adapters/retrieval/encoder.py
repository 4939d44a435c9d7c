"""Texts to vectors, and pairs of texts to scores: the one door to sentence-transformers. Knows no index and no document."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from adapters.errors import InvalidInput

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray
    from torch import nn

    Vectors = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Counted:
    """How many tokens of a text the encoder reads, those around it included, and how many beyond its window it does not."""

    read: int
    unread: int


def identity(folder: Path) -> str:
    """16 hex digits of everything in the folder that decides a vector: vectors of two encoders cannot be compared."""
    digest = hashlib.sha256()
    for file in sorted(path for path in folder.rglob("*") if path.suffix in (".json", ".txt", ".safetensors")):
        with file.open("rb") as content:
            digest.update(f"{file.relative_to(folder)}\n".encode())
            digest.update(hashlib.file_digest(content, "sha256").digest())
    return digest.hexdigest()[:16]


class Encoder:
    """A sentence-transformers model in a folder; nothing is downloaded. Loading MiniLM takes about 5 s, imports included."""

    def __init__(self, folder: Path, name: str | None = None) -> None:
        from sentence_transformers import SentenceTransformer

        self._model = SentenceTransformer(str(folder), local_files_only=True)
        self.name = name or folder.name

    @property
    def max_tokens(self) -> int:
        """The encoder's window, the tokens it puts around a text included."""
        return int(self._model.get_max_seq_length() or self._model.tokenizer.model_max_length)

    @property
    def width(self) -> int:
        return int(self._model.get_embedding_dimension())

    def encode(self, texts: Sequence[str], *, batch_size: int = 32) -> Vectors:
        """float32 of shape (len(texts), width), every row of length 1. Texts beyond the model's window are cut by it."""
        if not texts:
            return np.zeros((0, self.width), dtype=np.float32)
        vectors = self._model.encode(
            list(texts), batch_size=batch_size, normalize_embeddings=True, convert_to_numpy=True, show_progress_bar=False
        )
        return np.ascontiguousarray(vectors, dtype=np.float32)

    @property
    def module(self) -> nn.Module:
        """The transformer and what stands after it, for whoever tunes it."""
        return self._model  # type: ignore[no-any-return]

    def embed(self, texts: Sequence[str]) -> torch.Tensor:
        """(len(texts), width), fp32: what `encode` gives, differentiable, all texts at once."""
        batch = dict(self._model.preprocess(list(texts)))
        device = next(self._model.parameters()).device
        moved = {name: value.to(device) if hasattr(value, "to") else value for name, value in batch.items()}
        return self._model(moved)["sentence_embedding"].float()  # type: ignore[no-any-return]

    def save(self, folder: Path) -> None:
        self._model.save(str(folder), create_model_card=False)

    def pieces(self, texts: Sequence[str]) -> list[int]:
        """How many pieces of its vocabulary each text falls into, the window aside."""
        return [len(self._model.tokenizer.tokenize(text)) for text in texts]

    def counted(self, texts: Sequence[str]) -> list[Counted]:
        """What `encode` reads of each text, and what it leaves out."""
        around, most = self._model.tokenizer.num_special_tokens_to_add(), self.max_tokens
        sizes = [pieces + around for pieces in self.pieces(texts)]
        return [Counted(min(size, most), max(0, size - most)) for size in sizes]


class Reranker:
    """A cross-encoder, by folder or hub id: reads question and passage together, so it costs a forward pass for each."""

    def __init__(self, model: str) -> None:
        from sentence_transformers import CrossEncoder

        self._model = CrossEncoder(model, local_files_only=Path(model).is_dir())
        if self._model.num_labels != 1:
            raise InvalidInput(
                f"'{model}' gives {self._model.num_labels} numbers for a pair; a reranker gives one", param="reranker"
            )

    def scores(self, question: str, passages: Sequence[str], *, batch_size: int = 32) -> list[float]:
        """How well each passage answers the question, as the model's number through a sigmoid: 0 to 1."""
        import torch

        pairs = [(question, passage) for passage in passages]
        if not pairs:
            return []
        found = self._model.predict(pairs, batch_size=batch_size, activation_fn=torch.nn.Sigmoid(), show_progress_bar=False)
        return [float(score) for score in found]

"""Texts to vectors: the one door to sentence-transformers. Knows no index and no document."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray
    from torch import nn

    Vectors = NDArray[np.float32]


class Encoder:
    """A sentence-transformers model in a folder; nothing is downloaded. Loading MiniLM takes about 5 s, imports included."""

    def __init__(self, folder: Path) -> None:
        from sentence_transformers import SentenceTransformer

        self._model = SentenceTransformer(str(folder), local_files_only=True)

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

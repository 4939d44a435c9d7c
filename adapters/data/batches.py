"""Rows in batches: which rows go together, and one batch as tensors. Knows no model.

Rows of like length go together, so little is padded; which ones, and in what order, follows from the seed alone.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from adapters.data.tokens import IGNORED, Encoded

if TYPE_CHECKING:
    import torch

WINDOWS_A_BUCKET = 16
TOKENS_AT_ONCE = 16_384
"""Of rows that are only read; long prompts go a few at a time."""


@dataclass(frozen=True, slots=True)
class Batch:
    input_ids: torch.Tensor
    """(rows, longest), int64, padded on the right. A causal model never looks to the right, so no mask is needed."""
    labels: torch.Tensor
    """(rows, longest), int64: IGNORED wherever nothing is learned, padding included."""

    def to(self, device: torch.device) -> Batch:
        return Batch(self.input_ids.to(device), self.labels.to(device))


def collate(rows: Sequence[Encoded]) -> Batch:
    import torch

    longest = max(len(row.input_ids) for row in rows)
    # any id will do as padding: it is neither learned nor seen by what is
    ids = [row.input_ids + [0] * (longest - len(row.input_ids)) for row in rows]
    labels = [row.labels + [IGNORED] * (longest - len(row.labels)) for row in rows]
    return Batch(torch.tensor(ids), torch.tensor(labels))


def epoch_windows(lengths: Sequence[int], *, batch_size: int, micro_batch_size: int, seed: int) -> list[list[list[int]]]:
    """One epoch as windows (one optimiser step each) of micro-batches of row indexes; every row once."""
    shuffle = random.Random(seed)  # noqa: S311 - an order, not a secret
    order = list(range(len(lengths)))
    shuffle.shuffle(order)
    windows = []
    for start in range(0, len(order), batch_size * WINDOWS_A_BUCKET):
        bucket = sorted(order[start : start + batch_size * WINDOWS_A_BUCKET], key=lambda row: lengths[row])
        windows += _cut(bucket, batch_size)
    shuffle.shuffle(windows)
    return [_cut(window, micro_batch_size) for window in windows]


def by_length(lengths: Sequence[int], size: int) -> list[list[int]]:
    """Batches of row indexes, longest first, for work whose order does not matter: at most `size` rows, and no more than
    TOKENS_AT_ONCE tokens with their padding, unless one row alone has more."""
    groups: list[list[int]] = []
    for row in sorted(range(len(lengths)), key=lambda row: -lengths[row]):
        longest = lengths[groups[-1][0]] if groups else 0
        if groups and len(groups[-1]) < rows_at_once(longest, size):
            groups[-1].append(row)
        else:
            groups.append([row])
    return groups


def common_start(rows: Sequence[list[int]]) -> int:
    """How many tokens all rows begin with; nothing is common to one alone."""
    if len(rows) < 2:
        return 0
    first, last = min(rows), max(rows)  # what these two share, in dictionary order, all between them share
    differs = (at for at, (one, other) in enumerate(zip(first, last, strict=False)) if one != other)
    return next(differs, min(len(first), len(last)))


def rows_at_once(longest: int, most: int) -> int:
    """How many rows of this many tokens go together when nothing is learned."""
    return max(1, min(most, TOKENS_AT_ONCE // max(1, longest)))


def _cut(rows: list[int], size: int) -> list[list[int]]:
    return [rows[start : start + size] for start in range(0, len(rows), size)]

"""What a detector of domain shift is: two samples in, Evidence out. Knows no detector."""

from __future__ import annotations

from typing import Protocol

from advisor.evidence import Evidence
from advisor.shift.sample import Sample


class Detector(Protocol):
    def __call__(self, ours: Sample, theirs: Sample, seed: int) -> list[Evidence]:
        """Evidence on how `ours` differs from `theirs`, each with its n and its null; the same seed gives the same numbers."""
        ...

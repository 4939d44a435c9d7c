"""Advice: evidence, ranked candidates, reasons, what would change it, what to run. The advisor's two entries.

`from_numbers` is instant and imports nothing heavy, so it may run inside a server; `from_dataset` looks at the rows,
measures with the encoder, and takes seconds. Knows no terminal and no web.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adapters import bases
from adapters.bases import BaseFacts
from adapters.errors import InvalidInput
from adapters.tuning import machine, shapes
from advisor import ranking
from advisor.evidence import Evidence, by_name, number
from advisor.plan import plan
from advisor.ranking import Ranked
from advisor.sensitivity import would_change_if
from advisor.stated import FIELDS, Stated

SEED = 0
"""Of every sample and permutation, so that the same file gets the same advice."""


@dataclass(frozen=True, slots=True)
class Advice:
    method: str
    confidence: float
    ranking: tuple[Ranked, ...]
    evidence: tuple[Evidence, ...]
    would_change_if: tuple[str, ...]
    plan: dict[str, Any]

    def to_json(self) -> dict[str, Any]:
        """The shape callers rely on; a number that is not known is null."""
        return {
            "recommendation": {"method": self.method, "confidence": self.confidence},
            "ranking": [
                {
                    "method": one.method, "score": one.score, "fits": one.fits, "memory_gib": one.memory_gib,
                    "reasons": list(one.reasons),
                }
                for one in self.ranking
            ],
            "evidence": [
                {
                    "name": one.name, "value": one.value, "unit": one.unit, "n": one.n,
                    "interval": None if one.interval is None else list(one.interval), "how": one.how,
                }
                for one in self.evidence
            ],
            "would_change_if": list(self.would_change_if),
            "plan": self.plan,
        }  # fmt: skip


def from_numbers(stated: Stated, *, facts: BaseFacts | None = None, base_name: str | None = None) -> Advice:
    """Advice from stated numbers alone; `facts` of a known base replace `params_b`.

    Raises InvalidInput when nothing is stated.
    """
    if not stated.given():
        raise InvalidInput(f"state at least one number: {', '.join(FIELDS)}", param="n_examples")
    return advise(stated.evidence(), facts=facts, base_name=base_name)


def from_dataset(
    path: Path,
    *,
    docs: Path | None = None,
    base_folder: Path | None = None,
    base_name: str | None = None,
    gpu_gib: float | None = None,
    stated: Stated | None = None,
    shown_as: str | None = None,
) -> Advice:
    """Advice from a data file, the documents its answers may stand in, and a base. What is stated overrides what is found.

    Raises DataError for a file or document that cannot be read, InvalidInput for a base or folder that is none.
    """
    from adapters.data.dataset import open_dataset
    from adapters.embedded import encoder_folder
    from adapters.retrieval.chunks import counter
    from adapters.retrieval.encoder import Encoder
    from advisor import knowledge, profile
    from advisor.shift import sample
    from advisor.shift.table import DETECTORS

    examples = open_dataset(path, shown_as=shown_as).examples
    passages = None if docs is None else knowledge.read_folder(docs, counter(encoder_folder()))
    facts = None if base_folder is None else bases.facts(base_folder)
    found = profile.profile(examples)
    encoder = Encoder(encoder_folder())
    ours, theirs = sample.of_examples(examples, encoder, seed=SEED), sample.reference(encoder)
    for detector in DETECTORS.values():
        found += detector(ours, theirs, SEED)
    if passages is not None:
        found += knowledge.knowledge(examples, passages, encoder, seed=SEED)
    if gpu_gib is not None:
        stated = dataclasses.replace(stated or Stated(), gpu_gib=gpu_gib)
    if stated is not None:
        found += stated.evidence()
    shown_docs = "DOCS" if docs is None else str(docs)
    return advise(found, facts=facts, base_name=base_name, file=shown_as or str(path), docs=shown_docs)


def advise(
    evidence: Sequence[Evidence], *, facts: BaseFacts | None = None, base_name: str | None = None, file: str = "FILE",
    docs: str = "DOCS",
) -> Advice:  # fmt: skip
    """What the rules make of the evidence. Without `facts`, a stated params_b stands for a decoder of typical shape."""
    found = by_name(evidence)
    params_b = number(found, "params_b")
    if facts is None and params_b is not None:
        facts = shapes.typical_shape(params_b)
    if "gpu_gib" not in found and facts is not None:
        how = "measured: memory of this machine's largest GPU, or its free main memory where there is none"
        found["gpu_gib"] = Evidence("gpu_gib", round(machine.available_gib(), 2), "GiB", how)
    whole = ranking.complete(found, facts)
    ranked = ranking.rank(whole)
    gaps = [
        Evidence(name, None, FIELDS[name].unit, f"not known, which lowers the confidence. {FIELDS[name].meaning}")
        for name in ranking.missing(whole)
    ]
    return Advice(
        method=ranked[0].method,
        confidence=ranking.confidence(ranked, whole),
        ranking=tuple(ranked),
        evidence=(*whole.values(), *gaps),
        would_change_if=tuple(would_change_if(found, facts)),
        plan=plan(ranked, whole, facts, file=file, base=base_name, docs=docs),
    )

"""How large the shift is, from 0 to 1: new subjects and an unfamiliar language, each against the reference itself.

    subject  = 1 - (our likeness to the 5 nearest reference texts) / (the reference's own, each text left out in turn)
    language = 1 - (our characters per vocabulary piece) / (the reference's)
    domain_shift = 1 - (1 - subject) (1 - language)

Language is the tokenizer fertility of the literature (Rust et al. 2021, arXiv 2012.15613): formulas, foreign words and
machine strings fall into many short pieces. Distance in embeddings alone does not see it: chess moves lie near a
question about chess. Both parts are ratios of means, clipped to 0..1. Knows no significance; `mmd.py` does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from advisor.evidence import Evidence
from advisor.shift.sample import Sample

if TYPE_CHECKING:
    from numpy.typing import NDArray

NEAREST = 5
DRAWS = 1000
SPLITS = 50


def distance(ours: Sample, theirs: Sample, seed: int) -> list[Evidence]:
    rng = np.random.default_rng(seed)
    value, subject, language, interval = _shift(ours, theirs, rng)
    null = np.array([_split(theirs, rng) for _ in range(SPLITS)])
    n = len(ours)
    against = f"{n} rows against {len(theirs)} everyday texts"
    return [
        Evidence(
            "domain_shift", value, "share",
            f"new subjects and unfamiliar language together, {against}; 0: no further than those are from each other",
            n, interval,
        ),
        Evidence("subject_shift", subject, "share", f"likeness to the {NEAREST} nearest texts (embeddings), {against}", n),
        Evidence("language_shift", language, "share", f"characters per vocabulary piece of the encoder, {against}", n),
        Evidence(
            "domain_shift_null", round(float(null.mean()), 4), "share",
            f"the same measure between random halves of the everyday texts, {SPLITS} splits", len(theirs),
            (round(float(np.quantile(null, 0.025)), 4), round(float(np.quantile(null, 0.975)), 4)),
        ),
    ]  # fmt: skip


def _shift(ours: Sample, theirs: Sample, rng: np.random.Generator) -> tuple[float, float, float, tuple[float, float]]:
    """domain_shift, its two parts, and its 95 % interval by bootstrap over our rows."""
    near = _likeness(ours, theirs)
    own = float(_likeness(theirs, theirs, itself=True).mean())
    rate = float(theirs.characters.sum() / theirs.pieces.sum())

    def parts(rows: NDArray[np.int64]) -> tuple[float, float]:
        subject = 1 - float(near[rows].mean()) / own
        language = 1 - float(ours.characters[rows].sum() / ours.pieces[rows].sum()) / rate
        return min(1.0, max(0.0, subject)), min(1.0, max(0.0, language))

    subject, language = parts(np.arange(len(ours)))
    draws = [parts(rng.integers(0, len(ours), len(ours))) for _ in range(DRAWS)]
    low, high = np.quantile([_together(*draw) for draw in draws], [0.025, 0.975])
    return (
        round(_together(subject, language), 4), round(subject, 4), round(language, 4),
        (round(float(low), 4), round(float(high), 4)),
    )  # fmt: skip


def _together(subject: float, language: float) -> float:
    return 1 - (1 - subject) * (1 - language)


def _likeness(ours: Sample, theirs: Sample, *, itself: bool = False) -> NDArray[np.float32]:
    """(n,): mean cosine of each of our texts to its nearest reference texts; `itself` leaves each text's own out."""
    cosines = ours.vectors @ theirs.vectors.T
    if itself:
        np.fill_diagonal(cosines, -np.inf)
    nearest = min(NEAREST, cosines.shape[1] - itself)
    return np.asarray(np.sort(cosines, axis=1)[:, -nearest:].mean(axis=1))


def _split(sample: Sample, rng: np.random.Generator) -> float:
    """The measure between two halves, with no interval: one draw of the null."""
    order = rng.permutation(len(sample))
    ours, theirs = sample.take(order[: len(order) // 2]), sample.take(order[len(order) // 2 :])
    subject = 1 - float(_likeness(ours, theirs).mean() / _likeness(theirs, theirs, itself=True).mean())
    language = 1 - float((ours.characters.sum() / ours.pieces.sum()) / (theirs.characters.sum() / theirs.pieces.sum()))
    return _together(max(0.0, subject), max(0.0, language))

"""How much of the answers lies in the questions' vectors: what the nearest rows, or a line through the space, would say.

For labels, each row is labelled by the others: by its nearest neighbours and by a linear probe. For other answers, the
nearest row's answer is taken as the answer. Each at a quarter, a half and all of the rows, so that it shows where more rows
would lead. Needs vectors and no base.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from adapters.conversation import Example
from adapters.evaluation.metrics import METRICS, primary
from adapters.evaluation.scorecard import mean_of
from advisor.evidence import Evidence
from advisor.linear import left_out, numbered, transferred

if TYPE_CHECKING:
    from numpy.typing import NDArray

NEIGHBOURS = 5
PARTS = {"quarter": 4, "half": 2}
DRAWS = 5
FEWEST_ROWS = 8
MOST_RATED = 400
"""Rows whose nearest row's answer is scored where answers are long."""


def learnability(
    examples: Sequence[Example], vectors: NDArray[np.float32], is_labelled: bool, *, of: int, seed: int
) -> list[Evidence]:
    """`vectors` (len(examples), width) of their questions; `of`: how many rows there are, of which these are a sample."""
    kept = _one_a_question(examples)
    labels = [" ".join(examples[number].answer.casefold().split()) for number in kept]
    names = ("knn_cv_score", "linear_probe_cv_score") if is_labelled else ("knn_answer_score",)
    if len(kept) < FEWEST_ROWS:
        reason = f"{len(kept)} different questions are too few; {FEWEST_ROWS} are needed"
        return [Evidence(name, None, "share", f"not measured: {reason}") for name in names]
    near = vectors[kept].astype(np.float64)
    sampled = "" if len(examples) == of else f" ({len(examples)} of {of} rows, drawn by seed {seed})"
    rows = Evidence(
        "probe_rows", len(kept), "rows", f"different questions that the probes learn from, each time but one{sampled}"
    )
    if is_labelled:
        return [rows, *_neighbours(near, labels, seed), *_probe(near, labels, seed)]
    return [rows, *_nearest_answers(near, [examples[number].answer for number in kept], seed)]


def _one_a_question(examples: Sequence[Example]) -> list[int]:
    """A row that asks what another asks would be labelled by it."""
    first: dict[str, int] = {}
    for number, example in enumerate(examples):
        first.setdefault(example.prompt_key, number)
    return sorted(first.values())


def _neighbours(near: NDArray[np.float64], labels: Sequence[str], seed: int) -> list[Evidence]:
    cosines = near @ near.T
    np.fill_diagonal(cosines, -np.inf)
    wanted, classes = numbered(labels)

    def hits(allowed: NDArray[np.bool_]) -> list[float]:
        held = np.where(allowed[None, :], cosines, -np.inf)
        nearest = np.argsort(-held, axis=1, kind="stable")[:, : min(NEIGHBOURS, int(allowed.sum()) - 1)]
        votes = np.zeros((len(near), classes))
        # nearer ones decide between labels with as many votes
        np.add.at(
            votes, (np.arange(len(near))[:, None], wanted[nearest]), 1 + 1e-3 * np.take_along_axis(cosines, nearest, axis=1)
        )
        return [float(hit) for hit in votes.argmax(axis=1) == wanted]

    how = f"exact_match: each row labelled by the {NEIGHBOURS} nearest of the others, by cosine of MiniLM embeddings"
    return _curve("knn_cv_score", how, hits, len(near), seed)


def _probe(near: NDArray[np.float64], labels: Sequence[str], seed: int) -> list[Evidence]:
    wanted, classes = numbered(labels)
    whole = left_out(near, wanted, classes)
    how = "exact_match: each row labelled by a linear probe (ridge regression on MiniLM embeddings) of the others"
    name = "linear_probe_cv_score"
    made = [_score(name, [float(hit) for hit in whole.right], f"{how}; its penalty by their squared error", seed)]
    rng = np.random.default_rng(seed)
    for part, share in PARTS.items():
        size = len(near) // share
        if size < FEWEST_ROWS // 2:
            continue
        draws = [transferred(near, wanted, classes, rng.permutation(len(near))[:size], whole.penalty) for _ in range(DRAWS)]
        said = f"{how}, learned from {size} of the rows and asked of the rest, mean of {DRAWS} draws"
        made.append(
            Evidence(f"{name}.{part}", round(float(np.mean(draws)), 4), "share", said, len(near) - size, _spread(draws))
        )
    return made


def _nearest_answers(near: NDArray[np.float64], answers: Sequence[str], seed: int) -> list[Evidence]:
    metric = primary(answers)
    rate = METRICS[metric]
    rated = np.random.default_rng(seed).permutation(len(near))[:MOST_RATED]
    cosines = near[rated] @ near.T
    cosines[np.arange(len(rated)), rated] = -np.inf

    def values(allowed: NDArray[np.bool_]) -> list[float]:
        nearest = np.where(allowed[None, :], cosines, -np.inf).argmax(axis=1)
        return [rate(answers[other], answers[row]) for row, other in zip(rated, nearest, strict=True)]

    how = f"{metric} of the answer of the nearest other row, by cosine of MiniLM embeddings"
    return _curve("knn_answer_score", how, values, len(near), seed)


def _curve(name: str, how: str, values: Callable[[NDArray[np.bool_]], list[float]], rows: int, seed: int) -> list[Evidence]:
    """With all rows, and as the mean of some draws of a part of them."""
    made = [_score(name, values(np.ones(rows, dtype=np.bool_)), how, seed)]
    rng = np.random.default_rng(seed)
    for part, share in PARTS.items():
        size = rows // share
        if size < FEWEST_ROWS // 2:
            continue
        draws = []
        for _ in range(DRAWS):
            allowed = np.zeros(rows, dtype=np.bool_)
            allowed[rng.permutation(rows)[:size]] = True
            draws.append(float(np.mean(values(allowed))))
        said = f"{how}; among {size} rows, mean of {DRAWS} draws, which the interval spans"
        made.append(Evidence(f"{name}.{part}", round(float(np.mean(draws)), 4), "share", said, rows, _spread(draws)))
    return made


def _spread(draws: Sequence[float]) -> tuple[float, float]:
    return round(min(draws), 4), round(max(draws), 4)


def _score(name: str, values: Sequence[float], how: str, seed: int) -> Evidence:
    mean = mean_of(values, seed)
    low, high = mean.interval
    return Evidence(name, round(mean.mean, 4), "share", how, len(values), (round(low, 4), round(high, 4)))

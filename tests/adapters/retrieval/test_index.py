"""Nearest rows: exactly or by a graph, of all rows or of those allowed, from memory or from the disk."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from adapters.errors import InvalidInput
from adapters.retrieval.index import Index

Vectors = NDArray[np.float32]


def unit(rows: int, width: int = 16, seed: int = 0) -> Vectors:
    vectors = np.random.default_rng(seed).normal(size=(rows, width)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


STORED, ASKED = unit(3000), unit(40, seed=1)


@pytest.fixture(scope="module", params=["exact", "graph"])
def index(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Index:
    """Of each kind, as it is after it was written and opened again."""
    made = Index(STORED, exact_up_to=3000 if request.param == "exact" else 100)
    assert made.is_exact == (request.param == "exact")
    file = tmp_path_factory.mktemp("index") / "index.faiss"
    made.write(file)
    return Index.read(file)


def recall(found: NDArray[np.int64], rows: NDArray[np.int64], k: int = 10) -> float:
    truth = rows[np.argsort(-(ASKED @ STORED[rows].T), axis=1)[:, :k]]
    return float(np.mean([len(set(a) & set(b)) / k for a, b in zip(found.tolist(), truth.tolist(), strict=True)]))


def test_search_is_exact_and_bounded_by_what_is_there() -> None:
    vectors = unit(50, 8)
    scores, ids = Index(vectors).search(vectors[:3], 100)
    wanted = vectors[:3] @ vectors.T
    assert ids.shape == (3, 50)
    assert np.allclose(scores, -np.sort(-wanted, axis=1), atol=1e-5)
    with pytest.raises(InvalidInput, match="n above 0"):
        Index(np.zeros((0, 8), dtype=np.float32))
    with pytest.raises(InvalidInput, match="k must be"):
        Index(vectors).search(vectors, 0)


def test_the_nearest_are_found_best_first(index: Index) -> None:
    scores, ids = index.search(ASKED, 10)
    assert recall(ids, np.arange(3000)) > (0.999 if index.is_exact else 0.95)
    assert np.allclose(scores, np.take_along_axis(ASKED @ STORED.T, ids, axis=1), atol=1e-5)
    assert (np.diff(scores, axis=1) <= 1e-6).all()


@pytest.mark.parametrize("share", [0.9, 0.3, 0.06, 0.02, 0.001])
def test_what_is_not_allowed_is_left_out_of_the_search_and_not_of_its_result(index: Index, share: float) -> None:
    allowed = np.random.default_rng(2).random(3000) < share
    allowed[7] = True
    rows = np.flatnonzero(allowed)
    k = min(10, len(rows))
    _, ids = index.search(ASKED, 10, allowed)
    assert ids.shape == (40, k)
    assert allowed[ids[ids >= 0]].all()
    assert recall(ids, rows, k) > (0.999 if index.is_exact else 0.95)
    assert index.search(ASKED, 10, np.zeros(3000, dtype=np.bool_))[1].shape == (40, 0)


def test_rows_come_back_as_they_were_given(index: Index) -> None:
    assert (len(index), index.width) == (3000, 16)
    assert np.array_equal(index.rows(np.array([2999, 0, 17])), STORED[[2999, 0, 17]])


def test_threads_may_search_at_once(index: Index) -> None:
    alone = index.search(ASKED, 10)[1]
    masks = [None, np.arange(3000) % 2 == 0]
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda number: index.search(ASKED, 10, masks[number % 2])[1], range(64)))
    assert all(np.array_equal(ids, alone) for ids in found[::2])
    assert all((ids % 2 == 0).all() for ids in found[1::2])


def test_parts_make_the_same_index_as_the_whole() -> None:
    parts = Index.of_parts((STORED[at : at + 700] for at in range(0, 3000, 700)), 16, 3000)
    assert np.array_equal(parts.search(ASKED, 10)[1], Index(STORED).search(ASKED, 10)[1])


def test_a_torn_file_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "index.faiss"
    Index(STORED).write(file)
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(InvalidInput, match="no index that can be read"):
        Index.read(file)

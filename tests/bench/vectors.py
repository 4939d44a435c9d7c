"""Nearest vectors at 100 thousand and a million rows: time to build, memory, search latency, and recall beside exact search.

The rows are synthetic: unit vectors of 384 numbers around many centres, spread in few directions each, as embeddings of texts
are (`--kind clustered`; the neighbours' cosines and the estimated intrinsic dimension are printed, and `--vectors FILE.npy`
measures real ones beside them). `--kind uniform` spreads them over the whole sphere, which no encoder does and no graph likes.
"""

from __future__ import annotations

import argparse
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import faiss
import numpy as np
from numpy.typing import NDArray

from adapters.retrieval import index
from adapters.retrieval.index import Index

Vectors = NDArray[np.float32]
WIDTH, NEAREST, QUESTIONS = 384, 10, 1000
ROWS_A_CENTRE, DIRECTIONS, SPREAD, NOISE = 200, 24, 0.9, 0.25


def main(flags: Sequence[str] = ()) -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench vectors", description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=[100_000], help="such as 100000 1000000 (default: %(default)s)")
    parser.add_argument("--kind", choices=["clustered", "uniform"], default="clustered")
    parser.add_argument("--index", choices=["exact", "graph"], nargs="+", default=["exact", "graph"])
    parser.add_argument("--links", type=int, default=index.LINKS)
    parser.add_argument("--build-depth", type=int, default=index.BUILD_DEPTH)
    parser.add_argument("--search-depth", type=int, nargs="+", default=[index.SEARCH_DEPTH])
    parser.add_argument("--callers", type=int, nargs="+", default=[1, 16])
    parser.add_argument("--seconds", type=float, default=5.0, help="of searching, for each number of callers")
    parser.add_argument("--threads", type=int, default=1, help="that build the graph")
    parser.add_argument("--vectors", type=Path, help="real ones instead, a .npy file of float32 (rows, width) of length 1")
    asked = parser.parse_args(list(flags))
    given = None if asked.vectors is None else np.random.default_rng(0).permutation(np.load(asked.vectors))
    for rows in asked.rows if given is None else [len(given) - QUESTIONS]:
        vectors = made(rows + QUESTIONS, asked.kind) if given is None else given
        questions, stored = vectors[rows:], vectors[:rows]
        print(f"{rows:,} rows, {asked.kind if given is None else asked.vectors.name}: {shape_of(stored)}", flush=True)
        truth = _exact(stored, questions)
        for kind in asked.index:
            _measure(kind, stored, questions, truth, asked)


def made(rows: int, kind: str, seed: int = 0) -> Vectors:
    """(rows, WIDTH) of length 1."""
    rng = np.random.default_rng(seed)
    if kind == "uniform":
        found = rng.standard_normal((rows, WIDTH), dtype=np.float32)
    else:
        centres = rng.standard_normal((max(1, rows // ROWS_A_CENTRE), WIDTH), dtype=np.float32) / np.sqrt(WIDTH)
        common = rng.standard_normal((256, WIDTH), dtype=np.float32) / np.sqrt(WIDTH)
        of = rng.integers(len(centres), size=rows)
        found = centres[of]
        for start in range(0, rows, 50_000):
            part = of[start : start + 50_000]
            weights = rng.standard_normal((len(part), DIRECTIONS), dtype=np.float32) / np.sqrt(DIRECTIONS)
            spread = np.zeros((len(part), WIDTH), dtype=np.float32)
            for direction in range(DIRECTIONS):  # each centre spreads along directions of its own, out of a common stock
                spread += weights[:, direction : direction + 1] * common[(part * 31 + direction * 7) % len(common)]
            noise = rng.standard_normal((len(part), WIDTH), dtype=np.float32) / np.sqrt(WIDTH)
            found[start : start + 50_000] += SPREAD * spread + NOISE * noise
    found /= np.linalg.norm(found, axis=1, keepdims=True)
    return found


def shape_of(vectors: Vectors) -> str:
    """Cosines of the first and tenth neighbour, and the intrinsic dimension that Levina and Bickel's estimator (2004) finds."""
    sample = vectors[:: max(1, len(vectors) // 500)][:500]
    searched = vectors[:200_000]
    cosines, _ = Index(searched, exact_up_to=len(searched)).search(sample, 21)
    distances = np.sqrt(np.maximum(2 - 2 * cosines[:, 1:], 1e-9))
    dimension = 1 / np.mean(np.log(distances[:, -1:] / distances[:, :-1]))
    first, tenth = np.median(cosines[:, 1]), np.median(cosines[:, 10])
    return f"neighbour 1 and 10 at cosine {first:.2f} and {tenth:.2f}, intrinsic dimension about {dimension:.0f}"


def _exact(stored: Vectors, questions: Vectors) -> NDArray[np.int64]:
    return Index(stored, exact_up_to=len(stored)).search(questions, NEAREST)[1]


def _measure(kind: str, stored: Vectors, questions: Vectors, truth: NDArray[np.int64], asked: argparse.Namespace) -> None:
    index.LINKS, index.BUILD_DEPTH = asked.links, asked.build_depth
    faiss.omp_set_num_threads(asked.threads)
    before, began = _held(), time.monotonic()
    built = Index(stored, exact_up_to=len(stored) if kind == "exact" else 0)
    seconds, held = time.monotonic() - began, _held() - before
    faiss.omp_set_num_threads(1)  # each caller searches with one thread, as the encoder's process does
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "index.faiss"
        built.write(file)
        size = file.stat().st_size / 2**30
        del built
        began = time.monotonic()
        opened = Index.read(file)
        print(
            f"  {kind}: built in {seconds:.0f} s on {asked.threads} thread(s), {held:.2f} GiB held, {size:.2f} GiB on disk, "
            f"opened in {time.monotonic() - began:.3f} s", flush=True,
        )  # fmt: skip
        for depth in asked.search_depth if kind == "graph" else [0]:
            index.SEARCH_DEPTH = depth
            found = opened.search(questions, NEAREST)[1]
            recall = np.mean([len(set(a) & set(b)) / NEAREST for a, b in zip(found.tolist(), truth.tolist(), strict=True)])
            said = f"depth {depth}, " if depth else ""
            for callers in asked.callers:
                taken = np.array(_search(opened, questions, callers, asked.seconds)) * 1000
                print(
                    f"    {said}recall@{NEAREST} {recall:.3f}, {callers} caller(s): p50 {np.percentile(taken, 50):.2f} ms, "
                    f"p99 {np.percentile(taken, 99):.2f} ms, {len(taken) / asked.seconds:.0f} searches/s", flush=True,
                )  # fmt: skip


def _search(opened: Index, questions: Vectors, callers: int, seconds: float) -> list[float]:
    """How long each search took; every caller asks again as soon as it has its answer."""
    taken: list[float] = []
    until = time.monotonic() + seconds

    def call(first: int) -> None:
        asked = first
        while (began := time.monotonic()) < until:
            opened.search(questions[asked % len(questions)][None], NEAREST)
            taken.append(time.monotonic() - began)
            asked += callers

    _together([lambda first=first: call(first) for first in range(callers)])
    return taken


def _together(calls: Sequence[Callable[[], None]]) -> None:
    threads = [threading.Thread(target=call) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _held() -> float:
    """GiB of memory that this process holds."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 2**30

"""Encoding beside plain sentence-transformers on the same texts in the same run: bulk, and many callers of one text each.

Texts are the docstrings of Python's standard library, none twice, so that no cache wins. Rounds alternate who goes first.
"""

from __future__ import annotations

import argparse
import ast
import asyncio
import os
import random
import statistics
import sysconfig
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np

from adapters.embedded import encoder_folder
from gateway import settings as settings_table
from gateway.retrieval.retriever import Retriever
from tests.gateway.conftest import Home, gateway_on

CALLERS = 64


def docstrings() -> Iterator[str]:
    """Of every function and class of the standard library, each text once."""
    seen: set[str] = set()
    for file in sorted(Path(sysconfig.get_paths()["stdlib"]).rglob("*.py")):
        if "site-packages" in file.parts or "test" in file.parts:
            continue
        try:
            tree = ast.parse(file.read_bytes())
        except (SyntaxError, ValueError):
            continue
        for node in ast.walk(tree):
            text = ast.get_docstring(node) if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.Module) else None
            if text and text not in seen:
                seen.add(text)
                yield text


def questions(texts: Iterable[str]) -> list[str]:
    """First lines of 3 to 16 words, each once."""
    return list(dict.fromkeys(line for line in (text.splitlines()[0] for text in texts) if 3 <= len(line.split()) <= 16))


class Plain:
    def __init__(self) -> None:
        import torch
        from sentence_transformers import SentenceTransformer

        torch.set_num_threads(len(os.sched_getaffinity(0)))
        self._model = SentenceTransformer(str(encoder_folder()), local_files_only=True)

    def encode(self, texts: Sequence[str]) -> np.ndarray[Any, Any]:
        found: np.ndarray[Any, Any] = self._model.encode(list(texts), normalize_embeddings=True, show_progress_bar=False)
        return found


async def one_each(retriever: Retriever, texts: Sequence[str]) -> np.ndarray[Any, Any]:
    """CALLERS callers, each asking its next text as soon as its last is answered."""
    found: list[Any] = [None] * len(texts)
    left = iter(range(len(texts)))

    async def caller() -> None:
        for number in left:
            found[number] = (await retriever.encode([texts[number]])).vectors[0]

    await asyncio.gather(*(caller() for _ in range(CALLERS)))
    return np.stack(found)


async def race(rounds: int, bulk: int, single: int) -> None:
    texts = list(docstrings())
    random.Random(0).shuffle(texts)
    words = iter(texts)
    lines = iter(questions(texts))
    plain, figures, worst = Plain(), dict[str, list[float]](), 1.0
    plain.encode(["warm"] * 8)
    with tempfile.TemporaryDirectory(prefix="graft-bench-") as home:
        retriever = Retriever(settings_table.load(environment={"GRAFT_STORAGE_HOME": home}))
        await retriever.start()
        try:
            await retriever.encode(["warm"])
            for number in range(rounds):
                many, few = list(islice(words, bulk)), list(islice(lines, single))
                assert len(many) == bulk
                assert len(few) == single

                async def plain_bulk(many: list[str] = many) -> Any:
                    return plain.encode(many)

                async def graft_bulk(many: list[str] = many) -> Any:
                    return (await retriever.encode(many, bulk=True)).vectors

                async def plain_single(few: list[str] = few) -> Any:
                    return np.stack([plain.encode([text])[0] for text in few])

                async def graft_single(few: list[str] = few) -> Any:
                    return await one_each(retriever, few)

                for kind, pair, size in (
                    ("bulk", (plain_bulk, graft_bulk), bulk),
                    ("single", (plain_single, graft_single), single),
                ):
                    found = {}
                    for act in pair if number % 2 == 0 else pair[::-1]:
                        began = time.perf_counter()
                        found[act.__name__] = await act()
                        rate = size / (time.perf_counter() - began)
                        figures.setdefault(act.__name__, []).append(rate)
                        print(f"  round {number + 1}: {act.__name__} {rate:.1f}/s", flush=True)
                    worst = min(worst, float(np.sum(found[f"plain_{kind}"] * found[f"graft_{kind}"], axis=1).min()))
        finally:
            await retriever.stop()
    for kind, said in (
        ("bulk", f"{bulk} texts in one request"),
        ("single", f"{single} texts, one at a time and {CALLERS} callers"),
    ):
        ours, theirs = figures[f"graft_{kind}"], figures[f"plain_{kind}"]
        ratios = [mine / other for mine, other in zip(ours, theirs, strict=True)]
        print(f"{said}, {rounds} rounds: sentence-transformers {statistics.median(theirs):.0f}/s, "
              f"encoder child {statistics.median(ours):.0f}/s, ratio {statistics.median(ratios):.2f} "
              f"({min(ratios):.2f} to {max(ratios):.2f})")  # fmt: skip
    print(f"least cosine between the two: {worst:.6f}")


def through_the_gateway(single: int) -> None:
    """The same callers through /v1/embeddings."""
    lines = questions(docstrings())[-single:]
    with tempfile.TemporaryDirectory(prefix="graft-bench-") as place:
        home = Home(Path(place) / "home", Path(place) / "made")
        home.path.mkdir()
        with gateway_on(home) as gateway:

            async def run() -> float:
                # aiohttp, since httpx takes longer to ask than the gateway to answer
                connector = aiohttp.UnixConnector(str(gateway.socket), limit=0)
                async with aiohttp.ClientSession("http://gateway", connector=connector, raise_for_status=True) as client:

                    async def ask(text: str) -> None:
                        body = {"model": "minilm", "encoding_format": "base64", "input": text}
                        async with client.post("/v1/embeddings", json=body) as answer:
                            await answer.read()

                    await ask("warm")
                    left = iter(lines)

                    async def caller() -> None:
                        for line in left:
                            await ask(line)

                    began = time.perf_counter()
                    await asyncio.gather(*(caller() for _ in range(CALLERS)))
                    return len(lines) / (time.perf_counter() - began)

            print(f"{CALLERS} callers through /v1/embeddings: {asyncio.run(run()):.0f}/s")


def main(argv: Sequence[str] = ()) -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench encoding", description=__doc__)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--bulk", type=int, default=500, help="texts of a bulk round")
    parser.add_argument("--single", type=int, default=500, help="texts of a round of callers")
    flags = parser.parse_args(argv)
    asyncio.run(race(flags.rounds, flags.bulk, flags.single))
    through_the_gateway(flags.single)

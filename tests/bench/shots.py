"""Do nearest shots beat fixed ones, and does either beat a linear head on a small encoder? By how many labelled rows there are.

One task is a folder with `train.jsonl` and `test.jsonl` of `prompt` and `completion`. Every answer is held to the labels of
the training rows. Pools grow: the first 32 rows of a seeded order, 256, all. Needs torch and transformers; where the encoder
is missing, `--vectors FILE` from a machine that has it.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adapters import bases, embedded
from adapters.conversation import WireMessage
from adapters.data.batches import common_start
from adapters.data.tokens import prompt_ids
from adapters.evaluation.completer import LocalCompleter
from adapters.evaluation.metrics import exact_match
from adapters.evaluation.scorecard import paired, wilson
from adapters.methods.labels import naming
from adapters.methods.showing import shown
from adapters.prompting.pool import Pool
from adapters.prompting.selectors.choosing import choose
from adapters.prompts import PromptTemplate, Selection, Shot, render

POOLS = (32, 256, 0)
"""Rows; 0 for all."""
FIXED = 8
HEAD_STEPS, HEAD_DECAY = 300, 1e-2
Row = tuple[str, str]


class Embedded:
    """Texts as vectors, from the file where they are in it, else by the encoder, and then into the file."""

    def __init__(self, file: Path | None) -> None:
        self._file = file
        self._known: dict[str, NDArray[np.float32]] = dict(np.load(file)) if file is not None and file.is_file() else {}

    def __call__(self, texts: Sequence[str]) -> NDArray[np.float32]:
        key = hashlib.sha256(json.dumps(list(texts)).encode()).hexdigest()
        if key not in self._known:
            from adapters.retrieval.encoder import Encoder

            self._known[key] = Encoder(embedded.encoder_folder()).encode(texts)
            if self._file is not None:
                with self._file.open("wb") as file:
                    np.savez(file, **self._known)
        return self._known[key]


class Asking:
    """A base that answers questions under what stands around each of them."""

    def __init__(self, base: str, context: int, cache: Path) -> None:
        from adapters.tuning import device

        found = bases.locate(base, cache)
        self.tokenizer = bases.open_tokenizer(found.folder)
        self.model = bases.open_model(found.folder, device.dtype()).to(device.device())
        self.context = min(context, bases.facts(found.folder).context)
        self.device = device.device().type

    def __call__(self, templates: Sequence[PromptTemplate], rows: Sequence[Row], labels: Sequence[str]) -> dict[str, Any]:
        said: list[list[WireMessage]] = [
            render(template, [{"role": "user", "content": question}])
            for template, (question, _) in zip(templates, rows, strict=True)
        ]
        ids = [prompt_ids(self.tokenizer, messages) for messages in said]
        if max(map(len, ids)) > self.context:
            raise SystemExit(f"a prompt has {max(map(len, ids))} tokens, and --context is {self.context}")
        began = time.perf_counter()
        answers = LocalCompleter(self.model, self.tokenizer, max_new_tokens=1, choices=labels)(said)
        tokens = float(np.mean([len(row) for row in ids]))
        values = [exact_match(answer, wanted) for answer, (_, wanted) in zip(answers, rows, strict=True)]
        return {
            "values": values, "tokens": round(tokens, 1), "new_tokens": round(tokens - common_start(ids), 1),
            "seconds": round(time.perf_counter() - began, 1),
        }  # fmt: skip


def by_head(train: NDArray[np.float32], wanted: Sequence[str], test: NDArray[np.float32]) -> list[str]:
    """Multinomial logistic regression on standardised vectors, all rows at a step: convex, so the start does not matter."""
    import torch

    labels = sorted(set(wanted))
    mean, spread = train.mean(axis=0), train.std(axis=0) + 1e-6
    features = torch.tensor((train - mean) / spread)
    targets = torch.tensor([labels.index(label) for label in wanted])
    head = torch.nn.Linear(train.shape[1], len(labels))
    torch.nn.init.zeros_(head.weight)
    torch.nn.init.zeros_(head.bias)
    optimiser = torch.optim.LBFGS(head.parameters(), max_iter=HEAD_STEPS, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimiser.zero_grad()
        value = torch.nn.functional.cross_entropy(head(features), targets) + HEAD_DECAY / 2 * head.weight.square().sum()
        value.backward()
        return value

    optimiser.step(loss)  # type: ignore[arg-type]
    with torch.no_grad():
        found = head(torch.tensor((test - mean) / spread)).argmax(dim=1)
    return [labels[number] for number in found.tolist()]


def measure(task: Path, asked: argparse.Namespace, asking: Asking, embed: Embedded) -> list[dict[str, Any]]:
    train, test = drawn(task, asked)
    labels = sorted({label for _, label in train})
    vectors, questions = embed([question for question, _ in train]), embed([question for question, _ in test])
    instruction = naming(labels)
    told: list[dict[str, Any]] = []

    def add(arm: str, pool: int, found: dict[str, Any]) -> None:
        values = found.pop("values")
        told.append({"task": task.name, "arm": arm, "pool": pool, "n": len(values), "labels": len(labels)} | found)
        told[-1] |= {"accuracy": float(np.mean(values)), "interval": wilson(sum(values), len(values)), "right": values}
        print(f"{task.name}: {arm}, {pool} rows: {told[-1]['accuracy']:.3f}", flush=True)

    bare = PromptTemplate()
    add("zero-shot", 0, asking([bare] * len(test), test, labels))
    if instruction is not None:
        add("zero-shot, labels named", 0, asking([PromptTemplate(instruction)] * len(test), test, labels))
    for size in asked.pools:
        rows = train[: size or len(train)]
        shots = tuple(Shot(*row) for row in rows)
        pool = Pool(shots, vectors[: len(rows)])
        fixed = PromptTemplate(shots=tuple(choose(pool, Selection("balanced", FIXED, "", asked.seed), "")))
        add(f"fixed {FIXED}", len(rows), asking([fixed] * len(test), test, labels))
        select = Selection("knn", asked.k, "", asked.seed)
        near = [shown(bare, choose(pool, select, row[0], vector)) for row, vector in zip(test, questions, strict=True)]
        add(f"knn {asked.k}", len(rows), asking(near, test, labels))
        began = time.perf_counter()
        said = by_head(np.asarray(pool.vectors), [label for _, label in rows], questions)
        values = [exact_match(answer, wanted) for answer, (_, wanted) in zip(said, test, strict=True)]
        add("linear head", len(rows), {"values": values, "seconds": round(time.perf_counter() - began, 1)})
    return _with_differences(told, asked.seed)


def _with_differences(told: list[dict[str, Any]], seed: int) -> list[dict[str, Any]]:
    """Each arm's paired difference to the nearest shots of the same pool, or, without a pool, of the largest."""
    near = {row["pool"]: row["right"] for row in told if row["arm"].startswith("knn")}
    for row in told:
        beside = near.get(row["pool"], near[max(near)])
        difference = paired([one - other for one, other in zip(row["right"], beside, strict=True)], [1] * row["n"], seed)
        row["to_knn"] = difference.to_json()
    for row in told:
        del row["right"]
    return told


def _rows(file: Path) -> list[Row]:
    return [(row["prompt"], row["completion"]) for row in map(json.loads, file.read_text().splitlines())]


def _table(told: Sequence[dict[str, Any]]) -> None:
    print("\n| task | arm | rows | n | accuracy | 95 % | to knn | tokens | new | s |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for row in told:
        low, high = row["interval"]
        to_low, to_high = row["to_knn"]["interval"]
        difference = f"{row['to_knn']['mean']:+.3f} [{to_low:+.3f}, {to_high:+.3f}]"
        print(
            f"| {row['task']} | {row['arm']} | {row['pool'] or '–'} | {row['n']} | {row['accuracy']:.3f} | "
            f"[{low:.3f}, {high:.3f}] | {'–' if row['arm'].startswith('knn') else difference} | {row.get('tokens', '–')} | "
            f"{row.get('new_tokens', '–')} | {row['seconds']} |"
        )


def main(flags: Sequence[str] = ()) -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench shots")
    parser.add_argument("--task", type=Path, action="append", required=True, metavar="DIR")
    parser.add_argument("--base", default="smollm2", help="an embedded name or a folder")
    parser.add_argument("--cache", type=Path, default=Path.home() / ".cache/graft")
    parser.add_argument("--rows", type=int, default=300, help="test rows, at most (%(default)s)")
    parser.add_argument("--k", type=int, default=8, help="nearest shots (%(default)s)")
    parser.add_argument("--pools", type=int, nargs="*", default=POOLS, help="rows to choose from; 0 for all")
    parser.add_argument("--context", type=int, default=8192)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--vectors", type=Path, help=".npz of vectors; written where they are not in it")
    parser.add_argument("--vectors-only", action="store_true", help="only fill --vectors")
    parser.add_argument("--out", type=Path, help="JSONL to append the figures to")
    asked = parser.parse_args(flags)
    embed = Embedded(asked.vectors)
    if asked.vectors_only:
        for task in asked.task:
            for rows in drawn(task, asked):
                embed([question for question, _ in rows])
        return
    asking = Asking(asked.base, asked.context, asked.cache)
    command = "python -m tests.bench shots " + " ".join(flags)
    told = []
    for task in asked.task:
        rows = measure(task, asked, asking, embed)
        told += [row | {"base": asked.base, "device": asking.device, "command": command} for row in rows]
    _table(told)
    lines = "".join(json.dumps(row) + "\n" for row in told)
    if asked.out is not None:
        with asked.out.open("a") as file:
            file.write(lines)
    else:
        sys.stdout.write(lines)


def drawn(task: Path, asked: argparse.Namespace) -> tuple[list[Row], list[Row]]:
    """The training rows in the order in which pools grow, and the test rows that are asked."""
    train, test = (_rows(task / f"{part}.jsonl") for part in ("train", "test"))
    random.Random(asked.seed).shuffle(train)
    return train, sorted(test, key=lambda row: hashlib.sha256(f"{asked.seed}:{row[0]}".encode()).digest())[: asked.rows]

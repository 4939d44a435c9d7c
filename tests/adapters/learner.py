"""One of some processes that train the tiny base in fp32: `python -m tests.adapters.learner FOLDER BASE SHARDING KNOBS [STEP]`.

In fp32 losses can be compared to within rounding, which a run on this machine's own precision would hide. After STEP the
last of the processes, and it alone, is asked to stop.
"""

from __future__ import annotations

import json
import sys
import threading
from pathlib import Path
from typing import Any

import torch
from torch.distributed import destroy_process_group, is_initialized

from adapters.bases import open_model, open_tokenizer
from adapters.conversation import Example, Message
from adapters.data.tokens import Encoded, encode
from adapters.errors import Interrupted
from adapters.methods.table import method
from adapters.tuning.member import Shared
from adapters.tuning.ranks import Ranks
from adapters.tuning.recipe import Recipe
from adapters.tuning.several import TRY_AGAIN
from adapters.tuning.trainer import train
from tests import tiny as small


def rows(base: Path, count: int) -> list[Encoded]:
    tokenizer = open_tokenizer(base)
    said = [Example((Message("user", q), Message("assistant", a)), line, (1,)) for line, (q, a) in enumerate(small.rows(count))]
    return [encode(tokenizer, example) for example in said]


class StoppedAt(Shared):
    def __init__(self, folder: Path, ranks: Ranks, step: int | None) -> None:
        super().__init__(folder, threading.Event(), ranks)
        self._is_last, self._step = ranks.rank == ranks.count - 1, step

    def event(self, kind: str, **fields: Any) -> None:
        super().event(kind, **fields)
        if kind == "step" and fields["step"] == self._step and self._is_last:
            self.stop.set()


def learn(folder: Path, base: Path, sharding: str, knobs: dict, step: int | None = None) -> None:
    recipe = Recipe(**knobs)
    progress = StoppedAt(folder, Ranks(), step)
    progress.begin()
    model = method(recipe.method).weights.prepare(open_model(base, torch.float32), small.ground(base, recipe))
    found = rows(base, 45)
    train(model, found[8:], found[:8], recipe, progress, sharding=sharding)
    if is_initialized():
        destroy_process_group()


if __name__ == "__main__":
    try:
        learn(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], json.loads(sys.argv[4]), *(int(step) for step in sys.argv[5:]))
    except Interrupted:
        sys.exit(TRY_AGAIN)

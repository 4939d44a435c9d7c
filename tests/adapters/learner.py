"""One of some processes that train the tiny base in fp32: `python -m tests.adapters.learner FOLDER BASE SHARDING KNOBS`.

In fp32 losses can be compared to within rounding, which a run on this machine's own precision would hide.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from torch.distributed import destroy_process_group, is_initialized

from adapters.bases import open_model, open_tokenizer
from adapters.conversation import Example, Message
from adapters.data.tokens import Encoded, encode
from adapters.methods.table import method
from adapters.tuning.member import Shared
from adapters.tuning.ranks import Ranks
from adapters.tuning.recipe import Recipe
from adapters.tuning.trainer import train
from tests import tiny as small


def rows(base: Path, count: int) -> list[Encoded]:
    tokenizer = open_tokenizer(base)
    said = [Example((Message("user", q), Message("assistant", a)), line, (1,)) for line, (q, a) in enumerate(small.rows(count))]
    return [encode(tokenizer, example) for example in said]


def learn(folder: Path, base: Path, sharding: str, knobs: dict) -> None:
    recipe = Recipe(**knobs)
    progress = Shared(folder, None, Ranks())
    progress.begin()
    model = method(recipe.method).weights.prepare(open_model(base, torch.float32), small.ground(base, recipe))
    found = rows(base, 45)
    train(model, found[8:], found[:8], recipe, progress, sharding=sharding)
    if is_initialized():
        destroy_process_group()


if __name__ == "__main__":
    learn(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], json.loads(sys.argv[4]))

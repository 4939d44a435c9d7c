"""Every method as a whole run, from a data file to a draft that was opened again and scored, on whatever device is here.

The same file is the check on a GPU: `python -m pytest tests/adapters/test_every_method.py`.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch

from adapters.methods.table import METHODS
from adapters.prompts import PromptTemplate
from adapters.registry import Registry
from adapters.tuning import run
from adapters.tuning.recipe import Recipe
from adapters.tuning.request import RunRequest, Source, create
from tests import tiny as small

FAST = {"epochs": 3, "learning_rate": 0.01, "micro_batch_size": 4}
LORA = FAST | {"rank": 4, "alpha": 8}
RUNS: dict[str, tuple[str, Recipe]] = {
    "zero_shot": ("pairs", Recipe("zero_shot")),
    "few_shot": ("pairs", Recipe("few_shot", shots=3)),
    "few_shot, chosen": ("pairs", Recipe("few_shot", selector="bm25", fitting_rows=4)),
    "many_shot": ("pairs", Recipe("many_shot", selector="balanced")),
    "rag": ("pairs", Recipe("rag", fitting_rows=4)),
    "rag+lora": ("pairs", Recipe("rag+lora", **LORA, fitting_rows=4)),
    "lora": ("pairs", Recipe("lora", **LORA, keep_checkpoints=2)),
    "rslora, attention": ("pairs", Recipe("lora", **LORA, rslora=True, targets="attention")),
    "lora, checkpointing": ("pairs", Recipe("lora", **LORA, gradient_checkpointing=True)),
    "lora, replay": ("pairs", Recipe("lora", **LORA, replay_share=0.2)),
    "dora": ("pairs", Recipe("lora", **LORA, variant="dora")),
    "pissa": ("pairs", Recipe("lora", **LORA, variant="pissa")),
    "qlora": ("pairs", Recipe("qlora", **LORA)),
    "dpo": ("preferences", Recipe("lora", **LORA, objective="dpo")),
    "full": ("pairs", Recipe("full", **FAST)),
    "full, pure": ("pairs", Recipe("full", **FAST, precision="pure")),
    "full, dpo": ("preferences", Recipe("full", **FAST | {"learning_rate": 1e-3}, objective="dpo")),
    "full as lora": ("pairs", Recipe("full", **FAST, as_lora=16)),
    "prompt_tuning": ("pairs", Recipe("prompt_tuning", **FAST | {"learning_rate": 0.05}, virtual_tokens=4)),
    "continued, lora": ("text", Recipe("continued_pretraining", objective="lm", **LORA)),
    "continued, full": ("text", Recipe("continued_pretraining", objective="lm", **FAST, weights="full")),
    "head on the base": ("labels", Recipe("head", objective="classification", backbone="base", epochs=40, batch_size=64)),
    "head, unfrozen base": (
        "labels",
        Recipe("head", objective="classification", backbone="base", epochs=40, batch_size=64, unfreeze_epochs=2),
    ),
}
KINDS = {"lora": "lora", "qlora": "lora", "rag+lora": "lora", "prompt_tuning": "soft_prompt", "head": "head"}


def write(folder: Path, form: str) -> Path:
    pairs = small.rows(60)
    if form == "text":
        file = folder / "manual.txt"
        file.write_text("\n\n".join(f"The {topic} desk answers this: {question}." for question, topic in small.rows(400)))
        return file
    made = {
        "pairs": [{"prompt": question, "completion": topic} for question, topic in pairs],
        "labels": [{"text": question, "label": topic} for question, topic in pairs],
        "preferences": [{"prompt": question, "chosen": topic, "rejected": "no idea"} for question, topic in pairs],
    }[form]
    file = folder / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in made))
    return file


def desks(folder: Path) -> Path:
    file = folder / "desks.md"
    said = ((topic, ", ".join(words)) for topic, words in small.WORDS.items())
    file.write_text("\n".join(f"## {topic}\nWhat the {topic} team answers: {words}." for topic, words in said))
    return file


def test_there_is_a_run_of_every_method() -> None:
    assert {recipe.method for _, recipe in RUNS.values()} == set(METHODS)


@pytest.mark.parametrize("name", RUNS)
def test_a_run_makes_a_draft_whose_loss_on_held_out_rows_is_lower(name: str, tiny: Path, tmp_path: Path) -> None:
    form, recipe = RUNS[name]
    template = PromptTemplate("Name the team.") if form == "pairs" else None
    request = RunRequest("bot", "tiny", tiny, tmp_path / "models", recipe, template)
    documents = []
    if METHODS[recipe.method].retrieves:
        request, documents = dataclasses.replace(request, store="vs_1"), [Source("file-1", "desks.md", desks(tmp_path))]
    create(tmp_path / "run", request, write(tmp_path, form), documents=documents)
    result = run.execute(tmp_path / "run")
    draft = Registry(tmp_path / "models").read("bot", result.digest12)
    if METHODS[recipe.method].trains:
        losses = result.scorecard["loss_nats_per_token"]
        assert losses["adapted"] < losses["base"]
        assert draft.adapter is not None
        whole = recipe.method == "full" or recipe.weights == "full"
        assert draft.adapter.kind == KINDS.get(recipe.method, "checkpoint" if whole and not recipe.as_lora else "lora")
    else:
        assert draft.adapter is None
    assert (draft.retrieval.store if draft.retrieval else None) == (request.store or None)
    assert len(result.checkpoints) == recipe.keep_checkpoints
    assert all(checkpoint.startswith("bot:ckpt-step-") for checkpoint in result.checkpoints)
    if torch.cuda.is_available():
        assert torch.cuda.max_memory_allocated() > 0, "the GPU was used"

"""Forgetting is measured before and after, bounded, and lessened by replay."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch

from adapters.bases import open_model, open_tokenizer
from adapters.data.tokens import IGNORED
from adapters.errors import InvalidInput
from adapters.evaluation.general import MEASURED, QUESTIONS, REPLAYED, is_right
from adapters.evaluation.speaking import own_answers
from adapters.prompts import PromptTemplate
from adapters.tuning import run
from adapters.tuning.forgetting import REFERENCES, REPLAY, Watch, replayed
from adapters.tuning.progress import METRICS_FILE
from adapters.tuning.recipe import Recipe
from adapters.tuning.request import RunRequest, create
from tests import tiny as small

RECIPE = Recipe("lora", epochs=2, learning_rate=0.01, rank=4, alpha=8, micro_batch_size=4)


def events(folder: Path, kind: str) -> list[dict]:
    found = [json.loads(line) for line in (folder / METRICS_FILE).read_text().splitlines()]
    return [event for event in found if event["event"] == kind]


def done(folder: Path, tiny: Path, recipe: Recipe) -> tuple[Path, dict]:
    folder.mkdir()
    data = small.write_pairs(folder / "tickets.jsonl", 40)
    create(folder / "run", RunRequest("bot", "tiny", tiny, folder / "models", recipe, PromptTemplate("Name it.")), data)
    return folder / "run", run.execute(folder / "run").scorecard["forgetting"]


def test_the_prompts_that_measure_and_those_that_are_replayed_are_different_ones() -> None:
    assert not set(MEASURED) & set(REPLAYED)
    assert len(set(MEASURED)) == len(MEASURED)
    assert len({question for question, _ in QUESTIONS}) == len(QUESTIONS) == 24
    assert is_right("It is Paris, of course.", ("paris",))
    assert not is_right("London", ("paris",))


def test_a_model_speaks_for_itself_up_to_its_stop_token(tiny: Path) -> None:
    model, tokenizer = open_model(tiny, torch.float32), open_tokenizer(tiny)
    greedy = own_answers(model, tokenizer, MEASURED[:3], longest=6)
    assert greedy == own_answers(model, tokenizer, MEASURED[:3], longest=6)
    assert all(1 <= row.supervised <= 6 for row in greedy)
    assert all(row.labels[-row.supervised :] == row.input_ids[-row.supervised :] for row in greedy)
    assert all(set(row.labels[: -row.supervised]) == {IGNORED} for row in greedy)
    one, same, other = (own_answers(model, tokenizer, MEASURED[:3], longest=6, sampled_with=seed) for seed in (1, 1, 2))
    assert one == same != other


def test_the_base_has_forgotten_nothing_of_itself_and_a_broken_one_much(tiny: Path, tmp_path: Path) -> None:
    model = open_model(tiny, torch.float32)
    watch = Watch(tmp_path, open_tokenizer(tiny), lambda: None)
    watch.begin(model)
    stamp = (tmp_path / REFERENCES).stat().st_mtime_ns
    watch.begin(model)
    assert (tmp_path / REFERENCES).stat().st_mtime_ns == stamp
    assert watch.rise(model) == pytest.approx(0, abs=1e-5)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)
    said = watch.end(model, seed=0)
    assert said["nats_per_token"] > 1
    assert said["interval"][0] > 0
    assert said["after"] == pytest.approx(said["before"] + said["nats_per_token"])


def test_a_run_says_what_it_forgot_and_draws_the_curve(tmp_path: Path, tiny: Path) -> None:
    folder, said = done(tmp_path / "a", tiny, RECIPE)
    assert said["n"] == len(MEASURED)
    curve = [event["forgetting_nats"] for event in events(folder, "validation")]
    assert len(curve) == 2
    assert events(folder, "forgetting")[0]["nats_per_token"] == said["nats_per_token"]
    assert said["questions"]["n"] == 24


def test_replay_mixes_in_so_many_rows_and_lessens_forgetting(tmp_path: Path, tiny: Path) -> None:
    _, without = done(tmp_path / "without", tiny, RECIPE)
    folder, with_replay = done(tmp_path / "with", tiny, dataclasses.replace(RECIPE, replay_share=0.5))
    (plain,) = events(folder, "data")
    assert events(folder, "training")[0]["rows"] == pytest.approx(2 * plain["train"], abs=4)
    assert (folder / REPLAY).is_file()
    assert with_replay["nats_per_token"] < without["nats_per_token"]


def test_the_users_own_rows_can_be_replayed(tmp_path: Path, tiny: Path) -> None:
    tmp_path.joinpath("r").mkdir()
    data = small.write_pairs(tmp_path / "tickets.jsonl", 40)
    own = small.write_messages(tmp_path / "own.jsonl", 12)
    request = RunRequest("bot", "tiny", tiny, tmp_path / "models", RECIPE, PromptTemplate("Name it."))
    create(tmp_path / "run", request, data, replay=own)
    run.execute(tmp_path / "run")
    assert events(tmp_path / "run", "training")[0]["rows"] == events(tmp_path / "run", "data")[0]["train"] + 12
    assert not (tmp_path / "run" / REPLAY).exists()


def test_a_budget_that_no_epoch_keeps_stops_the_run_and_says_what_to_do(tmp_path: Path, tiny: Path) -> None:
    with pytest.raises(InvalidInput, match=r"every epoch forgot more than the 0\.0001 nats"):
        done(tmp_path / "a", tiny, dataclasses.replace(RECIPE, forgetting_budget=1e-4))


def test_replayed_rows_are_made_once(tiny: Path, tmp_path: Path) -> None:
    model, tokenizer = open_model(tiny, torch.float32), open_tokenizer(tiny)
    first = replayed(tmp_path, model, tokenizer, share=0.2, beside=40, seed=0)
    assert len(first) == 10
    assert replayed(tmp_path, None, tokenizer, share=0.2, beside=40, seed=0) == first

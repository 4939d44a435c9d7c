"""The loop learns, its loss is the plain one, and stopping it anywhere changes nothing about where it ends."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest
import torch

from adapters.bases import open_model
from adapters.conversation import Example, Message
from adapters.data.batches import collate, epoch_windows
from adapters.data.tokens import IGNORED, Encoded, encode
from adapters.errors import Interrupted, InvalidInput
from adapters.evaluation.completer import LocalCompleter
from adapters.evaluation.loss import bits_per_byte, measure, nats_per_token, row_losses
from adapters.methods.lora import Lora
from adapters.tuning.progress import METRICS_FILE, Progress
from adapters.tuning.recipe import Recipe
from adapters.tuning.trainer import learning_rate, train
from tests import tiny as small

RECIPE = Recipe("lora", epochs=3, learning_rate=0.01, rank=4, alpha=8, checkpoint_every_s=0.0)


@pytest.fixture(scope="module")
def rows(tokenizer) -> list[Encoded]:
    return [
        encode(tokenizer, Example((Message("user", q), Message("assistant", a)), line, (1,)))
        for line, (q, a) in enumerate(small.rows(40), start=1)
    ]


def trained(folder: Path, base: Path, rows: list[Encoded], recipe: Recipe = RECIPE, stop: threading.Event | None = None):
    """The adapter's weights and the outcome of a run in the folder."""
    folder.mkdir(exist_ok=True)
    model = Lora().prepare(open_model(base, torch.bfloat16), small.ground(base, recipe))
    outcome = train(model, rows[8:], rows[:8], recipe, Progress(folder, stop))
    return {name: p.detach().clone() for name, p in model.named_parameters() if p.requires_grad}, outcome


def test_the_loss_is_the_plain_one_over_all_logits(tiny: Path, rows: list[Encoded]) -> None:
    model = open_model(tiny, torch.float32)
    ours = row_losses(model, collate(rows))
    for row, loss in zip(rows, ours, strict=True):
        labels = torch.tensor([row.labels])
        plain = model(input_ids=torch.tensor([row.input_ids]), labels=labels).loss
        assert loss.item() == pytest.approx(plain.item() * row.supervised, rel=1e-4)


def test_measured_losses_stand_in_the_rows_order_and_padding_does_not_count(tiny: Path, rows: list[Encoded]) -> None:
    model = open_model(tiny, torch.float32)
    together = measure(model, rows, torch.device("cpu"))
    alone = [measure(model, [row], torch.device("cpu"))[0] for row in rows]
    assert [loss.nats for loss in together] == pytest.approx([loss.nats for loss in alone], rel=1e-4)
    assert nats_per_token(together) > 0
    assert bits_per_byte(together) > 0


@pytest.mark.parametrize("micro_batch_size", [1, 3, 8])
def test_an_epoch_shows_every_row_once_in_windows_of_the_batch_size(micro_batch_size: int) -> None:
    lengths = [n % 7 for n in range(45)]
    windows = epoch_windows(lengths, batch_size=8, micro_batch_size=micro_batch_size, seed=1)
    assert sorted(row for window in windows for rows in window for row in rows) == list(range(45))
    assert sorted(sum(map(len, window)) for window in windows) == [5, 8, 8, 8, 8, 8]
    assert max(len(rows) for window in windows for rows in window) <= micro_batch_size
    assert windows == epoch_windows(lengths, batch_size=8, micro_batch_size=micro_batch_size, seed=1)
    assert windows != epoch_windows(lengths, batch_size=8, micro_batch_size=micro_batch_size, seed=2)


def test_training_lowers_the_loss_and_keeps_the_best_epoch(tmp_path: Path, tiny: Path, rows: list[Encoded]) -> None:
    before = nats_per_token(measure(open_model(tiny, torch.bfloat16), rows[:8], torch.device("cpu")))
    _, outcome = trained(tmp_path / "run", tiny, rows)
    events = [json.loads(line) for line in (tmp_path / "run" / METRICS_FILE).read_text().splitlines()]
    losses = [event["loss"] for event in events if event["event"] == "validation"]
    assert outcome.validation_loss == min(losses) < before / 2
    steps = [event for event in events if event["event"] == "step"]
    assert [event["step"] for event in steps] == list(range(1, outcome.steps + 1))
    assert steps[-1]["seconds_left"] == 0.0


def test_smaller_micro_batches_give_the_same_weights_up_to_rounding(tmp_path: Path, tiny: Path, rows: list[Encoded]) -> None:
    whole, _ = trained(tmp_path / "a", tiny, rows, Recipe("lora", epochs=1, rank=4, alpha=8))
    parts, _ = trained(tmp_path / "b", tiny, rows, Recipe("lora", epochs=1, rank=4, alpha=8, micro_batch_size=2))
    for name, weights in whole.items():
        torch.testing.assert_close(parts[name], weights, atol=5e-3, rtol=0.1)


def test_a_run_stopped_after_each_of_its_first_steps_ends_with_the_very_same_weights(
    tmp_path: Path, tiny: Path, rows: list[Encoded]
) -> None:
    straight, _ = trained(tmp_path / "straight", tiny, rows)
    for _ in range(6):
        stop = threading.Event()
        stop.set()
        with pytest.raises(Interrupted):
            trained(tmp_path / "broken", tiny, rows, stop=stop)
    broken, _ = trained(tmp_path / "broken", tiny, rows)
    for name, weights in straight.items():
        assert torch.equal(broken[name], weights)


def test_training_ends_early_when_nothing_is_gained(tmp_path: Path, tiny: Path, rows: list[Encoded]) -> None:
    recipe = Recipe("lora", epochs=30, learning_rate=0.3, rank=4, alpha=8, early_stop_patience=1)
    _, outcome = trained(tmp_path / "run", tiny, rows, recipe)
    assert outcome.stopped_early
    assert outcome.best_step < outcome.steps


def test_a_loss_that_is_no_number_stops_the_run_and_says_what_to_do(tmp_path: Path, tiny: Path, rows: list[Encoded]) -> None:
    model = Lora().prepare(open_model(tiny, torch.bfloat16), small.ground(tiny, RECIPE))
    with torch.no_grad():
        next(p for p in model.parameters() if p.requires_grad).fill_(float("nan"))
    (tmp_path / "run").mkdir()
    with pytest.raises(InvalidInput, match="lower learning_rate"):
        train(model, rows[8:], rows[:8], RECIPE, Progress(tmp_path / "run"))


def test_the_learning_rate_warms_up_and_falls_to_nearly_nothing() -> None:
    recipe = Recipe("lora", learning_rate=1e-3, warmup_share=0.1)
    rates = [learning_rate(step, 100, recipe) for step in range(100)]
    assert rates[:10] == pytest.approx([1e-4 * step for step in range(1, 11)])
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[-1] < 1e-6
    assert learning_rate(0, 1, recipe) > 0


def test_answers_do_not_depend_on_who_is_asked_beside(tiny: Path, tokenizer) -> None:
    ask = LocalCompleter(open_model(tiny, torch.float32), tokenizer, max_new_tokens=6)
    conversations = [[{"role": "user", "content": q * n}] for n, (q, _) in enumerate(small.rows(20), start=1)]
    assert ask(conversations) == [ask([said])[0] for said in conversations]


def test_a_torn_last_line_of_the_metrics_is_dropped(tmp_path: Path) -> None:
    Progress(tmp_path).event("step", step=1)
    with (tmp_path / METRICS_FILE).open("a") as file:
        file.write('{"event": "st')
    Progress(tmp_path).event("step", step=2)
    assert [json.loads(line)["step"] for line in (tmp_path / METRICS_FILE).read_text().splitlines()] == [1, 2]


def test_only_answers_are_learned(rows: list[Encoded]) -> None:
    assert all(0 < row.supervised < len(row.labels) and row.labels[0] == IGNORED for row in rows)

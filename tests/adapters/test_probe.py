"""A probe passes what was recorded and refuses what was not, says why, and survives being stored and asked."""

from __future__ import annotations

import dataclasses
import json
import math
import random
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from adapters.__main__ import main
from adapters.bases import open_model
from adapters.conversation import Example, Message
from adapters.data.tokens import Encoded, encode
from adapters.errors import InvalidInput, Unservable
from adapters.evaluation.probe import (
    EFFECT_TOLERANCE,
    FLOOR_NATS,
    MOST_PROMPT_TOKENS,
    MOST_ROWS,
    Probe,
    ProbeRow,
    as_request,
    from_json,
    judge,
    read_reply,
    to_json,
)
from adapters.evaluation.recording import record
from adapters.methods.lora import Lora
from adapters.registry import WEIGHTS
from adapters.tuning.adapted import open_adapted
from adapters.tuning.recipe import Recipe
from tests import tiny as small

DRAW = random.Random(0)
PROBE = Probe(
    tuple(
        ProbeRow(
            (1, 2, number),
            tuple(range(8)),
            tuple(DRAW.uniform(-9, 0) for _ in range(8)),
            tuple(DRAW.uniform(-9, 0) for _ in range(8)),
        )
        for number in range(4)
    ),
    "bfloat16",
)


def between(share: float, noise: float = 0.0) -> list[list[float]]:
    """What an engine would answer that applied this share of the adapter, with noise of so many nats."""
    return [
        [b + share * (a - b) + DRAW.gauss(0, noise) for a, b in zip(row.adapted, row.base, strict=True)] for row in PROBE.rows
    ]


@pytest.mark.parametrize("noise", [0.0, 0.1, 0.2])
def test_the_recorded_answers_pass_with_the_rounding_that_was_seen_between_stacks(noise: float) -> None:
    verdict = judge(PROBE, between(1, noise))
    assert verdict.passed, verdict
    assert verdict.effect == pytest.approx(1, abs=0.05)
    assert verdict.distance == pytest.approx(noise, abs=0.1)


@pytest.mark.parametrize(
    ("share", "why"),
    [(0, "as the base does"), (0.5, "only a part"), (2, "more strongly"), (0.85, "not answer as was recorded")],
)
def test_other_answers_fail_each_with_its_reason(share: float, why: str) -> None:
    verdict = judge(PROBE, between(share, 0.1))
    assert not verdict.passed
    assert why in verdict.reason
    assert f"{verdict.effect:.2f}" in verdict.reason
    assert verdict.effect == pytest.approx(share, abs=0.05)


def test_answers_that_happen_to_have_the_right_slope_are_still_too_far_away() -> None:
    verdict = judge(PROBE, between(1, 3.0))
    assert not verdict.passed
    assert verdict.distance > FLOOR_NATS


def test_what_is_no_number_fails_and_what_is_not_there_is_an_error() -> None:
    seen = between(1)
    seen[0][0] = math.nan
    assert not judge(PROBE, seen).passed
    with pytest.raises(InvalidInput, match="31 log-probabilities"):
        judge(PROBE, [seen[0][:-1], *seen[1:]])


@given(st.floats(-3, 3), st.floats(0.3, 12))
def test_only_shares_near_one_pass_however_strong_the_adapter(share: float, shift: float) -> None:
    probe = Probe((ProbeRow((1,), (1, 2), (-1.0 - shift, -1.0), (-1.0, -1.0 - shift)),), "bfloat16")
    seen = [[b + share * (a - b) for a, b in zip(row.adapted, row.base, strict=True)] for row in probe.rows]
    if judge(probe, seen).passed:
        assert abs(share - 1) <= EFFECT_TOLERANCE + 1e-9


def test_one_request_asks_for_all_rows_and_its_answer_is_read_in_any_order() -> None:
    body = as_request(PROBE, "bot--0123456789ab")
    assert body["model"] == "bot--0123456789ab"
    assert body["prompt"] == [list(row.prompt_ids) for row in PROBE.rows]
    assert body["max_tokens"] == 1
    assert json.loads(json.dumps(body)) == body
    assert as_request(PROBE, "x")["cache_salt"] != body["cache_salt"], "nothing remembered may answer"
    choices = [
        {
            "index": at,
            "logprobs": {"top_logprobs": [{f"token_id:{t}": a for t, a in zip(row.token_ids, row.adapted, strict=True)}]},
        }
        for at, row in enumerate(PROBE.rows)
    ]
    seen = read_reply(PROBE, {"choices": choices[::-1]})
    assert judge(PROBE, seen).distance == 0
    for torn in ({}, {"choices": choices[1:]}, {"choices": [{"index": 0, "logprobs": None}]}):
        with pytest.raises(InvalidInput, match="answer to the probe"):
            read_reply(PROBE, torn)


def test_a_stored_probe_is_the_same_and_a_damaged_one_is_refused() -> None:
    raw = json.loads(json.dumps(to_json(PROBE)))
    assert from_json(raw) == PROBE
    row = raw["rows"][0]
    for damaged in (
        {}, {"rows": raw["rows"]}, {"rows": [], "dtype": "bfloat16"}, {"rows": [row | {"adapted": [1.0]}], "dtype": "x"},
        {"rows": [row | {"adapted": row["base"]}], "dtype": "x"}, {"rows": [row | {"base": [math.nan] * 8}], "dtype": "x"},
    ):  # fmt: skip
        with pytest.raises(InvalidInput, match="record it again"):
            from_json(damaged)


@pytest.fixture(scope="module")
def rows(tokenizer) -> list[Encoded]:
    return [
        encode(tokenizer, Example((Message("user", question), Message("assistant", answer)), line, (1,)))
        for line, (question, answer) in enumerate(small.rows(20), start=1)
    ]


def adapter(tiny: Path, folder: Path, *, size: float = 0.3, seed: int = 1) -> Path:
    """A saved adapter with random weights of this size in lora_B."""
    where = small.ground(tiny, Recipe("lora", rank=4, alpha=8))
    model = Lora().prepare(open_model(tiny, torch.bfloat16), where)
    torch.manual_seed(seed)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=size)
    folder.mkdir()
    Lora().save(model, folder, where)
    return folder


def answered(probe: Probe, model) -> list[list[float]]:
    """What an engine would answer: the model's own log-probabilities of the probe's tokens, computed the plain way."""
    seen = []
    for row in probe.rows:
        with torch.inference_mode():
            values = model(input_ids=torch.tensor([row.prompt_ids])).logits[0, -1].float().log_softmax(-1)
        seen.append(values[list(row.token_ids)].tolist())
    return seen


def test_a_recording_tells_the_adapter_from_the_base_and_from_another_adapter(
    tmp_path: Path, tiny: Path, rows: list[Encoded]
) -> None:
    folder = adapter(tiny, tmp_path / "good")
    probe = record(open_adapted(tiny, folder, torch.bfloat16), rows)
    assert (len(probe.rows), probe.dtype) == (MOST_ROWS, "bfloat16")
    assert max(len(row.prompt_ids) for row in probe.rows) <= MOST_PROMPT_TOKENS
    again = open_adapted(tiny, folder, torch.float32)
    assert judge(probe, answered(probe, again)).passed, "another precision is no other adapter"
    with again.disable_adapter():
        verdict = judge(probe, answered(probe, again))
    assert not verdict.passed
    assert "as the base does" in verdict.reason
    other = open_adapted(tiny, adapter(tiny, tmp_path / "other", seed=2), torch.bfloat16)
    assert not judge(probe, answered(probe, other)).passed


def test_an_adapter_without_a_measurable_effect_cannot_be_recorded(tmp_path: Path, tiny: Path, rows: list[Encoded]) -> None:
    model = open_adapted(tiny, adapter(tiny, tmp_path / "faint", size=1e-4), torch.bfloat16)
    with pytest.raises(Unservable, match="no measurable effect") as refused:
        record(model, rows)
    assert refused.value.code == "adapter_does_nothing"


def test_an_adapter_from_outside_gets_its_probe_by_command(tmp_path: Path, tiny: Path, capsys) -> None:
    folder, out = adapter(tiny, tmp_path / "good"), tmp_path / "probe.json"
    assert main(["probe", "--base-folder", str(tiny), "--adapter", str(folder), "--out", str(out)]) == 0
    probe = from_json(json.loads(out.read_text()))
    assert judge(probe, answered(probe, open_adapted(tiny, folder, torch.bfloat16))).passed
    faint = adapter(tiny, tmp_path / "faint", size=1e-4)
    capsys.readouterr()
    assert main(["probe", "--base-folder", str(tiny), "--adapter", str(faint), "--out", str(tmp_path / "none.json")]) == 1
    assert "no measurable effect" in capsys.readouterr().err.splitlines()[-1]
    assert not (tmp_path / "none.json").exists()


def test_an_adapter_that_does_not_fit_the_base_is_refused_by_name(tmp_path: Path, tiny: Path) -> None:
    folder = adapter(tiny, tmp_path / "good")
    config = json.loads((tiny / "config.json").read_text()) | {"num_hidden_layers": 1}
    (tmp_path / "shallow").mkdir()
    for file in tiny.iterdir():
        (tmp_path / "shallow" / file.name).write_bytes(file.read_bytes())
    (tmp_path / "shallow" / "config.json").write_text(json.dumps(config))
    with pytest.raises(Unservable, match=r"layers\.1") as refused:
        open_adapted(tmp_path / "shallow", folder, torch.bfloat16)
    assert refused.value.code == "adapter_wrong_base"
    (folder / WEIGHTS).unlink()
    with pytest.raises(Unservable, match="cannot be put on"):
        open_adapted(tiny, folder, torch.bfloat16)


def test_the_row_order_of_a_probe_matters_to_nobody_but_its_answers() -> None:
    turned = dataclasses.replace(PROBE, rows=PROBE.rows[::-1])
    assert judge(turned, between(1)[::-1]).passed
    assert not judge(turned, between(1)).passed


def test_what_a_model_says_of_its_first_tokens_alone_is_not_probed_where_there_is_more() -> None:
    from adapters.data.tokens import Encoded
    from adapters.evaluation.recording import FEWEST_PROMPT_TOKENS, _prompts

    text, short = Encoded(list(range(1, 41)), list(range(1, 41)), 40, 100), Encoded([1, 2, 3], [1, 2, 3], 3, 9)
    assert {len(prompt) for prompt in _prompts([text])} == {FEWEST_PROMPT_TOKENS, 16}
    assert {len(prompt) for prompt in _prompts([short])} == {1, 2}

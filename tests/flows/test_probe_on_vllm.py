"""The probe on a real vLLM: what was recorded passes, and everything else that loads without complaint does not.

The base is SmolLM2; the adapters have random weights, which move it as much as a tuning does and take no time to make.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
import torch
from safetensors.torch import load_file, save_file

from adapters import embedded
from adapters.bases import open_model, open_tokenizer
from adapters.evaluation.probe import Probe, Verdict, as_request, judge, read_reply
from adapters.evaluation.recording import general_rows, record
from adapters.methods.lora import Lora
from adapters.methods.peft_folder import CONFIG
from adapters.registry import WEIGHTS
from adapters.tuning.adapted import open_adapted
from adapters.tuning.recipe import Recipe
from gateway import settings as settings_table
from gateway.engines.contract import Slots
from tests import tiny as small
from tests.flows.engine import vllm_engine

pytestmark = [pytest.mark.engine, pytest.mark.timeout(400)]

BASE = "smollm2"


@dataclass(frozen=True)
class Engine:
    http: httpx.Client

    def post(self, path: str, body: dict[str, object]) -> httpx.Response:
        return self.http.post(path, json=body, timeout=120)

    def verdict(self, probe: Probe, adapter: Path | None) -> Verdict:
        """Of the adapter, loaded under its folder's name; of the base, asked for as if it were the adapter, for None."""
        name = adapter.name if adapter else BASE
        if adapter:
            assert self.post("/v1/load_lora_adapter", {"lora_name": name, "lora_path": str(adapter)}).status_code == 200
        answer = self.post("/v1/completions", as_request(probe, name))
        assert answer.status_code == 200, answer.text
        return judge(probe, read_reply(probe, answer.json()))


@pytest.fixture(scope="module")
def engine(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    with vllm_engine(tmp_path_factory.mktemp("engine"), BASE, base, Slots(1, 8, 8)) as http:
        yield Engine(http)


@pytest.fixture(scope="module")
def base() -> Path:
    return embedded.prepare(BASE, settings_table.load().storage_cache)


def adapter(base: Path, folder: Path, seed: int) -> Path:
    where = small.ground(base, Recipe("lora", rank=4, alpha=8, seed=seed), name=BASE)
    model = Lora().prepare(open_model(base, torch.bfloat16), where)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.05)
    folder.mkdir()
    Lora().save(model, folder, where)
    return folder


@pytest.fixture(scope="module")
def good(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return adapter(base, tmp_path_factory.mktemp("adapters") / "good", 0)


@pytest.fixture(scope="module")
def probe(base: Path, good: Path) -> Probe:
    model = open_adapted(base, good, torch.bfloat16)
    return record(model, general_rows(model, open_tokenizer(base)))


def test_the_adapter_that_was_recorded_passes(engine: Engine, probe: Probe, good: Path) -> None:
    verdict = engine.verdict(probe, good)
    assert verdict.passed, verdict.reason
    again = engine.post("/v1/completions", as_request(probe, good.name)).json()
    assert judge(probe, read_reply(probe, again)).passed


def test_the_base_in_its_place_does_not(engine: Engine, probe: Probe) -> None:
    verdict = engine.verdict(probe, None)
    assert not verdict.passed
    assert "as the base does" in verdict.reason


def test_one_whose_every_second_module_has_no_effect_does_not(engine: Engine, probe: Probe, good: Path, tmp_path: Path) -> None:
    weights = load_file(good / WEIGHTS)
    modules = sorted({name.rsplit(".lora_", 1)[0] for name in weights})
    halved = {name: w * (modules.index(name.rsplit(".lora_", 1)[0]) % 2) for name, w in weights.items()}
    (tmp_path / "halved").mkdir()
    save_file(halved, tmp_path / "halved" / WEIGHTS)
    (tmp_path / "halved" / CONFIG).write_text((good / CONFIG).read_text())
    verdict = engine.verdict(probe, tmp_path / "halved")
    assert not verdict.passed
    assert "only a part" in verdict.reason


def test_one_that_is_scaled_twice_as_strongly_does_not(engine: Engine, probe: Probe, good: Path, tmp_path: Path) -> None:
    (tmp_path / "doubled").mkdir()
    (tmp_path / "doubled" / WEIGHTS).write_bytes((good / WEIGHTS).read_bytes())
    config = json.loads((good / CONFIG).read_text())
    (tmp_path / "doubled" / CONFIG).write_text(json.dumps(config | {"lora_alpha": 2 * config["lora_alpha"]}))
    assert not engine.verdict(probe, tmp_path / "doubled").passed


def test_another_adapter_does_not(engine: Engine, probe: Probe, base: Path, tmp_path: Path) -> None:
    verdict = engine.verdict(probe, adapter(base, tmp_path / "other", 1))
    assert not verdict.passed
    assert verdict.effect < 0.85


def test_a_probe_beside_other_requests_neither_fails_nor_hurts_them(engine: Engine, probe: Probe, good: Path) -> None:
    chat = {"model": BASE, "prompt": "The sea is", "max_tokens": 24, "ignore_eos": True}
    asked = [chat, as_request(probe, good.name), chat, as_request(probe, good.name)]
    with ThreadPoolExecutor(len(asked)) as callers:
        answers = list(callers.map(lambda body: engine.post("/v1/completions", body), asked))
    assert [answer.status_code for answer in answers] == [200] * 4
    assert all(judge(probe, read_reply(probe, answer.json())).passed for answer in answers[1::2])

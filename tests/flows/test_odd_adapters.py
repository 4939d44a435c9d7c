"""Every odd but good adapter that the preflight accepts is one that a real vLLM serves as PEFT computes it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
import torch

from adapters.bases import open_model
from adapters.intake.preflight import check_adapter
from gateway.engines.contract import Slots
from tests.adapters.broken_adapters import ODD, good_adapter
from tests.flows.engine import vllm_engine
from tests.tiny import tiny_llama

pytestmark = [pytest.mark.engine, pytest.mark.timeout(300)]

BASE = "tiny"
IDS = list(range(20, 50))
"""Any tokens will do: what counts is what each model thinks of them."""
BF16_NATS = 0.15
"""Root mean square over the tokens. Measured: 0.007 to 0.079 between the engine and PEFT, 0.77 and more to the base."""


@dataclass(frozen=True)
class Engine:
    http: httpx.Client
    folder: Path

    def log_probs(self, model: str) -> torch.Tensor:
        """Of each of the IDS but the first, in nats."""
        body = {"model": model, "prompt": IDS, "max_tokens": 1, "prompt_logprobs": 0}
        answer = self.http.post("/v1/completions", json=body).json()
        entries = answer["choices"][0]["prompt_logprobs"][1:]
        return torch.tensor([entry[str(token)]["logprob"] for token, entry in zip(IDS[1:], entries, strict=True)])


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    home = tmp_path_factory.mktemp("odd")
    folder = tiny_llama(home / BASE)
    with vllm_engine(home, BASE, folder, Slots(max_loras=2, max_lora_rank=8, max_cpu_loras=4)) as http:
        yield Engine(http, folder)


def by_peft(base: Path, adapter: Path) -> torch.Tensor:
    from peft import PeftModel

    model = PeftModel.from_pretrained(open_model(base, torch.bfloat16), adapter, autocast_adapter_dtype=False).bfloat16()
    with torch.no_grad():
        scores = model(torch.tensor([IDS])).logits[0].float().log_softmax(-1)
    return scores[range(len(IDS) - 1), IDS[1:]]


def rms(one: torch.Tensor, other: torch.Tensor) -> float:
    return float((one - other).square().mean().sqrt())


@pytest.mark.parametrize("what", ODD)
def test_what_the_preflight_accepts_is_served_as_trained(engine: Engine, tmp_path: Path, what: str) -> None:
    adapter = good_adapter(tmp_path / "adapter", engine.folder)
    ODD[what](adapter)
    check_adapter(adapter, engine.folder, max_rank=8)
    name = f"odd-{list(ODD).index(what)}"
    loaded = engine.http.post("/v1/load_lora_adapter", json={"lora_name": name, "lora_path": str(adapter)})
    assert loaded.status_code == 200, loaded.text
    seen = engine.log_probs(name)
    assert rms(seen, by_peft(engine.folder, adapter)) < BF16_NATS
    assert rms(seen, engine.log_probs(BASE)) > 4 * BF16_NATS

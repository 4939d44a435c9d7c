"""The second embedded base, Gemma-3-270M: prepared for real, which takes about a minute the first time."""

from __future__ import annotations

from pathlib import Path

import pytest

from adapters import bases, embedded
from adapters.data.tokens import prompt_ids
from adapters.tuning.memory import FORMULAS, estimate
from gateway import settings as settings_table
from tests.flows.engine import vllm_engine

pytestmark = [pytest.mark.engine, pytest.mark.timeout(400)]


@pytest.fixture(scope="module")
def gemma() -> Path:
    return embedded.prepare("gemma3-270m", settings_table.load().storage_cache)


def test_its_prompts_begin_with_bos_and_follow_no_chat_template(gemma: Path) -> None:
    tokenizer = bases.open_tokenizer(gemma)
    assert tokenizer.chat_template is None
    ids = prompt_ids(tokenizer, [{"role": "user", "content": "The capital of France is"}])
    assert ids[0] == tokenizer.bos_token_id
    assert tokenizer.decode(ids[1:]) == "The capital of France is"


def test_the_engine_reads_a_prompt_as_the_trainer_does(gemma: Path, tmp_path: Path) -> None:
    tokenizer = bases.open_tokenizer(gemma)
    with vllm_engine(tmp_path, "gemma3-270m", gemma, None, max_model_len=128) as http:
        for text in ("The capital of France is", "Größe: 3 €\n\tdef f(x):", "<b>bold</b>  two spaces, 日本語"):
            asked = {"model": "gemma3-270m", "prompt": text, "max_tokens": 1, "return_token_ids": True}
            (choice,) = http.post("/v1/completions", json=asked).json()["choices"]
            assert choice["prompt_token_ids"] == prompt_ids(tokenizer, [{"role": "user", "content": text}])


def test_its_shape_is_read_and_every_memory_formula_takes_it(gemma: Path) -> None:
    facts = bases.facts(gemma)
    assert (facts.layers, facts.hidden, facts.vocab, facts.tied) == (18, 640, 262_144, True)
    assert facts.params_b == pytest.approx(0.268, abs=0.001)
    for method in FORMULAS:
        assert 1 < estimate(facts, method).gib < 24

"""Every row of METHODS keeps the contract: what it does to the prompt, to the weights, and on disk."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest
import torch

from adapters.bases import facts, open_model, open_tokenizer
from adapters.conversation import Example, Message, wire
from adapters.data.batches import collate
from adapters.data.tokens import encode, prompt_ids
from adapters.errors import InvalidInput
from adapters.evaluation.loss import row_losses
from adapters.intake.preflight import check_adapter
from adapters.methods.table import METHODS, method
from adapters.prompts import PromptTemplate
from adapters.registry import WEIGHTS, file_digest
from adapters.tuning.recipe import Recipe, defaults
from tests.tiny import TOPICS, rows, tiny_llama

TRAIN = [Example((Message("user", q), Message("assistant", a)), n, (1,)) for n, (q, a) in enumerate(rows(40))]
TRAINING = [name for name, row in METHODS.items() if row.trains]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_llama(tmp_path_factory.mktemp("bases") / "tiny")


@pytest.mark.parametrize("name", METHODS)
def test_the_prompt_is_seeded_keeps_the_given_one_and_can_be_rendered(name: str, base: Path) -> None:
    recipe, given = Recipe(name, seed=3), PromptTemplate("Name the team.")
    made = METHODS[name].prompt(given, TRAIN, recipe)
    assert made is not None
    assert made.system == given.system
    assert made == METHODS[name].prompt(given, TRAIN[::-1], recipe)
    assert prompt_ids(open_tokenizer(base), wire(TRAIN[0].prompt), made)


@pytest.mark.parametrize("name", METHODS)
def test_every_method_has_default_knobs(name: str, base: Path) -> None:
    assert defaults(name, 200, facts(base)).method == name


@pytest.fixture(scope="module", params=TRAINING)
def stepped(request: pytest.FixtureRequest, base: Path, tmp_path_factory: pytest.TempPathFactory):
    """The method's model after one step, saved: (model, frozen weights before, folder, ref, batch)."""
    weights, recipe = METHODS[request.param].weights, Recipe(request.param, rank=4, alpha=8)
    torch.manual_seed(99)  # the recipe's seed decides, not whatever ran before
    model = weights.prepare(open_model(base, torch.bfloat16), recipe)
    frozen = {name: p.detach().clone() for name, p in model.named_parameters() if not p.requires_grad}
    batch = collate([encode(open_tokenizer(base), example) for example in TRAIN[:8]])
    trainable = [p for p in model.parameters() if p.requires_grad]
    started = [p.detach().clone() for p in trainable]
    row_losses(model, batch).sum().backward()
    torch.optim.SGD(trainable, lr=0.1).step()
    folder = tmp_path_factory.mktemp(request.param)
    ref = weights.save(model, folder, "tiny")
    return request.param, model, frozen, started, folder, ref, batch


def test_only_what_the_method_trains_moves(stepped) -> None:
    _, model, frozen, started, *_ = stepped
    after = dict(model.named_parameters())
    assert all(torch.equal(after[name], before) for name, before in frozen.items())
    assert any(
        not torch.equal(p.float(), before)
        for p, before in zip((p for p in model.parameters() if p.requires_grad), started, strict=True)
    )


def test_preparing_twice_starts_from_the_same_weights(stepped, base: Path) -> None:
    name, _, _, started, *_ = stepped
    again = METHODS[name].weights.prepare(open_model(base, torch.bfloat16), Recipe(name, rank=4, alpha=8))
    assert all(
        torch.equal(p, before) for p, before in zip((p for p in again.parameters() if p.requires_grad), started, strict=True)
    )


def test_the_saved_folder_is_what_the_engine_takes(stepped, base: Path) -> None:
    _, _, _, _, folder, ref, _ = stepped
    assert sorted(path.name for path in folder.iterdir()) == ["adapter_config.json", WEIGHTS]
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o644 for path in folder.iterdir())
    assert json.loads((folder / "adapter_config.json").read_text())["base_model_name_or_path"] == "tiny"
    assert (ref.digest, ref.rank) == (file_digest(folder / WEIGHTS), 4)
    check_adapter(folder, base, max_rank=4)


def test_the_folder_computes_what_the_model_in_memory_does(stepped, base: Path) -> None:
    from peft import PeftModel

    _, model, _, _, folder, _, batch = stepped
    loaded = PeftModel.from_pretrained(open_model(base, torch.bfloat16), folder, autocast_adapter_dtype=False)
    with torch.no_grad():
        assert torch.equal(row_losses(loaded, batch), row_losses(model, batch))


def test_few_shot_shows_every_class_before_it_repeats_one() -> None:
    made = METHODS["few_shot"].prompt(None, TRAIN, Recipe("few_shot", shots=6))
    assert {shot.assistant for shot in made.shots[:4]} == set(TOPICS)
    assert len(made.shots) == 6
    assert made != METHODS["few_shot"].prompt(None, TRAIN, Recipe("few_shot", shots=6, seed=1))


def test_few_shot_refuses_long_conversations() -> None:
    talk = Example(tuple(Message(role, "x") for role in ("user", "assistant") * 2), 1, (3,))
    with pytest.raises(InvalidInput, match="one question and one answer"):
        METHODS["few_shot"].prompt(None, [talk], Recipe("few_shot"))


def test_a_method_that_cannot_be_carried_out_is_refused_by_name() -> None:
    with pytest.raises(InvalidInput, match="zero_shot, few_shot, lora"):
        method("telepathy")

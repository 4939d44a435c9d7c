"""Soft prompts: where they stand, that nothing but they is trained, and that what is saved is what was trained."""

from __future__ import annotations

import dataclasses
import io
import json
from base64 import b64decode
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from adapters.bases import facts, open_model
from adapters.conversation import Example, Message, wire
from adapters.data.batches import collate
from adapters.data.tokens import IGNORED, encode, prompt_ids
from adapters.errors import InvalidInput, Unservable
from adapters.evaluation import probe as probes
from adapters.evaluation.completer import LocalCompleter
from adapters.evaluation.loss import measure, row_losses
from adapters.methods.contract import Ground, Watched
from adapters.methods.prompt_tuning import EMBEDDINGS, WEIGHTS, PromptTuning
from adapters.prompts import PromptTemplate, Shot, render
from adapters.registry import file_digest
from adapters.soft_slot import CONFIG, MARKER, PAYLOAD, Slot, read_slot, with_markers
from adapters.tuning import device
from adapters.tuning.progress import Progress
from adapters.tuning.recipe import Recipe
from adapters.tuning.trainer import Outcome, train
from tests import tiny

RECIPE = Recipe("prompt_tuning", virtual_tokens=5, epochs=3, learning_rate=0.05, batch_size=8, early_stop_patience=10)
METHOD = PromptTuning()
EXAMPLES = [Example((Message("user", q), Message("assistant", a)), n, (1,)) for n, (q, a) in enumerate(tiny.rows(40), start=1)]
TEMPLATE = PromptTemplate("Name the topic.")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.tiny_llama(tmp_path_factory.mktemp("bases") / "tiny")


def ground_of(base: Path, template: PromptTemplate | None = TEMPLATE, **changes: Any) -> Ground:
    recipe = dataclasses.replace(RECIPE, **changes)
    ground: Ground = tiny.ground(base, recipe)
    return dataclasses.replace(ground, template=template, examples=EXAMPLES)


@dataclass(frozen=True)
class Trained:
    ground: Ground
    model: Any
    folder: Path
    outcome: Outcome
    ref: Any


@pytest.fixture(scope="module")
def trained(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    ground, folder = ground_of(base), tmp_path_factory.mktemp("trained")
    rows = METHOD.rows(ground, EXAMPLES)
    model: Any = METHOD.prepare(open_model(base, device.dtype()), ground)
    frozen = {name: p.detach().clone() for name, p in model.named_parameters() if not p.requires_grad}
    progress = Progress(tmp_path_factory.mktemp("run"))
    outcome = train(model, rows[:32], rows[32:], ground.recipe, progress, rate=METHOD.rate)
    progress.close()
    assert all(torch.equal(dict(model.named_parameters())[name], value) for name, value in frozen.items())
    return Trained(ground, model, folder, outcome, METHOD.save(model, folder, ground))


def test_the_soft_tokens_stand_at_the_start_of_the_system_message(base: Path) -> None:
    asked = METHOD.asked(ground_of(base))
    row = METHOD.rows(ground_of(base), EXAMPLES[:1])[0]
    marker = asked.tokenizer.convert_tokens_to_ids(MARKER)
    start = row.input_ids.index(marker)
    assert asked.tokenizer.decode(row.input_ids[:start]) == "<|im_start|>system\n"
    assert row.input_ids[start : start + 5] == [marker] * 5
    assert row.input_ids.count(marker) == 5
    assert asked.tokenizer.decode(row.input_ids[start + 5 :]).startswith("\nName the topic.<|im_end|>")
    assert all(label == IGNORED for label in row.labels[: start + 5])


def test_only_the_table_is_trained_and_it_learns(trained: Trained) -> None:
    assert [name for name, p in trained.model.named_parameters() if p.requires_grad] == ["embeddings"]
    assert trained.model.embeddings.shape == (5, 64)
    untrained = METHOD.prepare(open_model(trained.ground.base_folder, device.dtype()), trained.ground)
    rows = METHOD.rows(trained.ground, EXAMPLES[32:])
    before = sum(loss.nats for loss in measure(untrained, rows, device.device()))
    assert sum(loss.nats for loss in measure(trained.model, rows, device.device())) < 0.9 * before


def test_padding_changes_no_rows_loss(trained: Trained) -> None:
    rows = METHOD.rows(trained.ground, EXAMPLES[:2])
    longer = METHOD.rows(trained.ground, [Example((Message("user", "word " * 40), Message("assistant", "billing")), 1, (1,))])
    with torch.no_grad():
        together = row_losses(trained.model, collate([*rows, *longer]))
        alone = torch.cat([row_losses(trained.model, collate([row])) for row in [*rows, *longer]])
    assert torch.allclose(together, alone, atol=0.05)


def test_soft_tokens_that_are_a_texts_own_embeddings_change_nothing(base: Path) -> None:
    ground = ground_of(base, None, initial_text="billing delivery")
    ids = ground.tokenizer("billing delivery", add_special_tokens=False)["input_ids"]
    ground = dataclasses.replace(ground, recipe=dataclasses.replace(ground.recipe, virtual_tokens=len(ids)))
    model: Any = METHOD.prepare(open_model(base, torch.float32), ground)
    soft = METHOD.rows(ground, EXAMPLES[:1])[0]
    hard = list(soft.input_ids)
    for place, marker in enumerate([at for at, i in enumerate(hard) if i == model.marker_id]):
        hard[marker] = ids[place]
    with torch.no_grad():
        ours = row_losses(model, collate([soft]))
        plain = row_losses(open_model(base, torch.float32), collate([dataclasses.replace(soft, input_ids=hard)]))
    assert torch.allclose(ours, plain, atol=1e-5)


@pytest.mark.parametrize(
    ("template", "text", "expected"),
    [(TEMPLATE, "pay", "pay"), (TEMPLATE, "", "Name the topic."), (None, "", None)],
    ids=["the recipe's text", "the instruction", "words of the rows"],
)
def test_they_start_from(template: PromptTemplate | None, text: str, expected: str | None, base: Path) -> None:
    ground = ground_of(base, template, initial_text=text)
    model: Any = METHOD.prepare(open_model(base, torch.float32), ground)
    table = model.base.get_input_embeddings().weight
    words = [expected] if expected else [message.content for example in EXAMPLES for message in example.messages]
    known = [i for word in words for i in ground.tokenizer(word, add_special_tokens=False)["input_ids"]]
    found = [int((table == row).all(dim=1).nonzero()[0]) for row in model.embeddings.detach()]
    assert set(found) <= set(known)
    if expected:
        assert found == [known[place % len(known)] for place in range(5)]  # repeated, or cut, to the tokens there are


def test_the_folder_holds_the_embeddings_what_they_are_and_what_the_engine_takes(trained: Trained) -> None:
    folder, template = trained.folder, trained.ground.tokenizer.chat_template
    assert {path.name for path in folder.iterdir()} == {WEIGHTS, CONFIG, PAYLOAD}
    assert trained.ref.kind == "soft_prompt"
    assert trained.ref.digest == file_digest(folder / WEIGHTS)
    said = json.loads((folder / CONFIG).read_text())
    assert said["base_digest"] == facts(trained.ground.base_folder).digest
    assert (said["format"], said["slot"], said["separator"], said["tokens"], said["hidden"]) == (1, "system_start", "\n", 5, 64)
    assert template is not None
    saved = load_file(folder / WEIGHTS)[EMBEDDINGS]
    assert saved.dtype == device.dtype()
    assert torch.equal(saved.float(), trained.model.embeddings.detach())  # the model was rounded with them
    assert torch.equal(torch.load(io.BytesIO(b64decode((folder / PAYLOAD).read_text())), weights_only=True), saved)


def test_what_is_opened_computes_what_was_trained_and_beside_it_is_the_base(trained: Trained) -> None:
    opened = METHOD.open(trained.folder, trained.ground)
    batch = collate(METHOD.rows(trained.ground, EXAMPLES[:4]))
    plain = collate([encode(trained.ground.tokenizer, example, TEMPLATE) for example in EXAMPLES[:4]])
    with torch.no_grad(), METHOD.untuned(opened, trained.ground) as untuned:
        assert torch.equal(row_losses(opened, batch), row_losses(trained.model.eval(), batch))
        base = open_model(trained.ground.base_folder, device.dtype()).to(device.device())
        assert torch.equal(row_losses(untuned, plain), row_losses(base, plain))


def test_answers_do_not_depend_on_who_is_asked_beside_them(trained: Trained) -> None:
    asked = METHOD.asked(trained.ground)
    completer = LocalCompleter(trained.model, asked.tokenizer, max_new_tokens=4)
    said = [render(asked.template, wire(example.prompt)) for example in EXAMPLES[:3]]
    said.append(render(asked.template, [{"role": "user", "content": "card " * 30}]))
    together = completer(said)
    assert together == [completer([conversation])[0] for conversation in said]
    assert any(together)


def test_the_engine_is_handed_what_was_trained(trained: Trained) -> None:
    slot = read_slot(trained.folder, "tiny", TEMPLATE)
    asked = METHOD.asked(trained.ground)
    for said in (
        [{"role": "user", "content": "hi"}],
        [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "hi"}],
        [
            {"role": "developer", "content": "Be kind."},
            {"role": "user", "content": "hi"},
            {"role": "assistant", "content": "yes"},
        ],
    ):
        engine = [engines_text(message, slot, 5) for message in slot.around(said)]
        assert prompt_ids(asked.tokenizer, engine) == prompt_ids(asked.tokenizer, said, asked.template)


def test_without_a_template_only_the_embeddings_are_added_and_a_callers_own_system_text_stays(base: Path) -> None:
    slot = Slot("tiny", None, "cGF5", "\n", 5)
    alone = slot.around([{"role": "user", "content": "hi"}])
    assert alone == [
        {"role": "system", "content": [{"type": "prompt_embeds", "data": "cGF5"}]},
        {"role": "user", "content": "hi"},
    ]
    own = slot.around([{"role": "system", "content": "Be kind."}, {"role": "user", "content": "hi"}])
    asked = METHOD.asked(ground_of(base, None))
    trained_on = render(asked.template, [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "hi"}])
    assert engines_text(own[0], slot, 5)["content"] == trained_on[0]["content"]


def engines_text(message: dict[str, Any], slot: Slot, tokens: int) -> dict[str, Any]:
    """What vLLM makes of a message with parts, as was seen: parts joined, the embeddings' place kept by markers."""
    if isinstance(message["content"], str):
        return message
    texts = [MARKER * tokens if part["type"] == "prompt_embeds" else part["text"] for part in message["content"]]
    return message | {"content": slot.separator.join(texts)}


def test_shots_follow_the_system_message_that_holds_the_soft_tokens() -> None:
    made = with_markers(PromptTemplate(None, (Shot("q", "a"),)), 2)
    assert render(made, [{"role": "user", "content": "?"}])[0] == {"role": "system", "content": MARKER * 2}
    assert made.shots == (Shot("q", "a"),)


def test_a_template_that_walks_through_parts_gets_no_line_end_between_them(base: Path) -> None:
    from adapters.methods.prompt_tuning import _separator

    tokenizer = ground_of(base).tokenizer
    tokenizer.chat_template = (
        "{% for m in messages %}[{{ m['role'] }}]{% if m['content'] is string %}{{ m['content'] }}{% else %}"
        "{% for part in m['content'] %}{{ part['text'] }}{% endfor %}{% endif %}{% endfor %}"
    )
    assert _separator(tokenizer) == ""
    assert _separator(ground_of(base).tokenizer) == "\n"


def test_the_probe_is_asked_in_chat_and_tells_the_prompt_from_the_base(trained: Trained) -> None:
    opened = METHOD.open(trained.folder, trained.ground)
    probe = METHOD.probe(opened, trained.ground, Watched(EXAMPLES, ()), lambda: None)
    assert probes.from_json(json.loads(json.dumps(probes.to_json(probe)))) == probe
    bodies = probes.as_chat_requests(probe, read_slot(trained.folder, "tiny", TEMPLATE))
    assert all(body["messages"][0]["content"][0]["type"] == "prompt_embeds" for body in bodies)
    assert all(body["model"] == "tiny" for body in bodies)

    def reply(values: tuple[float, ...], tokens: tuple[int, ...]) -> dict[str, Any]:
        top = [{"token": f"token_id:{token}", "logprob": value} for token, value in zip(tokens, values, strict=True)]
        return {"choices": [{"logprobs": {"content": [{"top_logprobs": top}]}}]}

    adapted = [reply(row.adapted, row.token_ids) for row in probe.rows]
    base = [reply(row.base, row.token_ids) for row in probe.rows]
    assert probes.judge(probe, probes.read_chat_replies(probe, adapted)).passed
    assert "as the base does" in probes.judge(probe, probes.read_chat_replies(probe, base)).reason
    with pytest.raises(InvalidInput, match="lacks"):
        probes.read_chat_replies(probe, [{}] * len(probe.rows))


def test_a_soft_prompt_that_does_nothing_is_no_probe(base: Path) -> None:
    ground = ground_of(base, None)
    model: Any = METHOD.prepare(open_model(base, torch.float32), ground)
    start = METHOD.asked(ground)
    same = dataclasses.replace(start, template=None)

    class Nothing(PromptTuning):
        def asked(self, ground: Ground) -> Ground:
            return same

    with pytest.raises(Unservable, match="no measurable effect"):
        Nothing().probe(model, ground, Watched(EXAMPLES, ()), lambda: None)


def test_a_base_without_a_chat_template_is_refused(base: Path) -> None:
    ground = ground_of(base)
    ground.tokenizer.chat_template = None
    with pytest.raises(InvalidInput, match=r"has no chat template.*take lora"):
        METHOD.prepare(open_model(base, torch.float32), ground)


def test_rows_that_hold_the_marker_are_refused(base: Path) -> None:
    sly = Example((Message("user", f"ignore {MARKER}"), Message("assistant", "billing")), 7, (1,))
    with pytest.raises(InvalidInput, match="line 7"):
        METHOD.rows(ground_of(base), [sly])


@pytest.mark.parametrize("damage", [{"format": 2}, {"separator": " "}, {"tokens": "many"}])
def test_a_damaged_folder_is_told(damage: dict[str, Any], trained: Trained, tmp_path: Path) -> None:
    said = json.loads((trained.folder / CONFIG).read_text())
    (tmp_path / PAYLOAD).write_text("cGF5")
    (tmp_path / CONFIG).write_text(json.dumps(said | damage))
    with pytest.raises(InvalidInput, match="damaged"):
        read_slot(tmp_path, "tiny", None)
    (tmp_path / PAYLOAD).unlink()
    with pytest.raises(Unservable, match=PAYLOAD):
        read_slot(tmp_path, "tiny", None)

"""Runs that search documents: from rows and a folder to a draft that names its store, through kills; and what is refused."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from adapters.__main__ import main
from adapters.data.dataset import open_dataset, split
from adapters.errors import Conflict, Interrupted, InvalidInput
from adapters.registry import Registry
from adapters.retrieval.shown import INTRODUCTION, NOTHING
from adapters.tuning import contexts, run
from adapters.tuning.contexts import CONTEXTS, with_contexts
from adapters.tuning.progress import METRICS_FILE
from adapters.tuning.recipe import Recipe
from adapters.tuning.request import RunRequest, create, in_folder, read_request
from tests.adapters.test_rag import ROWS as ALL_ROWS
from tests.adapters.test_rag import TOWNS, fact, gazetteer

FEW = 28
ROWS = ALL_ROWS[:FEW]
RAG = Recipe("rag", validation_share=0.2, fitting_rows=8)
LEARNED = Recipe(
    "rag+lora", epochs=2, learning_rate=0.01, rank=4, alpha=8, micro_batch_size=4, fitting_rows=4, checkpoint_every_s=0.0
)  # fmt: skip


@pytest.fixture
def data(tmp_path: Path) -> Path:
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps({"prompt": row.question, "completion": row.answer}) + "\n" for row in ROWS))
    return file


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    folder = tmp_path / "docs"
    (folder / "deep").mkdir(parents=True)
    (folder / "west.md").write_text(gazetteer(TOWNS[: FEW // 2]))
    (folder / "deep" / "east.txt").write_text("\n\n".join(map(fact, TOWNS[FEW // 2 : FEW])))
    (folder / ".hidden.md").write_text("nothing")
    (folder / "picture.png").write_bytes(b"\x89PNG")
    return folder


@pytest.fixture
def request_(tmp_path: Path, tiny: Path) -> RunRequest:
    return RunRequest("towns", "tiny", tiny, tmp_path / "models", RAG, store="vs_1")


def events(folder: Path, kind: str) -> list[dict]:
    said = map(json.loads, (folder / METRICS_FILE).read_text().splitlines())
    return [event for event in said if event["event"] == kind]


def test_rag_ends_with_a_draft_of_a_store_and_says_what_the_documents_are_worth(
    tmp_path: Path, request_: RunRequest, data: Path, docs: Path
) -> None:
    create(tmp_path / "run", request_, data, documents=in_folder(docs))
    result = run.execute(tmp_path / "run")
    draft = Registry(tmp_path / "models").read("towns", result.digest12)
    assert draft.adapter is None
    assert draft.retrieval is not None
    assert draft.retrieval.store == "vs_1"
    fitted = result.scorecard["fitted"]
    assert fitted["documents"] == {"files": 2, "unreadable": {}}
    assert fitted["answers_in_documents"]["mean"] == 1
    assert next(one for one in fitted["recall"] if one["chosen"])["recall"]["3"]["mean"] > 0.9
    assert set(fitted["triad"]) > {"closed_book", "oracle_passage", "retrieved_passages", "random_passages"}
    nats = fitted["triad"]["nats_per_token"]
    assert nats["gain"]["mean"] == pytest.approx(nats["closed_book"] - nats["retrieved_passages"])
    assert nats["gain"]["interval"][0] <= nats["gain"]["mean"] <= nats["gain"]["interval"][1]
    assert [event["max_tokens"] for event in events(tmp_path / "run", "cut")][:3] == [224, 160, 96]
    assert len(events(tmp_path / "run", "searched")) == 15
    assert run.execute(tmp_path / "run") == result


def test_rag_lora_learns_from_passages_and_is_compared_with_the_base_under_the_same(
    tmp_path: Path, request_: RunRequest, data: Path, docs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "run"
    create(folder, dataclasses.replace(request_, recipe=LEARNED), data, documents=in_folder(docs))
    fit = run.fit

    def killed_once_rows_have_passages(*asked):
        if (folder / CONTEXTS).is_file():
            raise Interrupted("killed")
        return fit(*asked)

    with monkeypatch.context() as patch:
        patch.setattr(run, "fit", killed_once_rows_have_passages)
        with pytest.raises(Interrupted):
            run.execute(folder)
    encoded = len(events(folder, "cut"))
    result = run.execute(folder)
    assert len(events(folder, "cut")) == encoded, "what was chosen and written is read"
    losses = result.scorecard["loss_nats_per_token"]
    assert losses["adapted"] < losses["base"]
    assert result.scorecard["fitted"]["passages"]["by"] == "recall"
    draft = Registry(tmp_path / "models").read("towns", result.digest12)
    assert draft.adapter is not None
    assert draft.retrieval is not None
    assert draft.retrieval.passages in (3, 5)
    asked = [question for part in json.loads((folder / CONTEXTS).read_text()).values() for question in part]
    assert len(asked) == len(ROWS)
    assert all(INTRODUCTION in question or NOTHING in question for question in asked)


def test_every_process_that_trains_reads_the_same_rows(tmp_path: Path, data: Path) -> None:
    parts = split(open_dataset(data), seed=0)
    assert with_contexts(tmp_path, parts) == parts
    said = {part: [f"{INTRODUCTION}\n\n{row.question}" for row in getattr(parts, part)] for part in contexts.PARTS}
    (tmp_path / CONTEXTS).write_text(json.dumps(said))
    shown = with_contexts(tmp_path, parts)
    assert [row.messages[0].content for row in shown.held_out] == said["held_out"]
    assert [row.answer for row in shown.train] == [row.answer for row in parts.train]
    (tmp_path / CONTEXTS).write_text(json.dumps(said | {"train": said["train"][1:]}))
    with pytest.raises(Conflict, match="data changed"):
        with_contexts(tmp_path, parts)


def test_documents_travel_with_the_run(tmp_path: Path, request_: RunRequest, data: Path, docs: Path) -> None:
    written = create(tmp_path / "run", request_, data, documents=in_folder(docs))
    assert written.documents == 2
    assert read_request(tmp_path / "run") == written
    copies = sorted((tmp_path / "run" / "documents").glob("*/*"))
    assert sorted(copy.name for copy in copies) == ["east.txt", "west.md"]
    assert [source.id for source in in_folder(docs)] == [source.id for source in in_folder(docs)]
    assert [source.filename for source in in_folder(docs / "west.md")] == ["west.md"]
    with pytest.raises(InvalidInput, match="neither a document nor a folder"):
        in_folder(tmp_path / "none")


@pytest.mark.parametrize("method", ["lora", "qlora", "full", "prompt_tuning", "continued_pretraining"])
def test_weights_that_are_trained_without_passages_are_given_no_store(
    method: str, tmp_path: Path, request_: RunRequest, data: Path, docs: Path
) -> None:
    objective = {"continued_pretraining": "lm"}.get(method, "sft")
    request = dataclasses.replace(request_, recipe=Recipe(method, objective=objective))
    with pytest.raises(InvalidInput, match=r"answers worse .* take rag\+lora, which trains with them") as refused:
        create(tmp_path / "run", request, data)
    assert refused.value.param == "store"
    with pytest.raises(InvalidInput, match=r"rag\+lora") as refused:
        create(tmp_path / "run", dataclasses.replace(request, store=""), data, documents=in_folder(docs))
    assert refused.value.param == "docs"


def test_methods_that_search_need_documents_and_a_store_and_others_take_none(
    tmp_path: Path, request_: RunRequest, data: Path, docs: Path
) -> None:
    with pytest.raises(InvalidInput, match="rag needs documents"):
        create(tmp_path / "run", request_, data)
    with pytest.raises(InvalidInput, match="needs the id of the store"):
        create(tmp_path / "run", dataclasses.replace(request_, store=""), data, documents=in_folder(docs))
    with pytest.raises(InvalidInput, match="zero_shot searches no documents; take rag"):
        create(tmp_path / "run", dataclasses.replace(request_, recipe=Recipe("zero_shot")), data)
    assert not (tmp_path / "run").exists()


def test_the_command_line_takes_a_folder_and_a_store(tmp_path: Path, tiny: Path, data: Path, docs: Path, capsys) -> None:
    argv = ["tune", str(data), "--base", str(tiny), "--name", "towns", "--method", "rag", "--fitting-rows", "4",
            "--registry", str(tmp_path / "m"), "--runs", str(tmp_path / "r")]  # fmt: skip
    assert main(argv) == 1
    assert "rag needs documents" in capsys.readouterr().err
    assert main([*argv, "--docs", str(docs), "--store", "vs_9", "--scored-rows", "6"]) == 0
    (card,) = (tmp_path / "m" / "towns").glob("*/adapted_model.json")
    assert json.loads(card.read_text())["retrieval"]["store"] == "vs_9"

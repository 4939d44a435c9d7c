"""`graft prompts fit` and `graft tune --method few_shot`: an order that can be served, progress, a table at the end."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import openai
import pytest

from adapters.embedded import encoder_folder
from adapters.errors import InvalidInput
from adapters.prompting.pool import open_pool
from adapters.prompting.selectors.choosing import choose
from adapters.prompts import render
from adapters.retrieval.encoder import Encoder
from adapters.tuning import run
from adapters.tuning.recipe import Recipe
from adapters.tuning.request import RunRequest, create, read_request
from gateway import settings, tuning
from gateway.cli import progress, prompt_fitting
from gateway.cli.candidates import print_candidates
from gateway.cli.course import how_far
from gateway.cli.jobs import _line
from gateway.cli.prompt_fitting import Prompt
from gateway.jobs.tasks import KINDS
from tests.gateway.conftest import BASE, Gateway, Home, eventually, gateway_on
from tests.tiny import TOPICS, tiny_llama, write_pairs

REPORT = {
    "chosen": "balanced, 8 shots", "why": "the cheapest", "metric": "exact_match", "n": 24,
    "candidates": [
        {"name": name, "n": 24, "mean": mean, "interval": [0, 1], "difference": {"mean": mean - 0.9, "interval": [-0.5, 0.0]},
         "prompt_tokens": 300.0, "new_tokens": new, "price": new, "seconds": 3.0}
        for name, mean, new in (("no shots", 0.5, 30.0), ("knn, 8 shots", 0.9, 250.0), ("balanced, 8 shots", 0.875, 30.0))
    ],
}  # fmt: skip


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_llama(tmp_path_factory.mktemp("bases") / "tiny")


def placed(
    tmp_path: Path, base: Path, *, method: str = "few_shot", longest: int = 2048, encoder: str = "minilm", **knobs: object
):
    tmp_path.mkdir(exist_ok=True)
    setting = replace(
        settings.load(environment={"GRAFT_STORAGE_HOME": str(tmp_path)}),
        engine_max_model_len=longest,
        retrieval_encoder=encoder,
    )
    data = write_pairs(tmp_path / "rows.jsonl", 60)
    order = tuning.Order(data=data, name="bot", base="tiny", base_folder=base, method=method, knobs=knobs)
    return tuning.place(setting, order, "job-1")


def test_a_prompt_is_never_made_longer_than_the_engine_reads(tmp_path: Path, base: Path) -> None:
    assert placed(tmp_path, base, method="many_shot", longest=512).recipe.max_length == 512
    with pytest.raises(InvalidInput, match="more than the engine reads"):
        placed(tmp_path / "b", base, method="many_shot", longest=512, max_length=600)


def test_the_vectors_of_a_pool_are_made_by_the_encoder_that_serves(tmp_path: Path, base: Path) -> None:
    request = placed(tmp_path, base)
    assert request.encoder is not None
    assert (request.encoder / "config.json").is_file()
    assert read_request(tmp_path / "runs" / "job-1").encoder == request.encoder
    with pytest.raises(InvalidInput, match="a server's address"):
        placed(tmp_path / "b", base, encoder="http://127.0.0.1:9")


def test_fixed_shots_by_number_need_no_encoder(tmp_path: Path, base: Path) -> None:
    assert placed(tmp_path, base, encoder="http://127.0.0.1:9", shots=3).encoder is None


def test_a_fitted_prompt_is_published_and_asked_as_it_was_scored(home: Home, base: Path, tmp_path: Path) -> None:
    recipe = Recipe("few_shot", selector="knn", shots=3, fitting_rows=4)
    run_folder = tmp_path / "job-1"
    create(
        run_folder, RunRequest("routing", BASE, base, home.path / "models", recipe), write_pairs(tmp_path / "rows.jsonl", 60)
    )
    result = run.execute(run_folder)
    with gateway_on(home) as gateway:
        payload = {"name": "routing", "run": str(run_folder), "publish": "always"}
        assert KINDS["tune"].settle(payload, gateway.settings, home.names).result["published"]
        question = "ticket 999: my parcel and courier"
        eventually(lambda: answers(gateway, question), 120)  # the encoder starts when it is first needed
        sent = json.loads(gateway.stub()["last_body"])
    draft = home.registry.read("routing", result.digest12)
    folder = home.registry.pool_folder(draft)
    assert draft.prompt is not None
    assert draft.prompt.select is not None
    assert folder is not None
    vector = Encoder(encoder_folder()).encode([question])[0]
    chosen = choose(open_pool(folder), draft.prompt.select, question, vector)
    assert len(chosen) == 3
    assert sent["messages"] == render(draft.prompt, [{"role": "user", "content": question}], chosen)
    assert sent["structured_outputs"] == {"choice": sorted(TOPICS)}
    assert sent["temperature"] == 0


def answers(gateway: Gateway, question: str) -> bool:
    try:
        gateway.openai().chat.completions.create(model="routing", messages=[{"role": "user", "content": question}])
    except (openai.NotFoundError, openai.InternalServerError, openai.APITimeoutError):
        return False
    return True


def test_fit_hands_over_what_was_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    handed: dict[str, object] = {}

    def submitted(desk: object, file: Path, name: str, **said: object) -> SimpleNamespace:
        handed.update(said, name=name)
        return SimpleNamespace(id="job-1")

    monkeypatch.setattr(prompt_fitting, "submit", submitted)
    monkeypatch.setattr(prompt_fitting, "Desk", lambda: None)
    monkeypatch.setattr(progress, "ensure_runner", lambda desk: None)
    for name, text in (("a.txt", "Be brief."), ("b.txt", "Be kind.")):
        (tmp_path / name).write_text(text)
    prompt = Prompt("Sort.", [tmp_path / "a.txt", tmp_path / "b.txt"], selector="knn", rows=20)
    prompt_fitting.fit(tmp_path / "d.jsonl", name="bot", prompt=prompt, detach=True)
    assert handed["method"] == "few_shot"
    assert handed["knobs"] == {"selector": "knn", "fitting_rows": 20, "wordings": "Be brief.\n---\nBe kind."}
    prompt_fitting.fit(tmp_path / "d.jsonl", name="bot", prompt=Prompt(many=True, shots=50), detach=True)
    assert (handed["method"], handed["knobs"]) == ("many_shot", {"shots": 50})


def test_a_number_of_shots_alone_is_no_fit_and_a_missing_wording_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="nothing to choose"):
        prompt_fitting.fit(tmp_path / "d.jsonl", name="bot", prompt=Prompt(shots=3))
    with pytest.raises(InvalidInput, match=r"none\.txt cannot be read"):
        prompt_fitting.fit(tmp_path / "d.jsonl", name="bot", prompt=Prompt(wording=[tmp_path / "none.txt"]))


def test_candidates_are_told_as_they_are_tried(capsys: pytest.CaptureFixture[str]) -> None:
    said = {
        "event": "candidate", "time": 1.0, "name": "knn, 8 shots", "n": 16, "mean": 0.75, "prompt_tokens": 210.4,
        "new_tokens": 9.0, "seconds": 2.0, "at": 32, "of": 128, "seconds_left": 90.0,
    }  # fmt: skip
    assert _line(said) == " 25%  knn, 8 shots: 0.750 on 16 rows  210 tokens a question  90 s left"
    assert how_far([{"event": "stage", "stage": "choosing"}, said]) == "25%, 1:30 left"


def test_the_table_of_candidates_marks_the_chosen_one_and_puts_the_best_first(capsys: pytest.CaptureFixture[str]) -> None:
    print_candidates(json.loads(json.dumps(REPORT)))
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(",")[0].strip().removesuffix("  24") for line in lines[1:3]] == ["knn", "> balanced"]
    assert "no shots" in lines[3]
    assert "-0.025 [-0.500, +0.000]" in lines[2]
    assert lines[-1].startswith("chosen: balanced, 8 shots, the cheapest")

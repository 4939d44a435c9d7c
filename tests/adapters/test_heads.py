"""A head learns labels on frozen features, is calibrated, survives a kill, and opens to what it was."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch

from adapters.bases import facts
from adapters.classifier import HEAD, OWN_BACKBONE, open_backbone, open_classifier, read_card
from adapters.errors import InvalidInput, Unproven, Unservable
from adapters.registry import Registry
from adapters.tuning import run
from adapters.tuning.heads import FEATURES
from adapters.tuning.making import ADAPTER, BEST_STEP, place
from adapters.tuning.progress import METRICS_FILE
from adapters.tuning.recipe import Recipe, defaults
from adapters.tuning.request import RunRequest, create
from tests import tiny as small


def head_run(tmp_path: Path, tiny: Path, recipe: Recipe, rows: list[tuple[str, str]] | None = None) -> Path:
    data = tmp_path / "labelled.jsonl"
    data.write_text("".join(json.dumps({"text": q, "label": a}) + "\n" for q, a in rows or small.rows(60)))
    create(tmp_path / "run", RunRequest("router", "tiny", tiny, tmp_path / "models", recipe), data)
    return tmp_path / "run"


def events(folder: Path, kind: str) -> list[dict]:
    found = [json.loads(line) for line in (folder / METRICS_FILE).read_text().splitlines()]
    return [event for event in found if event["event"] == kind]


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory, tiny: Path) -> Path:
    folder = head_run(tmp_path_factory.mktemp("head"), tiny, defaults("head", 60, facts(tiny)))
    run.execute(folder)
    return folder


def test_it_tells_the_labels_apart_where_the_base_cannot(done: Path) -> None:
    result = json.loads((done / run.RESULT).read_text())
    card = result["scorecard"]
    assert result["better"]
    assert card["adapted"]["mean"] == 1.0
    assert card["loss_nats_per_token"]["adapted"] < card["loss_nats_per_token"]["base"]
    draft = Registry(done.parent / "models").read("router", result["digest12"])
    assert draft.adapter is not None
    assert (draft.adapter.kind, draft.lineage.method) == ("head", "head")


def test_what_is_opened_gives_probabilities_that_sum_to_one(done: Path, tiny: Path) -> None:
    classifier = open_classifier(place(done, BEST_STEP) / ADAPTER, tiny)
    assert classifier.labels == sorted(small.TOPICS)
    (found,) = classifier.probabilities(["my parcel is late"])
    assert sum(found) == pytest.approx(1, abs=1e-5)
    assert classifier.labels[found.index(max(found))] == "delivery"
    assert classifier.probabilities([]) == []


def test_features_are_computed_once(done: Path, tiny: Path, tmp_path: Path) -> None:
    stamp = (done / FEATURES).stat().st_mtime_ns
    for left in (run.RESULT, run.ADAPTED):
        (done / left).unlink()
    again = run.execute(done)  # as after a kill in the scorecard: read from the folder, nothing trained anew
    assert again.better
    assert (done / FEATURES).stat().st_mtime_ns == stamp
    assert len(events(done, "features")) == len(events(done, "trained")) == 1


def test_it_is_calibrated_on_the_validation_rows(done: Path) -> None:
    (said,) = events(done, "calibrated")
    assert said["temperature"] > 0
    assert said["rows"] == 6


def test_a_changed_head_and_another_backbone_are_noticed(done: Path, tiny: Path, tmp_path: Path) -> None:
    import shutil

    from safetensors.torch import load_file, save_file

    folder = tmp_path / "copy"
    shutil.copytree(place(done, BEST_STEP) / ADAPTER, folder)
    tensors = load_file(folder / HEAD)
    save_file({"weight": -tensors["weight"], "bias": tensors["bias"]}, folder / HEAD)
    with pytest.raises(Unproven, match="off those it was trained to give"):
        open_classifier(folder, tiny)
    with pytest.raises(Unservable, match="another backbone"):
        open_classifier(folder, tiny, open_backbone("base", tiny))
    (folder / "head.json").write_text("{}")
    with pytest.raises(Unservable, match=r"head\.json cannot be read"):
        open_classifier(folder, tiny)


def test_it_reads_the_bases_own_features_too(tmp_path: Path, tiny: Path) -> None:
    recipe = dataclasses.replace(defaults("head", 60, facts(tiny)), backbone="base")
    folder = head_run(tmp_path, tiny, recipe)
    assert run.execute(folder).better
    card = read_card(place(folder, BEST_STEP) / ADAPTER)
    assert (card.reads, card.features, card.is_own) == ("base", 64, False)


def test_unfreezing_goes_from_the_last_layer_down_and_slower(tiny: Path, tmp_path: Path) -> None:
    recipe = dataclasses.replace(defaults("head", 60, facts(tiny)), epochs=2, backbone="base", unfreeze_epochs=3)
    recipe = dataclasses.replace(recipe, unfreeze_learning_rate=1e-3, learning_rate=1e-3)
    folder = head_run(tmp_path, tiny, recipe)
    result = run.execute(folder)
    (unfrozen,) = events(folder, "unfrozen")
    assert unfrozen["validation_loss"] < unfrozen["before"]
    kept = place(folder, BEST_STEP) / ADAPTER
    assert read_card(kept).is_own
    assert result.better
    before, after = (
        dict(model.causal.named_parameters())
        for model in (open_backbone("base", tiny), open_backbone("base", tiny, kept / OWN_BACKBONE))
    )
    moved = {name: float((after[name].float() - before[name].float()).abs().max().detach()) for name in before}
    last, first = ("model.layers.1.mlp.up_proj.weight", "model.layers.0.mlp.up_proj.weight")
    assert moved[last] > moved[first] > 0


def test_depth_counts_from_the_last_layer(tiny: Path) -> None:
    backbone = open_backbone("base", tiny)
    depths = {"norm.weight": 0, "layers.1.x": 0, "layers.0.x": 1, "embed_tokens.weight": 2}
    assert backbone.layers == 2
    assert {name: backbone.depth(f"causal.model.{name}") for name in depths} == depths


def test_features_do_not_depend_on_what_is_beside_them(tiny: Path) -> None:
    backbone = open_backbone("base", tiny)
    texts = ["my card", "my parcel and the courier who brought it late to the wrong door", "x"]
    together, alone = backbone.features(texts), torch.cat([backbone.features([text]) for text in texts])
    assert torch.allclose(together, alone, atol=0.05)


BAD = {
    "one label": ([(f"q {n}", "same") for n in range(20)], "has the label 'same'"),
    "free answers": ([(f"q {n}", f"answer {n}") for n in range(20)], "are these labels"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_are_no_labels_is_said(case: str, tmp_path: Path, tiny: Path) -> None:
    rows, said = BAD[case]
    folder = head_run(tmp_path, tiny, defaults("head", 20, facts(tiny)), rows)
    with pytest.raises(InvalidInput, match=said):
        run.execute(folder)

"""The publish gate: better by the margin asked for, within the forgetting budget, or forced and on record."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

import pytest

from adapters.adapted_model import AdaptedModel, Lineage
from adapters.errors import Conflict
from adapters.prompts import PromptTemplate
from gateway import settings as settings_table
from gateway.publishing import judge, publish
from tests.gateway.conftest import BASE, Home

SETTINGS = settings_table.load(environment={})


def card(mean: float, *, metric: str = "exact_match", nats: float = 1.0, forgotten: float | None = None) -> dict[str, Any]:
    said = {
        "metric": metric, "better": mean > 0.5, "reason": "measured", "adapted": {"mean": mean}, "base": {"mean": 0.5},
        "loss_nats_per_token": {"adapted": nats},
    }  # fmt: skip
    return said if forgotten is None else said | {"forgetting": {"nats_per_token": forgotten}}


def model(version: int, scorecard: dict[str, Any] | None, *, data: str = "same") -> AdaptedModel:
    return AdaptedModel("bot", version, BASE, lineage=Lineage(dataset=data, scorecard=scorecard or {}))


CASES: dict[str, tuple[dict[str, Any] | None, dict[str, Any] | None, float, bool, str]] = {
    "better": (card(0.8), card(0.7), 0.0, True, "0.800 against bot@1's 0.700"),
    "better, but not by the margin": (card(0.8), card(0.75), 0.1, False, "not better by more than 0.1"),
    "worse": (card(0.6), card(0.7), 0.0, False, "not better"),
    "as good, with a lower loss": (card(0.7, nats=0.5), card(0.7, nats=0.6), 0.0, True, "0.700"),
    "as good, with a higher loss": (card(0.7, nats=0.7), card(0.7, nats=0.6), 0.0, False, r"the loss is \+0.100"),
    "scored otherwise": (card(0.9, metric="rouge"), card(0.7), 0.0, False, "not comparable"),
    "without a scorecard": (None, card(0.7), 0.0, False, "has no scorecard"),
    "after one without a scorecard, better than the base": (card(0.8), None, 0.0, True, "against the base"),
    "after one without a scorecard, not better than the base": (card(0.4), None, 0.0, False, "against the base"),
    "forgets too much": (card(0.9, forgotten=0.2), card(0.7), 0.0, False, "forgot 0.200 nats/token"),
    "forgets little": (card(0.9, forgotten=0.05), card(0.7), 0.0, True, "0.900"),
}


@pytest.mark.parametrize("case", CASES)
def test_the_gate(case: str) -> None:
    new, old, margin, passes, words = CASES[case]
    verdict = judge(model(2, new), model(1, old), margin=margin, forgetting_budget=0.1)
    assert verdict.passes is passes
    assert re.search(words, verdict.reason), verdict.reason


def test_the_first_of_its_name_passes_unless_it_forgets() -> None:
    assert judge(model(1, None), None, margin=0.5, forgetting_budget=0.1).passes
    assert not judge(model(1, card(0.9, forgotten=1.0)), None, margin=0.0, forgetting_budget=0.1).passes


def test_without_a_budget_forgetting_is_told_and_bounds_nothing_and_a_recipes_own_budget_goes_first() -> None:
    forgetful = model(1, card(0.9, forgotten=1.0))
    assert judge(forgetful, None, margin=0.0, forgetting_budget=0.0).passes
    lenient = dataclasses.replace(forgetful, lineage=dataclasses.replace(forgetful.lineage, recipe={"forgetting_budget": 2.0}))
    assert judge(lenient, None, margin=0.0, forgetting_budget=0.1).passes
    strict = dataclasses.replace(forgetful, lineage=dataclasses.replace(forgetful.lineage, recipe={"forgetting_budget": 0.5}))
    assert not judge(strict, None, margin=0.0, forgetting_budget=0.0).passes


def test_scores_on_other_data_are_said_to_be_so() -> None:
    verdict = judge(model(2, card(0.8), data="new"), model(1, card(0.7), data="old"), margin=0.0, forgetting_budget=0.1)
    assert "rows of its own data" in verdict.reason


def test_force_moves_the_name_and_is_on_record_in_the_lineage_and_among_the_moves(home: Home) -> None:
    for text, mean in (("good", 0.8), ("bad", 0.2)):
        home.publish(
            "bot", rank=None, prompt=PromptTemplate(text), lineage=Lineage(scorecard=card(mean)), promote=text == "good"
        )
    with pytest.raises(Conflict, match="--force overrides") as refused:
        publish(home.names, SETTINGS, "bot", 2)
    assert refused.value.code == "gate_refused"
    assert home.current("bot").version == 1
    assert publish(home.names, SETTINGS, "bot", 2, force=True) is True
    assert home.current("bot").version == 2
    forced = home.registry.load("bot", 2).lineage.forced
    assert forced is not None
    assert "not better" in forced["gate"]
    assert home.names.moves("bot")[-1].note == f"forced: {forced['gate']}"


def test_what_is_current_already_needs_no_gate(home: Home) -> None:
    home.publish("bot", rank=None, prompt=PromptTemplate("a"))
    assert publish(home.names, SETTINGS, "bot", 1) is True


def test_quarantine_is_passed_by_force_only_and_the_proof_is_asked_for_all_the_same(home: Home) -> None:
    home.publish("bot", seed=1, promote=False)
    home.names.quarantine("bot", 1, "deaf")
    with pytest.raises(Conflict, match="in quarantine: deaf"):
        publish(home.names, SETTINGS, "bot", 1)
    assert publish(home.names, SETTINGS, "bot", 1, force=True) is False
    assert (home.current("bot").version, home.current("bot").wanted) == (None, 1)

"""A name is a pointer: moving it is one write, seen by every gateway on the same database, and it can go back."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from adapters.adapted_model import AdaptedModel
from adapters.errors import Conflict, InvalidInput, NotFound
from adapters.prompts import PromptTemplate
from adapters.registry import Registry
from gateway.db.database import open_database
from gateway.db.names import Names


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    registry = Registry(tmp_path / "models")
    for text in "abc":
        registry.publish(registry.add(AdaptedModel("bot", 0, "tiny", prompt=PromptTemplate(text))))
    return registry


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def names(tmp_path: Path, registry: Registry, clock: Clock) -> Names:
    return Names(open_database(f"sqlite:///{tmp_path}/graft.db"), registry, clock=clock)


def answers(names: Names, said: str) -> int:
    return asyncio.run(names.resolve(said)).version


def test_a_name_answers_with_what_it_was_pointed_at_and_a_pin_with_itself(names: Names, clock: Clock) -> None:
    names.promote("bot", 2)
    assert answers(names, "bot") == 2
    assert answers(names, "bot@1") == 1
    names.promote("bot", 3)
    clock.now += 1
    assert answers(names, "bot") == 3


def test_rollback_goes_to_the_version_before_and_twice_is_back_again(names: Names, clock: Clock) -> None:
    names.promote("bot", 1)
    with pytest.raises(Conflict, match="one version only"):
        names.rollback("bot")
    names.promote("bot", 3)
    assert names.rollback("bot") == 1
    assert answers(names, "bot") == 1
    assert names.rollback("bot") == 3


def test_promoting_the_current_version_keeps_the_way_back(names: Names) -> None:
    names.promote("bot", 1)
    names.promote("bot", 2)
    names.promote("bot", 2)
    assert names.pointer("bot") == (2, 1)


@pytest.mark.parametrize("said", ["nobody", "bot@9", "bot@x", "bot@"])
def test_what_is_not_there_is_not_found(names: Names, said: str) -> None:
    names.promote("bot", 1)
    if said == "bot@":
        assert answers(names, said) == 1
        return
    with pytest.raises(NotFound) as refused:
        answers(names, said)
    assert refused.value.code == "model_not_found"


def test_an_unknown_version_cannot_be_promoted(names: Names) -> None:
    with pytest.raises(NotFound, match="no version 9"):
        names.promote("bot", 9)
    assert names.pointer("bot") is None


def test_a_name_published_elsewhere_answers_at_once(names: Names, tmp_path: Path, registry: Registry) -> None:
    with pytest.raises(NotFound):
        answers(names, "bot")
    elsewhere = Names(open_database(f"sqlite:///{tmp_path}/graft.db"), registry)
    elsewhere.promote("bot", 1)
    assert answers(names, "bot") == 1  # the clock stands still: a miss always looks


def test_a_switch_made_elsewhere_is_seen_within_the_freshness_bound(
    names: Names, tmp_path: Path, registry: Registry, clock: Clock
) -> None:
    names.promote("bot", 1)
    assert answers(names, "bot") == 1
    Names(open_database(f"sqlite:///{tmp_path}/graft.db"), registry).promote("bot", 2)
    clock.now += 0.21
    assert answers(names, "bot") == 2


def test_what_is_answered_with_cannot_lose_its_version(names: Names, registry: Registry) -> None:
    names.promote("bot", 1)
    names.promote("bot", 2)
    with pytest.raises(InvalidInput, match="promote another version first"):
        names.forget_version("bot", 2)
    names.forget_version("bot", 1)
    assert names.pointer("bot") == (2, None)


def test_a_forgotten_name_is_gone_from_the_list(names: Names) -> None:
    names.promote("bot", 1)
    assert [model.pinned for model in asyncio.run(names.published())] == ["bot@1"]
    names.forget("bot")
    assert asyncio.run(names.published()) == []

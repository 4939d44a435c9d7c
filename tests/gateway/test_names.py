"""A name is a pointer: moving it is one write, seen by every gateway on the same database, and it can go back."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

import pytest
from sqlalchemy import insert

from adapters.adapted_model import AdaptedModel, AdapterRef
from adapters.errors import Conflict, GraftError, InvalidInput, NotFound, Unavailable
from adapters.prompts import PromptTemplate
from adapters.registry import WEIGHTS, Registry, file_digest
from gateway.db.database import open_database, writing
from gateway.db.models import NameRow
from gateway.db.names import Names, Pointer
from gateway.db.snapshot import Snapshot
from tests.gateway.conftest import lora_folder


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
def names(tmp_path: Path, registry: Registry) -> Names:
    return Names(open_database(f"sqlite:///{tmp_path}/graft.db"), registry)


@pytest.fixture
def snapshot(names: Names, clock: Clock) -> Snapshot:
    return Snapshot(names, clock=clock)


def answers(snapshot: Snapshot, said: str, sticky: str | None = None) -> int:
    return asyncio.run(snapshot.resolve(said, sticky)).version


def found(names: Names) -> Pointer:
    pointer = names.pointer("bot")
    assert pointer is not None
    return pointer


def publish_clipped(names: Names, tmp_path: Path) -> int:
    files = lora_folder(tmp_path / "made")
    ref = AdapterRef("lora", file_digest(files / WEIGHTS), 8)
    return names.registry.publish(names.registry.add(AdaptedModel("bot", 0, "tiny", ref), files)).version


def test_a_name_answers_with_what_it_was_pointed_at_and_a_pin_with_itself(
    names: Names, snapshot: Snapshot, clock: Clock
) -> None:
    names.promote("bot", 2)
    assert answers(snapshot, "bot") == 2
    assert answers(snapshot, "bot@1") == 1
    names.promote("bot", 3)
    clock.now += 1
    assert answers(snapshot, "bot") == 3


def test_rollback_goes_to_the_version_before_and_twice_is_back_again(names: Names, snapshot: Snapshot, clock: Clock) -> None:
    names.promote("bot", 1)
    with pytest.raises(Conflict, match="one version only"):
        names.rollback("bot")
    names.promote("bot", 3)
    assert names.rollback("bot") == 1
    assert answers(snapshot, "bot") == 1
    assert names.rollback("bot") == 3


def test_promoting_the_current_version_keeps_the_way_back(names: Names) -> None:
    names.promote("bot", 1)
    names.promote("bot", 2)
    names.promote("bot", 2)
    assert (found(names).version, found(names).previous) == (2, 1)


@pytest.mark.parametrize("said", ["nobody", "bot@9", "bot@x", "bot@"])
def test_what_is_not_there_is_not_found(names: Names, snapshot: Snapshot, said: str) -> None:
    names.promote("bot", 1)
    if said == "bot@":
        assert answers(snapshot, said) == 1
        return
    with pytest.raises(NotFound) as refused:
        answers(snapshot, said)
    assert refused.value.code == "model_not_found"


def test_an_unknown_version_cannot_be_promoted(names: Names) -> None:
    with pytest.raises(NotFound, match="no version 9"):
        names.promote("bot", 9)
    assert names.pointer("bot") is None


def test_a_name_published_elsewhere_answers_at_once(
    names: Names, snapshot: Snapshot, tmp_path: Path, registry: Registry
) -> None:
    with pytest.raises(NotFound):
        answers(snapshot, "bot")
    elsewhere = Names(open_database(f"sqlite:///{tmp_path}/graft.db"), registry)
    elsewhere.promote("bot", 1)
    assert answers(snapshot, "bot") == 1  # the clock stands still: a miss always looks


def test_a_switch_made_elsewhere_is_seen_within_the_freshness_bound(
    names: Names, snapshot: Snapshot, tmp_path: Path, registry: Registry, clock: Clock
) -> None:
    names.promote("bot", 1)
    assert answers(snapshot, "bot") == 1
    Names(open_database(f"sqlite:///{tmp_path}/graft.db"), registry).promote("bot", 2)
    clock.now += 0.21
    assert answers(snapshot, "bot") == 2


def test_what_is_answered_with_cannot_lose_its_version(names: Names, registry: Registry) -> None:
    names.promote("bot", 1)
    names.promote("bot", 2)
    with pytest.raises(InvalidInput, match="promote another version first"):
        names.forget_version("bot", 2)
    names.forget_version("bot", 1)
    assert (found(names).version, found(names).previous) == (2, None)


def test_a_forgotten_name_is_gone_from_the_list_and_answers_no_more(names: Names, snapshot: Snapshot) -> None:
    names.promote("bot", 1)
    assert [pointer.name for pointer in names.published()] == ["bot"]
    assert answers(snapshot, "bot") == 1
    names.forget("bot")
    assert names.published() == []
    asyncio.run(snapshot.refresh())
    for said in ("bot", "bot@1"):
        with pytest.raises(NotFound):
            answers(snapshot, said)


def test_what_carries_weights_waits_for_its_proof_and_the_name_stays_until_then(
    names: Names, snapshot: Snapshot, clock: Clock, tmp_path: Path
) -> None:
    clipped = publish_clipped(names, tmp_path)
    names.promote("bot", 1)
    assert names.want("bot", 2) is True, "a prompt has nothing to prove"
    assert names.want("bot", clipped) is False
    clock.now += 1
    assert answers(snapshot, "bot") == 2
    names.refuse("bot", clipped, "it serves the base")
    assert (found(names).version, found(names).wanted) == (2, None)
    assert found(names).remark == f"bot@{clipped}: it serves the base"
    names.want("bot", clipped)
    assert names.promote("bot", clipped, only_if_wanted=True) is True
    assert (found(names).version, found(names).previous, found(names).wanted) == (clipped, 2, None)


def test_a_proof_that_comes_late_moves_nothing(names: Names, tmp_path: Path) -> None:
    clipped = publish_clipped(names, tmp_path)
    names.promote("bot", 1)
    names.want("bot", clipped)
    names.promote("bot", 2)
    names.refuse("bot", clipped, "changed our mind")
    assert names.promote("bot", clipped, only_if_wanted=True) is False
    assert found(names).version == 2


def test_a_first_version_is_unavailable_until_it_is_proven_then_unknown_if_it_failed(
    names: Names, snapshot: Snapshot, tmp_path: Path
) -> None:
    clipped = publish_clipped(names, tmp_path)
    names.want("bot", clipped)
    with pytest.raises(Unavailable, match="is being loaded and proven"):
        answers(snapshot, "bot")
    assert answers(snapshot, f"bot@{clipped}") == clipped
    names.refuse("bot", clipped, "it serves the base")
    asyncio.run(snapshot.refresh())
    with pytest.raises(NotFound, match="it serves the base"):
        answers(snapshot, "bot")


def test_a_canary_gets_its_share_of_callers_and_keeps_each_on_one_version(names: Names, snapshot: Snapshot) -> None:
    names.promote("bot", 1)
    names.canary("bot", {2: 0.3, 3: 0.2})
    callers = [f"user-{n}" for n in range(1000)]
    assert {answers(snapshot, "bot", caller) for caller in callers} == {1}, "not before it is proven"
    for version in (2, 3):
        snapshot.admit("bot", version)
    first = Counter(answers(snapshot, "bot", caller) for caller in callers)
    assert 440 < first[1] < 560
    assert 250 < first[2] < 350
    assert 150 < first[3] < 250
    assert [answers(snapshot, "bot", caller) for caller in callers] == [answers(snapshot, "bot", c) for c in callers]
    names.promote("bot", 2)
    asyncio.run(snapshot.refresh())
    assert {answers(snapshot, "bot", caller) for caller in callers} == {2}, "a promotion ends the canary"


@pytest.mark.parametrize(
    ("shares", "words"),
    [({1: 0.5}, "is current"), ({2: 1.0}, "between 0 and 1"), ({2: 0.6, 3: 0.6}, "more than 1"), ({9: 0.1}, "no version 9")],
)  # fmt: skip
def test_a_canary_that_makes_no_sense_is_refused(names: Names, shares: dict[int, float], words: str) -> None:
    names.promote("bot", 1)
    with pytest.raises(GraftError, match=words):
        names.canary("bot", shares)
    assert found(names).shares == {}


def test_quarantine_ends_a_canary_and_is_kept(names: Names) -> None:
    names.promote("bot", 1)
    names.canary("bot", {2: 0.3})
    names.quarantine("bot", 2, "deaf")
    assert found(names).shares == {}
    assert names.quarantined("bot") == {2: "deaf"}


def test_every_change_is_on_record(names: Names) -> None:
    names.promote("bot", 1)
    names.promote("bot", 2, note="better by 0.1")
    names.rollback("bot")
    assert [(move.what, move.version, move.note) for move in names.moves("bot")] == [
        ("promoted", 1, None), ("promoted", 2, "better by 0.1"), ("rolled back", 1, None),
    ]  # fmt: skip


def test_ten_thousand_names_are_read_once_and_then_only_what_changed(names: Names, snapshot: Snapshot) -> None:
    names.promote("bot", 1)
    with writing(names.database) as connection:
        rows = [{"name": f"n{n:05}", "version": 1, "base": "tiny", "generation": 1, "updated_at": 0.0} for n in range(10_000)]
        connection.execute(insert(NameRow), rows)
    assert len(asyncio.run(snapshot.refresh())) == 10_001
    names.promote("bot", 2)
    assert [pointer.name for pointer in asyncio.run(snapshot.refresh())] == ["bot"]
    pages, after = [], None
    while True:
        page, more = snapshot.page(after, 3000)
        pages.append(len(page))
        after = page[-1].name
        if not more:
            break
    assert pages == [3000, 3000, 3000, 1001]

"""The registry's promise: a folder is whole or not there, a version number is taken once, the same model is one folder."""

from __future__ import annotations

import contextlib
import dataclasses
import multiprocessing
import os
import resource
import shutil
import signal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.adapted_model import AdaptedModel, AdapterRef, Lineage, RetrievalSpec, Sampling, checked_name, from_json, to_json
from adapters.errors import Conflict, InvalidInput, NotFound
from adapters.prompting.pool import open_pool, write_pool
from adapters.prompts import PromptTemplate, Selection, Shot
from adapters.registry import CHECKPOINT_WEIGHTS, INCOMING, MANIFEST, PROBE, WEIGHTS, Registry, file_digest


def prompted(text: str, name: str = "bot") -> AdaptedModel:
    return AdaptedModel(name=name, version=0, base="tiny", prompt=PromptTemplate(system=text))


def with_adapter(folder: Path, content: bytes = b"weights", name: str = "bot") -> AdaptedModel:
    folder.mkdir(exist_ok=True)
    (folder / "adapter_model.safetensors").write_bytes(content)
    (folder / "adapter_config.json").write_text("{}")
    digest = file_digest(folder / "adapter_model.safetensors")
    return AdaptedModel(name=name, version=0, base="tiny", adapter=AdapterRef("lora", digest, 8))


def test_a_draft_becomes_version_one_and_stays_where_it_lies(tmp_path: Path) -> None:
    registry = Registry(tmp_path / "models")
    draft = registry.add(with_adapter(tmp_path / "peft"), tmp_path / "peft")
    assert registry.versions("bot") == []
    assert registry.drafts("bot") == [draft]
    before = registry.adapter_folder(draft)
    published = registry.publish(draft)
    assert published.version == 1
    assert registry.drafts("bot") == []
    assert registry.load("bot", 1) == published
    assert registry.adapter_folder(published) == before
    assert before.is_absolute()


def test_adding_and_publishing_the_same_model_again_changes_nothing(tmp_path: Path) -> None:
    registry = Registry(tmp_path)
    first = registry.publish(registry.add(prompted("a")))
    again = registry.publish(registry.add(dataclasses.replace(prompted("a"), lineage=Lineage(run="another"))))
    assert (first.version, again.version) == (1, 1)
    assert registry.publish(registry.add(prompted("b"))).version == 2


def test_a_model_that_chooses_shots_keeps_the_pool_that_it_chooses_from(tmp_path: Path) -> None:
    shots = [Shot(f"question {number}", f"answer {number}") for number in range(5)]
    digest = write_pool(tmp_path / "made", shots)
    model = dataclasses.replace(prompted("a"), prompt=PromptTemplate(select=Selection("random", 2, digest)))
    registry = Registry(tmp_path / "models")
    published = registry.publish(registry.add(model, pool=tmp_path / "made"))
    kept = registry.pool_folder(registry.load("bot", published.version))
    assert kept is not None
    assert kept.is_absolute()
    assert list(open_pool(kept).rows) == shots
    assert registry.pool_folder(prompted("b")) is None


def test_a_pool_of_other_rows_or_none_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    write_pool(tmp_path / "made", [Shot("q", "a")])
    other = dataclasses.replace(prompted("a"), prompt=PromptTemplate(select=Selection("random", 2, "0" * 64)))
    registry = Registry(tmp_path / "models")
    with pytest.raises(InvalidInput, match="torn or was changed"):
        registry.add(other, pool=tmp_path / "made")
    for model, pool in ((other, None), (prompted("a"), tmp_path / "made")):
        with pytest.raises(InvalidInput, match="exactly when its prompt chooses shots"):
            registry.add(model, pool=pool)
    assert registry.names() == []


def test_weights_that_are_not_what_the_model_says_are_refused_and_leave_nothing(tmp_path: Path) -> None:
    model = with_adapter(tmp_path / "peft")
    (tmp_path / "peft" / "adapter_model.safetensors").write_bytes(b"torn")
    registry = Registry(tmp_path / "models")
    with pytest.raises(InvalidInput, match="torn"):
        registry.add(model, tmp_path / "peft")
    assert list((tmp_path / "models" / "bot").iterdir()) == []


def test_a_version_that_is_not_there_names_those_that_are(tmp_path: Path) -> None:
    registry = Registry(tmp_path)
    registry.publish(registry.add(prompted("a")))
    with pytest.raises(NotFound, match=r"no version 7 \(it has: 1\)"):
        registry.load("bot", 7)


def test_removing_takes_a_version_or_the_whole_name(tmp_path: Path) -> None:
    registry = Registry(tmp_path)
    for text in "ab":
        registry.publish(registry.add(prompted(text)))
    registry.remove("bot", 1)
    assert registry.versions("bot") == [2]
    registry.remove("bot")
    assert registry.names() == []
    with pytest.raises(NotFound):
        registry.remove("bot")


def _publish_many(root: Path, worker: int) -> None:
    registry = Registry(root)
    for number in range(10):
        registry.publish(registry.add(prompted(f"{worker}-{number}")))


def test_publishers_at_the_same_time_never_share_a_number(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_publish_many, args=(tmp_path, worker)) for worker in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    registry = Registry(tmp_path)
    assert registry.versions("bot") == list(range(1, 31))
    texts = {registry.load("bot", version).prompt for version in registry.versions("bot")}
    assert len(texts) == 30


def _publish_until_killed(root: Path) -> None:
    registry, number = Registry(root), 0
    while True:
        number += 1
        registry.publish(registry.add(prompted(str(number), name=f"bot{number % 5}")))


def test_a_kill_at_any_moment_leaves_only_whole_versions(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    for _ in range(4):
        worker = context.Process(target=_publish_until_killed, args=(tmp_path,))
        worker.start()
        seen = len(list(tmp_path.glob("*/versions/[0-9]*")))
        while len(list(tmp_path.glob("*/versions/[0-9]*"))) < seen + 20:
            assert worker.is_alive()
        os.kill(worker.pid or 0, signal.SIGKILL)
        worker.join()
    registry = Registry(tmp_path)
    for name in registry.names():
        versions = registry.versions(name)
        assert versions == list(range(1, len(versions) + 1))
        assert all(registry.load(name, version).version == version for version in versions)
        assert all((registry.folder(draft) / MANIFEST).is_file() for draft in registry.drafts(name))


def test_what_a_kill_left_of_a_draft_just_before_its_folder_had_its_name_is_no_draft(tmp_path: Path) -> None:
    registry = Registry(tmp_path)
    draft = registry.add(prompted("whole"))
    left = registry.folder(draft).with_name(f"{INCOMING}killed")
    shutil.copytree(registry.folder(draft), left)
    assert [one.digest for one in registry.drafts(draft.name)] == [draft.digest]


def test_a_checkpoint_is_a_whole_model_folder_verified_by_its_single_weights_file(tmp_path: Path) -> None:
    files = tmp_path / "merged"
    files.mkdir()
    (files / CHECKPOINT_WEIGHTS).write_bytes(b"all weights")
    (files / "config.json").write_text("{}")
    model = AdaptedModel("bot", 0, "tiny", AdapterRef("checkpoint", file_digest(files / CHECKPOINT_WEIGHTS)))
    registry = Registry(tmp_path / "models")
    draft = registry.add(model, files)
    assert sorted(os.listdir(registry.adapter_folder(draft))) == ["config.json", CHECKPOINT_WEIGHTS]
    with pytest.raises(InvalidInput, match=r"no adapter_model\.safetensors, so it is no lora"):
        registry.add(dataclasses.replace(model, adapter=AdapterRef("lora", "0" * 64, 8)), files)


def test_a_probe_lies_beside_the_model_and_does_not_change_what_it_is(tmp_path: Path) -> None:
    registry = Registry(tmp_path / "models")
    draft = registry.add(with_adapter(tmp_path / "peft"), tmp_path / "peft")
    assert registry.probe(draft) is None
    again = registry.add(draft, tmp_path / "peft", probe={"rows": [1]})
    assert again.digest == draft.digest
    assert registry.probe(draft) == {"rows": [1]}
    registry.add(draft, tmp_path / "peft", probe={"rows": [2]})
    assert registry.probe(draft) == {"rows": [1]}
    other = registry.add(with_adapter(tmp_path / "other", b"other"), tmp_path / "other", probe={"rows": [3]})
    assert registry.probe(other) == {"rows": [3]}


def test_a_damaged_probe_is_named(tmp_path: Path) -> None:
    registry = Registry(tmp_path)
    draft = registry.add(prompted("a"), probe={})
    (registry.folder(draft) / PROBE).write_text("{")
    with pytest.raises(InvalidInput, match=r"probe\.json is damaged"):
        registry.probe(draft)


def test_a_forced_promotion_stays_in_the_lineage(tmp_path: Path) -> None:
    registry = Registry(tmp_path)
    for text in "ab":
        registry.publish(registry.add(prompted(text)))
    assert registry.load("bot", 1).lineage.forced is None
    registry.mark_forced("bot", 1, {"by": "ada", "over": "the scorecard"})
    assert registry.load("bot", 1).lineage.forced == {"by": "ada", "over": "the scorecard"}
    assert registry.load("bot", 2).lineage.forced is None
    assert registry.versions("bot") == [1, 2]
    with pytest.raises(NotFound):
        registry.mark_forced("bot", 3, {})


def test_a_retired_number_resolves_to_nothing_and_is_never_given_again(tmp_path: Path) -> None:
    registry = Registry(tmp_path)
    model = registry.publish(registry.add(prompted("a")))
    registry.mark_forced("bot", 1, {})
    assert registry.retire("bot", 1) == model.digest[:12]
    with pytest.raises(NotFound):
        registry.load("bot", 1)
    assert registry.read("bot", model.digest[:12]).prompt == model.prompt, "those who read it still can"
    assert registry.publish(registry.add(prompted("b"))).version == 2
    again = registry.publish(model)
    assert again.version == 3
    assert registry.load("bot", 3).lineage.forced is None
    registry.remove("bot", 3)
    assert registry.publish(registry.add(prompted("c"))).version == 4


def test_a_folder_is_discarded_only_once_no_version_stands_for_it(tmp_path: Path) -> None:
    registry = Registry(tmp_path)
    model = registry.publish(registry.add(prompted("a")))
    digest = model.digest[:12]
    with pytest.raises(Conflict, match="bot@1"):
        registry.discard("bot", digest)
    assert registry.load("bot", 1) == model
    registry.retire("bot", 1)
    registry.discard("bot", digest)
    registry.discard("bot", digest)
    assert [path.name for path in (tmp_path / "bot").iterdir()] == ["versions"]
    for wrong in ("versions", "..", "../bot"):
        with pytest.raises(InvalidInput):
            registry.discard("bot", wrong)


def _publish_what_is_discarded(root: Path) -> None:
    registry = Registry(root)
    for _ in range(200):
        with contextlib.suppress(Conflict, NotFound):
            registry.publish(registry.add(prompted("contested")))


def test_a_collector_and_a_publisher_at_once_never_leave_a_version_without_its_folder(tmp_path: Path) -> None:
    registry = Registry(tmp_path)
    digest = registry.add(prompted("contested")).digest[:12]
    publisher = multiprocessing.get_context("spawn").Process(target=_publish_what_is_discarded, args=(tmp_path,))
    publisher.start()
    while publisher.is_alive():
        with contextlib.suppress(Conflict):
            registry.discard("bot", digest)
        for version in registry.versions("bot"):
            with contextlib.suppress(NotFound):
                registry.retire("bot", version)
    publisher.join()
    assert publisher.exitcode == 0
    assert all(registry.load("bot", version).prompt for version in registry.versions("bot"))
    registry.sweep(0)
    left = [path.name for path in (tmp_path / "bot").rglob(".*")]
    assert left == []


def _add_until_killed(root: Path, files: Path) -> None:
    registry = Registry(root)
    for number in range(1_000_000):
        model = with_adapter(files, bytes(4_000_000) + str(number).encode())
        registry.publish(registry.add(model, files, probe={"rows": [number]}))


def test_a_kill_while_weights_are_copied_leaves_whole_models_and_leftovers_that_are_swept(tmp_path: Path) -> None:
    root = tmp_path / "models"
    registry = Registry(root)
    left = 0
    for attempt in range(20):
        worker = multiprocessing.get_context("spawn").Process(target=_add_until_killed, args=(root, tmp_path / str(attempt)))
        worker.start()
        while not list(root.glob("bot/.incoming-*/adapter/*.safetensors")):
            assert worker.is_alive()
        os.kill(worker.pid or 0, signal.SIGKILL)
        worker.join()
        left += len(list(root.glob("bot/.incoming-*")))
        if left:
            break
    assert left, "no kill came in the middle of a copy"
    for draft in [*registry.drafts("bot"), *(registry.load("bot", version) for version in registry.versions("bot"))]:
        assert draft.adapter is not None
        assert file_digest(registry.adapter_folder(draft) / WEIGHTS) == draft.adapter.digest
        assert registry.probe(draft) is not None
    assert registry.sweep(3600) == 0
    assert registry.sweep(0) == left
    assert list(root.rglob(".*")) == []


def _add_with_little_room(root: Path, files: Path, room_bytes: int) -> None:
    model = with_adapter(files, bytes(100_000))
    resource.setrlimit(resource.RLIMIT_FSIZE, (room_bytes, room_bytes))
    with pytest.raises(OSError, match="File too large"):
        Registry(root).add(model, files, probe={"rows": ["x" * 100]})


@pytest.mark.parametrize("room_bytes", [0, 50, 50_000])
def test_a_disk_that_takes_no_more_leaves_nothing_half_written(tmp_path: Path, room_bytes: int) -> None:
    worker = multiprocessing.get_context("spawn").Process(
        target=_add_with_little_room, args=(tmp_path / "models", tmp_path / "peft", room_bytes)
    )
    worker.start()
    worker.join()
    assert worker.exitcode == 0, "the system's own error was raised"
    assert list((tmp_path / "models" / "bot").iterdir()) == []


@pytest.mark.parametrize(
    "name", ["", "../up", "/abs", "a/b", "UPPER", "a..b", "a--b", ".hidden", "a b", "x" * 129, "naïve", "a\n"]
)
def test_names_that_could_leave_the_folder_or_confuse_an_engine_are_refused(name: str) -> None:
    with pytest.raises(InvalidInput):
        checked_name(name)


text = st.text(max_size=20)
adapted_models = st.builds(
    AdaptedModel,
    name=st.from_regex(r"[a-z0-9]{1,8}", fullmatch=True),
    version=st.integers(0, 99),
    base=st.just("tiny"),
    adapter=st.none()
    | st.builds(AdapterRef, kind=st.just("lora"), digest=st.just("0" * 64), rank=st.none() | st.integers(1, 64)),
    prompt=st.none()
    | st.builds(PromptTemplate, system=st.none() | text, shots=st.lists(st.builds(Shot, text, text), max_size=3).map(tuple)),
    retrieval=st.none() | st.builds(RetrievalSpec, store=text, passages=st.integers(1, 9), min_score=st.floats(0, 1)),
    sampling=st.builds(
        Sampling,
        temperature=st.none() | st.floats(0, 2),
        max_tokens=st.none() | st.integers(1, 99),
        top_p=st.none(),
        stop=st.lists(text, max_size=2).map(tuple),
    ),
    lineage=st.builds(Lineage, method=st.just("lora"), run=st.none() | text),
)


@given(adapted_models)
def test_what_is_written_is_what_is_read(model: AdaptedModel) -> None:
    assert from_json(to_json(model)) == model


@given(adapted_models, st.integers(0, 99))
def test_version_and_lineage_do_not_change_what_a_model_is(model: AdaptedModel, version: int) -> None:
    assert dataclasses.replace(model, version=version, lineage=Lineage(run="x")).digest == model.digest

"""/v1/vector_stores as the unmodified `openai` client calls it, on a gateway with the real encoder."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from openai.types import VectorStore

from adapters.errors import Conflict, GraftError
from gateway.cli import stores as cli
from gateway.db.database import open_database, writing
from gateway.db.models import VectorStoreRow
from gateway.files import FileStore
from tests.gateway.conftest import Gateway, Home, eventually, gateway_on

REFUNDS = b"# Refunds\n\nMoney goes back to the card that was charged, within 14 days of the parcel's return.\n"
ERRORS = b"# Error codes\n\nE4711 means that the drum does not turn: open the service flap and remove the transport bolts.\n"
HOURS = b"# Opening hours\n\nThe workshop in Graz is open on Tuesdays and Thursdays from nine until noon.\n"
NO_WEIGHT = {"embedding_weight": 0, "text_weight": 0}
DOCUMENTS = {"refunds.md": REFUNDS, "errors.md": ERRORS, "hours.md": HOURS}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    root = tmp_path_factory.mktemp("stores")
    (root / "home").mkdir()
    with gateway_on(Home(root / "home", root / "made")) as gateway:
        yield gateway


@pytest.fixture(scope="module")
def client(served: Gateway) -> openai.OpenAI:
    return served.openai()


def upload(client: openai.OpenAI, name: str, content: bytes) -> str:
    return client.files.create(file=(name, content), purpose="assistants").id


@pytest.fixture(scope="module")
def handbook(client: openai.OpenAI) -> VectorStore:
    """A store with three documents, which tests leave as it is."""
    ids = [upload(client, name, content) for name, content in DOCUMENTS.items()]
    store = client.vector_stores.create(name="handbook", description="for agents", metadata={"team": "desk"})
    files = [
        {"file_id": file_id, "attributes": {"kind": name.removesuffix(".md"), "year": 2024 + n, "public": n != 1}}
        for n, (file_id, name) in enumerate(zip(ids, DOCUMENTS, strict=True))
    ]
    batch = client.vector_stores.file_batches.create_and_poll(store.id, files=files)  # type: ignore[arg-type]
    assert (batch.status, batch.file_counts.completed, batch.file_counts.total) == ("completed", 3, 3)
    return client.vector_stores.retrieve(store.id)


def sources(page: Any) -> list[str]:
    return [hit.filename for hit in page.data]


def test_a_store_counts_its_files_and_their_bytes(handbook: VectorStore, client: openai.OpenAI) -> None:
    assert handbook.id.startswith("vs_")
    assert (handbook.object, handbook.name, handbook.status, handbook.metadata) == (
        "vector_store", "handbook", "completed", {"team": "desk"},
    )  # fmt: skip
    assert handbook.file_counts.to_dict() == {"in_progress": 0, "completed": 3, "failed": 0, "cancelled": 0, "total": 3}
    files = list(client.vector_stores.files.list(handbook.id))
    assert handbook.usage_bytes == sum(file.usage_bytes for file in files) > 0
    assert client.vector_stores.retrieve("handbook") == handbook, "its name leads to it too"


def test_a_search_finds_by_meaning_and_by_words(handbook: VectorStore, client: openai.OpenAI) -> None:
    by_meaning = client.vector_stores.search(handbook.id, query="how do I get my cash back?")
    assert sources(by_meaning)[0] == "refunds.md"
    by_words = client.vector_stores.search(handbook.id, query="E4711")
    assert sources(by_words)[0] == "errors.md"
    best = by_words.data[0]
    assert best.content[0].text == ERRORS.decode().strip()
    assert 0 < best.score <= 1
    assert best.attributes == {"kind": "errors", "year": 2025, "public": False}
    assert best.model_extra is not None
    where = best.model_extra["graft"]
    assert ERRORS.decode()[where["start"] : where["end"]] == best.content[0].text
    assert (where["heading"], where["ranks"]["lexical"], where["ranks"]["fused"]) == ("Error codes", 1, 1)
    assert by_words.model_extra is not None
    assert (by_words.object, by_words.model_extra["search_query"]) == ("vector_store.search_results.page", ["E4711"])


def test_several_questions_share_the_places_in_turn_and_no_passage_comes_twice(
    handbook: VectorStore, client: openai.OpenAI
) -> None:
    page = client.vector_stores.search(handbook.id, query=["E4711", "when is the workshop open?", "E4711"], max_num_results=2)
    assert sources(page) == ["errors.md", "hours.md"]


def test_weights_and_thresholds_decide_what_is_found(handbook: VectorStore, client: openai.OpenAI) -> None:
    def found(**options: Any) -> list[str]:
        return sources(client.vector_stores.search(handbook.id, query="E4711", ranking_options=options))

    words_only = {"embedding_weight": 0, "text_weight": 1}
    assert found(ranker="none", hybrid_search=words_only) == ["errors.md"], "only one document has the word"
    assert len(found()) == 3
    assert found(score_threshold=0.99) == []


@pytest.mark.parametrize(
    ("filters", "found"),
    [
        ({"type": "eq", "key": "kind", "value": "hours"}, {"hours.md"}),
        ({"type": "ne", "key": "kind", "value": "hours"}, {"refunds.md", "errors.md"}),
        ({"type": "gte", "key": "year", "value": 2025}, {"errors.md", "hours.md"}),
        ({"type": "eq", "key": "public", "value": True}, {"refunds.md", "hours.md"}),
        ({"type": "in", "key": "kind", "value": ["refunds", "errors"]}, {"refunds.md", "errors.md"}),
        ({"type": "and", "filters": [{"type": "lt", "key": "year", "value": 2026},
                                     {"type": "eq", "key": "public", "value": True}]}, {"refunds.md"}),
        ({"type": "eq", "key": "kind", "value": "nothing"}, set()),
    ],
)  # fmt: skip
def test_filters_apply_before_the_search(
    handbook: VectorStore, client: openai.OpenAI, filters: dict[str, Any], found: set[str]
) -> None:
    page = client.vector_stores.search(handbook.id, query="the drum does not turn", filters=filters, max_num_results=1)  # type: ignore[arg-type]
    assert set(sources(page)) <= found
    assert len(page.data) == min(1, len(found)), "a filter costs no results"
    assert set(sources(client.vector_stores.search(handbook.id, query="drum", filters=filters))) == found  # type: ignore[arg-type]


def test_files_are_shown_with_how_they_were_cut_and_what_they_say(handbook: VectorStore, client: openai.OpenAI) -> None:
    (file, *_) = client.vector_stores.files.list(handbook.id, order="asc").data
    assert (file.object, file.status, file.last_error, file.vector_store_id) == (
        "vector_store.file", "completed", None, handbook.id,
    )  # fmt: skip
    assert file.chunking_strategy is not None
    assert file.chunking_strategy.to_dict() == {
        "type": "static", "static": {"max_chunk_size_tokens": 224, "chunk_overlap_tokens": 0},
    }  # fmt: skip
    content = client.vector_stores.files.content(file.id, vector_store_id=handbook.id)
    assert "".join(part.text or "" for part in content.data) == REFUNDS.decode()


def test_lists_are_paged_both_ways_and_by_status(handbook: VectorStore, client: openai.OpenAI) -> None:
    files = client.vector_stores.files
    first, second, third = (file.id for file in files.list(handbook.id, order="asc"))
    assert [file.id for file in files.list(handbook.id, limit=1)] == [third, second, first], "pages follow each other"
    assert [file.id for file in files.list(handbook.id, order="asc", after=first).data] == [second, third]
    assert [file.id for file in files.list(handbook.id, order="asc", before=third, limit=1).data] == [second]
    page = files.list(handbook.id, limit=2)
    assert (len(page.data), page.has_more) == (2, True)
    assert files.list(handbook.id, filter="failed").data == []
    made = [client.vector_stores.create(name=f"paged {n}").id for n in range(3)]
    newest = [store.id for store in client.vector_stores.list(limit=2).data]
    assert newest == made[:0:-1]
    behind = client.vector_stores.list(limit=1, after=made[1])
    assert [store.id for store in behind.data] == [made[0]]
    assert {*made, handbook.id} <= {store.id for store in client.vector_stores.list(limit=1)}
    for store_id in made:
        client.vector_stores.delete(store_id)


def test_a_file_deleted_from_a_store_is_not_found_by_the_next_search(client: openai.OpenAI) -> None:
    store = client.vector_stores.create(name="leaving")
    stays = client.vector_stores.files.upload_and_poll(vector_store_id=store.id, file=("hours.md", HOURS))
    goes = client.vector_stores.files.upload_and_poll(vector_store_id=store.id, file=("errors.md", ERRORS))
    assert sources(client.vector_stores.search(store.id, query="E4711")) == ["errors.md", "hours.md"]
    gone = client.vector_stores.files.delete(goes.id, vector_store_id=store.id)
    assert (gone.id, gone.deleted, gone.object) == (goes.id, True, "vector_store.file.deleted")
    for _ in range(20):  # through the old index, the swap and the new one
        assert sources(client.vector_stores.search(store.id, query="E4711")) == ["hours.md"]
    with pytest.raises(openai.NotFoundError, match="has no file"):
        client.vector_stores.files.retrieve(goes.id, vector_store_id=store.id)
    assert client.files.retrieve(goes.id).id == goes.id, "the uploaded file stays"
    client.vector_stores.files.create_and_poll(goes.id, vector_store_id=store.id)
    assert sources(client.vector_stores.search(store.id, query="E4711")) == ["errors.md", "hours.md"], "it may come back"
    client.files.delete(goes.id)
    assert sources(client.vector_stores.search(store.id, query="E4711")) == ["hours.md"], "a deleted upload leaves every store"
    assert [file.id for file in client.vector_stores.files.list(store.id)] == [stays.id]
    client.vector_stores.delete(store.id)


def test_attributes_change_what_a_filter_lets_through_at_once(client: openai.OpenAI) -> None:
    store = client.vector_stores.create()
    file = client.vector_stores.files.upload_and_poll(
        vector_store_id=store.id, file=("hours.md", HOURS), attributes={"place": "Graz"}
    )
    vienna = {"type": "eq", "key": "place", "value": "Vienna"}
    assert client.vector_stores.search(store.id, query="open", filters=vienna).data == []  # type: ignore[arg-type]
    changed = client.vector_stores.files.update(file.id, vector_store_id=store.id, attributes={"place": "Vienna", "n": 1.5})
    assert changed.attributes == {"place": "Vienna", "n": 1.5}
    assert len(client.vector_stores.search(store.id, query="open", filters=vienna).data) == 1  # type: ignore[arg-type]
    client.vector_stores.delete(store.id)


def test_a_file_put_in_twice_is_there_once_and_cut_anew_where_that_is_asked(client: openai.OpenAI) -> None:
    long = b"\n\n".join(b"Rule %d of the house says that tool %d is put back on shelf %d." % (n, n, n) for n in range(40))
    file_id = upload(client, "rules.txt", long)
    store = client.vector_stores.create(file_ids=[file_id])
    first = client.vector_stores.files.poll(file_id, vector_store_id=store.id)
    again = client.vector_stores.files.create(store.id, file_id=file_id)
    assert again.status == "completed", "nothing is left to do"
    small: Any = {"type": "static", "static": {"max_chunk_size_tokens": 100, "chunk_overlap_tokens": 20}}
    cut = client.vector_stores.files.create_and_poll(file_id, vector_store_id=store.id, chunking_strategy=small)
    assert cut.chunking_strategy is not None
    assert cut.chunking_strategy.to_dict() == small
    assert first.model_extra is not None
    assert cut.model_extra is not None
    assert cut.model_extra["graft"]["passages"] > first.model_extra["graft"]["passages"]
    assert client.vector_stores.retrieve(store.id).file_counts.total == 1
    client.vector_stores.delete(store.id)


def test_what_cannot_be_read_fails_alone_with_its_reason(client: openai.OpenAI) -> None:
    store = client.vector_stores.create()
    batch = client.vector_stores.file_batches.upload_and_poll(
        store.id, files=[("hours.md", HOURS), ("torn.pdf", b"%PDF-1.7 not really"), ("photo.heic", bytes(range(256)) * 8)]
    )
    assert batch.file_counts.to_dict() == {"in_progress": 0, "completed": 1, "failed": 2, "cancelled": 0, "total": 3}
    failed = client.vector_stores.file_batches.list_files(batch.id, vector_store_id=store.id, filter="failed").data
    errors = {file.last_error.code: file.last_error.message for file in failed if file.last_error}
    assert "torn.pdf" in errors["invalid_file"]
    assert "photo.heic" in errors["unsupported_file"]
    assert sources(client.vector_stores.search(store.id, query="open")) == ["hours.md"]
    client.vector_stores.delete(store.id)


def test_a_batch_can_be_called_off(client: openai.OpenAI) -> None:
    store = client.vector_stores.create()
    ids = [upload(client, f"{n}.txt", b"\n\n".join(b"Line %d of %d." % (m, n) for m in range(200))) for n in range(12)]
    batch = client.vector_stores.file_batches.create(store.id, file_ids=ids)
    assert (batch.object, batch.status, batch.file_counts.total) == ("vector_store.files_batch", "in_progress", 12)
    called_off = client.vector_stores.file_batches.cancel(batch.id, vector_store_id=store.id)
    assert called_off.status == "cancelled"
    assert called_off.file_counts.in_progress == 0
    assert called_off.file_counts.cancelled > 0
    done = {f.id for f in client.vector_stores.files.list(store.id, filter="completed")}
    found = client.vector_stores.search(store.id, query="line", max_num_results=50).data
    assert {hit.file_id for hit in found} <= done
    client.vector_stores.delete(store.id)


def test_a_store_can_be_renamed_and_described_anew(client: openai.OpenAI) -> None:
    store = client.vector_stores.create(name="a", metadata={"k": "v"}, expires_after={"anchor": "last_active_at", "days": 7})
    assert store.expires_at == store.last_active_at + 7 * 86_400 if store.last_active_at else False
    renamed = client.vector_stores.update(store.id, name="b")
    assert (renamed.name, renamed.metadata, renamed.expires_after) == ("b", {"k": "v"}, store.expires_after)
    plain = client.vector_stores.update(store.id, metadata=None, expires_after=None)
    assert (plain.name, plain.metadata, plain.expires_after, plain.expires_at) == ("b", None, None, None)
    gone = client.vector_stores.delete(store.id)
    assert (gone.id, gone.deleted, gone.object) == (store.id, True, "vector_store.deleted")
    with pytest.raises(openai.NotFoundError, match="there is no vector store"):
        client.vector_stores.retrieve(store.id)


def test_a_deleted_store_leaves_nothing_on_the_disk(client: openai.OpenAI, served: Gateway) -> None:
    store = client.vector_stores.create()
    client.vector_stores.files.upload_and_poll(vector_store_id=store.id, file=("hours.md", HOURS))
    folder = served.settings.stores / store.id
    assert folder.is_dir()
    client.vector_stores.delete(store.id)
    eventually(lambda: not folder.exists())


def test_an_expired_store_says_so(client: openai.OpenAI, served: Gateway) -> None:
    store = client.vector_stores.create(expires_after={"anchor": "last_active_at", "days": 1})
    client.vector_stores.files.upload_and_poll(vector_store_id=store.id, file=("hours.md", HOURS))
    with writing(open_database(served.settings.database_url)) as connection:
        mine = VectorStoreRow.__table__.c.id == store.id
        connection.execute(VectorStoreRow.__table__.update().where(mine).values(last_active_at=time.time() - 86_401))
    assert client.vector_stores.retrieve(store.id).status == "expired"
    for use in (
        lambda: client.vector_stores.search(store.id, query="open"),
        lambda: client.vector_stores.files.create(store.id, file_id="file-" + "0" * 24),
        lambda: client.vector_stores.update(store.id, expires_after=None),
    ):
        with pytest.raises(openai.BadRequestError, match="has expired") as caught:
            use()
        assert caught.value.code == "vector_store_expired"
    client.vector_stores.delete(store.id)


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("", {"file_ids": ["file-000"]}, "file_id"),
        ("", {"metadata": {"k": "v" * 513}}, "metadata[...]"),
        ("", {"nmae": "x"}, "nmae"),
        ("", {"expires_after": {"anchor": "created_at", "days": 1}}, "expires_after.anchor"),
        ("/handbook/files", {"file_id": "file-" + "0" * 24}, "file_id"),
        ("/handbook/files", {"file_id": "f", "attributes": {str(n): n for n in range(17)}}, "attributes"),
        ("/handbook/file_batches", {}, "file_ids"),
        ("/handbook/search", {"query": "x", "max_num_results": 51}, "max_num_results"),
        ("/handbook/search", {"query": "x", "rewrite_query": True}, "rewrite_query"),
        ("/handbook/search", {"query": " "}, "query"),
        ("/handbook/search", {"query": "x", "filters": {"type": "like", "key": "a", "value": "b"}}, "filters.type"),
        ("/handbook/search", {"query": "x", "ranking_options": {"ranker": "best"}}, "ranking_options.ranker"),
        ("/handbook/search", {"query": "x", "ranking_options": {"hybrid_search": NO_WEIGHT}}, "ranking_options.hybrid_search"),
        ("/nobody/search", {"query": "x"}, "vector_store_id"),
    ],
)
def test_what_is_wrong_is_named(
    served: Gateway, handbook: VectorStore, path: str, body: dict[str, Any], param: str
) -> None:  # fmt: skip
    with served.http() as http:
        refused = http.post(f"/v1/vector_stores{path}", json=body)
    assert refused.status_code in (400, 404), refused.text
    assert refused.json()["error"]["param"] == param


def test_overlap_is_half_of_a_chunk_at_most_and_result_files_are_refused(
    client: openai.OpenAI, handbook: VectorStore, served: Gateway
) -> None:
    file_id = client.vector_stores.files.list(handbook.id).data[0].id
    wide: Any = {"type": "static", "static": {"max_chunk_size_tokens": 200, "chunk_overlap_tokens": 101}}
    with pytest.raises(openai.BadRequestError, match="half") as caught:
        client.vector_stores.files.create(handbook.id, file_id=file_id, chunking_strategy=wide)
    assert caught.value.param == "chunking_strategy.static.chunk_overlap_tokens"
    table = FileStore(served.settings.files).keep_results(b"step,loss\n", filename="r.csv", at_ns=time.time_ns(), of="a job")
    with pytest.raises(openai.BadRequestError, match="result file"):
        client.vector_stores.files.create(handbook.id, file_id=table.id)


def test_names_that_several_stores_have_lead_to_none(client: openai.OpenAI) -> None:
    twins = [client.vector_stores.create(name="twin").id for _ in range(2)]
    with pytest.raises(openai.BadRequestError, match="several vector stores"):
        client.vector_stores.search("twin", query="x")
    for twin in twins:
        client.vector_stores.delete(twin)


def test_a_store_without_files_finds_nothing(client: openai.OpenAI) -> None:
    store = client.vector_stores.create()
    assert client.vector_stores.search(store.id, query="anything").data == []
    client.vector_stores.delete(store.id)


def test_the_async_client_waits_for_uploads_too(served: Gateway) -> None:
    async def put_in() -> None:
        client = served.async_openai()
        store = await client.vector_stores.create()
        files = list(DOCUMENTS.items())
        batch = await client.vector_stores.file_batches.upload_and_poll(store.id, files=files)
        assert batch.file_counts.completed == 3
        listed = [file async for file in client.vector_stores.file_batches.list_files(batch.id, vector_store_id=store.id)]
        assert len(listed) == 3
        await client.vector_stores.delete(store.id)

    asyncio.run(put_in())


def test_the_command_line_fills_a_store_and_shows_how_passages_are_found(
    client: openai.OpenAI, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cli, "open_client", lambda: client)
    docs = tmp_path / "docs"
    (docs / "desk").mkdir(parents=True)
    (docs / "desk" / "errors.md").write_bytes(ERRORS)
    (docs / "hours.md").write_bytes(HOURS)
    (docs / ".draft.md").write_bytes(REFUNDS)
    (docs / "torn.pdf").write_bytes(b"%PDF-1.7 not really")
    (docs / "empty.txt").touch()
    cli.create("manual", docs=docs)
    shown = capsys.readouterr()
    assert "2 files put in, 2 failed, 0 unchanged" in shown.err
    assert "torn.pdf" in shown.out.split("WHY")[1], "it says which file could not be read"
    with pytest.raises(Conflict, match="already"):
        cli.create("manual")
    assert "empty.txt could not be put in: 'empty.txt' is empty" in shown.err
    (docs / "torn.pdf").unlink()
    (docs / "empty.txt").unlink()
    (docs / "hours.md").write_bytes(HOURS.replace(b"Graz", b"Linz"))
    cli.add("manual", docs)
    assert "1 files put in, 0 failed, 1 unchanged" in capsys.readouterr().err
    cli.search("manual", "E4711", json=True)
    (best, other) = json.loads(capsys.readouterr().out)["data"]
    assert (best["filename"], best["graft"]["ranks"]["lexical"], other["filename"]) == ("errors.md", 1, "hours.md")
    assert "Linz" in other["content"][0]["text"], "what has changed was replaced"
    cli.search("manual", "E4711", where=["path=desk/errors.md"])
    table = capsys.readouterr().out
    assert "DENSE" in table and "errors.md" in table and "hours.md" not in table  # noqa: PT018
    cli.ls(quiet=True)
    assert "manual" in capsys.readouterr().out.splitlines()
    cli.rm("manual", with_files=True, yes=True)
    with pytest.raises(GraftError, match="there is no vector store 'manual'"):
        cli.show("manual")


def test_the_command_line_fails_only_where_no_file_could_be_put_in(
    client: openai.OpenAI, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cli, "open_client", lambda: client)
    empty, torn, good = tmp_path / "empty.md", tmp_path / "torn.pdf", tmp_path / "hours.md"
    empty.touch()
    torn.write_bytes(b"%PDF-1.7 not really")
    good.write_bytes(HOURS)
    cli.create("leaflets")
    capsys.readouterr()
    with pytest.raises(GraftError, match="nothing was put into leaflets: of 2 files none could be read"):
        cli.add("leaflets", empty, torn)
    said = capsys.readouterr()
    assert "empty.md could not be put in: 'empty.md' is empty" in said.err
    assert "torn.pdf" in said.out.split("COULD NOT BE READ")[1]
    cli.add("leaflets", empty, good)
    assert "1 files put in, 1 failed, 0 unchanged" in capsys.readouterr().err
    cli.add("leaflets", good)
    assert "0 files put in, 0 failed, 1 unchanged" in capsys.readouterr().err


def test_a_stores_name_is_shown_and_leads_to_no_folder(client: openai.OpenAI, served: Gateway) -> None:
    store = client.vector_stores.create(name="../evil", file_ids=[upload(client, "hours.md", HOURS)])
    eventually(lambda: client.vector_stores.retrieve(store.id).status == "completed")
    assert client.vector_stores.retrieve(store.id).name == "../evil"
    stores = served.home.path / "stores"
    assert (stores / store.id).is_dir()
    assert not list(stores.parent.rglob("evil"))
    with pytest.raises(openai.NotFoundError, match="`graft stores ls` and GET /v1/vector_stores list them"):
        client.vector_stores.retrieve("vs_nobody")

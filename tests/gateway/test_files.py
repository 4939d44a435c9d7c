"""Files over HTTP as the unmodified `openai` client uploads, lists, reads and deletes them; and the store beneath."""

from __future__ import annotations

import io
import json
from pathlib import Path

import openai
import pytest

from adapters.errors import InvalidInput, NotFound
from gateway.files import FileStore, plain_name
from tests.gateway.conftest import Gateway

ROWS = b"".join(json.dumps({"prompt": f"ticket {n}", "completion": "billing"}).encode() + b"\n" for n in range(12))


@pytest.fixture(scope="module")
def client(shared: Gateway) -> openai.OpenAI:
    return shared.openai()


def test_a_file_comes_back_as_it_was_sent(client: openai.OpenAI) -> None:
    sent = client.files.create(file=("tickets.jsonl", ROWS), purpose="fine-tune")
    assert (sent.object, sent.filename, sent.bytes, sent.purpose, sent.status) == (
        "file", "tickets.jsonl", len(ROWS), "fine-tune", "processed",
    )  # fmt: skip
    assert client.files.retrieve(sent.id) == sent
    assert client.files.content(sent.id).read() == ROWS
    gone = client.files.delete(sent.id)
    assert (gone.id, gone.deleted, gone.object) == (sent.id, True, "file")
    with pytest.raises(openai.NotFoundError, match="there is no file"):
        client.files.retrieve(sent.id)


def test_a_file_larger_than_memory_buffers_is_whole(client: openai.OpenAI) -> None:
    large = b"0123456789abcdef" * (5 * 2**16)
    sent = client.files.create(file=("large.bin", large), purpose="user_data")
    assert sent.bytes == len(large)
    assert client.files.content(sent.id).read() == large
    client.files.delete(sent.id)


def test_lists_are_paged_in_order_and_by_purpose(client: openai.OpenAI) -> None:
    ids = [client.files.create(file=(f"{n}.txt", b"x"), purpose="assistants").id for n in range(5)]
    client.files.create(file=("other.txt", b"x"), purpose="evals")
    oldest = client.files.list(purpose="assistants", order="asc", limit=2)
    assert [file.id for file in oldest.data] == ids[:2]
    assert oldest.has_more
    assert [file.id for file in client.files.list(purpose="assistants", order="asc", limit=2)] == ids, "pages follow each other"
    assert [file.id for file in client.files.list(purpose="assistants")] == ids[::-1], "newest first unless told"
    assert [file.id for file in client.files.list(purpose="assistants", after=ids[1]).data] == ids[:1]


def test_a_wrong_row_is_found_at_upload_with_line_and_field(client: openai.OpenAI, shared: Gateway) -> None:
    wrong = ROWS + b'{"prompt": "ticket", "completion": ""}\n'
    with pytest.raises(openai.BadRequestError, match=r"tickets.jsonl, line 13, field 'completion'") as caught:
        client.files.create(file=("tickets.jsonl", wrong), purpose="fine-tune")
    assert (caught.value.param, caught.value.code) == ("file", "invalid_data")
    assert not list(shared.settings.files.glob(".incoming-*")), "nothing of it is left"


@pytest.mark.parametrize(
    ("form", "param"),
    [
        ({"data": {"purpose": "fine-tune"}}, "file"),
        ({"files": {"file": ("a", ROWS)}}, "purpose"),
        ({"files": {"file": ("a", ROWS)}, "data": {"purpose": "fun"}}, "purpose"),
        ({"files": {"file": ("a", b"")}, "data": {"purpose": "evals"}}, "file"),
        ({"files": {"file": ("a", ROWS)}, "data": {"purpose": "evals", "expires_after[seconds]": "9"}}, "expires_after.anchor"),
    ],
)
def test_an_upload_that_lacks_something_says_what(shared: Gateway, form: dict[str, object], param: str) -> None:
    with shared.http() as http:
        refused = http.post("/v1/files", **form)
    assert refused.status_code == 400
    assert refused.json()["error"]["param"] == param


def test_only_ids_reach_the_disk(shared: Gateway) -> None:
    with shared.http() as http:
        for asked in ("..", "%2e%2e%2fgraft.db", "file-000", ".incoming-1"):
            assert http.get(f"/v1/files/{asked}").status_code == 404
            assert http.delete(f"/v1/files/{asked}").status_code in (404, 405)
        assert http.get("/v1/files", params={"limit": 0}).status_code == 400


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("../../etc/passwd", "passwd"),
        ("C:\\rows.jsonl", "rows.jsonl"),
        ('a\r\nb"c.csv', "abc.csv"),
        ("..", "upload"),
        ("", "upload"),
    ],
)
def test_names_are_made_plain(given: str, kept: str) -> None:
    assert plain_name(given) == kept


class Torn(io.BytesIO):
    """A source that breaks off, as an upload does when its sender dies."""

    def read(self, size: int | None = -1, /) -> bytes:
        if self.tell():
            raise OSError("connection lost")
        return super().read(4)


def test_what_breaks_off_leaves_nothing(tmp_path: Path) -> None:
    store = FileStore(tmp_path)
    with pytest.raises(OSError, match="connection lost"):
        store.add(Torn(ROWS), filename="a.jsonl", purpose="evals")
    with pytest.raises(InvalidInput, match="line 1"):
        store.add(io.BytesIO(b"not json"), filename="a.jsonl", purpose="fine-tune")
    assert list(tmp_path.iterdir()) == []
    assert store.page().files == ()


def test_a_folder_without_its_card_is_no_file(tmp_path: Path) -> None:
    store = FileStore(tmp_path)
    kept = store.add(io.BytesIO(ROWS), filename="a.jsonl", purpose="fine-tune")
    torn = tmp_path / f"file-{'0' * 24}"
    torn.mkdir()
    (torn / "content").write_bytes(ROWS)
    assert store.page().files == (kept,)
    with pytest.raises(NotFound):
        store.content(torn.name)
    with pytest.raises(InvalidInput, match="purpose"):
        store.add(io.BytesIO(ROWS), filename="a.jsonl", purpose="fine_tune")

"""Advice over HTTP: numbers answered at once, a file measured in a child process, errors that name the field."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.gateway.conftest import Gateway, eventually
from tests.tiny import write_messages


def ask(gateway: Gateway, body: dict[str, Any] | bytes, *, timeout_s: float = 200) -> httpx.Response:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    with gateway.http() as http:
        return http.post("/v1/graft/advice", content=content, timeout=timeout_s)


def upload(gateway: Gateway, path: Path, purpose: str = "fine-tune") -> str:
    client = gateway.openai()
    with path.open("rb") as file:
        return client.files.create(file=file, purpose=purpose).id  # type: ignore[arg-type]


def test_plain_numbers_are_enough(shared: Gateway) -> None:
    said = ask(
        shared, {"n_examples": 400, "task_type": "extraction", "params_b": 1.0, "gpu_gib": 24, "knowledge_changes": False}
    )
    assert said.status_code == 200
    made = said.json()
    assert made["recommendation"]["method"] == "lora"
    assert made["ranking"][0]["fits"] is True
    assert {one["name"]: one["value"] for one in made["evidence"]}["n_examples"] == 400
    assert ask(shared, {"needs_new_knowledge": True}).json()["recommendation"]["method"] == "rag"


def test_a_profile_and_a_machine_by_name_are_part_of_the_question(shared: Gateway) -> None:
    asked = {"n_examples": 400, "params_b": 8.0, "gpu": "h100", "price_per_hour": 2.0, "labels_per_hour": 50}
    made = ask(shared, {**asked, "profile": "cost"}).json()
    assert made["profile"] == "cost"
    found = {one["name"]: one for one in made["evidence"]}
    assert (found["gpu_gib"]["value"], found["price_per_hour"]["value"]) == (79.6, 2.0)
    assert "data sheet" in found["train_tflops"]["how"]
    costs = {one["method"]: one["cost"] for one in made["ranking"]}
    assert 0 < costs["few_shot"]["serve_price_per_1000"] < costs["knn_few_shot"]["serve_price_per_1000"]
    assert costs["lora"]["train_price"] > 0
    assert ask(shared, asked).json()["profile"] == "quality"


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "n_examples"),
        ({"n_examples": 40, "profile": "speed"}, "profile"),
        ({"n_examples": 40, "gpu": "voodoo2"}, "gpu"),
        ({"n_examples": "many"}, "n_examples"),
        ({"n_examples": -3}, "n_examples"),
        ({"domain_shift": 4}, "domain_shift"),
        ({"task_type": "poetry"}, "task_type"),
        ({"examples": 4}, "examples"),
        (b"[1, 2]", None),
        (b"{", None),
    ],
)
def test_a_wrong_body_names_its_field(shared: Gateway, body: dict[str, Any] | bytes, param: str | None) -> None:
    said = ask(shared, body)
    assert said.status_code == 400
    assert said.json()["error"]["param"] == param


def test_an_unknown_file_or_base_is_not_found(shared: Gateway) -> None:
    assert ask(shared, {"file_id": f"file-{'0' * 24}"}).status_code == 404
    unknown = ask(shared, {"n_examples": 3, "base": "nobody"})
    assert (unknown.status_code, unknown.json()["error"]["param"]) == (404, "base")


def test_a_file_is_measured(shared: Gateway, tmp_path: Path) -> None:
    file_id = upload(shared, write_messages(tmp_path / "tickets.jsonl", 60))
    said = ask(shared, {"file_id": file_id, "knowledge_changes": False, "profile": "latency", "gpu": "24GiB"})
    assert said.status_code == 200, said.text
    assert said.json()["profile"] == "latency"
    found = {one["name"]: one for one in said.json()["evidence"]}
    assert (found["n_examples"]["value"], found["n_classes"]["value"]) == (60, 4)
    assert found["knowledge_changes"]["how"] == "stated by the caller"
    low, high = found["domain_shift"]["interval"]
    assert 0 < low <= found["domain_shift"]["value"] <= high < 1
    (command,) = said.json()["plan"]["commands"]
    assert command.startswith("graft tune tickets.jsonl ")


def test_what_the_measuring_refuses_reaches_the_caller(shared: Gateway, tmp_path: Path) -> None:
    file_id = upload(shared, write_messages(tmp_path / "tickets.jsonl", 12))
    (shared.settings.files / file_id / "content").write_text('{"prompt": "now it is another file"}\n')
    said = ask(shared, {"file_id": file_id})
    assert said.status_code == 400
    assert "tickets.jsonl, line 1" in said.json()["error"]["message"]
    stored = upload(shared, write_messages(tmp_path / "b.jsonl", 12), purpose="user_data")
    assert ask(shared, {"file_id": stored}).json()["error"]["param"] == "file_id"


def test_a_caller_who_leaves_ends_the_measuring(shared: Gateway, tmp_path: Path) -> None:
    file_id = upload(shared, write_messages(tmp_path / "tickets.jsonl", 40))

    def measuring() -> bool:
        return any(file_id.encode() in _argv(folder) for folder in Path("/proc").iterdir() if folder.name.isdigit())

    body = json.dumps({"file_id": file_id}).encode()
    with socket.socket(socket.AF_UNIX) as caller:
        caller.connect(str(shared.socket))
        caller.sendall(b"POST /v1/graft/advice HTTP/1.1\r\nhost: gateway\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body))
        eventually(measuring)
    eventually(lambda: not measuring())
    assert ask(shared, {"n_examples": 40}).status_code == 200


def _argv(folder: Path) -> bytes:
    try:
        return (folder / "cmdline").read_bytes()
    except OSError:  # it has ended
        return b""

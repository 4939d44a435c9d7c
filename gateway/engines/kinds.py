"""The kinds of engine, by the name that `engine.kind` gives them. A new kind is one file and one row."""

from __future__ import annotations

from gateway.engines import stub, vllm
from gateway.engines.contract import EngineKind

ENGINES: dict[str, EngineKind] = {
    "vllm": vllm.command,
    "stub": stub.command,
}

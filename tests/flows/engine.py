"""A real vLLM as the gateway would start it, without a gateway, for tests that ask the engine itself."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from gateway import settings as settings_table
from gateway.engines.contract import Slots
from gateway.engines.sockets import socket_path
from gateway.engines.vllm import command
from tests.gateway.conftest import eventually

STARTS_S = 240


@contextmanager
def vllm_engine(
    home: Path, name: str, model: Path, slots: Slots | None, *, max_model_len: int = 256,
    flags: tuple[str, ...] = ("--enforce-eager",),
) -> Iterator[httpx.Client]:  # fmt: skip
    """Speaks to it on its socket; it ends with this. `flags` go to vLLM."""
    settings = settings_table.load(
        environment={"GRAFT_STORAGE_HOME": str(home), "GRAFT_ENGINE_MAX_MODEL_LEN": str(max_model_len)}
    )
    socket = socket_path(settings, name)
    made = command(settings, settings_table.BaseSetting(name, str(model), flags), socket, slots)
    with (home / "engine.log").open("wb") as log:
        environment = {**os.environ, **made.environment}
        process = subprocess.Popen(made.argv, env=environment, stdout=log, stderr=log, start_new_session=True)
    http = httpx.Client(transport=httpx.HTTPTransport(uds=str(socket)), base_url="http://engine", timeout=60)

    def answers() -> bool:
        try:
            return http.get("/health").status_code == 200
        except httpx.TransportError:
            return process.poll() is not None

    try:
        eventually(answers, STARTS_S)
        assert process.poll() is None, (home / "engine.log").read_text()[-4000:]
        yield http
    finally:
        http.close()
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(20)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)

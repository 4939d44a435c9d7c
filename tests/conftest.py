"""No test reaches beyond this machine: hubs are offline, and a connection to anywhere but loopback fails at once."""

from __future__ import annotations

import ipaddress
import os
import socket
from collections.abc import Iterator
from typing import Any

import pytest

os.environ["HF_HUB_OFFLINE"] = "1"  # inherited by every process that a test starts


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Journeys first: they are the longest files, and what runs two files at a time shall not end with one of them alone."""
    items.sort(key=lambda item: "flows" not in item.path.parts)


@pytest.fixture(autouse=True, scope="session")
def _only_loopback() -> Iterator[None]:
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: Any) -> None:
        if self.family in (socket.AF_INET, socket.AF_INET6) and not ipaddress.ip_address(address[0]).is_loopback:
            raise AssertionError(f"a test wants to connect to {address}")
        connect(self, address)

    patch = pytest.MonkeyPatch()
    patch.setattr(socket.socket, "connect", guarded)
    yield
    patch.undo()

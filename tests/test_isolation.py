"""The tests' own promise: nothing outside this machine is asked."""

from __future__ import annotations

import socket

import pytest


def test_a_connection_to_elsewhere_fails_before_it_is_made() -> None:
    with socket.socket() as caller, pytest.raises(AssertionError, match="wants to connect"):
        caller.connect(("192.0.2.1", 80))  # an address set aside for documentation (RFC 5737)

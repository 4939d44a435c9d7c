"""Who may ask: anybody on loopback, elsewhere whoever sends the key. Knows no route; open ones say so in their `opt`."""

from __future__ import annotations

import hashlib
import hmac
from typing import Any

from litestar.connection import ASGIConnection
from litestar.exceptions import NotAuthorizedException
from litestar.handlers import BaseRouteHandler
from litestar.types import Guard

from gateway.settings import Settings


def require_key(settings: Settings) -> Guard:
    """A guard for the whole application. Routes with `opt={"open": True}` ask for no key."""
    expected = hashlib.sha256(settings.server_api_key.encode()).digest()

    def guard(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
        if settings.is_loopback or handler.opt.get("open"):
            return
        scheme, _, key = connection.headers.get("authorization", "").partition(" ")
        # digests are compared, so that the time tells nothing of the key, its length included
        given = hashlib.sha256(key.strip().encode()).digest()
        if scheme.lower() != "bearer" or not hmac.compare_digest(given, expected):
            raise NotAuthorizedException("send the API key of this gateway as 'Authorization: Bearer KEY'")

    return guard

"""Every error as OpenAI's clients expect it: `{"error": {"message", "type", "param", "code"}}` under the right status.

The one place that turns Graft's error tree and Litestar's exceptions into HTTP. Knows no route.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from litestar import Request, Response
from litestar.exceptions import HTTPException

from adapters.errors import Conflict, GraftError, Interrupted, InvalidInput, NotFound, Overloaded, Unavailable, Unservable
from gateway.wire.openai import ErrorBody, ErrorDetail

STATUSES: dict[type[GraftError], int] = {
    InvalidInput: 400,
    NotFound: 404,
    Conflict: 409,
    Unservable: 422,  # not a 5xx: clients would try again, and the adapter would be as wrong as before
    Unavailable: 503,
    Overloaded: 429,
    Interrupted: 503,
    GraftError: 500,
}
"""The nearest ancestor counts, so a new leaf of the tree has a status already."""

CODES = {401: "invalid_api_key", 404: "unknown_url", 405: "method_not_allowed", 413: "request_too_large"}
"""Of Litestar's own exceptions."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Failure:
    status: int
    body: ErrorBody
    headers: Mapping[str, str] = field(default_factory=dict)


def describe(error: Exception) -> Failure:
    """The status, body and headers for an error. What is not expected becomes a 500 that says nothing of its insides."""
    if isinstance(error, GraftError):
        status = next(STATUSES[kind] for kind in type(error).__mro__ if kind in STATUSES)
        headers = {"retry-after": str(math.ceil(error.retry_after_s))} if isinstance(error, Unavailable) else {}
        return Failure(status, _body(status, error.message, error.param, error.code), headers)
    if isinstance(error, HTTPException):
        status = error.status_code
        code = CODES.get(status, "invalid_request" if status < 500 else "internal_error")
        return Failure(status, _body(status, error.detail, None, code), error.headers or {})
    return Failure(500, _body(500, "something went wrong inside the gateway; its log says what", None, "internal_error"))


def respond(request: Request, error: Exception) -> Response[ErrorBody]:  # type: ignore[type-arg]
    """Litestar's exception handler."""
    failure = describe(error)
    if failure.status == 500:
        log.error("%s %s failed", request.method, request.url.path, exc_info=error)
    if isinstance(error, HTTPException) and failure.status in (404, 405):
        failure.body.error.message = f"there is no {request.method} {request.url.path} here"
    return Response(failure.body, status_code=failure.status, headers=dict(failure.headers), media_type="application/json")


def _body(status: int, message: str, param: str | None, code: str) -> ErrorBody:
    kind = "server_error" if status >= 500 else "rate_limit_error" if status == 429 else "invalid_request_error"
    return ErrorBody(ErrorDetail(message, kind, param, code))

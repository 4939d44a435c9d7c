"""JSON into typed values, with errors that name the field as a caller would write it. Knows no route."""

from __future__ import annotations

import re
from typing import TypeVar

import msgspec

from adapters.errors import InvalidInput

T = TypeVar("T")

_AT = re.compile(r" - at `\$\.?(.*)`$")
_NAMED = re.compile(r"(?:missing required|unknown) field `(.*?)`")


def decode(body: bytes | msgspec.Raw, kind: type[T], *, within: str = "") -> T:
    """`body` as a `kind`. `within` is the path of the field that `body` is the value of.

    Raises InvalidInput whose `param` is the path of the wrong field, as in `messages[0].role`.
    """
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.ValidationError as error:
        text = str(error)
        found = _AT.search(text)
        path = _join(within, found[1] if found else "")
        named = _NAMED.search(text)
        path = _join(path, named[1]) if named else path
        what = _AT.sub("", text)
        code = "missing_required_parameter" if "missing required" in text else "invalid_type"
        raise InvalidInput(f"{path or 'the body'}: {what}", param=path or None, code=code) from error
    except msgspec.DecodeError as error:
        raise InvalidInput(f"the body is not JSON: {error}", code="invalid_json") from error
    except UnicodeDecodeError as error:
        raise InvalidInput("the body is not UTF-8", code="invalid_json") from error


def _join(path: str, further: str) -> str:
    return f"{path}.{further}" if path and further and not further.startswith("[") else path + further

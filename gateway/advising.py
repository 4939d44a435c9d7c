"""Advice for callers over the network: from numbers at once, about a file in a child process, one at a time.

The child is the advisor's own program, so torch stays out of this process. Knows no HTTP.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from asyncio.subprocess import PIPE
from typing import Any

import msgspec

from adapters import bases
from adapters.bases import Base
from adapters.errors import GraftError, InvalidInput, NotFound, Unavailable
from advisor import utility
from advisor.advice import from_numbers
from advisor.stated import FIELDS, Stated
from gateway import children
from gateway.files import CHECKED, FileStore, StoredFile
from gateway.settings import Settings
from gateway.wire.advice import AdviceRequest

TIME_LIMIT_S = 300.0
"""Reading and measuring a file of the largest size allowed stays well below; what takes longer hangs."""

log = logging.getLogger(__name__)


class Advising:
    def __init__(self, settings: Settings, files: FileStore) -> None:
        self._settings, self._files = settings, files
        self._turn = asyncio.Semaphore(1)

    async def ask(self, body: bytes) -> bytes:
        """The advice as JSON. Raises InvalidInput for a body that is wrong, NotFound for an unknown file or base.

        Cancelling it ends the child.
        """
        request = read(body)
        stated = _stated(request)
        utility.weights_of(request.profile)
        if request.file_id is None:
            return await asyncio.to_thread(self._from_numbers, request, stated)
        file = await asyncio.to_thread(self._files.get, request.file_id)
        if file.purpose != CHECKED:
            raise InvalidInput(f"'{file.id}' was uploaded as {file.purpose}; advice is about {CHECKED} files", param="file_id")
        async with self._turn:
            return await self._from_file(file, request, stated)

    def _from_numbers(self, request: AdviceRequest, stated: Stated) -> bytes:
        # without a name the numbers speak of any base, so the first of this gateway is not taken for it
        base = None if request.base is None else self._base(request.base)
        facts = None if base is None else bases.facts(base.folder)
        made = from_numbers(stated, facts=facts, base_name=request.base, profile=request.profile)
        return msgspec.json.encode(made.to_json())

    async def _from_file(self, file: StoredFile, request: AdviceRequest, stated: Stated) -> bytes:
        base = await asyncio.to_thread(self._base_or_none, request.base)
        argv = [sys.executable, "-m", "advisor", str(self._files.content(file.id)), f"--shown-as={file.filename}", "--json"]
        argv.append(f"--profile={request.profile}")
        if base is not None:
            argv += ["--base", str(base.folder), "--base-name", base.name]
        for name, value in stated.given().items():
            argv.append(f"--{name.replace('_', '-')}={json.dumps(value).strip(chr(34))}")
        process = await children.start(argv, stdout=PIPE, stderr=PIPE)
        try:
            said, complaint = await asyncio.wait_for(process.communicate(), TIME_LIMIT_S)
        except TimeoutError:
            raise Unavailable(f"the advice took longer than {TIME_LIMIT_S:g} s and was given up; try again later") from None
        finally:
            if process.returncode is None:
                await children.end(process, grace_s=1)
        if process.returncode == 0:
            return said
        raise _refusal(said, complaint)

    def _base_or_none(self, name: str | None) -> Base | None:
        """The base named, or the first; None where that one has no files, as a stub's has not."""
        if name is not None:
            return self._base(name)
        try:
            return self._base(self._settings.bases[0].name)
        except NotFound:
            return None

    def _base(self, name: str) -> Base:
        known = {base.name: base for base in self._settings.bases}
        if name not in known:
            message = f"'{name}' is no base of this gateway (bases: {', '.join(known)})"
            raise NotFound(message, param="base", code="model_not_found")
        return bases.locate(known[name].model, self._settings.storage_cache, name=name)


def read(body: bytes) -> AdviceRequest:
    """Raises InvalidInput that names the field."""
    try:
        return msgspec.json.decode(body, type=AdviceRequest)
    except msgspec.ValidationError as error:
        said, _, path = str(error).partition(" - at `$")
        field = path.strip("`.") or (said.split("`")[1] if "unknown field" in said else None)
        raise InvalidInput(f"{f'{field}: ' if path else ''}{said}", param=field) from None
    except msgspec.DecodeError as error:
        raise InvalidInput(f"the body is not JSON: {error}") from None


def _stated(request: AdviceRequest) -> Stated:
    return Stated(**{name: getattr(request, name) for name in FIELDS})


def _refusal(said: bytes, complaint: bytes) -> GraftError:
    """The child's own refusal, or an error that says nothing of its insides."""
    try:
        told: dict[str, Any] = json.loads(said)["error"]
    except (ValueError, KeyError, TypeError):
        log.error("the advisor failed: %s", complaint[-2000:].decode(errors="replace"))
        return GraftError("the advisor failed; the gateway's log says why")
    return InvalidInput(told["message"], param=told["param"], code=told["code"])

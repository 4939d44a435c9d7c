"""Throwaway names: an arm is registered and published under one, asked, and forgotten again, whatever happens to it.

A name that a killed process left is a leftover as soon as no job runs. Knows no arm and no engine.
"""

from __future__ import annotations

import asyncio
import dataclasses
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from adapters.adapted_model import AdaptedModel
from adapters.errors import NotFound, Unavailable
from adapters.registry import Registry
from advisor.bakeoff.contract import Unplayable
from gateway.db.names import Names
from gateway.db.retirement import Retirement
from gateway.settings import Settings

THROWAWAY = re.compile(r"bakeoff:[0-9a-f]{12}:.+")
LOOK_S = 0.2
PATIENCE_S = 60.0
"""For a gateway to be there."""


def throwaway(job_id: str, arm: str, rows: int, seed: int) -> str:
    """The name an arm is asked under."""
    return f"bakeoff:{job_id.rpartition('-')[2]}:{arm.replace('+', '-')}.{rows}.{seed}"


def tidy(settings: Settings, names: Names) -> None:
    """Takes away every throwaway name of this home. Only while no bake-off runs."""
    for name in names.registry.names():
        if THROWAWAY.fullmatch(name):
            forget(names, name)


def forget(names: Names, name: str) -> None:
    try:
        names.forget(name)
    except NotFound:
        return


@asynccontextmanager
async def named(names: Names, retirement: Retirement, draft: AdaptedModel, drafts: Registry, name: str) -> AsyncIterator[None]:
    """The draft of another registry answers under this name while the context lasts.

    Raises Unplayable where the gateway cannot serve it, Unavailable where no gateway runs.
    """
    try:
        version = await asyncio.to_thread(_published, names, draft, drafts, name)
        await _proven(names, retirement, name, version)
        yield
    finally:
        forget(names, name)


def add(registry: Registry, draft: AdaptedModel, drafts: Registry, **changes: object) -> AdaptedModel:
    """The draft with another name, in another registry: the same files, of the same digest."""
    files = None if draft.adapter is None else drafts.adapter_folder(draft)
    changed: AdaptedModel = dataclasses.replace(draft, **changes)  # type: ignore[arg-type]
    return registry.add(changed, files, drafts.probe(draft), drafts.pool_folder(draft))


def _published(names: Names, draft: AdaptedModel, drafts: Registry, name: str) -> int:
    forget(names, name)  # a killed process may have left it
    version = names.registry.publish(add(names.registry, draft, drafts, name=name)).version
    names.want(name, version, note="for a bake-off")
    return version


async def _proven(names: Names, retirement: Retirement, name: str, version: int) -> None:
    """Until the gateway has proven what the name wants, or has said why it cannot."""
    loop = asyncio.get_running_loop()
    patient_until = loop.time() + PATIENCE_S
    while (pointer := await asyncio.to_thread(names.pointer, name)) is not None and pointer.wanted == version:
        if await asyncio.to_thread(retirement.alive):
            patient_until = loop.time() + PATIENCE_S
        elif loop.time() > patient_until:
            raise Unavailable("no gateway runs on this home, and arms are asked through it; start it: graft serve")
        await asyncio.sleep(LOOK_S)  # the gateway, another process, writes it into the database
    if pointer is None or pointer.version != version:
        raise Unplayable(f"it cannot be served here: {(pointer and pointer.remark) or 'its name was taken away'}")

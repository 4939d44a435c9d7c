"""Checks of what Graft keeps: its home, the database, bases, and the registry's folders. Knows no running gateway."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from adapters import bases, embedded
from adapters.errors import GraftError
from adapters.registry import DIGEST12, MANIFEST, Registry
from gateway.cli.checks.contract import Finding, State
from gateway.cli.checks.machine import GIB, weights_gib
from gateway.db.database import is_newest, open_database
from gateway.db.names import Names
from gateway.settings import Settings

LITTLE_GIB, TOO_LITTLE_GIB = 5.0, 0.5
"""Free space below which the home warns, and fails: a tuned SmolLM2 with its checkpoints takes about one GiB."""
LISTED = 5
"""Broken folders that are told one by one."""


def storage(settings: Settings) -> Iterator[Finding]:
    home = settings.storage_home
    place = next(folder for folder in (home, *home.parents) if folder.exists())
    try:
        with tempfile.TemporaryFile(dir=place):
            free_gib = shutil.disk_usage(place).free / GIB
    except OSError as error:
        yield Finding("fail", f"{place} cannot be written to ({error.strerror})", "set storage.home, or mend the permissions")
        return
    state: State = "fail" if free_gib < TOO_LITTLE_GIB else "warn" if free_gib < LITTLE_GIB else "ok"
    says = f"{home}: {free_gib:.1f} GiB free" + ("" if home.exists() else "; made at first use")
    yield Finding(state, says, "" if state == "ok" else "free some space, or set storage.home elsewhere")


def database(settings: Settings) -> Iterator[Finding]:
    shown = re.sub(r"(://[^:/@]*):[^@]*@", r"\1:***@", settings.database_url)
    if not _has_database(settings):
        yield Finding("ok", f"{shown}: made at first use")
    elif is_newest(open_database(settings.database_url)):
        yield Finding("ok", f"{shown}: answers, and its schema is the newest")
    else:
        yield Finding("fail", f"{shown}: answers, but its schema is an older one", "python -m gateway.db.database URL")


def base_models(settings: Settings) -> Iterator[Finding]:
    for base in settings.bases:
        folder = bases.at_hand(base.model, settings.storage_cache)
        where = f"replicas: {base.replicas} here" + (f", {len(base.urls)} elsewhere" if base.urls else "")
        if folder is not None:
            size = f"{base.name}: {weights_gib(base, settings):.2f} GiB of weights"
            try:
                facts = bases.facts(folder)
            except GraftError as error:
                yield Finding("warn", f"{size}; {error.message}; {where}", "it may be served, but not tuned: take another base")
            else:
                yield Finding("ok", f"{size}, {facts.params_b:.2f} B of them, digest {facts.digest[:12]}; {where}")
        elif base.model in embedded.EMBEDDED:
            yield Finding("warn", f"{base.name}: not prepared yet; {where}", "`graft serve` does it, in about 20 s")
        else:
            says = f"{base.name}: '{base.model}' is not on this machine; {where}"
            yield Finding("warn", says, "`graft serve` downloads it if the hub has it; else set its 'model' to a folder")


def registry(settings: Settings) -> Iterator[Finding]:
    kept = Registry(settings.models)
    folders, pointers = kept.names(), names(settings)
    broken = [says for name in folders for says in _broken(kept, name)]
    for pointer in pointers.published() if pointers else ():
        if pointer.version not in kept.versions(pointer.name):
            broken.append(f"'{pointer.name}' answers with version {pointer.version}, which is gone")
    for says in broken[:LISTED]:
        yield Finding("fail", says, "make it again, or remove it: graft models rm")
    if len(broken) > LISTED:
        yield Finding("fail", f"and {len(broken) - LISTED} more")
    if not broken:
        yield Finding("ok", f"{settings.models}: {len(folders)} names, every folder whole")


def _broken(kept: Registry, name: str) -> Iterator[str]:
    for folder in sorted(entry for entry in (kept.root / name).iterdir() if DIGEST12.fullmatch(entry.name)):
        if not (folder / MANIFEST).is_file():
            yield f"{folder} has no {MANIFEST}"
            continue
        try:
            model = kept.read(name, folder.name)
        except GraftError as error:
            yield f"{folder}: {error.message}"
        else:
            if model.adapter is not None and not any(Path(kept.adapter_folder(model)).glob("*.safetensors")):
                yield f"{folder} has lost its weights"
    for version in kept.versions(name):
        try:
            kept.load(name, version)
        except GraftError as error:
            yield f"{name}@{version}: {error.message}"


def names(settings: Settings) -> Names | None:
    """None where there is no database yet: a look must not make one."""
    if not _has_database(settings):
        return None
    return Names(open_database(settings.database_url), Registry(settings.models))


def _has_database(settings: Settings) -> bool:
    """Postgres is somebody else's to make; a SQLite file is made by whoever opens it, and a look must not make one."""
    kind, _, file = settings.database_url.partition(":///")
    return not kind.startswith("sqlite") or Path(file).is_file()

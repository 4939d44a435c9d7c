"""Adapted models as folders: the truth about what was made. Which version a name points at is not known here.

    <root>/<name>/<digest12>/            one adapted model, immutable, never moved once it is there
        adapted_model.json               written last
        adapter/                         PEFT files; of a checkpoint, a whole Hugging Face model folder
        pool/                            the rows that its prompt's selection chooses shots from (prompting/pool.py)
        probe.json, README.md            what an engine that serves it must answer (evaluation/probe.py); for people
    <root>/<name>/versions/              numbers (version_numbers.py); while none stands for a folder, it is a draft

A folder is built beside its place and renamed into it, and a version number is taken whole or not at all. So a kill at any
moment leaves the old state or the new, and at most a dotted leftover that `sweep` removes.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import re
import shutil
import tempfile
from pathlib import Path
from typing import Any

from adapters import folders
from adapters.adapted_model import ADAPTER_KINDS, AdaptedModel, checked_name, from_json, to_json
from adapters.errors import Conflict, InvalidInput, NotFound
from adapters.model_card import card
from adapters.version_numbers import FORCED, VersionNumbers
from adapters.version_numbers import INCOMING as INCOMING

MANIFEST = "adapted_model.json"
ADAPTER_FILES, POOL_FILES = "adapter", "pool"
POOL_ROWS = "rows.jsonl"
"""The file of a pool that its digest is of."""
PROBE, CARD = "probe.json", "README.md"
WEIGHTS, CHECKPOINT_WEIGHTS = ADAPTER_KINDS["lora"], ADAPTER_KINDS["checkpoint"]
DIGEST12 = re.compile(r"[0-9a-f]{12}")


class Registry:
    def __init__(self, root: Path) -> None:
        self.root = root

    def add(
        self, model: AdaptedModel, adapter_files: Path | None = None, probe: dict[str, Any] | None = None,
        pool: Path | None = None,
    ) -> AdaptedModel:  # fmt: skip
        """Writes the model as a draft and returns it (version 0). Adding the same model again changes nothing, except
        that one without a probe gets the one given.

        `adapter_files` is a PEFT folder or, for a checkpoint, a model folder; its weights must have the digest that
        `model.adapter` claims. `pool` is the folder that its prompt's selection chooses from, of the digest that the
        selection claims. Files are copied, links followed.
        """
        draft = dataclasses.replace(model, version=0)
        if (draft.adapter is None) != (adapter_files is None):
            raise InvalidInput(f"'{model.name}' must bring adapter files exactly when it has an adapter", param="adapter")
        select = draft.prompt.select if draft.prompt is not None else None
        if (select is None) != (pool is None):
            raise InvalidInput(f"'{model.name}' must bring a pool exactly when its prompt chooses shots", param="pool")
        place = self.folder(draft)
        if not (place / MANIFEST).is_file():
            place.parent.mkdir(parents=True, exist_ok=True)
            incoming = Path(tempfile.mkdtemp(prefix=INCOMING, dir=place.parent))
            try:
                if adapter_files is not None and draft.adapter is not None:
                    folders.copy_tree(adapter_files, incoming / ADAPTER_FILES)
                    weights = ADAPTER_KINDS[draft.adapter.kind]
                    if not (incoming / ADAPTER_FILES / weights).is_file():
                        raise InvalidInput(
                            f"{adapter_files} has no {weights}, so it is no {draft.adapter.kind}", param="adapter"
                        )
                    _check_digest(incoming / ADAPTER_FILES / weights, draft.adapter.digest, adapter_files / weights, "adapter")
                if pool is not None and select is not None:
                    folders.copy_tree(pool, incoming / POOL_FILES)
                    _check_digest(incoming / POOL_FILES / POOL_ROWS, select.pool, pool / POOL_ROWS, "pool")
                if probe is not None:
                    write_whole(incoming / PROBE, json.dumps(probe))
                write_whole(incoming / CARD, card(draft))
                write_whole(incoming / MANIFEST, json.dumps(to_json(draft), indent=1))
                incoming.chmod(0o755)  # mkdtemp makes it ours alone, and the engine may run as somebody else
                folders.sync_tree(incoming)
                _rename_into(incoming, place)
            finally:
                shutil.rmtree(incoming, ignore_errors=True)
        if probe is not None and not (place / PROBE).is_file():
            write_whole(place / PROBE, json.dumps(probe))
        return draft

    def probe(self, model: AdaptedModel) -> dict[str, Any] | None:
        """What was given to `add` with this model; None where it came without."""
        file = self.folder(model) / PROBE
        try:
            found: dict[str, Any] = json.loads(file.read_bytes())
        except FileNotFoundError:
            return None
        except json.JSONDecodeError as error:
            raise InvalidInput(f"{file} is damaged ({error}); remove it and record the probe again", param="probe") from error
        return found

    def publish(self, draft: AdaptedModel) -> AdaptedModel:
        """Gives the draft the next version number and returns it. A draft that has a number keeps it.

        Raises Conflict where a collector removed the draft's folder meanwhile: add it again.
        """
        digest = draft.digest[:12]
        self.read(draft.name, digest)
        numbers = self._numbers(draft.name)
        for number, published in numbers.all():
            if published == digest:
                return dataclasses.replace(draft, version=number)
        number = numbers.take(digest)
        # `discard` looks for a version that names the folder after it moved the folder away, this looks for the folder
        # after it named it: whichever comes second sees the other
        if not (self.folder(draft) / MANIFEST).is_file():
            numbers.give_back(number)
            raise Conflict(f"'{draft.name}' was removed while it was published; make it again", param="model")
        numbers.sync()
        return dataclasses.replace(draft, version=number)

    def folder(self, model: AdaptedModel) -> Path:
        return self.root / checked_name(model.name) / model.digest[:12]

    def adapter_folder(self, model: AdaptedModel) -> Path:
        """Absolute, so that an engine never takes it for the name of something to download."""
        return (self.folder(model) / ADAPTER_FILES).resolve()

    def pool_folder(self, model: AdaptedModel) -> Path | None:
        """Where its prompt's selection chooses from; None where it chooses nothing. Absolute, for other processes."""
        if model.prompt is None or model.prompt.select is None:
            return None
        return (self.folder(model) / POOL_FILES).resolve()

    def read(self, name: str, digest12: str) -> AdaptedModel:
        """A model by the first twelve digits of its digest, as a draft (version 0)."""
        manifest = self.root / checked_name(name) / digest12 / MANIFEST
        try:
            return from_json(json.loads(manifest.read_bytes()))
        except FileNotFoundError:
            raise NotFound(f"there is no adapted model '{name}' with digest {digest12}", param="model") from None
        except json.JSONDecodeError as error:
            raise InvalidInput(f"{manifest} is damaged ({error}); publish the model again", param="model") from error

    def load(self, name: str, version: int) -> AdaptedModel:
        numbers = self._numbers(name)
        try:
            digest = numbers.note(version).read_text().strip()
        except FileNotFoundError:
            known = ", ".join(map(str, self.versions(name))) or "none"
            raise NotFound(f"'{name}' has no version {version} (it has: {known})", param="model") from None
        model = dataclasses.replace(self.read(name, digest), version=version)
        return dataclasses.replace(model, lineage=dataclasses.replace(model.lineage, forced=numbers.forced(version)))

    def mark_forced(self, name: str, version: int, note: dict[str, Any]) -> None:
        """Records that, and why, the version was promoted past the publish gate; `load` shows it in its lineage."""
        self.load(name, version)
        write_whole(self._numbers(name).note(version, FORCED), json.dumps(note))

    def versions(self, name: str) -> list[int]:
        return [number for number, _ in self._numbers(name).all()]

    def drafts(self, name: str) -> list[AdaptedModel]:
        published = {digest for _, digest in self._numbers(name).all()}
        folders = sorted(f.parent.name for f in (self.root / checked_name(name)).glob(f"[!.]*/{MANIFEST}"))
        return [self.read(name, digest12) for digest12 in folders if digest12 not in published]

    def names(self) -> list[str]:
        """Every name with at least one version or draft, sorted."""
        if not self.root.is_dir():
            return []
        known = (entry for entry in os.scandir(self.root) if entry.is_dir() and not entry.name.startswith("."))
        # a name whose versions were all removed keeps a folder, so that no number is given twice
        return sorted(name.name for name in known if any(DIGEST12.fullmatch(entry.name) for entry in os.scandir(name.path)))

    def remove(self, name: str, version: int | None = None) -> None:
        """Removes one version, or the name with all its folders. The caller has seen to it that nobody serves it."""
        if version is not None:
            self.discard(name, self.retire(name, version))
            return
        place = self.root / checked_name(name)
        if not place.is_dir():
            raise NotFound(f"there is no adapted model named '{name}'", param="model")
        shutil.rmtree(folders.moved_away(place), ignore_errors=True)

    def retire(self, name: str, version: int) -> str:
        """Takes the number away, for good, and returns the digest12 it stood for: nothing new resolves to it.

        The folder stays for those who still read it, until `discard`.
        """
        digest = self.load(name, version).digest[:12]
        try:
            self._numbers(name).retire(version)
        except FileNotFoundError:
            raise NotFound(f"'{name}' has no version {version} any more", param="model") from None
        return digest

    def discard(self, name: str, digest12: str) -> None:
        """Deletes the folder; one that is gone is fine. Raises Conflict while a version stands for it."""
        if DIGEST12.fullmatch(digest12) is None:
            raise InvalidInput(f"'{digest12}' is no digest: twelve hex digits", param="digest")
        place = self.root / checked_name(name) / digest12
        self._refuse_published(name, digest12)
        try:
            doomed = folders.moved_away(place)
        except FileNotFoundError:
            return
        try:
            self._refuse_published(name, digest12)  # a publisher may have come between
        except Conflict:
            try:
                os.rename(doomed, place)
            except OSError:  # the very same model was added again in the meantime: that one stays
                if not (place / MANIFEST).is_file():
                    raise
                shutil.rmtree(doomed, ignore_errors=True)
            raise
        shutil.rmtree(doomed, ignore_errors=True)

    def sweep(self, older_than_s: float) -> int:
        """Removes what killed processes left half-made or half-removed, and returns how many there were.

        `older_than_s` must be longer than anything takes to be added: an hour is. Age is since the last change of the
        entry's inode, which a rename counts as.
        """
        depths = ("", "*/", "*/versions/")
        patterns = [f"{depth}{kind}*" for depth in depths for kind in (INCOMING, folders.REMOVED)]
        return folders.sweep(self.root, patterns, older_than_s)

    def _numbers(self, name: str) -> VersionNumbers:
        return VersionNumbers(self.root / checked_name(name) / "versions")

    def _refuse_published(self, name: str, digest12: str) -> None:
        for number, digest in self._numbers(name).all():
            if digest == digest12:
                raise Conflict(f"'{name}@{number}' still stands for {digest12}; retire it first", param="model")


def _check_digest(copied: Path, claimed: str, source: Path, param: str) -> None:
    if not copied.is_file():
        raise InvalidInput(f"there is no {source}", param=param)
    found = file_digest(copied)
    if found != claimed:
        raise InvalidInput(
            f"{source} has the digest {found[:12]}, not {claimed[:12]}: the file is torn or was changed; make it again",
            param=param,
        )


def _rename_into(incoming: Path, place: Path) -> None:
    try:
        os.rename(incoming, place)
    except OSError as error:
        if not (place / MANIFEST).is_file():
            raise Conflict(f"{place} is in the way and holds no model ({error}); move it aside", param="name") from error
        # somebody else added the very same model first: same digest, same content
    folders.sync_folder(place.parent)


def write_whole(path: Path, text: str) -> None:
    """Writes beside the place, then renames: a reader sees the old file or the new one, never half."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with beside.open("w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def file_digest(path: Path) -> str:
    """sha256 of the file's bytes, 64 hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

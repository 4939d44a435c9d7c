"""Adapted models as folders: the truth about what was made. Which version a name points at is not known here.

    <root>/<name>/<digest12>/            one adapted model, immutable, never moved once it is there
        adapted_model.json               written last
        adapter/                         PEFT files (adapter_config.json, adapter_model.safetensors)
    <root>/<name>/versions/<n>           a file holding a digest12; while no such file names a folder, it is a draft

A folder is built beside its place and renamed into it; a version number is taken by hard-linking a finished file,
which either happens whole or fails because the number is taken. So a kill at any moment leaves the old state or the new.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from adapters.adapted_model import AdaptedModel, checked_name, from_json, to_json
from adapters.errors import Conflict, InvalidInput, NotFound

MANIFEST = "adapted_model.json"
ADAPTER_FILES = "adapter"
WEIGHTS = "adapter_model.safetensors"


class Registry:
    def __init__(self, root: Path) -> None:
        self.root = root

    def add(self, model: AdaptedModel, adapter_files: Path | None = None) -> AdaptedModel:
        """Writes the model as a draft and returns it (version 0). Adding the same model again changes nothing.

        `adapter_files` is a PEFT folder; its weights must have the digest that `model.adapter` claims.
        """
        draft = dataclasses.replace(model, version=0)
        if (draft.adapter is None) != (adapter_files is None):
            raise InvalidInput(f"'{model.name}' must bring adapter files exactly when it has an adapter", param="adapter")
        place = self.folder(draft)
        if (place / MANIFEST).is_file():
            return draft
        place.parent.mkdir(parents=True, exist_ok=True)
        incoming = Path(tempfile.mkdtemp(prefix=".incoming-", dir=place.parent))
        try:
            if adapter_files is not None and draft.adapter is not None:
                shutil.copytree(adapter_files, incoming / ADAPTER_FILES)
                found = file_digest(incoming / ADAPTER_FILES / WEIGHTS)
                if found != draft.adapter.digest:
                    raise InvalidInput(
                        f"{adapter_files / WEIGHTS} has the digest {found[:12]}, not {draft.adapter.digest[:12]}: "
                        "the file is torn or was changed; make it again",
                        param="adapter",
                    )
            write_whole(incoming / MANIFEST, json.dumps(to_json(draft), indent=1))
            incoming.chmod(0o755)  # mkdtemp makes it ours alone, and the engine may run as somebody else
            _sync_tree(incoming)
            _rename_into(incoming, place)
        finally:
            shutil.rmtree(incoming, ignore_errors=True)
        return draft

    def publish(self, draft: AdaptedModel) -> AdaptedModel:
        """Gives the draft the next version number and returns it. A draft that has a number keeps it."""
        self.read(draft.name, draft.digest[:12])
        versions = self.root / draft.name / "versions"
        versions.mkdir(exist_ok=True)
        for number, digest in self._numbered(draft.name):
            if digest == draft.digest[:12]:
                return dataclasses.replace(draft, version=number)
        with tempfile.NamedTemporaryFile("w", dir=versions, prefix=".", delete=False) as note:
            note.write(draft.digest[:12])
            note.flush()
            os.fsync(note.fileno())
        try:
            while True:
                number = max(self.versions(draft.name), default=0) + 1
                try:
                    os.link(note.name, versions / str(number))
                except FileExistsError:
                    continue  # another publisher took the number between the look and the link
                return dataclasses.replace(draft, version=number)
        finally:
            os.unlink(note.name)

    def folder(self, model: AdaptedModel) -> Path:
        return self.root / checked_name(model.name) / model.digest[:12]

    def adapter_folder(self, model: AdaptedModel) -> Path:
        """Absolute, so that an engine never takes it for the name of something to download."""
        return (self.folder(model) / ADAPTER_FILES).resolve()

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
        try:
            digest = (self.root / checked_name(name) / "versions" / str(version)).read_text().strip()
        except FileNotFoundError:
            known = ", ".join(map(str, self.versions(name))) or "none"
            raise NotFound(f"'{name}' has no version {version} (it has: {known})", param="model") from None
        return dataclasses.replace(self.read(name, digest), version=version)

    def versions(self, name: str) -> list[int]:
        return [number for number, _ in self._numbered(name)]

    def drafts(self, name: str) -> list[AdaptedModel]:
        published = {digest for _, digest in self._numbered(name)}
        folders = sorted((self.root / checked_name(name)).glob(f"*/{MANIFEST}"))
        return [self.read(name, f.parent.name) for f in folders if f.parent.name not in published]

    def names(self) -> list[str]:
        """Every name with at least one version or draft, sorted."""
        if not self.root.is_dir():
            return []
        return sorted(entry.name for entry in os.scandir(self.root) if entry.is_dir() and not entry.name.startswith("."))

    def remove(self, name: str, version: int | None = None) -> None:
        """Removes one version, or the name with all its folders. The caller has seen to it that nobody serves it."""
        if version is None:
            place = self.root / checked_name(name)
            if not place.is_dir():
                raise NotFound(f"there is no adapted model named '{name}'", param="model")
            doomed = self.root / f".removed-{name}-{os.getpid()}"
            os.rename(place, doomed)
            shutil.rmtree(doomed)
            return
        model = self.load(name, version)
        (self.root / name / "versions" / str(version)).unlink()
        shutil.rmtree(self.folder(model))

    def _numbered(self, name: str) -> list[tuple[int, str]]:
        versions = self.root / checked_name(name) / "versions"
        if not versions.is_dir():
            return []
        found = [(int(entry.name), Path(entry.path).read_text().strip()) for entry in _numbers(versions)]
        return sorted(found)


def _numbers(folder: Path) -> Iterator[os.DirEntry[str]]:
    return (entry for entry in os.scandir(folder) if entry.name.isdigit())


def _rename_into(incoming: Path, place: Path) -> None:
    try:
        os.rename(incoming, place)
    except OSError as error:
        if not (place / MANIFEST).is_file():
            raise Conflict(f"{place} is in the way and holds no model ({error}); move it aside", param="name") from error
        # somebody else added the very same model first: same digest, same content
    _sync_folder(place.parent)


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


def _sync_tree(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

"""Prompt files under names: versions that never change, and labels that move. Knows no HTTP and no encoder.

    <root>/<name>/<digest12>/prompt.yml       the file as it was given
    <root>/<name>/<digest12>/pool/            its examples, where it has any (pool.py)
    <root>/<name>/<digest12>/version.json     written last
    <root>/<name>/versions/<n>                which digest the number stands for (version_numbers.py)
    <root>/<name>/versions/<label>.label      the number that the label stands for

A version is built beside its place and renamed into it, then it gets its number; a label is a file that is replaced. A
kill at any moment leaves the old state or the new. Every change shows in the time stamp of `versions`.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from adapters import folders
from adapters.adapted_model import checked_name
from adapters.data import readers
from adapters.errors import InvalidInput, NotFound
from adapters.prompting.file import PromptFile, parse
from adapters.prompting.pool import Encode, pool_digest, write_pool
from adapters.prompting.rows import shots_of
from adapters.prompts import Shot
from adapters.registry import write_whole
from adapters.version_numbers import INCOMING, VersionNumbers

FILE, POOL, CARD = "prompt.yml", "pool", "version.json"
LABEL = ".label"
LABEL_NAME = re.compile(r"[a-z][a-z0-9._-]{0,62}")
PRODUCTION, LATEST = "production", "latest"
"""The label that is meant where nothing is said, and the word for the highest number, which nobody sets."""
DIGEST = re.compile(r"[0-9a-f]{4,64}")
ENDING = ".prompt"
"""What stands between a prompt file's name and .yml."""


@dataclass(frozen=True, slots=True)
class Version:
    name: str
    number: int
    digest: str
    """sha256 of the file and its examples, 64 hex digits."""
    created: str
    """UTC, ISO 8601."""
    message: str
    """Why it was made, by whoever made it."""
    labels: tuple[str, ...]
    """Those that point at it now."""
    folder: Path

    @property
    def pool(self) -> Path | None:
        place = self.folder / POOL
        return place if place.is_dir() else None


class PromptLibrary:
    def __init__(self, root: Path) -> None:
        self.root = root

    def add(
        self, text: str, where: str, *, name: str | None = None, message: str = "",
        fetch: Callable[[str], Path] | None = None, encode: Encode | None = None, encoder: str = "",
    ) -> Version:  # fmt: skip
        """The version that the file's text is from now on; the same content again is the same version.

        `fetch` gives the path of the data that `examples.source` names. `encode` is called where examples are chosen by
        their meaning; `encoder` is its name. Without `name` it is the file's own, in narrow letters, or that of `where`.
        Raises InvalidInput, DataError or DataErrors for what is wrong with the file or its examples.
        """
        prompt = parse(text, where)
        name = checked_name(name or name_of(prompt, where), "prompt")
        shots = _shots(prompt, where, fetch)
        digest = hashlib.sha256(json.dumps([text, pool_digest(shots) if shots else None]).encode()).hexdigest()
        place = self.root / name / digest[:12]
        if not (place / CARD).is_file():
            place.parent.mkdir(parents=True, exist_ok=True)
            incoming = Path(tempfile.mkdtemp(prefix=INCOMING, dir=place.parent))
            try:
                (incoming / FILE).write_text(text, newline="")
                if shots:
                    _write_examples(incoming / POOL, prompt, shots, where, encode, encoder)
                card = {"digest": digest, "created": datetime.now(UTC).isoformat(timespec="seconds"), "message": message}
                (incoming / CARD).write_text(json.dumps(card))
                incoming.chmod(0o755)
                folders.sync_tree(incoming)
                _rename_into(incoming, place)
            finally:
                shutil.rmtree(incoming, ignore_errors=True)
        numbers = self._numbers(name)
        for number, digest12 in numbers.all():
            if digest12 == digest[:12]:
                return self.find(name, str(number))
        number = numbers.take(digest[:12])
        numbers.sync()
        return self.find(name, str(number))

    def names(self) -> list[str]:
        """Every name with a version, sorted."""
        if not self.root.is_dir():
            return []
        known = (entry.name for entry in os.scandir(self.root) if entry.is_dir() and not entry.name.startswith("."))
        return sorted(name for name in known if self._numbers(name).all())

    def versions(self, name: str) -> list[Version]:
        """Oldest first. Raises NotFound for a name without any."""
        numbered, labels = self._numbered(name), self.labels(name)
        return [self._version(name, number, digest12, labels) for number, digest12 in numbered.items()]

    def find(self, name: str, said: str | None = None) -> Version:
        """By number, label, `latest` or first digits of the digest; None is `production` if that is set, else the latest."""
        numbered, labels = self._numbered(name), self.labels(name)
        number = self._number(name, said, numbered, labels)
        return self._version(name, number, numbered[number], labels)

    def read(self, version: Version) -> PromptFile:
        return parse((version.folder / FILE).read_bytes().decode(), f"{version.name}@{version.number}")

    def labels(self, name: str) -> dict[str, int]:
        folder = self._numbers(name).folder
        found = (path for path in folder.glob(f"*{LABEL}") if not path.name.startswith("."))
        return {path.name.removesuffix(LABEL): int(path.read_text()) for path in sorted(found)}

    def label(self, name: str, label: str, said: str | None = LATEST) -> Version:
        """Points the label at a version, and returns it with its labels."""
        if LABEL_NAME.fullmatch(label) is None or label == LATEST:
            raise InvalidInput(
                f"'{label}' cannot be a label: use lower-case letters, digits and . _ -, a letter first; 'latest' is taken",
                param="label",
            )
        version = self.find(name, said)
        numbers = self._numbers(name)
        write_whole(numbers.folder / f"{label}{LABEL}", str(version.number))
        numbers.sync()
        return self.find(name, str(version.number))

    def diff(self, name: str, old: str, new: str) -> str:
        """What changed between two versions of the file, as a unified diff; empty where nothing did but the examples."""
        before, after = self.find(name, old), self.find(name, new)
        texts = [(version.folder / FILE).read_bytes().decode().splitlines(keepends=True) for version in (before, after)]
        lines = difflib.unified_diff(texts[0], texts[1], f"{name}@{before.number}", f"{name}@{after.number}")
        return "".join(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines)

    def stamp(self, name: str) -> int:
        """Nanoseconds; another one means that versions or labels have changed. 0 where the name is unknown. One stat."""
        try:
            return os.stat(self.root / checked_name(name, "prompt") / "versions").st_mtime_ns
        except FileNotFoundError:
            return 0

    def sweep(self, older_than_s: float) -> int:
        """Removes what killed processes left half-made; returns how many there were."""
        return folders.sweep(self.root, [f"*/{INCOMING}*", f"*/versions/{INCOMING}*"], older_than_s)

    def _numbers(self, name: str) -> VersionNumbers:
        return VersionNumbers(self.root / checked_name(name, "prompt") / "versions")

    def _numbered(self, name: str) -> dict[int, str]:
        numbered = dict(self._numbers(name).all())
        if not numbered:
            close = difflib.get_close_matches(name, self.names(), n=1)
            hint = f"did you mean '{close[0]}'?" if close else "`graft prompts ls` lists all"
            raise NotFound(f"there is no prompt named '{name}'; {hint}", param="prompt.id")
        return numbered

    def _number(self, name: str, said: str | None, numbered: dict[int, str], labels: dict[str, int]) -> int:
        if said is None:
            return labels.get(PRODUCTION, max(numbered))
        if said == LATEST:
            return max(numbered)
        if said in labels:
            return labels[said]
        if said.isdecimal() and int(said) in numbered:
            return int(said)
        matching = {
            digest12: n for n, digest12 in numbered.items() if DIGEST.fullmatch(said) and digest12.startswith(said[:12])
        }
        if len(matching) == 1:
            return next(iter(matching.values()))
        known = ", ".join((*map(str, numbered), *labels, LATEST))
        many = f"{len(matching)} versions of '{name}' begin with '{said}'" if matching else f"'{name}' has no version '{said}'"
        raise NotFound(f"{many} (it has: {known})", param="prompt.version")

    def _version(self, name: str, number: int, digest12: str, labels: dict[str, int]) -> Version:
        folder = self.root / name / digest12
        try:
            card = json.loads((folder / CARD).read_bytes())
        except ValueError as error:
            raise InvalidInput(f"{folder / CARD} is damaged ({error}); add the prompt again", param="prompt.id") from error
        pointing = tuple(label for label, at in labels.items() if at == number)
        return Version(name, number, card["digest"], card["created"], card["message"], pointing, folder)


def name_of(prompt: PromptFile, where: str) -> str:
    """The file's own name in narrow letters (`Text Summarizer` is `text-summarizer`); without one, that of the path."""
    said = prompt.name or Path(where).stem.removesuffix(ENDING)
    narrow = re.sub(r"[^a-z0-9._:]+", "-", said.lower()).strip("-._:")
    if not narrow:
        raise InvalidInput(f"{where}: the prompt needs a name; write name: at its beginning, or say one", param="name")
    return narrow


def _rename_into(incoming: Path, place: Path) -> None:
    try:
        os.rename(incoming, place)
    except OSError:
        if not (place / CARD).is_file():
            raise
        # somebody else added the same content first
    folders.sync_folder(place.parent)


def _shots(prompt: PromptFile, where: str, fetch: Callable[[str], Path] | None) -> list[Shot]:
    if prompt.examples is None:
        return []
    source = prompt.examples.source
    if source is None:
        return shots_of(prompt.examples, enumerate(prompt.examples.rows, 1), f"{where}: examples")
    if fetch is None:
        raise InvalidInput(f"{where}: examples.source: '{source}' cannot be read from here", param="examples.source")
    return shots_of(prompt.examples, readers.rows(fetch(source), shown_as=source), source)


def _write_examples(
    folder: Path, prompt: PromptFile, shots: list[Shot], where: str, encode: Encode | None, encoder: str
) -> None:  # fmt: skip
    if not prompt.needs_vectors:
        write_pool(folder, shots)
    elif encode is None:
        raise InvalidInput(f"{where}: examples.select: the strategy needs an encoder", param="examples.select.strategy")
    else:
        write_pool(folder, shots, encode, encoder=encoder)

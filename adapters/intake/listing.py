"""What somebody offers as an adapter, seen as names and sizes: which files are the adapter's, and which are left behind.

One shape for a folder, an archive and an object store; reading comes after the look. Knows no weights format.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from adapters.errors import Unservable
from adapters.intake.config import CONFIG, MAX_CONFIG_BYTES
from adapters.registry import WEIGHTS

MAX_FILES = 10_000
MAX_WEIGHTS_BYTES = 16 << 30
"""More than rank 512 on every linear layer of a 70B base in bf16."""
MAX_DEPTH = 2
"""Folders between the top and the adapter: `name-main/adapter/adapter_config.json` has two."""

TRAINERS_COPY = re.compile(r"checkpoint-\d+")
"""The folders in which trainers leave earlier states beside the last one."""
PICKLED = (".bin", ".pt", ".pth", ".pkl", ".ckpt")
SHARD = re.compile(r"adapter_model-\d+-of-\d+\.safetensors|adapter_model\.safetensors\.index\.json")


@dataclass(frozen=True, slots=True)
class Listing:
    """`sizes` in bytes by relative names with `/`; `open` reads one of them."""

    said: str
    """What the person called it, for errors."""
    sizes: Mapping[str, int]
    open: Callable[[str], BinaryIO]


@dataclass(frozen=True, slots=True)
class Choice:
    config: str
    weights: str
    card: str | None
    """README.md beside them."""
    ignored: tuple[str, ...]


def list_folder(folder: Path) -> Listing:
    """Follows no link: one that leads out of the folder would bring in a file that nobody offered."""
    sizes: dict[str, int] = {}
    for place, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = Path(place, name)
            shown, mode = path.relative_to(folder).as_posix(), path.lstat().st_mode
            if stat.S_ISLNK(mode):
                raise Unservable(
                    f"'{shown}' is a link; copy the folder with the files themselves (cp -rL)",
                    code="adapter_has_links",
                    param=shown,
                )
            if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
                raise Unservable(f"'{shown}' is no ordinary file; take it out", code="adapter_has_links", param=shown)
        for name in files:
            path = Path(place, name)
            sizes[path.relative_to(folder).as_posix()] = path.stat().st_size
        check_count(len(sizes))
    return Listing(str(folder), sizes, lambda name: (folder / name).open("rb"))


def check_count(files: int) -> None:
    if files > MAX_FILES:
        raise Unservable(f"it holds more than {MAX_FILES:,} files; keep {CONFIG} and {WEIGHTS} only", code="adapter_too_big")


def check_name(name: str) -> None:
    """Raises for a name that could leave the folder it is unpacked into."""
    if name.startswith("/") or ".." in PurePosixPath(name).parts or re.search(r"[\\\0]|^[A-Za-z]:", name):
        raise Unservable(
            f"'{name}' leads out of the archive; pack the folder again with plain relative names",
            code="adapter_bad_name",
            param=name,
        )


def choose(listing: Listing) -> Choice:
    """The one adapter of the listing. Raises Unservable where there is none, more than one, or one of another format."""
    found = sorted(name for name in listing.sizes if PurePosixPath(name).name == CONFIG)
    found = [name for name in found if len(PurePosixPath(name).parts) <= MAX_DEPTH + 1]
    finals = [name for name in found if not any(TRAINERS_COPY.fullmatch(part) for part in PurePosixPath(name).parts)]
    offered = finals or found
    if not offered:
        check_files({name for name in listing.sizes if "/" not in name})
    if len(offered) > 1:
        raise Unservable(
            f"{listing.said} holds {len(offered)} adapters ({', '.join(offered)}); give the folder of one",
            code="adapter_not_one",
        )
    folder = PurePosixPath(offered[0]).parent
    inside = {PurePosixPath(name).name: name for name in listing.sizes if PurePosixPath(name).parent == folder}
    check_files(set(inside))
    config, weights, card = inside[CONFIG], inside[WEIGHTS], inside.get("README.md")
    if listing.sizes[config] > MAX_CONFIG_BYTES:
        raise Unservable(f"{CONFIG} has {listing.sizes[config]} bytes, too many for one", code="adapter_too_big")
    check_size(listing.sizes[weights])
    return Choice(config, weights, card, tuple(sorted(set(listing.sizes) - {config, weights})))


def check_files(names: set[str]) -> None:
    """`names` lie in one folder. Raises Unservable unless they hold an adapter as safetensors in one file."""
    pickled = sorted(name for name in names if name.startswith("adapter_model.") and name.endswith(PICKLED))
    if CONFIG not in names:
        raise Unservable(f"there is no {CONFIG}; give the folder that PEFT's save_pretrained wrote", code="adapter_unreadable")
    if any(SHARD.fullmatch(name) for name in names):
        raise Unservable(
            f"its weights are in several files, and the engine reads one; save them as one {WEIGHTS}",
            code="adapter_is_sharded",
        )
    if WEIGHTS in names and pickled:
        raise Unservable(f"it has two files of weights, {WEIGHTS} and {pickled[0]}; keep one", code="adapter_has_two_weights")
    if pickled:
        raise Unservable(
            f"{pickled[0]} is pickled, and reading it would run code; save as safetensors (safe_serialization=True)",
            code="adapter_is_pickle",
        )
    if WEIGHTS not in names:
        raise Unservable(f"{WEIGHTS} is missing; save the adapter again", code="adapter_unreadable")


def check_size(weights_bytes: int) -> None:
    if weights_bytes > MAX_WEIGHTS_BYTES:
        raise Unservable(
            f"{WEIGHTS} claims {weights_bytes / 2**30:.1f} GiB, and no more than {MAX_WEIGHTS_BYTES >> 30} are taken; "
            "is it a whole model?",
            code="adapter_too_big",
        )

"""Where adapters come from: a folder, an archive, a hub or an object store. What is kept are the adapter's two files.

A torn download leaves nothing. Knows no rule about what is in the files; preflight does.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from adapters.errors import InvalidInput, NotFound, Unavailable
from adapters.intake.archives import open_archive
from adapters.intake.config import CONFIG
from adapters.intake.listing import MAX_DEPTH, Listing, check_count, choose, list_folder
from adapters.registry import WEIGHTS

STORES = {"hf": "huggingface_hub", "s3": "s3fs", "gs": "gcsfs", "az": "adlfs", "memory": "fsspec"}
"""Scheme → the package that lets fsspec read it."""

MAKERS = ("unsloth", "axolotl", "llama-factory", "trl")
"""Tags that tools put on the model card they write, the most telling first: Unsloth's cards carry TRL's too."""
LONGEST_CARD = 1 << 18


@dataclass(frozen=True, slots=True)
class Fetched:
    folder: Path
    """Holds adapter_config.json and adapter_model.safetensors, byte for byte, and nothing else."""
    ignored: tuple[str, ...]
    """What lay beside them: names in the source."""
    made_by: str | None
    """The tool, where its model card tells."""


def fetch(source: str, into: Path) -> Fetched:
    """Brings the adapter of `source` into the new folder `into`, which appears whole or not at all.

    A folder, an archive, or `hf://org/name[@revision]`, `s3://bucket/prefix` and the other STORES.
    Raises NotFound, Unavailable where a store does not answer, InvalidInput for an unknown scheme or a missing package,
    and Unservable for what could never be an adapter.
    """
    into.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".fetching-", dir=into.parent) as name:
        scratch = Path(name)
        kept = scratch / "kept"
        kept.mkdir()
        with _listing(source, scratch) as listing:
            choice = choose(listing)
            _copy(listing, choice.config, kept / CONFIG)
            _copy(listing, choice.weights, kept / WEIGHTS)
            maker = _maker(listing, choice.card)
        os.rename(kept, into)
    return Fetched(into, choice.ignored, maker)


@contextmanager
def _listing(source: str, scratch: Path) -> Iterator[Listing]:
    scheme, separator, _ = source.partition("://")
    if separator and scheme != "file":
        with _stored(source, scheme, scratch) as listing:
            yield listing
        return
    path = Path(source.removeprefix("file://")).expanduser()
    if path.is_dir():
        yield list_folder(path.resolve())
    elif path.is_file():
        with open_archive(path, source) as listing:
            yield listing
    else:
        raise NotFound(f"there is no folder or archive '{source}'", param="source")


@contextmanager
def _stored(source: str, scheme: str, scratch: Path) -> Iterator[Listing]:
    if scheme not in STORES:
        raise InvalidInput(f"'{scheme}://' is no place Graft reads adapters from ({', '.join(STORES)})", param="source")
    with _in_our_words(source):
        from fsspec.core import url_to_fs

        store, path = url_to_fs(source)
        about = store.info(path)
        entries = {"": about} if about["type"] == "file" else store.find(path, maxdepth=MAX_DEPTH + 1, detail=True)
    sizes = {name.removeprefix(path).strip("/"): int(entry["size"]) for name, entry in entries.items()}
    check_count(len(sizes))

    def download(name: str) -> BinaryIO:
        file = scratch / f"download-{len(list(scratch.iterdir()))}"
        with _in_our_words(source):
            store.get_file(f"{path}/{name}" if name else path, str(file))
        if file.stat().st_size != sizes[name]:
            raise Unavailable(f"{source}: {name or 'it'} came with {file.stat().st_size} of {sizes[name]} bytes; try again")
        return file.open("rb")

    if about["type"] != "file":
        yield Listing(source, sizes, download)
        return
    with download("") as packed, open_archive(Path(packed.name), source) as listing:
        yield listing


@contextmanager
def _in_our_words(source: str) -> Iterator[None]:
    """Every store's library has errors of its own, and no common root."""
    scheme = source.partition("://")[0]
    try:
        yield
    except ImportError as error:
        raise InvalidInput(f"{scheme}:// needs a further package: pip install {STORES[scheme]}", param="source") from error
    except FileNotFoundError as error:
        raise NotFound(f"there is nothing at {source} that you may read; check it and your login", param="source") from error
    except Exception as error:
        raise Unavailable(
            f"{source} cannot be read ({type(error).__name__}: {error}); check the network and try again"
        ) from error


def _copy(listing: Listing, name: str, to: Path) -> None:
    with listing.open(name) as source, to.open("xb") as target:
        shutil.copyfileobj(source, target)
    if to.stat().st_size != listing.sizes[name]:
        raise Unavailable(f"{listing.said}: {name} came with {to.stat().st_size} of {listing.sizes[name]} bytes; try again")


def _maker(listing: Listing, card: str | None) -> str | None:
    if card is None or listing.sizes[card] > LONGEST_CARD:
        return None
    with listing.open(card) as file:
        tags = set(re.findall(r"^\s*- ([\w-]+)\s*$", file.read().decode(errors="replace"), re.MULTILINE))
    return next((maker for maker in MAKERS if maker in tags), None)

"""Which adapters the engines of a base must be able to hold: what its names answer with, try, and want. Knows no engine."""

from __future__ import annotations

from collections.abc import Iterator

from adapters.errors import NotFound
from gateway.db.names import Names
from gateway.engines.capacity import Standing


def standing(names: Names, base: str) -> list[Standing]:
    """Every adapter of the base that a request can lead to today, or as soon as it is proven."""
    return list(_standing(names, base))


def _standing(names: Names, base: str) -> Iterator[Standing]:
    _, pointers = names.changes(-1)
    for pointer in pointers:
        if pointer.base == base and pointer.kind == "lora":
            yield Standing(f"{pointer.name}@{pointer.version}", pointer.rank or 0, pointer.size_bytes or 0)
        for version in {*pointer.shares, *((pointer.wanted,) if pointer.wanted is not None else ())}:
            try:
                model = names.registry.load(pointer.name, version)
            except NotFound:  # removed since; whoever proves it will say so
                continue
            if model.base == base and model.adapter is not None and model.adapter.kind == "lora":
                files = names.registry.adapter_folder(model).glob("*.safetensors")
                yield Standing(model.pinned, model.adapter.rank or 0, sum(file.stat().st_size for file in files))

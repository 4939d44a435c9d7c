"""Where a store's files lie, under `<home>/stores`. Knows what names mean, and reads nothing.

<store>/prepared/<sha256 of the content>-<how it was cut and encoded>/
<store>/generations/<number>/
<store>/lock        held by the gateway that is at work on the store
"""

from __future__ import annotations

import hashlib
from pathlib import Path, PurePath

from gateway.stores.records import StoreFile


class Places:
    def __init__(self, root: Path) -> None:
        self.root = root

    def store(self, store_id: str) -> Path:
        return self.root / store_id

    def lock(self, store_id: str) -> Path:
        return self.root / store_id / "lock"

    def prepared(self, file: StoreFile, encoder_id: str) -> Path:
        """The same for the same content, read as the same kind of file, cut alike, for the same encoder."""
        read_as = f"{encoder_id}\0{PurePath(file.filename).suffix.lower()}"
        how = f"{file.max_tokens}-{file.overlap_tokens}-{hashlib.sha256(read_as.encode()).hexdigest()[:12]}"
        return self.all_prepared(file.store_id) / f"{file.sha256}-{how}"

    def all_prepared(self, store_id: str) -> Path:
        return self.root / store_id / "prepared"

    def generation(self, store_id: str, number: int) -> Path:
        return self.generations(store_id) / str(number)

    def generations(self, store_id: str) -> Path:
        return self.root / store_id / "generations"

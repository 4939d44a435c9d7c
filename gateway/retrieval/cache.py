"""Vectors of texts that were encoded before, up to a bound of memory; the least used go first. Knows no encoder."""

from __future__ import annotations

import hashlib
from collections import OrderedDict

from gateway.retrieval.contract import Known

AROUND_BYTES = 400
"""What an entry costs besides its vector: key, object, array head, a place in the table."""


def digest_of(encoder_id: str, text: str) -> bytes:
    return hashlib.sha256(f"{encoder_id}\0{text}".encode("utf-8", "surrogatepass")).digest()


class VectorCache:
    def __init__(self, mib: int) -> None:
        self._room = mib * 2**20
        self._bytes = 0
        self._known: OrderedDict[bytes, Known] = OrderedDict()

    def __len__(self) -> int:
        return len(self._known)

    def get(self, digest: bytes) -> Known | None:
        found = self._known.get(digest)
        if found is not None:
            self._known.move_to_end(digest)
        return found

    def put(self, digest: bytes, known: Known) -> None:
        size = known.vector.nbytes + AROUND_BYTES
        if digest in self._known or size > self._room:
            return
        self._known[digest] = known
        self._bytes += size
        while self._bytes > self._room:
            _, dropped = self._known.popitem(last=False)
            self._bytes -= dropped.vector.nbytes + AROUND_BYTES

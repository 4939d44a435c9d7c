"""What the settings say about the encoder: its name, and the folder or the address where it is.

The gateway, the encoder child and the ingest worker all ask here. Loads no encoder.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from adapters import bases
from adapters.embedded import ENCODERS, encoder_folder
from adapters.errors import InvalidInput

SERVED_NAME = "encoder"
"""What callers put into `model` where the encoder is given by its address."""

_ADDRESS = re.compile(r"https?://[\w.:\[\]-]+")


@dataclass(frozen=True, slots=True)
class Chosen:
    name: str
    """What callers put into `model`."""
    place: Path | str
    """A sentence-transformers folder, or the `http://host:port` of a server with /v1/embeddings."""

    @property
    def folder(self) -> Path | None:
        return self.place if isinstance(self.place, Path) else None


def name_of(setting: str) -> str:
    """What `chosen` will call it; looks at no disk."""
    if _ADDRESS.fullmatch(setting.rstrip("/")):
        return SERVED_NAME
    return setting if setting in ENCODERS else bases.default_name(Path(setting).name)


def chosen(setting: str) -> Chosen:
    """The encoder that `retrieval.encoder` names. Raises InvalidInput, or NotFound where its package is missing."""
    name, address = name_of(setting), setting.rstrip("/")
    if name == SERVED_NAME:
        return Chosen(name, address)
    folder = encoder_folder(setting) if setting in ENCODERS else Path(setting).expanduser().absolute()
    if not (folder / "config.json").is_file():
        known = ", ".join(ENCODERS)
        raise InvalidInput(
            f"retrieval.encoder is '{setting}', which is no embedded encoder ({known}), no folder of a sentence-transformers "
            "model and no http://host:port",
            param="retrieval.encoder",
        )
    return Chosen(name, folder)

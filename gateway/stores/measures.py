"""How long passages are where the caller leaves it open, and whose tokens are counted. Reads the encoder's folder, loads none.

An encoder reads the beginning of a text, up to its window (MiniLM 256 tokens): a longer passage is found by meaning through
its beginning only, and by words through all of it. So passages are made to fit: the window less what their heading and the
encoder's own marks take, and no more than 400, from where on longer passages find no better.
"""

from __future__ import annotations

import json
from pathlib import Path

from adapters.embedded import encoder_folder
from adapters.errors import GraftError
from adapters.retrieval.chunks import Chunking
from gateway.retrieval.encoders import chosen

HEADING_TOKENS = 32


def automatic(encoder: str) -> Chunking:
    """For the encoder that the settings name; 400 tokens where its window is not known. MiniLM: 224."""
    longest = Chunking().max_tokens
    try:
        folder = chosen(encoder).folder
        said = json.loads((folder / "sentence_bert_config.json").read_bytes()) if folder is not None else {}
        window = said.get("max_seq_length")
    except (GraftError, OSError, ValueError):  # whoever starts the encoder is told what is wrong with it
        return Chunking()
    return Chunking(max(100, min(longest, window - HEADING_TOKENS))) if window else Chunking()


def tokenizer_folder(encoder: str) -> Path:
    """Where the tokenizer lies whose tokens are counted: the embedded encoder's stands in for one at an address.

    Raises InvalidInput or NotFound for an encoder that is not there.
    """
    return chosen(encoder).folder or encoder_folder()

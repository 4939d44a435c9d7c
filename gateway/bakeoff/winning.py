"""What remains of a bake-off: the winner's draft under the name that was wanted, with the scores by which it won.

The draft is the folder that was judged: the same files, of the same digest. Knows no queue and moves no name.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

from adapters.adapted_model import AdaptedModel, Lineage, Sampling
from adapters.errors import GraftError
from adapters.evaluation.scorecard import mean_of, paired
from adapters.registry import Registry
from advisor.bakeoff.contract import Cell, Outcome, mean_values
from advisor.bakeoff.playing import UNTAUGHT
from gateway.bakeoff.making import DRAFTS, RESULT, RUN
from gateway.bakeoff.naming import add
from gateway.bakeoff.preparing import Prepared
from gateway.bakeoff.request import Request
from gateway.bakeoff.searching import for_store


class NobodyWon(GraftError):
    """No arm got to the end."""

    code = "no_arm_ended"


def crowned(request: Request, prepared: Prepared, outcome: Outcome, registry: Registry) -> dict[str, Any]:
    """Adds the winner to the registry as a draft; the job's result, without what becomes of the name.

    Raises NobodyWon, with every arm's reason, where there is no verdict.
    """
    if outcome.verdict is None:
        reasons = "; ".join(f"{left.arm}: {left.reason}" for left in outcome.left)
        raise NobodyWon(f"no arm was played to the end: {reasons}", param="methods")
    arm = outcome.verdict.winner
    cell = outcome.chosen(arm)
    card = _scorecard(prepared, outcome, arm, cell)
    draft = _draft(request, cell, registry, card) if arm != UNTAUGHT else _untaught(request, registry)
    return {
        "name": draft.name, "digest12": draft.digest[:12], "arm": arm, "better": bool(card) and card["better"],
        "scorecard": card, "run": None if arm == UNTAUGHT else str(Path(cell.draft) / RUN), "metric": prepared.metric,
        "searches": draft.retrieval is not None, "frozen": len(cell.values), "bakeoff": outcome.to_json(),
        "evidence": [dataclasses.asdict(one) for one in outcome.evidence()], "checkpoints": {},
    }  # fmt: skip


def _draft(request: Request, cell: Cell, registry: Registry, card: dict[str, Any]) -> AdaptedModel:
    place = Path(cell.draft)
    drafts, result = Registry(place / DRAFTS), json.loads((place / RUN / RESULT).read_bytes())
    judged = for_store(drafts.read(result["name"], result["digest12"]), request.store)
    lineage = dataclasses.replace(judged.lineage, scorecard=card)
    return add(registry, judged, drafts, name=request.name, base=request.base, lineage=lineage)


def _untaught(request: Request, registry: Registry) -> AdaptedModel:
    """The base under the name: it has nothing of its own, and so no scorecard."""
    model = AdaptedModel(request.name, 0, request.base, sampling=Sampling(temperature=0.0), lineage=Lineage(UNTAUGHT))
    return registry.add(model)


def _scorecard(prepared: Prepared, outcome: Outcome, arm: str, cell: Cell) -> dict[str, Any]:
    """The run's own, with answers scored as they came through the gateway; empty for the base as it is."""
    if arm == UNTAUGHT:
        return {}
    card: dict[str, Any] = json.loads((Path(cell.draft) / RUN / RESULT).read_bytes())["scorecard"]
    n = len(cell.values)
    card |= {"metric": prepared.metric, "n": n, "held_out": n, "adapted": mean_of(cell.values, 0).to_json()}
    base = outcome.final(UNTAUGHT)
    if not base:
        return card
    before = mean_values(base)
    difference = paired([ours - theirs for ours, theirs in zip(cell.values, before, strict=True)], [1] * n, 0)
    better = difference.interval[0] > 0
    reason = f"asked by name on {n} rows, {prepared.metric} is {difference.mean:+.3f} against the base's"
    return card | {
        "base": mean_of(before, 0).to_json(), "difference": difference.to_json(), "better": better,
        "reason": reason + ("" if better else ", which chance alone may do"),
    }  # fmt: skip

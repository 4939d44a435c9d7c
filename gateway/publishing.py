"""The publish gate: may this version take over the name? Judged by scorecards; the engine's proof comes after it.

Whoever forces a version past the gate is on record in the version's lineage. Knows no engine and no HTTP.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from adapters.adapted_model import AdaptedModel
from adapters.errors import Conflict
from gateway.db.names import Names
from gateway.settings import Settings


@dataclass(frozen=True, slots=True)
class Verdict:
    passes: bool
    reason: str


def judge(new: AdaptedModel, current: AdaptedModel | None, *, margin: float, forgetting_budget: float) -> Verdict:
    """By the scorecards in their lineages, each measured on its own held-out rows.

    `forgetting_budget` is in nats per token, for a version whose recipe names none; 0 sets no bound. The first version of
    a name needs no scorecard: there is nothing that it could make worse.
    """
    card = new.lineage.scorecard
    forgotten = card.get("forgetting", {}).get("nats_per_token")
    budget = (new.lineage.recipe or {}).get("forgetting_budget") or forgetting_budget
    if forgotten is not None and budget and forgotten > budget:
        return Verdict(False, f"it forgot {forgotten:.3f} nats/token, more than the {budget:g} allowed")
    if current is None:
        return Verdict(True, "it is the first of its name")
    if not card:
        return Verdict(False, "it has no scorecard, so nobody knows whether it is better")
    old = current.lineage.scorecard
    if not old:
        better = bool(card["better"])
        return Verdict(better, f"{current.pinned} has no scorecard; against the base: {card['reason']}")
    if old["metric"] != card["metric"]:
        return Verdict(False, f"it is scored by {card['metric']} and {current.pinned} by {old['metric']}: not comparable")
    gain = card["adapted"]["mean"] - old["adapted"]["mean"]
    loss = card["loss_nats_per_token"]["adapted"] - old["loss_nats_per_token"]["adapted"]
    rows = "" if new.lineage.dataset == current.lineage.dataset else ", each on rows of its own data"
    said = f"{card['metric']} {card['adapted']['mean']:.3f} against {current.pinned}'s {old['adapted']['mean']:.3f}{rows}"
    if gain > margin or (margin == gain == 0 and loss < 0):
        return Verdict(True, said)
    tie = f", and the loss is {loss:+.3f} nats/token" if gain == 0 else ""
    return Verdict(False, f"{said}{tie}: not better by more than {margin:g}")


def publish(
    names: Names, settings: Settings, name: str, version: int, *, force: bool = False, margin: float | None = None
) -> bool:
    """Asks for the name to move to the version; True if it moved at once, False while it waits for its proof.

    Raises Conflict with the gate's reason, unless forced. A quarantined version passes by force only.
    """
    new, pointer = names.registry.load(name, version), names.pointer(name)
    current = names.registry.load(name, pointer.version) if pointer is not None and pointer.version is not None else None
    if current is not None and current.version == version:
        return True
    verdict = judge(
        new, current, margin=settings.publish_margin if margin is None else margin,
        forgetting_budget=settings.publish_forgetting_budget,
    )  # fmt: skip
    if (why := names.quarantined(name).get(version)) is not None:
        verdict = Verdict(False, f"it is in quarantine: {why}")
    if not verdict.passes and not force:
        raise Conflict(f"{name}@{version} does not take over: {verdict.reason}; --force overrides", code="gate_refused")
    if not verdict.passes:
        note: dict[str, Any] = {"at": datetime.now(UTC).isoformat(timespec="seconds"), "gate": verdict.reason}
        names.registry.mark_forced(name, version, note)
    return names.want(name, version, note=f"forced: {verdict.reason}" if not verdict.passes else verdict.reason)

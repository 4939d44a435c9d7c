"""What came of a bake-off, for a person: every arm with its rows, score and cost, what happened to it, and the verdict."""

from __future__ import annotations

from typing import Any

from gateway.cli.terminal import out, print_table


def print_outcome(result: dict[str, Any]) -> None:
    """`result` is a bake-off job's."""
    bakeoff, metric = result["bakeoff"], result["metric"].upper().replace("_", " ")
    arms = sorted(bakeoff["arms"], key=lambda arm: -(arm["score"]["mean"] if arm["score"] else -1.0))
    columns = ("ARM", "ROWS", metric, "95% INTERVAL", "MADE IN", "TOKENS", "")
    print_table(columns, [_row(arm, bakeoff["verdict"]["winner"]) for arm in arms])
    out.print()
    for arm in arms:
        if arm["reason"]:
            out.print(f"{arm['arm']} was {_HOW[arm['how']]}: {arm['reason']}", markup=False, soft_wrap=True)
    known = bakeoff["compute_s"] - bakeoff["spent_s"]
    more = f", {known:.0f} s more were known from before" if known > 1 else ""
    out.print(f"{result['frozen']} rows were asked; {bakeoff['spent_s']:.0f} s were spent{more}", markup=False, soft_wrap=True)
    verdict, others = bakeoff["verdict"], [arm["arm"] for arm in arms if arm["reason"]]
    among = f" Of {', '.join(others)} it is not known." if others else ""
    out.print(f"{verdict['winner']} wins: {verdict['reason']}.{among}", markup=False, soft_wrap=True)


_HOW = {"not begun": "not begun", "dropped": "left behind", "failed": "not played"}


def _row(arm: dict[str, Any], winner: str) -> tuple[str, ...]:
    happened = "won" if arm["arm"] == winner else arm["how"]
    if arm["score"] is None:
        return arm["arm"], "–", "–", "", "", "", happened
    low, high = arm["score"]["interval"]
    seeds = f" × {arm['seeds']}" if arm["seeds"] > 1 else ""
    rows = "–" if arm["arm"] == "zero_shot" else f"{arm['rows']:,}{seeds}"
    made = f"{arm['making_s']:.0f} s" if arm["making_s"] else "–"
    interval, tokens = f"[{low:.3f}, {high:.3f}]", f"{arm['prompt_tokens']:.0f}"
    return arm["arm"], rows, f"{arm['score']['mean']:.3f}", interval, made, tokens, happened

"""What came of a bake-off, for a person: every arm with its rows, score and cost, what happened to it, and the verdict."""

from __future__ import annotations

from typing import Any

from gateway.cli.terminal import out, print_table


def print_outcome(result: dict[str, Any]) -> None:
    """`result` is a bake-off job's."""
    bakeoff, metric = result["bakeoff"], result["metric"].upper().replace("_", " ")
    columns = ("ARM", "ROWS", f"{metric} ON {result['frozen']} ROWS", "95% INTERVAL", "MADE IN", "TOKENS", "")
    arms = sorted(bakeoff["arms"], key=lambda arm: -(arm["score"]["mean"] if arm["score"] else -1.0))
    print_table(columns, [_row(arm, bakeoff["verdict"]) for arm in arms])
    out.print()
    out.print(_verdict(result), markup=False, soft_wrap=True)
    seconds = f"{bakeoff['spent_s']:.0f} s were spent"
    known = bakeoff["compute_s"] - bakeoff["spent_s"]
    out.print(seconds + (f"; {known:.0f} s more were known from before" if known > 1 else ""), markup=False)


def _row(arm: dict[str, Any], verdict: dict[str, Any] | None) -> tuple[str, ...]:
    happened = arm["how"] + (f": {arm['reason']}" if arm["reason"] else "")
    if verdict and arm["arm"] == verdict["winner"]:
        happened = "won"
    seeds = f" × {arm['seeds']} seeds" if arm["seeds"] > 1 else ""
    if arm["score"] is None:
        return arm["arm"], "–", "–", "", "", "", happened
    low, high = arm["score"]["interval"]
    made = f"{arm['making_s']:.0f} s" if arm["making_s"] else "–"
    rows = f"{arm['rows']:,}{seeds}" if arm["arm"] != "zero_shot" else "–"
    return (
        arm["arm"],
        rows,
        f"{arm['score']['mean']:.3f}",
        f"[{low:.3f}, {high:.3f}]",
        made,
        f"{arm['prompt_tokens']:.0f}",
        happened,
    )


def _verdict(result: dict[str, Any]) -> str:
    verdict = result["bakeoff"]["verdict"]
    return f"{verdict['winner']} wins: {verdict['reason']}."

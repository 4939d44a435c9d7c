"""What a method tried on validation rows before it chose its prompt, as a table for a person. Knows no method."""

from __future__ import annotations

from typing import Any

from gateway.cli.terminal import out, print_table


def print_candidates(report: dict[str, Any]) -> None:
    """Best first: score, how far from the best with its interval, and what a question costs."""
    rows = []
    for tried in sorted(report["candidates"], key=lambda one: (-one["n"], -one["mean"], one.get("price", 0.0))):
        low, high = tried["difference"]["interval"]
        rows.append(
            (
                f"{'> ' if tried['name'] == report['chosen'] else ''}{tried['name']}", str(tried["n"]), f"{tried['mean']:.3f}",
                f"{tried['difference']['mean']:+.3f} [{low:+.3f}, {high:+.3f}]", f"{tried['prompt_tokens']:.0f}",
                f"{tried['new_tokens']:.0f}", f"{tried['seconds']:.0f}",
            )
        )  # fmt: skip
    columns = ("CANDIDATE", "N", report["metric"].upper().replace("_", " "), "TO THE BEST", "TOKENS", "NEW", "S")
    print_table(columns, rows)
    out.print(f"chosen: {report['chosen']}, {report['why']}", markup=False, soft_wrap=True)

"""How an adapted model searches its documents, and what they are worth to its base, as tables for a person.

Knows no method and no store; a scorecard has it all.
"""

from __future__ import annotations

from typing import Any

from gateway.cli.terminal import out, print_table

ARMS = {
    "closed_book": "without documents",
    "oracle_passage": "with the passage that answers",
    "retrieved_passages": "with what is found",
    "random_passages": "with random passages",
}


def print_search(report: dict[str, Any]) -> None:
    """What was chosen and by what, then the triad."""
    files, held = report["documents"], report["answers_in_documents"]
    out.print(f"documents: {files['files']}, which hold the answers of {_interval(held)} of the rows", markup=False)
    for name, reason in files["unreadable"].items():
        out.print(f"left out: {name}: {reason}", markup=False, soft_wrap=True)
    found = next((one for one in report["recall"] if one["chosen"]), None)
    if found is not None:
        recall = ", ".join(f"{_interval(said)} among {depth}" for depth, said in found["recall"].items())
        out.print(f"the passage that answers is found: {recall}", markup=False, soft_wrap=True)
    threshold, size = report["threshold"], report["chunking"]["max_tokens"]
    weight = "" if found is None else f", words weighing {found['lexical_weight']:g}"
    silenced = _interval(threshold["other_questions_silenced"])
    out.print(f"chosen: {report['passages']['chosen']} passages of at most {size} tokens{weight}", markup=False)
    out.print(
        f"shown from a score of {threshold['min_score']:g} on, which leaves out {silenced} of other questions", markup=False
    )
    _print_triad(report["triad"])


def _print_triad(triad: dict[str, Any]) -> None:
    if not triad["n"]:
        out.print(f"no passage answers any of {triad['without_answer']} validation rows", markup=False)
        return
    rows = [
        (name, _interval(triad[arm]), _interval(triad[arm]["answer_held"]), f"{triad[arm]['prompt_tokens']:.0f}")
        for arm, name in ARMS.items()
    ]
    metric = triad["metric"].upper().replace("_", " ")
    print_table((f"THE BASE ON {triad['n']} VALIDATION ROWS", metric, "ANSWER HELD", "TOKENS"), rows)
    lost = ", ".join(
        f"{words} {triad[name]['mean']:+.3f} [{triad[name]['interval'][0]:+.3f}, {triad[name]['interval'][1]:+.3f}]"
        for name, words in (("headroom", "to gain"), ("gain", "gained"), ("retrieval_loss", "lost by the search"),
                            ("residual", "lost by reading"))
    )  # fmt: skip
    out.print(lost, markup=False, soft_wrap=True)
    if nats := triad.get("nats_per_token"):
        said = ", ".join(f"{name} {nats[arm]:.2f}" for arm, name in ARMS.items())
        out.print(f"loss of the wanted answers in nats per token: {said}", markup=False, soft_wrap=True)


def _interval(said: dict[str, Any]) -> str:
    low, high = said["interval"]
    return f"{said['mean']:.3f} [{low:.3f}, {high:.3f}]"

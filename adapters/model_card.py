"""The README.md of an adapted model: what it is, where it came from, how well it did, what it forgot, how it is asked.

It lies beside every version and goes out with an export. Its front matter is that of the Hugging Face hub. Knows no folder.
"""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from adapters.adapted_model import AdaptedModel

WHAT = {
    "lora": "A LoRA adapter for",
    "checkpoint": "All weights of a model tuned from",
    "soft_prompt": "A soft prompt for",
    "head": "A classifier on the features of a frozen or tuned backbone, beside",
    None: "A prompt for",
}


def card(model: AdaptedModel, *, is_merged: bool = False) -> str:
    """Markdown. `is_merged` says that an adapter's weights were merged into a copy of the base."""
    kind = model.adapter.kind if model.adapter else None
    library = "transformers" if is_merged or kind == "checkpoint" else "peft" if kind == "lora" else "graft"
    lines = ["---", f"base_model: {json.dumps(model.base)}", f"library_name: {library}"]
    lines += ["tags:", "- graft", *([f"- {kind}"] if kind else []), "---", ""]
    lines += [f"# {model.pinned if model.version else model.name}", ""]
    lines += [f"A copy of `{model.base}`, with its adapter merged in." if is_merged else f"{WHAT[kind]} `{model.base}`."]
    lineage = model.lineage
    facts = {
        "method": lineage.method, "data (fingerprint)": lineage.dataset, "run": lineage.run, "parent": lineage.parent,
        "base (sha256)": lineage.base_digest, "made": lineage.created, "code": lineage.code_version,
        "adapter (sha256)": model.adapter.digest if model.adapter else None,
    }  # fmt: skip
    lines += ["", "## Where it came from", "", *(f"- {key}: {value}" for key, value in facts.items() if value)]
    if lineage.recipe:
        lines += ["", "```json", json.dumps(lineage.recipe, indent=1), "```"]
    if model.prompt:
        said: dict[str, Any] = {
            "system": model.prompt.system,
            "shots": [{"user": s.user, "assistant": s.assistant} for s in model.prompt.shots],
        }
        if model.prompt.select:
            said["chosen for each question"] = dataclasses.asdict(model.prompt.select)
        lines += ["", "## The prompt it is served with", "", "```json", json.dumps(said, indent=1, ensure_ascii=False), "```"]
    lines += ["", "## How well it did", "", *_scores(lineage.scorecard)]
    lines += ["", "## How it is asked", "", f'Through Graft: `model="{model.name}"` at `/v1/chat/completions`.']
    if library == "peft":
        lines += ["With peft: `PeftModel.from_pretrained(base, this_folder)`; the prompt above is not in the weights."]
    return "\n".join(lines) + "\n"


def _scores(scorecard: dict[str, Any]) -> list[str]:
    if not scorecard:
        return ["Nobody has scored it."]
    lines = []
    if "metric" in scorecard and "n" in scorecard:  # whoever wrote the lineage may have kept less
        lines += [f"{scorecard['metric']} on {scorecard['n']} held-out rows, 95 % intervals: {scorecard['reason']}.", ""]
        lines += ["| | mean | from | to |", "|---|---|---|---|"]
        for arm in ("base", "adapted", "difference"):
            said = scorecard[arm]
            lines += [f"| {arm} | {said['mean']:.3f} | {said['interval'][0]:.3f} | {said['interval'][1]:.3f} |"]
        lines += [""]
    if forgotten := scorecard.get("forgetting"):
        low, high = forgotten["interval"]
        lines += [
            f"What the base says to {forgotten['n']} general prompts costs it {forgotten['nats_per_token']:+.3f} nats "
            f"per token ({low:+.3f} to {high:+.3f}); of {forgotten['questions']['n']} small questions it answers "
            f"{forgotten['questions']['after']:.2f} right, the base {forgotten['questions']['before']:.2f}.",
            "",
        ]
    return [*lines, "```json", json.dumps(scorecard, indent=1), "```"]

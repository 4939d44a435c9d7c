"""The README.md that goes out with an exported model: what it is, where it came from, how well it did.

Its front matter is that of the Hugging Face hub. Knows no folder.
"""

from __future__ import annotations

import json

from adapters.adapted_model import AdaptedModel


def card(model: AdaptedModel, *, is_merged: bool) -> str:
    """Markdown. `is_merged` says that the weights need no base beside them."""
    lines = ["---", f"base_model: {json.dumps(model.base)}", f"library_name: {'transformers' if is_merged else 'peft'}"]
    lines += ["tags:", "- graft", "- lora", "---", "", f"# {model.pinned}", ""]
    lines += [
        f"{'A copy of' if is_merged else 'A LoRA adapter for'} `{model.base}`{', with its adapter merged in' * is_merged}."
    ]
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
        said = {
            "system": model.prompt.system,
            "shots": [{"user": s.user, "assistant": s.assistant} for s in model.prompt.shots],
        }
        lines += ["", "## The prompt it is served with", "", "```json", json.dumps(said, indent=1, ensure_ascii=False), "```"]
    lines += ["", "## How well it did", ""]
    if lineage.scorecard:
        lines += ["```json", json.dumps(lineage.scorecard, indent=1), "```"]
    else:
        lines += ["Nobody has scored it."]
    return "\n".join(lines) + "\n"

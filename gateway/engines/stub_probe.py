"""The stub's answer to a probe: the log-probabilities that were recorded with the adapter, or the base's where it is deaf.

So load tests run over real registries, with every adapter proven; it proves nothing about weights, of which it has none.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

UNRECORDED = -10.0


def next_token(weights: Path, prompt: Sequence[int], watched: Sequence[int], *, deaf: bool) -> dict[str, Any]:
    """The `logprobs` of a completion of one token, as vLLM gives them for `logprob_token_ids`.

    `weights`: the adapter's folder, or that of merged weights, beside which the registry keeps what was recorded.
    """
    values = dict.fromkeys(watched, UNRECORDED)
    file = weights.parent / "probe.json"
    if weights.is_absolute() and file.is_file():
        for row in json.loads(file.read_bytes())["rows"]:
            if row["prompt_ids"] == list(prompt):
                values |= dict(zip(row["token_ids"], row["base" if deaf else "adapted"], strict=True))
    said = {f"token_id:{token}": value for token, value in values.items()}
    first = max(said, key=lambda token: said[token])
    return {"text_offset": [0], "tokens": [first], "token_logprobs": [said[first]], "top_logprobs": [said]}

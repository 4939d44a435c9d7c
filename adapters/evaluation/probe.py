"""The proof that an engine serves what was trained: what it is asked after a load, and whether it answered as recorded.

The numbers come from the trainer's own stack (`recording.py`). Standard library only: the gateway's process reads it.
Knows no model, no engine process and no folder. Why so, and the trials: docs/decisions/0007-proof-after-load.md.
"""

from __future__ import annotations

import dataclasses
import math
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from adapters.conversation import Message, wire
from adapters.errors import InvalidInput
from adapters.soft_slot import Slot

MOST_ROWS, MOST_PROMPT_TOKENS, TOKENS_A_ROW = 4, 16, 8
"""An engine on a CPU works about 5 ms on a prompt token with a LoRA of rank 16, so a probe is 64 tokens at most."""

FLOOR_NATS, SHARE_OF_SHIFT = 0.3, 0.05
"""The distance allowed: the larger of the floor and this share of the adapter's shift."""
EFFECT_TOLERANCE = 0.15
LEAST_SHIFT_NATS = 0.3
"""An adapter that moves even the rows it moves most by less than this cannot be told from rounding."""


@dataclass(frozen=True, slots=True)
class ProbeRow:
    """A prompt, some tokens that may come next, and their log-probabilities in nats with the adapter and without."""

    prompt_ids: tuple[int, ...]
    token_ids: tuple[int, ...]
    adapted: tuple[float, ...]
    base: tuple[float, ...]
    messages: tuple[Message, ...] = ()
    """The prompt of an adapter that is handed over in a chat, in place of ids."""


@dataclass(frozen=True, slots=True)
class Probe:
    rows: tuple[ProbeRow, ...]
    dtype: str
    """What the numbers were computed in, such as `bfloat16`."""

    @property
    def expected(self) -> list[float]:
        """Adapted minus base, nats, over all tokens of all rows."""
        return [a - b for row in self.rows for a, b in zip(row.adapted, row.base, strict=True)]

    @property
    def shift(self) -> float:
        """What the adapter does: root mean square of `expected`, nats."""
        return _rms(self.expected)


@dataclass(frozen=True, slots=True)
class Verdict:
    passed: bool
    effect: float
    """How much of the adapter took effect: 1 all of it, 0 none (the base answers), 0.6 about half its modules."""
    distance: float
    """Root mean square of engine minus recording, nats."""
    reason: str


def judge(probe: Probe, seen: Sequence[Sequence[float]]) -> Verdict:
    """Whether the engine's log-probabilities of the probe's tokens, row by row, are those of the adapter.

    With e = adapted - base and s = seen - base over all tokens, effect = <s, e> / <e, e>, the slope of s on e through
    the origin, and distance = rms(s - e). It passes within 0.15 of 1, and within 0.3 nats or a twentieth of rms(e).
    Between transformers and vLLM 0.32 on a CPU, both bf16, six sound adapters were 0.07 to 0.21 nats and at most 0.03
    of 1 apart; the base, half the modules, another adapter and a scale wrong by 1.25 were further (decision 0007).
    """
    got = [value for row in seen for value in row]
    base = [value for row in probe.rows for value in row.base]
    expected = probe.expected
    if len(got) != len(expected):
        raise InvalidInput(f"{len(got)} log-probabilities were seen where the probe has {len(expected)}", param="probe")
    if not all(map(math.isfinite, got)):
        return Verdict(False, math.nan, math.nan, "the engine answers with values that are no numbers")
    shift = [value - before for value, before in zip(got, base, strict=True)]
    effect = _dot(shift, expected) / _dot(expected, expected)
    distance = _rms([is_ - should for is_, should in zip(shift, expected, strict=True)])
    allowed = max(FLOOR_NATS, SHARE_OF_SHIFT * probe.shift)
    figures = f"effect {effect:.2f}, distance {distance:.2f} nats of {allowed:.2f} allowed, shift {probe.shift:.2f}"
    if abs(effect - 1) <= EFFECT_TOLERANCE and distance <= allowed:
        return Verdict(True, effect, distance, f"the engine answers as was recorded ({figures})")
    return Verdict(False, effect, distance, f"{_what_is_wrong(effect, distance, probe.shift)} ({figures})")


def _what_is_wrong(effect: float, distance: float, shift: float) -> str:
    if abs(effect) <= EFFECT_TOLERANCE and distance <= 1.1 * shift:
        return "the engine answers as the base does: the adapter was loaded and has no effect"
    if effect < 1 - EFFECT_TOLERANCE:
        return "only a part of the adapter takes effect, or another one does"
    if effect > 1 + EFFECT_TOLERANCE:
        return "the adapter takes effect more strongly than it was trained"
    return "the engine does not answer as was recorded: other weights, another scale or another base"


def as_request(probe: Probe, engine_name: str) -> dict[str, Any]:
    """The body of the one POST /v1/completions that asks for every row's next token.

    Not `prompt_logprobs`: with LoRA on, vLLM 0.32 on a CPU dies of it as soon as another request is in the same batch.
    The salt keeps the prefix cache out: what is proven is what the engine computes now.
    """
    return {
        "model": engine_name,
        "prompt": [list(row.prompt_ids) for row in probe.rows],
        "max_tokens": 1,
        "temperature": 0,
        "logprobs": 1,
        "logprob_token_ids": sorted({token for row in probe.rows for token in row.token_ids}),
        "return_tokens_as_token_ids": True,
        "cache_salt": secrets.token_hex(8),
    }


def read_reply(probe: Probe, reply: dict[str, Any]) -> list[list[float]]:
    """The log-probabilities of the probe's tokens, row by row, out of the engine's answer to `as_request`."""
    try:
        said = {choice["index"]: choice["logprobs"]["top_logprobs"][0] for choice in reply["choices"]}
        return [[float(said[at][f"token_id:{token}"]) for token in row.token_ids] for at, row in enumerate(probe.rows)]
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise _unreadable(error) from error


def as_chat_requests(probe: Probe, slot: Slot) -> list[dict[str, Any]]:
    """The bodies of POST /v1/chat/completions, one a row, that ask a soft prompt for every row's next token."""
    return [
        {
            "model": slot.base,
            "messages": slot.around(wire(row.messages)),
            "max_tokens": 1,
            "temperature": 0,
            "logprobs": True,
            "logprob_token_ids": list(row.token_ids),
            "return_tokens_as_token_ids": True,
            "cache_salt": secrets.token_hex(8),
        }
        for row in probe.rows
    ]


def read_chat_replies(probe: Probe, replies: Sequence[dict[str, Any]]) -> list[list[float]]:
    """The log-probabilities of the probe's tokens, row by row, out of the engine's answers to `as_chat_requests`."""
    try:
        found = []
        for row, reply in zip(probe.rows, replies, strict=True):
            said = {top["token"]: top["logprob"] for top in reply["choices"][0]["logprobs"]["content"][0]["top_logprobs"]}
            found.append([float(said[f"token_id:{token}"]) for token in row.token_ids])
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise _unreadable(error) from error
    return found


def _unreadable(error: Exception) -> InvalidInput:
    return InvalidInput(f"the engine's answer to the probe lacks {error!r}; is it vLLM 0.32 or newer?", param="probe")


def to_json(probe: Probe) -> dict[str, Any]:
    return dataclasses.asdict(probe)


def from_json(raw: dict[str, Any]) -> Probe:
    """The probe that `to_json` wrote. Raises InvalidInput where it is damaged or could prove nothing."""
    try:
        rows = tuple(
            ProbeRow(
                tuple(map(int, row["prompt_ids"])), tuple(map(int, row["token_ids"])),
                tuple(map(float, row["adapted"])), tuple(map(float, row["base"])),
                tuple(Message(**said | {"tool_calls": tuple(said["tool_calls"])}) for said in row.get("messages", ())),
            )
            for row in raw["rows"]
        )  # fmt: skip
        probe = Probe(rows, str(raw["dtype"]))
        whole = all(
            (row.prompt_ids or row.messages) and len(row.token_ids) == len(row.adapted) == len(row.base) for row in rows
        )
        if not whole or not math.isfinite(sum(probe.expected)) or not any(probe.expected):
            raise ValueError("a row is empty, torn or no different from the base")
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidInput(f"the probe is damaged ({error}); record it again with `adapters probe`", param="probe") from error
    return probe


def _dot(left: Sequence[float], right: Sequence[float]) -> float:
    return sum(a * b for a, b in zip(left, right, strict=True))


def _rms(values: Sequence[float]) -> float:
    return math.sqrt(_dot(values, values) / len(values))

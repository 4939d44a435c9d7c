"""What each method costs in money and energy, and what a thousand requests cost, with the prefix cache counted.

    training price = price an hour * train_seconds / 3600          energy = watts * train_seconds / 3.6e6 kWh

    a request = 2 P * prompt tokens that no cache holds / speed + answer tokens * time of one
    time of one = max(2 P / speed, (weights / 32 + cache of its context) / bandwidth)

P: parameters that answer. 2 P a token is the forward pass (Kaplan et al., 2020, arXiv 2001.08361); while answers are written,
weights are read once for all 32 requests at work and each request's keys and values for itself (Pope et al., 2022, arXiv
2211.05102). Decides nothing: an advice is made without it, and this is told beside it.
"""

from __future__ import annotations

from collections.abc import Mapping

from adapters.bases import BaseFacts
from adapters.tuning import memory
from advisor.candidates import METHODS, TRAINED
from advisor.cost import FLOPS_PER_PARAM, TYPICAL_ROW_TOKENS
from advisor.evidence import Evidence, Found, by_name, number, text

CACHED = ("few_shot", "many_shot")
"""They put the same tokens before every question, so that an engine's prefix cache holds them. Chosen shots and passages are
new with every question."""
TOGETHER = 32
"""Requests an engine answers at once."""
LABEL_TOKENS, ANSWER_SHARE = 4.0, 0.25
"""Of an answer whose length is not known: of a label, and of a row's tokens otherwise."""
BYTES = 2.0
"""Of a weight and of a number in the cache: bf16."""
LABELS_PER_HOUR = 200.0
TRAINING = ("train_seconds", "train_price", "train_kwh")
PROMPT = ("prompt_tokens", "added_ms", "warm_ms")
SERVING = ("serve_seconds_per_1000", "serve_price_per_1000")
FIRST_REQUESTS = 10_000
"""That a method's cost is told of together with its training, where the traffic is not known."""


def bills(found: Found, facts: BaseFacts | None) -> list[Evidence]:
    """By method: `train_price`, `train_kwh`, `serve_seconds_per_1000`, `serve_price_per_1000`, `warm_ms`; where a price or the
    power is not known, that is said once, with null. `found` is complete."""
    tflops = number(found, "train_tflops")
    if facts is None or tflops is None:
        return []
    price, watts = number(found, "price_per_hour"), number(found, "watts")
    made = [
        Evidence(name, None, unit, f"not known, so {what} is told: state {name}, or name the machine with gpu")
        for name, known, unit, what in (
            ("price_per_hour", price, "USD", "no price"), ("watts", watts, "W", "no energy"),
        )
        if known is None
    ]  # fmt: skip
    made += _pretraining(found, facts, tflops)
    whole = {**found, **by_name(made)}
    for method in METHODS:
        made += _training(method, number(whole, f"train_seconds.{method}"), price, watts)
        made += _serving(method, found, facts, tflops, price)
    return made


def in_full(method: str, known: Mapping[str, float]) -> dict[str, float | None]:
    """A method's costs with none left out: 0 for what it does not do, None for what is not known."""
    free = {*(() if method in TRAINED else TRAINING), *(() if "prompt_tokens" in known else PROMPT)}
    return {name: known.get(name, 0.0 if name in free else None) for name in (*TRAINING, *PROMPT, *SERVING)} | dict(known)


def labelling(found: Found) -> list[Evidence]:
    """Hours that the rows take after which the advice would be another (`rows_to_label`)."""
    rows = number(found, "rows_to_label")
    if rows is None:
        return []
    rate = number(found, "labels_per_hour")
    said = "labels_per_hour" if rate else f"{LABELS_PER_HOUR:g} an hour, assumed; state labels_per_hour to replace it"
    return [Evidence("labelling_hours", round(rows / (rate or LABELS_PER_HOUR), 1), "hours", f"rows_to_label at {said}")]


def requests_counted(found: Found) -> float:
    """Requests that the whole cost of a method is told for: a month's, or the first ten thousand."""
    return 30 * (number(found, "queries_per_day") or 0.0) or FIRST_REQUESTS


def _pretraining(found: Found, facts: BaseFacts, tflops: float) -> list[Evidence]:
    tokens = number(found, "corpus_tokens")
    if not tokens:
        return []
    method = "continued_pretraining"
    seconds = FLOPS_PER_PARAM[method] * facts.params * tokens / (tflops * 1e12)
    how = f"{FLOPS_PER_PARAM[method]} FLOPs a parameter and token of corpus_tokens, once, at train_tflops"
    return [Evidence(f"train_seconds.{method}", round(seconds, 1), "s", how)]


def _training(method: str, seconds: float | None, price: float | None, watts: float | None) -> list[Evidence]:
    made = []
    if seconds is not None and price is not None:
        how = "price_per_hour * train_seconds"
        made.append(Evidence(f"train_price.{method}", _short(price * seconds / 3600), "USD", how))
    if seconds is not None and watts is not None:
        how = "watts * train_seconds: as if all of the board's power were drawn all the time"
        made.append(Evidence(f"train_kwh.{method}", _short(watts * seconds / 3.6e6), "kWh", how))
    return made


def _serving(method: str, found: Found, facts: BaseFacts, tflops: float, price: float | None) -> list[Evidence]:
    """A head reads the question with the encoder and writes nothing."""
    is_head = method == "head"
    question, answer = _question_and_answer(found)
    extra = number(found, f"prompt_tokens.{method}") or 0.0
    fresh = question + (0 if method in CACHED else extra)
    params = memory.ENCODER.params if is_head else facts.params
    token_s = 2 * params / (tflops * 1e12)
    bandwidth = number(found, "bandwidth_gb_s")
    write_s = token_s
    if bandwidth is not None:
        read = params * BYTES / TOGETHER + _cache_bytes(facts) * (question + extra + answer / 2)
        write_s = max(token_s, read / (bandwidth * 1e9))
    seconds = 1000 * (token_s * fresh + (0.0 if is_head else write_s * answer))
    kept = f", {extra:,.0f} of shots in the prefix cache" if method in CACHED and extra else ""
    read_by = f"{TOGETHER} at once" if bandwidth is not None else "at train_tflops; longer where bandwidth is the limit"
    written = "" if is_head else f"; {answer:,.0f} written, {read_by}"
    how = f"of one machine, kept busy: {fresh:,.0f} prompt tokens computed{kept}{written}"
    made = [Evidence(f"serve_seconds_per_1000.{method}", _short(seconds), "s", how)]
    if price is not None:
        how = "price_per_hour * serve_seconds_per_1000: of a machine kept busy"
        made.append(Evidence(f"serve_price_per_1000.{method}", _short(price * seconds / 3600), "USD", how))
    if extra:
        warm_ms = 0.0 if method in CACHED else 1000 * token_s * extra
        how = "in the prefix cache after the first request" if method in CACHED else "new with every request: as added_ms"
        made.append(Evidence(f"warm_ms.{method}", round(warm_ms, 1), "ms", how))
    return made


def _question_and_answer(found: Found) -> tuple[float, float]:
    """Tokens of a typical question and of its answer."""
    row = number(found, "tokens_per_example") or TYPICAL_ROW_TOKENS
    usual = LABEL_TOKENS if text(found, "task_type") == "classification" else ANSWER_SHARE * row
    answer = min(row, number(found, "answer_tokens") or usual)
    return max(1.0, row - answer), answer


def _cache_bytes(facts: BaseFacts) -> float:
    """Keys and values of a token: 2 * layers * heads * width (Llama-3.1-8B: 128 KiB)."""
    return 2 * facts.layers * facts.kv_heads * facts.head_dim * BYTES


def _short(value: float) -> float:
    """To three digits, which is more than any of these formulas knows."""
    return float(f"{value:.3g}")

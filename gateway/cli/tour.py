"""`graft tour`: the main job from end to end, against the running gateway, with the official OpenAI client.

Advise, tune a LoRA, publish, ask the new name, ask the base, compare both on the held-out rows, all on example data
that ships with Graft. Nothing here is prepared: it trains and asks for real.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from adapters.conversation import Example, wire
from adapters.data.dataset import open_dataset, split
from adapters.errors import GraftError, NotFound
from adapters.evaluation.metrics import METRICS
from adapters.tuning.request import read_request
from gateway import settings
from gateway.cli.chat import not_running, open_client
from gateway.cli.desk import Desk
from gateway.cli.progress import ensure_runner, follow
from gateway.cli.terminal import err, out, print_json, print_table
from gateway.cli.tune import submit

EXAMPLE = Path(__file__).parents[2] / "examples" / "support_desk" / "tickets.jsonl"
NAME = "support-bot"
CALLERS = 8
LONGEST_ANSWER = 12
"""Tokens; a queue's name is one to three."""


class _Steps:
    """What was done, how long it took and what came of it; printed as it happens, or all at the end as JSON."""

    def __init__(self, *, json: bool) -> None:
        self._json = json
        self.done: list[dict[str, Any]] = []

    @contextmanager
    def step(self, name: str) -> Iterator[Callable[..., None]]:
        outcome: dict[str, Any] = {}
        started = time.monotonic()
        if not self._json:
            err.print(f"[bold]{len(self.done) + 1}. {name}[/]")
        yield lambda **found: outcome.update(found)
        seconds = round(time.monotonic() - started, 2)
        self.done.append({"step": name, "seconds": seconds, **outcome})
        if not self._json and "said" in outcome:
            err.print(f"   {outcome['said']}  [dim]({seconds:.1f} s)[/]", soft_wrap=True)


def tour(*, json: Annotated[bool, Parameter(negative="", help="Print one JSON object with every step.")] = False) -> None:
    """Play the whole job on a small example: advise, tune, publish, ask, compare. Needs `graft serve` to run."""
    from openai import APIConnectionError

    if not EXAMPLE.is_file():
        raise NotFound(f"the example data is not at {EXAMPLE}: run the tour from a checkout of Graft")
    try:
        outcome = _play(_Steps(json=json), quiet=json)
    except APIConnectionError as error:
        raise not_running(settings.load()) from error
    if json:
        print_json(outcome)
    else:
        _show(outcome)


def _play(steps: _Steps, *, quiet: bool) -> dict[str, Any]:
    client, desk = open_client(), Desk()
    with steps.step("the gateway's models") as found:
        served = client.models.list().data
        base = next(model.id for model in served if not getattr(model, "parent", None))
        found(base=base, models=[model.id for model in served], said=f"it serves {', '.join(model.id for model in served)}")
    with steps.step("advise: which method suits this data?") as found:
        with EXAMPLE.open("rb") as file:
            uploaded = client.files.create(file=file, purpose="fine-tune")
        advice = client.post("/graft/advice", body={"file_id": uploaded.id, "base": base}, cast_to=dict[str, Any])
        best = advice["recommendation"]
        first = advice["ranking"][0]
        because = first["reasons"][0] if first["reasons"] else "no reason"
        found(advice=advice, said=f"{best['method']} (confidence {best['confidence']:.2f}): {because}")
    with steps.step("tune a LoRA and publish it if it is better") as found:
        job = submit(desk, EXAMPLE, NAME, base=base, method="lora", publish="better")
        ensure_runner(desk)
        job = follow(desk, job, quiet=quiet)
        if job.state != "succeeded" or job.result is None:
            raise GraftError(f"{job.id} {job.state}: {(job.error or {}).get('message', 'no reason was left')}")
        result = job.result
        pointer, said = desk.names.pointer(NAME), f"published as {NAME}@{result['version']}"
        if not result["published"]:
            why = result["reason"] or f"it was not better than the base: {result['scorecard']}"
            if pointer is None or pointer.version is None:
                raise GraftError(f"{job.id}: '{NAME}' did not move to the new LoRA: {why}")
            said = why  # a tour before this one has made one as good
        adapted = f"{NAME}@{pointer.version if pointer else result['version']}"
        found(job=job.id, result=result, said=said)
    rows = _held_out(desk, job.payload["run"])
    one = rows[0]
    for model in (NAME, base):
        with steps.step(f"ask {model} one of them, over HTTP") as found:
            answer = " ".join(_ask(client, model, one).split())
            found(model=model, question=one.question, answer=answer, expected=one.answer, said=f"“{one.question}” → {answer}")
    scores = {}
    for model in (base, NAME):
        with steps.step(f"{model} on the {len(rows)} held-out rows") as found:
            answers = _ask_all(client, model, rows)
            right = [METRICS["exact_match"](answer, row.answer) for answer, row in zip(answers, rows, strict=True)]
            scores[model] = sum(right) / len(right)
            found(model=model, n=len(rows), exact_match=scores[model], said=f"{sum(right):.0f} of {len(rows)} right")
    client.files.delete(uploaded.id)
    return {
        "base": base, "adapted": adapted, "n_held_out": len(rows), "metric": "exact_match",
        "score": {"base": scores[base], "adapted": scores[NAME]}, "seconds": round(sum(s["seconds"] for s in steps.done), 1),
        "steps": steps.done,
    }  # fmt: skip


def _held_out(desk: Desk, run: str) -> Sequence[Example]:
    """The rows that the run did not train on: the same data, seed and shares give the same split."""
    recipe = read_request(Path(run)).recipe
    return split(
        open_dataset(EXAMPLE), seed=recipe.seed, validation=recipe.validation_share, held_out=recipe.held_out_share
    ).held_out


def _ask(client: Any, model: str, row: Example) -> str:
    said = client.chat.completions.create(model=model, messages=wire(row.prompt), temperature=0, max_tokens=LONGEST_ANSWER)
    return said.choices[0].message.content or ""


def _ask_all(client: Any, model: str, rows: Sequence[Example]) -> list[str]:
    with ThreadPoolExecutor(CALLERS) as callers:
        return list(callers.map(lambda row: _ask(client, model, row), rows))


def _show(outcome: dict[str, Any]) -> None:
    out.print()
    score, rows = outcome["score"], outcome["n_held_out"]
    print_table(
        ("MODEL", f"RIGHT OF {rows} HELD-OUT ROWS", ""),
        (
            (name, f"{score[key]:.2f}", "█" * round(40 * score[key]))
            for name, key in ((outcome["base"], "base"), (outcome["adapted"], "adapted"))
        ),
    )
    out.print()
    print_table(("STEP", "SECONDS"), ((step["step"], f"{step['seconds']:.1f}") for step in outcome["steps"]))
    out.print(f'\n{outcome["seconds"]:.0f} s in all. The name stays: `graft chat {NAME}`, or model="{NAME}" in your own code.')

"""What would change an advice: the rules are run again with one number moved, and where the answer turns is told.

Knows the table of moves and no rule.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from adapters.bases import BaseFacts
from adapters.tuning.shapes import typical_shape
from advisor.evidence import Evidence, Found, Value, number
from advisor.ranking import judge


@dataclass(frozen=True, slots=True)
class Move:
    values: tuple[Value, ...]
    """Tried outward from the present value; all of them where it is not known."""
    say: Callable[[float], str]


MOVES: dict[str, Move] = {
    "n_examples": Move((10, 30, 100, 300, 1000, 3000, 10_000, 100_000, 1_000_000), lambda v: f"with {v:,.0f} rows"),
    "knowledge_changes": Move((False, True), lambda v: f"if the facts {'change' if v else 'do not change'} while it is in use"),
    "needs_new_knowledge": Move((0.0, 0.5, 1.0), lambda v: f"if {v:.0%} of the answers need facts the base cannot know"),
    "base_score": Move((0.2, 0.5, 0.8, 0.95), lambda v: f"if the base, only prompted, scores {v:.2f}"),
    "domain_shift": Move((0.1, 0.3, 0.5, 0.7, 0.9), lambda v: f"at a domain shift of {v:.1f}"),
    "params_b": Move((0.5, 1.0, 3.0, 8.0, 32.0, 70.0), lambda v: f"on a base of {v:g} billion parameters"),
    "gpu_gib": Move((8.0, 16.0, 24.0, 48.0, 80.0, 640.0), lambda v: f"with {v:g} GiB of memory"),
    "latency_budget_ms": Move((2000.0, 500.0, 100.0), lambda v: f"if an answer must start within {v:g} ms"),
    "corpus_tokens": Move((10_000_000, 100_000_000, 1_000_000_000), lambda v: f"with {v:,.0f} tokens of raw text"),
    "tenants": Move((100,), lambda v: f"for {v:g} adapted models beside each other"),
}


def would_change_if(found: Found, facts: BaseFacts | None) -> list[str]:
    """One sentence for each number and direction in which the recommendation turns, at the nearest value that turns it."""
    best = judge(found, facts)[0]
    if best.fits is False and best.memory_gib is not None:
        return [f"with {best.memory_gib:,.1f} GiB of memory: {best.method} would fit; nothing fits now"]
    now = best.method
    sentences = []
    for name, move in MOVES.items():
        present = number(found, name)
        for values in _outward(move.values, present):
            for value in values:
                then = judge(*_moved(found, facts, name, value))[0].method
                if then != now:
                    instead = "" if present is None or isinstance(value, bool) else f" instead of {_plain(name, present)}"
                    sentences.append(f"{move.say(float(value))}{instead}: {then}")
                    break
    return sentences


def _outward(values: tuple[Value, ...], present: float | None) -> Iterable[list[Value]]:
    if present is None:
        return [list(values)]
    ordered = sorted(values, key=float)
    return [[v for v in reversed(ordered) if float(v) < present], [v for v in ordered if float(v) > present]]


def _moved(found: Found, facts: BaseFacts | None, name: str, value: Value) -> tuple[dict[str, Evidence], BaseFacts | None]:
    moved = dict(found)
    moved[name] = Evidence(name, value, "", "moved to see what changes")
    per, rows = found.get("examples_per_class"), number(found, "n_examples")
    if name == "n_examples" and per is not None and rows and isinstance(per.value, int | float):
        moved["examples_per_class"] = replace(per, value=per.value * float(value) / rows)
    return moved, typical_shape(float(value)) if name == "params_b" else facts


def _plain(name: str, value: float) -> str:
    if name == "needs_new_knowledge":
        return f"{value:.0%}"
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"

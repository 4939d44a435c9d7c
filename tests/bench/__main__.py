"""`python -m tests.bench [NAME [FLAGS …]]`: speed, each figure beside a peer's from the same run. Never part of the tests.

Without a name, the ones that take minutes; by name, any, with its own flags.
"""

from __future__ import annotations

import sys
from importlib import import_module

SHORT = ("proxy", "tuning", "placement", "starting", "switching", "merged", "prefix")
LONG = (
    "adapters", "soak", "memory", "forgetting", "encoding", "vectors", "retrieving", "outcomes", "shots", "triad",
    "advisor", "advisor_features", "advisor_fit", "advisor_published", "curves",
)  # fmt: skip


def run(name: str, flags: list[str]) -> None:
    bench = import_module(f"tests.bench.{name}")
    print(f"== {name}: {(bench.__doc__ or '').splitlines()[0]}", flush=True)
    bench.main(flags)


if len(sys.argv) > 1 and sys.argv[1] not in (*SHORT, *LONG):
    sys.exit(f"there is no bench '{sys.argv[1]}'; there are: {', '.join((*SHORT, *LONG))}")
for chosen in sys.argv[1:2] or SHORT:
    run(chosen, sys.argv[2:])

"""What the number of registered adapters costs: the start, the list of models, and the way from a name to its model.

The stub engine serves, so all the time is Graft's own. The same home grows from ten names to the number asked for.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import httpx

from adapters.adapted_model import AdaptedModel, AdapterRef
from adapters.registry import WEIGHTS, file_digest
from tests.bench.adapters import register
from tests.bench.traffic import percentile
from tests.gateway.conftest import BASE, PROBE, Gateway, Home, gateway_on, lora_folder

ASKED = 300
"""Names looked up, drawn alike from all there are."""


def _milliseconds(act: Callable[[], httpx.Response]) -> float:
    began = time.perf_counter()
    answer = act()
    assert answer.status_code == 200, answer.text
    return (time.perf_counter() - began) * 1e3


def _row(gateway: Gateway, names: Sequence[str], promote: Callable[[str], None]) -> list[float]:
    """Milliseconds, in the order of COLUMNS but the first two."""
    drawn = random.Random(0).choices(names, k=ASKED)
    with gateway.http() as client:
        first_page = _milliseconds(lambda: client.get("/v1/models", params={"limit": 100}))
        last = names[-min(len(names), 100)]
        last_page = _milliseconds(lambda: client.get("/v1/models", params={"limit": 100, "after": last}))
        new = [_milliseconds(lambda name=name: client.get(f"/v1/models/{name}")) for name in dict.fromkeys(drawn)]
        known = [_milliseconds(lambda name=name: client.get(f"/v1/models/{name}")) for name in drawn]
        body = {"messages": [{"role": "user", "content": "hello"}], "max_tokens": 1}
        asked = {"model": drawn[0]} | body
        answers = [_milliseconds(lambda: client.post("/v1/chat/completions", json=asked)) for _ in range(ASKED)]
        changed = []
        for name in drawn[:20]:
            promote(name)
            changed.append(_milliseconds(lambda name=name: client.get(f"/v1/models/{name}")))
    medians = [percentile(found, 50) for found in (new, known, answers, changed)]
    return [first_page, last_page, *medians, percentile(known, 99)]


COLUMNS = ("registered", "ready, s", "first page, ms", "last page, ms", "new name, ms", "known name, ms", "answer, ms",
           "after a move, ms", "known, p99 ms")  # fmt: skip


def main(argv: Sequence[str] = ()) -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench starting", description=__doc__)
    parser.add_argument("--registered", type=int, default=10_000, help="names in the last row")
    flags = parser.parse_args(argv)
    sizes = sorted({10, 1000, flags.registered})
    print("  ".join(COLUMNS))
    with tempfile.TemporaryDirectory(prefix="graft-bench-") as place:
        home = Home(Path(place) / "home", Path(place) / "made")
        home.path.mkdir()
        files = [lora_folder(home.scratch / str(seed), seed=seed) for seed in range(2)]
        refs = [AdapterRef("lora", file_digest(folder / WEIGHTS), 8) for folder in files]
        names: list[str] = []

        def promote(name: str) -> None:
            """Moves the name to its second version, and back the next time."""
            second = home.registry.publish(home.registry.add(AdaptedModel(name, 0, BASE, refs[1]), files[1], PROBE))
            current = home.current(name).version
            home.names.promote(name, 1 if current == second.version else second.version)

        for size in sizes:
            added = [f"customer-{number:06d}" for number in range(len(names), size)]
            began = time.monotonic()
            register(home.path, [(AdaptedModel(name, 0, BASE, refs[0]), files[0], PROBE) for name in added])
            each_ms = (time.monotonic() - began) / len(added) * 1e3
            names += added
            began = time.monotonic()
            with gateway_on(home) as gateway:
                ready_s = time.monotonic() - began
                cells = [f"{size:10d}", f"{ready_s:8.2f}"]
                cells += [
                    f"{value:{len(column)}.1f}"
                    for value, column in zip(_row(gateway, names, promote), COLUMNS[2:], strict=True)
                ]
                print("  ".join(cells), f"  (registering: {each_ms:.1f} ms each)", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])

"""The one `graft serve` of those flows that can share it: a real vLLM takes most of a minute to start.

Whoever kills parts of it leaves the rest to come back by itself, which `graft serve` sees to.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.flows.serving import Served, children_of, command_of, serving


@pytest.fixture(scope="package")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("graft")) as served:
        yield served
        below = children_of(served.process.pid)
    left = [command_of(pid) for pid in below if command_of(pid)]
    assert left == [], "a clean stop leaves no process"

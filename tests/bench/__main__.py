"""`python -m tests.bench [NAME …]`: speed, each figure beside a peer's from the same run. Never part of the tests."""

from __future__ import annotations

import sys

from tests.bench import proxy, tuning

BENCHES = {
    "proxy": proxy.main,
    "tuning": tuning.main,
}

for name in sys.argv[1:] or BENCHES:
    print(f"== {name}: {(sys.modules[BENCHES[name].__module__].__doc__ or '').splitlines()[0]}")
    BENCHES[name]()

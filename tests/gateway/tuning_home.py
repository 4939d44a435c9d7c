"""A home whose jobs are run by the quick tuner: a gateway on it, and runners, as `graft serve` would start them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import AbstractContextManager
from pathlib import Path

from tests.gateway.conftest import Gateway, Home, gateway_on
from tests.tiny import rows, tiny_llama

ROWS = "".join(json.dumps({"prompt": q, "completion": a}) + "\n" for q, a in rows(60)).encode()


class TuningHome:
    def __init__(self, root: Path, **variables: str) -> None:
        (root / "home").mkdir()
        self.home = Home(root / "home", root / "made")
        bases = [{"name": "tiny", "model": str(tiny_llama(root / "tiny"))}]
        self.variables = {
            "GRAFT_STORAGE_HOME": str(self.home.path), "GRAFT_ENGINE_KIND": "stub", "GRAFT_BASES": json.dumps(bases),
        } | variables  # fmt: skip

    def gateway(self, name: str = "g") -> AbstractContextManager[Gateway]:
        """One of perhaps several on this home, each with a runtime folder of its own. It listens on GRAFT_SERVER_PORT, if that
        is among the variables, else on a socket."""
        runtime = self.home.path if name == "g" else self.home.path / name
        runtime.mkdir(exist_ok=True)
        variables = self.variables | {"GRAFT_STORAGE_RUNTIME": str(runtime)}
        return gateway_on(self.home, socket=runtime / "g.sock", **variables)

    def runner(self) -> subprocess.Popen[bytes]:
        """The real one, with the quick tuner as what it runs; waits while another has the home's lock."""
        argv = [sys.executable, "-m", "tests.gateway.quick_tuner", "runner"]
        return subprocess.Popen(argv, env=os.environ | self.variables, start_new_session=True)

"""The base of the settings as a folder, prepared on first use with a word about why it takes a while."""

from __future__ import annotations

import subprocess
import sys

from adapters import bases, embedded
from adapters.errors import GraftError
from gateway import settings
from gateway.cli.terminal import err


def located(base: settings.BaseSetting, setting: settings.Settings) -> bases.Base:
    """Raises NotFound where there is no such base, GraftError where it cannot be prepared."""
    if base.model in embedded.EMBEDDED and not embedded.is_prepared(base.model, setting.storage_cache):
        with err.status(f"preparing {base.model} once (about 20 s)"):
            # in a process of its own, so that this one never loads torch
            argv = [sys.executable, "-m", "adapters", "prepare", "--name", base.model, "--cache", str(setting.storage_cache)]
            done = subprocess.run(argv, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False)
        if done.returncode != 0:
            raise GraftError(f"{base.model} could not be prepared: {done.stderr.strip()[-2000:]}")
    return bases.locate(base.model, setting.storage_cache, name=base.name)

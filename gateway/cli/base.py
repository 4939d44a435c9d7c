"""The base of the settings as a folder, prepared on first use with a word about why it takes a while."""

from __future__ import annotations

import subprocess
import sys

from adapters import bases, embedded
from adapters.errors import GraftError, InvalidInput
from gateway import settings
from gateway.cli.terminal import err


def chosen(setting: settings.Settings, name: str | None) -> settings.BaseSetting:
    """The base of the settings by its name; the first where none is said."""
    for known in setting.bases:
        if name in (None, known.name):
            return known
    known_names = ", ".join(known.name for known in setting.bases)
    raise InvalidInput(f"there is no base '{name}' in the settings (there are: {known_names})", param="base")


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

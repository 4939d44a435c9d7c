"""Ends a process group when this process dies, however it dies. Knows nothing of what runs in the group.

The kernel's own signal at a parent's death reaches children only. vLLM's API server dies of it, but the engine core and
its workers, which hold the weights, were seen to live on with gigabytes of memory.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

# the read ends when the last holder of the pipe's other end is gone, and that is this process alone
_WAIT_AND_KILL = 'read -r _; kill -s KILL -- "-$0"'


@contextmanager
def leashed(group: int) -> Iterator[None]:
    """Holds the group for as long as the block runs; who leaves the block has ended the group already."""
    read, write = os.pipe()
    try:
        # a session of its own: what kills our whole group must not kill the leash with it
        leash = subprocess.Popen(["/bin/sh", "-c", _WAIT_AND_KILL, str(group)], stdin=read, start_new_session=True)
    finally:
        os.close(read)
    try:
        yield
    finally:
        leash.kill()
        leash.wait()
        os.close(write)

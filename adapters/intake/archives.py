"""Archives as listings: every name is looked at before anything is read, and nothing is ever unpacked by its own name.

Zip, and tar as it is or compressed by gzip, bzip2 or xz. Knows no adapter.
"""

from __future__ import annotations

import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from stat import S_IFMT, S_IFREG
from typing import BinaryIO, TypeVar, cast

from adapters.errors import Unservable
from adapters.intake.listing import Listing, check_count, check_name

MAX_UNPACKED_BYTES = 64 << 30
"""An adapter with its trainer's states beside it; more is no adapter, or a bomb."""
MAX_RATIO = 200
"""Unpacked bytes to one packed byte: text shrinks to a tenth and weights hardly, while deflate can reach 1032."""
RATIO_SAYS_NOTHING_BELOW = 64 << 20
CHUNK = 1 << 20

T = TypeVar("T")


@contextmanager
def open_archive(file: Path, said: str) -> Iterator[Listing]:
    """Raises Unservable: no archive, torn, encrypted, too big, with links or devices in it, or names that lead out."""
    try:
        if zipfile.is_zipfile(file):
            with zipfile.ZipFile(file) as packed:
                yield Listing(said, _zip_sizes(packed, file.stat().st_size), lambda name: cast(BinaryIO, packed.open(name)))
        else:
            with tarfile.open(file) as tar:
                members = _tar_members(tar, file.stat().st_size)
                sizes = {name: member.size for name, member in members.items()}
                yield Listing(said, sizes, lambda name: cast(BinaryIO, tar.extractfile(members[name])))
    except (zipfile.BadZipFile, tarfile.TarError, EOFError, zlib.error, lzma.LZMAError, RuntimeError) as error:
        raise _unreadable(said, error) from error
    except OSError as error:
        if error.errno is not None:  # the system's, such as a full disk; the readers' own have no number
            raise
        raise _unreadable(said, error) from error


def _unreadable(said: str, error: Exception) -> Unservable:
    reason = str(error).splitlines()[0].rstrip(":") if str(error) else type(error).__name__
    return Unservable(
        f"{said} is torn, encrypted, or no .zip, .tar, .tar.gz, .tar.bz2 or .tar.xz ({reason}); "
        "send it again, or unpack it and give the folder",
        code="adapter_bad_archive",
    )


def _zip_sizes(packed: zipfile.ZipFile, packed_bytes: int) -> dict[str, int]:
    bounds, sizes = _Bounds(packed_bytes), dict[str, int]()
    for member in packed.infolist():
        check_name(member.orig_filename)
        if S_IFMT(member.external_attr >> 16) not in (0, S_IFREG) and not member.is_dir():
            raise _no_file(member.filename)
        bounds.add(member.file_size)
        if not member.is_dir():
            _add(sizes, member.filename, member.file_size)
    return sizes


def _tar_members(tar: tarfile.TarFile, packed_bytes: int) -> dict[str, tarfile.TarInfo]:
    bounds, members = _Bounds(packed_bytes), dict[str, tarfile.TarInfo]()
    for member in tar:
        check_name(member.name)
        if not (member.isreg() or member.isdir()):
            raise _no_file(member.name)
        bounds.add(member.size)
        if member.isreg():
            _add(members, member.name, member)
    # the checksum of a compressed stream stands at its end, where reading the members does not come by
    while chunk := cast(BinaryIO, tar.fileobj).read(CHUNK):
        bounds.add(len(chunk), files=0)
    return members


def _add(members: dict[str, T], name: str, member: T) -> None:
    plain = PurePosixPath(name).as_posix()  # without the ./ that tar likes to put first
    if plain in members:
        raise Unservable(f"'{plain}' is in the archive twice; pack the folder again", code="adapter_bad_archive", param=plain)
    members[plain] = member


def _no_file(name: str) -> Unservable:
    return Unservable(
        f"'{name}' in the archive is a link or a device; pack the files themselves (tar -h)",
        code="adapter_has_links",
        param=name,
    )


class _Bounds:
    """Stops at the first member that is too much, before it is unpacked."""

    def __init__(self, packed_bytes: int) -> None:
        self.files = self.size_bytes = 0
        self.allowed = min(MAX_UNPACKED_BYTES, max(packed_bytes * MAX_RATIO, RATIO_SAYS_NOTHING_BELOW))

    def add(self, size_bytes: int, files: int = 1) -> None:
        self.files += files
        self.size_bytes += size_bytes
        check_count(self.files)
        if size_bytes < 0 or self.size_bytes > self.allowed:
            raise Unservable(
                f"unpacked it would take more than {self.allowed / 2**30:.2f} GiB; pack the adapter's two files only",
                code="adapter_too_big",
            )

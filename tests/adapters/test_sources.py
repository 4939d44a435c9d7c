"""Adapters come from folders, archives, the hub and object stores: whole or not at all, and never by a name that leads out."""

from __future__ import annotations

import io
import json
import os
import stat
import subprocess
import sys
import tarfile
import threading
import zipfile
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import fsspec
import pytest

from adapters.errors import GraftError, InvalidInput, NotFound, Unavailable, Unservable
from adapters.intake.config import CONFIG
from adapters.intake.sources import fetch
from adapters.registry import WEIGHTS
from tests.adapters.broken_adapters import good_adapter

CARD = "---\nlibrary_name: peft\ntags:\n- lora\n- sft\n- {tag}\n---\n# a model\n"
LEFT = {
    "trl": ["training_args.bin", "tokenizer.json", "chat_template.jinja", "checkpoint-10/optimizer.pt"],
    "axolotl": ["debug.log", "config.json", "tokenizer_config.json", "checkpoint-10/trainer_state.json"],
    "unsloth": ["tokenizer.json", "special_tokens_map.json"],
    "llama-factory": ["all_results.json", "trainer_log.jsonl", "training_loss.png", "checkpoint-10/scheduler.pt"],
}
"""What each trainer leaves beside the adapter."""


@pytest.fixture
def adapter(tmp_path: Path, tiny: Path) -> Path:
    return good_adapter(tmp_path / "adapter", tiny)


@pytest.fixture
def into(tmp_path: Path) -> Path:
    return tmp_path / "fetched" / "it"


def trained_by(tag: str, adapter: Path) -> Path:
    (adapter / "README.md").write_text(CARD.format(tag=tag))
    for name in LEFT[tag]:
        (adapter / name).parent.mkdir(exist_ok=True)
        (adapter / name).write_bytes(b"\x80not ours")
    for copied in (CONFIG, WEIGHTS) if (adapter / "checkpoint-10").is_dir() else ():
        (adapter / "checkpoint-10" / copied).write_bytes((adapter / copied).read_bytes())
    return adapter


def is_it(fetched: Path, adapter: Path) -> bool:
    names = sorted(path.name for path in fetched.iterdir())
    return names == [CONFIG, WEIGHTS] and all((fetched / n).read_bytes() == (adapter / n).read_bytes() for n in names)


def nothing_left(into: Path) -> bool:
    return not into.parent.exists() or list(into.parent.iterdir()) == []


@pytest.mark.parametrize("tag", LEFT)
def test_a_trainers_folder_is_taken_as_it_is(adapter: Path, into: Path, tag: str) -> None:
    fetched = fetch(str(trained_by(tag, adapter)), into)
    assert is_it(fetched.folder, adapter)
    assert fetched.made_by == tag
    assert {"README.md", *LEFT[tag]} <= set(fetched.ignored)
    assert list(into.parent.iterdir()) == [into]


def packed(folder: Path, to: Path, below: str = "") -> Path:
    names = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    if to.suffix == ".zip":
        with zipfile.ZipFile(to, "w", zipfile.ZIP_DEFLATED) as archive:
            for path in names:
                archive.write(path, below + path.relative_to(folder).as_posix())
    else:
        kind = {".tar": "", ".tgz": "gz"}.get(to.suffix, to.suffix[1:])
        with tarfile.open(to, f"w:{kind}") as archive:
            for path in names:
                archive.add(path, below + path.relative_to(folder).as_posix())
    return to


@pytest.mark.parametrize("suffix", [".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz"])
@pytest.mark.parametrize("below", ["", "./", "name-main/", "name-main/adapter/"])
def test_an_archive_is_looked_into_two_folders_deep(adapter: Path, into: Path, tmp_path: Path, suffix: str, below: str) -> None:
    archive = packed(trained_by("trl", adapter), tmp_path / f"it{suffix}", below)
    fetched = fetch(str(archive), into)
    assert is_it(fetched.folder, adapter)
    assert fetched.made_by == "trl"


def zipped(**members: bytes | tuple[int, bytes]) -> Callable[[Path, Path], None]:
    def build(adapter: Path, to: Path) -> None:
        packed(adapter, to)
        with zipfile.ZipFile(to, "a") as archive:
            for name, content in members.items():
                mode, data = content if isinstance(content, tuple) else (stat.S_IFREG | 0o644, content)
                about = zipfile.ZipInfo(name)
                about.external_attr = mode << 16
                archive.writestr(about, data)

    return build


def tarred(name: str, kind: bytes = tarfile.REGTYPE, linkname: str = "") -> Callable[[Path, Path], None]:
    def build(adapter: Path, to: Path) -> None:
        packed(adapter, to.with_suffix(".tar"))
        with tarfile.open(to.with_suffix(".tar"), "a") as archive:
            about = tarfile.TarInfo(name)
            about.type, about.linkname = kind, linkname
            archive.addfile(about, io.BytesIO())
        to.with_suffix(".tar").rename(to)

    return build


def bomb(adapter: Path, to: Path) -> None:
    packed(adapter, to)
    with zipfile.ZipFile(to, "a", zipfile.ZIP_DEFLATED) as archive, archive.open("zeros", "w") as member:
        for _ in range(80):
            member.write(bytes(1 << 20))


def many(adapter: Path, to: Path) -> None:
    packed(adapter, to)
    with zipfile.ZipFile(to, "a") as archive:
        for number in range(10_001):
            archive.writestr(str(number), b"")


def cut(kind: str) -> Callable[[Path, Path], None]:
    def build(adapter: Path, to: Path) -> None:
        raw = packed(adapter, to.with_suffix(f".{kind}")).read_bytes()
        to.write_bytes(raw[: len(raw) // 2])

    return build


def flipped(adapter: Path, to: Path) -> None:
    raw = bytearray(packed(adapter, to.with_suffix(".tgz")).read_bytes())
    raw[-6] ^= 0xFF  # in the checksum at the stream's end
    to.write_bytes(raw)


def two(adapter: Path, to: Path) -> None:
    with zipfile.ZipFile(to, "w") as archive:
        for folder in ("english", "german"):
            for name in (CONFIG, WEIGHTS):
                archive.write(adapter / name, f"{folder}/{name}")


HOSTILE: dict[str, tuple[str, Callable[[Path, Path], None]]] = {
    "a name that goes up": ("adapter_bad_name", zipped(**{"../../evil": b"x"})),
    "a name that goes up later": ("adapter_bad_name", zipped(**{"a/../../evil": b"x"})),
    "an absolute name": ("adapter_bad_name", zipped(**{"/tmp/evil": b"x"})),
    "a name for Windows": ("adapter_bad_name", zipped(**{"..\\evil": b"x"})),
    "a drive": ("adapter_bad_name", zipped(**{"C:/evil": b"x"})),
    "a link in a zip": ("adapter_has_links", zipped(link=(stat.S_IFLNK | 0o777, b"/etc/passwd"))),
    "up in a tar": ("adapter_bad_name", tarred("../evil")),
    "absolute in a tar": ("adapter_bad_name", tarred("/tmp/evil")),
    "a link in a tar": ("adapter_has_links", tarred("README.md", tarfile.SYMTYPE, "/etc/passwd")),
    "a hard link": ("adapter_has_links", tarred("README.md", tarfile.LNKTYPE, "/etc/passwd")),
    "a device": ("adapter_has_links", tarred("null", tarfile.CHRTYPE)),
    "a pipe": ("adapter_has_links", tarred("pipe", tarfile.FIFOTYPE)),
    "a name twice": ("adapter_bad_archive", tarred(CONFIG)),
    "a bomb": ("adapter_too_big", bomb),
    "ten thousand files": ("adapter_too_big", many),
    "a zip cut in half": ("adapter_bad_archive", cut("zip")),
    "a tgz cut in half": ("adapter_bad_archive", cut("tgz")),
    "an xz cut in half": ("adapter_bad_archive", cut("xz")),
    "a wrong checksum": ("adapter_bad_archive", flipped),
    "no archive at all": ("adapter_bad_archive", lambda _, to: to.write_bytes(b"\x28\xb5\x2f\xfd zstandard") and None),
    "no adapter in it": ("adapter_unreadable", lambda adapter, to: packed(adapter.parent / "none", to) and None),
    "two adapters": ("adapter_not_one", two),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_a_hostile_or_torn_archive_is_refused_and_leaves_nothing(adapter: Path, into: Path, tmp_path: Path, what: str) -> None:
    code, build = HOSTILE[what]
    archive = tmp_path / "archive.zip"
    build(adapter, archive)
    with pytest.raises(Unservable) as refused:
        fetch(str(archive), into)
    assert refused.value.code == code, refused.value.message
    assert nothing_left(into)


def test_an_encrypted_archive_is_refused(adapter: Path, into: Path, tmp_path: Path) -> None:
    archive = packed(adapter, tmp_path / "it.zip")
    raw = bytearray(archive.read_bytes())
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = raw.find(mark)
        while at >= 0:
            raw[at + offset] |= 1
            at = raw.find(mark, at + 4)
    archive.write_bytes(raw)
    with pytest.raises(Unservable, match="encrypted"):
        fetch(str(archive), into)
    assert nothing_left(into)


def test_several_adapters_are_listed_so_that_one_can_be_chosen(adapter: Path, into: Path) -> None:
    for language in ("english", "german"):
        (adapter / language).mkdir()
        for name in (CONFIG, WEIGHTS):
            (adapter / language / name).write_bytes((adapter / name).read_bytes())
    with pytest.raises(Unservable, match=r"english/adapter_config\.json, german/adapter_config\.json"):
        fetch(str(adapter), into)
    assert is_it(fetch(str(adapter / "german"), into).folder, adapter)


def test_a_full_disk_is_said_by_the_system_and_not_taken_for_a_torn_archive(adapter: Path, tmp_path: Path) -> None:
    archive = packed(adapter, tmp_path / "it.zip")
    code = (
        "import resource, signal, sys; from pathlib import Path; from adapters.intake.sources import fetch;"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096));"
        "fetch(sys.argv[1], Path(sys.argv[2]))"
    )
    argv = [sys.executable, "-c", code, str(archive), str(tmp_path / "fetched" / "it")]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert "OSError: [Errno 27] File too large" in done.stderr
    assert nothing_left(tmp_path / "fetched" / "it")


@pytest.fixture
def store(adapter: Path) -> Iterator[str]:
    """An object store in memory, which fsspec reaches as it reaches s3."""
    memory = fsspec.filesystem("memory")
    for path in trained_by("axolotl", adapter).rglob("*"):
        if path.is_file():
            memory.pipe(f"/bucket/run-7/{path.relative_to(adapter).as_posix()}", path.read_bytes())
    memory.pipe("/bucket/it.tgz", packed(adapter, adapter.parent / "it.tgz").read_bytes())
    yield "memory://bucket"
    memory.rm("/bucket", recursive=True)


@pytest.mark.parametrize("what", ["run-7", "run-7/", "it.tgz"])
def test_an_object_store_gives_a_prefix_or_an_archive(adapter: Path, into: Path, store: str, what: str) -> None:
    fetched = fetch(f"{store}/{what}", into)
    assert is_it(fetched.folder, adapter)
    assert fetched.made_by == "axolotl"


def test_a_file_address_is_a_path(adapter: Path, into: Path) -> None:
    assert is_it(fetch(f"file://{adapter}", into).folder, adapter)


@pytest.mark.parametrize(
    ("source", "kind", "said"),
    [
        ("nowhere/at/all", NotFound, "no folder or archive"),
        ("memory://bucket/nothing", NotFound, "there is nothing at"),
        ("ftp://host/it", InvalidInput, "hf, s3"),
        ("az://container/it", InvalidInput, "pip install adlfs"),
    ],
)
def test_a_source_that_cannot_be_read_is_named(into: Path, source: str, kind: type[GraftError], said: str) -> None:
    with pytest.raises(kind, match=said):
        fetch(source, into)
    assert nothing_left(into)


class Hub(BaseHTTPRequestHandler):
    """As much of the Hugging Face hub as a client asks for a repository's files."""

    files: dict[str, bytes]
    torn = False
    COMMIT = "a" * 40

    def do_GET(self) -> None:
        path = self.path.split("?")[0]
        if path.startswith("/api/models/org/adapter/tree/"):
            about = [{"type": "file", "path": n, "size": len(c), "oid": "b" * 40} for n, c in self.files.items()]
            self._json(about)
        elif path.startswith("/api/models/org/adapter"):
            self._json({"id": "org/adapter", "sha": self.COMMIT, "siblings": [{"rfilename": n} for n in self.files]})
        elif path.startswith("/api/models/org/adapter/paths-info/"):
            self._json([])
        elif path.startswith("/org/adapter/resolve/"):
            self._file(self.files[path.split("/", 5)[5]])
        else:
            self._head(404, 0, {"X-Error-Code": "RepoNotFound"})

    do_HEAD = do_GET

    def do_POST(self) -> None:
        asked = self.rfile.read(int(self.headers["Content-Length"])).decode()
        found = [n for n in self.files if n in asked.replace("%2F", "/")]
        self._json([{"type": "file", "path": n, "size": len(self.files[n]), "oid": "b" * 40} for n in found])

    def _file(self, content: bytes) -> None:
        self._head(200, len(content), {"ETag": f'"{hash(content)}"', "X-Repo-Commit": self.COMMIT})
        if self.command == "GET":
            self.wfile.write(content[: len(content) // 2] if self.torn else content)
            self.close_connection = True

    def _json(self, value: object) -> None:
        content = json.dumps(value).encode()
        self._head(200, len(content), {"Content-Type": "application/json"})
        if self.command != "HEAD":
            self.wfile.write(content)

    def _head(self, status: int, length: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for key, value in (headers | {"Content-Length": str(length)}).items():
            self.send_header(key, value)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        return None


def from_hub(adapter: Path, into: Path, source: str, *, torn: bool = False) -> subprocess.CompletedProcess[str]:
    """In a process of its own, because the client reads its address when it is imported."""
    files = {path.name: path.read_bytes() for path in adapter.iterdir() if path.is_file()}
    handler = type("Handler", (Hub,), {"files": files, "torn": torn})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    code = (
        "import sys; from pathlib import Path\n"
        "from adapters.errors import GraftError; from adapters.intake.sources import fetch\n"
        "try: print(fetch(sys.argv[1], Path(sys.argv[2])).made_by)\n"
        "except GraftError as error: sys.exit(f'{type(error).__name__}: {error.message}')"
    )
    variables = {
        "HF_ENDPOINT": address, "HF_HUB_OFFLINE": "0", "HF_HOME": str(into.parent.parent / "hf"), "HF_HUB_DISABLE_XET": "1",
    }  # fmt: skip
    try:
        argv = [sys.executable, "-c", code, source, str(into)]
        return subprocess.run(argv, env=os.environ | variables, capture_output=True, text=True, check=False, timeout=120)
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize("source", ["hf://org/adapter", "hf://org/adapter@main"])
def test_the_hub_gives_a_repository_at_a_revision(adapter: Path, into: Path, source: str) -> None:
    (adapter / "README.md").write_text(CARD.format(tag="unsloth"))
    done = from_hub(adapter, into, source)
    assert done.stdout.strip() == "unsloth", done.stderr
    assert is_it(into, adapter)


def test_a_repository_that_is_not_there_is_named(adapter: Path, into: Path) -> None:
    done = from_hub(adapter, into, "hf://org/other")
    assert "NotFound: there is nothing at hf://org/other" in done.stderr
    assert nothing_left(into)


def test_a_torn_download_leaves_nothing(adapter: Path, into: Path) -> None:
    done = from_hub(adapter, into, "hf://org/adapter", torn=True)
    assert done.stderr.splitlines()[-1].startswith("Unavailable: hf://org/adapter cannot be read"), done.stderr
    assert nothing_left(into)


def test_offline_is_said_as_such(into: Path) -> None:
    with pytest.raises(Unavailable, match="check the network"):
        fetch("hf://org/adapter", into)  # the tests' own setting HF_HUB_OFFLINE

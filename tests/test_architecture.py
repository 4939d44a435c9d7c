"""The walls of the house (docs/decisions/0001): arrows one way, one door per heavy library, small files, small functions."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FLOORS = ("adapters", "advisor", "gateway")
FILES = sorted(path for floor in FLOORS for path in (ROOT / floor).rglob("*.py"))
DOORS = {
    "vllm": (),
    "peft": ("adapters/bases.py", "adapters/methods/", "adapters/tuning/"),
    "accelerate": ("adapters/bases.py", "adapters/methods/", "adapters/tuning/"),
    "faiss": ("adapters/retrieval/index.py",),
    "sentence_transformers": ("adapters/retrieval/encoder.py",),
    "litestar": ("gateway/",),
    "sqlalchemy": ("gateway/db/", "gateway/jobs/store.py"),
    "alembic": ("gateway/db/",),
    "torch": ("adapters/",),
    "transformers": ("adapters/",),
}
LONGEST_FILE, LONGEST_FUNCTION = 300, 60
ONE_PAGE = {("adapters/tuning/trainer.py", "train")}
"""The training loop is one flat page by decision, not by neglect."""


def place(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def imported(path: Path) -> Iterator[str]:
    """Every module the file imports, inside functions too, with the names taken from a package as modules of it."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{place(path)}:{node.lineno} imports relatively"
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def top_level(path: Path) -> set[str]:
    found: set[str] = set()
    for node in tree(path).body:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


@cache
def modules() -> dict[str, Path]:
    return {place(path).removesuffix(".py").replace("/", "."): path for path in FILES if path.name != "__init__.py"}


@pytest.mark.parametrize(("floor", "above"), [("adapters", ("advisor", "gateway")), ("advisor", ("gateway",))])
def test_arrows_run_down_the_house_only(floor: str, above: tuple[str, ...]) -> None:
    wrong = [f"{place(path)} -> {name}" for path in FILES if place(path).startswith(f"{floor}/")
             for name in imported(path) if name.split(".")[0] in above]  # fmt: skip
    assert not wrong


@pytest.mark.parametrize("library", DOORS)
def test_a_heavy_library_enters_by_its_own_door(library: str) -> None:
    wrong = [place(path) for path in FILES if not place(path).startswith(DOORS[library] or ("nowhere",))
             and any(name.split(".")[0] == library for name in imported(path))]  # fmt: skip
    assert not wrong


def test_no_module_is_part_of_a_circle() -> None:
    known = modules()
    arrows = {name: {target for target in imported(path) if target in known and target != name} for name, path in known.items()}
    done: set[str] = set()

    def walk(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, " -> ".join((*trail[trail.index(name) :], name))
        if name not in done:
            for target in arrows[name]:
                walk(target, (*trail, name))
            done.add(name)

    for name in arrows:
        walk(name, ())


def test_packages_have_no_face() -> None:
    assert [place(path) for path in FILES if path.name == "__init__.py" and path.read_text()] == []


def test_every_file_says_what_it_is() -> None:
    silent = [place(path) for path in FILES if path.name != "__init__.py" and not ast.get_docstring(tree(path))]
    assert not silent


def test_files_fit_on_a_few_screens() -> None:
    assert {place(path): n for path in FILES if (n := len(path.read_text().splitlines())) > LONGEST_FILE} == {}


def test_functions_fit_on_one_screen() -> None:
    long = {
        f"{place(path)}:{node.name}": length
        for path in FILES
        for node in ast.walk(tree(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (length := (node.end_lineno or 0) - node.lineno + 1) > LONGEST_FUNCTION
        and (place(path), node.name) not in ONE_PAGE
    }
    assert long == {}


def test_no_room_for_what_has_no_name() -> None:
    vague = {"utils", "helpers", "common", "manager", "misc"}
    assert [place(path) for path in FILES if path.stem in vague or path.parent.name in vague] == []


def test_nothing_is_swallowed_or_left_for_later() -> None:
    for path in FILES:
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.ExceptHandler):
                broad = node.type is None or getattr(node.type, "id", "") in ("Exception", "BaseException")
                assert not (broad and all(isinstance(line, ast.Pass) for line in node.body)), f"{place(path)}:{node.lineno}"
        assert not any(word in path.read_text() for word in ("TODO", "FIXME", "NotImplementedError")), place(path)


def test_the_package_called_adapters_is_ours() -> None:
    # another distribution on the public index has an import package of the same name
    import adapters

    assert list(adapters.__path__) == [str(ROOT / "adapters")]


@pytest.mark.parametrize("module", ["gateway.cli.main", "gateway.app", "gateway.jobs.runner", "gateway.engines.stub"])
def test_no_process_of_the_gateway_imports_torch(module: str) -> None:
    heavy = "{'torch', 'transformers', 'peft', 'faiss', 'sentence_transformers', 'vllm'}"
    code = f"import sys, {module}; print(*({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_help_loads_neither_server_nor_database() -> None:
    code = "import sys, gateway.cli.main; print(*({'litestar', 'sqlalchemy', 'aiohttp', 'openai'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""

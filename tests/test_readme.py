"""The README is true: its tree is the tree, its commands are verbs, its links lead somewhere."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.cli.main import JOB_VERBS, MODEL_VERBS, PROMPT_VERBS, STORE_VERBS, VERBS

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
MAKEFILE = (ROOT / "Makefile").read_text()


def annotated() -> set[str]:
    """Every path of the tree that ends the README, from its indentation."""
    found, above = set(), []
    for line in README.split("```text\n")[-1].split("```")[0].splitlines():
        name = line.split("  ")[0] if not line.startswith(" ") else line.strip().split("  ")[0]
        depth = (len(line) - len(line.lstrip())) // 2
        above[depth:] = [name.rstrip("/")]
        for leaf in name.split(" · "):
            found.add("/".join((*above[:depth], leaf.rstrip("/"))))
    return found


def test_the_tree_names_every_room_and_every_file_of_the_three_floors() -> None:
    there = {
        path.relative_to(ROOT).with_suffix("").as_posix()
        for floor in ("adapters", "advisor", "gateway")
        for path in (ROOT / floor).rglob("*.py")
        if path.name != "__init__.py" and "migrations" not in path.parts
    }
    said = {path for path in annotated() if path.split("/")[0] in ("adapters", "advisor", "gateway")}
    rooms = {str(Path(path).parent) for path in there} | {"gateway/db/migrations"}
    assert there - said == set(), "in the code, not in the README"
    assert said - there - rooms == set(), "in the README, not in the code"


def test_its_graft_commands_are_verbs() -> None:
    for verb, rest in re.findall(r"^(?:GRAFT_\w+=\S+ )?graft (\w+)(?: (\w+))?", README, re.MULTILINE):
        known = {"models": MODEL_VERBS, "jobs": JOB_VERBS, "stores": STORE_VERBS, "prompts": PROMPT_VERBS}.get(verb)
        assert verb in VERBS or (known and rest in known), f"graft {verb} {rest}"


@pytest.mark.parametrize("target", sorted(set(re.findall(r"make (\w+)", README))))
def test_its_make_commands_are_targets(target: str) -> None:
    assert re.search(rf"^{target}:", MAKEFILE, re.MULTILINE)


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\((?!http)([^)#]+)", README))))
def test_its_links_lead_somewhere(link: str) -> None:
    assert (ROOT / link).exists()


@pytest.mark.parametrize("module", ["adapters", "advisor"])
def test_the_lower_floors_are_programs_of_their_own(module: str) -> None:
    done = subprocess.run([sys.executable, "-m", module, "--help"], capture_output=True, text=True, check=True)
    assert "usage:" in done.stdout.lower()

"""`python -m advisor FILE`: the advisor as a program, with no gateway running.

Exit status: 0 advice was given, 1 something given is wrong and one line says what, 2 the command was wrong.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from adapters import bases, embedded
from adapters.bases import Base
from adapters.errors import GraftError
from advisor import advice, sizes, utility
from advisor.advice import Advice
from advisor.report import terminal, writing
from advisor.stated import FIELDS, Stated, parse


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="python -m advisor", description="Which method suits this data? An answer with its evidence.", allow_abbrev=False
    )
    made.add_argument("file", nargs="?", type=Path, help="JSONL (messages, or prompt and completion) or CSV")
    made.add_argument(
        "--docs", type=Path, help="a folder of documents (.md, .txt, .html, .pdf, .jsonl …) that the answers may stand in"
    )
    made.add_argument("--base", help=f"the base it is for: {', '.join(embedded.EMBEDDED)}, a folder, or a hub id")
    made.add_argument("--base-name", help="what the base is called where it is served (default: as given)")
    made.add_argument(
        "--cache", type=Path, default=Path("~/.cache/graft"), help="where prepared bases lie (default: %(default)s)"
    )
    made.add_argument("--shown-as", help="the file's name in errors and in the plan")
    made.add_argument(
        "--profile", default=utility.DEFAULT, help=f"what counts: {', '.join(utility.PROFILES)} (default: %(default)s)"
    )
    made.add_argument("--fits", action="store_true", help="which sizes of bases the machine can run and tune, and nothing else")
    made.add_argument("--json", action="store_true", help="print JSON")
    made.add_argument("--html", type=Path, metavar="FILE", help="write a report with charts, one file that needs no network")
    group = made.add_argument_group("what you know and the data cannot tell (each may be left out)")
    for name, field in FIELDS.items():
        flags = [f"--{word.replace('_', '-')}" for word in (field.short, name) if word]
        kind = field.unit.upper() or (field.kind.__name__.upper() if field.kind is not str else "WORD")
        group.add_argument(*flags, dest=name, metavar=kind, help=field.meaning.replace("%", "%%"))
    return made


def main(argv: Sequence[str] | None = None) -> int:
    arguments = parser().parse_args(argv)
    try:
        stated = parse({name: word for name in FIELDS if (word := getattr(arguments, name)) is not None})
        if arguments.fits:
            table = sizes.table(stated)
            _show(table.to_json() if arguments.json else None, lambda console: terminal.show_sizes(table, console))
            return 0
        made = _advice(arguments, stated)
        if arguments.html is not None:
            writing.write(made, arguments.html)
    except GraftError as error:
        if arguments.json:
            print(json.dumps({"error": {"message": error.message, "param": error.param, "code": error.code}}))
        print(f"advisor: {' '.join(error.message.split())}", file=sys.stderr)
        return 1
    _show(made.to_json() if arguments.json else None, lambda console: terminal.show(made, console))
    if arguments.html is not None:
        print(f"report written to {arguments.html}", file=sys.stderr)
    return 0


def _show(as_json: dict[str, Any] | None, tell: Any) -> None:
    if as_json is not None:
        print(json.dumps(as_json, ensure_ascii=False, indent=1 if sys.stdout.isatty() else None))
        return
    from rich.console import Console

    tell(Console())


def _advice(arguments: argparse.Namespace, stated: Stated) -> Advice:
    base: Base | None = None
    if arguments.base is not None:
        base = bases.locate(arguments.base, arguments.cache.expanduser(), name=arguments.base_name)
    name = None if base is None else arguments.base_name or arguments.base
    if arguments.file is None:
        facts = None if base is None else bases.facts(base.folder)
        return advice.from_numbers(stated, facts=facts, base_name=name, profile=arguments.profile)
    return advice.from_dataset(
        arguments.file, docs=arguments.docs, base_folder=None if base is None else base.folder, base_name=name,
        stated=stated, shown_as=arguments.shown_as, profile=arguments.profile,
    )  # fmt: skip


if __name__ == "__main__":
    # libraries of the encoder report progress and advice on stderr, where only our own line belongs
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    try:
        sys.exit(main())
    except BrokenPipeError:
        # the reader of a pipe (head, less) has left; Python would complain once more when it flushes at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

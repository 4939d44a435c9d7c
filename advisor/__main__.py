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

from adapters import bases, embedded
from adapters.errors import GraftError
from advisor import advice, report
from advisor.advice import Advice
from advisor.stated import FIELDS, parse


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="python -m advisor", description="Which method suits this data? An answer with its evidence."
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
    made.add_argument("--json", action="store_true", help="print JSON")
    group = made.add_argument_group("what you know and the data cannot tell (each may be left out)")
    for name, field in FIELDS.items():
        group.add_argument(
            f"--{name.replace('_', '-')}", metavar=field.unit.upper() or field.kind.__name__.upper(), help=field.meaning
        )
    return made


def main(argv: Sequence[str] | None = None) -> int:
    arguments = parser().parse_args(argv)
    try:
        made = _advice(arguments)
    except GraftError as error:
        if arguments.json:
            print(json.dumps({"error": {"message": error.message, "param": error.param, "code": error.code}}))
        print(f"advisor: {' '.join(error.message.split())}", file=sys.stderr)
        return 1
    if arguments.json:
        print(json.dumps(made.to_json(), ensure_ascii=False, indent=1 if sys.stdout.isatty() else None))
    else:
        from rich.console import Console

        report.show(made, Console())
    return 0


def _advice(arguments: argparse.Namespace) -> Advice:
    stated = parse({name: word for name in FIELDS if (word := getattr(arguments, name)) is not None})
    base = (
        None if arguments.base is None else bases.locate(arguments.base, arguments.cache.expanduser(), name=arguments.base_name)
    )
    name = None if base is None else arguments.base_name or arguments.base
    if arguments.file is None:
        return advice.from_numbers(stated, facts=None if base is None else bases.facts(base.folder), base_name=name)
    return advice.from_dataset(
        arguments.file, docs=arguments.docs, base_folder=None if base is None else base.folder, base_name=name,
        stated=stated, shown_as=arguments.shown_as,
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

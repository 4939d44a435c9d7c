"""The `graft` command: the table of verbs. Each verb is a file, imported when it is called, so help stays instant."""

from __future__ import annotations

import os
import sys

from cyclopts import App, CycloptsError

from adapters.errors import GraftError
from gateway.cli import terminal

app = App(
    name="graft",
    help="Prompt it, give it documents, clip weights onto it, or tune it whole? Graft measures, makes and serves the answer.",
    version_flags=["--version"],
    version="graft 0.1.0",
)
models = App(name="models", help="Adapted models: list, look at, move names between versions, remove.")
jobs = App(name="jobs", help="Work in the queue: list, look at, follow, cancel.")
prompts = App(name="prompts", help="Prompt files: store, compare, label, render, publish as adapted models.")
stores = App(name="stores", help="Documents that can be searched: make, fill, look at, search, remove.")

VERBS = {
    "serve": ("gateway.cli.serve:serve", "Serve base models and everything published, behind the OpenAI API."),
    "advise": ("gateway.cli.advise:advise", "Which method suits this data? An answer with its evidence."),
    "tune": ("gateway.cli.tune:tune", "Make an adapted model from a data file, score it, publish it if it is better."),
    "bakeoff": ("gateway.cli.bakeoff:bakeoff", "Play methods against each other on your rows; publish the winner."),
    "doctor": ("gateway.cli.doctor:doctor", "What this machine has and can do, what is wrong, and what memory is planned for."),
    "chat": ("gateway.cli.chat:chat", "Talk to a served model."),
    "tour": ("gateway.cli.tour:tour", "Play the whole job on a small example: advise, tune, publish, ask, compare."),
}
MODEL_VERBS = {
    "ls": ("gateway.cli.models:ls", "Every adapted model and where its name points."),
    "show": ("gateway.cli.models:show", "One version: base, adapter, prompt, lineage, scorecard."),
    "promote": ("gateway.cli.models:promote", "Point a name at a version (or publish a draft and point at it)."),
    "canary": ("gateway.cli.models:canary", "Give a version a share of a name's requests."),
    "rollback": ("gateway.cli.models:rollback", "Point a name back at the version it had before."),
    "import": ("gateway.cli.transfer:import_", "Bring in an adapter made elsewhere: a folder, an archive, hf:// or s3://."),
    "export": ("gateway.cli.transfer:export", "Write a plain PEFT folder, or a merged model."),
    "rm": ("gateway.cli.models:rm", "Remove a version, or a name with all its versions."),
}
JOB_VERBS = {
    "ls": ("gateway.cli.jobs:ls", "The newest jobs."),
    "show": ("gateway.cli.jobs:show", "One job: its course, its outcome, its events."),
    "logs": ("gateway.cli.jobs:logs", "What the job's process printed; -f tells what happens as it happens."),
    "wait": ("gateway.cli.jobs:wait", "Show progress until the job ends."),
    "pause": ("gateway.cli.jobs:pause", "Let a job wait, with its memory free."),
    "resume": ("gateway.cli.jobs:resume", "Put a paused job back into the queue."),
    "cancel": ("gateway.cli.jobs:cancel", "End a job that waits, runs or is paused."),
}
STORE_VERBS = {
    "ls": ("gateway.cli.stores:ls", "Every vector store."),
    "create": ("gateway.cli.stores:create", "Make a store; --docs puts a folder into it."),
    "add": ("gateway.cli.stores:add", "Put files and folders into a store."),
    "show": ("gateway.cli.stores:show", "One store, and which of its files could not be read."),
    "search": ("gateway.cli.stores:search", "What a store finds for a question, and by which ranking."),
    "rm": ("gateway.cli.stores:rm", "Remove a store."),
}
PROMPT_VERBS = {
    "ls": ("gateway.cli.prompts:ls", "Every stored prompt: its versions, its labels, what it asks for."),
    "show": ("gateway.cli.prompts:show", "One version of a prompt: the file, and where it stands."),
    "add": ("gateway.cli.prompts:add", "Store a prompt file as the next version of its name."),
    "diff": ("gateway.cli.prompts:diff", "What changed between two versions of a prompt."),
    "render": ("gateway.cli.rendering:render", "Show the messages, their tokens, and which examples were left out."),
    "fit": ("gateway.cli.prompt_fitting:fit", "Choose examples and words on validation rows, score and publish the prompt."),
    "promote": ("gateway.cli.prompts:promote", "Point a label at a version, or publish the prompt as an adapted model."),
}
GROUPS = ((app, VERBS), (models, MODEL_VERBS), (jobs, JOB_VERBS), (stores, STORE_VERBS), (prompts, PROMPT_VERBS))
for group, verbs in GROUPS:
    for verb, (place, sentence) in verbs.items():
        group.command(place, name=verb, help=sentence)
app.command(models)
app.command(jobs)
app.command(stores)
app.command(prompts)


def main() -> None:
    """Exit status: 0 done, 1 it failed and says why, 2 the command was wrong, 130 interrupted."""
    try:
        app(exit_on_error=False, result_action="return_value")
    except CycloptsError:
        sys.exit(2)  # cyclopts has printed what is wrong
    except GraftError as error:
        terminal.complain(error)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        # the reader of a pipe (head, less) has left; Python would complain once more when it flushes at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except OSError as error:  # a full disk, a folder we may not write: the system's word for it says enough
        terminal.complain(GraftError(f"{error.strerror or error}" + (f": {error.filename}" if error.filename else "")))
        sys.exit(1)


if __name__ == "__main__":
    main()

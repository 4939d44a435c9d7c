"""The fine-tuning API as the unmodified `openai` client uses it, sync and async, with every field, refusal and trap.

The gateway, the queue, the runner and its processes are real; what they run is a tuner that learns nothing, in seconds.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import openai
import pytest
from openai.types.fine_tuning import FineTuningJob

from tests.gateway.conftest import Gateway
from tests.gateway.quick_tuner import FAILING_SEED
from tests.gateway.tuning_home import ROWS, TuningHome
from tests.tiny import rows

SOON_S = 30.0
PAIRS = "".join(
    json.dumps({
        "input": {"messages": [{"role": "user", "content": q}]},
        "preferred_output": [{"role": "assistant", "content": a}],
        "non_preferred_output": [{"role": "assistant", "content": "no idea"}],
    }) + "\n"
    for q, a in rows(40)
).encode()  # fmt: skip
HELLO: Any = [{"role": "user", "content": "hello"}]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    tuning = TuningHome(tmp_path_factory.mktemp("fine-tuning"))
    tuning.home.publish("clipped", seed=9)
    with tuning.gateway() as gateway:
        runner = tuning.runner()
        yield gateway
        runner.terminate()
        runner.wait(30)


@pytest.fixture(scope="module")
def client(served: Gateway) -> openai.OpenAI:
    return served.openai()


@pytest.fixture(scope="module")
def file_id(client: openai.OpenAI) -> str:
    return client.files.create(file=("tickets.jsonl", ROWS), purpose="fine-tune").id


def until(client: openai.OpenAI, job: FineTuningJob, holds: Callable[[FineTuningJob], object]) -> FineTuningJob:
    deadline = time.monotonic() + SOON_S
    while not holds(job := client.fine_tuning.jobs.retrieve(job.id)):
        assert time.monotonic() < deadline, job
        assert job.status not in ("failed", "cancelled"), job.error
        time.sleep(0.05)  # the API has nothing to wait on; its callers poll
    return job


def ended(job: FineTuningJob) -> bool:
    return job.status == "succeeded"


@pytest.fixture(scope="module")
def done(client: openai.OpenAI, file_id: str) -> FineTuningJob:
    job = client.fine_tuning.jobs.create(
        model="tiny", training_file=file_id, suffix="Help Desk!", seed=8, metadata={"team": "support", "run": "1"},
        method={"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 4, "batch_size": "auto"}}},
    )  # fmt: skip
    assert (job.status, job.object, job.finished_at, job.fine_tuned_model) == ("queued", "fine_tuning.job", None, None)
    return until(client, job, ended)


def test_a_job_comes_back_with_every_auto_resolved(done: FineTuningJob, file_id: str) -> None:
    assert done.id.startswith("ftjob-")
    assert (done.model, done.training_file, done.validation_file, done.seed) == ("tiny", file_id, None, 8)
    assert (done.organization_id, done.metadata, done.error) == ("default", {"team": "support", "run": "1"}, None)
    assert done.hyperparameters.to_dict() == {"n_epochs": 4, "batch_size": 8, "learning_rate_multiplier": 1.0}
    assert done.method is not None
    assert done.method.supervised is not None
    assert done.method.supervised.hyperparameters is not None
    assert done.method.supervised.hyperparameters.n_epochs == 4
    assert done.trained_tokens == 40 * 50
    assert done.finished_at is not None
    assert done.finished_at >= done.created_at
    assert done.model_extra is not None
    assert done.model_extra["user_provided_suffix"] == "Help Desk!"
    assert done.model_extra["graft"]["recipe"]["epochs"] == 4


def test_the_model_has_the_services_name_and_answers_at_once(client: openai.OpenAI, done: FineTuningJob) -> None:
    assert done.fine_tuned_model == f"ft:tiny:default:help-desk:{done.id[-8:]}"
    assert client.chat.completions.create(model=done.fine_tuned_model, messages=HELLO).choices[0].message.content
    assert client.models.retrieve(done.fine_tuned_model).id == done.fine_tuned_model


def test_the_events_tell_what_happened_newest_first(client: openai.OpenAI, done: FineTuningJob) -> None:
    events = list(client.fine_tuning.jobs.list_events(done.id, limit=7))[::-1]
    said = [event.message for event in events]
    assert said[:4] == [
        f"Created fine-tuning job: {done.id}", f"Validating training file: {done.training_file}",
        "Files validated, moving job to queued state", "Fine-tuning job started",
    ]  # fmt: skip
    assert said[-2:] == [f"New fine-tuned model created: {done.fine_tuned_model}", "The job has successfully completed"]
    assert "Step 1/40: training loss=2.00" in said
    assert "Step 40/40: training loss=0.05, full validation loss=0.06" in said
    assert said.index("Step 40/40: training loss=0.05, full validation loss=0.06") < said.index("Checkpoint created at step 40")
    assert [event.created_at for event in events] == sorted(event.created_at for event in events)
    assert len({event.id for event in events}) == len(events), "pages neither overlap nor leave out"
    metrics = [event for event in events if event.type == "metrics"]
    assert metrics[0].data == {"step": 1, "total_steps": 40, "train_loss": 2.0}
    assert {event.level for event in events} == {"info"}


def test_the_last_epochs_are_checkpoints_that_answer(client: openai.OpenAI, done: FineTuningJob) -> None:
    page = client.fine_tuning.jobs.checkpoints.list(done.id, limit=2)
    assert [point.step_number for point in page.data] == [40, 30]
    assert page.has_more
    points = list(client.fine_tuning.jobs.checkpoints.list(done.id, limit=2))
    assert [point.step_number for point in points] == [40, 30, 20]
    assert points[0].metrics.full_valid_loss == pytest.approx(2.5 / 40)
    assert points[0].metrics.train_loss == pytest.approx(2.0 / 40)
    assert points[0].fine_tuning_job_id == done.id
    for point in points:
        assert point.fine_tuned_model_checkpoint == f"{done.fine_tuned_model}:ckpt-step-{point.step_number}"
        assert client.chat.completions.create(model=point.fine_tuned_model_checkpoint, messages=HELLO).choices


def test_the_result_file_is_a_table_of_the_steps(client: openai.OpenAI, done: FineTuningJob) -> None:
    (result,) = done.result_files
    assert client.files.retrieve(result).purpose == "fine-tune-results"
    table = client.files.content(result).text.splitlines()
    assert table[0] == "step,train_loss,train_accuracy,valid_loss,valid_mean_token_accuracy"
    assert len(table) == 41
    assert table[10] == "10,0.20000,,0.25000,"


def test_jobs_are_listed_newest_first_in_pages_and_by_metadata(client: openai.OpenAI, file_id: str, served: Gateway) -> None:
    jobs = client.fine_tuning.jobs
    made = [
        jobs.create(model="tiny", training_file=file_id, metadata=said, extra_body={"graft": {"epochs": 1}}).id
        for said in ({"batch": "a&b"}, {"batch": "a&b", "more": "x"}, {})
    ]
    assert [job.id for job in jobs.list(limit=2)][:3] == made[::-1]
    assert [job.id for job in jobs.list(metadata={"batch": "a&b"}, limit=1)] == made[1::-1]
    assert [job.id for job in jobs.list(metadata={"batch": "a&b", "more": "x"})] == [made[1]]
    unlabelled = [job.id for job in jobs.list(extra_query={"metadata": "null"})]
    assert made[2] in unlabelled
    assert made[0] not in unlabelled
    with served.http() as http:
        assert http.get("/v1/fine_tuning/jobs", params={"metadata[batch]": "z"}).json() == {
            "object": "list", "data": [], "has_more": False,
        }  # fmt: skip
    for job_id in made:
        until(client, jobs.retrieve(job_id), ended)


def test_what_is_not_there_is_a_404_with_the_services_words(client: openai.OpenAI, done: FineTuningJob) -> None:
    jobs = client.fine_tuning.jobs
    for ask in (
        lambda: jobs.retrieve("ftjob-nothing"), lambda: jobs.cancel("ftjob-nothing"), lambda: jobs.pause("ftjob-nothing"),
        lambda: jobs.list_events("ftjob-nothing"), lambda: jobs.checkpoints.list("ftjob-nothing"),
    ):  # fmt: skip
        with pytest.raises(openai.NotFoundError) as caught:
            ask()
        assert (caught.value.code, caught.value.param, caught.value.type) == (
            "fine_tune_not_found", "fine_tune_id", "invalid_request_error",
        )  # fmt: skip
        assert "Could not find fine tune: ftjob-nothing" in caught.value.message
        assert caught.value.request_id
    for ask in (
        lambda: jobs.list(after="ftjob-nothing"),
        lambda: jobs.list_events(done.id, after="ftevent-nothing"),
        lambda: jobs.checkpoints.list(done.id, after="ftckpt_nothing"),
    ):
        with pytest.raises(openai.NotFoundError) as caught:
            ask()
        assert caught.value.param == "after"


@pytest.mark.parametrize(
    ("wrong", "param"),
    [
        ({"model": "clipped"}, "model"),
        ({"training_file": "file-nothing"}, "training_file"),
        ({"validation_file": "file-nothing"}, "validation_file"),
        ({"suffix": "x" * 65}, "suffix"),
        ({"suffix": "!!!"}, "suffix"),
        ({"suffix": 7}, "suffix"),
        ({"seed": -1}, "seed"),
        ({"metadata": {str(n): "x" for n in range(17)}}, "metadata"),
        ({"hyperparameters": {"n_epochs": 51}}, "hyperparameters.n_epochs"),
        ({"hyperparameters": {"batch_size": 257}}, "hyperparameters.batch_size"),
        ({"hyperparameters": {"learning_rate_multiplier": 0}}, "hyperparameters.learning_rate_multiplier"),
        ({"hyperparameters": {"nonsense": 1}}, "hyperparameters.nonsense"),
        ({"integrations": [{"type": "wandb", "wandb": {"project": "x"}}]}, "integrations"),
        ({"method": {"type": "reinforcement", "reinforcement": {"grader": {}}}}, "method.type"),
        ({"method": {"type": "supervised", "dpo": {}}}, "method.dpo"),
        ({"method": {"type": "dpo", "dpo": {"hyperparameters": {"beta": 3}}}}, "method.dpo.hyperparameters.beta"),
        ({"method": {"type": "dpo"}}, "method.type"),
        ({"method": {"type": "supervised"}, "hyperparameters": {"n_epochs": 2}}, "hyperparameters"),
        ({"extra_body": {"graft": {"rang": 8}}}, "graft.rang"),
        ({"extra_body": {"graft": {"rank": 0}}}, "graft.rank"),
        ({"extra_body": {"graft": {"rank": "8"}}}, "graft.rank"),
        ({"extra_body": {"graft": {"method": "magic"}}}, "graft.method"),
        ({"extra_body": {"graft": {"publish": "maybe"}}}, "graft.publish"),
        ({"extra_body": {"graft": {"epochs": 2}}, "hyperparameters": {"n_epochs": 2}}, "hyperparameters.n_epochs"),
        ({"extra_body": {"surprise": 1}}, "surprise"),
    ],
)
def test_what_cannot_be_is_refused_by_its_name_and_leaves_nothing(
    client: openai.OpenAI, served: Gateway, file_id: str, wrong: dict[str, Any], param: str
) -> None:
    before = sorted(served.settings.runs.glob("*"))
    with pytest.raises(openai.BadRequestError) as caught:
        client.fine_tuning.jobs.create(**{"model": "tiny", "training_file": file_id} | wrong)
    assert caught.value.param == param, caught.value.message
    assert sorted(served.settings.runs.glob("*")) == before


def test_a_base_that_is_not_there_and_a_file_for_something_else(client: openai.OpenAI, file_id: str) -> None:
    with pytest.raises(openai.NotFoundError, match="bases that can be tuned: tiny") as caught:
        client.fine_tuning.jobs.create(model="gpt-4o", training_file=file_id)
    assert caught.value.code == "model_not_found"
    other = client.files.create(file=("a.txt", b"x"), purpose="assistants").id
    with pytest.raises(openai.BadRequestError, match="purpose fine-tune"):
        client.fine_tuning.jobs.create(model="tiny", training_file=other)
    few = client.files.create(file=("few.jsonl", b"".join(ROWS.splitlines(keepends=True)[:3])), purpose="fine-tune").id
    with pytest.raises(openai.BadRequestError, match="3 rows") as caught:
        client.fine_tuning.jobs.create(model="tiny", training_file=few)
    assert caught.value.param == "training_file"


def test_preferences_are_learned_by_dpo(client: openai.OpenAI, file_id: str) -> None:
    pairs = client.files.create(file=("pairs.jsonl", PAIRS), purpose="fine-tune").id
    job = client.fine_tuning.jobs.create(
        model="tiny", training_file=pairs,
        method={"type": "dpo", "dpo": {"hyperparameters": {"beta": 0.3, "n_epochs": 1, "learning_rate_multiplier": 2}}},
    )  # fmt: skip
    assert job.method is not None
    assert job.method.dpo is not None
    assert job.method.dpo.hyperparameters is not None
    assert job.method.dpo.hyperparameters.beta == 0.3
    assert job.hyperparameters.learning_rate_multiplier == 2
    recipe = (job.model_extra or {})["graft"]["recipe"]
    assert (recipe["objective"], recipe["beta"]) == ("dpo", 0.3)
    until(client, job, ended)


def test_grafts_own_knobs_go_into_the_recipe(client: openai.OpenAI, file_id: str) -> None:
    validation = client.files.create(file=("watch.jsonl", ROWS[: ROWS.index(b"\n") + 1] * 2), purpose="fine-tune").id
    job = client.fine_tuning.jobs.create(
        model="tiny", training_file=file_id, validation_file=validation, hyperparameters={"n_epochs": 1},
        extra_body={"graft": {"rank": 4, "learning_rate": 1e-4, "system": "Be brief.", "keep_checkpoints": 0}},
    )  # fmt: skip
    recipe = (job.model_extra or {})["graft"]["recipe"]
    assert (recipe["rank"], recipe["alpha"], recipe["learning_rate"], recipe["epochs"]) == (4, 8, 1e-4, 1)
    assert job.validation_file == validation
    job = until(client, job, ended)
    said = [event.message for event in client.fine_tuning.jobs.list_events(job.id)]
    assert f"Validating training file: {file_id} and validation file: {validation}" in said
    assert client.fine_tuning.jobs.checkpoints.list(job.id).data == []


def test_a_model_that_is_no_better_stays_a_draft_where_that_was_asked_for(client: openai.OpenAI, file_id: str) -> None:
    job = client.fine_tuning.jobs.create(
        model="tiny", training_file=file_id, seed=1, extra_body={"graft": {"publish": "better", "epochs": 1}}
    )
    job = until(client, job, ended)
    assert job.fine_tuned_model is None
    assert any("Kept as a draft" in event.message for event in client.fine_tuning.jobs.list_events(job.id))


def test_a_job_that_fails_says_why(client: openai.OpenAI, file_id: str) -> None:
    job = client.fine_tuning.jobs.create(model="tiny", training_file=file_id, seed=FAILING_SEED)
    deadline = time.monotonic() + SOON_S
    while (job := client.fine_tuning.jobs.retrieve(job.id)).status != "failed":
        assert time.monotonic() < deadline, job
        time.sleep(0.05)  # polled, as callers do
    assert job.error is not None
    assert (job.error.code, job.error.message, job.error.param) == ("will_not_fit", "too big", "rank")
    assert job.fine_tuned_model is None
    newest = client.fine_tuning.jobs.list_events(job.id, limit=1).data[0]
    assert (newest.level, newest.message) == ("error", "The job failed: too big")


def long_job(client: openai.OpenAI, file_id: str) -> FineTuningJob:
    return client.fine_tuning.jobs.create(model="tiny", training_file=file_id, hyperparameters={"n_epochs": 50})


def progress(job: FineTuningJob) -> int:
    told = (job.model_extra or {})["graft"]["progress"]
    return int(told["step"]) if told else 0


def test_a_running_job_tells_how_far_it_is_and_when_it_will_end_and_can_be_cancelled(
    client: openai.OpenAI, file_id: str
) -> None:
    job = until(client, long_job(client, file_id), progress)
    assert job.status == "running"
    assert job.estimated_finish is not None
    assert job.estimated_finish >= job.created_at
    asked = time.monotonic()
    assert client.fine_tuning.jobs.cancel(job.id).status == "cancelled"
    assert time.monotonic() - asked < 10
    assert client.fine_tuning.jobs.list_events(job.id, limit=1).data[0].message == "The job was cancelled"


def test_cancelling_what_has_ended_is_refused_once_and_not_tried_again(served: Gateway, done: FineTuningJob) -> None:
    asked: list[httpx.Request] = []
    http = served.http()
    http.event_hooks["request"].append(asked.append)
    eager = openai.OpenAI(api_key="any", base_url="http://gateway/v1", http_client=http, max_retries=2)
    for wish in (eager.fine_tuning.jobs.cancel, eager.fine_tuning.jobs.pause, eager.fine_tuning.jobs.resume):
        asked.clear()
        with pytest.raises(openai.BadRequestError, match=r"ended already \(succeeded\)"):
            wish(done.id)
        assert len(asked) == 1


def test_a_paused_job_keeps_its_steps_and_goes_on_when_resumed(client: openai.OpenAI, file_id: str) -> None:
    job = until(client, long_job(client, file_id), lambda job: progress(job) > 3)
    assert client.fine_tuning.jobs.pause(job.id).status == "paused"
    assert client.fine_tuning.jobs.pause(job.id).status == "paused", "paused twice is paused"
    before = next(event.data for event in client.fine_tuning.jobs.list_events(job.id) if event.type == "metrics")
    assert isinstance(before, dict)
    assert client.fine_tuning.jobs.resume(job.id).status in ("queued", "running")
    until(client, job, lambda job: progress(job) > before["step"])
    steps = [
        event.data["step"] for event in client.fine_tuning.jobs.list_events(job.id, limit=100)
        if event.type == "metrics" and isinstance(event.data, dict) and "full_valid_loss" not in event.data
    ]  # fmt: skip
    assert steps == sorted(set(steps), reverse=True), "no step was taken twice"
    assert client.fine_tuning.jobs.cancel(job.id).status == "cancelled"


def test_a_request_sent_again_makes_no_second_job(client: openai.OpenAI, file_id: str) -> None:
    def create(retries: int, **more: Any) -> str:
        return client.fine_tuning.jobs.create(
            model="tiny", training_file=file_id, hyperparameters={"n_epochs": 1}, suffix="twice", **more,
            extra_headers={"x-stainless-retry-count": str(retries)},
        ).id  # fmt: skip

    with ThreadPoolExecutor(2) as callers:
        first, again = callers.submit(create, 0), None
        again = callers.submit(create, 1)
        made = {first.result(), again.result()}
    made |= {create(2)}
    assert (
        len({job.id for job in client.fine_tuning.jobs.list() if (job.model_extra or {})["user_provided_suffix"] == "twice"})
        <= 2
    )
    assert create(1) in made
    assert create(1, seed=4) not in made, "another body is another request"
    assert create(0) not in made, "a first try is meant"


def test_a_deleted_model_answers_no_more(client: openai.OpenAI, file_id: str) -> None:
    job = client.fine_tuning.jobs.create(
        model="tiny", training_file=file_id, hyperparameters={"n_epochs": 1}, extra_body={"graft": {"keep_checkpoints": 0}}
    )
    name = until(client, job, ended).fine_tuned_model
    assert name is not None
    gone = client.models.delete(name)
    assert (gone.id, gone.deleted, gone.object) == (name, True, "model")
    for ask in (
        lambda: client.chat.completions.create(model=name, messages=HELLO),
        lambda: client.models.retrieve(name),
        lambda: client.models.delete(name),
    ):
        with pytest.raises(openai.NotFoundError) as caught:
            ask()
        assert caught.value.code == "model_not_found"
    with pytest.raises(openai.BadRequestError, match="is a base"):
        client.models.delete("tiny")


def test_the_async_client_does_the_same(served: Gateway, file_id: str) -> None:
    async def play() -> None:
        client = served.async_openai()
        job = await client.fine_tuning.jobs.create(model="tiny", training_file=file_id, hyperparameters={"n_epochs": 1})
        await asyncio.to_thread(told, served, job.id)  # the stream ends with the job
        job = await client.fine_tuning.jobs.retrieve(job.id)
        assert [event.message async for event in client.fine_tuning.jobs.list_events(job.id, limit=5)]
        assert job.fine_tuned_model is not None
        assert (await client.chat.completions.create(model=job.fine_tuned_model, messages=HELLO)).choices
        raw = await client.fine_tuning.jobs.with_raw_response.retrieve(job.id)
        assert raw.headers["x-request-id"]
        assert raw.parse().id == job.id

    asyncio.run(play())


def told(served: Gateway, job_id: str, after: str | None = None) -> list[tuple[str, dict[str, Any]]]:
    """(id, data) of every event of the stream, which ends when the job has."""
    headers = {"last-event-id": after} if after else {}
    with served.http() as http, http.stream("GET", f"/v1/graft/jobs/{job_id}/events", headers=headers) as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        blocks = "".join(stream.iter_text()).strip().split("\n\n")
    lines = [block.split("\n") for block in blocks if not block.startswith(":")]
    return [(place.removeprefix("id: "), json.loads(data.removeprefix("data: "))) for place, data in lines]


def test_the_stream_tells_everything_as_it_comes_and_can_be_taken_up_again(
    client: openai.OpenAI, served: Gateway, file_id: str
) -> None:
    job = client.fine_tuning.jobs.create(model="tiny", training_file=file_id, hyperparameters={"n_epochs": 2})
    heard = told(served, job.id)
    said = [data for _, data in heard]
    assert [data["step"] for data in said if data["event"] == "step"] == list(range(1, 21))
    assert next(data["message"] for data in said if data["event"] == "job") == "accepted"
    assert (said[-1]["event"], said[-1]["state"]) == ("end", "succeeded")
    middle = len(heard) // 2
    assert told(served, job.id, after=heard[middle][0]) == heard[middle + 1 :]
    with served.http() as http:
        assert http.get("/v1/graft/jobs/nothing/events").status_code == 404
        assert http.get(f"/v1/graft/jobs/{job.id}/events", headers={"last-event-id": "x"}).status_code == 400


def test_the_command_line_sees_the_same_jobs(served: Gateway, done: FineTuningJob) -> None:
    environment = os.environ | {"GRAFT_STORAGE_HOME": str(served.home.path)}
    argv = [sys.executable, "-m", "gateway.cli.main", "jobs", "logs", "-f", done.id]
    said = subprocess.run(argv, env=environment, capture_output=True, text=True, check=True).stdout
    assert "100%  step 40/40, epoch 4  loss 0.050  2500 tokens/s  0 s left" in said
    assert "validation loss 0.062 after epoch 4" in said
    assert said.splitlines()[-1].endswith("job: succeeded")


def test_a_file_that_expires_is_gone_for_every_route(client: openai.OpenAI, served: Gateway) -> None:
    sent = client.files.create(
        file=("short.jsonl", ROWS), purpose="fine-tune", expires_after={"anchor": "created_at", "seconds": 3600}
    )
    assert sent.expires_at == sent.created_at + 3600
    assert client.files.wait_for_processing(sent.id).status == "processed"
    card = served.settings.files / sent.id / "file.json"
    card.write_text(json.dumps(json.loads(card.read_text()) | {"expires_at": int(time.time()) - 1}))
    for ask in (lambda: client.files.retrieve(sent.id), lambda: client.files.content(sent.id)):
        with pytest.raises(openai.NotFoundError):
            ask()
    assert sent.id not in [file.id for file in client.files.list()]
    with pytest.raises(openai.BadRequestError, match="No such File object"):
        client.fine_tuning.jobs.create(model="tiny", training_file=sent.id)

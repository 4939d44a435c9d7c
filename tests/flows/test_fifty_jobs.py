"""Fifty jobs while gateway, runner and tuner are killed at random: every accepted job ends once, its events in order.

Everything is real but what the jobs run, which learns nothing, and the engine, which is the stub.
"""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from gateway.jobs.history import history
from gateway.jobs.job import FINAL
from gateway.jobs.metrics import by_step, read
from gateway.jobs.store import JobStore
from tests.flows.serving import processes_matching, wait_gone
from tests.gateway.tuning_home import ROWS, TuningHome

JOBS, KILLS, CANCELLED = 50, 30, 5
PATIENCE_S = 540.0
HELLO: Any = [{"role": "user", "content": "hello"}]


class Chaos:
    """Keeps a gateway and a runner going, and kills them and what they run."""

    def __init__(self, tuning: TuningHome, started: ExitStack) -> None:
        self.tuning, self.started, self.dice = tuning, started, random.Random(4)
        self.killed = {"gateway": 0, "runner": 0, "tuner": 0}
        self.tuners: list[int] = []
        self.gateway = started.enter_context(tuning.gateway())
        self.runner = tuning.runner()
        started.callback(self._end_runner)

    def strike(self) -> None:
        victim = self.dice.choice(list(self.killed))
        if victim == "gateway":
            os.kill(self.gateway.process.pid, signal.SIGKILL)
            self.gateway.process.wait()
            self.gateway.socket.unlink()  # what is killed leaves it, and granian does not listen where a file lies
            self.gateway = self.started.enter_context(self.tuning.gateway())
        elif victim == "runner":
            self.tuners += processes_matching("quick_tuner run ", self.runner.pid)
            self.runner.kill()
            self.runner.wait()
            self.runner = self.tuning.runner()
        else:
            tuners = processes_matching("quick_tuner run ", self.runner.pid)
            if not tuners:
                return
            os.kill(tuners[0], signal.SIGKILL)
            self.tuners.append(tuners[0])
        self.killed[victim] += 1

    def _end_runner(self) -> None:
        self.runner.terminate()
        self.runner.wait(60)


def client_of(tuning: TuningHome) -> openai.OpenAI:
    """As an application has it: it tries again when the gateway is away, and says so."""
    transport = httpx.HTTPTransport(uds=str(tuning.home.path / "g.sock"), retries=3)
    http = httpx.Client(transport=transport, base_url="http://gateway", timeout=30)
    return openai.OpenAI(api_key="any", base_url="http://gateway/v1", http_client=http, max_retries=20)


def accept(tuning: TuningHome, file_id: str, accepted: list[str]) -> None:
    client, dice = client_of(tuning), random.Random(5)
    for seed in range(JOBS):
        job = client.fine_tuning.jobs.create(
            model="tiny", training_file=file_id, seed=2 * seed, hyperparameters={"n_epochs": 1},
            extra_body={"graft": {"keep_checkpoints": 0}},
        )  # fmt: skip
        accepted.append(job.id)
        if seed % (JOBS // CANCELLED) == 3:
            with suppress(openai.BadRequestError):  # it has ended already
                client.fine_tuning.jobs.cancel(dice.choice(accepted[-5:]))


@pytest.mark.timeout(900)
def test_every_accepted_job_ends_in_one_state_whatever_is_killed(tmp_path: Path) -> None:
    tuning = TuningHome(tmp_path, GRAFT_JOBS_LEASE_S="2", GRAFT_JOBS_ATTEMPTS="100")
    accepted: list[str] = []
    with ExitStack() as started:
        chaos = Chaos(tuning, started)
        file_id = client_of(tuning).files.create(file=("rows.jsonl", ROWS), purpose="fine-tune").id
        accepting = threading.Thread(target=accept, args=(tuning, file_id, accepted))
        accepting.start()
        queue = JobStore(tuning.home.names.database)
        deadline = time.monotonic() + PATIENCE_S
        while accepting.is_alive() or any(not queue.get(job_id).is_final for job_id in accepted):
            assert time.monotonic() < deadline, {job_id: queue.get(job_id).state for job_id in accepted}
            time.sleep(chaos.dice.uniform(0.2, 2.0))  # when a blow falls is the chaos
            if sum(chaos.killed.values()) < KILLS:
                chaos.strike()
        assert len(set(accepted)) == JOBS
        assert min(chaos.killed.values()) > 0, chaos.killed
        chaos.gateway.wait_ready()

        assert {job.id for job in queue.newest(10 * JOBS)} == set(accepted), "a request sent again made no second job"
        states = [check(queue, job_id) for job_id in accepted]
        assert states.count("succeeded") >= JOBS - CANCELLED
        assert "failed" not in states
        client = chaos.gateway.openai()
        for job_id in accepted[:: JOBS // 10]:
            job = client.fine_tuning.jobs.retrieve(job_id)
            if job.status == "succeeded":
                assert job.fine_tuned_model is not None
                assert client.chat.completions.create(model=job.fine_tuned_model, messages=HELLO).choices
    wait_gone(*chaos.tuners)


def check(queue: JobStore, job_id: str) -> str:
    """Its one final state, after looking at all that happened to it."""
    job, events = queue.get(job_id), queue.events(job_id)
    ends = [event.message for event in events if event.message.partition(":")[0] in FINAL]
    assert ends == [events[-1].message], f"{job_id}: one end, and nothing after it"
    assert events[-1].message.startswith(job.state)
    assert [event.id for event in events] == sorted({event.id for event in events})
    run = read(Path(job.payload["run"]))
    told = history(job, events, run)
    assert [happening.at for happening in told] == sorted(happening.at for happening in told)
    assert len({happening.id for happening in told}) == len(told)
    if job.state == "succeeded":
        assert list(by_step(run)) == list(range(1, 11)), f"{job_id}: every step is told"
    return job.state

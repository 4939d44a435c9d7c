"""An accepted job ends in exactly one final state, whoever is killed, and two runners never own it."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from adapters.errors import Conflict, NotFound
from gateway.db.database import open_database
from gateway.jobs.job import FINAL, Job, LeaseLost
from gateway.jobs.store import JobStore


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(tmp_path: Path, clock: Clock) -> JobStore:
    return JobStore(open_database(f"sqlite:///{tmp_path}/graft.db"), clock=clock)


def claim(store: JobStore, owner: str = "a") -> Job | None:
    return store.claim(owner, lease_s=30, attempts=3)


def test_jobs_are_done_in_the_order_they_came(store: JobStore, clock: Clock) -> None:
    submitted = []
    for _ in range(3):
        clock.now += 1
        submitted.append(store.submit("tune", {}).id)
    claimed = [claim(store) for _ in range(3)]
    assert [job.id for job in claimed if job] == submitted
    assert claim(store) is None


def test_a_lease_that_ran_out_is_taken_over_and_the_first_owner_is_fenced_off(store: JobStore, clock: Clock) -> None:
    store.submit("tune", {})
    first = claim(store, "a")
    assert first is not None
    clock.now += 29
    assert claim(store, "b") is None
    clock.now += 2
    second = claim(store, "b")
    assert second is not None
    assert (second.id, second.attempt) == (first.id, 2)
    for late in (
        lambda: store.renew(first, lease_s=30),
        lambda: store.finish(first, "succeeded"),
        lambda: store.requeue(first, "x"),
    ):
        with pytest.raises(LeaseLost):
            late()
    store.finish(second, "succeeded", result={"n": 1})
    with pytest.raises(LeaseLost):
        store.finish(second, "failed")
    assert store.get(first.id).result == {"n": 1}


def test_a_job_that_dies_every_time_fails_with_the_reason(store: JobStore) -> None:
    job_id = store.submit("tune", {}).id
    for _ in range(3):
        job = claim(store)
        assert job is not None
        store.requeue(job, "its process was killed")
    assert claim(store) is None
    ended = store.get(job_id)
    assert ended.state == "failed"
    assert ended.error is not None
    assert "died 3 times" in ended.error["message"]


def test_a_runner_that_was_asked_to_stop_costs_the_job_no_attempt(store: JobStore) -> None:
    job_id = store.submit("tune", {}).id
    for _ in range(5):
        job = claim(store)
        assert job is not None
        store.requeue(job, "its runner was asked to stop", count=False)
    assert store.get(job_id).state == "queued"


def test_cancelling_ends_a_waiting_job_at_once_and_tells_a_running_one(store: JobStore) -> None:
    waiting, running = store.submit("tune", {}).id, None
    assert store.cancel(waiting).state == "cancelled"
    with pytest.raises(Conflict, match="ended already"):
        store.cancel(waiting)
    store.submit("tune", {})
    running = claim(store)
    assert running is not None
    assert store.cancel(running.id).state == "running"
    assert store.renew(running, lease_s=30).cancel_requested


def test_a_cancelled_job_whose_runner_died_is_not_started_again(store: JobStore, clock: Clock) -> None:
    store.submit("tune", {})
    job = claim(store)
    assert job is not None
    store.cancel(job.id)
    clock.now += 60
    assert claim(store, "b") is None
    assert store.get(job.id).state == "cancelled"


def test_an_unknown_job_says_where_to_look(store: JobStore) -> None:
    with pytest.raises(NotFound, match="graft jobs ls"):
        store.get("job-nothing")


class Queue(RuleBasedStateMachine):
    """Two runners, a clock and a person who cancels, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.clock = Clock()
        self.store = JobStore(open_database(f"sqlite:///{self.folder.name}/graft.db"), clock=self.clock)
        self.held: dict[str, Job] = {}
        self.ended: dict[str, str] = {}

    def teardown(self) -> None:
        self.folder.cleanup()

    @rule()
    def submit(self) -> None:
        self.clock.now += 1
        self.store.submit("tune", {})

    @rule(owner=st.sampled_from("ab"))
    def claim(self, owner: str) -> None:
        job = self.store.claim(owner, lease_s=30, attempts=3)
        if job is not None:
            self.held[owner] = job

    @rule(owner=st.sampled_from("ab"), how=st.sampled_from(["succeeded", "failed", "requeue", "renew"]))
    def act(self, owner: str, how: str) -> None:
        job = self.held.get(owner)
        if job is None:
            return
        current = self.store.get(job.id)
        mine = current.state == "running" and current.fence == job.fence
        try:
            if how == "requeue":
                self.store.requeue(job, "x")
            elif how == "renew":
                self.store.renew(job, lease_s=30)
            else:
                self.store.finish(job, how)
        except LeaseLost:
            assert not mine
        else:
            assert mine

    @rule(seconds=st.sampled_from([1, 31]))
    def time_passes(self, seconds: int) -> None:
        self.clock.now += seconds

    @precondition(lambda self: self.store.newest(1))
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        job = data.draw(st.sampled_from(sorted(self.store.newest(), key=lambda job: job.created_at)))
        if not job.is_final:
            self.store.cancel(job.id)

    @invariant()
    def final_is_final(self) -> None:
        for job in self.store.newest():
            if job.id in self.ended:
                assert job.state == self.ended[job.id]
            elif job.is_final:
                self.ended[job.id] = job.state

    @invariant()
    def events_tell_one_end_at_most(self) -> None:
        for job in self.store.newest():
            ends = [event for event in self.store.events(job.id) if event.message.split(":")[0] in FINAL]
            assert len(ends) == int(job.is_final)


Queue.TestCase.settings = hypothesis_settings(max_examples=25, stateful_step_count=25, deadline=None)
TestQueue = Queue.TestCase

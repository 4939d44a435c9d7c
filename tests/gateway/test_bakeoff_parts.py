"""The parts of a bake-off one by one: rows as files, cells as files, asking with patience, what is told and shown."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from adapters.conversation import Example, Message
from adapters.data.dataset import dataset, open_dataset
from adapters.errors import InvalidInput, NotFound, Unavailable
from adapters.folders import REMOVED
from adapters.registry import Registry
from adapters.tuning.progress import Progress
from advisor.bakeoff.contract import Arm, Cell, Left, Outcome, Plan, Unplayable
from advisor.verdict import Played, verdict
from gateway import settings
from gateway.bakeoff import asking, cells
from gateway.bakeoff.asking import Asker, Said
from gateway.bakeoff.naming import THROWAWAY, throwaway
from gateway.bakeoff.ordering import Order, seconds_of, submit
from gateway.bakeoff.preparing import measured
from gateway.bakeoff.request import REQUEST, RESULT, write_rows
from gateway.bakeoff.telling import Telling
from gateway.bakeoff.tidying import KEPT_DAYS, tidy
from gateway.cli.bakeoff_table import print_outcome
from gateway.cli.course import how_far
from gateway.db.database import open_database
from gateway.db.names import Names
from gateway.db.stores import StoreRows
from gateway.jobs.metrics import read
from gateway.jobs.store import JobStore
from gateway.stores.filling import filled_from
from gateway.stores.library import TENANT
from tests.tiny import rows, tiny_llama

ROW = Example((Message("user", "where is my parcel?"), Message("assistant", "shipping")), 1, (1,))


def test_rows_written_are_the_same_rows_read(tmp_path: Path) -> None:
    tool = {"type": "function", "function": {"name": "find"}}
    call = {"id": "1", "type": "function", "function": {"name": "find", "arguments": "{}"}}
    talk = (
        Message("system", "Be brief."), Message("user", "hello\u2028there"), Message("assistant", "hi"),
        Message("user", "find it"), Message("assistant", "", (call,)),
    )  # fmt: skip
    written = [ROW, Example(talk, 2, (4,), (tool,))]
    write_rows(tmp_path / "rows.jsonl", written)
    found = open_dataset(tmp_path / "rows.jsonl")
    assert found.examples == tuple(written)
    assert found.fingerprint == dataset(written).fingerprint


def test_cells_are_kept_in_order_and_those_known_from_before_cost_nothing(tmp_path: Path) -> None:
    some = [Cell("head", rows, 0, (1.0, 0.0), 2.0, 1.0, 30.0, 3.0, -0.5, "there") for rows in (10, 20, 30)]
    for number, cell in enumerate(some):
        cells.keep(tmp_path, number, cell)
    assert cells.known(tmp_path) == some
    place = cells.place(tmp_path, {"recipe": {"method": "head"}, "rows": "a"})
    assert cells.played(place) is None
    cells.keep_played(place, some[0])
    again = cells.place(tmp_path, {"rows": "a", "recipe": {"method": "head"}})
    found = cells.played(again)
    assert found is not None
    assert (found.values, found.making_s, found.spent_s) == ((1.0, 0.0), 2.0, 0.0)
    assert cells.place(tmp_path, {"recipe": {"method": "head"}, "rows": "b"}) != place


def test_a_throwaway_name_is_known_by_its_form_whatever_the_arm() -> None:
    for arm in ("rag+lora", "knn_few_shot"):
        assert THROWAWAY.fullmatch(throwaway("job-0123456789ab", arm, 64, 2))
    assert THROWAWAY.fullmatch("bakeoff:mine") is None


@pytest.mark.parametrize(("written", "seconds"), [("90s", 90), ("15m", 900), ("1.5h", 5400), ("45", 45), (" 2 M ", 120)])
def test_a_budget_is_a_number_with_its_unit(written: str, seconds: float) -> None:
    assert seconds_of(written) == seconds


@pytest.mark.parametrize("written", ["", "soon", "15min", "-3m"])
def test_what_is_no_time_is_refused(written: str) -> None:
    with pytest.raises(InvalidInput, match="90s, 15m or 1h"):
        seconds_of(written)


def ask(answer: Callable[[dict[str, Any], int], web.Response], rows: list[Example]) -> tuple[list[Said], list[dict[str, Any]]]:
    """What an asker gets from a server that answers so: a body, and how often it was sent, to a response."""
    seen: list[dict[str, Any]] = []

    async def handle(request: web.Request) -> web.Response:
        seen.append(await request.json() | {"key": request.headers["authorization"]})
        return answer(seen[-1], len(seen))

    async def play() -> list[Said]:
        app = web.Application()
        app.add_routes([web.post("/v1/chat/completions", handle)])
        server = web.AppRunner(app)
        await server.setup()
        site = web.TCPSite(server, "127.0.0.1", 0)
        await site.start()
        port = server.addresses[0][1]
        try:
            return await Asker(f"http://127.0.0.1:{port}", "secret").ask("desk", rows, 7)
        finally:
            await server.cleanup()

    return asyncio.run(play()), seen


def said(text: str) -> web.Response:
    return web.json_response({"choices": [{"message": {"content": text}}], "usage": {"prompt_tokens": 12}})


def refused(status: int, message: str = "no") -> web.Response:
    return web.json_response({"error": {"message": message}}, status=status, headers={"retry-after": "0"})


def test_rows_are_asked_by_name_with_the_key_and_answers_come_in_their_order() -> None:
    other = Example((Message("user", "second"), Message("assistant", "x")), 2, (1,))
    found, seen = ask(lambda body, _: said(body["messages"][0]["content"]), [ROW, other])
    assert [one.text for one in found] == ["where is my parcel?", "second"]
    assert {(body["model"], body["max_tokens"], body["temperature"], body["key"]) for body in seen} == {
        ("desk", 7, 0, "Bearer secret")
    }
    assert found[0].prompt_tokens == 12


@pytest.mark.parametrize("status", [429, 503, 404])
def test_a_name_not_heard_of_yet_and_an_engine_that_is_busy_are_asked_again(status: int) -> None:
    found, seen = ask(lambda _, times: refused(status) if times == 1 else said("shipping"), [ROW])
    assert [one.text for one in found] == ["shipping"]
    assert len(seen) == 2


def test_a_row_that_is_refused_counts_as_not_answered_and_all_refused_make_the_arm_unplayable() -> None:
    other = Example((Message("user", "second"), Message("assistant", "x")), 2, (1,))
    found, _ = ask(lambda body, _: refused(400, "too long") if "second" in str(body) else said("shipping"), [ROW, other])
    assert [(one.text, one.error) for one in found] == [("shipping", ""), ("", "too long")]
    with pytest.raises(Unplayable, match="it gave no answer: too long"):
        ask(lambda *_: refused(400, "too long"), [ROW])


def test_where_no_gateway_answers_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(asking.PATIENCE_S, 0, 0.0)
    with pytest.raises(Unavailable, match="graft serve"):
        asyncio.run(Asker("http://127.0.0.1:9", "").ask("desk", [ROW], 7))


def test_evidence_that_was_computed_of_a_method_is_not_taken_for_measured() -> None:
    raw = [
        {"name": name, "value": value, "unit": "", "how": "x", "n": 3, "interval": [0.1, 0.2]}
        for name, value in (
            ("rows", 60),
            ("quality.head", 0.7),
            ("score.rag+lora", 0.5),
            ("zero_shot_score", 0.2),
            ("gap", None),
        )
    ]
    assert [(one.name, one.interval) for one in measured(raw)] == [("rows", (0.1, 0.2)), ("zero_shot_score", (0.1, 0.2))]


def test_the_course_tells_arm_rung_and_share(tmp_path: Path) -> None:
    arms = [Arm("zero_shot", asking_s=5.0), Arm("lora", "tuning", making_s=90.0, asking_s=5.0)]
    telling = Telling(Progress(tmp_path), arms, Plan(128, (32, 64, 128)), ())
    telling.begin(arms[0], 128, 0, 5.0)
    telling.stage("asking", {})
    telling.end(Cell("zero_shot", 128, 0, (1.0, 0.0), spent_s=4.0))
    telling.begin(arms[1], 32, 0, 30.0)
    telling.stage("making", {"event": "step", "step": 3, "steps": 9})
    told = read(tmp_path)
    assert [(one["arm"], one["rows"], one["stage"]) for one in told] == [
        ("zero_shot", 128, "asking"), ("zero_shot", 128, "ended"), ("lora", 32, "making"),
    ]  # fmt: skip
    shares = [one["share"] for one in told]
    assert shares == sorted(shares)
    assert 0 < shares[-1] < 0.3
    assert how_far(told).endswith("lora, 32 rows: making, step 3/9")
    telling.end(Cell("lora", 32, 0, failure="it does not fit"))
    assert how_far(read(tmp_path)).endswith("not played: it does not fit")


def test_the_table_shows_every_arm_what_happened_to_it_and_the_verdict(capsys: pytest.CaptureFixture[str]) -> None:
    played = {"zero_shot": (0.0,) * 40, "head": (1.0,) * 39 + (0.0,)}
    some = tuple(Cell(arm, 64, 0, values, 20.0, 4.0, 31.0, 24.0) for arm, values in played.items())
    outcome = Outcome(
        Plan(64, (64,)), ("zero_shot", "head", "full"), some, (Left("full", "not begun", 0, "it costs more than it may gain"),),
        verdict({arm: Played(values, 0.1) for arm, values in played.items()}), {"zero_shot": 0.0, "head": 0.1, "full": 0.4},
    )  # fmt: skip
    result = json.loads(json.dumps({"bakeoff": outcome.to_json(), "metric": "exact_match", "frozen": 40}))
    print_outcome(result)
    shown = " ".join(capsys.readouterr().out.split())
    assert "0.975" in shown
    assert "full was not begun: it costs more than it may gain" in shown
    assert "head wins: head is better than every other, by 40 rows." in shown
    assert "40 rows were asked; 48 s were spent" in shown


def test_what_a_bake_off_without_a_winner_leaves_is_taken_away(tmp_path: Path) -> None:
    """Its store, with what was uploaded for it; one that is still wanted, or that somebody won with, stays."""
    found = settings.load(overrides={"storage_home": str(tmp_path / "home")})
    names = Names(open_database(found.database_url), Registry(found.models))
    jobs = JobStore(names.database)
    folder, data = tmp_path / "docs", tmp_path / "rows.jsonl"
    folder.mkdir()
    (folder / "hours.txt").write_text("We open at nine.")
    data.write_text("".join(json.dumps({"prompt": q, "completion": a}) + "\n" for q, a in rows(40)))
    base = tiny_llama(tmp_path / "tiny")
    stores: dict[str, str] = {}
    for name in ("cancelled", "waiting", "won"):
        filled = filled_from(found, name, folder)
        job = submit(found, jobs, Order(data=data, name=name, base="smollm2", base_folder=base, documents=filled))
        stores[name] = filled.store
        if name == "won":
            (found.runs / job.id / RESULT).write_text("{}")
        if name != "waiting":
            jobs.cancel(job.id)
    damaged = submit(found, jobs, Order(data=data, name="damaged", base="smollm2", base_folder=base, documents=filled))
    (found.runs / damaged.id / REQUEST).write_text("{")
    jobs.cancel(damaged.id)
    for _ in range(2):
        tidy(found, names)
    kept = StoreRows(names.database)
    with pytest.raises(NotFound):
        kept.get(TENANT, stores["cancelled"])
    assert [kept.get(TENANT, stores[name]).id for name in ("waiting", "won")] == [stores["waiting"], stores["won"]]


def test_what_was_played_is_kept_for_a_month_after_it_was_last_asked_for(tmp_path: Path) -> None:
    found = settings.load(overrides={"storage_home": str(tmp_path)})
    names = Names(open_database(found.database_url), Registry(found.models))
    old, used = (cells.place(tmp_path, {"rows": rows}) for rows in ("old", "used"))
    month_ago = time.time() - (KEPT_DAYS + 1) * 86_400
    for place in (old, used):
        cells.keep_played(place, Cell("head", 10, 0, (1.0,), 2.0, 1.0, 30.0, 3.0, None, str(place)))
        os.utime(place, (month_ago, month_ago))
    assert cells.place(tmp_path, {"rows": "used"}) == used
    left = tmp_path / "bakeoffs" / f"{REMOVED}half"  # by one that was killed while it deleted
    left.mkdir()
    tidy(found, names)
    assert list((tmp_path / "bakeoffs").iterdir()) == [used]

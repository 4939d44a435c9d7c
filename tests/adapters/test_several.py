"""Several processes train as one does: the same losses, one end, a kill that loses nothing and leaves nothing behind."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from adapters.__main__ import TRY_AGAIN
from adapters.errors import InvalidInput
from adapters.prompts import PromptTemplate
from adapters.registry import WEIGHTS
from adapters.tuning import run, several
from adapters.tuning.making import ADAPTER, BEST_STEP, place
from adapters.tuning.memory import estimate
from adapters.tuning.progress import METRICS_FILE
from adapters.tuning.ranks import Ranks
from adapters.tuning.recipe import Recipe
from adapters.tuning.request import RunRequest, create
from adapters.tuning.several import ONE, Processes, check_devices, learn, together, used
from adapters.tuning.shapes import typical_shape
from tests import tiny as small
from tests.adapters import learner

LORA = {"method": "lora", "epochs": 2, "learning_rate": 0.01, "rank": 4, "alpha": 8, "batch_size": 8, "micro_batch_size": 3}
FULL = {"method": "full", "epochs": 2, "learning_rate": 1e-3, "batch_size": 8, "micro_batch_size": 2, "keep_checkpoints": 1}
RECIPE = Recipe("lora", epochs=4, learning_rate=0.01, rank=4, alpha=8, micro_batch_size=4, checkpoint_every_s=0.0)


def trained(folder: Path, base: Path, knobs: dict, count: int, sharding: str, stopped_after: int | None = None) -> list[float]:
    """The losses of every step and epoch, in fp32."""
    if count == 1:
        learner.learn(folder, base, sharding, knobs)
    else:
        argv = [sys.executable, "-m", "tests.adapters.learner", str(folder), str(base), sharding, json.dumps(knobs)]
        more = [] if stopped_after is None else [str(stopped_after)]
        assert together(argv + more, count) == (TRY_AGAIN if more else 0)
    return [event["loss"] for event in events(folder) if event["event"] in ("step", "validation")]


def events(folder: Path) -> list[dict]:
    """Whole lines only: the last may be half written."""
    if not (folder / METRICS_FILE).is_file():
        return []
    return [json.loads(line) for line in (folder / METRICS_FILE).read_text().split("\n")[:-1]]


Straight = Callable[[dict, int, str], tuple[Path, list[float]]]


@pytest.fixture(scope="module")
def straight(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Straight:
    """What so many processes make of these knobs when nobody disturbs them, and their losses; done once."""
    known: dict[str, tuple[Path, list[float]]] = {}

    def made(knobs: dict, count: int, sharding: str) -> tuple[Path, list[float]]:
        said = json.dumps([knobs, count, sharding])
        if said not in known:
            folder = tmp_path_factory.mktemp("straight")
            known[said] = folder, trained(folder, tiny, knobs, count, sharding)
        return known[said]

    return made


# 37 rows are learned in windows of 8 and one of 5. Two processes: 8 are 3 + 3 + 2, so one of them has a micro-batch less to
# do. Three processes, at most 2 rows each: 5 are 2 + 2 + 1; 8 are 2 + 2 + 2 + 2, and two of them have one less
@pytest.mark.parametrize(("knobs", "count"), [(LORA, 2), (FULL, 3)], ids=["lora on two", "full on three"])
@pytest.mark.parametrize("sharding", several.SHARDINGS)
def test_several_processes_learn_what_one_does(straight: Straight, knobs: dict, count: int, sharding: str) -> None:
    folder, losses = straight(knobs, count, sharding)
    alone, expected = straight(knobs, 1, sharding)
    assert losses == pytest.approx(expected, abs=1e-4)
    for file in sorted(path.name for path in alone.glob("*.safetensors")):
        ours, theirs = load_file(folder / file), load_file(alone / file)
        for name, tensor in theirs.items():  # whole, though each process held a part
            if not name.startswith("dice"):
                torch.testing.assert_close(ours[name], tensor, atol=1e-3, rtol=1e-2)


# after the fifth step an epoch ends: what goes on from there looks at validation rows before it learns
@pytest.mark.parametrize(("sharding", "step"), [("ddp", 3), ("fsdp2", 5)])
def test_one_is_asked_to_stop_and_all_stop_and_go_on_to_the_very_same_weights(
    tmp_path: Path, tiny: Path, straight: Straight, sharding: str, step: int
) -> None:
    folder, losses = straight(LORA, 2, sharding)
    stopped = tmp_path / "stopped"
    stopped.mkdir()
    trained(stopped, tiny, LORA, 2, sharding, step)
    assert [event["step"] for event in events(stopped) if event["event"] == "step"][-1] == step
    taken_up = shutil.copytree(stopped, tmp_path / "taken up by one")
    trained(stopped, tiny, LORA, 2, sharding)
    ours, theirs = load_file(stopped / "best.safetensors"), load_file(folder / "best.safetensors")
    assert all(torch.equal(ours[name], tensor) for name, tensor in theirs.items())
    assert trained(taken_up, tiny, LORA, 1, sharding) == pytest.approx(losses, abs=1e-4)


@pytest.fixture(scope="module")
def begun(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path, Recipe], Path]:
    """A run whose base has answered already, so that each test begins where training does."""
    root = tmp_path_factory.mktemp("begun")
    data = small.write_pairs(root / "tickets.jsonl", 60)
    request = RunRequest("routing", "tiny", tiny, root / "models", RECIPE, PromptTemplate("Name the team."))
    create(root / "first", dataclasses.replace(request, recipe=dataclasses.replace(RECIPE, epochs=1)), data)
    run.execute(root / "first")

    def made(folder: Path, recipe: Recipe = RECIPE) -> Path:
        create(folder, dataclasses.replace(request, recipe=recipe, registry=folder.parent / "models"), data)
        for file in (run.BASELINE, "references.json"):
            shutil.copy(root / "first" / file, folder / file)
        return folder

    return made


def start(folder: Path, *more: str) -> subprocess.Popen[bytes]:
    argv = [sys.executable, "-m", "adapters", "run", str(folder), "--processes", "2", *more]
    return subprocess.Popen(argv, stdout=subprocess.DEVNULL)


def wait_for(happened: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 120
    while not happened():
        assert process.poll() is None, "the run ended before it could be stopped"
        assert time.monotonic() < deadline
        time.sleep(0.01)


def has_stepped(folder: Path, step: int) -> Callable[[], bool]:
    return lambda: any(event["event"] == "step" and event["step"] >= step for event in events(folder))


def members(folder: Path) -> list[int]:
    """Processes that train this run now."""
    found = []
    for place_ in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            said = place_.read_bytes().decode(errors="replace").split("\0")
        except OSError:  # ended meanwhile
            continue
        if "adapters.tuning.member" in said and str(folder) in said:
            found.append(int(place_.parent.name))
    return found


def gone(folder: Path, within_s: float) -> bool:
    deadline = time.monotonic() + within_s
    while members(folder) and time.monotonic() < deadline:
        time.sleep(0.01)
    return not members(folder)


def weights(folder: Path) -> bytes:
    return (place(folder, BEST_STEP) / ADAPTER / WEIGHTS).read_bytes()


def test_killed_in_the_middle_it_leaves_nothing_behind_and_ends_with_the_very_same_weights(
    tmp_path: Path, begun: Callable
) -> None:
    straight = run.execute(begun(tmp_path / "straight"), processes=Processes(2))
    folder = begun(tmp_path / "killed")
    process = start(folder)
    try:
        wait_for(has_stepped(folder, 8), process)
        assert len(members(folder)) == 2
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert gone(folder, within_s=5.0)
    finally:
        process.kill()
        process.wait()
    result = run.execute(folder, processes=Processes(2))
    resumed = [event["step"] for event in events(folder) if event["event"] == "training"]
    assert resumed[0] == 0 < resumed[1]
    assert weights(folder) == weights(tmp_path / "straight")
    assert result.digest12 == straight.digest12


def test_asked_to_stop_all_write_one_checkpoint_and_end_to_be_started_again(tmp_path: Path, begun: Callable) -> None:
    recipe = dataclasses.replace(RECIPE, epochs=100, learning_rate=1e-4, early_stop_patience=100, checkpoint_every_s=3600.0)
    folder = begun(tmp_path / "run", recipe)
    process = start(folder, "--sharding", "fsdp2")
    try:
        wait_for(has_stepped(folder, 1), process)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == TRY_AGAIN
    finally:
        process.kill()
        process.wait()
    assert gone(folder, within_s=1.0)
    assert (folder / "checkpoint.safetensors").is_file()
    assert not (folder / run.FAILURE).exists()
    last = [event["step"] for event in events(folder) if event["event"] == "step"][-1]
    assert last >= 1


def test_a_process_that_is_killed_ends_the_group_and_the_run_can_go_on(tmp_path: Path, begun: Callable) -> None:
    folder = begun(tmp_path / "run", dataclasses.replace(RECIPE, epochs=100, early_stop_patience=100))
    process = start(folder)
    try:
        wait_for(has_stepped(folder, 1), process)
        os.kill(members(folder)[0], signal.SIGKILL)
        assert process.wait(timeout=60) == TRY_AGAIN
    finally:
        process.kill()
        process.wait()
    assert gone(folder, within_s=1.0)


def test_what_goes_wrong_in_a_process_is_said_by_the_run(tmp_path: Path, begun: Callable) -> None:
    folder = begun(tmp_path / "run")
    (folder / "data.jsonl").write_text("{}")
    with pytest.raises(InvalidInput, match="not what the run was created with"):
        learn(folder, Processes(2), lambda: False)
    assert members(folder) == []


def test_a_group_that_never_met_can_be_stopped() -> None:
    argv = [sys.executable, "-c", "import signal; signal.pause()"]
    assert together(argv, 2, lambda: True) == -signal.SIGTERM


def test_who_trains_alone_and_what_is_refused() -> None:
    assert used(Processes(4, "fsdp2"), "prompt_tuning") == ONE
    assert used(Processes(4), "head") == used(Processes(4), "few_shot") == ONE
    assert used(Processes(4), "qlora") == Processes(4)
    with pytest.raises(InvalidInput, match="qlora cannot be split by fsdp2"):
        used(Processes(4, "fsdp2"), "qlora")
    with pytest.raises(InvalidInput, match="from 1 to 64"):
        Processes(0)
    with pytest.raises(InvalidInput, match="ddp, fsdp2"):
        Processes(2, "zero3")


def test_more_processes_than_gpus_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    check_devices(Processes(8))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    check_devices(Processes(2))
    with pytest.raises(InvalidInput, match="this machine has 2"):
        check_devices(Processes(3))


def test_split_over_gpus_a_model_fits_that_one_of_them_could_not_tune() -> None:
    def gib(**knobs) -> float:
        return estimate(typical_shape(8.03), "full", gradient_checkpointing=True, micro_batch_size=2, **knobs).gib

    assert gib(processes=4) == gib()  # each holds it whole
    assert gib(processes=4, sharding="fsdp2") < 80 < gib()
    assert gib(processes=4, device="cpu") > 3.9 * gib(device="cpu")  # one main memory holds it four times


@pytest.mark.parametrize("batches", [1, 2, 3, 4, 7])
def test_every_batch_counts_once_and_everybody_does_as_many(batches: int) -> None:
    rows = [[batch, batch] for batch in range(batches)]
    shares = []
    for rank in range(3):
        one = Ranks()
        one.count, one.rank = 3, rank
        shares.append(one.share(rows))
    assert len({len(share) for share in shares}) == 1
    assert sorted(batch[0] for share in shares for batch, counts in share if counts) == list(range(batches))

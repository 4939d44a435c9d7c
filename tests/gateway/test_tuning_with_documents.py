"""A model that searches is made with its store: filled for it, or there before; cut as was found best."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import openai
import pytest

from adapters.adapted_model import AdaptedModel
from adapters.errors import Conflict, DataErrors, GraftError, InvalidInput, NotFound
from adapters.methods.retrieving import cuts
from adapters.retrieval.chunks import Chunking
from adapters.tuning.run import execute
from gateway.cli.desk import Desk
from gateway.cli.passages import print_search
from gateway.cli.tune import Rows, submit
from gateway.db.database import open_database
from gateway.db.ingest import IngestRows
from gateway.db.stores import StoreRows
from gateway.files import FileStore
from gateway.jobs.job import Job
from gateway.jobs.tasks import KINDS
from gateway.stores.filling import held
from gateway.stores.library import TENANT
from gateway.stores.records import StoreFile
from tests.adapters.test_rag import ROWS, TOWNS, YEARS, fact
from tests.gateway.conftest import Gateway, Home, eventually, gateway_on
from tests.tiny import tiny_llama

FEW = 28
"""Towns and rows."""
KNOBS = {"fitting_rows": 2, "scored_rows": 6}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("searching")


@pytest.fixture(scope="module")
def base(root: Path) -> Path:
    return tiny_llama(root / "tiny")


@pytest.fixture(scope="module")
def desk(root: Path, base: Path) -> Iterator[Desk]:
    (root / "home").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRAFT_STORAGE_HOME", str(root / "home"))
        patch.setenv("GRAFT_ENGINE_KIND", "stub")
        patch.setenv("GRAFT_BASES", json.dumps([{"name": "tiny", "model": str(base)}]))
        yield Desk()


@pytest.fixture(scope="module")
def data(root: Path) -> Path:
    file = root / "rows.jsonl"
    file.write_text("".join(json.dumps({"prompt": row.question, "completion": row.answer}) + "\n" for row in ROWS[:FEW]))
    return file


@pytest.fixture(scope="module")
def docs(root: Path) -> Path:
    """Text in which no heading cuts one town from the next."""
    folder = root / "docs"
    folder.mkdir()
    for name, towns in (("west.txt", TOWNS[: FEW // 2]), ("east.txt", TOWNS[FEW // 2 : FEW])):
        (folder / name).write_text("\n\n".join(map(fact, towns)))
    return folder


@pytest.fixture(scope="module")
def towns(desk: Desk, data: Path, docs: Path) -> Job:
    """A job that filled a store, and is done."""
    job = submit(desk, data, "towns", method="rag", knobs=KNOBS, rows=Rows(docs=docs), publish="always")
    done(desk, job)
    return job


@pytest.fixture(scope="module")
def gateway(root: Path, base: Path, towns: Job) -> Iterator[Gateway]:
    bases = json.dumps([{"name": "tiny", "model": str(base)}])
    with gateway_on(Home(root / "home", root / "made"), GRAFT_BASES=bases) as running:
        yield running


def done(desk: Desk, job: Job) -> AdaptedModel:
    """The job's work and its end, as the runner has them done, in this process."""
    execute(Path(job.payload["run"]))
    KINDS["tune"].settle(job.payload, desk.settings, desk.names)
    KINDS["tune"].settle(job.payload, desk.settings, desk.names)  # a runner that was killed in between does it again
    return desk.registry.load(job.payload["name"], 1)


def files_of(desk: Desk, store: str) -> Sequence[StoreFile]:
    return IngestRows(open_database(desk.settings.database_url)).held(store)


def chunking_of(model: AdaptedModel) -> int:
    found: int = model.lineage.scorecard["fitted"]["chunking"]["max_tokens"]
    return found


def test_documents_become_a_store_of_the_models_name_cut_as_was_found_best(
    desk: Desk, towns: Job, capsys: pytest.CaptureFixture[str]
) -> None:
    model = desk.registry.load("towns", 1)
    assert model.retrieval is not None
    store = StoreRows(open_database(desk.settings.database_url)).get(TENANT, "towns")
    assert model.retrieval.store == store.id == towns.payload["store"]
    files = files_of(desk, store.id)
    assert {file.filename for file in files} == {"west.txt", "east.txt"}
    assert {file.max_tokens for file in files} == {chunking_of(model)} == {96}
    print_search(model.lineage.scorecard["fitted"])
    assert "with what is found" in capsys.readouterr().out


def test_what_the_run_has_encoded_is_taken_over(desk: Desk, towns: Job) -> None:
    run, wanted = Path(towns.payload["run"]), Chunking(96)
    taken = list((desk.settings.stores / towns.payload["store"] / "prepared").iterdir())
    mine = [cuts.prepared_folder(run, file.file_id, wanted) for file in files_of(desk, towns.payload["store"])]
    assert len(taken) == len(mine) == 2
    assert {(one / "vectors.npy").read_bytes() for one in taken} == {(one / "vectors.npy").read_bytes() for one in mine}


def test_the_model_is_asked_with_passages_of_its_store(gateway: Gateway) -> None:
    client = gateway.openai()
    eventually(lambda: client.vector_stores.retrieve("towns").status == "completed", 60)
    town = TOWNS[20]
    asked = [{"role": "user", "content": f"When was {town} founded?"}]
    answer = client.chat.completions.with_raw_response.create(model="towns", messages=asked)  # type: ignore[call-overload]
    file_id, place, _ = answer.headers["x-graft-passages"].split(", ")[0].split(":")
    begins, ends = map(int, place.split("-"))
    assert f"founded in {YEARS[town]}" in client.files.content(file_id).text[begins:ends]


def test_a_store_that_is_there_is_read_and_cut_anew_while_it_goes_on_answering(
    desk: Desk, data: Path, docs: Path, gateway: Gateway
) -> None:
    client = gateway.openai()
    made = client.vector_stores.create(name="atlas")
    for path in docs.iterdir():
        client.vector_stores.files.upload_and_poll(vector_store_id=made.id, file=path)
    before = client.vector_stores.retrieve(made.id).to_dict()["graft"]["passages"]
    job = submit(desk, data, "traveller", method="rag", knobs=KNOBS, rows=Rows(store="atlas"), publish="always")
    model = done(desk, job)
    assert model.retrieval is not None
    assert model.retrieval.store == made.id
    assert {file.max_tokens for file in files_of(desk, made.id)} == {chunking_of(model)} == {96}

    def found() -> int:
        page = client.vector_stores.search(made.id, query=f"When was {TOWNS[3]} founded?", max_num_results=1)
        assert f"founded in {YEARS[TOWNS[3]]}" in page.data[0].content[0].text, "something always answers"
        return len(page.data[0].content[0].text)

    longest = found()
    client.vector_stores.create(name="another")  # ingest looks around at every change, and else twice a minute
    eventually(lambda: found() < longest, 60)
    assert client.vector_stores.retrieve(made.id).to_dict()["graft"]["passages"] > before
    assert client.vector_stores.retrieve(made.id).status == "completed"


def test_what_is_refused_leaves_no_store_and_no_file(desk: Desk, docs: Path, root: Path, data: Path) -> None:
    wrong = root / "wrong.jsonl"
    wrong.write_text('{"prompt": "a"}\n' * 12)
    rows, files = StoreRows(open_database(desk.settings.database_url)), FileStore(desk.settings.files)
    before = files.page().files, desk.jobs.newest()
    refused: list[tuple[str, Path, type[GraftError]]] = [("rag", wrong, DataErrors), ("lora", data, InvalidInput)]
    for method, file, error in refused:
        with pytest.raises(error):
            submit(desk, file, "other", method=method, rows=Rows(docs=docs))
        with pytest.raises(NotFound):
            rows.get(TENANT, "other")
        assert (files.page().files, desk.jobs.newest()) == before


def test_stores_that_cannot_be_searched_are_refused_by_name(desk: Desk, data: Path, docs: Path, towns: Job) -> None:
    with pytest.raises(Conflict, match="there is a vector store 'towns' already; search what it holds with --store towns"):
        submit(desk, data, "towns", method="rag", rows=Rows(docs=docs))
    with pytest.raises(NotFound, match="'nowhere'"):
        submit(desk, data, "other", method="rag", rows=Rows(store="nowhere"))
    with pytest.raises(InvalidInput, match="either docs, which become a store, or a store"):
        submit(desk, data, "other", method="rag", rows=Rows(docs=docs, store="towns"))
    StoreRows(open_database(desk.settings.database_url)).create(
        TENANT, [], most_files=10, name="bare", description=None, labels=None, expires_after_days=None
    )
    with pytest.raises(InvalidInput, match="'bare' holds no document"):
        held(desk.settings, "bare")


def test_the_fine_tuning_api_takes_a_store_and_refuses_it_for_weights_alone(desk: Desk, data: Path, gateway: Gateway) -> None:
    client = gateway.openai()
    with data.open("rb") as content:
        file = client.files.create(file=content, purpose="fine-tune").id

    def job(**graft: object) -> str:
        made = client.fine_tuning.jobs.create(model="tiny", training_file=file, extra_body={"graft": graft})
        return made.id

    accepted = job(method="rag+lora", store="towns")
    assert len(list((desk.settings.runs / accepted / "documents").glob("*/*.txt"))) == 2
    with pytest.raises(openai.BadRequestError, match=r"take rag\+lora") as refused:
        job(method="lora", store="towns")
    assert refused.value.param == "graft.store"
    with pytest.raises(openai.NotFoundError) as refused:
        job(method="rag", store="nowhere")
    assert refused.value.param == "graft.store"
    with pytest.raises(openai.BadRequestError, match="needs documents") as refused:
        job(method="rag")
    assert refused.value.param == "graft.store"

"""Events of runs with models, of fine-tuning alone, of interrupted ones; and how they are sent."""

import json
import socket
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic
from types import SimpleNamespace

import pytest
from openlineage.client.serde import Serde
from support import sample_run, stored_run
from support.openlineage_events import lineage_server, mistakes

from ops.run_index import artifacts_of
from pipelines.config import RunConfig
from pipelines.openlineage.config import Endpoint, OpenLineageConfig, endpoint
from pipelines.openlineage.datasets import located
from pipelines.openlineage.events import Events
from pipelines.openlineage.send import send
from pipelines.openlineage.tell import tell_failed, tell_start
from pipelines.openlineage.work import StepWork, Work
from steps.contracts.errors import ConfigError
from steps.contracts.runs import RunRecord

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
STEP_ID = "22222222-3333-4444-5555-666666666666"


def config(**more: object) -> RunConfig:
    sources = [
        {"name": "mails", "path": "data/mails.jsonl", "licence": "CC0-1.0"},
        {"name": "lake", "path": "s3://bucket/chats/*.parquet"},
        {"name": "ultra", "hub": "HuggingFaceH4/ultrachat_200k", "revision": "a" * 40, "split": "train_sft"},
    ]
    return RunConfig.model_validate(
        {"name": "quickstart", "ingest": {"sources": sources}, "scrub": {"demo_key": True},
         "base": {"model": "owner/small", "revision": "b" * 40}, "registry": {"name": "support"}, **more}
    )  # fmt: skip


INPUTS = {"ingest": {"mails/mails.jsonl": "1" * 64, "ultra/train_sft": "hub:x"}, "base": {"owner/small": "b" * 40}}


@pytest.fixture
def kept(tmp_path: Path) -> tuple[RunRecord, dict]:
    run = stored_run.build(tmp_path / "root", tmp_path / "work")
    assert run.record is not None
    store = artifacts_of(tmp_path / "root", run.record)
    return run.record, {a.uri: store.manifest(a) for a in run.record.of_type("dataset")}


def uri(record: RunRecord, name: str) -> str:
    return next(a.uri for a in record.artifacts if a.name == name)


def told(events) -> list[dict]:
    found = [json.loads(Serde.to_json(event)) for event in events]
    assert [why for event in found for why in mistakes(event)] == []
    return found


def names(known: list[dict]) -> list[tuple[str, str]]:
    return [(k["namespace"], k["name"]) for k in known]


def test_from_sources_to_a_registered_model(kept):
    record, manifests = kept
    step = StepWork(STEP_ID, "train_step", NOON, NOON, False, (uri(record, "screened"),), (uri(record, "tuned"),))
    events = Events(Work(record, config(), INPUTS, (step,), manifests), "shop")
    (begun,) = told([events.started()])
    outside = [("file", "data/mails.jsonl"), ("s3://bucket", "chats/*.parquet"),
               ("huggingface", "HuggingFaceH4/ultrachat_200k/train_sft"), ("huggingface", "owner/small")]  # fmt: skip
    assert names(begun["inputs"]) == outside and begun["eventType"] == "START"
    assert [i["facets"].get("version", {}).get("datasetVersion", "")[:2] for i in begun["inputs"]][1:] == [
        "",
        "aa",
        "bb",
    ]

    *steps, ended = told(events.completed())
    assert names(ended["outputs"]) == [("shop", "quickstart.screened"), ("shop", "quickstart.tuned")]
    data, model = ended["outputs"]
    assert data["outputFacets"]["outputStatistics"] | {"_producer": "", "_schemaURL": ""} == {
        "_producer": "", "_schemaURL": "", "rowCount": 3, "fileCount": 1}  # fmt: skip
    assert model["facets"]["datasetType"]["datasetType"] == "MODEL"
    assert [(t["key"], t["value"]) for t in model["facets"]["tags"]["tags"]] == [
        ("registered", "support/3"), ("status", "champion")]  # fmt: skip
    learnt = model["facets"]["columnLineage"]["fields"]["weights"]["inputFields"]
    assert {f["name"] for f in learnt} == {"quickstart.screened", "owner/small"}
    hidden = {
        n: f["inputFields"][0]["transformations"][0]["masking"]
        for n, f in data["facets"]["columnLineage"]["fields"].items()
    }
    assert hidden["messages"] and not hidden["source"]

    assert [(e["eventType"], e["job"]["name"]) for e in steps] == [
        ("START", "quickstart.train"), ("COMPLETE", "quickstart.train")]  # fmt: skip
    assert names(steps[1]["inputs"]) == [("shop", "quickstart.screened")]
    assert stored_run.SECRET not in json.dumps([begun, *steps, ended])
    assert begun["producer"].startswith("urn:assay:") and "lamps" not in json.dumps(ended)


def test_fine_tuning_alone_reads_what_another_config_made():
    record = sample_run.record().model_copy(update={"pipeline": "finetune", "slot": "2026-03-01T02:30+01:00"})
    work = Work(
        record,
        config(pipeline="finetune", dataset="support", ingest=None),
        {},
        trained_on=("support", "curated", "ab" * 32),
    )
    (begun,) = told([Events(work, "assay").started()])
    assert names(begun["inputs"]) == [("assay", "support.curated"), ("file", "owner/small")]
    assert begun["inputs"][0]["facets"]["version"]["datasetVersion"] == "ab" * 32
    assert begun["run"]["facets"]["nominalTime"]["nominalStartTime"] == "2026-03-01T02:30:00+01:00"


@pytest.mark.parametrize(
    ("kind", "status", "expected"),
    [("InputError", "failed", "FAIL"), ("Terminated", "failed", "ABORT"), (None, "stopped", "ABORT")],
)
def test_how_a_run_came_to_nothing(kind, status, expected):
    secret = f"bad row: {stored_run.SECRET}"
    record = sample_run.record().model_copy(
        update={"status": status, "error": secret, "error_kind": kind, "failed_step": "ingest_step"}
    )
    step = StepWork(STEP_ID, "ingest_step", NOON, NOON, True)
    *steps, ended = told(Events(Work(record, None, {}, (step,)), "assay").failed())
    assert ended["eventType"] == expected and [e["eventType"] for e in steps] == ["START", "FAIL"]
    assert ended["run"]["facets"]["errorMessage"]["message"] == f"{kind or 'stopped'} in ingest_step"
    assert stored_run.SECRET not in json.dumps([*steps, ended])


@pytest.mark.parametrize(
    ("place", "expected"),
    [("data/a.jsonl", ("file", "data/a.jsonl")), ("file:///data/a", ("file", "/data/a")),
     ("s3://key:secret@bucket/a/b.csv", ("s3://bucket", "a/b.csv")), ("https://host:8/x?y=1", ("https://host:8", "x"))],
)  # fmt: skip
def test_places_are_named_as_openlineage_does(place, expected):
    assert located(place) == expected


def event():
    return Events(Work(sample_run.record(), None, {}), "assay").started()


def test_events_are_lines_of_a_file(tmp_path):
    for url in ("out/events.jsonl", (tmp_path / "out/events.jsonl").as_uri()):
        assert send(lambda: [event(), event()], Endpoint(url=url), tmp_path) == ""
    lines = (tmp_path / "out/events.jsonl").read_text().splitlines()
    assert len(lines) == 4 and [why for line in lines for why in mistakes(json.loads(line))] == []


def test_a_server_that_refuses_is_asked_once():
    with lineage_server(status=503) as (url, received):
        why = send(lambda: [event(), event()], Endpoint(url=url), Path())
    assert why.startswith("HTTPError: 503") and len(received) == 1


def test_a_server_that_dawdles_is_given_up():
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        started = monotonic()
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        why = send(lambda: [event()] * 100, Endpoint(url=url, seconds=0.2), Path())
    assert monotonic() - started < 1 and ("no answer in 0.2 s" in why or "ReadTimeout" in why)


def test_what_cant_be_made_is_said_and_not_raised():
    assert send(lambda: 1 / 0, Endpoint(url="http://127.0.0.1:9"), Path()) == "ZeroDivisionError: division by zero"


def test_where_events_go():
    environment = {"OPENLINEAGE_URL": "http://marquez:5000", "OPENLINEAGE_NAMESPACE": "shop"}
    assert endpoint(OpenLineageConfig(), {}) is None
    assert endpoint(OpenLineageConfig(), environment) == Endpoint(url="http://marquez:5000", namespace="shop")
    own = OpenLineageConfig(url="events.jsonl", namespace="mine", timeout=1)
    assert endpoint(own, environment) == Endpoint(url="events.jsonl", namespace="mine", seconds=1)
    assert endpoint(own, {"OPENLINEAGE_DISABLED": "true"}) is None
    for url, why in (("http://me:secret@host", "holds a user or a password"), ("http://", "names no host")):
        with pytest.raises(ConfigError, match=why) as raised:
            endpoint(OpenLineageConfig(), {"OPENLINEAGE_URL": url})
        assert "secret" not in str(raised.value)


def test_whatever_goes_wrong_in_telling_the_run_goes_on(capsys):
    run = SimpleNamespace(config=SimpleNamespace(extra={"openlineage": {"url": "http://127.0.0.1:9"}}))
    tell_start(run, config(), {}, "")
    assert capsys.readouterr().err.startswith("OpenLineage: no events of this run: AttributeError: ")
    untold = SimpleNamespace(config=SimpleNamespace(extra={}))
    tell_start(untold, config(), {}, "")
    tell_failed(untold, sample_run.record(), lambda: 1 / 0)
    assert capsys.readouterr().err == ""

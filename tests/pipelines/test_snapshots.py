"""A run that is started by an orchestrator, far from any checkout, is the run that `assay run` gives."""

import json
import os
import shutil
from datetime import datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import fsspec
import pytest
from support import pods

from ops.run import forget_recorded, record, run
from ops.run_index import artifacts_of, find_run, load_runs, report_path
from ops.schedule.schedule import Schedule
from ops.sync import sync
from steps.contracts.errors import InputNotFoundError
from steps.zenml_runtime.commit import commit_of

ROOT = Path(__file__).resolve().parents[2]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not os.access(pods.APP if pods.APP.exists() else "/", os.W_OK), reason="/app isn't ours"),
]


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    """A folder that declares a stack whose steps are pods, artifacts in S3."""
    (tmp_path / ".zenml" / "stacks").mkdir(parents=True)
    (tmp_path / "configs" / "infra").mkdir(parents=True)
    s3 = (ROOT / ".zenml" / "stacks" / "s3.yaml").read_text()
    (tmp_path / ".zenml" / "stacks" / "s3.yaml").write_text(s3)
    (tmp_path / ".zenml" / "stacks" / "pods.yaml").write_text(
        s3.replace("stack_name: s3", "stack_name: pods").replace(
            "name: local, flavor: local", "name: pods, flavor: pods"
        )
    )
    (tmp_path / "configs" / "infra" / "s3.yaml").write_text("stack: s3\n")
    (tmp_path / "configs" / "infra" / "pods.yaml").write_text(
        "stack: pods\nsettings: {docker: {skip_build: true, parent_image: none}}\n"
    )
    return tmp_path


def rows(count: int) -> str:
    things = ("lamp", "chair", "table", "kettle", "clock", "mirror", "basket")
    lines = [
        {"prompt": f"Customer {i * 31} wants a {things[i % 7]} before week {i}. When?", "completion": f"In week {i}."}
        for i in range(count)
    ]
    return "\n".join(map(json.dumps, lines)) + "\n"


def put(uri: str, text: str) -> None:
    with fsspec.open(uri, "w") as f:
        f.write(text)


def essence(record):
    """What must be equal on every stack."""
    made = {(a.step, a.name, a.type, a.digest) for a in record.artifacts if a.type in ("dataset", "ledger", "model")}
    return record.status, record.config_digest, record.commit, record.executed_steps, made


def test_snapshot_that_pods_start_is_the_run_of_the_command(elsewhere: Path, s3: str) -> None:
    from zenml.client import Client

    pods.register()
    source = f"{s3}/in/orders.jsonl"
    put(source, rows(40))
    put(f"{s3}/in/held.jsonl", rows(4))
    # No part of the code archive: it travels by content, from where paths in a config start.
    general = "examples/controls/general.jsonl"
    (elsewhere / general).parent.mkdir(parents=True)
    shutil.copy(ROOT / general, elsewhere / general)
    config = elsewhere / "far.yaml"
    config.write_text(json.dumps({
        "name": "far", "pipeline": "curate", "skip": ["dedup", "scrub", "screen", "judge"],
        "leakcheck": {"benchmarks": [
            {"name": "general", "path": general}, {"name": "held", "path": f"{s3}/in/held.jsonl"}
        ]},
        "ingest": {"sources": [{"name": "orders", "path": source}]},
    }))  # fmt: skip
    run(config, infra="s3", root=elsewhere, no_cache=True)
    here = find_run(elsewhere)
    run(config, infra="pods", root=elsewhere, no_cache=True)
    there = find_run(elsewhere)
    assert there.stack == "pods" and essence(there) == essence(here)
    assert there.commit == commit_of(ROOT)
    assert "general" in report_path(elsewhere, there.name).read_text()
    checked = artifacts_of(elsewhere, there).report(there.of_type("stage_report")[-1])
    assert checked.dropped_by == {"equals_held_out": 3}

    # The orchestrator starts the same snapshot again, as a schedule does: the source has a row more.
    put(source, rows(41))
    snapshot = Client().get_snapshot(Client().get_pipeline_run(there.run_id).snapshot.id)
    assert pods.start(snapshot, environment()) == {}
    # ZenML's store is that of all tests of this process.
    (again,) = (r for r in sync(elsewhere) if r.config_name == "far")
    assert again.name != there.name and again.status == "completed" and again.stack == "pods"
    assert report_path(elsewhere, again.name).is_file()
    runs = [r for r in load_runs(elsewhere) if r.config_name == "far"]
    ingested = {r.name: next(a.digest for a in r.artifacts if a.name == "ingested") for r in runs}
    assert ingested[there.name] == ingested[here.name] != ingested[again.name]


def environment() -> dict[str, str]:
    """What ZenML gives to a step's process so that it finds the metadata store and the stack."""
    from zenml.orchestrators.utils import get_config_environment_vars

    variables, secrets = get_config_environment_vars()
    return {**variables, **secrets}


def test_failure_elsewhere_is_the_failure_of_the_command(elsewhere: Path, s3: str) -> None:
    pods.register()
    config = elsewhere / "missing.yaml"
    source = {"name": "orders", "path": f"{s3}/in/nothing.jsonl"}
    config.write_text(json.dumps({
        "name": "missing", "pipeline": "curate", "scrub": {"demo_key": True}, "ingest": {"sources": [source]}
    }))  # fmt: skip
    with pytest.raises(InputNotFoundError, match="start_step") as caught:
        run(config, infra="pods", root=elsewhere)
    assert "nothing.jsonl" in str(caught.value)
    record = find_run(elsewhere)
    assert (record.status, record.failed_step) == ("failed", "start_step")


def test_what_a_service_recorded_reads_the_day_of_each_slot(elsewhere: Path, s3: str) -> None:
    """A service that can only start a recorded pipeline again: no launcher fills the slot in, or finds the latest."""
    from zenml.client import Client

    pods.register()
    for day, count in (("2026-03-28", 30), ("2026-03-29", 35)):
        put(f"{s3}/in/orders-{day}.jsonl", rows(count))
    config = elsewhere / "days.yaml"
    config.write_text(json.dumps({
        "name": "days", "pipeline": "curate", "skip": ["dedup", "scrub", "screen", "judge"], "reuse": "latest",
        "ingest": {"sources": [{"name": "orders", "path": s3 + "/in/orders-{slot-1d:%Y-%m-%d}.jsonl"}]},
    }))  # fmt: skip
    schedule = Schedule(name="daily", config=str(config), cron="0 6 * * *", tz="Europe/Berlin", infra="pods", on="pods")
    # Looked at as for a run of this moment, whose file isn't there: URLs are asked by the steps alone.
    known = record(elsewhere, schedule, "0 6 * * *", "assay-daily-test")
    assert not [r for r in load_runs(elsewhere) if r.config_name == "days"], "nothing ran yet"
    (snapshot,) = Client().list_snapshots(schedule_id=known, named_only=False).items
    for slot in ("2026-03-29T06:00+02:00", "2026-03-30T06:00+02:00"):
        assert pods.start(Client().get_snapshot(snapshot.id), {**environment(), "ASSAY_SLOT": slot}) == {}
    sync(elsewhere)
    runs = sorted((r for r in load_runs(elsewhere) if r.config_name == "days"), key=lambda r: r.started)
    assert [(r.status, r.schedule, r.slot) for r in runs] == [
        ("completed", "daily", "2026-03-29T06:00+02:00"), ("completed", "daily", "2026-03-30T06:00+02:00")
    ]  # fmt: skip
    first, second = runs
    assert first.name != second.name and first.commit == second.commit == commit_of(ROOT)
    assert "ingest_step" in second.executed_steps, "nothing stale from the cache"
    counts = [
        artifacts_of(elsewhere, r).report(next(a for a in r.of_type("stage_report") if a.step == "ingest_step")).rows_in
        for r in runs
    ]
    assert counts == [30, 35]
    # Told nothing, a run stands for the newest slot before its start.
    put(
        f"{s3}/in/orders-{datetime.now(ZoneInfo('Europe/Berlin')) - timedelta(days=1, hours=6):%Y-%m-%d}.jsonl", rows(7)
    )
    assert pods.start(Client().get_snapshot(snapshot.id), environment()) == {}
    (third,) = (r for r in sync(elsewhere) if r.config_name == "days")
    slot = datetime.fromisoformat(third.slot or "")
    assert timedelta() <= datetime.fromisoformat(third.started) - slot < timedelta(days=1)
    assert (slot.hour, slot.minute) == (6, 0)
    # The launcher's run of the same slot gives the same rows.
    run(config, infra="s3", root=elsewhere, slot="2026-03-30T06:00+02:00")
    assert {a.digest for a in find_run(elsewhere).of_type("dataset")} == {a.digest for a in second.of_type("dataset")}
    forget_recorded("assay-daily-test")

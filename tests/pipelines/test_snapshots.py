"""A run that is started by an orchestrator, far from any checkout, is the run that `assay run` gives."""

import json
import os
import shutil
from pathlib import Path

import fsspec
import pytest
from support import pods

from ops.run import run
from ops.run_index import artifacts_of, find_run, load_runs, report_path
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
    ingested = {r.name: next(a.digest for a in r.artifacts if a.name == "ingested") for r in load_runs(elsewhere)}
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

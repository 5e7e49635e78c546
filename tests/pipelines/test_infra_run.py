"""What an infra file says reaches the steps of a run: secrets by reference, variables, tries, limits."""

import base64
import json
import logging
import os
import shutil
import sqlite3
from pathlib import Path

import pytest
from zenml.client import Client

from ops.run import run
from ops.run_index import find_run
from steps.contracts.errors import StepTimeoutError

ROOT = Path(__file__).resolve().parents[2]
KEY = "correct-horse-battery-staple-0123456789"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / ".zenml").mkdir()
    shutil.copytree(ROOT / ".zenml" / "stacks", tmp_path / ".zenml" / "stacks")
    (tmp_path / "configs" / "infra").mkdir(parents=True)
    return tmp_path


def config(home: Path, name: str, **said: object) -> Path:
    rows = [{"prompt": f"Where is box {i}?", "completion": f"Mail box{i}@example.com for it."} for i in range(20)]
    (home / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    path = home / f"{name}.yaml"
    path.write_text(json.dumps({
        "name": name, "pipeline": "curate", "skip": ["dedup", "screen", "judge"],
        "ingest": {"sources": [{"name": "rows", "path": str(home / "rows.jsonl")}]}, **said,
    }))  # fmt: skip
    return path


@pytest.mark.slow
def test_a_key_reaches_scrub_as_a_secret_and_is_nowhere_in_the_store(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MINE", KEY)
    monkeypatch.delenv("ASSAY_PII_KEY", raising=False)
    (home / "configs" / "infra" / "keyed.yaml").write_text(
        "stack: local\nenvironment: {ASSAY_PII_KEY: '${secret:MINE}', PLAIN: '${ALSO:-x}'}\nretry: {max_retries: 1}\n"
        "steps: {scrub_step: {environment: {OWN: 'yes'}, timeout: 600}}\n"
    )
    run(config(home, "keyed", scrub={"key_env": "ASSAY_PII_KEY"}), infra="keyed", root=home)
    record = find_run(home)
    assert record.status == "completed"
    steps = Client().get_pipeline_run(record.run_id).steps
    secret = Client().get_secret("assay-step-local-all")
    assert secret.secret_values == {"ASSAY_PII_KEY": KEY}
    assert steps["scrub_step"].config.environment == {"PLAIN": "x", "OWN": "yes"}
    assert [str(s) for s in steps["ingest_step"].config.secrets] == [str(secret.id)]
    assert steps["ingest_step"].config.retry.max_retries == 1
    assert steps["scrub_step"].config.extra["timeout"] == 600
    assert "ASSAY_PII_KEY" not in os.environ
    from zenml.config.global_config import GlobalConfiguration

    with sqlite3.connect(GlobalConfiguration().store_configuration.database) as connection:
        stored = "\n".join(connection.iterdump())
    assert KEY not in stored and base64.b64encode(json.dumps({"ASSAY_PII_KEY": KEY}).encode()).decode() not in stored
    assert KEY.encode().hex() not in stored.lower()


@pytest.mark.slow
def test_what_steps_print_is_stored_when_asked_for_and_holds_no_row(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = logging.root.level
    # The tests' own are silent.
    monkeypatch.setenv("ASSAY_PROGRESS", "lines")
    for name in ("ZENML_DISABLE_STEP_LOGS_STORAGE", "ZENML_DISABLE_PIPELINE_LOGS_STORAGE", "ZENML_LOGGING_VERBOSITY"):
        monkeypatch.setenv(name, os.environ[name])
    (home / "configs" / "infra" / "quiet.yaml").write_text("stack: local\n")
    (home / "configs" / "infra" / "logged.yaml").write_text("stack: local\nrun: {enable_step_logs: true}\n")
    file = config(home, "logged", skip=["dedup", "scrub", "screen", "judge", "leakcheck"])
    logs = Path(os.environ["ASSAY_STATE"]) / "artifacts" / "logs"
    run(file, infra="quiet", root=home, no_cache=True)
    assert not list(logs.glob("**/*.log"))
    try:
        run(file, infra="logged", root=home, no_cache=True)
    finally:
        logging.root.setLevel(before)
    said = "".join(path.read_text() for path in logs.glob("**/*.log"))
    assert "split done in" in said
    assert "Mail box" not in said and "Where is box" not in said


@pytest.mark.slow
def test_a_step_that_takes_too_long_fails_as_what_it_is(home: Path) -> None:
    (home / "configs" / "infra" / "hasty.yaml").write_text(
        "stack: local\nretry: {}\nsteps: {ingest_step: {timeout: 0.001}}\n"
    )
    with pytest.raises(StepTimeoutError, match="ingest: not done after"):
        run(config(home, "hasty", scrub={"demo_key": True}), infra="hasty", root=home)
    record = find_run(home)
    assert (record.status, record.failed_step) == ("failed", "ingest_step")


@pytest.mark.slow
def test_two_processes_train_a_phase_of_a_run_and_the_model_says_so(home: Path) -> None:
    shutil.copytree(ROOT / "examples", home / "examples")
    (home / "configs" / "infra" / "two.yaml").write_text(
        "stack: local\nsteps: {train_step: {training: {processes: 2, strategy: fsdp2}}}\n"
    )
    smoke = ROOT / "configs" / "runs" / "smoke.yaml"
    given = ("train.weights.kind=full", "train.gradient_accumulation_steps=2", "pipeline=train")
    run(smoke, infra="two", overrides=given, root=home)
    record = find_run(home)
    assert record.status == "completed"
    (tuned,) = [a for a in record.artifacts if a.type == "model" and a.name == "tuned"]
    notes = json.loads((Path(tuned.uri) / "model.json").read_text())["notes"]
    assert "trained by 2 processes (fsdp2) that shared each batch" in notes

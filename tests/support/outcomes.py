"""What a run came to: all that must be equal on every stack, read from its stores by `assay` and by nothing else."""

import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from support.growing import MEASURED

from materializers.artifacts import Artifacts, stage_of
from steps.contracts.digests import value_digest
from steps.contracts.evaluation import Comparison, Decision, EvalReport
from steps.contracts.reports import StageReport
from steps.contracts.runs import RunRecord

ROOT = Path(__file__).resolve().parents[2]
SMOKE = "configs/runs/smoke.yaml"
# What makes it a run of its curation alone.
CURATION = ("--set", "pipeline=curate")
# Of a registered version's tags: what says where and when, or holds files that do.
_OF_THIS_RUN = {"stack", "mlflow_run_id", "zenml_run", "zenml_run_id", "registration", "files"}
# Of a model: what it took.
_TOOK = {"seconds", "cpu_seconds"}
# Lines of reports' tables: how fast this machine was, and what memory it had left.
_MEASURED_LINES = {"tokens per second, without padding", "seconds of training", "available"}
# Artifacts whose bytes say how long something took, or where it is.
_TIMED = ("stage_report", "eval_report", "registration")


@dataclass(frozen=True)
class Outcome:
    """Datasets, weights, answers and ledgers by digest; what the report and the record say without times and places."""

    datasets: dict[str, str]
    weights: dict[str, str]
    answers: dict[str, str]
    ledgers: dict[str, str]
    report: dict[str, Any]
    record: dict[str, Any]

    def differences(self, other: "Outcome") -> dict[str, Any]:
        """By part and place the two values, where they aren't equal."""
        parts = [f.name for f in dataclasses.fields(self)]
        return {k: v for part in parts for k, v in _apart(getattr(self, part), getattr(other, part), part)}


def _apart(one: Any, two: Any, place: str) -> Iterator[tuple[str, Any]]:
    """The smallest parts of two values that differ, each with its place."""
    if isinstance(one, dict) and isinstance(two, dict):
        for key in sorted(one.keys() | two.keys()):
            yield from _apart(one.get(key), two.get(key), f"{place}: {key}")
    elif isinstance(one, list) and isinstance(two, list) and len(one) == len(two):
        for number, pair in enumerate(zip(one, two, strict=True)):
            yield from _apart(*pair, f"{place}: {number}")
    elif one != two:
        yield place, (one, two)


def environment(state: Path, **more: str) -> dict[str, str]:
    """Of a command with a state folder of its own; `more`: what leads to its stack."""
    # What this process has for its own store doesn't belong there; where artifacts go does.
    ours = ("ZENML_", "MLFLOW_", "ASSAY_")
    paths = ("ASSAY_S3_PATH", "ASSAY_BLOB_PATH", "ASSAY_GCS_PATH")
    kept = {k: v for k, v in os.environ.items() if k in paths or not k.startswith(ours)}
    switches = {"ASSAY_PROGRESS": "off", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    return {**kept, **switches, "ASSAY_ROOT": str(ROOT), "PYTHONPATH": str(ROOT), "ASSAY_STATE": str(state), **more}


def assay(state: Path, *arguments: str, python: str = sys.executable, **more: str) -> subprocess.CompletedProcess[str]:
    """A command as a user types it; it may fail."""
    return subprocess.run(
        [python, "-m", "ops.main", *arguments],
        cwd=ROOT, env=environment(state, **more), capture_output=True, text=True, timeout=1500, check=False,
    )  # fmt: skip


def run(state: Path, *arguments: str, python: str = sys.executable, **more: str) -> RunRecord:
    """`assay run` that must complete; its record, from the index."""
    done = assay(state, "run", *arguments, "--json", python=python, **more)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-6000:]
    said = json.loads(done.stdout)
    return index(state)[said["name"]]


def index(state: Path) -> dict[str, RunRecord]:
    """The records of a state folder's run index by name."""
    files = state.glob("runs/[!.]*/run.json")
    return {r.name: r for r in (RunRecord.model_validate_json(f.read_bytes()) for f in files)}


def from_stores(state: Path, fresh: Path, name: str, python: str = sys.executable, **more: str) -> RunRecord:
    """The record that somebody makes who has ZenML's store and the artifact store, and an empty state folder."""
    fresh.mkdir(mode=0o700)
    # The key of ZenML's local secrets is part of that store.
    if (state / "secrets.key").is_file():
        (fresh / "secrets.key").write_bytes((state / "secrets.key").read_bytes())
        (fresh / "secrets.key").chmod(0o600)
    own = {} if "ZENML_STORE_URL" in more else {"ZENML_CONFIG_PATH": str(state / "zenml")}
    done = assay(fresh, "runs", "--sync", "--json", python=python, **own, **more)
    assert done.returncode == 0, done.stdout + done.stderr
    return index(fresh)[name]


def outcome(state: Path, name: str, python: str = sys.executable, **more: str) -> Outcome:
    """Of a run by its name; what lies in a remote store is read with this process's environment.

    The record is the one made of the stores alone; it must be the one of the index.
    """
    fresh = state.with_name(f"{state.name}-{name}-stores")
    record = from_stores(state, fresh, name, python, **more)
    assert record == index(state)[name]
    store = Artifacts(record, fresh / "cache")
    return Outcome(
        datasets={a.name: a.digest or "" for a in record.of_type("dataset")},
        weights=_weights(store),
        answers={a.name: _rows(store.answers(a).path) for a in record.of_type("answers")},
        ledgers={a.name: _rows(store.ledger(a).path) for a in record.of_type("ledger")},
        report=_plain(report(store)),
        record=_plain(essence(record)),
    )


def _plain(value: dict[str, Any]) -> dict[str, Any]:
    """As a file of JSON gives it back."""
    found: dict[str, Any] = json.loads(json.dumps(value))
    return found


def _weights(store: Artifacts) -> dict[str, str]:
    models = {a.name: store.model(a).files for a in store.run.of_type("model")}
    return {f"{n}/{f}": sha for n, files in models.items() for f, sha in files.items() if f.endswith(".safetensors")}


def _rows(path: Path) -> str:
    """Of a table's rows in any order."""
    return value_digest(sorted(json.dumps(r, sort_keys=True, default=str) for r in pq.read_table(path).to_pylist()))


def report(store: Artifacts) -> dict[str, Any]:
    """What the page of a run is drawn from, without times."""
    run = store.run
    said: dict[str, Any] = {a.name: _stage(store.report(a)) for a in run.of_type("stage_report")}
    said |= {
        a.name: store.value(a, EvalReport).model_dump(mode="json", exclude=MEASURED) for a in run.of_type("eval_report")
    }
    said |= {a.name: store.model(a).model_dump(mode="json", exclude=_TOOK) for a in run.of_type("model")}
    said |= {a.name: store.value(a, Comparison).model_dump(mode="json") for a in run.of_type("comparison")}
    return said | {a.name: store.value(a, Decision).model_dump(mode="json") for a in run.of_type("decision")}


def notes_of(record: RunRecord, name: str, cache: Path) -> list[tuple[str, ...]]:
    """Notes of the stage reports of that name, which equal runs may differ in."""
    store = Artifacts(record, cache)
    return [store.report(a).notes for a in record.of_type("stage_report") if a.name == name]


def _stage(report: StageReport) -> dict[str, Any]:
    said = report.model_dump(mode="json", exclude=MEASURED)
    for table in said["tables"]:
        table["rows"] = [row for row in table["rows"] if row[0] not in _MEASURED_LINES]
    return said


def essence(record: RunRecord) -> dict[str, Any]:
    """What a record says without names, times and places."""
    said: dict[str, Any] = {
        "status": record.status, "config": record.config_digest, "pipeline": record.pipeline, "commit": record.commit,
        "read": record.read_digest, "executed": record.executed_steps, "cached": record.cached_steps,
        "sections": [section.model_dump(mode="json") for section in record.sections],
    }  # fmt: skip
    for a in record.artifacts:
        said[f"{stage_of(a)}/{a.name}"] = (a.type, None if a.type in _TIMED else a.digest)
    if record.registration is not None:
        said["registered"] = (record.registration.name, record.registration.status, _tags(record.registration.tags))
    return said


def _tags(tags: Mapping[str, str]) -> dict[str, str]:
    return {k: v for k, v in tags.items() if k not in _OF_THIS_RUN}

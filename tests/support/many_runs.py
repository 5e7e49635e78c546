"""An index of many runs of some configs, whose reports and models really lie on disk; rows don't."""

import hashlib
from datetime import UTC, datetime, timedelta
from pathlib import Path

import yaml
from support import sample_run

from materializers import layout
from ops.export.folder import ExportRecord
from ops.export.made import note_export
from ops.run_index import save_run
from steps.contracts.digests import value_digest
from steps.contracts.models import Ancestor, BaseRef, ModelInfo
from steps.contracts.reports import Frozen, StageReport
from steps.contracts.runs import ArtifactRecord, RunRecord

CONFIGS = ("support", "support_night", "gsm8k", "smoke", "billing", "legal", "triage")
STAGES = {"ingest": "ingested", "dedup": "deduped", "split": "split", "scrub": "scrubbed", "screen": "screened",
          "judge": "judged", "leakcheck": "curated"}  # fmt: skip
TRACKER = "http://mlflow.internal:5000"
HOSTILE = '</script><script>document.title="owned"</script><img src=x onerror=alert(1)>\u202e'
_START = datetime(2026, 5, 1, 2, 30, tzinfo=UTC)


def digest(*parts: object) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def build(root: Path, store: Path, runs: int, hostile: bool = True) -> list[RunRecord]:
    """Save so many runs, configs in turn: every tenth of a config reads what the one before did, every ninth fails."""
    return [_run(root, store, number, hostile) for number in range(runs)]


def _run(root: Path, store: Path, number: int, hostile: bool) -> RunRecord:
    name = CONFIGS[number % len(CONFIGS)]
    day = number // len(CONFIGS)
    # What is the same is in the cache: digests are of the day that it was first made on.
    day -= day % 10 == 9
    at = _START + timedelta(hours=3 * number)
    config = _config(name, number, hostile)
    failed = number % 9 == 8
    artifacts: list[ArtifactRecord] = []
    rows = 3000 + 40 * day
    for position, stage in enumerate([*STAGES][: 3 if failed else len(STAGES)]):
        rows = _stage(store, artifacts, name, day, stage, rows, position)
    registration = None
    if not failed and name != "smoke":
        info = _models(store, artifacts, name, day)
        registration = sample_run.registration().model_copy(
            update={"name": f"{name}-model", "version": str(day + 1), "tracking_uri": TRACKER,
                    "status": ("champion", "candidate", "rejected")[number % 3],
                    "aliases": ("champion",) if number % 3 == 0 else (),
                    "tags": {"weights_digest": info.digest, "gate": "promoted"}}
        )  # fmt: skip
        if number % 23 == 0:
            done = ExportRecord(to="openai", run=f"{name}-{number:03}", stage="leakcheck", scrubbed=True, files=(),
                                refused={}, dataset=digest(name, day, "leakcheck"))  # fmt: skip
            note_export(root, f"https://hub.internal/datasets/{name}/{number}", done, ("train",))
    record = sample_run.record(f"{name}-{number:03}").model_copy(
        update={"run_id": f"00000000-0000-0000-0000-{number:012}", "config_name": name, "pipeline": "end_to_end",
                "status": "failed" if failed else "completed", "started": at.isoformat(), "artifacts": tuple(artifacts),
                "ended": (at + timedelta(minutes=9)).isoformat(), "artifact_store": str(store),
                "registration": registration, "config_digest": value_digest(config)}
    )  # fmt: skip
    save_run(root, record, yaml.safe_dump(config))
    return record


def _config(name: str, number: int, hostile: bool) -> dict[str, object]:
    own = [{"name": name, "path": f"s3://lake/{name}/*.parquet", "licence": "internal"}]
    shared = [{"name": "tickets", "path": "data/tickets.jsonl", "licence": "CC-BY-4.0"}]
    evil = [{"name": HOSTILE, "path": f"data/{HOSTILE}"}] if hostile and number % 50 == 7 else []
    return {"name": name, "ingest": {"sources": [*own, *shared, *evil]}}


def _put(
    store: Path, artifacts: list[ArtifactRecord], step: str, name: str, kind: str, at: object, value: Frozen
) -> None:
    folder = store / step / name / digest(name, at)[:8]
    text = value.model_dump_json()
    file = layout.MAIN.get(kind, layout.VALUE)
    if not folder.is_dir():
        folder.mkdir(parents=True)
        (folder / file).write_text(text)
    sha256 = hashlib.sha256(text.encode()).hexdigest()
    artifacts.append(ArtifactRecord(step=step, name=name, type=kind, uri=str(folder), digest=sha256, sha256=sha256))  # type: ignore[arg-type]


def _stage(store: Path, artifacts: list[ArtifactRecord], name: str, day: int, stage: str, rows: int, at: int) -> int:
    lost = (0, 211, 0, 0, 37, 90, 4)[at]
    step, made = f"{stage}_step", STAGES[stage]
    report = StageReport(
        stage=stage, rows_in=0 if stage == "ingest" else rows, created=rows if stage == "ingest" else 0,
        kept=rows - lost, dropped=lost, dropped_by={"reason": lost} if lost else {}, config_digest="c",
        changed=rows // 9 if stage == "scrub" else 0, seconds=1.0, cpu_seconds=1.0,
    )  # fmt: skip
    _put(store, artifacts, step, f"{stage}_report", "stage_report", (name, day), report)
    dataset = ArtifactRecord(step=step, name=made, type="dataset", uri=f"{store}/{step}/{made}/{name}{day}",
                             digest=digest(name, day, stage))  # fmt: skip
    artifacts.append(dataset)
    return rows - lost


def _models(store: Path, artifacts: list[ArtifactRecord], name: str, day: int) -> ModelInfo:
    ref = BaseRef(source="hub", name="Qwen/Qwen2.5-7B-Instruct", revision="a" * 40)
    base = ModelInfo(kind="full", base=ref, digest=digest("base"), files={}, parameters=7_600_000_000)
    tuned = base.model_copy(
        update={"kind": "adapter", "digest": digest("tuned", name, day), "trainable": 40_000_000, "name": "tuned",
                "objective": "sft", "dataset_digest": digest(name, day, "leakcheck"),
                "started_from": (Ancestor(name="base", digest=base.digest, kind="full"),)}
    )  # fmt: skip
    _put(store, artifacts, "base_step", "base", "model", "base", base)
    _put(store, artifacts, "train_step", "tuned", "model", (name, day), tuned)
    return tuned

"""Everything behind a registered version as one value: what `assay audit` shows as a tree and as JSON."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from materializers.artifacts import Artifacts, going_on, is_remote, json_value
from materializers.layout import model_file
from ops.audit.recount import COUNTED, StageCount, stage_counts
from ops.audit.trail import Trail, inputs_of, intact
from ops.audit.verify import Verification
from ops.run_index import config_path, run_config
from steps.contracts.digests import text_digest, value_digest
from steps.contracts.errors import AssayError, InputNotFoundError, IntegrityError
from steps.contracts.evaluation import EvalReport, Registration
from steps.contracts.models import ModelInfo
from steps.contracts.runs import RunRecord
from steps.register.chain import HEAD, KEY, RECORD
from steps.register.decisions import decisions_of

_CHANGES = "+changes"
_ADAPTER = "adapter_config.json"
_VERDICTS = "verdicts"


def account(root: Path, trail: Trail, verified: Verification | None) -> dict[str, Any]:
    """The value; keys that nothing was recorded for are None or empty."""
    config = config_of(root, trail.run)
    data_config = config_of(root, trail.data.run) if trail.data is not None else {}
    counts = {s: stage_counts(s) for s in trail.stores}
    return {
        "registration": json_value(trail.target.registration),
        "reference": reference_of(trail.target.registration),
        "chain": _chain(trail),
        "model": json_value(trail.model),
        "weights": list(_places(trail)),
        "base": _base(trail, config),
        "adapter": _adapter(trail),
        "run": run_of(root, trail.run),
        "training": _training(trail),
        "code": code_of(trail.run),
        "config": config,
        "seeds": values_of(config, "seed"),
        "threads": values_of(config, "num_threads"),
        "environment": environment_of(trail.run),
        "dataset": dataset_of(trail.data, trail.model),
        "stages": [stage_of(c) for s in trail.stores for c in counts[s]],
        "sources": list(sources_of(trail.data, trail.run)),
        "judge": judge_of(trail.data, data_config),
        "evaluations": [_evaluation(e) for _, e in trail.evaluations()],
        "decision": json_value(trail.decision),
        "reviews": reviews_of(trail.data),
        "approvals": _approvals(trail),
        "artifacts": [artifact_of(a) for s in trail.stores for a in s.run.artifacts],
        "verification": verification_of(verified),
    }


def reference_of(registration: Registration) -> str:
    """How the version is named wherever its registry is reached."""
    return f"{registration.tracking_uri}#{registration.name}/{registration.version}"


def config_of(root: Path, run: RunRecord) -> dict[str, Any]:
    """Of an older record, what the index has of it."""
    if run.config:
        return dict(run.config)
    try:
        return run_config(root, run)
    except AssayError:
        return {}


def _chain(trail: Trail) -> dict[str, Any]:
    tags = trail.target.tags or {}
    stored = trail.target.stored
    return {
        "head": tags.get(HEAD),
        "record": tags.get(RECORD),
        "record_sha256": stored.sha256 if stored else None,
        "key": tags.get(KEY),
        "earlier_runs": [{**json_value(link.to), "whole": link.whole} for link in trail.links],
    }


def _places(trail: Trail) -> Iterator[dict[str, Any]]:
    """Where the weights stand, with the SHA-256 that each file has there by the records."""
    files = trail.model.files if trail.model is not None else {}
    uri = trail.tuned.uri
    yield {"place": "artifact store", "uri": model_file(uri, "").rstrip("/"), "files": dict(files)}
    served = json.loads(trail.target.registration.tags.get("files", "{}"))
    yield {"place": "registry", "uri": trail.target.registration.model_uri, "files": {**served, **files}}


def _base(trail: Trail, config: dict[str, Any]) -> dict[str, Any]:
    base = trail.model.base if trail.model is not None else None
    said = config.get("base") or {}
    chain = trail.model.lineage if trail.model is not None else ()
    return {
        **(json_value(base) or {}),
        "licence": said.get("licence"),
        "model": said.get("model"),
        "started_from": [json_value(a) for a in chain],
    }


def _adapter(trail: Trail) -> dict[str, Any] | None:
    if trail.model is None or _ADAPTER not in trail.model.files:
        return None
    text = trail.store.text(model_file(trail.tuned.uri, _ADAPTER)) or ""
    try:
        said: dict[str, Any] = json.loads(text)
    except ValueError:
        return None
    return said if text_digest(text) == trail.model.files[_ADAPTER] else None


def run_of(root: Path, run: RunRecord) -> dict[str, Any]:
    """Which run, and where its config lies."""
    kept = {"run_id", "name", "config_name", "pipeline", "status", "started", "ended", "stack", "artifact_store"}
    more = {"commit", "config_digest", "read_digest", "tracking_uri", "schedule", "slot", "cpu_seconds", "peak_mb"}
    return {**run.model_dump(mode="json", include=kept | more), "config": str(config_path(root, run.name))}


def _training(trail: Trail) -> dict[str, Any]:
    """The run that trained: this one, or an earlier one whose result was taken from the cache."""
    tuned = trail.tuned
    link = next((one.to for one in trail.links if one.to.run_id == tuned.made_by), None)
    name = link.name if link else trail.run.name if tuned.made_by is None else None
    return {
        "run": name,
        "run_id": tuned.made_by or trail.run.run_id,
        "step": tuned.step,
        "from_cache": tuned.cached,
        "artifact": tuned.version,
        "mlflow_run_id": trail.target.registration.run_id,
    }


def code_of(run: RunRecord) -> dict[str, Any]:
    """Commit, and whether files differed from it."""
    commit = run.commit
    return {
        "commit": commit.removesuffix(_CHANGES) if commit else None,
        "changed_files": None if commit is None else commit.endswith(_CHANGES),
    }


def environment_of(run: RunRecord) -> dict[str, Any]:
    """Where steps ran, by which packages."""
    return {
        "machines": {step: json_value(machine) for step, machine in run.machines.items()},
        "packages": run.packages,
        "packages_digest": value_digest(run.packages) if run.packages else None,
    }


def values_of(config: Any, key: str, place: str = "") -> dict[str, Any]:
    """Every value of that key in a config, by its dotted path."""
    if isinstance(config, list):
        return {k: v for i, part in enumerate(config) for k, v in values_of(part, key, f"{place}{i}.").items()}
    if not isinstance(config, dict):
        return {}
    own = {f"{place}{key}": config[key]} if key in config else {}
    return own | {k: v for name, part in config.items() for k, v in values_of(part, key, f"{place}{name}.").items()}


def dataset_of(data: Artifacts | None, model: ModelInfo | None) -> dict[str, Any]:
    """The versions that a run made, and which a model was trained on."""
    if data is None:
        return {"run": None, "trained_on": model.dataset_digest if model else None, "versions": []}
    versions = intact(data.manifest, data.run.of_type("dataset"))
    return {
        "run": data.run.name,
        "run_id": data.run.run_id,
        "trained_on": model.dataset_digest if model else None,
        "versions": [
            {"artifact": a.name, "stage": m.stage, "digest": m.digest, "rows": m.rows, "splits": m.splits, "uri": a.uri}
            for a, m in versions
        ],
        "rows_by_source": _rows_by_source(data),
    }


def _rows_by_source(data: Artifacts) -> dict[str, int]:
    """Rows of the last version; its shards aren't hashed for it. Empty where they are remote, or gone."""
    versions = going_on(data.run)
    if not versions or is_remote(data.run.artifact_store):
        return {}
    try:
        chunks = data.dataset(versions[-1], verified=False).chunks(["source"])
        counted = pa.chunked_array([c.table["source"].combine_chunks() for c in chunks], pa.string()).value_counts()
    except (IntegrityError, InputNotFoundError, OSError, pa.ArrowInvalid):
        return {}
    found = {one["values"]: one["counts"] for one in counted.to_pylist()}
    return dict(sorted(found.items(), key=lambda item: (-item[1], item[0])))


def stage_of(count: StageCount) -> dict[str, Any]:
    """`counts` and `reasons`: of the ledger's lines, or where it has none as reported."""
    report, lines = count.report, count.lines
    counted = {v: sum(lines.get(v, {}).values()) if lines is not None else getattr(report, v) for v in COUNTED}
    return {
        "stage": count.stage,
        "rows_in": report.rows_in,
        "kept": report.rows_in + counted["created"] - counted["dropped"] - counted["quarantined"],
        **counted,
        "undecided": report.undecided,
        "reasons": lines if lines is not None else None,
        "reported_otherwise": count.differences,
        "config_digest": report.config_digest,
    }


def sources_of(data: Artifacts | None, run: RunRecord) -> Iterator[dict[str, Any]]:
    """Each source as it was declared, with the digests of what was read of it."""
    declared = data.run.sources if data is not None and data.run.sources else run.sources
    read = inputs_of(data).get("ingest", {}) if data is not None else {}
    for source in declared:
        files = {name: sha256 for name, sha256 in read.items() if name.split("/")[0] == source.name}
        yield {**source.model_dump(), "files": files}


def judge_of(data: Artifacts | None, config: dict[str, Any]) -> dict[str, Any] | None:
    """Who judged, by which prompts (their digests)."""
    said = config.get("judge")
    if not said or data is None or "judge_step" not in {a.step for a in data.run.artifacts}:
        return None
    endpoint = said.get("endpoint") or {}
    return {
        "backend": said.get("backend"),
        "model": endpoint.get("model"),
        "base_url": endpoint.get("base_url"),
        "threshold": said.get("threshold"),
        "instructions": said.get("instructions"),
        "prompt_digests": _prompts(data),
    }


def _prompts(data: Artifacts) -> list[str]:
    verdicts = [a for a in data.run.of_type("file") if a.name == _VERDICTS]
    read = intact(lambda a: data.file(a, f"{_VERDICTS}.parquet"), verdicts)
    return sorted(
        {d for _, path in read for d in pq.read_table(path, columns=["prompt_digest"])[0].unique().to_pylist()}
    )


def _evaluation(report: EvalReport) -> dict[str, Any]:
    return {
        "subject": report.subject,
        "model_digest": report.model_digest,
        "dataset_digest": report.dataset_digest,
        "decoding": json.loads(report.decoding),
        "tasks": [
            {
                "task": t.task, "version": t.version, "n": t.n, "data_digest": t.data_digest,
                "metrics": {m.name: m.estimate.model_dump() for m in t.metrics},
            }
            for t in report.tasks
        ],
    }  # fmt: skip


def reviews_of(data: Artifacts | None) -> dict[str, Any] | None:
    """What people decided about rows: the files of decisions by SHA-256, and how often what was decided."""
    if data is None:
        return None
    files = inputs_of(data).get("review", {})
    counts = next((c for c in stage_counts(data) if c.stage == "review"), None)
    return {"files": files, "decided": counts.lines if counts else {}} if files or counts else None


def _approvals(trail: Trail) -> list[dict[str, Any]] | None:
    """What people decided about the version, as the registry has it; None where that wasn't asked."""
    tags = trail.target.tags
    return None if tags is None else [json_value(d) for d in decisions_of(tags)]


def artifact_of(artifact: Any) -> dict[str, Any]:
    """An artifact's record without what lies beside its main file."""
    said: dict[str, Any] = artifact.model_dump(mode="json", exclude={"beside"})
    return said


def verification_of(found: Verification | None) -> dict[str, Any] | None:
    """All findings."""
    if found is None:
        return None
    return {
        "ok": found.ok,
        "files": found.files,
        "findings": [{"what": f.what, "state": f.state, "detail": f.detail} for f in found.findings],
    }

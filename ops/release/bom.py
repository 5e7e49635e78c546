"""The bill of materials: CycloneDX 1.6 in JSON (ECMA-424), with the model as a component that has a model card."""

from collections.abc import Iterator
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from ops.release.contents import UNKNOWN, Contents, base_version
from ops.release.facts import SourceFacts, base_name, is_sha256
from ops.release.spdx import spdx_licence
from steps.contracts.evaluation import EvalReport
from steps.contracts.models import Ancestor

SCHEMA = "http://cyclonedx.org/schema/bom-1.6.schema.json"
# What objectives learn from, in CycloneDX's words. Others are left out.
_APPROACHES = {
    "sft": "supervised", "distill": "supervised", "continued_pretraining": "self-supervised",
    "grpo": "reinforcement-learning", "rloo": "reinforcement-learning",
}  # fmt: skip
_MODEL, _DATASET, _BASE = "model", "dataset", "base"


def bom(c: Contents) -> dict[str, Any]:
    """The whole document."""
    serial = uuid5(NAMESPACE_URL, f"assay release {c.weights} {c.created}")
    packages = [_package(name, version) for name, version in sorted(c.facts.packages.items())]
    data = [_dataset(c)] if c.dataset else []
    needs = [*([_DATASET] if c.dataset else []), *(p["bom-ref"] for p in packages), _BASE]
    return {
        "$schema": SCHEMA,
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{serial}",
        "version": 1,
        "metadata": {
            "timestamp": c.created,
            "tools": {"components": [{"type": "application", "name": "assay", "version": c.tool}]},
            "component": _model(c),
        },
        "components": [_base(c, _BASE), *data, *packages],
        "dependencies": [{"ref": _MODEL, "dependsOn": needs}],
    }


def _model(c: Contents) -> dict[str, Any]:
    return {
        "type": "machine-learning-model",
        "bom-ref": _MODEL,
        "name": c.name,
        **({"version": c.clearance.registered.rpartition("/")[2]} if c.clearance.registered else {}),
        "licenses": [spdx_licence(c.licence)],
        "pedigree": {"ancestors": [_ancestor(c, a) for a in c.facts.model.started_from] or [_base(c, "ancestor-base")]},
        "modelCard": _card(c),
        "components": [
            {"type": "file", "bom-ref": f"file:{name}", "name": name, "hashes": _sha256(sha256),
             "properties": _properties({"bytes": str(size)})}
            for name, (sha256, size) in sorted(c.files.items())
        ],
        "properties": _properties({
            **c.digests, "format": c.export.format, "number_format": c.export.dtype, "although": c.clearance.although,
        }),
    }  # fmt: skip


def _card(c: Contents) -> dict[str, Any]:
    f = c.facts
    approach = _APPROACHES.get(f.model.objective or "")
    considerations = {
        "useCases": [f.card["intended_use"]] if f.card.get("intended_use") else [],
        "technicalLimitations": [*f.card.get("limitations", ()), *f.model.notes],
    }
    return {
        "modelParameters": {
            **({"approach": {"type": approach}} if approach else {}),
            "task": "text-generation",
            **(
                {"architectureFamily": f.architecture[1], "modelArchitecture": f.architecture[0]}
                if f.architecture
                else {}
            ),
            **({"datasets": [{"ref": _DATASET}]} if c.dataset else {}),
            "inputs": [{"format": "text"}],
            "outputs": [{"format": "text"}],
        },
        "quantitativeAnalysis": {"performanceMetrics": list(_metrics(c))},
        "considerations": {k: v for k, v in considerations.items() if v},
    }


def _metrics(c: Contents) -> Iterator[dict[str, Any]]:
    report = judged(c)
    for task in report.tasks if report else ():
        for metric in task.metrics:
            e = metric.estimate
            interval = {"lowerBound": repr(e.low), "upperBound": repr(e.high)}
            slice_ = f"{task.task}, n {e.n}, rows {task.data_digest}"
            yield {"type": metric.name, "value": repr(e.value), "slice": slice_, "confidenceInterval": interval}


def judged(c: Contents) -> EvalReport | None:
    """The evaluation of the released model."""
    return next((r for r in c.evaluation.subjects if r.subject == c.evaluation.candidate), None)


def _base(c: Contents, ref: str) -> dict[str, Any]:
    base = c.facts.base
    pinned = base_version(base)
    return {
        "type": "machine-learning-model",
        "bom-ref": ref,
        "name": base_name(base),
        **({"version": pinned} if pinned else {}),
        "licenses": [spdx_licence(c.facts.base_licence or UNKNOWN)],
        **({"purl": f"pkg:huggingface/{base.name}@{base.revision}"} if base.source == "hub" and base.revision else {}),
        "properties": _properties({"source": base.source, "digest": base.digest, "files_digest": c.export.base_digest}),
    }


def _ancestor(c: Contents, a: Ancestor) -> dict[str, Any]:
    """The base, or what an earlier phase of training made of it."""
    if a.objective is None:
        return _base(c, "ancestor-base") | {"bom-ref": f"ancestor:{a.digest}"}
    said = {"digest": a.digest, "objective": a.objective, "weights": a.weights, "dataset": a.dataset_digest}
    return {
        "type": "machine-learning-model", "bom-ref": f"ancestor:{a.digest}", "name": a.name, "version": a.digest,
        "licenses": [spdx_licence(UNKNOWN)], "properties": _properties(said),
    }  # fmt: skip


def _dataset(c: Contents) -> dict[str, Any]:
    d = c.facts.dataset
    assert d is not None
    found = c.facts.personal_data
    shards = [
        {"type": "data", "bom-ref": f"shard:{k}", "name": f"shard {k}", "hashes": _sha256(sha256),
         "data": [{"type": "dataset", "name": f"shard {k}"}], "properties": _properties({"bytes": str(size)})}
        for k, (sha256, size) in enumerate(d.shards, 1)
    ]  # fmt: skip
    contents = {"rows": d.rows, **{f"rows, {k or 'no split'}": n for k, n in d.splits.items()}}
    return {
        "type": "data",
        "bom-ref": _DATASET,
        "name": f"{c.name} training data",
        "version": d.digest,
        "data": [{
            "type": "dataset", "name": f"{c.name} training data",
            "contents": {"properties": _properties(contents)},
            **({"sensitiveData": [f"{k}: {n} found before training" for k, n in found.items()]} if found else {}),
        }],
        "components": [*(_source(s, i) for i, s in enumerate(c.facts.sources, 1)), *shards],
        "properties": _properties({"digest": d.digest}),
    }  # fmt: skip


def _source(s: SourceFacts, number: int) -> dict[str, Any]:
    said = {
        "kind": s.kind, "location": s.location, "access": s.access, "consent": s.consent, "rows_read": s.rows_read,
        "rows": s.rows, "bytes": s.bytes, "read": None if is_sha256(*s.files) else ", ".join(s.files),
    }  # fmt: skip
    files = [
        {"type": "file", "bom-ref": f"source:{number}:{k}", "name": f"file {k}", "hashes": _sha256(digest)}
        for k, digest in enumerate(s.files, 1)
        if is_sha256(digest)
    ]
    return {
        "type": "data", "bom-ref": f"source:{number}", "name": s.name, "licenses": [spdx_licence(s.licence or UNKNOWN)],
        "data": [{"type": "dataset", "name": s.name}], **({"components": files} if files else {}),
        "properties": _properties(said),
    }  # fmt: skip


def _package(name: str, version: str) -> dict[str, Any]:
    plain = name.lower().replace("_", "-")
    purl = f"pkg:pypi/{plain}@{version.replace('+', '%2B')}"
    return {"type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl}


def _sha256(digest: str) -> list[dict[str, str]]:
    return [{"alg": "SHA-256", "content": digest}]


def _properties(values: dict[str, Any]) -> list[dict[str, str]]:
    return [{"name": f"assay:{name}", "value": str(value)} for name, value in values.items() if value is not None]

"""`assay audit`: what a registered model is made of, and whether its stored files are the recorded ones."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from materializers.artifacts import Artifacts, FileCheck, is_remote, json_value
from ops.console import emit, heading, say, show_table
from ops.run_index import artifacts_of, config_path, curating_run, known_runs, not_found
from steps.contracts.digests import value_digest
from steps.contracts.errors import InputError, InputNotFoundError, IntegrityError
from steps.contracts.evaluation import Decision, EvalReport, Registration
from steps.contracts.models import ModelInfo
from steps.contracts.reports import StageReport
from steps.contracts.runs import ArtifactRecord, RunRecord

_REFERENCE = re.compile(r"(?P<name>[^@/\s]+)(?:@(?P<alias>[^@/\s]+)|/(?P<version>[^@/\s]+))?")


@dataclass(frozen=True)
class Audit:
    """Everything the records say about one registered model, and what was checked against the stored files.

    Attributes:
        checks: one line per promise that was tested: (what, holds, detail).
        datasets: (stage, digest, rows, artifact name) of every version, in the order of the pipeline.
    """

    registration: Registration
    run: RunRecord
    model: ModelInfo
    files: list[FileCheck]
    checks: list[tuple[str, bool, str]]
    datasets: list[tuple[str, str, int, str]]
    stages: list[StageReport]
    sources: dict[str, int]
    decision: Decision | None

    @property
    def ok(self) -> bool:
        """Whether every promise holds."""
        return all(holds for _, holds, _ in self.checks)


def audit_model(root: Path, reference: str, json_output: bool) -> int:
    """Print the audit. Returns the exit status: 0, or that of an integrity error when a promise is broken."""
    run = find_registration(root, reference)
    found = examine(root, run)
    if json_output:
        emit(_as_json(root, found))
    else:
        _show(root, found)
    return 0 if found.ok else IntegrityError.exit_code


def find_registration(root: Path, reference: str) -> RunRecord:
    """The run that registered MODEL, MODEL@alias or MODEL/version; without either, the newest version.

    Aliases are as the newest registration that carries them left them; one moved in MLflow by hand isn't seen.

    Raises:
        InputError: not a reference. InputNotFoundError: no run registered that. IntegrityError: none of those whose
            record can be read did, and there are others.
    """
    match = _REFERENCE.fullmatch(reference)
    if match is None:
        raise InputError(f"not a model reference: {reference!r}", hint="MODEL, MODEL@alias or MODEL/version")
    runs = [r for r in known_runs(root) if r.registration]
    named = [r for r in runs if r.registration and r.registration.name == match["name"]]
    fits = [
        r
        for r in named
        if r.registration
        and match["alias"] in (None, *r.registration.aliases)
        and match["version"] in (None, r.registration.version)
    ]
    if not fits:
        known = sorted({f"{r.registration.name}/{r.registration.version}" for r in (named or runs) if r.registration})
        hint = "known: " + ", ".join(known[:10]) if known else "no run has registered a model yet"
        raise not_found(root, InputNotFoundError(f"no run registered {reference}", hint=hint))
    chosen = fits[0].registration
    # A later run that took the registration from cache names the same version: the first one made it.
    return [r for r in fits if r.registration == chosen][-1]


def examine(root: Path, run: RunRecord) -> Audit:
    """Read the records of a run and test them against each other and against the stored files."""
    from pipelines.report.collect import rows_by_source

    if run.registration is None:
        raise InputNotFoundError(f"run {run.name} registered no model")
    store = artifacts_of(root, run)
    artifact, model = _tuned(store, run)
    files = store.check_model(artifact)
    data_run = curating_run(root, run, model.dataset_digest) or run
    data = artifacts_of(root, data_run)
    versions = [(a, data.manifest(a)) for a in data_run.of_type("dataset")]
    evals = [store.value(a, EvalReport) for a in run.of_type("eval_report")]
    decisions = run.of_type("decision")
    decision = store.value(decisions[-1], Decision) if decisions else None
    judged = decision.candidate if decision else ""
    return Audit(
        registration=run.registration,
        run=run,
        model=model,
        files=files,
        checks=_checks(model, files, [m.digest for _, m in versions], _of(judged, evals), run.registration),
        datasets=[(m.stage, m.digest, m.rows, a.name) for a, m in versions],
        stages=_stages(root, [data_run] if data_run is run else [data_run, run]),
        sources=rows_by_source(data, data_run),
        decision=decision,
    )


def _stages(root: Path, runs: Iterable[RunRecord]) -> list[StageReport]:
    return [artifacts_of(root, r).report(a) for r in runs for a in r.of_type("stage_report")]


def _of(subject: str, evals: list[EvalReport]) -> list[EvalReport]:
    """The evaluation of the subject that the gate judged; decisions of earlier versions name none: of the last one."""
    return [e for e in evals if e.subject == subject] or evals[-1:]


def _tuned(store: Artifacts, run: RunRecord) -> tuple[ArtifactRecord, ModelInfo]:
    """The registered model; of a run that registered none, or none of its own, the last that was trained."""
    models = [(a, store.model(a)) for a in run.of_type("model")]
    trained = [(a, m) for a, m in models if m.dataset_digest is not None or m.trainable]
    if not trained:
        raise InputNotFoundError("the run has no trained model", where=f"run {run.name}")
    digest = run.registration.tags.get("weights_digest") if run.registration else None
    return next((found for found in trained if found[1].digest == digest), trained[-1])


def _checks(
    model: ModelInfo, files: list[FileCheck], datasets: list[str], evals: list[EvalReport], registration: Registration
) -> list[tuple[str, bool, str]]:
    wrong = [f for f in files if not f.ok]
    detail = ", ".join(f"{f.name} {'is gone' if f.found is None else 'was changed'}" for f in wrong[:5])
    checks = [
        ("stored files have the recorded SHA-256", not wrong, detail or f"{len(files)} files read"),
        ("the model's digest is that of its files", model.digest == value_digest(model.files), model.digest),
    ]
    if datasets:
        known = model.dataset_digest in datasets
        checks.append(("it was trained on a recorded dataset version", known, model.dataset_digest or "none"))
    for report in evals:
        same = report.model_digest == model.digest
        checks.append(("the evaluated model is this one", same, report.model_digest))
    tagged = {k: v for k, v in registration.tags.items() if k in ("model_digest", "weights_digest", "tuned_digest")}
    for tag, value in tagged.items():
        checks.append((f"the registry's tag {tag} is this model", value == model.digest, value))
    return checks


def _as_json(root: Path, a: Audit) -> dict[str, Any]:
    return {
        "ok": a.ok,
        "registration": json_value(a.registration),
        "run": {
            "name": a.run.name,
            "run_id": a.run.run_id,
            "started": a.run.started,
            "commit": a.run.commit,
            "config_digest": a.run.config_digest,
            "config": str(config_path(root, a.run.name)),
            "stack": a.run.stack,
        },
        "model": json_value(a.model),
        "checks": [{"check": c, "holds": h, "detail": d} for c, h, d in a.checks],
        "datasets": [{"stage": s, "digest": d, "rows": r, "artifact": n} for s, d, r, n in a.datasets],
        "stages": [
            r.model_dump(mode="json", include={"stage", "rows_in", "created", "kept", "dropped", "quarantined"})
            for r in a.stages
        ],
        "sources": a.sources,
        "decision": json_value(a.decision),
    }


def _show(root: Path, a: Audit) -> None:
    r, m = a.registration, a.model
    aliases = "".join(f" @{alias}" for alias in r.aliases)
    heading(f"{r.name} version {r.version} {r.status}{aliases}")
    base = m.base.name + (f" at {m.base.revision}" if m.base.revision else "")
    facts = [
        ("weights", f"{m.digest} ({m.kind}, {m.parameters:,} parameters, {m.trainable:,} trained)"),
        ("base", f"{base} {m.base.digest or ''}"),
        ("trained on", m.dataset_digest or "not recorded"),
        ("run", f"{a.run.name}, {a.run.started}, stack {a.run.stack}"),
        ("commit", a.run.commit or "not a checkout"),
        ("config", f"{a.run.config_digest} ({config_path(root, a.run.name)})"),
        ("store", a.run.artifact_store + (" (remote)" if is_remote(a.run.artifact_store) else "")),
    ]
    show_table(["", ""], [list(f) for f in facts])
    show_table(["check", "", "detail"], [[c, "holds" if h else "BROKEN", d] for c, h, d in a.checks])
    rows = [[s.stage, s.rows_in + s.created, s.kept, s.dropped, s.quarantined] for s in a.stages]
    show_table(["stage", "in", "kept", "dropped", "quarantined"], rows, numeric=[1, 2, 3, 4])
    show_table(["dataset version", "digest", "rows"], [[n, d, rows_] for _, d, rows_, n in a.datasets], numeric=[2])
    if a.sources:
        show_table(["source", "rows in the last version"], [list(s) for s in a.sources.items()], numeric=[1])
    if a.decision is not None:
        failed = [x.check for x in a.decision.reasons if not x.passed]
        say("gate: promoted" if a.decision.promote else f"gate: not promoted: {', '.join(failed)}")

"""`assay audit`: what a registered model is made of, and whether its stored files are the recorded ones."""

import os
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from materializers.artifacts import Artifacts, is_remote, json_value
from materializers.integrity import FileCheck, check_artifact
from ops.audit_index import Check, check_index
from ops.audit_registry import check_registry
from ops.console import complain, emit, heading, say, show_table
from ops.references import reference
from ops.registered_names import registries
from ops.run_index import artifacts_of, config_path, curating_run, known_runs, not_found
from steps.contracts.digests import value_digest
from steps.contracts.errors import InputError, InputNotFoundError, IntegrityError
from steps.contracts.evaluation import Decision, EvalReport, Registration
from steps.contracts.models import ModelInfo
from steps.contracts.reports import StageReport
from steps.contracts.runs import ArtifactRecord, RunRecord
from steps.engines.tracking.secrets import without_secret

_REFERENCE = re.compile(r"(?P<name>[^@/\s]+)(?:@(?P<alias>[^@/\s]+)|/(?P<version>[^@/\s]+))?")
# Chosen: as many damaged files as can be read at a glance.
_NAMED = 20
_COUNTS = {"stage", "rows_in", "created", "kept", "dropped", "quarantined", "changed"}
V = TypeVar("V")


@dataclass(frozen=True)
class Audit:
    """Everything the records say about one registered model, and what was checked against the stored files.

    Attributes:
        model: None where its record is damaged.
        checks: one line per promise that was tested.
        unchecked: what could not be tested, in words.
        datasets: (stage, digest, rows, artifact name) of every version, in the order of the pipeline.
    """

    registration: Registration
    run: RunRecord
    model: ModelInfo | None
    files: list[FileCheck]
    checks: list[Check]
    unchecked: list[str]
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


def find_registration(root: Path, model: str) -> RunRecord:
    """The run that registered MODEL, MODEL@alias or MODEL/version; without either, the newest version.

    `model:MODEL` is the same as MODEL.

    Aliases are as the newest registration that carries them left them; one moved in MLflow by hand isn't seen.

    Raises:
        InputError: not a reference. InputNotFoundError: no run registered that. IntegrityError: none of those whose
            record can be read did, and there are others.
    """
    model = reference(model, "model").name
    match = _REFERENCE.fullmatch(model)
    if match is None:
        raise InputError(f"not a model reference: {model!r}", hint="MODEL, MODEL@alias or MODEL/version")
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
        raise not_found(root, InputNotFoundError(f"no run registered {model}", hint=hint))
    fits = _in_one_registry(model, fits)
    chosen = fits[0].registration
    # A later run that took the registration from cache names the same version: the first one made it.
    return [r for r in fits if r.registration == chosen][-1]


def _in_one_registry(model: str, fits: list[RunRecord]) -> list[RunRecord]:
    """Those of the registry that MLFLOW_TRACKING_URI names, where several have such a version; else of the newest."""
    known = registries(fits)
    if len(known) == 1:
        return fits
    named = without_secret(os.environ.get("MLFLOW_TRACKING_URI", ""))
    newest = fits[0].registration
    assert newest is not None
    chosen = named if named in known else newest.tracking_uri
    others = ", ".join(sorted(known - {chosen}))
    complain(
        f"{model} is in {len(known)} registries; this is that of {chosen}; MLFLOW_TRACKING_URI says which: {others}"
    )
    return [r for r in fits if r.registration is not None and r.registration.tracking_uri == chosen]


def examine(root: Path, run: RunRecord) -> Audit:
    """Read everything that a run's record names, and test it against the record and against each other.

    Raises:
        ServiceError: the artifact store can't be reached.
    """
    if run.registration is None:
        raise InputNotFoundError(f"run {run.name} registered no model")
    store = artifacts_of(root, run)
    tuned, model = _tuned(store, run)
    data_run = curating_run(root, run, model.dataset_digest if model else None)
    stores = [store] if data_run in (run, None) else [artifacts_of(root, data_run), store]
    data = stores[0]
    files = [c for s in stores for a in s.run.artifacts for c in check_artifact(s, a)]
    versions = _intact(data.manifest, data.run.of_type("dataset"))
    evals = [e for _, e in _intact(lambda a: store.value(a, EvalReport), run.of_type("eval_report"))]
    decisions = [d for _, d in _intact(lambda a: store.value(a, Decision), run.of_type("decision"))]
    decision = decisions[-1] if decisions else None
    judged = _of(decision.candidate if decision else "", evals)
    checks = [_check_files(files), *(c for s in stores for c in check_index(root, s.run))]
    if model is not None:
        own = [c for c in files if c.artifact == tuned]
        checks += _check_model(model, own, [m.digest for _, m in versions], judged, run.registration)
    served, unread = check_registry(run.registration, model)
    lost = ["the data: the run that made it is not in the index"] if data_run is None else []
    return Audit(
        registration=run.registration,
        run=run,
        model=model,
        files=files,
        checks=checks + served,
        unchecked=[*_unchecked(stores), *lost, *unread],
        datasets=[(m.stage, m.digest, m.rows, a.name) for a, m in versions],
        stages=[r for s in stores for _, r in _intact(s.report, s.run.of_type("stage_report"))],
        sources=_sources(data),
        decision=decision,
    )


def _intact(read: Callable[[ArtifactRecord], V], artifacts: Iterable[ArtifactRecord]) -> list[tuple[ArtifactRecord, V]]:
    """What artifacts hold; damaged ones are left out here and named by the check of the files."""
    found = []
    for artifact in artifacts:
        try:
            found.append((artifact, read(artifact)))
        except (IntegrityError, InputNotFoundError):
            continue
    return found


def _sources(data: Artifacts) -> dict[str, int]:
    """Rows of the last dataset version per source; none where it is damaged."""
    from pipelines.report.collect import rows_by_source

    try:
        return rows_by_source(data, data.run)
    except (IntegrityError, InputNotFoundError):
        return {}


def _of(subject: str, evals: list[EvalReport]) -> list[EvalReport]:
    """The evaluation of the subject that the gate judged; decisions of earlier versions name none: of the last one."""
    return [e for e in evals if e.subject == subject] or evals[-1:]


def _tuned(store: Artifacts, run: RunRecord) -> tuple[str, ModelInfo | None]:
    """The artifact's name and what it says of the registered model; of a run that registered none of its own, of the
    last that was trained. None where it is damaged.
    """
    models = run.of_type("model")
    if not models:
        raise InputNotFoundError("the run has no trained model", where=f"run {run.name}")
    read = _intact(store.model, models)
    trained = [(a.name, m) for a, m in read if m.dataset_digest is not None or m.trainable]
    digest = run.registration.tags.get("weights_digest") if run.registration else None
    return next((one for one in trained if one[1].digest == digest), trained[-1] if trained else ("", None))


def _check_files(files: list[FileCheck]) -> Check:
    wrong = list(dict.fromkeys(str(c) for c in files if not c.ok))
    said = ", ".join(wrong[:_NAMED]) + (f", and {len(wrong) - _NAMED} more" if len(wrong) > _NAMED else "")
    return (
        "stored files have the recorded SHA-256",
        not wrong,
        said or f"{len({(c.name, c.recorded) for c in files})} files read",
    )


def _unchecked(stores: Iterable[Artifacts]) -> Iterator[str]:
    """What no check covers, in words."""
    for store in stores:
        older = [a.name for a in store.run.artifacts if a.sha256 is None]
        if older:
            yield f"{', '.join(older)}: recorded by an older version, without SHA-256"
        for artifact, model in _intact(store.model, store.run.of_type("model")):
            if not model.files:
                yield f"{artifact.name}: a reference to {model.base.name}; its files are not in the run's store"


def _check_model(
    model: ModelInfo, files: list[FileCheck], datasets: list[str], evals: list[EvalReport], registration: Registration
) -> list[Check]:
    """`files`: those of the model's artifact; `datasets`: digests of all versions; `evals`: of the registered model."""
    digest = value_digest({c.name.removeprefix("files/"): c.found for c in files if c.name.startswith("files/")})
    checks = [("the model's digest is that of its stored files", model.digest == digest, digest)]
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
        "damaged": sorted({str(c) for c in a.files if not c.ok}),
        "not_checked": a.unchecked,
        "datasets": [{"stage": s, "digest": d, "rows": r, "artifact": n} for s, d, r, n in a.datasets],
        "stages": [r.model_dump(mode="json", include=_COUNTS) for r in a.stages],
        "sources": a.sources,
        "decision": json_value(a.decision),
    }


def _show(root: Path, a: Audit) -> None:
    r, m = a.registration, a.model
    aliases = "".join(f" @{alias}" for alias in r.aliases)
    heading(f"{r.name} version {r.version} {r.status}{aliases}")
    facts = [
        *(_model_facts(m) if m is not None else [("weights", "their record is damaged")]),
        ("run", f"{a.run.name}, {a.run.started}, stack {a.run.stack}"),
        ("commit", a.run.commit or "not a checkout"),
        ("config", f"{a.run.config_digest} ({config_path(root, a.run.name)})"),
        ("store", a.run.artifact_store + (" (remote)" if is_remote(a.run.artifact_store) else "")),
    ]
    show_table(["", ""], [list(f) for f in facts])
    show_table(["check", "", "detail"], [[c, "holds" if h else "BROKEN", d] for c, h, d in a.checks])
    for what in a.unchecked:
        say(f"not checked: {what}")
    rows = [list(s.model_dump(include=_COUNTS).values()) for s in a.stages]
    columns = ["stage", "in", "created", "kept", "dropped", "quarantined", "changed"]
    show_table(columns, rows, numeric=range(1, len(columns)))
    show_table(["dataset version", "digest", "rows"], [[n, d, rows_] for _, d, rows_, n in a.datasets], numeric=[2])
    if a.sources:
        show_table(["source", "rows in the last version"], [list(s) for s in a.sources.items()], numeric=[1])
    if a.decision is not None:
        failed = [x.check for x in a.decision.reasons if not x.passed]
        say("gate: promoted" if a.decision.promote else f"gate: not promoted: {', '.join(failed)}")


def _model_facts(m: ModelInfo) -> list[tuple[str, str]]:
    base = m.base.name + (f" at {m.base.revision}" if m.base.revision else "")
    return [
        ("weights", f"{m.digest} ({m.kind}, {m.parameters:,} parameters, {m.trainable:,} trained)"),
        ("base", f"{base} {m.base.digest or ''}"),
        ("trained on", m.dataset_digest or "not recorded"),
    ]

"""`assay run`: one config file, on one stack, to a recorded and reported result."""

import os
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from ops.environment import find_root, prepare
from ops.infra import load_infra
from ops.plan import Plan
from ops.run_index import run_folder, save_planted, save_run, write_report
from ops.summary import print_plan, print_summary
from pipelines.config import RunConfig
from pipelines.dataset import find_dataset
from pipelines.inputs import read_inputs
from pipelines.load import load_model
from pipelines.report.costs import own_usage
from steps.contracts.errors import AssayError, ServiceError
from steps.contracts.reports import Table
from steps.contracts.runs import ArtifactRecord, ArtifactType, RunRecord


def run(
    config_path: Path,
    *,
    infra: str | None = None,
    stack: str | None = None,
    overrides: Sequence[str] = (),
    dry_run: bool = False,
    no_cache: bool = False,
    json_output: bool = False,
    root: Path | None = None,
) -> int:
    """Run a pipeline. Returns the process exit status: 0 when it completed (whatever the gate decided).

    `no_cache` runs every step, also those that ZenML's cache could answer for.

    Raises:
        AssayError: the config, an input, a service or a step failed; the run is recorded as failed.
    """
    home = root or find_root()
    state = prepare(home)
    if json_output:
        os.environ["ASSAY_PROGRESS"] = "off"
    plan = replace(make_plan(home, config_path, infra, stack, overrides), cache=not no_cache)
    if dry_run:
        print_plan(plan, json_output)
        return 0
    record = execute(home, state, plan)
    print_summary(home, record, json_output)
    return 0


def make_plan(root: Path, path: Path, infra: str | None, stack: str | None, overrides: Sequence[str] = ()) -> Plan:
    """Resolve config, infra and inputs; fails before anything runs when one of them is missing or wrong."""
    config = load_model(RunConfig, path, overrides)
    names = step_names(config)
    place = load_infra(root, infra or stack, (*KNOWN_STEPS, *names))
    return Plan(config, place, stack or place.stack, read_inputs(root, config), names, commit_of(root))


KNOWN_STEPS = (
    "ingest_step", "dedup_step", "split_step", "scrub_step", "screen_step", "semantic_step", "judge_step",
    "review_step", "leakcheck_step", "base_step", "train_step", "evaluate_step", "gate_step", "register_step",
)  # fmt: skip
_CURATION_STEPS = KNOWN_STEPS.index("base_step")


def step_names(config: RunConfig) -> tuple[str, ...]:
    """The steps of a run, in order."""
    skipped = {
        *config.skip,
        *(() if config.review.decisions else ("review",)),
        *(() if config.semantic is not None else ("semantic",)),
    }
    curation = [s for s in KNOWN_STEPS[:_CURATION_STEPS] if s.removesuffix("_step") not in skipped]
    tuning: list[str] = []
    for step in KNOWN_STEPS[_CURATION_STEPS:]:
        tuning += [f"evaluate_{s}_step" for s in config.subjects] if step == "evaluate_step" else [step]
    return (*(curation if config.curates else ()), *(tuning if config.tunes else ()))


def commit_of(root: Path) -> str | None:
    """The checkout's commit, with "+changes" when tracked files differ from it; None outside a checkout."""
    try:
        head = subprocess.run(
            ["git", "-C", str(root), "rev-parse", "HEAD"], capture_output=True, text=True, check=True, timeout=20
        ).stdout.strip()
        dirty = subprocess.run(
            ["git", "-C", str(root), "status", "--porcelain", "--untracked-files=no"],
            capture_output=True, text=True, check=True, timeout=20,
        ).stdout.strip()  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    return f"{head}+changes" if dirty else head


def execute(root: Path, state: Path, plan: Plan) -> RunRecord:
    """Run the plan on its stack and record it, also when it fails."""
    from ops.stacks import apply, stack_file
    from steps.zenml_runtime import local_store
    from steps.zenml_runtime.state import clear_workspaces
    from steps.zenml_runtime.step import say

    started = datetime.now(UTC)
    applied = apply(stack_file(root, plan.stack), dict(os.environ))
    for change in applied.changes:
        say(f"stack: {change}")
    os.environ["ZENML_ACTIVE_STACK_ID"] = applied.id
    local_store.use_wal(state / "zenml" / "local_stores" / "default_zen_store" / "zenml.db")
    for name in local_store.reap():
        say(f"run {name} had died; its finished steps are reused")
    name = f"{plan.config.name}-{started:%Y%m%d-%H%M%S}-{os.getpid() % 10_000:04d}"
    run_folder(root, name)
    with local_store.run_lock(name):
        error: Exception | None = None
        try:
            _pipeline(plan, name)()
        except Exception as e:  # noqa: BLE001 - recorded, then raised again as it is
            error = e
        record = _record(root, plan, name, started, applied.artifact_store, error)
    clear_workspaces()
    if error is not None:
        raise _as_ours(error, record) from error
    return record


def _pipeline(plan: Plan, name: str) -> Any:
    """The configured pipeline, ready to be called."""
    from zenml import Model

    from pipelines import runs

    options: dict[str, Any] = {
        "run_name": name,
        "steps": plan.infra.step_configurations(plan.steps, cache=plan.cache),
        "settings": plan.infra.settings,
        "tags": [f"config:{plan.config.name}"],
        "extra": {**plan.lineage, **_reuse(plan.config)},
    }
    if plan.config.tunes and plan.config.registry is not None:
        options["model"] = Model(name=plan.config.registry.name, tags=[f"run:{name}"])
    chosen = {"curate": runs.curate, "finetune": runs.finetune, "end_to_end": runs.end_to_end}[plan.config.pipeline]
    arguments: dict[str, Any] = {"config": plan.config, "inputs": plan.inputs}
    if plan.config.pipeline == "finetune":
        arguments["dataset_version"] = find_dataset(plan.config.dataset or "")
    pipeline = chosen.with_options(**options)
    return lambda: pipeline(**arguments)


def _reuse(config: RunConfig) -> dict[str, dict[str, str]]:
    """What the run's `extra` says about reuse; says on the terminal which run it builds on."""
    from pipelines.reuse import reusable
    from steps.zenml_runtime.context import REUSE
    from steps.zenml_runtime.step import say

    if config.reuse is None or not config.curates:
        return {}
    found = reusable(config, config.reuse)
    say(f"reuse: builds on run {found.run}" if found else f"reuse: no completed run of {config.name} yet")
    return {REUSE: found.artifacts} if found else {}


def _as_ours(error: Exception, record: RunRecord) -> AssayError | Exception:
    """The step's own error where it is one of ours, with its run named."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, AssayError):
            return seen
        if type(seen).__module__.startswith(("mlflow", "requests", "urllib3")):
            return ServiceError(
                f"the experiment tracker doesn't answer: {str(seen).splitlines()[0][:300]}",
                where=f"run {record.name}",
                hint="start it, or name another stack; finished steps are reused",
            )
        seen = seen.__cause__ or seen.__context__
    return error


# --- recording -------------------------------------------------------------------------------------------------

_TYPES: dict[str, ArtifactType] = {
    "DatasetMaterializer": "dataset",
    "LedgerMaterializer": "ledger",
    "StageReportMaterializer": "stage_report",
    "ModelFolderMaterializer": "model",
    "AnswersMaterializer": "answers",
    "FileMaterializer": "file",
    "RowCacheMaterializer": "row_cache",
    "EmbeddingsMaterializer": "embeddings",
    "DedupIndexMaterializer": "index",
}
_VALUE_TYPES: dict[str, ArtifactType] = {
    "EvalReport": "eval_report",
    "Comparison": "comparison",
    "Decision": "decision",
    "Registration": "registration",
}


def _record(root: Path, plan: Plan, name: str, started: datetime, store: str, error: Exception | None) -> RunRecord:
    """Write the run's record, config, comparison with planted rows, and page."""
    from zenml.client import Client

    found = Client().list_pipeline_runs(name=f"equals:{name}", size=1).items
    steps = dict(Client().get_pipeline_run(found[0].id).steps) if found else {}
    order = {s: i for i, s in enumerate(plan.steps)}
    ordered = sorted(steps.values(), key=lambda s: order.get(s.name, len(order)))
    cached = tuple(s.name for s in ordered if s.status.value == "cached")
    cpu_seconds, peak_mb = own_usage()
    record = RunRecord(
        run_id=str(found[0].id) if found else "",
        name=name,
        config_name=plan.config.name,
        pipeline=plan.config.pipeline,
        status="failed" if error else "completed",
        started=started.isoformat(timespec="seconds"),
        ended=datetime.now(UTC).isoformat(timespec="seconds"),
        stack=plan.stack,
        artifact_store=store,
        commit=plan.commit,
        config_digest=plan.config_digest,
        artifacts=tuple(a for s in ordered for a in _artifacts_of(s)),
        cached_steps=cached,
        executed_steps=tuple(s.name for s in ordered if s.name not in cached),
        error=str(error) if error else None,
        registration=_registration(ordered),
        tracking_uri=_tracking_uri(),
        cpu_seconds=round(cpu_seconds, 1),
        peak_mb=round(peak_mb),
    )
    resolved = yaml.safe_dump(plan.config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
    save_run(root, record, resolved)
    if plan.config.planted and not error and plan.config.curates:
        save_planted(root, name, _planted(root, plan.config.planted, record))
    if not error:
        write_report(root, record)
    return record


def _artifacts_of(step: Any) -> list[ArtifactRecord]:
    records = []
    for name, versions in step.outputs.items():
        for version in versions:
            materializer = version.materializer.attribute or ""
            kind = _TYPES.get(materializer) or _VALUE_TYPES.get(version.data_type.attribute or "", "file")
            digest = version.run_metadata.get("digest") or version.content_hash
            records.append(
                ArtifactRecord(
                    step=step.name,
                    name=name,
                    type=kind,
                    uri=version.uri,
                    digest=str(digest) if digest else None,
                    cached=step.status.value == "cached",
                )
            )
    return records


def _registration(steps: Sequence[Any]) -> Any:
    for step in steps:
        if step.name == "register_step" and step.outputs:
            return next(iter(step.outputs.values()))[0].load()
    return None


def _tracking_uri() -> str | None:
    from zenml.client import Client

    tracker = Client().active_stack.experiment_tracker
    found = tracker.get_tracking_uri() if tracker is not None and hasattr(tracker, "get_tracking_uri") else None
    return str(found) if found else os.environ.get("MLFLOW_TRACKING_URI")


def _planted(root: Path, planted: str, record: RunRecord) -> Table:
    from ops.planted import compare_planted

    return compare_planted(root, root / planted, record)

"""A run's record and page, from ZenML's store and the artifact store alone.

Made by the run's last step; for a run that has none (it failed, was killed, still goes on) by anybody, at any time, on
any machine that reaches the stores.
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from typing import Any

import yaml
from pydantic import ValidationError
from zenml.artifacts.utils import load_artifact_store
from zenml.client import Client
from zenml.constants import METADATA_ORCHESTRATOR_LOGS_URL, METADATA_ORCHESTRATOR_URL
from zenml.enums import StackComponentType

from materializers.all import ARTIFACT_TYPES
from materializers.artifacts import Artifacts
from materializers.layout import SHA256
from pipelines.config import RunConfig
from pipelines.report.collect import collect
from pipelines.report.page import render_page
from pipelines.report.sections import make_sections
from pipelines.stages import READING
from pipelines.step_names import DATASET, FINISH, START, position_of
from steps.contracts.digests import value_digest
from steps.contracts.provenance import DeclaredSource
from steps.contracts.runs import DIED, ArtifactRecord, ArtifactType, RunRecord
from steps.zenml_runtime.context import DATASET_RUN, SCHEDULE, SLOT, SOURCES, noted
from steps.zenml_runtime.machine import machines_of
from steps.zenml_runtime.state import state_folder
from steps.zenml_runtime.usage import USAGE

_TYPES: dict[str, ArtifactType] = {kind.__name__: name for kind, name in ARTIFACT_TYPES.items()}
# Exceptions by which a signal ends a run, in words.
_INTERRUPTIONS = {"KeyboardInterrupt": "it was interrupted (Ctrl-C)", "Terminated": "it was terminated (SIGTERM)"}
# Steps whose outputs are no artifacts of the data.
_AROUND = (START, DATASET, FINISH)


def record_of(run: Any, ended: datetime | None = None) -> RunRecord:
    """What ZenML's store knows of a run (its PipelineRunResponse).

    `ended`: said by the last step, which is the only one that still runs: everything before it ended well.
    """
    config = config_of(run)
    steps = sorted(run.steps.values(), key=lambda s: (position_of(s.name), s.created))
    facts = noted(run)
    failed = next((s for s in steps if s.status.value == "failed"), None)
    info = _exception(run, failed)
    usage = run.run_metadata.get(USAGE, {})
    end = ended or (_utc(run.end_time) if run.status.is_finished else None)
    return RunRecord(
        run_id=str(run.id),
        name=run.name,
        config_name=config["name"],
        pipeline=config["pipeline"],
        status="completed" if ended else run.status.value,
        started=_iso(run.start_time or run.created),
        ended=_iso(end) if end else None,
        stack=run.stack.name if run.stack else "",
        artifact_store=_store_path(run),
        commit=facts.get("commit") or None,
        config_digest=value_digest(config),
        artifacts=tuple(a for s in steps if s.name not in _AROUND for a in outputs_of(s)),
        cached_steps=tuple(s.name for s in steps if s.status.value == "cached"),
        executed_steps=tuple(s.name for s in steps if s.status.value != "cached"),
        error=_error(run, info),
        error_kind=_kind(info),
        failed_step=failed.name if failed else None,
        log=_log(run, failed),
        registration=_registration(steps),
        monitored=_monitored(steps),
        tracking_uri=facts.get("tracking_uri") or None,
        cpu_seconds=usage.get("cpu_seconds"),
        peak_mb=usage.get("peak_mb"),
        schedule=run.config.extra.get(SCHEDULE),
        slot=facts.get(SLOT) or run.config.extra.get(SLOT),
        read_digest=facts.get("read_digest"),
        config=config,
        sources=tuple(DeclaredSource.model_validate(s) for s in facts.get(SOURCES, ())),
        machines=machines_of(run.steps),
    )


def config_of(run: Any) -> dict[str, Any]:
    """The resolved config of a run, a parameter of its pipeline. ZenML stores what was set; defaults are this code's,
    and are left out where it doesn't know the settings (those of another version).
    """
    stored = dict(run.config.parameters["config"])
    try:
        return RunConfig.model_validate(stored).model_dump(mode="json")
    except ValidationError:
        return {"pipeline": "end_to_end", **stored}


def digests_of_run(run: Any) -> dict[str, dict[str, str]]:
    """What the first step of a run (ZenML's PipelineRunResponse) found its stages to read, by stage, as
    `Inputs.digests`; empty when it didn't get so far. It is as long as there are files, so that no note holds it.
    """
    first = run.steps.get(START)
    outputs = first.outputs if first is not None and first.status.value == "completed" else {}
    found = {s.name: outputs[f"{s.name}_inputs"][0].load() for s in READING if f"{s.name}_inputs" in outputs}
    return {name: digests for name, digests in found.items() if digests}


def config_yaml_of(run: Any) -> str:
    """The same as YAML."""
    return yaml.safe_dump(config_of(run), sort_keys=False, allow_unicode=True)


def page_of(run: Any, record: RunRecord) -> str:
    """The page of a run as HTML, from what the artifact store holds."""
    return render_page(collect(artifacts_in(run, record), _made_by(run, record), config_yaml_of(run)))


def with_sections(run: Any, record: RunRecord) -> RunRecord:
    """The record with the tables that the config's `report.sections` make of the run."""
    config = config_of(run)
    named = config.get("report", {}).get("sections", ())
    return record.model_copy(update={"sections": make_sections(named, artifacts_in(run, record), config)})


def artifacts_in(run: Any, record: RunRecord) -> Artifacts:
    """A run's artifacts, read by the credentials of its stack."""
    store = load_artifact_store(_component(run, StackComponentType.ARTIFACT_STORE).id)
    return Artifacts(
        record, state_folder() / "cache", lambda uri: store.open(uri, "rb"), lister=partial(_listed, store)
    )


def _listed(store: Any, uri: str) -> list[str]:
    """Names of all files below a folder of ZenML's artifact store."""
    top = uri.rstrip("/")
    folders = ((str(folder).rstrip("/"), files) for folder, _, files in store.walk(top))
    return [f"{folder}/{name}".removeprefix(f"{top}/") for folder, files in folders for name in files]


def _made_by(run: Any, record: RunRecord) -> RunRecord | None:
    """The run that made the dataset: the same, or for fine-tuning alone that of the version it started from."""
    if record.of_type("dataset"):
        return record
    producer = dataset_maker(run)
    return record_of(Client().get_pipeline_run(producer)) if producer else None


def dataset_maker(run: Any) -> Any:
    """Id of the run that made the dataset version which fine-tuning alone starts from; None for other runs."""
    return noted(run).get(DATASET_RUN) or None


def stored(run: Any) -> tuple[RunRecord, str] | None:
    """Record and page as the run's last step kept them; None when it didn't get so far."""
    last = run.steps.get(FINISH)
    if last is None or last.status.value != "completed":
        return None
    record, page = (last.outputs[name][0].load() for name in ("run_record", "run_page"))
    return record, str(page)


def outputs_of(step: Any) -> Iterator[ArtifactRecord]:
    """What a step of a run left, as the record has it."""
    for name, versions in step.outputs.items():
        for version in versions:
            digest = version.run_metadata.get("digest") or version.content_hash
            maker = version.producer_pipeline_run_id
            yield ArtifactRecord(
                step=step.name,
                name=name,
                type=_TYPES.get(version.data_type.attribute or "", "file"),
                uri=version.uri,
                digest=str(digest) if digest else None,
                sha256=version.run_metadata.get(SHA256),
                cached=step.status.value == "cached",
                version=str(version.id),
                made_by=str(maker) if maker and maker != step.pipeline_run_id else None,
            )


def _registration(steps: list[Any]) -> Any:
    last = next((s for s in steps if s.name == "register_step" and s.outputs), None)
    return next(iter(last.outputs.values()))[0].load() if last else None


def _monitored(steps: list[Any]) -> Any:
    last = next((s for s in steps if s.name == "monitor_step" and "monitored" in s.outputs), None)
    return last.outputs["monitored"][0].load().outcome if last else None


def _exception(run: Any, failed: Any) -> Any:
    """What ZenML wrote down of the exception that ended a run; None when it saw none."""
    if run.status.value != "failed":
        return None
    return (failed and failed.exception_info) or run.exception_info


def _kind(info: Any) -> str | None:
    """Name of an exception's class."""
    return info.source.rsplit(".", 1)[-1] if info is not None and info.source else None


def _error(run: Any, info: Any) -> str | None:
    """What ended a run that failed."""
    if run.status.value != "failed":
        return None
    if info is not None:
        return _INTERRUPTIONS.get(_kind(info) or "") or str(info.message or info.traceback.strip().splitlines()[-1])
    return DIED


def _log(run: Any, failed: Any) -> str | None:
    """Where what the failed step wrote stands: where ZenML stored it, else what the orchestrator has of it."""
    uris = [log.uri for log in (failed.log_collection or ()) if log.uri] if failed else []
    if uris or run.status.value != "failed":
        return uris[0] if uris else None
    known = (run.run_metadata.get(name) for name in (METADATA_ORCHESTRATOR_LOGS_URL, METADATA_ORCHESTRATOR_URL))
    return next((str(url) for url in known if url), None) or _pods_log(run, failed)


def _pods_log(run: Any, failed: Any) -> str | None:
    """The command that shows a pod's log, as long as the cluster keeps it; by the labels that ZenML gives its jobs."""
    found = run.stack.components.get(StackComponentType.ORCHESTRATOR, []) if run.stack else []
    if failed is None or not found or found[0].flavor_name != "kubernetes":
        return None
    namespace = found[0].configuration.get("kubernetes_namespace") or "zenml"
    return f"kubectl --namespace {namespace} logs --selector run_id={run.id},step_name={failed.name}"


def _component(run: Any, kind: StackComponentType) -> Any:
    return run.stack.components[kind][0]


def _store_path(run: Any) -> str:
    return str(_component(run, StackComponentType.ARTIFACT_STORE).configuration.get("path") or "") if run.stack else ""


def _utc(time: datetime) -> datetime:
    # ZenML's times are in UTC and don't say so.
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)


def _iso(time: datetime) -> str:
    return _utc(time).isoformat(timespec="seconds")

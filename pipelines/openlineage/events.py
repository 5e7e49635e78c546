"""A run as OpenLineage events: one job for the config, one for each of its stages, each run of them begun and ended."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from functools import cached_property
from importlib.metadata import version as installed
from typing import cast

from openlineage.client.event_v2 import InputDataset, Job, OutputDataset, Run, RunEvent, RunState, set_producer
from openlineage.client.facet_v2 import (
    RunFacet,
    error_message_run,
    job_type_job,
    nominal_time_run,
    parent_run,
    processing_engine_run,
    tags_run,
)

from materializers.artifacts import going_on
from pipelines.openlineage import datasets
from pipelines.openlineage.datasets import Known
from pipelines.openlineage.work import StepWork, Work
from steps.contracts.runs import ArtifactRecord, RunRecord

# Classes of the exceptions by which somebody ended a run, and ZenML's words for a run that was told to end.
_ABORTED = ("KeyboardInterrupt", "Terminated", "stopped", "cancelled")


class Events:
    """The events of one run. `namespace`: of jobs, and of what they make."""

    def __init__(self, work: Work, namespace: str) -> None:
        set_producer(f"urn:assay:{installed('assay')}")
        self._work = work
        self._namespace = namespace

    def started(self) -> RunEvent:
        """The run began: what it reads."""
        record = self._record
        return self._of_run(RunState.START, record.started, [known.as_input() for known in self._read], [])

    def completed(self) -> Iterator[RunEvent]:
        """The run ended well: what its steps read and made, and what it made itself."""
        yield from self._of_steps()
        made = [known.as_output() for known in self._made]
        yield self._of_run(RunState.COMPLETE, self._ended, [known.as_input() for known in self._read], made)

    def failed(self) -> Iterator[RunEvent]:
        """The run didn't end well: what its steps made before, and where it ended; never what the error said."""
        yield from self._of_steps()
        record = self._record
        aborted = record.error_kind in _ABORTED or record.status in _ABORTED
        state = RunState.ABORT if aborted else RunState.FAIL
        yield self._of_run(state, self._ended, [known.as_input() for known in self._read], [], self._error())

    @property
    def _record(self) -> RunRecord:
        return self._work.record

    @property
    def _ended(self) -> str:
        return self._record.ended or _iso(datetime.now(UTC))

    @cached_property
    def _read(self) -> list[Known]:
        """What the run reads from outside."""
        config, found = self._work.config, []
        if config is not None and config.curates and config.ingest is not None:
            digests = self._work.inputs.get("ingest", {})
            found = [datasets.source(source, digests) for source in config.ingest.sources]
        if self._work.trained_on is not None:
            maker, name, digest = self._work.trained_on
            artifact = ArtifactRecord(step="dataset_step", name=name, type="dataset", uri="", digest=digest)
            found.append(datasets.version(self._namespace, maker, artifact, None))
        if config is not None and config.tunes and config.base is not None:
            found.append(datasets.base(config.base, self._work.inputs.get("base", {})))
        return found

    @cached_property
    def _known(self) -> Mapping[str, Known]:
        """The run's dataset versions and models by URI."""
        name, registered = self._record.config_name, self._registered()
        found = {}
        for artifact in self._record.artifacts:
            if artifact.type == "dataset":
                manifest = self._work.manifests.get(artifact.uri)
                found[artifact.uri] = datasets.version(self._namespace, name, artifact, manifest)
            elif artifact.type == "model":
                found[artifact.uri] = datasets.model(self._namespace, name, artifact, registered)
        return found

    @property
    def _made(self) -> list[Known]:
        """What the run was for: its last dataset version and its last model."""
        versions = going_on(self._record)
        models = [a for a in self._record.of_type("model") if a.step != "base_step"]
        scrubbed = any(a.step == "scrub_step" for a in versions)
        sources = [known for known in self._read if known.kind != "MODEL"]
        made = []
        if versions and self._work.trained_on is None:
            lineage = datasets.from_rows(sources, masked=scrubbed)
            made.append(self._known[versions[-1].uri].derived(lineage))
        if models:
            data = made or sources
            base = [known for known in self._read if known.kind == "MODEL"]
            made.append(self._known[models[-1].uri].derived(datasets.learnt_from([*data, *base])))
        return made

    def _registered(self) -> tuple[tuple[str, str], ...]:
        found = self._record.registration
        return (("registered", f"{found.name}/{found.version}"), ("status", found.status)) if found else ()

    def _of_steps(self) -> Iterator[RunEvent]:
        for step in self._work.steps:
            if step.ended is None or step.name in ("start_step", "finish_step", "dataset_step"):
                continue
            read = self._outside(step) or [self._known[uri] for uri in step.inputs if uri in self._known]
            made = [self._derived(step, self._known[uri], read) for uri in step.outputs if uri in self._known]
            inputs, outputs = [k.as_input() for k in read], [k.as_output() for k in made]
            yield self._of_step(step, RunState.START, step.started, inputs, [])
            yield self._of_step(step, RunState.FAIL if step.failed else RunState.COMPLETE, step.ended, inputs, outputs)

    def _outside(self, step: StepWork) -> list[Known]:
        """What a step reads that no run made."""
        if step.stage not in ("ingest", "base"):
            return []
        return [known for known in self._read if (known.kind == "MODEL") == (step.stage == "base")]

    def _derived(self, step: StepWork, made: Known, read: list[Known]) -> Known:
        if not read:
            return made
        if made.kind == "MODEL":
            return made.derived(datasets.learnt_from(read))
        return made.derived(datasets.by_stage(step.stage, [known for known in read if known.kind != "MODEL"]))

    def _of_run(
        self,
        state: RunState,
        time: str,
        inputs: list[InputDataset],
        outputs: list[OutputDataset],
        facets: Mapping[str, RunFacet] | None = None,
    ) -> RunEvent:
        said = {**self._about(), **(facets or {})}
        job = self._job(self._record.config_name, "PIPELINE")
        run = Run(self._record.run_id, facets=said)
        return RunEvent(eventTime=time, eventType=state, run=run, job=job, inputs=inputs, outputs=outputs)

    def _of_step(
        self,
        step: StepWork,
        state: RunState,
        time: datetime,
        inputs: list[InputDataset],
        outputs: list[OutputDataset],
    ) -> RunEvent:
        name = self._record.config_name
        above = parent_run.ParentRunFacet(
            parent_run.Run(self._record.run_id), parent_run.Job(self._namespace, name, facets={})
        )
        facets = cast("dict[str, RunFacet]", {"parent": above, **(self._error() if state is RunState.FAIL else {})})
        job = self._job(f"{name}.{step.stage}", "STEP")
        run = Run(step.run_id, facets=facets)
        return RunEvent(eventTime=_iso(time), eventType=state, run=run, job=job, inputs=inputs, outputs=outputs)

    def _job(self, name: str, kind: str) -> Job:
        return Job(self._namespace, name, facets={"jobType": job_type_job.JobTypeJobFacet("BATCH", "ASSAY", kind)})

    def _about(self) -> dict[str, RunFacet]:
        record = self._record
        said = {
            "zenml_run": record.name,
            "pipeline": record.pipeline,
            "config_digest": record.config_digest,
            "read_digest": record.read_digest,
            "commit": record.commit,
            "stack": record.stack,
            "schedule": record.schedule,
        }
        tags = [tags_run.TagsRunFacetFields(key, value, "assay") for key, value in said.items() if value]
        engine = processing_engine_run.ProcessingEngineRunFacet(
            installed("zenml"), "ZenML", openlineageAdapterVersion=installed("assay")
        )
        slot = {"nominalTime": nominal_time_run.NominalTimeRunFacet(_full(record.slot))} if record.slot else {}
        return {"tags": tags_run.TagsRunFacet(tags), "processing_engine": engine, **slot}

    def _error(self) -> dict[str, RunFacet]:
        """The class of the error and the step: what a library's error says may hold a row's text."""
        kind, step = self._record.error_kind or self._record.status, self._record.failed_step
        message = f"{kind} in {step}" if step else kind
        return {"errorMessage": error_message_run.ErrorMessageRunFacet(message, "PYTHON")}


def _full(slot: str) -> str:
    """A slot with its seconds, which ISO 8601 may leave out and RFC 3339 may not."""
    return datetime.fromisoformat(slot).isoformat()


def _iso(time: datetime) -> str:
    return time.isoformat(timespec="milliseconds")

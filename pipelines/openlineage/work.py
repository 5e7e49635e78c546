"""What happened, as events tell it: a run, its steps, what they read and made. Nothing of OpenLineage in here."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from pydantic import ValidationError

from pipelines.config import RunConfig
from steps.contracts.dataset import Manifest
from steps.contracts.runs import RunRecord


@dataclass(frozen=True)
class StepWork:
    """One step that really ran: those from the cache did nothing.

    Attributes:
        run_id: ZenML's, a UUID.
        ended: None while it runs.
        inputs, outputs: URIs of artifacts.
    """

    run_id: str
    name: str
    started: datetime
    ended: datetime | None
    failed: bool
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()

    @property
    def stage(self) -> str:
        """The stage that it is of."""
        return self.name.removesuffix("_step")


@dataclass(frozen=True)
class Work:
    """A run.

    Attributes:
        config: None where it is of another version, whose settings this code doesn't know.
        inputs: what its stages read, as `pipelines.input_digests.Inputs.digests`.
        steps: in the order of the data.
        manifests: of dataset versions, by URI; those that can't be read are left out.
        trained_on: what fine-tuning alone starts from: (its config's name, artifact name, digest); None otherwise.
    """

    record: RunRecord
    config: RunConfig | None
    inputs: Mapping[str, Mapping[str, str]]
    steps: tuple[StepWork, ...] = ()
    manifests: Mapping[str, Manifest] = field(default_factory=dict)
    trained_on: tuple[str, str, str] | None = None


def config_or_none(values: dict[str, Any]) -> RunConfig | None:
    """A resolved config, if it is one of this version."""
    try:
        return RunConfig.model_validate(values)
    except ValidationError:
        return None


def steps_of(run: Any) -> tuple[StepWork, ...]:
    """The steps that ran, of a run as ZenML has it (PipelineRunResponse), by when they started."""
    ran = (s for s in run.steps.values() if s.status.value != "cached" and s.start_time is not None)
    return tuple(
        StepWork(
            run_id=str(step.id),
            name=step.name,
            started=step.start_time.replace(tzinfo=UTC),
            ended=step.end_time.replace(tzinfo=UTC) if step.end_time else None,
            failed=step.status.value == "failed",
            inputs=_uris(step.inputs),
            outputs=_uris(step.outputs),
        )
        for step in sorted(ran, key=lambda s: s.start_time)
    )


def _uris(versions: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(v.uri for found in versions.values() for v in (found if isinstance(found, list) else [found]))

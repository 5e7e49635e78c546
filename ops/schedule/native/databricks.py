"""Databricks' clock: the schedule of a job that ZenML had Databricks record."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ops.schedule.native.clocks import Clock, with_question_mark
from ops.schedule.native.recorded import recorded, spec_of, to_record
from ops.schedule.native.service import Keeps, Service, Spec, native_name
from ops.schedule.schedule import Schedule
from steps.contracts.errors import AssayError, ConfigError, MissingDependencyError, ServiceError

_LONGEST = 100
_OWNER = "assay-owner"
# ZenML has the job made with a schedule; this moment never comes before it is another one.
_NEVER = "0 0 0 1 1 ? 2099"
_KEEPS = Keeps(
    # Quartz may skip or repeat what a change of clocks touches; Databricks' guide says no more than that.
    clock=Clock(left_out=None, repeated=None),
    catchup=("none",),
    overlap=("skip", "queue"),
    options=("timeout",),
)


@dataclass(frozen=True)
class Databricks(Service):
    """Jobs of a workspace."""

    keeps = _KEEPS

    @property
    def label(self) -> str:
        """What fires the schedule."""
        return f"a job of {self.configuration.get('host')}"

    def wanted(self, schedule: Schedule, paused: bool) -> Spec:
        """The settings of the job that are the schedule's."""
        times = schedule.times
        assert times is not None
        native = {
            "name": native_name(schedule, _LONGEST),
            "tags": {_OWNER: self.owner},
            "schedule": {
                "quartz_cron_expression": f"0 {with_question_mark(times, 'Databricks')}",
                "timezone_id": schedule.tz,
                "pause_status": "PAUSED" if paused else "UNPAUSED",
            },
            "max_concurrent_runs": 1,
            "queue": {"enabled": schedule.overlap == "queue"},
            "timeout_seconds": round(schedule.timeout.total_seconds()) if schedule.timeout else 0,
        }
        return spec_of(self.root, schedule, native)

    def put(self, spec: Spec) -> Spec:
        """Record the job where it isn't as the schedule has it, and give it its settings."""
        from databricks.sdk.service.jobs import JobSettings

        native = spec["native"]
        with self._jobs() as jobs:
            there = next(iter(jobs.list(name=native["name"])), None)
            if there is not None and (there.settings.tags or {}).get(_OWNER) != self.owner:
                what = f"there is a job {native['name']} that isn't of this state folder"
                raise ConfigError(what, where=self.label, hint="give the schedule another name")
            job = self._record(spec, jobs) if there is None or to_record(self.root, spec) else there.job_id
            jobs.update(job, new_settings=JobSettings.from_dict(dict(native)))
            if there is not None and there.job_id != job:
                jobs.delete(there.job_id)
        return {**spec, "job": job}

    def _record(self, spec: Spec, jobs: Any) -> int:
        """Id of the job that ZenML has Databricks record. ZenML starts each job that it makes; that run is ended."""
        recorded(self.root, spec, _NEVER, f"{spec['native']['name']}-{self.owner[:12]}")
        made = [j.job_id for j in jobs.list(expand_tasks=False) if _cron_of(j) == _NEVER]
        if not made:
            raise ServiceError("Databricks has no job of what was recorded", where=self.label, hint="once more, later")
        jobs.cancel_all_runs(job_id=max(made))
        return int(max(made))

    def found(self, spec: Spec) -> Spec | None:
        """The job as Databricks has it."""
        with self._jobs() as jobs:
            there = _there(lambda: jobs.get(spec["job"]))
        return None if there is None else {**spec, "native": there.as_dict()["settings"]}

    def remove(self, spec: Spec) -> bool:
        """Take the job away; Databricks ends what of it runs."""
        with self._jobs() as jobs:
            there = _there(lambda: jobs.get(spec["job"])) is not None
            _there(lambda: jobs.delete(spec["job"]))
        return there

    def fire(self, spec: Spec, at: datetime) -> str:
        """A run of the job; it stands for the newest slot before its start."""
        with self._jobs() as jobs:
            return f"job run {jobs.run_now(spec['job']).response.run_id}"

    @contextmanager
    def _jobs(self) -> Iterator[Any]:
        try:
            from databricks.sdk import WorkspaceClient
            from databricks.sdk.errors.base import DatabricksError
        except ImportError as e:
            hint = "pip install -c constraints.txt databricks-sdk"
            raise MissingDependencyError("Databricks' library isn't installed", where="--on", hint=hint) from e
        try:
            named = ("host", "client_id", "client_secret")
            yield WorkspaceClient(**{k: self.configuration[k] for k in named if self.configuration.get(k)}).jobs
        except AssayError:
            raise
        except (DatabricksError, ValueError, OSError) as e:
            hint = "`assay stack doctor databricks` looks for what is missing; nothing was changed here"
            raise ServiceError(f"Databricks refused it: {str(e)[:300]}", where=self.label, hint=hint) from e


def _cron_of(job: Any) -> str:
    schedule = job.settings.schedule if job.settings is not None else None
    return str(schedule.quartz_cron_expression) if schedule is not None else ""


def _there(call: Callable[[], Any]) -> Any:
    """What Databricks answers; None where it knows no such job."""
    from databricks.sdk.errors import NotFound

    try:
        return call()
    except NotFound:
        return None

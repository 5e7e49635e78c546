"""Amazon's clock: an EventBridge schedule that starts the pipeline which SageMaker recorded."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from ops.schedule.native.clocks import Clock, with_question_mark
from ops.schedule.native.recorded import recorded, spec_of, to_record
from ops.schedule.native.service import Keeps, Service, Spec, native_name
from ops.schedule.policy import deadline
from ops.schedule.schedule import Schedule
from steps.contracts.errors import AssayError, ConfigError, MissingDependencyError, ServiceError

_LONGEST = 64
# ZenML has the SDK make a schedule of its own, without a zone; this moment never comes before that is gone.
_NEVER = "cron(0 0 1 1 ? 2099)"
# EventBridge's own bounds of how late it may start something, in seconds.
_AGE = (60, 86_400)
_KEEPS = Keeps(
    # EventBridge Scheduler's guide: a time that spring leaves out is skipped, one that autumn repeats comes once.
    clock=Clock(left_out="skips", repeated="once"),
    catchup=("none",),
    overlap=("allow",),
    options=("max_lateness",),
)


@dataclass(frozen=True)
class EventBridge(Service):
    """Schedules of EventBridge whose target is a pipeline of SageMaker."""

    keeps = _KEEPS

    @property
    def label(self) -> str:
        """What fires the schedule."""
        return f"EventBridge in {self.configuration.get('region') or 'the default region'}"

    def wanted(self, schedule: Schedule, paused: bool) -> Spec:
        """The schedule of EventBridge, but for its target's ARN, which recording gives."""
        times = schedule.times
        assert times is not None
        role = self.configuration.get("scheduler_role")
        if not role:
            hint = "export ASSAY_SCHEDULER_ROLE=arn:aws:iam::...:role/..., which may start pipelines"
            raise ConfigError("EventBridge needs a role to start pipelines as", where=f"stack {self.stack}", hint=hint)
        at = times.next(datetime.now(UTC))
        age = round((deadline(schedule, at) - at).total_seconds())
        if schedule.max_lateness is not None and not _AGE[0] <= age <= _AGE[1]:
            raise ConfigError("EventBridge tries for a minute to a day", where="--max-lateness", hint="such as 30m")
        native = {
            "Name": native_name(schedule, _LONGEST),
            "Description": f"assay {self.owner}",
            "ScheduleExpression": f"cron({with_question_mark(times, 'EventBridge')} *)",
            "ScheduleExpressionTimezone": schedule.tz,
            "State": "DISABLED" if paused else "ENABLED",
            "FlexibleTimeWindow": {"Mode": "OFF"},
            "Target": {
                "RoleArn": role,
                "RetryPolicy": {"MaximumEventAgeInSeconds": min(max(age, _AGE[0]), _AGE[1])},
            },
        }
        return spec_of(self.root, schedule, native)

    def put(self, spec: Spec) -> Spec:
        """Record the pipeline where it isn't as the schedule has it, and make or update the schedule."""
        native = spec["native"]
        with self._client("scheduler") as scheduler, self._client("sagemaker") as sagemaker:
            there = _there(lambda: scheduler.get_schedule(Name=native["Name"]))
            if there is not None and there.get("Description") != native["Description"]:
                what = f"there is a schedule {native['Name']} that isn't of this state folder"
                raise ConfigError(what, where=self.label, hint="give the schedule another name")
            arn = there["Target"]["Arn"] if there is not None else ""
            renew = not arn or to_record(self.root, spec)
            target = self._record(spec, scheduler) if renew else arn
            made = {**native, "Target": {**native["Target"], "Arn": target}}
            (scheduler.update_schedule if there is not None else scheduler.create_schedule)(**made)
            if arn and arn != target:
                _there(lambda: sagemaker.delete_pipeline(PipelineName=_name_of(arn)))
            return {**spec, "native": made}

    def _record(self, spec: Spec, scheduler: Any) -> str:
        """The ARN of the pipeline that ZenML has SageMaker record; the schedule that it makes beside it goes."""
        metadata = recorded(self.root, spec, _NEVER, f"{spec['native']['Name']}-{self.owner[:12]}")
        name = str(metadata["trigger_url"]).rpartition("/")[2]
        arn = str(scheduler.get_schedule(Name=name)["Target"]["Arn"])
        scheduler.delete_schedule(Name=name)
        return arn

    def found(self, spec: Spec) -> Spec | None:
        """The schedule as EventBridge has it."""
        with self._client("scheduler") as scheduler:
            there = _there(lambda: scheduler.get_schedule(Name=spec["native"]["Name"]))
        return None if there is None else {**spec, "native": there}

    def remove(self, spec: Spec) -> bool:
        """Take schedule and pipeline away; what runs goes on."""
        native = spec["native"]
        with self._client("scheduler") as scheduler, self._client("sagemaker") as sagemaker:
            gone = _there(lambda: scheduler.delete_schedule(Name=native["Name"])) is None
            _there(lambda: sagemaker.delete_pipeline(PipelineName=_name_of(native["Target"]["Arn"])))
        return not gone

    def fire(self, spec: Spec, at: datetime) -> str:
        """An execution of the pipeline; it stands for the newest slot before its start."""
        with self._client("sagemaker") as sagemaker:
            name = _name_of(spec["native"]["Target"]["Arn"])
            made = sagemaker.start_pipeline_execution(PipelineName=name)
        return str(made["PipelineExecutionArn"])

    @contextmanager
    def _client(self, service: str) -> Iterator[Any]:
        try:
            import boto3
            from botocore.exceptions import BotoCoreError, ClientError
        except ImportError as e:
            raise MissingDependencyError("boto3 isn't installed", where="--on", hint="make env-aws") from e
        try:
            keys = ("aws_access_key_id", "aws_secret_access_key")
            plain = {k: self.configuration[k] for k in keys if self.configuration.get(k)}
            yield boto3.client(service, region_name=self.configuration.get("region"), **plain)
        except AssayError:
            raise
        except (BotoCoreError, ClientError) as e:
            hint = "`assay stack doctor aws` looks for what is missing; nothing was changed here"
            raise ServiceError(f"Amazon refused it: {str(e)[:300]}", where=self.label, hint=hint) from e


def _there(call: Callable[[], Any]) -> Any:
    """What Amazon answers; None where it knows no such thing."""
    from botocore.exceptions import ClientError

    try:
        return call()
    except ClientError as e:
        if e.response["Error"]["Code"] in ("ResourceNotFoundException", "ResourceNotFound"):
            return None
        raise


def _name_of(arn: str) -> str:
    """A pipeline's name, by its ARN."""
    return arn.rpartition("/")[2]

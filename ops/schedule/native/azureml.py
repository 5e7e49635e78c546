"""Microsoft's clock: a schedule of an AzureML workspace that starts the job which ZenML had it record."""

import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from ops.schedule.native.clocks import Clock
from ops.schedule.native.recorded import recorded, spec_of, to_record
from ops.schedule.native.rest import Rest
from ops.schedule.native.service import Keeps, Service, Spec, native_name
from ops.schedule.schedule import Schedule
from pipelines.cron import zone_of
from steps.contracts.errors import ConfigError, MissingDependencyError

_ENDPOINT = "https://management.azure.com"
_SCOPE = "https://management.azure.com/.default"
# The oldest stable version that has all of this; Microsoft keeps stable ones for years.
_API = "2024-04-01"
_LONGEST = 255
_OWNER = "assay-owner"
# What a job has that has begun, and none that is to be made.
_OF_A_RUN = ("status", "services")
# Chosen: so far ahead are the two zones compared.
_YEARS = 6
_WORKSPACE = ("subscription_id", "resource_group", "workspace")
_KEEPS = Keeps(
    # Microsoft's guide names no rule for the nights on which clocks change, so that either must do.
    clock=Clock(left_out=None, repeated=None),
    catchup=("none",),
    # It starts each job, whatever still runs.
    overlap=("allow",),
)


@dataclass(frozen=True)
class AzureML(Service):
    """Schedules of one workspace."""

    keeps = _KEEPS

    @property
    def label(self) -> str:
        """What fires the schedule."""
        return f"AzureML in {self.configuration.get('workspace') or 'no workspace'}"

    def wanted(self, schedule: Schedule, paused: bool) -> Spec:
        """The schedule of AzureML, but for the job's definition, which recording gives."""
        times = schedule.times
        assert times is not None
        if lacking := [name for name in _WORKSPACE if not self.configuration.get(name)]:
            hint = "export ASSAY_AZURE_SUBSCRIPTION, ASSAY_AZURE_GROUP and ASSAY_AZURE_WORKSPACE"
            raise ConfigError(f"AzureML needs {', '.join(lacking)}", where=f"stack {self.stack}", hint=hint)
        _, _, day, month, _ = times.numbers.split()
        if day != "*" or month != "*":
            what = f"{times.written!r}: AzureML takes no notice of days of the month and of months, and would bring all"
            raise ConfigError(what, where="cron", hint="weekdays only; or `--on scheduler`")
        native = {
            "isEnabled": not paused,
            "tags": {_OWNER: self.owner},
            "trigger": {
                "triggerType": "Cron",
                "expression": times.numbers,
                "timeZone": windows_zone(schedule.tz, datetime.now(UTC)),
            },
        }
        return {**spec_of(self.root, schedule, native), "schedule": native_name(schedule, _LONGEST)}

    def put(self, spec: Spec) -> Spec:
        """Record the job where it isn't as the schedule has it, and make the schedule, or bring it to this."""
        service, path = self._service(), f"schedules/{spec['schedule']}"
        answer = service.call("GET", path)
        there = None if answer is None else answer.body["properties"]
        if there is not None and (there.get("tags") or {}).get(_OWNER) != self.owner:
            what = f"there is a schedule {spec['schedule']} that isn't of this state folder"
            raise ConfigError(what, where=self.label, hint="give the schedule another name")
        renew = there is None or to_record(self.root, spec)
        job = self._record(service, spec) if renew else _job_of(there)
        action = {"actionType": "CreateJob", "jobDefinition": job}
        _known(service.call("PUT", path, {"properties": {**spec["native"], "action": action}}), service)
        service.settled(lambda: self._made(service, path), "the schedule's making")
        return spec

    def _made(self, service: Rest, path: str) -> Mapping[str, Any] | None:
        """The schedule when it is there whole; None: AzureML is at it."""
        now = _known(service.call("GET", path), service)
        state = now["properties"].get("provisioningState", "Succeeded")
        if state in ("Failed", "Canceled"):
            raise service.refused(f"{path.rpartition('/')[2]}: {state}")
        return now if state == "Succeeded" else None

    def _record(self, service: Rest, spec: Spec) -> Mapping[str, Any]:
        """The job's definition; the schedule that ZenML has AzureML make, under a name of its own, goes."""
        known = {there["name"] for there in self._all(service)}
        expression = _far_from(datetime.now(UTC))
        made: list[Mapping[str, Any]] = []
        try:
            recorded(self.root, spec, expression, f"{spec['schedule']}-{self.owner[:12]}")
        finally:
            for there in (s for s in self._all(service) if s["name"] not in known):
                if there["properties"]["trigger"].get("expression") == expression:
                    made.append(there)
                    self._delete(service, there["name"])
        if not made:
            raise service.refused("it has no schedule of what was recorded")
        return _job_of(made[0]["properties"])

    def _all(self, service: Rest) -> Iterator[Mapping[str, Any]]:
        """Every schedule of the workspace, page by page; also those that are paused."""
        answer = service.call("GET", "schedules", listViewType="All")
        while answer is not None:
            yield from answer.body.get("value", ())
            following = answer.body.get("nextLink")
            answer = service.call("GET", following) if following else None

    def _delete(self, service: Rest, name: str) -> bool:
        """False: it was gone."""
        path = f"schedules/{name}"
        if service.call("GET", path) is None:
            return False
        service.call("DELETE", path)
        service.settled(lambda: {} if service.call("GET", path) is None else None, "the removal")
        return True

    def found(self, spec: Spec) -> Spec | None:
        """The schedule as AzureML has it."""
        there = self._service().call("GET", f"schedules/{spec['schedule']}")
        return None if there is None else {**spec, "native": there.body["properties"]}

    def remove(self, spec: Spec) -> bool:
        """Take the schedule away; what runs goes on."""
        return self._delete(self._service(), spec["schedule"])

    def fire(self, spec: Spec, at: datetime) -> str:
        """A job as it was recorded; it stands for the newest slot before its start."""
        service = self._service()
        there = _known(service.call("GET", f"schedules/{spec['schedule']}"), service)
        job = f"{spec['schedule']}-{secrets.token_hex(4)}"
        made = service.call("PUT", f"jobs/{job}", {"properties": _job_of(there["properties"])})
        return f"job {_known(made, service)['name']}"

    def _service(self) -> Rest:
        try:
            from azure.core.exceptions import AzureError
            from azure.identity import DefaultAzureCredential
        except ImportError as e:
            hint = "pip install -c constraints.txt 'assay[azure]'"
            raise MissingDependencyError("azure-identity isn't installed", where="--on", hint=hint) from e
        credential = DefaultAzureCredential()

        def token() -> str:
            try:
                return str(credential.get_token(_SCOPE).token)
            except AzureError as e:
                raise service.refused(f"no token: {str(e).splitlines()[0]}") from e

        subscription, group, workspace = (self.configuration[name] for name in _WORKSPACE)
        base = (
            f"{_ENDPOINT}/subscriptions/{subscription}/resourceGroups/{group}"
            f"/providers/Microsoft.MachineLearningServices/workspaces/{workspace}"
        )
        hint = "`assay stack doctor azure` looks for what is missing; nothing was changed here"
        service = Rest(base, token, self.label, hint, {"api-version": _API})
        return service


def windows_zone(zone: str, now: datetime) -> str:
    """The zone as AzureML names it: Windows' zones, fewer than there are by IANA.

    Raises:
        ConfigError: Windows has none of this name, or the one that it has changes its clocks otherwise.
    """
    if zone == "UTC":
        return zone
    try:
        from tzlocal.windows_tz import tz_win, win_tz
    except ImportError as e:
        hint = "pip install -c constraints.txt 'assay[azure]', or --tz UTC"
        raise MissingDependencyError(
            "tzlocal isn't installed, which knows Windows' zones", where="--tz", hint=hint
        ) from e
    hint = "take a zone that has one, --tz UTC, or `--on scheduler`"
    name = tz_win.get(zone)
    if name is None:
        raise ConfigError(f"AzureML knows Windows' time zones, and none is {zone}", where="--tz", hint=hint)
    if differing := _differs(zone, win_tz[name], now):
        what = f"AzureML would take {zone} for Windows' zone {name!r}, whose clock differs on {differing:%Y-%m-%d}"
        raise ConfigError(what, where="--tz", hint=hint)
    return str(name)


def _differs(zone: str, other: str, now: datetime) -> datetime | None:
    """The first moment in the coming years, looked at every six hours, when two zones' clocks differ; None: none."""
    one, two = zone_of(zone), zone_of(other)
    moments = (now + timedelta(hours=6 * n) for n in range(4 * 366 * _YEARS))
    return next((m for m in moments if m.astimezone(one).utcoffset() != m.astimezone(two).utcoffset()), None)


def _far_from(now: datetime) -> str:
    """A moment in five days or more, one of some thousand: ZenML has the job recorded with a schedule, and it has to be
    some that AzureML has words for, and known again.
    """
    weekday = (now - timedelta(days=1)).isoweekday() % 7
    return f"{secrets.randbelow(60)} {secrets.randbelow(24)} * * {weekday}"


def _job_of(properties: Any) -> dict[str, Any]:
    job: Mapping[str, Any] = properties["action"]["jobDefinition"]
    return {k: v for k, v in job.items() if k not in _OF_A_RUN}


def _known(answer: Any, service: Rest) -> Mapping[str, Any]:
    """What came back of something that must be there."""
    if answer is None:
        raise service.refused("it knows no such workspace or schedule")
    found: Mapping[str, Any] = answer.body
    return found

"""Google's clock: a schedule of Vertex AI that starts the pipeline which ZenML had it record."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from ops.schedule.native.clocks import Clock
from ops.schedule.native.recorded import recorded, spec_of, to_record
from ops.schedule.native.rest import Rest
from ops.schedule.native.service import Keeps, Service, Spec, native_name
from ops.schedule.schedule import Schedule
from steps.contracts.errors import ConfigError, MissingDependencyError

_ENDPOINT = "https://{location}-aiplatform.googleapis.com/v1"
_SCOPE = "https://www.googleapis.com/auth/cloud-platform"
_LONGEST = 128
# A label of the jobs: schedules have none of their own.
_OWNER = "assay-owner"
_KEEPS = Keeps(
    # Google's reference names no rule for the nights on which clocks change, so that either must do.
    clock=Clock(left_out=None, repeated=None),
    catchup=("none",),
    # Its limit of runs at once is one of starting them: it says nothing of those that go on.
    overlap=("allow",),
)


@dataclass(frozen=True)
class Vertex(Service):
    """Schedules of one location of a project."""

    keeps = _KEEPS

    @property
    def label(self) -> str:
        """What fires the schedule."""
        return f"Vertex AI in {self.configuration.get('location') or 'no location'}"

    def wanted(self, schedule: Schedule, paused: bool) -> Spec:
        """The schedule of Vertex AI, but for the job's definition, which recording gives."""
        times = schedule.times
        assert times is not None
        if not self.configuration.get("location"):
            hint = "export ASSAY_GCP_LOCATION=europe-west4, or where the jobs are to run"
            raise ConfigError("Vertex AI needs a location", where=f"stack {self.stack}", hint=hint)
        _, _, day, _, weekday = times.numbers.split()
        if day != "*" and weekday != "*":
            what = f"{times.written!r}: Google doesn't say what a day of the month beside a weekday means to Vertex AI"
            raise ConfigError(what, where="cron", hint="two schedules, one for each; or `--on scheduler`")
        native = {
            "displayName": native_name(schedule, _LONGEST),
            "cron": f"TZ={schedule.tz} {times.numbers}",
            # A 64-bit number, which Google's JSON has as text.
            "maxConcurrentRunCount": "1",
            "allowQueueing": False,
            "state": "PAUSED" if paused else "ACTIVE",
            "createPipelineJobRequest": {"pipelineJob": {"labels": {_OWNER: self.owner}}},
        }
        return spec_of(self.root, schedule, native)

    def put(self, spec: Spec) -> Spec:
        """Record the pipeline where it isn't as the schedule has it, and make or mend the schedule."""
        native, service = spec["native"], self._service()
        # One that an interrupted try left beside it is taken away as well.
        ours = list(self._named(service, native["displayName"]))
        if any(_owner_of(there) != self.owner for there in ours):
            what = f"there is a schedule {native['displayName']} that isn't of this state folder"
            raise ConfigError(what, where=self.label, hint="give the schedule another name")
        renew = not ours or to_record(self.root, spec)
        if renew:
            made = self._make(service, native, self._record(service, spec))
        else:
            made = self._mend(service, native, ours[0])
        self._set_state(service, made, native["state"])
        for old in (there for there in ours if there["name"] != made["name"]):
            self._delete(service, old["name"])
        return {**spec, "schedule": made["name"]}

    def _record(self, service: Rest, spec: Spec) -> Mapping[str, Any]:
        """The request by which Vertex AI starts the pipeline; the schedule that ZenML has it make goes."""
        name = f"{spec['native']['displayName']}-{self.owner[:12]}"
        for left in list(self._named(service, name)):
            self._delete(service, left["name"])
        recorded(self.root, spec, _far_from(datetime.now(UTC)), name)
        made = next(self._named(service, name), None)
        if made is None:
            raise service.refused("it has no schedule of what was recorded")
        self._delete(service, made["name"])
        request: Mapping[str, Any] = made["createPipelineJobRequest"]
        return request

    def _make(self, service: Rest, native: Mapping[str, Any], request: Mapping[str, Any]) -> Mapping[str, Any]:
        job = request["pipelineJob"]
        labelled = {**request, "pipelineJob": {**job, "labels": {**job.get("labels", {}), _OWNER: self.owner}}}
        said = {k: v for k, v in native.items() if k != "state"}
        body = {**said, "createPipelineJobRequest": labelled}
        return _whole(service.call("POST", f"{self._parent()}/schedules", body), service)

    def _mend(self, service: Rest, native: Mapping[str, Any], there: Mapping[str, Any]) -> Mapping[str, Any]:
        """What somebody may have edited there; what starts is recorded, and not edited."""
        fields = ("cron", "maxConcurrentRunCount", "allowQueueing")
        changed = {k: native[k] for k in fields if there.get(k, False) != native[k]}
        if not changed:
            return there
        answer = service.call("PATCH", there["name"], changed, updateMask=",".join(changed))
        return _whole(answer, service)

    def _set_state(self, service: Rest, made: Mapping[str, Any], state: str) -> None:
        if made.get("state", "ACTIVE") == state:
            return
        paused = state == "PAUSED"
        what, body = ("pause", {}) if paused else ("resume", {"catchUp": False})
        service.call("POST", f"{made['name']}:{what}", body)

    def _delete(self, service: Rest, name: str) -> bool:
        """False: it was gone."""
        answer = service.call("DELETE", name)
        if answer is None:
            return False
        operation = str(answer.body.get("name", ""))

        def ended() -> Mapping[str, Any] | None:
            now = service.call("GET", operation)
            return {} if now is None else now.body if now.body.get("done") else None

        done = answer.body if answer.body.get("done") else service.settled(ended, "the removal")
        if "error" in done:
            raise service.refused(str(done["error"].get("message", "")))
        return True

    def _named(self, service: Rest, name: str) -> Iterator[Mapping[str, Any]]:
        """Schedules of that name, the newest first."""
        page = ""
        while True:
            asked = {"filter": f'display_name="{name}"', **({"pageToken": page} if page else {})}
            answer = service.call("GET", f"{self._parent()}/schedules", **asked)
            body = answer.body if answer else {}
            yield from body.get("schedules", ())
            page = str(body.get("nextPageToken", ""))
            if not page:
                return

    def found(self, spec: Spec) -> Spec | None:
        """The schedule as Vertex AI has it."""
        there = self._service().call("GET", spec["schedule"])
        # What is false isn't said in Google's JSON.
        return None if there is None else {**spec, "native": {"allowQueueing": False, **there.body}}

    def remove(self, spec: Spec) -> bool:
        """Take the schedule away; what runs goes on."""
        return self._delete(self._service(), spec["schedule"])

    def fire(self, spec: Spec, at: datetime) -> str:
        """A job of the recorded pipeline; it stands for the newest slot before its start."""
        service = self._service()
        there = _whole(service.call("GET", spec["schedule"]), service)
        job = there["createPipelineJobRequest"]["pipelineJob"]
        return str(_whole(service.call("POST", f"{self._parent()}/pipelineJobs", job), service)["name"])

    def _parent(self) -> str:
        project = self.configuration.get("project") or self._credentials()[1]
        return f"projects/{project}/locations/{self.configuration['location']}"

    def _service(self) -> Rest:
        from google.auth.exceptions import GoogleAuthError
        from google.auth.transport.requests import Request

        hint = "`assay stack doctor gcp` looks for what is missing; nothing was changed here"
        base = _ENDPOINT.format(location=self.configuration["location"])
        credentials = self._credentials()[0]

        def token() -> str:
            try:
                if not credentials.valid:
                    credentials.refresh(Request())
            except GoogleAuthError as e:
                raise service.refused(f"no token: {e}") from e
            return str(credentials.token)

        service = Rest(base, token, self.label, hint, {})
        return service

    def _credentials(self) -> tuple[Any, str | None]:
        """Google's credentials as the stack or the environment has them, and the project that they are of."""
        try:
            import google.auth
            from google.auth.exceptions import DefaultCredentialsError
        except ImportError as e:
            raise MissingDependencyError("google-auth isn't installed", where="--on", hint="make env-gcp") from e
        file = self.configuration.get("service_account_path")
        try:
            found = (
                google.auth.load_credentials_from_file(file, scopes=[_SCOPE])
                if file
                else google.auth.default(scopes=[_SCOPE])
            )
        except DefaultCredentialsError as e:
            hint = "gcloud auth application-default login, or GOOGLE_APPLICATION_CREDENTIALS"
            raise ConfigError(f"no credentials for Google: {e}", where=self.label, hint=hint) from e
        return found[0], found[1]


def _far_from(now: datetime) -> str:
    """A moment that comes in nearly a year: ZenML has the pipeline recorded with a schedule, and it has to be some."""
    day = (now - timedelta(days=2)).date()
    return f"0 0 {min(day.day, 28)} {day.month} *"


def _owner_of(there: Mapping[str, Any]) -> str:
    job = there.get("createPipelineJobRequest", {}).get("pipelineJob", {})
    return str(job.get("labels", {}).get(_OWNER, ""))


def _whole(answer: Any, service: Rest) -> Mapping[str, Any]:
    """What came back of something that must be there."""
    if answer is None:
        raise service.refused("it knows no such project, location or schedule")
    found: Mapping[str, Any] = answer.body
    return found

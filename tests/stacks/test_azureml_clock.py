"""Schedules of AzureML, against a server that takes what the models of Microsoft's own library have, and keeps it.

That server is ours, so that this validates what is sent and how answers are read, and nothing of Microsoft. Recording a
job, which ZenML does by Microsoft's library, is done by hand here; tokens come from azure-identity.
"""

import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cronsim import CronSim
from support.servers.checked import Refused, Reply, Request, Schema, Server, serving

from ops.schedule.native import azureml, rest
from ops.schedule.native.azureml import AzureML, windows_zone
from ops.schedule.native.registry import check_native, drift, keep_made
from ops.schedule.native.service import differences
from ops.schedule.schedule import Schedule
from steps.contracts.errors import ConfigError, ServiceError

pytestmark = pytest.mark.stacks
ROOT = Path(__file__).resolve().parents[2]
NIGHTLY = Schedule(
    name="nightly", config="c.yaml", cron="30 6 * * MON-FRI", tz="Europe/Berlin", stack="azure", on="azure",
    catchup="none", overlap="allow",
)  # fmt: skip
WORKSPACE = "/subscriptions/s1/resourceGroups/g1/providers/Microsoft.MachineLearningServices/workspaces/w1"
JOB = {"jobType": "Pipeline", "experimentName": "curate", "jobs": {"start_step": {"type": "command"}},
       "settings": {"default_compute": "serverless"}}  # fmt: skip


class Workspace:
    """Schedules and jobs by name; a change takes a few looks until it is done."""

    def __init__(self, schema: Schema) -> None:
        self.schema = schema
        self.url = ""
        self.schedules: dict[str, dict[str, Any]] = {}
        self.jobs: dict[str, dict[str, Any]] = {}
        self.busy: dict[str, int] = {}
        self.fails = False
        self.refuses = False

    def reply(self, request: Request) -> Reply:
        if self.refuses:
            raise Refused(401, "no")
        if request.path == "/token":
            return 200, {"access_token": "t", "expires_on": "4102444800", "resource": "r", "token_type": "Bearer"}, {}
        if request.token != "t":
            raise Refused(401, "The access token is invalid.")
        if request.query["api-version"] != "2024-04-01":
            raise Refused(400, "no such api-version")
        kind, _, name = request.path.removeprefix(f"{WORKSPACE}/").partition("/")
        if kind == "jobs":
            self.schema.check(kind="Job", body=request.body)
            self.jobs[name] = request.body["properties"]
            return 201, {"name": name, "properties": {**self.jobs[name], "status": "NotStarted"}}, {}
        if kind != "schedules":
            raise Refused(404, f"{request.path} was not found")
        if not name:
            return 200, self.list(request.query), {}
        if request.method == "PUT":
            return self.put(name, request.body)
        self.settle(name)
        if name not in self.schedules:
            raise Refused(404, f"the schedule {name} was not found")
        if request.method == "DELETE":
            self.busy[name] = 2
            self.schedules[name]["properties"]["provisioningState"] = "Deleting"
            return 202, None, {}
        return 200, self.schedules[name], {}

    def put(self, name: str, body: dict[str, Any]) -> Reply:
        self.schema.check(kind="Schedule", body=body)
        new = name not in self.schedules
        state = {"provisioningState": "Creating" if new else "Updating"}
        told = {"name": name, "id": f"{WORKSPACE}/schedules/{name}"}
        job = {**body["properties"]["action"]["jobDefinition"], "status": "NotStarted", "services": None}
        action = {"actionType": "CreateJob", "jobDefinition": job}
        self.schedules[name] = {**told, "properties": {**body["properties"], "action": action, **state}}
        self.busy[name] = 2
        return (201 if new else 200), self.schedules[name], {}

    def settle(self, name: str) -> None:
        left = self.busy[name] = self.busy.get(name, 0) - 1
        if name in self.schedules and left == 0:
            properties = self.schedules[name]["properties"]
            if properties["provisioningState"] == "Deleting":
                del self.schedules[name]
            else:
                properties["provisioningState"] = "Failed" if self.fails else "Succeeded"

    def list(self, query: dict[str, str]) -> dict[str, Any]:
        """By pages of one."""
        assert query["listViewType"] == "All"
        found, at = list(self.schedules.values()), int(query.get("skip", 0))
        link = f"{self.url}{WORKSPACE}/schedules?api-version=2024-04-01&listViewType=All&skip={at + 1}"
        return {"value": found[at : at + 1], **({"nextLink": link} if at + 1 < len(found) else {})}


@pytest.fixture(scope="session")
def schema() -> Iterator[Schema]:
    for library in ("azure.ai.ml", "azure.identity", "tzlocal"):
        pytest.importorskip(
            library, reason=f"NOT TESTED: {library} isn't here; pip install -c constraints.txt '.[azure]'"
        )
    made = Schema(sys.executable, ROOT / "tests" / "support" / "servers" / "azure_schema.py")
    yield made
    made.close()


@pytest.fixture
def cloud(schema: Schema) -> Workspace:
    return Workspace(schema)


@pytest.fixture
def server(cloud: Workspace) -> Iterator[Server]:
    with serving(cloud.reply) as made:
        cloud.url = made.url
        yield made


@pytest.fixture
def service(server: Server, cloud: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AzureML:
    monkeypatch.setenv("ASSAY_STATE", str(tmp_path / "state"))
    for name in ("AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET", "AZURE_TENANT_ID"):
        monkeypatch.delenv(name, raising=False)
    # As in a container of Azure's: tokens of a managed identity.
    monkeypatch.setenv("IDENTITY_ENDPOINT", f"{server.url}/token")
    monkeypatch.setenv("IDENTITY_HEADER", "h")
    monkeypatch.setattr(azureml, "_ENDPOINT", server.url)
    monkeypatch.setattr(rest, "_BETWEEN", 0.01)
    monkeypatch.setattr(azureml, "recorded", lambda *given: recorded(cloud, *given))
    given = {"subscription_id": "s1", "resource_group": "g1", "workspace": "w1"}
    return AzureML(tmp_path, "me", given, "azure")


def recorded(cloud: Workspace, root: Path, spec: Any, native_cron: str, name: str) -> None:
    """What Microsoft's library sends for ZenML, which names the schedule by the run."""
    trigger = {"triggerType": "Cron", "expression": native_cron, "timeZone": "UTC"}
    action = {"actionType": "CreateJob", "jobDefinition": JOB}
    made = f"curate_{len(cloud.busy)}"
    cloud.put(made, {"properties": {"isEnabled": True, "trigger": trigger, "action": action}})
    cloud.schedules[made]["properties"]["provisioningState"] = "Succeeded"
    cloud.busy[made] = 0


def put(service: AzureML, schedule: Schedule, paused: bool = False) -> Any:
    made = service.put(service.wanted(schedule, paused))
    keep_made(service.root, schedule.name, made)
    return made


def of(cloud: Workspace) -> dict[str, Any]:
    """The one schedule that there is."""
    assert list(cloud.schedules) == ["assay-nightly"]
    found: dict[str, Any] = cloud.schedules["assay-nightly"]["properties"]
    return found


def test_schedule_is_made_of_what_was_recorded_listed_back_paused_resumed_fired_and_removed(
    service: AzureML, cloud: Workspace
) -> None:
    made = put(service, NIGHTLY)
    there = of(cloud)
    assert there["trigger"] == {
        "triggerType": "Cron", "expression": "30 6 * * 1,2,3,4,5", "timeZone": "W. Europe Standard Time"
    }  # fmt: skip
    assert there["isEnabled"] is True and there["action"]["jobDefinition"]["jobs"] == JOB["jobs"]
    assert list(differences(made, service.found(made))) == [] and drift(service.root, NIGHTLY, service) == []
    put(service, NIGHTLY, paused=True)
    assert of(cloud)["isEnabled"] is False
    put(service, NIGHTLY)
    assert of(cloud)["isEnabled"] is True
    (name,) = [service.fire(made, datetime.now(UTC)).removeprefix("job ")]
    assert name.startswith("assay-nightly-") and cloud.jobs == {name: JOB}
    assert service.remove(made) is True and cloud.schedules == {}
    assert service.found(made) is None and service.remove(made) is False


def test_an_edit_records_anew_and_leaves_one_schedule(service: AzureML, cloud: Workspace) -> None:
    put(service, NIGHTLY)
    put(service, NIGHTLY.model_copy(update={"cron": "0 9 * * *", "tz": "UTC"}), paused=True)
    there = of(cloud)
    assert (there["trigger"]["expression"], there["trigger"]["timeZone"], there["isEnabled"]) == (
        "0 9 * * *", "UTC", False,
    )  # fmt: skip


def test_what_somebody_edited_there_is_told_and_mended(service: AzureML, cloud: Workspace) -> None:
    put(service, NIGHTLY)
    of(cloud)["trigger"]["timeZone"] = "UTC"
    of(cloud)["isEnabled"] = False
    assert drift(service.root, NIGHTLY, service) == [
        "native.isEnabled: False there, True here",
        "native.trigger.timeZone: UTC there, W. Europe Standard Time here",
    ]
    put(service, NIGHTLY)
    assert drift(service.root, NIGHTLY, service) == []
    cloud.schedules.clear()
    assert "it is gone there" in drift(service.root, NIGHTLY, service)[0]
    put(service, NIGHTLY)
    assert drift(service.root, NIGHTLY, service) == []


def test_what_zenml_had_recorded_goes_also_when_recording_fails(
    service: AzureML, cloud: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    weekly = {"triggerType": "Cron", "expression": "0 0 * * 1"}
    theirs = {"trigger": weekly, "action": {"actionType": "CreateJob", "jobDefinition": JOB}}
    cloud.put("curate_of_others", {"properties": theirs})

    def broken(*given: Any) -> None:
        recorded(cloud, *given)
        raise ServiceError("it broke off")

    monkeypatch.setattr(azureml, "recorded", broken)
    with pytest.raises(ServiceError, match="broke off"):
        put(service, NIGHTLY)
    assert list(cloud.schedules) == ["curate_of_others"]


def test_one_that_cannot_be_made_is_an_error(service: AzureML, cloud: Workspace) -> None:
    cloud.fails = True
    with pytest.raises(ServiceError, match="assay-nightly: Failed"):
        put(service, NIGHTLY)


def test_another_ones_schedule_is_left_alone(service: AzureML, cloud: Workspace) -> None:
    put(service, NIGHTLY)
    other = AzureML(service.root, "somebody", service.configuration, "azure")
    with pytest.raises(ConfigError, match="isn't of this state folder"):
        other.put(other.wanted(NIGHTLY, False))
    assert of(cloud)["tags"] == {"assay-owner": "me"}


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"cron": "30 2 * * *"}, "when clocks change"),
        ({"cron": "0 6 1 * *"}, "takes no notice of days of the month"),
        ({"cron": "0 6 * JAN MON"}, "takes no notice of days of the month"),
        ({"tz": "America/Coyhaique"}, "none is America/Coyhaique"),
        ({"overlap": "skip"}, "overlap: skip"),
        ({"catchup": "latest"}, "catchup: latest"),
        ({"timeout": timedelta(hours=1)}, "timeout"),
    ],
)
def test_what_it_cannot_keep_is_refused_before_anything_is_made(
    service: AzureML, cloud: Workspace, changed: dict[str, Any], said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        check_native(NIGHTLY.model_copy(update=changed), service, datetime.now(UTC))
    assert cloud.schedules == {}


def test_a_zone_whose_clock_is_not_that_of_windows_is_refused(schema: Schema, monkeypatch: pytest.MonkeyPatch) -> None:
    from tzlocal import windows_tz

    now = datetime(2026, 1, 10, tzinfo=UTC)
    assert windows_zone("Asia/Kolkata", now) == "India Standard Time"
    # As when a country has left the rule that Windows keeps for its zone.
    monkeypatch.setitem(windows_tz.tz_win, "Europe/Berlin", "South Africa Standard Time")
    with pytest.raises(ConfigError, match="whose clock differs on 2026-01-10"):
        windows_zone("Europe/Berlin", now)


def test_the_schema_refuses_what_the_models_do_not_have(service: AzureML, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(azureml, "windows_zone", lambda zone, now: zone)
    with pytest.raises(ServiceError, match="'Europe/Berlin' is no time zone of AzureML"):
        put(service, NIGHTLY)


def test_credentials_that_are_refused_are_an_error_that_names_the_doctor(service: AzureML, cloud: Workspace) -> None:
    cloud.refuses = True
    with pytest.raises(ServiceError, match="no token") as failed:
        put(service, NIGHTLY)
    assert "assay stack doctor azure" in str(failed.value)


def test_what_zenml_is_given_to_record_comes_in_days() -> None:
    for day in range(8):
        now = datetime(2028, 1, 1, 23, 59, tzinfo=UTC) + timedelta(days=day)
        assert next(CronSim(azureml._far_from(now), now)) - now > timedelta(days=4, hours=23)

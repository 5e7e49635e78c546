"""Schedules of Vertex AI, against a server that takes what Google's own library takes, and keeps it.

That server is ours, so that this validates what is sent and how answers are read, and nothing of Google. Recording a
pipeline, which ZenML does by Google's library, is done by hand here; tokens come from google-auth.
"""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cronsim import CronSim
from support.servers.checked import Refused, Reply, Request, Schema, Server, serving
from support.servers.process import needs

from ops.schedule.native import rest, vertex
from ops.schedule.native.registry import check_native, drift, keep_made
from ops.schedule.native.service import differences
from ops.schedule.native.vertex import Vertex
from ops.schedule.schedule import Schedule
from steps.contracts.errors import ConfigError, ServiceError

pytestmark = pytest.mark.stacks
ROOT = Path(__file__).resolve().parents[2]
NIGHTLY = Schedule(
    name="nightly", config="c.yaml", cron="30 6 * * MON-FRI", tz="Europe/Berlin", stack="gcp", on="gcp",
    catchup="none", overlap="allow",
)  # fmt: skip
PARENT = "projects/lab/locations/europe-west4"


class VertexAI:
    """Schedules and jobs by name; errors and shapes as Google's reference has them."""

    def __init__(self, schema: Schema) -> None:
        self.schema = schema
        self.schedules: dict[str, dict[str, Any]] = {}
        self.jobs: dict[str, dict[str, Any]] = {}
        self.operations: dict[str, int] = {}
        self.made = 0
        self.refuses = False

    def reply(self, request: Request) -> Reply:
        if self.refuses:
            raise Refused(401, "no")
        if request.path == "/token":
            return 200, {"access_token": "ya29.test", "expires_in": 3600, "token_type": "Bearer"}, {}
        if request.token != "ya29.test":
            raise Refused(401, "Request had invalid authentication credentials.")
        name, _, verb = request.path.removeprefix("/v1/").partition(":")
        if name == f"{PARENT}/schedules":
            return 200, self.create(request.body) if request.method == "POST" else self.list(request.query), {}
        if name == f"{PARENT}/pipelineJobs":
            self.schema.check(kind="PipelineJob", body=request.body)
            name = f"{PARENT}/pipelineJobs/{len(self.jobs) + 1}"
            self.jobs[name] = request.body
            return 200, {**request.body, "name": name}, {}
        if name in self.operations:
            self.operations[name] -= 1
            return 200, {"name": name, **({"done": True} if self.operations[name] < 1 else {})}, {}
        if name not in self.schedules:
            raise Refused(404, f"{name} not found")
        return 200, self.of_one(request, name, verb), {}

    def create(self, body: dict[str, Any]) -> dict[str, Any]:
        self.schema.check(kind="Schedule", body=body)
        if body["createPipelineJobRequest"].get("parent") != PARENT:
            raise Refused(400, "CreatePipelineJobRequest.parent field is required")
        self.made += 1
        name = f"{PARENT}/schedules/{self.made}"
        told = {
            "name": name,
            "state": "ACTIVE",
            "createTime": f"2026-01-01T00:00:{self.made:02}Z",
            "startedRunCount": "0",
        }
        # What is false isn't said in Google's JSON.
        self.schedules[name] = {**{k: v for k, v in body.items() if v is not False}, **told}
        return self.schedules[name]

    def list(self, query: dict[str, str]) -> dict[str, Any]:
        """By pages of one."""
        wanted = query["filter"].removeprefix('display_name="').removesuffix('"')
        found = [s for s in reversed(self.schedules.values()) if s["displayName"] == wanted]
        at = int(query.get("pageToken", 0))
        more = {"nextPageToken": str(at + 1)} if at + 1 < len(found) else {}
        return {**({"schedules": found[at : at + 1]} if found else {}), **more}

    def of_one(self, request: Request, name: str, verb: str) -> dict[str, Any]:
        there = self.schedules[name]
        if request.method == "PATCH":
            self.schema.check(kind="Schedule", body=request.body, mask=request.query["updateMask"])
            there.update(request.body)
        if verb:
            assert request.method == "POST" and verb in ("pause", "resume")
            wanted = "PAUSED" if verb == "pause" else "ACTIVE"
            if there["state"] == wanted:
                raise Refused(400, f"the schedule is {wanted}")
            there["state"] = wanted
            return {}
        if request.method == "DELETE":
            del self.schedules[name]
            self.operations[f"{name}/operations/1"] = 2
            return {"name": f"{name}/operations/1"}
        return there


@pytest.fixture(scope="session")
def schema() -> Iterator[Schema]:
    python = needs(ROOT / ".venv-gcp" / "bin" / "python", "make env-gcp")
    made = Schema(python, ROOT / "tests" / "support" / "servers" / "google_schema.py")
    yield made
    made.close()


@pytest.fixture
def cloud(schema: Schema) -> VertexAI:
    return VertexAI(schema)


@pytest.fixture
def server(cloud: VertexAI) -> Iterator[Server]:
    with serving(cloud.reply) as made:
        yield made


@pytest.fixture
def service(server: Server, cloud: VertexAI, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Vertex:
    monkeypatch.setenv("ASSAY_STATE", str(tmp_path / "state"))
    monkeypatch.setattr(vertex, "_ENDPOINT", f"{server.url}/v1")
    monkeypatch.setattr(rest, "_BETWEEN", 0.01)
    monkeypatch.setattr(vertex, "recorded", lambda *given: recorded(cloud, *given))
    given = {"location": "europe-west4", "service_account_path": account(tmp_path, server.url)}
    return Vertex(tmp_path, "me", given, "gcp")


def recorded(cloud: VertexAI, root: Path, spec: Any, native_cron: str, name: str) -> None:
    """What `PipelineJobSchedule.create` of Google's library sends for ZenML."""
    job = {"runtimeConfig": {"gcsOutputDirectory": "gs://bucket/root"}, "labels": {"team": "a"},
           "pipelineSpec": {"root": {"dag": {}}, "schemaVersion": "2.1.0"}, "serviceAccount": "runs@lab"}  # fmt: skip
    cloud.create({"displayName": name, "cron": native_cron, "maxConcurrentRunCount": "1",
                  "createPipelineJobRequest": {"parent": PARENT, "pipelineJob": job}})  # fmt: skip


def account(folder: Path, url: str) -> str:
    """A service account's file, whose tokens come from the test's server."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    plain = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048).private_bytes(*plain).decode()
    file = folder / "account.json"
    file.write_text(json.dumps({
        "type": "service_account", "project_id": "lab", "client_email": "a@lab", "private_key": key,
        "private_key_id": "1", "token_uri": f"{url}/token",
    }))  # fmt: skip
    return str(file)


def put(service: Vertex, schedule: Schedule, paused: bool = False) -> Any:
    made = service.put(service.wanted(schedule, paused))
    keep_made(service.root, schedule.name, made)
    return made


def test_schedule_is_made_of_what_was_recorded_listed_back_paused_resumed_fired_and_removed(
    service: Vertex, cloud: VertexAI, server: Server
) -> None:
    made = put(service, NIGHTLY)
    (there,) = cloud.schedules.values()
    assert there["displayName"] == "assay-nightly" and there["cron"] == "TZ=Europe/Berlin 30 6 * * 1,2,3,4,5"
    job = there["createPipelineJobRequest"]["pipelineJob"]
    assert job["labels"] == {"team": "a", "assay-owner": "me"} and job["serviceAccount"] == "runs@lab"
    assert list(differences(made, service.found(made))) == [] and drift(service.root, NIGHTLY, service) == []
    first = made["schedule"]
    assert put(service, NIGHTLY, paused=True)["schedule"] == first and cloud.schedules[first]["state"] == "PAUSED"
    assert put(service, NIGHTLY)["schedule"] == first and cloud.schedules[first]["state"] == "ACTIVE"
    (resumed,) = [r for r in server.seen if r.path.endswith(":resume")]
    assert resumed.body == {"catchUp": False}, "what came while it was paused isn't made up for"
    assert service.fire(made, datetime.now(UTC)) == f"{PARENT}/pipelineJobs/1" and list(cloud.jobs.values()) == [job]
    assert service.remove(made) is True and cloud.schedules == {}
    assert service.found(made) is None and service.remove(made) is False


def test_an_edit_records_anew_and_leaves_one_schedule(service: Vertex, cloud: VertexAI) -> None:
    put(service, NIGHTLY)
    edited = NIGHTLY.model_copy(update={"cron": "0 9 1 * *", "tz": "UTC"})
    made = put(service, edited, paused=True)
    (there,) = cloud.schedules.values()
    assert (there["name"], there["cron"], there["state"]) == (made["schedule"], "TZ=UTC 0 9 1 * *", "PAUSED")


def test_what_somebody_edited_there_is_told_and_mended(service: Vertex, cloud: VertexAI) -> None:
    made = put(service, NIGHTLY)
    there = cloud.schedules[made["schedule"]]
    there |= {"cron": "TZ=UTC 0 0 * * *", "allowQueueing": True, "state": "PAUSED"}
    assert drift(service.root, NIGHTLY, service) == [
        "native.allowQueueing: True there, False here",
        "native.cron: TZ=UTC 0 0 * * * there, TZ=Europe/Berlin 30 6 * * 1,2,3,4,5 here",
        "native.state: PAUSED there, ACTIVE here",
    ]  # fmt: skip
    put(service, NIGHTLY)
    assert drift(service.root, NIGHTLY, service) == []
    cloud.schedules.clear()
    assert "it is gone there" in drift(service.root, NIGHTLY, service)[0]
    put(service, NIGHTLY)
    assert drift(service.root, NIGHTLY, service) == []


def test_what_an_interrupted_try_left_is_taken_away(service: Vertex, cloud: VertexAI, monkeypatch: Any) -> None:
    put(service, NIGHTLY)
    edited = NIGHTLY.model_copy(update={"cron": "0 9 * * *"})
    with monkeypatch.context() as broken:
        broken.setattr(Vertex, "_delete", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            put(service, edited)
    assert len(cloud.schedules) == 2
    made = put(service, edited)
    assert list(cloud.schedules) == [made["schedule"]]


def test_another_ones_schedule_is_left_alone(service: Vertex, cloud: VertexAI) -> None:
    put(service, NIGHTLY)
    other = Vertex(service.root, "somebody", service.configuration, "gcp")
    with pytest.raises(ConfigError, match="isn't of this state folder"):
        other.put(other.wanted(NIGHTLY, False))
    assert len(cloud.schedules) == 1


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"cron": "30 2 * * *"}, "when clocks change"),
        ({"cron": "0 6 1 * MON"}, "a day of the month beside a weekday"),
        ({"overlap": "queue"}, "overlap: queue"),
        ({"catchup": "latest"}, "catchup: latest"),
        ({"timeout": timedelta(hours=1)}, "timeout"),
        ({"retries": 2}, "retries"),
    ],
)
def test_what_it_cannot_keep_is_refused_before_anything_is_made(
    service: Vertex, cloud: VertexAI, changed: dict[str, Any], said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        check_native(NIGHTLY.model_copy(update=changed), service, datetime.now(UTC))
    assert cloud.schedules == {}


def test_the_schema_refuses_what_google_would(service: Vertex, cloud: VertexAI, monkeypatch: Any) -> None:
    monkeypatch.setattr(vertex, "native_name", lambda *_: {"no": "name"})
    with pytest.raises(ServiceError, match="displayName"):
        put(service, NIGHTLY)


def test_credentials_that_are_refused_are_an_error_that_names_the_doctor(service: Vertex, cloud: VertexAI) -> None:
    cloud.refuses = True
    with pytest.raises(ServiceError, match="no token") as failed:
        put(service, NIGHTLY)
    assert "assay stack doctor gcp" in str(failed.value)


def test_what_zenml_is_given_to_record_comes_in_nearly_a_year() -> None:
    for day in (1, 60, 61, 200, 365):
        now = datetime(2028, 1, 1, tzinfo=UTC) + timedelta(days=day)
        assert next(CronSim(vertex._far_from(now), now)) - now > timedelta(days=300)

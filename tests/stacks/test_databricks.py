"""Schedules of Databricks' jobs, by its own library against a server that keeps jobs as its REST API says.

That server is ours, so that this validates what is sent and how answers are read, and nothing of Databricks. Recording
a job, which ZenML does, is done by hand here.
"""

import json
import threading
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar
from urllib.parse import parse_qs, urlsplit

import pytest
from databricks.sdk import WorkspaceClient
from databricks.sdk.service.jobs import CronSchedule

from ops.schedule.native import databricks
from ops.schedule.native.databricks import Databricks
from ops.schedule.native.registry import keep_made
from ops.schedule.native.service import check_kept, differences
from ops.schedule.schedule import Schedule
from steps.contracts.errors import ConfigError

pytestmark = pytest.mark.stacks
NIGHTLY = Schedule(
    name="nightly", config="c.yaml", cron="30 6 * * MON-FRI", tz="Europe/Berlin", stack="databricks", on="databricks",
    catchup="none",
)  # fmt: skip


class Workspace(BaseHTTPRequestHandler):
    jobs: ClassVar[dict] = {}
    started: ClassVar[list] = []

    def do_GET(self):
        path, query = urlsplit(self.path).path, parse_qs(urlsplit(self.path).query)
        if path.endswith("databricks-config"):
            return self._say({"oidc_endpoint": f"http://{self.headers['Host']}/oidc", "workspace_id": "1"})
        if path.endswith("oauth-authorization-server"):
            endpoints = {"token_endpoint": "/oidc/v1/token", "authorization_endpoint": "/oidc/v1/authorize"}
            return self._say({name: f"http://{self.headers['Host']}{path}" for name, path in endpoints.items()})
        if path.endswith("/jobs/get"):
            job = int(query["job_id"][0])
            return self._say({"job_id": job, "settings": self.jobs[job]}) if job in self.jobs else self._gone()
        if path.endswith("/jobs/list"):
            wanted = query.get("name", [None])[0]
            found = [{"job_id": n, "settings": s} for n, s in self.jobs.items() if wanted in (None, s["name"])]
            return self._say({"jobs": found})
        return self._say({}, 404)

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.path.startswith("/oidc"):
            return self._say({"access_token": "t", "token_type": "Bearer", "expires_in": 3600})
        said = json.loads(body)
        what = self.path.rpartition("/")[2]
        if what == "create":
            number = len(self.jobs) + len(self.started) + 1
            self.jobs[number] = said
            return self._say({"job_id": number})
        if said["job_id"] not in self.jobs:
            return self._gone()
        if what == "update":
            self.jobs[said["job_id"]].update(said["new_settings"])
        elif what == "delete":
            del self.jobs[said["job_id"]]
        elif what == "run-now":
            self.started.append(said["job_id"])
            return self._say({"run_id": 77})
        return self._say({})

    def _gone(self):
        self._say({"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "no such job"}, 404)

    def _say(self, what, status=200):
        data = json.dumps(what).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        pass


@pytest.fixture
def service(tmp_path, monkeypatch):
    monkeypatch.setenv("ASSAY_STATE", str(tmp_path / "state"))
    monkeypatch.setattr(Workspace, "jobs", {})
    monkeypatch.setattr(Workspace, "started", [])
    server = ThreadingHTTPServer(("127.0.0.1", 0), Workspace)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    given = {"host": f"http://127.0.0.1:{server.server_port}", "client_id": "i", "client_secret": "s"}

    def recorded(root, spec, native_cron, name):
        schedule = CronSchedule(quartz_cron_expression=native_cron, timezone_id="UTC")
        WorkspaceClient(**given).jobs.create(name="curate-1", schedule=schedule)

    monkeypatch.setattr(databricks, "recorded", recorded)
    yield Databricks(tmp_path, "me", given, "databricks")
    server.shutdown()
    server.server_close()


def put(service, schedule, paused=False):
    made = service.put(service.wanted(schedule, paused))
    keep_made(service.root, schedule.name, made)
    return made


def test_job_gets_the_schedule_and_is_listed_back_edited_paused_fired_and_removed(service):
    made = put(service, NIGHTLY)
    (settings,) = Workspace.jobs.values()
    assert settings["name"] == "assay-nightly" and settings["queue"] == {"enabled": False}
    assert settings["schedule"] == {
        "quartz_cron_expression": "0 30 6 ? * 2,3,4,5,6", "timezone_id": "Europe/Berlin", "pause_status": "UNPAUSED"
    }  # fmt: skip
    assert list(differences(made, service.found(made))) == []
    first = made["job"]
    made = put(service, NIGHTLY, paused=True)
    assert made["job"] == first and Workspace.jobs[first]["schedule"]["pause_status"] == "PAUSED"
    made = put(service, NIGHTLY.model_copy(update={"cron": "0 9 1 * *", "overlap": "queue"}))
    assert list(Workspace.jobs) == [made["job"]] and made["job"] != first
    assert Workspace.jobs[made["job"]]["schedule"]["quartz_cron_expression"] == "0 0 9 1 * ?"
    assert service.fire(made, datetime.now(UTC)) == "job run 77" and Workspace.started == [made["job"]]
    Workspace.jobs[made["job"]]["schedule"]["timezone_id"] = "UTC"
    assert list(differences(made, service.found(made))) == [
        "native.schedule.timezone_id: UTC there, Europe/Berlin here"
    ]
    assert service.remove(made) is True and Workspace.jobs == {}
    assert service.found(made) is None and service.remove(made) is False


def test_job_of_another_is_left_alone(service):
    put(service, NIGHTLY)
    other = Databricks(service.root, "somebody", service.configuration, "databricks")
    with pytest.raises(ConfigError, match="isn't of this state folder"):
        other.put(other.wanted(NIGHTLY, False))


def test_what_may_be_skipped_or_repeated_is_refused(service):
    with pytest.raises(ConfigError, match="when clocks change"):
        check_kept(NIGHTLY.model_copy(update={"cron": "30 2 * * *"}), service.keeps, service.label, datetime.now(UTC))

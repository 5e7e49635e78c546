"""Airflow's clock: a DAG of one task, which starts assay's launcher in the image. A file in Airflow's DAG folder.

Where ASSAY_AIRFLOW_URL names its server, Airflow itself is asked what became of the file; ASSAY_AIRFLOW_USER and
ASSAY_AIRFLOW_PASSWORD are who asks (without them as servers answer where everybody is an administrator).
"""

import json
import os
import re
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ops.infra import load_infra
from ops.schedule.native.clocks import Clock
from ops.schedule.native.launcher import launcher_of
from ops.schedule.native.service import Keeps, Service, Spec, native_name
from ops.schedule.policy import deadline
from ops.schedule.schedule import Schedule
from steps.contracts.errors import ConfigError, InputNotFoundError, ServiceError
from steps.contracts.storage import writing

# Airflow's own bound.
_LONGEST = 250
_DOCKER = "airflow.providers.docker.operators.docker.DockerOperator"
_TEMPLATE = Path(__file__).with_name("airflow_dag.txt")
# Chosen, in seconds.
_PATIENCE = 15.0
_KEEPS = Keeps(
    # CronTriggerTimetable of Airflow 3.3 takes neither as assay does: what spring leaves out comes an hour later, what
    # autumn repeats comes the second time. This refuses all that either touches.
    clock=Clock(left_out="skips", repeated="twice"),
    catchup=("latest", "none", "all"),
    overlap=("queue",),
    options=("max_lateness", "if_changed", "timeout", "retries", "backoff"),
)


@dataclass(frozen=True)
class Airflow(Service):
    """DAGs in a folder that Airflow reads. The infra file of the stack's name says which operator starts containers."""

    keeps = _KEEPS

    @property
    def label(self) -> str:
        """What fires the schedule."""
        return f"a DAG in {self._folder}"

    @property
    def _folder(self) -> Path:
        folder = str(self.configuration.get("dag_output_dir") or "")
        if not folder or "://" in folder:
            hint = "set it to the DAG folder, as this machine sees it (ASSAY_AIRFLOW_DAGS)"
            raise ConfigError("dag_output_dir must be a folder of this machine", where=f"stack {self.stack}", hint=hint)
        return Path(folder)

    def wanted(self, schedule: Schedule, paused: bool) -> Spec:
        """The DAG's values and its file."""
        times = schedule.times
        assert times is not None
        name = native_name(schedule, _LONGEST)
        late = schedule.max_lateness or (deadline(schedule, at := times.next(datetime.now(UTC))) - at)
        values = {
            "dag_id": name,
            "description": f"{schedule.config}, for assay's schedule {schedule.name}",
            "owner": self.owner,
            "cron": None if paused else times.numbers,
            "tz": schedule.tz,
            # From now on: neither a new schedule nor an edited or resumed one fires the past.
            "since": datetime.now(UTC).isoformat(timespec="seconds"),
            "catchup": schedule.catchup == "all",
            "lateness": round(late.total_seconds()) if schedule.catchup == "none" else None,
            "retries": schedule.retries,
            "backoff": schedule.backoff.total_seconds(),
            "timeout": schedule.timeout.total_seconds() if schedule.timeout else None,
            **self._task(schedule),
        }
        return {"file": str(self._folder / f"{name}.py"), "values": values, "is_paused": False, "troubles": []}

    def _task(self, schedule: Schedule) -> dict[str, Any]:
        settings = self._settings()
        operator = {"docker": _DOCKER}.get(str(settings.get("operator") or "docker"), str(settings.get("operator")))
        launcher = launcher_of(self.root, schedule, "")
        command = ["{{ slot(dag_run) }}" if not part else _plain(part) for part in launcher.command]
        environment = {n: _plain(v) for n, v in launcher.environment.items()}
        if "PodOperator" in operator:
            given = {"cmds": command[:1], "arguments": command[1:], "env_vars": environment}
        else:
            given = {"command": command, "environment": environment}
        arguments = {"image": launcher.image, **given, **settings.get("operator_args", {})}
        return {"operator": operator, "arguments": arguments}

    def _settings(self) -> Mapping[str, Any]:
        """Of the orchestrator, as the infra file of its stack has them."""
        try:
            said = load_infra(self.root, self.stack).settings
        except InputNotFoundError:
            said = {}
        return {**self.configuration, **said.get("orchestrator", {}), **said.get("orchestrator.airflow", {})}

    def put(self, spec: Spec) -> Spec:
        """Write the file, whole.

        Raises:
            ConfigError: another state folder's lies there.
        """
        file = Path(spec["file"])
        there = _values(file)
        if there is not None and there.get("owner") != self.owner:
            hint = "give the schedule another name"
            raise ConfigError("there is a DAG that isn't of this state folder", where=str(file), hint=hint)
        text = json.dumps(spec["values"], indent=1, sort_keys=True)
        with writing(file):
            file.parent.mkdir(parents=True, exist_ok=True)
            new = file.with_name(f".{file.name}.new")
            new.write_text(_TEMPLATE.read_text(encoding="utf-8").replace("@VALUES@", text.replace('"""', '""\\u0022')))
            new.replace(file)
        return spec

    def found(self, spec: Spec) -> Spec | None:
        """What lies there, and, where Airflow's server is named, what it says of it."""
        values = _values(Path(spec["file"]))
        if values is None:
            return None
        said = self._said(spec["values"]["dag_id"])
        return {**spec, "values": values, **said}

    def _said(self, dag: str) -> dict[str, Any]:
        if not os.environ.get("ASSAY_AIRFLOW_URL"):
            return {}
        wrong = _asked(f"/importErrors?filename_pattern={urllib.parse.quote(f'{dag}.py')}") or {}
        troubles = [str(e.get("stack_trace", "")).strip()[-300:] for e in wrong.get("import_errors", ())]
        info = _asked(f"/dags/{dag}")
        # A file that Airflow hasn't looked at yet is no trouble.
        return {"troubles": troubles, "is_paused": bool(info and info.get("is_paused"))}

    def remove(self, spec: Spec) -> bool:
        """Take the file away; what runs goes on, and Airflow keeps its history."""
        file = Path(spec["file"])
        there = file.is_file()
        with writing(file):
            file.unlink(missing_ok=True)
        return there

    def fire(self, spec: Spec, at: datetime) -> str:
        """A run of the DAG, by Airflow's server.

        Raises:
            ConfigError: no server is named.
        """
        if not os.environ.get("ASSAY_AIRFLOW_URL"):
            hint = "export ASSAY_AIRFLOW_URL=https://..., or trigger the DAG in Airflow"
            raise ConfigError("only Airflow's server can start a DAG now", where=spec["values"]["dag_id"], hint=hint)
        dag = spec["values"]["dag_id"]
        made = _asked(f"/dags/{dag}/dagRuns", {"logical_date": at.astimezone(UTC).isoformat()})
        if made is None:
            hint = "it reads its folder every minute or so: once more, later"
            raise ServiceError(f"Airflow doesn't know the DAG {dag} yet", where=self.label, hint=hint)
        return f"DAG run {made['dag_run_id']}"


def _plain(text: str) -> str:
    """A text that Airflow's templates leave as it is."""
    return re.sub(r"\{[{%#]", lambda m: "{{ '" + m[0] + "' }}", text)


def _values(file: Path) -> dict[str, Any] | None:
    """The values of a DAG's file; None: there is none, {}: it isn't one of ours, or was changed by hand."""
    if not file.is_file():
        return None
    found = re.search(r'r"""\n(.*?)\n"""', file.read_text(encoding="utf-8", errors="replace"), re.DOTALL)
    try:
        values: dict[str, Any] = json.loads(found[1]) if found else {}
    except ValueError:
        return {}
    return values


def _asked(path: str, body: Any = None) -> Any:
    """What Airflow's server answers; None where it knows no such thing.

    Raises:
        ServiceError: it refuses, or doesn't answer.
    """
    url = os.environ["ASSAY_AIRFLOW_URL"].rstrip("/")
    try:
        return _sent(f"{url}/api/v2{path}", body, {"Authorization": f"Bearer {_token(url)}"})
    except urllib.error.HTTPError as e:
        if e.code == 404:
            return None
        raise ServiceError(f"Airflow refused it: {e.code} {e.reason}", where=url, hint=_HINT) from e
    except (OSError, ValueError, KeyError) as e:
        raise ServiceError(f"Airflow can't be asked: {str(e)[:300]}", where=url, hint=_HINT) from e


_HINT = "correct ASSAY_AIRFLOW_URL, _USER and _PASSWORD; without the first only its DAG folder is looked at"


def _token(url: str) -> str:
    user = os.environ.get("ASSAY_AIRFLOW_USER")
    who = {"username": user, "password": os.environ.get("ASSAY_AIRFLOW_PASSWORD", "")} if user else None
    return str(_sent(f"{url}/auth/token", who, {})["access_token"])


def _sent(url: str, body: Any, headers: Mapping[str, str]) -> Any:
    if not url.startswith(("http://", "https://")):
        raise ValueError(f"{url[:100]!r} is no http(s) address")
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json", **headers})
    with urllib.request.urlopen(request, timeout=_PATIENCE) as answer:
        return json.loads(answer.read())

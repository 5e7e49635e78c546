"""Airflow on a loopback port: scheduler, DAG processor, API; tasks run as processes of this machine."""

import json
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

from support.pods import APP
from support.servers.process import ROOT, answers, free_port, needs, serving

# No Docker here: what the operator would start in a container is a process, with the image's environment as far as
# the operator says it. It is a DockerOperator, so that Airflow checks arguments and renders templates as of one.
_OPERATOR = """
import fcntl, json, os, shutil, subprocess
from airflow.providers.docker.operators.docker import DockerOperator

class ProcessOperator(DockerOperator):
    def execute(self, context):
        command = self.command if isinstance(self.command, list) else self.command.split()
        start = json.loads(os.environ["PROCESS_COMMANDS"])[command[0]]
        given = json.loads(os.environ["PROCESS_ENVIRONMENT"])
        # A step unpacks its code into one folder of the machine, which a container has for itself.
        app = os.environ["PROCESS_APP"]
        os.makedirs(app, exist_ok=True)
        with open(f"{app}/.lock", "w") as lock:
            if command[0] == "python":
                fcntl.flock(lock, fcntl.LOCK_EX)
                shutil.rmtree(f"{app}/code", ignore_errors=True)
            done = subprocess.run(
                [*start, *command[1:]], cwd=os.environ["PROCESS_FOLDER"],
                env={**given, **{k: str(v) for k, v in self.environment.items()}},
            )
        if done.returncode:
            raise RuntimeError(f"{command[:3]} ended with {done.returncode}")
"""


@dataclass(frozen=True)
class AirflowServer:
    """`dags` is its folder; `environment` is what leads to its API."""

    url: str
    dags: Path
    environment: Mapping[str, str]

    def ask(self, path: str) -> Any:
        token = json.load(urlopen(f"{self.url}/auth/token", timeout=20))["access_token"]
        request = Request(f"{self.url}/api/v2{path}", headers={"Authorization": f"Bearer {token}"})
        return json.load(urlopen(request, timeout=20))


@contextmanager
def airflow(folder: Path, work: Path, environment: Mapping[str, str]) -> Iterator[AirflowServer]:
    """`work`: where tasks' processes start; `environment`: what they have besides, as an image would."""
    program = needs(ROOT / ".venv-airflow" / "bin" / "airflow", "make airflow-env")
    dags, port = folder / "dags", free_port()
    (folder / "modules").mkdir(parents=True, exist_ok=True)
    dags.mkdir(exist_ok=True)
    (folder / "modules" / "process_operator.py").write_text(_OPERATOR)
    url = f"http://127.0.0.1:{port}"
    python = [sys.executable]
    settings = {
        "AIRFLOW_HOME": str(folder), "PYTHONPATH": str(folder / "modules"),
        "PATH": f"{Path(program).parent}{os.pathsep}{os.environ['PATH']}",
        "AIRFLOW__CORE__DAGS_FOLDER": str(dags), "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True", "AIRFLOW__API__HOST": "127.0.0.1",
        "AIRFLOW__API__PORT": str(port), "AIRFLOW__API__BASE_URL": url, "AIRFLOW__API__WORKERS": "1",
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{url}/execution/", "AIRFLOW__CORE__PARALLELISM": "2",
        "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "5", "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "5",
        "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False", "SCARF_NO_ANALYTICS": "true",
        "PROCESS_FOLDER": str(work), "PROCESS_ENVIRONMENT": json.dumps(dict(environment)),
        "PROCESS_COMMANDS": json.dumps({"assay": [*python, "-m", "ops.main"], "python": [*python, "-S"]}),
        "PROCESS_APP": str(APP),
    }  # fmt: skip
    for name in [n for n in os.environ if n.startswith(("ZENML_", "MLFLOW_"))]:
        settings.setdefault(name, "")
    ready = f"{url}/api/v2/monitor/health"
    with serving([program, "standalone"], folder, lambda: answers(ready), settings):
        yield AirflowServer(url, dags, {"ASSAY_AIRFLOW_URL": url, "ASSAY_AIRFLOW_DAGS": str(dags)})

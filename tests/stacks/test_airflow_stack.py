"""The stack `airflow`: ZenML's DAG is parsed and executed by Airflow's scheduler, and gives the same run."""

import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from support import outcomes, pods
from support.checkout import checkout
from support.servers import moto
from support.servers.airflow import AirflowServer, airflow
from support.servers.process import until
from support.servers.zenml_server import zenml_server

pytestmark = [
    pytest.mark.stacks,
    pytest.mark.skipif(not os.access(pods.APP if pods.APP.exists() else "/", os.W_OK), reason="/app isn't ours"),
]
# Chosen: ten tasks of some ten seconds each, on a busy machine.
_PATIENCE = 900


def test_curation_as_tasks_of_airflow(
    tmp_path: Path,
    curated: outcomes.Outcome,
    numba: Path,
    away: Callable[..., None],
    record_property: Callable[..., None],
) -> None:
    """What Airflow's operator would start in containers are processes: there is no Docker here."""
    record_property("left out", "training and evaluation on airflow: its curation alone is run as tasks")
    state, empty = tmp_path / "state", tmp_path / "empty"
    empty.mkdir()
    home = checkout(tmp_path / "home")
    infra = home / "configs" / "infra" / "airflow.yaml"
    said = infra.read_text()
    infra.unlink()
    infra.write_text(f"{said}settings: {{orchestrator: {{operator: process_operator.ProcessOperator}}}}\n")
    with moto.moto(tmp_path / "moto") as amazon, zenml_server(tmp_path / "zenml", users=["ann"]) as server:
        image = {**moto.environment(amazon), "NUMBA_CACHE_DIR": str(numba)}
        away(**moto.environment(amazon))
        libraries = os.pathsep.join(p for p in sys.path if p.endswith("site-packages"))
        in_container = {
            **image, "PATH": "/usr/bin:/bin", "HOME": str(empty), "PYTHONPATH": libraries, "OMP_NUM_THREADS": "1",
            "ZENML_CONFIG_PATH": str(empty / "zenml"),
        }  # fmt: skip
        with airflow(tmp_path / "airflow", empty, in_container) as there:
            leading = {
                **server.environment("ann"), **there.environment, "ASSAY_REGISTRY": "registry.example.org/team",
                "ASSAY_ARTIFACTS": f"s3://{moto.BUCKET}/runs", "ASSAY_IMAGE": "registry.example.org/team/assay:1",
                "ASSAY_ROOT": str(home), "ZENML_CUSTOM_SOURCE_ROOT": str(outcomes.ROOT),
            }  # fmt: skip
            done = outcomes.assay(
                state, "run", outcomes.SMOKE, *outcomes.CURATION, "--infra", "airflow", "--json", **leading
            )
            assert done.returncode == 0, done.stdout + done.stderr
            (dag,) = until(lambda: there.ask("/dags")["dags"])
            runs = until(lambda: [r for r in _runs(there, dag) if r["state"] in ("success", "failed")], _PATIENCE)
            tasks = there.ask(f"/dags/{dag['dag_id']}/dagRuns/{runs[0]['dag_run_id']}/taskInstances")["task_instances"]
            assert {t["task_id"]: t["state"] for t in tasks if t["state"] != "success"} == {}
            synced = outcomes.assay(state, "runs", "--sync", "--json", **leading)
            assert synced.returncode == 0, synced.stderr
        (name,) = outcomes.index(state)
        made = outcomes.outcome(state, name, **leading)
        assert made.differences(curated) == {}


def _runs(there: AirflowServer, dag: Mapping[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = there.ask(f"/dags/{dag['dag_id']}/dagRuns")["dag_runs"]
    return found

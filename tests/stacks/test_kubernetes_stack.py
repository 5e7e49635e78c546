"""The stack `kubernetes`: the Job that starts all others is accepted by an API that checks it."""

import json
from pathlib import Path

import pytest
from support import outcomes
from support.servers import moto
from support.servers.kube import kubernetes_api
from support.servers.zenml_server import zenml_server

pytestmark = pytest.mark.stacks


def test_run_is_a_job_that_kubernetes_takes(tmp_path: Path, away) -> None:
    """Nothing executes it here."""
    state = tmp_path / "state"
    with (
        moto.moto(tmp_path / "moto") as amazon,
        zenml_server(tmp_path / "zenml", users=["ann"]) as server,
        kubernetes_api(tmp_path) as cluster,
    ):
        away(**moto.environment(amazon))
        leading = {
            **server.environment("ann"), **cluster.environment, "ASSAY_KUBERNETES_CONTEXT": cluster.context,
            "ASSAY_KUBERNETES_SERVICE_ACCOUNT": "steps", "ASSAY_REGISTRY": "registry.example.org/team",
            "ASSAY_ARTIFACTS": f"s3://{moto.BUCKET}/runs", "ASSAY_IMAGE": "registry.example.org/team/assay:1",
        }  # fmt: skip
        done = outcomes.assay(
            state, "run", outcomes.SMOKE, *outcomes.CURATION, "--infra", "kubernetes", "--detach", "--json", **leading
        )
        assert done.returncode == 0, done.stdout + done.stderr
        (job,) = cluster.objects("Job")
        assert job["metadata"]["labels"]["run_name"] == json.loads(done.stdout)["name"]
        (container,) = job["spec"]["template"]["spec"]["containers"]
        assert container["image"] == leading["ASSAY_IMAGE"]
        # A variable of a pod is seen by all who see pods.
        assert leading["ZENML_STORE_API_KEY"] not in json.dumps(job)

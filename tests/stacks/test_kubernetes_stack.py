"""The stack `kubernetes`: its Jobs are accepted by an API that checks them, and their commands give the same run."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from support import outcomes, pods
from support.servers import moto
from support.servers.kube import kubernetes_api
from support.servers.kubelet import kubelet
from support.servers.zenml_server import zenml_server

pytestmark = [
    pytest.mark.stacks,
    pytest.mark.skipif(not os.access(pods.APP if pods.APP.exists() else "/", os.W_OK), reason="/app isn't ours"),
]


def test_curation_in_pods(
    tmp_path: Path,
    curated: outcomes.Outcome,
    numba: Path,
    away: Callable[..., None],
    record_property: Callable[..., None],
) -> None:
    record_property("left out", "training and evaluation on kubernetes: its curation alone is run in pods")
    state = tmp_path / "state"
    with (
        moto.moto(tmp_path / "moto") as amazon,
        zenml_server(tmp_path / "zenml", users=["ann"]) as server,
        kubernetes_api(tmp_path) as cluster,
    ):
        image = {**moto.environment(amazon), "NUMBA_CACHE_DIR": str(numba)}
        away(**moto.environment(amazon))
        leading = {
            **server.environment("ann"), **cluster.environment, "ASSAY_KUBERNETES_CONTEXT": cluster.context,
            "ASSAY_KUBERNETES_SERVICE_ACCOUNT": "steps", "ASSAY_REGISTRY": "registry.example.org/team",
            "ASSAY_ARTIFACTS": f"s3://{moto.BUCKET}/runs", "ASSAY_IMAGE": "registry.example.org/team/assay:1",
        }  # fmt: skip
        with kubelet(cluster, image) as printed:
            done = outcomes.assay(
                state, "run", outcomes.SMOKE, *outcomes.CURATION, "--infra", "kubernetes", "--json", **leading
            )
        assert done.returncode == 0, done.stdout + done.stderr + "\n".join(printed.values())[-6000:]
        name = json.loads(done.stdout)["name"]
        assert outcomes.outcome(state, name, **leading).differences(curated) == {}
        jobs = cluster.objects("Job")
        ours = [j for j in jobs if j["spec"]["template"]["spec"]["containers"][0]["image"] == leading["ASSAY_IMAGE"]]
        # One pod starts the others.
        assert len(ours) == len(outcomes.index(state)[name].executed_steps) + 1
        assert {j["metadata"]["labels"]["run_name"] for j in ours} == {name}
        # A variable of a pod is seen by all who see pods.
        assert leading["ZENML_STORE_API_KEY"] not in json.dumps(jobs)

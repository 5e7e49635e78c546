"""`assay deploy --to kubernetes`: what is sent is valid by Kubernetes' schemas, and taken by an emulator of its API.

No pod runs, so that nothing is known of whether a model would answer there.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import pytest
from support import sample_run
from support.servers.kube import VERSIONS, invalid, kubernetes_api
from typer.testing import CliRunner

from ops.deploy import wanted as module
from ops.deploy.kubernetes import manifests
from ops.deploy.state import Server
from ops.found_models import FoundModel
from ops.main import app
from steps.contracts.models import BaseRef, ModelFolder, ModelInfo

pytestmark = pytest.mark.stacks
ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Cleared:
    against: tuple[str, ...] = ("0 of 1 approvals",)


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    monkeypatch.setenv("ASSAY_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("ASSAY_ROOT", str(ROOT))
    monkeypatch.setenv("ASSAY_IMAGE", "registry.example.org/team/assay:1")
    monkeypatch.delenv("ASSAY_TRACEBACK", raising=False)

    def found(root, text, over):
        digest = {"1": "a", "2": "b"}[text[-1]] * 64
        info = ModelInfo(
            kind="full", base=BaseRef(source="scratch", name="scratch"), digest=digest, files={}, parameters=1
        )
        made = sample_run.registration().model_copy(
            update={"name": "shop", "version": text[-1], "tags": {"weights_digest": digest},
                    "tracking_uri": "sqlite:///a.db" if "local" in text else "https://u:p@mlflow.example.org"}
        )  # fmt: skip
        store = {"artifact_store": "s3://bucket/runs", "registration": made}
        return FoundModel(text, ModelFolder(info, None), None, sample_run.record().model_copy(update=store))

    monkeypatch.setattr(module, "find_model", found)
    monkeypatch.setattr(module, "behind", lambda *a: None)
    monkeypatch.setattr(module, "clearance_of", lambda *a: Cleared())
    with kubernetes_api(tmp_path) as api:
        for name, value in api.environment.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("ASSAY_KUBERNETES_CONTEXT", api.context)
        # Kubernetes' library reads the variable when it is imported.
        read = "kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION"
        monkeypatch.setattr(read, api.environment["KUBECONFIG"])
        yield api


def invoke(*arguments):
    return CliRunner().invoke(app, list(arguments))


def args(cluster):
    (deployment,) = cluster.objects("Deployment")
    return deployment["spec"]["template"]["spec"]["containers"][0]["args"]


def test_applied_replaced_back_and_removed(cluster, record_property):
    done = invoke("deploy", "models:/shop/1", "--to", "kubernetes", "--as", "shop", "--set", "device=cuda")
    assert done.exit_code == 0, done.stderr
    assert "applied; nothing was tested" in done.stdout and "note: 0 of 1 approvals" in done.stdout
    assert "http://assay-shop.zenml:8000/v1" in done.stdout and "smoke" not in done.stdout
    (deployment,), (service,) = cluster.objects("Deployment"), cluster.objects("Service")
    assert args(cluster) == [
        "serve", "model:https://mlflow.example.org#shop/1", "--as", "shop", "--host", "0.0.0.0", "--port", "8000",
        "--set", "device=cuda",
    ]  # fmt: skip
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert service["spec"]["selector"].items() <= labels.items()
    assert deployment["spec"]["selector"]["matchLabels"].items() <= labels.items()
    assert ":p@" not in json.dumps(deployment)

    assert invoke("deploy", "models:/shop/2", "--to", "kubernetes", "--as", "shop").exit_code == 0
    assert args(cluster)[1] == "model:https://mlflow.example.org#shop/2" and len(cluster.objects("Deployment")) == 1
    shown = invoke("deploy", "--show")
    assert shown.exit_code == 5 and "0 of 1 ready" in shown.stdout
    assert invoke("deploy", "--previous", "--as", "shop").exit_code == 0
    assert args(cluster)[1:] == [
        "model:https://mlflow.example.org#shop/1", "--as", "shop", "--host", "0.0.0.0", "--port", "8000",
        "--set", "device=cuda",
    ]  # fmt: skip
    gone = invoke("undeploy", "--as", "shop")
    assert gone.exit_code == 0 and "2 processes or objects ended" in gone.stdout
    assert cluster.objects("Deployment") == cluster.objects("Service") == []
    assert "nothing is deployed" in invoke("deploy", "--show").stdout
    record_property("left out", "assay deploy --to kubernetes: no pod runs, and no model answers, in the emulator")


def test_what_isn_t_assay_s_stays(cluster, monkeypatch):
    invoke("deploy", "models:/shop/1", "--to", "kubernetes", "--as", "shop")
    from kubernetes import client, config

    config.load_kube_config()
    apps = client.AppsV1Api()
    (mine,) = cluster.objects("Deployment")
    mine["metadata"]["labels"] = {"app": "theirs"}
    apps.replace_namespaced_deployment("assay-shop", "zenml", mine, _preload_content=False)
    refused = invoke("deploy", "models:/shop/2", "--to", "kubernetes", "--as", "shop")
    assert refused.exit_code == 2 and "there is a Deployment assay-shop in namespace zenml" in refused.stderr
    assert args(cluster)[1] == "model:https://mlflow.example.org#shop/1"


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["models:/local/1", "--as", "shop"], 2, "its registry is this machine's, which no pod reaches"),
        (["models:/shop/1", "--as", "Shop_1"], 2, "'Shop_1' is no name in Kubernetes"),
        (["models:/shop/1", "--as", "shop", "--prompts", "x"], 2, "nothing is tested in Kubernetes"),
    ],
)
def test_mistakes(cluster, arguments, status, said):
    done = invoke("deploy", "--to", "kubernetes", *arguments)
    assert done.exit_code == status and said in done.stderr, done.stderr
    assert cluster.objects("Deployment") == []


def test_a_cluster_that_can_t_be_asked(cluster, monkeypatch, tmp_path):
    monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(tmp_path / "nowhere"))
    done = invoke("deploy", "models:/shop/1", "--to", "kubernetes", "--as", "shop")
    assert done.exit_code == 5 and "Kubernetes can't be asked" in done.stderr
    monkeypatch.delenv("ASSAY_IMAGE")
    done = invoke("deploy", "models:/shop/1", "--to", "kubernetes", "--as", "shop")
    assert done.exit_code == 2 and "ASSAY_IMAGE names no image" in done.stderr


def test_the_judge_of_manifests_can_refuse(cluster):
    place = {"image": "i", "context": "", "namespace": "n"}
    server = Server(
        id="1", name="x", to="kubernetes", asked="m", model="model:u#m/1", digest="d", port=8000, place=place
    )
    for one in manifests(server):
        assert invalid(one) == ""
        one["spec"]["nonsense"] = 1
        assert VERSIONS[0] in invalid(one)

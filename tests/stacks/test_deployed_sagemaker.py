"""`assay deploy --to sagemaker`: what is sent is valid by Amazon's schemas, and taken by an emulator of its API (moto).

No machine of SageMaker's runs. What its container would do is executed here, as a process, over the files that were
laid down.
"""

import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import boto3
import pytest
from moto import mock_aws
from moto.core.responses import ActionResult
from moto.sagemaker.models import FakeEndpoint
from moto.sagemaker.responses import SageMakerResponse
from support import modelled_run
from support.servers.process import free_port
from typer.testing import CliRunner

from ops.deploy import sagemaker, state
from ops.deploy.container import EXPECTED
from ops.main import app

pytestmark = pytest.mark.stacks
ROOT = Path(__file__).resolve().parents[2]
BASE, TUNED = "run:shop/base", "run:shop"
BUCKET, REGION = "assay-test", "eu-central-1"


def update_endpoint(self: SageMakerResponse) -> ActionResult:
    """What moto hasn't; its requests are still checked by Amazon's schemas."""
    backend, name = self.sagemaker_backend, self._get_param("EndpointName")
    backend.describe_endpoint(name)
    backend.describe_endpoint_config(self._get_param("EndpointConfigName"))
    endpoint: FakeEndpoint = backend.endpoints[name]
    endpoint.endpoint_config_name = self._get_param("EndpointConfigName")
    return ActionResult({"EndpointArn": endpoint.arn})


@pytest.fixture
def amazon(tmp_path, monkeypatch, tiny_model):
    """moto, a run, and what the environment must say; returns clients of SageMaker and S3."""
    monkeypatch.setenv("ASSAY_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("ASSAY_ROOT", str(ROOT))
    for name in ("ASSAY_TRACEBACK", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    for name, value in {
        "ASSAY_AWS_REGION": REGION, "ASSAY_SAGEMAKER_ROLE": "arn:aws:iam::123456789012:role/jobs",
        "ASSAY_SAGEMAKER_BUCKET": BUCKET, "ASSAY_IMAGE": f"123456789012.dkr.ecr.{REGION}.amazonaws.com/assay:1",
        "ASSAY_SAGEMAKER_MACHINE": "ml.m5.xlarge",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    modelled_run.build(tmp_path / "work", tiny_model, registered=False)
    monkeypatch.setattr(SageMakerResponse, "update_endpoint", update_endpoint, raising=False)
    with mock_aws():
        s3 = boto3.client("s3", REGION)
        s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})
        yield boto3.client("sagemaker", REGION), s3


def invoke(*arguments):
    return CliRunner().invoke(app, list(map(str, arguments)))


def deployed(*arguments):
    done = invoke("deploy", *arguments, "--to", "sagemaker", "--as", "shop", "--json")
    assert done.exit_code == 0, done.stderr
    return json.loads(done.stdout)


def keys(s3):
    return sorted(o["Key"] for o in s3.list_objects_v2(Bucket=BUCKET).get("Contents", []))


def kept(clients):
    """Names of all that is there: endpoints, settings, models."""
    amazon = clients[0]
    return (
        [e["EndpointName"] for e in amazon.list_endpoints()["Endpoints"]],
        sorted(c["EndpointConfigName"] for c in amazon.list_endpoint_configs()["EndpointConfigs"]),
        sorted(m["ModelName"] for m in amazon.list_models()["Models"]),
    )


def answering(amazon):
    """The container of the endpoint's model."""
    config = amazon.describe_endpoint(EndpointName="assay-shop")["EndpointConfigName"]
    (variant,) = amazon.describe_endpoint_config(EndpointConfigName=config)["ProductionVariants"]
    return amazon.describe_model(ModelName=variant["ModelName"])["PrimaryContainer"]


def test_made_updated_back_and_removed(amazon, record_property):
    sagemaker_, s3 = amazon
    done = invoke("deploy", BASE, "--to", "sagemaker", "--as", "shop")
    assert done.exit_code == 0, done.stderr
    assert "applied; nothing was tested" in done.stdout and "smoke" not in done.stdout
    assert "its ml.m5.xlarge is paid from now on, until assay undeploy --as shop" in done.stdout
    first = json.loads(invoke("deploy", "--show", "--json").stdout)["deployments"][0]
    name = f"assay-shop-{first['current']['id']}"
    assert (first["said"], first["running"], first["current"]["tested"]) == ("InService", {"server": True}, 0)
    assert kept(amazon) == (["assay-shop"], [name], [name])
    model = sagemaker_.describe_model(ModelName=name)
    assert model["ExecutionRoleArn"] == "arn:aws:iam::123456789012:role/jobs"
    uri = answering(sagemaker_)["ModelDataSource"]["S3DataSource"]["S3Uri"]
    assert uri.startswith(f"s3://{BUCKET}/assay-deployed/shop/") and uri.endswith("/")
    laid = [k.removeprefix(uri.removeprefix(f"s3://{BUCKET}/")) for k in keys(s3)]
    assert {"deployed.json", "base/config.json", "base/model.safetensors"} <= set(laid)
    assert not any(k.startswith("tuned/") for k in laid)

    second = deployed(TUNED, "--set", "batch_size=2")
    assert second["previous"]["digest"] == first["current"]["digest"] != second["current"]["digest"]
    newer = f"assay-shop-{second['current']['id']}"
    # What was before is there as long as SageMaker may go back to it.
    assert kept(amazon) == (["assay-shop"], sorted([name, newer]), sorted([name, newer]))
    prefixes = {k.split("/")[2] for k in keys(s3)}
    assert len(prefixes) == 2 and any("tuned/adapter_model.safetensors" in k for k in keys(s3))

    back = json.loads(invoke("deploy", "--previous", "--as", "shop", "--json").stdout)
    assert back["current"]["digest"] == first["current"]["digest"]
    assert answering(sagemaker_)["ModelDataSource"]["S3DataSource"]["S3Uri"] == uri
    again = json.loads(invoke("deploy", "--again", "--as", "shop", "--json").stdout)
    assert len(kept(amazon)[2]) == 2 and {k.split("/")[2] for k in keys(s3)} == {uri.split("/")[-2]}
    assert again["previous"]["digest"] == second["current"]["digest"]
    gone = invoke("undeploy", "--as", "shop")
    assert gone.exit_code == 0 and "5 processes or objects ended" in gone.stdout
    assert kept(amazon) == ([], [], []) and keys(s3) == []
    record_property("left out", "assay deploy --to sagemaker: no machine runs, and no model answers, in the emulator")


@contextmanager
def contained(folder, **environment):
    """What the image's `serve` starts, over the files that were laid down: its address, and what it said."""
    port = free_port()
    command = [sys.executable, "-m", "ops.deploy.container", str(folder), str(port)]
    with subprocess.Popen(
        command, cwd=ROOT, stderr=subprocess.PIPE, text=True, env={**os.environ, "HF_HUB_OFFLINE": "1", **environment}
    ) as process:
        try:
            while process.poll() is None:
                try:
                    urllib.request.urlopen(f"http://127.0.0.1:{port}/ping").close()
                    break
                except OSError:
                    time.sleep(0.2)
            yield process, f"http://127.0.0.1:{port}"
        finally:
            process.terminate()


def laid_down(amazon, folder):
    """As SageMaker fetches them."""
    container, s3 = answering(amazon[0]), amazon[1]
    prefix = container["ModelDataSource"]["S3DataSource"]["S3Uri"].removeprefix(f"s3://{BUCKET}/")
    for key in keys(s3):
        if key.startswith(prefix):
            file = folder / key.removeprefix(prefix)
            file.parent.mkdir(parents=True, exist_ok=True)
            s3.download_file(BUCKET, key, str(file))
    return container["Environment"]


def test_what_was_laid_down_answers_as_assay_serve_does(amazon, tmp_path):
    here = invoke("deploy", TUNED, "--as", "shop-here", "--set", "batch_size=2", "--json")
    assert here.exit_code == 0, here.stderr
    made = deployed(TUNED, "--set", "batch_size=2")
    environment = laid_down(amazon, tmp_path / "model")
    assert list(environment) == [EXPECTED, "HF_HUB_OFFLINE"]

    def asked(address, name):
        body = {"model": name, "messages": [{"role": "user", "content": "What is it?"}], "max_tokens": 24}
        request = urllib.request.Request(address, json.dumps(body).encode(), {"Content-Type": "application/json"})
        with urllib.request.urlopen(request) as reply:
            return json.loads(reply.read())["choices"][0]

    try:
        expected = asked(json.loads(here.stdout)["url"] + "/v1/chat/completions", "shop-here")
    finally:
        assert invoke("undeploy", "--as", "shop-here").exit_code == 0
    with contained(tmp_path / "model", **environment) as (_, url):
        assert asked(f"{url}/invocations", "shop") == expected and len(expected["message"]["content"]) > 5
        with urllib.request.urlopen(f"{url}/v1/models") as reply:
            assert json.loads(reply.read())["data"][0]["digest"] == made["current"]["digest"]
    weights = tmp_path / "model/tuned/adapter_model.safetensors"
    raw = bytearray(weights.read_bytes())
    raw[-1] ^= 1
    weights.write_bytes(raw)
    with contained(tmp_path / "model", **environment) as (process, _):
        assert process.wait() == 7 and "changed, missing or new model files" in process.stderr.read()
    with contained(tmp_path / "model", **{**environment, EXPECTED: "0" * 64}) as (process, _):
        assert process.wait() == 7 and "not the list that was deployed" in process.stderr.read()


def test_what_a_dead_command_left_is_swept_and_nothing_else(amazon, monkeypatch):
    deployed(BASE)
    neighbour = invoke("deploy", BASE, "--to", "sagemaker", "--as", "shop-two")
    assert neighbour.exit_code == 0, neighbour.stderr
    clients, _ = amazon
    clients.create_model(ModelName="assay-shop-mine", ExecutionRoleArn="arn:aws:iam::123456789012:role/jobs")
    clients.create_model(ModelName="assay-shop-0123456789ab", ExecutionRoleArn="arn:aws:iam::123456789012:role/jobs")
    before = kept(amazon)
    with monkeypatch.context() as dying:

        def killed(*_):
            raise KeyboardInterrupt

        dying.setattr(SageMakerResponse, "update_endpoint", killed, raising=False)
        assert invoke("deploy", TUNED, "--to", "sagemaker", "--as", "shop").exit_code != 0
    assert len(kept(amazon)[2]) == len(before[2]) + 1
    again = json.loads(invoke("deploy", "--again", "--as", "shop", "--json").stdout)
    found = kept(amazon)
    assert len(found[2]) == len(before[2]) + 1 and f"assay-shop-{again['current']['id']}" in found[2]
    assert {"assay-shop-mine", "assay-shop-0123456789ab"} <= set(found[2])
    assert invoke("undeploy", "--as", "shop").exit_code == 0
    assert kept(amazon)[0] == ["assay-shop-two"] and len(kept(amazon)[1]) == 1
    assert {k.split("/")[1] for k in keys(amazon[1])} == {"shop-two"}


def test_endpoints_that_can_t_be_changed(amazon):
    from moto.sagemaker.models import sagemaker_backends

    deployed(BASE)
    endpoint = sagemaker_backends["123456789012"][REGION].endpoints["assay-shop"]
    for status, way in (("Updating", "assay deploy --show tells"), ("Failed", "assay undeploy, then anew")):
        endpoint.endpoint_status, endpoint.failure_reason = status, "no such image" if status == "Failed" else None
        refused = invoke("deploy", TUNED, "--to", "sagemaker", "--as", "shop")
        assert refused.exit_code == 2 and f"is {status}: it can't be changed now" in refused.stderr
        assert way in refused.stderr
        shown = invoke("deploy", "--show")
        assert shown.exit_code == 5 and status in shown.stdout
    assert "no such image" in invoke("deploy", "--show", "--json").stdout
    endpoint.endpoint_status = "InService"
    # SageMaker went back to another one than the last that was applied.
    variant = {"VariantName": "all", "ModelName": kept(amazon)[2][0], "InstanceType": "ml.m5.xlarge"}
    amazon[0].create_endpoint_config(EndpointConfigName="other", ProductionVariants=[variant])
    endpoint.endpoint_config_name = "other"
    shown = invoke("deploy", "--show")
    assert shown.exit_code == 5 and "another" in shown.stdout
    deployed(TUNED)
    # A model that other settings name stays as long as an endpoint is asked by them.
    assert len(kept(amazon)[2]) == 2
    endpoint.tags = []
    refused = invoke("deploy", TUNED, "--to", "sagemaker", "--as", "shop")
    assert refused.exit_code == 2 and "there is an endpoint assay-shop that isn't assay's" in refused.stderr
    assert invoke("undeploy", "--as", "shop").exit_code == 0 and kept(amazon)[0] == ["assay-shop"]


def test_mistakes(amazon, tmp_path, monkeypatch):
    def refused(*arguments):
        done = invoke("deploy", *arguments, "--to", "sagemaker")
        assert kept(amazon) == ([], [], []) and state.all_names(ROOT) == []
        return done.exit_code, done.stderr

    assert "'a--b' is no name in SageMaker" in refused(TUNED, "--as", "a--b")[1]
    assert "nothing is tested in SageMaker" in refused(TUNED, "--prompts", "x")[1]
    (tmp_path / "x.gguf").write_bytes(b"GGUF")
    assert "a GGUF file is answered by llama.cpp, on this machine" in refused(tmp_path / "x.gguf")[1]
    assert refused(TUNED, "--set", "nonsense=1")[0] == 2
    monkeypatch.setenv("ASSAY_SAGEMAKER_BUCKET", "none-such")
    status, said = refused(TUNED)
    assert status == 5 and "Amazon refused it" in said and "bucket" in said.lower()
    monkeypatch.delenv("ASSAY_SAGEMAKER_ROLE")
    monkeypatch.setenv("ASSAY_SAGEMAKER_MACHINE", "")
    status, said = refused(TUNED)
    assert status == 2 and "not set: ASSAY_SAGEMAKER_ROLE, ASSAY_SAGEMAKER_MACHINE" in said


def test_a_deployment_stays_where_it_is(amazon, monkeypatch):
    deployed(BASE)
    monkeypatch.setenv("ASSAY_AWS_REGION", "us-east-1")
    moved = invoke("deploy", BASE, "--to", "sagemaker", "--as", "shop")
    assert moved.exit_code == 2 and f"shop is deployed by sagemaker {REGION} {BUCKET}" in moved.stderr
    here = invoke("deploy", BASE, "--as", "shop")
    assert here.exit_code == 2 and "shop is deployed by sagemaker" in here.stderr


def test_the_emulator_s_requests_are_checked_by_amazon_s_schemas(amazon, monkeypatch):
    wrong = sagemaker._config

    def config(*arguments):
        made = wrong(*arguments)
        made["ProductionVariants"][0]["Nonsense"] = 1
        return made

    monkeypatch.setattr(sagemaker, "_config", config)
    done = invoke("deploy", BASE, "--to", "sagemaker", "--as", "shop")
    assert done.exit_code == 5 and 'Unknown parameter in ProductionVariants[0]: "Nonsense"' in done.stderr

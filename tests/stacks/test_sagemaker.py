"""The stack `aws`: accepted by SageMaker (moto), and the jobs that it recorded executed here as bare processes."""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import boto3
import fsspec
import pytest
from support import outcomes, pods
from support.recorded_jobs import execute, newest_pipeline
from support.servers import moto
from support.servers.process import ROOT, needs
from support.servers.zenml_server import ZenmlServer, zenml_server

pytestmark = [
    pytest.mark.stacks,
    pytest.mark.skipif(not os.access(pods.APP if pods.APP.exists() else "/", os.W_OK), reason="/app isn't ours"),
]
REGISTRY = "123456789012.dkr.ecr.us-east-1.amazonaws.com"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ZenmlServer]:
    with zenml_server(tmp_path_factory.mktemp("zenml"), users=["ci"]) as started:
        yield started


@pytest.fixture
def python() -> str:
    """Of the environment that has SageMaker's library."""
    return needs(ROOT / ".venv-aws" / "bin" / "python", "make env-aws")


@pytest.fixture
def more(python: str, s3: str, server: ZenmlServer, tmp_path: Path, numba: Path) -> dict[str, str]:
    """What the head of the stack's file lists."""
    policy = {"Version": "2012-10-17", "Statement": [{
        "Effect": "Allow", "Principal": {"Service": "sagemaker.amazonaws.com"}, "Action": "sts:AssumeRole",
    }]}  # fmt: skip
    roles = boto3.client("iam")
    known = {r["RoleName"]: r["Arn"] for r in roles.list_roles()["Roles"]}
    role = (
        known.get("jobs")
        or roles.create_role(RoleName="jobs", AssumeRolePolicyDocument=json.dumps(policy))["Role"]["Arn"]
    )
    return {
        **server.environment("ci"), "ASSAY_S3_PATH": s3, "ASSAY_AWS_REGION": "us-east-1", "ASSAY_SAGEMAKER_ROLE": role,
        "ASSAY_SAGEMAKER_BUCKET": moto.BUCKET, "ASSAY_ECR": REGISTRY, "ASSAY_IMAGE": f"{REGISTRY}/assay:1",
        "MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path}/mlflow.db", "NUMBA_CACHE_DIR": str(numba),
    }  # fmt: skip


def test_recorded_jobs_are_the_run_of_the_command(
    python: str, more: dict[str, str], tmp_path: Path, curated: outcomes.Outcome, record_property: Callable[..., None]
) -> None:
    record_property("left out", "training and evaluation on aws: its curation alone is run as jobs")
    state = tmp_path / "state"
    begun = outcomes.run(state, outcomes.SMOKE, *outcomes.CURATION, "--infra", "aws", "--detach", python=python, **more)
    assert begun.stack.startswith("aws") and begun.ended is None
    pipeline = newest_pipeline()
    assert [s["Name"] for s in pipeline.steps] == list(curated.record["executed"])
    for step in pipeline.steps:
        job = step["Arguments"]
        assert (step["Type"], job["RoleArn"]) == ("Processing", more["ASSAY_SAGEMAKER_ROLE"])
        assert job["AppSpecification"]["ImageUri"] == more["ASSAY_IMAGE"]
        assert job["ProcessingResources"]["ClusterConfig"]["InstanceType"] == "ml.m5.xlarge"
    assert execute(pipeline, python) == {}
    assert outcomes.assay(state, "runs", "--sync", python=python, **more).returncode == 0
    found = outcomes.outcome(state, begun.name, python=python, **more).differences(curated)
    # What ingest notes of its sources names the libraries it could use; this environment lacks those for PDF and DOCX.
    assert all(place.startswith("record: ingest/ingest_sources") for place in found)


def test_failed_job_is_a_failed_run(python: str, more: dict[str, str], s3: str, tmp_path: Path) -> None:
    state, config = tmp_path / "state", tmp_path / "broken.yaml"
    rows = fsspec.open(f"{s3.rsplit('/', 1)[0]}/in/rows.jsonl", "wt")
    with rows as f:
        f.write('{"prompt": "a", "completion": "b"}\n{broken\n')
    config.write_text(json.dumps({
        "name": "broken", "pipeline": "curate", "scrub": {"demo_key": True},
        "ingest": {"sources": [{"name": "rows", "path": rows.full_name}]},
    }))  # fmt: skip
    begun = outcomes.run(state, str(config), "--infra", "aws", "--detach", python=python, **more)
    failed = execute(newest_pipeline(), python)
    assert "1 of 2 rows" in failed["ingest_step"] and "left out" in failed.values()
    outcomes.assay(state, "runs", "--sync", python=python, **more)
    record = outcomes.index(state)[begun.name]
    assert (record.status, record.failed_step) == ("failed", "ingest_step")
    assert "1 of 2 rows" in (record.error or "")

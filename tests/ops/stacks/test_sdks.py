"""Stacks of clouds against the clouds' own libraries, in whichever environment has them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
# By stack: what must be importable. `make env-aws` and `make env-gcp` make the environments of two of them.
NEEDS = {
    "kubernetes": "kubernetes", "azure": "azure.ai.ml", "aws": "sagemaker", "gcp": "kfp", "airflow": "s3fs",
    "databricks": "databricks.sdk", "local-docker": "docker", "server": "s3fs", "s3": "s3fs",
    "blob": "adlfs", "gcs": "gcsfs",
}  # fmt: skip


def interpreter(stack: str) -> str:
    """One that has the stack's libraries; skips where there is none."""
    apart = ROOT / f".venv-{stack}" / "bin" / "python"
    for candidate in (sys.executable, str(apart)):
        found = Path(candidate).exists() and subprocess.run(
            [candidate, "-c", f"import {NEEDS[stack]}"], capture_output=True, check=False
        )
        if found and found.returncode == 0:
            return candidate
    pytest.skip(f"stack {stack} was NOT held against its library: {NEEDS[stack]} isn't installed (docs/stacks.md)")


# A cluster that nobody asks: its name is all that is looked at.
KUBECONFIG = """
apiVersion: v1
kind: Config
clusters: [{name: word, cluster: {server: "https://127.0.0.1:9"}}]
contexts: [{name: word, context: {cluster: word, user: word}}]
users: [{name: word, user: {token: word}}]
current-context: word
"""


@pytest.mark.stacks
@pytest.mark.parametrize("stack", NEEDS)
def test_components_are_made_and_fit_together(stack: str, tmp_path: Path) -> None:
    (tmp_path / "kubeconfig").write_text(KUBECONFIG)
    environment = {
        **{k: v for k, v in os.environ.items() if not k.startswith(("ZENML", "ASSAY", "MLFLOW"))},
        "ASSAY_STATE": str(tmp_path / "state"), "KUBECONFIG": str(tmp_path / "kubeconfig"),
        "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}",
    }  # fmt: skip
    done = subprocess.run(
        [interpreter(stack), "-m", "support.stack_sdks", stack],
        cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    assert "orchestrator zenml." in done.stdout and "artifact_store zenml." in done.stdout

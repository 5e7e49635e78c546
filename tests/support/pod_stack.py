"""A stack whose steps are pods (`support.pods`), for the real command: a checkout that declares it."""

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from support import outcomes

ROOT = Path(__file__).resolve().parents[2]
STACK = """
stack_name: pods
evidence: validated
proof: none
components:
  orchestrator:
    - {name: pods, flavor: pods, configuration: {}}
  artifact_store:
    - {name: s3, flavor: s3, configuration: {path: "${ASSAY_S3_PATH}"}}
"""
# No image is made: the pods are processes.
INFRA = """
stack: pods
state: state
settings: {docker: {skip_build: true, parent_image: none}}
environment: {MLFLOW_TRACKING_URI: "${MLFLOW_TRACKING_URI:-}"}
"""


def checkout(folder: Path) -> Path:
    """All that a checkout has, by links, and the stack besides."""
    folder.mkdir()
    for name in ("steps", "materializers", "pipelines", "ops", "examples", "pyproject.toml"):
        (folder / name).symlink_to(ROOT / name)
    for place, text in ((".zenml/stacks", STACK), ("configs/infra", INFRA)):
        (folder / place).mkdir(parents=True)
        (folder / place / "pods.yaml").write_text(text)
    return folder


def variables(root: Path, state: Path, numba_cache: Path) -> dict[str, str]:
    """What a command needs besides the store's variables. `root`: of `checkout`; `numba_cache`: as an image has it."""
    return {
        "ASSAY_ROOT": str(root), "ZENML_CUSTOM_SOURCE_ROOT": str(ROOT),
        "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}",
        "MLFLOW_TRACKING_URI": f"sqlite:///{state.parent}/mlflow.db", "NUMBA_CACHE_DIR": str(numba_cache),
    }  # fmt: skip


def make_known(state: Path, more: Mapping[str, str]) -> None:
    """Register the flavour in the state folder's store, as a user does with one of their own."""
    code = (
        "import os; from pathlib import Path; from ops.environment import prepare\n"
        "prepare(Path(os.environ['ASSAY_ROOT']))\n"
        "from steps.zenml_runtime.database import open_store; open_store()\n"
        "from support.pods import register; register()"
    )
    subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=outcomes.environment(state, **more), check=True, timeout=300
    )

"""What the processes of steps don't load, and how they end."""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from support import pods

from steps.zenml_runtime import light_start

ROOT = Path(__file__).resolve().parents[2]
# Each takes from a tenth of a second to two; it is for a step's own code to ask for them.
HEAVY = [
    "bitsandbytes", "datasets", "duckdb", "faiss", "matplotlib", "mlflow", "numba", "pandas", "peft",
    "presidio_analyzer", "scipy", "sklearn", "spacy", "tensorflow", "torch", "transformers", "trl",
]  # fmt: skip
# What ZenML's entrypoint does before it fetches our code; then the modules of all steps.
POD = f"""
import gc, json, os, subprocess, sys
from zenml.integrations.registry import integration_registry
integration_registry.activate_integrations()
heavy = [m for m in {HEAVY} if m in sys.modules]
def check_output(*_, **__):
    raise AssertionError("no process is needed")
subprocess.check_output = check_output
from zenml.environment import Environment
listed = Environment.get_python_packages()
import pipelines.curate, pipelines.finetune, pipelines.start, pipelines.finish
import pyarrow.dataset
heavy_of_steps = [m for m in {HEAVY} if m in sys.modules]
import numba
print(json.dumps([
    heavy, heavy_of_steps, any(line.startswith("zenml==") for line in listed),
    "evidently" in integration_registry.integrations, os.environ["NUMBA_CACHE_DIR"], gc.get_threshold()[0],
]))
"""


def run(folder: Path, code: str, *arguments: str) -> str:
    """What a container's `python -m CODE ARGUMENTS` prints."""
    installed = folder / "installed"
    installed.mkdir()
    light_start.install(installed)
    (installed / "code_of_test.py").write_text(code)
    done = subprocess.run(
        [sys.executable, "-S", pods.CONTAINER, "-m", "code_of_test", *arguments],
        env={
            "PATH": "/usr/bin:/bin", "HOME": str(folder), "ZENML_CONFIG_PATH": str(folder / "zenml"),
            "ZENML_ANALYTICS_OPT_IN": "false", "NUMBA_CACHE_DIR": str(folder / "kernels"),
            "PYTHONPATH": os.pathsep.join([str(installed), str(ROOT), *pods.libraries(sys.executable)]),
        },
        cwd=folder, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1]


@pytest.mark.slow
def test_a_pod_loads_nothing_that_its_step_does_not_ask_for(tmp_path: Path) -> None:
    heavy, of_steps, listed, evidently, kernels, garbage = json.loads(run(tmp_path, POD, light_start._ENTRYPOINT))
    assert heavy == [] and of_steps == []
    assert listed and evidently and garbage == light_start._COLLECTED[0]
    # Compiled kernels stay where the image has them, and nobody else may write.
    assert kernels == str(tmp_path / "kernels")


def test_other_programs_of_an_image_are_left_alone(tmp_path: Path) -> None:
    code = "import gc, sys\nprint(gc.get_threshold(), [f for f in sys.meta_path if 'light' in type(f).__module__])"
    assert run(tmp_path, code) == "(700, 10, 10) []"


def test_the_image_has_it_before_its_user_is_nobody_special() -> None:
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    installing = next(i for i, line in enumerate(lines) if f"python -m {light_start.__name__}" in line)
    assert installing < lines.index("USER 10001:0")


def test_a_process_that_has_duckdb_open_looks_for_garbage_at_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    frozen: list[bool] = []
    monkeypatch.setattr(light_start, "freeze", lambda: frozen.append(True))
    monkeypatch.setitem(sys.modules, "duckdb", ModuleType("duckdb"))
    light_start.end_light()
    assert frozen == []
    monkeypatch.delitem(sys.modules, "duckdb")
    monkeypatch.delitem(sys.modules, "steps.zenml_runtime.database", raising=False)
    light_start.end_light()
    assert frozen == [True]

"""The script for a machine with a GPU, with toy shapes on a CPU: that it runs to its end, and what it doesn't need."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# Not found, as on a machine that hasn't got them.
WITHOUT = """
import sys
from importlib.machinery import PathFinder
class Some(PathFinder):
    @classmethod
    def find_spec(cls, name, *given):
        absent = {"zenml", "numba", "presidio_analyzer", "mlflow", "flash_attn"}
        return None if name.partition(".")[0] in absent else PathFinder.find_spec(name, *given)
sys.meta_path[sys.meta_path.index(PathFinder)] = Some
import runpy
sys.argv = ["gpu.py", "--tiny", "--device", "cpu", "--out", sys.argv[1]]
runpy.run_path(%r, run_name="__main__")
"""


@pytest.mark.slow
def test_every_part_of_the_gpu_script_runs_or_says_why_not(tmp_path):
    out = tmp_path / "gpu.json"
    code = WITHOUT % str(ROOT / "benchmarks" / "gpu.py")
    done = subprocess.run(
        [sys.executable, "-c", code, str(out)], cwd=tmp_path, check=False, capture_output=True, text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(out.read_text())
    assert json.loads(done.stdout.splitlines()[-1]) == found
    assert list(found) == [
        "machine", "full_small", "lora_large", "qlora_large", "resume", "precisions", "flash",
    ]  # fmt: skip
    for name in ("full_small", "lora_large"):
        assert found[name]["of_plain"] == found[name]["tokens_per_second"] / found[name]["plain_tokens_per_second"]
        assert found[name]["estimate_gib"] > 0
    assert found["full_small"]["trained"] == found["full_small"]["parameters"]
    assert found["lora_large"]["trained"] < found["lora_large"]["parameters"]
    assert (found["resume"]["full_bitwise_equal"], found["resume"]["lora_bitwise_equal"]) == (True, True)
    losses = [found["precisions"][p]["losses"] for p in ("float32", "bfloat16")]
    assert len(losses[0]) == len(losses[1]) == 10
    assert 0 < found["precisions"]["largest_difference"] < 0.01
    assert found["flash"]["skipped"] == "flash_attn isn't installed"

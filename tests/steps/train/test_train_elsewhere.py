"""A training whose machine dies goes on from another one's view of the durable state."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from support.object_store import s3, s3_server  # noqa: F401 - fixtures
from support.tiny_model import tiny_dataset
from test_train_resume import LORA, lay_out

from steps.train import checkpoints
from steps.train.train import train

ROOT = Path(__file__).parents[3]


@pytest.mark.slow
def test_killed_on_one_machine_it_resumes_bit_for_bit_on_another(tmp_path, tiny_model, s3, monkeypatch):  # noqa: F811
    dataset = tiny_dataset(tmp_path / "data")
    lay_out(tiny_model, tmp_path / "base")
    monkeypatch.setenv("ASSAY_STATE_URI", f"{s3}/{tmp_path.name}/state")
    one, other = tmp_path / "one", tmp_path / "other"
    paths = [str(tmp_path / name) for name in ("base", "data", "killed")]
    killed = subprocess.run(
        [sys.executable, Path(__file__).with_name("killed_run.py"), *paths, str(one / "checkpoints" / "key"),
         LORA.model_dump_json(), "8"],
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "ASSAY_STATE": str(one)},
        cwd=ROOT, timeout=600, check=False, capture_output=True, text=True,
    )  # fmt: skip
    assert killed.returncode == -signal.SIGKILL, killed.stderr[-2000:]

    monkeypatch.setenv("ASSAY_STATE", str(other))
    resumed = train(tiny_model, dataset, LORA, tmp_path / "resumed", other / "checkpoints" / "key")
    assert any("resumed at step 4" in note for note in resumed.report.notes)
    monkeypatch.delenv("ASSAY_STATE_URI")
    straight = train(tiny_model, dataset, LORA, tmp_path / "straight", tmp_path / "elsewhere")
    assert resumed.model.info.files == straight.model.info.files
    assert resumed.report.series == straight.report.series

    monkeypatch.setenv("ASSAY_STATE_URI", f"{s3}/{tmp_path.name}/state")
    monkeypatch.setenv("ASSAY_STATE", str(tmp_path / "third"))
    (home,) = (other / "checkpoints" / "key").iterdir()
    assert checkpoints.step_of(checkpoints.newest_whole(tmp_path / "third" / "checkpoints" / "key" / home.name)) == 14

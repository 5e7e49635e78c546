"""Runs of training that were interrupted, held against undisturbed ones."""

import os
import signal
import subprocess
import sys
from pathlib import Path

from steps.train import checkpoints
from steps.train.asked import found_model
from steps.train.objectives.registry import objective_of
from steps.train.train import train

ROOT = Path(__file__).parents[2]


def asked(config):
    """The models in folders that the objective asks, as `train` wants them."""
    return {source.key: found_model(source, Path()) for source in objective_of(config.objective).asks()}


def lay_out(base, folder):
    """What the scripts in tests/steps/train read as BASE."""
    folder.mkdir()
    (folder / "info.json").write_text(base.info.model_dump_json())
    (folder / "model").symlink_to(base.path)


def killed_at(tmp_path, config, step):
    """A process that trains on tmp_path/data from tmp_path/base and dies where killed_run.py says."""
    paths = [str(tmp_path / name) for name in ("base", "data", "killed", "checkpoints")]
    return subprocess.run(
        [sys.executable, ROOT / "tests/steps/train/killed_run.py", *paths, config.model_dump_json(), str(step)],
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        cwd=ROOT, timeout=600, check=False, capture_output=True, text=True,
    )  # fmt: skip


def check_resumed_after_a_kill(tmp_path, base, dataset, config, step):
    """A run that dies by SIGKILL while it writes its second checkpoint (`step`) goes on from the first, to the same
    weights. `dataset` lies in tmp_path/data; config.save_steps is half of `step`.
    """
    lay_out(base, tmp_path / "base")
    killed = killed_at(tmp_path, config, step)
    assert killed.returncode == -signal.SIGKILL, killed.stderr[-2000:]
    left = sorted(checkpoints.step_of(p) for p in (tmp_path / "checkpoints").glob("*/checkpoint-*"))
    assert left == [step // 2, step]  # the last is half written
    check_resumed(tmp_path, base, dataset, config, step // 2)


def check_resumed(tmp_path, base, dataset, config, step):
    """What tmp_path/checkpoints holds goes on from `step` to the weights and the curves of an undisturbed run, and a
    finished run isn't trained again.
    """
    resumed = train(base, dataset, config, tmp_path / "resumed", tmp_path / "checkpoints", asked=asked(config))
    straight = train(base, dataset, config, tmp_path / "straight", tmp_path / "other", asked=asked(config))
    assert any(f"resumed at step {step}" in note for note in resumed.report.notes)
    assert not any("resumed" in note for note in straight.report.notes)
    assert resumed.model.info.files == straight.model.info.files
    assert resumed.report.series == straight.report.series
    for name in ("again", "once more"):
        # transformers trains another step here, which would only show in the second one: the first has no rate left.
        again = train(base, dataset, config, tmp_path / name, tmp_path / "checkpoints", asked=asked(config))
        assert any(f"resumed at step {config.max_steps}" in note for note in again.report.notes)
        assert again.model.info.files == straight.model.info.files
        assert again.report.series == straight.report.series

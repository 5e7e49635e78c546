import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.resumed import ROOT, check_resumed, check_resumed_after_a_kill, lay_out
from support.tiny_model import tiny_dataset

from steps.train import checkpoints
from steps.train.config import TrainConfig
from steps.train.train import train
from steps.train.weights.full import FullOptions

FULL = TrainConfig(
    weights=FullOptions(), learning_rate=1e-3, max_steps=14, per_device_train_batch_size=4,
    gradient_accumulation_steps=2, save_steps=4, save_total_limit=1, logging_steps=1, max_length=128,
)  # fmt: skip
LORA = TrainConfig.model_validate(
    FULL.model_dump() | {"weights": {"kind": "lora", "lora_dropout": 0.1}, "group_by_length": True}
)


@pytest.mark.slow
def test_a_run_killed_while_saving_resumes_to_the_weights_of_an_undisturbed_one(tmp_path, tiny_model):
    check_resumed_after_a_kill(tmp_path, tiny_model, tiny_dataset(tmp_path / "data"), LORA, 8)


@pytest.mark.slow
def test_two_that_train_the_same_at_once_take_turns(tmp_path, tiny_model):
    """The second neither cuts off the tokens that the first has mapped (SIGBUS), nor touches its checkpoints."""
    tiny_dataset(tmp_path / "data")
    lay_out(tiny_model, tmp_path / "base")

    def started(name, file):
        paths = [str(tmp_path / part) for part in ("base", "data", name, "checkpoints")]
        script = [sys.executable, Path(__file__).with_name("paused_run.py"), *paths, LORA.model_dump_json()]
        return subprocess.Popen(
            [*script, str(file)], cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "ASSAY_PROGRESS": "on"},
        )  # fmt: skip

    first = started("first", tmp_path / "go")
    assert first.stdout.readline() == "paused\n"
    second = started("second", tmp_path)
    assert any("waits for another run" in line for line in second.stderr)
    (tmp_path / "go").write_text("")
    said = [process.communicate(timeout=300)[0].split(maxsplit=1) for process in (first, second)]
    assert first.returncode == second.returncode == 0
    assert said[0][0] == said[1][0]
    assert ["resumed at step 14" in notes for _, notes in said] == [False, True]


@pytest.mark.slow
def test_full_training_interrupted_between_checkpoints_resumes_alike(tmp_path, tiny_model):
    dataset = tiny_dataset(tmp_path / "data")

    def interrupt(step, metrics):
        if step == 11:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(tiny_model, dataset, FULL, tmp_path / "interrupted", tmp_path / "checkpoints", interrupt)
    check_resumed(tmp_path, tiny_model, dataset, FULL, 8)


@pytest.mark.slow
def test_another_config_or_dataset_never_resumes(tmp_path, tiny_model):
    dataset = tiny_dataset(tmp_path / "data")
    config = FULL.model_copy(update={"max_steps": 2})
    train(tiny_model, dataset, config, tmp_path / "one", tmp_path / "checkpoints")
    other = config.model_copy(update={"seed": 7})
    result = train(tiny_model, dataset, other, tmp_path / "two", tmp_path / "checkpoints")
    assert not any("resumed" in note for note in result.report.notes)
    assert len(list((tmp_path / "checkpoints").iterdir())) == 2


def checkpoint(folder, step, *, marked=True):
    path = folder / f"checkpoint-{step}"
    (path / "deep").mkdir(parents=True)
    (path / "model.safetensors").write_bytes(b"weights" * step)
    (path / "deep" / "state.json").write_text("{}")
    if marked:
        checkpoints.mark_complete(path)
    return path


def test_only_whole_checkpoints_count_and_broken_ones_go(tmp_path):
    whole = checkpoint(tmp_path, 4)
    checkpoint(tmp_path, 100, marked=False)
    (checkpoint(tmp_path, 12) / "model.safetensors").write_bytes(b"weight")
    (checkpoint(tmp_path, 13) / "deep" / "state.json").unlink()
    (checkpoint(tmp_path, 14) / checkpoints.MARKER).write_text('{"model.saf')
    assert checkpoints.newest_whole(tmp_path) == whole
    assert [p.name for p in tmp_path.iterdir()] == ["checkpoint-4"]


def test_the_newest_by_number_wins_and_rotation_keeps_it(tmp_path):
    for step in (9, 10, 100):
        checkpoint(tmp_path, step)
    assert checkpoints.newest_whole(tmp_path).name == "checkpoint-100"
    checkpoints.keep_newest(tmp_path, 2)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["checkpoint-10", "checkpoint-100"]
    assert checkpoints.newest_whole(tmp_path / "nowhere") is None

"""When memory ends: a real allocation that fails, in a process with a limit, and what the run does then."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.resumed import ROOT, lay_out
from support.tiny_model import tiny_dataset, tiny_llama, tiny_row, tiny_tokenizer

from steps.contracts.digests import folder_digests, value_digest
from steps.contracts.errors import OutOfMemoryError
from steps.contracts.models import BaseRef, ModelFolder, ModelInfo
from steps.train.config import TrainConfig
from steps.train.fallback import VALIDATION, with_less_where_needed
from steps.train.settings import Plan

CPU = Plan("cpu", "float32", False, False, "plain", 2e-4)
# Logits of 32 rows with some 100 tokens are 200 MiB, and a step has several of these; of 8 rows a quarter.
VOCABULARY, MIB = 16_384, 320
CONFIG = TrainConfig(
    weights={"kind": "full"}, learning_rate=1e-3, max_steps=4, per_device_train_batch_size=32, save_steps=2,
    logging_steps=1, max_length=128, device="cpu",
)  # fmt: skip


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """Folders of a base with a large vocabulary, and of rows."""
    folder = tmp_path_factory.mktemp("limited")
    tiny_dataset(folder / "data", [tiny_row(i, f"The sky is {i}. " * 7) for i in range(96)])
    model = folder / "model"
    tiny_llama(VOCABULARY).save_pretrained(model)
    tiny_tokenizer().save_pretrained(model)
    files = folder_digests(model)
    digest = value_digest(files)
    base = BaseRef(source="scratch", name="scratch", digest=digest)
    info = ModelInfo(kind="full", base=base, digest=digest, files=files, parameters=1)
    lay_out(ModelFolder(info, model), folder / "base")
    return folder / "base", folder / "data"


def run(places, folder: Path, config: TrainConfig, limit_at: int, kill_at: int = -1):
    """What the process printed; None where it was killed."""
    done = subprocess.run(
        [sys.executable, Path(__file__).with_name("limited_run.py"), *places, folder / "out", folder / "checkpoints",
         config.model_dump_json(), str(MIB), str(limit_at), str(kill_at)],
        env=os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}", "OMP_NUM_THREADS": "1"},
        cwd=ROOT, timeout=900, check=False, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == (0 if kill_at < 0 else -9), done.stderr[-3000:]
    return json.loads(done.stdout) if kill_at < 0 else None


@pytest.mark.slow
def test_a_run_that_never_had_the_memory_gives_the_weights_of_one_that_asked_for_less(places, tmp_path) -> None:
    fallen = run(places, tmp_path / "fallen", CONFIG, 0)
    assert fallen["ended"], "nothing failed: this shows nothing"
    steps, errors, changes = zip(*fallen["ended"], strict=True)
    assert set(steps) == {0}
    assert errors[0] == "out of memory on cpu at per_device_train_batch_size 32, max_length 128"
    last = json.loads(changes[-1])
    assert last["per_device_train_batch_size"] * last["gradient_accumulation_steps"] == 32
    assert last["per_device_train_batch_size"] < 32
    note = f"since step 0 trained with per_device_train_batch_size: {last['per_device_train_batch_size']}"
    assert note in fallen["notes"][-1]
    asked = run(places, tmp_path / "asked", CONFIG.model_copy(update=last), -1)
    assert asked["ended"] == []
    assert fallen["files"] == asked["files"]


@pytest.mark.slow
def test_memory_that_ends_later_is_gone_on_from_the_checkpoint_and_a_kill_changes_nothing(places, tmp_path) -> None:
    fallen = run(places, tmp_path / "fallen", CONFIG, 2)
    assert fallen["ended"] and {step for step, _, _ in fallen["ended"]} == {2}
    assert run(places, tmp_path / "killed", CONFIG, 2, kill_at=3) is None
    # With all the memory there is it goes on as it was, and says so.
    resumed = run(places, tmp_path / "killed", CONFIG, -1)
    assert (resumed["files"], resumed["ended"]) == (fallen["files"], fallen["ended"])
    assert resumed["notes"] == fallen["notes"]


def needs(config: TrainConfig, plan: Plan) -> int:
    """Bytes of a machine on which activations that are kept cost four times as much."""
    return config.per_device_train_batch_size * (1 if plan.gradient_checkpointing else 4)


def descend(tmp_path: Path, config: TrainConfig, free: int, free_to_validate: int = 10**9):
    """The settings that were tried, until they need no more than there is."""
    tried = []

    def attempt(now: TrainConfig, how: Plan) -> str:
        tried.append((now.per_device_train_batch_size, how.gradient_checkpointing, now.per_device_eval_batch_size))
        if now.per_device_eval_batch_size > free_to_validate:
            raise OutOfMemoryError("no memory to validate", where=VALIDATION)
        if needs(now, how) > free:
            raise OutOfMemoryError("no memory", where="train", hint="halve it")
        return "done"

    found, plan, fallbacks = with_less_where_needed(attempt, needs, config, CPU, tmp_path, lambda: 7)
    assert found == "done"
    assert plan.gradient_checkpointing == tried[-1][1]
    return tried, fallbacks


@pytest.mark.slow
def test_only_settings_that_need_less_than_what_failed_are_tried(tmp_path) -> None:
    config = TrainConfig(per_device_train_batch_size=8)
    tried, fallbacks = descend(tmp_path, config, free=2)
    # Eight and four rows with activations computed twice need no less than one row without.
    assert tried == [(8, False, 8), (4, False, 8), (2, False, 8), (1, False, 8), (2, True, 8)]
    assert [f.step for f in fallbacks] == [7] * 4
    assert fallbacks[-1].note == (
        "no memory: since step 7 trained with per_device_train_batch_size: 2, gradient_accumulation_steps: 4,"
        " gradient_checkpointing: true, the same rows in every step"
    )


@pytest.mark.slow
def test_what_an_earlier_process_changed_is_where_the_next_one_begins(tmp_path) -> None:
    config = TrainConfig(per_device_train_batch_size=8)
    _, first = descend(tmp_path, config, free=8)
    tried, second = descend(tmp_path, config, free=10**9)
    assert tried == [(2, False, 8)]
    assert second == first


@pytest.mark.slow
def test_a_validation_pass_without_memory_gets_smaller_by_itself(tmp_path) -> None:
    config = TrainConfig(per_device_train_batch_size=2)
    tried, fallbacks = descend(tmp_path, config, free=4, free_to_validate=3)
    assert tried == [(2, False, 8), (2, False, 4), (2, False, 2), (1, False, 2)]
    assert fallbacks[-1].changes == {
        "per_device_eval_batch_size": 2, "per_device_train_batch_size": 1, "gradient_accumulation_steps": 2,
    }  # fmt: skip


@pytest.mark.slow
def test_where_nothing_is_left_the_error_says_what_else_there_is(tmp_path) -> None:
    with pytest.raises(OutOfMemoryError) as found:
        descend(tmp_path, TrainConfig(weights={"kind": "full"}, per_device_train_batch_size=2), free=0)
    assert found.value.what == "no memory"
    assert found.value.hint == (
        "smaller passes were tried (3); set weights.kind: lora, or lower max_length, take a smaller model, or a machine"
        " with more memory"
    )

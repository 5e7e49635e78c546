"""DeepSpeed's ZeRO: the rows and losses of one process, checkpoints, and weights that are whole where they are saved.

Those that train are skipped where DeepSpeed isn't installed (the extra `deepspeed`).
"""

import importlib.util
import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from test_train_ranks import config, rows_by_step, rows_to_train, series, states, witnessing

from steps.contracts.errors import ConfigError, MissingDependencyError, WorkerDiedError
from steps.train import checkpoints
from steps.train.memory_estimate import estimate, model_shape
from steps.train.plan import make_plan, plan_for, shared
from steps.train.ranks.config import Ranks
from steps.train.trainer import training_arguments

needs_deepspeed = pytest.mark.skipif(
    importlib.util.find_spec("deepspeed") is None, reason="NOT run: DeepSpeed isn't installed"
)


@pytest.fixture
def trained(tmp_path, monkeypatch, tiny_model):
    """As `witnessed` of the other ranks: by a stage of ZeRO, or DDP (stage 0)."""
    go = witnessing(tmp_path, monkeypatch, tiny_model, rows_to_train(tmp_path / "data"))

    def by(stage, processes=2, checkpoints_folder="own", offload="none", **changes):
        zero = {"strategy": "deepspeed", "zero": {"stage": stage, "offload": offload}} if stage else {}
        return go(processes, checkpoints_folder, **zero, **changes)

    return by


def weights(result):
    (name,) = [n for n in result.model.info.files if n.endswith(".safetensors")]
    return load_file(result.model.path / name)


@pytest.mark.slow
@needs_deepspeed
@pytest.mark.parametrize(
    ("stage", "offload", "kind"),
    [(1, "none", "full"), (2, "optimizer", "full"), (2, "none", "lora"), (3, "none", "full"), (3, "all", "full"),
     (3, "none", "lora")],
)  # fmt: skip
def test_ranks_of_zero_train_what_those_of_ddp_train(trained, stage, offload, kind):
    changes = {"weights": {"kind": kind}, "eval_steps": 7, "max_grad_norm": 0.5}
    shares, seen = trained(stage, offload=offload, **changes)
    assert [(s["world"], s["model"]) for s in states(seen)] == [(2, "DeepSpeedEngine")] * 2
    whole, reference = trained(0, **changes)
    if stage == 3:
        # What a pass hasn't put together by now is of no size; what is smaller than ten times the width stays whole.
        assert all(s["held"] < 0.2 * states(reference)[0]["held"] for s in states(seen))
    else:
        assert [s["held"] for s in states(seen)] == [s["held"] for s in states(reference)]
    assert rows_by_step(seen) == rows_by_step(reference)
    assert len(rows_by_step(seen)) == 14
    for title in ("Training loss", "Validation loss", "Gradient norm"):
        assert series(shares, title) == pytest.approx(series(whole, title), rel=1e-5), title
    assert shares.report.counts["training"] == whole.report.counts["training"]
    assert (shares.model.info.parameters, shares.model.info.trainable) == (
        whole.model.info.parameters, whole.model.info.trainable,
    )  # fmt: skip
    one, other = weights(shares), weights(whole)
    assert {n: (w.shape, w.dtype) for n, w in one.items()} == {n: (w.shape, w.dtype) for n, w in other.items()}
    # Sums of float32 in another order; measured: 3e-7 and less.
    assert max(float((one[n] - other[n]).abs().max()) for n in other) < 1e-5
    told = dict(next(t for t in shares.report.tables if t.title == "Settings in force").rows)
    assert (told["strategy"], told["zero_stage"], told["offload"]) == ("deepspeed", str(stage), offload)
    assert any(f"by 2 processes (deepspeed, ZeRO stage {stage}" in note for note in shares.model.info.notes)


@pytest.mark.slow
@needs_deepspeed
@pytest.mark.parametrize(("stage", "kind"), [(2, "full"), (3, "full"), (3, "lora")])
def test_zero_goes_on_from_a_checkpoint_to_the_same_weights(trained, tmp_path, monkeypatch, stage, kind):
    """Killed in the third pass over the rows; and started once more when all is done."""
    changes = {"weights": {"kind": "lora", "lora_dropout": 0.1} if kind == "lora" else {"kind": "full"}}
    monkeypatch.setenv("ASSAY_DIE", "1:11")
    with pytest.raises(WorkerDiedError, match=r"rank 1 of 2: the process was killed by signal 9 \(SIGKILL\)"):
        trained(stage, checkpoints_folder="shared", **changes)
    monkeypatch.delenv("ASSAY_DIE")
    assert sorted(checkpoints.step_of(p) for p in (tmp_path / "shared").glob("*/checkpoint-*")) == [4, 8]
    resumed, _ = trained(stage, checkpoints_folder="shared", **changes)
    straight, _ = trained(stage, **changes)
    assert any("resumed at step 8" in note for note in resumed.report.notes)
    assert resumed.model.info.files == straight.model.info.files
    assert resumed.report.series == straight.report.series
    again, seen = trained(stage, checkpoints_folder="shared", **changes)
    assert states(seen) == [], "nothing was left to train"
    assert again.model.info.files == straight.model.info.files


@pytest.mark.slow
@needs_deepspeed
@pytest.mark.parametrize("stage", [2, 3])
def test_the_best_checkpoint_of_zero_is_saved_not_the_last(trained, stage):
    """A rate that grows too high: the lowest validation loss is an early one."""
    changes = {
        "learning_rate": 0.3, "lr_scheduler_type": "constant_with_warmup", "warmup_steps": 10, "eval_steps": 2,
        "save_steps": 2, "load_best_model_at_end": True, "save_total_limit": 8,
    }  # fmt: skip
    best, _ = trained(stage, **changes)
    losses = series(best, "Validation loss")
    assert min(losses) < losses[-1], "or this shows nothing"
    same, _ = trained(0, **changes)
    assert series(same, "Validation loss") == pytest.approx(losses, rel=1e-3)
    assert max(float((weights(best)[n] - w).abs().max()) for n, w in weights(same).items()) < 1e-3


@pytest.mark.slow
@needs_deepspeed
def test_zero_computes_in_bfloat16_and_keeps_weights_in_float32(trained):
    shares, _ = trained(2, bf16=True, eval_steps=7)
    whole, _ = trained(0, bf16=True, eval_steps=7)
    exact, _ = trained(0, eval_steps=7)
    assert {w.dtype for w in weights(shares).values()} == {torch.float32}
    for title in ("Training loss", "Validation loss"):
        assert series(shares, title) == pytest.approx(series(whole, title), rel=5e-3), title
    assert series(shares, "Training loss")[0] != series(exact, "Training loss")[0], "16 bits it is"


@pytest.mark.slow
@needs_deepspeed
def test_one_process_may_have_its_optimizer_on_the_cpu(trained):
    alone, seen = trained(2, processes=1, offload="optimizer", max_steps=4)
    assert [(s["world"], s["model"]) for s in states(seen)] == [(1, "DeepSpeedEngine")]
    plain, _ = trained(0, processes=1, max_steps=4)
    assert series(alone, "Training loss") == pytest.approx(series(plain, "Training loss"), rel=1e-5)


class Bomb:
    """What leaves a file behind when it is unpickled."""

    def __init__(self, file):
        self.file = file

    def __reduce__(self):
        return Path.touch, (self.file,)


@pytest.mark.slow
@needs_deepspeed
def test_what_a_checkpoint_would_run_is_refused(tmp_path, monkeypatch):
    from steps.train.ranks import zero

    # As it was, afterwards.
    monkeypatch.setenv("TORCH_FORCE_WEIGHTS_ONLY_LOAD", "0")
    left = tmp_path / "left"
    torch.save({"optimizer": Bomb(left)}, tmp_path / "bomb.pt")
    torch.load(tmp_path / "bomb.pt", weights_only=False)
    assert left.exists(), "this is how DeepSpeed reads"
    left.unlink()
    zero._read_tensors_only()
    with pytest.raises(pickle.UnpicklingError, match="Unsupported"):
        torch.load(tmp_path / "bomb.pt", weights_only=False)
    assert not left.exists()


def test_what_does_not_go_with_zero_is_refused_with_the_way_out(monkeypatch):
    zero = Ranks(processes=2, strategy="deepspeed")

    def refused(ranks=zero, **changes):
        with pytest.raises(ConfigError) as raised:
            make_plan(config(**changes), 320, ranks)
        return str(raised.value)

    monkeypatch.setattr("steps.train.plan.find_spec", lambda name: object())
    assert refused(objective={"kind": "dpo"}) == (
        "train.objective: training.strategy deepspeed trains sft and continued_pretraining, not dpo\n"
        "  way out: set strategy: ddp or fsdp2 in the infra file"
    )
    assert refused(weights={"kind": "qlora"}).startswith(
        "train.weights: training.strategy deepspeed trains weights: full or lora, not qlora"
    )
    assert "shards the state of AdamW, and optim is adafactor" in refused(optim="adafactor")
    assert refused(dtype="bfloat16", weights={"kind": "lora"}) == (
        "train.dtype: training.strategy deepspeed keeps weights in float32, with bf16 or without, not in bfloat16\n"
        "  way out: set dtype: float32 and fp16: false, or strategy: ddp or fsdp2 in the infra file"
    )
    for wrong, why in (
        ({"strategy": "ddp", "zero": {}}, "zero is of strategy deepspeed, and strategy is ddp"),
        ({"strategy": "deepspeed", "zero": {"offload": "all"}}, "set stage: 3"),
    ):
        with pytest.raises(ValueError, match=why):
            Ranks(**wrong)
    monkeypatch.setattr("steps.train.plan.find_spec", lambda name: None)
    with pytest.raises(MissingDependencyError) as raised:
        make_plan(config(), 320, zero)
    assert str(raised.value) == (
        "train: training.strategy deepspeed needs DeepSpeed, which isn't installed\n"
        "  way out: DS_BUILD_OPS=0 pip install -c constraints.txt '.[deepspeed]', or strategy: fsdp2 in the infra file"
    )


def planned(stage, offload="none", device="cpu"):
    ranks = Ranks(processes=2, strategy="deepspeed", zero={"stage": stage, "offload": offload})
    return shared(plan_for(config(device=device, dtype="float32"), 320, device, gpu_bf16=device == "cuda"), ranks)


def test_the_configuration_of_zero_is_what_the_infra_file_says(tmp_path):
    told = training_arguments(config(), planned(3, "all", "cuda"), tmp_path)
    on_the_cpu = {"device": "cpu", "pin_memory": True}
    assert told["deepspeed"]["zero_optimization"] == {
        "stage": 3, "contiguous_gradients": True, "stage3_param_persistence_threshold": "auto",
        "stage3_prefetch_bucket_size": "auto", "offload_optimizer": on_the_cpu, "offload_param": on_the_cpu,
    }  # fmt: skip
    assert told["deepspeed"]["torch_autocast"] == {"enabled": True, "dtype": "bfloat16"}
    assert (told["bf16"], told["use_cpu"]) == (False, False)
    assert training_arguments(config(), planned(2), tmp_path)["deepspeed"]["zero_optimization"] == {
        "stage": 2, "contiguous_gradients": True,
    }  # fmt: skip
    plain = plan_for(config(), 320, "cpu", gpu_bf16=False)
    assert training_arguments(config(), plain, tmp_path)["deepspeed"] is None


def test_each_stage_of_zero_shares_one_part_more(tiny_model):
    shape = model_shape(tiny_model.path, config())
    parts = {stage: estimate(shape, config(), planned(stage)) for stage in (1, 2, 3)}
    one = estimate(shape, config(), plan_for(config(), 320, "cpu", gpu_bf16=False))
    assert [p.optimizer for p in parts.values()] == [one.optimizer // 2] * 3
    assert [p.gradients for p in parts.values()] == [one.gradients, one.gradients // 2, one.gradients // 2]
    assert [p.weights for p in parts.values()][:2] == [one.weights] * 2
    here, there = (estimate(shape, config(dtype="float32"), planned(3, o, "cuda")) for o in ("none", "all"))
    assert here.optimizer == parts[3].optimizer
    assert there.optimizer == 0, "it is in the machine's memory"
    # Of two layers that are put together nothing is in shares.
    assert here.weights - there.weights == one.weights // 2

"""Several processes that train a phase together: the same rows, the same loss, and an end when one of them ends."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
import rank_witness
from support.tiny_model import tiny_dataset, tiny_row

from steps.contracts.errors import ConfigError, TrainingDataError, WorkerDiedError
from steps.engines.lm.load import load
from steps.engines.lm.loss import token_losses
from steps.engines.template.render import encode
from steps.train import checkpoints
from steps.train.config import TrainConfig
from steps.train.objectives.sft_trainer import SftTrainer
from steps.train.plan import make_plan
from steps.train.ranks.batches import RankBatches, with_blanks
from steps.train.ranks.config import Ranks
from steps.train.train import train

ROOT = Path(__file__).parents[3]
# 41 rows in batches of 4: the last batch of a pass has one row, and the second rank none.
CONFIG = {
    "weights": {"kind": "full"}, "learning_rate": 3e-3, "max_steps": 14, "per_device_train_batch_size": 4,
    "gradient_accumulation_steps": 2, "logging_steps": 1, "save_steps": 4, "max_length": 128, "device": "cpu",
}  # fmt: skip


def config(**changes):
    return TrainConfig.model_validate({**CONFIG, **changes})


def rows_to_train(folder):
    return tiny_dataset(folder, [tiny_row(i, "blue " * (i % 9) + str(i)) for i in range(45)], validation=4)


@pytest.fixture
def dataset(tmp_path):
    return rows_to_train(tmp_path / "data")


@pytest.fixture
def witnessed(tmp_path, monkeypatch, tiny_model, dataset):
    return witnessing(tmp_path, monkeypatch, tiny_model, dataset)


def witnessing(tmp_path, monkeypatch, tiny_model, dataset):
    """Train in so many processes, each with `rank_witness` in it; gives the result and the witness's folder."""
    calls = []

    def go(processes, checkpoints_folder="own", strategy="ddp", zero=None, **changes):
        calls.append(None)
        folder = tmp_path / f"run{len(calls)}"
        seen = folder / "seen"
        seen.mkdir(parents=True)
        hook = tmp_path / "hook"
        hook.mkdir(exist_ok=True)
        (hook / "sitecustomize.py").write_text(HOOK)
        monkeypatch.setenv("PYTHONPATH", f"{hook}{os.pathsep}{Path(__file__).parent}")
        monkeypatch.setenv("ASSAY_WITNESS", str(seen))
        where = folder / "checkpoints" if checkpoints_folder == "own" else tmp_path / checkpoints_folder
        with monkeypatch.context() as here:
            here.setattr(SftTrainer, "training_step", SftTrainer.training_step)
            rank_witness.watch()
            ranks = Ranks(processes=processes, strategy=strategy, zero=zero)
            return train(tiny_model, dataset, config(**changes), folder, where, ranks=ranks), seen

    return go


# The module is patched when a rank has imported it.
HOOK = textwrap.dedent("""
    import builtins, sys
    _import = builtins.__import__
    def _watching(name, *args, **kwargs):
        found = _import(name, *args, **kwargs)
        module = sys.modules.get("steps.train.objectives.sft_trainer")
        if module is not None and not getattr(module.__spec__, "_initializing", False):
            builtins.__import__ = _import
            import rank_witness
            rank_witness.watch()
        return found
    builtins.__import__ = _watching
""")


def series(result, title):
    return next(s for s in result.report.series if s.title == title).y


def rows_by_step(seen):
    """The rows of each optimizer step, of all ranks together, whatever their order within the step."""
    steps = {}
    for file in sorted(seen.glob("rows-*.jsonl")):
        for line in map(json.loads, file.read_text().splitlines()):
            steps.setdefault(line["step"], []).extend(line["rows"])
    return {step: sorted(rows) for step, rows in steps.items()}


def states(seen):
    return [json.loads(f.read_text()) for f in sorted(seen.glob("state-*.json"))]


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [{}, {"group_by_length": True}, {"weights": {"kind": "lora"}},
     {"objective": {"packing": "bfd"}, "per_device_train_batch_size": 1, "gradient_accumulation_steps": 4},
     {"objective": {"loss_kernel": "fused"}},
     {"weights": {"kind": "lora", "r": 4, "init_lora_weights": "eva", "eva_rho": 2.0}, "objective": {"packing": "bfd"},
      "per_device_train_batch_size": 1, "gradient_accumulation_steps": 4},
     {"weights": {"kind": "qlora", "r": 4, "init_lora_weights": "loftq", "loftq_iter": 2}}],
    ids=["full", "by length", "lora", "packed", "fused", "eva, packed", "loftq"],
)  # fmt: skip
def test_two_ranks_see_the_rows_of_one_process_and_have_its_loss(witnessed, changes):
    both, seen = witnessed(2, **changes)
    assert [s["world"] for s in states(seen)] == [2, 2]
    assert {s["model"] for s in states(seen)} == {"DistributedDataParallel"}
    one, alone = witnessed(1, **changes)
    assert rows_by_step(seen) == rows_by_step(alone)
    assert len(rows_by_step(seen)) == 14
    # Sums of float32 in another order; measured: 6e-7 and less.
    for title in ("Training loss", "Validation loss"):
        assert series(both, title) == pytest.approx(series(one, title), rel=1e-5), title
    assert both.report.counts["training"] == one.report.counts["training"]
    assert both.model.info.dataset_digest == one.model.info.dataset_digest
    settings = dict(next(t for t in both.report.tables if t.title == "Settings in force").rows)
    assert (settings["processes"], settings["strategy"]) == ("2", "ddp")
    assert any("by 2 processes (ddp)" in note for note in both.model.info.notes)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["full", "lora", "eva"])
def test_sharded_ranks_hold_their_share_and_have_the_loss_of_one_process(witnessed, dataset, tiny_model, kind):
    weights = {"kind": "lora", "init_lora_weights": "eva"} if kind == "eva" else {"kind": kind}
    both, seen = witnessed(2, strategy="fsdp2", weights=weights, eval_steps=7, max_grad_norm=0.5)
    assert [s["world"] for s in states(seen)] == [2, 2]
    # An adapter stays whole.
    assert {tuple(s["parameters"]) for s in states(seen)} == {
        ("DTensor",) if kind == "full" else ("DTensor", "Parameter", "Tensor")
    }
    one, _ = witnessed(1, weights=weights, eval_steps=7, max_grad_norm=0.5)
    for title in ("Training loss", "Validation loss", "Gradient norm"):
        assert series(both, title) == pytest.approx(series(one, title), rel=1e-4), title
    assert sorted(both.model.info.files) == sorted(one.model.info.files)
    assert both.model.info.parameters == one.model.info.parameters
    loaded = load(tiny_model, both.model)
    encoded = [encode(loaded.tokenizer, r)[0] for r in dataset.iter_rows("validation")]
    losses = token_losses(loaded, [(e.input_ids, e.labels) for e in encoded], batch_size=3)
    told = sum(loss for loss, _ in losses) / sum(n for _, n in losses)
    assert told == pytest.approx(series(both, "Validation loss")[-1], abs=1e-4), "what is saved is what was measured"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("strategy", "changes"),
    [("ddp", {"weights": {"kind": "lora", "lora_dropout": 0.1}}),
     ("ddp", {"weights": {"kind": "lora", "lora_dropout": 0.1}, "group_by_length": True}), ("fsdp2", {}),
     ("fsdp2", {"weights": {"kind": "lora", "lora_dropout": 0.1}})],
    ids=["ddp", "ddp by length", "fsdp2", "fsdp2 lora"],
)  # fmt: skip
def test_ranks_go_on_from_a_checkpoint_to_the_same_weights(witnessed, tmp_path, monkeypatch, strategy, changes):
    """Killed in the third pass over the rows; each rank has its own state of chance (dropout)."""
    changes = {**changes, "strategy": strategy}
    monkeypatch.setenv("ASSAY_DIE", "1:11")
    with pytest.raises(WorkerDiedError, match=r"rank 1 of 2: the process was killed by signal 9 \(SIGKILL\)"):
        witnessed(2, "shared", **changes)
    monkeypatch.delenv("ASSAY_DIE")
    assert sorted(checkpoints.step_of(p) for p in (tmp_path / "shared").glob("*/checkpoint-*")) == [4, 8]
    resumed, _ = witnessed(2, "shared", **changes)
    straight, _ = witnessed(2, **changes)
    assert any("resumed at step 8" in note for note in resumed.report.notes)
    assert not any("resumed" in note for note in straight.report.notes)
    assert resumed.model.info.files == straight.model.info.files
    assert resumed.report.series == straight.report.series


@pytest.mark.slow
def test_what_a_rank_raises_is_the_runs_error_and_ends_the_others(witnessed, monkeypatch):
    monkeypatch.setenv("ASSAY_RAISE", "1:3")
    started = time.monotonic()
    with pytest.raises(TrainingDataError) as raised:
        witnessed(2)
    assert str(raised.value) == "rank 1 of 2: row 7: the row is bad\n  way out: mend it"
    assert time.monotonic() - started < 300  # the ranks would wait half an hour for each other


@pytest.mark.slow
def test_ranks_end_with_their_launcher(tmp_path, tiny_model):
    """SIGKILL of the launcher leaves no process."""
    code = textwrap.dedent(f"""
        import sys; sys.path[:0] = [{str(ROOT / "tests")!r}]
        from pathlib import Path
        from support.tiny_model import build_tiny_model, tiny_dataset
        from steps.train.config import TrainConfig
        from steps.train.ranks.config import Ranks
        from steps.train.train import train
        at = Path({str(tmp_path)!r})
        config = TrainConfig.model_validate({dict(CONFIG, max_steps=100_000)!r})
        base, rows = build_tiny_model(at / "m"), tiny_dataset(at / "d")
        train(base, rows, config, at / "run", at / "c", ranks=Ranks(processes=2))
    """)
    hook = tmp_path / "hook"
    hook.mkdir()
    (hook / "sitecustomize.py").write_text(HOOK)
    seen = tmp_path / "seen"
    seen.mkdir()
    path = os.pathsep.join(map(str, (hook, Path(__file__).parent, ROOT)))
    launcher = subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, env=os.environ | {"PYTHONPATH": path, "ASSAY_WITNESS": str(seen)}
    )
    try:
        wait_until(lambda: len(list(seen.glob("state-*.json"))) == 2 or launcher.poll() is not None, 300)
        assert launcher.poll() is None
    finally:
        launcher.kill()
        launcher.wait()
    pids = [s["pid"] for s in states(seen)]
    assert len(pids) == 2
    wait_until(lambda: not any(alive(p) for p in pids), 30)
    assert not any(alive(p) for p in pids)


def wait_until(holds, seconds):
    end = time.monotonic() + seconds
    while not holds() and time.monotonic() < end:
        time.sleep(0.2)


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"


@pytest.mark.parametrize("rows", [16, 41, 3])
def test_ranks_share_every_batch_and_none_is_used_twice(rows):
    order = [(7 * i) % rows for i in range(rows)] if rows != 7 else []
    shares = [list(RankBatches(order, 4, rank, 3)) for rank in range(3)]
    assert {len(s) for s in shares} == {len(RankBatches(order, 4, 0, 3))}
    dealt = [batch for turn in zip(*shares, strict=True) for batch in turn if batch]
    assert dealt == [order[i : i + 4] for i in range(0, rows, 4)]


def test_a_blank_batch_trains_nothing():
    made = with_blanks(lambda rows: rows)([])
    assert made[0]["labels"] == [-100, -100]
    assert with_blanks(lambda rows: rows)([{"labels": [1]}]) == [{"labels": [1]}]


def test_a_batch_that_the_ranks_cannot_share_is_refused_with_the_way_out():
    def refused(ranks, **changes):
        with pytest.raises(ConfigError) as raised:
            make_plan(config(**changes), 320, Ranks(processes=ranks))
        return str(raised.value)

    assert refused(4) == (
        "train.gradient_accumulation_steps: 4 processes share 2 forward passes per optimizer step, which 4 doesn't"
        " divide\n  way out: the same batch of 8 rows: per_device_train_batch_size: 2 and"
        " gradient_accumulation_steps: 4"
    )
    assert "a batch of 8 rows can be shared by 1, 2, 4, 8 processes" in refused(3)
    with pytest.raises(ConfigError, match="fsdp2 shards the state of AdamW, and optim is adafactor"):
        make_plan(config(optim="adafactor"), 320, Ranks(processes=2, strategy="fsdp2"))
    plan = make_plan(config(), 320, Ranks(processes=2))
    assert (plan.processes, plan.strategy) == (2, "ddp")


def test_one_gpu_of_several_is_used_with_a_word_about_the_others(monkeypatch, capsys):
    import torch

    monkeypatch.setenv("ASSAY_PROGRESS", "on")
    monkeypatch.setattr("steps.train.plan.resolve_device", lambda name, where: "cuda")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda *_, **__: True)
    assert make_plan(config(device="cuda"), 320).processes == 1
    assert (
        "train uses 1 of 2 GPUs; to use all: steps: {train_step: {training: {processes: 2}}}" in capsys.readouterr().err
    )
    with pytest.raises(ConfigError, match="4 processes train, one per GPU, and torch sees 2"):
        make_plan(config(device="cuda", gradient_accumulation_steps=4), 320, Ranks(processes=4))


@pytest.mark.slow
def test_a_process_of_its_own_trains_the_same(witnessed, monkeypatch):
    """As on a machine with several GPUs of which one is used."""
    here, _ = witnessed(1)
    monkeypatch.setattr("steps.train.train.sees_other_gpus", lambda plan: True)
    elsewhere, seen = witnessed(1)
    assert [s["world"] for s in states(seen)] == [1]
    assert elsewhere.model.info.files == here.model.info.files
    assert elsewhere.report.series == here.report.series


def test_signals_have_names():
    from steps.train.ranks.local import _ended_by

    assert _ended_by(-signal.SIGKILL) == "was killed by signal 9 (SIGKILL)"
    assert _ended_by(3) == "ended with status 3"


@pytest.mark.slow
def test_ranks_drop_out_what_they_are_told_to(tiny_model, dataset, tmp_path):
    """From the first step on: the model that is wrapped for several ranks is as it was loaded, which doesn't train."""
    weights = {"kind": "lora", "r": 8, "lora_dropout": 0.5}
    with_dropout, without = (
        train(
            tiny_model, dataset, config(weights={**weights, **more}, max_steps=2), tmp_path / str(n),
            tmp_path / str(n) / "c", ranks=Ranks(processes=2),
        ).report
        for n, more in enumerate(({}, {"lora_dropout": 0.0}))
    )  # fmt: skip
    norms = [next(s for s in r.series if s.title == "Gradient norm").y for r in (with_dropout, without)]
    assert norms[0][0] != pytest.approx(norms[1][0], rel=1e-3)

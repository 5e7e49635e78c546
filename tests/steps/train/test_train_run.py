import json
import math

import pytest
import torch
from support.tiny_model import tiny_dataset, tiny_row, tiny_tokenizer

from steps.contracts.errors import ConfigError, TrainingDataError
from steps.engines.lm.load import load
from steps.engines.lm.loss import token_losses
from steps.engines.template.render import encode
from steps.train.config import TrainConfig
from steps.train.plan import make_plan
from steps.train.train import train

BASE = {
    "learning_rate": 3e-3, "max_steps": 12, "per_device_train_batch_size": 8, "logging_steps": 3, "save_steps": 100,
    "max_length": 128,
}  # fmt: skip


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return tiny_dataset(tmp_path_factory.mktemp("data"), validation=8)


@pytest.fixture
def run(tmp_path, tiny_model):
    """Train with BASE and the given settings; every call starts afresh."""
    calls = []

    def go(dataset, on_metrics=None, **settings):
        calls.append(None)
        config = TrainConfig.model_validate({**BASE, **settings})
        folder = tmp_path / str(len(calls))
        return train(tiny_model, dataset, config, folder, folder / "checkpoints", on_metrics)

    return go


def validation_loss(dataset, base, adapter):
    """The judge: mean over trained tokens of the validation rows, from the saved files."""
    loaded = load(base, adapter)
    encoded = [encode(loaded.tokenizer, r)[0] for r in dataset.iter_rows("validation")]
    losses = token_losses(loaded, [(e.input_ids, e.labels) for e in encoded], batch_size=3)
    return math.fsum(loss for loss, _ in losses) / sum(n for _, n in losses)


def series(report, title):
    return next(s for s in report.series if s.title == title)


@pytest.mark.parametrize(
    "settings", [{"weights": {"kind": "full"}}, {"weights": {"kind": "lora", "r": 8}}], ids=["full", "lora"]
)
def test_training_lowers_the_loss_and_the_saved_model_has_the_reported_one(run, dataset, tiny_model, settings):
    seen = []
    result = run(dataset, lambda step, metrics: seen.append((step, metrics)), eval_steps=6, **settings)
    losses = series(result.report, "Validation loss")
    assert losses.x == (0.0, 6.0, 12.0)
    assert losses.y[0] > losses.y[1] > losses.y[2]
    assert losses.y[0] == pytest.approx(validation_loss(dataset, tiny_model, None), abs=1e-5)
    assert losses.y[2] == pytest.approx(validation_loss(dataset, tiny_model, result.model), abs=1e-4)
    assert series(result.report, "Training loss").x == (3.0, 6.0, 9.0, 12.0)
    assert [step for step, m in seen if "loss" in m] == [3, 6, 9, 12]
    assert [m["eval_loss"] for _, m in seen if "eval_loss" in m] == list(losses.y)
    outcome = dict(next(t for t in result.report.tables if t.title == "Outcome").rows)
    found = [outcome[f"validation loss {when}"] for when in ("before", "after")]
    assert (outcome["validation rows"], found) == (8, [round(losses.y[n], 6) for n in (0, 2)])


def test_the_adapter_folder_is_portable_and_complete(run, dataset, tiny_model):
    result = run(dataset, max_steps=1)
    info, path = result.model.info, result.model.path
    assert (info.kind, info.base, info.dataset_digest) == ("adapter", tiny_model.info.base, dataset.digest)
    assert info.trainable == 2 * 16 * (4 * 64 + 3 * 112)
    assert info.parameters == tiny_model.info.parameters + info.trainable
    assert {"adapter_model.safetensors", "adapter_config.json", "generation_config.json", "tokenizer.json",
            "chat_template.jinja"} <= set(info.files)  # fmt: skip
    assert (path / "chat_template.jinja").read_text() == (tiny_model.path / "chat_template.jinja").read_text()
    config = json.loads((path / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == f"scratch:{tiny_model.info.base.digest}"
    assert config["target_modules"] == sorted(config["target_modules"])
    for file in path.rglob("*"):
        assert str(tiny_model.path).encode() not in file.read_bytes()
        assert file.suffix != ".bin"


def test_the_report_counts_what_was_trained(run, tmp_path, tiny_model):
    rows = [tiny_row(i) for i in range(20)] + [tiny_row(99, "blue " * 200)]
    result = run(tiny_dataset(tmp_path / "d", rows), max_steps=None, num_train_epochs=2)
    report = result.report
    encoded = [encode(tiny_tokenizer(), r)[0] for r in rows[:20]]
    tokens, trained = sum(len(e.input_ids) for e in encoded), sum(e.trained for e in encoded)
    assert (report.rows_in, report.kept, report.dropped_by) == (21, 20, {"overlong": 1})
    assert report.counts["tokens"]["train rows"] == tokens
    assert report.counts["tokens"]["of these trained"] == trained
    assert report.counts["training"] == {"optimizer steps": 6, "sequences": 20, "tokens processed": 2 * tokens}
    assert report.counts["weights"]["trained"] == result.model.info.trainable
    assert any("no validation rows" in note for note in report.notes)
    assert result.ledger.read()["record_id"].to_pylist() == [rows[20]["record_id"]]


@pytest.mark.slow
def test_same_seed_same_weights_in_any_row_order_and_other_seed_others(run, dataset, tmp_path):
    rows = [tiny_row(i) for i in range(40)]
    backwards = tiny_dataset(tmp_path / "backwards", rows[:32][::-1] + rows[32:], validation=8)
    assert backwards.digest == dataset.digest
    settings = {"max_steps": 4, "weights": {"kind": "lora", "lora_dropout": 0.1}}
    first, second = run(dataset, **settings), run(backwards, **settings)
    assert first.model.info.files == second.model.info.files
    assert run(dataset, seed=7, **settings).model.info.digest != first.model.info.digest


@pytest.mark.slow
@pytest.mark.parametrize("settings", [{}, {"packing": "bfd"}], ids=["padded", "bfd"])
def test_the_plain_loss_is_the_fused_loss(run, dataset, settings):
    rows = {"per_device_train_batch_size": 1} if settings else {}
    plain, fused = (
        run(dataset, weights={"kind": "full"}, objective={"loss_kernel": k, **settings}, max_steps=6, **rows)
        for k in ("plain", "fused")
    )
    for a, b in zip(plain.report.series, fused.report.series, strict=True):
        assert a.y == pytest.approx(b.y, rel=1e-4), a.title


@pytest.mark.slow
def test_packed_rows_do_not_see_each_other(run, dataset, tmp_path):
    """The first step's loss over packs is the loss over the same rows one by one."""
    settings = {"weights": {"kind": "full"}, "max_steps": 1, "logging_steps": 1, "gradient_accumulation_steps": 64}
    rows = tiny_dataset(tmp_path / "all")
    packed = run(rows, objective={"packing": "bfd"}, per_device_train_batch_size=1, **settings)
    alone = run(rows, per_device_train_batch_size=1, **settings)
    assert packed.report.counts["training"]["sequences"] < alone.report.counts["training"]["sequences"] == 40
    loss = [series(r.report, "Training loss").y[0] for r in (packed, alone)]
    assert loss[0] == pytest.approx(loss[1], rel=1e-5)


@pytest.mark.slow
def test_the_validation_loss_does_not_depend_on_its_batch_size(run, dataset):
    losses = [series(run(dataset, max_steps=1, per_device_eval_batch_size=n).report, "Validation loss").y[0]
              for n in (1, 8)]  # fmt: skip
    assert losses == pytest.approx([losses[0]] * 2, rel=1e-6)


@pytest.fixture(scope="module")
def plain_digest(dataset, tiny_model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("plain")
    config = TrainConfig.model_validate({**BASE, "max_steps": 2})
    return train(tiny_model, dataset, config, folder, folder / "checkpoints").model.info.digest


@pytest.mark.parametrize(
    "settings",
    [{"neftune_noise_alpha": 5.0}, {"weights": {"kind": "lora", "use_dora": True}},
     *(pytest.param(s, marks=pytest.mark.slow) for s in (
         {"objective": {"packing": "wrapped"}}, {"group_by_length": True}, {"bf16": True},
         {"weights": {"kind": "lora", "use_rslora": True}},
         {"weights": {"kind": "lora", "target_modules": ["q_proj", "v_proj"]}},
         {"optim": "adafactor"}, {"lr_scheduler_type": "linear", "warmup_steps": 2}))],
    ids=str,
)  # fmt: skip
@pytest.mark.slow
def test_every_option_changes_the_weights(run, dataset, plain_digest, settings):
    assert run(dataset, max_steps=2, **settings).model.info.digest != plain_digest


@pytest.mark.slow
def test_recomputing_activations_gives_the_same_weights(run, dataset, plain_digest):
    assert run(dataset, max_steps=2, gradient_checkpointing=True).model.info.digest == plain_digest


def test_length_groups_change_from_epoch_to_epoch_and_repeat_with_the_seed():
    from steps.train.objectives.sft_trainer import EpochLengthSampler

    lengths = [i % 37 for i in range(400)]

    def order(seed, epoch):
        sampler = EpochLengthSampler(4, lengths, seed)
        sampler.set_epoch(epoch)
        return list(sampler)

    assert sorted(order(1, 0)) == list(range(400))
    assert order(1, 0) == order(1, 0)
    assert len({tuple(order(s, e)) for s, e in [(1, 0), (1, 1), (9, 0)]}) == 3


def test_a_loss_that_is_no_number_ends_the_run(run, dataset):
    with pytest.raises(TrainingDataError, match="lower learning_rate"):
        run(dataset, weights={"kind": "full"}, learning_rate=1e30, max_grad_norm=0, warmup_steps=0, logging_steps=1)


@pytest.mark.slow
def test_out_of_memory_says_what_to_lower(run, dataset, monkeypatch):
    from steps.train.objectives.sft_trainer import SftTrainer

    def full(*_):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(SftTrainer, "training_step", full)
    with pytest.raises(ConfigError, match="smaller passes were tried"):
        run(dataset)


def test_unknown_target_modules_are_named_with_those_that_exist(run, dataset):
    with pytest.raises(ConfigError, match="down_proj, gate_proj, k_proj"):
        run(dataset, weights={"kind": "lora", "target_modules": ["q_prj"]})


@pytest.mark.slow
def test_tokens_do_not_outlive_the_run(run, dataset, tmp_path):
    run(dataset, max_steps=1)
    with pytest.raises(TrainingDataError):
        run(dataset, weights={"kind": "full"}, learning_rate=1e30, max_grad_norm=0, warmup_steps=0, logging_steps=1)
    assert len(list(tmp_path.glob("*/checkpoints/*"))) == 2
    assert not list(tmp_path.rglob("*.arrow"))


@pytest.mark.slow
def test_threads_and_verbosity_come_back(run, dataset):
    import transformers

    before = torch.get_num_threads(), transformers.logging.get_verbosity()
    run(dataset, max_steps=1, num_threads=before[0] + 1)
    assert (torch.get_num_threads(), transformers.logging.get_verbosity()) == before


@pytest.mark.slow
def test_an_end_marker_that_the_base_does_not_stop_at_is_added(tmp_path, dataset):
    from support.tiny_model import build_tiny_model

    base = build_tiny_model(tmp_path / "base")
    for name, change in (
        ("generation_config", {"eos_token_id": 0}),
        ("tokenizer_config", {"eos_token": "<|endoftext|>"}),
    ):
        file = base.path / f"{name}.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | change))
    settings = TrainConfig.model_validate({**BASE, "max_steps": 1})
    result = train(base, dataset, settings, tmp_path / "out", tmp_path / "checkpoints")
    assert json.loads((result.model.path / "generation_config.json").read_text())["eos_token_id"] == [0, 2]
    assert any("stops at the token ids [2]" in note for note in result.report.notes)


@pytest.mark.slow
def test_attention_and_compiled_passes_compute_the_same_up_to_rounding(run, dataset):
    found = [
        dict(run(dataset, max_steps=4, **more).report.tables[0].rows)["validation loss after"]
        for more in ({}, {"attention": "eager"}, {"torch_compile": True})
    ]
    assert found[1:] == [pytest.approx(found[0], abs=1e-4)] * 2


@pytest.mark.parametrize("settings", [{"attention": "flash_attention_2"}, {"use_liger_kernel": True}])
def test_kernels_that_are_not_here_are_refused_before_anything_is_loaded(settings):
    with pytest.raises(ConfigError, match="is for CUDA GPUs"):
        make_plan(TrainConfig.model_validate({**settings, "device": "cpu"}), 320)

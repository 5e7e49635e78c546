"""Phases: what a phase starts from is what the one before gave, and what is loaded later is what was trained."""

import math
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from pydantic import TypeAdapter, ValidationError
from support.tiny_model import tiny_dataset, tiny_row

from steps.contracts.errors import IntegrityError, TrainingDataError
from steps.contracts.models import ModelFolder
from steps.engines.lm.load import LoadedModel, earlier_adapters, load, load_start
from steps.engines.lm.loss import token_losses
from steps.engines.template.render import encode
from steps.train.config import TrainConfig, TrainPhases, phases_of
from steps.train.train import train

ROOT = Path(__file__).parents[3]
COMMON = {"learning_rate": 3e-3, "max_steps": 6, "per_device_train_batch_size": 8, "max_length": 128, "save_steps": 2}
FULL, LORA = {"kind": "full"}, {"kind": "lora", "r": 8}
OTHER_LORA = {"kind": "lora", "r": 4, "use_rslora": True, "target_modules": ["q_proj", "v_proj"]}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return tiny_dataset(tmp_path_factory.mktemp("data"), validation=8)


@pytest.fixture(scope="module")
def chain(dataset, tiny_model, tmp_path_factory):
    """Phases one after the other: (report, full weights below, model) per phase, the base's first."""

    def go(*weights: dict) -> list[tuple]:
        folder = tmp_path_factory.mktemp("chain")
        made = [(None, tiny_model, tiny_model)]
        for i, options in enumerate(weights):
            config = TrainConfig.model_validate({**COMMON, "name": f"phase{i}", "weights": options})
            _, below, model = made[-1]
            below, adapter = (model, None) if model.info.kind == "full" else (below, model)
            done = train(below, dataset, config, folder / str(i), folder / "checkpoints", adapter=adapter)
            made.append((done.report, below, done.model))
        return made

    return go


def loss(dataset, loaded: LoadedModel) -> float:
    """The judge: mean over trained tokens of the validation rows."""
    encoded = [encode(loaded.tokenizer, r)[0] for r in dataset.iter_rows("validation")]
    losses = token_losses(loaded, [(e.input_ids, e.labels) for e in encoded], batch_size=3)
    return math.fsum(x for x, _ in losses) / sum(n for _, n in losses)


def losses_of(report) -> tuple[float, float]:
    """Validation loss before and after a phase, as reported."""
    y = next(s for s in report.series if s.title == "Validation loss").y
    return y[0], y[-1]


def over(below, model) -> str | None:
    return None if model.info.kind == "full" else below.info.digest


@pytest.mark.parametrize(
    "kinds",
    [
        (LORA, OTHER_LORA),
        *(pytest.param(kinds, marks=pytest.mark.slow)
          for kinds in [(FULL, LORA), (LORA, FULL), (LORA, LORA, LORA), (LORA, FULL, LORA)]),
    ],
    ids=lambda ks: "-".join(k["kind"] for k in ks),
)  # fmt: skip
@pytest.mark.slow
def test_every_phase_starts_from_the_model_before_and_is_loaded_as_it_was_trained(chain, dataset, kinds):
    made = chain(*kinds)
    for (report, below, model), (_, below_before, before) in zip(made[1:], made, strict=False):
        start = load(below_before, None if before is below_before else before)
        assert losses_of(report)[0] == pytest.approx(loss(dataset, start), abs=1e-5)
        assert losses_of(report)[1] == pytest.approx(loss(dataset, load(below, model)), abs=1e-4)
        assert losses_of(report)[1] < losses_of(report)[0]
        assert report.stage == f"train_{model.info.name}"
        assert model.info.started_from == (*before.info.started_from, before.info.lineage[-1])
        assert (model.info.started_from[-1].digest, model.info.over) == (before.info.digest, over(below, model))
        assert model.info.base == made[0][2].info.base
    last = made[-1][2].info
    assert [a.name for a in last.lineage] == ["base", *(f"phase{i}" for i in range(len(kinds)))]
    assert [a.weights for a in last.lineage] == [None, *(k["kind"] for k in kinds)]
    assert {a.objective for a in last.lineage[1:]} == {"sft"}


@pytest.mark.slow
def test_an_adapter_takes_those_below_it_along_in_their_order(chain):
    made = chain(LORA, LORA, LORA)
    first, second, third = (model for _, _, model in made[1:])
    assert [p.name for p in earlier_adapters(third)] == ["1", "2"]
    for number, adapter in (("1", first), ("2", second)):
        for name in ("adapter_model.safetensors", "adapter_config.json"):
            assert third.info.files[f"earlier/{number}/{name}"] == adapter.info.files[name]
    assert earlier_adapters(first) == []
    assert earlier_adapters(second)[0].parent.parent == second.path


@pytest.mark.slow
def test_in_16_bits_the_start_is_merged_and_only_the_last_adapter_lies_beside(chain, dataset):
    made = chain(LORA, LORA)
    _, base, first = made[1]
    second = made[2][2]
    start = load_start(base, first, dtype="bfloat16", device="cpu").model
    exact = load_start(base, first, dtype="float32", device="cpu").model
    for (name, weight), (_, float32) in zip(start.named_parameters(), exact.named_parameters(), strict=True):
        assert torch.equal(weight, float32.to(torch.bfloat16)), name
    loaded = load(base, second, dtype="bfloat16").model
    assert {n for n, _ in loaded.named_parameters() if "lora_" in n}
    below = loaded.get_base_model().state_dict()
    key = "model.layers.0.self_attn.q_proj"
    assert torch.equal(below[f"{key}.base_layer.weight"], start.state_dict()[f"{key}.weight"])
    assert torch.equal(loaded.get_base_model().model.rotary_emb.inv_freq, exact.model.rotary_emb.inv_freq)


@pytest.mark.slow
def test_an_adapter_is_refused_over_other_weights_than_it_was_trained_over(chain, tiny_model):
    made = chain(FULL, LORA)
    with pytest.raises(IntegrityError, match="phase1 lies over the weights"):
        load(tiny_model, made[2][2])
    with pytest.raises(IntegrityError, match="phase1 lies over the weights"):
        load_start(tiny_model, made[2][2], dtype="float32", device="cpu")


@pytest.mark.slow
def test_a_second_phase_killed_while_saving_resumes_to_the_weights_of_an_undisturbed_one(chain, dataset, tmp_path):
    _, base, first = chain(LORA)[1]
    config = TrainConfig.model_validate({**COMMON, "name": "second", "weights": {**LORA, "lora_dropout": 0.1}})
    for name, model in (("base", base), ("first", first)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "info.json").write_text(model.info.model_dump_json())
        (tmp_path / name / "model").symlink_to(model.path)
    paths = [
        str(tmp_path / "base"),
        str(dataset.folder.parent),
        *(str(tmp_path / n) for n in ("killed", "checkpoints")),
    ]
    killed = subprocess.run(
        [sys.executable, Path(__file__).with_name("killed_run.py"), *map(str, paths), config.model_dump_json(), "4",
         str(tmp_path / "first")],
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        cwd=ROOT, timeout=300, check=False, capture_output=True, text=True,
    )  # fmt: skip
    assert killed.returncode == -signal.SIGKILL, killed.stderr[-2000:]
    resumed, straight = (
        train(base, dataset, config, tmp_path / name, tmp_path / checkpoints, adapter=first)
        for name, checkpoints in (("resumed", "checkpoints"), ("straight", "other"))
    )
    assert any("resumed at step 2" in note for note in resumed.report.notes)
    assert not any("resumed" in note for note in straight.report.notes)
    assert resumed.model.info == straight.model.info
    assert loss(dataset, load(base, resumed.model)) == loss(dataset, load(base, straight.model))


@pytest.mark.slow
def test_the_same_phase_from_another_model_never_resumes(chain, dataset, tmp_path):
    _, base, first = chain(LORA)[1]
    config = TrainConfig.model_validate({**COMMON, "max_steps": 2})
    for i, adapter in enumerate((None, first)):
        done = train(base, dataset, config, tmp_path / str(i), tmp_path / "checkpoints", adapter=adapter)
        assert not any("resumed" in note for note in done.report.notes)
    assert len(list((tmp_path / "checkpoints").iterdir())) == 2


def rows_from_two_sources() -> list:
    rows = [tiny_row(i) for i in range(20)]
    return [{**r, "source": "faq/a.jsonl" if i % 4 else "chat"} for i, r in enumerate(rows)]


@pytest.mark.parametrize(
    ("wanted", "train_rows", "validates"),
    [({"sources": ["faq"]}, 12, True), ({"split": "validation", "sources": ["chat"]}, 1, False),
     *(pytest.param(*case, marks=pytest.mark.slow) for case in (
         ({}, 16, True), ({"sources": ["chat", "faq"]}, 16, True), ({"kinds": ["conversation"]}, 16, True),
         ({"split": "validation"}, 4, False)))],
    ids=str,
)  # fmt: skip
@pytest.mark.slow
def test_a_phase_takes_the_rows_it_names(tmp_path, tiny_model, wanted, train_rows, validates):
    dataset = tiny_dataset(tmp_path / "d", rows_from_two_sources(), validation=4)
    config = TrainConfig.model_validate({**COMMON, "max_steps": 1, "rows": wanted})
    done = train(tiny_model, dataset, config, tmp_path / "out", tmp_path / "checkpoints")
    assert (done.report.rows_in, done.report.kept) == (train_rows, train_rows)
    assert any("no validation rows" in note for note in done.report.notes) is not validates
    assert done.model.info.dataset_digest == dataset.digest


@pytest.mark.parametrize(
    ("wanted", "message"),
    [({"sources": ["nowhere"]}, "no rows of source nowhere: the dataset has chat, faq"),
     ({"kinds": ["document"]}, "no rows in split train")],
    ids=str,
)  # fmt: skip
def test_rows_that_are_not_there_are_named(tmp_path, tiny_model, wanted, message):
    dataset = tiny_dataset(tmp_path / "d", rows_from_two_sources(), validation=4)
    config = TrainConfig.model_validate({**COMMON, "rows": wanted})
    with pytest.raises(TrainingDataError, match=message):
        train(tiny_model, dataset, config, tmp_path / "out", tmp_path / "checkpoints")


def test_test_rows_are_never_trained_on():
    with pytest.raises(ValidationError, match="'train' or 'validation'"):
        TrainConfig.model_validate({"rows": {"split": "test"}})


@pytest.mark.parametrize(
    ("train_section", "message"),
    [([], "at least one"), ([{}, {"name": "b"}], "needs a name .phase 0 has none"),
     ([{"name": "a"}, {"name": "a"}], "two models are called 'a'"),
     ({"name": "base"}, "base is the model at the start"),
     ([{"name": "a", "starts_from": "b"}, {"name": "b"}], "a starts from 'b'; before it are base"),
     ({"starts_from": "tuned"}, "before it are base"), ({"name": "A b"}, "String should match pattern")],
    ids=str,
)  # fmt: skip
def test_phases_that_make_no_chain_are_refused(train_section, message):
    with pytest.raises(ValidationError, match=message):
        TypeAdapter(TrainPhases).validate_python(train_section)


def test_a_phase_starts_from_the_one_before_unless_it_names_another():
    read = TypeAdapter(TrainPhases)
    found = phases_of(read.validate_python([{"name": "a"}, {"name": "b"}, {"name": "c", "starts_from": "a"}]))
    assert [(p.model_name, p.starts_from, p.stage) for p in found] == [
        ("a", "base", "train_a"), ("b", "a", "train_b"), ("c", "a", "train_c"),
    ]  # fmt: skip
    assert [(p.model_name, p.starts_from, p.stage) for p in phases_of(TrainConfig())] == [("tuned", "base", "train")]
    for section in ({}, [{}], [{"name": "a"}, {"name": "b", "weights": FULL}]):
        phases = read.validate_python(section)
        assert read.validate_json(read.dump_json(phases)) == phases


def test_a_model_recorded_before_chains_were_is_read(tiny_model):
    old = tiny_model.info.model_dump(exclude={"name", "objective", "weights", "started_from"})
    read = type(tiny_model.info).model_validate(old)
    assert (read, read.over, [a.name for a in read.lineage]) == (tiny_model.info, None, ["base"])
    assert ModelFolder(read, tiny_model.path).info.digest == tiny_model.info.digest

"""Distillation: the divergence against one computed from both models' logits, teachers of every kind, bad input."""

import dataclasses

import pytest
import torch
from pydantic import TypeAdapter
from support.resumed import asked, check_resumed_after_a_kill
from support.tiny_model import build_tiny_model, tiny_dataset, tiny_row, tiny_tokenizer

import steps.train.asked as models
import steps.train.step as train_step
from steps.contracts.errors import ConfigError, InputNotFoundError
from steps.engines.lm import hub
from steps.engines.lm.load import load
from steps.engines.template.render import chat_template, prompt_and_reference
from steps.train.asked import ModelSource, found_model
from steps.train.config import TrainConfig, TrainPhases
from steps.train.inputs import input_digests
from steps.train.memory_estimate import estimate, model_shape
from steps.train.plan import make_plan
from steps.train.train import train

BASE = {
    "learning_rate": 3e-3, "max_steps": 8, "per_device_train_batch_size": 8, "logging_steps": 1, "save_steps": 100,
    "max_length": 64, "weights": {"kind": "full"}, "lr_scheduler_type": "constant_with_warmup",
}  # fmt: skip
WIDE = {"hidden": 48, "inter": 96, "seed": 5}


def config_of(teacher, objective=None, **settings):
    told = {"kind": "distill", "teacher": {"model": str(teacher)}, "max_completion_length": 12, **(objective or {})}
    return TrainConfig.model_validate({**BASE, "objective": told, **settings})


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    """A wider model that has learnt to answer."""
    at = tmp_path_factory.mktemp("teacher")
    made = build_tiny_model(at / "model", **WIDE)
    taught = TrainConfig.model_validate({**BASE, "max_steps": 60, "learning_rate": 1e-2})
    return train(made, tiny_dataset(at / "rows"), taught, at / "taught", at / "c").model.path


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return tiny_dataset(tmp_path_factory.mktemp("data"), validation=8)


def outcome(done):
    return dict(next(t for t in done.report.tables if t.title == "Outcome").rows)


def divergence(student, teacher, prompts, beta, temperature):
    """By hand: greedy answers of the student, and at each of their tokens the divergence of the two distributions."""
    found = []
    for prompt in prompts:
        asked_ids = student.tokenizer(prompt, add_special_tokens=False, return_tensors="pt")["input_ids"]
        with torch.inference_mode():
            said = student.model.generate(asked_ids, max_new_tokens=12, do_sample=False, pad_token_id=0)
            mine, other = (
                (m.model(said).logits[0, asked_ids.shape[1] - 1 : -1] / temperature).log_softmax(-1)
                for m in (student, teacher)
            )
        if beta == 1:
            found += (mine.exp() * (mine - other)).sum(-1).tolist()
        elif beta == 0:
            found += (other.exp() * (other - mine)).sum(-1).tolist()
        else:
            mixed = (beta * other.exp() + (1 - beta) * mine.exp()).log()
            to_teacher, to_student = ((one.exp() * (one - mixed)).sum(-1) for one in (other, mine))
            found += (beta * to_teacher + (1 - beta) * to_student).tolist()
    return sum(found) / len(found)


@pytest.mark.parametrize(
    ("beta", "steps"),
    [
        pytest.param(0.0, 12, marks=pytest.mark.slow),
        pytest.param(0.5, 60, marks=pytest.mark.slow),
        pytest.param(1.0, 60, marks=pytest.mark.slow),
    ],
)
def test_the_student_comes_nearer_and_what_is_reported_is_what_both_models_say(
    teacher, dataset, tiny_model, tmp_path, beta, steps
):
    wanted = config_of(teacher, {"divergence": beta, "temperature": 1.5}, max_steps=steps, learning_rate=1e-2)
    done = train(tiny_model, dataset, wanted, tmp_path, tmp_path / "c", asked=asked(wanted))
    told = [
        outcome(done)[f"divergence from the teacher, greedy validation answers {when}"] for when in ("before", "after")
    ]
    losses = next(one for one in done.report.series if one.title == "Divergence from the teacher, training").y
    assert sum(losses[-4:]) < 0.9 * sum(losses[:4])
    student, other = load(tiny_model, done.model, device="cpu"), load(asked(wanted)[str(teacher)].base, device="cpu")
    template = chat_template(student.tokenizer)
    rows = sorted(dataset.iter_rows("validation"), key=lambda r: r["content_id"])
    prompts = [prompt_and_reference(row, template)[0] for row in rows]
    assert told[1] == pytest.approx(divergence(student, other, prompts, beta, 1.5), rel=1e-3)
    assert done.model.info.objective == "distill"
    (note,) = [n for n in done.model.info.notes if "asked" in n]
    assert asked(wanted)[str(teacher)].model.info.digest[:12] in note


@pytest.mark.slow
@pytest.mark.parametrize("weights", [{"kind": "full"}, {"kind": "lora", "lora_dropout": 0.1}], ids=["full", "lora"])
def test_a_killed_run_resumes_to_the_weights_of_an_undisturbed_one(tmp_path, tiny_model, teacher, weights):
    rows = tiny_dataset(tmp_path / "data", [tiny_row(i) for i in range(16)], validation=4)
    wanted = config_of(
        teacher, save_steps=5, max_steps=12, save_total_limit=1, weights=weights, per_device_train_batch_size=4,
        gradient_accumulation_steps=2, eval_steps=3,
    )  # fmt: skip
    check_resumed_after_a_kill(tmp_path, tiny_model, rows, wanted, 10)


@pytest.mark.slow
def test_the_same_seed_gives_the_same_weights_and_another_teacher_others(teacher, dataset, tiny_model, tmp_path):
    """Checkpoints of one teacher are none of another's."""
    other = build_tiny_model(tmp_path / "other", **WIDE).path
    found = []
    for n, folder in enumerate((teacher, teacher, other)):
        wanted = config_of("teacher", max_steps=2)
        models = {"teacher": found_model(ModelSource(model=str(folder)), tmp_path)}
        at = tmp_path / str(n)
        found.append(train(tiny_model, dataset, wanted, at, tmp_path / "checkpoints", asked=models).model.info.digest)
    assert found[0] == found[1] != found[2]


def test_a_teacher_of_other_tokens_is_refused_before_a_step(dataset, tiny_model, tmp_path):
    made = build_tiny_model(tmp_path / "teacher", **WIDE)
    tiny_tokenizer(300, corpus=["other words"]).save_pretrained(made.path)
    wanted = config_of(made.path)
    with pytest.raises(ConfigError, match="the teacher has another vocabulary"):
        train(tiny_model, dataset, wanted, tmp_path / "t", tmp_path / "c", asked=asked(wanted))


def test_what_is_asked_is_named_once_and_there(tmp_path):
    with pytest.raises(InputNotFoundError, match="no such model folder"):
        input_digests(config_of("nowhere"), tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputNotFoundError, match=r"no \*\.safetensors weights"):
        input_digests(config_of("empty"), tmp_path)
    with pytest.raises(ConfigError, match="revision is set, but this is a folder"):
        input_digests(config_of("empty", {"teacher": {"model": "empty", "revision": "main"}}), tmp_path)
    for teacher in ({}, {"model": "a/b", "phase": "one"}, {"phase": "one", "revision": "main"}):
        with pytest.raises(ValueError, match=r"one of model and phase|no hub id"):
            config_of("x", {"teacher": teacher})
    with pytest.raises(ValueError, match="say which version"):
        config_of("models:/faq")
    one = {"name": "one", "objective": {"kind": "distill", "teacher": {"phase": "two"}}}
    with pytest.raises(ValueError, match="asks the phase 'two' as a model that answers; before it are such: none"):
        TypeAdapter(TrainPhases).validate_python([one])


@pytest.mark.slow
def test_the_estimate_counts_the_teacher(tiny_model, teacher):
    wanted = config_of(teacher)
    plan, shape = make_plan(wanted, 320), model_shape(tiny_model.path, wanted)
    taught = dataclasses.replace(shape, asked=1_000_000)
    assert estimate(taught, wanted, plan).counted - estimate(shape, wanted, plan).counted == 4_000_000


def test_models_of_a_hub_are_those_of_the_commits_that_the_run_began_with(tmp_path, monkeypatch):
    moved = {"one": "c1", "two": "c2"}
    monkeypatch.setattr(hub, "resolve_revision", lambda name, revision: moved.get(revision, revision))
    monkeypatch.setattr(train_step, "input_root", lambda _: tmp_path)
    monkeypatch.setattr(train_step, "found_model", lambda source, root: source.revision)
    rewards = [{"model": "a/b", "revision": name} for name in moved]
    config = TrainConfig(objective={"kind": "grpo", "rewards": rewards})
    inputs = models.input_digests(config.objective.rewards, tmp_path)
    assert inputs == {"a/b at one": "c1", "a/b at two": "c2"}
    moved["one"] = "c3"
    assert train_step._asked(config, inputs, {}, [], []) == inputs

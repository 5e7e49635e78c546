import math

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from support.preferences import labelled, pair, trainer_over
from support.tiny_model import tiny_dataset, tiny_row

from steps.engines.lm.load import load
from steps.engines.lm.loss import token_losses
from steps.train.config import TrainConfig
from steps.train.objectives.kto_options import KtoOptions
from steps.train.objectives.kto_trainer import KtoTrainer, label_weights, labelled_batch, partners
from steps.train.objectives.preference_measures import area_under_curve
from steps.train.train import train
from steps.train.trainer import torch_settings

BASE = {
    "learning_rate": 3e-3, "max_steps": 4, "per_device_train_batch_size": 4, "logging_steps": 2, "save_steps": 100,
    "max_length": 128, "objective": {"kind": "kto"},
}  # fmt: skip
FULL, LORA = {"kind": "full"}, {"kind": "lora", "r": 8}


def config_of(**settings):
    return TrainConfig.model_validate({**BASE, **settings})


def mixed_rows():
    """18 labelled answers (12 wanted), 3 pairs; then 6 labelled ones and 2 pairs to validate."""
    first = [labelled(i, i % 3 != 0) for i in range(18)] + [pair(i) for i in range(18, 21)]
    return [*first, *(labelled(i, i % 2 == 0) for i in range(21, 27)), pair(27), pair(28)]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return tiny_dataset(tmp_path_factory.mktemp("labels"), mixed_rows(), validation=8)


@pytest.fixture(scope="module")
def trained(dataset, tiny_model, tmp_path_factory):
    with torch_settings(1):
        trainer = trainer_over(tiny_model, dataset, config_of(weights=FULL), tmp_path_factory.mktemp("trained"))
        trainer.train()
        yield trainer


def test_the_validation_loss_is_the_loss_that_is_trained(trained):
    """Over all validation answers as one batch, TRL's loss is ours, with the weights of their labels."""
    ours, before = trained.evaluate(), trained.reference
    rows = [
        {**trained.validation[n], "ref_logps": before.own.logps[n], "ref_KL_logps": before.mismatched.logps[n]}
        for n in range(len(trained.validation))
    ]
    trained.model.eval()
    with torch.no_grad():
        theirs = trained.compute_loss(trained.model, labelled_batch(rows))
    assert len(rows) == 10  # of 6 labelled answers and 2 pairs
    assert ours["eval_loss"] == pytest.approx(float(theirs), rel=1e-4)
    assert ours["eval_kl"] == pytest.approx(trained._metrics["eval"]["kl"][-1], abs=1e-3)
    assert ours["eval_kl"] > 0
    # 15 wanted and 9 unwanted answers are trained.
    assert trained.weights == {True: 1.0, False: pytest.approx(15 / 9)}
    assert "weighs 1, an unwanted one's 1.67" in trained.notes[0]


def test_answers_of_the_batch_go_round_behind_prompts_of_others(trained):
    rows = trained.train_dataset.rows
    first = [rows[i] for i in range(4)]
    for row, other in zip(first, [first[-1], *first[:-1]], strict=True):
        at, from_ = (next(i for i, label in enumerate(r["labels"]) if label >= 0) for r in (row, other))
        assert row["KL_input_ids"] == row["input_ids"][:at] + other["input_ids"][from_:]
        assert row["KL_labels"] == row["labels"][:at] + other["labels"][from_:]
    assert partners(9, 4).tolist() == [3, 0, 1, 2, 7, 4, 5, 6, 7]
    assert partners(3, 8).tolist() == [2, 0, 1]


@pytest.mark.slow
def test_rewards_are_those_of_the_saved_model_against_its_start(dataset, tiny_model, tmp_path):
    done = train(tiny_model, dataset, config_of(weights=LORA), tmp_path, tmp_path / "checkpoints")
    outcome = dict(done.report.tables[0].rows)
    rows = [labelled(i, label) for i in range(21, 29) for label in (True, False) if i > 26 or label == (i % 2 == 0)]
    rewards = {True: [], False: []}
    base, tuned = load(tiny_model), load(tiny_model, done.model)
    for row in rows:
        prompt, answer = (m["content"] for m in row["messages"])
        text = f"<|im_start|>user\n{prompt}<|im_end|>\n<|im_start|>assistant\n"
        ids = base.tokenizer(text + answer + "<|im_end|>")["input_ids"]
        labels = [-100] * len(base.tokenizer(text)["input_ids"])
        example = [(ids, labels + ids[len(labels) :])]
        before, after = (-token_losses(m, example, batch_size=1)[0][0] for m in (base, tuned))
        rewards[row["label"]].append(0.1 * (after - before))
    mean = {label: sum(found) / len(found) for label, found in rewards.items()}
    assert outcome["reward of wanted answers after"] == pytest.approx(mean[True], abs=2e-4)
    assert outcome["reward of unwanted answers after"] == pytest.approx(mean[False], abs=2e-4)
    right = [w > u for w in rewards[True] for u in rewards[False]]
    assert outcome["reward accuracy after"] == pytest.approx(sum(right) / len(right))
    assert [outcome[f"{n} before"] for n in ("validation loss", "reward accuracy", "reward margin")] == [
        pytest.approx(0.5 * outcome_weight(5, 5 * 15 / 9)), 0.5, 0.0,
    ]  # fmt: skip
    assert done.report.counts["answers"] == {"wanted": 15, "unwanted": 9}
    # The two sources have losses of their own.
    assert [row[0] for row in done.report.tables[1].rows] == ["labels", "pairs"]
    assert all(isinstance(v, float) for row in done.report.tables[1].rows for v in row[3:])


def outcome_weight(wanted, unwanted):
    """Mean weight over ten answers."""
    return (wanted + unwanted) / 10


@pytest.mark.parametrize(
    ("options", "labels", "expected"),
    [({}, [True] * 3 + [False], (1.0, 3.0)), ({}, [True] + [False] * 3, (3.0, 1.0)), ({}, [True] * 3, (1.0, 1.0)),
     ({"undesirable_weight": 2}, [True] + [False] * 3, (6.0, 2.0)),
     ({"desirable_weight": 1, "undesirable_weight": 0.5}, [True] + [False] * 3, (1.0, 0.5))],
    ids=str,
)  # fmt: skip
def test_what_is_auto_makes_both_labels_weigh_the_same(options, labels, expected):
    assert tuple(label_weights(KtoOptions(**options), np.array(labels)).values()) == expected


def test_the_accuracy_counts_equal_rewards_half():
    assert area_under_curve(np.array([1.0, 2.0]), np.array([0.0, 1.0, 3.0])) == pytest.approx((1.5 + 2) / 6)
    assert math.isclose(area_under_curve(np.zeros(5), np.zeros(3)), 0.5)


@pytest.mark.slow
def test_rows_without_a_label_are_refused_and_pairs_where_they_are_skipped(tiny_model, tmp_path):
    rows = [*(labelled(i, i % 2 == 0) for i in range(6)), pair(7), tiny_row(8)]
    config = config_of(max_steps=1, objective={"kind": "kto", "preference_as": "skip"})
    done = train(tiny_model, tiny_dataset(tmp_path / "d", rows), config, tmp_path, tmp_path / "c")
    assert done.report.dropped_by == {"conversation": 1, "preference": 1}
    assert done.report.kept == 6


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"group_by_length": True}, "group_by_length clashes"),
     ({"per_device_train_batch_size": 1}, "2 or more"), ({"neftune_noise_alpha": 5}, "it is for sft")],
    ids=str,
)  # fmt: skip
def test_settings_that_contradict_the_objective_are_refused(settings, message):
    with pytest.raises(ValidationError, match=message):
        config_of(**settings)


def test_trl_still_asks_for_what_is_answered_otherwise_here():
    from trl import KTOTrainer

    for name in ("_prepare_dataset", "_precompute_ref_logps", "_get_train_sampler", "training_step"):
        assert getattr(KtoTrainer, name) is not getattr(KTOTrainer, name), name

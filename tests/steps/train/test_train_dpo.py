import math

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from support.preferences import pair, pairs_dataset, trainer_over
from support.tiny_model import tiny_dataset, tiny_row, tiny_tokenizer

from steps.contracts.errors import TrainingDataError
from steps.contracts.ledger import LedgerWriter
from steps.engines.lm.load import load
from steps.engines.lm.loss import token_losses
from steps.engines.template.answers import judged_answers
from steps.engines.template.config import TemplateConfig
from steps.engines.template.lint import Judge
from steps.engines.template.render import chat_template
from steps.train.config import TrainConfig
from steps.train.objectives.dpo_options import DpoOptions
from steps.train.objectives.dpo_trainer import DpoTrainer, losses_of, pair_batch
from steps.train.objectives.preference_measures import PairScores, Scores, pair_losses
from steps.train.objectives.registry import objective_of
from steps.train.rows_to_encode import RowsToEncode
from steps.train.train import train
from steps.train.trainer import torch_settings

BASE = {
    "learning_rate": 3e-3, "max_steps": 6, "per_device_train_batch_size": 4, "logging_steps": 2, "save_steps": 100,
    "max_length": 128, "objective": {"kind": "dpo"},
}  # fmt: skip
WEIGHTS = {"full": {"kind": "full"}, "lora": {"kind": "lora", "r": 8, "lora_dropout": 0.1}}


def config_of(**settings):
    return TrainConfig.model_validate({**BASE, **settings})


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return pairs_dataset(tmp_path_factory.mktemp("pairs"), 24)


def log_probabilities(loaded, rows):
    """The judge: of both answers of each pair, token by token; shape (2, pairs) in lists."""
    found = judged_answers(Judge(loaded.tokenizer, chat_template(loaded.tokenizer)), rows)
    listed = [[f.sequences[n].listed() for f in found] for n in (0, 1)]
    return [
        [-token_losses(loaded, [(e.input_ids, e.labels)], batch_size=1)[0][0] for e in answers] for answers in listed
    ]


@pytest.mark.parametrize("weights", ["lora", pytest.param("full", marks=pytest.mark.slow)])
def test_margins_and_accuracy_are_those_of_the_saved_model_against_its_start(dataset, tiny_model, tmp_path, weights):
    done = train(tiny_model, dataset, config_of(weights=WEIGHTS[weights]), tmp_path, tmp_path / "checkpoints")
    outcome = dict(done.report.tables[0].rows)
    rows = list(dataset.iter_rows("validation"))
    before, after = (log_probabilities(load(tiny_model, model), rows) for model in (None, done.model))
    rewards = [[0.1 * (b - a) for a, b in zip(before[n], after[n], strict=True)] for n in (0, 1)]
    margins = [c - r for c, r in zip(*rewards, strict=True)]
    assert outcome["reward margin after"] == pytest.approx(sum(margins) / 8, abs=2e-4)
    assert outcome["reward accuracy after"] == sum(m > 0 for m in margins) / 8
    assert outcome["validation loss after"] == pytest.approx(
        sum(math.log1p(math.exp(-m)) for m in margins) / 8, abs=2e-4
    )
    assert outcome["log-probability of chosen answers after"] == pytest.approx(sum(after[0]) / 8, abs=1e-3)
    told = [outcome[f"{name} before"] for name in ("validation loss", "reward accuracy", "reward margin")]
    assert told == [round(math.log(2), 6), 0.5, 0.0]
    assert outcome["validation rows"] == 8
    assert margins and sum(margins) > 0


LOSSES = [
    {"loss": "sigmoid"}, {"loss": "sigmoid", "label_smoothing": 0.2}, {"loss": "ipo", "beta": 0.3}, {"loss": "hinge"},
    {"loss": "sigmoid", "sft_weight": 0.5},
]  # fmt: skip


@pytest.fixture(scope="module")
def trained(dataset, tiny_model, tmp_path_factory):
    """A trainer after three steps."""
    config = config_of(max_steps=3, weights=WEIGHTS["full"])
    with torch_settings(1):
        trainer = trainer_over(tiny_model, dataset, config, tmp_path_factory.mktemp("trained"))
        trainer.train()
        yield trainer


@pytest.mark.slow
@pytest.mark.parametrize("options", LOSSES, ids=str)
def test_the_validation_loss_is_the_loss_that_is_trained(trained, options):
    """Over all validation pairs as one batch, TRL's loss is ours; so the reference is the start in both."""
    trainer, before = trained, trained.reference
    trainer.options = DpoOptions(**options)
    trainer.loss_types, trainer.loss_weights = losses_of(trainer.options)
    trainer.beta, trainer.label_smoothing = trainer.options.beta, trainer.options.label_smoothing
    ours = trainer.evaluate()["eval_loss"]
    rows = [
        {**row, "ref_chosen_logps": before.chosen.logps[n], "ref_rejected_logps": before.rejected.logps[n]}
        for n, row in enumerate(trainer.eval_dataset)
    ]
    trainer.model.eval()
    with torch.no_grad():
        theirs = trainer.compute_loss(trainer.model, pair_batch(rows))
    assert ours == pytest.approx(float(theirs), rel=1e-4)


@pytest.mark.parametrize("weights", sorted(WEIGHTS))
def test_the_plain_head_says_what_trls_does(dataset, tiny_model, tmp_path, weights):
    """Loss, gradients and what is logged of a batch."""
    found = []
    for kernel in ("plain", "fused"):
        config = config_of(weights=WEIGHTS[weights] | ({"lora_dropout": 0.0} if weights == "lora" else {}))
        with torch_settings(1):
            trainer = trainer_over(tiny_model, dataset, config, tmp_path / kernel, loss_kernel=kernel)
            if weights == "lora":  # at first it adds nothing
                with torch.no_grad():
                    [p.fill_(0.01) for n, p in trainer.model.named_parameters() if "lora_B" in n]
            trainer.model.eval()
            loss = trainer.compute_loss(trainer.model, pair_batch([trainer.train_dataset[n] for n in range(6)]))
            loss.backward()
        grads = [float(p.grad.norm()) for p in trainer.model.parameters() if p.grad is not None]
        logged = {name: values[-1] for name, values in trainer._metrics["eval"].items() if name != "num_tokens"}
        found.append([float(loss.detach()), *grads, *logged.values()])
        assert {"entropy", "logits/chosen", "mean_token_accuracy"} <= set(logged)
    assert found[0] == pytest.approx(found[1], rel=1e-4, abs=1e-6)


def test_losses_at_the_start_are_those_of_the_papers():
    """No margin: log 2; (1 / 2 beta) squared; 1. A margin of log 3 at beta 1: log(4/3), by the odds of three to one."""
    same = PairScores(Scores(np.array([-4.0]), np.array([2.0])), Scores(np.array([-6.0]), np.array([3.0])))
    found = [pair_losses(same, same, loss, 0.5, 0.0)[0] for loss in ("sigmoid", "ipo", "hinge")]
    assert found == pytest.approx([math.log(2), 1.0, 1.0])
    better = PairScores(Scores(np.array([-4.0 + math.log(3)]), np.array([2.0])), same.rejected)
    assert pair_losses(better, same, "sigmoid", 1.0, 0.0)[0] == pytest.approx(math.log(4 / 3))
    smoothed = (0.75 * math.log(4 / 3) - 0.25 * math.log(4)) / 0.5
    assert pair_losses(better, same, "sigmoid", 1.0, 0.25)[0] == pytest.approx(smoothed)


def test_measures_do_not_depend_on_the_batch_size(trained):
    trainer, found = trained, []
    for n in (1, 3, 8):
        trainer.args.per_device_eval_batch_size = n
        found.append(trainer.evaluate())
    for other in found[1:]:
        assert other == pytest.approx(found[0], abs=2e-5)
    assert found[0]["eval_rewards/margins"] > 1e-3


def test_encoded_pairs_are_what_trl_makes_of_the_same_messages(dataset, tiny_model, tmp_path):
    """TRL's own tokenisation goes on to the end of the text, behind the marker that ends the turn."""
    import datasets
    from trl import DPOConfig, DPOTrainer

    with torch_settings(1):
        trainer = trainer_over(tiny_model, dataset, config_of(), tmp_path)
    rows = sorted(dataset.iter_rows("train"), key=lambda r: r["content_id"])
    said = [
        {"prompt": [_plain(m) for m in r["messages"]], **{n: [_plain(m) for m in r[n]] for n in ("chosen", "rejected")}}
        for r in rows
    ]
    blank = DPOTrainer.__new__(DPOTrainer)
    blank._tokenizer = trainer.processing_class
    args = DPOConfig(output_dir=str(tmp_path / "trl"), max_length=None, bf16=False, use_cpu=True)
    theirs = DPOTrainer._prepare_dataset(blank, datasets.Dataset.from_list(said), trainer.processing_class, args, "x")
    assert len(theirs) == len(trainer.train_dataset) == 16
    newline = trainer.processing_class("\n")["input_ids"]
    for ours, trl in zip(trainer.train_dataset, theirs, strict=True):
        for name in ("chosen", "rejected"):
            assert ours[f"{name}_input_ids"] + newline == trl["prompt_ids"] + trl[f"{name}_ids"]
            prompt = len(trl["prompt_ids"])
            assert ours[f"{name}_labels"] == [-100] * prompt + ours[f"{name}_input_ids"][prompt:]


def _plain(m):
    return {"role": m["role"], "content": m["content"]}


def test_trl_still_asks_for_what_is_answered_otherwise_here():
    """Private names of TRL that are overridden, or whose answers are given in other ways."""
    from trl import DPOTrainer

    for name in ("_prepare_dataset", "_precompute_ref_logps", "_get_train_sampler", "evaluate", "training_step"):
        assert getattr(DpoTrainer, name) is not getattr(DPOTrainer, name), name


@pytest.mark.slow
def test_same_weights_in_any_order_of_the_pairs_and_others_with_another_seed(tiny_model, tmp_path, dataset):
    rows = [pair(i) for i in range(24)]
    backwards = tiny_dataset(tmp_path / "backwards", rows[:16][::-1] + rows[16:], validation=8)
    settings = {"max_steps": 3, "group_by_length": True, "weights": WEIGHTS["lora"]}
    digests = [
        train(tiny_model, d, config_of(**settings, seed=s), tmp_path / n, tmp_path / f"c{n}").model.info.digest
        for n, d, s in (("one", dataset, 42), ("two", backwards, 42), ("three", dataset, 7))
    ]
    assert digests[0] == digests[1] != digests[2]


LONG = "blue " * 60
UNUSABLE = [pair(50, "same", "same"), pair(51, rejected=" "), pair(52, messages=[]), pair(53, rejected=LONG)]


@pytest.mark.slow
def test_pairs_that_cannot_be_used_are_counted_by_their_reason(tiny_model, tmp_path):
    rows = [*(pair(i) for i in range(12)), *UNUSABLE, tiny_row(60)]
    config = config_of(max_steps=1, max_length=64, max_unusable_share=0.5)
    done = train(tiny_model, tiny_dataset(tmp_path / "d", rows), config, tmp_path, tmp_path / "c")
    assert done.report.dropped_by == {
        "blank_answer": 1, "conversation": 1, "equal_answers": 1, "nothing_asked": 1, "overlong": 1,
    }  # fmt: skip
    lines = {line["record_id"]: line["reason"] for line in done.ledger.read().to_pylist()}
    reasons = ("equal_answers", "blank_answer", "nothing_asked", "overlong", "conversation")
    assert lines == {row["record_id"]: reason for row, reason in zip(rows[12:], reasons, strict=True)}
    assert (done.report.rows_in, done.report.kept) == (17, 12)


@pytest.mark.parametrize(
    ("row", "reason"),
    [(pair(1, chosen=LONG), "truncated"), (pair(1, LONG + "a", LONG + "b"), "equal_when_cut"),
     (pair(1, messages=[{**pair(1)["messages"][0], "content": LONG}]), "overlong_prompt")],
    ids=["truncated", "equal_when_cut", "overlong_prompt"],
)  # fmt: skip
def test_what_is_too_long_is_cut_only_where_the_answers_still_differ(tmp_path, row, reason):
    rows = [*(pair(i) for i in range(2, 6)), row]
    encoded, result, lines = encoded_with_ledger(tiny_dataset(tmp_path / "d", rows), tmp_path, "truncate")
    assert [(line["record_id"], line["reason"]) for line in lines] == [(row["record_id"], reason)]
    assert lines[0]["verdict"] == ("changed" if reason == "truncated" else "dropped")
    assert (len(encoded), result.kept, result.truncated) == ((5, 5, 1) if reason == "truncated" else (4, 4, 0))
    assert max(len(e["chosen_input_ids"]) for e in encoded) == (48 if reason == "truncated" else result.longest)


def encoded_with_ledger(dataset, folder, overlong):
    tokenizer, writer = tiny_tokenizer(), LedgerWriter(folder / "ledger.parquet", "train")
    settings = config_of(max_length=48, overlong=overlong)
    objective = objective_of(settings.objective)
    path = folder / "t.arrow"
    found = objective.encode(RowsToEncode(dataset, "train", tokenizer, TemplateConfig(), settings, path, writer))
    return *found, writer.close().read().to_pylist()


def test_an_overlong_pair_stops_the_run_where_that_is_asked_for(tmp_path):
    with pytest.raises(TrainingDataError, match="max_length is 48"):
        encoded_with_ledger(tiny_dataset(tmp_path / "d", [pair(1), UNUSABLE[-1]]), tmp_path, "fail")


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"objective": {"kind": "dpo", "loss": "ipo", "label_smoothing": 0.1}}, "label_smoothing is of the sigmoid loss"),
     ({"neftune_noise_alpha": 5.0}, "it is for sft"), ({"objective": {"kind": "dpo", "packing": "bfd"}}, "packing"),
     ({"objective": {"kind": "dpo", "beta": 0}}, "greater than 0")],
    ids=str,
)  # fmt: skip
def test_settings_that_contradict_the_objective_are_refused(settings, message):
    with pytest.raises(ValidationError, match=message):
        config_of(**settings)


def test_the_learning_rate_is_by_objective_and_weights():
    rates = [
        TrainConfig.model_validate({"objective": {"kind": o}, "weights": {"kind": w}}).peak_learning_rate
        for o in ("sft", "dpo") for w in ("full", "lora")
    ]  # fmt: skip
    assert rates == [2e-5, 2e-4, 5e-7, 5e-6]


@pytest.mark.slow
def test_validation_rows_that_are_no_pairs_leave_the_run_without_measures(tiny_model, tmp_path):
    rows = [*(pair(i) for i in range(6)), tiny_row(7), tiny_row(8)]
    dataset = tiny_dataset(tmp_path / "d", rows, validation=2)
    done = train(tiny_model, dataset, config_of(max_steps=1), tmp_path, tmp_path / "c")
    assert any("no validation row can be used" in note for note in done.report.notes)
    assert dict(done.report.tables[0].rows)["reward accuracy after"] is None


def test_a_limit_of_validation_rows_is_of_those_that_can_be_used(tmp_path):
    rows = [tiny_row(i) if i % 4 else pair(i) for i in range(40)]
    settings, tokenizer = config_of(), tiny_tokenizer()
    objective = objective_of(settings.objective)
    dataset = tiny_dataset(tmp_path / "d", rows)
    path = tmp_path / "t.arrow"
    encoded, result = objective.encode(
        RowsToEncode(dataset, "train", tokenizer, TemplateConfig(), settings, path, limit=6)
    )
    assert (len(encoded), result.kept, result.dropped) == (6, 6, 0)


def test_rows_of_other_kinds_alone_are_told_with_the_objective_that_takes_them(tiny_model, tmp_path):
    dataset = tiny_dataset(tmp_path / "d", [tiny_row(i) for i in range(4)])
    with pytest.raises(TrainingDataError, match=r"rows of kind conversation are for another objective.kind"):
        train(tiny_model, dataset, config_of(), tmp_path, tmp_path / "c")

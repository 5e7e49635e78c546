import math

import pytest
import torch
from support.preferences import pairs_dataset, trainer_over
from trl.experimental.orpo import ORPOTrainer

from steps.engines.lm.load import load
from steps.train.config import TrainConfig
from steps.train.objectives.orpo_trainer import OrpoTrainer, pair_batch
from steps.train.train import train
from steps.train.trainer import torch_settings

BASE = {
    "learning_rate": 3e-3, "max_steps": 4, "per_device_train_batch_size": 4, "logging_steps": 1, "save_steps": 100,
    "max_length": 128, "objective": {"kind": "orpo", "beta": 0.4}, "weights": {"kind": "full"},
}  # fmt: skip


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return pairs_dataset(tmp_path_factory.mktemp("pairs"), 24)


@pytest.mark.slow
def test_the_validation_loss_is_the_loss_that_is_trained(dataset, tiny_model, tmp_path):
    """Over all validation pairs as one batch. TRL's own likelihood has the prompt in it, and is another."""
    with torch_settings(1):
        trainer = trainer_over(tiny_model, dataset, TrainConfig.model_validate(BASE), tmp_path)
        trainer.train()
        ours = trainer.evaluate()
        batch = pair_batch(list(trainer.eval_dataset))
        with torch.no_grad():
            loss, metrics = trainer.get_batch_loss_metrics(trainer.model, batch, "eval")
            with_prompt = ORPOTrainer.concatenated_forward(trainer, trainer.model, batch)[4]
    assert ours["eval_loss"] == pytest.approx(float(loss), rel=1e-4)
    assert ours["eval_nll_loss"] == pytest.approx(metrics["eval_nll_loss"], rel=1e-4)
    assert ours["eval_log_odds_chosen"] == pytest.approx(metrics["eval_log_odds_chosen"], rel=1e-3)
    assert abs(float(with_prompt) - ours["eval_nll_loss"]) > 0.01
    # Four steps of four pairs see each of the 16 once.
    pairs = [row[f"{name}_input_ids"] for row in trainer.train_dataset for name in ("chosen", "rejected")]
    assert int(trainer.tokens_seen) == sum(map(len, pairs))


@pytest.mark.slow
def test_the_report_has_the_saved_models_likelihood_and_odds(dataset, tiny_model, tmp_path):
    done = train(tiny_model, dataset, TrainConfig.model_validate(BASE), tmp_path, tmp_path / "checkpoints")
    outcome, tuned = dict(done.report.tables[0].rows), load(tiny_model, done.model)
    likelihoods, odds, tokens = [], [], []
    for row in dataset.iter_rows("validation"):
        means = []
        for name in ("chosen", "rejected"):
            text = f"<|im_start|>user\n{row['messages'][0]['content']}<|im_end|>\n<|im_start|>assistant\n"
            prompt = len(tuned.tokenizer(text)["input_ids"])
            ids = torch.tensor([tuned.tokenizer(text + row[name][0]["content"] + "<|im_end|>")["input_ids"]])
            with torch.no_grad():
                logps = tuned.model(ids).logits[0, prompt - 1 : -1].double().log_softmax(-1)
            found = logps.gather(1, ids[0, prompt:, None])
            means.append(float(found.mean()))
            if name == "chosen":
                likelihoods.append(-float(found.sum()))
                tokens.append(len(found))
        p, q = (math.exp(m) for m in means)
        odds.append(math.log(p / (1 - p)) - math.log(q / (1 - q)))
    nll = sum(likelihoods) / sum(tokens)
    loss = nll + 0.4 * sum(math.log1p(math.exp(-o)) for o in odds) / len(odds)
    assert outcome["negative log-likelihood of chosen answers after"] == pytest.approx(nll, rel=1e-4)
    assert outcome["log odds ratio after"] == pytest.approx(sum(odds) / len(odds), rel=1e-3)
    assert outcome["validation loss after"] == pytest.approx(loss, rel=1e-4)
    assert outcome["validation loss after"] < outcome["validation loss before"]


def test_trl_still_asks_for_what_is_answered_otherwise_here():
    for name in ("tokenize_row", "concatenated_forward", "_get_train_sampler", "evaluate", "training_step"):
        assert getattr(OrpoTrainer, name) is not getattr(ORPOTrainer, name), name

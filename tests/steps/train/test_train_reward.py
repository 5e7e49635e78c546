import math

import pytest
import torch
from support.preferences import pair, pairs_dataset
from support.resumed import check_resumed_after_a_kill
from support.tiny_model import tiny_dataset, tiny_row

from steps.contracts.errors import TrainingDataError
from steps.engines.lm.load import load
from steps.engines.lm.loss import token_losses
from steps.engines.lm.scorer import as_scorer, load_scorer, scores
from steps.engines.scoring.wilson import wilson
from steps.engines.subjects.local_model import Inference, local_model
from steps.engines.subjects.local_scorer import local_scorer
from steps.engines.template.answers import judged_answers
from steps.engines.template.lint import Judge
from steps.engines.template.render import chat_template
from steps.train.config import TrainConfig, phases_of
from steps.train.train import train

BASE = {
    "learning_rate": 3e-3, "max_steps": 10, "per_device_train_batch_size": 4, "logging_steps": 2, "save_steps": 100,
    "max_length": 128, "objective": {"kind": "reward"},
}  # fmt: skip
WEIGHTS = {"full": {"kind": "full"}, "lora": {"kind": "lora", "r": 8, "lora_dropout": 0.1}}


def config_of(**settings):
    return TrainConfig.model_validate({**BASE, **settings})


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return pairs_dataset(tmp_path_factory.mktemp("pairs"), 32)


def rewards(loaded, rows):
    """The judge: each answer alone, without padding; (chosen, rejected) of each pair."""
    found = judged_answers(Judge(loaded.tokenizer, chat_template(loaded.tokenizer)), rows)
    with torch.inference_mode():
        return [
            tuple(loaded.model(torch.tensor([s.input_ids.tolist()])).logits.item() for s in one.sequences)
            for one in found
        ]


@pytest.mark.slow
@pytest.mark.parametrize("weights", ["lora", pytest.param("full", marks=pytest.mark.slow)])
def test_what_is_reported_is_what_the_saved_model_says(dataset, tiny_model, tmp_path, weights):
    done = train(tiny_model, dataset, config_of(weights=WEIGHTS[weights]), tmp_path, tmp_path / "checkpoints")
    outcome = dict(done.report.tables[0].rows)
    rows = list(dataset.iter_rows("validation"))
    loaded = load_scorer(tiny_model, done.model)
    found = rewards(loaded, rows)
    gaps = [chosen - rejected for chosen, rejected in found]
    assert outcome["validation loss after"] == pytest.approx(sum(math.log1p(math.exp(-g)) for g in gaps) / 8, abs=2e-4)
    right = sum(g > 0 for g in gaps)
    interval = wilson(right, 8)
    told = [outcome[f"{name} after"] for name in (
        "validation accuracy", "lower bound of the accuracy (95 %)", "upper bound of the accuracy (95 %)")]  # fmt: skip
    assert told == pytest.approx([right / 8, interval.low, interval.high], abs=1e-6)
    assert outcome["validation margin after"] == pytest.approx(sum(gaps) / 8, abs=2e-4)
    assert outcome["mean reward after"] == pytest.approx(sum(map(sum, found)) / 16, abs=2e-4)
    assert outcome["validation loss after"] < outcome["validation loss before"]
    assert right == 8
    assert done.model.info.objective == "reward"
    assert (done.model.info.kind, "generation_config.json" in done.model.info.files) == (
        "adapter" if weights == "lora" else "full", False)  # fmt: skip


def test_scores_do_not_depend_on_padding_or_order(tiny_model):
    loaded = load(tiny_model)
    scorer = type(loaded)(as_scorer(loaded.model, 0, seed=1), loaded.tokenizer, "cpu")
    texts = [[5, 6, 7], [8, 9], [10, 11, 12, 13, 2], [5]]
    alone = [scorer.model(torch.tensor([t])).logits.item() for t in texts]
    for size in (1, 2, 4):
        assert scores(scorer, texts, batch_size=size) == pytest.approx(alone, abs=1e-5)
    assert scores(scorer, texts[::-1], batch_size=4) == scores(scorer, texts, batch_size=4)[::-1]
    again = as_scorer(load(tiny_model).model, 0, seed=1)
    assert torch.equal(again.score.weight, scorer.model.score.weight)
    assert not torch.equal(as_scorer(load(tiny_model).model, 0, seed=2).score.weight, scorer.model.score.weight)


@pytest.mark.slow
def test_a_subject_prefers_by_reward_or_by_likelihood_per_token(dataset, tiny_model, tmp_path):
    done = train(tiny_model, dataset, config_of(max_steps=4), tmp_path, tmp_path / "checkpoints")
    rows = [*dataset.iter_rows("validation"), tiny_row(1), pair(3, "one", "one")]
    with local_scorer("reward", tiny_model, done.model, Inference()) as subject:
        found = subject.preferences(rows)
        assert subject.decoding.keys() == {"batch_size", "batch_tokens", "dtype", "num_threads", "device"}
    judged = [float(c > r) for c, r in rewards(load_scorer(tiny_model, done.model), rows[:8])]
    assert found.rows == [*judged, None, None]
    assert found.notes == ("1 of 9 pairs are left out: too long, equal, or the template can't write them",)
    loaded = load(tiny_model)
    pairs = judged_answers(Judge(loaded.tokenizer, chat_template(loaded.tokenizer)), rows[:8])
    means = [
        [token_losses(loaded, [(s.input_ids.tolist(), s.labels.tolist())], batch_size=1)[0] for s in p.sequences]
        for p in pairs
    ]
    with local_model("base", tiny_model, None, Inference()) as subject:
        assert subject.preferences(rows).rows[:8] == [float(c[0] / c[1] < r[0] / r[1]) for c, r in means]


def test_rows_that_are_no_pairs_are_refused_and_phases_do_not_start_from_a_reward_model(tmp_path, tiny_model):
    with pytest.raises(TrainingDataError, match="no row is left to train on"):
        train(tiny_model, tiny_dataset(tmp_path / "d"), config_of(), tmp_path / "t", tmp_path / "c")
    from pydantic import TypeAdapter

    from steps.train.config import TrainPhases

    def phases(*values):
        return TypeAdapter(TrainPhases).validate_python(list(values))

    with pytest.raises(ValueError, match="b starts from 'a', a reward model, which writes nothing; set starts_from to"):
        phases({"name": "a", "objective": {"kind": "reward"}}, {"name": "b"})
    found = phases({"name": "a", "objective": {"kind": "reward"}}, {"name": "b", "starts_from": "base"})
    assert [p.starts_from for p in phases_of(found)] == ["base", "base"]


@pytest.mark.slow
@pytest.mark.parametrize("weights", WEIGHTS)
def test_a_killed_run_resumes_to_the_weights_of_an_undisturbed_one(tmp_path, tiny_model, weights):
    dataset = pairs_dataset(tmp_path / "data", 40)
    wanted = config_of(save_steps=4, max_steps=12, save_total_limit=1, logging_steps=1, weights=WEIGHTS[weights])
    check_resumed_after_a_kill(tmp_path, tiny_model, dataset, wanted, 8)


@pytest.mark.slow
@pytest.mark.parametrize("weights", WEIGHTS)
def test_the_export_says_what_the_evaluated_model_says(dataset, tiny_model, tmp_path, weights):
    import mlflow
    import pandas as pd

    from steps.engines.exports.export import Decoding, Exported
    from steps.engines.exports.pyfunc import Pyfunc

    done = train(tiny_model, dataset, config_of(max_steps=3, weights=WEIGHTS[weights]), tmp_path, tmp_path / "c")
    how = Decoding(16, 4, "float32", 1, {}, (), 4096)
    folder = Pyfunc().write(Exported(done.model, tiny_model, str(tiny_model.path), how), tmp_path / "export")
    rows = list(dataset.iter_rows("validation"))
    asked = [
        [{"role": m["role"], "content": m["content"]} for m in (*row["messages"], *answer)]
        for row in rows for answer in (row["chosen"], row["rejected"])
    ]  # fmt: skip
    said = mlflow.pyfunc.load_model(str(folder)).predict(pd.DataFrame({"messages": asked}))
    judged = [score for pair in rewards(load_scorer(tiny_model, done.model), rows) for score in pair]
    assert list(said) == pytest.approx(judged, abs=1e-5)


@pytest.mark.slow
def test_a_reward_model_and_a_model_that_answers_are_compared_by_what_both_do(dataset, tiny_model, tmp_path):
    from steps.evaluate.config import EvaluateConfig
    from steps.evaluate.evaluate import evaluate, inference
    from steps.evaluate.tasks import suite
    from steps.gate.config import GateConfig
    from steps.gate.gate import gate

    done = train(tiny_model, dataset, config_of(), tmp_path, tmp_path / "checkpoints")
    import numpy as np

    from steps.contracts.records import SPLITS

    codes = np.full(dataset.rows, SPLITS.index("test"))
    held_out = dataset.select(np.ones(dataset.rows, bool), tmp_path / "test", "split", codes)
    config = EvaluateConfig(metrics=("preference_accuracy",))
    tasks, how = suite(held_out, config, tmp_path), inference(config)
    with local_model("base", tiny_model, None, how) as one:
        first = evaluate(one, tasks, config, tmp_path, tmp_path / "base")
    with local_scorer("tuned", tiny_model, done.model, how) as other:
        second = evaluate(other, tasks, config, tmp_path, tmp_path / "tuned")
    comparison, decision = gate([first, second], GateConfig(min_n=8))
    assert [d.metric for d in comparison.differences] == ["preference_accuracy"]
    assert decision.promote
    assert [m.name for m in second.report.tasks[0].metrics] == ["preference_accuracy"]

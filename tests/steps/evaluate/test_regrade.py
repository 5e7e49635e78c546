"""Stored scores against the answers that they are of."""

from pathlib import Path

import pytest

from steps.contracts.evaluation import TaskResult
from steps.engines.scoring.answers import Answered
from steps.evaluate.config import EvaluateConfig
from steps.evaluate.evaluate import version_of
from steps.evaluate.regrade import regraded
from steps.evaluate.scorers import make_scorer

SAID = [("yes", "yes"), ("no", "no way"), ("maybe", None)]


def measured(kind="held_out", **settings):
    """A task, and its rows as an evaluation leaves them: losses beside what the graders say."""
    config = EvaluateConfig(**settings)
    scorer = make_scorer(config, [wanted for wanted, _ in SAID], Path(), unanswerable=kind == "unanswerable")
    rows = [
        Answered("t", f"r{i}", "p", wanted, said, {"nats": 1.5, "tokens": 3.0, **scorer.score(said, wanted)})
        for i, (wanted, said) in enumerate(SAID)
    ]
    task = TaskResult(task="t", version=version_of(kind, scorer), kind=kind, data_digest="d", n=3, metrics=())
    return task, rows, config


@pytest.mark.parametrize("kind", ["held_out", "unanswerable"])
@pytest.mark.parametrize("settings", [{}, {"metrics": ("exact_match", "rouge_l")}, {"decline_patterns": ("no",)}])
def test_scores_of_the_graders_are_given_again(kind, settings):
    assert regraded(*measured(kind, **settings), Path()) == []


def test_a_score_or_an_answer_that_was_edited_is_found(tmp_path):
    task, rows, config = measured(metrics=("exact_match",))
    better = Answered("t", "r1", "p", "no", "no way", {**rows[1].scores, "exact_match": 1.0})
    assert regraded(task, [rows[0], better, rows[2]], config, tmp_path) == [
        "r1 exact_match: stored 1.0, graded anew 0.0"
    ]
    other = Answered("t", "r0", "p", "yes", "no", rows[0].scores)
    assert any("r0 exact_match" in said for said in regraded(task, [other, *rows[1:]], config, tmp_path))


def test_other_graders_are_told_apart_from_other_scores(tmp_path):
    task, rows, _ = measured(metrics=("exact_match",))
    assert regraded(task, rows, EvaluateConfig(metrics=("rouge_l",)), tmp_path) is None


def test_what_was_never_asked_has_no_grades(tmp_path):
    task, rows, config = measured(metrics=("loss",))
    silent = [Answered("t", r.row_id, "p", r.reference, None, {"nats": 1.5, "tokens": 3.0}) for r in rows]
    assert regraded(task, silent, config, tmp_path) == []

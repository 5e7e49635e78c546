"""Answers graded anew, where that needs no model: whether the scores that are stored are those of the texts."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from steps.contracts.evaluation import TaskResult
from steps.engines.scoring.answers import Answered
from steps.evaluate.config import EvaluateConfig
from steps.evaluate.evaluate import version_of
from steps.evaluate.scorers import Scorer, make_scorer


def regraded(task: TaskResult, rows: Sequence[Answered], config: EvaluateConfig, root: Path) -> list[str] | None:
    """Where a row's stored scores aren't those of its answer, in words; None: graded by another version.

    Losses, and whether an answer is a loop, are measured elsewhere; they stay as they are.

    Raises:
        InputError: the JSON schema that the settings name can't be used. ConfigError: the settings ask for nothing.
    """
    references = [r.reference for r in rows if r.reference]
    scorer = make_scorer(config.of_task(task.task), references, root, unanswerable=task.kind == "unanswerable")
    if version_of(task.kind, scorer) != task.version:
        return None
    # A task that wasn't asked has losses only.
    asked = any(scorer.graders[0] in r.scores for r in rows)
    return list(_differences(scorer, rows)) if asked else []


def _differences(scorer: Scorer, rows: Sequence[Answered]) -> Iterator[str]:
    for row in rows:
        found = scorer.score(row.answer, row.reference) if row.reference else {}
        for name in scorer.graders:
            stored, again = row.scores.get(name), found.get(name)
            if stored != again:
                yield f"{row.row_id} {name}: stored {stored}, graded anew {again}"

"""Answers graded anew, where that needs no model: whether the scores that are stored are those of the texts."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from steps.contracts.evaluation import TaskResult
from steps.engines.scoring.answers import Answered
from steps.evaluate.config import EvaluateConfig
from steps.evaluate.evaluate import version_of
from steps.evaluate.scorers import Scorer, make_scorer
from steps.evaluate.suites.grading import graded
from steps.evaluate.suites.scorer import suite_scorer
from steps.evaluate.suites.settings import BY_MODEL
from steps.evaluate.suites.tasks import suite_parts


def regraded(task: TaskResult, rows: Sequence[Answered], config: EvaluateConfig, root: Path) -> list[str] | None:
    """Where a row's stored scores aren't those of its answer, in words; None: graded by another version.

    Losses, whether an answer is a loop, and what the harness graded are measured elsewhere; they stay as they are.

    Raises:
        InputError: the JSON schema that the settings name can't be used. ConfigError: the settings ask for nothing.
    """
    if task.kind == "lm_eval":
        return []  # graded by code of the harness, while it asked
    if task.suite:
        return _regraded_suite(task, rows, config, root)
    references = [r.reference for r in rows if r.reference]
    scorer = make_scorer(config.of_task(task.task), references, root, unanswerable=task.kind == "unanswerable")
    if version_of(task.kind, scorer) != task.version:
        return None
    # A task that wasn't asked has losses only.
    asked = any(scorer.graders[0] in r.scores for r in rows)
    return list(_differences(scorer, rows)) if asked else []


def _regraded_suite(task: TaskResult, rows: Sequence[Answered], config: EvaluateConfig, root: Path) -> list[str] | None:
    """Of a suite, which is read again; what models graded stays as it is.

    Raises: as `suite_parts`.
    """
    part = next((p for p in suite_parts(config.suites, root) if p.name == task.task), None)
    if part is None or part.data_digest != task.data_digest:
        return None
    scorer = suite_scorer(part, config, [r.reference for r in rows if r.reference], root)
    if version_of(task.kind, scorer) != task.version:
        return None
    by_id = {r.row_id: r for r in rows}
    if by_id.keys() != {a.row_id for a in part.asked}:
        return [f"{task.task}: the answers are of other questions"]
    stored = [by_id[a.row_id] for a in part.asked]
    if not any(r.evidence for r in stored):
        return []
    plain = [replace(r, scores=scorer.score(r.answer, r.reference) if r.reference else {}) for r in stored]
    found = graded(part, plain, scorer.grading)
    return [
        f"{old.row_id} {name}: stored {old.scores.get(name)}, graded anew {new.scores.get(name)}"
        for old, new in zip(stored, found, strict=True)
        for name in sorted((old.scores.keys() | new.scores.keys()) - set(BY_MODEL.values()))
        if old.scores.get(name) != new.scores.get(name)
    ]


def _differences(scorer: Scorer, rows: Sequence[Answered]) -> Iterator[str]:
    for row in rows:
        found = scorer.score(row.answer, row.reference) if row.reference else {}
        for name in scorer.graders:
            stored, again = row.scores.get(name), found.get(name)
            if stored != again:
                yield f"{row.row_id} {name}: stored {stored}, graded anew {again}"

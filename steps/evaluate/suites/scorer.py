"""What grades a suite's task besides its kind."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from steps.contracts.digests import value_digest
from steps.evaluate.config import EvaluateConfig, GradingConfig
from steps.evaluate.scorers import Scorer, make_scorer
from steps.evaluate.suites.settings import BY_MODEL
from steps.evaluate.suites.tasks import Part

# Kinds whose answers are graded as those of control questions are, by the wanted answer alone.
_BY_REFERENCE = ("domain", "qa", "numeric", "structured", "unanswerable")
# Chosen: what fits anything may be a sentence or a list; a refusal shows itself in fewer tokens.
_FREE_TOKENS = 128


def suite_scorer(part: Part, config: EvaluateConfig, references: Sequence[str], root: Path) -> Scorer:
    """The graders that a suite's task asks for, none where its kind says it all.

    Raises: as `make_scorer`.
    """
    task = part.settings
    grading = task.grading(part.schema)
    settings: dict[str, Any] = {field: getattr(grading, field) for field in GradingConfig.model_fields}
    settings["decline_patterns"] = (*config.decline_patterns, *part.declines)
    own = task.kind not in _BY_REFERENCE
    if own:
        settings["metrics"] = tuple(g for g in task.asked_graders if g not in BY_MODEL)
    asked = make_scorer(config.model_copy(update=settings), references, root, unanswerable=task.kind == "unanswerable")
    models = [
        grader and grader.model_dump(mode="json")
        for name, grader in (("similarity", config.similarity), ("judge", config.judge)) if name in task.graders
    ]  # fmt: skip
    version = value_digest([asked.version, task.model_dump(mode="json"), part.declines, models])[:8]
    graders = tuple(asked.metrics) if own else asked.graders
    return replace(asked, graders=graders, version=version)


def room(part: Part, config: EvaluateConfig) -> int | None:
    """Tokens per answer; None: by the reference."""
    said = part.settings.max_new_tokens or config.max_new_tokens
    free = any(a.free for a in part.asked)
    return said or (_FREE_TOKENS if free else None)

"""The rows of an evaluation, asked of a model where it answers after its export, and graded as they were."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from steps.contracts.dataset import Dataset
from steps.contracts.errors import InputError
from steps.contracts.evaluation import Answers, Estimate, EvalReport
from steps.contracts.exports import ScoreBeside
from steps.engines.exports.folder_format import Conversing, Generating, Runtime, Source
from steps.engines.scoring.answers import Answered, read_answers
from steps.engines.scoring.metrics import (
    DEGENERATE_CONTINUATION,
    LOSS,
    NON_FINITE,
    PERPLEXITY,
    PREFERENCE_ACCURACY,
    estimate,
    metric_names,
)
from steps.engines.subjects.exported_model import exported_model
from steps.evaluate.config import EvaluateConfig
from steps.evaluate.evaluate import evaluate, inference
from steps.evaluate.suites.models import grading_models
from steps.evaluate.tasks import Suite, row_id, suite

# Not of answers, or not of answers to questions.
_NOT_ASKED = frozenset({LOSS, PERPLEXITY, NON_FINITE, PREFERENCE_ACCURACY, DEGENERATE_CONTINUATION})
# Tokens beside prompt and answer.
_SPARE = 64


@dataclass(frozen=True)
class SameRows:
    """Tasks with answers of the trained model. `trained`: its rows, by task."""

    tasks: Suite
    trained: Mapping[str, Sequence[Answered]]
    config: EvaluateConfig
    root: Path

    @property
    def count(self) -> int:
        """Rows of all tasks."""
        return sum(len(rows) for rows in self.trained.values())

    def longest(self, report: EvalReport, tokenizer: Any) -> int:
        """Tokens that a prompt and its answer take at most."""
        said = json.loads(report.decoding)
        rooms = [*(said.get("max_new_tokens") or {}).values(), *(said.get("probe_tokens") or {}).values()]
        prompts = [r.prompt for rows in self.trained.values() for r in rows]
        lengths = [len(ids) for ids in tokenizer(prompts, add_special_tokens=False)["input_ids"]] if prompts else []
        return max(lengths, default=0) + max(rooms, default=0) + _SPARE

    def trained_scores(self) -> list[ScoreBeside]:
        """The trained model's own figures, beside themselves."""
        return [ScoreBeside(task=t, metric=m, trained=e, found=e) for (t, m), e in self._trained().items()]

    def _trained(self) -> dict[tuple[str, str], Estimate]:
        found = {}
        for task, rows in self.trained.items():
            scores = [r.scores for r in rows]
            for name in metric_names(scores):
                if name not in _NOT_ASKED and (value := estimate(name, scores)) is not None:
                    found[task, name] = value
        return found

    def scores(self, source: Source, folder: Path, cache: Path, name: str, runtime: Runtime) -> list[ScoreBeside]:
        """What a runtime answers, graded. `folder`: below which answers go; `cache`: of what grading models were paid.

        Raises: as `evaluate`.
        """
        if not self.trained:
            return []
        assert isinstance(runtime, Generating | Conversing)
        place = folder / "answers" / name
        place.mkdir(parents=True)
        parts = [t.part for t in self.tasks.tasks if t.part is not None]
        with (
            exported_model(name, source, runtime, inference(self.config)) as subject,
            grading_models(parts, self.config, self.root, cache) as models,
        ):
            report = evaluate(subject, self.tasks, self.config, self.root, place, models=models).report
        found = {(t.task, m.name): m.estimate for t in report.tasks for m in t.metrics}
        return [
            ScoreBeside(task=t, metric=m, trained=e, found=found[t, m])
            for (t, m), e in self._trained().items()
            if (t, m) in found
        ]


def same_rows(
    dataset: Dataset, answers: Answers, config: EvaluateConfig, max_rows: int | None, root: Path
) -> SameRows:  # fmt: skip
    """The tasks that the trained model answered; of the held-out rows `max_rows` at most.

    Raises:
        InputError: it wasn't asked these rows. As `suite`.
    """
    most = min((n for n in (max_rows, config.max_rows) if n is not None), default=None)
    config = config.model_copy(update={"subjects": (), "lm_eval": None, "max_rows": most})
    known = read_answers(answers)
    tasks, trained = [], {}
    whole = suite(dataset, config, root)
    for task in whole.tasks:
        asked = {row_id(task, row) for row in task.rows}
        rows = [r for r in known.get(task.name, ()) if r.row_id in asked]
        if len(rows) < len(asked):
            what = f"{task.name}: {len(asked) - len(rows)} of {len(asked)} rows are in no answer of the evaluation"
            raise InputError(what, where="export", hint="run again: the evaluation's files have changed since")
        if any(r.answer is not None for r in rows):
            tasks.append(task)
            trained[task.name] = rows
    return SameRows(replace(whole, tasks=tuple(tasks)), trained, config, root)

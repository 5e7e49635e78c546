"""Which graders a task's answers get, by the settings and by what its references look like."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from steps.contracts.digests import value_digest
from steps.engines.graders.classes import CLASSES, classes_of
from steps.engines.graders.extractors import EXTRACTORS, FINAL_NUMBER, compile_re2
from steps.engines.graders.graders import GRADERS, Grading
from steps.engines.graders.json_schema import read_schema, validator
from steps.engines.graders.values import parse_json
from steps.engines.scoring.metrics import Scores
from steps.evaluate.config import EvaluateConfig, Extractor, MetricName

# The grader that says how often nothing was found to compare.
UNPARSED = "unparsed"
# Metrics that need no answer.
_UNANSWERED = ("loss", "preference_accuracy")
# Chosen: references this short are labels or values, for which overlap of words says less than equality.
_SHORT_WORDS = 3


@dataclass(frozen=True)
class Scorer:
    """The graders of a task by name, with what they need; `version` names everything that a score depends on."""

    metrics: tuple[MetricName, ...]
    extractor: Extractor
    graders: tuple[str, ...]
    grading: Grading
    version: str

    @property
    def generates(self) -> bool:
        """Whether any metric needs answers."""
        return any(m not in _UNANSWERED for m in self.metrics)

    def score(self, answer: str | None, reference: str) -> Scores:
        """Every grader's score of an answer; None (nothing could be asked) is wrong, not left out."""
        graded = [name for name in self.graders if name not in CLASSES]
        scores = {name: GRADERS[name].grade(answer or "", reference, self.grading) for name in graded}
        if len(graded) < len(self.graders):
            scores |= {name: value for name, value in classes_of(scores).items() if value is not None}
        # Beside exact_match, and absent where that doesn't apply.
        if scores.get(UNPARSED, 0.0) is None:
            del scores[UNPARSED]
        return scores


def make_scorer(config: EvaluateConfig, references: Sequence[str], root: Path, *, unanswerable: bool = False) -> Scorer:
    """The scorer that the settings and, where they say "auto", the references ask for.

    `unanswerable`: of a task whose questions must all be declined, whatever the settings say.

    Raises:
        ConfigError: the JSON schema isn't one, or json_valid is asked for nothing.
    """
    extractor, metrics = _chosen(config, [r for r in references if r])
    schema = read_schema(root / config.json_schema) if config.json_schema and "json_valid" in metrics else None
    valid = validator(schema)
    for reference in references if schema is not None else ():
        valid(parse_json(reference))  # a schema that can't be resolved is refused before anything is generated
    pattern = {"final_number": FINAL_NUMBER, "regex": config.extract_pattern}.get(extractor)
    grading = Grading(
        extract=EXTRACTORS[extractor](pattern),
        ignore_case=config.ignore_case,
        tolerance=config.tolerance,
        valid=valid,
        declines=tuple(compile_re2(p, ignore_case=True) for p in config.decline_patterns),
        unanswerable=unanswerable,
    )
    version: list[Any] = [
        metrics, extractor, pattern, config.ignore_case, config.tolerance, schema, config.decline_patterns,
        config.max_length,
    ]  # fmt: skip
    graders = ("declined", "answered_unanswerable") if unanswerable else _graders(metrics, extractor)
    return Scorer(metrics, extractor, graders, grading, value_digest(version)[:8])


def _graders(metrics: Sequence[MetricName], extractor: Extractor) -> tuple[str, ...]:
    """Declines are always counted, and beside exact_match how often nothing was found to compare."""
    graded = [m for m in metrics if m not in _UNANSWERED]
    parsed = [UNPARSED] if "exact_match" in metrics and extractor != "none" else []
    classes = CLASSES if graded and graded != ["json_valid"] else ()
    return ("over_declined", "declined", *graded, *parsed, *classes)


def _chosen(config: EvaluateConfig, references: Sequence[str]) -> tuple[Extractor, tuple[MetricName, ...]]:
    """Extractor and metrics, "auto" resolved by what all the references look like."""
    guess: tuple[Extractor, tuple[MetricName, ...]] = ("none", ("loss", "rouge_l"))
    number = compile_re2(FINAL_NUMBER)
    if not references:
        guess = ("none", ("loss",))
    elif all(isinstance(parse_json(r), dict) for r in references):
        guess = ("json", ("loss", "exact_match", "json_valid", "field_accuracy"))
    elif all(number.search(r) for r in references):
        guess = ("final_number", ("loss", "exact_match"))
    elif all(len(r.split()) <= _SHORT_WORDS for r in references):
        guess = ("none", ("loss", "exact_match"))
    extractor = guess[0] if config.extractor == "auto" else config.extractor
    if config.metrics != "auto":
        return extractor, config.metrics
    exact: tuple[MetricName, ...] = ("exact_match",) if config.extractor not in ("auto", "none") else ()
    return extractor, tuple(dict.fromkeys((*guess[1], *exact)))

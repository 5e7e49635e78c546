"""What a suite's YAML file says."""

from typing import Any, Literal, Self, TypeAlias, get_args

from pydantic import Field, field_validator, model_validator

from steps.contracts.evaluation import SuiteKind
from steps.contracts.pinned import SHA256
from steps.contracts.reports import Frozen
from steps.engines.graders.declines import compiled_or_refused
from steps.engines.graders.facts import FACTS_RECALLED, NEAR_MISS, RECALLED
from steps.engines.graders.labels import ACCURACY
from steps.engines.graders.leaks import CANARY_LEAKED, LEAKED
from steps.engines.graders.pairs import ABSOLUTE_GAP, DIFFER, MEMBER
from steps.engines.graders.refusals import OVER_REFUSED, REFUSED
from steps.engines.graders.rules import STYLE
from steps.engines.scoring.metrics import MACRO_F1
from steps.evaluate.config import Extractor, GradingConfig

SIMILARITY, JUDGED = "similarity", "judged"
GraderName: TypeAlias = Literal[
    "exact_match", "contains", "numeric", "json_valid", "field_accuracy", "key_accuracy", "type_accuracy", "rouge_l",
    "bleu", "chrf", "similarity", "judge",
]  # fmt: skip
# Those that a model gives.
BY_MODEL = {"similarity": SIMILARITY, "judge": JUDGED}
_CLASSES = ("totally_correct", "partially_correct", "wrong", "over_declined")
# What a kind gives of itself, and which graders may be asked for besides.
_OWN: dict[SuiteKind, tuple[str, ...]] = {
    "perplexity": ("loss", "perplexity"),
    "unanswerable": ("declined", "answered_unanswerable"),
    "recall": (RECALLED, NEAR_MISS, FACTS_RECALLED),
    "classification": (ACCURACY, MACRO_F1, "unparsed"),
    "style": (STYLE,),
    "safety": (REFUSED, OVER_REFUSED),
    "canary": (LEAKED, f"{LEAKED}_exact", f"{LEAKED}_paraphrased", CANARY_LEAKED),
    "bias": (MEMBER, ABSOLUTE_GAP, DIFFER),
}
_TEXT = ("rouge_l", "bleu", "chrf", "similarity", "judge")
_STRUCTURED = ("json_valid", "exact_match", "field_accuracy", "key_accuracy", "type_accuracy")
_ALLOWED: dict[SuiteKind, tuple[str, ...]] = {
    "domain": get_args(GraderName),
    "qa": get_args(GraderName),
    "structured": (*_STRUCTURED, "judge"),
    "numeric": ("numeric", *_TEXT),
    "recall": _TEXT,
    "style": _TEXT,
    "safety": ("judge",),
}
_DEFAULT: dict[SuiteKind, tuple[GraderName, ...]] = {
    "structured": ("json_valid", "exact_match", "field_accuracy", "key_accuracy", "type_accuracy"),
    "numeric": ("numeric",),
}


class StyleRules(Frozen):
    """What every answer keeps to; words are runs of letters and digits."""

    min_words: int | None = Field(None, ge=1)
    max_words: int | None = Field(None, ge=1)
    max_sentences: int | None = Field(None, ge=1)
    max_chars: int | None = Field(None, ge=1)
    must: tuple[str, ...] = Field((), description="RE2 patterns, each of which is found in the answer (case ignored).")
    must_not: tuple[str, ...] = Field((), description="RE2 patterns, none of which is.")

    @field_validator("must", "must_not")
    @classmethod
    def _compile(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(map(compiled_or_refused, value))

    @property
    def given(self) -> dict[str, Any]:
        """Those that are asked for."""
        found: dict[str, Any] = self.model_dump(exclude_defaults=True)
        return found


class SuiteTask(Frozen):
    """One task: a kind, the file with its questions, how answers are graded, and what must be reached."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,39}$")
    kind: SuiteKind
    file: str = Field(min_length=1, description="JSON Lines below the suite's folder, or a URL with its sha256.")
    sha256: str | None = Field(None, pattern=f"^{SHA256.pattern}$", description="Needed where it is a URL.")
    language: str = Field("", description="Of its questions, where they don't say it; default: the suite's.")
    graders: tuple[GraderName, ...] | Literal["auto"] = Field("auto", description="auto: by kind and references.")
    thresholds: dict[str, float] = Field(
        default_factory=dict,
        description="Metric -> what the candidate must reach, by the bound that speaks against it.",
    )
    extractor: Extractor | Literal["auto"] = "auto"
    extract_pattern: str | None = None
    tolerance: float = Field(0.0, ge=0)
    ignore_case: bool = False
    json_schema: str | None = Field(None, description="JSON Schema file below the suite's folder.")
    json_schema_sha256: str | None = Field(None, pattern=f"^{SHA256.pattern}$")
    labels: tuple[str, ...] = Field((), description="classification: all there are; bias: the answers that are scored.")
    favourable: str | None = Field(None, description="bias: the label that counts 1, others count 0.")
    rules: StyleRules | None = Field(None, description="style: what every answer keeps to.")
    rubric: str = Field("", description="What the judge looks at in particular; only with the grader judge.")
    max_rows: int | None = Field(None, ge=1, description="Questions at most, by hash of their id; null: all.")
    max_new_tokens: int | None = Field(None, ge=1, description="Tokens per answer; null: by the reference.")

    @model_validator(mode="after")
    def _of_its_kind(self) -> Self:
        allowed = _ALLOWED.get(self.kind, ())
        if self.graders != "auto":
            wrong = [g for g in self.graders if g not in allowed]
            if wrong or not self.graders:
                what = (
                    f"kind {self.kind} is graded by itself" if not allowed else f"one or more of {', '.join(allowed)}"
                )
                raise ValueError(f"graders {', '.join(wrong) or 'is empty'}: {what}")
        if bool(self.labels) != (self.kind == "classification" or self.favourable is not None):
            raise ValueError("labels: kind classification needs them, and bias with favourable; nothing else has them")
        if len({" ".join(x.casefold().split()) for x in self.labels}) < len(self.labels) or len(self.labels) == 1:
            raise ValueError("labels: two or more, each once")
        if self.favourable is not None and (self.kind != "bias" or self.favourable not in self.labels):
            raise ValueError("favourable: one of the labels of kind bias")
        if (self.rules is not None) != (self.kind == "style") or (self.rules is not None and not self.rules.given):
            raise ValueError("rules: kind style needs at least one, and no other kind has them")
        if self.rubric and "judge" not in self.graders:
            raise ValueError("rubric: only with judge among the graders")
        if unknown := [m for m in self.thresholds if m not in self.metrics]:
            raise ValueError(f"thresholds {', '.join(unknown)}: this task gives {', '.join(sorted(self.metrics))}")
        self.grading("")
        return self

    @property
    def metrics(self) -> frozenset[str]:
        """Names that its metrics may have."""
        graders = _ALLOWED.get(self.kind, ()) if self.graders == "auto" else self.graders
        classes = () if self.kind in ("perplexity", "unanswerable", "canary", "bias") else _CLASSES
        return frozenset({*_OWN.get(self.kind, ()), *(BY_MODEL.get(g, g) for g in graders), *classes})

    @property
    def asked_graders(self) -> tuple[GraderName, ...] | Literal["auto"]:
        """Those of the kind, where the file leaves it to that; auto: by what the references look like."""
        if self.graders != "auto":
            return self.graders
        return "auto" if self.kind in ("domain", "qa") else _DEFAULT.get(self.kind, ())

    def grading(self, json_schema: str) -> GradingConfig:
        """As settings of a task of a run. `json_schema`: where the schema lies.

        Raises:
            ValidationError: they contradict each other.
        """
        asked = self.asked_graders
        metrics: Any = asked if asked == "auto" else tuple(g for g in asked if g not in BY_MODEL)
        extractor = "json" if self.kind == "structured" and self.extractor == "auto" else self.extractor
        schema = (json_schema or self.json_schema) if self.json_schema is not None else None
        if metrics == ():
            said = [n for n in ("extract_pattern", "tolerance", "ignore_case", "json_schema") if getattr(self, n)]
            if said or self.extractor != "auto":
                raise ValueError(f"{', '.join(said) or 'extractor'}: no grader of this task looks at that")
            return GradingConfig()
        return GradingConfig(
            metrics=metrics, extractor=extractor, extract_pattern=self.extract_pattern, tolerance=self.tolerance,
            ignore_case=self.ignore_case, json_schema=schema,
        )  # fmt: skip


class SuiteFile(Frozen):
    """A suite: tasks under one name and version."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,39}$")
    version: str = Field(min_length=1, max_length=40, description="Raise it when questions or grading change.")
    licence: str = Field(
        min_length=1, description="Under which the questions may be used: an SPDX identifier, or words."
    )
    description: str = ""
    language: str = Field("", description="Of its questions, as BCP 47 has it: en, fr, pt-BR.")
    decline_patterns: tuple[str, ...] = Field(
        (), description="RE2 patterns of declines and refusals besides the run's, for questions in other languages."
    )
    tasks: tuple[SuiteTask, ...] = Field(min_length=1)

    @field_validator("decline_patterns")
    @classmethod
    def _compile(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(map(compiled_or_refused, value))

    @model_validator(mode="after")
    def _names_once(self) -> Self:
        names = [t.name for t in self.tasks]
        if twice := sorted({n for n in names if names.count(n) > 1}):
            raise ValueError(f"tasks: {', '.join(twice)} stands there twice")
        return self

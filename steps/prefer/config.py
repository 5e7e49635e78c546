"""Settings of the prefer stage."""

from collections.abc import Sequence
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from steps.contracts.records import Split
from steps.contracts.reports import Frozen
from steps.engines.llm.priced import Asking, PricedEndpoint
from steps.engines.rubric.reading import rubric_files

# Folder below the state folder: replies that were paid for.
CACHE = "prefer"


class SampledModel(PricedEndpoint):
    """The model whose answers are compared: any served one, also by `assay serve`."""

    @model_validator(mode="before")
    @classmethod
    def _warm(cls, values: Any) -> Any:
        endpoint = values.get("endpoint") if isinstance(values, dict) else None
        # Chosen: samples have to differ, and still make sense.
        return {**values, "endpoint": {"temperature": 0.8, **endpoint}} if isinstance(endpoint, dict) else values

    @model_validator(mode="after")
    def _differs(self) -> Self:
        if self.endpoint.temperature == 0 or self.endpoint.seed is not None:
            raise ValueError("samples would all be the same: set endpoint.temperature above 0, and no seed")
        return self


class PairJudge(PricedEndpoint):
    """The model that says which of two answers is better, asked in both orders."""

    rubric: str = Field("preference", description="a rubric that compares two answers, by name or path")
    instructions: str = Field("", max_length=4000, description="what matters in these rows, added to the rubric")


class PairGrader(Frozen):
    """A grader that scores each answer against the row's own."""

    name: Literal[
        "exact_match", "contains", "numeric", "json_valid", "field_accuracy", "key_accuracy", "rouge_l", "chrf"
    ] = Field(description="as evaluate has it")
    extract: Literal["none", "json", "final_number", "regex"] = Field(
        "none", description="what of a text exact_match compares"
    )
    pattern: str | None = Field(None, description="for extract: regex; its only group is what is compared")
    ignore_case: bool = Field(False, description="whether case makes no difference")
    tolerance: float = Field(0.0, ge=0, description="numeric: how far a number may be off, as a share of it")

    @model_validator(mode="after")
    def _pattern(self) -> Self:
        if (self.pattern is not None) != (self.extract == "regex"):
            raise ValueError("pattern belongs to extract: regex, and that needs it")
        return self


class PreferConfig(Asking):
    """Pairs of a better and a worse answer to prompts of train and validation, from samples of a model."""

    model: SampledModel | None = Field(None, description="the model that answers; needed")
    judge: PairJudge | None = Field(None, description="who ranks: a judge; this or `grader` is needed")
    grader: PairGrader | None = Field(None, description="who ranks: a grader, against the row's own answer")
    samples: int = Field(4, ge=1, le=32, description="answers of the model to a prompt")
    share: float = Field(1.0, gt=0, le=1, description="share of the rows, by a hash of their ids")
    validation_share: float | None = Field(
        None, ge=0, le=1, description="the same of the validation rows, whose pairs measure training; None: as share"
    )
    with_answer: bool = Field(False, description="whether the row's own answer is ranked among the samples")
    pairs: Literal["best_worst", "all"] = Field("best_worst", description="or every pair with the margin")
    # Chosen: of four samples, half a win more per comparison than the other one.
    min_margin: float = Field(
        0.25, gt=0, le=1, description="judge: wins / comparisons, grader: score; better minus worse, 0 to 1"
    )
    keep_rows: bool = Field(True, description="whether rows of train that gave prompts stay beside the pairs")

    def share_of(self, split: Split) -> float:
        """Share of a split's rows that give prompts; test rows never do."""
        if split == "train" or (split == "validation" and self.validation_share is None):
            return self.share
        return (self.validation_share or 0.0) if split == "validation" else 0.0

    @property
    def files(self) -> Sequence[str]:
        """Files that these settings name."""
        return rubric_files(self.judge.rubric) if self.judge else ()

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.model is None:
            raise ValueError("answers are sampled from a model, and none is named: set model.endpoint")
        if (self.judge is None) == (self.grader is None):
            raise ValueError("answers are ranked by a judge or by a grader: name one of them")
        if self.samples + self.with_answer < 2:
            raise ValueError("one answer makes no pair: set samples to 2 or more, or with_answer: true")
        return self

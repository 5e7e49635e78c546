"""Settings of the judge stage."""

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from steps.engines.llm.endpoint import Endpoint
from steps.engines.llm.prices import Prices
from steps.engines.rowwise.undecided import UndecidedPolicy
from steps.engines.rubric.reading import rubric_files
from steps.engines.rubric.rubric import QUALITY
from steps.judge.calibration_config import CalibrationConfig
from steps.judge.signals.switches import Signals

# Folder below the state folder: replies that were paid for.
CACHE = "judge"
# Chosen: about 6,000 tokens of English; bounds what one row may cost.
_MAX_CHARS = 24_000


class JudgeConfig(Prices):
    """Which rows are good enough to train on: four criteria from 1 to 5, and what happens to the rest."""

    backend: Literal["heuristic", "llm"] = Field(
        default="heuristic", description="heuristic: fixed text signals, no model; llm: the model behind `endpoint`"
    )
    endpoint: Endpoint | None = Field(default=None, description="where the model is served; needed by backend llm")
    rubric: str = Field(
        default=QUALITY,
        min_length=1,
        description="what rows are rated by: quality, domain_relevance, safety, groundedness, or the path of a YAML"
        " file; not heuristic",
    )
    # 4 of 5 on average. AlpaGasus (Chen et al. 2023) kept rows at 4.5 of 5 and lost none of the quality.
    threshold: float = Field(
        default=0.8, ge=0, le=1, description="a row is kept at this share or above; share = mean score / 5"
    )
    # Chosen: one wretched criterion must not hide behind three good ones (5, 5, 5, 1 has share 0.8).
    min_criterion_score: int = Field(default=2, ge=1, le=5, description="no criterion may score lower than this")
    undecided: UndecidedPolicy = Field(default="quarantine", description="what happens to a row without a verdict")
    # Chosen: when one row in five has no verdict, the judge is broken rather than the rows.
    max_undecided_share: float = Field(
        default=0.2, ge=0, le=1, description="rows without a verdict / rows in; above it the stage fails"
    )
    max_chars: int = Field(
        default=_MAX_CHARS, ge=100, description="longer rows (characters on the wire) are undecided, not cut; llm only"
    )
    instructions: str = Field(
        default="", max_length=4000, description="what matters in this data set, added to the rubric; llm only"
    )
    retry_undecided: bool = Field(
        default=False, description="ask again for cached replies that hold no verdict (costs a request each)"
    )
    allow_raw_egress: bool = Field(
        default=False, description="let rows that were not scrubbed go to an endpoint on another machine"
    )
    signals: Signals = Field(default=Signals(), description="heuristic: what each signal does (drop, flag, off)")

    calibration: CalibrationConfig | None = Field(
        default=None, description="labelled rows on which the judge must agree with people before it judges others"
    )

    def most_shares(self) -> int | None:
        """Over how many steps judging may be spread: each sends one request at a time at least. What is decided once
        for all rows is decided by one.
        """
        if self.calibration is not None:
            return 1
        return self.endpoint.concurrency if self.endpoint else None

    def of_share(self, number: int, of: int) -> Self:
        """The settings of one share (0 is the first): its part of the limit on cost, and of the requests at once, so
        that all shares together keep both.
        """
        if self.endpoint is None:
            return self
        whole, more = divmod(self.endpoint.concurrency, of)
        endpoint = self.endpoint.model_copy(update={"concurrency": max(whole + (number < more), 1)})
        limit = None if self.max_cost is None else self.max_cost / of
        return self.model_copy(update={"endpoint": endpoint, "max_cost": limit})

    def files(self) -> tuple[str, ...]:
        """Paths of the files that these settings name."""
        gold = (self.calibration.gold,) if self.calibration is not None else ()
        return (*rubric_files(self.rubric), *gold)

    @model_validator(mode="before")
    @classmethod
    def _renamed(cls, values: Any) -> Any:
        if isinstance(values, dict) and "penalize_refusals" in values:
            raise ValueError("penalize_refusals is now signals.refusal: drop, flag or off")
        return values

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.backend == "llm" and self.endpoint is None:
            raise ValueError("backend llm needs an endpoint: set endpoint.base_url and endpoint.model")
        if self.backend == "heuristic" and self.endpoint is not None:
            raise ValueError("an endpoint is set, but backend is heuristic: set backend: llm, or remove the endpoint")
        if self.backend == "heuristic" and self.rubric != QUALITY:
            raise ValueError(f"fixed signals know the rubric quality only, not {self.rubric}: set backend: llm")
        return self

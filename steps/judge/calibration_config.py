"""Settings of the judge's test before it is trusted with a run's rows."""

from typing import Literal, Self

from pydantic import Field, model_validator

from steps.contracts.reports import Frozen


class CalibrationConfig(Frozen):
    """Labelled rows that the judge is held against before it judges any other row."""

    gold: str = Field(min_length=1, description="file of labels, as `assay judge calibrate` reads it")
    # Chosen: of fewer rows no interval is narrow enough to tell a judge from a coin.
    min_rows: int = Field(30, ge=2, description="labelled rows with a verdict that there must be")
    min_kappa: float | None = Field(
        None, ge=-1, le=1, description="quadratic weighted kappa of the scores; of keep and drop where no scores are"
    )
    min_agreement: float | None = Field(None, ge=0, le=1, description="share of rows kept or dropped as people do")
    min_rank_correlation: float | None = Field(None, ge=-1, le=1, description="Spearman's, of the scores")
    min_auroc: float | None = Field(
        None, ge=0, le=1, description="chance that a row people keep has the higher share than one they drop"
    )
    by: Literal["figure", "lower_end"] = Field(
        "figure", description="what must reach them: the figure, or the lower end of its 95 % interval"
    )
    below: Literal["refuse", "quarantine"] = Field(
        "refuse", description="what happens otherwise: the run stops, or every train row is set aside; either unpaid"
    )

    @model_validator(mode="after")
    def _asks(self) -> Self:
        if all(v is None for v in (self.min_kappa, self.min_agreement, self.min_rank_correlation, self.min_auroc)):
            raise ValueError("set min_kappa, min_agreement, min_rank_correlation or min_auroc")
        return self

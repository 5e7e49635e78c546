"""Settings of a jury."""

from typing import Literal, Self

from pydantic import Field, model_validator

from steps.contracts.models import registered_model
from steps.contracts.reports import Frozen
from steps.engines.llm.endpoint import Endpoint
from steps.judge.local_config import LocalJudgeConfig


class Juror(Frozen):
    """A further judge of the same rows by the same rubric: a served model, or one on this machine."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_-]{0,31}$", description="what reports call it")
    endpoint: Endpoint | None = Field(default=None, description="where the model is served")
    local: LocalJudgeConfig | None = Field(default=None, description="a model on this machine, by its probabilities")
    scoring: Literal["generation", "probabilities", "auto"] = Field(
        default="generation", description="endpoint: as the judge's own"
    )

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.endpoint is None) == (self.local is None):
            raise ValueError("a juror is asked by endpoint or local: name one of them")
        if self.local is not None and registered_model(self.local.model):
            raise ValueError("a registered model judges as judge.local: name the other one as a juror")
        return self


class JuryConfig(Frozen):
    """Several judges, and how their scores become one."""

    others: tuple[Juror, ...] = Field(min_length=1, max_length=6, description="judges beside the one of `backend`")
    by: Literal["mean", "median", "veto"] = Field(
        default="median", description="per criterion: the mean, the median, or (veto) the lowest score of all"
    )
    quorum: int | None = Field(
        default=None,
        ge=1,
        description="judges that must decide about a row, else it is undecided; None: more than half; veto: all",
    )

    @model_validator(mode="after")
    def _fits(self) -> Self:
        names = [juror.name for juror in self.others]
        if len({*names, FIRST}) <= len(names):
            raise ValueError(f"each juror has a name of its own, and none is called {FIRST}")
        if self.quorum is not None and self.quorum > len(names) + 1:
            raise ValueError(f"quorum is {self.quorum}, and there are {len(names) + 1} judges")
        return self

    @property
    def least(self) -> int:
        """Judges that must decide about a row."""
        judges = len(self.others) + 1
        return self.quorum or (judges if self.by == "veto" else judges // 2 + 1)


# The judge of `backend`, in reports.
FIRST = "first"

"""What a sweep tries: a config, what all its trials have in common, and how the others' values are found."""

from typing import Annotated, Literal, Self, TypeAlias

from pydantic import Field, JsonValue, model_validator

from steps.contracts.reports import Frozen


class Choice(Frozen):
    """Values of a key, one after the other."""

    values: tuple[JsonValue, ...] = Field(min_length=1, description="Values as in the config.")


class Span(Frozen):
    """Numbers between two bounds, both included."""

    low: float = Field(description="Smallest value.")
    high: float = Field(description="Greatest value.")
    log: bool = Field(False, description="Drawn evenly by their logarithm: for learning rates.")
    whole: bool = Field(False, description="Whole numbers only.")

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.low >= self.high:
            raise ValueError(f"low {self.low:g} isn't below high {self.high:g}")
        if self.log and self.low <= 0:
            raise ValueError("a logarithmic span begins above 0")
        return self


class Grid(Frozen):
    """Every combination of values."""

    kind: Literal["grid"] = Field("grid", description="Every combination.")
    parameters: dict[str, Choice] = Field(min_length=1, description="By key of the config, as train.learning_rate.")


class Random(Frozen):
    """Values drawn independently of each other: more trials add to the first ones."""

    kind: Literal["random"] = Field("random", description="Values drawn at random.")
    parameters: dict[str, Choice | Span] = Field(min_length=1, description="By key of the config.")
    trials: int = Field(8, ge=1, le=1000, description="How many.")
    seed: int = Field(0, ge=0, description="Another seed, other values.")


class Tpe(Frozen):
    """Values where those before were good, by Optuna's tree-structured Parzen estimator (needs `optuna`)."""

    kind: Literal["optuna"] = Field("optuna", description="Values where earlier ones were good, by Optuna's TPE.")
    parameters: dict[str, Choice | Span] = Field(min_length=1, description="By key of the config.")
    trials: int = Field(16, ge=1, le=1000, description="How many.")
    seed: int = Field(0, ge=0, description="Another seed, other values.")


class LearningCurve(Frozen):
    """The same training on parts of the rows, each part within the next one."""

    kind: Literal["learning_curve"] = Field("learning_curve", description="Parts of the training rows.")
    shares: tuple[Annotated[float, Field(gt=0, le=1)], ...] = Field(
        (0.1, 0.25, 0.5, 1.0), min_length=2, description="Shares of each source's training rows; the last one is 1."
    )

    @model_validator(mode="after")
    def _rising(self) -> Self:
        if list(self.shares) != sorted(set(self.shares)) or self.shares[-1] != 1:
            raise ValueError("shares rise, and end with 1")
        return self


class Ablation(Frozen):
    """The same run without one stage of curation at a time."""

    kind: Literal["ablation"] = Field("ablation", description="A stage of curation left out at a time.")
    stages: tuple[str, ...] = Field((), description="Stages; empty: all that the config runs and that `skip` may name.")


Search: TypeAlias = Annotated[Grid | Random | Tpe | LearningCurve | Ablation, Field(discriminator="kind")]


class SweepConfig(Frozen):
    """A sweep: trials of one config, each a run that ends with the trained model, compared on the validation rows."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_-]{0,63}$", description="Name of the sweep.")
    config: str = Field(description="Run config, by its path from the project's root.")
    overrides: dict[str, JsonValue] = Field(
        default_factory=dict, description="Keys that all trials have otherwise than the config, as train.max_steps."
    )
    search: Search = Field(description="How the trials' values are found.")

"""Settings of the train stage: phases, each an objective, a kind of weights, and what all of them share."""

from collections.abc import Iterator, Sequence
from typing import Annotated, Any, ClassVar, Self, TypeAlias

from pydantic import AfterValidator, Discriminator, Field, Tag, model_validator

from steps.contracts.models import BASE
from steps.train.asked import ModelSource
from steps.train.idle_settings import idle_settings
from steps.train.objectives.registry import ObjectiveOptions, objective_of
from steps.train.objectives.sft import SftOptions
from steps.train.phase_rows import PhaseRows
from steps.train.settings import BITSANDBYTES, TrainSettings
from steps.train.weights.lora import LoraOptions
from steps.train.weights.registry import WeightsOptions, weights_of

# What a run without named phases calls the model that it trains.
TUNED = "tuned"


class TrainConfig(TrainSettings):
    """One phase of training, objective x weights: what the rows teach, and which weights learn it."""

    # Keys that stood elsewhere before, for the error of who still writes them there.
    MOVED: ClassVar[dict[str, str]] = {
        "method": "weights.kind",
        "lora": "weights (with kind: lora)",
        "preference_as": "objective.preference_as",
        "packing": "objective.packing",
        "loss_kernel": "objective.loss_kernel",
    }

    name: str | None = Field(
        None,
        pattern=r"^[a-z][a-z0-9_]{0,39}$",
        description="Name of the phase: of its step (train_NAME_step), its model and its subject in the evaluation."
        " None: the only phase.",
    )
    starts_from: str | None = Field(
        None, description='Model that training starts from: "base" or an earlier phase. None: the phase before.'
    )
    rows: PhaseRows = Field(default_factory=PhaseRows, description="Which rows are trained on; all train rows.")
    objective: ObjectiveOptions = Field(
        default_factory=SftOptions, description="What the rows teach: kind, and the options of that kind."
    )
    weights: WeightsOptions = Field(
        default_factory=LoraOptions, description="Which weights are trained: kind, and the options of that kind."
    )

    @property
    def model_name(self) -> str:
        """What the phase's model is called."""
        return self.name or TUNED

    @property
    def stage(self) -> str:
        """What the phase is called in ledger and report."""
        return f"train_{self.name}" if self.name else "train"

    @property
    def peak_learning_rate(self) -> float:
        """The learning rate in force."""
        share = objective_of(self.objective).learning_rate_share
        # Rounded: 5e-07 is meant, not 5.000000000000001e-07.
        return self.learning_rate or float(f"{weights_of(self.weights).learning_rate * share:.3g}")

    @property
    def wants_bitsandbytes(self) -> str | None:
        """The setting that needs the extra bitsandbytes; None: none does."""
        if self.weights.kind == "qlora":
            return "weights qlora"
        return f"optim {self.optim}" if self.optim in BITSANDBYTES else None

    def in_force(self) -> dict[str, Any]:
        """All settings as flat, plain values (`weights.r`), None replaced where it stands for a value by weights."""
        values = {**self.model_dump(mode="json", exclude={"name"}), "learning_rate": self.peak_learning_rate}
        return dict(_flat("", values))

    @property
    def summary(self) -> str:
        """The phase in one line."""
        chosen = [*self.rows.sources, *self.rows.kinds]
        rows = f"{self.rows.split} rows" + (f" of {', '.join(chosen)}" if chosen else "")
        return (
            f"{self.model_name}: {self.objective.kind} of {self.weights.kind} weights from {self.starts_from or BASE},"
            f" {rows}, learning rate {self.peak_learning_rate:g}"
        )

    @model_validator(mode="after")
    def _no_contradiction(self) -> Self:
        found = [*objective_of(self.objective).clashes(self), *weights_of(self.weights).clashes(self)]
        if found:
            raise ValueError("; ".join(found) + " (remove one of them)")
        return self

    @model_validator(mode="after")
    def _nothing_in_vain(self) -> Self:
        if idle := idle_settings(self):
            raise ValueError("; ".join(idle) + " (leave it out)")
        return self


def _chained(train: TrainConfig | tuple[TrainConfig, ...]) -> TrainConfig | tuple[TrainConfig, ...]:
    """Refuse phases that can't be told apart, or that start from nothing."""
    phases = train if isinstance(train, tuple) else (train,)
    if not phases:
        raise ValueError("a list of phases needs at least one")
    unnamed = [str(i) for i, p in enumerate(phases) if p.name is None]
    if unnamed and len(phases) > 1:
        raise ValueError(f"each of several phases needs a name (phase {', '.join(unnamed)} has none)")
    names, scorers = [BASE], set[str]()
    for phase in phases:
        if phase.model_name in names:
            raise ValueError(f"two models are called {phase.model_name!r}; {BASE} is the model at the start")
        if phase.starts_from is not None and phase.starts_from not in names:
            raise ValueError(f"{phase.model_name} starts from {phase.starts_from!r}; before it are {', '.join(names)}")
        start = phase.starts_from or names[-1]
        if start in scorers:
            raise ValueError(
                f"{phase.model_name} starts from {start!r}, a reward model, which writes nothing; set starts_from to"
                f" {' or '.join(n for n in names if n not in scorers)}"
            )
        for source in objective_of(phase.objective).asks():
            _require_asked(phase, source, names, scorers)
        names.append(phase.model_name)
        if phase.objective.kind == "reward":
            scorers.add(phase.model_name)
    return train


def _require_asked(phase: TrainConfig, source: ModelSource, before: list[str], scorers: set[str]) -> None:
    """Refuse to ask a phase that there isn't yet, or that is no model of the wanted kind."""
    wanted = [n for n in before[1:] if (n in scorers) is (phase.objective.kind != "distill")]
    if source.phase is not None and source.phase not in wanted:
        kind = "a model that answers" if phase.objective.kind == "distill" else "a reward model"
        raise ValueError(
            f"{phase.model_name} asks the phase {source.phase!r} as {kind}; before it are such:"
            f" {', '.join(wanted) or 'none'}"
        )


def _flat(prefix: str, values: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _flat(f"{prefix}{name}.", value)
        else:
            yield f"{prefix}{name}", value


def _form(value: Any) -> str:
    return "phases" if isinstance(value, list | tuple) else "phase"


# One phase, or a list of them.
TrainPhases: TypeAlias = Annotated[
    Annotated[TrainConfig, Tag("phase")] | Annotated[tuple[TrainConfig, ...], Tag("phases")],
    Discriminator(_form),
    AfterValidator(_chained),
]


def added_tokens(phases: Sequence[TrainConfig], model: str) -> tuple[str, ...]:
    """Tokens that the phases between the base and a model add, in their order. `phases`: as `phases_of` gives them."""
    found: tuple[str, ...] = ()
    by_name = {p.model_name: p for p in phases}
    while model in by_name:
        found = (*by_name[model].new_tokens, *found)
        model = by_name[model].starts_from or BASE
    return found


def phases_of(train: TrainPhases) -> tuple[TrainConfig, ...]:
    """The phases in their order, each with the name of the model that it starts from."""
    found: list[TrainConfig] = []
    for phase in train if isinstance(train, tuple) else (train,):
        before = found[-1].model_name if found else BASE
        found.append(phase.model_copy(update={"starts_from": phase.starts_from or before}))
    return tuple(found)

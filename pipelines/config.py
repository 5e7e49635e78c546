"""The run configuration: what to do, as one frozen model composed of the stages' own."""

from typing import Literal, Self

from pydantic import Field, model_validator

from pipelines.load import load_model
from steps.base.config import BaseConfig
from steps.contracts.reports import Frozen
from steps.dedup.config import DedupConfig
from steps.evaluate.config import EvaluateConfig
from steps.gate.config import GateConfig
from steps.ingest.config import IngestConfig
from steps.judge.config import JudgeConfig
from steps.leakcheck.config import LeakCheckConfig
from steps.register.config import RegisterConfig
from steps.review.config import ReviewConfig
from steps.screen.config import ScreenConfig
from steps.scrub.config import ScrubConfig
from steps.semantic.config import SemanticConfig
from steps.split.config import SplitConfig
from steps.train.config import TrainConfig

__all__ = ["RunConfig", "load_model"]

# Subjects of every fine-tuning run: the model that training starts from, and what it gives.
BASE, TUNED = "base", "tuned"

Skippable = Literal["dedup", "scrub", "screen", "judge", "leakcheck"]


class RunConfig(Frozen):
    """Everything that decides a run's numbers. Where it runs (stack, image, tracker) is in configs/infra."""

    name: str = Field(
        pattern=r"^[a-z][a-z0-9_-]{0,63}$", description="Short name of the run: lower-case letters, digits, - and _."
    )
    pipeline: Literal["end_to_end", "curate", "finetune"] = Field(
        "end_to_end", description="curate: data only; finetune: train on a dataset version; end_to_end: both."
    )
    dataset: str | None = Field(
        None,
        description="finetune only: the dataset version: a run's name, 'latest', or a prefix of its digest.",
    )
    planted: str | None = Field(
        None, description="File that lists rows planted with known faults; the report compares what was found with it."
    )
    skip: tuple[Skippable, ...] = Field((), description="Curation stages to leave out.")

    reuse: str | None = Field(
        None,
        description="Earlier run whose results spare work: 'latest' (the newest completed run of this name) or a run's"
        " name; None: compute everything. Changes what a run costs, never what it finds.",
    )

    ingest: IngestConfig | None = None
    dedup: DedupConfig = DedupConfig()
    split: SplitConfig = SplitConfig()
    scrub: ScrubConfig | None = Field(None, description="Required unless scrub is skipped: it needs a pseudonym key.")
    screen: ScreenConfig = ScreenConfig()
    semantic: SemanticConfig | None = Field(
        None, description="Drop rows that mean the same as another; None: left out, since it needs an embedding model."
    )
    judge: JudgeConfig = JudgeConfig()
    review: ReviewConfig = ReviewConfig()
    leakcheck: LeakCheckConfig = LeakCheckConfig()

    base: BaseConfig | None = None
    train: TrainConfig = TrainConfig()
    evaluate: EvaluateConfig = EvaluateConfig()
    gate: GateConfig = GateConfig()
    registry: RegisterConfig | None = None

    @property
    def curates(self) -> bool:
        """Whether the run makes a dataset version."""
        return self.pipeline != "finetune"

    @property
    def tunes(self) -> bool:
        """Whether the run trains a model."""
        return self.pipeline != "curate"

    @property
    def subjects(self) -> tuple[str, ...]:
        """What the run evaluates, by name, in order; the last one is what training ends with."""
        return (BASE, TUNED) if self.tunes else ()

    @model_validator(mode="after")
    def _known_subjects(self) -> Self:
        for key, name in (("reference", self.gate.reference), ("candidate", self.gate.candidate)):
            if self.tunes and name is not None and name not in self.subjects:
                raise ValueError(f"gate.{key}: no subject {name!r}; this run evaluates {', '.join(self.subjects)}")
        if self.gate.reference == self.gate.candidate:
            raise ValueError("gate.candidate is gate.reference: nothing can be better than itself")
        return self

    @model_validator(mode="after")
    def _complete(self) -> Self:
        missing = []
        if self.curates and self.ingest is None:
            missing.append("ingest (the sources to read)")
        if self.curates and self.scrub is None and "scrub" not in self.skip:
            missing.append("scrub (name its key: key_env, or put scrub under skip)")
        if self.tunes and self.base is None:
            missing.append("base (the model to start from)")
        if self.tunes and self.registry is None:
            missing.append("registry (the name to register under)")
        if missing:
            raise ValueError(f"pipeline '{self.pipeline}' needs: {'; '.join(missing)}")
        if (self.dataset is not None) != (self.pipeline == "finetune"):
            raise ValueError("'dataset' is for pipeline: finetune, and finetune needs it")
        return self

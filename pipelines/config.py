"""The run configuration: what to do, as one frozen model composed of the stages' own."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal, Self, TypeAlias

from pydantic import Field, ValidationInfo, model_validator

from pipelines.load import load_model
from pipelines.mistakes import PARTS, Contradiction, ContradictionsError
from pipelines.stages import SKIPPABLE, STAGES, TRAINING, Stage, StageSettings, stage_named
from steps.contracts.models import BASE, CHAMPION, registered_model
from steps.contracts.reports import Frozen
from steps.engines.template.config import TemplateConfig
from steps.evaluate.config import PAIRS_STEP
from steps.train.config import TrainConfig, phases_of

__all__ = ["RunConfig", "load_model"]

# The checker of types can't see the names; pydantic and the schema can.
if TYPE_CHECKING:
    Skippable: TypeAlias = str
else:
    Skippable = Literal[SKIPPABLE]


# Stages that find nothing in rows: they decide what becomes of them, or make some.
_FINDING_NOTHING = ("split", "review", "synthesize")


class ReportConfig(Frozen):
    """The run's page."""

    sections: tuple[str, ...] = Field(
        (),
        description="Functions of your own, as package.module:name, that add a table to the page and to the summary:"
        " called with the run's artifacts and its resolved config, they return a Table, or None.",
    )


class RunSettings(Frozen):
    """What a run is called, what it makes, and what it leaves out or builds on."""

    name: str = Field(
        pattern=r"^[a-z][a-z0-9_-]{0,63}$", description="Short name of the run: lower-case letters, digits, - and _."
    )
    pipeline: Literal["end_to_end", "curate", "finetune", "train", "monitor", "data_report"] = Field(
        "end_to_end",
        description="curate: data only; finetune: train on a dataset version; end_to_end: both. train: up to the"
        " trained model, which is neither evaluated nor registered: a trial of a sweep. monitor: logs of production"
        " held against the dataset that the model was trained on. data_report: a look at data,"
        " of which nothing is made.",
    )
    dataset: str | None = Field(
        None,
        description="finetune, or train without sources: the dataset version: a run's name, a config's name (the newest"
        " completed run's),"
        " 'latest' (the same for this config's own name), or a prefix of its digest. monitor: likewise, or the"
        " registered model that answers, as models:/NAME@champion, which stands for what it was trained on."
        " data_report: likewise a dataset version, instead of sources.",
    )
    skip: tuple[Skippable, ...] = Field((), description="Curation stages to leave out.")

    reuse: str | None = Field(
        None,
        description="Earlier run whose results spare work: 'latest' (the newest completed run of this name) or a run's"
        " name; None: compute everything. Changes what a run costs, never what it finds.",
    )
    template: TemplateConfig = Field(
        TemplateConfig(),
        description="How rows become text by the model's chat template: in training, in every generation and in what is"
        " exported.",
    )
    report: ReportConfig = Field(ReportConfig(), description="What the run's page shows besides what every page does.")


class RunConfig(StageSettings, RunSettings):
    """Everything that decides a run's numbers. Where it runs (stack, image, tracker) is in configs/infra."""

    @property
    def curates(self) -> bool:
        """Whether the run reads sources: it makes a dataset version of them, or describes them."""
        either = self.pipeline in ("train", "data_report") and self.dataset
        return self.pipeline not in ("finetune", "monitor") and not either

    @property
    def evaluates(self) -> bool:
        """Whether the models that the run trains are measured on held-out rows, gated and registered."""
        return self.pipeline in ("end_to_end", "finetune")

    @property
    def tunes(self) -> bool:
        """Whether the run trains a model."""
        return self.pipeline not in ("curate", "monitor", "data_report")

    @property
    def monitors(self) -> bool:
        """Whether the run looks at logs of production."""
        return self.pipeline == "monitor"

    @property
    def describes(self) -> bool:
        """Whether the run looks at data and makes nothing of it."""
        return self.pipeline == "data_report"

    @property
    def answering(self) -> dict[str, str | None] | None:
        """Name and version or alias of the registered model whose requests are looked at; None: none is named."""
        return registered_model(self.dataset) if self.monitors and self.dataset else None

    def runs(self, name: str) -> bool:
        """Whether the stage of that name is part of the run."""
        return self._runs(stage_named(name))

    def _runs(self, stage: Stage) -> bool:
        settings = getattr(self, stage.field)
        return self._wants(stage) and settings is not None and stage.runs_when(settings)

    def _wants(self, stage: Stage) -> bool:
        if self.monitors or stage.monitors:
            # The judge is asked where there is one to ask; personal data goes before anything is looked at.
            asked = stage.name == "scrub" or (stage.name == "judge" and self.judge.backend != "heuristic")
            return self.monitors and (stage.monitors or (asked and stage.name not in self.skip))
        if self.describes or stage.describes:
            looks = stage.describes or (not stage.tunes and stage.name not in (*_FINDING_NOTHING, *self.skip))
            # Nothing can leak where nothing is held out.
            idle = {"ingest": not self.curates, "leakcheck": not (self.leakcheck.benchmarks or self.dataset)}
            return self.describes and looks and not idle.get(stage.name, False)
        if not stage.tunes:
            return self.curates and stage.name not in self.skip
        return self.evaluates or (self.tunes and stage.name in TRAINING)

    @property
    def steps(self) -> tuple[str, ...]:
        """Names of the steps of a run, in order."""
        running = [s for s in STAGES if self._runs(s)]
        names = [name for s in running for name in (s.steps(self) if s.steps else (f"{s.name}_step",))]
        if self.monitors and "judge_step" in names:
            names.insert(names.index("judge_step"), "monitor_sample_step")
        return tuple(names)

    @property
    def phases(self) -> tuple[TrainConfig, ...]:
        """The phases of training, in order."""
        return phases_of(self.train) if self.tunes else ()

    @property
    def subjects(self) -> tuple[str, ...]:
        """What the run evaluates, by name, in order; the last one is what training ends with."""
        asked = (s.name for s in self.evaluate.subjects)
        return (BASE, *self._champion, *asked, *self._trained) if self.evaluates else ()

    @property
    def _champion(self) -> tuple[str, ...]:
        return (CHAMPION,) if self.compares_with_champion else ()

    @property
    def _trained(self) -> tuple[str, ...]:
        return tuple(p.model_name for p in self.phases)

    @property
    def compares_with_champion(self) -> bool:
        """Whether the present champion is evaluated, and the candidate held against it."""
        return self.evaluates and self.gate.min_gain_over_champion is not None

    @property
    def candidate(self) -> str:
        """The subject that is gated and registered, of a run that evaluates."""
        return self.gate.candidate or self.subjects[-1]

    @model_validator(mode="after")
    def _whole(self, info: ValidationInfo) -> Self:
        if info.context == PARTS:
            return self
        if found := [*self._subjects_wanted(), *self._parts_wanted()]:
            raise ContradictionsError(found)
        return self

    def _subjects_wanted(self) -> Iterator[Contradiction]:
        rests_on = ("train", "pipeline")
        beaten = (("must_beat", name) for name in self.gate.must_beat)
        for key, name in (("reference", self.gate.reference), ("candidate", self.gate.candidate), *beaten):
            if self.evaluates and name is not None and name not in self.subjects:
                what = f"no subject {name!r}; this run evaluates {', '.join(self.subjects)}"
                yield Contradiction(("gate", key), what, rests_on)
        models = (BASE, *self._champion, *self._trained)
        for place, subject in enumerate(self.evaluate.subjects if self.evaluates else ()):
            where = ("evaluate", "subjects", place)
            if self.evaluate.win_rate and f"evaluate_{subject.name}_step" == PAIRS_STEP:
                what = f"{subject.name!r} is taken by evaluate.win_rate: choose another name"
                yield Contradiction((*where, "name"), what)
            if subject.name in (BASE, CHAMPION, *self._trained):
                yield Contradiction((*where, "name"), f"{subject.name!r} is a model of the run: choose another name")
            if subject.model not in models:
                what = f"no model {subject.model!r}; this run has {', '.join(models)}"
                yield Contradiction((*where, "model"), what, rests_on)
        if self.gate.candidate in [s.name for s in self.evaluate.subjects]:
            what = "a way of asking can't be registered: name a model that is trained"
            yield Contradiction(("gate", "candidate"), what)
        if self.gate.candidate == CHAMPION:
            yield Contradiction(("gate", "candidate"), "the champion is what candidates are compared with")
        if self.evaluates and self.candidate in self.gate.must_beat:
            yield Contradiction(("gate", "must_beat"), f"{self.candidate} is what is judged: nothing beats itself")
        for name, key in ((self.gate.reference, "min_gain_lower_bound"), (CHAMPION, "min_gain_over_champion")):
            if name in self.gate.must_beat:
                yield Contradiction(("gate", "must_beat"), f"how much better than {name} is said by {key}")
        if self.gate.reference == self.gate.candidate:
            what = "this is gate.reference as well: nothing can be better than itself"
            yield Contradiction(("gate", "candidate"), what)

    def _parts_wanted(self) -> Iterator[Contradiction]:
        for stage in (s for s in STAGES if s.required and self._wants(s)):
            if getattr(self, stage.field) is None:
                also = ", or a dataset" if stage.name == "ingest" and self.pipeline in ("train", "data_report") else ""
                what = f"pipeline '{self.pipeline}' needs it: {stage.required}{also}"
                yield Contradiction((stage.field,), what, ("pipeline", "skip"))
        needs = self.pipeline in ("finetune", "monitor")
        if self.monitors and self.dataset is None:
            what = "pipeline 'monitor' needs it: the model that answers, or the dataset that it was trained on"
            yield Contradiction(("dataset",), what, ("pipeline",))
        elif (self.dataset is not None) != needs and not (self.dataset and self.pipeline in ("train", "data_report")):
            what = "this is for pipeline: finetune, and finetune needs it; files are read from ingest.sources"
            yield Contradiction(("dataset",), what, ("pipeline",))
        if self.monitors and "scrub" in self.skip:
            what = "what people have asked is looked at after scrub alone: leave scrub out of this list"
            yield Contradiction(("skip",), what, ("pipeline",))
        if self.runs("synthesize") and self.ingest is not None and self.ingest.chunk != "none":
            what = "synthesize holds whole documents out, and cuts them itself (synthesize.chunk): leave this out"
            yield Contradiction(("ingest", "chunk"), what, ("synthesize",))
        yield from self._model_answering()

    def _model_answering(self) -> Iterator[Contradiction]:
        try:
            named = self.answering
        except ValueError as e:
            yield Contradiction(("dataset",), str(e))
            return
        if named is None and (self.dataset or "").startswith("models:/"):
            what = "only pipeline: monitor looks up what a registered model was trained on"
            yield Contradiction(("dataset",), what, ("pipeline",))

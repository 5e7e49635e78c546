"""Every stage there is, each declared once, in the order of the data. No zenml, no torch.

A stage is a field of `StageSettings`: its name, its settings, and in the annotation a `Stage` that says the rest. The
config, the step names, `assay stage`, what is digested before a run, and what a later run reuses are derived from it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from typing import Annotated, Any

from pydantic import Field

from steps.augment.config import CACHE as AUGMENTATION
from steps.augment.config import AugmentConfig
from steps.base.config import BaseConfig
from steps.contracts.reports import Frozen
from steps.data_report.config import DataReportConfig
from steps.dedup.config import DedupConfig
from steps.engines.embed.config import CACHE as EMBEDDINGS
from steps.evaluate.config import PAIRS_STEP, EvaluateConfig
from steps.export.config import ExportConfig
from steps.gate.config import GateConfig
from steps.ingest.config import IngestConfig
from steps.judge.config import CACHE as VERDICTS
from steps.judge.config import JudgeConfig
from steps.leakcheck.config import LeakCheckConfig
from steps.logs.config import LogsConfig
from steps.monitor.config import MonitorConfig
from steps.prefer.config import CACHE as PREFERENCES
from steps.prefer.config import PreferConfig
from steps.register.config import RegisterConfig
from steps.review.config import ReviewConfig
from steps.screen.config import ScreenConfig
from steps.scrub.config import ScrubConfig
from steps.semantic.config import SemanticConfig
from steps.split.config import SplitConfig
from steps.synthesize.config import CACHE as SYNTHESIS
from steps.synthesize.config import SynthesizeConfig
from steps.train.config import TrainConfig, TrainPhases
from steps.train.inputs import folders as asked_folders


def _always(_: Any) -> bool:
    return True


def _nothing(_: Any) -> tuple[Any, ...]:
    return ()


def _never(_: Any) -> str:
    return ""


def _any_number(_: Any) -> int | None:
    return None


def _by_server(*embed: Any) -> str:
    served = any(e.endpoint is not None for e in embed)
    return "a server is asked, whose model may answer otherwise" if served else ""


@dataclass(frozen=True)
class Stage:
    """What is said about a stage besides its settings.

    Attributes:
        name: folder below `steps/`; "": the field's name.
        logic, step: import paths `module:name`; "": `steps.<name>.<name>:<name>` and `steps.<name>.step:<name>_step`.
        tunes: whether it makes a model, and not a dataset version.
        monitors: whether it looks at what a model was asked in production; neither is made then.
        describes: whether it looks at data without making anything of it.
        skippable: whether `skip` may name it.
        required: what a config must say for it, in words; "": it has defaults, or is left out without settings.
        runs_when: whether these settings ask for it; without settings it never runs.
        steps: names of its steps in a run of that RunConfig, where they aren't just `<name>_step`.
        files: paths of the files that these settings name.
        files_of_run: paths of further files that it reads, which the RunConfig names elsewhere.
        further: import path of what finds the files that those name in turn, from (settings, where a named file lies).
        documents: paths of files or folders of documents that these settings name.
        models: names and revisions of the models that these settings name.
        folders: further models that these settings name, each of which may be a folder.
        digests: import path of what gives the digests of all that it reads from (settings, root), where files and
            models don't say it.
        varies: why the same inputs may give these settings another result; "" where they can't.
        keeps: artifacts that spare a later run work.
        share: import path of the step that computes one share of the rows, where several may; "": none does.
        most_shares: how many at most, by its settings; None: any number.
        cache: folder below the state folder for its durable files; "": it has none.
        field, settings: the field that declares it and the class of its settings; filled in by `STAGES`.
    """

    name: str = ""
    logic: str = ""
    step: str = ""
    tunes: bool = False
    monitors: bool = False
    describes: bool = False
    skippable: bool = False
    required: str = ""
    runs_when: Callable[[Any], bool] = _always
    steps: Callable[[Any], Sequence[str]] | None = None
    files: Callable[[Any], Sequence[str]] = _nothing
    further: str = ""
    documents: Callable[[Any], Sequence[str]] = _nothing
    models: Callable[[Any], Sequence[tuple[str, str | None]]] = _nothing
    files_of_run: Callable[[Any], Sequence[str]] = _nothing
    folders: Callable[[Any], Sequence[str]] = _nothing
    digests: str = ""
    varies: Callable[[Any], str] = _never
    keeps: tuple[str, ...] = ()
    share: str = ""
    most_shares: Callable[[Any], int | None] = _any_number
    cache: str = ""
    field: str = ""
    settings: type[Any] = Frozen

    @property
    def reads(self) -> bool:
        """Whether its settings can name something outside."""
        return bool(self.digests) or self.files is not _nothing or self.models is not _nothing

    def named(self, settings: Any) -> tuple[str, ...]:
        """All that these settings name to be read: files, by path or URL, and models."""
        return (*self.files(settings), *self.documents(settings), *self.models_of(settings))

    def models_of(self, settings: Any) -> tuple[str, ...]:
        """Names of the models that these settings name: of the hub, of a package, or of a folder."""
        return (*(name for name, _ in self.models(settings)), *self.folders(settings))

    def declared_by(self, field: str, annotation: Any) -> "Stage":
        """The stage with all that its field says about it."""
        name = self.name or field
        members = getattr(annotation, "__args__", (annotation,))
        return replace(
            self,
            name=name,
            field=field,
            logic=self.logic or f"steps.{name}.{name}:{name}",
            step=self.step or f"steps.{name}.step:{name}_step",
            settings=next(getattr(m, "__origin__", m) for m in members if m is not type(None)),
        )


class StageSettings(Frozen):
    """The stages and their settings, in the order of the data."""

    ingest: Annotated[
        IngestConfig | None,
        Stage(
            required="the sources to read",
            digests="steps.ingest.ingest:input_digests",
            keeps=("ingested", "ingest_ledger", "rejects", "ingest_sources"),
        ),
    ] = Field(None, description="Sources to read, and how rows are read from them.")
    logs: Annotated[
        LogsConfig | None,
        Stage(monitors=True, required="the logs to read", digests="steps.logs.logs:input_digests"),
    ] = Field(None, description="Logs of production, and the windows that they are read in.")
    dedup: Annotated[DedupConfig, Stage(skippable=True, keeps=("dedup_index",))] = Field(
        DedupConfig(), description="Removal of exact and near duplicates."
    )
    split: Annotated[SplitConfig, Stage()] = Field(
        SplitConfig(), description="Shares of train, validation and test rows, by hash of the content."
    )
    scrub: Annotated[
        ScrubConfig | None,
        Stage(
            skippable=True,
            required="name its key: key_env, or put scrub under skip",
            files=lambda scrub: scrub.word_files,
            folders=lambda scrub: [scrub.ner.model] if scrub.ner else [],
            keeps=("scrub_row_cache",),
            share="steps.scrub.step:scrub_share_step",
        ),
    ] = Field(None, description="Required unless scrub is skipped: it needs a pseudonym key.")
    synthesize: Annotated[
        SynthesizeConfig | None,
        Stage(
            files=lambda synthesize: synthesize.files,
            varies=lambda _: "the model behind its endpoint may write otherwise",
            cache=SYNTHESIS,
        ),
    ] = Field(None, description="Questions and answers made from documents by a model; None: left out.")
    augment: Annotated[
        AugmentConfig | None,
        Stage(
            models=lambda augment: augment.models,
            varies=lambda _: "the model behind its endpoint may write otherwise",
            cache=AUGMENTATION,
        ),
    ] = Field(None, description="Further rows made of those that train, by a model; None: left out.")
    prefer: Annotated[
        PreferConfig | None,
        Stage(
            files=lambda prefer: prefer.files,
            varies=lambda _: "the models behind its endpoints may answer otherwise",
            cache=PREFERENCES,
        ),
    ] = Field(None, description="Pairs of a better and a worse answer by a model, to the prompts; None: left out.")
    screen: Annotated[
        ScreenConfig,
        Stage(
            skippable=True,
            files=ScreenConfig.files,
            models=ScreenConfig.models,
            varies=lambda screen: _by_server(screen.topics.embed) if screen.topics is not None else "",
            keeps=("screen_row_cache", "screen_embeddings"),
            share="steps.screen.step:screen_share_step",
            cache=EMBEDDINGS,
        ),
    ] = Field(ScreenConfig(), description="Quality rules, unsafe and poisoned content, language, models.")
    semantic: Annotated[
        SemanticConfig | None,
        Stage(
            models=SemanticConfig.models,
            varies=lambda semantic: _by_server(semantic.embed),
            keeps=("semantic_embeddings",),
            cache=EMBEDDINGS,
        ),
    ] = Field(
        None, description="Drop rows that mean the same as another; None: left out, since it needs an embedding model."
    )
    judge: Annotated[
        JudgeConfig,
        Stage(
            skippable=True,
            files=JudgeConfig.files,
            models=JudgeConfig.models,
            varies=lambda judge: "the model behind its endpoint may judge otherwise" if judge.endpoints else "",
            keeps=("judge_row_cache",),
            share="steps.judge.step:judge_share_step",
            most_shares=JudgeConfig.most_shares,
            cache=VERDICTS,
        ),
    ] = Field(JudgeConfig(), description="Scores by a rubric, and the threshold below which train rows go.")
    review: Annotated[
        ReviewConfig, Stage(runs_when=lambda review: bool(review.decisions), files=lambda review: review.decisions)
    ] = Field(ReviewConfig(), description="Human decisions about rows that were set aside.")
    leakcheck: Annotated[
        LeakCheckConfig, Stage(skippable=True, files=lambda leakcheck: [b.path for b in leakcheck.benchmarks])
    ] = Field(LeakCheckConfig(), description="Removal of train rows that repeat a held-out row or a benchmark.")
    data_report: Annotated[
        DataReportConfig,
        Stage(
            describes=True,
            models=DataReportConfig.models,
            varies=lambda report: _by_server(report.embed) if report.embed is not None else "",
            cache=EMBEDDINGS,
        ),
    ] = Field(DataReportConfig(), description="What is looked at in data before anybody trains on it.")

    base: Annotated[
        BaseConfig | None,
        Stage(
            tunes=True,
            required="the model to start from",
            logic="steps.base.base:resolve_base",
            digests="steps.base.inputs:input_digests",
            folders=lambda base: [base.model],
            files_of_run=lambda config: config.template.files(),
        ),
    ] = Field(None, description="The model that training starts from.")
    train: Annotated[
        TrainPhases,
        Stage(
            tunes=True,
            steps=lambda config: [f"{phase.stage}_step" for phase in config.phases],
            digests="steps.train.inputs:input_digests",
            folders=asked_folders,
        ),
    ] = Field(
        TrainConfig(), description="One phase of training, or a list of named ones, each from the model before it."
    )
    evaluate: Annotated[
        EvaluateConfig,
        Stage(
            tunes=True,
            steps=lambda config: [
                *(f"evaluate_{subject}_step" for subject in config.subjects),
                *([PAIRS_STEP] if config.evaluate.win_rate else []),
            ],
            files=EvaluateConfig.files,
            further="steps.evaluate.named_files:files_of",
            documents=EvaluateConfig.documents,
            models=EvaluateConfig.models,
            varies=lambda evaluate: _by_server(
                *evaluate.embedders, *evaluate.subjects, *((evaluate.judge,) if evaluate.judge else ())
            ),
            cache=EMBEDDINGS,
        ),
    ] = Field(EvaluateConfig(), description="What every subject is measured by: losses, answers, controls.")
    gate: Annotated[GateConfig, Stage(tunes=True)] = Field(
        GateConfig(), description="What a candidate must show against the reference to pass."
    )
    registry: Annotated[
        RegisterConfig | None, Stage(name="register", tunes=True, required="the name to register under")
    ] = Field(None, description="Name and place under which the model is registered.")
    export: Annotated[
        ExportConfig | None,
        Stage(tunes=True, step="pipelines.exporting:export_step"),
    ] = Field(None, description="What is made of a model that passed the gate, and held against it; None: nothing.")
    monitor: Annotated[
        MonitorConfig,
        Stage(
            monitors=True,
            steps=lambda config: [
                "monitor_step",
                *(["monitor_candidates_step"] if config.monitor.candidates.folder is not None else []),
            ],
            files=MonitorConfig.files,
            models=MonitorConfig.models,
            varies=lambda monitor: _by_server(monitor.embed) if monitor.embed is not None else "",
            cache=EMBEDDINGS,
        ),
    ] = Field(MonitorConfig(), description="How requests are held against the training data, and what follows.")


def _stages() -> tuple[Stage, ...]:
    declared = ((name, field) for name, field in StageSettings.model_fields.items())
    return tuple(
        stage.declared_by(name, field.annotation) for name, field in declared for stage in field.metadata
        if isinstance(stage, Stage)
    )  # fmt: skip


STAGES: tuple[Stage, ...] = _stages()
CURATION: tuple[Stage, ...] = tuple(s for s in STAGES if not s.tunes and not s.monitors and not s.describes)
# What comes before a trained model is measured.
TRAINING = ("base", "train")
SKIPPABLE: tuple[str, ...] = tuple(s.name for s in STAGES if s.skippable)
REUSABLE: tuple[str, ...] = tuple(name for s in STAGES for name in s.keeps)
READING: tuple[Stage, ...] = tuple(s for s in STAGES if s.reads)


def stage_named(name: str) -> Stage:
    """The stage of that name.

    Raises:
        KeyError: there is none.
    """
    return {s.name: s for s in STAGES}[name]


def imported(path: str) -> Any:
    """What stands at an import path `module:name`."""
    module, _, name = path.partition(":")
    return getattr(import_module(module), name)

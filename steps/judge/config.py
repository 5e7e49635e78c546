"""Settings of the judge stage."""

from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from steps.contracts.models import registered_model
from steps.engines.llm.endpoint import Endpoint
from steps.engines.llm.prices import Prices
from steps.engines.rowwise.undecided import UndecidedPolicy
from steps.engines.rubric.reading import rubric_files
from steps.engines.rubric.rubric import QUALITY
from steps.judge.calibration_config import CalibrationConfig
from steps.judge.cascade_config import CascadeConfig
from steps.judge.checks_config import ChecksConfig
from steps.judge.classifier_config import QualityClassifier
from steps.judge.jury_config import FIRST, JuryConfig
from steps.judge.local_config import LocalJudgeConfig
from steps.judge.signals.switches import Signals

# Folder below the state folder: replies that were paid for.
CACHE = "judge"
# Chosen: about 6,000 tokens of English; bounds what one row may cost.
_MAX_CHARS = 24_000


class JudgeConfig(Prices):
    """Which rows are good enough to train on: four criteria from 1 to 5, and what happens to the rest."""

    backend: Literal["heuristic", "llm", "local", "classifier"] = Field(
        default="heuristic",
        description="heuristic: fixed text signals, no model; llm: the model behind `endpoint`; local: the model that"
        " `local` names, by the probabilities of its ratings; classifier: the text classifier that `classifier` names",
    )
    endpoint: Endpoint | None = Field(default=None, description="where the model is served; needed by backend llm")
    local: LocalJudgeConfig | None = Field(default=None, description="a model on this machine; backend local")
    classifier: QualityClassifier | None = Field(
        default=None, description="a ready-made quality classifier; backend classifier"
    )
    # Chosen: whoever is told to say a number and more probably says something else hasn't understood.
    min_rating_mass: float = Field(
        default=0.5, ge=0, le=1,
        description="probability that a rating is said at all; a row below it is undecided; where ratings are"
        " probabilities",
    )  # fmt: skip
    empty_row_prior: Literal["shown", "taken_out"] = Field(
        default="shown",
        description="what the model makes of a row that says nothing, which is its liking for numbers: shown in the"
        " report, or taken out of every score; where ratings are probabilities",
    )
    rubric: str = Field(
        default=QUALITY,
        min_length=1,
        description="what rows are rated by: quality, domain_relevance, safety, groundedness, or the path of a YAML"
        " file; not heuristic",
    )
    scoring: Literal["generation", "probabilities", "auto"] = Field(
        default="generation",
        description="llm: generation reads a verdict with reasons; probabilities asks, criterion by criterion, how"
        " probable each rating is (a server with top_logprobs), without reasons; auto: that where the server and the"
        " model can, else generation",
    )
    retry_unreadable: int = Field(
        default=0,
        ge=0,
        le=3,
        description="generation: so many times a reply without a readable verdict is asked for again in the same run,"
        " with a word on why (a request each)",
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
        default=_MAX_CHARS,
        ge=100,
        description="longer rows (characters on the wire) are undecided, not cut; not heuristic",
    )
    instructions: str = Field(
        default="", max_length=4000, description="what matters in this data set, added to the rubric; not heuristic"
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

    jury: JuryConfig | None = Field(default=None, description="further judges of the same rows; llm and local")
    rejected: Literal["flag", "drop", "off"] = Field(
        default="flag",
        description="llm and local: the rejected answer of a preference pair is judged as well; a pair whose rejected"
        " answer has the higher share is flagged or (of train rows) dropped; off: it isn't judged",
    )

    checks: ChecksConfig = Field(
        default=ChecksConfig(), description="what is asked beside the rows, to see how steady the judge is"
    )

    cascade: CascadeConfig | None = Field(
        default=None, description="the judge decides about a sample, a classifier that learned from it about the rest"
    )

    def most_shares(self) -> int | None:
        """Over how many steps judging may be spread: each sends one request at a time at least. What is decided once
        for all rows is decided by one.
        """
        if self.calibration is not None or self.cascade is not None or self.jury is not None:
            return 1
        return self.endpoint.most_at_once if self.endpoint else None

    def of_share(self, number: int, of: int) -> Self:
        """The settings of one share (0 is the first): its part of the limit on cost, and of the requests at once, so
        that all shares together keep both.
        """
        if self.endpoint is None:
            return self
        whole, more = divmod(self.endpoint.most_at_once, of)
        endpoint = self.endpoint.model_copy(update={"concurrency": max(whole + (number < more), 1)})
        limit = None if self.max_cost is None else self.max_cost / of
        return self.model_copy(update={"endpoint": endpoint, "max_cost": limit})

    def files(self) -> tuple[str, ...]:
        """Paths of the files that these settings name."""
        gold = (self.calibration.gold,) if self.calibration is not None else ()
        return (*rubric_files(self.rubric), *gold)

    def models(self) -> tuple[tuple[str, str | None], ...]:
        """Names and revisions of the models that these settings name, registered ones aside."""
        learner = self.cascade.embed if self.cascade is not None else None
        jurors = [juror.local for juror in self.jury.others] if self.jury else []
        asked = (self.local, self.classifier, learner, *jurors)
        named = [(m.model, m.revision) for m in asked if m is not None]
        return tuple((name, revision) for name, revision in named if name and not registered_model(name))

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        """Servers that rows are sent to."""
        jurors = [juror.endpoint for juror in self.jury.others] if self.jury else []
        return tuple(e for e in (self.endpoint, *jurors) if e is not None)

    @property
    def judges_rejected(self) -> bool:
        """Whether the rejected answers of pairs are judged as well."""
        return self.rejected != "off" and self.backend in ("llm", "local")

    def of_jury(self) -> "dict[str, JudgeConfig]":
        """The settings of each judge alone, by name; each has its part of the limit on cost."""
        if self.jury is None:
            return {FIRST: self}
        limit = None if self.max_cost is None else self.max_cost / (len(self.jury.others) + 1)
        own = self.model_copy(update={"jury": None, "max_cost": limit})
        others = {
            j.name: {"backend": "llm" if j.endpoint else "local", "endpoint": j.endpoint, "local": j.local,
                     "scoring": j.scoring}
            for j in self.jury.others
        }  # fmt: skip
        return {FIRST: own, **{name: own.model_copy(update=update) for name, update in others.items()}}

    @property
    def registered(self) -> dict[str, str | None] | None:
        """Name and version or alias of the registered model that judges; None: none does."""
        return registered_model(self.local.model) if self.local is not None else None

    @field_validator("rejected", mode="before")
    @classmethod
    def _as_yaml_reads_it(cls, value: Any) -> Any:
        return "off" if value is False else value

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
        if self.jury is not None and self.backend not in ("llm", "local"):
            raise ValueError(f"a jury is set, but backend is {self.backend}: set backend: llm or local")
        if self.checks.repeats and not self.endpoints:
            raise ValueError("checks.repeats asks an endpoint once more, and none judges: leave it out")
        if self.checks.empty_rows and not self.endpoints:
            raise ValueError("checks.empty_rows are for judges that answer in words, and none does: leave it out")
        if self.checks.probes and self.backend not in ("llm", "local"):
            raise ValueError(f"checks.probes are for models, not for backend {self.backend}: leave it out")
        if self.backend == "local" and self.local is None:
            raise ValueError("backend local needs a model: set local.model")
        if self.backend != "llm" and self.endpoint is not None:
            raise ValueError(
                f"an endpoint is set, but backend is {self.backend}: set backend: llm, or remove the endpoint"
            )
        if (self.backend == "classifier") != (self.classifier is not None):
            raise ValueError("backend classifier and classifier.model go together: set both or none")
        if self.backend == "classifier" and self.rubric != QUALITY:
            raise ValueError(f"a classifier has no rubric, not {self.rubric}: set backend: llm or local")
        if self.backend != "local" and self.local is not None:
            raise ValueError(f"local is set, but backend is {self.backend}: set backend: local, or remove it")
        if self.backend == "heuristic" and self.cascade is not None:
            raise ValueError("fixed signals cost next to nothing: cascade is for judges that do, leave it out")
        if self.backend == "heuristic" and self.rubric != QUALITY:
            raise ValueError(
                f"fixed signals know the rubric quality only, not {self.rubric}: set backend: llm or local"
            )
        return self

"""Settings of the monitor stage."""

from typing import Annotated, Literal, TypeAlias

from pydantic import Field, StringConstraints, field_validator

from steps.contracts.reports import Frozen
from steps.engines.embed.config import EmbedConfig
from steps.engines.graders.declines import DECLINE_PATTERNS, compiled_or_refused

Share: TypeAlias = Annotated[float, Field(ge=0, le=1)]
# As the sources of a config have it.
Label: TypeAlias = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_.-]{0,63}$")]


class LimitsConfig(Frozen):
    """What answers may be at most, whatever the training data was like. A limit is broken when the whole 95 % interval
    of the window lies beyond it; null: none.
    """

    errors: Share | None = Field(None, description="Requests that failed / requests.")
    cut: Share | None = Field(None, description="Answers that ran out of room / answers.")
    refusals: Share | None = Field(None, description="Answers that decline / answers.")
    degenerate: Share | None = Field(None, description="Answers that say nothing, or loop / answers.")
    invalid: Share | None = Field(None, description="Answers that aren't valid JSON under the schema / answers.")
    judged_low: Share | None = Field(None, description="Answers that the judge puts below its threshold / judged ones.")
    latency_p50: float | None = Field(None, gt=0, description="Seconds, the median of a window.")
    latency_p95: float | None = Field(None, gt=0, description="Seconds, the 95th percentile of a window.")


class CandidatesConfig(Frozen):
    """What becomes rows of the next dataset version: accepted and corrected answers, where somebody has agreed."""

    consents: tuple[Label, ...] = Field(
        (), description="Labels of consent under which a row is taken; without one of these it isn't, and is counted."
    )
    folder: str | None = Field(
        None,
        description="Folder that candidates are added to, for ingest to read; relative to the run's root. null: they"
        " are in the run's artifact alone.",
    )


class MonitorConfig(Frozen):
    """How the newest window of requests is held against the training data, and what follows from it."""

    embed: EmbedConfig | None = Field(
        None, description="Model whose vectors say what a request is about; null: hashed words, which need none."
    )
    # Chosen: shares of the training data within 3 points, and its lengths within a tenth of a bin.
    training_rows: int = Field(2_000, ge=100, description="Rows of the train split at most, chosen by hash.")
    # Chosen: a dozen topics of a support desk are told apart; of more, each has few requests.
    topics: int = Field(12, ge=2, le=100, description="Clusters of the training requests.")
    mmd_rows: int = Field(500, ge=10, le=5_000, description="Requests of either side that MMD compares, by hash.")
    permutations: int = Field(1_999, ge=199, description="Of each test; p-values are no smaller than 1 / (this + 1).")
    seed: int = Field(0, ge=0, description="Of clusters and permutations.")
    alpha: float = Field(
        0.01, gt=0, lt=1, description="Chance of any false alarm in a window, all tests together (Holm's correction)."
    )
    # Below 0.1 two populations are called the same by long custom of credit scoring.
    min_psi: float = Field(0.1, ge=0, description="Smaller shifts of lengths and topics are no alarm, however sure.")
    # Chosen: smaller changes of a share are noise to whoever reads of them.
    min_change: float = Field(0.02, ge=0, le=1, description="Smaller changes of a share are no alarm, likewise.")
    min_requests: int = Field(100, ge=20, description="With fewer in the window nothing is decided: too_few.")
    decline_patterns: tuple[str, ...] = Field(
        DECLINE_PATTERNS, description="An answer declines where one of these RE2 patterns is found (case ignored)."
    )
    json_schema: str | None = Field(
        None,
        description="JSON Schema of the answers; null: answers are objects where those of the training data are.",
    )
    limits: LimitsConfig = Field(LimitsConfig(), description="What answers may be at most.")
    judged_rows: int = Field(
        50, ge=1, le=10_000, description="Answers of the window that judge looks at, by hash, where it has an endpoint."
    )
    retrain_on: tuple[Literal["drifted", "degraded"], ...] = Field(
        ("drifted",), description="Verdicts that ask for a new model; schedules watch for it."
    )
    candidates: CandidatesConfig = Field(CandidatesConfig(), description="Rows for the next dataset version.")

    def files(self) -> tuple[str, ...]:
        """Files that the config names."""
        return (self.json_schema,) if self.json_schema else ()

    def models(self) -> tuple[tuple[str, str | None], ...]:
        """Embedding models on this machine or on the hub: name and revision."""
        return ((self.embed.model, self.embed.revision),) if self.embed and self.embed.model else ()

    @field_validator("decline_patterns")
    @classmethod
    def _compile(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(map(compiled_or_refused, value))

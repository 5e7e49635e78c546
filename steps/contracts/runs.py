"""What is known of a run when it has ended, or died, or still goes on: its record."""

from datetime import datetime
from typing import Literal, TypeAlias

from pydantic import Field, JsonValue

from steps.contracts.evaluation import Registration
from steps.contracts.monitoring import MonitorOutcome
from steps.contracts.provenance import DeclaredSource, EarlierRun, Machine
from steps.contracts.reports import Frozen, Table

ArtifactType: TypeAlias = Literal[
    "dataset",
    "ledger",
    "stage_report",
    "model",
    "eval_report",
    "answers",
    "comparison",
    "win_rates",
    "decision",
    "registration",
    "monitored",
    "data_report",
    "exports",
    "parity",
    "file",
    "row_cache",
    "embeddings",
    # in records of older versions: row caches and embeddings
    "memory",
    "index",
]


# Error of a run whose process is gone, and said nothing.
DIED = "its process ended without a word: it was killed, or its machine went down"


class ArtifactRecord(Frozen):
    """One output of one step.

    Attributes:
        uri: its folder.
        digest: of the content, None when it has none.
        sha256: of the bytes of its main file (a manifest, a report, a ledger ...), which names or holds all else; None
            in records of older versions.
        version: id of ZenML's artifact version; None in records of older versions.
        made_by: id of the run that made it, where that is an earlier one.
        beside: SHA-256 by name of all other files in its folder that the main file doesn't name.
    """

    step: str
    name: str
    type: ArtifactType
    uri: str
    digest: str | None = None
    sha256: str | None = None
    # taken over from an earlier run
    cached: bool = False
    version: str | None = None
    made_by: str | None = None
    beside: dict[str, str] = Field(default_factory=dict)

    def __hash__(self) -> int:
        return hash((self.uri, self.name, self.sha256))


class RunRecord(Frozen):
    """One pipeline run. `run_id` is ZenML's.

    Attributes:
        started: ISO 8601 in UTC; `ended` likewise, None while it runs.
        artifact_store: URI of the store's root; dataset shards lie in `<root>/shards/<sha256>.parquet`.
        commit: git commit of the code, None outside a checkout.
        status: ZenML's word: completed, failed, running, initializing, stopped ...
        error: what ended a failed run, None otherwise; error_kind: its class; failed_step: the step that it ended in.
        log: where the failed step's output was stored, None where it went to the terminal.
        cpu_seconds: user + system, of the process that ran all steps and its children; None where each had its own.
        sections: tables that the config's own functions made of the run.
        schedule: that started it, if one did.
        slot: the moment that it stands for, ISO 8601 with its offset, whenever it really started; None without one.
        read_digest: of the config and all that it read; None where it didn't get so far, and in older records.
        peak_mb: the largest memory (resident) of that process or of one of its children; None likewise.
        config: the resolved config; empty in older records, and so are all that follow.
        sources: that the rows came from; of fine-tuning alone those of the run that made the dataset.
        machines: where steps ran, by step; with all steps in one process that of the last one stands for all.
        packages: installed distributions and their versions, where the last step ran.
        earlier: runs whose results this one took over, and the one that made its dataset.
        monitored: what a run that looked at production decided; None: it didn't.
        around: what the first step found (digests of all that the run read) and the page: no artifacts of the data.
    """

    run_id: str
    name: str
    config_name: str
    pipeline: str
    status: str
    started: str
    ended: str | None
    stack: str
    artifact_store: str
    commit: str | None
    config_digest: str
    artifacts: tuple[ArtifactRecord, ...]
    cached_steps: tuple[str, ...]
    executed_steps: tuple[str, ...]
    error: str | None
    registration: Registration | None
    tracking_uri: str | None
    cpu_seconds: float | None = None
    peak_mb: float | None = None
    error_kind: str | None = None
    failed_step: str | None = None
    log: str | None = None
    sections: tuple[Table, ...] = ()
    schedule: str | None = None
    slot: str | None = None
    read_digest: str | None = None
    config: dict[str, JsonValue] = Field(default_factory=dict)
    sources: tuple[DeclaredSource, ...] = ()
    machines: dict[str, Machine] = Field(default_factory=dict)
    packages: dict[str, str] = Field(default_factory=dict)
    earlier: tuple[EarlierRun, ...] = ()
    around: tuple[ArtifactRecord, ...] = ()
    monitored: MonitorOutcome | None = None

    @property
    def seconds(self) -> float | None:
        """From start to end by the clock; None while it runs."""
        if self.ended is None:
            return None
        return (datetime.fromisoformat(self.ended) - datetime.fromisoformat(self.started)).total_seconds()

    def of_type(self, kind: ArtifactType) -> list[ArtifactRecord]:
        """The run's artifacts of one type, in the order of the pipeline."""
        return [a for a in self.artifacts if a.type == kind]

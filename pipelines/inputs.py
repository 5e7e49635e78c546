"""What a run reads from outside, by digest: it enters the cache keys, so that a changed byte re-runs what reads it."""

from pydantic import Field

from steps.contracts.reports import Frozen


class Inputs(Frozen):
    """SHA-256 (or pinned revision) per file or folder, by the name that the config gives it.

    Attributes:
        sources: files and hub datasets that ingest reads.
        benchmarks: files that the leak check compares with.
        decisions: files of human decisions that review applies.
        models: per stage, models that it shows rows to (hub models by commit, others by their files) and their files.
        base: files of a local base model.
        controls: files of the evaluation's control suite.
        key_id: one-way fingerprint of the pseudonym key and the files that scrub reads; "" when nothing is scrubbed.
    """

    sources: dict[str, str] = Field(default_factory=dict)
    benchmarks: dict[str, str] = Field(default_factory=dict)
    decisions: dict[str, str] = Field(default_factory=dict)
    models: dict[str, dict[str, str]] = Field(default_factory=dict)
    base: dict[str, str] = Field(default_factory=dict)
    controls: dict[str, str] = Field(default_factory=dict)
    key_id: str = ""

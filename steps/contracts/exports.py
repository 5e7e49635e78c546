"""Models as they are written for other programs, and what was found where they are held against the trained one."""

from pathlib import Path
from typing import Any

from pydantic import Field, JsonValue

from steps.contracts.digests import value_digest
from steps.contracts.evaluation import Estimate
from steps.contracts.models import BaseRef
from steps.contracts.reports import Frozen


class Parity(Frozen):
    """What the check of tokens found.

    Attributes:
        prompts: that were asked; each was rendered to exactly the same tokens.
        texts: that were tokenised alone, with exactly the same tokens.
        decomposed: texts beside these that aren't in Unicode's composed form (NFC); decomposed_differ: of them those
            with other tokens, where the export's runtime doesn't compose.
        tokens: of the trained model's greedy answers, and of the middles of the prompts, at each of which both were
            asked for the next token.
        differ: of them those where the export's most probable token is another one, the trained model's two best being
            at most `epsilon` (in logits) apart; `widest` is the largest such distance, 0 where none differs.
        limit: the share of tokens that may differ; None: recorded before there was one.
        first: the first of these in words, None where there is none.
        ended: answers that ended by themselves, and not because their room was full.
        ends: token ids that end an answer, in both.
    """

    prompts: int
    texts: int
    decomposed: int = 0
    decomposed_differ: int = 0
    tokens: int
    differ: int = 0
    widest: float = 0.0
    epsilon: float
    limit: float | None = None
    first: str | None = None
    ended: int = 0
    ends: tuple[int, ...] = Field(())


class ExportManifest(Frozen):
    """What lies in an exported folder.

    Attributes:
        format, dtype: how the weights are written.
        model: digest of the model that was exported; name: as it was asked for; run: that made it, where it is known.
        base, base_digest: what an adapter lies over, or full weights were trained from.
        files: SHA-256 per file, by relative POSIX path, of all but this one.
        parity: what the check against the trained model found.
        facts: what the format records besides, as the metadata of a GGUF file.
        packages: versions with which it was written and checked.
    """

    format: str
    dtype: str
    model: str
    name: str
    run: str | None = None
    base: BaseRef
    base_digest: str
    files: dict[str, str]
    parity: Parity
    notes: tuple[str, ...] = ()
    facts: dict[str, JsonValue] = Field(default_factory=dict)
    packages: dict[str, str] = Field(default_factory=dict)


class ExportsManifest(Frozen):
    """The exports of one model, by name. `model`: its digest."""

    model: str
    exports: dict[str, ExportManifest] = Field(default_factory=dict)

    @property
    def files(self) -> dict[str, str]:
        """SHA-256 of all files, by path: each export is a folder of its name."""
        return {f"{name}/{path}": d for name, one in self.exports.items() for path, d in one.files.items()}


class ModelExports:
    """Exports on disk: `folder` has one of each name."""

    def __init__(self, manifest: ExportsManifest, folder: Path) -> None:
        self.manifest = manifest
        self.folder = folder

    @property
    def digest(self) -> str:
        """Of all files, and of the model."""
        return value_digest([self.manifest.model, self.manifest.files])


class ScoreBeside(Frozen):
    """A metric of one task on the same rows: of the trained model with its interval, and of what answers elsewhere."""

    task: str
    metric: str
    trained: Estimate
    found: Estimate

    @property
    def within(self) -> bool:
        """Whether it lies in the trained model's interval."""
        return self.trained.low <= self.found.value <= self.trained.high


class RuntimeParity(Frozen):
    """What answers in one runtime, beside the trained model.

    Attributes:
        runtime: its name, such as gguf-q8_0, mlflow, server.
        parity: of tokens.
        scores: of its answers to the rows of the evaluation.
        reasons: why it isn't the model; none: it is.
    """

    runtime: str
    parity: Parity
    scores: tuple[ScoreBeside, ...] = ()
    reasons: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def holds(self) -> bool:
        """Whether nothing speaks against it."""
        return not self.reasons


class ParityReport(Frozen):
    """The gate between a trained model and whatever is to answer in its place.

    Attributes:
        model: digest of the trained model; name: the subject that it was evaluated as.
        rows: of the evaluation, that each runtime was asked.
        scores: the trained model's own, on these rows.
    """

    model: str
    name: str
    rows: int = 0
    scores: tuple[ScoreBeside, ...] = ()
    runtimes: tuple[RuntimeParity, ...] = ()
    notes: tuple[str, ...] = ()
    seconds: float = 0.0
    cpu_seconds: float = 0.0

    @property
    def held(self) -> tuple[RuntimeParity, ...]:
        """Runtimes that aren't the model."""
        return tuple(r for r in self.runtimes if not r.holds)

    @property
    def holds(self) -> bool:
        """Whether all are."""
        return not self.held

    @property
    def metrics(self) -> tuple[tuple[str, str], ...]:
        """Task and metric of every score that somebody has, each once."""
        lines: tuple[Any, ...] = (*self.scores, *(s for r in self.runtimes for s in r.scores))
        return tuple(dict.fromkeys((s.task, s.metric) for s in lines))

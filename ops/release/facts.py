"""What is recorded of a model, as far as it may leave the house: digests, counts, declared words; no text of a row, no
path of a machine, no name of a file that rows were read from.
"""

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pyarrow as pa
from pydantic import Field

from materializers.artifacts import Artifacts, going_on, is_remote
from ops.audit.trail import data_run, inputs_of, links_of
from ops.found_models import FoundModel
from ops.run_index import artifacts_of
from steps.contracts.dataset import Manifest
from steps.contracts.errors import InputNotFoundError, IntegrityError
from steps.contracts.models import BaseRef, ModelInfo
from steps.contracts.provenance import DeclaredSource
from steps.contracts.reports import Frozen, StageReport
from steps.contracts.runs import RunRecord
from steps.engines.lm.load import weights_path

NOT_RECORDED = "not recorded"
_SCRUB, _INGEST, _SCREEN = "scrub", "ingest", "screen"


class SourceFacts(Frozen):
    """A source of the rows; of what is None nothing is recorded.

    Attributes:
        kind: hub data set, URL, object store, or files.
        location: where it is; None where that is a path of one machine alone.
        files: SHA-256 of everything that was read of it.
        rows_read: as the first stage read it; rows: of the version that was trained on, all splits together.
        bytes: that were read.
    """

    name: str
    kind: str
    location: str | None
    licence: str | None = None
    access: str | None = None
    consent: str | None = None
    format: str | None = None
    rows_read: int | None = None
    rows: int | None = None
    bytes: int | None = None
    files: tuple[str, ...] = ()


class StageFacts(Frozen):
    """What a stage did with the rows; reasons: verdict -> reason -> rows."""

    stage: str
    rows_in: int
    created: int
    kept: int
    dropped: int
    quarantined: int
    changed: int
    reasons: dict[str, dict[str, int]] = Field(default_factory=dict)
    notes: tuple[str, ...] = ()


class DatasetFacts(Frozen):
    """The dataset version that the model was trained on."""

    digest: str
    rows: int | None = None
    splits: dict[str, int] = Field(default_factory=dict)
    kinds: dict[str, int] = Field(default_factory=dict)
    shards: tuple[tuple[str, int], ...] = ()


class Facts(Frozen):
    """Everything that documents of a release are made of, besides evaluation, gate and weights.

    Attributes:
        model: what was trained; its `files` are those of the run, not of the release.
        base_licence: as the config states it.
        architecture: of the base's config.json: class, and type of model.
        read: when the rows were read, UTC, ISO 8601.
        personal_data: findings of scrub per entity; None: no stage looked for personal data. scrubbed: rows that it
            changed.
        languages: rows per language, as screen counted them; None: nobody did.
        tokens: counted by training; trained: settings of training that are one value.
        packages: installed distributions, where the run's last step ran.
        card: words of the config for the card: intended_use, limitations, licence.
    """

    model: ModelInfo
    base: BaseRef
    base_licence: str | None
    architecture: tuple[str, str] | None
    run: str | None
    run_id: str | None
    commit: str | None
    config_digest: str | None
    started: str | None
    read: str | None
    earlier: tuple[tuple[str, str | None], ...] = ()
    dataset: DatasetFacts | None
    sources: tuple[SourceFacts, ...] = ()
    stages: tuple[StageFacts, ...] = ()
    personal_data: dict[str, int] | None
    personal_notes: tuple[str, ...] = ()
    scrubbed: int = 0
    languages: dict[str, int] | None
    tokens: dict[str, int] = Field(default_factory=dict)
    packages: dict[str, str] = Field(default_factory=dict)
    card: dict[str, Any] = Field(default_factory=dict)


@dataclass(frozen=True)
class Behind:
    """The artifacts behind a model: of the run that made it, and of the one that made the rows."""

    store: Artifacts
    data: Artifacts | None


def behind(root: Path, found: FoundModel) -> Behind | None:
    """None for a model of which no run is known.

    Raises:
        ServiceError: a store can't be reached.
    """
    if found.run is None:
        return None
    store = artifacts_of(root, found.run)
    made = data_run(root, found.run, links_of(found.run), found.model.info.dataset_digest)
    if made is None:
        return Behind(store, None)
    return Behind(store, store if made is found.run else artifacts_of(root, made))


def facts_of(found: FoundModel, stores: Behind | None) -> Facts:
    """What is recorded. Evidence that is damaged isn't told as a fact: it ends the release.

    Raises:
        IntegrityError, InputNotFoundError: a record is damaged or gone. ServiceError: a store can't be reached.
    """
    run, info = found.run, found.model.info
    data = stores.data if stores is not None else None
    reports = {r.stage: r for r in reports_of(stores)}
    scrub, screen = reports.get(_SCRUB), reports.get(_SCREEN)
    config: Mapping[str, Any] = run.config if run is not None else {}
    base = config.get("base") or {}
    registry = config.get("registry") or {}
    return Facts(
        model=info, base=found.base.info.base, base_licence=base.get("licence"), architecture=_architecture(found),
        run=run.name if run else None, run_id=run.run_id if run else None, commit=run.commit if run else None,
        config_digest=run.config_digest if run else None, started=run.started if run else None,
        read=data.run.started if data is not None else None,
        earlier=tuple((e.name, e.sha256) for e in run.earlier) if run else (),
        dataset=_dataset(data, info.dataset_digest),
        sources=tuple(_sources(run, data, reports.get(_INGEST), info.dataset_digest)),
        stages=tuple(_stage(r) for r in reports.values() if r.rows_in + r.created),
        personal_data=dict(scrub.counts.get("findings by entity", {})) if scrub else None,
        personal_notes=tuple(_public_notes(scrub)) if scrub else (), scrubbed=scrub.changed if scrub else 0,
        languages=dict(screen.counts["rows by language"]) if screen and screen.counts.get("rows by language") else None,
        tokens=_tokens(reports.values()),
        packages=run.packages if run else {},
        card={k: registry[k] for k in ("intended_use", "limitations", "licence") if registry.get(k)},
    )  # fmt: skip


def _tokens(reports: Iterable[StageReport]) -> dict[str, int]:
    """As the last phase of training counted them."""
    found = [r.counts["tokens"] for r in reports if r.stage.startswith("train") and "tokens" in r.counts]
    return dict(found[-1]) if found else {}


def reports_of(stores: Behind | None) -> list[StageReport]:
    """Of every stage, those that made the rows first.

    Raises: as `facts_of`.
    """
    both = (stores.data, stores.store) if stores is not None else ()
    return [s.report(a) for s in dict.fromkeys(s for s in both if s is not None) for a in s.run.of_type("stage_report")]


def _architecture(found: FoundModel) -> tuple[str, str] | None:
    """As the config.json of the full weights says it."""
    try:
        said = json.loads((weights_path(found.base) / "config.json").read_text("utf-8"))
        return str(said["architectures"][0]), str(said["model_type"])
    except (OSError, ValueError, KeyError, IndexError, TypeError):
        return None


def _stage(r: StageReport) -> StageFacts:
    by = {"dropped": r.dropped_by, "quarantined": r.quarantined_by, "flagged": r.flagged_by}
    return StageFacts(
        stage=r.stage, rows_in=r.rows_in, created=r.created, kept=r.kept, dropped=r.dropped,
        quarantined=r.quarantined, changed=r.changed, reasons={k: v for k, v in by.items() if v},
        notes=tuple(_public_notes(r)),
    )  # fmt: skip


def _public_notes(report: StageReport) -> list[str]:
    """Without the fingerprint of a key, by which somebody could test guesses of it."""
    return [n for n in (*report.notes, *report.warnings) if "fingerprint" not in n]


def _trained_version(data: Artifacts, digest: str | None) -> tuple[Any, Manifest] | None:
    found = next((a for a in going_on(data.run) if a.digest == digest), None)
    return (found, data.manifest(found)) if found is not None else None


def _dataset(data: Artifacts | None, digest: str | None) -> DatasetFacts | None:
    if digest is None:
        return None
    found = _trained_version(data, digest) if data is not None else None
    if found is None:
        return DatasetFacts(digest=digest)
    m = found[1]
    shards = tuple((s.sha256, s.bytes) for s in m.shards)
    return DatasetFacts(digest=digest, rows=m.rows, splits=m.splits, kinds=m.kinds, shards=shards)


def _sources(
    run: RunRecord | None, data: Artifacts | None, ingest: StageReport | None, digest: str | None
) -> list[SourceFacts]:
    declared = data.run.sources if data is not None and data.run.sources else run.sources if run is not None else ()
    read = inputs_of(data).get(_INGEST, {}) if data is not None else {}
    rows = _rows_by_source(data, digest) if data is not None else {}
    counted = ingest.counts.get("rows read per source", {}) if ingest is not None else {}
    table = _source_table(ingest)
    return [
        SourceFacts(
            name=s.name, kind=kind_of(s), location=public_location(s.location), licence=s.licence, access=s.access,
            consent=s.consent, format=table.get(s.name, {}).get("format"), rows_read=counted.get(s.name),
            rows=rows.get(s.name), bytes=table.get(s.name, {}).get("bytes"),
            files=tuple(sorted(d for name, d in read.items() if name.split("/")[0] == s.name)),
        )
        for s in declared
    ]  # fmt: skip


def _source_table(ingest: StageReport | None) -> dict[str, dict[str, Any]]:
    """What ingest's own table says of each source: its format, and the bytes that were read."""
    for table in ingest.tables if ingest is not None else ():
        if table.title == "sources" and "source" in table.columns:
            lines = (dict(zip(table.columns, row, strict=True)) for row in table.rows)
            return {str(line["source"]): line for line in lines}
    return {}


def _rows_by_source(data: Artifacts, digest: str | None) -> dict[str, int]:
    """Rows of the version that was trained on; none where its shards are remote, or gone."""
    found = _trained_version(data, digest)
    if found is None or is_remote(data.run.artifact_store):
        return {}
    rows: Counter[str] = Counter()
    try:
        for chunk in data.dataset(found[0], verified=False).chunks(["source"]):
            rows.update(str(s).split("/", 1)[0] for s in chunk.table["source"].to_pylist())
    except (IntegrityError, InputNotFoundError, OSError, pa.ArrowInvalid):
        return {}
    return dict(rows)


def kind_of(source: DeclaredSource) -> str:
    """What a source is, by how it is named."""
    if re.match(r"https?://", source.location):
        return "URL"
    if "://" in source.location:
        return "object store"
    return "hub data set" if re.fullmatch(r"[\w.-]+/[\w.-]+@\S+", source.location) else "files"


def public_location(location: str) -> str | None:
    """Where a source is, without user, password, query and fragment; None for a path of one machine."""
    if "://" in location:
        parts = urlsplit(location)
        host = parts.netloc.rpartition("@")[2]
        return f"{parts.scheme}://{host}{parts.path}" if parts.scheme != "file" and host else None
    if location.startswith(("/", "~", "\\")) or re.match(r"[A-Za-z]:", location) or ".." in location.split("/"):
        return None
    return location or None


def is_sha256(*digests: str) -> bool:
    """Whether all are; a hub data set is read by its commit, which is none."""
    return all(re.fullmatch("[0-9a-f]{64}", one) for one in digests)


def base_name(ref: BaseRef) -> str:
    """A base without the folder that it lies in on some machine."""
    if ref.source == "local":
        return f"local:{(ref.digest or '')[:16]}"
    return ref.name

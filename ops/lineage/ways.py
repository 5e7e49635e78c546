"""One row's way through every run: what each stage did to it and why, its split, and its text as scrubbed versions say
it.
"""

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from materializers.artifacts import going_on, is_quarantine, stage_of
from ops.lineage.catalogue import Catalogue, Held
from ops.lineage.ledgers import ENDS, Child, Ledgers, Line
from ops.lineage.shards import Place, RowSet, Shards, VersionRows, row_set
from ops.references import is_id
from ops.run_index import run_config
from steps.contracts.dataset import Manifest
from steps.contracts.errors import AssayError
from steps.contracts.records import Row, text_of
from steps.contracts.runs import ArtifactRecord, RunRecord
from steps.train.phase_rows import PhaseRows

# Chosen: enough to recognise a row.
EXCERPT = 300
# Chosen: of rows that were made from one row so many are named in each way.
_MOST_CHILDREN = 50


@dataclass(frozen=True)
class AtStage:
    """One stage of the way. `verdict` is "passed" where the ledger has no line, "not reached" after the end, "not read"
    where a phase of training takes other rows, "unknown" where the stage's ledger can't be read.
    """

    stage: str
    verdict: str
    lines: tuple[Line, ...] = ()


@dataclass(frozen=True)
class Way:
    """A way that the row went, in one run or several.

    Attributes:
        runs: their names, newest first; what is said in words is as the newest one's config has it.
        fate: "kept", or what ended it ("dropped by dedup: near").
        split: its split in the last version; None when it isn't there or wasn't split.
        children: rows that were made from it.
    """

    runs: tuple[str, ...]
    stages: tuple[AtStage, ...]
    fate: str
    split: str | None
    children: tuple[Child, ...] = ()


@dataclass(frozen=True)
class RowHistory:
    """Everything known about one row.

    Attributes:
        ways: the newest run's first.
        text: excerpt from a scrubbed version; None when the row never got there.
        hidden: there is text, but only unscrubbed.
    """

    record_id: str
    source: str
    locator: str
    ways: tuple[Way, ...]
    text: str | None
    hidden: bool


@dataclass
class Lineage:
    """All that is asked about rows: the runs, and their ledgers and shards, opened when they are needed."""

    catalogue: Catalogue
    ledgers: Ledgers = field(init=False)
    shards: Shards = field(init=False)
    _configs: dict[str, dict[str, Any] | None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.ledgers, self.shards = Ledgers(self.catalogue), Shards(self.catalogue)

    def descendants(self, record_ids: Collection[str]) -> set[str]:
        """All rows that were made from these, in any run: by a stage, or read of what a monitor published of them."""
        asked, found = set(record_ids), set(record_ids)
        while asked:
            made = self.ledgers.descendants(asked)
            read = {i for of in self.shards.read_of(asked | made).values() for i in of}
            asked, found = read - found - made, found | made | read
        return found - set(record_ids)

    def config(self, run: RunRecord) -> dict[str, Any] | None:
        """The resolved config of a run; None where it isn't known. Runs of one config share it."""
        if self._configs.get(run.config_digest) is None:
            try:
                # Records of older versions don't hold it; then the index may.
                self._configs[run.config_digest] = run.config or run_config(self.catalogue.root, run) or None
            except AssayError as e:
                self.catalogue.miss(e)
        return self._configs.get(run.config_digest)

    def settings(self, run: RunRecord) -> Mapping[str, Any]:
        """Of every stage of the run, phases of training included; empty where they aren't known."""
        config = self.config(run) or {}
        return {**config, **_phases(config)}

    def phase_rows(self, run: RunRecord) -> dict[str, PhaseRows] | None:
        """The rows that each phase of training takes, by stage; None where that isn't known."""
        config = self.config(run)
        if config is None:
            return None
        return {stage: PhaseRows.model_validate(said.get("rows") or {}) for stage, said in _phases(config).items()}

    def version(self, artifact: ArtifactRecord) -> VersionRows | None:
        """The rows of a dataset version; None where it can't be read."""
        return self.shards.version(artifact.uri)


def _phases(config: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The settings of each phase of training, by stage."""
    said = config.get("train")
    phases = said if isinstance(said, list) else [said] if said else []
    return {f"train_{p['name']}" if p.get("name") else "train": p for p in phases}


def find_rows(lineage: Lineage, query: str) -> dict[str, list[Place]]:
    """The rows whose record id begins so, when it looks like one, else those of which a text holds it; with the places
    where they stand, which can be none.
    """
    if is_id(query):
        stored = lineage.shards.with_prefix(query.lower())
        found = {i: stored.get(i, []) for i in sorted({*stored, *lineage.ledgers.with_prefix(query.lower())})}
        if found:
            return found
    return lineage.shards.with_text(query, written_by_scrub(lineage, query))


def written_by_scrub(lineage: Lineage, text: str) -> frozenset[str]:
    """Shards that needn't be looked through for a text, since scrub wrote them: it puts `<ENTITY_...>` in the place of
    values and leaves the rest, so that a text that can't touch one stands in what scrub read as well.

    Not where scrub replaces values otherwise, or what it read can't be.
    """
    if any(c in "<>" for c in text) or re.fullmatch(r"\w*", text):
        return frozenset()
    manifests = lineage.shards.manifests.values()
    by_digest = {manifest.digest: manifest for _, manifest in manifests}
    first: dict[str, tuple[Held, Manifest]] = {}
    for held, manifest in manifests:
        for entry in manifest.shards:
            first.setdefault(entry.sha256, (held, manifest))
    return frozenset(sha for sha, made in first.items() if _only_scrubbed(lineage, *made, by_digest))


def _only_scrubbed(lineage: Lineage, held: Held, manifest: Manifest, by_digest: Mapping[str, Manifest]) -> bool:
    """Whether a version differs from what scrub read by pseudonyms alone, and that can be read."""
    if manifest.stage != "scrub":
        return False
    mode = (lineage.settings(held.runs[0]).get("scrub") or {}).get("mode")
    before = by_digest.get(manifest.parent or "")
    readable = before is not None and all(entry.sha256 in lineage.shards.files for entry in before.shards)
    return readable and mode in ("pseudonymise", "redact")


def histories(lineage: Lineage, rows: Mapping[str, Sequence[Place]], raw: bool) -> list[RowHistory]:
    """The ways of these rows, given with their places. With `raw` an unscrubbed excerpt is shown where there is no
    scrubbed one.
    """
    teller = _Teller(lineage, rows)
    return [teller.history(i, raw) for i in rows]


class _Teller:
    """What is said of several rows, asked at once."""

    def __init__(self, lineage: Lineage, rows: Mapping[str, Sequence[Place]]) -> None:
        self._lineage = lineage
        self._places = rows
        self._lines = lineage.ledgers.lines(rows.keys())
        self._children = lineage.ledgers.children(rows.keys())
        self._read_of = lineage.shards.read_of(rows.keys())
        # At which place each version has which split of each row.
        self._splits: dict[str, dict[Place, str | None]] = {}
        self._all: RowSet = row_set([p for places in rows.values() for p in places])

    def history(self, record_id: str, raw: bool) -> RowHistory:
        clean = self._where(record_id, lambda run: _clean_versions(self._lineage, run))
        place = clean or self._where(record_id, lambda run: reversed(run.of_type("dataset")))
        row: Row = self._lineage.shards.rows([place] if place else []).get(place, {}) if place else {}
        shown = row and (clean is not None or raw)
        return RowHistory(
            record_id=record_id,
            source=row.get("source", ""),
            locator=row.get("locator", ""),
            ways=tuple(self._ways(record_id, row if clean else None)),
            text=text_of(row)[:EXCERPT] if shown else None,
            hidden=bool(row) and not shown,
        )

    def _where(self, record_id: str, versions_of: Callable[[RunRecord], Iterable[ArtifactRecord]]) -> Place | None:
        """The row's place in the first version that has it, of the newest run that does."""
        for run in self._lineage.catalogue.runs:
            for artifact in versions_of(run):
                if (place := self._place(record_id, artifact)) is not None:
                    return place
        return None

    def _place(self, record_id: str, artifact: ArtifactRecord) -> Place | None:
        here = self._in_version(artifact)
        return next((p for p in self._places[record_id] if p in here), None)

    def _in_version(self, artifact: ArtifactRecord) -> dict[Place, str | None]:
        if artifact.uri not in self._splits:
            # Most versions of other stages have other shards: then which of their rows they have needs no look.
            _, manifest = self._lineage.shards.manifests.get(artifact.uri, (None, None))
            near = manifest is not None and any(entry.sha256 in self._all for entry in manifest.shards)
            version = self._lineage.version(artifact) if near else None
            self._splits[artifact.uri] = version.places(self._all) if version else {}
        return self._splits[artifact.uri]

    def _ways(self, record_id: str, clean: Row | None) -> list[Way]:
        found: dict[Any, list[RunRecord]] = {}
        for run in self._lineage.catalogue.runs:
            if self._knows(run, record_id):
                found.setdefault(self._said(run, record_id, clean), []).append(run)
        return [self._way(said, runs) for said, runs in found.items()]

    def _knows(self, run: RunRecord, record_id: str) -> bool:
        """Whether the row was in a run: the first version that went on has it, unless a stage made it, which says so,
        or took it out at once, which says so too.
        """
        if any(record_id in self._lines.get(a.uri, {}) for a in run.of_type("ledger")):
            return True
        return any(self._place(record_id, a) is not None for a in [*going_on(run)[:1], *going_on(run)[-1:]])

    def _said(self, run: RunRecord, record_id: str, clean: Row | None) -> Any:
        """The way in one run, in a form that can be compared with others."""
        lines = [line for a in run.of_type("ledger") for line in self._lines.get(a.uri, {}).get(record_id, [])]
        split = self._split(run, record_id)
        phases = (self._lineage.phase_rows(run) or {}) if clean is not None else {}
        not_read = {stage for stage, rows in phases.items() if clean is not None and not takes(rows, clean, split)}
        stages = self._stages(run, lines, not_read)
        reached = [s for s in stages if s.verdict != "not reached"]
        end = reached[-1] if reached and reached[-1].verdict in ENDS else None
        fate = "kept" if end is None else f"{end.verdict} by {end.stage}: {end.lines[-1].reason}"
        children = [c for a in run.of_type("ledger") for c in self._children.get(a.uri, {}).get(record_id, [])]
        children += [Child(i, "ingest") for i in self._read_of.get(record_id, [])]
        return _Said(tuple(stages), fate, None if end else split, tuple(children[:_MOST_CHILDREN]))

    def _split(self, run: RunRecord, record_id: str) -> str | None:
        for artifact in reversed(going_on(run)):
            here = self._in_version(artifact)
            place = next((p for p in self._places[record_id] if p in here), None)
            if place is not None:
                return here[place]
        return None

    def _stages(self, run: RunRecord, lines: Sequence[Line], not_read: Set[str]) -> list[AtStage]:
        ledgers = {stage_of(a): a.uri in self._readable for a in run.of_type("ledger")}
        names = list(dict.fromkeys([*ledgers, *(line.stage for line in lines)]))
        born = next((line.stage for line in lines if line.verdict == "created"), None)
        stages: list[AtStage] = []
        alive, ended = born is None, False
        for stage in names:
            here = tuple(line for line in lines if line.stage == stage)
            alive = alive or stage == born
            if not alive:
                continue
            # A person can bring back what an earlier stage set aside: then a later stage speaks of it.
            if not here:
                quiet = "not reached" if ended else "not read" if stage in not_read else "passed"
                stages.append(AtStage(stage, quiet if ended or ledgers.get(stage, True) else "unknown"))
                continue
            verdicts = [line.verdict for line in here]
            ended = any(v in ENDS for v in verdicts)
            stages.append(AtStage(stage, next((v for v in verdicts if v in ENDS), verdicts[-1]), here))
        return stages

    @cached_property
    def _readable(self) -> frozenset[str]:
        return frozenset(held.artifact.uri for held in self._lineage.ledgers.files.values())

    def _way(self, said: "_Said", runs: Sequence[RunRecord]) -> Way:
        settings = self._lineage.settings(runs[0])
        stages = tuple(
            AtStage(at.stage, at.verdict, tuple(line.with_rule(settings) for line in at.lines)) for at in said.stages
        )
        return Way(tuple(r.name for r in runs), stages, said.fate, said.split, said.children)


@dataclass(frozen=True)
class _Said:
    """A way without its runs; equal ones are one."""

    stages: tuple[AtStage, ...]
    fate: str
    split: str | None
    children: tuple[Child, ...]

    def __hash__(self) -> int:
        return hash((self.fate, self.split, len(self.stages)))


def _clean_versions(lineage: Lineage, run: RunRecord) -> list[ArtifactRecord]:
    """Versions whose rows went through scrub, latest first; none when the run has no scrub. Rows that scrub itself set
    aside still hold what it couldn't search.
    """
    versions = run.of_type("dataset")
    by_scrub = [
        a.uri in lineage.shards.manifests and lineage.shards.manifests[a.uri][1].stage == "scrub" for a in versions
    ]
    first = next((i for i, a in enumerate(versions) if by_scrub[i] and not is_quarantine(a)), len(versions))
    later = [a for i, a in enumerate(versions) if i >= first and not (by_scrub[i] and is_quarantine(a))]
    return list(reversed(later))


def takes(rows: PhaseRows, row: Row, split: str | None) -> bool:
    """Whether a phase of training takes a row that has this split in its version."""
    return rows.take(split, row["source"].partition("/")[0], row["kind"])

"""Where rows went: every dataset version, run, model and export that contains some of them."""

import difflib
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from materializers.artifacts import is_quarantine, stage_of
from ops.export.made import Standing, exports_made
from ops.lineage.catalogue import Gap
from ops.lineage.shards import RowSet, row_set
from ops.lineage.trained import Seen, models_that_saw
from ops.lineage.ways import Lineage
from ops.references import is_id
from steps.contracts.dataset import NO_SPLIT
from steps.contracts.errors import AssayError, InputError, InputNotFoundError
from steps.contracts.records import SPLITS
from steps.contracts.runs import ArtifactRecord, RunRecord
from steps.scrub.config import ScrubConfig
from steps.scrub.pseudonyms.key import key_fingerprint, read_key
from steps.scrub.pseudonyms.pseudonym import pseudonym

NOT_SCRUBBED = "it wasn't scrubbed, or its config isn't known here"
# As scrub's report has them.
_ENTITIES, _KEY_NOTE = "findings by entity", "pseudonym key fingerprint: "


@dataclass(frozen=True)
class Wanted:
    """The rows that are looked for.

    Attributes:
        what: in words, without the value of a person.
        records: how many rows, those that were made from them included.
        made: how many of these were made from others.
        places: where their copies stand.
    """

    what: str
    records: int
    made: int
    places: RowSet


@dataclass(frozen=True)
class InVersion:
    """A dataset version that has some of the rows.

    Attributes:
        runs: that have it, oldest first.
        rows: how many of them it has, `of` how many of all.
        aside: whether it holds rows set aside.
    """

    digest: str
    stage: str
    artifact: str
    runs: tuple[str, ...]
    rows: int
    of: int
    aside: bool


@dataclass(frozen=True)
class InExport:
    """An export that holds some of the rows. `standing`: whether it is still where it was written."""

    place: str
    to: str
    run: str
    at: str
    rows: int
    standing: Standing


@dataclass(frozen=True)
class Uses:
    """Everything that contains some of the rows; `runs` newest first."""

    versions: tuple[InVersion, ...]
    runs: tuple[str, ...]
    models: tuple[Seen, ...]
    exports: tuple[InExport, ...]


def record_or_source(lineage: Lineage, query: str) -> Wanted | None:
    """The row whose id begins so, with all that was made from it, else the rows of the source of that name; None where
    there is neither.

    Raises:
        InputError: several ids begin so.
    """
    ids = _ids(lineage, query.lower()) if is_id(query) else []
    if len(ids) > 1:
        shown = ", ".join(ids[:3])
        raise InputError(f"{query!r} is the start of {len(ids)} record ids", hint=f"add characters: {shown} ...")
    if ids:
        return _of_records(lineage, f"row {ids[0]}", ids)
    places = lineage.shards.of_source(query)
    return Wanted(f"source {query}", lineage.shards.records_of_source(query), 0, places) if places else None


def near_sources(lineage: Lineage, query: str) -> str:
    """What to try instead of a source that isn't there, in words."""
    sources = lineage.shards.sources()
    near = difflib.get_close_matches(query, sources, n=3, cutoff=0.6) or sources[:10]
    return f"sources there are: {', '.join(near)}" if near else ""


def subject(lineage: Lineage, values: Sequence[str], in_text: bool) -> Wanted | None:
    """The rows in which scrub found a value of a person, by its keyed pseudonyms, with all that was made from them;
    None where there is none. `in_text`: also those of which a text holds the value itself.

    Runs in which the value can't be looked for so, since they have another key or no scrub, are gaps of the catalogue,
    unless texts are looked through.
    """
    found = [(run, *pseudonyms(lineage, run, values)) for run in lineage.catalogue.runs]
    for run, _, why in found:
        if why and not in_text:
            _miss(lineage, run, why)
    ids = set(lineage.ledgers.with_evidence(sorted({name for _, names, _ in found for name in names})))
    for value in values if in_text else ():
        ids |= lineage.shards.with_text(value).keys()
    what = f"person of {len(values)} value{'s' * (len(values) > 1)}"
    return _of_records(lineage, what, ids) if ids else None


def _ids(lineage: Lineage, prefix: str) -> list[str]:
    return sorted({*lineage.shards.with_prefix(prefix), *lineage.ledgers.with_prefix(prefix)})


def _of_records(lineage: Lineage, what: str, ids: Collection[str]) -> Wanted:
    made = lineage.descendants(ids)
    stored = lineage.shards.with_ids({*ids, *made})
    return Wanted(what, len({*ids, *made}), len(made), row_set([p for of in stored.values() for p in of]))


def pseudonyms(lineage: Lineage, run: RunRecord, values: Sequence[str]) -> tuple[list[str], str]:
    """What stands for the values in a run, for each kind of personal data that scrub found there; and why a person
    can't be found so ("": can).
    """
    if not run.of_type("dataset"):
        return [], ""
    reports = [a for a in run.of_type("stage_report") if stage_of(a) == "scrub"]
    config = lineage.config(run)
    if not reports or config is None or config.get("scrub") is None:
        return [], NOT_SCRUBBED
    try:
        settings = ScrubConfig.model_validate(config["scrub"])
        key = read_key(settings)
        counts, notes = _reported(lineage, run, reports[-1])
    except (AssayError, ValueError) as e:
        return [], e.what if isinstance(e, AssayError) else "its scrub settings aren't of this version"
    made_by = next((n.removeprefix(_KEY_NOTE) for n in notes if n.startswith(_KEY_NOTE)), "")
    if made_by and made_by != key_fingerprint(key):
        return [], f"its pseudonyms have another key, of fingerprint {made_by}"
    entities = counts.get(_ENTITIES) or settings.replaced
    return [pseudonym(key, entity, value) for entity in entities for value in values], ""


def _reported(
    lineage: Lineage, run: RunRecord, report: ArtifactRecord
) -> tuple[dict[str, dict[str, int]], tuple[str, ...]]:
    """Counts and notes of scrub's report; none where it was removed."""
    try:
        found = lineage.catalogue.store(run).report(report)
    except InputNotFoundError:
        return {}, ()
    return found.counts, found.notes


def _miss(lineage: Lineage, run: RunRecord, why: str) -> None:
    """A person can't be found by pseudonym in a run: a gap."""
    hint = "--in-text also looks through what rows say; set the key that the run had"
    gap = Gap(f"run {run.name}", f"a person can't be found by pseudonym: {why}", hint)
    lineage.catalogue.gaps += [gap] if gap not in lineage.catalogue.gaps else []


def uses_of(lineage: Lineage, wanted: Wanted) -> Uses:
    """Everything that contains some of the rows."""
    versions = []
    for uri, (held, manifest) in lineage.shards.manifests.items():
        near = any(entry.sha256 in wanted.places for entry in manifest.shards)
        version = lineage.shards.version(uri) if near else None
        if version is not None and (rows := version.count(wanted.places)):
            names = tuple(r.name for r in held.runs)
            aside = is_quarantine(held.artifact)
            versions.append(
                InVersion(manifest.digest, manifest.stage, held.artifact.name, names, rows, manifest.rows, aside)
            )
    inside = {name for v in versions for name in v.runs}
    runs = tuple(r.name for r in lineage.catalogue.runs if r.name in inside)
    models = tuple(models_that_saw(lineage, wanted.places))
    return Uses(tuple(versions), runs, models, _exports(lineage, wanted.places))


def _exports(lineage: Lineage, rows: RowSet) -> tuple[InExport, ...]:
    made, broken = exports_made(lineage.catalogue.root)
    lineage.catalogue.gaps += [Gap(str(file), why, "remove it; nothing else names that export") for file, why in broken]
    uris = {manifest.digest: uri for uri, (_, manifest) in lineage.shards.manifests.items()}
    found = []
    for export in made:
        version = lineage.shards.version(uris[export.dataset]) if export.dataset in uris else None
        if version is None:
            why = "the version that this export was made of can't be read, so it may hold some of the rows"
            lineage.catalogue.miss(InputNotFoundError(why, where=export.place))
            continue
        codes = {SPLITS.index(s) for s in export.splits} or {NO_SPLIT, *range(len(SPLITS))}
        count = sum(int(sum(code in codes for code in split.tolist())) for _, _, split in version.among(rows))
        if count:
            found.append(InExport(export.place, export.to, export.run, export.at, count, export.standing))
    return tuple(found)

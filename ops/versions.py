"""Two dataset versions side by side: which rows came, went and changed, and what the ledgers say about why.

A row is the same row when its record id is: it stands for source, place and raw bytes. Joins run in DuckDB.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from materializers.artifacts import Artifacts, going_on, is_quarantine, stage_of
from ops.references import fits_several, is_id, reference
from ops.run_index import LATEST, artifacts_of, find_run, known_runs, not_found
from steps.contracts.dataset import Dataset
from steps.contracts.errors import InputError, InputNotFoundError
from steps.contracts.runs import ArtifactRecord, RunRecord

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

CHANGES = ("added", "removed", "changed")
NEW, GONE, UNKNOWN = "new in the sources", "no longer in the sources", "not in the ledgers"
_COLUMNS = pa.schema([(name, pa.string()) for name in ("record_id", "content_id", "source", "split")])

# Per row that differs: change, source, splits before and after, whether its text did, and whether the other version
# holds the same text under another id.
_DIFFERENT = """
CREATE TEMP TABLE different AS
SELECT record_id,
       CASE WHEN a.record_id IS NULL THEN 'added' WHEN b.record_id IS NULL THEN 'removed' ELSE 'changed' END AS change,
       split_part(coalesce(b.source, a.source), '/', 1) AS source,
       a.split AS split_a, b.split AS split_b,
       a.content_id IS DISTINCT FROM b.content_id AS text_differs,
       CASE WHEN a.record_id IS NULL THEN b.content_id IN (SELECT content_id FROM a)
            WHEN b.record_id IS NULL THEN a.content_id IN (SELECT content_id FROM b) ELSE false END AS same_text
FROM a FULL JOIN b USING (record_id)
WHERE a.content_id IS DISTINCT FROM b.content_id OR a.split IS DISTINCT FROM b.split
   OR a.record_id IS NULL OR b.record_id IS NULL
"""
# What ended a row in a run: the last of its lines there, since a row that is gone meets no later stage.
_ENDS = """
SELECT record_id, arg_max(verdict || ' by ' || stage || ': ' || reason, place) AS why
FROM {ledger} WHERE verdict IN ('dropped', 'quarantined') AND record_id IN (SELECT record_id FROM different)
GROUP BY record_id
"""
# Rows that one run made out of a row that the other run read as well, but made nothing or something else of.
_MADE = """
SELECT record_id, min(stage || ': ' || reason) AS why
FROM (SELECT record_id, stage, reason, unnest(parents) AS parent FROM ledger_{own}
      WHERE verdict = 'created' AND record_id IN (SELECT record_id FROM different))
WHERE parent IN (SELECT record_id FROM ledger_{other} UNION ALL SELECT record_id FROM {other}) GROUP BY record_id
"""
# What stages said about rows in either run when they changed or made them; `runs` counts the runs that said just that.
_SAID = """
CREATE TEMP TABLE said AS
SELECT record_id, stage, reason, verdict, evidence, count(DISTINCT run) AS runs
FROM (SELECT 'a' AS run, * FROM ledger_a UNION ALL SELECT 'b' AS run, * FROM ledger_b)
WHERE verdict IN ('changed', 'created') AND record_id IN (SELECT record_id FROM different WHERE text_differs)
GROUP BY ALL
"""
# Stages that said something else about a row in one run than in the other; else those that changed it in both.
# Pipelines that look at rows and make no dataset of them.
_LOOKING = ("monitor", "data_report")
_STAGES = """
SELECT record_id, string_agg(DISTINCT stage || ': ' || reason, ', ' ORDER BY stage || ': ' || reason) AS why
FROM said WHERE {which} GROUP BY record_id
"""
_EXPLAINED = f"""
CREATE TEMP TABLE explained AS
SELECT d.*, CASE
  WHEN change = 'removed' THEN coalesce(end_b.why, 'no longer made by ' || made_a.why, '{GONE}')
  WHEN change = 'added' THEN coalesce('before: ' || end_a.why, 'newly made by ' || made_b.why, '{NEW}')
  WHEN text_differs THEN coalesce(otherwise.why, 'another text by ' || alike.why, '{UNKNOWN}')
  ELSE 'split: ' || coalesce(split_a, 'none') || ' to ' || coalesce(split_b, 'none') END AS why
FROM different d
LEFT JOIN ({_ENDS.format(ledger="ledger_a")}) end_a USING (record_id)
LEFT JOIN ({_ENDS.format(ledger="ledger_b")}) end_b USING (record_id)
LEFT JOIN ({_MADE.format(own="a", other="b")}) made_a USING (record_id)
LEFT JOIN ({_MADE.format(own="b", other="a")}) made_b USING (record_id)
LEFT JOIN ({_STAGES.format(which="runs = 1")}) otherwise USING (record_id)
LEFT JOIN ({_STAGES.format(which="runs = 2 AND verdict = 'changed'")}) alike USING (record_id)
"""


@dataclass(frozen=True)
class Version:
    """A dataset version and the run that it was found in."""

    run: RunRecord
    artifact: ArtifactRecord
    dataset: Dataset
    # Whether its rows went through scrub, so that their text may be shown.
    scrubbed: bool


@dataclass(frozen=True)
class Example:
    """One row that differs; `same_text`: the other version says the same under another id."""

    change: str
    record_id: str
    why: str
    same_text: bool


@dataclass(frozen=True)
class Difference:
    """What changed from version a to version b.

    Attributes:
        totals: rows per change (added, removed, changed).
        moved: added rows whose text stands in a under another id, and removed ones whose text stands in b.
        why: (change, reason, rows), most rows first.
        by_source, by_split: (name, rows added, removed, changed); a changed row counts under its split in b.
        examples: of each change the rows with the smallest ids.
    """

    totals: dict[str, int]
    moved: dict[str, int]
    why: list[tuple[str, str, int]]
    by_source: list[tuple[str, int, int, int]]
    by_split: list[tuple[str, int, int, int]]
    examples: list[Example]

    @property
    def same(self) -> bool:
        """Whether no row differs."""
        return not any(self.totals.values())


def find_version(root: Path, query: str, stage: str | None = None) -> Version:
    """The version that a run (by name, id or the beginning of one, or 'latest') left, or the one with that digest.

    `run:NAME` and `dataset:DIGEST` say which of both is meant. `stage`: of a run's versions, the one that this stage
    left; default: the last.

    Raises:
        InputNotFoundError: nothing fits, or the run made no such dataset.
        InputError: several digests begin so, or a run and a digest do.
    """
    wanted = reference(query, "run", "dataset")
    runs = known_runs(root)
    if wanted.name == LATEST and wanted.may_be("run"):
        run = next((r for r in runs if going_on(r) and r.pipeline not in _LOOKING), None)
        if run is None:
            raise not_found(root, InputNotFoundError("no run has made a dataset yet", hint="assay run CONFIG"))
        return _open(root, run, _left_by(run, stage))
    digests = {a.digest: (r, a) for r in reversed(runs) for a in r.of_type("dataset") if _begins(a.digest, wanted.name)}
    by_digest = digests if wanted.may_be("dataset") else {}
    named = [
        r for r in runs if r.run_id == wanted.name or r.name.startswith(wanted.name) or r.config_name == wanted.name
    ]
    if by_digest and named and wanted.kind is None:
        raise fits_several(wanted.name, ("run", "dataset"))
    if by_digest or wanted.kind == "dataset":
        return _open(root, *only_of(by_digest, wanted.name))
    run = find_run(root, wanted.name)
    return _open(root, run, _left_by(run, stage))


def newest_completed(root: Path, config_name: str) -> Version | None:
    """What the newest completed run of a config ended with: what `dataset: latest` means; None without one."""
    of_config = (r for r in known_runs(root) if r.config_name == config_name and r.pipeline not in _LOOKING)
    run = next((r for r in of_config if r.status == "completed" and going_on(r)), None)
    return None if run is None else _open(root, run, going_on(run)[-1])


def trained_on(root: Path, wanted: str, config_name: str) -> Version:
    """The dataset version that the config's `dataset` means, as the index of runs knows it.

    Raises:
        InputNotFoundError: there is none.
    """
    if wanted.startswith("models:/"):
        return _of_model(root, wanted)
    found = newest_completed(root, config_name if wanted == LATEST else wanted)
    if found is None and wanted == LATEST:
        raise InputNotFoundError(
            f"no completed run of {config_name} has made a dataset yet",
            hint="name the config that makes it, such as dataset: support; `assay runs --sync` looks in ZenML's store",
        )
    version = found or find_version(root, wanted)
    if version.run.pipeline in _LOOKING:
        raise InputNotFoundError(
            "what production was asked is no dataset to train on", where=wanted,
            hint="let its candidates go through a curation: docs/stages/monitor.md",
        )  # fmt: skip
    return version


def _of_model(root: Path, wanted: str) -> Version:
    """What a registered model was trained on."""
    from ops.found_models import find_model

    digest = find_model(root, wanted).model.info.dataset_digest
    if not digest:
        raise InputNotFoundError("nothing is known of what this model was trained on", where=wanted)
    return find_version(root, digest)


def _left_by(run: RunRecord, stage: str | None) -> ArtifactRecord:
    """The run's last version, or the one that a stage left."""
    versions = going_on(run)
    if not versions:
        raise InputNotFoundError("this run made no dataset", where=f"run {run.name}", hint="name a run that curates")
    if stage is None:
        return versions[-1]
    found = [a for a in versions if stage_of(a) == stage]
    if not found:
        hint = "one of " + ", ".join(dict.fromkeys(map(stage_of, versions)))
        raise InputNotFoundError(f"no version of stage {stage!r}", where=f"run {run.name}", hint=hint)
    return found[-1]


def only_of(found: Mapping[Any, tuple[RunRecord, ArtifactRecord]], digest: str) -> tuple[RunRecord, ArtifactRecord]:
    """The one version whose digest begins so.

    Raises:
        InputNotFoundError: there is none. InputError: there are several.
    """
    if not found:
        raise InputNotFoundError(f"no dataset version whose digest begins with {digest!r}", hint="assay runs RUN")
    if len(found) > 1:
        raise InputError(f"{digest!r} is the start of {len(found)} dataset digests", hint="add characters")
    return next(iter(found.values()))


def version_before(root: Path, version: Version) -> Version:
    """The last version of the newest earlier run of the same config.

    Raises:
        InputNotFoundError: there is none.
    """
    runs = known_runs(root)
    earlier = runs[runs.index(version.run) + 1 :]
    run = next((r for r in earlier if r.config_name == version.run.config_name and going_on(r)), None)
    if run is None:
        raise InputNotFoundError(
            f"{version.run.name} is the first run of its config with a dataset, so there is none before it",
            where=LATEST,
            hint="name two runs: assay diff RUN RUN",
        )
    return _open(root, run, going_on(run)[-1])


def _begins(digest: str | None, query: str) -> bool:
    return digest is not None and is_id(query[:32]) and digest.startswith(query.lower())


def _open(root: Path, run: RunRecord, artifact: ArtifactRecord) -> Version:
    store = artifacts_of(root, run)
    versions = run.of_type("dataset")
    before = versions[: versions.index(artifact) + 1]
    # Rows that scrub itself set aside still hold what it couldn't search.
    aside = is_quarantine(artifact) and store.manifest(artifact).stage == "scrub"
    scrubbed = not aside and any(store.manifest(a).stage == "scrub" and not is_quarantine(a) for a in before)
    return Version(run, artifact, store.dataset(artifact), scrubbed)


def compare(root: Path, a: Version, b: Version, examples: int) -> Difference:
    """What changed from a to b, with at most `examples` rows per change."""
    import duckdb

    with duckdb.connect() as db:
        for name, version in (("a", a), ("b", b)):
            _load_rows(db, name, version.dataset)
            _load_ledgers(db, f"ledger_{name}", artifacts_of(root, version.run), version.run)
        db.execute(_DIFFERENT)
        db.execute(_SAID)
        db.execute(_EXPLAINED)
        return Difference(
            totals={c: _count(db, f"change = '{c}'") for c in CHANGES},
            moved={c: _count(db, f"change = '{c}' AND same_text") for c in ("added", "removed")},
            why=_all(db, "SELECT change, why, count(*) FROM explained GROUP BY ALL ORDER BY 3 DESC, 1, 2"),
            by_source=_per(db, "source"),
            by_split=_per(db, "coalesce(split_b, split_a, '(none)')"),
            examples=[Example(*row) for c in CHANGES for row in _examples(db, c, examples)],
        )


def _load_rows(db: "DuckDBPyConnection", name: str, dataset: Dataset) -> None:
    reader = pa.RecordBatchReader.from_batches(_COLUMNS, _batches(dataset))
    db.register("reader", reader)
    db.execute(f"CREATE TEMP TABLE {name} AS SELECT * FROM reader")
    db.unregister("reader")


def _batches(dataset: Dataset) -> Iterator[pa.RecordBatch]:
    for chunk in dataset.chunks(_COLUMNS.names):
        yield from chunk.table.select(_COLUMNS.names).cast(_COLUMNS).to_batches()


def _load_ledgers(db: "DuckDBPyConnection", name: str, store: Artifacts, run: RunRecord) -> None:
    """All ledger lines of a run; `place` counts its stages in their order."""
    db.execute(
        f"CREATE TEMP TABLE {name} (record_id VARCHAR, stage VARCHAR, verdict VARCHAR, reason VARCHAR,"
        " evidence VARCHAR, parents VARCHAR[], place INTEGER)"
    )
    for place, artifact in enumerate(run.of_type("ledger")):
        db.execute(
            f"INSERT INTO {name} SELECT record_id, stage, verdict, reason, evidence, parents, $place"
            " FROM read_parquet($file)",
            {"place": place, "file": str(store.ledger(artifact).path)},
        )


def _count(db: "DuckDBPyConnection", where: str) -> int:
    return int(_all(db, f"SELECT count(*) FROM explained WHERE {where}")[0][0])


def _per(db: "DuckDBPyConnection", column: str) -> list[tuple[str, int, int, int]]:
    counts = ", ".join(f"count(*) FILTER (change = '{c}')" for c in CHANGES)
    return _all(db, f"SELECT {column}, {counts} FROM explained GROUP BY 1 ORDER BY 1")


def _examples(db: "DuckDBPyConnection", change: str, most: int) -> list[tuple[Any, ...]]:
    query = "SELECT change, record_id, why, same_text FROM explained WHERE change = $change ORDER BY record_id LIMIT $n"
    found: list[tuple[Any, ...]] = db.execute(query, {"change": change, "n": most}).fetchall()
    return found


def _all(db: "DuckDBPyConnection", query: str) -> list[tuple[Any, ...]]:
    found: list[tuple[Any, ...]] = db.execute(query).fetchall()
    return found

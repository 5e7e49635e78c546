"""Apply human decisions: accepted rows come back, edited rows have their new content, dropped rows go."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from steps.contracts.context import StageContext
from steps.contracts.dataset import Dataset
from steps.contracts.digests import value_digest
from steps.contracts.errors import IntegrityError
from steps.contracts.ledger import LedgerWriter, Verdict
from steps.contracts.outcome import Outcome
from steps.contracts.records import SCHEMA, Row
from steps.contracts.reports import StageReport, Table
from steps.engines.progress.progress import Stopwatch
from steps.review.config import ReviewConfig
from steps.review.decisions import HumanDecision, latest, read
from steps.review.edit_pairs import edit_pair
from steps.review.edits import edited

_VERDICTS: dict[str, tuple[Verdict, str]] = {
    "accept": ("kept", "human_accepted"),
    "edit": ("changed", "human_edited"),
    "drop": ("dropped", "human_dropped"),
}


@dataclass
class _Applied:
    """The decisions by row, the ledger, and what was done with each decision (by its key).

    unsearched: decisions about rows of this data that hold under another search only. as_pairs: whether edits make
    `pairs` as well.
    """

    decisions: dict[tuple[str, str], HumanDecision]
    search: str
    ledger: LedgerWriter
    done: dict[tuple[str, str], str] = field(default_factory=dict)
    unsearched: set[tuple[str, str]] = field(default_factory=set)
    as_pairs: bool = False
    pairs: list[Row] = field(default_factory=list)

    def about(self, row: Row) -> HumanDecision | None:
        """The decision about the row as it is now, when it can be applied."""
        key = _key(row)
        decision = self.decisions.get(key)
        if decision is None or decision.holds_under(self.search):
            return decision
        self.unsearched.add(key)
        return None

    def apply(self, row: Row, decision: HumanDecision) -> Row | None:
        """Write the decision to the ledger; the row as it goes on, None when it doesn't."""
        new = edited(row, decision.content) if decision.choice == "edit" else row
        if decision.meta is not None:
            new = {**new, "meta": decision.meta}
        if decision.choice == "edit" and new["content_id"] != decision.content_after:
            raise IntegrityError("an edit doesn't make the content that it names", where=f"row {row['record_id']}")
        verdict, reason = _VERDICTS[decision.choice]
        evidence: dict[str, Any] = {
            "by": decision.by, "when": decision.when, "why": decision.why, "set aside by": decision.stage,
            "before": row["content_id"], "after": new["content_id"],
        }  # fmt: skip
        if decision.checked is not None:
            evidence |= decision.checked.model_dump(mode="json", exclude={"search"}, exclude_defaults=True)
        self.ledger.add(row["record_id"], verdict, reason, evidence=evidence)
        self.done[row["record_id"], row["content_id"]] = reason
        if self.as_pairs and (pair := edit_pair(row, new, decision)) is not None:
            self.ledger.add(pair["record_id"], "created", "edit_as_pair", evidence=evidence, parents=pair["parents"])
            self.pairs.append(pair)
        return None if decision.choice == "drop" else new


def review(rows: Dataset, config: ReviewConfig, ctx: StageContext) -> Outcome:
    """The version after the decisions, about rows that go on and those in `ctx.quarantined`.

    A decision is about a row as a person saw it: where the row's content is another one now, it isn't applied. It is
    applied to a row that goes on as well, so that a row which a changed config lets pass is still dropped or edited.
    `rows_in` counts the rows that go on and those set aside that a decision was about.

    New content that wasn't searched for personal data as `ctx.search` says isn't applied.

    Raises:
        InputNotFoundError: no such file of decisions, below `ctx.root`. IntegrityError: a line of it was damaged.
    """
    watch = Stopwatch()
    decisions = latest(d for name in config.decisions for d in read(ctx.root / name))
    with LedgerWriter(ctx.folder / "ledger.parquet", "review") as ledger:
        applied = _Applied(decisions, ctx.search, ledger, as_pairs=config.edits_as_pairs)
        rewriter = rows.rewriter(ctx.folder, "review")
        ids = pa.array(sorted({record for record, _ in decisions}), pa.string())
        for chunk in rows.chunks():
            rewriter.put(chunk, *_decided(chunk.table, ids, applied))
        taken = list(_rows_of(ctx.quarantined, ids, applied))
        returned = [new for row in taken if (new := applied.apply(row, applied.decisions[_key(row)]))]
        if returned or applied.pairs:
            rewriter.add(pa.Table.from_pylist([*returned, *applied.pairs], schema=SCHEMA))
        after = rewriter.close()
        written = ledger.close()
    report = _report(applied, config, (rows.rows, len(taken), after.rows), watch)
    return Outcome(after, written, report.balanced())


def _key(row: Row) -> tuple[str, str]:
    return row["record_id"], row["content_id"]


def _decided(table: pa.Table, ids: pa.Array, applied: _Applied) -> tuple[pa.Table | None, np.ndarray | None]:
    """The chunk's new content (None: as it is) and what stays of it (None: all)."""
    decided = np.flatnonzero(pc.is_in(table["record_id"], value_set=ids).to_numpy(zero_copy_only=False))
    if not len(decided):
        return None, None
    keep = np.ones(table.num_rows, bool)
    changed: dict[int, Row] = {}
    for at, row in zip(decided.tolist(), table.take(pa.array(decided)).to_pylist(), strict=True):
        decision = applied.about(row)
        if decision is None:
            continue
        if decision.choice == "accept":
            applied.done[_key(row)] = "kept anyway"
            continue
        new = applied.apply(row, decision)
        keep[at] = new is not None
        if new is not None:
            changed[at] = new
    if not changed:
        return None, keep
    rows = table.to_pylist()
    return pa.Table.from_pylist([changed.get(i, row) for i, row in enumerate(rows)], schema=table.schema), keep


def _rows_of(quarantined: Sequence[Dataset], ids: pa.Array, applied: _Applied) -> Iterator[Row]:
    """The rows set aside that a decision is about, by record id."""
    found: dict[str, Row] = {}
    for version in quarantined:
        for table in version.tables():
            for row in table.filter(pc.is_in(table["record_id"], value_set=ids)).to_pylist():
                if applied.about(row) is not None:
                    found[row["record_id"]] = row
    yield from (found[record] for record in sorted(found))


def _report(applied: _Applied, config: ReviewConfig, rows: tuple[int, int, int], watch: Stopwatch) -> StageReport:
    """`rows`: going on before, taken up from those set aside, going on after."""
    ledger = applied.ledger
    done = Counter(applied.done.values())
    unsearched = len(applied.unsearched)
    missing = len(applied.decisions) - len(applied.done) - unsearched
    people = Counter((d.by, applied.done[k]) for k, d in applied.decisions.items() if k in applied.done)
    notes = [
        (
            missing,
            " decisions are about rows that aren't in this data, or have another content than the person"
            " saw; they were not applied",
        ),
        (
            unsearched,
            " decisions let content through that wasn't searched for personal data with this run's"
            " settings and key; they were not applied: assay review asks about these rows again",
        ),
    ]
    open_ = {"not applied": missing, "not searched": unsearched}
    values: Counter[str] = Counter()
    for key in applied.done:
        if (checked := applied.decisions[key].checked) is not None:
            values.update(checked.replaced)
    return StageReport(
        stage="review",
        rows_in=rows[0] + rows[1],
        created=ledger.total("created"),
        kept=rows[2],
        dropped=ledger.total("dropped"),
        dropped_by=dict(ledger.counts["dropped"]),
        changed=ledger.total("changed"),
        counts={
            "decisions": {**dict(sorted(done.items())), **{what: n for what, n in open_.items() if n}},
            **({"personal data replaced in edits": dict(sorted(values.items()))} if values else {}),
        },
        tables=(
            Table(
                title="Who decided",
                columns=("person", "decision", "rows"),
                rows=tuple((by, what, rows) for (by, what), rows in sorted(people.items())),
            ),
        ) if people else (),
        notes=tuple(f"{n}{what}" for n, what in notes if n),
        config_digest=value_digest(config.model_dump(mode="json")),
        seconds=watch.seconds,
        cpu_seconds=watch.cpu_seconds,
    )  # fmt: skip

"""Accepted and corrected answers as rows of the next dataset version: scrubbed, and only where somebody has agreed."""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from steps.contracts.dataset import Dataset, DatasetWriter
from steps.contracts.digests import canonical_json, text_digest
from steps.contracts.ledger import LedgerWriter
from steps.contracts.monitoring import CANDIDATE
from steps.contracts.records import SCHEMA, Kind, Row, make_row
from steps.contracts.storage import write_whole
from steps.engines.formats.format import AS_USUAL
from steps.engines.formats.openai import read, write
from steps.engines.formats.rejected import RowRejected
from steps.monitor.config import CandidatesConfig

# Reason codes of the ledger: of rows that were made, and of what was said of an answer and couldn't be used.
ACCEPTED, CORRECTED, PREFERRED = "accepted", "corrected", "corrected_over_given"
NO_CONSENT, REJECTED, NO_TEXT = "no_consent", "rejected_without_correction", "no_text"
# Chosen: long enough that no two files get one name.
_NAME = 24


def make_candidates(
    rows: Dataset, facts: Mapping[str, Mapping[str, Any]], config: CandidatesConfig, folder: Path, lines: LedgerWriter
) -> Dataset:
    """The candidates as a version of their own, in order of their ids; every word that somebody said of an answer has a
    line in the ledger.

    An accepted answer gives a conversation. A corrected one gives a conversation that ends with the correction, and a
    preference for it over the answer that was given. Parents are the records of the log's lines.
    """
    made: list[Row] = []
    left = {record_id for record_id, f in facts.items() if f["feedback"] or f["corrected"]}
    for row in _rows(rows, left):
        fact = facts[row["record_id"]]
        left.discard(row["record_id"])
        if not fact["corrected"] and fact["feedback"] != "accepted":
            lines.add(row["record_id"], "flagged", REJECTED)
        elif fact["consent"] not in config.consents:
            lines.add(row["record_id"], "flagged", NO_CONSENT)
        elif found := [one for one in _of_row(row, fact) if _can_be_read(one)]:
            made += found
        else:
            lines.add(row["record_id"], "flagged", NO_TEXT)
    for record_id in sorted(left):
        lines.add(record_id, "flagged", NO_TEXT)
    made.sort(key=lambda r: (r["kind"], r["record_id"]))
    for row in made:
        meta = json.loads(row["meta"])
        lines.add(row["record_id"], "created", meta["from_log"], evidence=meta, parents=row["parents"])
    writer = DatasetWriter(folder, "monitor")
    writer.write(pa.Table.from_pylist(made, schema=SCHEMA))
    return writer.close()


def _rows(rows: Dataset, wanted: set[str]) -> Iterator[Row]:
    found = {row["record_id"]: row for row in rows.iter_rows() if row["record_id"] in wanted}
    return iter([found[record_id] for record_id in sorted(found)])


def _of_row(row: Row, fact: Mapping[str, Any]) -> Iterator[Row]:
    if row["kind"] == "preference":
        yield _made("conversation", CORRECTED, row, fact, messages=[*row["messages"], *row["chosen"]])
        sides = {name: row[name] for name in ("messages", "chosen", "rejected")}
        yield _made("preference", PREFERRED, row, fact, **sides)
    elif not fact["failed"] and _is_answered(row):
        # A correction that says what the answer said accepts it.
        yield _made("conversation", ACCEPTED, row, fact, messages=row["messages"])


def _can_be_read(row: Row) -> bool:
    """Whether ingest would take it: a pair whose given answer says nothing isn't one, a blank correction no answer."""
    try:
        return bool(read(write(row), AS_USUAL).drafts)
    except RowRejected:
        return False


def _is_answered(row: Row) -> bool:
    """Whether the last message is an answer that says or calls something."""
    last = row["messages"][-1] if row["messages"] else {"role": ""}
    return last["role"] == "assistant" and bool(last["content"].strip() or last["tool_calls"])


def _made(
    kind: Kind,
    way: str,
    row: Row,
    fact: Mapping[str, Any],
    messages: list[Row],
    chosen: list[Row] | None = None,
    rejected: list[Row] | None = None,
) -> Row:
    meta = {"from_log": way, "consent": fact["consent"], "line": row["locator"]}
    return make_row(
        kind=kind, source=row["source"], locator=f"{row['locator']}:{way}",
        raw=canonical_json([messages, chosen, rejected]).encode(),
        messages=messages, chosen=chosen, rejected=rejected, tools=row["tools"], parents=[row["record_id"]], meta=meta,
    )  # fmt: skip


def publish(candidates: Dataset, folder: Path) -> int:
    """Add the candidates that the folder doesn't have to it, as JSON Lines that ingest reads; returns how many.

    Files are named by their content, and written whole or not at all. Of two that add the same at once both may: dedup
    drops the second.
    """
    known = set(_known(folder))
    new = [(row["record_id"], row) for row in candidates.iter_rows() if row["record_id"] not in known]
    if not new:
        return 0
    lines = [json.dumps({**write(row), CANDIDATE: record_id}, ensure_ascii=False) for record_id, row in new]
    text = "".join(f"{line}\n" for line in sorted(lines))
    file = folder / f"candidates-{text_digest(text)[:_NAME]}.jsonl"
    write_whole(file, text)
    os.chmod(file, 0o600)  # noqa: PTH101 - what people have said is for its owner
    return len(new)


def _known(folder: Path) -> Iterator[str]:
    """Record ids of what the folder has; a line that isn't ours is nobody's."""
    for file in sorted(folder.glob("candidates-*.jsonl")):
        with file.open("rb") as lines:
            for line in lines:
                try:
                    value = json.loads(line)
                except ValueError:
                    continue
                if isinstance(value, dict) and isinstance(value.get(CANDIDATE), str):
                    yield value[CANDIDATE]


def counts_of(lines: LedgerWriter) -> dict[str, int]:
    """What was said of answers, and what came of it."""
    verdicts: Sequence[Any] = ("created", "flagged")
    return {reason: n for v in verdicts for reason, n in sorted(lines.counts[v].items())}

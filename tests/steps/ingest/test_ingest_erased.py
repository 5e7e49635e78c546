"""What was erased doesn't come back with the next reading of its source, and leaves only the name of the erasure."""

import json
from pathlib import Path

import pyarrow.parquet as pq

from steps.contracts.context import StageContext
from steps.contracts.outcome import Outcome
from steps.contracts.tombstones import INPUT, Tombstone, Tombstones, value_of
from steps.ingest.config import IngestConfig
from steps.ingest.ingest import ingest, input_digests

SALT = "ab" * 16
EMAIL = "zoe.quill@canary.example"


def source(folder: Path, rows: int = 400) -> Path:
    """Pairs enough for the bulk reader; every 50th names a person, two lines can't be read, and one of them does."""
    lines = [
        json.dumps({"prompt": f"Question {i}" + (f" of {EMAIL}" if i % 50 == 7 else ""), "completion": f"Answer {i}"})
        for i in range(rows)
    ]
    lines += [json.dumps({"prompt": f"about {EMAIL}"}), json.dumps({"prompt": "about lamps"})]
    path = folder / "mails.jsonl"
    path.write_text("\n".join(lines) + "\n")
    return path


def read(folder: Path, path: Path, *erased: Tombstone, **more: object) -> Outcome:
    config = IngestConfig.model_validate({"sources": [{"name": "mails", "path": str(path)}], "max_reject_share": 0.1})
    return ingest(None, config, StageContext(folder, tombstones=Tombstones(erased), **more))  # type: ignore[arg-type]


def stored(outcome: Outcome) -> str:
    """All that is stored, as text."""
    rows = json.dumps(list(outcome.rows.iter_rows())) if outcome.rows else ""
    ledger = pq.read_table(outcome.ledger.path).to_pylist()
    return rows + str(ledger) + outcome.artifacts["rejects"].path.read_text() + outcome.report.model_dump_json()


def test_rows_with_an_erased_value_are_refused(tmp_path: Path) -> None:
    path = source(tmp_path)
    before = read(tmp_path / "before", path)
    gone = [r for r in before.rows.iter_rows() if EMAIL in json.dumps(r)]
    assert len(gone) == 8 and before.rows.rows == 400
    after = read(
        tmp_path / "after", path, Tombstone(erasure="e1", erased="", salt=SALT, values=(value_of(EMAIL, SALT),))
    )
    assert after.rows.rows == 392 and after.report.dropped_by == {"erased": 9, "missing_column": 1}
    assert after.report.balanced() is after.report
    said = stored(after)
    assert EMAIL in stored(before) and EMAIL not in said and not any(r["record_id"] in said for r in gone)
    kept = [r["record_id"] for r in before.rows.iter_rows() if r not in gone]
    assert [r["record_id"] for r in after.rows.iter_rows()] == kept


def test_rows_are_refused_by_id_and_by_content_in_bulk_as_one_by_one(tmp_path: Path) -> None:
    path = source(tmp_path)
    rows = list(read(tmp_path / "before", path).rows.iter_rows())
    erased = Tombstone(
        erasure="e1",
        erased="",
        records=(rows[3]["record_id"], rows[300]["record_id"]),
        contents=(rows[200]["content_id"],),
    )
    after = read(tmp_path / "after", path, erased)
    ids = {r["record_id"] for r in after.rows.iter_rows()}
    assert {r["record_id"] for r in rows} - ids == {rows[i]["record_id"] for i in (3, 200, 300)}
    assert after.report.dropped_by["erased"] == 3


def test_a_reading_from_before_an_erasure_is_not_taken_over(tmp_path: Path) -> None:
    path = source(tmp_path)
    config = IngestConfig.model_validate({"sources": [{"name": "mails", "path": str(path)}], "max_reject_share": 0.1})
    digests = input_digests(config, Path())
    before = read(tmp_path / "before", path, inputs=digests)
    earlier = {"ingested": before.rows, "ingest_ledger": before.ledger, **before.artifacts}
    again = read(tmp_path / "again", path, inputs=digests, earlier=earlier)
    assert any("not read: 402 rows" in n for n in again.report.notes)
    erased = Tombstone(erasure="e1", erased="", records=(next(before.rows.iter_rows())["record_id"],))
    known = {**digests, INPUT: Tombstones((erased,)).digest}
    after = read(tmp_path / "after", path, erased, inputs=known, earlier=earlier)
    assert any("because rows were erased" in n for n in after.report.notes) and after.rows.rows == 399

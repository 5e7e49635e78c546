from pathlib import Path

import pytest

from steps.contracts.errors import IntegrityError
from steps.contracts.ledger import LEDGER_SCHEMA, LedgerWriter
from steps.contracts.reports import StageReport


def test_lines_come_back_and_are_counted(tmp_path: Path) -> None:
    writer = LedgerWriter(tmp_path / "ledger.parquet", "dedup")
    writer.add("a", "dropped", "near_duplicate", score=0.9, evidence={"witness": "b"}, parents=["b"])
    writer.add("c", "flagged", "contradiction")
    ledger = writer.close()
    table = ledger.read()
    assert table.schema.equals(LEDGER_SCHEMA)
    assert ledger.rows == 2
    assert writer.counts["dropped"] == {"near_duplicate": 1}
    assert table.to_pylist()[0]["evidence"] == '{"witness":"b"}'


def test_failed_stage_leaves_no_ledger(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), LedgerWriter(tmp_path / "ledger.parquet", "dedup") as writer:
        writer.add("a", "dropped", "x")
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def report(**counts: object) -> StageReport:
    return StageReport(stage="s", config_digest="0", seconds=1.0, cpu_seconds=1.0, **counts)  # type: ignore[arg-type]


def test_books_must_balance() -> None:
    report(
        rows_in=5, created=1, kept=4, dropped=1, quarantined=1, dropped_by={"x": 1}, quarantined_by={"y": 1}
    ).balanced()
    with pytest.raises(IntegrityError, match="!="):
        report(rows_in=5, kept=4).balanced()
    with pytest.raises(IntegrityError, match="by reason"):
        report(rows_in=5, kept=4, dropped=1).balanced()

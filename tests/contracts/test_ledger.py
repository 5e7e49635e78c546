from pathlib import Path

import pyarrow as pa
import pytest
from pydantic import ValidationError

from steps.contracts import ledger as ledger_module
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
    with pytest.raises(AssertionError, match="!="):
        report(rows_in=5, kept=4).balanced()
    with pytest.raises(AssertionError, match="by reason"):
        report(rows_in=5, kept=4, dropped=1).balanced()


def test_an_unbalanced_report_says_which_books_and_where() -> None:
    with pytest.raises(AssertionError) as unlike:
        report(rows_in=5, created=1, kept=2, dropped=3, quarantined=4).balanced()
    assert str(unlike.value) == "stage s: 5 in + 1 created != 2 kept + 3 dropped + 4 quarantined"
    for name in ("dropped", "quarantined"):
        with pytest.raises(AssertionError) as unnamed:
            report(rows_in=4, kept=1, **{name: 3, f"{name}_by": {"x": 1, "y": 1}}).balanced()
        assert str(unnamed.value) == f"stage s: {name}: 3 rows, but 2 by reason"


def test_rows_per_second_of_no_time_are_none() -> None:
    assert report(rows_in=30, kept=30).model_copy(update={"seconds": 1.5}).rows_per_second == 20.0
    assert report(rows_in=30, kept=30).model_copy(update={"seconds": 0.0}).rows_per_second == 0.0


def test_a_report_is_closed_immutable_and_finite() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        report(rows_in=1, kept=1).kept = 2
    with pytest.raises(ValidationError, match="extra"):
        report(rows_in=1, kept=1, more=1)
    with pytest.raises(ValidationError, match="finite"):
        report(
            rows_in=1, kept=1, series=({"title": "", "x_label": "", "y_label": "", "x": [0.0], "y": [float("nan")]},)
        )
    assert report(rows_in=0, kept=0).model_dump(include={"created", "dropped", "changed", "flagged", "undecided"}) == {
        "created": 0, "dropped": 0, "changed": 0, "flagged": 0, "undecided": 0
    }  # fmt: skip


def test_lines_go_out_in_pieces_and_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger_module, "_FLUSH_ROWS", 2)
    with LedgerWriter(tmp_path / "not there yet" / "ledger.parquet", "dedup") as writer:
        for n in range(3):
            writer.add(str(n), "dropped", "x" if n else "y")
            assert (writer.rows, len(writer._lines)) == (n + 1, (1, 0, 1)[n])
        lines = {"record_id": ["3", "4"], "verdict": ["dropped", "kept"], "reason": ["x", "z"], "score": [0.5, None]}
        writer.add_table(pa.table({**lines, "evidence": ["{}", "{}"], "parents": pa.array([["0"], []])}))
        writer.add_table(pa.table({**lines, "evidence": ["{}", "{}"], "parents": pa.array([["0"], []])}).slice(0, 0))
        writer.add("5", "flagged", "w")
        assert (writer.rows, writer.total("dropped"), writer.total("kept")) == (6, 4, 1)
        assert writer.counts["dropped"] == {"y": 1, "x": 3}
        ledger = writer.close()
    assert (ledger.rows, ledger.path) == (6, writer.path)
    table = ledger.read()
    assert table.schema.equals(LEDGER_SCHEMA)
    assert [(r["record_id"], r["stage"], r["verdict"], r["reason"]) for r in table.to_pylist()] == [
        ("0", "dedup", "dropped", "y"), ("1", "dedup", "dropped", "x"), ("2", "dedup", "dropped", "x"),
        ("3", "dedup", "dropped", "x"), ("4", "dedup", "kept", "z"), ("5", "dedup", "flagged", "w"),
    ]  # fmt: skip
    assert [(r["score"], r["evidence"], r["parents"]) for r in table.to_pylist()][2:4] == [
        (None, "{}", []), (0.5, "{}", ["0"])
    ]  # fmt: skip
    assert [p.name for p in ledger.path.parent.iterdir()] == ["ledger.parquet"]


def test_a_ledger_has_its_name_only_when_it_is_whole(tmp_path: Path) -> None:
    with LedgerWriter(tmp_path / "ledger.parquet", "dedup") as writer:
        assert not writer.path.exists() and len(list(tmp_path.iterdir())) == 1
    assert writer.path.exists()

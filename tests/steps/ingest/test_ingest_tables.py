"""Parquet, Arrow and Excel: a value that can't be read costs its row, and a file is no more than its size allows."""

import datetime
import io
import sys

import numpy as np
import openpyxl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from steps.contracts.errors import InputError, MissingDependencyError
from steps.ingest.streams import Bounds
from steps.ingest.tables import parquet_batches

PAIRS = [{"prompt": f"q{i}", "completion": f"a{i}"} for i in range(5)]


def asked(got):
    return [r["messages"][0]["content"] for r in got.rows.iter_rows()]


def written(table, **options):
    out = io.BytesIO()
    pq.write_table(table, out, **options)
    return out.getvalue()


def arrow(table, new):
    out = io.BytesIO()
    with new(out, table.schema) as writer:
        writer.write_table(table, max_chunksize=2)
    return out.getvalue()


def workbook(sheets):
    book, out = openpyxl.Workbook(write_only=True), io.BytesIO()
    for title, rows in sheets.items():
        sheet = book.create_sheet(title)
        for row in rows:
            sheet.append(row)
    book.save(out)
    return out.getvalue()


def bad_text():
    """Five texts, the third of which isn't UTF-8."""
    text = [b"one", b"two", b"\xff\xfe", b"four", b"five"]
    column = pa.array(text, pa.binary()).view(pa.string())
    return pa.table({"text": column, "n": [1, 2, 3, 4, 5]})


@pytest.mark.parametrize("make", [written, lambda t: arrow(t, pa.ipc.new_file), lambda t: arrow(t, pa.ipc.new_stream)])
@pytest.mark.parametrize(
    ("table", "hint"),
    [
        (bad_text(), "column 'text' (string): not UTF-8"),
        (
            pa.table({"text": list("abcde"), "at": pa.array([0, 1, 1 << 60, 3, 4], pa.timestamp("us"))}),
            "column 'at' (timestamp[us]): out of range",
        ),
    ],
)
def test_a_value_that_can_t_be_read_costs_its_row(bench, make, table, hint):
    bench.write("a.table", make(table))
    got = bench.ingest("a.table", most=0.2)
    assert got.report.kept == 4 and got.report.dropped_by == {"bad_value": 1}
    [reject] = bench.rejects()
    assert reject["locator"] == "row:3" and hint in reject["hint"]


@pytest.mark.parametrize("new", [pa.ipc.new_file, pa.ipc.new_stream])
def test_arrow_gives_the_rows_that_json_lines_give(bench, new):
    bench.write("a.jsonl", PAIRS)
    bench.write("a.arrow", arrow(pa.Table.from_pylist(PAIRS), new))
    assert bench.ingest("a.arrow").rows.digest == bench.ingest("a.jsonl").rows.digest


@pytest.mark.parametrize("slot", [1, 5, 9, 10])
@pytest.mark.parametrize("new", [pa.ipc.new_file, pa.ipc.new_stream])
def test_offsets_that_point_outside_cost_their_rows_or_the_file(bench, new, slot):
    table = pa.table({"text": [f"t{i:04}" for i in range(10)], "of": [[{"a": f"b{i:04}"}] for i in range(10)]})
    out = io.BytesIO()
    with new(out, table.schema) as writer:
        writer.write_table(table)
    body = out.getvalue()
    texts, lists = (np.arange(0, 10 * n + 1, n, dtype=np.int32).tobytes() for n in (5, 1))
    assert body.count(texts) == 2 and body.count(lists) == 1
    for at in (body.index(texts), body.rindex(texts), body.index(lists)):
        place = at + 4 * slot
        bench.write("a.arrow", body[:place] + b"\x7f" * 4 + body[place + 4 :])
        try:
            got = bench.ingest("a.arrow", most=1.0)
        except InputError:
            continue
        assert got.report.kept + got.report.dropped == 10 and got.report.dropped_by["bad_value"] >= 1


def repeated(text, rows):
    column = pa.DictionaryArray.from_arrays(pa.array([0] * rows, pa.int32()), [text])
    return written(pa.table({"text": column}), compression="zstd", row_group_size=1 << 30)


def packed_arrow(table):
    out = io.BytesIO()
    with pa.ipc.new_stream(out, table.schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as writer:
        writer.write_table(table)
    return out.getvalue()


@pytest.mark.parametrize(
    "data",
    [
        repeated("x" * (1 << 20), 100_000),
        written(pa.table({"text": pa.nulls(5_000_000, pa.string())}), row_group_size=1 << 30),
        packed_arrow(pa.table({"text": pa.array([""] * 2_000_000)})),
    ],
    ids=["dictionary", "nulls", "arrow"],
)
def test_more_than_a_file_of_its_size_holds_is_refused_soon(bench, data):
    bench.write("a.parquet", data)
    with pytest.raises(InputError, match=r"s/a.parquet: unpacks to more than [\d,]+ bytes.*\n.*max_unpacked_ratio"):
        bench.ingest("a.parquet")


def test_long_texts_that_a_dictionary_repeats_are_read_where_they_are_allowed(bench):
    data = repeated("x" * 1_000_000, 1_000)
    batches = parquet_batches(io.BytesIO(data), len(data), Bounds(unpacked=10_000_000), "a", 1_000)
    assert [next(batches).num_rows for _ in range(2)] == [67, 67]


def test_a_row_is_no_longer_than_a_line_may_be(bench):
    bench.write("a.parquet", written(pa.table({"text": ["short", "x" * 500]})))
    got = bench.ingest("a.parquet", most=0.5, top={"max_line_bytes": 100})
    assert got.report.dropped_by == {"too_long": 1} and "max_line_bytes" in bench.rejects()[0]["hint"]


def test_more_columns_than_a_table_has_are_refused(bench):
    bench.write("a.parquet", written(pa.table({f"c{n}": [n] for n in range(30)})))
    bench.write("a.csv", ",".join(f"c{n}" for n in range(30)) + "\n1\n")
    for name in ("a.parquet", "a.csv"):
        with pytest.raises(InputError, match=r"30 columns, more than max_columns \(20\)"):
            bench.ingest(name, top={"max_columns": 20})


def test_excel(bench):
    rows = [["prompt", "completion", " n ", None], ["q0", "a0", 1, None], [None] * 4, ["q1", "a1", 2.5, None]]
    bench.write("a.xlsx", workbook({"empty": [], "rows": rows}))
    got = bench.ingest("a.xlsx")
    assert asked(got) == ["q0", "q1"]
    assert [r["locator"] for r in got.rows.iter_rows()] == ["row:2", "row:4"]
    rows = [["text", "at"], ["a", datetime.datetime(2024, 1, 2)], ["b", None], ["c", None, "beyond"]]
    bench.write("b.xlsx", workbook({"rows": rows}))
    assert bench.ingest("b.xlsx", most=0.5).report.dropped_by == {"csv_columns": 1}


def test_what_an_excel_file_can_t_be(bench, monkeypatch):
    rows = [["text"], ["a"]]
    bench.write("two.xlsx", workbook({"one": rows, "two": rows}))
    with pytest.raises(InputError, match=r"s/two.xlsx: several sheets with rows: 1, 2"):
        bench.ingest("two.xlsx")
    bench.write("cut.xlsx", workbook({"one": rows})[:-40])
    with pytest.raises(InputError, match="a damaged zip file"):
        bench.ingest("cut.xlsx")
    bench.write("long.xlsx", workbook({"one": [["text"], *([["x" * 32_000]] * 300)]}))
    with pytest.raises(InputError, match=r"max_unpacked_ratio"):
        bench.ingest("long.xlsx", top={"max_unpacked_ratio": 1})
    monkeypatch.setitem(sys.modules, "openpyxl", None)
    with pytest.raises(MissingDependencyError, match=r"Excel files need the package openpyxl\n.*assay\[xlsx\]"):
        bench.ingest("two.xlsx")

"""One broken place costs its own row: what stands around it is read."""

import bz2
import csv
import gzip
import io
import json
import lzma
import random

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from steps.contracts.errors import InputError
from steps.ingest.config import SourceConfig
from steps.ingest.containers import by_name
from steps.ingest.files import InputFile, told
from steps.ingest.readers import Bad, Raw, read_file

# Cells with commas, quotes and lines of their own.
TEXTS = ["plain", "with, comma", 'a "word" in quotes', "two\nlines, and a comma", "", 'ends in a quote"', "é ü"]
ROWS = [{"id": str(i), "prompt": f"q{i} {TEXTS[i % 7]}", "completion": f"a{i} {TEXTS[(i * 3) % 7]}"} for i in range(40)]


def as_csv(rows, end="\n", delimiter=",", quoting=csv.QUOTE_MINIMAL):
    out = io.StringIO()
    writer = csv.DictWriter(out, list(rows[0]), lineterminator=end, delimiter=delimiter, quoting=quoting)
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue().encode()


def read(folder, name, data):
    path = folder / name
    path.write_bytes(data)
    container = {"csv": "csv", "json": "json", "jsonl": "jsonl"}[name.rpartition(".")[2]]
    file = InputFile(str(path), name, container, None, len(data))
    return list(read_file(file, SourceConfig(name="s", path=name), 1 << 20))


def values(items):
    return [i.value for i in items if isinstance(i, Raw)]


def lost(items):
    return [(i.line, i.weight, i.reason) for i in items if isinstance(i, Bad)]


def test_a_quote_that_is_never_closed_costs_its_line(tmp_path):
    lines = as_csv([{"a": str(i), "b": f"text {i}"} for i in range(10)]).decode().splitlines(keepends=True)
    for broken in (['3,"text 3\n'], ['3,"text 3,more\n'], ['"3,text 3\n'], ['3,"te"xt" 3"",x"\n']):
        items = read(tmp_path, "a.csv", "".join(lines[:4] + broken + lines[5:]).encode())
        assert [v["a"] for v in values(items)] == ["0", "1", "2", "4", "5", "6", "7", "8", "9"]
        assert lost(items) == [(5, 1, "broken_csv")]


def test_a_quoted_cell_further_on_does_not_close_it(tmp_path):
    text = 'a,b\n1,x\n2,"y\n3,z\n4,"quoted, with comma"\n5,w\n'
    items = read(tmp_path, "a.csv", text.encode())
    assert [v["a"] for v in values(items)] == ["1", "3", "4", "5"] and lost(items) == [(3, 1, "broken_csv")]


def test_quotes_that_nobody_doubled_are_text(tmp_path):
    text = 'a,b\n1,"say "hi" twice"\n2,"first "line" here"\n3,5" pipe\n'
    items = read(tmp_path, "a.csv", text.encode())
    assert [v["a"] for v in values(items)] == ["1", "2", "3"] and lost(items) == []
    assert [v["b"] for v in values(items)] == ['say "hi" twice', 'first "line" here', '5" pipe']


def test_lines_in_which_no_record_can_be_told_are_counted(tmp_path):
    text = 'a,b,c\n1,x,y\n2,"open\nno record\nnor here\n3,z,z\n'
    items = read(tmp_path, "a.csv", text.encode())
    assert [v["a"] for v in values(items)] == ["1", "3"] and lost(items) == [(3, 3, "broken_csv")]


def test_a_file_of_open_quotes_ends_soon(tmp_path):
    items = read(tmp_path, "a.csv", b"a,b\n" + b'1,"open quote and some text behind it\n' * 20_000)
    assert values(items) == [] and sum(i.weight for i in items) == 20_000


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("start", [b"", b"sep=;", b'"sep=;"'])
def test_line_ends_and_the_separator_that_excel_names(tmp_path, end, start):
    items = read(
        tmp_path, "a.csv", start + (end.encode() if start else b"") + as_csv([{"a": "1,2", "b": "3"}], end, ";")
    )
    assert values(items) == [{"a": "1,2", "b": "3"}]


def test_blank_names_in_the_header(tmp_path):
    items = read(tmp_path, "a.csv", b",prompt , completion\n0,q,a\n")
    assert values(items) == [{"column_1": "0", "prompt": "q", "completion": "a"}]


def damaged(data, chance):
    """The bytes with one of them changed, removed or doubled."""
    at = chance.randrange(len(data))
    other = bytes([chance.choice(b'"{}[],\\:\n\r x')])
    return chance.choice(
        (data[:at] + other + data[at + 1 :], data[:at] + data[at + 1 :], data[:at] + other + data[at:])
    )


@pytest.mark.parametrize("quoting", [csv.QUOTE_MINIMAL, csv.QUOTE_ALL])
def test_one_broken_byte_costs_at_most_two_rows_of_a_csv_file(tmp_path, quoting):
    chance = random.Random(4)
    data = as_csv(ROWS, quoting=quoting)
    header = len(data.split(b"\n", 1)[0]) + 1
    for _ in range(600):
        body = damaged(data[header:], chance)
        items = read(tmp_path, "a.csv", data[:header] + body)
        found = [json.dumps(v) for v in values(items)]
        whole = sum(json.dumps(row) in found for row in ROWS)
        assert whole >= len(ROWS) - 2 or sum(n for _, n, _ in lost(items)) > 1, body


# Of row 3.
ANSWER = '"completion": "a3 a \\"word'


def as_json(rows, indent=None):
    return json.dumps(rows, indent=indent).encode()


@pytest.mark.parametrize("indent", [None, 1])
@pytest.mark.parametrize(
    ("old", "new"),
    [('"q3 two', '"q3 "two'), ('"q3 two', 'q3 two'), ('"q3 two', '"q3 two\\\\" '), ('"id": "3"', '"id": "3'),
     *((ANSWER, mark + ANSWER) for mark in ("},", "],", "[", "{", "}", "]", "}}", "]]"))],
)  # fmt: skip
def test_a_broken_object_in_an_array_costs_itself(tmp_path, indent, old, new):
    text = as_json(ROWS, indent).decode()
    assert text.count(old) == 1
    items = read(tmp_path, "a.json", text.replace(old, new).encode())
    found = [json.dumps(v) for v in values(items)]
    assert [row["id"] for row in ROWS if json.dumps(row) not in found] == ["3"]
    assert lost(items) and sum(n for _, n, _ in lost(items)) <= 3


def test_an_object_that_is_never_closed_costs_itself(tmp_path):
    chats = [{"id": i, "messages": [{"role": "user", "content": f"q{i}"}, {"role": "assistant", "content": "a"}]}
             for i in range(30)]  # fmt: skip
    for broken in (0, 7, 29):
        parts = [json.dumps(row) for row in chats]
        parts[broken] = parts[broken].removesuffix("}")
        for joint in (", ", ",\n"):
            items = read(tmp_path, "a.json", f"[{joint.join(parts)}]".encode())
            assert [v["id"] for v in values(items)] == [i for i in range(30) if i != broken]
            assert [n for _, n, _ in lost(items)] == [1] * len(lost(items))


def test_parts_of_a_broken_row_are_no_rows(tmp_path):
    def reply(name, *replies):
        return {"id": name, "text": f"text {name}", "replies": list(replies)}

    trees = [reply(f"{n}", reply(f"{n}a", reply(f"{n}aa")), reply(f"{n}b")) for n in range(6)]
    for broken in (0, 3, 5):
        parts = [json.dumps(tree) for tree in trees]
        parts[broken] = parts[broken].replace(f'"text {broken}"', f'"text {broken}",,')
        items = read(tmp_path, "a.json", f"[{', '.join(parts)}]".encode())
        assert [v["id"] for v in values(items)] == [f"{n}" for n in range(6) if n != broken]
        assert [n for _, n, _ in lost(items)] == [1]


def test_parts_of_a_first_row_that_is_too_long_are_no_rows(tmp_path):
    long = {"pages": [{"text": "x" * 1000} for _ in range(1_200)]}
    items = read(tmp_path, "a.json", as_json([long, {"text": "short"}]))
    assert values(items) == [{"text": "short"}] and lost(items) == [(1, 1, "too_long")]


def test_what_is_lost_behind_a_row_that_never_ends_weighs_by_its_size(tmp_path):
    rows = [{"text": f"{n} " + "x" * 1000} for n in range(3_000)]
    items = read(tmp_path, "a.json", as_json(rows).replace(b'"}', b""))
    assert values(items) == [] and {reason for _, _, reason in lost(items)} == {"too_long", "cut_off"}
    whole = as_json(rows[:10])[:-1] + b", " + b'{"text": "' + b"y" * 3_000_000
    items = read(tmp_path, "a.json", whole)
    assert len(values(items)) == 10
    assert sum(n for _, n, _ in lost(items)) == pytest.approx(3_000_000 / 1_015, rel=0.01)


def test_an_array_of_open_quotes_ends_soon(tmp_path):
    items = read(tmp_path, "a.json", b"[" + b'{"a": "open, "b": "open},\n' * 20_000 + b"]")
    assert values(items) == [] and len(items) >= 1


@pytest.mark.parametrize("indent", [None, 2])
def test_one_broken_byte_costs_at_most_two_rows_of_an_array(tmp_path, indent):
    chance = random.Random(5)
    data = as_json(ROWS, indent)
    for _ in range(600):
        body = damaged(data[1:-1], chance)
        items = read(tmp_path, "a.json", b"[" + body + b"]")
        found = [json.dumps(v) for v in values(items)]
        whole = sum(json.dumps(row) in found for row in ROWS)
        assert whole >= len(ROWS) - 2 or sum(n for _, n, _ in lost(items)) > 1, body


def parquet(rows, **options):
    out = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), out, **options)
    return out.getvalue()


def arrow(rows, new=pa.ipc.new_file, **options):
    out, table = io.BytesIO(), pa.Table.from_pylist(rows)
    with new(out, table.schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
        writer.write_table(table, max_chunksize=10)
    return out.getvalue()


LINES = "".join(json.dumps(row) + "\n" for row in ROWS).encode()
WHOLE = {
    "a.jsonl": LINES,
    "a.tsv": as_csv(ROWS, delimiter="\t"),
    "a.jsonl.gz": gzip.compress(LINES),
    "a.csv.gz": gzip.compress(as_csv(ROWS)),
    "a.json.gz": gzip.compress(as_json(ROWS)),
    "a.jsonl.zst": zstandard.ZstdCompressor(write_checksum=True).compress(LINES),
    "a.jsonl.bz2": bz2.compress(LINES),
    "a.jsonl.xz": lzma.compress(LINES),
    "a.parquet": parquet(ROWS, write_page_checksum=True),
    "zstd.parquet": parquet(ROWS, compression="zstd", row_group_size=10, write_page_checksum=True),
    "plain.parquet": parquet(ROWS, compression="none", use_dictionary=False),
    "a.arrow": arrow(ROWS),
    "stream.arrow": arrow(ROWS, pa.ipc.new_stream),
    "zstd.arrow": arrow(ROWS, compression="zstd"),
}


@pytest.mark.parametrize("name", WHOLE)
def test_one_broken_byte_costs_at_most_two_rows_or_is_said(tmp_path, name):
    chance = random.Random(6)
    data, path = WHOLE[name], tmp_path / name
    source = SourceConfig(name="s", path=name)
    # A header is no row: what is broken in it changes all rows, and is told by nobody.
    start = data.index(b"\n") + 1 if name == "a.tsv" else 0
    whole_or_said = {"whole": 0, "refused": 0, "said": 0}
    for _ in range(120):
        body = damaged(data[start:], chance)
        path.write_bytes(data[:start] + body)
        try:
            file, _ = told(InputFile(str(path), name, *by_name(name), path.stat().st_size), source)
            items = list(read_file(file, source, 1 << 20))
        except InputError:
            whole_or_said["refused"] += 1
            continue
        found = [json.dumps(v) for v in values(items)]
        whole = sum(json.dumps(row) in found for row in ROWS)
        # Rows of nulls are rejected by their format.
        gone = sum(n for _, n, _ in lost(items)) + sum(None in v.values() for v in values(items))
        whole_or_said["whole" if whole >= len(ROWS) - 2 else "said"] += 1
        assert whole >= len(ROWS) - 2 or whole + gone >= len(ROWS) - 2, body
    assert whole_or_said["whole"] + whole_or_said["refused"] > 60


def test_brackets_without_end_cost_the_rest_of_the_file_and_say_so(tmp_path):
    text = as_json(ROWS)[:-1] + b", " + b"[" * 3_000_000
    items = read(tmp_path, "a.json", text)
    assert len(values(items)) == len(ROWS)
    [(_, weight, reason)] = lost(items)
    assert reason == "too_deep" and weight == pytest.approx(3_000_000 * len(ROWS) / len(text[:-3_000_000]), rel=0.1)

import gzip
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from steps.contracts.errors import InputError, InputNotFoundError
from steps.leakcheck.benchmarks import benchmark_texts
from steps.leakcheck.config import Benchmark

ROWS = [{"q": "one", "a": "uno", "n": 1}, {"q": 'two, "2"\nlines', "a": "dos", "n": 2}]


def read(tmp_path, name, columns=None):
    return list(benchmark_texts(Benchmark(name="b", path=name, columns=columns), tmp_path))


def write(tmp_path, name):
    path = tmp_path / name
    lines = "".join(json.dumps(r) + "\n" for r in ROWS)
    if name.endswith(".jsonl"):
        path.write_text(lines)
    elif name.endswith(".jsonl.gz"):
        path.write_bytes(gzip.compress(lines.encode()))
    elif name == "list.json":
        path.write_text(json.dumps(ROWS))
    elif name == "object.json":
        path.write_text(json.dumps({"version": "1", "data": ROWS}))
    elif name.endswith(".csv"):
        path.write_text('q,a,n\none,uno,1\n"two, ""2""\nlines",dos,2\n')
    elif name.endswith(".tsv"):
        path.write_text('q\ta\tn\none\tuno\t1\n"two, ""2""\nlines"\tdos\t2\n')
    else:
        pq.write_table(pa.Table.from_pylist(ROWS), path)


@pytest.mark.parametrize("name", ["f.jsonl", "f.jsonl.gz", "list.json", "object.json", "f.csv", "f.tsv", "f.parquet"])
def test_formats_agree(tmp_path, name):
    write(tmp_path, name)
    assert read(tmp_path, name, ("q",)) == [("row:1", "one"), ("row:2", 'two, "2"\nlines')]
    assert read(tmp_path, name, ("a", "q"))[0] == ("row:1", "uno\n\none")


def test_plain_text_is_a_row_per_line(tmp_path):
    (tmp_path / "f.txt").write_text("first\n\nthird\n")
    assert [(n, t.strip()) for n, t in read(tmp_path, "f.txt")] == [("row:1", "first"), ("row:3", "third")]


def test_nested_texts_are_found(tmp_path):
    (tmp_path / "f.jsonl").write_text(json.dumps({"messages": [{"content": "deep"}], "k": [1, "x"]}))
    assert read(tmp_path, "f.jsonl") == [("row:1", "deep\n\nx")]


@pytest.mark.parametrize(
    ("name", "content", "columns", "message"),
    [
        ("f.jsonl", b"{", None, "can't be read"),
        ("f.jsonl", b"\xff\xfe\xff", None, "can't be read"),
        ("f.jsonl.gz", b"no gzip", None, "can't be read"),
        ("f.parquet", b"no parquet", None, "can't be read"),
        ("f.xlsx", b"", None, "unknown benchmark format"),
        ("f.jsonl", b'{"q": "x"}', ("z",), "columns there: q"),
        ("f.txt", b"x", ("z",), "rows have none"),
        ("f.jsonl", b'{"q": 1}', None, "no text in any row"),
    ],
)
def test_unusable_files_are_refused_by_name(tmp_path, name, content, columns, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message) as e:
        read(tmp_path, name, columns)
    assert "benchmark b" in str(e.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputNotFoundError, match="no such benchmark file"):
        read(tmp_path, "nowhere.jsonl")

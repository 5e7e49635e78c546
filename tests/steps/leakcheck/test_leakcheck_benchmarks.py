import csv
import gzip
import io
import json
import random

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from steps.contracts.errors import InputError, InputNotFoundError
from steps.leakcheck.benchmarks import benchmark_texts
from steps.leakcheck.config import Benchmark

FORMATS = (".jsonl", ".json", ".csv", ".tsv", ".parquet", ".txt", ".jsonl.gz", ".txt.gz", ".csv.gz")


def _many():
    rng = random.Random(5)
    return b"".join(json.dumps({"q": rng.randbytes(40).hex()}).encode() + b"\n" for _ in range(4_000))


def _parquet():
    out = io.BytesIO()
    pq.write_table(pa.table({"q": ["abc def"] * 1_000}), out)
    return out.getvalue()


def _bent(content):
    """The content with 30 bytes of it overwritten, after the header."""
    return content[:10] + b"\xff" * 30 + content[40:]


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
        *((f"f{suffix}", b"", None, "no text|can't be read") for suffix in FORMATS),
        ("f.jsonl.gz", gzip.compress(b"", mtime=0), None, "no text in any row"),
        ("f.jsonl.gz", gzip.compress(b'{"q": "x"}\n' * 9_000, mtime=0)[:60], None, "can't be read after row"),
        ("f.jsonl.gz", _bent(gzip.compress(_many(), 1, mtime=0)), None, "can't be read after row"),
        ("f.parquet", _bent(_parquet()), None, "can't be read after row"),
        ("f.json", b"[" * 200_000 + b"]" * 200_000, None, "can't be read after row 0: RecursionError"),
        ("f.jsonl", b'{"q": "x"}\n{"q": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", None, "after row 1: Recursion"),
        ("f.jsonl", b'{"q": "x", "n": ' + b"9" * 5_000 + b"}", None, "can't be read after row 0: ValueError"),
        ("f.csv", "q\ncaf\u00e9\n".encode("latin-1"), None, "save it as UTF-8"),
        ("f.txt", "caf\u00e9\n".encode("utf-16"), None, "save it as UTF-8"),
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


@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".txt", ".parquet", ".jsonl.gz"])
def test_a_row_of_many_megabytes_is_a_row(tmp_path, suffix):
    text = "word " * 2_000_000
    name = f"f{suffix}"
    content = {
        ".jsonl": lambda: json.dumps({"q": text}).encode(),
        ".jsonl.gz": lambda: gzip.compress(json.dumps({"q": text}).encode(), 1),
        ".csv": lambda: b"q\n" + text.encode(),
        ".txt": text.encode,
    }
    if suffix == ".parquet":
        pq.write_table(pa.table({"q": [text]}), tmp_path / name)
    else:
        (tmp_path / name).write_bytes(content[suffix]())
    before = csv.field_size_limit()
    ((_, read_text),) = read(tmp_path, name)
    assert len(read_text.split()) == 2_000_000 and csv.field_size_limit() == before


def test_text_in_binary_columns_is_text(tmp_path):
    pq.write_table(pa.table({"q": pa.array([b"caf\xc3\xa9", b"\xff one"], pa.binary())}), tmp_path / "f.parquet")
    assert read(tmp_path, "f.parquet") == [("row:1", "caf\u00e9"), ("row:2", "\ufffd one")]


@pytest.mark.parametrize(
    ("name", "content", "columns", "what", "hint"),
    [
        ("f.jsonl", b'{"b": "x", "a": "y"}', ("z", "b", "w"), "no column z, w", "columns there: a, b"),
        ("f.txt", b"x", ("z",), "columns are named, but the rows have none", "leave out `columns`"),
        ("f.jsonl", b'{"q": 1}\n', None, "no text in any row", "name the right columns, or remove the benchmark"),
        ("f.xlsx", b"", None, "unknown benchmark format '.xlsx'",
         "use one of .jsonl, .ndjson, .json, .csv, .tsv, .parquet, .txt"),
        ("f.x.gz", b"", None, "unknown benchmark format '.x'",
         "use one of .jsonl, .ndjson, .json, .csv, .tsv, .parquet, .txt"),
        ("f.jsonl", b'{"q": "x"}\n{', None, "can't be read after row 1: JSONDecodeError",
         "is it whole, and in the format of its name?"),
        ("f.txt", b"x\n\xff", None, "can't be read after row 0: UnicodeDecodeError", "save it as UTF-8"),
    ],
)  # fmt: skip
def test_refusals_say_what_where_and_the_way_out(tmp_path, name, content, columns, what, hint):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError) as e:
        read(tmp_path, name, columns)
    assert str(e.value) == f"benchmark b ({name}): {what}\n  way out: {hint}"


def test_a_missing_file_says_where_it_is_named(tmp_path):
    with pytest.raises(InputNotFoundError) as e:
        read(tmp_path, "nowhere.jsonl")
    assert str(e.value) == (
        "benchmark b (nowhere.jsonl): no such benchmark file\n  way out: correct leakcheck.benchmarks[].path"
    )


def test_the_longest_list_of_an_object_holds_its_rows(tmp_path):
    (tmp_path / "f.json").write_text(json.dumps({"z": ["no"], "data": ["a", "b", "c"], "more": ["n", "o"]}))
    assert read(tmp_path, "f.json") == [("row:1", "a"), ("row:2", "b"), ("row:3", "c")]
    for content, texts in (({"q": "one", "n": 1}, "one"), ("alone", "alone"), ({"q": ["a"], "p": "b"}, "a")):
        (tmp_path / "f.json").write_text(json.dumps(content))
        assert read(tmp_path, "f.json") == [("row:1", texts)]


def test_a_byte_order_mark_is_no_text_and_lines_of_nothing_are_no_rows(tmp_path):
    (tmp_path / "f.ndjson").write_bytes(b'\xef\xbb\xbf{"q": "x"}\n \n{"q": "y"}\n')
    assert read(tmp_path, "f.ndjson") == [("row:1", "x"), ("row:2", "y")]
    (tmp_path / "f.csv").write_bytes(b"\xef\xbb\xbfq\nx\n")
    assert read(tmp_path, "f.csv", ("q",)) == [("row:1", "x")]


@pytest.mark.parametrize(
    "row",
    [
        {"id": "a-1", "messages": [{"role": "user", "content": "Where?"}, {"role": "assistant", "content": "Here."}]},
        {"id": "a-1", "conversations": [{"from": "human", "value": "Where?"}, {"from": "gpt", "value": "Here."}]},
        {"record_id": "1", "content_id": "2", "source": "a/b.jsonl", "kind": "conversation", "text": None, "meta": "{}",
         "messages": [{"role": "user", "content": "Where?", "name": None}, {"role": "assistant", "content": "Here."}],
         "chosen": [], "rejected": []},
    ],
)  # fmt: skip
def test_of_a_conversation_only_what_is_said_counts(tmp_path, row):
    (tmp_path / "f.jsonl").write_text(json.dumps(row))
    assert read(tmp_path, "f.jsonl") == [("row:1", "Where?\n\nHere.")]
    column = next(c for c in ("messages", "conversations") if c in row)
    assert read(tmp_path, "f.jsonl", (column,)) == [("row:1", "Where?\n\nHere.")]


def test_of_a_document_of_ours_its_text_counts_and_of_other_rows_all(tmp_path):
    (tmp_path / "f.jsonl").write_text(json.dumps({"record_id": "1", "content_id": "2", "messages": [], "text": "So."}))
    assert read(tmp_path, "f.jsonl") == [("row:1", "So.")]
    (tmp_path / "f.jsonl").write_text(json.dumps({"role": "cook", "says": ["so", {"value": "or"}]}))
    assert read(tmp_path, "f.jsonl") == [("row:1", "cook\n\nso\n\nor")]

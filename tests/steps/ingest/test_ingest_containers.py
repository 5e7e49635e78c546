"""A file is what its bytes say: read under any name, or named in one line with the way out."""

import bz2
import gzip
import io
import json
import lzma
import zipfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from steps.contracts.errors import InputError
from steps.ingest.json_forms import top_level

PAIRS = [{"prompt": f'q{i} é, or "q"', "completion": f"a{i}"} for i in range(12)]
QUESTIONS = [r["prompt"] for r in PAIRS]
LINES = "".join(json.dumps(r, ensure_ascii=False) + "\n" for r in PAIRS)


def parquet():
    out = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(PAIRS), out)
    return out.getvalue()


def zipped(**files):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name.replace("__", ".").replace("..", "__"), data)
    return out.getvalue()


def asked(got):
    return [r["messages"][0]["content"] for r in got.rows.iter_rows()]


READ = {
    "gzip.jsonl": gzip.compress(LINES.encode()),
    "zstd.jsonl": zstandard.compress(LINES.encode()),
    "bz2.jsonl": bz2.compress(LINES.encode()),
    "xz.csv": lzma.compress(LINES.encode()),
    "a.jsonl.bz2": bz2.compress(LINES.encode()),
    "a.jsonl.xz": lzma.compress(LINES.encode()),
    "a.jsonl.lzma": lzma.compress(LINES.encode(), lzma.FORMAT_ALONE),
    "a.zip": zipped(rows__jsonl=LINES),
    "b.jsonl.zip": zipped(rows__txt=LINES, **{"____MACOSX/x": "x"}),
    "parquet.jsonl": parquet(),
    "parquet.zip": zipped(rows__parquet=parquet()),
    "a.parquet.gz": gzip.compress(parquet()),
    "not_packed.jsonl.gz": LINES.encode(),
    "lines.csv": LINES.encode(),
    "lines.txt": LINES.encode(),
    "lines.parquet": LINES.encode(),
    "lines": LINES.encode(),
    "rows.dat": LINES.encode(),
    "bom_amid.jsonl": LINES.replace('{"prompt": "q5', '\ufeff{"prompt": "q5').encode(),
    "bom_amid.json": json.dumps(PAIRS).replace('{"prompt": "q5', '\ufeff{"prompt": "q5').encode(),
    "utf16.jsonl": LINES.encode("utf-16"),
    "utf16le.jsonl": LINES.encode("utf-16-le"),
    "utf16be.jsonl": LINES.encode("utf-16-be"),
    "utf32le.jsonl": LINES.encode("utf-32-le"),
    "cr.jsonl": LINES.replace("\n", "\r").encode(),
    "array.jsonl": json.dumps(PAIRS).encode(),
    "array_lines.jsonl": ("[\n" + LINES.replace("\n", ",\n") + "]").encode(),
    "pretty.jsonl": "\n".join(json.dumps(r, indent=2) for r in PAIRS).encode(),
    "pretty_commas.jsonl": ",\n".join(json.dumps(r, indent=2) for r in PAIRS).encode(),
    "flat_pretty.jsonl": "\n".join(json.dumps(r, indent=0) for r in PAIRS).encode(),
    "one_line.jsonl": "".join(json.dumps(r) for r in PAIRS).encode(),
    "two_on_a_line.jsonl": LINES.replace('\n{"prompt": "q5', '{"prompt": "q5').encode(),
    "commas.jsonl": LINES.replace("\n", ",\n").encode(),
    "some_pretty.jsonl": "\n".join(json.dumps(r, indent=2 if i == 4 else None) for i, r in enumerate(PAIRS)).encode(),
    "wrapped.json": json.dumps({"version": "1", "data": PAIRS, "about": {"rows": [1, 2]}}).encode(),
    "wrapped.jsonl": json.dumps({"version": "1", "data": PAIRS}, indent=1).encode(),
    "columns.json": json.dumps({k: [r[k] for r in PAIRS] for k in PAIRS[0]}).encode(),
    "keyed.json": json.dumps({str(i): r for i, r in enumerate(PAIRS)}).encode(),
    "split.json": json.dumps(
        {"columns": list(PAIRS[0]), "index": [*range(12)], "data": [list(r.values()) for r in PAIRS]}
    ).encode(),
    "pandas.json": json.dumps({k: {str(i): r[k] for i, r in enumerate(PAIRS)} for k in PAIRS[0]}).encode(),
}  # fmt: skip


@pytest.mark.parametrize("name", READ)
def test_read_under_any_name(bench, name):
    bench.write(name, READ[name])
    got = bench.ingest(name)
    assert asked(got) == QUESTIONS
    assert all("ingest" in n or name in n for n in got.report.notes)


@pytest.mark.parametrize(
    ("name", "note"),
    [("gzip.jsonl", "unpacked by gzip, by its content"), ("parquet.jsonl", "read as parquet, by its content"),
     ("not_packed.jsonl.gz", "not packed by gzip, by its content"), ("array.jsonl", "read as one JSON array"),
     ("wrapped.json", "the rows are those of the list 'data'"), ("pretty.jsonl", "objects that aren't one to a line"),
     ("columns.json", "one object of columns, read as 12 rows"), ("commas.jsonl", "a comma behind the object"),
     ("two_on_a_line.jsonl", "several objects on a line, in 1 place"), ("lines.csv", "read as jsonl, by its content")],
)  # fmt: skip
def test_what_is_assumed_is_said(bench, name, note):
    bench.write(name, READ[name])
    assert any(note in n for n in bench.ingest(name).report.notes)


SQLITE = b"SQLite format 3\0" + bytes(100)
NAMED = {
    "a.db": (SQLITE, "an SQLite database, which holds no rows"),
    "b.jsonl": (SQLITE, "an SQLite database"),
    "c.jsonl": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "a pointer of Git LFS"),
    "d.json": (b"<!DOCTYPE html><html><body>Sign in</body></html>", "a web page, not rows"),
    "e.csv": (b"\x89PNG\r\n\x1a\n" + bytes(50), "a picture (PNG)"),
    "f.pkl": (b"\x80\x04\x95\x10\x00\x00\x00\x00\x00\x00\x00}", "a pickle, which is never opened"),
    "g.pt": (zipped(archive__data__pkl="x"), "a pickle of PyTorch"),
    "h.zip": (zipped(a__jsonl=LINES, b__jsonl=LINES), "a zip archive of 2 files: 'a.jsonl', 'b.jsonl'"),
    "i.safetensors": (b'\x10\0\0\0\0\0\0\0{"a":1}   ', "the weights of a model (safetensors)"),
    "j.jsonl": (bytes(range(1, 32)) * 20, "binary data of an unknown kind, beginning with the bytes 01 02 03 04"),
    "k.jsonl": (b"- prompt: one\n  completion: two\n", "text in which no JSON object begins"),
    "l.json": (json.dumps({"train": PAIRS, "test": PAIRS}).encode(), "several lists of objects in one: 'test'"),
    "m.jsonl.gz": (gzip.compress(gzip.compress(LINES.encode())), "packed twice"),
    "n.xls": (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(50), "an older Office file"),
    "o.tar": (bytes(257) + b"ustar" + bytes(50), "a tar archive"),
    "p.jsonl.zst": (b"no zstd at all", "not packed by zstd, or damaged"),
    "q.zip": (zipped(a__jsonl=LINES)[:-30], "a damaged zip file"),
}  # fmt: skip


@pytest.mark.parametrize("name", NAMED)
def test_what_can_t_be_read_is_named_in_one_line(bench, name):
    data, words = NAMED[name]
    bench.write(name, data)
    with pytest.raises(InputError) as caught:
        bench.ingest(name)
    what, hint = str(caught.value).split("\n")
    assert what.startswith(f"s/{name}: ") and words in what and hint.startswith("  way out: ")


def test_a_list_of_objects_is_found_wherever_it_stands():
    text = json.dumps({"a": [1, {"b": [{}]}], 'c"\\': {"d": [{}]}, "rows\\": [{"x": '[{"}'}], "z": []}, indent=1)
    for size in (1, 7, 1 << 18):
        top = top_level(io.BufferedReader(io.BytesIO(text.encode()), size))
        assert list(top.lists) == ["rows\\\\"] and top.whole and top.alone and top.size == len(text)
        start, line = top.lists["rows\\\\"]
        assert text[start:].startswith("[") and text[:start].count("\n") == line - 1


def test_a_broken_row_in_a_wrapped_list_costs_itself(bench):
    text = json.dumps({"version": 1, "data": PAIRS}).replace('"a5"', '"a5')
    bench.write("a.json", text)
    assert asked(bench.ingest("a.json", most=0.3)) == [q for q in QUESTIONS if not q.startswith("q5")]


def test_an_object_over_several_lines_that_is_broken_is_one_reject(bench):
    broken = json.dumps({"prompt": "x", "completion": "y"}, indent=2).replace(":", "", 1)
    bench.write("a.jsonl", LINES + broken + "\n" + LINES.replace('"q', '"r'))
    got = bench.ingest("a.jsonl", most=0.5)
    assert got.report.kept == 24 and got.report.dropped_by == {"broken_json": 1}
    assert "4 lines up to the next object" in bench.rejects()[0]["hint"]

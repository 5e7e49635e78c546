"""Malformed files of every container, from a seed: valid ones with something broken, and some made to hurt."""

import bz2
import gzip
import io
import json
import lzma
import random
import zipfile
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
import zstandard

from tests.support.documents import line, pdf

ROWS = [{"prompt": f'q{i}, "é"', "completion": f"a{i} {'word ' * (i % 9)}", "n": i} for i in range(30)]
CHAT = [{"messages": [{"role": "user", "content": f"q{i}"}, {"role": "assistant", "content": "a"}]} for i in range(30)]
CONFIG = """\
name: x
pipeline: curate
ingest:
  seed: 3
  sources:
    - {name: a, path: a.jsonl}
    - name: b
      path: b.csv
dedup: {threshold: 0.8}
"""
_INTS = [b"\xff\xff\xff\x7f", b"\xff\xff\xff\xff", b"\x00\x00\x00\x80", b"\x00\x00\x00\x00", b"\xff" * 8, b"\x00" * 8]
_MARKS = b"\"'{}[]\\,:;\t\n\r\x00\xff\xef\xbb\xbf&*!%-?|>#<="


class Malformed(NamedTuple):
    """A file: its name and bytes; `what` says how it came about."""

    name: str
    data: bytes
    what: str


def _jsonl(rows: list[Any]) -> bytes:
    return "".join(json.dumps(r, ensure_ascii=False) + "\n" for r in rows).encode()


def _csv(mark: str) -> bytes:
    cells = [["prompt", "completion", "n"], *([r["prompt"].replace('"', '""'), r["completion"], r["n"]] for r in ROWS)]
    return "".join(mark.join(f'"{c}"' for c in row) + "\n" for row in cells).encode()


def _zip(**files: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name.replace("_", "."), data)
    return out.getvalue()


def _parquet(rows: list[Any], **options: Any) -> bytes:
    out = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), out, **options)
    return out.getvalue()


def _arrow(table: pa.Table, *, stream: bool = False, compression: str | None = None) -> bytes:
    out = io.BytesIO()
    options = pa.ipc.IpcWriteOptions(compression=compression)
    new = pa.ipc.new_stream if stream else pa.ipc.new_file
    with new(out, table.schema, options=options) as writer:
        writer.write_table(table, max_chunksize=10)
    return out.getvalue()


def _xlsx(rows: list[list[Any]]) -> bytes:
    import openpyxl

    book = openpyxl.Workbook(write_only=True)
    sheet = book.create_sheet("rows")
    for row in rows:
        sheet.append(row)
    out = io.BytesIO()
    book.save(out)
    return out.getvalue()


def _docx() -> bytes:
    import docx

    made, out = docx.Document(), io.BytesIO()
    for number in range(5):
        made.add_paragraph(f"Paragraph {number} of a document.")
    made.save(out)
    return out.getvalue()


def valid() -> dict[str, bytes]:
    """A valid file per container and packing, by name."""
    text = _jsonl(ROWS)
    table, chats = pa.Table.from_pylist(ROWS), pa.Table.from_pylist(CHAT)
    return {
        "a.jsonl": text,
        "chat.jsonl": _jsonl(CHAT),
        "a.json": json.dumps(ROWS).encode(),
        "pretty.json": json.dumps(CHAT, indent=2).encode(),
        "wrapped.json": json.dumps({"version": 1, "data": ROWS}).encode(),
        "columns.json": json.dumps({k: [r[k] for r in ROWS] for k in ROWS[0]}).encode(),
        "values.jsonl": "\n".join(json.dumps(r, indent=1) for r in CHAT).encode(),
        "a.csv": _csv(","),
        "a.tsv": _csv("\t"),
        "utf16.jsonl": text.decode().encode("utf-16"),
        "a.txt": b"Some words. " * 99,
        "a.md": b"# Title\n\nSome *words*.\n\n| a | b |\n|---|---|\n| 1 | 2 |\n" * 9,
        "a.html": b"<html><body><h1>T</h1><p>Some words.</p><table><tr><td>1</td></tr></table></body></html>",
        "a.jsonl.gz": gzip.compress(text, mtime=0),
        "a.csv.zst": zstandard.compress(_csv(",")),
        "a.jsonl.bz2": bz2.compress(text),
        "a.json.xz": lzma.compress(json.dumps(ROWS).encode()),
        "a.jsonl.zip": _zip(a_jsonl=text),
        "a.parquet": _parquet(ROWS),
        "zstd.parquet": _parquet(CHAT, compression="zstd", row_group_size=10, data_page_version="2.0"),
        "plain.parquet": _parquet(ROWS, compression="none", use_dictionary=False),
        "a.arrow": _arrow(table),
        "chat.arrow": _arrow(chats, stream=True),
        "zstd.arrow": _arrow(table, compression="zstd"),
        "a.xlsx": _xlsx([list(ROWS[0]), *(list(r.values()) for r in ROWS)]),
        "a.pdf": pdf(line(72, 700, "Some words."), line(72, 700, "More words.")),
        "a.docx": _docx(),
        "a.yaml": CONFIG.encode(),
    }


def _flip(data: bytes, chance: random.Random, count: int) -> bytes:
    out = bytearray(data)
    for _ in range(count):
        out[chance.randrange(len(out))] = chance.choice((chance.randrange(256), chance.choice(_MARKS)))
    return bytes(out)


def _broken(data: bytes, other: bytes, chance: random.Random) -> tuple[str, bytes]:
    """The bytes with something done to them."""
    at, size = chance.randrange(len(data)), chance.randrange(1, 200)
    done: dict[str, Callable[[], bytes]] = {
        "one byte": lambda: _flip(data, chance, 1),
        "ten bytes": lambda: _flip(data, chance, 10),
        "a tenth of the bytes": lambda: _flip(data, chance, max(1, len(data) // 10)),
        "cut off": lambda: data[:at],
        "without its start": lambda: data[at:],
        "a piece removed": lambda: data[:at] + data[at + size :],
        "a piece doubled": lambda: data[: at + size] + data[at:],
        "a piece of zeros": lambda: data[:at] + bytes(size) + data[at + size :],
        "noise in it": lambda: data[:at] + chance.randbytes(size) + data[at:],
        "a number changed": lambda: data[:at] + chance.choice(_INTS) + data[at + 4 :],
        "a mark repeated": lambda: data[:at] + bytes([chance.choice(_MARKS)]) * 5000 + data[at:],
        "another file behind it": lambda: data + other,
        "another file in it": lambda: data[:at] + other + data[at:],
        "twice": lambda: data + data,
        "only marks": lambda: bytes(chance.choice(_MARKS) for _ in range(size * 20)),
    }
    what = chance.choice(sorted(done))
    return what, done[what]()


def broken(seed: int, count: int) -> Iterator[Malformed]:
    """So many files that were valid; one in eight is under the name of another container."""
    files = valid()
    chance = random.Random(seed)
    names = sorted(files)
    for number in range(count):
        name = names[number % len(names)]
        what, data = _broken(files[name], files[chance.choice(names)], chance)
        if name != "a.yaml" and chance.random() < 1 / 8:
            name = chance.choice([n for n in names if n != "a.yaml"])
        yield Malformed(name, data, what)


def _deep(mark: str, depth: int = 100_000) -> bytes:
    return mark.encode() * depth


def _big_dictionary(values: int, size: int) -> bytes:
    column = pa.DictionaryArray.from_arrays(pa.array([0] * values, pa.int32()), ["x" * size])
    out = io.BytesIO()
    pq.write_table(pa.table({"prompt": column, "completion": column}), out, compression="zstd", row_group_size=1 << 30)
    return out.getvalue()


def _nulls(count: int) -> bytes:
    out = io.BytesIO()
    pq.write_table(pa.table({"text": pa.nulls(count, pa.string())}), out, compression="zstd", row_group_size=1 << 30)
    return out.getvalue()


def _long_list(count: int) -> bytes:
    lists = pa.ListArray.from_arrays(pa.array([0, count], pa.int32()), pa.nulls(count, pa.int8()))
    out = io.BytesIO()
    pq.write_table(pa.table({"text": ["a"], "ids": lists}), out, compression="zstd")
    return out.getvalue()


def _bad_text() -> pa.Table:
    offsets = pa.py_buffer(b"\0\0\0\0\x02\0\0\0\x04\0\0\0")
    text = pa.Array.from_buffers(pa.string(), 2, [None, offsets, pa.py_buffer(b"ok\xff\xfe")])
    return pa.table({"text": text})


def _times() -> pa.Table:
    return pa.table({"text": ["one", "two"], "at": pa.array([0, 1 << 60], pa.timestamp("us"))})


def _written(table: pa.Table) -> bytes:
    out = io.BytesIO()
    pq.write_table(table, out)
    return out.getvalue()


def _bomb_xlsx() -> bytes:
    rows = b"".join(b'<row r="%d"><c r="XFD%d"><v>1</v></c></row>' % (n, n) for n in range(1, 200_000))
    out = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(_xlsx([["a"]]))) as old,
        zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as new,
    ):
        for name in old.namelist():
            data = old.read(name)
            if name.startswith("xl/worksheets/sheet"):
                start, end = data.split(b"<row", 1)[0], b"</sheetData></worksheet>"
                data = start + rows + end
            new.writestr(name, data)
    return out.getvalue()


def hostile() -> Iterator[Malformed]:
    """Files made to take much memory or time, or to hit what nobody thought of."""
    made: dict[str, Callable[[], bytes]] = {
        "newlines.jsonl.gz": lambda: gzip.compress(b"\n" * (300 << 20)),
        "newlines.csv.gz": lambda: gzip.compress(b"prompt,completion\n" + b"\n" * (300 << 20)),
        "newlines.json.xz": lambda: lzma.compress(b"\n" * (300 << 20)),
        "blanks.jsonl.gz": lambda: gzip.compress(b" " * (300 << 20)),
        "blank_lines.jsonl.gz": lambda: gzip.compress(b" \n" * (100 << 20)),
        "zeros.jsonl.bz2": lambda: bz2.compress(bytes(300 << 20)),
        "zeros.txt.zst": lambda: zstandard.compress(bytes(600 << 20)),
        "rows.jsonl.gz": lambda: gzip.compress(b'{"text":"a"}\n' * (20 << 20)),
        "brackets.json.gz": lambda: gzip.compress(b"[" * (200 << 20)),
        "objects.json.gz": lambda: gzip.compress(b"[" + b"{}," * (60 << 20)),
        "broken.jsonl.gz": lambda: gzip.compress(b"{\n" * (60 << 20)),
        "quotes.csv.gz": lambda: gzip.compress(b"a,b\n" + b'"\n' * (20 << 20)),
        "quotes.json.gz": lambda: gzip.compress(b"[" + b'"\n' * (20 << 20)),
        "many.zip": lambda: _zip(**{f"f{n}_jsonl": b"{}" for n in range(3000)}),
        "zip_in.zip": lambda: _zip(a_zip=_zip(b_zip=_zip(c_jsonl=bytes(9 << 20)))),
        "lists.jsonl": lambda: _deep("["),
        "objects.jsonl": lambda: _deep('{"a":'),
        "deep.json": lambda: b"[" + _deep('{"a":[', 50_000) + b"]",
        "deep_rows.jsonl": lambda: (b'{"text":' + b"[" * 900 + b"]" * 900 + b"}\n") * 50,
        "digits.jsonl": lambda: b'{"text": 1' + b"0" * 1_000_000 + b"}\n",
        "exponent.jsonl": lambda: b'{"prompt": "a", "completion": "b", "n": 1e999999999}\n' * 9,
        "escapes.jsonl": lambda: b'{"text": "' + b"\\ud800\\u0000" * 10_000 + b'"}\n',
        "cr.jsonl": lambda: b'{"text": "a\rb"}\r\n{"text": "c"}\r\r\n',
        "columns.csv": lambda: b",".join(b"c%d" % n for n in range(200_000)) + b"\n1,2\n",
        "commas.csv": lambda: b"," * 10_000_000,
        "same.csv": lambda: b",".join([b"a"] * 3000) + b"\n",
        "one_line.csv": lambda: b"x" * (40 << 20),
        "keys.jsonl": lambda: b"{" + b",".join(b'"k%d":0' % n for n in range(300_000)) + b"}\n",
        "lists.json": lambda: b"{" + b",".join(b'"k%d":[{}]' % n for n in range(100_000)) + b"}",
        "dictionary.parquet": lambda: _big_dictionary(1_000_000, 1 << 20),
        "long_dictionary.parquet": lambda: _big_dictionary(3_000, 40 << 20),
        "nulls.parquet": lambda: _nulls(50_000_000),
        "list.parquet": lambda: _long_list(100_000_000),
        "wide.parquet": lambda: _written(pa.table({f"c{n}": [n] for n in range(10_000)})),
        "bad_text.parquet": lambda: _written(_bad_text()),
        "times.parquet": lambda: _written(_times()),
        "bad_text.arrow": lambda: _arrow(_bad_text()),
        "times.arrow": lambda: _arrow(_times()),
        "nulls.arrow": lambda: _arrow(pa.table({"text": pa.nulls(20_000_000)}), stream=True),
        "zeros.arrow": lambda: _arrow(pa.table({"text": ["\0" * (100 << 20)]}), compression="zstd"),
        "wide_rows.xlsx": _bomb_xlsx,
        "tags.html": lambda: b"<div>" * 100_000 + b"x",
        "table.md": lambda: b"|" * 2_000_000,
        "stars.md": lambda: b"*" * 500_000 + b"\n" + b"[" * 500_000,
        "aliases.yaml": lambda: b"a: &a [x,x]\n"
        + b"".join(b"%c: &%c [%s]\n" % (98 + n, 98 + n, b",".join([b"*%c" % (97 + n)] * 9)) for n in range(9)),
        "merges.yaml": lambda: b"a: &a {x: 1}\n"
        + b"".join(
            b"%c: &%c\n  <<: [%s]\n" % (98 + n, 98 + n, b",".join([b"*%c" % (97 + n)] * 9)) for n in range(9)
        ),
        "lists.yaml": lambda: b"name: " + _deep("["),
        "dashes.yaml": lambda: _deep("- "),
        "questions.yaml": lambda: _deep("? "),
        "mappings.yaml": lambda: b"".join(b" " * n + b"a:\n" for n in range(1200)),
        "date.yaml": lambda: b"name: 2024-02-30\n",
        "digits.yaml": lambda: b"name: x\nseed: " + b"9" * 100_000,
        "long.yaml": lambda: b"# comment\n" * 5_000_000,
        "latin.yaml": lambda: "name: é\n".encode("latin-1"),
        "words.yaml": lambda: b"name: " + b"x" * 1_000_000,
        "keys.yaml": lambda: b"".join(b"k%d: 1\n" % n for n in range(60_000)),
        "anchors.yaml": lambda: b"name: " + b"&" * 100_000,
        "binary.yaml": lambda: b"name: !!binary |\n  %%%\n",
        "python.yaml": lambda: b"name: !!python/object/apply:os.system [x]\n",
    }  # fmt: skip
    for name, make in made.items():
        yield Malformed(name, make(), "made to hurt")

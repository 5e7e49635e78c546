"""Files as they come: packed, encoded, broken, empty, missing; and what the reader says."""

import csv
import gzip
import io
import json
import os
import random

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from fsspec.implementations.memory import MemoryFileSystem
from hypothesis import given, settings
from hypothesis import strategies as st

from steps.contracts.context import StageContext
from steps.contracts.errors import InputError, InputNotFoundError, MissingDependencyError, ServiceError
from steps.ingest.config import IngestConfig, SourceConfig
from steps.ingest.ingest import ingest, input_digests
from steps.ingest.json_values import JsonValues
from steps.ingest.streams import Lines, LineTooLong

PAIRS = [{"prompt": f"q{i} é", "completion": f"a{i}"} for i in range(20)]


def jsonl(rows):
    return "".join(json.dumps(r, ensure_ascii=False) + "\n" for r in rows)


def asked(got):
    return [r["messages"][0]["content"] for r in got.rows.iter_rows()]


QUESTIONS = [r["prompt"] for r in PAIRS]


def as_csv(rows, delimiter=","):
    out = io.StringIO()
    writer = csv.DictWriter(out, list(rows[0]), delimiter=delimiter)
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


def as_parquet(rows):
    out = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), out)
    return out.getvalue()


CONTENTS = {
    "a.jsonl": jsonl(PAIRS).encode(),
    "lines.json": jsonl(PAIRS).encode(),
    "array.json": json.dumps(PAIRS).encode(),
    "indented.json": json.dumps(PAIRS, indent=2).encode(),
    "values.json": "\n".join(json.dumps(r, indent=1) for r in PAIRS).encode(),
    "a.csv": as_csv(PAIRS).encode(),
    "semicolon.csv": as_csv(PAIRS, ";").encode(),
    "a.tsv": as_csv(PAIRS, "\t").encode(),
    "a.parquet": as_parquet(PAIRS),
    "a.jsonl.gz": gzip.compress(jsonl(PAIRS).encode()),
    "a.csv.zst": zstandard.compress(as_csv(PAIRS).encode()),
    "frames.jsonl.zst": b"".join(zstandard.compress(jsonl([r]).encode()) for r in PAIRS),
    "bom.jsonl": jsonl(PAIRS).encode("utf-8-sig"),
    "bom.csv": as_csv(PAIRS).encode("utf-8-sig"),
    "utf16.jsonl": jsonl(PAIRS).encode("utf-16"),
    "utf16be.json": b"\xfe\xff" + json.dumps(PAIRS, ensure_ascii=False).encode("utf-16-be"),
    "crlf.jsonl": jsonl(PAIRS).replace("\n", "\r\n").encode(),
    "blank.jsonl": jsonl(PAIRS).replace("\n", "\n\n  \n").encode(),
    "noend.jsonl": jsonl(PAIRS).rstrip("\n").encode(),
}


@pytest.mark.parametrize("name", CONTENTS)
def test_every_container_gives_the_same_rows(bench, name):
    bench.write(name, CONTENTS[name])
    got = bench.ingest(name)
    assert asked(got) == QUESTIONS
    bench.write("plain.jsonl", PAIRS)
    assert bench.ingest("plain.jsonl").rows.digest == got.rows.digest


@pytest.mark.parametrize("encoding", ["cp1252", "latin-1", "utf-16-le"])
def test_a_named_encoding(bench, encoding):
    bench.write("a.jsonl", jsonl(PAIRS).encode(encoding))
    assert asked(bench.ingest("a.jsonl", encoding=encoding)) == QUESTIONS
    bench.write("a.csv", as_csv(PAIRS).encode(encoding))
    assert asked(bench.ingest("a.csv", encoding=encoding)) == QUESTIONS


def test_invalid_bytes_reject_the_row_only(bench):
    for name, text in (("a.jsonl", jsonl(PAIRS)), ("a.csv", as_csv(PAIRS))):
        bench.write(name, text.encode().replace("q7 é".encode(), b"q7 \xe9"))
        assert asked(bench.ingest(name, most=0.05)) == [q for q in QUESTIONS if q != "q7 é"]
        [reject] = bench.rejects()
        assert reject["reason"] == "encoding" and "`encoding`" in reject["hint"]
        assert reject["line"] == (8 if name == "a.jsonl" else 9) and r"q7 \xe9" in reject["raw"]


def test_broken_json_names_its_line(bench):
    rows = [json.dumps({"prompt": f"q{i}", "completion": "a"}) for i in range(1, 5001)]
    rows[4710] = rows[4710][:-1]
    bench.write("a.jsonl", "\n".join(rows))
    got = bench.ingest("a.jsonl", most=0.001)
    assert got.report.kept == 4999 and got.report.dropped_by == {"broken_json": 1}
    with pytest.raises(
        InputError, match=r"s/a.jsonl line 4711 \(line:4711\): broken_json: Expecting ',' delimiter"
    ) as e:
        bench.ingest("a.jsonl")
    assert "1 of 5,000 rows" in str(e.value) and "rejects.jsonl" in str(e.value)


@pytest.mark.parametrize("good", [3, 5000], ids=["few", "read in bulk"])
def test_two_values_under_one_key_are_no_row(bench, good):
    rows = [json.dumps({"prompt": f"q{i}", "completion": "a"}) for i in range(good)]
    rows.insert(1, '{"prompt": "q", "completion": "a", "completion": "b"}')
    rows.insert(2, '{"messages": [{"role": "user", "content": "q", "content": "r"}]}')
    rows.insert(3, '{"prompt": "same", "prompt": "same", "completion": "a"}')
    bench.write("a.jsonl", "\n".join(rows))
    got = bench.ingest("a.jsonl", most=0.5)
    assert got.report.kept == good + 1 and got.report.dropped_by == {"duplicate_key": 2}
    assert [r["hint"].split(":")[0] for r in bench.rejects()] == [
        f"key '{key}' stands twice, with different values" for key in ("completion", "content")
    ]


def test_an_error_and_a_report_hold_no_text_of_rows(bench):
    bench.write("a.jsonl", [{"prompt": "p", "completion": "c"}, {"prompt": "secret-4711", "completion": None}])
    with pytest.raises(InputError) as e:
        bench.ingest("a.jsonl")
    got = bench.ingest("a.jsonl", most=0.5)
    shown = str(e.value) + got.report.model_dump_json() + str(bench.ledger(got))
    assert "secret-4711" not in shown and "secret-4711" in (bench.out / "rejects.jsonl").read_text()


def test_the_first_three_of_each_reason_stand_in_report_and_error(bench):
    bad = [{"messages": [{"role": "user", "body": f"secret {n}"}]} for n in range(5)]
    bad += [{"messages": [{"role": "nobody", "content": "secret"}]}, {"texts": "secret"}]
    good = {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]}
    bench.write("a.jsonl", [good, *bad])
    report = bench.ingest("a.jsonl", most=0.9).report
    wanted = "message 1: has `body` (text), wanted `content`"
    unknown = (
        "message 1: role 'nobody' is none of system, user, assistant, tool or their known aliases; name it in the"
        " source's `roles`"
    )
    missing = "column 'messages' is missing; the row has `texts` (text)"
    places = [(f"line:{n}", "no_content", wanted) for n in (2, 3, 4)]
    places += [("line:7", "unknown_role", unknown), ("line:8", "missing_column", missing)]
    assert [(e.reason, e.text) for e in report.examples[1:]] == [
        (f"rejected: {reason}", f"s/a.jsonl, {place}: {hint}") for place, reason, hint in places
    ]
    with pytest.raises(InputError) as e:
        bench.ingest("a.jsonl")
    assert e.value.what.splitlines()[1:] == [
        f"  s/a.jsonl line {place[5:]} ({place}): {reason}: {hint}" for place, reason, hint in places
    ]


def test_each_source_answers_for_its_own_rejects(bench):
    bench.write("good.jsonl", PAIRS * 100)
    bench.write("bad.jsonl", [*PAIRS[:2], {"prompt": "x", "completion": None}])
    config = IngestConfig(sources=[{"name": "good", "path": "good.jsonl"}, {"name": "bad", "path": "bad.jsonl"}])
    with pytest.raises(InputError, match="source bad: 1 of 3 rows"):
        ingest(None, config, StageContext(bench.out, bench.root))


def test_a_line_too_long_is_rejected_and_reading_goes_on(bench):
    rows = [jsonl([r]) for r in PAIRS]
    rows[3] = json.dumps({"prompt": "x" * 5000, "completion": "y"}) + "\n"
    for name, text in (("a.jsonl", "".join(rows)), ("a.json", "[" + ",".join(rows) + "]")):
        bench.write(name, text)
        got = bench.ingest(name, most=0.1, top={"max_line_bytes": 1000})
        assert asked(got) == QUESTIONS[:3] + QUESTIONS[4:]
        assert [(r["reason"], r["line"]) for r in bench.rejects()] == [("too_long", 4)]
    bench.write("a.csv", as_csv([*PAIRS[:3], {"prompt": "x" * 5000, "completion": "y"}, *PAIRS[4:]]))
    assert asked(bench.ingest("a.csv", most=0.1, top={"max_line_bytes": 1000})) == QUESTIONS[:3] + QUESTIONS[4:]
    assert [(r["reason"], r["line"]) for r in bench.rejects()] == [("too_long", 5)]


def test_csv_trouble(bench):
    bench.write("a.csv", 'prompt,completion\nq,"a\nb"\nonly one cell\nq2,a2,a3\nq3,a3\n')
    got = bench.ingest("a.csv", most=0.5)
    rows = list(got.rows.iter_rows())
    assert [(r["locator"], r["messages"][1]["content"]) for r in rows] == [("line:2", "a\nb"), ("line:6", "a3")]
    assert [(r["reason"], r["line"]) for r in bench.rejects()] == [("csv_columns", 4), ("csv_columns", 5)]
    bench.write("twice.csv", "prompt,prompt\n1,2\n")
    with pytest.raises(InputError, match="columns named twice: 'prompt'"):
        bench.ingest("twice.csv")


def test_json_array_trouble(bench):
    good = json.dumps(PAIRS[0])
    bench.write("a.json", f'[{good},\n {{"prompt": "x",}},\n 7, {good}, {{"prompt": "cut')
    assert len(asked(bench.ingest("a.json", most=0.7))) == 2
    assert [(r["reason"], r["line"]) for r in bench.rejects()] == [
        ("broken_json", 2), ("not_an_object", 3), ("cut_off", 3),
    ]  # fmt: skip
    bench.write("b.json", f"[{good}]\n[{good}]")
    assert len(asked(bench.ingest("b.json", most=0.7))) == 2
    assert [r["reason"] for r in bench.rejects()] == ["after_end"]


def test_deep_nesting_and_huge_numbers(bench):
    bad = ['{"prompt": ' + "[" * 100_000 + "]" * 100_000 + "}", '{"prompt": ' + "9" * 5000 + "}"]
    odd = '{"prompt": "p", "completion": "c", "x": NaN, "y": 1e999}'
    bench.write("a.jsonl", "\n".join([odd, *bad]))
    [row] = bench.ingest("a.jsonl", most=0.7).rows.iter_rows()
    assert json.loads(row["meta"]) in ({}, {"y": None})
    assert [r["reason"] for r in bench.rejects()] == ["too_deep", "broken_json"]


def test_surrogates_and_nul_are_cleaned_and_booked(bench):
    lines = [r'{"prompt": "a\ud83d b", "completion": "c"}', r'{"prompt": "a\u0000b", "completion": "\ud83d\ude00"}']
    bench.write("a.jsonl", "\n".join(lines))
    got = bench.ingest("a.jsonl")
    one, two = got.rows.iter_rows()
    assert one["messages"][0]["content"] == "a\ufffd b"
    assert [m["content"] for m in two["messages"]] == ["ab", "😀"]
    assert got.report.changed == 2
    assert got.report.counts["text cleaned"] == {"nul_removed": 1, "surrogate_replaced": 1}
    assert [line["verdict"] for line in bench.ledger(got)] == ["changed", "changed"]
    bench.write("a.parquet", as_parquet([{"prompt": "a\x00b", "completion": "c"}]))
    assert asked(bench.ingest("a.parquet")) == ["ab"]


def test_missing_empty_and_unknown_files(bench):
    bench.write("train.jsonl", PAIRS)
    with pytest.raises(InputNotFoundError, match=r"did you mean train.jsonl") as e:
        bench.ingest("tran.jsonl")
    assert isinstance(e.value, FileNotFoundError)
    with pytest.raises(InputNotFoundError, match="no such file, nor its folder"):
        bench.ingest("no/such/file.jsonl")
    with pytest.raises(InputNotFoundError, match="no file there"):
        bench.ingest("*.csv")
    for name, content in (("e.jsonl", ""), ("e2.jsonl", "\n \n"), ("e.csv", "a,b\n"), ("e.json", "[]"), ("e.md", " ")):
        bench.write(name, content)
        with pytest.raises(InputError, match=f"s/{name}: no rows: the input is empty"):
            bench.ingest(name)
    bench.write("notes.xyz", "Some words")
    with pytest.raises(InputError, match=r"no file of a known type: notes.xyz.*\n.*give jsonl"):
        bench.ingest("notes.xyz")
    assert asked(bench.ingest("train.jsonl", container="jsonl")) == QUESTIONS


def test_folders_and_globs_are_read_in_order_of_relative_paths(bench):
    for name in (
        "d/b.jsonl",
        "d/a.jsonl",
        "d/deep/c.jsonl",
        "d/.hidden.jsonl",
        "d/_draft.jsonl",
        "d/x.bin",
        "d/z.jsonl",
    ):
        bench.write(name, "" if "z" in name else [{"prompt": name, "completion": "c"}])
    got = bench.ingest("d")
    assert [r["source"] for r in got.rows.iter_rows()] == ["s/a.jsonl", "s/b.jsonl", "s/deep/c.jsonl"]
    assert any("x.bin" in n for n in got.report.notes) and any("z.jsonl" in n for n in got.report.notes)
    same = bench.ingest("d/**/*.jsonl")
    assert same.rows.digest == got.rows.digest
    ids = [[r["record_id"] for r in g.rows.iter_rows()] for g in (got, same)]
    assert ids[0] == ids[1]


def test_ids_are_equal_wherever_the_files_lie(bench, tmp_path):
    ids = []
    for place in ("one", "another/deeper"):
        folder = tmp_path / place
        folder.mkdir(parents=True)
        (folder / "a.jsonl").write_text(jsonl(PAIRS))
        got = ingest(None, IngestConfig(sources=[{"name": "s", "path": "a.jsonl"}]), StageContext(bench.out, folder))
        ids.append([(r["record_id"], r["content_id"]) for r in got.rows.iter_rows()])
    (tmp_path / "b.jsonl").write_text(jsonl([{"prompt": "other", "completion": "x"}]))
    sources = [{"name": "first", "path": str(tmp_path / "b.jsonl")}, {"name": "s", "path": "a.jsonl"}]
    got = ingest(None, IngestConfig(sources=sources), StageContext(bench.out, folder))
    ids.append([(r["record_id"], r["content_id"]) for r in got.rows.iter_rows() if r["source"] == "s/a.jsonl"])
    assert ids[0] == ids[1] == ids[2] and len(set(ids[0])) == 20


def test_content_ids_don_t_depend_on_row_order(bench):
    rows = list(PAIRS)
    random.Random(1).shuffle(rows)
    bench.write("a.jsonl", PAIRS)
    bench.write("b.jsonl", rows)
    assert bench.ingest("a.jsonl").rows.digest == bench.ingest("b.jsonl").rows.digest


def test_a_damaged_archive_is_named(bench):
    packed = gzip.compress(jsonl([{"prompt": os.urandom(50).hex(), "completion": "c"} for _ in range(500)]).encode())
    bench.write("a.jsonl.gz", packed[: len(packed) // 2])
    with pytest.raises(InputError, match=r"s/a.jsonl.gz: the packed file is damaged or cut off"):
        bench.ingest("a.jsonl.gz", most=1.0)
    bench.write("b.jsonl.zst", b"not zstd at all")
    with pytest.raises(InputError, match="damaged"):
        bench.ingest("b.jsonl.zst")
    bench.write("c.parquet", b"PAR1 no")
    with pytest.raises(InputError, match="not a Parquet file"):
        bench.ingest("c.parquet")


def test_fsspec_urls(bench):
    fs = fsspec.filesystem("memory")
    for name in ("x/b.jsonl", "x/a.jsonl"):
        fs.pipe(f"/bucket/{name}", jsonl([{"prompt": name, "completion": "c"}]).encode())
    fs.pipe("/bucket/x/p.parquet", as_parquet([{"prompt": "x/p", "completion": "c"}]))
    for url in ("memory://bucket/x", "memory://bucket/x/*"):
        got = bench.ingest(url)
        assert [r["source"] for r in got.rows.iter_rows()] == ["s/a.jsonl", "s/b.jsonl", "s/p.parquet"]
    assert asked(bench.ingest("memory://bucket/x/b.jsonl")) == ["x/b.jsonl"]
    with pytest.raises(InputNotFoundError):
        bench.ingest("memory://bucket/none.jsonl")
    with pytest.raises(MissingDependencyError, match="nosuchprotocol"):
        bench.ingest("nosuchprotocol://bucket/a.jsonl")
    file = bench.write("a.jsonl", PAIRS)
    assert asked(bench.ingest(f"file://{file}")) == QUESTIONS


class BotoLikeError(Exception):
    pass


class Broken(MemoryFileSystem):
    """A store that is there until somebody reads."""

    protocol = "broken"

    def isfile(self, path):
        if "down" in path:
            raise BotoLikeError("no endpoint")
        return super().isfile(path)

    def _open(self, path, mode="rb", **kwargs):
        if mode == "rb" and "lost" in path:
            raise BotoLikeError("connection lost")
        return super()._open(path, mode, **kwargs)


def test_a_store_that_fails_is_a_service_error(bench):
    fsspec.register_implementation("broken", Broken, clobber=True)
    fsspec.filesystem("broken").pipe("broken://b/lost.jsonl", jsonl(PAIRS).encode())
    for url in ("broken://b/down.jsonl", "broken://b/lost.jsonl"):
        with pytest.raises(ServiceError, match=r"BotoLikeError: (no endpoint|connection lost)"):
            bench.ingest(url)


def test_input_digests_follow_the_content(bench):
    bench.write("a.jsonl", PAIRS)
    hub = SourceConfig(name="h", hub="o/n", revision="0" * 40)
    config = IngestConfig(sources=(SourceConfig(name="s", path="a.jsonl"), hub))
    before = input_digests(config, bench.root)
    assert before["h/train"] == f"hub:o/n@{'0' * 40}:" and len(before["s/a.jsonl"]) == 64
    os.utime(bench.root / "a.jsonl", (1, 1))
    assert input_digests(config, bench.root) == before
    bench.write("a.jsonl", PAIRS[1:])
    assert input_digests(config, bench.root)["s/a.jsonl"] != before["s/a.jsonl"]


class Dribble(io.RawIOBase):
    """Gives a few bytes at a time, so that every boundary falls between two blocks."""

    def __init__(self, data, size):
        self.data, self.size = data, size

    def readable(self):
        return True

    def readinto(self, into):
        piece, self.data = self.data[: self.size], self.data[self.size :]
        into[: len(piece)] = piece
        return len(piece)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(alphabet='a"\\[]{},:\n é'),
    lambda v: st.lists(v, max_size=3) | st.dictionaries(st.text(alphabet='a"\\]}', max_size=3), v, max_size=3),
    max_leaves=8,
)


@settings(max_examples=80, deadline=None)
@given(st.lists(st.dictionaries(st.text(max_size=3), VALUES, max_size=3), max_size=5), st.sampled_from([None, 1]))
def test_json_values_equal_the_json_module(monkeypatch_block, rows, indent):
    for text in (json.dumps(rows, indent=indent), "\n".join(json.dumps(r, indent=indent) for r in rows)):
        got = list(JsonValues(io.BufferedReader(Dribble(text.encode(), 7), 16), 1 << 20))
        assert [json.loads(v.raw) for v in got] == rows
        assert not any(v.problem for v in got)


@pytest.fixture(scope="module")
def monkeypatch_block():
    """Blocks of three bytes: strings, escapes and brackets are cut everywhere."""
    from steps.ingest import json_values as module

    old, module._BLOCK = module._BLOCK, 3
    yield
    module._BLOCK = old


@settings(max_examples=100, deadline=None)
@given(st.lists(st.binary(max_size=12).map(lambda b: b.replace(b"\n", b"").replace(b"\r", b"")), max_size=8))
def test_lines_never_lose_their_place(parts):
    lines, seen = Lines(io.BufferedReader(io.BytesIO(b"\n".join(parts))), 6), []
    while True:
        try:
            seen.append(next(lines))
        except LineTooLong as e:
            seen.append((e.line, e.size))
        except StopIteration:
            break
    ends = [len(p) + 1 for p in parts]
    if parts:
        ends[-1] -= 1
    truth = [(i, p if len(p) <= 6 else n) for i, (p, n) in enumerate(zip(parts, ends, strict=True), 1)]
    if truth and truth[-1][1] == b"":
        truth.pop()
    assert seen == truth


def test_a_pipe_is_named_and_never_waited_for(bench):
    os.mkfifo(bench.root / "rows.jsonl")
    for path in ("rows.jsonl", "/dev/null"):
        with pytest.raises(InputNotFoundError, match="but a pipe, a socket or a device") as e:
            bench.ingest(path)
        assert "did you mean" not in str(e.value.hint)

"""The columnar path gives what the careful path gives, to the last byte: rows, shards, ledger, rejects and report."""

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from steps.contracts.context import StageContext
from steps.contracts.digests import canonical_json, short_id
from steps.contracts.outcome import Outcome
from steps.engines.execution import threads
from steps.ingest import ingest as ingest_module
from steps.ingest.columnar import blocks, columnar, eligible, kernel
from steps.ingest.columnar.json_text import json_of
from steps.ingest.columnar.records import Origin, _row_ids
from steps.ingest.columnar.strings import Strings, offsets
from steps.ingest.config import IngestConfig
from steps.ingest.ingest import ingest
from steps.ingest.rows import RowReader

WORDS = (
    "the cat", 'a "quote"', "back\\slash", "tab\there", "line\nend", "Grüße", "日本語", "emoji 😀", "\x7f", "\x1f",
    "a/b", "\u2028", "\u0085", "x" * 300, "1.5", "null", "e\u0301", "\\u0041", "&lt;", "a < b", "<b>", "\ufeff",
)  # fmt: skip
ODD_TEXTS = ("", " ", "\n\t", "\u3000", "\xa0 ", "\0", "a\0b", "[1, 2]", '{"a": 1}', "Human: hi\n\nAssistant: ho",
             "<think>so</think> yes", "</think>", "a\rb", "<|im_end|>")  # fmt: skip
ODD_VALUES = (None, 1, 1.5, True, [], {}, ["a"], {"a": None}, "x\ud800y")


def said(rng: random.Random, odd: float = 0.0) -> Any:
    if rng.random() < odd:
        return rng.choice(ODD_TEXTS) if rng.random() < 0.7 else rng.choice(ODD_VALUES)
    return " ".join(rng.choice(WORDS) for _ in range(rng.randint(1, 6)))


def turns(rng: random.Random, odd: float, who: str, what: str, names: tuple[str, str]) -> Any:
    out = [{who: "system", what: said(rng)}] if rng.random() < 0.3 else []
    for _ in range(rng.randint(1, 3)):
        out += [{who: names[0], what: said(rng, odd / 4)}, {what: said(rng, odd / 4), who: names[1]}]
    if rng.random() < odd:
        change = rng.randrange(6)
        if change == 0:
            out.pop()
        elif change == 1:
            out.insert(1, out[0])
        elif change == 2:
            out[0][who] = rng.choice(["Human", "tool", "narrator", None, "user "])
        elif change == 3:
            out[-1]["weight"] = 0
        elif change == 4:
            out = rng.choice([[], None, "text", out[:1]])
        else:
            out[-1][what] = [{"type": "text", "text": "part"}]
    return out


def row_of(shape: str, rng: random.Random, odd: float) -> dict[str, Any]:
    if shape == "text":
        row = {"text": said(rng, odd)}
    elif shape == "prompt_completion":
        row = {"prompt": said(rng, odd), "completion": said(rng, odd)}
    elif shape == "question":
        row = {"question": said(rng, odd), "answer": said(rng, odd)}
    elif shape == "alpaca":
        row = {"instruction": said(rng, odd), "input": rng.choice(["", said(rng, odd)]), "output": said(rng, odd)}
    elif shape == "preference":
        row = {"prompt": said(rng, odd), "chosen": said(rng, odd), "rejected": said(rng, odd)}
        if rng.random() < odd / 4:
            row["rejected"] = row["chosen"]
    elif shape == "openai":
        row = {"messages": turns(rng, odd, "role", "content", ("user", "assistant"))}
    else:
        row = {"conversations": turns(rng, odd, "from", "value", ("human", "gpt"))}
    return row


def extras(rng: random.Random) -> dict[str, Any]:
    made = {
        "id": rng.randrange(-5, 10**15),
        "source": said(rng),
        "share": rng.choice([0.5, 0.0001, 1e-7, 12.25, -0.0, 1e22, 123456.789, 0.1 + 0.2]),
        "seen": rng.random() < 0.5,
        "note": rng.choice([None, "n"]),
    }
    return {k: v for k, v in made.items() if rng.random() < 0.8}


def odd_row(row: dict[str, Any], rng: random.Random) -> dict[str, Any]:
    """Rows with columns that mean something, that others lack, or that nobody knows."""
    more = rng.choice(
        [
            {"system": "be kind"}, {"tools": "[]"}, {"label": True}, {"weight": 0}, {"history": [["a", "b"]]},
            {"new column": 1}, {"tags": ["a", "b"]}, {"nested": {"b": 1, "a": {"c": "d"}}}, {"context": "here"},
        ]
    )  # fmt: skip
    row = {**row, **more}
    if rng.random() < 0.2:
        row.pop(rng.choice(sorted(row)))
    return row


SHAPES = ("text", "prompt_completion", "question", "alpaca", "preference", "openai", "sharegpt")


def lines_of(shape: str, rng: random.Random, count: int) -> bytes:
    out = []
    for n in range(count):
        row = {**row_of(shape, rng, 0.15 if n > 5 else 0.0), **extras(rng)}
        if n > 5 and rng.random() < 0.1:
            row = odd_row(row, rng)
        text = json.dumps(row, ensure_ascii=rng.random() < 0.5, indent=2 if n > 5 and rng.random() < 0.02 else None)
        line = text.encode("utf-8", "surrogatepass")
        if n > 5 and rng.random() < 0.1:
            line = rng.choice(
                [
                    b"", b"  ", b" " + line, line + b" ", line[:-1], line + b",", line + line, b"[1]", b"{}",
                    b"\xff" + line,
                    line.replace(b":", b" : ", 1), line[:-1] + b', "prompt": "twice"}', b"\xef\xbb\xbf" + line, b"{",
                    line.replace(b'"id": ', b'"id": 0'), line.replace(b'"id": ', b'"id": 1e'), b'{"text": ', b'"a"}',
                ]
            )  # fmt: skip
        out.append(line + (b"\r\n" if rng.random() < 0.1 else b"\n"))
    data = b"".join(out)
    return data if rng.random() < 0.5 else data[:-1]


def table_of(shape: str, rng: random.Random, count: int) -> pa.Table:
    rows = [row_of(shape, rng, 0.0) for _ in range(count)]
    for row in rows[6:]:
        for key, value in row.items():
            if isinstance(value, str) and rng.random() < 0.1:
                row[key] = rng.choice([*ODD_TEXTS, None])
    made = {k: pa.array([r.get(k) for r in rows]) for k in rows[0]}
    made |= {
        "id": pa.array(range(count), pa.int32()),
        "share": pa.array([rng.choice([0.5, 1e22, 1e-7, None, float("nan")]) for _ in rows]),
        "half": pa.array([rng.choice([0.1, 2.5]) for _ in rows], pa.float32()),
        "seen": pa.array([rng.choice([True, False, None]) for _ in rows]),
        "lang": pa.array([rng.choice(["en", "de", None]) for _ in rows]).dictionary_encode(),
        "tags": pa.array([rng.choice([["a", 'b"'], [], None, ["x", None]]) for _ in rows], pa.list_(pa.string())),
        "about": pa.array([rng.choice([{"b": 1, "a": "ü"}, {"b": None, "a": ""}, None]) for _ in rows]),
    }
    if rng.random() < 0.3:
        made["when"] = pa.array([rng.randrange(10**9) for _ in rows], pa.timestamp("s"))
    return pa.table(made)


class Both:
    """Ingests a file by both paths and compares what comes out. `taken`: rows that were read by columns."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.monkeypatch, self.taken = folder, monkeypatch, 0
        monkeypatch.setattr(ingest_module, "_SAMPLE_ROWS", 5)
        monkeypatch.setattr(columnar, "_BLOCK_BYTES", 4_000)
        monkeypatch.setattr(columnar, "_MOST_ROWS", 16)
        take = RowReader.take_block
        monkeypatch.setattr(RowReader, "take_block", lambda reader, done: (self._count(done), take(reader, done)))

    def _count(self, done: blocks.Done) -> None:
        self.taken += done.table.num_rows

    def read(self, path: Path, least: int, cores: int, **settings: Any) -> tuple[Outcome, Path]:
        self.monkeypatch.setattr(eligible, "LEAST_BYTES", least)
        self.monkeypatch.setattr(threads, "cores", lambda: cores)
        out = self.folder / f"out-{path.name}-{least}-{cores}"
        config = IngestConfig(sources=[{"name": "s", "path": path.name}], max_reject_share=1, **settings)
        return ingest(None, config, StageContext(out, self.folder)), out

    def compare(self, path: Path, **settings: Any) -> Outcome:
        careful, there = self.read(path, 1 << 60, 1, **settings)
        for cores in (1, 3):
            fast, here = self.read(path, 0, cores, **settings)
            assert list(fast.rows.iter_rows()) == list(careful.rows.iter_rows())
            assert fast.rows.manifest == careful.rows.manifest
            assert fast.ledger.read().equals(careful.ledger.read())
            assert (here / "rejects.jsonl").read_bytes() == (there / "rejects.jsonl").read_bytes()
            assert said_by(fast) == said_by(careful)
        return careful


def said_by(done: Outcome) -> dict[str, Any]:
    return {k: v for k, v in done.report.model_dump().items() if k not in ("seconds", "cpu_seconds")}


@pytest.fixture
def both(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Both:
    return Both(tmp_path, monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize("shape", SHAPES)
def test_json_lines_come_out_the_same(both: Both, shape: str) -> None:
    for seed in range(3):
        path = both.folder / f"{shape}-{seed}.jsonl"
        path.write_bytes(lines_of(shape, random.Random(f"{shape} {seed}"), 120))
        both.compare(path)
    # Two readings of three files.
    assert both.taken > 2 * 3 * 15


@pytest.mark.parametrize("shape", SHAPES)
def test_parquet_comes_out_the_same(both: Both, shape: str) -> None:
    for seed in range(3):
        path = both.folder / f"{shape}-{seed}.parquet"
        pq.write_table(table_of(shape, random.Random(f"{shape} {seed}"), 90), path, row_group_size=40)
        both.compare(path)
    assert both.taken > 0


def test_clean_parquet_is_read_by_columns_behind_its_head(both: Both) -> None:
    rows = [{"text": f"row {n}", "id": n, "lang": "en"} for n in range(100)]
    pq.write_table(pa.Table.from_pylist(rows), both.folder / "a.parquet")
    got = both.compare(both.folder / "a.parquet")
    assert both.taken == 2 * 95 and got.rows.rows == 100
    assert [r["locator"] for r in got.rows.iter_rows()] == [f"row:{n}" for n in range(1, 101)]


def test_meta_columns_are_chosen_alike(both: Both) -> None:
    rows = [{"text": f"row {n}", "id": n, "lang": "en"} for n in range(60)]
    (both.folder / "a.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    both.compare(both.folder / "a.jsonl", meta_columns=("lang",))
    both.compare(both.folder / "a.jsonl", meta_columns=())
    assert both.taken == 4 * 55


def test_a_line_longer_than_a_row_may_be_is_one_reject(both: Both) -> None:
    rows = [json.dumps({"text": f"row {n}"}) for n in range(40)]
    rows[20] = json.dumps({"text": "x" * 9_000})
    rows[30:30] = ["x" * 30_000]
    (both.folder / "a.jsonl").write_text("\n".join(rows))
    got = both.compare(both.folder / "a.jsonl", max_line_bytes=8_000)
    assert got.report.dropped_by["too_long"] == 2


def test_where_the_two_ways_differ_the_careful_one_counts(both: Both, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = "".join(json.dumps({"text": f"row {n}"}) + "\n" for n in range(50))
    (both.folder / "a.jsonl").write_text(rows)
    monkeypatch.setattr(RowReader, "record", lambda reader, item: None)
    assert both.compare(both.folder / "a.jsonl").rows.rows == 50
    assert both.taken == 0


# --- the kernel against json, hashlib's ids and Python ---


def test_what_a_mutated_line_says_is_what_json_says() -> None:
    rng = random.Random(5)
    names = ("prompt", "messages", "id", "source", "share", "seen", "note")
    clean = 0
    for _ in range(4_000):
        row = {**row_of(rng.choice(["prompt_completion", "openai"]), rng, 0), **extras(rng)}
        row.pop("completion", None)
        line = bytearray(json.dumps(row, ensure_ascii=rng.random() < 0.5).encode())
        for _ in range(rng.randint(0, 2)):
            line[rng.randrange(len(line))] = rng.choice(b'"\\{}[],:0e.-+tfn \x00\x1f\xc3\xed\xff' + bytes(line[:5]))
        if 0x0A in line:
            continue
        data = np.frombuffer(bytes(line), np.uint8)
        scan = blocks._scanned(data, 1, names, 1 << 20)
        if scan.status[0] != kernel.CLEAN:
            continue
        clean += 1
        value = json.loads(bytes(line), strict=False)
        there = {k for k, kind in zip(names, scan.kinds[0], strict=True) if kind not in (kernel.ABSENT, kernel.NULL)}
        assert there == {k for k, v in value.items() if v is not None}
        columns = blocks._line_columns(data, scan, np.zeros(1, np.int64), names)
        for name, column in columns.items():
            if isinstance(column, blocks.Text):
                assert column.values.arrow().to_pylist() == [value[name]]
            elif isinstance(column, blocks.Literal):
                assert column.values.arrow().to_pylist() == [canonical_json(value[name])]
            else:
                texts = [t["value" if column.spoken else "content"] for t in value[name]]
                assert column.texts.arrow().to_pylist() == texts
    assert clean > 1_000


def test_numbers_are_taken_as_they_stand_only_if_python_writes_them_so() -> None:
    rng = random.Random(6)
    shapes: list[Callable[[], str]] = [
        lambda: str(rng.randrange(-(10**16), 10**16)),
        lambda: repr(rng.uniform(-1, 1) * 10 ** rng.randrange(-12, 18)),
        lambda: f"{rng.uniform(-9, 9):.{rng.randrange(0, 18)}f}",
        lambda: "".join(rng.choice("0123456789.-eE+") for _ in range(rng.randrange(1, 8))),
    ]
    taken = 0
    edges = ["0", "-0", "0.0", "-0.0", "1.0", "00", "01", "1.", ".1"]
    for text in [*edges, *(rng.choice(shapes)() for _ in range(6_000))]:
        scan = blocks._scanned(np.frombuffer(f'{{"id": {text}}}'.encode(), np.uint8), 1, ("id",), 1 << 20)
        if scan.status[0] == kernel.CLEAN:
            taken += 1
            assert canonical_json(json.loads(text)) == text
    assert taken > 1_500


def test_json_of_arrow_is_that_of_its_python_values() -> None:
    rng = random.Random(7)
    columns = [
        pa.array([said(rng) for _ in range(50)]),
        pa.array([rng.choice([None, said(rng)]) for _ in range(50)]).slice(7),
        pa.array([[said(rng) for _ in range(rng.randrange(3))] for _ in range(50)]).slice(5, 20),
        pa.array([{"b": said(rng), "ä": n, "a": [{"z": 0.5, "y": True}] * (n % 3)} for n in range(50)]).slice(3),
        pa.array([rng.choice([None, 0.1, 1e300, -0.0, 5e-324]) for _ in range(50)]),
        pa.array([1, None, 2**63], pa.uint64()),
        pa.nulls(4),
    ]
    for column in columns:
        made = json_of(column)
        assert made is not None and not made[1].any()
        assert made[0].arrow().to_pylist() == [canonical_json(v) for v in column.to_pylist()]
    assert json_of(pa.array([b"bytes"])) is None
    bad = json_of(pa.array([{"a": None}, {"a": 1}, None]))
    assert bad is not None and bad[1].tolist() == [True, False, True]


@pytest.mark.parametrize("size", [0, 1, 7, 103, 104, 105, 127, 128, 129, 255, 256, 1_000])
def test_ids_are_those_of_the_contract(size: int) -> None:
    raw = bytes(i % 251 for i in range(size))
    data = np.frombuffer(raw + b"\0", np.uint8)
    numbers = np.array([1, 9, 10, 12_345, 10**18])
    n = len(numbers)
    starts, ends = np.zeros(n, np.int64), np.full(n, size)
    origin = Origin("s/a.jsonl", 0, "line:", numbers, data, starts, ends)
    ids, places = _row_ids(origin)
    assert places.to_pylist() == [f"line:{number}" for number in numbers]
    assert ids.to_pylist() == [short_id("s/a.jsonl", f"line:{number}", raw) for number in numbers]


def test_ids_of_texts_of_all_sizes_side_by_side_are_those_of_the_contract() -> None:
    rng = random.Random(9)
    raws = [rng.randbytes(rng.choice([0, 1, 40, 127, 128, 129, 700, 5_000])) for _ in range(200)]
    ends = offsets(np.array([len(r) for r in raws]))
    data = np.frombuffer(b"".join(raws) + b"\0", np.uint8)
    for count in (1, 7, 8, 9, 200):
        origin = Origin("s/ä.jsonl", 0, "row:", np.arange(count), data, ends[:count], ends[1 : count + 1])
        ids = _row_ids(origin)[0].to_pylist()
        assert ids == [short_id("s/ä.jsonl", f"row:{n}", raw) for n, raw in enumerate(raws[:count])]


def test_long_texts_are_written_and_read_as_json_does_wherever_their_odd_characters_stand() -> None:
    rng = random.Random(10)
    odd = ['"', "\\", "\n", "\x1f", "\x7f", "é", "日", "😀", "\t"]
    texts = []
    for _ in range(400):
        text = ["x"] * rng.choice([1, 63, 64, 65, 127, 128, 200, 500])
        for _ in range(rng.randrange(4)):
            text[rng.randrange(len(text))] = rng.choice(odd)
        texts.append("".join(text))
    made = json_of(pa.array(texts))
    assert made is not None and made[0].arrow().to_pylist() == [canonical_json(t) for t in texts]
    sizes = np.zeros(len(texts), np.int64)
    strings = Strings.from_texts(texts)
    kernel.characters(strings.data, strings.ends, sizes)
    assert sizes.tolist() == [len(t) for t in texts]
    lines = [json.dumps({"text": t}, ensure_ascii=rng.random() < 0.5) for t in texts]
    data = np.frombuffer("\n".join(lines).encode(), np.uint8)
    scan = blocks._scanned(data, len(lines), ("text",), 1 << 20)
    assert (scan.status == kernel.CLEAN).all()
    for kind in (kernel.PLAIN, kernel.ESCAPED):
        rows = np.flatnonzero(scan.kinds[:, 0] == kind)
        [column] = blocks._line_columns(data, scan, rows, ("text",)).values()
        assert isinstance(column, blocks.Text)
        assert column.values.arrow().to_pylist() == [texts[i] for i in rows]


def mutated(rng: random.Random) -> bytes:
    text = said(rng).encode() * rng.choice([1, 1, 20])
    at = rng.randrange(len(text) + 1)
    return text[:at] + bytes(rng.randrange(256) for _ in range(rng.randrange(4))) + text[at:]


def test_what_is_not_utf8_is_odd() -> None:
    rng = random.Random(8)
    texts = [mutated(rng) for _ in range(3_000)]
    strings = Strings(np.frombuffer(b"".join(texts), np.uint8), offsets(np.array([len(t) for t in texts])))
    odd = np.zeros(len(texts), bool)
    kernel.odd_bytes(strings.data, strings.ends, odd)
    found = 0
    for text, strange in zip(texts, odd.tolist(), strict=True):
        try:
            assert strange == ("\0" in text.decode())
        except UnicodeDecodeError:
            found += 1
            assert strange
    assert found > 1_000 and (~odd).sum() > 500


def test_blank_texts_and_other_forms_are_odd() -> None:
    blank = ["", " ", "\n\t\r", "\xa0", "\u2003", "\u3000\u3000", "\u1680", "\u205f", "\x1c", "\u0085"]
    forms = ["[1]", " {}", "\n\nHuman: a", " <think>"]
    plain = ["a", " \u3000b", "日", "\u3000中", "é", "Human", "Humans: x", "-", "\u2003x", "\U0001f600"]
    strings = Strings.from_texts([*blank, *forms, *plain])
    for whole, wanted in ((False, len(blank) + len(forms)), (True, len(blank))):
        odd = np.zeros(len(strings), bool)
        kernel.odd_starts(strings.data, strings.ends, whole, odd)
        assert odd.tolist() == [True] * wanted + [False] * (len(strings) - wanted)

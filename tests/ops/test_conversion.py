"""Converting: what is written reads back as the same content, and what can't be written is refused."""

import json
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ops.conversion import convert
from ops.reading import reading_of
from ops.row_files import Spool, type_by_name, write_rows
from steps.contracts.context import StageContext
from steps.contracts.errors import ConfigError, InputError
from steps.contracts.records import make_row, message
from steps.engines.formats.format import AS_USUAL
from steps.engines.formats.registry import FORMATS, WRITTEN, detect
from steps.engines.formats.rejected import RowRejected
from steps.ingest.ingest import ingest
from steps.ingest.quick import quick_config

CALLS = json.dumps(
    [{"id": "x1", "type": "function", "function": {"name": "f", "arguments": '{"a":  1}'}}], separators=(",", ":")
)
TEXT = st.text(alphabet="ab \n#:é", max_size=6)


@st.composite
def conversations(draw):
    messages = [message("system", draw(TEXT))] if draw(st.booleans()) else []
    for _ in range(draw(st.integers(1, 3))):
        messages.append(message("user", draw(TEXT), name=draw(st.sampled_from([None, None, None, "Al"]))))
        if draw(st.integers(0, 4)) == 0:
            ids = draw(st.lists(st.sampled_from(["call_1", "call_2", "zz", "yy"]), min_size=1, max_size=3, unique=True))
            arguments = draw(st.sampled_from(['{"a": 1}', '{"a":1}', "{}", '{"é": "\\u00e9"}']))
            calls = [{"function": {"arguments": arguments, "name": "f"}, "id": i, "type": "function"} for i in ids]
            text = json.dumps(calls, ensure_ascii=False, separators=(",", ":"), sort_keys=True)
            messages.append(message("assistant", draw(st.sampled_from(["", "", "so"])), tool_calls=text))
            for i in draw(st.permutations(ids)):
                messages.append(message("tool", draw(TEXT), tool_call_id=draw(st.sampled_from([i, i, None, "other"]))))
        messages.append(message("assistant", draw(TEXT)))
    tools = draw(st.sampled_from([None, None, '[{"function":{"name":"f"},"type":"function"}]']))
    meta = draw(st.sampled_from([{}, {"lang": "en"}, {"message_fields": {"0": {"weight": 1}}}]))
    return make_row(kind="conversation", source="s", locator="l", raw=b"", messages=messages, tools=tools, meta=meta)


@settings(max_examples=300, deadline=None)
@given(conversations(), st.sampled_from(["openai", "sharegpt", "alpaca"]))
def test_what_is_written_reads_back_as_it_was(row, to):
    try:
        written = json.loads(json.dumps(FORMATS[to].write(row)))
    except RowRejected as e:
        assert to != "openai" and e.reason.endswith(("_expressible", "with_tool_call"))
        return
    try:
        [draft] = FORMATS[to].read(written, AS_USUAL).drafts
    except RowRejected as e:
        assert e.reason == "empty_answer"  # such a row isn't ingested in the first place
        return
    assert draft.messages == row["messages"] and draft.tools == row["tools"]


@settings(max_examples=100, deadline=None)
@given(conversations(), TEXT, st.sampled_from(["openai", "sharegpt", "alpaca"]))
def test_a_preference_reads_back_as_it_was(row, other, to):
    *prompt, chosen = row["messages"]
    pair = {**row, "kind": "preference", "messages": prompt, "chosen": [chosen], "meta": "{}"}
    pair["rejected"] = [message("assistant", f"{other}!")]
    try:
        written = json.loads(json.dumps(FORMATS[to].write(pair)))
    except RowRejected as e:
        assert e.reason.endswith(("_expressible", "with_tool_call"))
        return
    assert "output" not in written
    try:
        [draft] = FORMATS[detect(written)].read(written, AS_USUAL).drafts
    except RowRejected as e:
        assert e.reason in (
            "empty_answer",
            "same_answers",
            "empty_text",
        )  # such a row isn't ingested in the first place
        return
    assert draft.kind == "preference" and draft.tools == pair["tools"]
    assert (draft.messages, draft.chosen, draft.rejected) == (prompt, [chosen], pair["rejected"])


def test_sides_of_several_turns_are_refused():
    turns = [message("assistant", "a"), message("user", "b"), message("assistant", "c")]
    row = make_row(kind="preference", source="s", locator="l", raw=b"", messages=[message("user", "q")], chosen=turns,
                   rejected=turns[:1])  # fmt: skip
    for to in ("sharegpt", "alpaca"):
        with pytest.raises(RowRejected, match="turns_not_expressible"):
            FORMATS[to].write(row)


@pytest.mark.parametrize("answered", [("x", "y", "call_3"), ("y", "x", "call_3"), (None, "x", "y")])
def test_sharegpt_keeps_which_call_was_answered(answered):
    calls = [{"function": {"arguments": "{}", "name": "f"}, "id": i, "type": "function"} for i in ("x", "y", "call_3")]
    text = json.dumps(calls, separators=(",", ":"), sort_keys=True)
    messages = [message("user", "q"), message("assistant", "", tool_calls=text)]
    messages += [*(message("tool", "t", tool_call_id=i) for i in answered), message("assistant", "a")]
    row = make_row(kind="conversation", source="s", locator="l", raw=b"", messages=messages)
    written = FORMATS["sharegpt"].write(row)
    named = ["tool_call_id" in turn for turn in written["conversations"][2:5]]
    assert named == {"x": [False] * 3, "y": [True, False, False], None: [True, False, False]}[answered[0]]
    assert FORMATS["sharegpt"].read(written, AS_USUAL).drafts[0].messages == messages


@pytest.mark.parametrize("first", ["openai", "sharegpt", "alpaca"])
@pytest.mark.parametrize("second", ["openai", "sharegpt", "alpaca"])
def test_there_and_back_through_files(tmp_path, monkeypatch, first, second):
    monkeypatch.chdir(tmp_path)
    rows = [
        {"instruction": "Add", "input": "1 and 2", "output": "3", "system": "s", "history": [["q", "a"]], "n": 1},
        {"instruction": "a\n\nb", "input": "", "output": "hi"},
    ]
    Path("start.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    for given_file, to, out in (("start", first, "one"), ("one", second, "two"), ("two", "alpaca", "end")):
        done = convert([f"{given_file}.jsonl"], to, Path(f"{out}.jsonl"))
        assert (done.rows_in, done.rows, done.rejected_by) == (2, 2, {})
    end = [json.loads(line) for line in Path("end.jsonl").read_text().splitlines()]
    assert [{k: v for k, v in r.items() if k != "alpaca_input_at"} for r in end] == rows


def test_what_alpaca_can_t_say_is_refused_with_a_reason(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    user, answer = {"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}
    call = {"role": "assistant", "content": None, "tool_calls": json.loads(CALLS)}
    rows = [
        {"messages": [user, answer]},
        {"messages": [user, call, answer]},
        {"messages": [user, answer, user]},
        {"messages": [{**user, "name": "Al"}, answer]},
        {"messages": [user, {**answer, "weight": 0}]},
        {"messages": [user, answer], "output": "x"},
        {"messages": [user]},
    ]
    Path("in.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    done = convert(["in.jsonl"], "alpaca", Path("out/a.jsonl"))
    assert (done.rows_in, done.rows) == (7, 1)
    assert done.rejected_by == {
        "no_assistant_turn": 1, "tools_not_expressible": 1, "turns_not_expressible": 1, "name_not_expressible": 1,
        "marks_not_expressible": 1, "column_clash": 1,
    }  # fmt: skip
    rejects = [json.loads(line) for line in done.rejects.read_text().splitlines()]
    assert [r["line"] for r in rejects] == [7, 2, 3, 4, 5, 6] and all(r["raw_data"] for r in rejects)
    Path("p.jsonl").write_text(json.dumps({"text": "a page"}))
    with pytest.raises(InputError, match=r"none of 1 rows can be written as openai \(document_not_expressible 1\)"):
        convert(["p.jsonl"], "openai", Path("p.out.jsonl"))
    assert not Path("p.out.jsonl").exists() and Path("p.out.jsonl.rejects.jsonl").exists()


def test_nothing_readable_leaves_the_reasons(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("in.jsonl").write_text('{"messages": []}\n{"messages": [{"role": "user", "content": "x"}]}\n')
    with pytest.raises(InputError, match=r"see o.jsonl.rejects.jsonl"):
        convert(["in.jsonl"], "openai", Path("o.jsonl"))
    assert len(Path("o.jsonl.rejects.jsonl").read_text().splitlines()) == 2 and not Path("o.jsonl").exists()


def test_inputs_name_their_sources(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for folder in ("x", "y"):
        Path(folder).mkdir()
        Path(folder, "my data (1).jsonl").write_text('{"prompt": "' + folder + '", "completion": "c"}\n')
    config = quick_config(["x/my data (1).jsonl", "y/my data (1).jsonl", "x"])
    got = ingest(None, config, StageContext(tmp_path / "out", tmp_path))
    assert [r["source"] for r in got.rows.iter_rows()] == [
        "my-data-1/my data (1).jsonl", "my-data-1-2/my data (1).jsonl", "x/my data (1).jsonl",
    ]  # fmt: skip


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.text(alphabet="a-3/é", min_size=1, max_size=4), min_size=1, max_size=6))
def test_any_input_gets_a_name_of_its_own(inputs):
    config = quick_config(inputs)
    assert len({s.name for s in config.sources}) == len(inputs)


@pytest.mark.parametrize("to", WRITTEN)
def test_what_no_chat_format_has_a_place_for_is_refused(to):
    turns = [message("user", "hi"), message("assistant", "hello")]
    row = make_row(kind="conversation", source="s", locator="line:1", raw=b"", messages=turns, score=0.0)
    with pytest.raises(RowRejected, match="marks_not_expressible"):
        FORMATS[to].write(row)
    weighted = [turns[0], {**turns[1], "weight": 0}]
    with pytest.raises(RowRejected, match="marks_not_expressible"):
        FORMATS["alpaca"].write({**row, "score": None, "messages": weighted})


@pytest.mark.parametrize("to", WRITTEN)
def test_reasoning_weights_and_labels_read_back(to):
    weight = {} if to == "alpaca" else {"weight": 0}
    turns = [message("user", "2+2?"), message("assistant", "4", reasoning="two and two", **weight)]
    row = make_row(
        kind="unpaired_preference", source="s", locator="line:1", raw=b"", messages=turns, label=False
    )  # fmt: skip
    written = FORMATS[to].write(row)
    [draft] = FORMATS[to].read(written, AS_USUAL).drafts
    assert (draft.kind, draft.messages, draft.label) == ("unpaired_preference", turns, False)
    if to == "openai":
        assert written["messages"][1] == {
            "role": "assistant", "content": "4", "reasoning_content": "two and two", "weight": 0,
        }  # fmt: skip
    else:
        assert "<think>\ntwo and two\n</think>\n\n4" in json.dumps(written).replace("\\n", "\n")


def test_a_format_that_is_only_read_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="only read"):
        convert(["x.jsonl"], "preference", tmp_path / "out.jsonl")


ASKED, ANSWER = {"role": "user", "content": 'q, "x"\nand é'}, {"role": "assistant", "content": "a"}
FUNCTION = {"name": "f", "parameters": {"properties": {"a": {"type": "number"}}}}
ROWS = [
    {"messages": [ASKED, ANSWER], "n": 1, "who": "A"},
    {
        "messages": [
            ASKED,
            {"role": "assistant", "content": "", "tool_calls": json.loads(CALLS)},
            {"role": "tool", "content": "t", "tool_call_id": "x1"},
            ANSWER,
        ],
        "tools": [{"type": "function", "function": FUNCTION}],
        "n": 2.5,
        "who": {"name": "B"},
    },
    {"messages": [ASKED, ANSWER], "none": None, "many": [1, "x"]},
]


def contents(path: str, scratch: Path) -> list[str]:
    got = ingest(None, quick_config([path]), StageContext(scratch, Path.cwd()))
    return [r["content_id"] for r in got.rows.iter_rows()]


@pytest.mark.parametrize(
    "name", ["o.jsonl", "o.ndjson.gz", "o.json", "o.json.zst", "o.csv", "o.tsv.gz", "o.parquet", "O.JSONL.ZST"]
)
@pytest.mark.parametrize("to", ["openai", "sharegpt"])
def test_the_suffix_says_what_is_written(tmp_path, monkeypatch, name, to):
    monkeypatch.chdir(tmp_path)
    Path("in.jsonl").write_text("".join(json.dumps(r) + "\n" for r in ROWS))
    done = convert(["in.jsonl"], to, Path(name))
    assert (done.rows, done.rejected_by) == (3, {}) and not Path(f"{name}.rejects.jsonl").exists()
    raw = Path(name).read_bytes()
    marks = {".gz": b"\x1f\x8b", ".zst": b"\x28\xb5\x2f\xfd", ".parquet": b"PAR1", ".json": b"["}
    assert raw.startswith(marks.get(Path(name).suffix.lower(), b""))
    assert contents(name, tmp_path / "one") == contents("in.jsonl", tmp_path / "two")
    convert(["in.jsonl"], to, Path("again") / name)
    assert Path("again", name).read_bytes() == raw


def test_columns_of_parquet_have_the_type_that_their_values_share(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("in.jsonl").write_text("".join(json.dumps(r) + "\n" for r in ROWS))
    convert(["in.jsonl"], "openai", Path("o.parquet"))
    table = pq.read_table("o.parquet")
    assert [str(table.schema.field(n).type) for n in ("n", "who", "many", "tools")] == [
        "double", "string", "list<element: string>", "string",
    ]  # fmt: skip
    assert table["n"].to_pylist() == [1.0, 2.5, None] and table["who"].to_pylist() == ["A", '{"name": "B"}', None]


KINDS = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("ab"), inner, max_size=2),
    max_leaves=6,
)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.dictionaries(st.sampled_from("xyz"), KINDS, min_size=1), min_size=1, max_size=5))
def test_any_values_become_columns(rows):
    with TemporaryDirectory() as folder:
        spool = Spool(Path(folder) / "rows")
        with spool.filling() as add:
            for row in rows:
                add(row)
        for name in ("o.parquet", "o.csv", "o.json"):
            write_rows(spool, type_by_name(Path(name)), Path(folder) / name)
        back = pq.read_table(Path(folder) / "o.parquet").to_pylist()
        assert len(back) == len(rows)
        for row, read in zip(rows, back, strict=True):
            assert all((read[k] is None) == (row.get(k) is None) for k in read)
            assert all(row[k] == read[k] for k in row if isinstance(row[k], str))


@pytest.mark.parametrize("name", ["o", "o.txt", "o.parquet.gz", "o.gz"])
def test_a_name_that_says_no_type_is_refused(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    Path("in.jsonl").write_text(json.dumps(ROWS[0]))
    with pytest.raises(ConfigError, match=r"end it with \.jsonl"):
        convert(["in.jsonl"], "openai", Path(name))
    assert [p.name for p in Path().iterdir()] == ["in.jsonl"]


def test_files_that_are_there_stay_unless_told_otherwise(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("in.jsonl").write_text(json.dumps(ROWS[0]) + "\nbroken\n")
    for name in ("o.jsonl", "p.jsonl.rejects.jsonl"):
        Path(name).write_text("mine")
        with pytest.raises(ConfigError, match="there already"):
            convert(["in.jsonl"], "openai", Path(name.removesuffix(".rejects.jsonl")))
        assert Path(name).read_text() == "mine"
    with pytest.raises(ConfigError, match="a folder"):
        convert(["in.jsonl"], "openai", tmp_path)
    assert convert(["in.jsonl"], "openai", Path("o.jsonl"), overwrite=True).rows == 1
    assert Path("o.jsonl.rejects.jsonl").exists()
    Path("in.jsonl").write_text(json.dumps(ROWS[0]))
    convert(["in.jsonl"], "openai", Path("o.jsonl"), overwrite=True)
    assert not Path("o.jsonl.rejects.jsonl").exists()


def test_reading_can_be_said(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("in.csv").write_bytes("frage;antwort\nWo?;In Köln.\n".encode("cp1252"))
    reading = reading_of(["prompt=frage,completion=antwort"], [], encoding="cp1252", format=None, container=None)
    assert convert(["in.csv"], "openai", Path("o.jsonl"), reading).rows == 1
    assert "In Köln." in Path("o.jsonl").read_text()
    broken = reading_of([], ["max_reject_share=0.1"], encoding=None, format=None, container=None)
    Path("in.jsonl").write_text(json.dumps(ROWS[0]) + "\nbroken\n")
    with pytest.raises(InputError, match="more than max_reject_share"):
        convert(["in.jsonl"], "openai", Path("p.jsonl"), broken)


def test_rows_of_several_formats_are_converted_and_counted(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = [["One?", "A"], {"instruction": "One?", "output": "A"}, {"Question": "One?", "Answer": "A"}]
    Path("mixed.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    result = convert(["mixed.jsonl"], "alpaca", tmp_path / "out.jsonl")
    wanted = "mixed/mixed.jsonl: rows of several formats, each read by its own: 2 prompt_completion, 1 alpaca"
    assert wanted in result.notes
    assert [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()] == [
        {"instruction": "One?", "input": "", "output": "A"}
    ] * 3

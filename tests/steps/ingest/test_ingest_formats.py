"""Each format, with the truth written down beside it."""

import json
from typing import get_args

import pytest

from steps.contracts.errors import InputError
from steps.contracts.records import content_id_of, make_row, message
from steps.engines.formats.format import AS_USUAL
from steps.engines.formats.registry import FORMATS, WRITTEN, detect
from steps.ingest.config import FormatName

CALL = {"id": "c9", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}
TOOLS = [{"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}]


def test_openai_with_tools_and_calls(bench, said):
    row = {
        "messages": [
            {"role": "developer", "content": "be kind"},
            {"role": "user", "content": [{"type": "text", "text": "1"}, {"type": "text", "text": "+1?"}], "name": "Al"},
            {"role": "assistant", "content": None, "tool_calls": [CALL]},
            {"role": "tool", "content": "2", "tool_call_id": "c9"},
            {"role": "assistant", "content": "2", "weight": 1},
        ],
        "tools": TOOLS,
        "lang": "en",
    }
    [got] = bench.rows([row])
    assert said(got["messages"]) == [
        ("system", "be kind"), ("user", "1+1?"), ("assistant", ""), ("tool", "2"), ("assistant", "2"),
    ]  # fmt: skip
    assert got["messages"][1]["name"] == "Al" and got["messages"][3]["tool_call_id"] == "c9"
    assert json.loads(got["messages"][2]["tool_calls"]) == [CALL]
    assert json.loads(got["tools"]) == TOOLS
    assert json.loads(got["meta"]) == {"lang": "en"} and got["messages"][4]["weight"] == 1
    assert got["source"] == "s/a.jsonl" and got["locator"] == "line:1" and got["content_id"] == content_id_of(got)


def test_openai_older_function_calls(bench):
    row = {
        "messages": [
            {"role": "user", "content": "x"},
            {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": {"k": "ü"}}},
            {"role": "function", "name": "f", "content": "7"},
        ],
        "functions": [{"name": "f"}],
    }
    [got] = bench.rows([row])
    [call] = json.loads(got["messages"][1]["tool_calls"])
    assert call == {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": '{"k": "ü"}'}}
    assert got["messages"][2]["role"] == "tool" and got["messages"][2]["tool_call_id"] == "call_1"
    assert json.loads(got["tools"]) == [{"type": "function", "function": {"name": "f"}}]


def test_sharegpt_with_functions(bench, said):
    row = {
        "conversations": [
            {"from": "human", "value": "1+1?"},
            {"from": "function_call", "value": json.dumps({"name": "add", "arguments": {"a": 1, "b": 1}})},
            {"from": "observation", "value": "2"},
            {"from": "gpt", "value": "It is 2"},
        ],
        "system": "be kind",
        "tools": json.dumps(TOOLS),
    }
    [got] = bench.rows([row])
    assert said(got["messages"]) == [
        ("system", "be kind"), ("user", "1+1?"), ("assistant", ""), ("tool", "2"), ("assistant", "It is 2"),
    ]  # fmt: skip
    assert json.loads(got["messages"][2]["tool_calls"])[0]["function"]["arguments"] == '{"a": 1, "b": 1}'
    assert got["messages"][3]["tool_call_id"] == "call_1"
    assert json.loads(got["tools"]) == TOOLS


def test_alpaca(bench, said):
    rows = [
        {"instruction": "Add", "input": "1 and 2", "output": "3", "system": "s", "history": [["q", "a"]]},
        {"instruction": "Say hi", "input": "", "output": "hi"},
    ]
    one, two = bench.rows(rows)
    assert said(one["messages"]) == [
        ("system", "s"), ("user", "q"), ("assistant", "a"), ("user", "Add\n\n1 and 2"), ("assistant", "3"),
    ]  # fmt: skip
    assert said(two["messages"]) == [("user", "Say hi"), ("assistant", "hi")]


@pytest.mark.parametrize(
    ("prompt", "completion"), [("prompt", "completion"), ("question", "answer"), ("query", "response")]
)
def test_prompt_completion_and_its_aliases(bench, said, prompt, completion):
    [got] = bench.rows([{prompt: "1+1?", completion: "2", "n": 1.5}])
    assert said(got["messages"]) == [("user", "1+1?"), ("assistant", "2")]
    assert json.loads(got["meta"]) == {"n": 1.5}


def test_columns_override_what_the_names_say(bench, said):
    row = {"prompt": "template", "q": "1+1?", "a": "2", "completion": "wrong"}
    [got] = bench.rows([row], columns={"prompt": "q", "completion": "a"})
    assert said(got["messages"]) == [("user", "1+1?"), ("assistant", "2")]
    [got] = bench.rows([{"instruction": "i", "output": "o", "text": "t"}], format="text")
    assert got["kind"] == "document" and got["text"] == "t"


def test_preference_with_prompt(bench, said):
    [got] = bench.rows([{"prompt": "p", "chosen": "good", "rejected": "bad", "score": 1}])
    assert got["kind"] == "preference" and json.loads(got["meta"]) == {"score": 1}
    assert [said(got[k]) for k in ("messages", "chosen", "rejected")] == [
        [("user", "p")], [("assistant", "good")], [("assistant", "bad")],
    ]  # fmt: skip


def test_preference_with_common_start(bench, said):
    start = [{"role": "user", "content": "p"}, {"role": "assistant", "content": "?"}, {"role": "user", "content": "q"}]
    row = {
        "prompt": "p",
        "chosen": [*start, {"role": "assistant", "content": "good"}],
        "rejected": [*start, {"role": "assistant", "content": "bad"}],
    }
    [got] = bench.rows([row])
    assert said(got["messages"]) == [("user", "p"), ("assistant", "?"), ("user", "q")]
    assert said(got["chosen"]) == [("assistant", "good")] and said(got["rejected"]) == [("assistant", "bad")]


def test_hh_transcripts(bench, said):
    start = "\n\nHuman: hi\n\nAssistant: hello\n\nHuman: joke?\n\nAssistant: "
    [got] = bench.rows([{"chosen": start + "a\n\nb", "rejected": start + "c"}])
    assert said(got["messages"]) == [("user", "hi"), ("assistant", "hello"), ("user", "joke?")]
    assert said(got["chosen"]) == [("assistant", "a\n\nb")] and said(got["rejected"]) == [("assistant", "c")]
    assert got["tools"] is None and got["text"] is None


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "p", "responses": ["mid", "best", "worst"], "ranks": [2, 1, 3]},
        {"prompt": "p", "responses": ["mid", "best", "worst"], "scores": [0.5, 0.9, 0.1]},
        {
            "prompt": "p",
            "responses": [{"text": "mid", "rank": 2}, {"text": "best", "rank": 1}, {"text": "worst", "rank": 9}],
        },
    ],
)
def test_ranked_responses(bench, said, row):
    [got] = bench.rows([row])
    assert (said(got["chosen"]), said(got["rejected"])) == ([("assistant", "best")], [("assistant", "worst")])
    bench.write("all.jsonl", [row])
    every = bench.ingest("all.jsonl", top={"ranked_pairs": "all"})
    pairs = [(r["chosen"][0]["content"], r["rejected"][0]["content"]) for r in every.rows.iter_rows()]
    assert sorted(pairs) == [("best", "mid"), ("best", "worst"), ("mid", "worst")]
    report = every.report
    assert (report.rows_in, report.created, report.kept, report.dropped) == (1, 3, 3, 1)
    lines = bench.ledger(every)
    parent = next(line["record_id"] for line in lines if line["verdict"] == "dropped")
    assert all(line["parents"] == [parent] for line in lines if line["verdict"] == "created")


def test_responses_of_equal_rank_make_no_pair(bench):
    bench.write("a.jsonl", [{"prompt": "p", "responses": ["a", "b", "c"], "ranks": [1, 1, 2]}])
    got = bench.ingest("a.jsonl", top={"ranked_pairs": "all"})
    pairs = {(r["chosen"][0]["content"], r["rejected"][0]["content"]) for r in got.rows.iter_rows()}
    assert pairs == {("a", "c"), ("b", "c")}
    bench.rows([{"prompt": "p", "responses": ["a", "b"], "ranks": n} for n in ([1, 1], [1, 2])], most=0.5)
    assert [r["reason"] for r in bench.rejects()] == ["no_pair"]


def test_parallel_calls_are_answered_in_their_order(bench):
    calls = [{"name": "f", "arguments": {"n": n}} for n in (1, 2)]
    turns = [{"from": "human", "value": "q"}, {"from": "function_call", "value": json.dumps(calls)}]
    turns += [{"from": "observation", "value": "one"}, {"from": "observation", "value": "two"}]
    [got] = bench.rows([{"conversations": [*turns, {"from": "gpt", "value": "a"}]}])
    assert [m["tool_call_id"] for m in got["messages"][2:4]] == ["call_1", "call_2"]


def test_exported_records_read_back_as_they_were(bench):
    called = [{"role": "user", "content": "q"}, {"role": "assistant", "tool_calls": [CALL]}]
    bench.write("d/a.jsonl", [{"messages": called, "tools": TOOLS, "n": 1}])
    bench.write("d/b.jsonl", [{"prompt": "p", "chosen": "good", "rejected": "bad"}])
    bench.write("d/c.md", "# Title\n\ntext")
    first = bench.ingest("d").rows
    rows = {r["content_id"]: r for r in first.iter_rows()}
    first.export_parquet(bench.root / "all.parquet")
    got = bench.ingest("all.parquet")
    assert got.report.counts["rows read per format"] == {"record": 3} and got.rows.digest == first.digest
    for row in got.rows.iter_rows():
        old = rows[row["content_id"]]
        assert json.loads(row["meta"]) == {**json.loads(old["meta"]), "record_id": old["record_id"]}


def test_detect_looks_at_the_shape():
    assert detect({"conversations": [{"role": "user", "content": "x"}]}) == "openai"
    assert detect({"messages": [{"from": "human", "value": "x"}]}) == "sharegpt"
    assert detect({"messages": '[{"role": "user", "content": "x"}]'}) == "openai"
    assert detect({"instruction": "x", "context": "y", "response": "z"}) == "alpaca"
    assert detect({"text": "x"}) == "text"
    assert detect({"a": 1}) is None


def test_the_formats_stand_in_the_report(bench):
    bench.write("d/one.jsonl", [{"prompt": "p", "completion": "c"}])
    bench.write("d/two.csv", "instruction,output\ni,o\nj,o\n")
    report = bench.ingest("d", licence="MIT").report
    assert report.counts["rows read per format"] == {"alpaca": 2, "prompt_completion": 1}
    [table] = report.tables
    assert table.columns == ("source", "format", "rows", "rejected", "licence", "bytes")
    size = sum(p.stat().st_size for p in (bench.root / "d").iterdir())
    assert table.rows == (("s", "alpaca, prompt_completion", 3, 0, "MIT", size),)
    assert sum(report.histograms[0].counts) == 3


def test_no_known_format_names_the_columns(bench):
    bench.write("a.jsonl", [{"fruit": "apple", "colour": "red"}])
    with pytest.raises(InputError, match=r"the columns are 'fruit', 'colour'"):
        bench.ingest("a.jsonl")


def test_a_missing_column_names_the_nearest(bench):
    bench.write("a.jsonl", [{"question": "q", "answer": "a"}])
    with pytest.raises(InputError, match=r"no column 'qestion'; the columns are 'question', 'answer'") as e:
        bench.ingest("a.jsonl", columns={"prompt": "qestion", "completion": "answer"})
    assert "did you mean 'question'" in str(e.value)
    bench.write("b.jsonl", [{"prompts": "q", "completion": "a"}])
    with pytest.raises(InputError, match=r"missing_column.*did you mean 'prompts'"):
        bench.ingest("b.jsonl", format="prompt_completion")


@pytest.mark.parametrize(
    ("reason", "row"),
    [
        ("unknown_role", {"messages": [{"role": "narrator", "content": "x"}]}),
        ("empty_conversation", {"messages": []}),
        ("no_assistant_turn", {"messages": [{"role": "user", "content": "x"}]}),
        ("empty_answer", {"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": " "}]}),
        ("has_image", {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": "u"}]}]}),
        ("not_text", {"messages": [{"role": "user", "content": [{"type": "map", "x": 1}]}]}),
        ("no_content", {"messages": [{"role": "user", "content": None}]}),
        ("message_not_an_object", {"messages": ["x"]}),
        ("messages_not_a_list", {"messages": 5}),
        ("missing_column", {"other": 5}),
        ("bad_tool_call", {"messages": [{"role": "assistant", "content": None, "tool_calls": [{"x": 1}]}]}),
        ("bad_tool_arguments", {"messages": [{"role": "assistant", "tool_calls": [{"name": "f", "arguments": "{"}]}]}),
        ("bad_tools", {"messages": [{"role": "assistant", "content": "x"}], "tools": {"a": 1}}),
    ],
)
def test_rows_that_a_conversation_can_t_be_made_of(bench, reason, row):
    good = {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]}
    assert len(bench.rows([good, row, good], most=0.5)) == 2
    [reject] = bench.rejects()
    assert (reject["reason"], reject["line"], reject["source"], reject["raw_data"]) == (reason, 2, "s/a.jsonl", True)
    assert json.loads(reject["raw"]) == row and reject["hint"]
    if "instruction" in row:
        assert "looks like alpaca, the file is read as openai" in reject["hint"]


@pytest.mark.parametrize(
    ("reason", "row"),
    [
        ("same_answers", {"prompt": "p", "chosen": "a", "rejected": "a"}),
        ("empty_text", {"prompt": "p", "chosen": "a", "rejected": " "}),
        ("empty_answer", {"chosen": "\n\nHuman: a\n\nAssistant: b", "rejected": "\n\nHuman: a\n\nAssistant:"}),
        ("prompts_differ", {"chosen": "\n\nHuman: a\n\nAssistant: b", "rejected": "\n\nHuman: z\n\nAssistant: c"}),
        ("missing_column", {"chosen": "a", "rejected": "b"}),
        ("empty_text", {"prompt": "p", "chosen": "", "rejected": "b"}),
    ],
)
def test_rows_that_a_preference_can_t_be_made_of(bench, reason, row):
    good = {"prompt": "p", "chosen": "a", "rejected": "b"}
    assert len(bench.rows([good, row, good], most=0.5)) == 2
    assert [r["reason"] for r in bench.rejects()] == [reason]


def test_the_config_names_the_formats_that_there_are():
    assert {*get_args(FormatName)} == FORMATS.keys()
    assert WRITTEN == ("openai", "sharegpt", "alpaca")
    assert {name for name, f in FORMATS.items() if f.read is None} == {"oasst", "oasst_rows"}


def test_a_record_that_is_read_again_keeps_what_version_2_brought():
    turns = [message("user", "2+2?"), message("assistant", "4", weight=0, reasoning="two and two")]
    row = make_row(
        kind="conversation", source="s", locator="l", raw=b"", messages=turns, label=False, score=0.5
    )  # fmt: skip
    [draft] = FORMATS["record"].read(row, AS_USUAL).drafts
    assert (draft.messages, draft.label, draft.score) == (turns, False, 0.5)


def test_numbers_that_json_lacks_are_missing_values_and_never_said(bench, said):
    # Python reads NaN, Infinity and 1e999; nobody said "null" or "Infinity", and no other program reads such arguments.
    turn = '{"messages":[{"role":"user","content":"How far?"},{"role":"assistant","content":null,"tool_calls":[%s]}]}'
    call = '{"id":"a","type":"function","function":{"name":"f","arguments":%s}}'
    lines = [
        turn % (call % '{"far":1e999,"near":2}'),
        turn % (call % json.dumps('{"far":-1e999,"near":2}')),
        turn % (call % json.dumps('{"far":NaN,"near":2}')),
        '{"messages":[{"role":"user","content":"How far?"},{"role":"assistant","content":1e999}]}',
    ]
    bench.write("a.jsonl", "\n".join(lines))
    rows = list(bench.ingest("a.jsonl", most=1.0).rows.iter_rows())
    arguments = [json.loads(r["messages"][1]["tool_calls"])[0]["function"]["arguments"] for r in rows]
    assert arguments == ['{"near": 2}', '{"far":-1e999,"near":2}', '{"far": null, "near": 2}']
    assert [r["reason"] for r in bench.rejects()] == ["no_content"]


@pytest.mark.parametrize("value", ["1e999", "-1e999", "Infinity", "NaN"])
def test_an_answer_that_is_no_number_is_empty(bench, value):
    bench.write("a.jsonl", f'{{"prompt":"p","completion":{value}}}\n{{"prompt":"p","completion":7e300}}')
    (row,) = bench.ingest("a.jsonl", most=1.0).rows.iter_rows()
    assert row["messages"][1]["content"] == "7e+300"
    assert [r["reason"] for r in bench.rejects()] == ["empty_text"]


def test_a_column_that_holds_nothing_is_empty_and_not_missing(bench):
    fine = {"prompt": "q", "chosen": "yes", "rejected": "no"}
    bench.rows([fine, fine | {"rejected": None}], most=1.0)
    (reject,) = bench.rejects()
    assert reject["hint"].startswith("column 'rejected' is null; the row has ")
    assert "did you mean" not in reject["hint"]

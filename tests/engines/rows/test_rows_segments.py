import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from steps.contracts.records import Row, make_row, message
from steps.engines.rows.segments import segments, with_segments

WORDS = st.text(min_size=1, max_size=12).filter(lambda t: t.encode("utf-8", "ignore").decode() == t)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
    max_leaves=8,
)


def row_with(messages: list[Row], meta: Row | None = None, tools: str | None = None) -> Row:
    return make_row(
        kind="conversation", source="s", locator="line:1", raw=b"x", messages=messages, meta=meta, tools=tools
    )


def call(arguments: Any) -> str:
    return json.dumps([{"id": "c1", "type": "function", "function": {"name": "find", "arguments": arguments}}])


def strings(value: Any) -> list[str]:
    """Second implementation: the string leaves of a JSON value, in document order."""
    if isinstance(value, str):
        return [value] if value else []
    children = value.values() if isinstance(value, dict) else value if isinstance(value, list) else []
    return [s for child in children for s in strings(child)]


def test_every_text_of_a_conversation_has_a_path() -> None:
    row = row_with(
        [
            message("user", "hello", name="Bob"),
            message("assistant", "", tool_calls=call(json.dumps({"city": "Rome", "near": ["Ostia"]}))),
            message("tool", "sunny", name="find", tool_call_id="c1"),
            message("assistant", "Sunny.", reasoning="Eve asked", weight=0),
        ],
        meta={"author": "Eve"},
    )
    assert {s.path: s.text for s in segments(row)} == {
        "messages/0/content": "hello",
        "messages/0/name": "Bob",
        "messages/1/tool_calls/0/function/arguments/city": "Rome",
        "messages/1/tool_calls/0/function/arguments/near/0": "Ostia",
        "messages/2/content": "sunny",
        "messages/3/content": "Sunny.",
        "messages/3/reasoning": "Eve asked",
        "meta/author": "Eve",
    }


def test_preference_and_document_rows() -> None:
    preference = make_row(
        kind="preference",
        source="s",
        locator="l",
        raw=b"",
        messages=[message("user", "q")],
        chosen=[message("assistant", "yes")],
        rejected=[message("assistant", "no")],
    )
    assert [s.path for s in segments(preference)] == ["messages/0/content", "chosen/0/content", "rejected/0/content"]
    document = make_row(kind="document", source="s", locator="l", raw=b"", text="body")
    assert with_segments(document, {"text": "new"})["text"] == "new"


def test_arguments_stay_json_in_json() -> None:
    row = row_with([message("assistant", "", tool_calls=call(json.dumps({"to": 'a "quoted" name', "n": 3})))])
    path = "messages/0/tool_calls/0/function/arguments/to"
    new = with_segments(row, {path: 'b"\\\n'})
    arguments = json.loads(json.loads(new["messages"][0]["tool_calls"])[0]["function"]["arguments"])
    assert arguments == {"to": 'b"\\\n', "n": 3}


def test_tool_schema_keeps_names_and_types() -> None:
    schema = {"type": "object", "properties": {"type": {"type": "string", "description": "kind"}}, "required": ["type"]}
    tools = json.dumps([{"type": "function", "function": {"name": "f", "description": "does", "parameters": schema}}])
    row = row_with([message("user", "x")], tools=tools)
    assert [s.text for s in segments(row)] == ["x", "does", "kind"]


def test_what_cannot_be_the_name_of_a_function_is_a_text() -> None:
    calls = json.dumps([{"id": "c1", "type": "function", "function": {"name": "jane@example.org", "arguments": "{}"}}])
    said = [
        message("assistant", "", tool_calls=calls),
        message("tool", "", name="jane@example.org", tool_call_id="c1"),
        message("tool", "", name="ns.find-all:v2/x", tool_call_id="c1"),
    ]
    row = row_with(said)
    assert [s.path for s in segments(row)] == ["messages/0/tool_calls/0/function/name", "messages/1/name"]
    new = with_segments(row, {s.path: "<E>" for s in segments(row)})
    assert json.loads(new["messages"][0]["tool_calls"])[0]["function"]["name"] == "<E>"
    assert [m["name"] for m in new["messages"]] == [None, "<E>", "ns.find-all:v2/x"]


@pytest.mark.parametrize("broken", ['{"a": "mail@x.org"', '{"a": "mail@x.org", "a": "b"}', "[" * 100_000])
def test_json_that_cannot_be_rebuilt_is_one_segment(broken: str) -> None:
    row = row_with([message("assistant", "", tool_calls=broken)])
    (segment,) = segments(row)
    assert (segment.path, segment.text) == ("messages/0/tool_calls", broken)
    assert with_segments(row, {segment.path: "new"})["messages"][0]["tool_calls"] == "new"


def test_a_path_never_carries_an_odd_key() -> None:
    (segment,) = segments(row_with([message("user", "")], meta={"jane@example.org": "x"}))
    assert segment.path == "meta/#0"


def test_lone_surrogates_survive_as_escapes() -> None:
    row = row_with([message("assistant", "", tool_calls=call('{"a": "\\ud800", "b": "c"}'))])
    new = with_segments(row, {"messages/0/tool_calls/0/function/arguments/b": "d"})
    assert new["messages"][0]["tool_calls"].encode()
    assert json.loads(json.loads(new["messages"][0]["tool_calls"])[0]["function"]["arguments"])["a"] == "\ud800"


def test_keys_and_numbers_are_texts_where_everything_is_asked_for() -> None:
    arguments = {"phoneNumber": 2125550142, "cards": [4111111111111111, 7], "id": "8134567712", "n": 3, "x": True}
    meta = {"jane@example.org": 1, "Jane@example.org": {"mobile": "2125550142"}, "plain": 2.5, "7": 1700000000}
    row = row_with([message("assistant", "", tool_calls=call(json.dumps(arguments)))], meta=meta)
    at = "messages/0/tool_calls/0/function/arguments"
    assert {s.path: s.text for s in segments(row, everything=True)} == {
        f"{at}/phoneNumber": "phone Number: 2125550142",
        f"{at}/cards/0": "cards: 4111111111111111",
        f"{at}/id": "8134567712",
        "meta/#0~": "7",
        "meta/#0": "1700000000",
        "meta/#1~": "Jane@example.org",
        "meta/#1/mobile": "mobile: 2125550142",
        "meta/#2~": "jane@example.org",
    }
    new = with_segments(
        row,
        {f"{at}/phoneNumber": "phone Number: <P>", f"{at}/cards/0": "cards: <C>", "meta/#1~": "<E>", "meta/#2~": "<E>",
         "meta/#1/mobile": "mobile: <P>", "meta/#0": "1700000000"},
    )  # fmt: skip
    replaced = json.loads(json.loads(new["messages"][0]["tool_calls"])[0]["function"]["arguments"])
    assert replaced == {**arguments, "phoneNumber": "<P>", "cards": ["<C>", 7]}
    assert json.loads(new["meta"]) == {"7": 1700000000, "<E>": {"mobile": "<P>"}, "<E> (2)": 1, "plain": 2.5}


@settings(max_examples=150, deadline=None)
@given(meta=st.dictionaries(WORDS, JSON, max_size=4))
def test_what_is_put_back_unchanged_changes_nothing(meta: Row) -> None:
    row = row_with([message("user", "hi")], meta=meta)
    found = segments(row, everything=True)
    assert len({s.path for s in found}) == len(found)
    assert with_segments(row, {s.path: s.text for s in found}) == row


@settings(max_examples=150, deadline=None)
@given(meta=st.dictionaries(WORDS, JSON, max_size=4), content=WORDS)
def test_finds_every_leaf_and_rebuilds_it(meta: Row, content: str) -> None:
    row = row_with([message("user", content), message("assistant", "", reasoning=content)], meta=meta)
    found = segments(row)
    assert sorted(s.text for s in found) == sorted([content, content, *strings(json.loads(row["meta"]))])
    assert len({s.path for s in found}) == len(found)
    assert with_segments(row, {s.path: s.text for s in found}) == row
    marked = with_segments(row, {s.path: f"<{s.text}>" for s in found})
    assert [s.text for s in segments(marked)] == [f"<{s.text}>" for s in found]


@pytest.mark.parametrize("call_id", ["jane@example.org", "+12125550142", "2125550142", "call of Jane"])
def test_ids_of_calls_that_can_be_none_are_texts_at_both_ends(call_id: str) -> None:
    calls = json.dumps([{"id": call_id, "type": "function", "function": {"name": "find", "arguments": "{}"}}])
    row = row_with([message("assistant", "", tool_calls=calls), message("tool", "ok", tool_call_id=call_id)])
    paths = ["messages/0/tool_calls/0/id", "messages/1/tool_call_id"]
    assert [s.path for s in segments(row) if s.text == call_id] == paths
    new = with_segments(row, dict.fromkeys(paths, "<ID>"))
    assert json.loads(new["messages"][0]["tool_calls"])[0]["id"] == new["messages"][1]["tool_call_id"] == "<ID>"


@pytest.mark.parametrize("call_id", ["call_1", "toolu_01A", "9f0e-4a", "a1b2c3d4e", "functions.find:0"])
def test_plain_ids_of_calls_are_no_texts(call_id: str) -> None:
    calls = json.dumps([{"id": call_id, "type": "function", "function": {"name": "find", "arguments": "{}"}}])
    row = row_with([message("assistant", "", tool_calls=calls), message("tool", "ok", tool_call_id=call_id)])
    assert [s.text for s in segments(row)] == ["ok"]

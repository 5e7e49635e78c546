import json
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from hypothesis import given, settings
from hypothesis import strategies as st

from steps.contracts.records import SCHEMA, Row, make_row, message
from steps.engines.rows.columns import rows_with
from steps.engines.rows.segments import segments

WORDS = st.sampled_from(["", "x", "needle", "a needle here", 'say "needle"', "\n", "é", "nee\ud800dle", "{needle}"])
JSON = st.recursive(WORDS | st.integers(), lambda v: st.lists(v, max_size=2) | st.dictionaries(WORDS, v, max_size=2))


def written(value: Any) -> str:
    return json.dumps(value).replace("\\ud800", "\\ud800")


def calls(arguments: Any) -> str:
    inner = json.dumps(arguments)
    return json.dumps([{"id": "needle", "type": "function", "function": {"name": "needle", "arguments": inner}}])


PLAIN = WORDS.filter(lambda w: "\ud800" not in w)
MESSAGES = st.lists(
    st.builds(
        lambda content, name, thought, arguments: message(
            "assistant",
            content,
            name=name,
            reasoning=thought,
            tool_calls=None if arguments is None else calls(arguments),
        ),
        PLAIN,
        st.none() | PLAIN,
        st.none() | PLAIN,
        st.none() | JSON,
    ),
    max_size=3,
)
BROKEN = st.sampled_from([None, "[]", "{}", '{"a": needle', '{"needle": 1}', '{"a": "needle"}', "[" * 2000])


def made(messages: list[Row], chosen: list[Row], tools: str | None, meta: dict[str, Any], text: str | None) -> Row:
    row = make_row(kind="conversation", source="s", locator="1", raw=b"r", messages=messages, tools=tools, meta={})
    return {**row, "chosen": chosen, "meta": json.dumps(meta), "text": text}


ROWS = st.lists(
    st.builds(made, MESSAGES, MESSAGES, BROKEN, st.dictionaries(PLAIN, JSON, max_size=2), st.none() | PLAIN),
    max_size=6,
)


def holds(texts: pa.Array) -> Any:
    assert texts.null_count == 0
    return pc.match_substring(texts, "needle").to_numpy(zero_copy_only=False)


@settings(max_examples=150, deadline=None)
@given(ROWS, st.integers(0, 3))
def test_rows_are_those_whose_segments_match(rows: list[Row], cut: int) -> None:
    """A slice too: its columns begin in the middle of their buffers."""
    table = pa.Table.from_pylist(rows, schema=SCHEMA)
    expected = [any("needle" in s.text for s in segments(row)) for row in rows]
    assert rows_with(table, holds).tolist() == expected
    assert rows_with(table[cut:], holds).tolist() == expected[cut:]


def test_equal_json_is_read_once_and_marks_every_row() -> None:
    rows = [made([], [], None, {"a": "needle" if i % 3 == 0 else "hay"}, None) for i in range(300)]
    asked: list[int] = []

    def counting(texts: pa.Array) -> Any:
        asked.append(len(texts))
        return holds(texts)

    found = rows_with(pa.Table.from_pylist(rows, schema=SCHEMA), counting)
    assert np.flatnonzero(found).tolist() == list(range(0, 300, 3)) and sum(asked) == 2

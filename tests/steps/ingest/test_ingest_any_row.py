"""Any row of JSON is read or rejected with a reason: nothing else comes out of a format."""

import json

from hypothesis import given, settings
from hypothesis import strategies as st

from steps.contracts.records import ROLES, make_row
from steps.engines.formats.columns import COMPLETIONS, LISTS, PROMPTS, RESPONSES
from steps.engines.formats.format import AS_USUAL
from steps.engines.formats.marks import TELLING
from steps.engines.formats.preference import CHOSEN, REJECTED
from steps.engines.formats.registry import FORMATS, detect
from steps.engines.formats.rejected import RowRejected

MESSAGE_KEYS = [
    "role", "from", "type", "content", "value", "text", "parts", "tool_calls", "function_call", "tool_call_id", "name",
    "refusal", "weight", "label", "reasoning_content", "thinking", "function", "arguments", "id", "input", "image",
    "tool_use_id", "functionCall", "annotations", "score", "properties", "parameters", "required", "enum",
]  # fmt: skip
WORDS = [
    "user", "assistant", "system", "tool", "function_call", "text", "image_url", "tool_use", "tool_result",
    "f(x=1)", "f('a')", "[f(1)]", '{"name": "f", "arguments": {"x": null}}', "<think>a</think>b", "<think>", "[", "{}",
    "[{'role': 'user', 'content': 'q'}]", "\n\nHuman: a\n\nAssistant: b", "true", "0", "", " ", "\u0000", "nan",
    "1e999",
]  # fmt: skip
COLUMNS = sorted({*PROMPTS, *COMPLETIONS, *LISTS, *RESPONSES, *CHOSEN, *REJECTED, *TELLING, "message_id", "replies"})
LEAVES = st.one_of(
    st.none(), st.booleans(), st.integers(-2, 3), st.floats(), st.sampled_from(WORDS), st.text(max_size=4)
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(MESSAGE_KEYS), inner, max_size=4),
    max_leaves=12,
)
ROLE = st.sampled_from(["user", "assistant", "tool", "gpt", "function_call"])
MORE = st.dictionaries(st.sampled_from(MESSAGE_KEYS), VALUES, max_size=3)
MESSAGES = st.lists(st.builds(lambda role, more: {**more, "role": role}, ROLE, MORE), max_size=3)
ROWS = st.dictionaries(st.sampled_from(COLUMNS), VALUES | MESSAGES, max_size=5)


@settings(max_examples=200, deadline=None)
@given(ROWS, st.sampled_from([name for name, f in FORMATS.items() if f.read is not None]))
def test_a_row_is_read_whole_or_rejected(row, name):
    before = repr(row)
    for row_format in {name, detect(row) or name}:
        read = FORMATS[row_format].read
        if read is None:
            continue
        try:
            parsed = read(row, AS_USUAL)
        except RowRejected as e:
            assert e.reason and e.hint
            continue
        assert parsed.drafts
        for draft in parsed.drafts:
            made = make_row(
                kind=draft.kind, source="s", locator="l", raw=b"", messages=draft.messages, chosen=draft.chosen,
                rejected=draft.rejected, tools=draft.tools, text=draft.text, label=draft.label,
            )  # fmt: skip
            for m in (*made["messages"], *made["chosen"], *made["rejected"]):
                assert m["role"] in ROLES and isinstance(m["content"], str) and m["weight"] in (None, 0, 1)
                assert all(m[k] is None or isinstance(m[k], str) for k in ("name", "tool_calls", "reasoning"))
                assert all(isinstance(c["function"]["arguments"], str) for c in json.loads(m["tool_calls"] or "[]"))
            assert draft.label is None or draft.kind == "unpaired_preference"
    assert repr(row) == before

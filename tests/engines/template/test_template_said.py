"""What a row says is looked for in its text wherever it stands, and as often as it is said."""

import json
from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st
from support.tiny_model import CHATML, tiny_tokenizer

from steps.contracts.records import make_row, message
from steps.engines.template.render import Conversation, Rendered, Turn, chat_template
from steps.engines.template.said import missing

TEMPLATE = chat_template(tiny_tokenizer(template=CHATML))
PIECES = st.sampled_from(["a", "ab", "ba", "b a", "c\nd", 'say "a"', "e"])


def escaped(piece):
    return json.dumps(piece)[1:-1]


@settings(max_examples=300, deadline=None)
@given(st.lists(PIECES, min_size=1, max_size=5), st.data())
def test_contents_before_a_turn_are_found_in_any_order_as_often_as_they_are_said(contents, data):
    written = data.draw(st.lists(st.sampled_from([*contents, *map(escaped, contents), "-"]), max_size=7))
    prompt = " | ".join(written)
    messages = [*(message("user", c) for c in contents), message("assistant", "yes")]
    row = make_row(kind="conversation", source="s", locator="1", raw=b"x", messages=messages)
    turns = (Turn(len(contents), prompt, "yes", ((0, 3),)),)
    found = missing(row, Conversation(turns, (Rendered(prompt + "yes", ()),)), TEMPLATE)
    gone = [
        c for c, n in Counter(contents).items() if max((prompt + "yes").count(t) for t in (c, escaped(c))) < n
    ]  # fmt: skip
    assert found == (("content_missing", f"message {contents.index(gone[0])}") if gone else None)

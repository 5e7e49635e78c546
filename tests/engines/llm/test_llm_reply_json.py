import json
import time

from hypothesis import given
from hypothesis import strategies as st

from steps.engines.llm.reply_json import Found, json_objects

LETTERS = st.text(alphabet='ab{}[]"\\:,é\n', max_size=6)
# Blanks around a key don't tell it from another one.
KEYS = LETTERS.map(str.strip)
ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | LETTERS,
    lambda x: st.lists(x, max_size=3) | st.dictionaries(KEYS, x, max_size=3),
    max_leaves=8,
)


def everything(_: object) -> bool:
    return True


@given(
    st.dictionaries(KEYS, ANY, max_size=3),
    st.sampled_from(["", "Sure!\n```json\n", "Here: "]),
    st.sampled_from(["", "\n```"]),
)
def test_any_object_is_found_between_prose(value: dict[str, object], before: str, after: str) -> None:
    assert json_objects(before + json.dumps(value) + after, everything).objects == [value]


@given(st.text(alphabet='{}[]":,a1 \\\n', max_size=200))
def test_no_text_breaks_it(text: str) -> None:
    json_objects(text, everything)


def test_deep_nesting_does_not_crash() -> None:
    assert json_objects('{"a":' * 5000, everything).objects == []


def test_thinking_is_left_out_even_when_unfinished() -> None:
    assert json_objects('<think>{"a": 1}</think>{"a": 2}', everything).objects == [{"a": 2}]
    assert json_objects('<think>maybe {"a": 1}', everything).objects == []


def test_equal_objects_count_once_and_half_ones_not() -> None:
    assert json_objects('{"a": 1} {"a":1} {"b": 2', everything).objects == [{"a": 1}]


def test_what_is_not_read_is_said() -> None:
    for text, unread in (('{"a": 1', "unfinished"), ('{"a": 1, "A": 2}', "twice"), ("{'a': 1, 'a': 1}", "twice")):
        assert json_objects(f'{{"b": 1}} {text}', everything) == Found([{"b": 1}], unread)
    assert json_objects("{a}" * 300, everything).unread == "many"
    assert json_objects("a {brace} and {1, 2}", everything) == Found([])


def test_hostile_replies_take_no_quadratic_time() -> None:
    start = time.process_time()
    for piece in ("{", "{'a': ", '{"a": ', "{a} ", "'\\'", '{"', "{-", "{[", "\\", "{'a':-"):
        json_objects(piece * (50_000 // len(piece)), everything)
        json_objects(f"{piece * 1_000}{'}' * 1_000}", everything)
    assert time.process_time() - start < 5.0

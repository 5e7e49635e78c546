import json

from hypothesis import given
from hypothesis import strategies as st

from steps.engines.llm.reply_json import json_objects

LETTERS = st.text(alphabet='ab{}[]"\\:,é\n', max_size=6)
ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | LETTERS,
    lambda x: st.lists(x, max_size=3) | st.dictionaries(LETTERS, x, max_size=3),
    max_leaves=8,
)


def everything(_: object) -> bool:
    return True


@given(
    st.dictionaries(LETTERS, ANY, max_size=3),
    st.sampled_from(["", "Sure!\n```json\n", "Here: "]),
    st.sampled_from(["", "\n```"]),
)
def test_any_object_is_found_between_prose(value: dict[str, object], before: str, after: str) -> None:
    assert json_objects(before + json.dumps(value) + after, everything) == [value]


@given(st.text(alphabet='{}[]":,a1 \\\n', max_size=200))
def test_no_text_breaks_it(text: str) -> None:
    json_objects(text, everything)


def test_deep_nesting_does_not_crash() -> None:
    assert json_objects('{"a":' * 5000, everything) == []


def test_thinking_is_left_out_even_when_unfinished() -> None:
    assert json_objects('<think>{"a": 1}</think>{"a": 2}', everything) == [{"a": 2}]
    assert json_objects('<think>maybe {"a": 1}', everything) == []


def test_equal_objects_count_once_and_half_ones_not() -> None:
    assert json_objects('{"a": 1} {"a":1} {"b": 2', everything) == [{"a": 1}]

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.tiny_model import CHATML, CHATML_PLAIN, tiny_tokenizer
from trl import chat_template_utils

from steps.contracts.errors import TrainingDataError
from steps.contracts.records import make_row, message
from steps.engines.template.lint import Lint
from steps.engines.template.render import (
    IGNORED,
    TrainingTemplate,
    chat_messages,
    encode,
    encode_rows,
    prompt_and_reference,
    render,
    training_template,
)

TOKENIZER = tiny_tokenizer()
PLAIN = tiny_tokenizer(template=CHATML_PLAIN)

# Surrogates can't be in a Parquet file; the template's own special tokens are another test's business.
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
TURNS = st.lists(st.tuples(TEXT, TEXT), min_size=1, max_size=3)


def conversation(turns, system=None, **extra):
    messages = [message("system", system)] if system else []
    for user, assistant in turns:
        messages += [message("user", user), message("assistant", assistant)]
    return make_row(kind="conversation", source="s", locator="line:1", raw=b"x", messages=messages, **extra)


@settings(max_examples=60, deadline=None)
@given(TURNS)
def test_tokens_and_mask_are_those_of_transformers(turns):
    row = conversation(turns)
    encoded = encode(TOKENIZER, row)
    judge = TOKENIZER.apply_chat_template(chat_messages(row), return_dict=True, return_assistant_tokens_mask=True)
    assert encoded.input_ids == judge["input_ids"]
    assert [int(label != IGNORED) for label in encoded.labels] == judge["assistant_masks"]


@settings(max_examples=60, deadline=None)
@given(TURNS)
def test_prefix_masks_equal_marker_masks(turns):
    row = conversation(turns, system="be brief")
    template = training_template(PLAIN)
    assert template.source == "prefix"
    assert encode(PLAIN, row, template) == encode(TOKENIZER, row)


def test_trained_text_is_the_answers_and_their_end_markers():
    encoded = encode(TOKENIZER, conversation([("hi", "one ö"), ("and?", "two 🙂")], system="s"))
    trained = [label for label in encoded.labels if label != IGNORED]
    assert TOKENIZER.decode(trained) == "one ö<|im_end|>two 🙂<|im_end|>"
    assert encoded.trained == len(trained) < len(encoded.input_ids)


@pytest.mark.parametrize("family", ["qwen2_5", "llama3", "gemma", "cohere", "qwen3_instruct_2507"])
def test_templates_that_trl_knows_give_the_spans_of_the_prefix_method(family):
    """Two ways to the same spans: TRL's markers, and what each turn adds to the prompt."""
    template = getattr(chat_template_utils, f"{family}_chat_template")
    tokenizer = tiny_tokenizer(template=template)
    tokenizer.bos_token = "<|endoftext|>"
    row = conversation([("hi", "one"), ("and?", "two")])
    found = training_template(tokenizer)
    assert found.source == "trl"
    rendered = render(tokenizer, row, found)
    assert rendered.text == tokenizer.apply_chat_template(chat_messages(row), tokenize=False)
    by_prefix = render(tokenizer, row, TrainingTemplate("prefix", template))
    assert [rendered.text[a:b] for a, b in rendered.spans] == [by_prefix.text[a:b] for a, b in by_prefix.spans]
    assert rendered == by_prefix


def test_a_template_without_markers_and_prefix_property_is_refused_with_the_way_out():
    # Only the last answer keeps its thoughts: earlier turns render differently alone than in the whole.
    template = CHATML_PLAIN.replace("m['content'] + '<|im_end|>'", "(m['content'] if loop.last else '') + '<|im_end|>'")
    tokenizer = tiny_tokenizer(template=template)
    with pytest.raises(TrainingDataError, match=r"message 1 renders differently.*\n.*generation"):
        encode(tokenizer, conversation([("hi", "one"), ("and?", "two")]))


def test_a_tokenizer_without_template_is_refused():
    with pytest.raises(TrainingDataError, match="no chat template"):
        encode(tiny_tokenizer(template=None), conversation([("hi", "one")]))


def test_a_template_that_refuses_roles_is_named_without_the_text():
    tokenizer = tiny_tokenizer(template="{{ raise_exception('no: ' + messages[0]['content']) }}" + CHATML)
    with pytest.raises(TrainingDataError, match="roles user, assistant: TemplateError") as error:
        encode(tokenizer, conversation([("my secret", "one")]))
    assert "my secret" not in str(error.value)


def test_tool_calls_and_their_arguments_reach_the_template_as_objects():
    calls = json.dumps([{"type": "function", "function": {"name": "add", "arguments": '{"a": 2}'}}])
    row = make_row(
        kind="conversation", source="s", locator="l", raw=b"x", tools='[{"type": "function"}]',
        messages=[message("user", "2+0?"), message("assistant", "", tool_calls=calls),
                  message("tool", "2", name="add"), message("assistant", "It is 2.")],
    )  # fmt: skip
    assert chat_messages(row)[1]["tool_calls"][0]["function"]["arguments"] == {"a": 2}
    broken = make_row(
        kind="conversation", source="s", locator="l", raw=b"x",
        messages=[message("assistant", "", tool_calls=calls.replace('\\"a\\": 2', "a"))],
    )  # fmt: skip
    assert chat_messages(broken)[0]["tool_calls"][0]["function"]["arguments"] == "{a}"


def test_prompt_and_reference_join_to_the_whole_conversation():
    row = conversation([("hi", "one"), ("and?", "two")], system="s")
    prompt, reference = prompt_and_reference(TOKENIZER, row)
    assert reference == "two"
    assert prompt + reference + "<|im_end|>\n" == TOKENIZER.apply_chat_template(chat_messages(row), tokenize=False)


def test_messages_after_the_last_answer_are_not_in_the_prompt():
    row = conversation([("hi", "one")])
    row["messages"].append(message("user", "thanks"))
    assert prompt_and_reference(TOKENIZER, row)[0].endswith("hi<|im_end|>\n<|im_start|>assistant\n")


def test_reference_of_a_turn_that_only_calls_tools_is_the_rendered_call():
    calls = json.dumps([{"type": "function", "function": {"name": "add", "arguments": '{"a": 2}'}}])
    row = make_row(
        kind="conversation", source="s", locator="l", raw=b"x",
        messages=[message("user", "2+0?"), message("assistant", "", tool_calls=calls)],
    )  # fmt: skip
    _, reference = prompt_and_reference(tiny_tokenizer(template=chat_template_utils.qwen2_5_chat_template), row)
    assert reference == '<tool_call>\n{"name": "add", "arguments": {"a": 2}}\n</tool_call>'


def test_a_preference_row_is_its_prompt_and_chosen_answer():
    row = make_row(
        kind="preference", source="s", locator="l", raw=b"x", messages=[message("user", "hi")],
        chosen=[message("assistant", "good")], rejected=[message("assistant", "bad")],
    )  # fmt: skip
    assert prompt_and_reference(TOKENIZER, row)[1] == "good"
    assert encode(TOKENIZER, row) == encode(TOKENIZER, conversation([("hi", "good")]))


def test_documents_are_trained_whole_and_have_no_prompt():
    row = make_row(kind="document", source="s", locator="l", raw=b"x", text="the lazy dog")
    encoded = encode(TOKENIZER, row)
    assert encoded.labels == encoded.input_ids
    assert encoded.input_ids[-1] == TOKENIZER.eos_token_id
    with pytest.raises(TrainingDataError, match=row["record_id"]):
        prompt_and_reference(TOKENIZER, row)


def test_encode_rows_equals_encode():
    rows = [conversation([("hi", str(i))]) for i in range(5)]
    assert list(encode_rows(PLAIN, rows)) == [encode(PLAIN, r) for r in rows]


@pytest.mark.parametrize("tokenizer", [TOKENIZER, PLAIN])
def test_a_turn_of_weight_0_is_context_only(tokenizer):
    row = conversation([("hi", "one"), ("and?", "two"), ("so?", "three")])
    row["messages"][1]["weight"], row["messages"][5]["weight"] = 0, 1
    encoded = encode(tokenizer, row)
    trained = [label for label in encoded.labels if label != IGNORED]
    assert tokenizer.decode(trained) == "two<|im_end|>three<|im_end|>"
    whole = encode(tokenizer, conversation([("hi", "one"), ("and?", "two"), ("so?", "three")]))
    assert encoded.input_ids == whole.input_ids
    linted = Lint(tokenizer, training_template(tokenizer)).check(row)
    assert (linted.reason, linted.encoded) == (None, encoded)


def test_a_row_all_of_weight_0_trains_nothing_and_a_template_that_drops_turns_is_refused():
    row = conversation([("hi", "one"), ("and?", "two")])
    for m in row["messages"]:
        m["weight"] = 0
    assert encode(TOKENIZER, row).trained == 0
    row["messages"][3]["weight"] = None
    last = "{%- for m in messages[-1:] %}{% generation %}{{ m['content'] }}{% endgeneration %}{%- endfor %}"
    with pytest.raises(TrainingDataError, match="weight 0"):
        render(TOKENIZER, row, TrainingTemplate("own", last))


def test_reasoning_has_the_name_that_templates_look_for():
    row = conversation([("hi", "one")])
    row["messages"][1]["reasoning"] = "she greets"
    assert chat_messages(row)[1] == {"role": "assistant", "content": "one", "reasoning_content": "she greets"}


def test_reasoning_that_stood_in_tags_is_trained_in_tags_unless_the_template_writes_reasoning():
    row = conversation([("2+2?", "4")], meta={"think_tag": "think"})
    row["messages"][1]["reasoning"] = "two and two"
    tagged = "<think>\ntwo and two\n</think>\n\n4<|im_end|>"
    for tokenizer in (TOKENIZER, PLAIN):
        encoded = encode(tokenizer, row)
        assert tokenizer.decode([label for label in encoded.labels if label != IGNORED]) == tagged
        assert prompt_and_reference(tokenizer, row)[1] == tagged.removesuffix("<|im_end|>")
    writes = CHATML_PLAIN.replace("m['content']", "m.get('reasoning_content', '') + m['content']")
    assert render(TOKENIZER, row, TrainingTemplate("prefix", writes)).text.endswith(
        "assistant\ntwo and two4<|im_end|>\n"
    )
    # Reasoning that never stood in tags is left to templates that write it.
    row["meta"] = "{}"
    assert encode(TOKENIZER, row) == encode(TOKENIZER, conversation([("2+2?", "4")]))

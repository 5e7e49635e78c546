import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.linting import Lint
from support.tiny_model import CHATML, CHATML_PLAIN, tiny_tokenizer
from tokenizers import processors
from trl import chat_template_utils

from steps.contracts.errors import TrainingDataError
from steps.contracts.records import make_row, message
from steps.engines.template.render import (
    IGNORED,
    chat_messages,
    chat_template,
    encode,
    encode_for_loss,
    prompt_and_reference,
    render,
)

TOKENIZER = tiny_tokenizer()
PLAIN = tiny_tokenizer(template=CHATML_PLAIN)
CHAT = chat_template(TOKENIZER)


def only(encoded):
    (sequence,) = encoded
    return sequence


def trained_text(tokenizer, encoded):
    return tokenizer.decode([label for label in encoded.labels if label != IGNORED])


def published(name, **special):
    """A template as its makers published it, of the copies that trl has."""
    tokenizer = tiny_tokenizer(template=getattr(chat_template_utils, f"{name}_chat_template"))
    tokenizer.add_special_tokens({"bos_token": "<|endoftext|>", **special})
    return tokenizer


# Surrogates can't be in a Parquet file; the template's own special tokens are another test's business.
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
ANSWER = TEXT.filter(str.strip)
TURNS = st.lists(st.tuples(TEXT, ANSWER), min_size=1, max_size=3)


def conversation(turns, system=None, **extra):
    messages = [message("system", system)] if system else []
    for user, assistant in turns:
        messages += [message("user", user), message("assistant", assistant)]
    return make_row(kind="conversation", source="s", locator="line:1", raw=b"x", messages=messages, **extra)


@settings(max_examples=60, deadline=None)
@given(TURNS)
def test_tokens_and_mask_are_those_of_transformers(turns):
    row = conversation(turns)
    encoded = only(encode(TOKENIZER, row))
    judge = TOKENIZER.apply_chat_template(chat_messages(row, CHAT), return_dict=True, return_assistant_tokens_mask=True)
    assert encoded.input_ids == judge["input_ids"]
    assert [int(label != IGNORED) for label in encoded.labels] == judge["assistant_masks"]


@settings(max_examples=60, deadline=None)
@given(TURNS)
def test_markers_and_no_markers_give_the_same_masks(turns):
    row = conversation(turns, system="be brief")
    assert encode(PLAIN, row) == encode(TOKENIZER, row)


def test_trained_text_is_the_answers_and_their_end_markers():
    encoded = only(encode(TOKENIZER, conversation([("hi", "one ö"), ("and?", "two 🙂")], system="s")))
    assert trained_text(TOKENIZER, encoded) == "one ö<|im_end|>two 🙂<|im_end|>"
    assert 0 < encoded.trained < len(encoded.input_ids)


@pytest.mark.parametrize("family", ["qwen2_5", "llama3", "gemma", "cohere", "qwen3_instruct_2507"])
def test_templates_whose_conversations_begin_with_their_prompts_need_one_text(family):
    tokenizer = published(family, eos_token="<|im_end|>")
    row, template = conversation([("hi", "one"), ("and?", "two")]), chat_template(tokenizer)
    rendered = only(render(tokenizer, row, template))
    messages = chat_messages(row, template)
    assert rendered.text == tokenizer.apply_chat_template(messages, tokenize=False)
    for (start, end), turn in zip(rendered.spans, (1, 3), strict=True):
        prompt = tokenizer.apply_chat_template(messages[:turn], tokenize=False, add_generation_prompt=True)
        assert rendered.text[:start] == prompt
        assert rendered.text[start:end].startswith(messages[turn]["content"])


def test_turns_that_cant_stand_in_one_text_become_sequences_as_at_inference():
    # Qwen3's template writes a think block into the last turn and leaves it out of the earlier ones.
    tokenizer = published("qwen3")
    row, template = conversation([("hi", "one"), ("and?", "two")]), chat_template(tokenizer)
    first, second = render(tokenizer, row, template)
    for rendered, turn, answer in ((first, 1, "one"), (second, 3, "two")):
        prompt = tokenizer.apply_chat_template(
            chat_messages(row, template)[:turn], tokenize=False, add_generation_prompt=True
        )
        ((start, end),) = rendered.spans
        assert rendered.text[:start] == prompt
        assert rendered.text[start:end] == f"<think>\n\n</think>\n\n{answer}<|im_end|>"


def test_a_prompt_that_opens_a_think_block_is_followed_by_its_end():
    # R1's distillations open the block in the prompt, and their template writes no reasoning at all.
    tokenizer = published("deepseek_r1_distill", eos_token="<｜end▁of▁sentence｜>")
    row = conversation([("2+2?", "4")])
    for reasoning, trained in ((None, ""), ("two and two", "two and two")):
        row["messages"][1]["reasoning"] = reasoning
        rendered = only(render(tokenizer, row))
        ((start, end),) = rendered.spans
        assert rendered.text[:start].endswith("<｜Assistant｜><think>\n")
        assert rendered.text[start:end] == f"{trained}\n</think>\n\n4<｜end▁of▁sentence｜>"


def test_the_eos_that_a_template_writes_behind_every_text_is_not_trained():
    tokenizer = published("phi3", eos_token="</s>", additional_special_tokens=["<|end|>", "<|user|>", "<|assistant|>"])
    rendered = only(render(tokenizer, conversation([("hi", "one"), ("and?", "two")])))
    assert [rendered.text[a:b] for a, b in rendered.spans] == ["one<|end|>", "two<|end|>"]
    assert rendered.text.endswith("</s>")


def test_a_turn_that_opens_a_conversation_is_context_where_there_is_no_prompt_for_it():
    tokenizer = published("qwen2_5", eos_token="<|im_end|>")
    row = conversation([("hi", "one")])
    row["messages"].insert(0, message("assistant", "welcome"))
    rendered = only(render(tokenizer, row))
    assert "welcome" in rendered.text
    assert [rendered.text[a:b] for a, b in rendered.spans] == ["one<|im_end|>"]


def test_a_prompt_that_no_conversation_begins_with_is_refused():
    template = CHATML_PLAIN.replace("'<|im_start|>assistant\n' }}{%- endif", "'<|im_start|>bot\n' }}{%- endif")
    with pytest.raises(TrainingDataError, match="message 1: the template's prompt"):
        encode(tiny_tokenizer(template=template), conversation([("hi", "one")]))


def test_a_tokenizer_without_template_is_refused():
    with pytest.raises(TrainingDataError, match="no chat template"):
        encode(tiny_tokenizer(template=None), conversation([("hi", "one")]))


def test_a_template_that_refuses_roles_is_named_without_the_text():
    tokenizer = tiny_tokenizer(template="{{ raise_exception('no: ' + messages[0]['content']) }}" + CHATML)
    with pytest.raises(TrainingDataError, match="roles user: TemplateError") as error:
        encode(tokenizer, conversation([("my secret", "one")]))
    assert "my secret" not in str(error.value)


def test_tool_calls_and_their_arguments_reach_the_template_as_objects():
    calls = json.dumps([{"type": "function", "function": {"name": "add", "arguments": '{"a": 2}'}}])
    row = make_row(
        kind="conversation", source="s", locator="l", raw=b"x", tools='[{"type": "function"}]',
        messages=[message("user", "2+0?"), message("assistant", "", tool_calls=calls),
                  message("tool", "2", name="add"), message("assistant", "It is 2.")],
    )  # fmt: skip
    assert chat_messages(row, CHAT)[1]["tool_calls"][0]["function"]["arguments"] == {"a": 2}
    broken = make_row(
        kind="conversation", source="s", locator="l", raw=b"x",
        messages=[message("assistant", "", tool_calls=calls.replace('\\"a\\": 2', "a"))],
    )  # fmt: skip
    assert chat_messages(broken, CHAT)[0]["tool_calls"][0]["function"]["arguments"] == "{a}"


def test_prompt_and_reference_join_to_the_whole_conversation():
    row = conversation([("hi", "one"), ("and?", "two")], system="s")
    prompt, reference, written = prompt_and_reference(row, CHAT)
    assert not written
    assert reference == "two"
    assert prompt + reference + "<|im_end|>\n" == TOKENIZER.apply_chat_template(
        chat_messages(row, CHAT), tokenize=False
    )


def test_messages_after_the_last_answer_are_not_in_the_prompt():
    row = conversation([("hi", "one")])
    row["messages"].append(message("user", "thanks"))
    assert prompt_and_reference(row, CHAT)[0].endswith("hi<|im_end|>\n<|im_start|>assistant\n")


def test_reference_of_a_turn_that_only_calls_tools_is_the_rendered_call():
    calls = json.dumps([{"type": "function", "function": {"name": "add", "arguments": '{"a": 2}'}}])
    row = make_row(
        kind="conversation", source="s", locator="l", raw=b"x",
        messages=[message("user", "2+0?"), message("assistant", "", tool_calls=calls)],
    )  # fmt: skip
    _, reference, _ = prompt_and_reference(row, chat_template(published("qwen2_5")))
    assert reference == '<tool_call>\n{"name": "add", "arguments": {"a": 2}}\n</tool_call>'


def test_a_preference_row_is_its_prompt_and_chosen_answer():
    row = make_row(
        kind="preference", source="s", locator="l", raw=b"x", messages=[message("user", "hi")],
        chosen=[message("assistant", "good")], rejected=[message("assistant", "bad")],
    )  # fmt: skip
    assert prompt_and_reference(row, CHAT)[1] == "good"
    assert encode(TOKENIZER, row) == encode(TOKENIZER, conversation([("hi", "good")]))


def test_documents_are_trained_whole_and_have_no_prompt():
    row = make_row(kind="document", source="s", locator="l", raw=b"x", text="the lazy dog")
    encoded = only(encode(TOKENIZER, row))
    assert encoded.labels == encoded.input_ids
    assert encoded.input_ids[-1] == TOKENIZER.eos_token_id
    with pytest.raises(TrainingDataError, match=row["record_id"]):
        prompt_and_reference(row, CHAT)


def test_a_document_begins_with_bos_where_the_tokenizer_writes_one_and_how_it_ends_is_not_scored():
    tokenizer = tiny_tokenizer()
    tokenizer.bos_token = "<|endoftext|>"
    begin = tokenizer.bos_token_id
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<|endoftext|> $A", special_tokens=[("<|endoftext|>", begin)]
    )
    row = make_row(kind="document", source="s", locator="l", raw=b"x", text="the lazy dog")
    text = tokenizer("the lazy dog", add_special_tokens=False)["input_ids"]
    trained, scored = only(encode(tokenizer, row)), only(encode_for_loss(tokenizer, row, None))
    assert trained.input_ids == [begin, *text, tokenizer.eos_token_id]
    assert trained.labels == [IGNORED, *text, tokenizer.eos_token_id]
    assert (scored.input_ids, scored.labels) == ([begin, *text], [IGNORED, *text])


@pytest.mark.parametrize("tokenizer", [TOKENIZER, PLAIN])
def test_a_turn_of_weight_0_is_context_only(tokenizer):
    row = conversation([("hi", "one"), ("and?", "two"), ("so?", "three")])
    row["messages"][1]["weight"], row["messages"][5]["weight"] = 0, 1
    encoded = only(encode(tokenizer, row))
    assert trained_text(tokenizer, encoded) == "two<|im_end|>three<|im_end|>"
    whole = only(encode(tokenizer, conversation([("hi", "one"), ("and?", "two"), ("so?", "three")])))
    assert encoded.input_ids == whole.input_ids
    linted = Lint(tokenizer, chat_template(tokenizer)).check(row)
    assert (linted.reason, linted.encoded) == (None, (encoded,))


def test_reasoning_has_the_name_that_templates_look_for():
    row = conversation([("hi", "one")])
    row["messages"][1]["reasoning"] = "she greets"
    found = chat_messages(row, CHAT)[1]
    assert found == {"role": "assistant", "content": "one", "reasoning_content": "she greets"}


def test_reasoning_that_stood_in_tags_is_trained_in_tags_unless_the_template_writes_reasoning():
    row = conversation([("2+2?", "4")], meta={"think_tag": "think"})
    row["messages"][1]["reasoning"] = "two and two"
    for tokenizer in (TOKENIZER, PLAIN):
        encoded = only(encode(tokenizer, row))
        assert trained_text(tokenizer, encoded) == "<think>\ntwo and two\n</think>\n\n4<|im_end|>"
        _, reference, written = prompt_and_reference(row, chat_template(tokenizer))
        assert (reference, written) == ("4", "<think>\ntwo and two\n</think>\n\n4<|im_end|>")
    writes = CHATML_PLAIN.replace("m['content']", "m.get('reasoning_content', '') + m['content']")
    assert only(render(tiny_tokenizer(template=writes), row)).text.endswith("assistant\ntwo and two4<|im_end|>\n")


def test_ids_of_calls_are_shortened_for_templates_that_want_nine_characters():
    wants = (
        "{%- for m in messages %}{%- for c in m.tool_calls or [] %}{%- if c.id | length != 9 %}"
        "{{ raise_exception('length 9') }}{%- endif %}{%- endfor %}{%- endfor %}"
    )
    calls = "{{ m['content'] }}{%- for c in m.tool_calls or [] %}{{ c.function | tojson }}{{ c.id }}{%- endfor %}"
    tokenizer = tiny_tokenizer(
        template=wants + CHATML_PLAIN.replace("{{- m['content'] + '<|im_end|>' }}", calls + "<|im_end|>")
    )
    call = [{"id": "call_0123456789", "type": "function", "function": {"name": "add", "arguments": '{"a": "two"}'}}]
    row = make_row(
        kind="conversation", source="s", locator="l", raw=b"x",
        messages=[message("user", "2+0?"), message("assistant", "", tool_calls=json.dumps(call))],
    )  # fmt: skip
    template = chat_template(tokenizer)
    assert template.dialect.short_ids
    (made,) = chat_messages(row, template)[1]["tool_calls"]
    assert len(made["id"]) == 9
    assert made == {**chat_messages(row, template)[1]["tool_calls"][0]}
    assert '"name": "add"' in only(render(tokenizer, row)).text

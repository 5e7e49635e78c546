import json

import pytest
from support.linting import Lint
from support.tiny_model import CHATML, tiny_tokenizer
from tokenizers import normalizers

from steps.contracts.errors import TrainingDataError
from steps.contracts.records import make_row, message
from steps.engines.template.lint import REASONS
from steps.engines.template.render import chat_template, encode


def row(user="hi", assistant="one two", locator="1", **fields):
    messages = [message("user", user)] + ([message("assistant", assistant)] if assistant is not None else [])
    return make_row(kind="conversation", source="s", locator=locator, raw=b"x", messages=messages, **fields)


def lint_with(template=CHATML, tokenizer=None, config=None, **options):
    tokenizer = tokenizer or tiny_tokenizer(template=template)
    return Lint(tokenizer, chat_template(tokenizer, config), **options)


def said(*messages, **fields):
    return make_row(kind="conversation", source="s", locator="1", raw=b"x", messages=list(messages), **fields)


def thought(text, reasoning):
    return {**message("assistant", text), "reasoning": reasoning}


CALL = json.dumps([{"type": "function", "function": {"name": "add", "arguments": '{"a": "two"}'}}])
TOOLS = json.dumps([{"type": "function", "function": {"name": "add"}}])


def lower_case_tokenizer():
    tokenizer = tiny_tokenizer()
    tokenizer.backend_tokenizer.normalizer = normalizers.Lowercase()
    return tokenizer


# The prompt ends in "qu", and "quick" is one token.
GLUED = CHATML.replace("{%- generation %}", "{{- 'qu' }}{%- generation %}")
# The prompt opens a turn otherwise than the conversation does.
OTHER_PROMPT = CHATML.replace(
    "add_generation_prompt %}{{- '<|im_start|>assistant", "add_generation_prompt %}{{- '<|im_start|>bot"
)
NO_SYSTEM = "{%- set messages = messages | rejectattr('role', 'equalto', 'system') | list %}" + CHATML
UPPER = CHATML.replace("m['content'] + '<|im_end|>' }}{%- endg", "m['content'] | upper + '<|im_end|>' }}{%- endg")
# The assistant can't open a conversation.
NO_OPENING = "{%- if not messages %}{{ raise_exception('empty') }}{%- endif %}" + CHATML
BROKEN = {
    "no_assistant_turn": (lint_with(), row(assistant=None)),
    "blank_answer": (lint_with(), row(assistant=" \n")),
    "no_prompt": (lint_with(NO_OPENING), said(message("assistant", "hello"))),
    "no_trained_tokens": (lint_with(), said(message("user", "hi"), {**message("assistant", "one"), "weight": 0})),
    "template_error": (lint_with("{{ raise_exception('no') }}" + CHATML), row()),
    "prompt_differs": (lint_with(OTHER_PROMPT), row()),
    "control_token_in_text": (lint_with(), row(user="ignore this<|im_end|>")),
    "decode_differs": (lint_with(tokenizer=lower_case_tokenizer()), row(user="HI")),
    "content_missing": (lint_with(UPPER), row()),
    "system_missing": (lint_with(NO_SYSTEM), said(message("system", "be brief"), message("user", "hi"),
                                                  message("assistant", "one"))),
    "call_missing": (lint_with(), said(message("user", "hi"), message("assistant", "", tool_calls=CALL))),
    "tools_missing": (lint_with(), row(tools=TOOLS)),
    "reasoning_missing": (lint_with(), said(message("user", "hi"), thought("one", "he greets"))),
    "mask_differs": (lint_with(tokenizer=tiny_tokenizer(template=GLUED, corpus=["quick"] * 9)), row(assistant="ick")),
    "end_not_trained": (lint_with(CHATML.replace("+ '<|im_end|>' }}{%- endgeneration %}{{- '\n' }}",
                                                 "}}{%- endgeneration %}{{- '<|im_end|>\n' }}")), row()),
}  # fmt: skip


def test_every_reason_has_a_case():
    assert set(BROKEN) == set(REASONS)


@pytest.mark.parametrize("reason", sorted(BROKEN))
def test_a_broken_row_is_refused_with_its_reason_and_the_way_out(reason):
    lint, broken = BROKEN[reason]
    linted = lint.check(broken)
    assert (linted.encoded, linted.reason) == ((), reason)
    assert lint.totals.unusable == {reason: 1}
    with pytest.raises(TrainingDataError) as error:
        lint.require(max_unusable_share=0.0)
    assert broken["record_id"] in str(error.value)
    assert REASONS[reason] in str(error.value)


def test_a_good_row_passes_and_is_counted():
    lint = lint_with()
    good = row()
    linted = lint.check(good)
    assert linted.encoded == encode(lint.tokenizer, good)
    t = lint.totals
    assert (t.rows, t.usable, t.sequences) == (1, 1, 1)
    assert (t.tokens, t.trained) == (len(linted.encoded[0].input_ids), linted.encoded[0].trained)
    assert sum(t.share_histogram().counts) == 1
    assert dict(t.end_tokens) == {lint.tokenizer.convert_tokens_to_ids("<|im_end|>"): 1}
    lint.require(max_unusable_share=0.0)


def test_control_tokens_pass_when_allowed():
    assert lint_with(check_control_tokens=False).check(row(user="a<|im_end|>b")).reason is None


def test_an_answer_that_starts_with_the_prompts_last_character_is_flagged_not_dropped():
    tokenizer = tiny_tokenizer(corpus=["a\n\n b"] * 9)
    assert tokenizer.tokenize("\n\n") == ["ĊĊ"]
    lint = lint_with(tokenizer=tokenizer)
    assert lint.check(row(assistant="\n one")).boundary_merged
    assert not lint.check(row(assistant="one")).boundary_merged
    assert lint.totals.boundary_merged == 1


def test_the_share_limit_counts_rows():
    lint = lint_with()
    for i in range(19):
        lint.check(row(locator=str(i)))
    lint.check(row(assistant=None, locator="bad"))
    lint.require(max_unusable_share=0.05)
    with pytest.raises(TrainingDataError, match="1 of 20 rows"):
        lint.require(max_unusable_share=0.04)


def test_a_template_that_breaks_every_row_stops_early():
    lint = lint_with("{{ raise_exception('no') }}" + CHATML)
    with pytest.raises(TrainingDataError, match="500 of 500"):
        for i in range(10_000):
            lint.check(row(locator=str(i)))
    assert lint.totals.rows == 500


def test_a_call_that_ends_in_a_special_token_is_trained_up_to_the_end_of_its_turn():
    template = CHATML.replace(
        "{{- m['content'] + '<|im_end|>' }}{%- endg",
        "{{- m['content'] }}{%- for c in m.tool_calls or [] %}{{- '<call>' }}{{- c.function | tojson }}"
        "{{- '</call>' }}{%- endfor %}{{- '<|im_end|>' }}{%- endg",
    )
    tokenizer = tiny_tokenizer(template=template)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<call>", "</call>"]})
    lint = lint_with(template, tokenizer)
    linted = lint.check(said(message("user", "hi"), message("assistant", "", tool_calls=CALL)))
    assert linted.encoded[0].labels[-2] == tokenizer.eos_token_id  # before the line's end
    assert set(lint.totals.end_tokens) == {tokenizer.eos_token_id}

import pytest
from support.tiny_model import CHATML, tiny_tokenizer

from steps.contracts.errors import TrainingDataError
from steps.contracts.records import make_row, message
from steps.engines.template.answers import judged_answers, prompt_length
from steps.engines.template.lint import ANSWER_REASONS, Judge, LintTotals
from steps.engines.template.render import IGNORED, chat_template

# What the assistant thought in earlier turns goes, as with Qwen3.
FORGETS = CHATML.replace(
    "m['content'] + '<|im_end|>' }}{%- endg",
    "(m['content'] if loop.last else m['content'].split('</think>')[-1]) + '<|im_end|>' }}{%- endg",
)
ASK = message("user", "What colour is the sky?")


def said(text):
    return message("assistant", text)


def pair(chosen, rejected, messages=(ASK,)):
    return make_row(
        kind="preference", source="s", locator="1", raw=b"1", messages=list(messages),
        chosen=chosen if isinstance(chosen, list) else [said(chosen)],
        rejected=rejected if isinstance(rejected, list) else [said(rejected)],
    )  # fmt: skip


def labelled(*messages, label=True):
    return make_row(
        kind="unpaired_preference", source="s", locator="1", raw=b"1", messages=list(messages), label=label
    )  # fmt: skip


@pytest.fixture(scope="module")
def tokenizer():
    return tiny_tokenizer()


@pytest.fixture(scope="module")
def judged(tokenizer):
    judge = Judge(tokenizer, chat_template(tokenizer))
    return lambda *rows: judged_answers(judge, rows)


def parts(tokenizer, sequence):
    """What stands before the answer, and what is trained."""
    ids, labels = sequence.input_ids.tolist(), sequence.labels.tolist()
    return tokenizer.decode(ids[: prompt_length(sequence)]), tokenizer.decode([i for i in labels if i != IGNORED])


def test_both_answers_stand_behind_the_prompt_of_generation_and_end_with_their_marker(tokenizer, judged):
    (found,) = judged(pair("Blue.", "Green."))
    prompt = "<|im_start|>user\nWhat colour is the sky?<|im_end|>\n<|im_start|>assistant\n"
    assert [parts(tokenizer, s) for s in found.sequences] == [
        (prompt, "Blue.<|im_end|>"), (prompt, "Green.<|im_end|>"),
    ]  # fmt: skip
    assert all(tokenizer.decode(s.input_ids) == "".join(parts(tokenizer, s)) for s in found.sequences)


def test_what_the_assistant_said_before_is_context_and_turns_of_others_in_an_answer_are(tokenizer, judged):
    before = [ASK, said("Blue."), message("user", "And grass?")]
    (found,) = judged(pair([said("Green."), message("user", "Sure?"), said("Yes.")], "Red.", before))
    assert [parts(tokenizer, s)[1] for s in found.sequences] == ["Green.<|im_end|>Yes.<|im_end|>", "Red.<|im_end|>"]
    assert parts(tokenizer, found.sequences[1])[0].count("Blue.") == 1


def test_of_a_labelled_row_the_last_turn_is_the_answer(tokenizer, judged):
    rows = [labelled(ASK, said("Blue."), message("user", "And grass?"), said("Green.")), labelled(ASK, said("Red."))]
    found = judged(*rows)
    assert [[parts(tokenizer, s)[1] for s in f.sequences] for f in found] == [["Green.<|im_end|>"], ["Red.<|im_end|>"]]


@pytest.mark.parametrize(
    ("row", "reason", "detail"),
    [(pair("Blue.", "Blue."), "equal_answers", ""), (pair("Blue.", " "), "blank_answer", "rejected answer"),
     (pair([], "Blue."), "no_assistant_turn", "chosen answer"), (pair("Blue.", "Red.", ()), "nothing_asked", ""),
     (pair("a", "b", [message("system", "Be short.")]), "nothing_asked", ""),
     (pair("Blue.<|im_end|>", "Red."), "control_token_in_text", "chosen answer, <|im_end|>"),
     (labelled(said("Blue.")), "nothing_asked", ""), (labelled(ASK, said("")), "blank_answer", ""),
     (labelled(ASK), "nothing_asked", "")],
    ids=str,
)  # fmt: skip
def test_what_cannot_be_told_apart_or_answers_nothing_is_refused(judged, row, reason, detail):
    (found,) = judged(row)
    assert (found.reason, found.detail, found.sequences) == (reason, detail, ())


def test_an_answer_whose_turns_cannot_stand_in_one_text_is_refused():
    forgetful = tiny_tokenizer(template=FORGETS)
    judge = Judge(forgetful, chat_template(forgetful))
    long = [said("<think>Grass.</think>Green."), message("user", "Sure?"), said("Yes.")]
    (found,) = judged_answers(judge, [pair("Red.", long)])
    assert (found.reason, found.detail) == ("several_texts", "rejected answer")


@pytest.mark.parametrize("reason", sorted(ANSWER_REASONS))
def test_rows_none_of_which_can_be_used_are_said_with_the_way_out(judged, reason):
    rows = {
        "equal_answers": pair("a", "a"), "nothing_asked": pair("a", "b", ()), "several_texts": pair("a", "b"),
    }  # fmt: skip
    totals = LintTotals()
    (found,) = judged(rows[reason])
    totals.count(found if found.reason else type(found)(reason=reason), "r1")
    with pytest.raises(TrainingDataError) as error:
        totals.require(max_unusable_share=1.0)
    assert f"1 × {reason} (rows r1)" in str(error.value)
    assert ANSWER_REASONS[reason] in str(error.value)

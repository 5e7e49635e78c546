from support.textrows import chat, document, preference

from steps.contracts.records import make_row, message
from steps.engines.text.sides import answers, asked_and_answered, opening


def conversation(*turns, tools=None):
    said = [message(role, text) for role, text in turns]
    return make_row(kind="conversation", source="s", locator="1", raw=b"", messages=said, tools=tools)


def test_the_last_assistant_turn_is_the_answer():
    row = conversation(("system", "S"), ("user", "Q1"), ("assistant", "A1"), ("user", "Q2"), ("assistant", "A2"))
    assert asked_and_answered(row) == ("S\n\nQ1\n\nA1\n\nQ2", "A2")


def test_tools_are_part_of_what_is_asked():
    turns = (("user", "Q"), ("assistant", "A"))
    assert asked_and_answered(conversation(*turns))[0] != asked_and_answered(conversation(*turns, tools="[1]"))[0]


def test_unanswered_rows_and_documents_have_no_answer():
    assert asked_and_answered(conversation(("user", "Q"))) == ("Q", "")
    assert asked_and_answered(document("text")) == ("text", "")


def test_preferences():
    assert asked_and_answered(preference("Q", "good", "bad")) == ("Q", "")
    assert answers(preference("Q", "good", "bad")) == ("good", "bad")


def test_opening_is_what_the_user_says_first():
    assert (
        opening(conversation(("system", "S"), ("user", "a"), ("user", "b"), ("assistant", "A"), ("user", "c")))
        == "a\n\nb"
    )
    assert opening(chat("q", "a", system="S")) == "q"
    assert opening(document("text")) == ""

from typing import Any

import pytest
from pydantic import ValidationError

from steps.contracts.errors import ConfigError, MissingDependencyError
from steps.contracts.records import Row, make_row, message
from steps.screen.config import RulesConfig
from steps.screen.rules import Rules


def row(answer: str, question: str = "q?", calls: str | None = None) -> Row:
    messages = [message("user", question), message("assistant", answer, tool_calls=calls)]
    return make_row(kind="conversation", source="s", locator="l", raw=b"", messages=messages)


def document(text: str) -> Row:
    return make_row(kind="document", source="s", locator="l", raw=b"", text=text)


def reason(target: Row, **settings: Any) -> str | None:
    failure = Rules(RulesConfig(**settings)).first_failure(target)
    return failure[0] if failure else None


@pytest.mark.parametrize(
    ("settings", "hit", "look_alike", "expected"),
    [
        ({"min_characters": 9}, row("abcd"), row("abcde"), "too_few_characters"),
        ({"max_characters": 9}, row("abcdef"), row("abcde"), "too_many_characters"),
        ({"min_tokens": 4}, row("a"), row("a b"), "too_few_tokens"),
        ({"max_tokens": 5}, row("a b c d"), row("a b c"), "too_many_tokens"),
        ({}, row("  "), row("x"), "short_answer"),
        ({}, row(""), row("", calls="[1]"), "short_answer"),
        ({"min_answer_characters": 3}, row("ab"), document("ab"), "short_answer"),
        ({"forbidden": ("as an AI",)}, row("Well, as an AI model"), row("Alas, an AI"), "forbidden_pattern.0"),
        ({"required": (r"####\s\d",)}, row("so 4"), row("#### 4"), "required_pattern_missing"),
        ({"drop_keywords": ("C++",)}, row("use c++."), row("use c++20"), "drop_keyword"),
        ({"keep_keywords": ("tax",)}, row("taxi"), row("Tax!"), "no_keep_keyword"),
        ({}, row("so it goes on and on. " * 40), row("so it goes on and on. " * 3), "repetition.loop"),
    ],
)
def test_each_rule_has_a_hit_and_a_look_alike(
    settings: dict[str, Any], hit: Row, look_alike: Row, expected: str
) -> None:
    assert reason(hit, **settings) == expected
    assert reason(look_alike, **settings) is None


def test_preference_rows_need_both_answers() -> None:
    def pair(chosen: str, rejected: str) -> Row:
        return make_row(
            kind="preference",
            source="s",
            locator="l",
            raw=b"",
            messages=[message("user", "q")],
            chosen=[message("assistant", chosen)],
            rejected=[message("assistant", rejected)],
        )

    assert reason(pair("yes", "")) == "short_answer"
    assert reason(pair("yes", "no")) is None


def test_contradictory_and_impossible_settings() -> None:
    with pytest.raises(ValidationError, match="every row would go"):
        RulesConfig(min_tokens=5, max_tokens=4)
    with pytest.raises(ValidationError, match="keep_keywords and in drop_keywords"):
        RulesConfig(keep_keywords=("A",), drop_keywords=("a",))
    with pytest.raises(ConfigError, match="forbidden"):
        Rules(RulesConfig(forbidden=("(?<=x)y",)))


def test_a_rule_that_would_backtrack_for_ever_ends() -> None:
    """Python's `re` takes 2**n steps for `(a+)+b` on n letters a; a rule of one's own may say it all the same."""
    attack = document("a" * 1_000_000)
    assert reason(attack, forbidden=("(a+)+b",), repetition=None) is None
    assert reason(attack, required=("(?:a|aa)+b",), repetition=None) == "required_pattern_missing"
    with pytest.raises(ConfigError, match="RE2 refuses"):
        Rules(RulesConfig(forbidden=(r"(a+)+\1",)))


def test_a_missing_tokenizer_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(MissingDependencyError, match="no_such"):
        Rules(RulesConfig(tokenizer="no_such_tokenizer"))

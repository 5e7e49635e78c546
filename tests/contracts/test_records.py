"""What a row's ids depend on: figures that don't come from the code under test."""

import hashlib
import json
from typing import Any

import pytest

from steps.contracts.records import content_id_of, make_row, message, text_of

CALL = '[{"function":{"arguments":"{}","name":"f"},"id":"c1","type":"function"}]'


def conversation(**changes: Any) -> dict[str, Any]:
    parts: dict[str, Any] = {
        "kind": "conversation",
        "source": "chat/a.jsonl",
        "locator": "line:1",
        "raw": b"{}",
        "messages": [
            message("user", "hi", name="ann"),
            message("assistant", "", tool_calls=CALL),
            message("tool", "42", tool_call_id="c1"),
        ],
        "tools": '[{"function":{"name":"f"},"type":"function"}]',
    }
    return make_row(**{**parts, **changes})


def by_hand(*parts: bytes) -> str:
    """BLAKE2b of 16 bytes over parts, each after its length in 8 bytes, least significant first."""
    h = hashlib.blake2b(digest_size=16)
    for part in parts:
        h.update(len(part).to_bytes(8, "little") + part)
    return h.hexdigest()


def test_a_content_id_is_the_digest_of_what_the_row_says() -> None:
    said = [
        "conversation",
        [["user", "hi", "ann", None, None], ["assistant", "", None, CALL, None], ["tool", "42", None, None, "c1"]],
        '[{"function":{"name":"f"},"type":"function"}]',
        [],
        [],
        None,
    ]
    plain = json.dumps(said, ensure_ascii=False, separators=(",", ":"), sort_keys=True).encode()
    assert conversation()["content_id"] == by_hand(plain)


def test_a_record_id_is_the_digest_of_where_it_came_from_and_its_bytes() -> None:
    row = conversation()
    assert row["record_id"] == by_hand(b"chat/a.jsonl", b"line:1", b"{}")
    assert {
        conversation(**{k: v})["record_id"] for k, v in {"source": "b", "locator": "line:2", "raw": b"[]"}.items()
    }.isdisjoint({row["record_id"]})


@pytest.mark.parametrize(
    "changes",
    [
        {"kind": "preference"},
        {"tools": None},
        {"tools": "[]"},
        {"text": "hi"},
        {"chosen": [message("assistant", "yes")]},
        {"rejected": [message("assistant", "yes")]},
        {"messages": [message("user", "hi", name="bob"), *conversation()["messages"][1:]]},
        {"messages": [message("system", "hi", name="ann"), *conversation()["messages"][1:]]},
        {"messages": [message("user", "ho", name="ann"), *conversation()["messages"][1:]]},
        {"messages": [*conversation()["messages"][:2], message("tool", "42", tool_call_id="c2")]},
        {"messages": [conversation()["messages"][0], message("assistant", ""), conversation()["messages"][2]]},
        {"messages": conversation()["messages"][::-1]},
    ],
)
def test_every_part_of_what_a_row_says_is_in_its_content_id(changes: dict[str, Any]) -> None:
    assert conversation(**changes)["content_id"] != conversation()["content_id"]


@pytest.mark.parametrize(
    "changes", [{"source": "x"}, {"locator": "x"}, {"raw": b"x"}, {"meta": {"a": 1}}, {"batch": 3}, {"parents": ["x"]}]
)
def test_nothing_else_is_in_its_content_id(changes: dict[str, Any]) -> None:
    row = conversation(**changes)
    assert row["content_id"] == conversation()["content_id"] == content_id_of({**row, "split": "test"})


def test_chosen_and_rejected_are_told_apart() -> None:
    one, other = [message("assistant", "a")], [message("assistant", "b")]
    a = conversation(kind="preference", chosen=one, rejected=other)
    b = conversation(kind="preference", chosen=other, rejected=one)
    assert a["content_id"] != b["content_id"]


def test_the_text_of_a_row_is_its_contents_and_calls_in_order() -> None:
    row = conversation(kind="preference", chosen=[message("assistant", "good")], rejected=[message("assistant", "bad")])
    assert text_of(row) == f"hi\n\n{CALL}\n\n42\n\ngood\n\nbad"
    assert text_of(make_row(kind="document", source="s", locator="l", raw=b"", text="all of it")) == "all of it"
    assert text_of(make_row(kind="document", source="s", locator="l", raw=b"")) == ""

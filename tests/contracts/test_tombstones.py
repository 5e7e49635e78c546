"""Which values are found in which texts, by digests alone, and which rows are refused."""

import pytest

from steps.contracts.records import make_row, message
from steps.contracts.tombstones import Tombstone, Tombstones, ValueSearch, readable, value_of

SALT = "0f" * 16


def search(*values: str) -> ValueSearch:
    return ValueSearch(SALT, [value_of(v, SALT) for v in values])


@pytest.mark.parametrize(
    ("value", "text", "found"),
    [
        ("zoe.quill@canary.example", "Write to ZOE.Quill@canary.example, please.", True),
        ("zoe.quill@canary.example", "<mailto:zoe.quill@canary.example>", True),
        ("zoe.quill@canary.example", "zoe.quill@canary.example.org and aunt.zoe.quill@canary.example", True),
        ("zoe.quill@canary.example", "zoe.quills@canary.example", False),
        ("Zoë Quill", "zoe\u0308  quill\nwrote", True),
        ("Zoë Quill", "Zoe Quill", False),
        ("+44 20 7946 0857", "call 44-20-7946-0857 now", True),
        ("+44 20 7946 0857", "call 442079460857", True),
        ("+44 20 7946 0857", "call 020 7946 0857", False),
        ("+44 20 7946 0857", "number 99442079460857", False),
        ("12", "12 lamps", True),
    ],
)
def test_values_are_found_as_words_and_numbers_as_digits(value: str, text: str, found: bool) -> None:
    assert search(value).holds(text) is found


def test_the_digest_says_nothing_and_depends_on_the_salt() -> None:
    one, other = value_of("zoe", SALT), value_of("zoe", "1" * 32)
    assert one.digest != other.digest and "zoe" not in one.model_dump_json()
    with pytest.raises(ValueError, match="no letter and no digit"):
        value_of("?!", SALT)


def test_values_are_found_in_raw_json() -> None:
    assert search("Zoë Quill").holds(readable(b'{"a": "hello\\nZo\\u00eb Quill"'))
    assert search("a/b").holds(readable(b'"say a\\/b"'))


def row(text: str, line: int = 1, **more: object) -> dict[str, object]:
    said = [message("user", text), message("assistant", "Yes.")]
    return make_row(
        kind="conversation", source="mails/a.jsonl", locator=f"line:{line}", raw=text.encode(), messages=said, **more
    )  # type: ignore[arg-type]


def test_rows_are_refused_by_id_by_content_by_source_and_by_value() -> None:
    mine, elsewhere, other = row("mine"), row("mine", 7), row("other")
    child = row("chunk", parents=[mine["record_id"]])

    def refuses(one: dict[str, object], **what: object) -> str:
        return Tombstones((Tombstone(erasure="e1", erased="", **what),)).refusing(one)  # type: ignore[arg-type]

    by_id = {"records": (mine["record_id"],)}
    assert [refuses(r, **by_id) for r in (mine, child, elsewhere, other)] == ["e1", "e1", "", ""]
    assert [refuses(r, contents=(mine["content_id"],)) for r in (mine, elsewhere, other)] == ["e1", "e1", ""]
    assert [refuses(mine, sources=(s,)) for s in ("mails", "mails/a.jsonl", "mail", "mails/a")] == ["e1", "e1", "", ""]
    by_value = {"salt": SALT, "values": (value_of("mine", SALT),)}
    assert [refuses(r, **by_value) for r in (mine, elsewhere, other)] == ["e1", "e1", ""]
    assert refuses(row("other", meta={"who": "Mine"}), **by_value) == "e1"
    assert not Tombstones() and Tombstones().digest == ""


def test_a_list_has_one_digest_in_any_order() -> None:
    a, b = Tombstone(erasure="a", erased="1"), Tombstone(erasure="b", erased="2")
    assert Tombstones((a, b)).digest == Tombstones((b, a)).digest != Tombstones((a,)).digest

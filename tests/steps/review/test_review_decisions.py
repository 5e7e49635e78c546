import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from steps.contracts.errors import InputError, IntegrityError
from steps.contracts.records import content_id_of, make_row, message
from steps.review.decisions import HumanDecision, append, latest, read
from steps.review.edits import content_of, edited

ROOT = Path(__file__).resolve().parents[3]


def decision(record="a" * 32, choice="accept", **more):
    return HumanDecision(record_id=record, content_before="b" * 32, choice=choice, stage="screen", reason="slur",
                         by="Ada", when="2026-11-21T10:00:00+00:00", **more)  # fmt: skip


def test_what_is_added_is_read_in_its_order_and_the_last_word_counts(tmp_path):
    path = tmp_path / "new folder" / "decisions.jsonl"
    said = [decision(), decision("c" * 32, "drop", why="quoted\n\u2028\x1b[31m\x85 é שָׁ 今 😀"), decision(choice="drop")]
    for d in said:
        append(path, d)
    assert read(path) == said and path.stat().st_mode & 0o777 == 0o600
    assert {k[0]: d.choice for k, d in latest(read(path)).items()} == {"a" * 32: "drop", "c" * 32: "drop"}


@pytest.mark.parametrize("torn", [b"{", b'{"record_id": "x"', b"x" * 200_000])
def test_a_line_that_a_crash_tore_is_neither_read_nor_in_the_way(tmp_path, torn):
    path = tmp_path / "decisions.jsonl"
    append(path, decision())
    with path.open("ab") as out:
        out.write(torn)
    assert read(path) == [decision()]
    append(path, decision("c" * 32))
    assert read(path) == [decision(), decision("c" * 32)]


def test_half_of_a_surrogate_pair_does_not_make_the_file_unreadable(tmp_path):
    append(tmp_path / "d.jsonl", decision(why="a \ud800 b"))
    assert [d.why for d in read(tmp_path / "d.jsonl")] == ["a ? b"]


def test_a_damaged_line_in_the_middle_is_an_error_that_does_not_repeat_it(tmp_path):
    path = tmp_path / "decisions.jsonl"
    path.write_bytes(b'{"record_id": "secret"}\n')
    append(path, decision())
    with pytest.raises(IntegrityError, match=r"decisions.jsonl:1") as raised:
        read(path)
    assert "secret" not in str(raised.value)


def test_a_damaged_choice_is_told_by_its_field(tmp_path):
    path = tmp_path / "decisions.jsonl"
    append(path, decision())
    path.write_bytes(path.read_bytes().replace(b'"accept"', b'"acceqt"'))
    with pytest.raises(IntegrityError, match="not a decision: choice: literal_error"):
        read(path)


def test_no_decision_is_lost_when_its_writer_is_killed(tmp_path):
    """The child says each decision that `append` has returned from; kill -9 comes in the middle of writing."""
    path = tmp_path / "decisions.jsonl"
    code = (
        "import sys; sys.path.insert(0, sys.argv[2])\n"
        "from pathlib import Path\n"
        "from steps.review.decisions import HumanDecision, append\n"
        "for i in range(100_000):\n"
        "    append(Path(sys.argv[1]), HumanDecision(record_id=f'{i:032x}', content_before='b', choice='drop',\n"
        "           stage='s', reason='r', by='Ada', when='now', why='w' * 5_000))\n"
        "    print(i, flush=True)\n"
    )
    child = subprocess.Popen([sys.executable, "-c", code, str(path), str(ROOT)], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    confirmed = [int(child.stdout.readline()) for _ in range(30)]
    os.kill(child.pid, signal.SIGKILL)
    confirmed += [int(line) for line in child.stdout.read().split()]
    child.wait()
    found = [int(d.record_id, 16) for d in read(path)]
    assert found[: len(confirmed)] == confirmed and len(confirmed) <= len(found) <= len(confirmed) + 1


def chat():
    call = json.dumps([{"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}])
    return make_row(kind="conversation", source="s", locator="line:1", raw=b"1", tools="[]",
                    messages=[message("user", "Hi"), message("assistant", "", tool_calls=call)])  # fmt: skip


def test_content_goes_out_and_comes_back_the_same():
    pair = make_row(kind="preference", source="s", locator="l", raw=b"2", messages=[message("user", "Q")],
                    chosen=[message("assistant", "A")], rejected=[message("assistant", "B")])  # fmt: skip
    document = make_row(kind="document", source="s", locator="l", raw=b"3", text="all\n\u202eof it")
    marked = make_row(kind="conversation", source="s", locator="l", raw=b"4", messages=[
        message("assistant", "A", weight=0, reasoning="hm"), message("assistant", "B", weight=1)])  # fmt: skip
    for row in (chat(), pair, document, marked):
        assert edited(row, json.loads(json.dumps(content_of(row)))) == row


def test_an_edit_keeps_the_row_and_changes_what_it_says():
    row = chat()
    content = content_of(row)
    content["messages"][0]["content"] = "Hello"
    new = edited(row, content)
    assert new["record_id"] == row["record_id"] and new["messages"][0]["content"] == "Hello"
    assert new["content_id"] == content_id_of(new) != row["content_id"] and row["messages"][0]["content"] == "Hi"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (["no"], "not the content"),
        ({"text": "another kind"}, "not the content"),
        ({"messages": [], "tools": "[]"}, "not a list"),
        ({"messages": [{"role": "boss", "content": "x"}], "tools": "["}, "role must be"),
        ({"messages": [{"role": "user", "content": 7}], "tools": "[]"}, "isn't a text"),
        ({"messages": [{"role": "user", "content": "x", "more": "y"}], "tools": "[]"}, "not a message"),
        ({"messages": [{"role": "user", "content": "x", "tool_calls": "{"}], "tools": "[]"}, "tool_calls isn't JSON"),
        ({"messages": [{"role": "user", "content": "x"}], "tools": "{"}, "tools: not JSON"),
        ({"messages": [{"role": "user", "content": "x"}], "tools": "[" * 100_000}, "tools: not JSON"),
        ({"messages": [{"role": "user", "content": "\ud800"}], "tools": "[]"}, "isn't a text"),
        ({"messages": [{"role": "user", "content": " "}], "tools": "[]"}, "nothing is left"),
        *(
            ({"messages": [{"role": "user", "content": "x", "weight": wrong}], "tools": "[]"}, "weight must be 0 or 1")
            for wrong in (2, -1, 0.5, 1.0, True, None, "1")
        ),
    ],
)
def test_an_edit_of_another_form_is_refused(content, said):
    with pytest.raises(InputError, match=said):
        edited(chat(), content)

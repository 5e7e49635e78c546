"""Rows without names, rows of several formats in one file, and names of columns as people write them."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from steps.contracts.errors import InputError
from steps.engines.formats.names import standard
from steps.engines.formats.rejected import RowRejected

TURNS = [{"role": "user", "content": "Where is the key?"}, {"role": "assistant", "content": "Under the mat."}]
SAID = [("user", "Where is the key?"), ("assistant", "Under the mat.")]


# --- rows without names ---


@pytest.mark.parametrize(
    "line",
    [
        TURNS,
        [{"from": "human", "value": SAID[0][1]}, {"from": "gpt", "value": SAID[1][1]}],
        [{"Role": "User", "Content": SAID[0][1]}, {"Role": "ASSISTANT", "Content": SAID[1][1]}],
        [text for _, text in SAID],
        [[text for _, text in SAID]],
        [["human", SAID[0][1]], ["ai", SAID[1][1]]],
        [TURNS[:1], TURNS[1]],
        [TURNS[:1], SAID[1][1]],
    ],
)
@pytest.mark.parametrize("name", ["a.jsonl", "a.json"])
def test_a_row_may_be_a_list(bench, said, line, name):
    rows = [line, [[*pair] if isinstance(pair, list) else pair for pair in line]]
    content = "".join(f"{json.dumps(r)}\n" for r in rows) if name == "a.jsonl" else json.dumps(rows)
    bench.write(name, content)
    got = list(bench.ingest(name).rows.iter_rows())
    assert [said(r["messages"]) for r in got] == [SAID, SAID]
    assert all(r["meta"] == "{}" for r in got)


def test_a_list_of_pairs_is_a_longer_conversation(bench, said):
    [got] = bench.rows([[["Hi", "Hello"], ["Bye", "See you"]], {"id": 1, "chat": TURNS}])[:1]
    assert said(got["messages"]) == [("user", "Hi"), ("assistant", "Hello"), ("user", "Bye"), ("assistant", "See you")]


@pytest.mark.parametrize(
    "line",
    [["a", "b", "c"], [1, 2], [], 5, None, True, [["user", "a"], ["b", "c"]], [{"x": 1}], [TURNS, TURNS], ["", "b"]],
)
def test_a_list_that_may_mean_anything_is_refused(bench, line):
    assert len(bench.rows([{"messages": TURNS}, line, {"messages": TURNS}], most=0.5)) == 2
    [reject] = bench.rejects()
    assert reject["reason"] == "not_an_object" and "list of messages" in reject["hint"]


def test_two_texts_among_conversations_are_no_row_for_sure(bench):
    assert len(bench.rows([{"messages": TURNS}, ["a", "b"], {"messages": TURNS}], most=0.5)) == 2
    assert bench.rejects()[0]["reason"] == "not_an_object"
    assert len(bench.rows([{"prompt": "a", "completion": "b"}, ["a", "b"]])) == 2


def test_texts_alone_are_documents_where_that_is_said(bench):
    lines = ["The first page.", "The second one."]
    assert [r["text"] for r in bench.rows(lines, format="text")] == lines
    with pytest.raises(InputError) as e:
        bench.rows(lines, most=0.5)
    assert "`format: text` reads each as a document" in str(e.value)
    assert len(bench.rows([{"messages": TURNS}, "x", {"messages": TURNS}], most=0.5)) == 2
    assert bench.rejects()[0]["reason"] == "not_an_object"


def test_lists_under_the_names_in_the_first(bench, said):
    lines = [["id", "Question", "answer"], [7, "Why?", "Because."], [8, "How?", "So."], [9, "short"]]
    first, second = bench.rows(lines, most=0.5)
    assert said(first["messages"]) == [("user", "Why?"), ("assistant", "Because.")]
    assert json.loads(second["meta"]) == {"id": 8}
    assert bench.rejects()[0]["hint"] == "2 values, but the first list names 3 columns"


@pytest.mark.parametrize("name", ["chat.json", "chat.jsonl"])
def test_a_file_may_be_one_conversation(bench, said, name):
    bench.write(name, json.dumps(TURNS))
    got = bench.ingest(name)
    assert [said(r["messages"]) for r in got.rows.iter_rows()] == [SAID]
    assert f"s/{name}: one list of messages, read as one conversation" in got.report.notes


@pytest.mark.parametrize("extra", [{"conversation_id": 1}, {"turn": 2}])
def test_messages_of_many_conversations_are_no_documents(bench, extra):
    messages = [{**m, **extra} for m in TURNS]
    for name, content in (("a.jsonl", messages), ("a.json", json.dumps(messages))):
        bench.write(name, content)
        with pytest.raises(InputError) as e:
            bench.ingest(name)
        assert "each row is one message" in str(e.value)


@pytest.mark.parametrize("held", [TURNS, {"messages": TURNS}, {"Question": SAID[0][1], "Answer": SAID[1][1]}])
def test_rows_by_their_ids(bench, said, held):
    bench.write("a.json", json.dumps({"x1": held, "x2": held}))
    got = bench.ingest("a.json")
    rows = list(got.rows.iter_rows())
    assert [(said(r["messages"]), json.loads(r["meta"])["id"]) for r in rows] == [(SAID, "x1"), (SAID, "x2")]
    assert "s/a.json: one object of 2 rows by their ids" in got.report.notes


def test_a_parquet_of_one_list_column(bench, said):
    pq.write_table(pa.table({"thread": [TURNS, TURNS], "day": [1, 2]}), bench.root / "a.parquet")
    got = list(bench.ingest("a.parquet").rows.iter_rows())
    assert [said(r["messages"]) for r in got] == [SAID, SAID] and json.loads(got[1]["meta"]) == {"day": 2}


@pytest.mark.parametrize(
    "row",
    [
        {"human": SAID[0][1], "assistant": SAID[1][1]},
        {"Q": SAID[0][1], "A": SAID[1][1]},
        {"conversation": [{"human": SAID[0][1], "assistant": SAID[1][1]}]},
        {"messages": [["user", SAID[0][1]], ["assistant", SAID[1][1]]]},
        {"messages": [{"type": t, "data": {"content": SAID[i][1]}} for i, t in enumerate(["human", "ai"])]},
        {"messages": TURNS[:1], "response": SAID[1][1]},
        {"conversations": {"from": ["human", "gpt"], "value": [SAID[0][1], SAID[1][1]]}},
        {"User Message": SAID[0][1], "assistant_response": SAID[1][1]},
        [TURNS],
        {"messages": [], "prompt": SAID[0][1], "completion": SAID[1][1]},
        {"prompt": TURNS[0], "completion": TURNS[1]},
        {"data": {"Question": SAID[0][1], "Answer": SAID[1][1]}},
        json.dumps({"messages": TURNS}),
    ],
)  # fmt: skip
def test_other_ways_to_say_who_speaks(bench, said, row):
    [got] = bench.rows([row])
    assert said(got["messages"]) == SAID


def test_an_answer_that_is_a_list_of_questions_is_an_answer(bench, said):
    made = [{"question": "Why?", "answer": "So."}]
    [got] = bench.rows([{"instruction": "Make one.", "output": made}])
    assert said(got["messages"]) == [("user", "Make one."), ("assistant", json.dumps(made[:1], separators=(",", ":"),
                                                                                 sort_keys=True))]  # fmt: skip


def test_the_list_that_holds_rows_is_read(bench, said):
    page = {
        "features": [{"name": "q"}],
        "rows": [{"row_idx": 0, "row": {"prompt": "Q", "completion": "A"}}],
        "total": 1,
    }
    bench.write("a.json", json.dumps(page))
    got = bench.ingest("a.json")
    [row] = got.rows.iter_rows()
    assert said(row["messages"]) == [("user", "Q"), ("assistant", "A")]
    assert "s/a.json: the rows are those of the list 'rows'" in got.report.notes


def test_a_table_that_is_called_text(bench, said):
    bench.write("a.txt", "Question\tAnswer\nQ, q\tA\nQ2\tA2\n")
    first, _ = bench.ingest("a.txt").rows.iter_rows()
    assert said(first["messages"]) == [("user", "Q, q"), ("assistant", "A")]
    bench.write("b.txt", "Apples, pears\nNuts, more\nOne, two\n")
    assert [r["kind"] for r in bench.ingest("b.txt").rows.iter_rows()] == ["document"]


@pytest.mark.parametrize(
    "text", ["<|im_start|>user\nHi<|im_end|>", "<s>[INST] Hi [/INST]", "### Human: Hi### Assistant: a"]
)
def test_rendered_chats_are_documents_and_said(bench, text):
    bench.write("a.jsonl", [{"text": text}])
    got = bench.ingest("a.jsonl")
    assert any("look like rendered chats" in n for n in got.report.notes)


# --- several formats in one file ---

PAIR = {"prompt": "Which?", "chosen": "This.", "rejected": "That."}
ALPACA = {"instruction": "Add.", "input": "1, 2", "output": "3"}
SHAREGPT = {"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"}]}


def test_each_row_is_read_by_its_own_format(bench, said):
    content = [SHAREGPT, ALPACA, SHAREGPT, PAIR, SHAREGPT, {"text": "A page."}, {"prompt": "Q", "completion": "A"}]
    bench.write("a.jsonl", content)
    got = bench.ingest("a.jsonl")
    rows = list(got.rows.iter_rows())
    kinds = ["conversation"] * 3 + ["preference", "conversation", "document", "conversation"]
    assert [r["kind"] for r in rows] == kinds
    assert said(rows[1]["messages"]) == [("user", "Add.\n\n1, 2"), ("assistant", "3")]
    wanted = "s/a.jsonl: rows of several formats, each read by its own: 3 sharegpt, 1 alpaca, 1 preference, 1 text,"
    assert f"{wanted} 1 prompt_completion" in got.report.notes
    assert got.report.counts["rows read per format"]["sharegpt"] == 3


def test_a_format_that_is_said_is_strict(bench):
    assert len(bench.rows([SHAREGPT, ALPACA, SHAREGPT], format="sharegpt", most=0.5)) == 2
    assert bench.rejects()[0]["hint"].endswith("the row looks like alpaca, the file is read as sharegpt")


def test_a_rare_row_of_which_something_stays_unread_is_refused(bench):
    good = {"prompt": "Q", "completion": "A"}
    assert len(bench.rows([good, {"prompt": "Q", "text": "A"}, good], most=0.5)) == 2
    assert bench.rejects()[0]["reason"] == "missing_column"


def test_a_rare_row_that_fits_the_file_stays_in_its_format(bench):
    rows = bench.rows(
        [{"text": "One page."}, {"text": "Another.", "source": "web", "target": "all"}, {"text": "Third."}]
    )
    assert [r["kind"] for r in rows] == ["document"] * 3


# --- names ---


@pytest.mark.parametrize(
    ("row", "turns"),
    [
        ({"Question": "Q", "Answer": "A"}, [("user", "Q"), ("assistant", "A")]),
        ({"Instruction ": "Q", "INPUT": "I", "Output": "A"}, [("user", "Q\n\nI"), ("assistant", "A")]),
        ({"System Prompt": "S", "Prompt ": "Q", "completion": "A"},
         [("system", "S"), ("user", "Q"), ("assistant", "A")]),
        ({"system_prompt": "S", "question": "Q", "response": "A"},
         [("system", "S"), ("user", "Q"), ("assistant", "A")]),
        ({"MESSAGES": [{"Role": "USER", "content": "Q"}, {"role": "Assistant", "content": "A"}]},
         [("user", "Q"), ("assistant", "A")]),
    ],
)  # fmt: skip
def test_names_in_any_case(bench, said, row, turns):
    [got] = bench.rows([{**row, "My Note": 1}])
    assert said(got["messages"]) == turns and json.loads(got["meta"])["My Note"] == 1


def test_names_of_answers_with_blanks_and_hyphens(bench, said):
    [got] = bench.rows([{"Prompt": "Q", "Chosen Response": "good", "rejected-response": "bad"}])
    assert got["kind"] == "preference" and said(got["rejected"]) == [("assistant", "bad")]


def test_two_columns_of_one_name_are_refused(bench):
    good = {"prompt": "Q", "completion": "A"}
    both = {"Prompt": "Q", "PROMPT": "Q2", "completion": "A"}
    assert len(bench.rows([good, both, good, {**both, "PROMPT": ""}], most=0.5)) == 3
    [reject] = bench.rejects()
    assert reject["reason"] == "ambiguous_columns"
    assert reject["hint"].startswith("columns 'Prompt', 'PROMPT' would all be read as 'prompt'")
    said_which = bench.rows([both], columns={"prompt": "PROMPT"})
    assert json.loads(said_which[0]["meta"]) == {"Prompt": "Q"}


def test_unused_columns_keep_their_names(bench):
    [got] = bench.rows([{"prompt": "Q", "completion": "A", "Label": "sport", "Message-Id": "m"}])
    assert json.loads(got["meta"]) == {"Label": "sport", "Message-Id": "m"}


def test_a_plain_row_is_given_back_itself():
    row = {"prompt": "Q", "completion": "A", "Topic": "x"}
    assert standard(row) is row
    with pytest.raises(RowRejected, match="ambiguous_columns"):
        standard({"Text": "a", "TEXT": "b"})


def test_a_system_text_that_is_said_twice_is_one(bench, said):
    [got] = bench.rows([{"system": "S", "messages": [{"role": "system", "content": "S"}, *TURNS]}])
    assert said(got["messages"]) == [("system", "S"), *SAID]

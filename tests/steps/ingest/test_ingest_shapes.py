"""Rows in the shapes that people have them in, each with what it says."""

import json
import random

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from steps.contracts.errors import InputError
from steps.engines.formats.dialects.messages import read_messages
from steps.engines.formats.dialects.roles import role_of
from steps.engines.formats.format import AS_USUAL, Reading
from steps.engines.formats.registry import FORMATS, detect
from steps.engines.formats.rejected import RowRejected

USER = {"role": "user", "content": "Which bird sings?"}
ANSWER = {"role": "assistant", "content": "The wren."}
WEATHER = {"type": "function", "function": {"name": "weather", "parameters": {"properties": {"city": {}, "days": {}}}}}


def read(row):
    """The drafts of a row under the format that it looks like."""
    return FORMATS[detect(row)].read(row, AS_USUAL)


def spoken(messages):
    """Messages without the fields that are null."""
    return [{k: v for k, v in m.items() if v is not None} for m in messages]


def only(row):
    """The one draft."""
    [draft] = read(row).drafts
    return draft


def pair(row):
    draft = only(row)
    assert draft.kind == "preference"
    return tuple("/".join(m["content"] for m in side) for side in (draft.messages, draft.chosen, draft.rejected))


def refused(row, reason):
    with pytest.raises(RowRejected) as e:
        read(row)
    assert e.value.reason == reason
    return e.value.hint


# --- roles and keys ---


@pytest.mark.parametrize(
    ("role", "names"),
    [
        ("system", ["System", "developer", "system_prompt", "SYSTEM "]),
        ("user", ["human", "Human ", "USER", "prompter", "input", "user_input", "user-input", "instruction", "Human:"]),
        ("assistant", ["ai", "AI", "bot", "gpt", " GPT", "claude", "model", "output", "gpt-4o", "claude-3-opus"]),
        ("tool", ["function", "observation", "ipython", "tool_response", "Tool Result"]),
        ("call", ["function_call", "tool_call"]),
    ],
)
def test_roles_by_their_many_names(role, names):
    assert [role_of(n) for n in names] == [role] * len(names)


def test_a_role_that_nobody_knows_is_named_by_the_source(bench, said):
    rows = [{"dialog": [{"from": "Frage", "text": "Wer singt?"}, {"from": "bot", "text": "Der Zaunkönig."}]}]
    [got] = bench.rows(rows, roles={"frage ": "user"})
    assert said(got["messages"]) == [("user", "Wer singt?"), ("assistant", "Der Zaunkönig.")]
    with pytest.raises(InputError, match=r"role 'Frage' is none of .* name it in the source's `roles`"):
        bench.rows(rows)
    for nobody in ({"role": None}, {"speaker": "Erika", "role": None}, {"role": "Erika M."}):
        with pytest.raises(RowRejected, match="unknown_role") as e:
            read_messages([{**nobody, "content": "x"}])
        assert "Erika" not in str(e.value)


@pytest.mark.parametrize("who", ["role", "from", "speaker", "author", "sender"])
@pytest.mark.parametrize("what", ["content", "value", "text"])
def test_any_key_for_who_speaks_goes_with_any_for_what_is_said(who, what):
    draft = only({"messages": [{who: "human", what: "Which bird sings?"}, {who: "ai", what: "The wren."}]})
    assert spoken(draft.messages) == [USER, ANSWER]


def test_a_message_that_lacks_a_key_names_those_it_has():
    assert refused({"messages": [{"role": "user", "body": "x", "n": 1}]}, "no_content") == (
        "message 1: has `body` (text), `n` (a number), wanted `content`"
    )
    assert refused({"messages": [USER, {"who": "ai", "content": "x"}]}, "unknown_role") == (
        "message 2: has `who` (text), `content` (text), wanted `role`"
    )
    refused({"messages": [{"role": "user", "content": "a", "value": "b"}]}, "two_contents")


def test_the_quick_reading_of_plain_messages_is_the_careful_one():
    rng = random.Random(7)

    def some_message():
        m = {rng.choice(["role", "from"]): rng.choice(["user", "assistant", "tool", "function", "system", "gpt"])}
        m[rng.choice(["content", "value", "text"])] = rng.choice(["x", "", "<think>a</think>b", None])
        more = {"tool_calls": rng.choice([None, [{"name": "f", "id": "z"}]]), "name": None, "tool_call_id": None}
        return {**m, **{k: v for k, v in more.items() if rng.random() < 0.3}}

    def outcome(messages, roles):
        try:
            return read_messages(messages, roles=roles)
        except RowRejected as e:
            return e.reason

    for _ in range(500):
        messages = [some_message() for _ in range(rng.randint(1, 4))]
        # A name that no message has makes every message be read with care.
        assert outcome(messages, None) == outcome(messages, {"nobody": "user"})


# --- content ---


def test_content_that_is_no_text():
    draft = only(
        {
            "messages": [
                {"role": "system", "content": None},
                {"role": "user", "content": {"type": "text", "text": "Which bird"}},
                {"role": "assistant", "content": [{"type": "text", "text": "The "}, {"text": "wren."}, None]},
                {"role": "tool", "content": {"t": 4, "unit": None}},
                {"role": "tool", "content": None},
                {"role": "assistant", "content": 42},
                {"role": "user", "content": True},
            ]
        }
    )
    assert [m["content"] for m in draft.messages] == ["Which bird", "The wren.", '{"t":4}', "", "42", "true"]


def test_anthropic_parts_become_reasoning_calls_and_results():
    draft = only(
        {
            "system": [{"type": "text", "text": "Be brief."}],
            "messages": [
                {"role": "user", "content": "Rain?"},
                {
                    "role": "assistant",
                    "content": [
                        {"type": "thinking", "thinking": "I must look.", "signature": "x"},
                        {"type": "text", "text": "Let me look."},
                        {"type": "tool_use", "id": "t1", "name": "weather", "input": {"city": "Oslo", "days": None}},
                    ],
                },
                {
                    "role": "user",
                    "content": [
                        {"type": "tool_result", "tool_use_id": "t1", "content": [{"type": "text", "text": "wet"}]},
                        {"type": "text", "text": "So?"},
                    ],
                },
                {"role": "assistant", "content": "Yes."},
            ],
        }
    )
    call = [{"function": {"arguments": '{"city": "Oslo"}', "name": "weather"}, "id": "t1", "type": "function"}]
    assert spoken(draft.messages) == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Rain?"},
        {
            "role": "assistant", "content": "Let me look.", "reasoning": "I must look.",
            "tool_calls": json.dumps(call, separators=(",", ":")),
        },
        {"role": "tool", "content": "wet", "tool_call_id": "t1"},
        {"role": "user", "content": "So?"},
        {"role": "assistant", "content": "Yes."},
    ]  # fmt: skip


def test_gemini_s_contents():
    draft = only(
        {
            "systemInstruction": {"parts": [{"text": "Be brief."}]},
            "contents": [
                {"role": "user", "parts": [{"text": "Rain?"}]},
                {"role": "model", "parts": [{"text": "Hm.", "thought": True}, {"text": "Yes."}]},
            ],
        }
    )
    assert spoken(draft.messages) == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Rain?"},
        {"role": "assistant", "content": "Yes.", "reasoning": "Hm."},
    ]


@pytest.mark.parametrize(
    ("part", "reason"),
    [
        ({"type": "image_url", "image_url": {"url": "u"}}, "has_image"),
        ({"type": "image"}, "has_image"),
        ({"type": "input_audio", "input_audio": {"data": "x"}}, "has_audio"),
        ({"type": "video", "video": "v.mp4"}, "has_video"),
        ({"type": "document", "source": {"type": "base64", "data": "x"}}, "has_file"),
        ({"inlineData": {"mimeType": "image/png"}}, "has_file"),
        ({"type": "hologram", "text": "x"}, "not_text"),
    ],
)
def test_a_medium_is_named_and_an_unknown_part_refused(part, reason):
    refused(
        {"messages": [{"role": "user", "content": [part, {"type": "text", "text": "What is it?"}]}, ANSWER]}, reason
    )


def test_a_medium_with_a_text_of_its_own_is_that_text():
    parts = [{"type": "input_audio", "input_audio": {"data": "x", "transcript": "Hello "}}]
    parts.append({"type": "document", "source": {"type": "text", "data": "there"}})
    assert only({"messages": [{"role": "user", "content": parts}, ANSWER]}).messages[0]["content"] == "Hello there"


def test_media_beside_the_messages_are_refused_and_empty_ones_are_not(bench):
    refused({"messages": [USER, ANSWER], "images": ["a.png"]}, "has_image")
    refused({"prompt": "What is it?", "completion": "A wren.", "audio": {"path": "a.wav"}}, "has_audio")
    refused({"messages": [{**USER, "image": "a.png"}, ANSWER]}, "has_image")
    nothing = {"images": [], "image": None, "audio": {"path": None}, "video": "", "videos": False}
    assert spoken(only({"messages": [USER, ANSWER], **nothing}).messages) == [USER, ANSWER]
    [got] = bench.rows([{"messages": [USER, ANSWER], "image": "avatar.png"}], as_meta=["image"])
    assert json.loads(got["meta"]) == {"image": "avatar.png"}


def test_a_refusal_is_what_is_said():
    turn = {"role": "assistant", "content": None, "refusal": "I can't help with that."}
    assert only({"messages": [USER, turn]}).messages[1]["content"] == "I can't help with that."
    refused({"messages": [USER, {**turn, "content": "Sure."}]}, "two_contents")


# --- reasoning and weights ---


@pytest.mark.parametrize("key", ["reasoning_content", "reasoning", "thinking", "thought"])
def test_reasoning_beside_the_answer(key):
    assert only({"messages": [USER, {**ANSWER, key: "Small, loud."}]}).messages[1]["reasoning"] == "Small, loud."
    assert only({"prompt": "Which?", "completion": "The wren.", key: "Small."}).messages[1]["reasoning"] == "Small."


@pytest.mark.parametrize("tag", ["think", "thinking"])
def test_think_tags_are_reasoning(tag):
    text = f"<{tag}>\nSmall,\nloud.\n</{tag}>\n\nThe wren."
    for row in ({"messages": [USER, {**ANSWER, "content": text}]}, {"prompt": USER["content"], "completion": text}):
        draft = only(row)
        assert spoken(draft.messages) == [USER, {**ANSWER, "reasoning": "Small,\nloud."}]
        assert draft.meta == {"think_tag": tag}


@pytest.mark.parametrize(
    "text", ["<think></think>The wren.", "<think>Hm.</think>", "The <think>x</think> wren.", "<think>Hm. The wren."]
)
def test_tags_that_part_nothing_stay(text):
    parsed = read({"messages": [USER, {**ANSWER, "content": text}]})
    assert parsed.drafts[0].messages[1]["content"] == text and not parsed.drafts[0].meta
    assert parsed.notes == (
        ("think tag never closed: all of it is read as the answer",) if "wren" in text[-5:] and "/" not in text else ()
    )


@pytest.mark.parametrize("key", ["weight", "train", "loss", "trainable", "label"])
@pytest.mark.parametrize(
    ("value", "weight"), [(0, 0), (False, 0), (0.0, 0), ("false", 0), (1, 1), (True, 1), (None, None)]
)
def test_what_is_trained(key, value, weight):
    draft = only({"messages": [USER, {**ANSWER, key: value}, USER, ANSWER]})
    assert [m["weight"] for m in draft.messages] == [None, weight, None, None] and not draft.meta


def test_weights_that_say_nothing_clear():
    refused({"messages": [USER, {**ANSWER, "weight": 0.5}]}, "bad_weight")
    refused({"messages": [USER, {**ANSWER, "weight": 1, "train": False}]}, "bad_weight")
    parsed = read({"messages": [{**USER, "weight": 1}, {**ANSWER, "label": "song"}]})
    assert parsed.notes == ("weight 1 on a user message has no effect: only answers are trained",)
    assert parsed.drafts[0].meta == {"message_fields": {"1": {"label": "song"}}}


# --- preferences ---


@pytest.mark.parametrize(
    "row",
    [
        {
            "conversations": [{"from": "human", "value": "Q"}],
            "chosen": {"from": "gpt", "value": "good"},
            "rejected": {"from": "gpt", "value": "bad"},
        },
        {"messages": [{"role": "user", "content": "Q"}], "chosen": "good", "rejected": "bad"},
        {
            "messages": [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "good"}],
            "rejected_response": "bad",
        },
        {"instruction": "Q", "input": "", "chosen": "good", "rejected": "bad"},
        {"question": "Q", "response_j": "good", "response_k": "bad"},
        {"prompt": "Q", "completion": "good", "rejected": "bad"},
        {
            "input": {"messages": [{"role": "user", "content": "Q"}]},
            "preferred_output": [{"role": "assistant", "content": "good"}],
            "non_preferred_output": [{"role": "assistant", "content": "bad"}],
        },
        {
            "prompt": "Q",
            "chosen": json.dumps([{"role": "user", "content": "Q"}, {"role": "assistant", "content": "good"}]),
            "rejected": json.dumps([{"role": "user", "content": "Q"}, {"role": "assistant", "content": "bad"}]),
        },
    ],
)
def test_a_chosen_and_a_rejected_answer_in_many_forms(row):
    assert detect(row) == "preference" and pair(row) == ("Q", "good", "bad")


def test_a_conversation_of_many_turns_before_the_pair():
    turns = [("human", "Hello."), ("gpt", "Ask."), ("human", "Q")]
    row = {"conversations": [{"from": f, "value": v} for f, v in turns], "system": "Be brief."}
    row |= {"chosen": {"from": "gpt", "value": "good"}, "rejected": {"from": "gpt", "value": "bad"}}
    assert pair(row) == ("Be brief./Hello./Ask./Q", "good", "bad")
    whole = {**row, "conversations": [*row["conversations"], {"from": "gpt", "value": "good"}]}
    assert pair(whole) == pair(row)
    refused({**row, "conversations": [*row["conversations"], {"from": "gpt", "value": "other"}]}, "bad_prompt")


def test_ultrafeedback_s_binarized_rows_repeat_themselves(bench):
    sides = {s: [USER, {"role": "assistant", "content": s}] for s in ("chosen", "rejected")}
    [got] = bench.rows([{"prompt": USER["content"], **sides, "messages": sides["chosen"], "score_chosen": 8.0}])
    assert got["kind"] == "preference" and json.loads(got["meta"]) == {"score_chosen": 8.0}


@pytest.mark.parametrize("more", [{"rejected": False, "accepted": True}, {"rejected": ""}, {"rejected": None}])
def test_a_verdict_and_an_empty_side_make_no_pair(more):
    assert detect({"messages": [USER, ANSWER], **more}) == "openai"
    assert only({"messages": [USER, ANSWER], **more}).kind == "conversation"


def test_a_pair_in_a_file_of_conversations_is_a_pair(bench):
    rows = [{"messages": [USER, ANSWER]}] * 3 + [{"messages": [USER, ANSWER], "rejected": "The crow."}]
    assert [r["kind"] for r in bench.rows(rows)] == ["conversation"] * 3 + ["preference"]


@pytest.mark.parametrize(
    ("row", "better"),
    [
        ({"prompt": "Q", "response_0": "x", "response_1": "y", "better_response_id": 1}, "y"),
        ({"question": "Q", "response_a": "x", "response_b": "y", "winner": "model_a"}, "x"),
        ({"question": "Q", "response_1": "x", "response_2": "y", "preference": "2"}, "y"),
        ({"conversation_a": [USER, ANSWER], "conversation_b": [USER, {**ANSWER, "content": "y"}], "winner": "B"}, "y"),
    ],
)
def test_two_answers_and_the_better_one(row, better):
    assert detect(row) == "compared" and pair(row)[1] == better


def test_two_answers_of_which_none_is_better_are_no_pair():
    row = {"prompt": "Q", "response_a": "x", "response_b": "y"}
    refused({**row, "winner": "tie (bothbad)"}, "no_pair")
    refused({**row, "winner": 7}, "bad_ranks")


# --- labels ---


@pytest.mark.parametrize("label", [True, 1, "true", "True", 1.0])
@pytest.mark.parametrize("column", ["label", "kto_tag"])
def test_answers_that_are_wanted_or_not_are_a_kind_of_their_own(column, label):
    draft = only({"prompt": "Q", "completion": "good", column: label})
    assert (draft.kind, draft.label, draft.meta) == ("unpaired_preference", True, {})
    draft = only({"messages": [USER, ANSWER], column: False})
    assert (draft.kind, draft.label) == ("unpaired_preference", False)


def test_a_label_that_is_a_category_is_noted_and_a_number_refused(bench):
    hint = refused({"prompt": "Q", "completion": "A", "label": 3}, "bad_label")
    assert "`as_meta`" in hint
    bench.write("a.jsonl", [{"prompt": f"Q{n}", "completion": "A", "label": "sport"} for n in range(3)])
    got = bench.ingest("a.jsonl")
    assert {r["kind"] for r in got.rows.iter_rows()} == {"conversation"}
    assert got.report.notes == ("3 × column `label` isn't used: it is kept in meta",)
    bench.write("b.jsonl", [{"prompt": "Q", "completion": "A", "label": 3}])
    quiet = bench.ingest("b.jsonl", as_meta=["label"])
    assert quiet.report.notes == () and [json.loads(r["meta"]) for r in quiet.rows.iter_rows()] == [{"label": 3}]


def test_columns_that_say_something_and_aren_t_used_are_noted(bench):
    bench.write("a.jsonl", [{"question": "Q", "answer": "A", "choices": ["A", "B"], "id": 7, "rating": None}])
    assert bench.ingest("a.jsonl").report.notes == ("1 × column `choices` isn't used: it is kept in meta",)


# --- several answers ---


@pytest.mark.parametrize(
    "row",
    [
        {"context": "Q", "responses": ["mid", "good", "bad"], "scores": [2, 3, 1]},
        {"context": "Q", "responses": ["mid", "good", "bad"], "ranking": [2, 1, 3]},
        {"question": "Q", "answers": [{"text": t, "pm_score": s} for t, s in (("mid", 2), ("good", 9), ("bad", 0))]},
        {
            "instruction": "Q",
            "completions": [{"response": t, "overall_score": s} for t, s in (("good", "8.5"), ("bad", "2"))],
        },
        {
            "instruction": "Q",
            "completions": [
                {"response": t, "annotations": {"a": {"Rating": s}, "b": {"Rating": "N/A"}}}
                for t, s in (("good", "5"), ("bad", "1"))
            ],
        },
        {"messages": [{"role": "user", "content": "Q"}], "candidates": ["bad", "good"], "rewards": [-1.5, 0.5]},
        {"context": "Q", "responses": ["bad", "good"], "ranking": ["good", "bad"]},
        {"context": "Q", "responses": ["bad", "good"], "best": 1},
        {"context": "Q", "responses": ["bad", "good"], "winner": "good"},
    ],
)
def test_ranked_answers_under_other_names(row):
    assert detect(row) == "ranked" and pair(row) == ("Q", "good", "bad")


def test_answers_without_a_ranking_are_several_rows(bench, said):
    bench.write("a.jsonl", [{"prompt": "Q", "responses": ["one", "two", "one"], "lang": "en"}])
    got = bench.ingest("a.jsonl")
    assert [said(r["messages"])[1] for r in got.rows.iter_rows()] == [("assistant", "one"), ("assistant", "two")]
    assert [json.loads(r["meta"]) for r in got.rows.iter_rows()] == [{"lang": "en"}] * 2
    assert (got.report.created, got.report.dropped_by) == (2, {"made_into_answers": 1})
    assert only({"prompt": "Q", "answers": ["one", "one"]}).messages[1]["content"] == "one"


def test_squad_s_answers_are_spellings_of_one():
    squad = {"context": "The wren sings.", "question": "Who sings?", "answers": {"text": ["wren", "The wren", "wren"]}}
    draft = only(squad)
    assert spoken(draft.messages) == [
        {"role": "user", "content": "The wren sings.\n\nWho sings?"}, {"role": "assistant", "content": "wren"},
    ]  # fmt: skip
    assert draft.meta == {"other_answers": ["The wren"]}
    refused({**squad, "answers": {"text": [], "answer_start": []}}, "empty_answer")


def test_one_answer_beside_many_is_the_answer():
    assert only({"question": "Q", "answer": "A", "answers": ["B", "C"]}).messages[1]["content"] == "A"
    refused({"prompt": "Q", "responses": ["a", "b"], "scores": [1]}, "bad_ranks")
    refused({"prompt": "Q", "responses": ["a", " "]}, "empty_answer")
    refused({"prompt": "Q", "responses": ["a", "b"], "best": 2}, "bad_ranks")
    assert "`quality`" in refused({"prompt": "Q", "responses": ["a", "b"], "quality": [0.5, 1]}, "no_ranking")
    refused({"prompt": "Q", "completions": ["step 1", "step 2"], "labels": [True, False]}, "bad_label")
    refused({"question": "Q", "answers": ["a", "b"], "label": 1}, "bad_label")


def test_all_pairs_are_made_when_asked_for():
    row = {"prompt": "Q", "responses": ["a", "b", "c"], "ranks": [3, 1, 2]}
    drafts = FORMATS["ranked"].read(row, Reading(pairs="all")).drafts
    assert [(d.chosen[0]["content"], d.rejected[0]["content"]) for d in drafts] == [("b", "c"), ("b", "a"), ("c", "a")]


# --- calls ---


def calls(*turns, tools=None):
    draft = only({"conversations": [{"from": "human", "value": "Rain?"}, *turns], "tools": tools})
    found = [json.loads(m["tool_calls"]) for m in draft.messages if m["tool_calls"]]
    return [(c["function"]["name"], json.loads(c["function"]["arguments"])) for listed in found for c in listed]


@pytest.mark.parametrize(
    "text",
    [
        'weather(city="Oslo", days=2)',
        "[weather(city='Oslo', days=2)]",
        '{"name": "weather", "arguments": {"city": "Oslo", "days": 2}}',
        '[{"name": "weather", "parameters": {"city": "Oslo", "days": 2}}]',
        "{'name': 'weather', 'arguments': {'city': 'Oslo', 'days': 2}}",
        '{"name": "weather", "arguments": "{\\"city\\": \\"Oslo\\", \\"days\\": 2}"}',
        '{"name": "weather", "arguments": ["Oslo", 2]}',
        "weather('Oslo', 2)",
        "weather('Oslo', days=2)",
    ],
)
def test_calls_as_text_and_as_json(text):
    for turn in ({"from": "function_call", "value": text}, {"role": "tool_call", "content": text}):
        assert calls(turn, tools=[WEATHER]) == [("weather", {"city": "Oslo", "days": 2})]


def test_a_call_whose_parameters_nothing_names_stays_text():
    turns = [{"from": "human", "value": "Rain?"}, {"from": "function_call", "value": "weather('Oslo')"}]
    turns += [{"from": "observation", "value": "wet"}, {"from": "gpt", "value": "Yes."}]
    parsed = read({"conversations": turns})
    assert [m["content"] for m in parsed.drafts[0].messages] == ["Rain?", "weather('Oslo')", "wet", "Yes."]
    assert parsed.notes == ("calls written as text stay text: nothing names their parameters",)
    hint = refused({"messages": [USER, {"role": "assistant", "tool_calls": [{"call": "x"}]}]}, "bad_tool_call")
    assert hint == 'message 2: a tool call must be {"name": ..., "arguments": ...}, but has `call` (text)'


# --- nulls that Arrow adds ---


def moving(name, arguments, properties):
    tool = {"type": "function", "function": {"name": name, "parameters": {"type": "object", "properties": properties}}}
    call = {"id": name, "type": "function", "function": {"name": name, "arguments": arguments}}
    return {"messages": [USER, {"role": "assistant", "content": "", "tool_calls": [call]}, ANSWER], "tools": [tool]}


def test_nulls_that_unification_added_are_gone(bench):
    number = {"type": "integer", "enum": [0, 1, None]}
    rows = [
        moving("move", {"x": 0, "to": [{"a": 1}]}, {"x": number}),
        moving("turn", {"to": [{"b": 2}], "angle": 90}, {"angle": number}),
    ]
    bench.write("said.jsonl", rows)
    table = pa.Table.from_pylist(rows)
    unified = table.to_pylist()
    assert unified != rows
    pq.write_table(table, bench.root / "unified.parquet")
    bench.write("unified.jsonl", unified)
    got = [list(bench.ingest(name).rows.iter_rows()) for name in ("said.jsonl", "unified.parquet", "unified.jsonl")]
    contents = [[(r["content_id"], r["messages"], r["tools"]) for r in found] for found in got]
    assert contents[0] == contents[1] == contents[2]
    assert json.loads(got[1][0]["tools"]) == rows[0]["tools"]


def test_nulls_that_are_said_stay():
    schema = {"type": "object", "properties": {"x": {"type": ["integer", "null"]}, "y": {}}, "required": ["x", "y"]}
    row = moving("move", {"x": None, "y": None, "z": None}, {})
    row["tools"][0]["function"]["parameters"] = schema
    assert json.loads(json.loads(only(row).messages[1]["tool_calls"])[0]["function"]["arguments"]) == {"x": None}
    row = moving("move", '{"x": null}', {})
    assert json.loads(only(row).messages[1]["tool_calls"])[0]["function"]["arguments"] == '{"x": null}'
    spoken_call = json.dumps([{"name": "move", "arguments": {"x": None}}])
    whole = json.dumps([USER, {"role": "assistant", "tool_calls": [{"name": "move", "arguments": {"x": None}}]}])
    turn = {"role": "assistant", "tool_calls": spoken_call}
    for messages in ([USER, turn], [USER, {"role": "function_call", "content": "move(x=None)"}], whole):
        [call] = json.loads(only({"messages": messages}).messages[1]["tool_calls"])
        assert call["function"]["arguments"] == '{"x": null}'
    text = json.dumps([{"name": "move", "parameters": {"default": None}}])
    assert json.loads(only({"messages": [USER, ANSWER], "tools": text}).tools) == json.loads(text)


# --- values that are no text ---


def test_answers_that_are_numbers_and_objects():
    said = [5, 4.5, True, {"b": 1, "a": None, "c": [None]}, ["x", 2], '[{"name": "x"}]']
    got = [only({"instruction": "Answer.", "input": "", "output": value}).messages[1]["content"] for value in said]
    assert got == ["5", "4.5", "true", '{"b":1,"c":[null]}', '["x",2]', '[{"name": "x"}]']


def test_an_instruction_or_an_input_may_be_empty():
    assert only({"instruction": "", "input": "Q", "output": "A"}).messages[0]["content"] == "Q"
    assert only({"instruction": "Q", "input": None, "output": "A"}).messages[0]["content"] == "Q"
    refused({"instruction": " ", "input": "", "output": "A"}, "empty_text")


def test_messages_as_python_wrote_them_into_a_csv(bench, said):
    text = str([USER, {**ANSWER, "content": "It's the wren."}]).replace('"', '""')
    bench.write("a.csv", f'messages\n"{text}"\n')
    [got] = bench.ingest("a.csv").rows.iter_rows()
    assert said(got["messages"]) == [("user", "Which bird sings?"), ("assistant", "It's the wren.")]

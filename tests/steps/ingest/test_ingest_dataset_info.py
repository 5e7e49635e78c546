"""Folders in which LLaMA-Factory's dataset_info.json says what the files mean."""

import json
from pathlib import Path

import pytest

from steps.contracts.errors import InputError
from steps.ingest.config import IngestConfig
from steps.ingest.ingest import input_digests


def folder(bench, info, **files):
    bench.write("d/dataset_info.json", json.dumps(info))
    for name, rows in files.items():
        bench.write(f"d/{name}.json", json.dumps(rows))


def read(bench, **source):
    got = bench.ingest("d", **source)
    return list(got.rows.iter_rows()), got.report.notes


def test_columns_of_an_instruction(bench, said):
    info = {"mine": {"file_name": "a.json", "columns": {"prompt": "task", "query": "more", "response": "done"}}}
    folder(bench, info, a=[{"task": "Add", "more": "1, 2", "done": "3", "output": "noise", "day": 5}])
    [row], notes = read(bench)
    assert said(row["messages"]) == [("user", "Add\n\n1, 2"), ("assistant", "3")]
    meta = json.loads(row["meta"])
    assert (meta["output"], meta["day"]) == ("noise", 5)
    assert "source s: a.json: read as dataset_info.json says of mine" in notes


def test_tags_of_a_conversation(bench, said):
    tags = {
        "role_tag": "who", "content_tag": "what", "user_tag": "client", "assistant_tag": "desk", "system_tag": "rule",
        "observation_tag": "seen", "function_tag": "does",
    }  # fmt: skip
    info = {"mine": {"file_name": "a.json", "formatting": "sharegpt", "columns": {"messages": "talk"}, "tags": tags}}
    call = json.dumps({"name": "look", "arguments": {"at": "map"}})
    turns = [("rule", "Be kind"), ("client", "Where?"), ("does", call), ("seen", "left"), ("desk", "To the left.")]
    folder(bench, info, a=[{"talk": [{"who": w, "what": t} for w, t in turns]}])
    [row], _ = read(bench)
    assert [m["role"] for m in row["messages"]] == ["system", "user", "assistant", "tool", "assistant"]
    assert json.loads(row["messages"][2]["tool_calls"])[0]["function"]["name"] == "look"


@pytest.mark.parametrize(
    ("entry", "row"),
    [
        ({"columns": {"prompt": "q", "chosen": "good", "rejected": "bad"}}, {"q": "Q", "good": "A", "bad": "B"}),
        ({"columns": {"prompt": "q", "response": "both"}}, {"q": "Q", "both": ["A", "B"]}),
        (
            {"formatting": "sharegpt", "columns": {"messages": "talk", "chosen": "good", "rejected": "bad"}},
            {
                "talk": [{"from": "human", "value": "Q"}],
                "good": {"from": "gpt", "value": "A"},
                "bad": {"from": "gpt", "value": "B"},
            },
        ),
    ],
)
def test_rankings(bench, said, entry, row):
    folder(bench, {"mine": {"file_name": "a.json", "ranking": True, **entry}}, a=[row])
    [got], _ = read(bench)
    assert got["kind"] == "preference"
    sides = [said(got[k]) for k in ("messages", "chosen", "rejected")]
    assert sides == [[("user", "Q")], [("assistant", "A")], [("assistant", "B")]]


def test_labels_and_texts(bench):
    info = {
        "kto": {
            "file_name": "k.json", "formatting": "sharegpt", "columns": {"messages": "talk", "kto_tag": "ok"},
        },
        "pages": {"file_name": "p.json", "columns": {"prompt": "page"}},
        "elsewhere": {"hf_hub_url": "somebody/some"},
        "lost": {"file_name": "lost.json"},
    }  # fmt: skip
    talk = [{"from": "human", "value": "Q"}, {"from": "gpt", "value": "A"}]
    folder(bench, info, k=[{"talk": talk, "ok": False}], p=[{"page": "All of it."}])
    rows, notes = read(bench)
    assert [(r["kind"], r["label"], r["text"]) for r in rows] == [
        ("unpaired_preference", False, None), ("document", None, "All of it."),
    ]  # fmt: skip
    assert any("names files that aren't there: lost.json" in n for n in notes)


def test_an_entry_is_chosen_as_a_subset(bench, said):
    info = {
        "asked": {"file_name": "a.json", "columns": {"prompt": "x", "response": "y"}},
        "turned": {"file_name": "a.json", "columns": {"prompt": "y", "response": "x"}},
        "other": {"file_name": "b.json"},
    }
    folder(bench, info, a=[{"x": "1", "y": "2"}], b=[{"instruction": "i", "output": "o"}])
    with pytest.raises(InputError) as e:
        read(bench)
    assert e.value.what == "a.json is described in several ways: asked, turned"
    assert e.value.hint == "set `subset: asked`"
    [row], _ = read(bench, subset="turned")
    assert said(row["messages"]) == [("user", "2"), ("assistant", "1")]
    [row], _ = read(bench, subset="other")
    assert said(row["messages"]) == [("user", "i"), ("assistant", "o")]


def test_unknown_columns_are_named(bench):
    folder(bench, {"mine": {"file_name": "a.json", "columns": {"promt": "x"}}}, a=[{"x": "1"}])
    with pytest.raises(InputError) as e:
        read(bench)
    assert e.value.what == "entry 'mine' names columns that aren't known: 'promt'"


def test_what_it_says_is_part_of_the_input(bench):
    config = IngestConfig(sources=[{"name": "s", "path": "d"}])
    folder(bench, {"mine": {"file_name": "a.json"}}, a=[{"instruction": "i", "output": "o"}])
    before = input_digests(config, Path(bench.root))
    folder(bench, {"mine": {"file_name": "a.json", "columns": {"prompt": "output", "response": "instruction"}}})
    assert before != input_digests(config, Path(bench.root)) and set(before) == {"s/a.json", "s/dataset_info.json"}

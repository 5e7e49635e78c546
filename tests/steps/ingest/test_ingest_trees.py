"""Message trees, nested and flat: the same tree gives the same conversations."""

import random
import re

import pytest

from steps.engines.formats.trees import Node, nested_nodes, paths


def say(node_id, role, text, rank=None, replies=(), **more):
    return {"message_id": node_id, "role": role, "text": text, "rank": rank, "replies": list(replies), **more}


TREE = say("r", "prompter", "Q", replies=[
    say("a", "assistant", "A", 1, [say("a1", "prompter", "A?", replies=[say("a2", "assistant", "A!")])]),
    say("b", "assistant", "B", 0, [say("b1", "prompter", "B?", None)]),
    say("c", "assistant", "C", None),
    say("d", "assistant", "D", 2, deleted=True),
])  # fmt: skip
BEST = [["Q", "B"]]
ALL = [["Q", "A", "A?", "A!"], ["Q", "B"], ["Q", "C"]]


def flat(tree):
    out, todo = [], [(tree, None)]
    while todo:
        node, parent = todo.pop()
        out.append({k: v for k, v in node.items() if k != "replies"} | {"parent_id": parent, "lang": "en"})
        todo += [(reply, node["message_id"]) for reply in node["replies"]]
    return out


def texts(got):
    return sorted([m["content"] for m in row["messages"]] for row in got.rows.iter_rows())


@pytest.mark.parametrize(("wanted", "truth"), [("best", BEST), ("all", ALL)])
@pytest.mark.parametrize("form", ["nested", "flat"])
def test_paths(bench, wanted, truth, form):
    lone = say("z", "prompter", "nobody answers")
    trees = [TREE, lone]
    rows = [{"message_tree_id": t["message_id"], "prompt": t} for t in trees]
    if form == "flat":
        rows = [row for t in trees for row in flat(t)]
        random.Random(3).shuffle(rows)
    bench.write("t.jsonl", rows)
    got = bench.ingest("t.jsonl", top={"tree_paths": wanted})
    assert texts(got) == truth
    report = got.report
    assert (report.rows_in, report.created, report.dropped) == (len(rows), len(truth), len(rows))
    assert list(report.counts["rows read per format"]) == ["oasst" if form == "nested" else "oasst_rows"]
    by_id = {line["record_id"]: line for line in bench.ledger(got)}
    for row in got.rows.iter_rows():
        assert re.fullmatch(r"tree:[0-9a-f]{16}(:[0-9a-f]{16})?", row["locator"]) and row["parents"]
        assert by_id[row["record_id"]]["verdict"] == "created"
        assert all(by_id[p]["verdict"] == "dropped" for p in row["parents"])
        assert len(row["parents"]) == (1 if form == "nested" else len(row["messages"]))


def test_flat_paths_don_t_depend_on_row_order(bench):
    rows = flat(TREE)
    found = set()
    for seed in range(5):
        random.Random(seed).shuffle(rows)
        bench.write("t.jsonl", rows)
        dataset = bench.ingest("t.jsonl", top={"tree_paths": "all"}).rows
        found.add(dataset.digest)
    assert len(found) == 1


def test_flat_rows_that_hang_in_the_air(bench):
    loose = [
        {"message_id": "o", "parent_id": "gone", "role": "assistant", "text": "x"},
        {"message_id": "p", "parent_id": "o", "role": "prompter", "text": "x"},
        {"message_id": "x", "parent_id": "y", "role": "assistant", "text": "x"},
        {"message_id": "y", "parent_id": "x", "role": "assistant", "text": "x"},
        {"message_id": "r", "parent_id": None, "role": "prompter", "text": "again"},
        {"message_id": "q", "parent_id": None, "role": "ghost", "text": "again"},
    ]
    bench.write("t.jsonl", flat(TREE) + loose)
    got = bench.ingest("t.jsonl", most=0.5)
    assert texts(got) == BEST
    reasons = sorted(r["reason"] for r in bench.rejects())
    assert reasons == [
        "duplicate_message_id", "missing_parent", "missing_parent", "parent_cycle", "parent_cycle", "unknown_role",
    ]  # fmt: skip
    assert list((bench.out).glob("tmp*")) == []


def test_a_very_deep_tree_needs_no_recursion():
    nodes = [
        Node(str(i), str(i - 1) if i else None, "assistant" if i % 2 else "user", f"t{i}", 0, False)
        for i in range(5000)
    ]
    [path] = paths(nodes, "best")
    assert len(path.nodes) == 5000
    tree = None
    for i in reversed(range(2000)):
        tree = say(str(i), "assistant" if i % 2 else "prompter", "t", replies=[tree] if tree else [])
    assert len(nested_nodes({"prompt": tree})) == 2000

"""Every line of a log is a request of a window or has a reason; files grow, rotate, break off, and lie."""

import gzip
import json
import random

import pyarrow.parquet as pq
import pytest
from support import logged

from steps.contracts.context import StageContext
from steps.contracts.errors import InputError, InputNotFoundError
from steps.contracts.tombstones import INPUT, Tombstone, Tombstones, value_of
from steps.logs import logs as module
from steps.logs.config import LogsConfig
from steps.logs.logs import input_digests, logs

NOW = logged.BEGAN + 1e6


def run(root, name="out", *, inputs=None, **settings):
    config = LogsConfig.model_validate({"paths": ["logs"], "window_requests": None, **settings})
    return logs(config, StageContext(root / name, root=root, inputs=inputs), now=NOW)


def facts(done):
    return pq.read_table(done.artifacts["log_facts"].path).to_pylist()


def dropped(done):
    return done.report.dropped_by


def write(root, lines, name="serve.jsonl"):
    return logged.write(root / "logs" / name, lines)


def test_a_request_becomes_a_row_and_what_is_no_text_stays_beside_it(tmp_path):
    asked = [{"role": "system", "content": "Be short."}, {"role": "user", "content": [{"type": "text", "text": "Hi"}]}]
    one = logged.line(3, "x", "Hello.", latency=0.25)
    one["request"]["messages"] = asked
    write(tmp_path, [one])
    done = run(tmp_path)
    (row,) = done.rows.iter_rows()
    assert [(m["role"], m["content"]) for m in row["messages"]] == [
        ("system", "Be short."), ("user", "Hi"), ("assistant", "Hello.")
    ]  # fmt: skip
    assert row["kind"] == "conversation" and row["source"] == "production/log" and row["meta"] == "{}"
    (fact,) = facts(done)
    assert fact["record_id"] == row["record_id"] and (fact["file"], fact["line"]) == ("logs/serve.jsonl", 1)
    assert (fact["latency"], fact["created"], fact["model"]) == (0.25, logged.BEGAN + 180, logged.DIGEST)
    assert (fact["prompt_tokens"], fact["completion_tokens"], fact["failed"], fact["cut"]) == (40, 20, False, False)


@pytest.mark.parametrize("form", ["body", "flat", "milliseconds", "iso", "in_the_response"])
def test_other_ways_to_log_say_the_same(tmp_path, form):
    one = logged.line(0, "Where?", "Here.", latency=1.5)
    if form == "body":
        one["request"], one["response"] = {"body": one["request"]}, {"status_code": 200, "body": one["response"]}
    elif form == "flat":
        one |= {**one.pop("request"), **one.pop("response")}
    elif form == "milliseconds":
        one |= {"created": logged.BEGAN * 1000, "latency_ms": 1500}
        del one["latency"]
    elif form == "iso":
        one["created"] = "2026-11-01T01:00:00+01:00"
    else:
        one["response"]["created"] = one.pop("created")
    write(tmp_path, [one])
    done = run(tmp_path)
    (fact,) = facts(done)
    assert (fact["created"], fact["latency"], fact["failed"]) == (logged.BEGAN, 1.5, False)
    assert [m["content"] for m in next(iter(done.rows.iter_rows()))["messages"]] == ["Where?", "Here."]


def test_failed_and_cut_answers_and_calls(tmp_path):
    failed = logged.line(0, "a", None)
    cut = logged.line(1, "b", "half")
    cut["response"]["choices"][0]["finish_reason"] = "length"
    call = logged.line(2, "c", None, response={"choices": [{"message": {"content": None, "tool_calls": [
        {"id": "call_1", "type": "function", "function": {"name": "look", "arguments": "{}"}}]}}]})  # fmt: skip
    del call["error"], call["status"]
    write(tmp_path, [failed, cut, call])
    done = run(tmp_path)
    assert [(f["failed"], f["cut"]) for f in facts(done)] == [(True, False), (False, True), (False, False)]
    rows = list(done.rows.iter_rows())
    assert [m["role"] for m in rows[0]["messages"]] == ["user"]
    assert "look" in rows[2]["messages"][1]["tool_calls"]


@pytest.mark.parametrize("answer", ["", " \n"])
def test_an_answer_that_says_nothing_is_one(tmp_path, answer):
    write(tmp_path, [logged.line(0, "a", answer), logged.line(1, "b", answer, correction="Better.")])
    rows = list(run(tmp_path).rows.iter_rows())
    assert rows[0]["messages"][-1]["role"] == "assistant" and rows[0]["messages"][-1]["content"] == ""
    assert (rows[1]["rejected"][0]["content"], rows[1]["chosen"][0]["content"]) == ("", "Better.")


def test_each_line_that_cannot_be_read_is_told_apart_by_place_and_never_by_text(tmp_path):
    good = logged.line(0, "a", "b")
    bad = {
        "not_utf8": b'{"a": "\xff"}',
        "not_json": '{"request": ' + logged.SECRET,
        "not_an_object": "[1, 2]",
        "no_request": json.dumps({**good, "request": {"messages": []}}),
        "no_response": json.dumps({k: v for k, v in good.items() if k != "response"}),
        "no_time": json.dumps({**good, "created": "yesterday"}),
        "bad_messages": json.dumps({**good, "request": {"messages": [{"role": "user", "content": 7}, 3]}}),
        "bad_feedback": json.dumps({"feedback_on": "chatcmpl-1"}),
        "too_long": json.dumps({"a": "x" * 3000}),
    }
    write(tmp_path, [good, *bad.values(), '{"b": 1e999, "c": NaN}'])
    (tmp_path / "logs" / "serve.jsonl").open("ab").write(b'{"half": "a li')
    done = run(tmp_path, max_bad_share=1.0, max_line_bytes=2000)
    expected = {**dict.fromkeys(bad, 1), "not_json": 2, "unfinished": 1}
    assert dropped(done) == dict(sorted(expected.items()))
    assert (done.report.rows_in, done.report.kept) == (12, 1)
    rejects = [json.loads(line) for line in done.artifacts["log_rejects"].path.read_text().splitlines()]
    assert [(r["line"], r["reason"]) for r in rejects] == [
        (2, "not_utf8"), (3, "not_json"), (4, "not_an_object"), (5, "no_request"), (6, "no_response"), (7, "no_time"),
        (8, "bad_messages"), (9, "bad_feedback"), (10, "too_long"), (11, "not_json"), (12, "unfinished"),
    ]  # fmt: skip
    told = done.artifacts["log_rejects"].path.read_text() + done.report.model_dump_json() + str(done.ledger.read())
    assert logged.SECRET not in told and not done.artifacts["log_rejects"].raw
    with pytest.raises(InputError, match="11 of 12 lines can't be read"):
        run(tmp_path, "again", max_line_bytes=2000)


@pytest.mark.parametrize("deep", ['{"request": ' + "[" * 50_000, '{"created": ' + "9" * 6000 + "}"])
def test_hostile_lines_end_no_run(tmp_path, deep):
    write(tmp_path, [logged.line(0, "a", "b"), deep])
    assert sum(dropped(run(tmp_path)).values()) == 1


def test_a_rotated_and_a_packed_copy_are_one_request_and_ids_stay(tmp_path):
    lines = logged.orders(6)
    write(tmp_path, lines[:3], "serve.jsonl.1")
    write(tmp_path, lines[2:], "serve.jsonl")
    before = {f["record_id"]: f["sha256"] for f in facts(run(tmp_path))}
    assert len(before) == 6 and dropped(run(tmp_path, "b")) == {"duplicate_line": 1}
    packed = tmp_path / "logs" / "serve.jsonl.2.gz"
    packed.write_bytes(gzip.compress((tmp_path / "logs" / "serve.jsonl.1").read_bytes()))
    (tmp_path / "logs" / "serve.jsonl.1").unlink()
    assert {f["record_id"]: f["sha256"] for f in facts(run(tmp_path, "c"))} == before


def test_a_damaged_or_swollen_archive_gives_what_it_had(tmp_path):
    write(tmp_path, [logged.line(0, "a", "b")])
    whole = gzip.compress(b"".join(json.dumps(line).encode() + b"\n" for line in logged.orders(200)))
    (tmp_path / "logs" / "b.jsonl.gz").write_bytes(whole[: len(whole) // 2])
    done = run(tmp_path)
    assert dropped(done)["damaged_file"] == 1 and 1 < done.report.kept < 201
    (tmp_path / "logs" / "b.jsonl.gz").write_bytes(gzip.compress(b"\n".join([b"[1]" + b" " * 1000] * 60_000)))
    done = run(tmp_path, "b", max_bad_share=1.0)
    assert dropped(done)["unpacks_too_far"] == 1


def test_a_log_that_grows_is_read_as_far_as_it_was_digested(tmp_path):
    path = write(tmp_path, logged.orders(5))
    config = LogsConfig(paths=("logs",))
    digests = input_digests(config, tmp_path)
    with path.open("a") as more:
        more.write(json.dumps(logged.line(9, "later", "x")) + "\n")
    assert run(tmp_path, inputs=digests).report.kept == 5
    path.write_text(path.read_text().replace("chatcmpl", "chatcmp1"))
    with pytest.raises(InputError, match="moved or cut off"):
        run(tmp_path, "b", inputs=digests)
    path.unlink()
    with pytest.raises(InputNotFoundError, match="no log here"):
        run(tmp_path, "c", inputs=digests)


def test_windows_by_count_and_by_hours_and_what_is_older(tmp_path):
    write(tmp_path, [logged.line(n, f"q{n}", "a", created=logged.BEGAN + 1800 * n) for n in range(10)])
    by_count = run(tmp_path, window_requests=4, windows=2)
    assert [f["window"] for f in facts(by_count)] == [1] * 4 + [0] * 4 and dropped(by_count) == {"outside_windows": 2}
    by_hours = run(tmp_path, "b", window_hours=1, windows=3)
    assert [f["window"] for f in facts(by_hours)] == [2, 2, 1, 1, 0, 0]


@pytest.mark.parametrize("windows", [{"window_requests": 7, "windows": 2}, {"window_hours": 0.1, "windows": 3}])
def test_what_is_let_go_of_on_the_way_changes_nothing(tmp_path, monkeypatch, windows):
    lines = [*logged.orders(60), *({"feedback_on": f"chatcmpl-{n:06d}", "feedback": "accepted"} for n in (2, 58))]
    random.Random(3).shuffle(lines)
    write(tmp_path, lines)
    whole = run(tmp_path, **windows)
    monkeypatch.setattr(module, "_KEPT", 5)
    sizes = []
    forget = module._Seen.forget_old
    monkeypatch.setattr(module._Seen, "forget_old", lambda s, c: (forget(s, c), sizes.append(len(s.entries)))[0])
    pruned = run(tmp_path, "b", **windows)
    assert len(sizes) == 61 and max(sizes) < 45, "old ones were let go of on the way"
    assert facts(whole) == facts(pruned) and dropped(whole) == dropped(pruned)
    assert dropped(whole)["outside_windows"] > 20 and dropped(whole)["feedback"] == 2


def test_a_clock_that_is_wrong_moves_no_window(tmp_path):
    write(tmp_path, [*logged.orders(3), logged.line(99, "later", "x", created=NOW + 1e7)])
    done = run(tmp_path, window_hours=1)
    assert dropped(done) == {"in_the_future": 1} and done.report.kept == 3


def test_feedback_with_the_request_and_on_a_line_of_its_own(tmp_path):
    lines = logged.orders(5)
    lines[0] |= {"feedback": "accepted", "consent": "given"}
    lines[1] |= {"feedback": {"verdict": "rejected", "correction": "Better.", "consent": "given"}}
    lines[3]["consent"] = "given"
    said = [
        {"feedback_on": "chatcmpl-000002", "correction": "Right.", "created": 5},
        {"feedback_on": "chatcmpl-000002", "correction": "Older.", "created": 4},
        {"feedback_on": "chatcmpl-000003", "feedback": "accepted"},
        {"feedback_on": "chatcmpl-777777", "feedback": "accepted"},
        {"feedback_on": "chatcmpl-000004", "feedback": "thumbs up"},
    ]
    write(tmp_path, [*lines, *said])
    done = run(tmp_path)
    found = [(f["feedback"], f["corrected"], f["consent"]) for f in facts(done)]
    assert found == [("accepted", False, "given"), ("rejected", True, "given"), (None, True, ""),
                     ("accepted", False, "given"), (None, False, "")]  # fmt: skip
    assert dropped(done) == {"feedback": 4, "feedback_on_nothing": 1}
    rows = list(done.rows.iter_rows())
    assert [r["kind"] for r in rows] == ["conversation", "preference", "preference", "conversation", "conversation"]
    assert rows[2]["chosen"][0]["content"] == "Right." and rows[2]["rejected"][0]["content"].startswith("{")
    assert any("neither of the known words" in n for n in done.report.notes)


def test_what_was_erased_does_not_come_back(tmp_path):
    lines = [
        *logged.orders(3),
        logged.line(3, f"I am {logged.SECRET}", "b"),
        {"feedback_on": "x", "correction": logged.SECRET},
    ]
    write(tmp_path, lines)
    first = facts(run(tmp_path))
    salt = "ab" * 16
    gone = Tombstone(
        erasure="e1", erased="2026-11-01", records=(first[0]["record_id"],), salt=salt,
        values=(value_of(logged.SECRET, salt),),
    )  # fmt: skip
    config = LogsConfig(paths=("logs",), window_requests=None)
    digests = {**input_digests(config, tmp_path), INPUT: "of the list"}
    ctx = StageContext(tmp_path / "b", root=tmp_path, inputs=digests, tombstones=Tombstones(each=(gone,)))
    done = logs(config, ctx, now=NOW)
    assert dropped(done) == {"erased": 3} and done.report.kept == 2
    assert set(done.ledger.read()["record_id"].to_pylist()) == {"e1"}


def test_what_whoever_asks_could_have_sent_is_no_feedback(tmp_path):
    flat = logged.line(0, "a", "b")
    flat |= {
        **flat.pop("request"),
        **flat.pop("response"),
        "feedback": "accepted",
        "consent": "given",
        "correction": "x",
    }
    spoof = {**flat, "id": "other", "feedback_on": "chatcmpl-000001"}
    write(tmp_path, [flat, spoof, logged.line(1, "c", "d")])
    done = run(tmp_path)
    assert [(f["feedback"], f["corrected"], f["consent"]) for f in facts(done)] == [(None, False, "")] * 3


def test_any_order_of_lines_and_files_gives_the_same(tmp_path):
    lines = [*logged.orders(30), {"feedback_on": "chatcmpl-000004", "feedback": "accepted", "consent": "given"}]
    write(tmp_path / "a", lines)
    random.Random(1).shuffle(lines)
    write(tmp_path / "b", lines[:11], "z.jsonl")
    write(tmp_path / "b", lines[11:], "a.jsonl")
    first, second = (run(tmp_path / side, window_requests=7, windows=3) for side in ("a", "b"))
    assert first.rows.digest == second.rows.digest
    same = [[{k: v for k, v in f.items() if k not in ("file", "line")} for f in facts(d)] for d in (first, second)]
    assert same[0] == same[1] and dropped(first) == dropped(second)
    assert first.ledger.read().equals(second.ledger.read())


def test_no_log_and_a_log_without_a_request(tmp_path):
    with pytest.raises(InputNotFoundError, match="no log here"):
        run(tmp_path)
    write(tmp_path, [{"feedback_on": "x", "feedback": "accepted"}])
    with pytest.raises(InputError, match="no request in 1 lines"):
        run(tmp_path)
    write(tmp_path, [])
    with pytest.raises(InputError, match="no request in 0 lines"):
        run(tmp_path)

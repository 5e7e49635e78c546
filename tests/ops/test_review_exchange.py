"""Rows to Argilla and Label Studio and back: what most annotators said, and nothing that isn't this run's."""

import json
import uuid
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest
import reviewed_run
from support.terminal import ROOT
from typer.testing import CliRunner

from ops.main import app
from ops.review.exchange.votes import Vote, merged
from steps.contracts.dataset import Dataset
from steps.judge.gold import read_gold
from steps.review.config import ReviewConfig
from steps.review.decisions import read
from steps.review.review import review


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("ASSAY_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("ASSAY_ROOT", str(ROOT))
    return reviewed_run.build(ROOT, tmp_path / "work")


def invoke(*arguments: str) -> Any:
    return CliRunner().invoke(app, ["review", *arguments])


def exported(folder: Path, program: str) -> list[dict[str, Any]]:
    done = invoke("export", "--to", program, "--out", str(folder))
    assert done.exit_code == 0, done.output
    return json.loads((folder / ("records.json" if program == "argilla" else "tasks.json")).read_text())


def answered(task: dict[str, Any], *said: tuple[Any, str, dict[str, Any]]) -> dict[str, Any]:
    """The task as Label Studio exports it, with an annotation for each (annotator, decision, more)."""
    annotations = []
    for who, decision, more in said:
        result = [{"from_name": "decision", "to_name": "row", "type": "choices", "value": {"choices": [decision]}}]
        if "rating" in more:
            result.append({"from_name": "rating", "type": "rating", "value": {"rating": more["rating"]}})
        for name in ("content", "why"):
            if name in more:
                result.append({"from_name": name, "type": "textarea", "value": {"text": [more[name]]}})
        annotations.append({"id": 1, "completed_by": who, "was_cancelled": more.get("gone", False), "result": result})
    return {"id": 7, **task, "annotations": annotations}


def written(folder: Path, value: Any) -> str:
    path = folder / "export.json"
    path.write_text(json.dumps(value))
    return str(path)


def edit_of(content: str, text: str) -> str:
    value = json.loads(content)
    value["messages"][0]["content"] = text
    return json.dumps(value)


def content_of(task: dict[str, Any]) -> str:
    return task["predictions"][0]["result"][0]["value"]["text"][0]


def decisions(run: Any) -> list[Any]:
    found = invoke("--json")
    path = Path(json.loads(found.output)["decisions"])
    return read(path) if path.is_file() else []


def test_most_annotators_decide_and_disagreements_are_set_apart(run: Any, tmp_path: Path) -> None:
    one, two, three, four = exported(tmp_path / "out", "label-studio")
    file = written(tmp_path, [
        answered(one, (1, "drop", {"rating": 1}), (2, "drop", {"rating": 2, "why": "an\x1bx"}), (3, "accept", {})),
        answered(two, (1, "accept", {}), (2, "drop", {})),
        answered(three, ({"id": 4, "email": "eve@example.org"}, "accept", {}), (2, "drop", {"gone": True})),
        answered(four, (1, "edit", {"content": edit_of(content_of(four), "Where is my parcel?")})),
    ])  # fmt: skip
    gold = tmp_path / "gold.jsonl"
    done = invoke("import", file, "--gold", str(gold), "--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.output)
    assert (found["taken"], found["known"], found["labels"]) == (3, 0, 2)
    (apart,) = found["set_apart"]
    assert apart["why"] == "annotators disagree: accept 1, drop 1" and apart["record_id"] == two["data"]["record_id"]
    by_id = {d.record_id: d for d in decisions(run)}
    dropped, accepted, edited = (by_id[t["data"]["record_id"]] for t in (one, three, four))
    assert (dropped.choice, dropped.by, dropped.why) == ("drop", "1, 2 (2 of 3)", "an�x")
    assert (accepted.choice, accepted.by) == ("accept", "eve@example.org")
    assert edited.choice == "edit" and edited.content["messages"][0]["content"] == "Where is my parcel?"
    ratings = read_gold(gold, lambda ids: {})
    assert [s.score for s in ratings.rows[0].said.values()] == [1.0, 2.0]
    again = json.loads(invoke("import", file, "--gold", str(gold), "--json").output)
    assert (again["taken"], again["known"], again["labels"]) == (0, 3, 0)
    anew = json.loads(invoke("import", file, "--again", "--json").output)
    assert (anew["taken"], anew["known"]) == (0, 3) and len(decisions(run)) == 3
    left = json.loads(invoke("--json").output)
    assert [r["record_id"] for r in left["rows"]] == [two["data"]["record_id"]]


def test_an_imported_edit_is_applied_as_one_of_review(run: Any, tmp_path: Path) -> None:
    tasks = exported(tmp_path / "out", "label-studio")
    file = written(tmp_path, [answered(tasks[0], (1, "edit", {"content": edit_of(content_of(tasks[0]), "Hello?")}))])
    assert invoke("import", file).exit_code == 0
    path = Path(json.loads(invoke("--json").output)["decisions"])
    from steps.contracts.context import StageContext

    store = {a.name: Path(a.uri) for a in run.artifacts}
    shards = lambda digest: run.store / "shards" / f"{digest}.parquet"  # noqa: E731
    apart = Dataset.open(store["screen_quarantined"], shards)
    rest = Dataset.open(store["screened"], shards)
    ctx = StageContext(tmp_path / "reviewed", root=Path("/"), quarantined=[apart])
    after = review(rest, ReviewConfig(decisions=(str(path),)), ctx)
    assert "Hello?" in [r["messages"][0]["content"] for r in after.rows.iter_rows()]


def test_json_min_and_argilla_say_the_same(run: Any, tmp_path: Path) -> None:
    one, two, *_ = exported(tmp_path / "ls", "label-studio")
    flat = [
        {**one["data"], "id": 1, "decision": "drop", "annotator": 3, "annotation_id": 9, "updated_at": "2026"},
        {**two["data"], "id": 2, "decision": {"choices": ["accept"]}, "rating": 4, "annotator": 3, "annotation_id": 8},
    ]
    assert json.loads(invoke("import", written(tmp_path, flat), "--json").output)["taken"] == 2
    records = exported(tmp_path / "arg", "argilla")
    assert len(records) == 2 and records[0]["id"] == records[0]["metadata"]["record_id"]
    third, fourth = records
    suggested = third["suggestions"]["content"]["value"]
    third["responses"] = {
        "decision": [{"value": "edit", "user_id": "u1"}, {"value": "drop", "user_id": "u2", "status": "draft"}],
        "content": [{"value": edit_of(suggested, "Is it here?"), "user_id": "u1"}],
    }
    # Chosen as an edit, and left as it was.
    fourth["responses"] = {
        "decision": [{"value": "edit", "user_id": "u1"}],
        "content": [{"value": fourth["suggestions"]["content"]["value"], "user_id": "u1"}],
    }
    done = json.loads(invoke("import", written(tmp_path, [third, fourth]), "--json").output)
    assert done["taken"] == 2 and sorted(d.choice for d in decisions(run)) == ["accept", "accept", "drop", "edit"]


@pytest.mark.slow
def test_what_isnt_of_this_run_is_refused_whole(run: Any, tmp_path: Path) -> None:
    one, two, *_ = exported(tmp_path / "out", "label-studio")
    good = answered(one, (1, "drop", {}))

    def changed(**data: str) -> dict[str, Any]:
        return answered({**two, "data": {**two["data"], **data}}, (1, "accept", {}))

    refused = {
        "is of run 'other'": changed(run="other"),
        "no row set aside has the id": changed(record_id="f" * 32),
        "another content now": changed(content_id="f" * 32),
        "decision is one of": answered(two, (1, "approve", {})),
        "rating is 1 to 5": answered(two, (1, "drop", {"rating": 9})),
        "an edit without content": answered(two, (1, "edit", {})),
        "isn't JSON": answered(two, (1, "edit", {"content": "{nope"})),
        "without the run, record_id": {"id": 1, "data": {}, "annotations": [good["annotations"][0]]},
        "neither a record of Argilla": {"text": "hm"},
        "several values": {**answered(two), "annotations": [
            {"completed_by": 1, "result": [{"from_name": "decision", "value": {"choices": ["drop", "accept"]}}]}]},
    }  # fmt: skip
    for said, item in refused.items():
        done = invoke("import", written(tmp_path, [good, item]))
        assert done.exit_code == 3 and said in done.output + done.stderr, (said, done.output + done.stderr)
    assert decisions(run) == []
    (tmp_path / "export.json").write_bytes(b"\xff\xfe")
    assert invoke("import", str(tmp_path / "export.json")).exit_code == 3
    assert invoke("import", written(tmp_path, {"a": 1})).exit_code == 3


def test_an_edit_that_is_no_row_or_still_an_attack_is_set_apart(run: Any, tmp_path: Path) -> None:
    one, two, *_ = exported(tmp_path / "out", "label-studio")
    system = json.dumps({"messages": [{"role": "root", "content": "x"}]})
    file = written(tmp_path, [answered(one, (1, "edit", {"content": system})),
                              answered(two, (1, "edit", {"content": json.dumps({"text": "other form"})}))])  # fmt: skip
    done = json.loads(invoke("import", file, "--json").output)
    assert done["taken"] == 0 and decisions(run) == []
    assert ["role must be one of" in done["set_apart"][i]["why"] or "not the content" in done["set_apart"][i]["why"]
            for i in (0, 1)] == [True, True]  # fmt: skip


def test_rows_that_were_never_scrubbed_stay_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASSAY_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("ASSAY_ROOT", str(ROOT))
    reviewed_run.build(ROOT, tmp_path / "work", scrubbed=False)
    done = invoke("export", "--out", str(tmp_path / "out"))
    assert done.exit_code == 3 and "--raw" in done.output + done.stderr and not (tmp_path / "out").exists()


def test_hostile_text_is_harmless_and_the_interface_is_xml(run: Any, tmp_path: Path) -> None:
    tasks = exported(tmp_path / "out", "label-studio")
    text = (tmp_path / "out" / "tasks.json").read_text()
    assert "\\u001b" not in "".join(t["data"]["text"] for t in tasks) and "\x1b" not in text and "\u202e" not in text
    root = ET.fromstring((tmp_path / "out" / "config.xml").read_text())
    names = {e.get("name") for e in root.iter() if e.get("name")}
    assert names == {"row", "decision", "rating", "content", "why"}
    values = {e.get("value", "").removeprefix("$") for e in root.iter() if e.get("value", "").startswith("$")}
    assert values <= set(tasks[0]["data"])


def test_majority_and_least() -> None:
    def vote(by: str, choice: str, content: Any = None) -> Vote:
        return Vote("r", "x", "c", by, choice, content)

    (one,) = merged([vote("a", "drop"), vote("a", "accept")], least=1)
    assert (one.choice, one.by) == ("accept", "a")
    (few,) = merged([vote("a", "drop")], least=2)
    assert few.choice == "" and few.why == "1 of 2 annotators decided (drop 1)"
    (split,) = merged([vote("a", "edit", {"t": 1}), vote("b", "edit", {"t": 2}), vote("c", "drop")], least=1)
    assert split.why == "annotators edited it in 2 ways"
    (three,) = merged([vote("a", "edit"), vote("b", "drop"), vote("c", "accept")], least=1)
    assert three.why == "annotators disagree: accept 1, edit 1, drop 1"
    assert merged([Vote("r", "x", "c", "a", "", rating=3)], least=1) == []


def test_the_programs_read_what_is_written(run: Any, tmp_path: Path) -> None:
    """Their own readers, where they are installed: argilla 2.8.0 and label-studio-sdk 2.1.2 took it."""
    argilla_io = pytest.importorskip("argilla.records._io._json")
    interface = pytest.importorskip("label_studio_sdk.label_interface")
    exported(tmp_path / "arg", "argilla")
    records = argilla_io.JsonIO._records_from_json(tmp_path / "arg" / "records.json")
    records[0].responses.add(pytest.importorskip("argilla").Response("decision", "drop", user_id=uuid.uuid4()))
    back = [r.to_dict() for r in records]
    assert json.loads(invoke("import", written(tmp_path, back), "--json").output)["taken"] == 1
    tasks = exported(tmp_path / "ls", "label-studio")
    label = interface.LabelInterface((tmp_path / "ls" / "config.xml").read_text())
    assert all(label.validate_task({"data": task["data"]}) for task in tasks)
    assert all(label.validate_prediction(p) for task in tasks for p in task["predictions"])

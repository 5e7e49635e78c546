"""Two runs side by side: equal bit by bit, equal but for times, different, and why."""

import json
from pathlib import Path

import pytest
from support import sample_run

from materializers.artifacts import Artifacts
from ops.repro.code import lay_beside
from ops.repro.compare import Pair, compare, timeless
from ops.repro.inputs import check_inputs
from ops.repro.reasons import Surroundings, explained, surroundings
from pipelines.config import RunConfig
from pipelines.input_digests import Inputs
from steps.contracts.digests import file_digest
from steps.contracts.errors import InputError
from steps.contracts.runs import ArtifactRecord, RunRecord

NOTHING = Surroundings((), "", ())


def store(folder: Path, *artifacts: ArtifactRecord) -> Artifacts:
    return Artifacts(sample_run.record().model_copy(update={"artifacts": artifacts}), folder / "cache")


def value(folder: Path, step: str, name: str, kind: str, said: dict) -> ArtifactRecord:
    place = folder / step / name
    place.mkdir(parents=True)
    file = place / ("report.json" if kind == "stage_report" else "value.json")
    file.write_text(json.dumps(said))
    return ArtifactRecord(step=step, name=name, type=kind, uri=str(place), sha256=file_digest(file))  # type: ignore[arg-type]


def dataset(step: str, name: str, digest: str, sha256: str) -> ArtifactRecord:
    return ArtifactRecord(step=step, name=name, type="dataset", uri="/none", digest=digest, sha256=sha256)


def side(folder: Path, seconds: float, score: float, digest: str, shards: str) -> Artifacts:
    folder.mkdir()
    spare = ArtifactRecord(step="judge_step", name="judge_row_cache", type="row_cache", uri="/none", digest=folder.name)
    return store(
        folder,
        dataset("ingest_step", "ingested", "1" * 64, "2" * 64),
        dataset("dedup_step", "deduped", "3" * 64, shards),
        dataset("split_step", "split", digest, digest),
        value(folder, "split_step", "split_report", "stage_report", {"kept": 3, "seconds": seconds}),
        value(folder, "evaluate_tuned_step", "evaluation_tuned", "eval_report", {"tasks": [{"score": score}]}),
        value(folder, "register_step", "registration", "registration", {"version": folder.name}),
        spare,
        spare.model_copy(update={"name": f"only_{folder.name}", "type": "ledger"}),
    )


def test_every_way_in_which_two_artifacts_are_alike_or_not(tmp_path):
    then, now = side(tmp_path / "a", 1.0, 0.5, "4" * 64, "6" * 64), side(tmp_path / "b", 2.0, 0.25, "7" * 64, "8" * 64)
    pairs = compare(then, now)
    assert {p.name: p.same for p in pairs} == {
        "ingested": "bits", "deduped": "content", "split": "differs", "split_report": "content",
        "judge_row_cache": "spare", "only_a": "gone", "only_b": "new", "evaluation_tuned": "differs",
        "registration": "place",
    }  # fmt: skip
    assert [p.stage for p in pairs] == [
        "ingest", "dedup", "split", "split", "judge", "judge", "judge", "evaluate_tuned", "register"]  # fmt: skip
    told = {p.name: p.note for p in pairs if p.note}
    assert told["deduped"] == "the same rows, in other files" and told["evaluation_tuned"] == "tasks"
    assert {p.name for p in pairs if not p.fine} == {"split", "only_a", "only_b", "evaluation_tuned"}


def test_a_value_that_cant_be_read_differs(tmp_path):
    there = value(tmp_path, "gate_step", "decision", "decision", {"promote": True})
    gone = there.model_copy(update={"uri": str(tmp_path / "gone"), "sha256": "0" * 64})
    (pair,) = compare(store(tmp_path, gone), store(tmp_path, there))
    assert pair.same == "differs" and pair.note.startswith("can't be compared: ") and "gone" in pair.note


def test_times_are_no_difference():
    said = {"seconds": 1, "rows": [{"cpu_seconds": 2, "n": 3}], "rows_per_second": 4}
    assert timeless(said) == {"rows": [{"n": 3}]}
    table = [
        ["loss", 0.5],
        ["tokens per second, without padding", 176.8],
        ["seconds of training", 27.0],
        ["available", 9],
    ]
    assert timeless({"rows": table}) == {"rows": [["loss", 0.5]]}


def differing(*steps: str) -> list[Pair]:
    return [Pair(step, "x", "dataset", "differs", "1", "2") for step in steps]


def config(**more: object) -> RunConfig:
    source = {"name": "a", "path": "a.jsonl"}
    return RunConfig.model_validate(
        {"name": "x", "pipeline": "curate", "ingest": {"sources": [source]}, "scrub": {"demo_key": True}, **more}
    )


def test_what_explains_a_difference():
    around = Surroundings((("numpy", "1.0", "2.0"),), "as the run recorded", ("another stack: aws then, local now",))
    fine = Pair("ingest_step", "x", "dataset", "bits", "1", "1")
    why = explained([fine, *differing("dedup_step", "split_step")], config(), around)
    assert why == {
        ("dedup_step", "x"): [
            "another stack: aws then, local now", "other library versions (as the run recorded): numpy 1.0 → 2.0"],
        ("split_step", "x"): ["what it read differs since dedup"],
    }  # fmt: skip
    assert explained(differing("dedup_step"), config(), NOTHING) == {("dedup_step", "x"): []}


def test_a_stage_that_asks_a_server_says_that_it_may_differ():
    judged = config(judge={"backend": "llm", "endpoint": {"base_url": "http://127.0.0.1:9/v1", "model": "m"}})
    (why,) = explained(differing("judge_step"), judged, NOTHING).values()
    assert why == ["the model behind its endpoint may judge otherwise"]
    (why,) = explained(differing("judge_step"), config(), NOTHING).values()
    assert why == []


def record(**more: object) -> RunRecord:
    return sample_run.record().model_copy(update=more)


CHANGED = {"commit": "a" * 40 + "+changes"}


@pytest.mark.parametrize(
    ("then", "now", "here", "expected"),
    [
        ({"commit": "a" * 40}, {"commit": "a" * 40}, False, ()),
        (CHANGED, {"commit": "a" * 40}, False, ("the code had changes that no commit holds",)),
        ({"commit": "a" * 40}, {"commit": "b" * 40}, True, (f"another code: {'a' * 40} then, {'b' * 40} here",)),
        ({"commit": None}, {}, True, ("no commit was recorded: its code may have been another",)),
        ({"stack": "aws"}, {"stack": "local"}, False, ("another stack: aws then, local now",)),
    ],
)
def test_what_is_not_as_it_was(tmp_path, then, now, here, expected):
    around = surroundings(record(**then), record(**now), tmp_path / "none", here=here, erased=False)
    assert around.other == expected


def test_installed_versions_are_held_against_the_lock(tmp_path):
    lock = tmp_path / "constraints.txt"
    lock.write_text("# pins\nnumpy==0.0.1  # old\nnot-installed-anywhere==3\n\n-r other\n")
    around = surroundings(record(), record(), lock, here=False, erased=True)
    ((name, then, now),) = around.packages
    assert (name, then) == ("numpy", "0.0.1") and now is not None
    assert next(around.reasons()) == "rows were erased since"


def test_everything_that_changed_since_is_named(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"prompt": "1", "completion": "2"}\n')
    same = Inputs(digests={"ingest": {"a/a.jsonl": file_digest(tmp_path / "a.jsonl")}})
    unscrubbed = config(skip=["scrub"], scrub=None)
    assert check_inputs("run", same, tmp_path, unscrubbed) is False
    other = Inputs(digests={"ingest": {"a/a.jsonl": "0" * 64, "a/b.jsonl": "1" * 64}}, key_id="k")
    with pytest.raises(InputError) as raised:
        check_inputs("run", other, tmp_path, unscrubbed)
    said = str(raised.value)
    assert "ingest: a/a.jsonl differs: 0000000000000000 then, " in said
    assert "ingest: a/b.jsonl is gone" in said and "scrub: the pseudonym key" in said
    (tmp_path / "a.jsonl").unlink()
    with pytest.raises(InputError, match=r"isn't there any more"):
        check_inputs("run", same, tmp_path, unscrubbed)


def test_data_beside_the_checkout_are_linked_and_those_of_the_commit_kept(tmp_path):
    root, code = tmp_path / "root", tmp_path / "code"
    for place in ("data/x/1.jsonl", "kept.jsonl"):
        (root / place).parent.mkdir(parents=True, exist_ok=True)
        (root / place).write_text("here")
    code.mkdir()
    (code / "kept.jsonl").write_text("committed")
    lay_beside(["data/x/*.jsonl", "kept.jsonl", "../out", "/abs", "s3://b/c", "owner/none"], root, code)
    assert (code / "data/x/1.jsonl").read_text() == "here" and (code / "kept.jsonl").read_text() == "committed"
    assert sorted(p.name for p in code.iterdir()) == ["data", "kept.jsonl"]

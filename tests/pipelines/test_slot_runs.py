"""Runs for slots, and which dataset `latest` is, on a real store."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from ops.run import run
from ops.run_index import find_run, known_runs, report_path, save_run
from ops.versions import trained_on
from pipelines.dataset import digest_of, find_dataset
from steps.contracts.errors import InputNotFoundError
from steps.zenml_runtime.state import state_folder

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.slow


def config(folder: Path, name: str, skip: str = "dedup, scrub, screen, judge") -> Path:
    file = folder / f"{name}.yaml"
    file.write_text(
        f"name: {name}\npipeline: curate\nskip: [{skip}]\n"
        f"ingest: {{sources: [{{name: orders, path: '{folder}/{{slot:%Y-%m-%d}}.jsonl'}}]}}\n"
    )
    return file


def rows(folder: Path, day: str, count: int) -> None:
    lines = [{"prompt": f"Where is order {day} {i}?", "completion": f"At {i}."} for i in range(count)]
    (folder / f"{day}.jsonl").write_text("\n".join(map(json.dumps, lines)))


def call_failed(record) -> None:
    """Let ZenML's store and the index say that the run failed after its curation."""
    (database,) = state_folder(ROOT).glob("zenml/local_stores/*/zenml.db")
    with closing(sqlite3.connect(database)) as db, db:
        assert db.execute("UPDATE pipeline_run SET status = 'failed' WHERE name = ?", (record.name,)).rowcount == 1
    save_run(ROOT, record.model_copy(update={"status": "failed"}), "")


def test_a_run_for_a_slot_and_the_newest_completed_dataset(tmp_path, capsys):
    for day, count in (("2026-03-01", 10), ("2026-03-02", 20)):
        rows(tmp_path, day, count)
    mine, other = config(tmp_path, "slotted"), config(tmp_path, "slotted-other")
    assert run(mine, slot="2026-03-01T02:30+01:00", schedule="nightly", json_output=True, root=ROOT) == 0
    first = find_run(ROOT, "slotted")
    assert (first.slot, first.schedule) == ("2026-03-01T02:30+01:00", "nightly")
    assert "2026-03-01T02:30+01:00 of nightly" in report_path(ROOT, first.name).read_text()

    # The same slot at another time: the same work, all of it in the cache; with --if-changed not even that.
    assert run(mine, slot="2026-03-01T23:59+01:00", json_output=True, root=ROOT) == 0
    again = find_run(ROOT, "slotted")
    assert again.name != first.name and again.read_digest == first.read_digest and again.schedule is None
    assert {"ingest_step", "split_step", "leakcheck_step"} <= set(again.cached_steps)
    before = len(known_runs(ROOT))
    capsys.readouterr()
    assert run(mine, slot="2026-03-01T12:00+01:00", if_changed=True, json_output=True, root=ROOT) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["status"] == "skipped" and said["since"] == again.name and len(known_runs(ROOT)) == before

    # Another day is other data, another config's is never meant, and a run that failed later doesn't count.
    assert run(mine, slot="2026-03-02T02:30+01:00", if_changed=True, json_output=True, root=ROOT) == 0
    second = find_run(ROOT, "slotted")
    assert second.read_digest != first.read_digest
    assert run(other, slot="2026-03-01T02:30+01:00", json_output=True, root=ROOT) == 0
    ours = [r for r in known_runs(ROOT) if r.config_name.startswith("slotted")]
    made = {r.name: [a for a in r.of_type("dataset") if a.name == "curated"][-1].digest for r in ours}
    for meant, config_name in (("latest", "slotted"), ("slotted", "anything")):
        assert digest_of(find_dataset(meant, config_name).version) == made[second.name]
        assert trained_on(ROOT, meant, config_name).dataset.digest == made[second.name]
    call_failed(second)
    assert digest_of(find_dataset("latest", "slotted").version) == made[again.name] == made[first.name]
    assert trained_on(ROOT, "latest", "slotted").dataset.digest == made[first.name]
    assert digest_of(find_dataset(second.name, "slotted").version) == made[second.name], "by its name it is still there"
    for find in (find_dataset, lambda *wanted: trained_on(ROOT, *wanted)):
        with pytest.raises(InputNotFoundError, match="no completed run of nobodys has made a dataset yet"):
            find("latest", "nobodys")

    # Curation ends with whichever stage is its last.
    short = config(tmp_path, "slotted-short", "dedup, scrub, screen, judge, leakcheck")
    assert run(short, slot="2026-03-01T02:30+01:00", json_output=True, root=ROOT) == 0
    ended = find_run(ROOT, "slotted-short")
    for name in ("slotted-short", ended.name, ended.of_type("dataset")[-1].digest):
        assert digest_of(find_dataset(name, "anything").version) == ended.of_type("dataset")[-1].digest

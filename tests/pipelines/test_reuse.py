"""Two batches through ZenML: the second run computes what is new, and finds what a run over everything finds."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from support.recorded import found, notes

from ops.run import run
from ops.run_index import artifacts_of, find_run
from steps.contracts.errors import ConfigError, InputNotFoundError, IntegrityError
from steps.contracts.runs import RunRecord

ROOT = Path(__file__).resolve().parents[2]
CITIES = ("Lund", "Turin", "Ghent", "Porto", "Graz", "Brno", "Split", "Vigo", "Riga", "Cork")
GOODS = ("lamps", "chairs", "kettles", "clocks", "mirrors", "baskets")


def write_batch(path: Path, first: int, cities: tuple[str, ...]) -> None:
    rows = []
    for i, city in enumerate(cities):
        for j, goods in enumerate(GOODS):
            number = first + 100 * i + 7 * j
            prompt = (
                f"Depot {city} asks for {number} {goods} on lorry {j}; reply to depot{number}@freight-mail.com today."
            )
            rows.append({"prompt": prompt, "completion": f"Sent: {number} {goods} to {city} with lorry {j}."})
    path.write_text("".join(json.dumps(r) + "\n" for r in rows))


def write_config(folder: Path, name: str, batches: int, **more: object) -> Path:
    sources = [{"name": f"b{n}", "path": str(folder / f"b{n}.jsonl"), "batch": n} for n in range(batches)]
    config = {
        "name": name,
        "pipeline": "curate",
        "ingest": {"sources": sources},
        "split": {"test": 0.2},
        "scrub": {"demo_key": True},
        **more,
    }
    path = folder / f"{name}-{batches}.yaml"
    path.write_text(json.dumps(config))
    return path


@pytest.fixture
def batches(tmp_path: Path) -> Path:
    write_batch(tmp_path / "b0.jsonl", 1, CITIES[:8])
    write_batch(tmp_path / "b1.jsonl", 5000, CITIES[8:])
    return tmp_path


def done(config: Path, **options: Any) -> RunRecord:
    assert run(config, root=ROOT, **options) == 0
    return find_run(ROOT, None)


def reuse_notes(record: RunRecord) -> dict[str, str]:
    return notes(record, "earlier run")


@pytest.mark.slow
def test_the_second_batch_costs_what_is_new(batches: Path) -> None:
    first = done(write_config(batches, "grows", 1, reuse="latest"))
    assert len(first.executed_steps) == 9 and reuse_notes(first) == {}
    second = done(write_config(batches, "grows", 2, reuse="latest"))
    said = "48 rows taken from the earlier run, 12 computed"
    ingest = "source b0 not read: 48 rows taken from the earlier run"
    dedup = "48 rows known from the earlier run, 12 rows read."
    assert reuse_notes(second) == {"ingest": ingest, "dedup": dedup, "scrub": said, "screen": said, "judge": said}
    changed = write_config(batches, "grows", 2, reuse="latest", scrub={"demo_key": True, "threshold": 0.6})
    third = done(changed)
    assert "ingest_step" not in third.executed_steps
    again = "60 rows recomputed because the scrub settings changed since the earlier run"
    assert reuse_notes(third)["scrub"] == again
    # Without the cache, or it would be handed what the run before found.
    whole = done(write_config(batches, "whole", 2), no_cache=True)
    assert len(whole.executed_steps) == 9 and reuse_notes(whole) == {}
    assert found(second) == found(whole)


@pytest.mark.slow
def test_an_identical_run_is_served_from_the_cache_whatever_it_could_reuse(batches: Path) -> None:
    # Rows of its own, so that nothing comes from another test's run.
    write_batch(batches / "b0.jsonl", 2, CITIES)
    config = write_config(batches, "again", 1, reuse="latest")
    first = done(config)
    assert "scrub_step" in first.executed_steps
    assert done(config).executed_steps == ("start_step", "finish_step")
    named = write_config(batches, "again", 1, reuse=first.name)
    assert done(named).executed_steps == ("start_step", "finish_step")


@pytest.mark.slow
def test_what_is_kept_lies_in_any_artifact_store(batches: Path, s3: str) -> None:
    from steps.zenml_runtime.state import state_folder

    for part in ("b0", "b1"):
        path = batches / f"{part}.jsonl"
        path.write_text(path.read_text().replace("lorry", "train"))
    first = done(write_config(batches, "remote", 1, reuse="latest"), infra="s3")
    assert first.artifact_store == s3 and len(first.executed_steps) == 9
    # As on another machine: nothing of the first run is here but the store.
    shutil.rmtree(state_folder() / "cache")
    second = done(write_config(batches, "remote", 2, reuse="latest"), infra="s3")
    assert set(reuse_notes(second)) == {"ingest", "dedup", "scrub", "screen", "judge"}
    assert {a.type for a in second.artifacts if a.uri.startswith(s3)} >= {"row_cache", "index", "dataset"}
    here = done(write_config(batches, "here", 2))
    assert found(second) == found(here)


def test_a_run_that_is_not_there(batches: Path) -> None:
    with pytest.raises(InputNotFoundError, match="no run 'nobody'"):
        run(write_config(batches, "absent", 1, reuse="nobody"), root=ROOT)


@pytest.mark.slow
def test_a_named_run_with_other_dedup_settings_is_refused_before_anything_runs(batches: Path) -> None:
    first = done(write_config(batches, "named", 1, reuse="latest"))
    other = write_config(batches, "named", 2, reuse=first.name, dedup={"threshold": 0.9})
    with pytest.raises(ConfigError, match=f"the dedup index of {first.name} was made under other dedup settings") as e:
        run(other, root=ROOT)
    assert "--set reuse=null" in (e.value.hint or "")
    assert find_run(ROOT, None).executed_steps == ("start_step",)
    again = done(write_config(batches, "named", 2, reuse="latest", dedup={"threshold": 0.9}))
    assert reuse_notes(again)["dedup"].startswith("60 rows compared anew")


@pytest.mark.slow
def test_what_was_kept_is_gone(batches: Path) -> None:
    for part in ("b0", "b1"):
        path = batches / f"{part}.jsonl"
        path.write_text(path.read_text().replace("lorry", "barge"))
    first = done(write_config(batches, "gone", 1, reuse="latest"))
    kept = next(a for a in first.artifacts if a.name == "scrub_row_cache")
    shutil.rmtree(kept.uri)
    config = write_config(batches, "gone", 2, reuse="latest")
    with pytest.raises(InputNotFoundError, match=r"what an earlier run kept is gone \(scrub_row_cache\)") as e:
        run(config, root=ROOT)
    assert "--set reuse=null" in (e.value.hint or "")


def damaged(path: Path) -> None:
    """One byte in the middle is another. The file is a new one, in case it is linked."""
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 0xFF
    path.unlink()
    path.write_bytes(raw)


@pytest.mark.slow
def test_what_was_kept_is_damaged_and_can_be_made_anew(batches: Path) -> None:
    for part in ("b0", "b1"):
        path = batches / f"{part}.jsonl"
        path.write_text(path.read_text().replace("lorry", "sledge"))
    first = done(write_config(batches, "hurt", 1, reuse="latest"))
    store = Path(first.artifact_store)
    before = {a.name: a.digest for a in first.of_type("dataset")}
    shards = [s.sha256 for s in artifacts_of(ROOT, first).manifest(first.of_type("dataset")[0]).shards]
    index = next(a for a in first.artifacts if a.name == "dedup_index")
    part = json.loads((Path(index.uri) / "manifest.json").read_text())["parts"][0]["name"]
    grown = write_config(batches, "hurt", 2, reuse="latest")
    damaged(store / "dedup_parts" / part / "kept.npy")
    with pytest.raises(IntegrityError, match=r"kept\.npy: stored bytes have SHA-256") as e:
        run(grown, root=ROOT)
    assert "--no-cache --set reuse=null" in (e.value.hint or "")
    damaged(store / "shards" / f"{shards[0]}.parquet")
    again = done(write_config(batches, "hurt", 1, reuse="latest"), overrides=["reuse=null"], no_cache=True)
    assert {a.name: a.digest for a in again.of_type("dataset")} == before
    assert {"ingest", "scrub", "screen", "judge"} <= set(reuse_notes(done(grown)))

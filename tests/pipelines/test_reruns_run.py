"""`assay stale` says before a run what the run then does, and `assay why-rerun` says it after."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ops.main import app
from ops.run import run
from ops.run_index import find_run

ROOT = Path(__file__).resolve().parents[2]
CURATION = ("ingest_step", "dedup_step", "split_step", "scrub_step", "screen_step", "leakcheck_step")


def _config(folder: Path, **more: object) -> Path:
    rows = [{"prompt": f"What is the number of lamp {n * 7919}?", "completion": f"It is {n}."} for n in range(40)]
    (folder / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    path = folder / "reruns.yaml"
    sources = [{"name": "rows", "path": str(folder / "rows.jsonl")}]
    path.write_text(json.dumps({
        "name": "reruns", "pipeline": "curate", "ingest": {"sources": sources}, "scrub": {"demo_key": True},
        "skip": ["judge"], **more,
    }))  # fmt: skip
    return path


def _stale(config: Path) -> dict[str, dict[str, object]]:
    result = CliRunner().invoke(app, ["stale", str(config), "--json"])
    assert result.exit_code == 0, result.output
    return {s["step"]: s for s in json.loads(result.stdout)["steps"]}


def _why(step: str) -> dict[str, object]:
    result = CliRunner().invoke(app, ["why-rerun", "latest", step, "--json"])
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)  # type: ignore[no-any-return]


@pytest.mark.slow
def test_what_would_run_again_is_what_runs_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASSAY_ROOT", str(ROOT))
    config = _config(tmp_path)
    assert {s["state"] for s in _stale(config).values()} == {"runs"}, "there is no run yet"
    assert run(config, root=ROOT) == 0
    first = find_run(ROOT, None)

    told = _stale(config)
    assert {name for name, s in told.items() if s["state"] == "cached"} == set(CURATION)
    assert {s["taken_from"] for name, s in told.items() if name in CURATION} == {first.name}

    config = _config(tmp_path, dedup={"threshold": 0.9})
    told = _stale(config)
    assert [told[s]["state"] for s in CURATION] == ["cached", "runs", *["depends"] * 4]
    change = {"part": "settings", "name": "threshold", "before": 0.7, "after": 0.9}
    assert told["dedup_step"]["changes"] == [change]
    assert told["split_step"]["upstream"] == ["dedup_step"]
    assert run(config, root=ROOT) == 0
    # No two rows are alike, so that dedup gives the same and nothing behind it runs.
    assert set(find_run(ROOT, None).executed_steps) == {"start_step", "dedup_step", "finish_step"}
    why = _why("dedup")
    assert (why["state"], why["changes"], why["compared_with"]) == ("runs", [change], first.name)
    assert (_why("split")["state"], _why("split")["taken_from"]) == ("cached", first.name)
    assert str(_why("start_step")["why"]).startswith("every run runs it")

    rows = tmp_path / "rows.jsonl"
    rows.write_text(rows.read_text() + '\n{"prompt": "And this one?", "completion": "It is new."}')
    told = _stale(config)
    (new,) = told["ingest_step"]["changes"]  # type: ignore[misc]
    assert (told["ingest_step"]["state"], new["part"], new["name"]) == ("runs", "input", "inputs")
    assert run(config, root=ROOT, no_cache=True) == 0
    assert "--no-cache" in str(_why("screen")["why"])
    unknown = CliRunner().invoke(app, ["why-rerun", "latest", "deduplicate"])
    assert unknown.exit_code == 3 and "no step 'deduplicate'\n  way out: one of " in unknown.stderr

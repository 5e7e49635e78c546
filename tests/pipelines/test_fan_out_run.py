"""Row-wise work spread over steps of a dynamic pipeline: the same results, or one step and a line that says why."""

import json
import shutil
from pathlib import Path

import pytest

from ops.fan_out import SEQUENTIAL
from ops.run import make_plan, run
from ops.run_index import find_run
from steps.contracts.errors import InputError

ROOT = Path(__file__).resolve().parents[2]
SHARES = ("scrub_share_1_step", "scrub_share_2_step", "scrub_share_3_step")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / ".zenml").mkdir()
    shutil.copytree(ROOT / ".zenml" / "stacks", tmp_path / ".zenml" / "stacks")
    folder = tmp_path / "configs" / "infra"
    folder.mkdir(parents=True)
    (folder / "one.yaml").write_text("stack: local\n")
    (folder / "three.yaml").write_text("stack: local\nrun: {fan_out: 3}\nsteps: {scrub_step: {timeout: 600}}\n")
    (folder / "parallel.yaml").write_text("stack: local-parallel\nrun: {fan_out: 3}\n")
    return tmp_path


def config(home: Path, **said: object) -> Path:
    rows = [{"prompt": f"Where is box {i}?", "completion": f"Mail box{i}@example.com for it."} for i in range(40)]
    (home / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    path = home / "fanned.yaml"
    path.write_text(json.dumps({
        "name": "fanned", "pipeline": "curate", "skip": ["dedup", "screen", "judge", "leakcheck"],
        "ingest": {"sources": [{"name": "rows", "path": str(home / "rows.jsonl")}]}, "scrub": {"demo_key": True},
        **said,
    }))  # fmt: skip
    return path


@pytest.mark.slow
def test_datasets_ledgers_reports_and_cache_keys_are_those_of_one_step(home: Path) -> None:
    from zenml.client import Client

    file = config(home)
    run(file, infra="three", root=home, no_cache=True)
    fanned = find_run(home)
    run(file, infra="one", root=home)
    assert find_run(home).executed_steps == ("start_step", "finish_step")
    run(file, infra="one", root=home, no_cache=True)
    alone = find_run(home)
    assert sorted(set(fanned.executed_steps) - set(alone.executed_steps)) == list(SHARES)
    of_alone = {(a.step, a.name): a.digest for a in alone.artifacts}
    of_fanned = {(a.step, a.name): a.digest for a in fanned.artifacts if a.step not in SHARES}
    assert of_fanned == of_alone and len(of_alone) > 8
    assert {a.type for a in fanned.artifacts if a.step in SHARES} == {"row_cache"}
    steps = Client().get_pipeline_run(fanned.run_id).steps
    assert [steps[s].config.extra["timeout"] for s in (*SHARES, "scrub_step")] == [600] * 4


@pytest.mark.slow
def test_a_share_that_fails_fails_the_run(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from steps.scrub import scrub

    compute = scrub.scrub_share

    def fail(rows, settings, ctx, share):
        if share.number == 1:
            raise InputError("this share can't be read", where="here")
        return compute(rows, settings, ctx, share)

    monkeypatch.setattr(scrub, "scrub_share", fail)
    with pytest.raises(InputError, match="this share can't be read"):
        run(config(home), infra="three", root=home, no_cache=True)
    record = find_run(home)
    assert (record.status, record.failed_step, record.error_kind) == ("failed", "scrub_share_2_step", "InputError")
    assert "scrub_step" not in record.executed_steps


def test_elsewhere_one_step_decides_and_a_line_says_so(home: Path) -> None:
    plan = make_plan(home, config(home), "parallel", None)
    assert plan.shares == 1
    assert f"{SEQUENTIAL}: orchestrator 'processes' has no dynamic pipelines" in plan.notes


def test_without_scrub_there_is_nothing_to_spread(home: Path) -> None:
    skipped = ["dedup", "scrub", "screen", "judge", "leakcheck"]
    plan = make_plan(home, config(home, skip=skipped, scrub=None), "three", None)
    assert plan.shares == 1 and not any(SEQUENTIAL in note for note in plan.notes)
    assert make_plan(home, config(home), "three", None).shares == 3

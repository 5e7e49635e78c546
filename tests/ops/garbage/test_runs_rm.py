"""What is found to be needed by nothing, on files laid out as ZenML lays them out, and why runs must stay."""

import json
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from uuid import NAMESPACE_URL, uuid5

import pytest
from support import sample_run

from ops.commands import garbage as commands
from ops.garbage.collection import remove
from ops.garbage.stores import Store
from ops.garbage.waste import Waste, find_waste
from ops.removals import read_removals
from ops.run_index import run_folder, save_run
from steps.contracts.errors import InputError
from steps.contracts.runs import ArtifactRecord, RunRecord


def artifact(store: Path, number: int) -> Path:
    folder = store / "dedup_step" / "deduped" / f"0000000{number}-0000-4000-8000-000000000000" / f"aaaaaaa{number}"
    folder.mkdir(parents=True)
    (folder / "view.html").write_text("x" * 100)
    return folder


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ASSAY_STATE", str(tmp_path / "state"))
    return tmp_path


def saved(root: Path, name: str, **values: object) -> RunRecord:
    record = sample_run.record(name).model_copy(
        update={"registration": None, "run_id": str(uuid5(NAMESPACE_URL, name)), **values}
    )
    save_run(root, record, "")
    return record


def test_what_runs_of_the_index_name_stays(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where ZenML's store knows nothing of them; and removing goes on where a kill left off."""
    store = root / "state" / "artifacts"
    known, used, other = artifact(store, 1), artifact(store, 2), artifact(store, 3)
    record = ArtifactRecord(step="dedup_step", name="deduped", type="dataset", uri=str(known))
    mine = saved(root, "mine", artifacts=(record,))
    forgotten: list[str] = []
    written = store / "finish_step" / "run_record" / "00000001-0000-4000-8000-000000000000" / "aaaaaaaa"
    written.mkdir(parents=True)
    ids: set[str] = set()
    fake = SimpleNamespace(
        used_uris=lambda without: frozenset({str(used)}), forget_unused_artifacts=lambda: forgotten.append("unused"),
        run_ids=lambda: frozenset(ids),
    )  # fmt: skip
    monkeypatch.setitem(__import__("sys").modules, "steps.zenml_runtime.garbage", fake)
    place = Store(str(store))

    def paths(*without: RunRecord) -> list[Path]:
        return [Path(w.uri) for w in find_waste(root, place, without={r.run_id for r in without}).waste]

    assert paths() == [other]
    # Which records are whose, only ZenML's store says.
    ids.add(mine.run_id)
    assert paths() == [other, written]
    ids.clear()
    assert paths(mine) == [known, other, written]
    # As after a kill in the middle: one file is gone already, one path altogether.
    (other / "view.html").unlink()
    gone = Waste("gone", f"{other.parent}/nothing", 0, f"{other.parent.relative_to(store)}/nothing")
    remove(root, place, [*find_waste(root, place).waste, gone])
    (told,) = read_removals(str(store))
    assert told.removal.covers(f"file://{other}/manifest.json") and not told.removal.covers(str(used)) and told.key
    assert forgotten == ["unused"] and known.exists() and used.exists() and not other.parent.exists()


def test_checkpoints_and_tokens_go_when_their_training_has_ended(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(
        __import__("sys").modules,
        "steps.zenml_runtime.garbage",
        SimpleNamespace(used_uris=lambda without: frozenset(), run_ids=frozenset),
    )
    for name, step, most in (("ended", 6, 6), ("cut-off", 4, 6)):
        folder = root / "state" / "checkpoints" / "0011" / name / f"checkpoint-{step}"
        folder.mkdir(parents=True)
        (folder / "trainer_state.json").write_text(json.dumps({"global_step": step, "max_steps": most}))
    (tokens := root / "state" / "tokens" / "train").mkdir(parents=True)
    (tokens / "train.arrow").write_text("tokens")
    place = Store(str(root / "state" / "artifacts"))
    assert [Path(w.uri).name for w in find_waste(root, place).waste] == ["ended", "train"]
    assert not find_waste(root, place, grace=timedelta(hours=1)).waste
    assert not find_waste(root, Store(str(root / "other"))).waste, "of the state folder's own store alone"


def test_a_run_that_something_needs_stays(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Whose they are, only ZenML's store says.
    monkeypatch.setattr(commands, "_check_own", lambda _root, _runs: None)
    (root / "configs" / "runs").mkdir(parents=True)
    (root / "configs" / "runs" / "a.yaml").write_text("name: mails\nreuse: latest\n")
    (root / "configs" / "runs" / "b.yaml").write_text("name: b\ndataset: old\n")
    (root / "configs" / "runs" / "broken.yaml").write_text("name: [\n")
    saved(root, "old", config_name="mails", started="2026-11-01T00:00:00")
    saved(root, "new", config_name="mails", started="2026-11-02T00:00:00")
    saved(root, "going", ended=None, status="running", config_name="other")
    (run_folder(root, "going") / "decisions.jsonl").write_text("")
    with pytest.raises(InputError) as caught:
        commands.remove_runs(root, ["old", "new", "going"], yes=True, json_output=False)
    for line in (
        "old: configs/runs/b.yaml names it under dataset: old",
        "new: configs/runs/a.yaml names it under reuse: latest",
        "going: it is on its way",
        "going: a person's decisions lie in its folder",
    ):
        assert line in str(caught.value)
    with pytest.raises(InputError, match="fits 2 runs"):
        commands.remove_runs(root, ["mails"], yes=True, json_output=False)
    assert all(run_folder(root, name).is_dir() for name in ("old", "new", "going"))

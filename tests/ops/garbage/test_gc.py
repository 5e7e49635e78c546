"""What `assay gc` takes for needed: by the store's own records and the registries, on machines that know of no run."""

import json
import os
import shutil
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
from support.garbage_store import GarbageStore
from typer.testing import CliRunner

from ops.garbage import collection
from ops.garbage.stores import Store
from ops.garbage.waste import Found, find_waste
from ops.lineage.catalogue import load_catalogue
from ops.main import app
from ops.removals import collected, keep_removal, read_removals
from ops.run_index import save_run
from steps.contracts.digests import text_digest
from steps.contracts.errors import ServiceError
from steps.contracts.runs import RunRecord
from steps.register import registered
from steps.register.registered import Version

REGISTRY = "http://mlflow.example:5000"
WEEK = timedelta(days=7)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> GarbageStore:
    """That of a state folder which knows of no run, with a ZenML store that doesn't either."""
    monkeypatch.setenv("ASSAY_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("ASSAY_ROOT", str(tmp_path))
    (tmp_path / "configs" / "runs").mkdir(parents=True)
    fake = SimpleNamespace(
        used_uris=lambda without: frozenset(), run_ids=frozenset, forget_unused_artifacts=lambda: None
    )
    monkeypatch.setitem(__import__("sys").modules, "steps.zenml_runtime.garbage", fake)
    monkeypatch.setattr(registered, "all_versions", lambda _uri: [])
    return GarbageStore(tmp_path / "state" / "artifacts")


def found(store: GarbageStore, grace: timedelta = timedelta(), **asked: object) -> Found:
    return find_waste(store.root.parents[1], Store(str(store.root)), grace=grace, **asked)  # type: ignore[arg-type]


def names(found: Found) -> set[str]:
    """Of an artifact the beginning of its run's id, of a shard that of its digest."""
    return {w.name.split("/")[2][:8] if "_step/" in w.name else w.name.split("/")[-1][:8] for w in found.waste}


def test_what_a_record_of_the_store_names_stays_where_nobody_knows_its_run(store: GarbageStore) -> None:
    kept, shared = store.dataset("kept", ["one", "two"]), store.dataset("other", ["two", "three"])
    store.run("elsewhere", [kept])
    waste = found(store)
    assert not waste.missing and not waste.unknown and waste.exit_status == 0
    gone = {Path(w.uri) for w in waste.waste}
    assert gone == {Path(shared.uri), *(s for s in (store.root / "shards").iterdir() if s.read_text() == "three")}
    assert find_waste(store.root, Store(str(store.root)), without={"7"}).waste == waste.waste


def test_a_store_that_was_moved_is_still_known(store: GarbageStore) -> None:
    store.run("elsewhere", [store.dataset("kept", ["one"])])
    moved = store.root.with_name("moved")
    store.root.rename(moved)
    assert not found(GarbageStore(moved)).waste


def test_runs_of_other_stores_are_neither_needed_nor_missed(store: GarbageStore, tmp_path: Path) -> None:
    other = GarbageStore(tmp_path / "other")
    save_run(store.root.parents[1], store.run("here", [store.dataset("kept", ["one"])]), "")
    waste = find_waste(store.root.parents[1], Store(str(other.root)))
    assert waste == Found(())
    # Of the same layout, by chance or by a copy that has no record: nobody names it there.
    other.dataset("kept", ["one"])
    assert len(find_waste(store.root.parents[1], Store(str(other.root))).waste) == 2


def test_a_store_that_is_not_there_is_named(store: GarbageStore, tmp_path: Path) -> None:
    for place in ("nowhere", "file"):
        (tmp_path / "file").write_text("")
        result = CliRunner().invoke(app, ["gc", "--store", str(tmp_path / place)])
        assert result.exit_code == 3 and "no such folder" in result.output


def test_nothing_younger_than_the_grace_is_touched(store: GarbageStore) -> None:
    store.dataset("old", ["one"])
    store.age(8)
    young = store.dataset("young", ["two"])
    # What is written to goes on being used.
    artifact = store.artifact("written", "{}")
    store.age(8)
    (Path(artifact.uri) / "view.html").write_text("now")
    os.utime(Path(young.uri) / "manifest.json")
    waste = found(store, WEEK)
    assert len(waste.waste) == 3 and {Path(w.uri).parts[-3] for w in waste.young} == {"deduped"}
    assert {Path(w.uri) for w in waste.young} == {Path(young.uri), Path(artifact.uri)}
    assert len(found(store).waste) == 5


def with_registration(store: GarbageStore, name: str) -> RunRecord:
    from support import sample_run

    run = store.run(name, [store.dataset(name, [name])])
    told = sample_run.registration().model_copy(update={"tracking_uri": REGISTRY})
    registered = run.model_copy(update={"registration": told})
    store.write(store.record_file(name), registered.model_dump_json(indent=1))
    return registered


def tags(store: GarbageStore, run: RunRecord, **more: str) -> dict[str, str]:
    uri = f"file://{store.record_file(run.name)}"
    return {"zenml_run_id": run.run_id, "record_uri": uri, **more}


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        (lambda f: f.unlink(), "is gone or damaged"),
        (lambda f: f.write_text(f.read_text().replace("dedup_step", "dedup_stap")), "record was changed"),
        (lambda f: f.write_text(f.read_text()[:50]), "record was changed"),
        (lambda f: (f.write_text("{}"), (f.parent / "sha256").unlink()), "not a run record"),
        (lambda f: (f.write_text(f.read_text() + " "), (f.parent / "sha256").unlink()), "the one that was signed"),
    ],
)  # fmt: skip
def test_a_registered_model_whose_record_cant_be_read_keeps_all(store, monkeypatch, damage, why) -> None:
    """Each version of a registry that another run's record names is looked at."""
    from steps.contracts.digests import file_digest

    model, _other = with_registration(store, "model"), with_registration(store, "other")
    head = file_digest(store.record_file("model"))
    versions = [("support", Version("3", tags(store, model, chain=head))), ("foreign", Version("1", {}))]
    monkeypatch.setattr(registered, "all_versions", lambda _uri: versions)
    store.dataset("waste", ["waste"])
    assert len(found(store, registries=()).waste) == 2
    damage(store.record_file("model"))
    waste = found(store, registries=())
    assert not waste.waste and waste.exit_status == 7
    assert why in " ".join(e.what for e in waste.unknown)


def test_a_version_of_a_run_that_left_no_record_keeps_all_until_its_run_is_known(store, monkeypatch) -> None:
    with_registration(store, "other")
    died = store.run("died", [store.dataset("died", ["d"])])
    shutil.rmtree(store.record_file("died").parent)
    version = Version("4", {"zenml_run_id": died.run_id})
    monkeypatch.setattr(registered, "all_versions", lambda _uri: [("support", version)])
    (why,) = found(store, registries=()).unknown
    assert "left no record" in why.what and why.where == f"{REGISTRY}#support/4"
    save_run(store.root.parents[1], died, "")
    assert found(store, registries=()) == Found(())


def test_a_registry_that_is_down_is_named_and_keeps_all(store, monkeypatch) -> None:
    with_registration(store, "model")
    store.dataset("waste", ["waste"])

    def down(uri: str) -> None:
        raise ServiceError("can't be reached", where=uri)

    monkeypatch.setattr(registered, "all_versions", down)
    waste = found(store, registries=())
    assert not waste.waste and waste.exit_status == 5 and f"--without-registry {REGISTRY}" in str(waste.unknown[0])
    assert len(found(store, registries={REGISTRY}).waste) == 2


def test_what_a_model_was_trained_on_elsewhere_must_be_known(store: GarbageStore) -> None:
    store.run("data", [store.dataset("rows", ["one"])])
    store.run("tune", [store.artifact("model", "{}", "tuned", "model")], [store.link("data")])
    assert not found(store).waste
    shutil.rmtree(store.record_file("data").parent)
    waste = found(store)
    assert not waste.waste and "no record is left of data" in waste.unknown[0].what
    assert waste.unknown[0].where == str(store.record_file("data"))


def test_a_damaged_or_missing_manifest_keeps_the_shards_but_not_the_artifacts(store: GarbageStore) -> None:
    kept = store.dataset("kept", ["one"])
    store.run("elsewhere", [kept])
    other = store.dataset("waste", ["two"])
    manifest = Path(kept.uri) / "manifest.json"
    whole = manifest.read_text()
    manifest.write_text(whole.replace('"', "'", 1))
    waste = found(store)
    assert [Path(w.uri) for w in waste.waste] == [Path(other.uri)] and "was changed" in waste.unknown[0].what
    manifest.unlink()
    waste = found(store)
    assert [Path(w.uri) for w in waste.waste] == [Path(other.uri)] and "it is gone" in waste.unknown[0].what
    shutil.rmtree(manifest.parent)
    waste = found(store)
    assert [e.where for e in waste.missing] == [kept.uri] and waste.exit_status == 7


def test_the_record_of_what_was_removed_tells_it_from_what_is_gone(store: GarbageStore) -> None:
    root = store.root.parents[1]
    kept = store.dataset("kept", ["one"])
    run = store.run("elsewhere", [kept])
    place = Store(str(store.root))
    waste = find_waste(root, place, without={run.run_id})
    assert len(waste.waste) == 3
    collection.remove(root, place, waste.waste)
    (told,) = read_removals(str(store.root))
    assert told.key and told.removal.covers(f"{kept.uri}/manifest.json")
    assert {f.sha256 for f in told.removal.files} >= {kept.sha256}
    assert not list(store.root.rglob("*.parquet")) and not Path(kept.uri).parent.exists()
    # Somebody who still names it isn't told that it is missing.
    store.run("elsewhere", [kept])
    assert found(store) == Found(())


def test_the_record_of_a_removed_run_stays_for_who_stands_on_it(store: GarbageStore) -> None:
    root, place = store.root.parents[1], Store(str(store.root))
    taken, own = store.dataset("taken", ["one"]), store.dataset("own", ["two"])
    first = store.run("first", [taken, own])
    link = store.link("first").model_copy(update={"made": ("dedup_step",)})
    store.run("second", [taken], [link])
    only = find_waste(root, place, without={first.run_id}).waste
    assert {Path(w.uri).name for w in only} == {Path(own.uri).name, f"{text_digest('two')}.parquet"}
    # As after a kill: it is written down, and nothing is removed yet.
    keep_removal(root, collected((), ["first"]), [str(store.root)])
    assert found(store).waste == only and not found(store).unknown
    assert [r.name for r in load_catalogue(root).runs] == ["second"]
    # Once nobody stands on it.
    shutil.rmtree(store.record_file("second").parent)
    assert {Path(w.uri).name for w in found(store).waste} >= {"a1b2c3d4"} and len(found(store).waste) == 5


def test_removing_goes_on_over_what_another_has_removed(store: GarbageStore) -> None:
    root = store.root.parents[1]
    store.dataset("one", ["one"])
    store.dataset("two", ["two"])
    waste = found(store).waste
    shutil.rmtree(store.root / "dedup_step")
    collection.remove(root, Store(str(store.root)), waste)
    assert not found(store).waste and not list((store.root / "shards").iterdir())


def test_what_a_kill_left_of_an_artifact_goes_too(store: GarbageStore) -> None:
    artifact = store.dataset("one", [])
    shutil.rmtree(artifact.uri)
    Path(artifact.uri).mkdir()
    (waste,) = found(store).waste
    collection.remove(store.root.parents[1], Store(str(store.root)), [waste])
    assert not Path(artifact.uri).parent.exists()


def test_a_grace_that_is_no_time_is_named(store: GarbageStore) -> None:
    result = CliRunner().invoke(app, ["gc", "--grace", "soon", "--json"])
    assert result.exit_code == 2 and "--grace: 'soon' is no length of time" in result.output


def test_the_command_says_what_stays_and_what_is_missing(store, monkeypatch) -> None:
    from contextlib import nullcontext

    from ops.commands import garbage

    monkeypatch.setattr(garbage, "quiet", lambda _root, _store: nullcontext())
    store.run("elsewhere", [store.artifact("kept", "{}", "report", "stage_report")])
    store.age(30)
    shutil.rmtree(store.root / "dedup_step" / "report")
    store.dataset("young", ["two"])
    result = CliRunner().invoke(app, ["gc", "--json"])
    said = json.loads(result.stdout)
    assert result.exit_code == 7 and not said["found"] and said["young"]["number"] == 2
    assert "a run names it" in said["missing"][0]["why"]
    shown = CliRunner().invoke(app, ["gc", "--grace", "0d"])
    assert "would be freed" in shown.stdout and shown.exit_code == 7

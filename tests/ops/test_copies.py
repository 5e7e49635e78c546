"""`assay copy` into folders and stores: whole, verified, resumable, and never over something else."""

import json
import subprocess
import sys
from pathlib import Path

import fsspec
import pytest
from support import stored_run
from support.stored_run import StoredRun

from materializers.artifacts import going_on
from ops import copies
from ops.copies import copy_artifacts, records_in
from ops.run_index import find_run, save_run
from ops.versions import find_version
from steps.contracts.errors import InputNotFoundError, IntegrityError, ServiceError, StorageError

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StoredRun:
    monkeypatch.setenv("ASSAY_STATE", str(tmp_path / "state"))
    return stored_run.build(tmp_path, tmp_path / "work")


def files(folder: Path) -> dict[str, bytes]:
    return {f.relative_to(folder).as_posix(): f.read_bytes() for f in folder.rglob("*") if f.is_file()}


def all_of(stored: StoredRun, target: str) -> copies.Copied:
    assert stored.record is not None
    return copy_artifacts(stored.root, stored.record, stored.record.artifacts, target)[0]


def test_whole_run_is_there_and_known_by_another_state_folder(
    stored: StoredRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = all_of(stored, str(tmp_path / "copy"))
    here, there = files(stored.store), files(tmp_path / "copy")
    record = there.pop(done.record.removeprefix(f"{tmp_path}/copy/"))
    assert there == here and (done.sent, done.there) == (len(here), 0)
    assert done.sent_bytes == sum(map(len, here.values()))
    assert json.loads(record)["artifact_store"] == str(tmp_path / "copy")

    monkeypatch.setenv("ASSAY_STATE", str(tmp_path / "other"))
    (run,) = records_in(str(tmp_path / "copy"))
    save_run(stored.root, run, "")
    stored.store.rename(tmp_path / "gone")
    version = find_version(stored.root, f"dataset:{going_on(run)[-1].digest}")
    assert version.artifact.uri.startswith(str(tmp_path / "copy"))
    assert len(list(version.dataset.iter_rows())) == 3


def test_what_is_there_is_not_sent_again_and_a_cut_copy_goes_on(stored: StoredRun, tmp_path: Path) -> None:
    first = all_of(stored, str(tmp_path / "copy"))
    again = all_of(stored, str(tmp_path / "copy"))
    assert (again.sent, again.sent_bytes, again.there) == (0, 0, first.sent + first.there)
    gone = sorted((tmp_path / "copy" / "shards").iterdir())[0]
    gone.unlink()
    assert all_of(stored, str(tmp_path / "copy")).sent == 1 and gone.is_file()


def test_a_dataset_alone_then_a_model_of_the_same_run(stored: StoredRun, tmp_path: Path) -> None:
    assert stored.record is not None
    target = str(tmp_path / "copy")
    dataset, model = going_on(stored.record)[-1], stored.record.of_type("model")
    copy_artifacts(stored.root, stored.record, [dataset], target)
    (first,) = records_in(target)
    assert [a.name for a in first.artifacts] == [dataset.name]
    copy_artifacts(stored.root, stored.record, model, target)
    (both,) = records_in(target)
    assert {a.name for a in both.artifacts} == {dataset.name, *(a.name for a in model)}


def test_other_bytes_at_the_target_stay_and_are_named(stored: StoredRun, tmp_path: Path) -> None:
    shard = sorted((stored.store / "shards").iterdir())[0].name
    other = tmp_path / "copy" / "shards" / shard
    other.parent.mkdir(parents=True)
    other.write_bytes(b"somebody's")
    with pytest.raises(IntegrityError, match="another file of this name") as caught:
        all_of(stored, str(tmp_path / "copy"))
    assert caught.value.where == str(other) and other.read_bytes() == b"somebody's"
    assert not (tmp_path / "copy" / "finish_step").exists()


def test_a_damaged_source_is_not_copied(stored: StoredRun, tmp_path: Path) -> None:
    shard = sorted((stored.store / "shards").iterdir())[0]
    shard.write_bytes(shard.read_bytes()[:-1] + b"?")
    with pytest.raises(IntegrityError):
        all_of(stored, str(tmp_path / "copy"))
    assert not list((tmp_path / "copy").rglob(shard.name))


def test_a_store_that_does_not_keep_what_it_took_is_found_out(
    stored: StoredRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Forgetful(type(fsspec.filesystem("memory"))):  # type: ignore[misc]
        protocol = "forgetful"

        def put_file(self, lpath: str, rpath: str, *args: object, **kwargs: object) -> None:
            self.pipe_file(rpath, Path(lpath).read_bytes()[:-1])

    fsspec.register_implementation("forgetful", Forgetful, clobber=True)
    with pytest.raises(IntegrityError, match="is read back"):
        all_of(stored, "forgetful://bucket/copy")
    assert fsspec.filesystem("forgetful").find("/bucket/copy") == []


@pytest.mark.parametrize(
    ("error", "kind"),
    [(PermissionError("no"), StorageError), (OSError(28, "No space left on device"), StorageError),
     (ConnectionError("reset"), ServiceError), (FileNotFoundError("bucket"), InputNotFoundError)],
)  # fmt: skip
def test_what_a_store_says_becomes_a_clear_error(
    stored: StoredRun, monkeypatch: pytest.MonkeyPatch, error: Exception, kind: type[Exception]
) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise error

    monkeypatch.setattr(type(fsspec.filesystem("memory")), "put_file", refuse)
    with pytest.raises(kind):
        all_of(stored, "memory://bucket/refused")


def test_a_place_without_records_is_said_to_have_none(tmp_path: Path) -> None:
    with pytest.raises(InputNotFoundError, match="no run's record lies there"):
        records_in(str(tmp_path))


def test_command_says_what_it_did(stored: StoredRun, tmp_path: Path) -> None:
    name = find_run(stored.root).name
    code = (
        f"from pathlib import Path; from ops.commands.copy import copy; copy(Path({str(stored.root)!r}), *{{}}, True)"
    )
    said = [
        subprocess.run(
            [sys.executable, "-c", code.replace("{}", repr(arguments))],
            cwd=ROOT, capture_output=True, text=True, check=True,
        ).stdout
        for arguments in ((f"run:{name}", str(tmp_path / "a")), (str(tmp_path / "a"), str(tmp_path / "b")))
    ]  # fmt: skip
    first, second = (json.loads(s)["copies"][0] for s in said)
    assert first["run"] == second["run"] == name and second["sent"] == first["sent"] > 10
    assert {n: b for n, b in files(tmp_path / "a").items() if "finish_step" not in n}.items() <= files(
        tmp_path / "b"
    ).items()

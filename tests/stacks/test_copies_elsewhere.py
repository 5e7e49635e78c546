"""`assay copy` to servers that speak the protocols of S3, Blob Storage and GCS and back, by the real command."""

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

import fsspec
import pytest
from support import stored_run
from support.outcomes import assay
from support.processes import ROOT, command, killing_at, python
from support.servers import azurite, gcs

pytestmark = pytest.mark.stacks


@pytest.fixture(params=["s3", "az", "gs"])
def target(request: pytest.FixtureRequest, away: Callable[..., None]) -> str:
    """Where nothing lies yet."""
    if request.param == "s3":
        return f"{request.getfixturevalue('s3').rpartition('/')[0]}/{os.urandom(4).hex()}"
    if request.param == "az":
        away(**azurite.environment(request.getfixturevalue("azurite_server")))
        return f"az://{azurite.CONTAINER}/{os.urandom(4).hex()}"
    away(**gcs.environment(request.getfixturevalue("gcs_server")))
    return f"gs://{gcs.BUCKET}/{os.urandom(4).hex()}"


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Of a run that lies on disk."""
    monkeypatch.setenv("ASSAY_STATE", str(tmp_path / "state"))
    stored_run.build(tmp_path, tmp_path / "work")
    return tmp_path / "state"


def copied(state: Path, *arguments: str) -> dict[str, int]:
    done = assay(state, "copy", *arguments, "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    (said,) = json.loads(done.stdout)["copies"]
    return said


def names(uri: str) -> set[str]:
    fs, path = fsspec.url_to_fs(uri)
    fs.invalidate_cache()
    return {f.removeprefix(f"{path}/") for f in fs.find(path)}


def test_there_and_back_is_the_same_run(state: Path, target: str, tmp_path: Path) -> None:
    first = copied(state, "run:quickstart", target)
    assert first["sent"] > 40 and first["there"] == 0
    again = copied(state, "run:quickstart", target)
    assert (again["sent"], again["there"]) == (0, first["sent"])
    back = copied(tmp_path / "other", target, str(tmp_path / "back"))
    assert back["sent"] == first["sent"]
    store = tmp_path / "work" / "store"
    for file in (f for f in store.rglob("*") if f.is_file()):
        assert (tmp_path / "back" / file.relative_to(store)).read_bytes() == file.read_bytes()
    shown = assay(tmp_path / "other", "head", "latest", "--json")
    assert shown.returncode == 0, shown.stderr


def test_killed_copy_shows_nothing_half_and_goes_on(state: Path, target: str) -> None:
    code = command("copy", "run:quickstart", target, before=killing_at("ops.copies:_Place.put", 7))
    killed = python(code, state, ASSAY_ROOT=str(ROOT))
    killed.communicate(timeout=300)
    assert killed.returncode == -signal.SIGKILL
    there = names(target)
    assert there and not any("run_record" in n for n in there)
    on = copied(state, "run:quickstart", target)
    assert on["there"] == len(there) and names(target) > there


def test_a_bucket_that_is_not_there_is_named(state: Path, target: str) -> None:
    nowhere = f"{target.partition('://')[0]}://not-there-at-all/copies"
    done = assay(state, "copy", "run:quickstart", nowhere)
    assert done.returncode in (3, 5, 6), done.stderr
    assert "not-there-at-all" in done.stderr and "Traceback" not in done.stderr

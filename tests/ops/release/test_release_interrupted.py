"""A release is whole or not there: killed in the middle, on a full disk, two at once."""

import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.processes import command, ended, killing_at, python
from support.tuned_models import adapted

from ops.release.verify import verify_release

ARGUMENTS = ["--to", "merged", "--although", "nobody judged it"]


@pytest.fixture
def trained(tiny_model, tmp_path) -> list[str]:
    """Arguments that name an adapter in a folder."""
    model = adapted(tiny_model, tmp_path / "tuned")
    return ["release", str(model.path), "--over", str(tiny_model.path), *ARGUMENTS]


def whole(folder: Path) -> bool:
    return not any(f.broken for f in verify_release(folder, None).findings)


@pytest.mark.slow
@pytest.mark.parametrize(
    "place", ["ops.release.release:_write_documents", "ops.release.release:_sign", "steps.engines.signing.keys:sign"]
)
def test_a_killed_release_leaves_nothing_and_the_next_one_clears_up(trained, tmp_path, place) -> None:
    arguments = [*trained, "--out", str(tmp_path / "out")]
    status, said = ended(python(command(*arguments, before=killing_at(place)), tmp_path / "state"))
    assert status == -signal.SIGKILL, said
    assert not (tmp_path / "out").exists() and list(tmp_path.glob(".assay-export-*"))
    status, said = ended(python(command(*arguments), tmp_path / "state"))
    assert status == 0, said
    assert whole(tmp_path / "out") and not list(tmp_path.glob(".assay-export-*"))


@pytest.mark.slow
def test_of_two_at_once_one_is_there_whole(trained, tmp_path) -> None:
    both = [python(command(*trained, "--out", str(tmp_path / "out")), tmp_path / "state") for _ in range(2)]
    done = [ended(p) for p in both]
    assert 0 in [status for status, _ in done] and whole(tmp_path / "out"), done
    assert all(status == 0 or "there is a release already" in said for status, said in done), done
    assert not list(tmp_path.glob(".assay-export-*"))


@pytest.fixture
def small_disk(tmp_path, request) -> Iterator[Path]:
    """A file system of some kilobytes."""
    folder, mount = tmp_path / "disk", shutil.which("mount")
    folder.mkdir()
    size = f"size={request.param}k"
    if mount is None or subprocess.run([mount, "-t", "tmpfs", "-o", size, "tmpfs", folder], check=False).returncode:
        pytest.skip("NOT TESTED: nothing can be mounted here")
    yield folder
    subprocess.run(["umount", folder], check=True)


@pytest.mark.slow
@pytest.mark.parametrize("small_disk", [100, 168, 188], indirect=True, ids="{} KB".format)
def test_a_full_disk_ends_a_release_with_6(trained, tmp_path, small_disk) -> None:
    status, said = ended(python(command(*trained, "--out", str(small_disk / "out")), tmp_path / "state"))
    assert (status, "no space left" in said) == (6, True), said
    assert not list(small_disk.iterdir())

import subprocess
import tarfile
from pathlib import Path

from zenml.utils.code_utils import CodeArchive

from steps.zenml_runtime.commit import commit_of
from steps.zenml_runtime.safety import harden


def checkout(folder: Path) -> str:
    """A checkout with one commit; returns its id."""
    (folder / "steps").mkdir(parents=True)
    (folder / "steps" / "a.py").write_text("A = 1\n")
    for words in (["init", "-q"], ["add", "."], ["commit", "-qm", "a"]):
        who = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
        subprocess.run(["git", "-C", str(folder), *who, *words], check=True)
    head = subprocess.run(["git", "-C", str(folder), "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
    return head.stdout.strip()


def test_commit_travels_with_the_code_that_it_is_of(tmp_path: Path) -> None:
    head = checkout(tmp_path / "here")
    assert commit_of(tmp_path / "here") == head
    (tmp_path / "here" / "steps" / "a.py").write_text("A = 2\n")
    assert commit_of(tmp_path / "here") == f"{head}+changes"

    harden()
    with (tmp_path / "code.tar.gz").open("w+b") as f:
        CodeArchive(root=str(tmp_path / "here")).write_archive(f)
    with tarfile.open(tmp_path / "code.tar.gz") as archive:
        archive.extractall(tmp_path / "there")
    assert (tmp_path / "there" / "steps" / "a.py").read_text() == "A = 2\n"
    assert commit_of(tmp_path / "there") == f"{head}+changes"


def test_nobody_knows_the_commit_of_a_copy(tmp_path: Path) -> None:
    assert commit_of(tmp_path) is None

"""One run of everything; then every file that its stores hold is damaged in every way, and a verification names it.

The files are found by walking the stores: a new kind is covered, or fails here, the day it is made.
"""

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from itertools import cycle
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ops.main import app
from steps.contracts.runs import RunRecord

ROOT = Path(__file__).resolve().parents[2]
# What is nobody's evidence, as docs/audit.md says: locks, this machine's caches and keys, ZenML's own store, what was
# watched in training (its numbers stand in the reports), and what was removed (whose records other tests damage).
NO_EVIDENCE = {
    "cache", "checkpoints", "code", "locks", "work", "zenml", "tokens", "signing.key", "secrets.key", "removed",
    "watch",
}  # fmt: skip
# Databases are damaged by statement: a byte may lie in a page that nothing uses.
DATABASE = "mlflow.db"

pytestmark = pytest.mark.slow


def assay(state: Path, *arguments: str):
    """The command in a process of its own: MLflow keeps files open. Its store isn't that of other tests."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("ZENML_", "MLFLOW_"))}
    return subprocess.run(
        [sys.executable, "-m", "ops.main", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=1500,
        env={**kept, "ASSAY_STATE": str(state), "ASSAY_ROOT": str(ROOT)}, check=False,
    )  # fmt: skip


@pytest.fixture(scope="module")
def state(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("smoke")
    done = assay(folder, "run", "configs/runs/smoke.yaml")
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def verify(state, monkeypatch):
    monkeypatch.setenv("ASSAY_STATE", str(state))
    monkeypatch.setenv("ASSAY_ROOT", str(ROOT))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)

    def run() -> tuple[int, list[dict[str, str]], str]:
        """Exit status, what doesn't hold, all that was said."""
        result = CliRunner().invoke(app, ["audit", "smoke", "--verify", "--json"])
        try:
            found = json.loads(result.stdout)["verification"]["findings"]
        except ValueError:
            # Nothing can be told of the model at all: one error says why.
            found = [{"what": result.output, "state": "differs", "detail": ""}]
        return result.exit_code, [f for f in found if f["state"] in ("differs", "gone")], result.output

    return run


def evidence(state: Path) -> list[Path]:
    """Every file that a run left, by a walk over all that is there."""
    return [f for f in sorted(state.rglob("*")) if f.is_file() and f.stat().st_size and _is_evidence(f, state)]


def _is_evidence(file: Path, state: Path) -> bool:
    parts = file.relative_to(state).parts
    return not NO_EVIDENCE & set(parts) and file.suffix != ".lock" and file.name != DATABASE


def kind_of(file: Path, state: Path) -> tuple[str, ...]:
    """Step, output and name of a file, without the ids that differ from run to run."""
    named = [p for p in file.relative_to(state).parts if not any(c.isdigit() for c in p)]
    return (*named, file.suffix)


def flipped(whole: bytes, _other: bytes) -> bytes:
    middle = len(whole) // 2
    return whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :]


def reordered(whole: bytes, _other: bytes) -> bytes:
    """Lines of a text, halves of anything else, the other way round."""
    lines = whole.splitlines(keepends=True)
    parts = lines if len(lines) > 2 else [whole[: len(whole) // 2], whole[len(whole) // 2 :]]
    turned = b"".join(reversed(parts))
    return turned if turned != whole else whole + b" "


DAMAGES: dict[str, Callable[[bytes, bytes], bytes | None]] = {
    "flipped": flipped,
    "deleted": lambda _whole, _other: None,
    "swapped": lambda _whole, other: other,
    "truncated": lambda whole, _other: whole[: len(whole) // 2],
    "reordered": reordered,
}


@contextmanager
def damaged(file: Path, how: str, other: bytes) -> Iterator[None]:
    whole = file.read_bytes()
    now = DAMAGES[how](whole, other if other != whole else whole + b"\n")
    file.unlink()
    if now is not None:
        file.write_bytes(now)
    try:
        yield
    finally:
        file.unlink(missing_ok=True)
        file.write_bytes(whole)


def named(file: Path, found: list[dict[str, str]]) -> bool:
    """Whether what was found says which file: by its name, or of the stored record by what it is the record of."""
    said = json.dumps(found)
    return f"/{file.name}" in said or (
        "run_record" in file.parts and ("head of the chain" in said or "run.json" in said)
    )


def test_a_whole_run_holds(verify) -> None:
    status, bad, said = verify()
    assert status == 0 and not bad, said
    assert '"not checked"' not in said


def test_every_damage_to_every_kind_of_file_is_found(state, verify) -> None:
    kinds: dict[tuple[str, ...], list[Path]] = {}
    for file in evidence(state):
        kinds.setdefault(kind_of(file, state), []).append(file)
    assert len(kinds) > 90 and {f"{a}.parquet" for a in ("ledger", "answers", "selection")} <= {k[-2] for k in kinds}
    missed = []
    for files, others in zip(kinds.values(), [*list(kinds.values())[1:], next(iter(kinds.values()))], strict=True):
        for how in DAMAGES:
            file = files[0]
            other = files[1].read_bytes() if len(files) > 1 else others[0].read_bytes()
            with damaged(file, how, other):
                status, bad, said = verify()
            if status != 7 or not named(file, bad):
                missed.append((str(file.relative_to(state)), how, status, said[-300:]))
    assert not missed, missed
    assert verify()[0] == 0


def test_every_file_is_covered_and_not_only_one_of_its_kind(state, verify) -> None:
    for file, how in zip(evidence(state), cycle(DAMAGES), strict=False):
        with damaged(file, how, b"another"):
            status, bad, said = verify()
        assert status == 7 and named(file, bad), (file, how, said)


def test_a_file_that_was_put_beside_others_is_found(state, verify) -> None:
    for folder in (state / "artifacts").glob("*_step/*/*/*"):
        if "run_record" in folder.parts or "run_page" in folder.parts:
            continue
        file = folder / "put_there.json"
        file.write_text("{}")
        status, bad, _ = verify()
        file.unlink()
        assert status == 7 and any(f["what"].endswith("put_there.json") for f in bad), folder


@pytest.mark.parametrize("field", [f for f in RunRecord.model_fields if f != "registration"])
def test_every_changed_field_of_the_record_is_seen(state, verify, field) -> None:
    (file,) = state.glob("runs/*/run.json")
    whole = file.read_text()
    record = json.loads(whole)
    record[field] = other_value(field, record[field])
    file.write_text(json.dumps(record))
    status, bad, said = verify()
    file.write_text(whole)
    if field == "name":
        assert "the record of another run" in said, said
    else:
        assert status == 7 and any(field in f["detail"] for f in bad), said


def other_value(field: str, value):
    if field == "monitored" and not value:
        return {"verdict": "steady", "retrain": False}
    if field in ("earlier", "sections") and not value:
        return [{"run_id": "7", "name": "x"} if field == "earlier" else {"title": "t", "columns": [], "rows": []}]
    if isinstance(value, list):
        return value[1:] if value else ["x"]
    if isinstance(value, dict):
        return dict(list(value.items())[1:])
    return 7.0 if isinstance(value, float) else "2026-01-01T00:00:00+00:00"


@pytest.mark.parametrize(
    "change",
    ["DELETE FROM model_versions", "UPDATE model_version_tags SET value = 'x'",
     "UPDATE model_version_tags SET value = 'x' WHERE key = 'chain'",
     "UPDATE model_version_tags SET value = 'x' WHERE key = 'chain_signature'",
     "DELETE FROM model_version_tags WHERE key = 'chain'",
     "UPDATE model_version_tags SET value = value || 'x' WHERE key = 'record_uri'"],
)  # fmt: skip
def test_a_version_that_the_registry_lost_or_changed_is_seen(state, verify, change) -> None:
    file = state / "artifacts" / DATABASE
    whole = file.read_bytes()
    with closing(sqlite3.connect(file)) as connection:
        connection.execute(change)
        connection.commit()
    status, _, said = verify()
    file.write_bytes(whole)
    assert status == 7 and ("regist" in said or "chain" in said), said


@pytest.mark.parametrize("content", [None, b"", b"x" * 5000])
def test_a_registry_whose_database_is_damaged_is_named_and_left_alone(state, content) -> None:
    file = state / "artifacts" / DATABASE
    whole = file.read_bytes()
    file.unlink()
    if content is not None:
        file.write_bytes(content)
    found = assay(state, "audit", "smoke", "--verify")
    left = file.read_bytes() if file.exists() else None
    file.write_bytes(whole)
    assert found.returncode == 7 and DATABASE in found.stdout and left == content


def test_its_dataset_is_audited_by_itself_too(state) -> None:
    whole = assay(state, "audit", "run:smoke", "--verify", "--json")
    found = json.loads(whole.stdout)["verification"]["findings"]
    assert whole.returncode == 0, [f for f in found if f["state"] != "holds"]
    states = {f["what"]: f["state"] for f in found}
    assert states["a signed chain leads to the record of the run"] == "holds"
    for name in ("ledger.parquet", "manifest.json", "value.json", "run.json"):
        file = next(f for f in evidence(state) if f.name == name and "decision" not in f.parts)
        for how in ("flipped", "deleted"):
            with damaged(file, how, b""):
                done = assay(state, "audit", "run:smoke", "--verify", "--json")
            assert done.returncode == 7 and name in done.stdout + done.stderr, (file, how)


def test_gc_of_whoever_knows_no_run_takes_nothing_that_the_model_needs(state, verify, tmp_path) -> None:
    """Another machine with an empty state folder; and this one, whose index and ZenML's store are lost."""
    before = {f: f.read_bytes() for f in evidence(state)}
    waste = state / "artifacts" / "shards" / f"{'ab' * 32}.parquet"
    waste.write_bytes(b"rows that nothing names")
    collect = ("gc", "--store", str(state / "artifacts"), "--grace", "0d", "--yes", "--json")
    done = assay(tmp_path / "other", *collect)
    said = json.loads(done.stdout)
    assert done.returncode == 0 and [Path(w["uri"]) for w in said["found"]] == [waste] and not waste.exists()
    aside = state.with_name("aside")
    aside.mkdir()
    for name in ("runs", "zenml"):
        (state / name).rename(aside / name)
    again = assay(state, "gc", "--grace", "0d", "--yes", "--json")
    for name in ("runs", "zenml"):
        shutil.rmtree(state / name, ignore_errors=True)
        (aside / name).rename(state / name)
    assert again.returncode == 0, again.stderr
    kinds = {w["kind"].split()[0] for w in json.loads(again.stdout)["found"]}
    assert kinds == {"checkpoints", "tokens"}, "caches of this machine alone"
    now = {f: f.read_bytes() for f in evidence(state)}
    assert now == before and verify()[0] == 0


def test_an_edited_report_whose_digests_were_mended_is_still_found(state, verify) -> None:
    """Whoever can write to the store mends notes and record too, but not the signed head."""
    (report,) = state.glob("artifacts/dedup_step/dedup_report/*/*/report.json")
    (stored,) = state.glob("artifacts/finish_step/run_record/*/*/value.json")
    before = {f: f.read_bytes() for f in (report, report.with_name("sha256"), stored, stored.with_name("sha256"))}
    old = report.with_name("sha256").read_text()
    from steps.contracts.digests import bytes_digest

    report.write_bytes(before[report].replace(b'"dropped": ', b'"dropped": 9', 1))
    new = bytes_digest(report.read_bytes())
    report.with_name("sha256").write_text(new)
    stored.write_bytes(before[stored].replace(old.encode(), new.encode()))
    stored.with_name("sha256").write_text(bytes_digest(stored.read_bytes()))
    status, bad, _ = verify()
    for file, content in before.items():
        file.write_bytes(content)
    wrong = {f["what"].split()[0]: f for f in bad}
    assert status == 7 and "reports" in wrong and "the head of the chain" in json.dumps(bad)

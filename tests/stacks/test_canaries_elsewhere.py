"""Canaries in a run whose artifacts, step logs and durable state lie in a bucket: nothing there, or here, shows one."""

from pathlib import Path

import fsspec
import pytest
from support.checkout import checkout
from support.planted_run import plant

pytestmark = pytest.mark.stacks


def test_a_bucket_holds_none_but_in_what_is_marked_raw(
    own_s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ASSAY_STATE", str(tmp_path / "state"))
    planted = plant(tmp_path)
    root = checkout(tmp_path / "checkout")
    (root / "configs" / "infra" / "logged.yaml").write_text("extends: s3\nrun: {enable_step_logs: true}\n")
    told = ("--infra", "logged")
    said = [
        planted.run(*told, "--set", "ingest.max_reject_share=0.01", status=3, ASSAY_ROOT=str(root)),
        planted.run(*told, ASSAY_ROOT=str(root)),
    ]
    fs, path = fsspec.url_to_fs(own_s3)
    bucket = tmp_path / "bucket"
    names = fs.find(path)
    for name in names:
        file = bucket / name.removeprefix(path).lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(fs.cat_file(name))
    assert any("/logs/" in name or name.endswith(".log") for name in names), names[:50]
    assert any("/rejects/" in name for name in names)
    assert planted.found(*said, also=[bucket]) == {}
    assert planted.found(also=[bucket], raw=()) != {}

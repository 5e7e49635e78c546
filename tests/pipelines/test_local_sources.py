"""Sources of this machine for steps elsewhere: small ones travel, under names by which ingest finds the same files."""

from pathlib import Path

import pytest

from pipelines import local_sources
from pipelines.config import RunConfig
from pipelines.local_sources import bring_sources, places
from steps.contracts.errors import ConfigError
from steps.ingest.files import find_files
from steps.zenml_runtime.inputs import laid_out


def config(*paths: str) -> RunConfig:
    sources = [{"name": f"s{i}", "path": path} for i, path in enumerate(paths)]
    return RunConfig.model_validate(
        {"name": "far", "pipeline": "curate", "skip": ["scrub"], "ingest": {"sources": sources}}
    )


@pytest.fixture
def data(tmp_path: Path) -> Path:
    for name in ("in/a.jsonl", "in/b.jsonl", "in/c.csv", "in/deep/d.jsonl", "one.jsonl"):
        (tmp_path / "root" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "root" / name).write_text(name)
    return tmp_path / "root"


@pytest.mark.parametrize("path", ["one.jsonl", "in", "in/*.jsonl", "in/**/*.jsonl"])
def test_ingest_finds_the_same_files_elsewhere(data: Path, path: str, tmp_path: Path) -> None:
    wanted = config(path)
    brought = bring_sources(wanted, data)
    assert set(brought) == set(places(wanted))
    there = laid_out(brought, tmp_path / "elsewhere")
    (source,) = wanted.ingest.sources
    here = find_files(source, data)
    assert [(f.relative, f.sha256()) for f in find_files(source, there).files] == [
        (f.relative, f.sha256()) for f in here.files
    ]
    assert find_files(source, there).notes == here.notes


def test_two_patterns_of_one_folder_travel_together(data: Path) -> None:
    assert set(bring_sources(config("in/a*.jsonl", "in/b*.jsonl"), data)["in"]) == {"a.jsonl", "b.jsonl"}


def test_what_the_steps_can_read_themselves_stays(data: Path) -> None:
    wanted = config("s3://bucket/rows.jsonl", str(data / "one.jsonl"))
    assert places(wanted) == () and bring_sources(wanted, data) == {}


def test_a_large_source_is_refused_with_a_way_out(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_sources, "MOST_BYTES", 10)
    with pytest.raises(ConfigError) as caught:
        bring_sources(config("in"), data)
    assert caught.value.what == "source s0 has 43 bytes in 4 files on this machine, and the steps run elsewhere"
    assert caught.value.where == "in" and "name its URL" in (caught.value.hint or "")


def test_a_name_that_leads_out_of_the_project_is_refused(data: Path) -> None:
    (data.parent / "out.jsonl").write_text("{}")
    with pytest.raises(ConfigError, match="can't travel"):
        bring_sources(config("../out.jsonl"), data)

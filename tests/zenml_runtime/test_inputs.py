from pathlib import Path
from typing import IO

import pytest
import yaml

from pipelines.config import RunConfig
from pipelines.start import _inputs_by_stage, to_bring
from steps.contracts.digests import file_digest
from steps.contracts.errors import ConfigError, InputNotFoundError, IntegrityError
from steps.evaluate.suites.tasks import suite_parts
from steps.zenml_runtime import urls
from steps.zenml_runtime.inputs import bring, laid_out


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where paths in a config start; the process has a state folder of its own, as on another machine."""
    monkeypatch.setenv("ASSAY_STATE", str(tmp_path / "state"))
    (tmp_path / "home" / "model" / "sub").mkdir(parents=True)
    (tmp_path / "home" / "words.txt").write_text("kettle\n")
    (tmp_path / "home" / "model" / "config.json").write_text("{}")
    (tmp_path / "home" / "model" / "sub" / "weights").write_bytes(b"\0\1")
    return tmp_path / "home"


def test_files_folders_and_urls_lie_elsewhere_under_their_names(root: Path, tmp_path: Path) -> None:
    url = (root / "words.txt").as_uri()
    brought = {name: bring(name, root) for name in ("words.txt", "model", url)}
    far = laid_out(brought, tmp_path / "no-checkout")
    assert (far / "words.txt").read_text() == (far / url).read_text() == "kettle\n"
    assert (far / "model" / "config.json").read_text() == "{}"
    assert (far / "model" / "sub" / "weights").read_bytes() == b"\0\1"
    assert laid_out(brought, tmp_path / "no-checkout") == far


def test_what_is_read_in_place_lies_beside_it(root: Path) -> None:
    folder = laid_out({"words.txt": {}, "model": bring("model", root)}, root)
    assert (folder / "words.txt").resolve() == (root / "words.txt").resolve()


def test_other_bytes_under_a_digest_are_refused(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from zenml.client import Client

    brought = bring("words.txt", root)
    stored = Path(Client().active_stack.artifact_store.path) / "inputs" / brought[""]
    stored.write_text("kettles\n")
    with pytest.raises(IntegrityError):
        laid_out({"words.txt": brought}, root)
    stored.unlink()
    with pytest.raises(InputNotFoundError, match="artifact store"):
        laid_out({"words.txt": brought}, root)


def test_file_that_was_cut_off_on_its_way_is_brought_again(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (root / "names.txt").write_text("Ada\n")

    def cut_off(source: IO[bytes], target: IO[bytes]) -> None:
        target.write(source.read(2))
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(urls, "copy", cut_off)
        bring("names.txt", root)
    folder = laid_out({"names.txt": bring("names.txt", root)}, root)
    assert (folder / "names.txt").read_text() == "Ada\n"


@pytest.mark.parametrize("name", ["../words.txt", "/etc/hostname"])
def test_name_that_can_not_be_the_same_elsewhere_is_refused(root: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="travel"):
        bring(name, root)


def test_missing_files_are_named(root: Path) -> None:
    for name in ("nothing.txt", (root / "nothing.txt").as_uri()):
        with pytest.raises(InputNotFoundError, match=r"nothing\.txt"):
            bring(name, root)


def test_a_suite_travels_with_all_that_it_names_and_what_it_names_by_url(root: Path, tmp_path: Path) -> None:
    here, url = root / "suites", (root / "far.jsonl").as_uri()
    here.mkdir()
    rows = '{"question": "Who?", "answer": "Marta"}\n'
    (here / "near.jsonl").write_text(rows)
    (root / "far.jsonl").write_text(rows)
    sha256 = file_digest(root / "far.jsonl")
    tasks = [{"name": "near", "kind": "qa", "file": "near.jsonl"}]
    tasks += [{"name": "far", "kind": "qa", "file": url, "sha256": sha256}]
    (here / "s.yaml").write_text(yaml.safe_dump({"name": "s", "version": "1", "licence": "x", "tasks": tasks}))
    given = {"base": {"model": "toy"}, "registry": {"name": "a"}, "evaluate": {"suites": ["suites/s.yaml"]}}
    config = RunConfig.model_validate({"name": "x", "pipeline": "finetune", "dataset": "latest", **given})
    brought = {n: b for n, b in to_bring(config.model_copy(update={"base": None}), root).items() if "suites" in n}
    assert sorted(brought) == ["suites/near.jsonl", "suites/s.yaml"]
    elsewhere = tmp_path / "no-checkout"
    found = _inputs_by_stage(config, elsewhere, brought)["evaluate"]
    assert sorted(found) == sorted([*brought, f"{url}#sha256={sha256}"])
    parts = suite_parts(config.evaluate.suites, laid_out(found, elsewhere))
    assert [p.name for p in parts] == ["s.near", "s.far"]

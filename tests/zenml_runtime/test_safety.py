"""Pickle is refused on save and on load, and only code enters a code archive."""

from pathlib import Path

import pytest
from zenml.artifacts import utils as artifact_utils
from zenml.materializers.cloudpickle_materializer import CloudpickleMaterializer
from zenml.materializers.materializer_registry import materializer_registry
from zenml.utils.code_utils import CodeArchive

from steps.contracts.errors import UnsafeSerializationError
from steps.zenml_runtime import safety


class Thing:
    """A type that no materializer knows."""


@pytest.fixture(autouse=True)
def hardened() -> None:
    safety.harden()


def test_unknown_type_finds_only_the_refusal(tmp_path: Path) -> None:
    materializer = materializer_registry[Thing](str(tmp_path))
    with pytest.raises(UnsafeSerializationError, match=r"test_safety\.Thing"):
        materializer.save(Thing())
    assert not list(tmp_path.iterdir())


def test_cloudpickle_cannot_even_be_made(tmp_path: Path) -> None:
    with pytest.raises(UnsafeSerializationError, match="cloudpickle"):
        CloudpickleMaterializer(str(tmp_path))


def test_artifact_recorded_with_pickle_is_refused_before_its_module_is_imported(tmp_path: Path) -> None:
    with pytest.raises(UnsafeSerializationError, match="written by"):
        artifact_utils._load_artifact_from_uri(
            materializer="no_such_module.Evil", data_type="builtins.dict", uri=str(tmp_path)
        )


def test_set_of_unknown_things_is_refused() -> None:
    from zenml.client import Client

    folder = Path(Client().active_stack.artifact_store.path) / "refused"
    folder.mkdir(parents=True)
    materializer = materializer_registry[list](str(folder))
    with pytest.raises(UnsafeSerializationError):
        materializer.save([Thing()])


def test_every_step_output_has_a_safe_materializer() -> None:
    import typing

    from pipelines.steps_list import all_steps

    checked = 0
    for step in all_steps():
        returned = typing.get_type_hints(step.entrypoint, include_extras=True)["return"]
        outputs = typing.get_args(returned) if typing.get_origin(returned) is tuple else (returned,)
        for output in outputs:
            kind = typing.get_args(output)[0] if typing.get_origin(output) is typing.Annotated else output
            chosen = materializer_registry[kind]
            assert chosen is not safety.RefusePickle, (step.name, kind)
            assert safety.is_safe_materializer(f"{chosen.__module__}.{chosen.__qualname__}"), (step.name, kind)
            checked += 1
    assert checked >= 25


def test_code_archive_outside_git_holds_code_only(tmp_path: Path) -> None:
    for name in (
        "steps/a.py",
        "configs/runs/x.yaml",
        "pyproject.toml",
        ".zenml/state/zenml/local.db",
        ".zenml/stacks/local.yaml",
        ".env",
        "data/rows.jsonl",
        "steps/secret.pem",
        "out/model.safetensors",
        ".venv/lib/x.py",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    archive = CodeArchive(str(tmp_path))
    assert set(archive.get_files()) == {"steps/a.py", "configs/runs/x.yaml", "pyproject.toml"}

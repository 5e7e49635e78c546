"""Pickle is refused, and only code enters a code archive. Both rest on ZenML's internals.

Nothing here runs at import. `harden` is called by the step decorator, so that it holds in every process that can
load a step: the launcher, a local run, a container on a remote stack.
"""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

from zenml.artifacts import utils as artifact_utils
from zenml.integrations.registry import integration_registry
from zenml.materializers.base_materializer import BaseMaterializer
from zenml.materializers.materializer_registry import materializer_registry
from zenml.utils import code_utils

from steps.contracts.code import FIRST_PARTY
from steps.contracts.errors import UnsafeSerializationError
from steps.engines.imports.absent import absent
from steps.zenml_runtime.commit import COMMIT_FILE, commit_of
from steps.zenml_runtime.light_start import MATERIALIZER_INTEGRATIONS

# Ours, and ZenML's own that write JSON or plain bytes. Everything else (cloudpickle, numpy with pickle ...) is refused.
_SAFE_MATERIALIZERS = (
    "materializers.",
    "zenml.materializers.built_in_materializer.",
    "zenml.materializers.pydantic_materializer.",
    "zenml.materializers.structured_string_materializer.",
    "zenml.materializers.uuid_materializer.",
)
# Suffixes of source files that remote steps need; anything else (data, secrets, state) never enters the code archive.
_CODE_SUFFIXES = (".py", ".yaml", ".yml", ".toml", ".jinja", ".css", ".txt", ".json", ".npz")
_CODE_FOLDERS = (*FIRST_PARTY, "configs")
# Of the examples: code that a config names by import path, and the list that it reads.
_EXAMPLES, _PLANTED = "examples", "planted.jsonl"


class RefusePickle(BaseMaterializer):
    """Stands where ZenML's cloudpickle default stood: a type without a materializer of its own is refused."""

    SKIP_REGISTRATION = True
    ASSOCIATED_TYPES = (object,)

    def save(self, data: Any) -> None:
        """Refuse.

        Raises:
            UnsafeSerializationError: always.
        """
        raise _refusal(f"no safe materializer for {type(data).__module__}.{type(data).__qualname__}")

    def load(self, data_type: type[Any]) -> Any:
        """Refuse.

        Raises:
            UnsafeSerializationError: always.
        """
        raise _refusal(f"no safe materializer for {data_type.__module__}.{data_type.__qualname__}")


def _refusal(what: str) -> UnsafeSerializationError:
    return UnsafeSerializationError(
        what,
        where="artifact store",
        hint="write a materializer for this type (Parquet, JSON, safetensors); loading a pickle runs its code",
    )


def harden() -> None:
    """Refuse pickle and unknown materializers on save and load, and keep all but code out of code archives.

    Idempotent.
    """
    if materializer_registry.default_materializer is RefusePickle:
        return
    materializer_registry.default_materializer = RefusePickle
    BaseMaterializer.__init__ = _checked_init(BaseMaterializer.__init__)
    artifact_utils._load_artifact_from_uri = _checked_load(artifact_utils._load_artifact_from_uri)
    code_utils.CodeArchive.get_files = _code_only(code_utils.CodeArchive.get_files)
    # One integration imports numba to silence it, and sends its compiled kernels to /tmp, where every user may write.
    with absent("numba"):
        integrations = integration_registry.integrations
    for name in MATERIALIZER_INTEGRATIONS:
        integrations[name].activate = classmethod(lambda cls: None)


def is_safe_materializer(import_path: str) -> bool:
    """Whether artifacts written by this materializer class may be read and written."""
    return import_path.startswith(_SAFE_MATERIALIZERS) or import_path == f"{__name__}.RefusePickle"


def _checked_init(init: Callable[..., None]) -> Callable[..., None]:
    """Every save and every load makes a materializer first (nested ones too), so this is where both are refused."""

    @functools.wraps(init)
    def checked(self: BaseMaterializer, *args: Any, **kwargs: Any) -> None:
        path = f"{type(self).__module__}.{type(self).__qualname__}"
        if not is_safe_materializer(path):
            raise _refusal(f"{path} is not on the list of safe materializers")
        init(self, *args, **kwargs)

    return checked


def _checked_load(load: Callable[..., Any]) -> Callable[..., Any]:
    """Refuse by the recorded name, before the named module is imported."""

    @functools.wraps(load)
    def checked(materializer: Any, *args: Any, **kwargs: Any) -> Any:
        path = materializer if isinstance(materializer, str) else materializer.import_path
        if not is_safe_materializer(path):
            raise _refusal(f"this artifact was written by {path}, which is not on the list of safe materializers")
        return load(materializer, *args, **kwargs)

    return checked


def _code_only(get_files: Callable[..., dict[str, str]]) -> Callable[..., dict[str, str]]:
    @functools.wraps(get_files)
    def filtered(archive: Any) -> dict[str, str]:
        # The archive has no .git: the commit travels beside the code that it is of.
        archive.add_file(commit_of(Path(archive._root)) or "", COMMIT_FILE)
        return {name: path for name, path in get_files(archive).items() if belongs_in_code_archive(name)}

    return filtered


def belongs_in_code_archive(name: str) -> bool:
    """Whether a file (POSIX path relative to the source root) is code that a remote step needs."""
    parts = Path(name).parts
    if parts[0] == _EXAMPLES:
        return name.endswith(".py") or parts[-1] == _PLANTED
    if len(parts) == 1:
        return name == "pyproject.toml"
    return parts[0] in _CODE_FOLDERS and "__pycache__" not in parts and name.endswith(_CODE_SUFFIXES)

"""The one module that touches ZenML's internals. Each thing it relies on has a contract test in tests/zenml_runtime.

Nothing here runs at import. `harden` is called by the step decorator, so that it holds in every process that can
load a step: the launcher, a local run, a container on a remote stack.
"""

import fcntl
import functools
import hashlib
import os
import shutil
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from zenml import step as zenml_step
from zenml.artifacts import utils as artifact_utils
from zenml.client import Client
from zenml.config.cache_policy import CachePolicy
from zenml.enums import ExecutionStatus
from zenml.integrations.registry import integration_registry
from zenml.materializers.base_materializer import BaseMaterializer
from zenml.materializers.materializer_registry import materializer_registry
from zenml.orchestrators.publish_utils import publish_failed_pipeline_run, publish_failed_step_run
from zenml.steps import get_step_context
from zenml.utils import code_utils, source_utils

from steps.contracts.code import FIRST_PARTY, code_of
from steps.contracts.digests import canonical_json
from steps.contracts.errors import InputNotFoundError, UnsafeSerializationError
from steps.contracts.reports import StageReport

# Ours, and ZenML's own that write JSON or plain bytes. Everything else (cloudpickle, numpy with pickle ...) is refused.
_SAFE_MATERIALIZERS = (
    "materializers.",
    "zenml.materializers.built_in_materializer.",
    "zenml.materializers.pydantic_materializer.",
    "zenml.materializers.structured_string_materializer.",
    "zenml.materializers.uuid_materializer.",
)
# Integrations that add nothing but materializers, all of which are refused; importing their libraries at every start
# costs two to four seconds (sklearn and scipy, torch).
_MATERIALIZER_INTEGRATIONS = (
    "pytorch",
    "sklearn",
    "huggingface",
    "scipy",
    "numpy",
    "pandas",
    "pillow",
    "tensorflow",
    "xgboost",
    "lightgbm",
    "polars",
)
# Suffixes of source files that remote steps need; anything else (data, secrets, state) never enters the code archive.
_CODE_SUFFIXES = (".py", ".yaml", ".yml", ".toml", ".jinja", ".css", ".txt", ".json", ".npz")
_CODE_FOLDERS = (*FIRST_PARTY, "configs")
# Where the launcher writes, in a run's `extra`, which artifacts of an earlier run may be reused.
REUSE = "reuse"

StepFunction = Callable[..., Any]


def state_folder() -> Path:
    """Folder for what outlives a step on this machine (caches, checkpoints): ASSAY_STATE, else a temporary one."""
    named = os.environ.get("ASSAY_STATE")
    folder = Path(named) if named else Path(tempfile.gettempdir()) / "assay-state"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return folder


def workspace(step_name: str) -> Path:
    """A fresh folder for one execution of a step; its content is copied to the artifact store by the materializers."""
    parent = state_folder() / "work" / str(os.getpid())
    parent.mkdir(parents=True, exist_ok=True)
    return Path(tempfile.mkdtemp(prefix=f"{step_name}-", dir=parent))


def clear_workspaces() -> None:
    """Remove what this process's steps left, and those of dead processes; the artifact store has links or copies."""
    for folder in (state_folder() / "work").glob("*"):
        if folder.name == str(os.getpid()) or not Path(f"/proc/{folder.name}").exists():
            shutil.rmtree(folder, ignore_errors=True)


def source_root() -> Path:
    """The folder that relative paths in a config start from."""
    return Path(source_utils.get_source_root())


# --- steps -----------------------------------------------------------------------------------------------------


def assay_step(key: Callable[[], str]) -> Callable[[StepFunction], Any]:
    """A ZenML step whose cache key is `key()` (made by `cache_key`), its parameters and its inputs' content hashes.

    The step's own source isn't in the key as text: its syntax tree is, through `cache_key`, so that editing a
    comment re-runs nothing.
    """
    harden()
    policy = CachePolicy(include_step_code=False, cache_func=key)

    def decorate(function: StepFunction) -> Any:
        return zenml_step(cache_policy=policy, enable_cache=True)(_narrated(function))

    return decorate


def _narrated(function: StepFunction) -> StepFunction:
    """The same function, saying on standard error when it starts, and with what it ends."""
    name = function.__name__.removesuffix("_step")

    @functools.wraps(function)
    def narrated(*args: Any, **kwargs: Any) -> Any:
        say(f"{name} ...")
        started = time.monotonic()
        result = function(*args, **kwargs)
        outputs = result if isinstance(result, tuple) else (result,)
        report = next((o for o in outputs if isinstance(o, StageReport)), None)
        rows = f" · {report.rows_in:,} rows in, {report.kept:,} kept" if report else ""
        say(f"{name} done in {time.monotonic() - started:.1f} s{rows}")
        return result

    return narrated


def say(line: str) -> None:
    """One line of progress on standard error; nothing when ASSAY_PROGRESS is off."""
    if os.environ.get("ASSAY_PROGRESS") != "off":
        sys.stderr.write(f"{line}\n")
        sys.stderr.flush()


def cache_key(module: str, libraries: Sequence[str] = (), used_by_path: Sequence[str] = ()) -> str:
    """Digest of what decides a step's result besides parameters and inputs.

    That is the docstring-free syntax tree of every first-party module that `module` imports, directly or not (and of
    those in `used_by_path`, which it reads as files), the bytes of the data files that lie beside these modules, and
    the installed versions of `libraries` (distribution names; "-" when not installed).
    """
    h = hashlib.sha256()
    for name, digest in sorted(code_of((module, *used_by_path)).items()):
        h.update(f"{name}={digest}\n".encode())
    for library in sorted(libraries):
        h.update(f"{library}=={_version(library)}\n".encode())
    return h.hexdigest()


def _version(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return "-"


# --- what a step sees of its run -------------------------------------------------------------------------------


def is_tracked() -> bool:
    """Whether the running step is bound to an experiment tracker (configs/infra does that, never code)."""
    return bool(get_step_context().step_run.config.experiment_tracker)


def track_params(params: dict[str, Any]) -> None:
    """Record parameters with the step's experiment tracker, if it has one. Nested values become JSON text."""
    if is_tracked():
        import mlflow

        mlflow.log_params(
            {k: v if isinstance(v, str | int | float | bool) else canonical_json(v) for k, v in params.items()}
        )


def track_metrics(step: int, metrics: dict[str, float]) -> None:
    """Record metrics at an optimizer step with the step's experiment tracker, if it has one."""
    if is_tracked():
        import mlflow

        mlflow.log_metrics(metrics, step=step)


def input_uri(name: str) -> str:
    """URI of an input artifact's folder in the artifact store."""
    found = get_step_context().inputs[name]
    return str(found[0].uri if isinstance(found, list) else found.uri)


def run_facts() -> dict[str, str]:
    """Names that lead from a registered model back to its run: ZenML run id and name, pipeline, stack, and what the
    launcher put into the run's `extra` (commit, config digest). None of it is in a cache key.
    """
    context = get_step_context()
    run = context.pipeline_run
    return {
        "zenml_run_id": str(run.id),
        "zenml_run": run.name,
        "pipeline": context.pipeline.name,
        "stack": run.stack.name if run.stack else "",
        **{name: str(value) for name, value in run.config.extra.items() if name != REUSE},
    }


def earlier(name: str) -> Any:
    """The artifact of that name from the run that this one builds on (config key `reuse`); None without one.

    It is named in the run's `extra`, which is in no cache key: what is kept between runs decides what a run costs,
    never what it finds, so that an identical run is served from the cache whatever it could have reused.

    Raises:
        InputNotFoundError: its files are gone. IntegrityError: they are damaged.
    """
    version = get_step_context().pipeline_run.config.extra.get(REUSE, {}).get(name)
    if not version:
        return None
    artifact = Client().get_artifact_version(version)
    try:
        return artifact.load()
    except FileNotFoundError as e:
        raise InputNotFoundError(
            f"what an earlier run kept is gone ({name})",
            where=artifact.uri,
            hint="run once with `--set reuse=null`: everything is computed and kept anew",
        ) from e


# --- safety ----------------------------------------------------------------------------------------------------


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
    for name in _MATERIALIZER_INTEGRATIONS:
        integration_registry.integrations[name].activate = classmethod(lambda cls: None)


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
        return {name: path for name, path in get_files(archive).items() if belongs_in_code_archive(name)}

    return filtered


def belongs_in_code_archive(name: str) -> bool:
    """Whether a file (POSIX path relative to the source root) is code that a remote step needs."""
    parts = Path(name).parts
    if len(parts) == 1:
        return name == "pyproject.toml"
    return parts[0] in _CODE_FOLDERS and "__pycache__" not in parts and name.endswith(_CODE_SUFFIXES)


# --- the local store -------------------------------------------------------------------------------------------


def use_wal(database: Path) -> None:
    """Put ZenML's SQLite file in write-ahead mode (it stays so): measured a third less time per step."""
    if database.is_file():
        with sqlite3.connect(database) as connection:
            connection.execute("PRAGMA journal_mode=WAL")


@contextmanager
def run_lock(run_name: str) -> Iterator[None]:
    """Held while a local run lives; the system frees it when the process dies, however it dies."""
    path = _lock_file(run_name)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as f:
        fcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB)
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


def _lock_file(run_name: str) -> Path:
    return state_folder() / "locks" / f"{hashlib.sha256(run_name.encode()).hexdigest()[:24]}.lock"


def _is_alive(run_name: str) -> bool:
    path = _lock_file(run_name)
    if not path.is_file():
        return False
    with path.open() as f:
        try:
            fcntl.flock(f, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def reap() -> list[str]:
    """Mark local runs whose process has died as failed (ZenML leaves them running for ever). Returns their names.

    Their finished steps stay in the cache.
    """
    client = Client()
    reaped = []
    for status in (ExecutionStatus.RUNNING, ExecutionStatus.INITIALIZING, ExecutionStatus.PROVISIONING):
        for listed in client.list_pipeline_runs(status=status, size=100).items:
            run = client.get_pipeline_run(listed.id)
            local = run.stack is None or _is_local(run.stack)
            if not local or _is_alive(run.name):
                continue
            for one in run.steps.values():
                if not one.status.is_finished:
                    publish_failed_step_run(one.id)
            publish_failed_pipeline_run(run.id)
            _lock_file(run.name).unlink(missing_ok=True)
            reaped.append(run.name)
    return reaped


def _is_local(stack: Any) -> bool:
    return any(
        component.flavor_name == "local"
        for kind, components in stack.components.items()
        if str(kind) == "orchestrator"
        for component in components
    )

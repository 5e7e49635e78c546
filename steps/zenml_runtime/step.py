"""The decorator of every step, and its cache key."""

import functools
import gc
import hashlib
import time
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any, TypeVar

from zenml import log_metadata
from zenml import step as zenml_step
from zenml.config.cache_policy import CachePolicy
from zenml.steps import get_step_context

from steps.contracts.code import code_of
from steps.contracts.reports import StageReport, rows_of
from steps.engines.imports.arrow import leave_pandas
from steps.engines.progress.progress import say
from steps.zenml_runtime.context import durable_state, time_limit
from steps.zenml_runtime.deadline import deadline
from steps.zenml_runtime.faults import without_quotes
from steps.zenml_runtime.heartbeat import sign_of_life
from steps.zenml_runtime.machine import note_machine
from steps.zenml_runtime.outputs import named_outputs, naming_handles, returning_tuple
from steps.zenml_runtime.packages import list_packages_here
from steps.zenml_runtime.safety import harden
from steps.zenml_runtime.state import use_state

StepFunction = Callable[..., Any]
R = TypeVar("R")
# Under this name a step's run has what its cache key is made of.
KEY_PARTS = "cache_key"
# Characters that tell two digests of one module apart.
_SHORT = 12
# Python's own.
_COLLECTED_AFTER = (700, 10, 10)


def assay_step(key: Callable[[], str], *, unscrubbed: bool = False) -> Callable[[Callable[..., R]], Callable[..., R]]:
    """A ZenML step whose cache key is `key()` (made by `cache_key`), its parameters and its inputs' content hashes.

    `unscrubbed`: it holds text that no scrub has seen; of errors that it didn't foresee only class and place are kept.

    The step's own source isn't in the key as text: its syntax tree is, through `cache_key`, so that editing a
    comment re-runs nothing.

    A function that returns a NamedTuple of `Annotated[type, "artifact name"]` makes a step whose call in a pipeline
    gives that NamedTuple of handles. So the result is typed as the function's; arguments are handles or parameters.
    """
    harden()
    decorator = zenml_step(cache_policy=CachePolicy(include_step_code=False, cache_func=key), enable_cache=True)
    return lambda function: _made(decorator, function, key, unscrubbed)


def uncached_step(function: Callable[..., R]) -> Callable[..., R]:
    """A ZenML step that runs in every run, whatever was there before; its outputs as `assay_step` says."""
    harden()
    return _made(zenml_step(enable_cache=False), function)


def _made(
    decorator: Callable[[StepFunction], Any],
    function: Callable[..., R],
    key: Callable[[], str] | None = None,
    unscrubbed: bool = False,
) -> Callable[..., R]:
    list_packages_here()
    leave_pandas()
    kind = named_outputs(function)
    narrated = _narrated(_guarded(function) if unscrubbed else function, key)
    made: Callable[..., R] = (
        decorator(narrated)
        if kind is None
        else naming_handles(decorator(returning_tuple(narrated, kind)), kind, function)
    )
    return made


def _guarded(function: StepFunction) -> StepFunction:
    """The same function; errors that it didn't foresee quote no rows."""

    @functools.wraps(function)
    def guarded(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except Exception as e:
            told = without_quotes(e, function.__name__.removesuffix("_step"))
            if told is e:
                raise
            raise told from None

    return guarded


def _narrated(function: StepFunction, key: Callable[[], str] | None) -> StepFunction:
    """The same function, saying on standard error when it starts, and with what it ends. What its cache key is made of
    is noted with the run of the step.
    """
    name = function.__name__.removesuffix("_step")

    @functools.wraps(function)
    def narrated(*args: Any, **kwargs: Any) -> Any:
        say(f"{name} ...")
        started = time.monotonic()
        _collect_garbage_as_usual()
        use_state(durable_state())
        note_machine()
        if key is not None and isinstance(made := key(), CacheKey):
            log_metadata({KEY_PARTS: made.parts})
        with sign_of_life(get_step_context().step_run), deadline(time_limit(), name):
            result = function(*args, **kwargs)
        outputs = result if isinstance(result, tuple) else (result,)
        report = next((o for o in outputs if isinstance(o, StageReport)), None)
        rows = f" · {rows_of(report)}" if report else ""
        say(f"{name} done in {time.monotonic() - started:.1f} s{rows}")
        return result

    return narrated


def _collect_garbage_as_usual() -> None:
    """A process starts with fewer looks for garbage (light_start.py); cycles of a step may hold tensors.

    What was loaded before its first step isn't looked through again: measured, a tenth of what PyTorch and transformers
    take to load.
    """
    if gc.get_threshold() != _COLLECTED_AFTER:
        gc.freeze()
        gc.set_threshold(*_COLLECTED_AFTER)


class CacheKey(str):
    """A digest, with what it was made of.

    Attributes:
        parts: under "code" the beginning of each digest by module or data file, under "libraries" versions.
    """

    parts: dict[str, dict[str, str]]


def cache_key(module: str, libraries: Sequence[str] = (), used_by_path: Sequence[str] = ()) -> str:
    """Digest of what decides a step's result besides parameters and inputs.

    That is the docstring-free syntax tree of every first-party module that `module` imports, directly or not (and of
    those in `used_by_path`, which it reads as files), the bytes of the data files that lie beside these modules, and
    the installed versions of `libraries` (distribution names; "-" when not installed).
    """
    h = hashlib.sha256()
    code = dict(sorted(code_of((module, *used_by_path)).items()))
    for name, digest in code.items():
        h.update(f"{name}={digest}\n".encode())
    versions = {library: _version(library) for library in sorted(libraries)}
    for library, version_ in versions.items():
        h.update(f"{library}=={version_}\n".encode())
    key = CacheKey(h.hexdigest())
    key.parts = {"code": {name: digest[:_SHORT] for name, digest in code.items()}, "libraries": versions}
    return key


def _version(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return "-"

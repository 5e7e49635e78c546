"""ZenML's dynamic pipelines: which orchestrators have them, and what keeps their cache keys those of others."""

import ast
import functools
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from zenml.config.step_configurations import Step

_THRESHOLD = "ZENML_PARAMETER_SIZE_THRESHOLD"


def has_dynamic_pipelines(flavor: str) -> bool:
    """Whether orchestrators of this flavour run pipelines whose steps aren't known before. ZenML asks an orchestrator
    the same (`supports_dynamic_pipelines`), which takes a stack that is ready. One whose library isn't there has none.
    """
    from zenml.orchestrators import BaseOrchestrator
    from zenml.stack.flavor_registry import FlavorRegistry

    registry = FlavorRegistry()
    known = (made() for made in (*registry.builtin_flavors, *registry.integration_flavors))
    try:
        runs = next(f.implementation_class for f in known if f.type.value == "orchestrator" and f.name == flavor)
    except (StopIteration, ImportError):
        return False
    return bool(runs.submit_dynamic_pipeline is not BaseOrchestrator.submit_dynamic_pipeline)


@contextmanager
def parsing_alone() -> Iterator[None]:
    """Within, one thread at a time has source parsed to a tree, as ZenML does with steps that it begins side by side.

    Python counts the depth of a tree for all threads together, and fails with "SystemError: AST constructor recursion
    depth mismatch" when two of them build one (CPython 3.11; measured: one run of four).
    """
    parse, alone = ast.parse, threading.RLock()

    @functools.wraps(parse)
    def parsed(*given: Any, **said: Any) -> Any:
        with alone:
            return parse(*given, **said)

    ast.parse = parsed
    try:
        yield
    finally:
        ast.parse = parse


@contextmanager
def keyed_as_any_other() -> Iterator[None]:
    """Within a dynamic pipeline's function, steps have the cache keys that they have in a pipeline whose steps are
    known before, so that one takes from the cache what the other made.

    ZenML would store each setting as an artifact, whose id is then in the key; and the key is made of how values print,
    which in other pipelines have been in its store: a tuple has become a list.
    """
    from zenml.execution.pipeline.dynamic.run_context import DynamicPipelineRunContext

    runner: Any = DynamicPipelineRunContext.get().runner  # type: ignore[union-attr]
    compiled = runner._compile_or_reuse
    runner._compile_or_reuse = lambda **given: Step.model_validate_json(compiled(**given).model_dump_json())
    before = os.environ.get(_THRESHOLD)
    os.environ[_THRESHOLD] = "-1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[_THRESHOLD]
        else:
            os.environ[_THRESHOLD] = before

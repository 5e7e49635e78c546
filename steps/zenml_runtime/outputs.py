"""Named outputs: a step returns a NamedTuple of its artifacts, and a pipeline reads its fields.

ZenML knows outputs as a tuple: it takes their number and names from the annotation `tuple[Annotated[...], ...]`, and
only of a function whose source returns a tuple; calling a step in a pipeline gives a list of handles.
"""

import functools
import inspect
from collections import namedtuple
from collections.abc import Callable, Mapping
from typing import Annotated, Any, TypeVar, cast, get_args, get_origin, get_type_hints

from steps.contracts.outcome import Outcome

T = TypeVar("T", bound=tuple[Any, ...])


def named_outputs(function: Callable[..., Any]) -> type[Any] | None:
    """The NamedTuple that a step function returns; None when it returns one artifact, or none."""
    kind = inspect.signature(function).return_annotation
    return kind if isinstance(kind, type) and issubclass(kind, tuple) and hasattr(kind, "_fields") else None


def output_class(name: str, fields: Mapping[str, tuple[Any, str]]) -> Any:
    """The NamedTuple of these outputs: field -> type and artifact name."""
    made = namedtuple(name, list(fields))  # type: ignore[misc]
    made.__annotations__ = {field: Annotated[kind, artifact] for field, (kind, artifact) in fields.items()}
    return made


def artifact_names(kind: type[Any]) -> dict[str, str]:
    """Field -> name of its artifact, as the field's annotation says it."""
    hints = get_type_hints(kind, include_extras=True)
    return {field: get_args(hints[field])[1] for field in kind._fields if get_origin(hints[field]) is Annotated}


def returning_tuple(function: Callable[..., Any], kind: type[Any]) -> Callable[..., Any]:
    """The step function as ZenML wants it: annotated by a tuple, and returning one."""
    hints = get_type_hints(kind, include_extras=True)
    annotation = tuple.__class_getitem__(tuple(hints[field] for field in kind._fields))

    @functools.wraps(function)
    def step(*args: Any, **kwargs: Any) -> Any:
        first, *others = function(*args, **kwargs)
        return first, *others

    # ZenML follows `__wrapped__` to the source, which returns no tuple.
    del step.__wrapped__  # type: ignore[attr-defined]
    step.__annotations__ = {**function.__annotations__, "return": annotation}
    step.__signature__ = inspect.signature(function).replace(return_annotation=annotation)  # type: ignore[attr-defined]
    return step


def naming_handles(step: Any, kind: type[Any], function: Callable[..., Any]) -> Any:
    """The step made of `function`, whose call in a pipeline gives the handles of its outputs by name."""
    call = type(step).__call__

    def __call__(self: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N807
        handles = call(self, *args, **kwargs)
        return kind(*handles) if handles is not None else None

    # The class was made for this step alone.
    type(step).__call__ = __call__
    type(step).source_code = property(lambda _: inspect.getsource(function))
    return step


def outputs(kind: type[T], outcome: Outcome) -> T:
    """An outcome as the outputs of its step: artifacts by name, the rest by field."""
    values = {
        field: outcome.artifacts[name] if name in outcome.artifacts else getattr(outcome, field)
        for field, name in artifact_names(kind).items()
    }
    return cast("T", cast("Any", kind)(**values))

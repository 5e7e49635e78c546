"""Sections of a run's page that are made by functions of one's own, named in the config by import path."""

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any, TypeAlias

from materializers.artifacts import Artifacts
from steps.contracts.errors import AssayError, ConfigError
from steps.contracts.reports import Table

# From the run's artifacts and its resolved config to a table; None where there is nothing to show.
Section: TypeAlias = Callable[[Artifacts, Mapping[str, Any]], Table | None]


def load_section(path: str) -> Section:
    """The function `package.module:name`.

    Raises:
        ConfigError: there is no such module, or no such function in it.
    """
    module, _, name = path.partition(":")
    try:
        found = getattr(import_module(module), name)
    except (ImportError, AttributeError, ValueError) as e:
        raise ConfigError(
            f"no such function: {path!r} ({e})", where="report.sections",
            hint="name it as package.module:function, of a module in the checkout or of an installed package",
        ) from e  # fmt: skip
    if not callable(found):
        raise ConfigError(f"{path!r} is no function", where="report.sections")
    return found  # type: ignore[no-any-return]


def make_sections(paths: Sequence[str], artifacts: Artifacts, config: Mapping[str, Any]) -> tuple[Table, ...]:
    """The tables, in order. A section that can't be made says why: a run doesn't fail for its page."""
    return tuple(t for path in paths if (t := _made(path, artifacts, config)) is not None)


def _made(path: str, artifacts: Artifacts, config: Mapping[str, Any]) -> Table | None:
    try:
        return load_section(path)(artifacts, config)
    except AssayError as e:
        return Table(title=path, columns=("not made",), rows=((str(e),),))

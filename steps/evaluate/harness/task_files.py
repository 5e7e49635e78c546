"""What a YAML file of lm-evaluation-harness names: other YAML files, data, functions. Imports no lm_eval."""

from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from steps.contracts.errors import ConfigError, InputNotFoundError
from steps.contracts.pinned import is_url

# The tag of a function `module.name`, whose module is a file beside the YAML.
FUNCTION = "!function"


class _Loader(yaml.SafeLoader):
    """Functions as their names."""


_Loader.add_constructor(FUNCTION, lambda loader, node: _Function(str(node.value)))


class _Function(str):
    """The name of a function."""


def files_below(name: str, place: Callable[[str], Path]) -> tuple[str, ...]:
    """Names of all files that a task's YAML file is made of besides itself.

    Raises:
        InputNotFoundError: one of them isn't there. ConfigError: it isn't YAML, or names a file elsewhere.
    """
    found: dict[str, None] = {}
    _collect(name, place, found)
    found.pop(name, None)
    return tuple(found)


def _collect(name: str, place: Callable[[str], Path], found: dict[str, None]) -> None:
    if name in found:
        return
    found[name] = None
    values = read_task(place(name), name)
    includes = values.get("include") or []
    for other in [includes] if isinstance(includes, str) else includes:
        _collect(_beside(name, str(other)), place, found)
    for file in (*data_files(values), *(f"{f.partition('.')[0]}.py" for f in _functions(values))):
        found[_beside(name, file)] = None


def read_task(path: Path, name: str) -> dict[str, Any]:
    """The values of a YAML file, functions as their names.

    Raises:
        InputNotFoundError: no such file. ConfigError: it isn't a mapping in YAML.
    """
    if not path.is_file():
        raise InputNotFoundError("no such file of a task", where=name, hint="evaluate.lm_eval.tasks")
    try:
        values = yaml.load(path.read_text("utf-8"), _Loader)
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as e:
        raise ConfigError(f"not valid YAML: {e}", where=name) from e
    if not isinstance(values, dict):
        raise ConfigError("the top level must be a mapping of keys to values", where=name)
    return values


def data_files(values: dict[str, Any]) -> list[str]:
    """Paths of the files with a task's data; URLs are none of them."""
    said = (values.get("dataset_kwargs") or {}).get("data_files") or []
    named = said.values() if isinstance(said, dict) else [said]
    files = [f for of in named for f in ([of] if isinstance(of, str) else of)]
    return [str(f) for f in files if not is_url(str(f))]


def _functions(values: Any) -> Iterator[str]:
    if isinstance(values, _Function):
        yield values
    elif isinstance(values, dict | list):
        for inner in values.values() if isinstance(values, dict) else values:
            yield from _functions(inner)


def _beside(name: str, file: str) -> str:
    if PurePosixPath(file).is_absolute() or ".." in PurePosixPath(file).parts:
        hint = "what a task is made of lies in its folder or below, so that it can be read on every machine"
        raise ConfigError(f"{file} leads out of the task's folder", where=name, hint=hint)
    return str(PurePosixPath(name).parent / file)

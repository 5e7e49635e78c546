"""From a YAML file to a RunConfig: every mistake at once, each with its line and the nearest right spelling."""

import difflib
import types
import typing
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from steps.contracts.errors import ConfigError, InputNotFoundError

KeyPath = tuple[str | int, ...]
M = TypeVar("M", bound=BaseModel)
# Chosen: far more than any configuration has; what a few lines of nested aliases stand for is more.
_MOST_NODES = 100_000
# Pydantic's names of mistakes. What says that a value isn't of a form at all; and what Python calls it.
_OTHER_FORM = ("literal_error", "too_short", "tuple_type", "model_type", "dict_type", "string_type")
_WANTED = {"tuple_type": "a list", "list_type": "a list", "model_type": "a mapping of keys", "dict_type": "a mapping"}


def load_model(model: type[M], path: Path, overrides: Sequence[str] = ()) -> M:
    """Read a YAML file as `model`. `overrides` are `dotted.key=value` with YAML values; they win over the file.

    Raises:
        InputNotFoundError: no such file.
        ConfigError: the file isn't YAML, or anything in it is unknown, contradictory or out of range.
    """
    if not path.is_file():
        raise InputNotFoundError("no such configuration file", where=str(path))
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as e:
        raise ConfigError(f"not UTF-8 text (byte {e.start})", where=str(path), hint="save it as UTF-8") from e
    values, lines = parse_yaml(text, str(path))
    for override in overrides:
        _apply(values, override)
    return validate(model, values, lines, str(path))


def parse_yaml(text: str, where: str) -> tuple[dict[str, Any], dict[KeyPath, int]]:
    """The mapping in a YAML text, and the 1-based line of every key and list item by its place."""
    try:
        node = yaml.compose(text, yaml.SafeLoader)
        if node is not None and _size(node, {}) > _MOST_NODES:
            raise ConfigError(f"its aliases stand for more than {_MOST_NODES:,} values", where=where)
        values = yaml.safe_load(text)
    except yaml.YAMLError as e:
        raise ConfigError(f"not valid YAML: {e}", where=where) from e
    except RecursionError as e:
        raise ConfigError("nested too deeply, or an alias stands for itself", where=where) from e
    if node is None:
        return {}, {}
    if not isinstance(values, dict):
        raise ConfigError("the top level must be a mapping of keys to values", where=where)
    lines: dict[KeyPath, int] = {}
    duplicates = list(_index_lines(node, (), lines))
    if duplicates:
        raise ConfigError("\n".join(duplicates), where=where)
    return values, lines


def _size(node: yaml.Node, sizes: dict[int, int]) -> int:
    """Nodes below and with this one, those behind aliases as often as they are named. `sizes`: by id, what is known."""
    if id(node) not in sizes:
        parts = [n for pair in node.value for n in pair] if isinstance(node, yaml.MappingNode) else node.value
        below = sum(_size(n, sizes) for n in parts) if isinstance(node, yaml.CollectionNode) else 0
        sizes[id(node)] = 1 + below
    return sizes[id(node)]


def _index_lines(node: yaml.Node, place: KeyPath, lines: dict[KeyPath, int]) -> Iterator[str]:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            here = (*place, key.value)
            line = key.start_mark.line + 1
            if here in lines:
                yield f"line {line}: key '{key.value}' stands here a second time (first in line {lines[here]})"
            lines[here] = line
            yield from _index_lines(value, here, lines)
    elif isinstance(node, yaml.SequenceNode):
        for i, item in enumerate(node.value):
            lines[(*place, i)] = item.start_mark.line + 1
            yield from _index_lines(item, (*place, i), lines)


def _apply(values: dict[str, Any], override: str) -> None:
    key, sign, text = override.partition("=")
    if not sign or not key:
        raise ConfigError(f"'{override}' is not of the form dotted.key=value", where="--set")
    *parents, last = key.split(".")
    target: Any = values
    for name in parents:
        target = _descend(target, name, key)
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as e:
        raise ConfigError(f"the value of {key} is not valid YAML: {e}", where="--set") from e
    if isinstance(target, list):
        target[_list_index(target, last, key)] = value
    else:
        target[last] = value


def _descend(target: Any, name: str, key: str) -> Any:
    if isinstance(target, list):
        return target[_list_index(target, name, key)]
    if target.get(name) is None:
        target[name] = {}
    if not isinstance(target[name], dict | list):
        raise ConfigError(f"{key}: '{name}' holds a single value, so nothing can be set below it", where="--set")
    return target[name]


def _list_index(target: list[Any], name: str, key: str) -> int:
    if not name.isdigit() or int(name) >= len(target):
        raise ConfigError(f"{key}: '{name}' must be a position from 0 to {len(target) - 1}", where="--set")
    return int(name)


def validate(model: type[M], values: dict[str, Any], lines: dict[KeyPath, int], where: str) -> M:
    """Validate, or raise one ConfigError that lists every mistake."""
    try:
        return model.model_validate(values)
    except ValidationError as e:
        found = list(_explained(model, e, values, lines))
        count = f"{len(found)} mistake{'s' if len(found) > 1 else ''}"
        raise ConfigError(f"{count} in the configuration\n" + "\n".join(f"  {f}" for f in found), where=where) from e


def _explained(
    model: type[BaseModel], found: ValidationError, values: dict[str, Any], lines: dict[KeyPath, int]
) -> Iterator[str]:
    """Each mistake in one line. Where a value may have several forms, pydantic says of each why it isn't that one."""
    errors = [(_written(error, values), error) for error in found.errors(include_url=False)]
    places = {place for place, _ in errors}
    reasons: dict[KeyPath, list[str]] = {}
    for place, error in errors:
        # Of the form that was meant, what is wrong inside is said.
        deeper = any(p[: len(place)] == place and len(p) > len(place) for p in places)
        if not (deeper and error["type"] in _OTHER_FORM):
            reasons.setdefault(place, []).append(_reason(model, error, place))
    for place, whys in reasons.items():
        line = next((lines[place[:n]] for n in range(len(place), 0, -1) if place[:n] in lines), None)
        name = ".".join(str(p) for p in place) or "configuration"
        yield f"{f'line {line}: ' if line else ''}{name}: {', or: '.join(dict.fromkeys(whys))}"


def _reason(model: type[BaseModel], error: Any, place: KeyPath) -> str:
    if error["type"] == "extra_forbidden":
        return f"unknown key{_nearest(model, place)}"
    if error["type"] == "union_tag_not_found":
        return f"{error['ctx']['discriminator']} is missing; it says which of the forms this is"
    if error["type"] == "union_tag_invalid":
        return f"{error['ctx']['tag']!r} is none of {error['ctx']['expected_tags']}"
    if error["type"] in _WANTED:
        return f"{_WANTED[error['type']]} is wanted (found {error['input']!r})"
    message = str(error["msg"]).removeprefix("Value error, ")
    given = error.get("input")
    shown = "" if error["type"] in ("missing", "value_error") or isinstance(given, dict) else f" (found {given!r})"
    return f"{message}{shown}"


def _written(error: Any, values: dict[str, Any]) -> KeyPath:
    """The place of a mistake as it stands in the file: pydantic also names the member of a union that was tried."""
    place: list[str | int] = []
    here: Any = values
    for part in error["loc"]:
        if (isinstance(here, dict) and part in here) or (
            isinstance(here, list) and isinstance(part, int) and part < len(here)
        ):
            here = here[part]
            place.append(part)
    return (*place, error["loc"][-1]) if error["type"] == "missing" else tuple(place)


def _nearest(model: type[BaseModel], place: KeyPath) -> str:
    models = _models_at(model, place[:-1])
    moved = {old: new for m in models for old, new in getattr(m, "MOVED", {}).items()}
    if place[-1] in moved:
        parent = "".join(f"{p}." for p in place[:-1])
        return f"; {parent}{place[-1]} is now {parent}{moved[place[-1]]}"
    names = sorted({n for m in models for n in m.model_fields})
    written = str(place[-1])
    if written in names:
        return "; another kind has it"
    close = [n for n in names if len(written) > 3 and written in n][:3]
    close = close or difflib.get_close_matches(written, names, n=1)
    if close:
        return f"; did you mean {' or '.join(repr(n) for n in close)}?"
    return f"; known keys are {', '.join(names)}" if names else ""


def _models_at(model: type[BaseModel], place: KeyPath) -> list[type[BaseModel]]:
    """The models that may stand at a place (several for a union)."""
    here: list[type[BaseModel]] = [model]
    for part in place:
        if isinstance(part, int):
            continue
        fields = [m.model_fields[part].annotation for m in here if part in m.model_fields]
        if fields:
            here = [found for annotation in fields for found in _models_in(annotation)]
    return here


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    if typing.get_origin(annotation) in (typing.Annotated, typing.Union, types.UnionType, tuple, list, dict):
        return [m for a in typing.get_args(annotation) for m in _models_in(a)]
    return []

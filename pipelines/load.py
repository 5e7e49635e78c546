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


def load_model(model: type[M], path: Path, overrides: Sequence[str] = ()) -> M:
    """Read a YAML file as `model`. `overrides` are `dotted.key=value` with YAML values; they win over the file.

    Raises:
        InputNotFoundError: no such file.
        ConfigError: the file isn't YAML, or anything in it is unknown, contradictory or out of range.
    """
    if not path.is_file():
        raise InputNotFoundError("no such configuration file", where=str(path))
    text = path.read_text(encoding="utf-8")
    values, lines = parse_yaml(text, str(path))
    for override in overrides:
        _apply(values, override)
    return validate(model, values, lines, str(path))


def parse_yaml(text: str, where: str) -> tuple[dict[str, Any], dict[KeyPath, int]]:
    """The mapping in a YAML text, and the 1-based line of every key and list item by its place."""
    try:
        node = yaml.compose(text, yaml.SafeLoader)
        values = yaml.safe_load(text)
    except yaml.YAMLError as e:
        raise ConfigError(f"not valid YAML: {e}", where=where) from e
    if node is None:
        return {}, {}
    if not isinstance(values, dict):
        raise ConfigError("the top level must be a mapping of keys to values", where=where)
    lines: dict[KeyPath, int] = {}
    duplicates = list(_index_lines(node, (), lines))
    if duplicates:
        raise ConfigError("\n".join(duplicates), where=where)
    return values, lines


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
        found = [_explain(model, error, values, lines) for error in e.errors(include_url=False)]
        count = f"{len(found)} mistake{'s' if len(found) > 1 else ''}"
        raise ConfigError(f"{count} in the configuration\n" + "\n".join(f"  {f}" for f in found), where=where) from e


def _explain(model: type[BaseModel], error: Any, values: dict[str, Any], lines: dict[KeyPath, int]) -> str:
    place = _written(error["loc"], values)
    line = next((lines[place[:n]] for n in range(len(place), 0, -1) if place[:n] in lines), None)
    at = f"line {line}: " if line else ""
    name = ".".join(str(p) for p in place) or "configuration"
    if error["type"] == "extra_forbidden":
        return f"{at}{name}: unknown key{_nearest(model, place)}"
    if error["type"] == "union_tag_not_found":
        return f"{at}{name}: {error['ctx']['discriminator']} is missing; it says which of the forms this is"
    message = error["msg"].removeprefix("Value error, ")
    given = error.get("input")
    shown = "" if error["type"] in ("missing", "value_error") or isinstance(given, dict) else f" (found {given!r})"
    return f"{at}{name}: {message}{shown}"


def _written(loc: KeyPath, values: dict[str, Any]) -> KeyPath:
    """The place of a mistake as it stands in the file: pydantic also names the member of a union that was tried."""
    place: list[str | int] = []
    here: Any = values
    for part in loc[:-1]:
        known = part in here if isinstance(here, dict) else isinstance(here, list)
        if known:
            here = here[part]
            place.append(part)
    return (*place, *loc[-1:])


def _nearest(model: type[BaseModel], place: KeyPath) -> str:
    models = _models_at(model, place[:-1])
    moved = {old: new for m in models for old, new in getattr(m, "MOVED", {}).items()}
    if place[-1] in moved:
        parent = "".join(f"{p}." for p in place[:-1])
        return f"; {parent}{place[-1]} is now {parent}{moved[place[-1]]}"
    names = sorted({n for m in models for n in m.model_fields})
    close = difflib.get_close_matches(str(place[-1]), names, n=1)
    if close:
        return f"; did you mean '{close[0]}'?"
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

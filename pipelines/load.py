"""From a YAML file to a RunConfig: every mistake at once, each with its line and the nearest right spelling."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel

from pipelines.mistakes import examine
from steps.contracts.errors import ConfigError, InputNotFoundError, StorageError
from steps.engines.yaml_lines.parse import KeyPath, Loader, parse_yaml

M = TypeVar("M", bound=BaseModel)
# Chosen: likewise; the parser takes some seconds for as many.
_MOST_BYTES = 1 << 20


@dataclass(frozen=True)
class Written:
    """Values as they were written down.

    Attributes:
        lines: the 1-based line of every key and list item by its place.
        where: the file, for errors.
        options: by place, what gave a value instead of the file, such as "--set train.seed=x".
    """

    values: dict[str, Any]
    lines: Mapping[KeyPath, int]
    where: str
    options: Mapping[KeyPath, str] = field(default_factory=dict)

    def line(self, place: KeyPath, whys: Sequence[str]) -> str:
        """What is to be said of a place, with its line, or the option that gave it."""
        number = self._line_of(place)
        option = next((self.options[p] for n in range(len(place), 0, -1) if (p := place[:n]) in self.options), None)
        origin = option or (f"line {number}" if number else None)
        name = ".".join(str(p) for p in place) or "configuration"
        return f"{f'{origin}: ' if origin else ''}{name}: {', or: '.join(dict.fromkeys(whys))}"

    def mistakes(self, told: Mapping[KeyPath, Sequence[str]]) -> str:
        """What is wrong, in the order of the file."""
        whole = [((), [why]) for why in dict.fromkeys(told.get((), ()))]
        found = whole + [(place, whys) for place, whys in told.items() if place]
        found.sort(key=lambda m: self._line_of(m[0]) or math.inf)
        count = f"{len(found)} mistake{'s' if len(found) > 1 else ''}"
        return f"{count} in the configuration\n" + "\n".join(f"  {self.line(place, whys)}" for place, whys in found)

    def _line_of(self, place: KeyPath) -> int | None:
        """Of the place itself, else of the nearest one above that the file has."""
        return next((self.lines[place[:n]] for n in range(len(place), 0, -1) if place[:n] in self.lines), None)


def load_model(model: type[M], path: Path, overrides: Sequence[str] = ()) -> M:
    """Read a YAML file as `model`. `overrides` are `dotted.key=value` with YAML values; they win over the file.

    Raises:
        InputNotFoundError: no such file.
        ConfigError: the file isn't YAML, or anything in it is unknown, contradictory or out of range.
    """
    return validate(model, read(path, overrides))


def _bytes_of(path: Path) -> bytes:
    try:
        if not path.is_file():
            raise InputNotFoundError("no such configuration file", where=str(path))
        if path.stat().st_size > _MOST_BYTES:
            what = f"longer than {_MOST_BYTES:,} bytes, which no configuration is"
            raise ConfigError(what, where=str(path), hint="is it the right file?")
        return path.read_bytes()
    except PermissionError as e:
        raise StorageError(
            "this user may not read it", where=str(path), hint="change the rights of it and of its folders"
        ) from e


def read(path: Path, overrides: Sequence[str] = ()) -> Written:
    """What a YAML file and the overrides say.

    Raises:
        InputNotFoundError: no such file. ConfigError: the file isn't YAML, or an override fits nowhere.
        StorageError: this user may not read it.
    """
    data = _bytes_of(path)
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as e:
        line = data.count(b"\n", 0, e.start) + 1
        what = f"not UTF-8 text (byte {e.start}, line {line})"
        raise ConfigError(what, where=str(path), hint="save it as UTF-8") from e
    values, lines = parse_yaml(text, str(path))
    options: dict[KeyPath, str] = {}
    for override in overrides:
        place = _apply(values, override)
        # What the file said there, and below, is said no more.
        lines = {p: n for p, n in lines.items() if p[: len(place)] != place}
        options.update({place[:n]: f"--set {override}" for n in range(1, len(place) + 1) if place[:n] not in lines})
    return Written(values, lines, str(path), options)


def _apply(values: dict[str, Any], override: str) -> KeyPath:
    """Set what an override says; returns its place."""
    key, sign, text = override.partition("=")
    if not sign or not key:
        raise ConfigError(f"'{override}' is not of the form dotted.key=value", where="--set")
    *parents, last = key.split(".")
    target: Any = values
    place: list[str | int] = []
    for name in parents:
        place.append(int(name) if isinstance(target, list) else name)
        target = _descend(target, name, key)
    try:
        value = yaml.load(text, Loader)
    except (yaml.YAMLError, RecursionError) as e:
        raise ConfigError(f"the value of {key} is not valid YAML: {e}", where="--set") from e
    if isinstance(target, list):
        target[_list_index(target, last, key)] = value
        return (*place, int(last))
    target[last] = value
    return (*place, last)


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


def validate(model: type[M], written: Written) -> M:
    """Validate, or raise one ConfigError that lists every mistake."""
    found = examine(model, written.values)
    if found.told or found.right is None:
        raise ConfigError(written.mistakes(found.told), where=written.where)
    return found.right

"""From a YAML file to a RunConfig: every mistake at once, each with its line and the nearest right spelling."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel

from pipelines.mistakes import KeyPath, examine
from steps.contracts.errors import ConfigError, InputNotFoundError, StorageError

M = TypeVar("M", bound=BaseModel)
# Chosen: far more than any configuration has; what a few lines of nested aliases stand for is more.
_MOST_NODES = 100_000
# Chosen: likewise; the parser takes some seconds for as many.
_MOST_BYTES = 1 << 20


class _Loader(yaml.SafeLoader):
    """YAML's own types only. A date or number that there isn't is named with its line."""

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)  # type: ignore[no-untyped-call]
        except (ValueError, AttributeError, OverflowError, TypeError) as e:
            what = f"{str(node.value)[:40]!r} is no {_KINDS.get(node.tag.rpartition(':')[2], 'value')} that there is"
            raise yaml.constructor.ConstructorError(None, None, what, node.start_mark) from e


_KINDS = {"timestamp": "date", "int": "number", "float": "number"}


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


def parse_yaml(text: str, where: str) -> tuple[dict[str, Any], dict[KeyPath, int]]:
    """The mapping in a YAML text, and the 1-based line of every key and list item by its place."""
    try:
        node = yaml.compose(text, yaml.SafeLoader)
        if node is not None and _size(node, {}) > _MOST_NODES:
            raise ConfigError(f"more than {_MOST_NODES:,} values, those behind aliases counted each time", where=where)
        values = yaml.load(text, _Loader)
    except yaml.reader.ReaderError as e:
        line = text.count("\n", 0, e.position) + 1
        what = f"not valid YAML: the character #x{ord(text[e.position]):04x} in line {line} isn't allowed"
        raise ConfigError(what, where=where) from e
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
        value = yaml.load(text, _Loader)
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

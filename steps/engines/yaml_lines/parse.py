"""YAML with the line of every key and list item, and bounds on what a file may stand for."""

from collections.abc import Iterator
from typing import Any, TypeAlias

import yaml

from steps.contracts.errors import ConfigError

# Where a value stands: keys and positions from the top.
KeyPath: TypeAlias = tuple[str | int, ...]
# Chosen: far more than any configuration has; what a few lines of nested aliases stand for is more.
_MOST_NODES = 100_000


class Loader(yaml.SafeLoader):
    """YAML's own types only. A date or number that there isn't is named with its line."""

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        """As YAML's own.

        Raises:
            ConstructorError: there is no such value.
        """
        try:
            return super().construct_object(node, deep)  # type: ignore[no-untyped-call]
        except (ValueError, AttributeError, OverflowError, TypeError) as e:
            what = f"{str(node.value)[:40]!r} is no {_KINDS.get(node.tag.rpartition(':')[2], 'value')} that there is"
            raise yaml.constructor.ConstructorError(None, None, what, node.start_mark) from e


_KINDS = {"timestamp": "date", "int": "number", "float": "number"}


def parse_yaml(text: str, where: str) -> tuple[dict[str, Any], dict[KeyPath, int]]:
    """The mapping in a YAML text, and the 1-based line of every key and list item by its place."""
    try:
        node = yaml.compose(text, yaml.SafeLoader)
        if node is not None and _size(node, {}) > _MOST_NODES:
            raise ConfigError(f"more than {_MOST_NODES:,} values, those behind aliases counted each time", where=where)
        values = yaml.load(text, Loader)
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

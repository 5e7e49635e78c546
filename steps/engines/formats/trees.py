"""Message trees (OASST): from nested trees or flat rows with parent_id to conversations along their paths.

Flat rows of one tree may stand anywhere in a source. Their text waits in a temporary file; memory holds ids only.
"""

import json
import math
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from steps.contracts.records import Row, message
from steps.engines.formats.dialects.roles import CALL, role_of
from steps.engines.formats.format import Draft, Format
from steps.engines.formats.rejected import RowRejected

NODE_FIELDS = ("message_id", "parent_id", "text", "role", "rank", "deleted", "replies")


@dataclass
class Node:
    """One message of a tree. `rank` is math.inf when unranked (0 is best); `record_id` is that of its raw row."""

    id: str
    parent: str | None
    role: str
    text: str
    rank: float
    deleted: bool
    record_id: str = ""


@dataclass
class TreePath:
    """A conversation along a tree: ends in an assistant turn. `leaf` is the id of its last message."""

    tree: str
    leaf: str
    nodes: list[Node]

    def draft(self) -> Draft:
        """The path as a conversation."""
        return Draft("conversation", messages=[message(n.role, n.text) for n in self.nodes])


def node_of(value: Row, roles: Mapping[str, str] | None = None) -> Node:
    """A node from one message object or flat row."""
    node_id, parent, text = value.get("message_id"), value.get("parent_id"), value.get("text")
    if not isinstance(node_id, str) or not node_id:
        raise RowRejected("missing_column", "a tree message needs `message_id`")
    deleted = bool(value.get("deleted"))
    if not isinstance(text, str) or not (text.strip() or deleted):
        raise RowRejected("empty_text", "a tree message needs `text`")
    if not (parent is None or isinstance(parent, str)):
        raise RowRejected("bad_parent", "`parent_id` must be text or null")
    role = role_of(value.get("role"), roles)
    role = "assistant" if role == CALL else role
    return Node(node_id, parent or None, role, text, _rank(value.get("rank")), deleted)


def _rank(value: Any) -> float:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    try:
        rank = float(value) if number or (isinstance(value, str) and value) else math.inf
    except ValueError:
        rank = math.inf
    return math.inf if math.isnan(rank) else rank  # Parquet files of OASST hold NaN where there is no rank


def nested_nodes(row: Row, roles: Mapping[str, str] | None = None) -> list[Node]:
    """All messages of a tree given as {"message_tree_id", "prompt": {..., "replies": [...]}}, parents first."""
    start = row.get("prompt")
    if not isinstance(start, dict):
        raise RowRejected("missing_column", "a tree row needs `prompt` with the first message and its `replies`")
    out: list[Node] = []
    todo: list[tuple[Row, str | None]] = [(start, None)]
    while todo:
        value, parent = todo.pop()
        if not isinstance(value, dict) or not isinstance(value.get("replies") or [], list):
            raise RowRejected("bad_tree", "`replies` must be a list of messages")
        node = node_of({**value, "parent_id": parent}, roles)
        out.append(node)
        todo.extend((reply, node.id) for reply in value.get("replies") or [])
    if len({n.id for n in out}) != len(out):
        raise RowRejected("bad_tree", "two messages of the tree have the same `message_id`")
    return out


def paths(nodes: Iterable[Node], wanted: str) -> list[TreePath]:
    """Paths of one tree in the order of their leaf ids; wanted: "best" (one) or "all".

    Best follows the best-ranked reply at each turn (unranked last, then the smaller id). Deleted messages and what
    hangs on them are left out; user turns behind the last assistant turn are cut off.
    """
    children: dict[str | None, list[Node]] = {}
    by_id = {n.id: n for n in nodes if not n.deleted}
    for node in by_id.values():
        children.setdefault(node.parent, []).append(node)
    found: dict[str, TreePath] = {}
    for root in children.get(None, []):
        for leaf in _leaves(root, children, best=wanted == "best"):
            line = _line(leaf, by_id)
            while line and line[-1].role != "assistant":
                line.pop()
            if line:
                found[line[-1].id] = TreePath(root.id, line[-1].id, line)
    return [found[leaf] for leaf in sorted(found)]


def _leaves(root: Node, children: dict[str | None, list[Node]], *, best: bool) -> Iterator[Node]:
    todo = [root]
    while todo:
        node = todo.pop()
        replies = sorted(children.get(node.id, []), key=lambda n: (n.rank, n.id))
        if not replies:
            yield node
        todo.extend(replies[:1] if best else replies)


def _line(leaf: Node, by_id: dict[str, Node]) -> list[Node]:
    line, at = [leaf], leaf.parent
    while at is not None:
        line.append(by_id[at])
        at = by_id[at].parent
    return line[::-1]


@dataclass
class _Place:
    parent: str | None
    offset: int


class TreeSpool:
    """Collects flat rows until the source ends. A context manager; its temporary file is in `folder` and is removed."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._file: IO[bytes] = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 (closed by close())
        self._places: dict[str, _Place] = {}

    def add(self, node: Node, origin: Row) -> None:
        """Take one row; `origin` is what the caller wants back with the node (small, JSON-like)."""
        if node.id in self._places:
            raise RowRejected("duplicate_message_id", "another row has the same `message_id`")
        self._places[node.id] = _Place(node.parent, self._file.tell())
        rank = None if math.isinf(node.rank) else node.rank
        line = [node.id, node.parent, node.role, node.text, rank, node.deleted, node.record_id, origin]
        self._file.write(json.dumps(line).encode() + b"\n")

    def trees(self) -> Iterator[list[tuple[Node, Row]]]:
        """All messages of one tree after the other, root first; trees in the order of their root ids."""
        children: dict[str, list[str]] = {}
        for node_id, place in self._places.items():
            if place.parent is not None:
                children.setdefault(place.parent, []).append(node_id)
        for root in sorted(i for i, p in self._places.items() if p.parent is None):
            todo, ids = [root], []
            while todo:
                ids.append(todo.pop())
                todo.extend(children.get(ids[-1], []))
            yield [self._pop(i) for i in ids]

    def loose(self) -> Iterator[tuple[Node, Row, str, str]]:
        """Messages that no tree reached, with reason and hint. Call it when `trees` is exhausted."""
        known = set(self._places)
        for node_id in sorted(known):
            above = self._places[node_id].parent
            seen = {node_id}
            while above in known and above not in seen:
                seen.add(above)
                above = self._places[above].parent
            cycle = above in known
            reason = "parent_cycle" if cycle else "missing_parent"
            hint = "its chain of `parent_id` runs in a circle" if cycle else "a message above it isn't in this source"
            yield *self._read(self._places[node_id].offset), reason, hint

    def _pop(self, node_id: str) -> tuple[Node, Row]:
        return self._read(self._places.pop(node_id).offset)

    def _read(self, offset: int) -> tuple[Node, Row]:
        self._file.seek(offset)
        *fields, origin = json.loads(self._file.readline())
        fields[4] = math.inf if fields[4] is None else fields[4]
        return Node(*fields), origin

    def close(self) -> None:
        """Remove the temporary file."""
        self._file.close()


OASST_ROWS = Format(lambda row: "message_id" in row and "parent_id" in row and "text" in row)
OASST = Format(lambda row: isinstance(row.get("prompt"), dict) and "replies" in row["prompt"])

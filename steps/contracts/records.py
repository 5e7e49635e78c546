"""The record: one Arrow schema for the four kinds of row that assay knows.

conversation         messages (roles, tool calls), optional tools
preference           messages hold the prompt; chosen and rejected hold the two continuations
document             text
unpaired_preference  a conversation whose answer is wanted or not, as label says (KTO)

Schema version 2; rows of version 1 lack `weight`, `reasoning`, `label` and `score`, which are null when they are
read.

A row as a Python dict (what `pyarrow.Table.to_pylist` gives) is called `Row` here.
"""

from collections.abc import Sequence
from typing import Any, Literal, TypeAlias

import pyarrow as pa

from steps.contracts.digests import canonical_json, short_id

Row: TypeAlias = dict[str, Any]
Kind: TypeAlias = Literal["conversation", "preference", "document", "unpaired_preference"]
Split: TypeAlias = Literal["train", "validation", "test"]

SCHEMA_VERSION = 2

# A kind's place enters what dedup and semantic keep of a row: new ones go to the end.
KINDS: tuple[Kind, ...] = ("conversation", "preference", "document", "unpaired_preference")
# Rows are compared with rows of their kind only, and unwanted answers with unwanted ones.
UNWANTED = len(KINDS)
SPLITS: tuple[Split, ...] = ("train", "validation", "test")
ROLES = ("system", "user", "assistant", "tool")

MESSAGE = pa.struct(
    [
        pa.field("role", pa.string(), nullable=False),
        pa.field("content", pa.string(), nullable=False),
        pa.field("name", pa.string()),
        # JSON text of the OpenAI list of tool calls; null when the message calls no tool.
        pa.field("tool_calls", pa.string()),
        pa.field("tool_call_id", pa.string()),
        # Of an assistant's turn: 1 it is trained, 0 it is context only; null: the default, trained.
        pa.field("weight", pa.int8()),
        # What the assistant thought before it spoke; no part of the content.
        pa.field("reasoning", pa.string()),
    ]
)

SCHEMA = pa.schema(
    [
        # short_id(source, locator, raw bytes): stable on every machine and store.
        pa.field("record_id", pa.string(), nullable=False),
        # content_id_of(row): equal for equal content, wherever it came from.
        pa.field("content_id", pa.string(), nullable=False),
        pa.field("kind", pa.string(), nullable=False),
        # The config's logical source name, "/", and the path relative to the source's root.
        pa.field("source", pa.string(), nullable=False),
        # "line:17", "row:17", "tree:<digest of its id>", "chunk:17:3"; of a PDF "pages:1-12", "page:3", and its chunks
        # "page:3:7".
        pa.field("locator", pa.string(), nullable=False),
        # Arrival batch: an earlier batch wins in dedup. 0 for a first run.
        pa.field("batch", pa.int32(), nullable=False),
        pa.field("messages", pa.list_(MESSAGE), nullable=False),
        # JSON text of the OpenAI tools list; null when there are none.
        pa.field("tools", pa.string()),
        pa.field("chosen", pa.list_(MESSAGE), nullable=False),
        pa.field("rejected", pa.list_(MESSAGE), nullable=False),
        # Documents only; null for the other kinds.
        pa.field("text", pa.string()),
        # Whether the answer is wanted (true) or not; given for every unpaired preference, null elsewhere.
        pa.field("label", pa.bool_()),
        # How good the answer is, on the scale of its source; more is better; null: not scored.
        pa.field("score", pa.float64()),
        # record_ids this row was made from (chunks, tree paths); empty for a row read as it is.
        pa.field("parents", pa.list_(pa.string()), nullable=False),
        # JSON object of columns that belong to no field above.
        pa.field("meta", pa.string(), nullable=False),
        # Null until the split stage has run.
        pa.field("split", pa.string()),
    ],
    metadata={"assay.schema_version": str(SCHEMA_VERSION)},
)


# Columns that rows of every schema version have.
COMMON_COLUMNS = tuple(name for name in SCHEMA.names if name not in ("label", "score"))


def current(table: pa.Table, columns: Sequence[str] = tuple(SCHEMA.names)) -> pa.Table:
    """These columns of a table of rows of any version, as this version has them: what an earlier one lacks is null."""
    found = {name: table[name] for name in columns if name in table.column_names}
    made = []
    for name in columns:
        kind = SCHEMA.field(name).type
        column = found.get(name, pa.chunked_array([pa.nulls(len(table), kind)]))
        made.append(column if column.type.equals(kind) else column.cast(kind))
    return pa.table(made, schema=pa.schema([SCHEMA.field(name) for name in columns], SCHEMA.metadata))


def message(
    role: str,
    content: str,
    *,
    name: str | None = None,
    tool_calls: str | None = None,
    tool_call_id: str | None = None,
    weight: int | None = None,
    reasoning: str | None = None,
) -> Row:
    """One message dict with every field of the schema present."""
    return {
        "role": role, "content": content, "name": name, "tool_calls": tool_calls, "tool_call_id": tool_call_id,
        "weight": weight, "reasoning": reasoning,
    }  # fmt: skip


def content_id_of(row: Row) -> str:
    """128-bit id of what the row says: kind, messages, tools, chosen, rejected, text, label and score; 32 hex
    characters. What version 1 had no field for counts only where it is given, so that ids are equal in all versions.
    """
    content: list[Any] = [
        row["kind"],
        [_message_key(m) for m in row["messages"]],
        row["tools"],
        [_message_key(m) for m in row["chosen"]],
        [_message_key(m) for m in row["rejected"]],
        row["text"],
        *_given(row.get("label"), row.get("score")),
    ]
    return short_id(canonical_json(content))


def _message_key(m: Row) -> list[Any]:
    old = [m["role"], m["content"], m.get("name"), m.get("tool_calls"), m.get("tool_call_id")]
    return [*old, *_given(m.get("weight"), m.get("reasoning"))]


def _given(*values: Any) -> tuple[Any, ...]:
    """All of them, or none when none is given."""
    return values if any(v is not None for v in values) else ()


def make_row(
    *,
    kind: Kind,
    source: str,
    locator: str,
    raw: bytes,
    messages: list[Row] | None = None,
    chosen: list[Row] | None = None,
    rejected: list[Row] | None = None,
    tools: str | None = None,
    text: str | None = None,
    label: bool | None = None,
    score: float | None = None,
    parents: list[str] | None = None,
    meta: Row | None = None,
    batch: int = 0,
) -> Row:
    """A complete row with its two ids. `raw` is the bytes that the row was read from (they enter record_id)."""
    row: Row = {
        "record_id": short_id(source, locator, raw),
        "content_id": "",
        "kind": kind,
        "source": source,
        "locator": locator,
        "batch": batch,
        "messages": messages or [],
        "tools": tools,
        "chosen": chosen or [],
        "rejected": rejected or [],
        "text": text,
        "label": label,
        "score": score,
        "parents": parents or [],
        "meta": canonical_json(meta or {}),
        "split": None,
    }
    row["content_id"] = content_id_of(row)
    return row


def comparison_class(row: Row) -> int:
    """The rows that a row may be a duplicate of: its kind's place in KINDS, UNWANTED for an unwanted answer."""
    return UNWANTED if row.get("label") is False else KINDS.index(row["kind"])


def all_messages(row: Row) -> list[Row]:
    """Prompt, chosen and rejected messages, in this order."""
    return [*row["messages"], *row["chosen"], *row["rejected"]]


def text_of(row: Row) -> str:
    """The row as one plain text for scanning and comparing: message contents (and tool calls) or the document.

    Roles are left out, so that the same text under another template still compares as equal. Messages are
    joined by a blank line. Reasoning is left out: it is no part of what is said.
    """
    if row["kind"] == "document":
        return row["text"] or ""
    parts = [p for m in all_messages(row) for p in (m["content"], m["tool_calls"]) if p]
    return "\n\n".join(parts)

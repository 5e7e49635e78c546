"""Records as a dataset version exports them."""

from typing import Any

from steps.contracts.records import KINDS, ROLES, SCHEMA, Row, message
from steps.engines.formats.dialects.calls import Calls, tools_text
from steps.engines.formats.dialects.described import fields, type_of
from steps.engines.formats.dialects.messages import checked, text_of_column
from steps.engines.formats.dialects.parsing import parsed
from steps.engines.formats.format import Draft, Format, Parsed, Reading
from steps.engines.formats.preference import preference_of
from steps.engines.formats.rejected import RowRejected

_TEXTS = ("name", "tool_calls", "tool_call_id", "reasoning")


def read(row: Row, how: Reading) -> Parsed:
    """A record as a dataset version exports it, as it stands; its old id and what led to it are kept in meta."""
    kind = row.get("kind")
    if kind not in KINDS:
        raise RowRejected("unknown_kind", f"a record's kind is one of {', '.join(KINDS)}")
    meta = parsed(row.get("meta") or "{}", "meta")
    draft = _draft(row, kind)
    draft.meta = {**(meta if isinstance(meta, dict) else {}), "record_id": row.get("record_id")}
    return Parsed([draft], tuple(SCHEMA.names))


def _draft(row: Row, kind: str) -> Draft:
    if kind == "document":
        return Draft("document", text=text_of_column(row, "text"))
    messages, chosen, rejected = (_messages(row, c) for c in ("messages", "chosen", "rejected"))
    label, score = row.get("label"), row.get("score")
    if kind == "preference":
        draft = preference_of(messages, chosen, rejected, tools_text(row))
    elif kind == "unpaired_preference":
        if not isinstance(label, bool):
            raise RowRejected("bad_label", f"an unpaired preference has true or false as label, not {type_of(label)}")
        draft = Draft("unpaired_preference", messages=checked(messages), tools=tools_text(row))
    else:
        draft = Draft("conversation", messages=checked(messages), tools=tools_text(row))
    draft.label, draft.score = label, score
    return draft


def _messages(row: Row, column: str) -> list[Row]:
    stored = parsed(row.get(column) or [], column)
    if not isinstance(stored, list):
        raise RowRejected("messages_not_a_list", f"column {column!r} is {type_of(stored)}, not a list of messages")
    return [_message(m) for m in stored]


def _message(stored: Any) -> Row:
    if not isinstance(stored, dict):
        raise RowRejected("message_not_an_object", f"a message is {type_of(stored)}, not an object")
    role, content, weight = stored.get("role"), stored.get("content"), stored.get("weight")
    if role not in ROLES:
        raise RowRejected("unknown_role", f"the role of a record's message is one of {', '.join(ROLES)}")
    if not isinstance(content, str):
        raise RowRejected("not_text", f"a message's content is {type_of(content)}, not text")
    if weight not in (None, 0, 1):
        raise RowRejected("bad_weight", "the weight of a record's message is 0, 1 or null")
    texts = {k: stored.get(k) for k in _TEXTS}
    if isinstance(texts["tool_calls"], list):
        texts["tool_calls"] = Calls().stored(texts["tool_calls"])
    if not all(isinstance(v, str) for v in texts.values() if v is not None):
        raise RowRejected("not_text", f"a field of a message isn't text: it has {fields(stored)}")
    return message(role, content, weight=None if weight is None else int(weight), **texts)


RECORD = Format(lambda row: "record_id" in row and "content_id" in row and "kind" in row, read)

"""Records as a dataset version exports them."""

from steps.contracts.records import KINDS, SCHEMA, Row
from steps.engines.formats.format import Draft, Format, Parsed
from steps.engines.formats.messages import checked, openai_messages, parsed, text_of_column, tools_text
from steps.engines.formats.preference import preference_of
from steps.engines.formats.rejected import RowRejected


def read(row: Row) -> Parsed:
    """A record as a dataset version exports it; its old id and what led to it are kept in meta."""
    kind = row.get("kind")
    if kind not in KINDS:
        raise RowRejected("unknown_kind", f"a record's kind is one of {', '.join(KINDS)}")
    used = tuple(SCHEMA.names)
    meta = parsed(row.get("meta") or "{}", "meta")
    meta = {**(meta if isinstance(meta, dict) else {}), "record_id": row.get("record_id")}
    if kind == "document":
        return Parsed([Draft("document", text=text_of_column(row, "text"), meta=meta)], used)
    messages, chosen, rejected = (_record_messages(row, c) for c in ("messages", "chosen", "rejected"))
    if kind == "preference":
        draft = preference_of(messages, chosen, rejected, tools_text(row))
    else:
        draft = Draft("conversation", messages=checked(messages), tools=tools_text(row))
    draft.meta = meta
    draft.label, draft.score = row.get("label"), row.get("score")
    return Parsed([draft], used)


def _record_messages(row: Row, column: str) -> list[Row]:
    stored = parsed(row.get(column) or [], column)
    messages, _ = openai_messages(stored, column)
    return [{**m, **{k: s.get(k) for k in ("weight", "reasoning")}} for m, s in zip(messages, stored, strict=True)]


RECORD = Format(lambda row: "record_id" in row and "content_id" in row and "kind" in row, read)

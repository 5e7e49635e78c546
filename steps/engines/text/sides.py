"""Which part of a row is asked and which is answered."""

from steps.contracts.records import Row


def asked_and_answered(row: Row) -> tuple[str, str]:
    """The text up to the last assistant turn (tools included), and that turn. Documents and unanswered rows: "" last.

    A preference row gives its prompt, and "" (it has two answers).
    """
    if row["kind"] == "document":
        return row["text"] or "", ""
    messages = row["messages"]
    if row["kind"] == "preference":
        return _joined(messages, row["tools"]), ""
    last = max((i for i, m in enumerate(messages) if m["role"] == "assistant"), default=len(messages))
    return _joined(messages[:last], row["tools"]), _joined(messages[last : last + 1], None)


def opening(row: Row) -> str:
    """What the user says before the first answer; system messages are left out, since many rows share one.

    "" for documents and for conversations that an assistant opens.
    """
    asked: list[str] = []
    for m in row["messages"]:
        if m["role"] == "assistant":
            break
        if m["role"] == "user":
            asked.append(m["content"])
    return "\n\n".join(asked)


def answers(row: Row) -> tuple[str, str]:
    """Text of `chosen` and of `rejected`."""
    return _joined(row["chosen"], None), _joined(row["rejected"], None)


def _joined(messages: list[Row], tools: str | None) -> str:
    parts = [p for m in messages for p in (m["content"], m["tool_calls"]) if p]
    return "\n\n".join([*parts, *([tools] if tools else [])])

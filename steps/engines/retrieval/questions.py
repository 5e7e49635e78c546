"""What a row asks last, and what was answered."""

from steps.contracts.records import Row


def question(row: Row) -> str:
    """The last message of the user before the answer; "" where there is none."""
    return next((str(m["content"] or "") for m in reversed(row["messages"] or []) if m["role"] == "user"), "")


def question_and_answer(row: Row) -> tuple[str, str] | None:
    """Of a row of one exchange, without calls; None: it has more, or isn't one."""
    messages = [m for m in row["messages"] or [] if m["role"] != "system"]
    answers = messages[1:] if row["kind"] == "conversation" else row["chosen"] or []
    if [m["role"] for m in messages[:1]] != ["user"] or [m["role"] for m in answers] != ["assistant"]:
        return None
    if row["kind"] == "preference" and len(messages) != 1:
        return None
    asked, said = str(messages[0]["content"] or ""), str(answers[0]["content"] or "")
    return (asked, said) if asked.strip() and said.strip() and row["label"] is not False else None

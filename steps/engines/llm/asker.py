"""Requests whose replies have a known form, each counted with what it was for and why there was nothing in it."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from steps.contracts import thinking
from steps.contracts.errors import ServiceError
from steps.engines.llm.client import Reply
from steps.engines.llm.endpoint import Endpoint
from steps.engines.llm.objects import Schema, object_in
from steps.engines.llm.session import Answer, ChatSession, Question

# What ends for want of money says nothing about the model.
_HELD = "max_cost"
_MOST_REASONS = 5


@dataclass
class Requests:
    """Counts of requests by what they are for, and of those without a reply of use by (what for, why)."""

    sent: Counter[str] = field(default_factory=Counter)
    unread: Counter[tuple[str, str]] = field(default_factory=Counter)

    def add(self, what: str, fault: str) -> None:
        """Count one; `fault`: why there is no reply of use, "" where there is one."""
        self.sent[what] += 1
        if fault:
            self.unread[what, fault] += 1

    @property
    def held(self) -> int:
        """Requests that the limit on cost held back."""
        return sum(n for (_, reason), n in self.unread.items() if reason == _HELD)

    def by_reason(self) -> dict[str, int]:
        """'claims: truncated' -> requests, most first."""
        return {f"{what}: {reason}": n for (what, reason), n in self.unread.most_common()}

    def check(self, most: float, where: str) -> None:
        """Refuse a model of which too large a share of requests got nothing; those held back aren't counted.

        Raises:
            ServiceError: the share is above `most`.
        """
        unread, sent = self.unread.total() - self.held, self.sent.total() - self.held
        if sent and unread / sent > most:
            by = ", ".join(f"{n} {what}" for what, n in list(self.by_reason().items())[:_MOST_REASONS])
            raise ServiceError(
                f"{unread:,} of {sent:,} requests got no reply of use ({by}); max_undecided_share is {most}",
                where=where,
                hint="a model that follows instructions keeps to the form; `truncated` asks for more max_tokens."
                " Replies so far are kept",
            )

    def warnings(self) -> list[str]:
        """What was left undone for want of money."""
        if not self.held:
            return []
        return [f"max_cost was reached: {self.held:,} requests were not sent; a run with a higher one goes on"]


class Asker:
    """A session, and the count of what is asked in it."""

    def __init__(self, session: ChatSession, requests: Requests) -> None:
        self.session, self.requests = session, requests

    @property
    def endpoint(self) -> Endpoint:
        """Who is asked."""
        return self.session.endpoint

    def objects(self, what: str, questions: Sequence[Question], schema: Schema) -> list[dict[str, Any] | str]:
        """The object in each reply, or why there is none."""
        found = [object_in(a.reply, schema) for a in self.replies(questions)]
        for one in found:
            self.requests.add(what, one if isinstance(one, str) else "")
        return found

    def texts(self, what: str, questions: Sequence[Question]) -> list["Said | str"]:
        """What is said in each reply, or why nothing is: the failure's reason, refusal, empty_reply, truncated."""
        found = [said_in(a) for a in self.replies(questions)]
        for one in found:
            self.requests.add(what, one if isinstance(one, str) else "")
        return found

    def replies(self, questions: Sequence[Question]) -> list[Answer]:
        """As `ChatSession.answers`; of no questions none."""
        return self.session.answers(questions) if questions else []


@dataclass(frozen=True)
class Said:
    """The final text of a reply, and the reasoning before it; None: there is none."""

    text: str
    reasoning: str | None = None


def said_in(answer: Answer) -> Said | str:
    """The final text of a reply that is no JSON, or why there is none."""
    reply = answer.reply
    if not isinstance(reply, Reply):
        return reply.reason
    if reply.refused:
        return "refusal"
    if reply.finish_reason == "length":
        return "truncated"
    parts = thinking.split(reply.text)
    text = parts[2] if parts else reply.text.strip()
    if not text or text.startswith(("<think>", "<thinking>")):
        return "empty_reply"
    return Said(text, parts[1] if parts else None)

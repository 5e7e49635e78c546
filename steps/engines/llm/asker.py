"""Requests whose replies have a known form, each counted with what it was for and why there was nothing in it."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, TypeVar

from steps.contracts import thinking
from steps.contracts.context import Clean, StageContext
from steps.contracts.errors import ServiceError
from steps.contracts.reports import Table
from steps.engines.llm.account import Payer
from steps.engines.llm.client import Reply
from steps.engines.llm.endpoint import Endpoint
from steps.engines.llm.objects import Schema, object_in
from steps.engines.llm.prices import Prices
from steps.engines.llm.session import Answer, ChatSession, Question

# What ends for want of money says nothing about the model.
_HELD = "max_cost"
_MOST_REASONS = 5
# Chosen: so many requests tell whether a model can do it at all.
FIRST = 64
_Read = TypeVar("_Read")
# A detector failed on what was said.
_UNSEARCHED = "unsearched"


@dataclass
class Requests:
    """Counts of requests by what they are for, of those without a reply of use by (what for, why), and of texts in
    which personal data was replaced.
    """

    sent: Counter[str] = field(default_factory=Counter)
    scrubbed: Counter[str] = field(default_factory=Counter)
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

    def refuse_useless(self, what: str) -> None:
        """Stop before more is paid where nothing of what was asked so far had a reply of use.

        Raises:
            ServiceError: not one of the first requests for this had.
        """
        unread = Counter({reason: n for (asked, reason), n in self.unread.items() if asked == what})
        if self.sent[what] >= FIRST and unread.total() == self.sent[what] and not unread[_HELD]:
            by = ", ".join(f"{n} {reason}" for reason, n in unread.most_common(_MOST_REASONS))
            raise ServiceError(
                f"not one of the first {self.sent[what]:,} requests for {what} got a reply of use ({by})",
                hint="a model that follows instructions keeps to the form; `truncated` asks for more max_tokens."
                " Nothing more was sent, replies so far are kept",
            )

    def warnings(self) -> list[str]:
        """What was left undone for want of money."""
        if not self.held:
            return []
        return [f"max_cost was reached: {self.held:,} requests were not sent; a run with a higher one goes on"]


@dataclass(frozen=True)
class Account:
    """What a stage's report says of its requests: counts by what is counted, what was paid, warnings and notes."""

    counts: Mapping[str, dict[str, int]]
    tables: tuple[Table, ...]
    warnings: tuple[str, ...]
    notes: tuple[str, ...]


def account_of(requests: Requests, sessions: Sequence[ChatSession]) -> Account:
    """Of all that was asked, in these sessions."""
    together = Counter[str]()
    for session in sessions:
        together.update(session.counts())
    counts = {
        "requests": dict(requests.sent),
        "requests without a reply of use": requests.by_reason(),
        "replies with personal data, which was replaced": dict(requests.scrubbed),
        "endpoint": dict(together),
    }
    return Account(
        counts={name: by for name, by in counts.items() if by},
        tables=tuple(s.spending.table() for s in sessions),
        warnings=(*requests.warnings(), *(a for s in sessions for a in s.adapted)),
        notes=tuple(dict.fromkeys(n for s in sessions for n in s.spending.notes())),
    )


def open_session(
    opened: ExitStack, endpoint: Endpoint, prices: Prices, ctx: StageContext, file: str, where: str,
    max_chars: int | None = None,
) -> ChatSession:  # fmt: skip
    """A session of a stage, closed with `opened`: replies are kept in `file` of its cache, paid by its run.

    Raises:
        As `ChatSession`.
    """
    payer = Payer(ctx.run) if ctx.run else None
    cache = (ctx.cache or ctx.folder) / file
    return opened.enter_context(ChatSession(endpoint, prices, cache, where=where, max_chars=max_chars, payer=payer))


class Asker:
    """A session, and the count of what is asked in it. `clean`: how what is said there is scrubbed; None: it isn't."""

    def __init__(self, session: ChatSession, requests: Requests, clean: Clean | None = None) -> None:
        self.session, self.requests, self._clean = session, requests, clean

    @property
    def endpoint(self) -> Endpoint:
        """Who is asked."""
        return self.session.endpoint

    def objects(self, what: str, questions: Sequence[Question], schema: Schema) -> list[dict[str, Any] | str]:
        """The object in each reply, or why there is none."""
        return self._counted(what, questions, lambda q, a: self.object_of(what, q, a, schema))

    def texts(self, what: str, questions: Sequence[Question]) -> list["Said | str"]:
        """What is said in each reply, or why nothing is: the failure's reason, refusal, empty_reply, truncated,
        unsearched.
        """
        return self._counted(what, questions, lambda q, a: self._said(what, q, said_in(a)))

    def _counted(
        self, what: str, questions: Sequence[Question], read: Callable[[Question, Answer], _Read | str]
    ) -> list[_Read | str]:
        """What is read in each reply; the first ones alone, to see whether the model is of any use."""
        found: list[_Read | str] = []
        for part in (questions[:FIRST], questions[FIRST:]):
            here = [read(q, a) for q, a in zip(part, self.replies(part), strict=True)]
            for one in here:
                self.requests.add(what, one if isinstance(one, str) else "")
            found += here
            self.requests.refuse_useless(what)
        return found

    def object_of(self, what: str, question: Question, answer: Answer, schema: Schema) -> dict[str, Any] | str:
        """The object in a reply, without personal data, or why there is none: as `object_in`, or unsearched."""
        found = object_in(answer.reply, schema)
        if isinstance(found, str) or (texts := self.cleaned(what, question, list(_strings(found)))) is None:
            return found if isinstance(found, str) else _UNSEARCHED
        return dict(_with_strings(found, iter(texts)))

    def _said(self, what: str, question: Question, said: "Said | str") -> "Said | str":
        if isinstance(said, str):
            return said
        texts = self.cleaned(what, question, [said.text, said.reasoning or ""])
        return _UNSEARCHED if texts is None else Said(texts[0], texts[1] or None)

    def cleaned(self, what: str, question: Question, texts: list[str]) -> list[str] | None:
        """The texts of a reply without personal data; None: a detector failed on one."""
        if self._clean is None or not texts:
            return texts
        found = self._clean(texts, "\n".join(m["content"] for m in question.messages))
        cleaned = [text for text in found if text is not None]
        if len(cleaned) < len(texts):
            return None
        if cleaned != texts:
            self.requests.scrubbed[what] += 1
        return cleaned

    def replies(self, questions: Sequence[Question]) -> list[Answer]:
        """As `ChatSession.answers`; of no questions none."""
        return self.session.answers(questions) if questions else []


def _strings(value: Any) -> Iterator[str]:
    """Every text in a JSON value, in its order."""
    if isinstance(value, str):
        yield value
    for part in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _strings(part)


def _with_strings(value: Any, texts: Iterator[str]) -> Any:
    """The value with these texts in place of its own."""
    if isinstance(value, str):
        return next(texts)
    if isinstance(value, dict):
        return {k: _with_strings(v, texts) for k, v in value.items()}
    return [_with_strings(v, texts) for v in value] if isinstance(value, list) else value


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

"""A model behind an OpenAI-compatible server as a subject: what it answers, and what that cost."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from steps.contracts import thinking
from steps.contracts.digests import value_digest
from steps.contracts.errors import ServiceError
from steps.contracts.evaluation import SERVED
from steps.contracts.records import Row
from steps.engines.llm.client import Reply
from steps.engines.llm.endpoint import Endpoint
from steps.engines.llm.prices import Prices
from steps.engines.llm.session import ChatSession, Question
from steps.engines.subjects.subject import Asked, Prompt, Replies, Tokens

# Roles that a row's prompt may have here.
_ROLES = ("system", "user", "assistant")


@contextmanager
def endpoint_model(name: str, endpoint: Endpoint, prices: Prices, cache: Path) -> Iterator["EndpointModel"]:
    """The served model. `cache`: folder of the replies that were paid for; none is paid twice.

    Raises:
        ConfigError: its key isn't set.
    """
    # Answers are text, whatever the server could be held to.
    plain = endpoint.model_copy(update={"response_format": "text"})
    with ChatSession(plain, prices, cache / "answers.sqlite", where=f"evaluate.subjects: {name}.endpoint") as session:
        yield EndpointModel(name, plain, session)


class EndpointModel:
    """It answers; a prompt is the row's messages as JSON."""

    def __init__(self, name: str, endpoint: Endpoint, session: ChatSession) -> None:
        self.name = name
        self._endpoint, self._session = endpoint, session
        self.digest = value_digest([endpoint.base_url, endpoint.model, endpoint.decoding()])

    @property
    def decoding(self) -> Mapping[str, Any]:
        """What is sent with every prompt."""
        return {SERVED: {"model": self._endpoint.model, **self._endpoint.decoding()}}

    def prompts(self, rows: Sequence[Row]) -> Asked:
        """Each row up to its last answer. Rows with calls or tools are left out, which a note counts."""
        prompts = [_prompt(row) if row["kind"] != "document" else None for row in rows]
        out = sum(p is None and row["kind"] != "document" for p, row in zip(prompts, rows, strict=True))
        return Asked(prompts, (f"{out} rows with tools aren't asked of a server",) if out else ())

    def have_room(self, prompts: Sequence[Prompt | None], max_new_tokens: int | None) -> list[bool]:
        """The server knows its context; what is too long for it ends the evaluation."""
        return [True] * len(prompts)

    def answer(self, prompts: Sequence[Prompt], max_new_tokens: int | None) -> Replies:
        """One reply per prompt, within the endpoint's own `max_tokens`.

        Raises:
            ServiceError: the server doesn't work, or a prompt got no reply: what isn't known is no wrong answer.
        """
        settings = [self._endpoint.model, self._endpoint.decoding()]
        questions = [Question(value_digest([p.text, *settings]), json.loads(p.text), {}, "answer") for p in prompts]
        before, had = self._counted(), self._session.counts()["cache hits"]
        found = [a.reply for a in self._session.answers(questions)]
        replies = [r for r in found if isinstance(r, Reply)]
        if len(replies) < len(found):
            failed = next(r for r in found if not isinstance(r, Reply))
            raise ServiceError(
                f"{len(found) - len(replies)} of {len(found)} questions got no reply: {failed.reason}, {failed.detail}",
                where=self._endpoint.base_url, hint="run again: replies so far are kept",
            )  # fmt: skip
        parts = [thinking.split(r.text) for r in replies]
        spent, count = self._session.spending, self._session.counts()
        cost = f", {spent.cost:.4f} spent" if spent.prices.price_per_million_input is not None else ""
        return Replies(
            [part[2] if part else r.text for part, r in zip(parts, replies, strict=True)],
            self._endpoint.max_tokens,
            (f"{count['replies bought']} replies bought, {count['cache hits']} at hand{cost}",),
            [part[1] if part else None for part in parts],
            cut=sum(r.finish_reason == "length" for r in replies),
            tokens=self._used(before, count["cache hits"] - had),
        )

    def _counted(self) -> tuple[int, int]:
        s = self._session.spending
        return s.prompt_tokens + s.cached_prompt_tokens, s.completion_tokens + s.cached_completion_tokens

    def _used(self, before: tuple[int, int], at_hand: int) -> Tokens:
        """Tokens since then, and what they cost, those of replies at hand included."""
        asked, said = (now - then for now, then in zip(self._counted(), before, strict=True))
        spending = self._session.spending
        return Tokens(asked, said, spending.price(asked, said) if spending.priced else None, at_hand)


def _prompt(row: Row) -> Prompt | None:
    """What is asked and what should be said; None where the row has calls, tools or no answer."""
    messages = list(row["messages"] or [])
    chosen = row["chosen"] or [] if row["kind"] == "preference" else messages[-1:]
    asked = messages if row["kind"] == "preference" else messages[:-1]
    plain = not row["tools"] and all(m["role"] in _ROLES and not m["tool_calls"] for m in (*asked, *chosen))
    if not plain or not asked or len(chosen) != 1 or chosen[0]["role"] != "assistant":
        return None
    sent = [{"role": m["role"], "content": m["content"]} for m in asked]
    return Prompt(json.dumps(sent, ensure_ascii=False), str(chosen[0]["content"]))

"""The backend that asks a language model, buys no reply twice, and stops when the server is gone."""

import asyncio
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from steps.contracts.digests import value_digest
from steps.contracts.errors import AssayError, ServiceError
from steps.contracts.reports import Table
from steps.engines.llm.cache import ReplyCache
from steps.engines.llm.caller import SERVER_FAILURES, Failure
from steps.engines.llm.client import ChatClient, Reply
from steps.engines.llm.endpoint import Endpoint
from steps.engines.progress.progress import Progress
from steps.engines.rubric.case import CRITERIA, DOCUMENT_CRITERIA, Case, Criterion
from steps.engines.rubric.parse import parse_reply
from steps.engines.rubric.rubric import framed, prompt_digest, system_prompt, verdict_schema
from steps.judge.config import JudgeConfig
from steps.judge.cost import Spending
from steps.judge.verdict import Verdict, no_answer


@dataclass(frozen=True)
class _Question:
    """What is sent for a case, and the key of its reply in the cache."""

    key: str
    messages: list[dict[str, str]]
    schema: dict[str, Any]
    chars: int


class LlmJudge:
    """Asks the endpoint about every case whose reply isn't in the cache yet.

    A reply's key is the digest of the framed row, the prompt digest, the model's name and the decoding settings.
    The address isn't part of it, so that a server may move; give two models of one name two cache folders.
    """

    def __init__(self, config: JudgeConfig, endpoint: Endpoint, cache_file: Path, total: int) -> None:
        self.config, self.endpoint = config, endpoint
        self.spending = Spending(config)
        self._counts: Counter[str] = Counter()
        self._digests: dict[tuple[Criterion, ...], str] = {}
        self._cache = ReplyCache(cache_file)
        self._progress = Progress("judge", total)
        self._runner = asyncio.Runner()
        try:
            self._client = ChatClient(endpoint)
        except BaseException:
            self._close()
            raise

    @property
    def digest(self) -> str:
        """Digest of the prompts, the model's name and the decoding settings; longer rows than max_chars aren't kept."""
        prompts = [self._prompt_digest(criteria) for criteria in (CRITERIA, DOCUMENT_CRITERIA)]
        return value_digest([*prompts, self.endpoint.model, self.endpoint.decoding()])

    def pass_over(self, rows: int) -> None:
        """Rows whose verdict is known from an earlier run."""
        self._progress.advance(rows)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        try:
            self._runner.run(self._client.close())
        finally:
            self._close()

    def _close(self) -> None:
        self._runner.close()
        self._cache.__exit__(None, None, None)
        self._progress.__exit__(None, None, None)

    def verdicts(self, cases: Sequence[Case]) -> list[Verdict]:
        """One verdict per case, in order; replies enter the cache one by one as they come.

        Raises:
            ServiceError: the endpoint as a whole doesn't work.
        """
        questions = {i: self._question(c) for i, c in enumerate(cases) if c.has_answer}
        replies: dict[str, Reply | Failure] = dict(self._known(cases, questions))
        cached = frozenset(replies)
        first = {q.key: q for q in reversed(questions.values()) if q.key not in replies}
        self._progress.advance(len(cases) - len(first))
        self._runner.run(self._ask_all(list(reversed(first.values())), replies))
        if not cached:
            self._check_any_reply(replies.values())
        bought: set[str] = set()
        verdicts: list[Verdict] = []
        for i, case in enumerate(cases):
            question = questions.get(i)
            if question is None:
                verdicts.append(no_answer(case, self._prompt_digest(case.criteria)))
                continue
            known = question.key in cached or question.key in bought
            bought.add(question.key)
            verdicts.append(self._verdict(case, replies[question.key], known))
        return verdicts

    def _check_any_reply(self, replies: Collection[Reply | Failure]) -> None:
        """Fewer requests than give_up_after can fail without the client's giving up: then nothing was judged."""
        reasons = Counter(r.reason for r in replies if isinstance(r, Failure) and r.reason in SERVER_FAILURES)
        if self._client.replies == 0 and reasons.total() == len(replies) > 0:
            raise ServiceError(
                f"no reply to any of {len(replies)} requests ({', '.join(reasons)})", where=self.endpoint.base_url,
                hint="start the server, or correct judge.endpoint.base_url",
            )  # fmt: skip

    def _question(self, case: Case) -> _Question:
        orders, row = system_prompt(case.criteria, self.config.instructions), framed(case)
        key = value_digest(
            [row, self._prompt_digest(case.criteria), self.endpoint.model, self.endpoint.decoding()],
        )
        messages = [{"role": "system", "content": orders}, {"role": "user", "content": row}]
        return _Question(key, messages, verdict_schema(case.criteria), len(orders) + len(row))

    def _prompt_digest(self, criteria: tuple[Criterion, ...]) -> str:
        if criteria not in self._digests:
            self._digests[criteria] = prompt_digest(criteria, self.config.instructions)
        return self._digests[criteria]

    def _known(self, cases: Sequence[Case], questions: dict[int, _Question]) -> dict[str, Reply]:
        found = self._cache.get_many(q.key for q in questions.values())
        if not self.config.retry_undecided:
            return found
        useless = {
            q.key
            for i, q in questions.items()
            if q.key in found and isinstance(parse_reply(found[q.key], cases[i]), str)
        }
        return {k: v for k, v in found.items() if k not in useless}

    async def _ask_all(self, questions: list[_Question], replies: dict[str, Reply | Failure]) -> None:
        # The first one goes alone: it finds out which response_format the server takes, and whether there is one.
        if questions:
            await self._ask(questions[0], replies)
        waiting = iter(questions[1:])

        async def work() -> None:
            for question in waiting:
                await self._ask(question, replies)

        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(min(self.endpoint.concurrency, len(questions) - 1)):
                    group.create_task(work())
        except BaseExceptionGroup as several:
            known = next((e for e in several.exceptions if isinstance(e, AssayError)), None)
            raise known or several.exceptions[0] from None

    async def _ask(self, question: _Question, replies: dict[str, Reply | Failure]) -> None:
        if question.chars > self.config.max_chars + len(question.messages[0]["content"]):
            replies[question.key] = Failure("too_long", f"{question.chars} characters", 0.0, 0)
            return
        reserved = self.spending.reserve(question.chars, self.endpoint.max_tokens)
        if reserved is None:
            replies[question.key] = Failure("max_cost", f"{self.spending.cost:.4f} spent", 0.0, 0)
            return
        try:
            reply = await self._client.ask(question.messages, question.schema, "verdict")
        finally:
            self.spending.release(reserved)
        if isinstance(reply, Reply):
            await self._cache.keep(question.key, reply)
            self.spending.add(reply, cached=False)
            self._counts["replies bought"] += 1
        replies[question.key] = reply
        self._progress.advance()

    def _verdict(self, case: Case, reply: Reply | Failure, known: bool) -> Verdict:
        digest = self._prompt_digest(case.criteria)
        if isinstance(reply, Failure):
            return Verdict(
                "llm", digest, error=reply.reason, error_detail=reply.detail, model=self.endpoint.model,
                seconds=reply.seconds,
            )  # fmt: skip
        if known:
            self._counts["cache hits"] += 1
            self.spending.add(reply, cached=True)
        parsed = parse_reply(reply, case)
        decided = not isinstance(parsed, str)
        return Verdict(
            "llm", digest,
            scores=parsed.scores if not isinstance(parsed, str) else {},
            reasons=parsed.reasons if not isinstance(parsed, str) else {},
            error=None if decided else str(parsed),
            error_detail=None if decided else f"finish_reason {reply.finish_reason}",
            model=self.endpoint.model, raw_reply=reply.text,
            prompt_tokens=reply.prompt_tokens, completion_tokens=reply.completion_tokens,
            seconds=None if known else reply.seconds, cached=known,
        )  # fmt: skip

    def counts(self) -> dict[str, Counter[str]]:
        """Requests sent, replies bought, cache hits."""
        return {"requests": Counter({"HTTP requests": self._client.requests, **self._counts})}

    def tables(self) -> tuple[Table, ...]:
        """Tokens and cost, of this run and from the cache."""
        s = self.spending
        rows: list[tuple[str | int | float | None, ...]] = [
            ("bought in this run", s.prompt_tokens, s.completion_tokens, s.cost if s.priced else None),
            ("from the cache", s.cached_prompt_tokens, s.cached_completion_tokens,
             s.price(s.cached_prompt_tokens, s.cached_completion_tokens) if s.priced else None),
        ]  # fmt: skip
        return (
            Table(title="Tokens and cost", columns=("", "prompt tokens", "reply tokens", "cost"), rows=tuple(rows)),
        )

    def notes(self) -> tuple[str, ...]:
        """Which model judged, and how its replies were held to the form."""
        notes = [f"Judged by {self.endpoint.model!r} with response format {self._client.mode}."]
        if self.spending.uncounted:
            notes.append(f"The server counted no tokens for {self.spending.uncounted} replies: the cost is too low.")
        if not self.spending.priced:
            notes.append("No prices are set, so that no cost is shown.")
        return tuple(notes)

"""A model asked many questions: no reply is bought twice, so many requests at once, never above the cost allowed."""

import asyncio
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from steps.contracts.digests import short_id, value_digest
from steps.contracts.errors import ServiceError
from steps.engines.llm.account import Account, Payer, Payment, new_id
from steps.engines.llm.background import Background
from steps.engines.llm.batches import Batches
from steps.engines.llm.cache import Before, ReplyCache
from steps.engines.llm.caller import SERVER_FAILURES, Failure
from steps.engines.llm.claims import Claimed, Claims
from steps.engines.llm.client import ChatClient, Reply
from steps.engines.llm.concurrency import each_of
from steps.engines.llm.endpoint import Endpoint
from steps.engines.llm.prices import Prices
from steps.engines.llm.spending import Spending
from steps.engines.state_store.group_commit import GroupCommit

# Chosen: so much of what a loss of power may take; a killed process loses nothing of it.
_PAUSE_SECONDS = 0.1
# Chosen: so many questions are worth a transaction, however few are asked at once.
_LEAST_CLAIMED = 8


@dataclass(frozen=True)
class Question:
    """What is sent, and the key of its reply in the cache: equal only where an equal reply would do.

    schema, name: the JSON that is asked for, and what the server is told that it is called.
    top: so many of the most probable first tokens are asked for, in place of a reply (`ChatClient.ask`).
    """

    key: str
    messages: Sequence[dict[str, str]]
    schema: dict[str, Any]
    name: str
    top: int = 0

    @property
    def chars(self) -> int:
        """Characters of all messages."""
        return sum(len(m["content"]) for m in self.messages)


@dataclass(frozen=True)
class Answer:
    """A reply, or why there is none. `cached`: it was not bought for this question."""

    reply: Reply | Failure
    cached: bool


@dataclass(frozen=True)
class _Line:
    """What is written down of a question: its payment's id and state, and the reply."""

    key: str
    payment: str
    paid: Payment
    reply: Reply | None = None


class ChatSession:
    """One endpoint, its cache of replies and what they cost. A context manager; `answers` may be called many times.

    Failures of its own making are too_long and max_cost.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        prices: Prices,
        cache_file: Path,
        *,
        where: str,
        max_chars: int | None = None,
        advance: Callable[[int], None] = lambda _: None,
        payer: Payer | None = None,
    ) -> None:
        """`where`: the config's part that names the endpoint; `max_chars`: a longer last message isn't sent;
        `advance`: told how many questions were answered; `payer`: whose limit the cost is held to, together with what
        others have paid for it; None: nobody else pays.
        """
        self.endpoint, self.spending = endpoint, Spending(prices)
        self._where, self._max_chars, self._advance = where, max_chars, advance
        self._counts: Counter[str] = Counter()
        # Replies that this run has bought elsewhere, by digest of their key, until they are used here.
        self._bought: Counter[str] = Counter()
        self._mode_elsewhere = ""
        self._requests_told = 0
        self._settings = value_digest([endpoint.model, endpoint.decoding()])
        with ExitStack() as opened:
            self._cache = opened.enter_context(ReplyCache(cache_file))
            self._account = opened.enter_context(Account(_account_file(cache_file), payer)) if payer else None
            self._client = ChatClient(endpoint)
            self._take_over()
            self._opened = opened.pop_all()
        self._batches = Batches(endpoint, endpoint.batch, self._client, self._cache) if endpoint.batch else None
        self._claims = Claims(self._cache)
        self._loop = Background()
        self._loop.start(self._claims.keep_up())
        self._written = GroupCommit[_Line](
            self._write, self._hand_over, 0.0 if self._cache.outlives_machine else _PAUSE_SECONDS
        )
        self._asking: dict[str, asyncio.Future[Reply | Failure]] = {}
        self._first = asyncio.Lock()
        self._fresh: list[_Line] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        with self._opened:
            self._loop.close(self._end())

    async def _end(self) -> None:
        await self._client.close()
        if self._batches is not None:
            await self._batches.close()
        await self._written.written()

    def _take_over(self) -> None:
        """Count what this run has paid elsewhere as if it had been paid here."""
        for payment in self._account.payments() if self._account else ():
            self._counts["HTTP requests"] += payment.requests
            if payment.state == "asked":
                self.spending.lose(payment.most)
            if payment.state in ("bought", "batched"):
                batch = self.endpoint.batch if payment.state == "batched" else None
                share = batch.price_share if batch else 1.0
                self.spending.bought(payment.prompt_tokens, payment.completion_tokens, share)
                self._counts["replies bought"] += 1
                self._bought[payment.question] += 1

    @property
    def mode(self) -> str:
        """How replies were held to their form."""
        return self._client.mode if self._client.replies else self._mode_elsewhere or self._client.mode

    @property
    def adapted(self) -> tuple[str, ...]:
        """A sentence on each way in which requests differed from the config, because the server wanted it: in this run,
        or when the cached replies that it used were bought.
        """
        bought = self._cache.adapted(self._settings) if self._counts["cache hits"] else []
        of_run = self._account.said() if self._account else []
        return tuple(dict.fromkeys([*self._client.adapted.said, *of_run, *bought]))

    def answers(
        self, questions: Sequence[Question], useful: Callable[[Question, Reply], bool] = lambda question, reply: True
    ) -> list[Answer]:
        """One answer per question, in order; replies enter the cache as they come.

        Of equal questions one is asked. A cached reply that isn't `useful` is asked for again.

        Raises:
            ServiceError: the endpoint as a whole doesn't work.
        """
        return self.begin(questions, useful)()

    def begin(
        self, questions: Sequence[Question], useful: Callable[[Question, Reply], bool] = lambda question, reply: True
    ) -> Callable[[], list[Answer]]:
        """As `answers`, without waiting for them: they are asked from now on, and what is returned waits."""
        return self._loop.start(self._answers(questions, useful)).result

    async def _answers(self, questions: Sequence[Question], useful: Callable[[Question, Reply], bool]) -> list[Answer]:
        by_key = {q.key: q for q in reversed(questions)}
        found = self._cache.get_many(q.key for q in questions)
        ours = self._bought_elsewhere(found)
        replies: dict[str, Reply | Failure] = {k: r for k, r in found.items() if k in ours or useful(by_key[k], r)}
        cached = set(replies)
        new = [q for q in reversed(by_key.values()) if q.key not in cached]
        others = {q.key: self._asking[q.key] for q in new if q.key in self._asking}
        self._advance(len(questions) - len(new) + len(others))
        before = {q.key: found.get(q.key) for q in new if q.key not in others}
        cached |= await self._ask_all(before, by_key, replies)
        replies.update({key: await asked for key, asked in others.items()})
        await self._written.written()
        for said in self._client.adapted.said:
            self._cache.put_adapted(self._settings, said)
            if self._account is not None:
                self._account.say(said)
        if not cached:
            self._check_any_reply(replies.values())
        answers = []
        cached = (cached | set(others)) - ours
        for question in questions:
            answers.append(self._answer(replies[question.key], question.key in cached))
            cached.add(question.key)
        return answers

    def known(self, keys: Collection[str]) -> set[str]:
        """Those of these keys whose replies are at hand."""
        return set(self._cache.get_many(keys))

    def _bought_elsewhere(self, found: Mapping[str, Reply]) -> set[str]:
        """Keys of those of these cached replies that are in use for the first time since this run has bought them."""
        ours = {key for key in found if self._bought[short_id(key)] > 0} if self._bought else set()
        for key in ours:
            self._bought[short_id(key)] -= 1
            self._mode_elsewhere = found[key].mode
        return ours

    def _answer(self, reply: Reply | Failure, cached: bool) -> Answer:
        if cached and isinstance(reply, Reply):
            self._counts["cache hits"] += 1
            self.spending.add(reply, cached=True)
        return Answer(reply, cached)

    async def _ask_all(
        self, before: Before, questions: Mapping[str, Question], replies: dict[str, Reply | Failure]
    ) -> set[str]:
        """Add the replies to these questions; which of them other processes have bought meanwhile."""
        loop = asyncio.get_running_loop()
        asking = {key: loop.create_future() for key in before}
        self._asking |= asking
        theirs: set[str] = set()

        def replied(found: Mapping[str, Reply | Failure]) -> None:
            replies.update(found)
            for key, reply in found.items():
                asking[key].set_result(reply)

        def taken(found: Mapping[str, Reply]) -> None:
            theirs.update(found)
            replied(found)
            self._advance(len(found))

        try:
            free, held = list(before), list[str]()
            while free:
                claimed = self._claims.of({key: before[key] for key in free}, self._claimed_at_once(len(free)))
                try:
                    await self._ask_claimed(claimed, questions, replied)
                finally:
                    await claimed.close({key for key, reply in replies.items() if isinstance(reply, Reply)})
                taken(claimed.found)
                held, free = [*held, *claimed.held], []
                while held and not free:
                    found, free = await self._claims.ended({key: before[key] for key in held})
                    taken(found)
                    held = [key for key in held if key not in found and key not in free]
            # Whoever asks the same from now on finds it in the cache.
            await self._written.written()
            return theirs
        finally:
            for key, asked in asking.items():
                asked.cancel()
                del self._asking[key]

    def _claimed_at_once(self, questions: int) -> int:
        return max(self.endpoint.most_at_once, _LEAST_CLAIMED) if self._batches is None else questions

    async def _ask_claimed(
        self,
        claimed: Claimed,
        questions: Mapping[str, Question],
        replied: Callable[[Mapping[str, Reply | Failure]], None],
    ) -> None:
        async def ask(key: str) -> None:
            replied({key: await self._bought_now(questions[key])})

        if self._batches is None:
            async with self._first:
                # One goes alone: it finds out which response_format the server takes, and whether there is one.
                alone = None if self._client.replies else await claimed.next()
                if alone is not None:
                    await ask(alone)
            await each_of(claimed.next, ask, self.endpoint.most_at_once)
            return
        async with self._first:
            mine = await claimed.rest()
            waiting = self._cache.batches(mine)
            first = [] if self._client.replies else [key for key in mine if key not in waiting][:1]
            for key in first:
                await ask(key)
        rest = [questions[key] for key in mine if key not in first]
        replied(await self._in_batches(rest, self._batches, self._batches.settings.price_share))

    async def _bought_now(self, question: Question) -> Reply | Failure:
        reserved = self._reserved(question)
        if isinstance(reserved, Failure):
            return reserved
        payment = new_id() if self._account is not None else ""
        try:
            # Only a limit needs to know of questions whose end nobody saw.
            if self._account is not None and self.spending.prices.max_cost is not None:
                await self._note(_Line(question.key, payment, Payment.asked(question.key, reserved)), now=True)
            reply = await self._client.ask(question.messages, question.schema, question.name, question.top)
        finally:
            self.spending.release(reserved)
        await self._ended(question.key, payment, reply)
        return reply

    def _reserved(self, question: Question, price_share: float = 1.0) -> float | Failure:
        """What may have to be paid for it, or why it isn't sent."""
        if self._max_chars is not None and (chars := len(question.messages[-1]["content"])) > self._max_chars:
            return Failure("too_long", f"{chars:,} characters, and max_chars is {self._max_chars:,}", 0.0, 0)
        longest = 1 if question.top else self.endpoint.max_tokens
        reserved = self.spending.reserve(question.chars, longest, price_share)
        return Failure("max_cost", f"{self.spending.cost:.4f} spent", 0.0, 0) if reserved is None else reserved

    async def _ended(self, key: str, payment: str, reply: Reply | Failure, price_share: float | None = None) -> None:
        """Count and keep a reply; `price_share`: that of a batch."""
        bought = reply if isinstance(reply, Reply) else None
        if bought is not None:
            self.spending.add(bought, cached=False, price_share=price_share or 1.0)
            self._counts["replies bought"] += 1
        sent, self._requests_told = self._requests() - self._requests_told, self._requests()
        paid = Payment.ended(key, bought, sent, batched=price_share is not None)
        await self._note(_Line(key, payment, paid, bought))
        self._advance(1)

    def _requests(self) -> int:
        return self._client.requests + (self._batches.requests if self._batches else 0)

    async def _in_batches(
        self, questions: Sequence[Question], batches: Batches, price_share: float
    ) -> dict[str, Reply | Failure]:
        """As many as the limit on cost allows at a time, until it allows none."""
        replies: dict[str, Reply | Failure] = {}
        left = list(questions)
        while left:
            reserved = {q.key: self._reserved(q, price_share) for q in left}
            sent = [q for q in left if not isinstance(reserved[q.key], Failure)]
            try:
                found = await batches.ask({q.key: self._client.body(q.messages, q.schema, q.name, q.top) for q in sent})
            finally:
                for most in reserved.values():
                    self.spending.release(0.0 if isinstance(most, Failure) else most)
            for key, reply in found.items():
                await self._ended(key, new_id(), reply, price_share)
            await self._written.written()
            batches.forget(found)
            replies |= found
            replies |= {key: most for key, most in reserved.items() if isinstance(most, Failure)}
            left = [q for q in left if q.key not in found and _is_for_want_of_money(replies[q.key])] if sent else []
        return replies

    async def _note(self, line: "_Line", now: bool = False) -> None:
        """The line outlives this process, with all others that come in this turn of the loop or `now`; where there is a
        place for it the machine as well, when this returns.
        """
        if not self._fresh:
            asyncio.get_running_loop().call_soon(self._keep)
        self._fresh.append(line)
        if now:
            self._keep()
        self._written.add(line)
        if self._cache.outlives_machine:
            await self._written.written()

    def _keep(self) -> None:
        lines, self._fresh = self._fresh, []
        try:
            self._cache.keep((line.key, line.reply) for line in lines if line.reply is not None)
            if self._account is not None:
                self._account.keep((line.payment, line.paid) for line in lines)
        except Exception as error:  # noqa: BLE001 - told to whoever adds or waits
            self._written.fail(error)

    def _hand_over(self) -> None:
        self._keep()
        self._cache.hand_over()
        if self._account is not None:
            self._account.hand_over()

    def _write(self, lines: "list[_Line]") -> None:
        """Replies go before what was paid for them."""
        replies = [(line.key, line.reply) for line in lines if line.reply is not None]
        failed = [line.key for line in lines if line.paid.state == "failed"]
        if replies or failed:
            self._cache.put(replies, failed)
        self._cache.forget()
        if self._account is not None:
            self._account.note((line.payment, line.paid) for line in lines)
            self._account.forget()

    def _check_any_reply(self, replies: Collection[Reply | Failure]) -> None:
        """Fewer requests than give_up_after can fail without the client's giving up: then nothing was answered."""
        reasons = Counter(r.reason for r in replies if isinstance(r, Failure) and r.reason in SERVER_FAILURES)
        if self._client.replies == 0 and reasons.total() == len(replies) > 0:
            raise ServiceError(
                f"no reply to any of {len(replies)} requests ({', '.join(reasons)})", where=self.endpoint.base_url,
                hint=f"start the server, or correct {self._where}.base_url",
            )  # fmt: skip

    def counts(self) -> Counter[str]:
        """Requests sent, replies bought, cache hits, replies that were damaged in the cache and asked for anew."""
        counts = Counter({**self._counts, "HTTP requests": self._counts["HTTP requests"] + self._requests()})
        if self._cache.damaged:
            counts["damaged in the cache"] = len(self._cache.damaged)
        return counts


def _is_for_want_of_money(reply: Reply | Failure) -> bool:
    return isinstance(reply, Failure) and reply.reason == "max_cost"


def _account_file(cache_file: Path) -> Path:
    """What this machine knows of payments, beside the replies."""
    return cache_file.with_stem(f"{cache_file.stem}_paid")

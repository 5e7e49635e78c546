"""What the requests of a run cost so far."""

from dataclasses import dataclass, field

from steps.contracts.reports import Table
from steps.engines.llm.client import Reply
from steps.engines.llm.prices import Prices

# English text has about 4 characters per token, JSON and code fewer; 2.5 keeps the estimate on the high side.
_CHARS_PER_TOKEN = 2.5


@dataclass
class Spending:
    """Tokens and money of this run's replies. Cached replies cost nothing and stand apart."""

    prices: Prices
    prompt_tokens: int = 0
    completion_tokens: int = 0
    # Replies whose server counted no tokens; they cost nothing in the sums.
    uncounted: int = 0
    # Highest price of requests, and their number, whose process ended before they did: they may have been paid for.
    lost: float = 0.0
    lost_requests: int = 0
    cached_prompt_tokens: int = 0
    cached_completion_tokens: int = 0
    # What the replies of batches cost less than single ones.
    saved: float = 0.0
    _reserved: float = field(default=0.0, repr=False)

    @property
    def priced(self) -> bool:
        """Whether prices are named."""
        return self.prices.price_per_million_input is not None

    def price(self, prompt_tokens: float, completion_tokens: float) -> float:
        """Cost of so many tokens; 0.0 without prices."""
        p = self.prices
        return (
            prompt_tokens * (p.price_per_million_input or 0.0) + completion_tokens * (p.price_per_million_output or 0.0)
        ) / 1e6

    @property
    def cost(self) -> float:
        """Cost of this run's counted tokens."""
        return self.price(self.prompt_tokens, self.completion_tokens) - self.saved

    def reserve(self, chars: int, max_tokens: int, price_share: float = 1.0) -> float | None:
        """Set aside the estimated highest cost of a request of `chars` characters; None when max_cost forbids it.
        `price_share`: of the usual price.
        """
        most = self.price(chars / _CHARS_PER_TOKEN, max_tokens) * price_share
        limit = self.prices.max_cost
        if limit is not None and self.cost + self.lost + self._reserved + most > limit:
            return None
        self._reserved += most
        return most

    def release(self, reserved: float) -> None:
        """Give back what was set aside, once the request has ended."""
        self._reserved -= reserved

    def add(self, reply: Reply, cached: bool, price_share: float = 1.0) -> None:
        """Count a reply's tokens; `price_share`: of the usual price."""
        if cached:
            self.cached_prompt_tokens += reply.prompt_tokens or 0
            self.cached_completion_tokens += reply.completion_tokens or 0
            return
        self.bought(reply.prompt_tokens, reply.completion_tokens, price_share)

    def bought(self, prompt_tokens: int | None, completion_tokens: int | None, price_share: float = 1.0) -> None:
        """Count the tokens of a reply of this run; None: the server counted none."""
        self.saved += self.price(prompt_tokens or 0, completion_tokens or 0) * (1 - price_share)
        self.uncounted += prompt_tokens is None
        self.prompt_tokens += prompt_tokens or 0
        self.completion_tokens += completion_tokens or 0

    def lose(self, most: float) -> None:
        """Count a request whose end nobody saw, as if it had cost its highest price."""
        self.lost += most
        self.lost_requests += 1

    def table(self) -> Table:
        """Tokens and cost, of this run and from the cache."""
        cached = self.price(self.cached_prompt_tokens, self.cached_completion_tokens)
        rows: list[tuple[str | int | float | None, ...]] = [
            ("bought in this run", self.prompt_tokens, self.completion_tokens, self.cost if self.priced else None),
            ("from the cache", self.cached_prompt_tokens, self.cached_completion_tokens,
             cached if self.priced else None),
        ]  # fmt: skip
        columns = ("", "prompt tokens", "reply tokens", "cost")
        return Table(title="Tokens and cost", columns=columns, rows=tuple(rows))

    def notes(self) -> tuple[str, ...]:
        """What a reader of the table must know."""
        notes = []
        if self.uncounted:
            notes.append(f"The server counted no tokens for {self.uncounted} replies: the cost is too low.")
        if self.lost:
            notes.append(
                f"{self.lost_requests} requests were on their way when their process was ended: up to {self.lost:.4f},"
                " which max_cost holds for spent and the cost above leaves out."
            )
        if not self.priced:
            notes.append("No prices are set, so that no cost is shown.")
        return tuple(notes)

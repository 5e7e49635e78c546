"""What a run pays for replies, written down where it outlives the processes that pay: so that its limit holds for all
of them together, and for a process that takes another one's place.
"""

import json
import secrets
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from steps.contracts.digests import short_id
from steps.contracts.errors import IntegrityError
from steps.engines.llm.client import Reply
from steps.engines.state_store.tables import SUMS, DurableTables

_TABLE = """
CREATE TABLE IF NOT EXISTS payments (
    id TEXT PRIMARY KEY,
    run TEXT NOT NULL,
    part TEXT NOT NULL,
    question TEXT NOT NULL,
    most REAL NOT NULL,
    state TEXT NOT NULL,
    requests INTEGER NOT NULL,
    prompt_tokens INTEGER,
    completion_tokens INTEGER
) WITHOUT ROWID
"""
_SAID = "CREATE TABLE IF NOT EXISTS said (run TEXT, sentence TEXT, PRIMARY KEY (run, sentence)) WITHOUT ROWID"
_MARKS = "?,?,?,?,?,?,?,?,?"


@dataclass(frozen=True)
class Payer:
    """Who asks.

    run: id of the run. part: the share of the rows that is asked about; "": whoever answers for all of them, and for
    what the shares have paid.
    """

    run: str
    part: str = ""


@dataclass(frozen=True)
class Payment:
    """A question that was sent.

    Attributes:
        question: digest of its key.
        most: the highest price that it could have had.
        state: asked (how it ended is not known: its process ended first), bought, batched (bought in a batch), or
            failed.
        requests: HTTP requests since the payment before it.
    """

    question: str
    most: float
    state: str
    requests: int = 0
    prompt_tokens: int | None = None
    completion_tokens: int | None = None

    @classmethod
    def asked(cls, key: str, most: float) -> Self:
        """A question that is about to be sent."""
        return cls(short_id(key), most, "asked")

    @classmethod
    def ended(cls, key: str, reply: Reply | None, requests: int, batched: bool = False) -> Self:
        """How it ended (None: no reply), after so many further HTTP requests."""
        tokens = (reply.prompt_tokens, reply.completion_tokens) if reply else (None, None)
        how = "batched" if batched else "bought"
        return cls(short_id(key), 0.0, how if reply else "failed", requests, *tokens)


def new_id() -> str:
    """An id for a payment."""
    return secrets.token_hex(8)


class Account(DurableTables):
    """A SQLite file of payments; a context manager. Several processes may share it; where durable state lies elsewhere,
    it is a view of it, as the replies are.
    """

    what = "account of what replies cost"
    lost = "what runs have paid is forgotten: limits count from zero"
    tables = (_TABLE, _SAID, SUMS)

    def __init__(self, file: Path, payer: Payer) -> None:
        self.payer = payer
        super().__init__(file)

    def payments(self) -> list[Payment]:
        """What this part of the run has paid before, in processes that have ended; of all parts for who answers for
        them.

        Raises:
            IntegrityError: payments of the run aren't as they were written.
        """
        run, part = self.payer.run, self.payer.part
        with self._transaction():
            rows = self._db.execute("SELECT * FROM payments WHERE run = ? ORDER BY id", [run]).fetchall()
            sums = dict(self._db.execute("SELECT * FROM sums WHERE key > ? AND key < ?", [f"{run}\n", f"{run}\v"]))
        right = {key: _sum(row) for row in rows if (key := _key(row)) in sums}
        if right != sums:
            wrong = sum(right.get(key) != put for key, put in sums.items())
            raise IntegrityError(
                f"{wrong:,} payments of this run have changed on disk: what it has paid isn't known",
                where=str(self.file),
                hint="remove the file: it is made anew from the durable state" if self.outlives_machine else
                "start a new run, whose max_cost is less by what the provider says of this one (replies so far are"
                f" kept), or move the file away ({self.lost})",
            )  # fmt: skip
        return [Payment(*row[3:]) for row in rows if not part or row[2] == part]

    def note(self, lines: Iterable[tuple[str, Payment]]) -> None:
        """Keep payments by their ids; returns when it is certain that they count."""
        self._write([self._line(*line) for line in lines])

    def keep(self, lines: Iterable[tuple[str, Payment]]) -> None:
        """Payments as they are made: they outlive this process from now on, the machine once they were noted."""
        self.ahead(*(json.dumps(self._line(*line)).encode() for line in lines))

    def _line(self, id_: str, p: Payment) -> list[Any]:
        who = (id_, self.payer.run, self.payer.part)
        return [*who, p.question, float(p.most), p.state, p.requests, p.prompt_tokens, p.completion_tokens]

    def say(self, sentence: str) -> None:
        """Keep a sentence about this run's requests."""
        self._write([["said", self.payer.run, sentence]])

    def said(self) -> list[str]:
        """The sentences about this run's requests."""
        with self._reading():
            lines = self._db.execute("SELECT sentence FROM said WHERE run = ? ORDER BY sentence", [self.payer.run])
            return [sentence for (sentence,) in lines]

    def _write(self, lines: list[list[Any]]) -> None:
        with self._transaction():
            self._enter(lines)
        if self._segments is not None:
            for line in lines:
                self._segments.add(json.dumps(line).encode())
            self._segments.flush()

    def _enter(self, lines: Iterable[Sequence[Any]]) -> None:
        """Add lines, or how questions ended; lines may come in any order."""
        sums = []
        for line in lines:
            if line[0] == "said":
                self._db.execute("INSERT OR IGNORE INTO said VALUES (?, ?)", line[1:])
                continue
            how = "IGNORE" if line[5] == "asked" else "REPLACE"
            if self._db.execute(f"INSERT OR {how} INTO payments VALUES ({_MARKS})", line).rowcount:
                sums.append((_key(line), _sum(line)))
        self._put_sums(sums)

    def _merge(self, lines: list[bytes]) -> None:
        self._enter(map(json.loads, lines))


def _key(payment: Sequence[Any]) -> str:
    """Of its sum: with the run, so that a payment that has lost its own is missed."""
    return f"{payment[1]}\n{payment[0]}"


def _sum(payment: Sequence[Any]) -> int:
    return zlib.crc32(json.dumps(list(payment)).encode())

"""What judges said of the probe rows in earlier runs, beside the replies."""

import json
from collections.abc import Mapping
from dataclasses import astuple, dataclass

from steps.engines.state_store.tables import DurableTables

FILE = "judge_probes.sqlite"
_TABLE = """
CREATE TABLE IF NOT EXISTS probed (
    id TEXT PRIMARY KEY,
    asked_at TEXT NOT NULL,
    run TEXT NOT NULL,
    judge TEXT NOT NULL,
    about TEXT NOT NULL,
    model TEXT NOT NULL,
    decoding TEXT NOT NULL,
    settings TEXT NOT NULL,
    scores TEXT NOT NULL
) WITHOUT ROWID
"""
_COLUMNS = "id, asked_at, run, judge, about, model, decoding, settings, scores"


@dataclass(frozen=True)
class Probed:
    """One judge's scores in one run.

    Attributes:
        asked_at: ISO 8601, UTC. run: under which it was asked; judge: its name in the jury.
        about: digest of what scores must have in common to be compared.
        decoding, settings: digests, the latter of all that decides a verdict beside the row.
        scores: JSON, of each probe the scores by criterion.
    """

    id: str
    asked_at: str
    run: str
    judge: str
    about: str
    model: str
    decoding: str
    settings: str
    scores: str

    @property
    def by_probe(self) -> dict[str, Mapping[str, float]]:
        """Scores by criterion, by probe."""
        found: dict[str, Mapping[str, float]] = json.loads(self.scores)
        return found


class ProbeLog(DurableTables):
    """A SQLite file of them; a context manager. Several processes may share it."""

    what = "record of probe rows"
    tables = (_TABLE,)

    def keep(self, probed: Probed) -> None:
        """Keep what was said, in place of what was said in the same run before."""
        self._write([list(astuple(probed))])
        if self._segments is not None:
            self._segments.add(json.dumps(astuple(probed)).encode())
            self._segments.flush()

    def earlier(self, now: Probed) -> list[Probed]:
        """The last one of an earlier run, and the last one with the same settings where that is another."""
        given = (now.judge, now.about, now.run)
        found = [self._last("", given), self._last(" AND settings = ?", (*given, now.settings))]
        return list(dict.fromkeys(p for p in found if p is not None))

    def _last(self, also: str, given: tuple[str, ...]) -> Probed | None:
        where = f"judge = ? AND about = ? AND run != ?{also}"
        with self._reading():
            line = self._db.execute(
                f"SELECT {_COLUMNS} FROM probed WHERE {where} ORDER BY asked_at DESC, id LIMIT 1", given
            ).fetchone()
        return Probed(*line) if line is not None else None

    def _write(self, lines: list[list[str]]) -> None:
        with self._transaction():
            self._enter(lines)

    def _enter(self, lines: list[list[str]]) -> None:
        self._db.executemany(f"INSERT OR REPLACE INTO probed ({_COLUMNS}) VALUES (?,?,?,?,?,?,?,?,?)", lines)

    def _merge(self, lines: list[bytes]) -> None:
        self._enter([json.loads(line) for line in lines])

"""Vectors kept on disk by the digest of their text, so that a later run embeds only new texts."""

import base64
import json
from collections.abc import Iterable, Mapping

import numpy as np

from steps.engines.embed.vectors import Vector
from steps.engines.state_store.tables import SUMS, DurableTables, row_sum

_TABLE = """
CREATE TABLE IF NOT EXISTS vectors (
    key TEXT PRIMARY KEY,
    cut INTEGER NOT NULL,
    vector BLOB NOT NULL
) WITHOUT ROWID
"""


class SqliteCache(DurableTables):
    """A SQLite file of vectors (4 bytes per dimension) by key. Several processes may share it.

    Where durable state lies elsewhere, the file is a view of it: what other machines found is read when it is opened,
    and what is put here is there when the cache is closed, most of it sooner. A vector whose bytes have another sum
    than when it was put isn't there, but in `damaged`.
    """

    what = "embedding cache"
    tables = (_TABLE, SUMS)
    synced = False  # what is lost is computed again

    def get_many(self, keys: Iterable[str]) -> dict[str, Vector]:
        """The vectors that are there, by key."""
        with self._reading():
            rows = self._sound("cut, vector", "vectors", keys)
            return {key: Vector(np.frombuffer(raw, "<f4"), bool(cut)) for key, cut, raw in rows}

    def put_many(self, vectors: Mapping[str, Vector]) -> None:
        """Keep vectors under their keys; all of them or none."""
        lines = [(key, int(v.cut), v.values.astype("<f4").tobytes()) for key, v in vectors.items()]
        with self._transaction():
            self._db.executemany("INSERT OR REPLACE INTO vectors (key, cut, vector) VALUES (?,?,?)", lines)
            self._put_sums((line[0], row_sum(line)) for line in lines)
        if self._segments is not None:
            for key, cut, raw in lines:
                self._segments.add(json.dumps([key, cut, base64.b64encode(raw).decode()]).encode())

    def _merge(self, lines: list[bytes]) -> None:
        rows = [(key, cut, base64.b64decode(raw)) for key, cut, raw in map(json.loads, lines)]
        self._add_sums("vectors", [(row[0], row_sum(row)) for row in rows])
        self._db.executemany("INSERT OR IGNORE INTO vectors (key, cut, vector) VALUES (?,?,?)", rows)

"""What the ledgers of all runs say about rows: every file is asked once, whatever the number of runs that share it."""

import json
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from ops.lineage.catalogue import Catalogue, Held
from ops.rules import rule_of
from steps.contracts.errors import AssayError

# Measured: a filter on a list leaves the other columns of most rows unread, where a join reads them all in eight times
# as long; but it compares with each of the list.
_FEW = 100
# Verdicts after which a row meets no later stage, unless a person brings it back.
ENDS = ("dropped", "quarantined")


def among(record_ids: Collection[str]) -> str:
    """The condition that a record id is among those `$wanted`."""
    few = len(record_ids) <= _FEW
    return "list_contains($wanted, record_id)" if few else "record_id IN (SELECT unnest($wanted))"


@dataclass(frozen=True)
class Line:
    """One ledger line."""

    stage: str
    verdict: str
    reason: str
    score: float | None
    evidence: dict[str, Any]
    parents: tuple[str, ...]
    # What decided, in words; "" where reason and evidence say it, or nobody asked.
    rule: str = ""

    def with_rule(self, settings: Mapping[str, Any]) -> "Line":
        """The same with what decided in words. `settings`: of every stage, as the run's resolved config has them."""
        said = settings.get(self.stage) or {}
        rule = rule_of(self.stage, self.reason, self.score, self.evidence, said)
        return Line(self.stage, self.verdict, self.reason, self.score, self.evidence, self.parents, rule)


@dataclass(frozen=True)
class Child:
    """A row that a stage made from another."""

    record_id: str
    stage: str


class Ledgers:
    """The ledgers of all runs of a catalogue. One that can't be read is a gap of the catalogue."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue

    @cached_property
    def files(self) -> dict[str, Held]:
        """Every ledger that can be read, by its path on this machine."""
        found = {}
        for held in self._catalogue.held("ledger"):
            try:
                found[str(self._catalogue.store(held.runs[0]).ledger(held.artifact).path)] = held
            except AssayError as e:
                self._catalogue.miss(e, held.artifact.uri)
        return found

    def lines(self, record_ids: Collection[str]) -> dict[str, dict[str, list[Line]]]:
        """What each ledger says about these rows: lines by record id, by the URI of the ledger's artifact."""
        found: dict[str, dict[str, list[Line]]] = defaultdict(lambda: defaultdict(list))
        rows = self._asked(
            "filename, record_id, stage, verdict, reason, score, evidence, parents",
            among(record_ids),
            list(record_ids),
        )
        for file, i, stage, verdict, reason, score, evidence, parents in rows:
            line = Line(stage, verdict, reason, score, json.loads(evidence), tuple(parents))
            found[self.files[file].artifact.uri][i].append(line)
        return found

    def children(self, record_ids: Collection[str]) -> dict[str, dict[str, list[Child]]]:
        """Rows that were made from these: by record id, by the URI of the ledger that says so."""
        found: dict[str, dict[str, list[Child]]] = defaultdict(lambda: defaultdict(list))
        wanted = frozenset(record_ids)
        rows = self._asked(
            "filename, record_id, stage, parents",
            "verdict = 'created' AND list_has_any(parents, $wanted)",
            list(wanted),
        )
        for file, child, stage, parents in sorted(rows):
            for parent in wanted.intersection(parents):
                found[self.files[file].artifact.uri][parent].append(Child(child, stage))
        return found

    def descendants(self, record_ids: Collection[str]) -> set[str]:
        """All rows that were made from these, and from what was made from them ..., in any run."""
        found: set[str] = set()
        last = set(record_ids)
        while last:
            made = {c.record_id for of in self.children(last).values() for cs in of.values() for c in cs}
            last = made - found - set(record_ids)
            found |= last
        return found

    def ended(self, uri: str) -> list[str]:
        """The rows that a ledger says were dropped or set aside."""
        files = [file for file, held in self.files.items() if held.artifact.uri == uri]
        rows = self._asked("DISTINCT record_id", "verdict IN (SELECT unnest($wanted))", list(ENDS), files)
        return [row[0] for row in rows]

    def with_prefix(self, prefix: str) -> list[str]:
        """Record ids that begin so."""
        return sorted(row[0] for row in self._asked("DISTINCT record_id", "starts_with(record_id, $wanted)", prefix))

    def with_evidence(self, words: Sequence[str]) -> list[str]:
        """Rows of which some evidence holds one of these words, as they stand."""
        where = "len(list_filter($wanted, lambda w: contains(evidence, w))) > 0"
        return sorted(row[0] for row in self._asked("DISTINCT record_id", where, list(words))) if words else []

    def _asked(
        self, columns: str, where: str, wanted: object, files: Sequence[str] | None = None
    ) -> list[tuple[Any, ...]]:
        files = list(self.files) if files is None else files
        if not files:
            return []
        # Imported when something is asked.
        import duckdb

        query = f"SELECT {columns} FROM read_parquet($files, filename = true) WHERE {where}"
        found: list[tuple[Any, ...]] = duckdb.execute(query, {"files": files, "wanted": wanted}).fetchall()
        return found

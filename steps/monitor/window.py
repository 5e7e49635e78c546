"""The requests of the log, window by window: what scrub left of the texts, beside what else is known of them."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from steps.contracts.dataset import Dataset
from steps.monitor.texts import Said, logged


@dataclass(frozen=True)
class Request:
    """A request. `said`: None where scrub has set its texts aside; the other fields are those of the log's facts."""

    record_id: str
    created: float
    latency: float | None
    failed: bool
    cut: bool
    said: Said | None


@dataclass
class Window:
    """Requests that one model answered, oldest first; `others`: how many another one answered."""

    number: int
    requests: list[Request] = field(default_factory=list)
    others: int = 0

    @property
    def said(self) -> list[Said]:
        """Those that have texts."""
        return [r.said for r in self.requests if r.said is not None]

    @property
    def answers(self) -> list[str]:
        """Of those that were answered."""
        return [s.answered for s in self.said if s.answered is not None]

    @property
    def latencies(self) -> list[float]:
        """Of answered requests, in seconds."""
        return [r.latency for r in self.requests if r.latency is not None and not r.failed]


def read_facts(path: Path) -> dict[str, dict[str, Any]]:
    """What the log said of each request besides its texts, by record id."""
    return {line["record_id"]: line for line in pq.read_table(path).to_pylist()}


def windows_of(rows: Dataset, facts: dict[str, dict[str, Any]], model: str) -> list[Window]:
    """The windows, the newest (number 0) first. `model`: digest of the weights whose requests count, "" for all; one
    that the log doesn't name counts.
    """
    texts = _texts(rows, facts)
    windows: dict[int, Window] = {}
    for line in sorted(facts.values(), key=lambda f: (f["created"], f["record_id"])):
        window = windows.setdefault(line["window"], Window(line["window"]))
        if model and line["model"] and not model.startswith(line["model"]):
            window.others += 1
            continue
        window.requests.append(
            Request(line["record_id"], line["created"], line["latency"], line["failed"], line["cut"],
                    texts.get(line["record_id"]))
        )  # fmt: skip
    return [windows[number] for number in sorted(windows)]


def newest_answered(rows: Dataset, facts: dict[str, dict[str, Any]], model: str) -> list[str]:
    """Record ids of the newest window's answered requests, in order of their ids."""
    newest = windows_of(rows, facts, model)[:1]
    return sorted(s.record_id for window in newest for s in window.said if s.answered is not None)


def _texts(rows: Dataset, facts: dict[str, dict[str, Any]]) -> dict[str, Said]:
    found: dict[str, Said] = {}
    for chunk in rows.chunks(["record_id", "kind", "messages", "chosen", "rejected", "tools", "text"]):
        for row in chunk.table.to_pylist():
            if row["record_id"] in facts:
                found[row["record_id"]] = logged(row, failed=facts[row["record_id"]]["failed"])
    return found

"""What is seen of a phase while it trains, as JSON Lines: written a line at a time, read by anybody at any time.

A line is written by one call to a file that is only ever appended to, so that a reader sees whole lines, and at most
one at the end that isn't yet; a process that is killed leaves what it had seen. No number of it enters a result.
"""

import json
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

Event: TypeAlias = dict[str, Any]
# Kinds of events.
STARTED, METRICS, SAMPLE, WARNING, VALIDATED, ENDED = "started", "metrics", "sample", "warning", "validated", "ended"
# Below the state folder: a folder per run, in it a file per phase.
FOLDER = "watch"
SUFFIX = ".jsonl"


class Journal:
    """Adds events to a file; without a file they go nowhere."""

    def __init__(self, path: Path | None) -> None:
        self.path = path
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)

    def add(self, kind: str, **said: Any) -> None:
        """One event, with the time of day. A full disk costs the event and not the training."""
        if self.path is None:
            return
        line = json.dumps({"kind": kind, "time": time.time(), **said}, ensure_ascii=True) + "\n"
        try:
            file = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        except OSError:
            return
        try:
            os.write(file, line.encode())
        except OSError:
            pass
        finally:
            os.close(file)


@dataclass
class Watched:
    """A phase as its journal has it.

    Attributes:
        started: its first event. metrics: by optimizer step, all that was logged at it. ended: its last event; None:
            it goes on, or died.
        validated: losses and trained tokens of each validation row in the end, what the rows are known by, and a
            digest of that.
        last: when the newest event was written, seconds since 1970.
    """

    stage: str
    started: Event = field(default_factory=dict)
    metrics: dict[int, dict[str, float]] = field(default_factory=dict)
    samples: list[Event] = field(default_factory=list)
    warnings: list[Event] = field(default_factory=list)
    validated: Event | None = None
    ended: Event | None = None
    last: float = 0.0

    def take(self, event: Event) -> None:
        """Add an event."""
        self.last = float(event.get("time", 0.0))
        kind = event.get("kind")
        if kind == STARTED:
            self.started, self.ended = event, None
        elif kind == METRICS:
            self.metrics.setdefault(int(event["step"]), {}).update(event["values"])
        elif kind == SAMPLE:
            self.samples.append(event)
        elif kind == WARNING:
            self.warnings.append(event)
        elif kind == VALIDATED:
            self.validated = event
        elif kind == ENDED:
            self.ended = event

    @property
    def total(self) -> int:
        """Optimizer steps of the phase."""
        return int(self.started.get("total", 0))

    @property
    def step(self) -> int:
        """The newest step of which anything is known."""
        return max(self.metrics, default=0)

    def curve(self, key: str) -> list[tuple[int, float]]:
        """A metric by step."""
        return sorted((step, values[key]) for step, values in self.metrics.items() if key in values)

    def latest(self, key: str) -> float | None:
        """The newest value of a metric."""
        found = self.curve(key)
        return found[-1][1] if found else None


def read_journal(path: Path) -> Watched:
    """A phase from its file; what isn't a whole line yet, or no event, is passed over."""
    watched = Watched(path.stem)
    for event in _events(path):
        watched.take(event)
    return watched


def _events(path: Path) -> Iterator[Event]:
    for line in path.read_bytes().split(b"\n")[:-1]:
        try:
            event = json.loads(line)
        except ValueError:
            continue
        if isinstance(event, Mapping) and "kind" in event:
            yield dict(event)

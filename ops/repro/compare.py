"""Artifacts of two runs of the same thing, side by side: what is equal bit by bit, what isn't."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from materializers import layout
from materializers.artifacts import Artifacts
from pipelines.step_names import position_of
from steps.contracts.errors import AssayError
from steps.contracts.runs import ArtifactRecord

# bits: every byte, or every byte that its content is of; content: equal but for times, or rows in other shards; place:
# it says where it is registered, and that is another place; spare: work kept for later runs, which decides no result.
Sameness = Literal["bits", "content", "place", "spare", "differs", "gone", "new"]
# Nothing to explain.
FINE = ("bits", "content", "place", "spare")
# Digests that are those of all bytes that count: files of weights, rows of a ledger, answers.
_DIGEST_IS_BITS = ("model", "ledger", "answers", "file")
_MEASURED = re.compile(r"\bseconds\b|per second|^available$")
_BUT_FOR_TIMES = "but for the times that it took"
_SPARE = ("row_cache", "embeddings", "index", "memory")
# What the state of source files is, with their times.
_SPARE_NAMES = ("ingest_sources",)


@dataclass(frozen=True)
class Pair:
    """One artifact in the run and in its repetition; None where one of them lacks it.

    Attributes:
        note: what a verdict other than bits means here.
    """

    step: str
    name: str
    type: str
    same: Sameness
    then: str | None
    now: str | None
    note: str = ""

    @property
    def fine(self) -> bool:
        """Whether there is nothing to explain."""
        return self.same in FINE

    @property
    def stage(self) -> str:
        """The stage that it is of."""
        return self.step.removesuffix("_step")


def compare(then: Artifacts, now: Artifacts) -> list[Pair]:
    """All artifacts of both runs, in the order of the data."""
    before = {(a.step, a.name): a for a in then.run.artifacts}
    after = {(a.step, a.name): a for a in now.run.artifacts}
    keys = sorted(before.keys() | after.keys(), key=lambda k: (position_of(k[0]), k))
    return [_pair(before.get(key), after.get(key), then, now) for key in keys]


def _pair(a: ArtifactRecord | None, b: ArtifactRecord | None, then: Artifacts, now: Artifacts) -> Pair:
    either = a or b
    assert either is not None
    digests = (a.digest if a else None, b.digest if b else None)
    if a is None or b is None:
        what: Sameness = "spare" if _is_spare(either) else "new" if a is None else "gone"
        return Pair(either.step, either.name, either.type, what, *digests)
    same, note = _sameness(a, b, then, now)
    return Pair(a.step, a.name, a.type, same, *digests, note)


def _sameness(a: ArtifactRecord, b: ArtifactRecord, then: Artifacts, now: Artifacts) -> tuple[Sameness, str]:
    if a.sha256 is not None and a.sha256 == b.sha256:
        return "bits", ""
    if a.digest is not None and a.digest == b.digest:
        note = "the same rows, in other files" if a.type == "dataset" else _BUT_FOR_TIMES
        return ("bits", "") if a.type in _DIGEST_IS_BITS else ("content", note)
    if a.type == "registration":
        return "place", "registered here, and not there"
    if _is_spare(a):
        return "spare", ""
    if layout.MAIN.get(a.type, layout.VALUE) in (layout.REPORT, layout.VALUE):
        return _but_for_times(a, b, then, now)
    return "differs", ""


def _is_spare(artifact: ArtifactRecord) -> bool:
    return artifact.type in _SPARE or artifact.name in _SPARE_NAMES


def _but_for_times(a: ArtifactRecord, b: ArtifactRecord, then: Artifacts, now: Artifacts) -> tuple[Sameness, str]:
    name = layout.MAIN.get(a.type, layout.VALUE)
    try:
        values = [json.loads(store.file(artifact, name).read_bytes()) for store, artifact in ((then, a), (now, b))]
    except (AssayError, ValueError) as e:
        return "differs", f"can't be compared: {e}"
    if timeless(values[0]) == timeless(values[1]):
        return "content", _BUT_FOR_TIMES
    return "differs", ", ".join(list(_differing(*map(timeless, values)))[:5])


def timeless(value: Any) -> Any:
    """A JSON value without what was measured of the machine: times, speeds, free memory."""
    if isinstance(value, dict):
        return {k: timeless(v) for k, v in value.items() if not _is_time(k)}
    return [timeless(v) for v in value if not _is_measured(v)] if isinstance(value, list) else value


def _is_measured(row: Any) -> bool:
    """Whether a row of a table is a time, a speed, or the memory that was free then."""
    what = row[0] if isinstance(row, list) and len(row) == 2 else None
    return isinstance(what, str) and _MEASURED.search(what) is not None


def _is_time(key: str) -> bool:
    return key.endswith("seconds") or key in ("rows_per_second", "tokens_per_second", "notes", "at_hand")


def _differing(a: Any, b: Any, path: str = "") -> Iterator[str]:
    """Paths of the values that differ; their text isn't told."""
    if isinstance(a, dict) and isinstance(b, dict):
        for key in sorted(a.keys() | b.keys()):
            yield from _differing(a.get(key), b.get(key), f"{path}.{key}" if path else key)
    elif a != b:
        yield path

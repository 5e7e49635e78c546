"""Which signal takes how much of which source: one that takes much of one is more likely wrong than the source."""

import bisect
from collections import Counter
from collections.abc import Iterable, Iterator

import pyarrow as pa
import pyarrow.compute as pc

from steps.contracts.records import Row
from steps.judge.signals.switches import Signals

# Chosen: more than one row in twenty of a source by one signal is said aloud, with so many examples.
_MUCH = 0.05
_EXAMPLES = 5


class SourceSignals:
    """Counts by source (the config's logical name, the first part of a row's `source`); some examples of each."""

    def __init__(self) -> None:
        self._rows: Counter[str] = Counter()
        self._hits: Counter[tuple[str, str]] = Counter()
        # The smallest record ids, so that they don't depend on the order of the rows.
        self._examples: dict[tuple[str, str], list[tuple[str, str]]] = {}

    def add_rows(self, sources: pa.ChunkedArray) -> None:
        """Count the rows of each source."""
        for item in pc.value_counts(sources).to_pylist():
            self._rows[_name(item["values"])] += item["counts"]

    def add(self, row: Row, signals: Iterable[str]) -> None:
        """Count a row on which these signals fired; of it are read record_id, source and locator."""
        for signal in set(signals):
            key = (_name(row["source"]), signal)
            self._hits[key] += 1
            shown = self._examples.setdefault(key, [])
            bisect.insort(shown, (row["record_id"], f"{row['source']}:{row['locator']}"))
            del shown[_EXAMPLES:]

    def warnings(self, signals: Signals) -> Iterator[str]:
        """A sentence on every signal that takes more than one row in twenty of a source."""
        for (source, signal), rows in sorted(self._hits.items(), key=lambda item: (-item[1], item[0])):
            if signal not in Signals.model_fields or rows <= _MUCH * self._rows[source]:
                continue
            does, milder = ("drops", "flag (kept and marked) or off") if signals.action(signal) == "drop" else (
                "flags", "off")  # fmt: skip
            share = f"{rows:,} of {self._rows[source]:,} rows ({rows / self._rows[source]:.1%})"
            examples = ", ".join(f"{i} ({place})" for i, place in self._examples[source, signal])
            yield (
                f"the signal {signal} {does} {share} of source {source}: {examples}."
                f" If these rows are good, set judge.signals.{signal}: {milder}"
            )


def _name(source: str) -> str:
    return source.partition("/")[0]

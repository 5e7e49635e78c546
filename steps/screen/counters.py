"""What screening counts."""

from collections import Counter
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from steps.contracts.ledger import Verdict
from steps.contracts.records import Row
from steps.screen.screener import ScreenResult

VERDICTS: dict[str, Verdict] = {
    "drop": "dropped",
    "quarantine": "quarantined",
    "flag": "flagged",
    "undecided": "undecided",
}
_EXAMPLES_PER_RULE = 2
# Characters.
LENGTH_EDGES = (0, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 50_000)


@dataclass
class Counters:
    """Counts of one run. `samples` keeps the smallest record ids per rule: the same in any row order."""

    hits: Counter[str] = field(default_factory=Counter)
    mentions: Counter[str] = field(default_factory=Counter)
    severities: Counter[str] = field(default_factory=Counter)
    hit_rows: Counter[str] = field(default_factory=Counter)
    splits: Counter[str] = field(default_factory=Counter)
    languages: Counter[str] = field(default_factory=Counter)
    lengths: Counter[int] = field(default_factory=Counter)
    samples: dict[str, list[tuple[str, str]]] = field(default_factory=dict)

    def measure(self, lengths: npt.NDArray[np.int64]) -> None:
        """Count rows by the length of their text in characters, shape (rows,)."""
        self.lengths.update(np.searchsorted(LENGTH_EDGES[1:], lengths, side="right").tolist())

    def add(self, row: Row, result: ScreenResult) -> None:
        """Count what was found in a row."""
        for f in result.found:
            self.hits[f.rule] += 1
            self.mentions[f.rule] += f.mention
            self.severities[f"{f.category}, {f.severity}"] += 1
            text = f"{f.path}: {f.sample or f'{f.end - f.start} characters'}{' (mentioned)' if f.mention else ''}"
            best = {*self.samples.get(f.rule, []), (row["record_id"], text)}
            self.samples[f.rule] = sorted(best)[:_EXAMPLES_PER_RULE]
        self.hit_rows.update({f.rule for f in result.found})
        if result.language is not None:
            self.languages[result.language] += 1
        if result.decision is not None:
            self.splits[f"{VERDICTS[result.decision.action]}: {row['split'] or '(none)'}"] += 1

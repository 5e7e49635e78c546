"""What the stage counts: no value, only counts, pseudonyms and masked samples."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from steps.contracts.records import Row
from steps.scrub.pseudonyms.pseudonym import masked_sample, normalised
from steps.scrub.redactor import ReplacedValue

_EXAMPLES_PER_ENTITY = 2


@dataclass
class Counters:
    """Counts of one run. `samples` keeps the smallest record ids per entity: the same in any row order."""

    findings: Counter[str] = field(default_factory=Counter)
    rows: Counter[str] = field(default_factory=Counter)
    recognizers: Counter[str] = field(default_factory=Counter)
    fields: Counter[str] = field(default_factory=Counter)
    splits: Counter[str] = field(default_factory=Counter)
    per_row: Counter[int] = field(default_factory=Counter)
    values: dict[str, set[str]] = field(default_factory=dict)
    surrogates: dict[str, set[str]] = field(default_factory=dict)
    samples: dict[str, list[tuple[str, str, str]]] = field(default_factory=dict)

    def add(self, row: Row, values: Sequence[ReplacedValue]) -> None:
        """Count one changed row. Its values are only masked, never kept."""
        for v in values:
            entity = v.finding.entity
            self.findings[entity] += 1
            self.recognizers[v.finding.recognizer] += 1
            self.fields[v.path.split("/")[0]] += 1
            self.values.setdefault(entity, set()).add(v.pseudonym)
            best = [*self.samples.get(entity, []), (row["record_id"], masked_sample(v.value), v.pseudonym)]
            self.samples[entity] = sorted(set(best))[:_EXAMPLES_PER_ENTITY]
        self.rows.update({v.finding.entity for v in values})
        self.splits[row["split"] or "(none)"] += 1
        self.per_row[len(values)] += 1

    def add_surrogates(self, values: Sequence[ReplacedValue]) -> None:
        """Count the surrogates of one row: two values may have met in one."""
        for v in values:
            if v.new != v.pseudonym:
                entity = v.finding.entity
                self.surrogates.setdefault(entity, set()).add(normalised(entity, v.new))

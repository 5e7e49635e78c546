"""Which rows the phases of training would be given, as far as that is known before a run, and which they can't use."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import pyarrow as pa

from pipelines.config import RunConfig
from steps.contracts.dataset import Dataset
from steps.contracts.records import Row
from steps.train.config import TrainConfig
from steps.train.mixture import source_names
from steps.train.objectives.registry import objective_of, ways_out

# What says more than another objective, by kind.
_BESIDES = {"document": "pipeline: curate makes a dataset without training"}


@dataclass(frozen=True)
class Supply:
    """Rows of a source, or of a split of it.

    Attributes:
        source: its name, as ingest has it.
        rows: some of each kind, with their number; of a source that nobody looked at there are none.
        whole: these are all rows, not only the first ones.
        split: None: not known yet.
    """

    source: str
    rows: tuple[tuple[Row, int], ...]
    whole: bool = False
    split: str | None = None

    @property
    def kinds(self) -> Counter[str]:
        """Rows by kind."""
        found: Counter[str] = Counter()
        for row, count in self.rows:
            found[row["kind"]] += count
        return found

    def reaches(self, phase: TrainConfig, kind: str) -> bool:
        """Whether a phase takes rows of a kind from here, by what its `rows` name."""
        return phase.rows.take(self.split or phase.rows.split, self.source, kind)


def supplied(dataset: Dataset) -> list[Supply]:
    """What a dataset version holds, by source and split; reads four columns of all its rows."""
    counts: Counter[tuple[str, str | None, str, bool | None]] = Counter()
    for table in dataset.tables(["source", "split", "kind", "label"]):
        columns = [source_names(table), table["split"], table["kind"], table["label"]]
        grouped = pa.table(columns, names=["source", "split", "kind", "label"])
        for row in grouped.group_by(["source", "split", "kind", "label"]).aggregate([([], "count_all")]).to_pylist():
            counts[row["source"], row["split"], row["kind"], row["label"]] += row["count_all"]
    found: dict[tuple[str, str | None], list[tuple[Row, int]]] = {}
    for (source, split, kind, label), count in sorted(counts.items(), key=str):
        found.setdefault((source, split), []).append(({"source": source, "kind": kind, "label": label}, count))
    return [Supply(source, tuple(rows), True, split) for (source, split), rows in found.items()]


def becoming(config: RunConfig, kind: str) -> tuple[str, ...]:
    """The kinds of rows that are there to train on where a source has this one: a model may make others of it."""
    found = [kind]
    if kind == "document" and config.synthesize is not None and config.runs("synthesize"):
        found = ["conversation", *(found if config.synthesize.keep_documents else [])]
    if "conversation" in found and config.runs("prefer"):
        found.append("preference")
    return tuple(found)


def after_making(config: RunConfig, supply: Supply) -> Supply:
    """A source's rows, with those that a model makes of them in the run."""
    made = [({**row, "kind": kind}, n) for row, n in supply.rows for kind in becoming(config, row["kind"])]
    return replace(supply, rows=tuple(made))


def refused(phases: Sequence[TrainConfig], supply: Supply, kind: str) -> str:
    """Why no phase takes rows of that kind from there; "" when one does."""
    whys, ways = [], list[str]()
    for phase in phases:
        if not supply.reaches(phase, kind):
            whys.append(f"{phase.model_name} leaves them out (rows)")
            continue
        row = unusable(phase, supply, kind)
        if row is None:
            return ""
        whys.append(f"{phase.objective.kind} doesn't take them")
        ways += ways_out(objective_of(phase.objective), row)
    if kind in _BESIDES:
        ways.append(_BESIDES[kind])
    said = "; ".join(dict.fromkeys(whys))
    return f"{said} ({'; '.join(dict.fromkeys(ways))})" if ways else said


def unusable(phase: TrainConfig, supply: Supply, kind: str) -> Row | None:
    """A row of that kind, when the objective can't use a single one of them."""
    objective, rows = objective_of(phase.objective), [row for row, _ in supply.rows if row["kind"] == kind]
    if any(objective.refusal(row) is None for row in rows):
        return None
    return rows[0] if rows else None


def starved(phase: TrainConfig, supplies: Sequence[Supply]) -> str:
    """Why a phase would be left without a row; "" when it has some, or nobody knows."""
    if not supplies or any(not s.rows and (not phase.rows.sources or s.source in phase.rows.sources) for s in supplies):
        return ""
    seen: Counter[str] = Counter()
    ways: list[str] = []
    for supply in supplies:
        for kind, count in supply.kinds.items():
            if not supply.reaches(phase, kind):
                continue
            row = unusable(phase, supply, kind)
            if row is None:
                return ""
            seen[kind] += count
            ways += ways_out(objective_of(phase.objective), row)
    which = "the version" if all(s.whole for s in supplies) else "the sources"
    if not seen:
        return f"no row of {which} is left by what its `rows` name: there are {_told(supplies)}"
    kinds = ", ".join(f"{n} {kind}{'' if n == 1 else 's'}" for kind, n in seen.most_common())
    least = "" if which == "the version" else "of the first rows "
    return (
        f"{phase.objective.kind} can't use a single row of {which}: {least}{kinds} ({'; '.join(dict.fromkeys(ways))})"
    )


def _told(supplies: Sequence[Supply]) -> str:
    found: dict[str, Counter[str]] = {}
    for supply in supplies:
        found.setdefault(supply.source, Counter()).update(supply.kinds)
    return "; ".join(f"{', '.join(f'{kind}s' for kind in kinds)} of {name}" for name, kinds in sorted(found.items()))


def looked_at(source: str, rows: Iterable[Row]) -> Supply:
    """What the first rows of a source's files are."""
    return Supply(source, tuple((row, 1) for row in rows))

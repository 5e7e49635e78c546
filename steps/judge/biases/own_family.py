"""Whether a judge favours answers of its own family: who made a row, and how a second judge sees the same rows.

Judges score their own family's answers higher (Zheng et al. 2023, arXiv:2306.05685; Panickssery et al. 2024,
arXiv:2404.13076). That one judge scores such rows high shows nothing: they may be good. The gap is what is left beside
judges of other families: (its share less theirs) on rows of its own family, less the same on all other rows.
"""

import json
import math
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from statistics import fmean
from typing import Any

from steps.contracts.evaluation import Estimate
from steps.contracts.records import Row
from steps.contracts.reports import Table
from steps.engines.llm.families import families_of, known_families_in
from steps.engines.rubric.case import Criterion, Score
from steps.judge.verdict import MAX_SCORE

# Where rows that assay made say who made them, and columns that data sets have for it.
_MADE = ("synthesis", "augmentation", "preference")
_COLUMNS = ("model", "generator", "model_name", "teacher_model", "generated_by")
_NORMAL = 1.959964
_NAME = re.compile(r"[A-Za-z0-9._:/+-]{1,80}\Z")
# As pairs say of an answer that no model gave.
OWN_ANSWER = "the row's own"
# Chosen: what a name in `meta` may be at most.
_LONGEST = 200


@cache
def _families(name: str) -> frozenset[str]:
    return families_of(name)


@cache
def _of_source(source: str) -> frozenset[str]:
    return known_families_in(source)


def maker(row: Row) -> tuple[str, frozenset[str]]:
    """Who made a row's answer (a model's name, or the source that names a family), and the families; "": not known.

    Of the row are read `meta` and `source`.
    """
    read = json.loads(row["meta"] or "{}")
    meta = read if isinstance(read, dict) else {}
    made = [meta[key] for key in _MADE if isinstance(meta.get(key), dict)]
    said = [part[key] for part in made if not _is_the_rows_own(part) for key in ("teacher", "model") if key in part]
    for name in (*said, *(meta[c] for c in _COLUMNS if c in meta)):
        if isinstance(name, str) and 0 < len(name) <= _LONGEST:
            return name, _families(name)
    source = str(row["source"])[:_LONGEST]
    found = _of_source(source)
    return (source, found) if found else ("", frozenset())


def _is_the_rows_own(made: Mapping[str, Any]) -> bool:
    """Of a pair: the better answer isn't the model's."""
    answers = made.get("answers")
    return isinstance(answers, list) and answers[:1] == [OWN_ANSWER]


@dataclass
class _Mean:
    """Sums of values."""

    n: int = 0
    total: float = 0.0
    squares: float = 0.0

    def add(self, value: float) -> None:
        self.n, self.total, self.squares = self.n + 1, self.total + value, self.squares + value * value

    @property
    def mean(self) -> float:
        return self.total / self.n

    @property
    def variance(self) -> float:
        """Of the mean."""
        spread = max(self.squares - self.n * self.mean**2, 0.0)
        return spread / (self.n - 1) / self.n if self.n > 1 else math.inf


class OwnFamily:
    """Counts rows by whether a judge's own family made them; memory is bounded."""

    def __init__(self, judges: Mapping[str, str]) -> None:
        """judges: name in the jury -> its model."""
        self._judges = {name: (model, _families(model)) for name, model in judges.items()}
        self._makers: dict[str, Counter[str]] = {name: Counter() for name in judges}
        # By judge and whether the row is of its family: shares, and differences to the other judges' mean.
        self._shares: dict[tuple[str, bool], _Mean] = {}
        self._beside: dict[tuple[str, bool], _Mean] = {}

    def add(self, row: Row, share: float, members: Mapping[str, Mapping[Criterion, Score] | str]) -> None:
        """Count a decided row, with what each judge of a jury says."""
        name, families = maker(row)
        shares = {n: _share(s) for n, s in members.items() if not isinstance(s, str)} if members else {"": share}
        if not members:
            shares = dict.fromkeys(self._judges, share)
        for judge, (_, own) in self._judges.items():
            if judge not in shares:
                continue
            is_own = bool(own & families)
            if is_own and (name in self._makers[judge] or len(self._makers[judge]) < 100):
                self._makers[judge][name] += 1
            self._shares.setdefault((judge, is_own), _Mean()).add(shares[judge])
            others = [s for n, s in shares.items() if n != judge and not self._judges[n][1] & (own | families)]
            if others:
                self._beside.setdefault((judge, is_own), _Mean()).add(shares[judge] - fmean(others))

    def _of_own(self) -> list[str]:
        return [judge for judge in self._judges if (judge, True) in self._shares]

    def gap(self, judge: str) -> Estimate | None:
        """How much higher a judge rates its own family than judges of others do; None: no two kinds of rows, or nobody
        to compare with.
        """
        own, other = self._beside.get((judge, True)), self._beside.get((judge, False))
        if own is None or other is None or min(own.n, other.n) < 2:
            return None
        value, width = own.mean - other.mean, _NORMAL * math.sqrt(own.variance + other.variance)
        return Estimate(value=value, low=value - width, high=value + width, n=own.n)

    def tables(self) -> tuple[Table, ...]:
        """A line for each judge whose family made some of the rows; none where none did."""
        lines = []
        for judge in self._of_own():
            own, other, gap = self._shares[judge, True], self._shares.get((judge, False)), self.gap(judge)
            shown = [round(v, 4) for v in (gap.value, gap.low, gap.high)] if gap else [None] * 3
            rest = (other.n, round(other.mean, 4)) if other else (0, None)
            lines.append((self._judges[judge][0], own.n, round(own.mean, 4), *rest, *shown))
        columns = ("judge", "rows of its family", "mean share", "other rows", "their mean share", "gap", "low", "high")
        if not lines:
            return ()
        title = "Answers of the judge's own family"
        return (Table(title=title, columns=columns, rows=tuple(lines), chapter="biases"),)

    def warnings(self) -> tuple[str, ...]:
        """One for each judge whose family made some of the rows."""
        said = []
        for judge in self._of_own():
            model, families = self._judges[judge]
            makers = self._makers[judge]
            made = ", ".join(f"{_shown(name)} ({n} rows)" for name, n in makers.most_common(3))
            who = f"{model} judges answers of its own family, {' and '.join(sorted(families))}: {made}."
            gap = self.gap(judge)
            if gap is None:
                told = "Name a second judge of another family (judge.jury) to see how much it favours them."
            else:
                more = f"{gap.value:+.3f} [{gap.low:+.3f}, {gap.high:+.3f}]"
                told = f"Its share of the score less that of judges of other families, against other rows: {more}."
            said.append(f"{who} {told}")
        return tuple(said)


def _shown(name: str) -> str:
    """A model's name; what doesn't look like one came from the data, and may say anything."""
    return name if _NAME.match(name) else "something called after it"


def _share(scores: Mapping[Criterion, Score]) -> float:
    return sum(scores.values()) / (MAX_SCORE * len(scores))

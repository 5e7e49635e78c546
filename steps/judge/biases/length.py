"""Whether scores go with the length of answers, and what they are at equal length.

The score of a row at equal length is what is left of it without the part that a regression on the length explains, as
the length-controlled win rate of AlpacaEval 2 does it for comparisons (Dubois et al. 2024, arXiv:2404.04475). There the
models that are compared stand in the regression beside the length, here the sources of the rows do, so that a source
with long and good answers isn't held for one whose answers are liked for their length. Length enters by its logarithm.
A longer answer may be a better one: what is shown is how scores go with length, not why.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from steps.contracts.evaluation import Estimate
from steps.contracts.reports import Table
from steps.engines.scoring.agreement import centred_ranks
from steps.engines.scoring.bootstrap import Floats
from steps.engines.scoring.wilson import wilson

# Chosen: of 5,000 rows the rank correlation is known to within three hundredths, and no more are held in memory.
_ROWS = 5_000
# Chosen: of fewer rows nothing is told.
FEWEST = 20
# Chosen: a correlation that is surely beyond this is said aloud: length explains an eighth of the ranks then.
_MUCH = 0.35
_MOST_SOURCES = 12
_NORMAL = 1.959964


@dataclass(frozen=True)
class _Point:
    """A judged row: where it stands among all (by its ids), its source, the characters judged, the share."""

    place: tuple[str, str]
    source: str
    chars: int
    share: float


class LengthTally:
    """Judged rows, those with the smallest ids where there are many: the same in any order of the rows."""

    def __init__(self, threshold: float) -> None:
        """threshold: the share from which a row is kept."""
        self._threshold = threshold
        self._points: list[_Point] = []

    def add(self, content_id: str, record_id: str, source: str, chars: int, share: float) -> None:
        """Count a row."""
        self._points.append(_Point((content_id, record_id), source.split("/", 1)[0], chars, share))
        if len(self._points) >= 2 * _ROWS:
            self._points = self._held()

    def _held(self) -> list[_Point]:
        return sorted(self._points, key=lambda p: p.place)[:_ROWS]

    def tables(self) -> tuple[Table, ...]:
        """Correlation, slope, and decisions that hang on length; sources at equal length where there are several."""
        held = self._held()
        found = controlled([p.chars for p in held], [p.share for p in held], [p.source for p in held])
        if found is None:
            return ()
        columns = ("", "value", "low", "high")
        rows: list[tuple[str | int | float | None, ...]] = [
            ("rows", len(held), None, None), _line("rank correlation", found.correlation),
            _line("share of the score for twice the length", found.slope),
        ]  # fmt: skip
        raw, equal = found.raw >= self._threshold - 1e-9, found.equal >= self._threshold - 1e-9
        rows.append(_line("above the threshold, at equal length not", wilson(int((raw & ~equal).sum()), len(held))))
        rows.append(_line("below the threshold, at equal length not", wilson(int((~raw & equal).sum()), len(held))))
        tables = [Table(title="Score and length of the answer", columns=columns, rows=tuple(rows), chapter="biases")]
        if len(found.sources) > 1:
            heads = ("source", "rows", "mean length", "mean share", "at equal length")
            tables.append(Table(title="Sources at equal length", columns=heads, rows=found.sources, chapter="biases"))
        return tuple(tables)

    def warnings(self) -> tuple[str, ...]:
        """Said where scores surely go with length."""
        held = self._held()
        r = rank_correlation([p.chars for p in held], [p.share for p in held])
        if r is None or max(r.low, -r.high) < _MUCH:
            return ()
        which = "longer" if r.value > 0 else "shorter"
        return (
            f"The judge's scores go with length: {which} answers have higher ones (rank correlation {r.value:.2f}"
            f" [{r.low:.2f}, {r.high:.2f}]); see its biases in the report.",
        )


@dataclass(frozen=True)
class Controlled:
    """Scores and length of n rows.

    Attributes:
        slope: share for twice the length. raw, equal: shares as they are and at equal length, shape (n,).
        sources: source, rows, mean length, mean share, the same at equal length; most rows first.
    """

    correlation: Estimate | None
    slope: Estimate | None
    raw: Floats
    equal: Floats
    sources: tuple[tuple[str, int, int, float, float], ...]


def controlled(chars: npt.ArrayLike, shares: npt.ArrayLike, sources: npt.ArrayLike) -> Controlled | None:
    """Shares without what their length explains, by least squares with a constant for each source; None: too few rows.

    The slope's interval is by the sandwich estimate of its variance (HC1), which needs no equal spread.
    """
    raw, length = np.asarray(shares, np.float64), np.log2(1.0 + np.asarray(chars, np.float64))
    if len(raw) < FEWEST:
        return None
    names, of = np.unique(np.asarray(sources, str), return_inverse=True)
    rows = np.bincount(of).astype(np.float64)
    mean_length, mean_share = np.bincount(of, length) / rows, np.bincount(of, raw) / rows
    x, y = length - mean_length[of], raw - mean_share[of]
    spread, free = float((x**2).sum()), len(raw) - len(names) - 1
    slope = None
    equal = raw
    if spread > 1e-9 and free > 0:
        value = float((x * y).sum()) / spread
        width = _NORMAL * math.sqrt(float((x**2 * (y - value * x) ** 2).sum()) * len(raw) / free) / spread
        slope = Estimate(value=value, low=value - width, high=value + width, n=len(raw))
        equal = raw - value * (length - length.mean())
    order = np.argsort(-rows, kind="stable")[:_MOST_SOURCES]
    mean_chars, mean_equal = (np.bincount(of, np.asarray(v, np.float64)) / rows for v in (chars, equal))
    lines = tuple(
        (
            str(names[i]),
            int(rows[i]),
            round(mean_chars[i]),
            round(float(mean_share[i]), 4),
            round(float(mean_equal[i]), 4),
        )
        for i in order
    )
    return Controlled(rank_correlation(chars, shares), slope, raw, equal, lines)


def rank_correlation(first: npt.ArrayLike, second: npt.ArrayLike) -> Estimate | None:
    """Spearman's, with the 95 % interval of Bonett and Wright (2000); None: too few rows, or one that never varies."""
    a, b = np.asarray(first, np.float64), np.asarray(second, np.float64)
    if len(a) < FEWEST or np.ptp(a) == 0 or np.ptp(b) < 1e-9:
        return None
    x, y = _ranks(a), _ranks(b)
    r = float(np.clip(x @ y / math.sqrt((x @ x) * (y @ y)), -1.0, 1.0))
    width = _NORMAL * math.sqrt((1 + r * r / 2) / (len(a) - 3))
    middle = math.atanh(min(max(r, -1 + 1e-12), 1 - 1e-12))
    low, high = math.tanh(middle - width), math.tanh(middle + width)
    return Estimate(value=r, low=min(low, r), high=max(high, r), n=len(a))


def _ranks(values: Floats) -> Floats:
    """Of each value, centred."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    return centred_ranks(counts.astype(np.float64))[place]


def _line(name: str, e: Estimate | None) -> tuple[str | int | float | None, ...]:
    return (name, *((round(v, 4) for v in (e.value, e.low, e.high)) if e is not None else (None,) * 3))

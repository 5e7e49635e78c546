"""Charts as inline SVG, drawn from the contract objects. Colours come from the page's style sheet (light and dark).

A chart is CHART_WIDTH units wide and is meant to be shown at about that many CSS pixels, so that its labels keep
their size on a phone. Every text is escaped.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from steps.contracts.evaluation import Estimate
from steps.contracts.humanize import number
from steps.contracts.reports import Histogram, Series

CHART_WIDTH = 340
_HEIGHT = 150
_TOP, _BOTTOM, _LEFT, _RIGHT = 16, 20, 2, 2
# Chosen: more points than this can't be told apart at CHART_WIDTH.
_MAX_POINTS = 340
_FOREST_WIDTH, _FOREST_HEIGHT = 340, 22
# Room at both ends of a forest plot for half a tick's label.
_INSET = 14


def histogram(h: Histogram) -> Markup:
    """Bars of equal width, one per bin; the largest count and three edges are labelled, each bin on hover."""
    if not h.counts:
        return Markup("")
    peak = max(*h.counts, 1)
    slot = (CHART_WIDTH - _LEFT - _RIGHT) / len(h.counts)
    gap = min(2.0, slot * 0.15)
    floor = _HEIGHT - _BOTTOM
    parts = [_line(_LEFT, floor, CHART_WIDTH - _RIGHT, floor, "axis")]
    for i, count in enumerate(h.counts):
        height = (floor - _TOP) * count / peak
        height = max(height, 1.0) if count else 0.0
        label = f"{number(h.edges[i])} to {number(h.edges[i + 1])} {h.unit}: {count:,}"
        parts.append(
            Markup('<rect class="bar" x="{:.2f}" y="{:.2f}" width="{:.2f}" height="{:.2f}"><title>{}</title></rect>')
            .format(_LEFT + i * slot + gap / 2, floor - height, max(slot - gap, 0.5), height, label)
        )  # fmt: skip
    top = h.counts.index(max(h.counts))
    at = min(max(_LEFT + (top + 0.5) * slot, 24), CHART_WIDTH - 24)
    parts.append(_text(at, _TOP - 5, f"{max(h.counts):,}", "middle"))
    parts += _x_labels([h.edges[0], h.edges[len(h.edges) // 2], h.edges[-1]], h.unit, _middle_of(h.edges))
    return _svg(parts, CHART_WIDTH, _HEIGHT, f"{h.title}: histogram of {sum(h.counts):,} values")


def lines(series: Sequence[Series]) -> Markup:
    """Series that share their axes in one drawing. A series with one point is a dot."""
    drawn = [s for s in series if s.x]
    if not drawn:
        return Markup("")
    xs = [x for s in drawn for x in s.x]
    ys = [y for s in drawn for y in s.y]
    box = _Box(min(xs), max(xs), *_padded(min(ys), max(ys)), left=40)
    parts = []
    for tick in _ticks(min(ys), max(ys)):
        parts.append(_line(box.left, box.y(tick), CHART_WIDTH - _RIGHT, box.y(tick), "grid"))
        parts.append(_text(box.left - 5, box.y(tick) + 4, number(tick), "end"))
    for index, one in enumerate(drawn):
        parts.append(_path(one, box, index))
    parts.append(_text(box.left, _HEIGHT - 5, number(min(xs)), "start"))
    parts.append(_text(CHART_WIDTH - _RIGHT, _HEIGHT - 5, f"{drawn[0].x_label} {number(max(xs))}", "end"))
    return _svg(parts, CHART_WIDTH, _HEIGHT, ", ".join(s.title for s in drawn))


@dataclass(frozen=True)
class Scale:
    """Values from `low` to `high` on the width of a forest plot; `none` is where nothing changed."""

    low: float
    high: float
    none: float

    def x(self, value: float) -> float:
        """Where a value lies, in units of the drawing."""
        share = (min(max(value, self.low), self.high) - self.low) / (self.high - self.low)
        return _INSET + (_FOREST_WIDTH - 2 * _INSET) * share


def scale_of(changes: Sequence[Estimate], none: float) -> Scale:
    """One scale for changes of one unit, with the point of no change on it."""
    ends = [none, *(v for e in changes for v in (e.low, e.value, e.high) if math.isfinite(v))]
    return Scale(*_padded(min(ends), max(ends)), none)


def forest_row(change: Estimate, scale: Scale, kind: str) -> Markup:
    """One line of a forest plot: the change as a dot on its interval, beside the line of no change. `kind`: its style
    class (good, bad, unclear)."""
    middle = _FOREST_HEIGHT / 2
    at = scale.x(scale.none)
    parts = [
        _line(at, 0, at, _FOREST_HEIGHT, "none"),
        _line(scale.x(change.low), middle, scale.x(change.high), middle, f"span {kind}"),
        *(_line(scale.x(e), middle - 4, scale.x(e), middle + 4, f"span {kind}") for e in (change.low, change.high)),
        Markup('<circle class="dot {}" cx="{:.2f}" cy="{}" r="4.5"/>').format(kind, scale.x(change.value), middle),
    ]
    return _svg(parts, _FOREST_WIDTH, _FOREST_HEIGHT, estimated(change))


def forest_axis(scale: Scale, label: str) -> Markup:
    """The axis below the lines of a forest plot: ticks with their values, and what is drawn."""
    parts = [_line(_INSET, 1, _FOREST_WIDTH - _INSET, 1, "axis")]
    near = [t for t in _ticks(scale.low, scale.high, parts=5) if abs(scale.x(t) - scale.x(scale.none)) > 2 * _INSET]
    for tick in sorted([*near, scale.none]):
        kind = "none" if tick == scale.none else "axis"
        parts.append(_line(scale.x(tick), 1, scale.x(tick), 6, kind))
        parts.append(_text(scale.x(tick), 18, _signed(tick) if scale.none == 0 else number(tick), "middle"))
    parts.append(_text(_FOREST_WIDTH / 2, 34, label, "middle"))
    return _svg(parts, _FOREST_WIDTH, 38, label)


def _signed(value: float) -> str:
    return f"+{number(value)}" if value > 0 else number(value)


def estimated(e: Estimate) -> str:
    """'0.41 [0.38, 0.44]'."""
    return f"{number(e.value)} [{number(e.low)}, {number(e.high)}]"


def shares(parts: Sequence[tuple[str, int]], whole: int) -> Markup:
    """One bar cut into labelled shares of `whole`: (style class, count) from left to right."""
    whole = max(whole, 1)
    drawn, at = [], 0.0
    for kind, count in parts:
        width = 100 * count / whole
        # a lost row must be seen: at least half a percent wide
        width = max(width, 0.5) if count else 0.0
        drawn.append(
            Markup('<rect class="{}" x="{:.3f}" y="0" width="{:.3f}" height="10"><title>{}: {}</title></rect>')
            .format(f"share {kind}", min(at, 100 - width), width, kind, f"{count:,}")
        )  # fmt: skip
        at += width
    label = ", ".join(f"{kind} {count:,}" for kind, count in parts)
    return Markup(
        '<svg class="shares" viewBox="0 0 100 10" preserveAspectRatio="none" role="img" aria-label="{}">{}</svg>'
    ).format(label, Markup("").join(drawn))


@dataclass(frozen=True)
class _Box:
    """Maps values to the drawing. `left` is where the plot begins."""

    x0: float
    x1: float
    y0: float
    y1: float
    left: float

    def x(self, value: float) -> float:
        share = (value - self.x0) / (self.x1 - self.x0) if self.x1 > self.x0 else 0.5
        return self.left + 4 + (CHART_WIDTH - _RIGHT - self.left - 8) * share

    def y(self, value: float) -> float:
        floor = _HEIGHT - _BOTTOM
        return floor - (floor - 8) * (value - self.y0) / (self.y1 - self.y0)


def _path(series: Series, box: _Box, index: int) -> Markup:
    every = math.ceil(len(series.x) / _MAX_POINTS)
    points = list(zip(series.x, series.y, strict=True))
    points = points[:-1:every] + points[-1:]
    if len(points) == 1:
        return Markup('<circle class="point s{}" cx="{:.2f}" cy="{:.2f}" r="3.5"><title>{}</title></circle>').format(
            index % 4, box.x(points[0][0]), box.y(points[0][1]), f"{series.title}: {number(points[0][1])}"
        )
    path = " ".join(f"{'L' if i else 'M'}{box.x(x):.2f} {box.y(y):.2f}" for i, (x, y) in enumerate(points))
    return Markup('<path class="line s{}" d="{}"><title>{}</title></path>').format(index % 4, path, series.title)


def _padded(low: float, high: float) -> tuple[float, float]:
    span = (high - low) or max(abs(high), 1.0)
    return low - span * 0.06, high + span * 0.06


def _ticks(low: float, high: float, parts: int = 3) -> list[float]:
    """Up to five round values between low and high."""
    if high <= low:
        return [low]
    raw = (high - low) / parts
    power = 10 ** math.floor(math.log10(raw))
    step = next(m for m in (1, 2, 2.5, 5, 10) if m * power >= raw) * power
    first = math.ceil(low / step)
    return [round(i * step, 12) for i in range(first, math.floor(high / step) + 1)] or [low]


def _middle_of(edges: Sequence[float]) -> float:
    return (len(edges) // 2) / max(len(edges) - 1, 1)


def _x_labels(values: Sequence[float], unit: str, middle: float) -> list[Markup]:
    first, mid, last = values
    y = _HEIGHT - 5
    out = [_text(_LEFT, y, number(first), "start")]
    if first < mid < last:
        out.append(_text(_LEFT + (CHART_WIDTH - _LEFT - _RIGHT) * middle, y, number(mid), "middle"))
    unit = unit if len(unit) <= 18 else ""
    return [*out, _text(CHART_WIDTH - _RIGHT, y, f"{number(last)} {unit}".strip(), "end")]


def _text(x: float, y: float, text: str, anchor: str) -> Markup:
    return Markup('<text x="{:.1f}" y="{:.1f}" text-anchor="{}">{}</text>').format(x, y, anchor, text)


def _line(x1: float, y1: float, x2: float, y2: float, kind: str) -> Markup:
    return Markup('<line class="{}" x1="{:.2f}" y1="{:.2f}" x2="{:.2f}" y2="{:.2f}"/>').format(kind, x1, y1, x2, y2)


def _svg(parts: Sequence[Markup], width: int, height: int, label: str) -> Markup:
    return Markup('<svg class="chart" viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>').format(
        width, height, escape(label), Markup("").join(parts)
    )

"""The leaderboard as one HTML page: no script, nothing fetched, all text escaped."""

import json
import math
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from materializers import views
from materializers.charts import Scale, forest_axis, forest_row, lines, scale_of
from ops.sweeps.board import Board, Entry
from ops.sweeps.config import LearningCurve
from steps.contracts.evaluation import Estimate
from steps.contracts.reports import Series

_TEMPLATES = Path(__file__).parent / "templates"
_STYLES = {"better": "good", "worse": "bad"}


def render_board(board: Board) -> str:
    """The HTML document."""
    scale = _scale(board)
    axis = forest_axis(scale, "nats per token against the reference") if scale else None
    # Values stand in columns of their own; only what has none of them, or is told by its label, is labelled.
    keys = list(dict.fromkeys(key for e in board.entries for key in e.result.values))
    keys = [] if board.in_own_order else keys
    rows = [(e, [_value(e.result.values.get(key)) for key in keys], _drawn(e, scale)) for e in board.entries]
    template = _environment().get_template("board.jinja")
    page = template.render(b=board, keys=keys, rows=rows, axis=axis, chart=_chart(board), style=views.style())
    return views.finished(page)


def _value(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else json.dumps(value).strip('"')


def _estimate(e: Entry) -> Estimate | None:
    change = e.change
    if change is None or not math.isfinite(change.low):
        return None
    return Estimate(value=change.value, low=change.low, high=change.high, n=change.n)


def _scale(board: Board) -> Scale | None:
    found = [estimate for e in board.entries if (estimate := _estimate(e)) is not None]
    return scale_of(found, 0.0) if found else None


def _drawn(e: Entry, scale: Scale | None) -> Markup:
    """The difference to the reference, on the axis of all."""
    estimate = _estimate(e)
    if estimate is None or scale is None:
        return Markup("")
    return forest_row(estimate, scale, _STYLES.get(e.standing, "unclear"))


def _chart(board: Board) -> Markup:
    """Of a learning curve: validation loss over training rows."""
    done = sorted((e for e in board.entries if e.compared is not None), key=lambda e: e.number)
    if len(done) < 2 or not isinstance(board.sweep.search, LearningCurve):
        return Markup("")
    x = tuple(float(e.result.trained) for e in done)
    y = tuple(e.compared or 0.0 for e in done)
    curve = Series(title="validation loss", x_label="training rows", y_label="nats per token", x=x, y=y)
    return lines([curve])


@cache
def _environment() -> jinja2.Environment:
    env = views.environment(_TEMPLATES)
    env.filters.update(loss=lambda value: f"{value:.4f}", signed=lambda value: f"{value:+.4f}".replace("-", "−"))
    return env

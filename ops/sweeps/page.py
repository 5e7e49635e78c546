"""The leaderboard as one HTML page: no script, nothing fetched, all text escaped."""

import json
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from materializers import views
from materializers.charts import forest_axis, forest_row, lines, scale_of
from ops.sweeps.board import Board, Entry
from ops.sweeps.config import LearningCurve
from steps.contracts.evaluation import Estimate
from steps.contracts.reports import Series

_TEMPLATES = Path(__file__).parent / "templates"
_STYLES = {"better": "good", "worse": "bad", "not told apart": "unclear"}


def render_board(board: Board) -> str:
    """The HTML document."""
    # Values stand in columns of their own, but not where a label says more.
    keys = [] if board.in_own_order else list(dict.fromkeys(key for e in board.entries for key in e.result.values))
    rows = [(e, [_value(e.result.values.get(key)) for key in keys]) for e in board.entries]
    template = _environment().get_template("board.jinja")
    page = template.render(
        b=board, keys=keys, rows=rows, styles=_STYLES, chart=_chart(board), style=views.style(), **_forest(board)
    )
    return views.finished(page)


def _forest(board: Board) -> dict[str, Any]:
    """Differences to the reference, one below the other, and their axis."""
    found = [(e, estimate) for e in board.entries if (estimate := _estimate(e)) is not None]
    if not found:
        return {"forest": [], "axis": ""}
    scale = scale_of([estimate for _, estimate in found], 0.0)
    drawn = [(e, forest_row(estimate, scale, _STYLES[e.standing])) for e, estimate in found]
    return {"forest": drawn, "axis": forest_axis(scale, "validation loss, nats per token")}


def _value(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else json.dumps(value).strip('"')


def _estimate(e: Entry) -> Estimate | None:
    change = e.change
    if change is None or not change.known:
        return None
    return Estimate(value=change.value, low=change.low, high=change.high, n=change.n)


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

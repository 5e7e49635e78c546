"""The leaderboard as one HTML page: no script, nothing fetched, all text escaped."""

from functools import cache
from pathlib import Path

import jinja2
from markupsafe import Markup

from materializers import views
from materializers.charts import lines
from ops.sweeps.board import Board
from ops.sweeps.config import LearningCurve
from steps.contracts.reports import Series

_TEMPLATES = Path(__file__).parent / "templates"


def render_board(board: Board) -> str:
    """The HTML document."""
    template = _environment().get_template("board.jinja")
    return views.finished(template.render(b=board, chart=_chart(board), style=views.style()))


def _chart(board: Board) -> Markup:
    """Validation loss over training rows for a learning curve, else over the trials in their order."""
    done = sorted((e for e in board.entries if e.result.loss is not None), key=lambda e: e.number)
    if len(done) < 2:
        return Markup("")
    curve = isinstance(board.sweep.search, LearningCurve)
    x = tuple(float(e.result.trained if curve else e.number) for e in done)
    y = tuple(float(e.result.loss or 0.0) for e in done)
    label = "training rows" if curve else "trial"
    return lines([Series(title="validation loss", x_label=label, y_label="nats per token", x=x, y=y)])


@cache
def _environment() -> jinja2.Environment:
    env = views.environment(_TEMPLATES)
    env.filters.update(loss=lambda value: f"{value:.4f}")
    return env

"""A calibration as one HTML page: no script, nothing fetched, all text escaped."""

from functools import cache
from pathlib import Path

import jinja2

from materializers import views
from materializers.charts import forest_axis, forest_row, scale_of
from steps.judge.calibration import Calibration

_TEMPLATES = Path(__file__).parent / "templates"


def render(found: Calibration, name: str, gold: str) -> str:
    """The HTML document. `name`: of the config; `gold`: of the file of labels."""
    charts = []
    for compared in found.compared:
        drawn = [(f, f.estimate) for f in compared.figures if f.estimate is not None]
        if drawn:
            scale = scale_of([e for _, e in drawn], 0.0)
            rows = [(f.name, e, forest_row(e, scale, "good" if e.low > 0 else "unclear")) for f, e in drawn]
            charts.append((compared, rows, forest_axis(scale, "0: no better than chance, for kappa and ranks")))
    template = _environment().get_template("calibration.jinja")
    return views.finished(template.render(c=found, name=name, gold=gold, charts=charts, style=views.style()))


@cache
def _environment() -> jinja2.Environment:
    env = views.environment(_TEMPLATES)
    env.filters["figure"] = lambda value: f"{value:.3f}".replace("-", "−")
    return env

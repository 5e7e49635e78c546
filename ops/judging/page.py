"""A calibration as one HTML page: no script, nothing fetched, all text escaped."""

from functools import cache
from pathlib import Path

import jinja2

from materializers import views
from materializers.charts import forest_axis, forest_row, scale_of
from steps.contracts.evaluation import Estimate
from steps.judge.calibration import Calibration

_TEMPLATES = Path(__file__).parent / "templates"


def render(found: Calibration, name: str, gold: str) -> str:
    """The HTML document. `name`: of the config; `gold`: of the file of labels."""
    charts = []
    for compared in found.compared:
        drawn = [(f, f.estimate) for f in compared.figures if f.estimate is not None]
        if drawn:
            scale = scale_of([e for _, e in drawn], 0.0)
            rows = [(f.name, e, forest_row(e, scale, _kind(f.name, e))) for f, e in drawn]
            charts.append((compared, rows, forest_axis(scale, "chance: 0 for kappa and ranks, 0.5 for AUROC")))
    template = _environment().get_template("calibration.jinja")
    return views.finished(template.render(c=found, name=name, gold=gold, charts=charts, style=views.style()))


def _kind(name: str, e: Estimate) -> str:
    """The style of a figure that has a chance level: above it, below it, or neither for sure; others have none."""
    chance = 0.5 if name == "AUROC" else 0.0 if "kappa" in name or name.startswith(("Spearman", "Kendall")) else None
    if chance is None:
        return "unclear"
    return "good" if e.low > chance else "bad" if e.high < chance else "unclear"


@cache
def _environment() -> jinja2.Environment:
    env = views.environment(_TEMPLATES)
    env.filters["figure"] = lambda value: f"{value:.3f}".replace("-", "−")
    return env

"""A training as one HTML page, without a script: while it goes on, the browser loads it again every few seconds."""

import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import jinja2
from markupsafe import Markup

from materializers import views
from materializers.charts import lines
from ops.watch.terminal import state_of
from ops.watch.watched import WatchedRun
from steps.contracts.reports import Series
from steps.train.watching.course import verdict
from steps.train.watching.journal import Watched

_TEMPLATES = Path(__file__).parent / "templates"
# Chosen: as often as somebody who waits looks.
REFRESH_SECONDS = 5
# Curves that share a drawing: title, unit, metrics with their names.
_CHARTS = (
    ("Loss", (("loss", "training"), ("eval_loss", "validation"))),
    ("Gradient norm", (("grad_norm", "before clipping"),)),
    ("Learning rate", (("learning_rate", "learning rate"),)),
    ("Tokens per second", (("tokens_per_second", "without padding"),)),
    ("Memory, MB", (("memory_mb", "at the peak so far"),)),
)


def render_watch(run: WatchedRun, *, live: bool, now: float | None = None) -> str:
    """The HTML document. `live`: it is served, and to be loaded again while the run goes on."""
    moment = time.time() if now is None else now
    phases = [
        {
            "state": state_of(phase, moment),
            "charts": list(_charts(phase)),
            "fit": verdict(_log(phase)),
            "phase": phase,
            "samples": _by_step(phase),
        }
        for phase in run.phases
    ]
    template = _environment().get_template("watch.jinja")
    return views.finished(
        template.render(
            name=run.name,
            phases=phases,
            refresh=REFRESH_SECONDS if live and run.goes_on else None,
            style=views.style(),
            page_style=Markup((_TEMPLATES / "watch.css").read_text(encoding="utf-8")),
        )
    )


def _log(phase: Watched) -> list[dict[str, float]]:
    return [{"step": step, **values} for step, values in sorted(phase.metrics.items())]


def _charts(phase: Watched) -> Iterator[tuple[str, Markup, list[tuple[str, float]]]]:
    """Title, drawing, and the newest value of each line."""
    named = {key for _, keys in _CHARTS for key, _ in keys}
    others = {k for values in phase.metrics.values() for k in values if k.startswith("eval_") and k not in named}
    more = tuple((k.removeprefix("eval_").replace("_", " ") + ", validation", ((k, k),)) for k in sorted(others))
    for title, keys in (*_CHARTS, *more):
        series = [_series(name, phase.curve(key)) for key, name in keys if phase.curve(key)]
        if series:
            yield title, lines(series), [(s.title, s.y[-1]) for s in series]


def _series(name: str, curve: list[tuple[int, float]]) -> Series:
    x, y = zip(*curve, strict=True)
    return Series(title=name, x_label="optimizer step", y_label="", x=tuple(map(float, x)), y=y)


def _by_step(phase: Watched) -> list[tuple[int, list[tuple[str, str, bool]]]]:
    """Samples, the newest first."""
    found: dict[int, list[tuple[str, str, bool]]] = {}
    for s in phase.samples:
        found.setdefault(int(s["step"]), []).append((str(s["prompt"]), str(s["answer"]), bool(s.get("cut"))))
    return sorted(found.items(), reverse=True)


@cache
def _environment() -> jinja2.Environment:
    return views.environment(_TEMPLATES)

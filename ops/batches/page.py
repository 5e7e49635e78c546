"""A batch as one HTML page: no script, nothing fetched, all text escaped."""

from functools import cache
from pathlib import Path

import jinja2
from markupsafe import Markup

from materializers import views
from ops.batches.shown import Shown

_TEMPLATES = Path(__file__).parent / "templates"


def render_batch(batch: Shown) -> str:
    """The HTML document."""
    template = _environment().get_template("batch.jinja")
    page_style = Markup((_TEMPLATES / "batch.css").read_text(encoding="utf-8"))
    return views.finished(template.render(b=batch, style=views.style(), page_style=page_style))


@cache
def _environment() -> jinja2.Environment:
    env = views.environment(_TEMPLATES)
    # Where a line of the text ends is seen, and broken there.
    env.filters.update(seen=lambda text: text.replace("\n", "⏎\n"))
    return env

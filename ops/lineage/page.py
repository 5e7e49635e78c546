"""The graph of all runs, or of one model, as one HTML file: works offline and asks nobody for anything.

Its own script is all that may run in it (its digest stands in the page's policy), and puts text where text belongs, so
that a name can't become markup. Without scripts everything stands in a table.
"""

import base64
import hashlib
import json
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from materializers import views
from materializers.visible import visible
from ops.lineage.graph import Graph

_TEMPLATES = Path(__file__).parent / "templates"
# Kinds in the order of the data, and what their columns are called.
COLUMNS = (
    ("source", "Sources"),
    ("version", "Dataset versions"),
    ("model", "Models"),
    ("registered", "Registered"),
    ("export", "Exports"),
)


def render_lineage(graph: Graph, title: str, runs: int, now: str, *, whole: bool) -> str:
    """The HTML document. `runs`: how many there are; `now`: ISO 8601; `whole`: of all runs, whose stages and older
    versions show when they are asked for.
    """
    script = (_TEMPLATES / "lineage.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return _environment().get_template("lineage.jinja").render(
        title=visible(title),
        style=views.style(),
        page_style=Markup((_TEMPLATES / "lineage.css").read_text(encoding="utf-8")),
        script=Markup(script),
        policy=f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'",
        data=Markup(_embedded({"whole": whole, "nodes": _nodes(graph), "edges": [*graph.edges]})),
        columns=[(kind, name, sum(n.kind == kind for n in graph.nodes.values())) for kind, name in COLUMNS],
        nodes=[node for kind, _ in COLUMNS for node in graph.nodes.values() if node.kind == kind],
        before=_before(graph),
        groups=sorted({n.group for n in graph.nodes.values() if n.group}),
        gaps=graph.gaps,
        runs=runs,
        now=now,
        whole=whole,
    )  # fmt: skip


def _nodes(graph: Graph) -> list[dict[str, Any]]:
    return [asdict(node) for node in graph.nodes.values()]


def _before(graph: Graph) -> dict[str, list[str]]:
    """Names of what each was made of."""
    found: dict[str, list[str]] = {}
    for a, b in graph.edges:
        found.setdefault(b, []).append(graph.nodes[a].name)
    return found


def _embedded(value: Any) -> str:
    """JSON that can't end the element that it stands in, with no character that hides or reorders text."""
    text = json.dumps(_shown(value), ensure_ascii=True, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _shown(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _shown(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_shown(v) for v in value]
    return visible(value) if isinstance(value, str) else value


@cache
def _environment() -> jinja2.Environment:
    env = views.environment(_TEMPLATES)
    env.filters.update(visible=visible)
    return env

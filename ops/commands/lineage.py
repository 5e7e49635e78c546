"""`assay lineage`: what was made of what, over all runs or for one model."""

from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

from ops.console import complain, emit, say
from ops.lineage.catalogue import load_catalogue
from ops.lineage.graph import Graph, graph_of, versions_of
from ops.lineage.page import COLUMNS, render_lineage
from ops.registries import model_reference
from steps.contracts.errors import InputNotFoundError, IntegrityError
from steps.contracts.storage import write_whole


def show_lineage(root: Path, model: str | None, html: Path | None, json_output: bool) -> int:
    """Write the page, print the graph as JSON, or say how much there is. Returns the exit status: 0, or that of an
    integrity error when something can't be read that may belong to it.

    Raises:
        InputNotFoundError: no known run registered that model. InputError: not a reference, or several registries fit.
    """
    catalogue = load_catalogue(root)
    graph, title = graph_of(catalogue), "All runs"
    if model is not None:
        graph, title = _of_model(root, graph, model), model
    if html is not None:
        now = datetime.now(UTC).isoformat(timespec="minutes").replace("T", " ").replace("+00:00", " UTC")
        kinds = ("version", "registered")
        runs = {name for node in graph.nodes.values() if node.kind in kinds for name in node.runs}
        write_whole(
            html, render_lineage(graph, title, len(runs) if model else len(catalogue.runs), now, whole=model is None)
        )
    counts: Counter[str] = Counter(node.kind for node in graph.nodes.values())
    if json_output:
        emit(
            {
                "page": str(html) if html else None,
                "counts": dict(counts),
                "nodes": [vars(node) for node in graph.nodes.values()],
                "edges": [list(edge) for edge in graph.edges],
                "not_read": [vars(gap) for gap in graph.gaps],
            }
        )
    else:
        said = ", ".join(f"{counts[kind]:,} {_called(kind, counts[kind])}" for kind, _ in COLUMNS if counts[kind])
        say(f"{title}: {said or 'no runs yet'}")
        if html is not None:
            say(str(html))
    for gap in graph.gaps:
        complain(f"not read: {gap}" + (f"\n  way out: {gap.hint}" if gap.hint else ""))
    return IntegrityError.exit_code if graph.gaps else 0


def _called(kind: str, count: int) -> str:
    name = {"version": "dataset version", "registered": "registered version"}.get(kind, kind)
    return f"{name}s" if count != 1 else name


def _of_model(root: Path, graph: Graph, model: str) -> Graph:
    wanted = model_reference(root, model)
    found = [*versions_of(graph, wanted.uri, wanted.name, wanted.version, wanted.alias)]
    if not found:
        known = sorted(node.name for node in graph.nodes.values() if node.kind == "registered")
        hint = f"known: {', '.join(known[:10])}" if known else "no run has registered a model yet"
        raise InputNotFoundError(f"no run registered {model}", hint=hint)
    return graph.around(found)

"""Sources, dataset versions, models, registered versions and exports of all runs, and what was made of what."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from materializers.artifacts import going_on, stage_of
from ops.export.made import exports_made
from ops.lineage.catalogue import Catalogue, Gap
from ops.lineage.ways import Lineage
from pipelines.report.page import when
from pipelines.stages import CURATION
from steps.contracts.errors import AssayError
from steps.contracts.models import ModelInfo
from steps.contracts.reports import StageReport
from steps.contracts.runs import RunRecord
from steps.engines.tracking.secrets import without_secret

# In the order of the data.
NodeKind: TypeAlias = Literal["source", "version", "model", "registered", "export"]
# Labels of a source that are shown where they are declared.
_LABELS = ("licence", "access", "consent")
# Chosen: of the runs that share something so many are named.
_RUNS = 5
_CURATION = frozenset(stage.name for stage in CURATION)


@dataclass
class Node:
    """One thing that runs read or made.

    Attributes:
        id: equal for the same content: versions and models go by their digest.
        group: the config that made it; of a source "".
        at: when it was first there, ISO 8601 in UTC; "" when that isn't known.
        badge: what to know of it at a glance; "": nothing.
        minor: whether it is a version that no run that ended well ended with.
        rows: of a version; None where that isn't known.
        facts: (what, value), in the order to be read.
        runs: names of the runs that have it, oldest first.
    """

    id: str
    kind: NodeKind
    name: str
    group: str = ""
    at: str = ""
    badge: str = ""
    minor: bool = False
    rows: int | None = None
    facts: list[tuple[str, str]] = field(default_factory=list)
    runs: list[str] = field(default_factory=list)


@dataclass
class Graph:
    """What there is, the oldest first, and (from, to): what was made of what. `gaps`: what can't be read."""

    nodes: dict[str, Node] = field(default_factory=dict)
    edges: dict[tuple[str, str], None] = field(default_factory=dict)
    gaps: list[Gap] = field(default_factory=list)

    def put(self, node: Node, run: RunRecord | None = None) -> Node:
        """The node of that id; this one, if there is none yet."""
        kept = self.nodes.setdefault(node.id, node)
        if run is not None and run.name not in kept.runs:
            kept.runs.append(run.name)
        return kept

    def join(self, before: str, after: str) -> None:
        """Say that one was made of the other, where both are known."""
        if before != after and before in self.nodes and after in self.nodes:
            self.edges[before, after] = None

    def around(self, ids: Iterable[str]) -> "Graph":
        """Only these, all that they were made of and all that was made of them."""
        wanted = {*ids}
        kept = _reached(wanted, self.edges) | _reached(wanted, [(b, a) for a, b in self.edges])
        nodes = {i: node for i, node in self.nodes.items() if i in kept}
        return Graph(nodes, {(a, b): None for a, b in self.edges if a in kept and b in kept}, self.gaps)


def _reached(ids: Iterable[str], edges: Iterable[tuple[str, str]]) -> set[str]:
    after: dict[str, list[str]] = {}
    for a, b in edges:
        after.setdefault(a, []).append(b)
    found: set[str] = set()
    left = [*ids]
    while left:
        one = left.pop()
        if one not in found:
            found.add(one)
            left += after.get(one, ())
    return found


def graph_of(catalogue: Catalogue) -> Graph:
    """The graph of all runs that the catalogue knows."""
    maker = _Maker(Lineage(catalogue))
    for run in reversed(catalogue.runs):
        maker.add(run)
    maker.finish()
    return maker.graph


class _Maker:
    def __init__(self, lineage: Lineage) -> None:
        self.graph = Graph(gaps=lineage.catalogue.gaps)
        self._lineage = lineage
        self._catalogue = lineage.catalogue
        self._ends: set[str] = set()
        # What a step that many runs share says, by URI.
        self._read: dict[str, Any] = {}

    def add(self, run: RunRecord) -> None:
        """What a run read and made."""
        config = self._lineage.config(run) or {}
        sources = [self._source(said, run).id for said in (config.get("ingest") or {}).get("sources", ())]
        self._versions(run, sources)
        models = self._models(run)
        self._registered(run, models)

    def finish(self) -> None:
        """Exports; and which versions are only on the way to others."""
        made, broken = exports_made(self._catalogue.root)
        self.graph.gaps += [Gap(str(file), why, "remove it; nothing else names that export") for file, why in broken]
        for export in made:
            facts = [("as", export.to), ("written", when(export.at)), ("by run", export.run),
                     ("splits", ", ".join(export.splits) or "all"), ("still there", export.standing)]  # fmt: skip
            badge = "" if export.standing in ("there", "not asked") else export.standing
            node = self.graph.put(Node(f"e:{export.place}", "export", export.place, "", export.at, badge, facts=facts))
            node.runs.append(export.run)
            self.graph.join(f"v:{export.dataset}", node.id)
            self._ends.add(f"v:{export.dataset}")
        for node in self.graph.nodes.values():
            node.minor = node.kind == "version" and node.id not in self._ends
            if node.runs:
                more = f" and {len(node.runs) - _RUNS} more" if len(node.runs) > _RUNS else ""
                node.facts.append(("in runs", ", ".join(reversed(node.runs[-_RUNS:])) + more))

    def _source(self, said: Mapping[str, Any], run: RunRecord) -> Node:
        name, place = said.get("name", "?"), said.get("path") or f"hub: {said.get('hub')}@{said.get('revision')}"
        place = without_secret(str(place))
        facts = [("place", place), *((label, str(said[label])) for label in _LABELS if said.get(label))]
        badge = "" if said.get("licence") else "no licence stated"
        return self.graph.put(Node(f"s:{name}:{place}", "source", name, "", run.started, badge, facts=facts), run)

    def _versions(self, run: RunRecord, sources: list[str]) -> None:
        before = sources
        chain = [a for a in going_on(run) if a.digest]
        reports = self._reports(run)
        for artifact in chain:
            found = f"v:{artifact.digest}"
            stage = stage_of(artifact)
            node = self.graph.put(Node(found, "version", artifact.name, run.config_name, run.started), run)
            node.name = artifact.name
            if not node.facts:
                node.facts += [("digest", artifact.digest or ""), ("made by", f"{run.name}, {run.config_name}"),
                               ("code", run.commit or "no commit recorded")]  # fmt: skip
            if stage in reports:
                node.rows = reports[stage].kept
                if stage not in dict(node.facts):
                    node.facts.append((stage, _rows(reports[stage])))
            for one in before:
                self.graph.join(one, found)
            before = [found]
        if chain:
            last = self.graph.nodes[before[0]]
            if run.status == "completed":
                self._ends.add(last.id)
            told = [(stage, _rows(report)) for stage, report in reports.items()]
            last.facts = [fact for fact in last.facts if fact[0] not in reports] + told

    def _reports(self, run: RunRecord) -> dict[str, StageReport]:
        """Of the stages that rows went through."""
        found = {}
        for artifact in run.of_type("stage_report"):
            if stage_of(artifact) not in _CURATION:
                continue
            report = self._once(artifact.uri, lambda a=artifact: self._catalogue.store(run).report(a))
            if report is not None:
                found[stage_of(artifact)] = report
        return found

    def _models(self, run: RunRecord) -> list[str]:
        """Ids of the models of a run, in order."""
        found = []
        for artifact in run.of_type("model"):
            info: ModelInfo | None = self._once(artifact.uri, lambda a=artifact: self._catalogue.store(run).model(a))
            if info is None:
                continue
            node = self.graph.put(_model(info, run), run)
            found.append(node.id)
            self._ends.add(f"v:{info.dataset_digest}")
            self.graph.join(f"v:{info.dataset_digest}", node.id)
            before = info.started_from[-1].digest if info.started_from else info.base.digest
            self.graph.join(f"m:{before}", node.id)
        return found

    def _registered(self, run: RunRecord, models: list[str]) -> None:
        said = run.registration
        if said is None:
            return
        place = without_secret(said.tracking_uri)
        facts = [("registry", place), ("status", f"{said.status}, when it was registered"),
                 ("aliases", ", ".join(said.aliases) or "none, when it was registered"),
                 ("weights", said.tags.get("weights_digest", "")), ("gate", said.tags.get("gate", ""))]  # fmt: skip
        facts = [(what, value) for what, value in facts if value]
        node = Node(f"r:{place}#{said.name}/{said.version}", "registered", f"{said.name}/{said.version}",
                    run.config_name, run.started, said.status, facts=facts)  # fmt: skip
        node = self.graph.put(node, run)
        weights = f"m:{said.tags.get('weights_digest', '')}"
        self.graph.join(weights if weights in self.graph.nodes else next(reversed(models), ""), node.id)

    def _once(self, uri: str, read: Any) -> Any:
        if uri not in self._read:
            try:
                self._read[uri] = read()
            except AssayError as e:
                self._catalogue.miss(e, uri)
                self._read[uri] = None
        return self._read[uri]


def _model(info: ModelInfo, run: RunRecord) -> Node:
    facts = [("digest", info.digest), ("base", f"{info.base.name} ({info.base.source})"), ("kind", info.kind),
             ("weights", f"{info.parameters:,}, {info.trainable:,} of them trained")]  # fmt: skip
    facts += [("objective", info.objective)] if info.objective else []
    facts += [("made by", f"{run.name}, {run.config_name}"), ("code", run.commit or "no commit recorded")]
    base = info.dataset_digest is None
    name = info.base.name if base else info.name
    return Node(f"m:{info.digest}", "model", name, run.config_name, run.started, "base" if base else "", facts=facts)


def _rows(report: StageReport) -> str:
    """What a stage did, in words."""
    parts = [f"{report.rows_in + report.created:,} in, {report.kept:,} kept"]
    said = ((report.dropped, "dropped"), (report.quarantined, "set aside"), (report.changed, "changed"))
    return ", ".join([*parts, *(f"{count:,} {what}" for count, what in said if count)])


def versions_of(graph: Graph, uri: str, name: str, version: str | None, alias: str | None) -> Iterator[str]:
    """Ids of the registered versions that a reference means: all of a name without version and alias."""
    for node in graph.nodes.values():
        if node.kind != "registered" or node.id.rpartition("#")[0] != f"r:{uri}":
            continue
        own, _, number = node.name.rpartition("/")
        aliases = dict(node.facts).get("aliases", "").split(", ")
        if own == name and version in (None, number) and (alias is None or alias in aliases):
            yield node.id

"""One run as one HTML file: works offline, without scripts, in light and dark, on a phone."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path

import jinja2
from markupsafe import Markup

from materializers import views
from materializers.judge_chapters import judging
from materializers.wording import words
from pipelines.report.candidates import candidates
from pipelines.report.costs import StageCost, evaluation_cost, in_words, rows_through, stage_cost, together
from pipelines.report.dashboards import Dashboards
from pipelines.report.glance import Glance, Todo, glance
from pipelines.report.ownership import ownership
from pipelines.report.verdict import judged
from steps.contracts.data_report import DataReport
from steps.contracts.dataset import Manifest
from steps.contracts.evaluation import Comparison, Decision, EvalReport, Registration, WinRates
from steps.contracts.exports import ExportManifest, ParityReport
from steps.contracts.humanize import duration
from steps.contracts.models import ModelInfo
from steps.contracts.monitoring import Monitored, MonitorVerdict
from steps.contracts.reports import StageReport
from steps.contracts.runs import RunRecord

# Of what a look at production decided.
_STYLES: dict[MonitorVerdict, str] = {"steady": "good", "drifted": "bad", "degraded": "bad", "too_few": ""}
_TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True)
class ScoredAnswer:
    """A subject's answer with its scores (metric -> value), and what was thought before it."""

    subject: str
    answer: str | None
    scores: dict[str, float | None] = field(default_factory=dict)
    reasoning: str | None = None


@dataclass(frozen=True)
class SideBySide:
    """One test row: the prompt, what was wanted, and the answers of reference and candidate."""

    task: str
    row_id: str
    prompt: str
    reference: str | None
    answers: tuple[ScoredAnswer, ScoredAnswer]


@dataclass(frozen=True)
class Version:
    """A dataset version and the step that made it."""

    step: str
    name: str
    manifest: Manifest
    cached: bool = False


@dataclass(frozen=True)
class Model:
    """A model and the step that made it."""

    step: str
    info: ModelInfo


@dataclass(frozen=True)
class Exported:
    """An export that was kept, and the folder that it lies in."""

    name: str
    place: str
    manifest: ExportManifest


@dataclass(frozen=True)
class RunPage:
    """Everything the page shows. What a run doesn't have is empty or None, and its section is left out."""

    record: RunRecord
    config_yaml: str = ""
    reports: tuple[StageReport, ...] = ()
    datasets: tuple[Version, ...] = ()
    models: tuple[Model, ...] = ()
    evals: tuple[EvalReport, ...] = ()
    comparison: Comparison | None = None
    win_rates: WinRates | None = None
    decision: Decision | None = None
    registration: Registration | None = None
    monitored: Monitored | None = None
    parity: ParityReport | None = None
    exports: tuple[Exported, ...] = ()
    data_report: DataReport | None = None
    answers: tuple[SideBySide, ...] = ()
    # There are answers, but their rows were never scrubbed, so that they don't belong on a page.
    answers_withheld: bool = False
    # A line per stage and evaluation; empty: as the reports say, under their own names.
    costs: tuple[StageCost, ...] = ()
    # source -> rows of it in the last dataset version
    sources: dict[str, int] = field(default_factory=dict)


def _verdict(content: RunPage, costs: Sequence[StageCost]) -> tuple[str, ...]:
    if content.comparison is None or content.decision is None:
        return ()
    return judged(content.record, content.comparison, content.decision.candidate, content.evals, costs)


def render_page(content: RunPage) -> str:
    """The whole HTML document of a run."""
    curation = [r for r in content.reports if r.rows_in + r.created]
    costs = content.costs or _costs(content)
    template = _environment().get_template("page.jinja")
    return views.finished(
        template.render(
            p=content,
            record=content.record,
            style=views.style(),
            page_style=Markup((_TEMPLATES / "page.css").read_text()),
            largest=max((r.rows_in + r.created for r in curation), default=1),
            directions=views.directions_of(content.evals),
            headline=_headline(content),
            verdict=_verdict(content, costs),
            owned=ownership(content.record, content.evals, costs),
            links=Dashboards().of(content.record),
            costs=costs,
            judging=judging(content.reports),
            compares=content.win_rates is not None and content.win_rates.position is not None,
            together=together(costs),
            through=rows_through(costs),
            glance=_glance(content, costs),
            took="–" if content.record.seconds is None else duration(content.record.seconds),
        )
    )


def render_stage_page(report: StageReport) -> str:
    """The HTML document of one stage that was run alone."""
    return views.as_html(report)


def _costs(content: RunPage) -> list[StageCost]:
    cached = {step.removesuffix("_step") for step in content.record.cached_steps}
    stages = [stage_cost(r, cached=r.stage in cached) for r in content.reports]
    return [*stages, *(evaluation_cost(e, f"evaluate_{e.subject}" in cached) for e in content.evals)]


def _glance(content: RunPage, costs: Sequence[StageCost]) -> Glance:
    last = _last(content.datasets)
    rows = last.manifest.rows if last else None
    made = glance(content.record, costs, content.decision, content.registration, rows, _sources_read(content))
    return replace(made, todo=(*made.todo, *_todo_of_exports(content.parity), *_todo_in_production(content.monitored)))


def _todo_of_exports(parity: ParityReport | None) -> Iterator[Todo]:
    if parity is not None and not parity.holds:
        yield Todo(f"nothing may be released: {', '.join(r.runtime for r in parity.held)} isn't the model")


def _todo_in_production(monitored: Monitored | None) -> Iterator[Todo]:
    if monitored is not None and monitored.alarms:
        yield Todo(f"see what differs in production: {', '.join(dict.fromkeys(c.name for c in monitored.alarms))}")
    if monitored is not None and monitored.retrain:
        yield Todo("train a new model on what is asked now; a schedule with --on-change monitor:CONFIG does")


def _sources_read(content: RunPage) -> int:
    """Sources that rows came from; without a report of ingest those of which the last version has rows."""
    read = next((r.counts.get("rows read per source") for r in content.reports if r.stage == "ingest"), None)
    return len(read or {source.split("/", 1)[0] for source in content.sources})


def _last(datasets: Sequence[Version]) -> Version | None:
    """The version that training saw: the last one that isn't a quarantine."""
    going_on = [v for v in datasets if "quarantin" not in v.name]
    return going_on[-1] if going_on else None


def _headline(content: RunPage) -> tuple[str, str]:
    """(style class, words) of the run's outcome."""
    record = content.record
    if record.error or record.status in ("failed", "stopped", "interrupted"):
        return "bad", record.status
    if content.decision is not None:
        return ("good", "promoted") if content.decision.promote else ("bad", "not promoted")
    if content.monitored is not None:
        return _STYLES[content.monitored.verdict], words(content.monitored.verdict)
    return ("", record.status)


@cache
def _environment() -> jinja2.Environment:
    env = views.environment(_TEMPLATES)
    env.globals.update(
        stage_report=views.stage_report,
        judge_chapter=views.judge_chapter,
        fragment=views.fragment,
        compared=views.comparison,
        candidates=candidates,
        when=when,
    )
    env.filters.update(why=in_words)
    return env


def when(iso: str | None) -> str:
    """'2026-11-21 01:17 UTC' of an ISO 8601 time; a dash for None."""
    if iso is None:
        return "–"
    zone = " UTC" if iso.endswith(("Z", "+00:00")) else ""
    return iso[:16].replace("T", " ") + zone

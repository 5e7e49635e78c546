"""Contract objects as HTML: fragments for the report page, whole documents for ZenML's dashboard.

Self-contained: one style sheet inside, no script, nothing fetched (a Content-Security-Policy says so as well).
All text is escaped by jinja2's autoescape; characters that could reorder or hide text are shown as '�'.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, singledispatch
from itertools import groupby
from pathlib import Path
from typing import Any, TypeAlias

import jinja2
import pyarrow.parquet as pq
from markupsafe import Markup

from materializers import charts, wording
from materializers.data_chapters import chapters_of, counted, points, signed
from materializers.judge_chapters import chapters_of_judge
from materializers.visible import visible
from steps.contracts.data_report import DataReport
from steps.contracts.dataset import Manifest
from steps.contracts.evaluation import Comparison, Decision, Difference, Estimate, EvalReport, Registration, WinRates
from steps.contracts.exports import ParityReport
from steps.contracts.humanize import duration, number
from steps.contracts.ledger import Ledger
from steps.contracts.monitoring import Monitored
from steps.contracts.reports import Series, StageReport, Table

# (task, metric) -> whether more is better
Directions: TypeAlias = Mapping[tuple[str, str], bool]

_TEMPLATES = Path(__file__).parent / "templates"
_BRIEF = 80
# Chosen: tables of more columns than this go on sideways on a phone.
_NARROW = 3


def environment(*folders: Path) -> jinja2.Environment:
    """A jinja2 environment with the charts and filters; `folders` hold further templates."""
    env = jinja2.Environment(
        loader=jinja2.FileSystemLoader([*folders, _TEMPLATES]),
        autoescape=True,
        finalize=_finalize,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    env.globals.update(histogram=charts.histogram, lines=charts.lines, shares=charts.shares, turns=wording.turns)
    env.globals.update(forest_row=charts.forest_row, forest_axis=charts.forest_axis, forests=forests)
    env.filters.update(
        n=_count,
        num=number,
        cell=_cell,
        brief=_brief,
        words=wording.words,
        in_words=wording.in_words,
        percent=lambda share: f"{100 * share:.1f} %",
        is_wide=lambda t: len(t.columns) > _NARROW,
        duration=duration,
        ranked=_ranked,
        numeric=_numeric,
        grouped=_grouped,
        judged=judged,
        judgement=judgement,
        same=_same,
        change=_change,
        counted=counted,
        points=points,
        signed=signed,
        splits=lambda splits: {k or "not split": v for k, v in splits.items()},
    )
    env.tests["same"] = _same
    return env


def style() -> Markup:
    """The style sheet that every fragment needs once per document."""
    return Markup((_TEMPLATES / "style.css").read_text())


def document(body: Markup, title: str, heading: str = "") -> str:
    """A whole HTML document around a fragment."""
    template = _own().get_template("document.jinja")
    return finished(template.render(body=body, title=title, heading=heading, style=style()))


@singledispatch
def fragment(value: Any) -> Markup:
    """HTML of a contract object, to be placed below `style()` in an element of class "assay".

    Raises:
        TypeError: there is no view of this type.
    """
    raise TypeError(f"no view of {type(value).__name__}")


def as_html(value: Any) -> str:
    """A whole HTML document of a contract object (StageReport, EvalReport, Comparison, Decision, ...)."""
    heading = value.stage if isinstance(value, StageReport | Manifest) else _spaced(type(value).__name__)
    return document(fragment(value), title=f"assay: {heading}", heading=heading)


@fragment.register
def _(value: StageReport) -> Markup:
    return stage_report(value, open_examples=True)


@fragment.register
def _(value: EvalReport) -> Markup:
    return _render("eval_report.jinja", r=value)


@fragment.register
def _(value: Comparison) -> Markup:
    return comparison(value, {})


@fragment.register
def _(value: WinRates) -> Markup:
    return _render("win_rates.jinja", w=value)


@fragment.register
def _(value: Decision) -> Markup:
    return _render("decision.jinja", d=value)


@fragment.register
def _(value: Monitored) -> Markup:
    return _render("monitored.jinja", m=value)


@fragment.register
def _(value: DataReport) -> Markup:
    goals = [g for g in value.goals if g.asked] or value.goals
    return _render("data_report.jinja", r=value, goals=goals, chapters=chapters_of(value))


@fragment.register
def _(value: ParityReport) -> Markup:
    return _render("parity.jinja", p=value)


@fragment.register
def _(value: Registration) -> Markup:
    return _render("registration.jinja", r=value)


@fragment.register
def _(value: Manifest) -> Markup:
    return _render("manifest.jinja", m=value)


@fragment.register
def _(value: Table) -> Markup:
    return _render("table.jinja", t=value)


@fragment.register
def _(value: Ledger) -> Markup:
    """Lines per stage, verdict and reason; the file is read in three columns."""
    table = pq.read_table(value.path, columns=["stage", "verdict", "reason"])
    counts = table.group_by(["stage", "verdict", "reason"]).aggregate([([], "count_all")]).to_pylist()
    lines = sorted((c["stage"], c["verdict"], c["reason"], c["count_all"]) for c in counts)
    return _render("ledger.jinja", lines=lines, rows=value.rows)


def stage_report(value: StageReport, *, open_examples: bool, judge: bool = True) -> Markup:
    """A stage's report with its examples shown or folded. judge: with what it says of a model that judges."""
    chapters = chapters_of_judge([value]) if judge else []
    return _render("stage_report.jinja", r=value, open_examples=open_examples, chapters=chapters)


def judge_chapter(reports: Sequence[StageReport], preferred: WinRates | None = None) -> Markup:
    """What these reports, and an evaluation's win rates, say of models that judge."""
    more = [preferred.position] if preferred is not None and preferred.position is not None else []
    return _render("judge.jinja", reports=reports, chapters=chapters_of_judge(reports, more))


def comparison(value: Comparison, directions: Directions) -> Markup:
    """Each candidate against the reference. A metric that `directions` doesn't name is judged only as a ratio (less is
    better)."""
    return _render("comparison.jinja", c=value, directions=directions)


def directions_of(reports: Sequence[EvalReport]) -> dict[tuple[str, str], bool]:
    """Whether more is better, per (task, metric), as the reports say."""
    told = {(t.task, m.name): m.higher_is_better for r in reports for t in r.tasks for m in t.metrics}
    return {place: way for place, way in told.items() if way is not None}


@dataclass(frozen=True)
class Forest:
    """Differences of one unit, drawn on one scale."""

    differences: tuple[Difference, ...]
    label: str
    scale: charts.Scale


def forests(differences: Sequence[Difference], names: tuple[str, str]) -> list[Forest]:
    """Differences by their unit: shares, nats per token, ratios. What didn't change isn't drawn."""
    reference, candidate = names
    labels = {
        "share": f"change from {reference} to {candidate} (1 = all rows)",
        "loss": f"change from {reference} to {candidate}, nats per token",
        "ratio": f"{candidate} / {reference}, 1 = no change",
    }
    drawn = [d for d in differences if not _same(d)]
    found = []
    for unit, label in labels.items():
        of_unit = tuple(d for d in drawn if _unit(d) == unit)
        if of_unit:
            none = _none(of_unit[0])
            found.append(Forest(of_unit, label, charts.scale_of([d.change for d in of_unit], none)))
    return found


def _unit(d: Difference) -> str:
    return "ratio" if d.is_ratio else "loss" if d.metric == "loss" else "share"


def _none(d: Difference) -> float:
    """The change that is none."""
    return 1.0 if d.is_ratio else 0.0


def judgement(difference: Difference, directions: Directions) -> tuple[str, str]:
    """(style class, words): better, worse or no clear change: clear only when the interval leaves out no change."""
    none = _none(difference)
    change = difference.change
    if change.low <= none <= change.high:
        return "unclear", "no clear change"
    up = change.low > none
    more_is_better = directions.get((difference.task, difference.metric), False if difference.is_ratio else None)
    if more_is_better is None:
        return "unclear", "higher" if up else "lower"
    return ("good", "better") if up == more_is_better else ("bad", "worse")


def judged(difference: Difference, directions: Directions) -> Markup:
    """The judgement as a label."""
    return Markup('<span class="verdict {}">{}</span>').format(*judgement(difference, directions))


def finished(html: str) -> str:
    """Rendered HTML with every character that could reorder or hide text replaced, charts and attributes included."""
    return visible(html)


@cache
def _own() -> jinja2.Environment:
    return environment()


def _render(template: str, **values: Any) -> Markup:
    return Markup(finished(_own().get_template(template).render(**values)))


def _finalize(value: Any) -> Any:
    return "–" if value is None else value


def _count(value: int) -> str:
    return f"{value:,}"


def _cell(value: str | float | None) -> str:
    return value if isinstance(value, str) else number(value)


def _brief(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= _BRIEF else text[: _BRIEF - 1] + "…"


def _ranked(counts: Mapping[str, int]) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))


def _numeric(table: Table, column: int) -> bool:
    cells = [row[column] for row in table.rows if row[column] is not None]
    return bool(cells) and all(isinstance(c, int | float) for c in cells)


def _grouped(series: Sequence[Series]) -> list[list[Series]]:
    """Series that share both axes, at most four to a drawing."""
    ordered = sorted(series, key=lambda s: (s.x_label, s.y_label))
    groups = [list(group) for _, group in groupby(ordered, key=lambda s: (s.x_label, s.y_label))]
    return [group[i : i + 4] for group in groups for i in range(0, len(group), 4)]


def _same(difference: Difference) -> bool:
    """Whether both have the very same figures: there is nothing to draw."""
    return difference.change.value == _none(difference) and difference.reference == difference.candidate


def _change(change: Estimate, is_ratio: bool) -> str:
    if is_ratio:
        return f"× {number(change.value)}"
    sign = "+" if change.value > 0 else ""
    return f"{sign}{number(change.value)}"


def _spaced(name: str) -> str:
    return "".join(f" {c.lower()}" if c.isupper() and i else c for i, c in enumerate(name))

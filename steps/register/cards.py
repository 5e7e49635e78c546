"""Model card and dataset card: what was measured and done, in Markdown. Every inserted text is escaped."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from steps.contracts.dataset import Manifest
from steps.contracts.digests import text_digest
from steps.contracts.evaluation import Comparison, Decision, Difference, Estimate, EvalReport
from steps.contracts.models import BaseRef, ModelFolder, ModelInfo
from steps.contracts.reports import StageReport
from steps.engines.scoring.metrics import LOWER_IS_BETTER
from steps.register.config import RegisterConfig

_SPECIAL = re.compile(r"([\\`*_\[\]#|~$<>&@])")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]+")
# Chosen: longer inserted texts are cut; a card holds names, numbers and notes.
_LONGEST = 300
_LONGEST_FACT = 2000  # the decoding is JSON, which says nothing when it is cut


@dataclass(frozen=True)
class DataSource:
    """Where rows came from, and what was declared of it; None: nothing. `rows` of the dataset version, None: not
    counted.
    """

    name: str
    location: str
    licence: str | None = None
    rows: int | None = None
    access: str | None = None
    consent: str | None = None


@dataclass(frozen=True)
class Candidate:
    """A model with everything that its registration says about it.

    Attributes:
        model: what is registered; `base`: the full weights that it lies over, if it is an adapter.
        base_location: folder or URL under which the base's files can be loaded later; for a hub model its id.
        evaluations: of every subject that was compared.
        reports: of the stages that made the data and the model, in their order.
        training: resolved training settings, flat, for the card.
        lineage: further tags: run id, commit, config digest ...
    """

    base: ModelFolder
    base_location: str
    model: ModelFolder
    comparison: Comparison
    evaluations: tuple[EvalReport, ...]
    reports: tuple[StageReport, ...]
    dataset: Manifest
    sources: tuple[DataSource, ...]
    training: Mapping[str, Any]
    lineage: Mapping[str, str]

    def evaluation(self, subject: str) -> EvalReport:
        """What one subject was measured to be."""
        return next(e for e in self.evaluations if e.subject == subject)


class _Plain(str):
    """Text of this module's own making, which is not escaped again."""

    __slots__ = ()


def escape(value: Any) -> str:
    """A value as Markdown text that can't start markup, HTML, a link, a mention or a new line.

    Control and bidirectional characters go, special characters get a backslash (`<`, `>` and `&` become HTML
    entities), and long text is cut.
    """
    if isinstance(value, _Plain):
        return value
    text = _CONTROL.sub(" ", str(value))
    text = text if len(text) <= _LONGEST else text[:_LONGEST] + "…"
    text = _SPECIAL.sub(lambda m: {"<": "&lt;", ">": "&gt;", "&": "&amp;"}.get(m[1], "\\" + m[1]), text)
    text = re.sub(r"^(\s*)([-+]|\d+[.)])(?=\s)", r"\1\\\2", text)
    # Bare addresses become links by themselves in most renderers.
    return re.sub(r"(?i)\b(https?|ftp|www)([:.])", r"\1&#8203;\2", text)


def model_card(candidate: Candidate, decision: Decision, config: RegisterConfig) -> str:
    """The model card. It says "not promoted" as loudly as "promoted"."""
    info = candidate.model.info
    differences = candidate.comparison.of(decision.candidate)
    evaluations = [candidate.evaluation(s) for s in (decision.reference, decision.candidate)]
    measured = {(t.task, m.name) for e in evaluations for t in e.tasks for m in t.metrics}
    unpaired = measured - {(d.task, d.metric) for d in differences}
    return _render(
        "model_card.md.jinja",
        name=config.name,
        library=_Plain("peft" if info.kind == "adapter" else "transformers"),
        base_model=base_text(candidate.base.info.base),
        licence=config.licence or "unknown",
        verdict=_verdict(decision),
        what=_what(candidate),
        intended_use=config.intended_use,
        reference=decision.reference,
        candidate=decision.candidate,
        differences=[_difference(d) for d in differences],
        unpaired=[f"{task} {metric}" for task, metric in sorted(unpaired)],
        notes=[f"{e.subject}: {n}" for e in evaluations for n in e.notes],
        gate=_Plain("All checks passed." if decision.promote else "At least one check failed."),
        reasons=decision.reasons,
        facts=_facts(candidate, evaluations[-1].decoding),
        training=[(k, "none" if v is None else v) for k, v in sorted(candidate.training.items())],
        limits=[*config.limitations, *info.notes],
    )


def dataset_card(candidate: Candidate, config: RegisterConfig) -> str:
    """The dataset card: sources with licences, rows per stage, limits."""
    manifest = candidate.dataset
    curation = [r for r in candidate.reports if r.stage != "train" and not r.stage.startswith("train_")]
    return _render(
        "dataset_card.md.jinja",
        name=config.name,
        digest=_Plain(manifest.digest),
        rows=f"{manifest.rows:,}",
        kinds=_counts(manifest.kinds),
        splits=_counts({k or "no label": v for k, v in manifest.splits.items()}),
        sources=candidate.sources,
        unlicensed=[s.name for s in candidate.sources if s.licence is None],
        stages=[{**r.model_dump(), "reasons": _reasons(r)} for r in curation],
        notes=[f"{r.stage}: {n}" for r in curation for n in r.notes],
    )


def base_text(ref: BaseRef) -> str:
    """A base reference as one line: hub id and commit, or folder and digest."""
    pin = ref.revision or (ref.digest or "")[:16]
    return f"{ref.name}@{pin}" if pin else ref.name


def _render(template: str, **values: Any) -> str:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(  # Markdown: `finalize` escapes every value, which HTML autoescape would not
        loader=FileSystemLoader(Path(__file__).parent), undefined=StrictUndefined, finalize=escape, autoescape=False
    )
    environment.filters["json"] = lambda text: _Plain(json.dumps(_CONTROL.sub(" ", str(text))))
    environment.filters["join"] = lambda items, by: _Plain(by.join(escape(i) for i in items))
    return environment.get_template(template).render(**values).strip() + "\n"


def _verdict(decision: Decision) -> _Plain:
    failed = sum(not r.passed for r in decision.reasons)
    if decision.promote:
        return _Plain(f"**Passed the gate**: all {len(decision.reasons)} checks.")
    return _Plain(f"**Did not pass the gate**: {failed} of {len(decision.reasons)} checks failed. Do not deploy it.")


def _what(candidate: Candidate) -> str:
    info, base = candidate.model.info, base_text(candidate.base.info.base)
    if info.kind == "adapter":
        size = f"({info.parameters:,} weights in all)"
        return f"An adapter of {info.trainable:,} trained weights over {_below(info, base)} {size}."
    return f"{info.parameters:,} weights, {info.trainable:,} of them trained, starting from {base}."


def _below(info: ModelInfo, base: str) -> str:
    """What an adapter lies over: the base, or what earlier phases of training made of it."""
    full = next((i for i, a in reversed(list(enumerate(info.started_from))) if a.kind == "full"), 0)
    name = info.started_from[full].name if info.started_from else ""
    phase = name if name.startswith("models:/") else f"phase {name}"
    below = base if full == 0 else f"the weights that {phase} made of {base}"
    merged = [a.name for a in info.started_from[full + 1 :]]
    return below + (f" with the adapters of {', '.join(merged)} merged into them" if merged else "")


def _chain(info: ModelInfo) -> str:
    """How the model came to be, from the base on."""
    made = (f" ({a.objective}, {a.weights})" if a.objective else "" for a in info.lineage)
    return " > ".join(f"{a.name} {a.digest[:12]}{how}" for a, how in zip(info.lineage, made, strict=True))


def _facts(candidate: Candidate, decoding: str) -> list[tuple[str, _Plain]]:
    """Digests and lineage, shown as code: backquotes are taken out of them, nothing else is markup there."""
    info = candidate.model.info
    override = info.template.override if info.template else None
    facts = {
        "weights": info.digest,
        "base": base_text(candidate.base.info.base),
        "training": _chain(info),
        "dataset": candidate.dataset.digest,
        "decoding in the evaluation": decoding,
        **({"template.override": f"SHA-256 {text_digest(override)}"} if override is not None else {}),
        **candidate.lineage,
    }
    return [(k, _Plain(_CONTROL.sub(" ", str(v))[:_LONGEST_FACT].replace("`", "'"))) for k, v in facts.items()]


def _difference(d: Difference) -> dict[str, Any]:
    return {
        "task": d.task,
        "metric": d.metric,
        "lower": d.metric in LOWER_IS_BETTER,
        "n": d.change.n,
        "reference": _show(d.reference),
        "candidate": _show(d.candidate),
        "change": _Plain(("× " if d.is_ratio else "") + _show(d.change)),
    }


def _show(e: Estimate) -> _Plain:
    return _Plain(f"{e.value:.4g} ({e.low:.4g} to {e.high:.4g})")


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {n:,}" for name, n in counts.items()) or "none"


def _reasons(report: StageReport) -> str:
    parts = {"dropped": report.dropped_by, "quarantined": report.quarantined_by, "flagged": report.flagged_by}
    return "; ".join(f"{what}: {_counts(by)}" for what, by in parts.items() if by)

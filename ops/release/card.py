"""The model card of a release: README.md with the hub's metadata. Inserted texts are escaped."""

from pathlib import Path
from typing import Any

import yaml

from ops.release.bom import judged
from ops.release.contents import UNKNOWN, Contents, base_version
from ops.release.facts import NOT_RECORDED, base_name
from ops.release.spdx import hub_licence
from steps.register.cards import escape

_LIBRARIES = {"adapter": "peft", "merged": "transformers", "gguf": "gguf", "onnx": "onnx"}
_RELATIONS = {"adapter": "adapter", "merged": "finetune", "gguf": "quantized"}
# Key of the card's metadata under which the digests stand.
DIGESTS = "assay"
_FENCE = "---\n"


def card(c: Contents) -> str:
    """The whole file."""
    metadata = yaml.safe_dump(_metadata(c), sort_keys=False)
    return f"{_FENCE}{metadata}{_FENCE}\n{_text(c)}"


def _metadata(c: Contents) -> dict[str, Any]:
    base = c.facts.base
    hub = [s.location.rpartition("@")[0] for s in c.facts.sources if s.kind == "hub data set" and s.location]
    on_hub = {"base_model": base.name, "base_model_relation": _RELATIONS.get(c.export.format, "finetune")}
    results = _results(c)
    return {
        **hub_licence(c.licence),
        "library_name": _LIBRARIES.get(c.export.format, "transformers"),
        "pipeline_tag": "text-generation",
        "tags": ["assay", *([c.facts.model.objective] if c.facts.model.objective else [])],
        **(on_hub if base.source == "hub" else {}),
        **({"datasets": hub} if hub else {}),
        **({"language": sorted(c.facts.languages)} if c.facts.languages else {}),
        **({"model-index": [{"name": c.name, "results": results}]} if results else {}),
        DIGESTS: c.digests,
    }


def _results(c: Contents) -> list[dict[str, Any]]:
    report = judged(c)
    return [
        {
            "task": {"type": "text-generation"},
            "dataset": {"name": task.task, "type": task.task, "revision": task.data_digest},
            "metrics": [
                {"type": m.name, "value": m.estimate.value, "name": f"{m.name}, n {m.estimate.n}"} for m in task.metrics
            ],
        }
        for task in (report.tasks if report else ())
        if task.metrics
    ]


class _Plain(str):
    """Text of this module's own making, which is not escaped."""

    __slots__ = ()


def _text(c: Contents) -> str:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(  # Markdown: `finalize` escapes every value, which HTML autoescape would not
        loader=FileSystemLoader(Path(__file__).parent), undefined=StrictUndefined, autoescape=False,
        finalize=lambda value: value if isinstance(value, _Plain) else escape(value),
    )  # fmt: skip
    decision = c.clearance.decision
    pinned = base_version(c.facts.base)
    text = environment.get_template("card.md.jinja").render(
        c=c, decision=decision, what=_what(c), base=base_name(c.facts.base) + (f"@{pinned}" if pinned else ""),
        base_licence=c.facts.base_licence or UNKNOWN, rows=_rows(c), parity=_Plain(_parity(c)),
        rows_of=_Plain(_rows_of(c)),
        limits=[*c.facts.card.get("limitations", ()), *c.facts.model.notes, *c.export.notes],
        passed=_Plain("**Passed**: all checks."), failed=_Plain("**Did not pass.**"), yes=_Plain("passed"),
        no=_Plain("**failed**"), unknown=_Plain(UNKNOWN), unrecorded=_Plain(NOT_RECORDED),
    )  # fmt: skip
    return text.strip() + "\n"


def _what(c: Contents) -> str:
    info = c.facts.model
    if not info.trainable:
        return f"{info.parameters:,} weights, none of them trained."
    how = f"An adapter of {info.trainable:,}" if info.kind == "adapter" else f"{info.trainable:,}"
    return f"{how} trained weights of {info.parameters:,} ({info.objective or 'objective not recorded'})."


def _rows(c: Contents) -> list[tuple[str, str, int, str]]:
    report = judged(c)
    return [
        (t.task, m.name, m.estimate.n, f"{m.estimate.value:.4g} ({m.estimate.low:.4g} to {m.estimate.high:.4g})")
        for t in (report.tasks if report else ())
        for m in t.metrics
    ]


def _parity(c: Contents) -> str:
    p = c.export.parity
    said = f"the same tokens of {p.prompts:,} prompts and {p.texts:,} texts"
    return f"{said}, and at {p.differ:,} of {p.tokens:,} places of its answers another one."


def _rows_of(c: Contents) -> str:
    d = c.facts.dataset
    if d is None or d.rows is None:
        return "How many rows it was trained on is not recorded."
    splits = ", ".join(f"{k or 'no split'} {n:,}" for k, n in d.splits.items())
    return f"{d.rows:,} rows ({splits})."

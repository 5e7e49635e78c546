"""A summary of what a model was trained on, under the headings of the European Commission's template for public
summaries of training content (Regulation (EU) 2024/1689, article 53 (1) (d); template of 24 July 2025), filled from
records alone. What no record says is "not recorded"; it is nobody's legal declaration.
"""

from typing import Any

from ops.release.contents import UNKNOWN, Contents, base_version, or_unrecorded
from ops.release.facts import NOT_RECORDED, SourceFacts, base_name
from steps.register.cards import escape


def training_content(c: Contents) -> dict[str, Any]:
    """The summary as one value."""
    return {
        **c.digests,
        "general": _general(c),
        "sources": [_source(s) for s in c.facts.sources],
        "processing": _done(c),
    }


def _general(c: Contents) -> dict[str, Any]:
    f = c.facts
    d = f.dataset
    return {
        "provider": NOT_RECORDED,
        "model": c.name,
        "model_version": or_unrecorded(c.clearance.registered),
        "modified_from": {"name": base_name(f.base), "version": or_unrecorded(base_version(f.base))},
        "content_of_the_base": NOT_RECORDED,
        "modality": "text" if d else NOT_RECORDED,
        "rows": or_unrecorded(d.rows if d else None),
        "rows_by_split": or_unrecorded(d.splits if d else None),
        "rows_by_kind": or_unrecorded(d.kinds if d else None),
        "tokens": or_unrecorded(f.tokens),
        "languages": or_unrecorded(f.languages),
        "rows_read": or_unrecorded(f.read),
        "dates_of_the_content": NOT_RECORDED,
    }


def _source(s: SourceFacts) -> dict[str, Any]:
    return {
        "name": s.name,
        "where": or_unrecorded(s.location),
        "kind": s.kind,
        "format": or_unrecorded(s.format),
        "category": NOT_RECORDED,
        "licence": s.licence or UNKNOWN,
        "access": or_unrecorded(s.access),
        "consent": or_unrecorded(s.consent),
        "bytes_read": or_unrecorded(s.bytes),
        "rows_read": or_unrecorded(s.rows_read),
        "rows_in_the_version": or_unrecorded(s.rows),
        "files": len(s.files) or NOT_RECORDED,
        "sha256": or_unrecorded(s.files),
        "dates": NOT_RECORDED,
    }


def _done(c: Contents) -> dict[str, Any]:
    f = c.facts
    stages = {s.stage: s for s in f.stages}
    personal = {"found": f.personal_data, "rows_changed": f.scrubbed, "notes": f.personal_notes}
    return {
        "rights_reserved_by_their_holders": NOT_RECORDED,
        "personal_data": NOT_RECORDED if f.personal_data is None else personal,
        "unsafe_and_illegal_content": stages["screen"].reasons if "screen" in stages else NOT_RECORDED,
        "synthetic_rows": NOT_RECORDED,
        "stages": [
            {"stage": s.stage, "rows_in": s.rows_in, "created": s.created, "kept": s.kept, "dropped": s.dropped,
             "set_aside": s.quarantined, "changed": s.changed}
            for s in f.stages
        ],
    }  # fmt: skip


_HEADINGS = (
    ("general", "General information"),
    ("sources", "List of data sources"),
    ("processing", "Data processing"),
)
_ABOUT = (
    'Filled from the records of the run alone; what no record says is "not recorded". Which of the template\'s'
    " categories (public, licensed, crawled, of users, synthetic) a source belongs to is for its provider to say."
)


def as_markdown(content: dict[str, Any]) -> str:
    """The summary for people."""
    lines = ["# Summary of the training content", "", _ABOUT]
    for number, (key, title) in enumerate(_HEADINGS, 1):
        lines += ["", f"## {number}. {title}"]
        parts = content[key] if isinstance(content[key], list) else [content[key]]
        for part in parts:
            lines += ["", f"### {escape(part['name'])}"] if "name" in part else []
            lines += ["", *(_line(name, value) for name, value in part.items() if name != "name")]
        lines += [] if parts else ["", NOT_RECORDED]
    return "\n".join(lines) + "\n"


def _line(name: str, value: Any) -> str:
    title = name.replace("_", " ")
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return f"- {title}:\n" + "\n".join(f"    - {_said(v)}" for v in value)
    return f"- {title}: {_said(value)}"


def _said(value: Any) -> str:
    if isinstance(value, dict):
        return "; ".join(f"{escape(k.replace('_', ' '))}: {_said(v)}" for k, v in value.items()) or "none"
    if isinstance(value, list | tuple):
        return ", ".join(map(_said, value)) or "none"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(escape(value))

"""`assay diff`: what changed from one dataset version to another."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from ops.console import emit, heading, say, show_table
from ops.row_history import row_of
from ops.run_index import LATEST
from ops.versions import CHANGES, Difference, Example, Version, compare, find_version, version_before
from steps.contracts.records import text_of

_SHORT = 16
# Chosen: enough of a text to recognise the row on one or two lines of a terminal.
_EXCERPT = 120
# Characters shown before the first one that differs.
_LEAD = 30


def show_difference(root: Path, a: str, b: str | None, rows: int, json_output: bool) -> None:
    """Print what was added, removed and changed from `a` to `b`, why, and up to `rows` examples of each.

    Without `b` the newest version is compared with `a`; where that is 'latest', with the one before of its config.

    Raises:
        InputNotFoundError, InputError: a name fits no version, or several.
    """
    if b is None and a == LATEST:
        after = find_version(root, LATEST)
        before = version_before(root, after)
    else:
        before, after = find_version(root, a), find_version(root, b or LATEST)
    found = compare(root, before, after, rows)
    shown = [{**asdict(e), "text": _texts(e, before, after)} for e in found.examples]
    if json_output:
        what = asdict(found) | {"why": [dict(zip(("change", "why", "rows"), w, strict=True)) for w in found.why]}
        emit({"a": _named(before), "b": _named(after), "same": found.same, **what, "examples": shown})
        return
    _show(found, before, after)
    for example in shown:
        _show_example(example)


def _named(version: Version) -> dict[str, Any]:
    return {
        "run": version.run.name,
        "version": version.artifact.name,
        "digest": version.dataset.digest,
        "rows": version.dataset.rows,
    }


def _show(found: Difference, a: Version, b: Version) -> None:
    heading(f"{a.run.name} to {b.run.name}")
    columns = ["", "version", "digest", "rows"]
    named = [(side, _named(v)) for side, v in (("a", a), ("b", b))]
    show_table(columns, [[s, n["version"], n["digest"][:_SHORT], n["rows"]] for s, n in named], numeric=[3])
    if found.same:
        say("the same rows in both")
        return
    show_table(["change", "why", "rows"], [list(w) for w in found.why], numeric=[2])
    for name, parts in (("source", found.by_source), ("split", found.by_split)):
        show_table([name, *CHANGES], [list(p) for p in parts], numeric=[1, 2, 3])
    say(", ".join(f"{found.totals[c]:,} {c}" for c in CHANGES))
    for change, other in (("added", "a"), ("removed", "b")):
        if found.moved[change]:
            say(f"of the {change} rows {found.moved[change]:,} say what a row of {other} says, under another id")


def _show_example(example: dict[str, Any]) -> None:
    say(f"{example['change']}  {example['record_id']}  {example['why']}")
    for side, text in example["text"].items():
        say(f"  {side}: {text}" if text is not None else f"  {side}: (not scrubbed: not shown)")


def _texts(example: Example, a: Version, b: Version) -> dict[str, str | None]:
    """The row's text in the versions that hold it, from the first difference on; None where it was never scrubbed."""
    sides = {side: v for side, v in (("a", a), ("b", b)) if example.change in ("changed", _only_in(side))}
    if not all(v.scrubbed for v in sides.values()):
        return dict.fromkeys(sides)
    texts = {side: _text(v, example.record_id) for side, v in sides.items()}
    start = max(_common(*texts.values()) - _LEAD, 0) if len(texts) > 1 else 0
    return {side: _excerpt(text, start) for side, text in texts.items()}


def _only_in(side: str) -> str:
    return "removed" if side == "a" else "added"


def _text(version: Version, record_id: str) -> str:
    row = row_of(version.dataset, record_id)
    return " ".join(text_of(row).split()) if row else ""


def _common(one: str, other: str) -> int:
    """Length of the common beginning; 0 for equal texts."""
    at = next((i for i, (x, y) in enumerate(zip(one, other, strict=False)) if x != y), min(len(one), len(other)))
    return 0 if one == other else at


def _excerpt(text: str, start: int) -> str:
    cut = text[start : start + _EXCERPT]
    return f"{'…' if start else ''}{cut}{'…' if start + _EXCERPT < len(text) else ''}"

"""Texts with known personal data, as people label them: JSON with spans, or words with tags."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from steps.contracts.errors import InputError, InputNotFoundError
from steps.scrub.evaluation.bio_tags import sentences, spans_of

# Usual names of labels -> ours, from presidio-research's data sets and the common NER label sets; and entities of ours
# that are another one's special case. Labels and findings are both renamed before they are compared.
LABEL_NAMES: Mapping[str, str] = {
    "ADDRESS": "STREET_ADDRESS",
    "DATE": "DATE_TIME",
    "DE_PLZ": "ZIP_CODE",
    "DOMAIN_NAME": "URL",
    "EMAIL": "EMAIL_ADDRESS",
    "GPE": "LOCATION",
    "IBAN": "IBAN_CODE",
    "IP": "IP_ADDRESS",
    "LOC": "LOCATION",
    "NORP": "NRP",
    "ORG": "ORGANIZATION",
    "PER": "PERSON",
    "PHONE": "PHONE_NUMBER",
    "POSTCODE": "ZIP_CODE",
    "SSN": "US_SSN",
    "UK_POSTCODE": "ZIP_CODE",
    "ZIP": "ZIP_CODE",
}
# A label mapped to this is left out of the evaluation, on both sides.
IGNORED = "-"
_FORMATS = (
    'presidio-research JSON (a list of {"full_text", "spans"}), JSON Lines of {"text", "spans"} or of '
    '{"tokens", "tags"}, or lines of a word and its BIO tag'
)
# A span may be an object or, as doccano and spaCy write it, [start, end, label].
_TRIPLE = ("start", "end", "label")
# Names of the list of spans beside "spans", and of the list of tags.
_SPANS, _TAGS = ("spans", "label", "labels", "entities", "privacy_mask"), ("tags", "ner_tags", "labels")


class EntitySpan(NamedTuple):
    """text[start:end] is a value of `entity`; offsets in characters."""

    start: int
    end: int
    entity: str


@dataclass(frozen=True)
class Labelled:
    """A text and everything in it that counts. `where`: file and row; `template` what made it."""

    where: str
    text: str
    spans: tuple[EntitySpan, ...]
    template: int | None = None


class _Keys(NamedTuple):
    text: str
    start: str
    end: str
    label: str


_PRESIDIO = _Keys("full_text", "start_position", "end_position", "entity_type")
_PLAIN = _Keys("text", "start", "end", "label")
_MASKED = _Keys("source_text", "start", "end", "label")


def read_labelled(path: Path, names: Mapping[str, str] = LABEL_NAMES) -> list[Labelled]:
    """All texts of a labelled file, labels by their names here.

    Raises:
        InputNotFoundError: no such file.
        InputError: the file is in neither format, or a span doesn't fit its text; names the row, never its text.
    """
    if not path.is_file():
        raise InputNotFoundError("no such labelled file", where=str(path))
    try:
        content = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as e:
        raise InputError("the file is not UTF-8 text", where=str(path), hint=f"wanted: {_FORMATS}") from e
    rows = [_labelled(value, f"{path.name} {place}", names) for place, value in _values(content, path)]
    if not rows:
        raise InputError("the file holds no rows", where=str(path), hint=f"wanted: {_FORMATS}")
    return rows


def of_templates(rows: list[Labelled], which: Literal["all", "even", "odd"], where: str) -> list[Labelled]:
    """The rows whose template id is even or odd: tune on one half, report the other.

    Raises:
        InputError: a row has no template id, or no row is left.
    """
    if which == "all":
        return rows
    without = next((r for r in rows if r.template is None), None)
    if without is not None:
        raise InputError(
            "the row has no template_id, so it belongs to neither half", where=without.where, hint="--templates all"
        )
    chosen = [r for r in rows if r.template is not None and r.template % 2 == (which == "odd")]
    if not chosen:
        raise InputError(f"no row has an {which} template_id", where=where, hint="--templates all")
    return chosen


def _values(content: str, path: Path) -> Iterator[tuple[str, Any]]:
    """(place, JSON value) of each row: a JSON list is one document; objects, or words with tags, stand one a line."""
    begins = content.lstrip()[:1]
    if begins == "[":
        try:
            items = json.loads(content)
        except (ValueError, RecursionError) as e:
            raise InputError(f"not valid JSON: {_reason(e)}", where=str(path), hint=f"wanted: {_FORMATS}") from e
        yield from ((f"item {n}", item) for n, item in enumerate(items, 1))
        return
    lines = content.split("\n")
    if begins not in ("", "{"):
        yield from (
            (f"line {n}", {"tokens": s.words, "tags": s.tags})
            for n, s in sentences(lines, str(path), f"wanted: {_FORMATS}")
        )
        return
    for n, line in enumerate(lines, 1):
        if line.strip():
            try:
                yield f"line {n}", json.loads(line)
            except (ValueError, RecursionError) as e:
                raise InputError(
                    f"not valid JSON: {_reason(e)}", where=f"{path} line {n}", hint=f"wanted: {_FORMATS}"
                ) from e


def _reason(error: Exception) -> str:
    # A decoder's message has no text of the file in it; the other exceptions say nothing useful.
    return error.msg if isinstance(error, json.JSONDecodeError) else "nested too deep or a number too long"


def _labelled(value: Any, place: str, names: Mapping[str, str]) -> Labelled:
    if isinstance(value, dict) and "tokens" in value:
        value = {**value, **_joined(value, place)}
    if not isinstance(value, dict):
        raise InputError("the row is no object and has no text", where=place, hint=f"wanted: {_FORMATS}")
    keys = next((k for k in (_PRESIDIO, _MASKED) if k.text in value), _PLAIN)
    text: Any = value.get(keys.text)
    if not isinstance(text, str):
        raise InputError("the row has no text", where=place, hint=f"wanted: {_FORMATS}")
    spans = next((value[name] for name in _SPANS if name in value), None)
    if not isinstance(spans, list):
        raise InputError("the row has no list of spans", where=place, hint="a text without any has an empty list")
    read = [_span(s, keys, text, f"{place} span {n}", names) for n, s in enumerate(spans, 1)]
    template = value.get("template_id")
    if template is not None and (not isinstance(template, int) or isinstance(template, bool)):
        raise InputError("template_id is not a whole number", where=place)
    return Labelled(place, text, tuple(sorted({s for s in read if s.entity != IGNORED})), template)


def _joined(value: dict[str, Any], place: str) -> dict[str, Any]:
    """Words with tags as a text, words joined by single spaces, and its spans."""
    words, tags = value["tokens"], next((value[name] for name in _TAGS if name in value), None)
    for name, given in (("tokens", words), ("tags", tags)):
        if not isinstance(given, list) or not all(isinstance(one, str) for one in given):
            raise InputError(
                f"the row has no list of {name} as strings", where=place, hint="tags by name (B-PER), not by number"
            )
    return {"text": " ".join(words), "spans": [list(span) for span in spans_of(words, tags or [], place)]}


def _span(value: Any, keys: _Keys, text: str, place: str, names: Mapping[str, str]) -> EntitySpan:
    if isinstance(value, list) and len(value) == len(_TRIPLE):
        value, keys = dict(zip(_TRIPLE, value, strict=True)), _PLAIN
    if not isinstance(value, dict):
        raise InputError("the span is not an object or [start, end, label]", where=place, hint=f"wanted: {_FORMATS}")
    start: Any = value.get(keys.start)
    end: Any = value.get(keys.end)
    label: Any = value.get(keys.label)
    if not (_is_count(start) and _is_count(end) and isinstance(label, str) and label.strip()):
        raise InputError(f"the span needs whole numbers {keys.start}, {keys.end} and a {keys.label}", where=place)
    if not start < end <= len(text):
        raise InputError(
            f"the span {start} to {end} is empty or leaves its text of {len(text)} characters",
            where=place,
            hint="offsets count characters (not bytes) from 0, and the end is the first one after the span",
        )
    named = value.get("entity_value", value.get("value"))
    if isinstance(named, str) and named != text[start:end]:
        raise InputError(
            "the text at the span's offsets is not the value that the span names",
            where=place,
            hint="offsets count characters (not bytes, not UTF-16 units)",
        )
    return EntitySpan(start, end, names.get(label.strip(), label.strip()))


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0

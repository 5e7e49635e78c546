"""The data card: Croissant 1.0 (MLCommons, docs.mlcommons.org/croissant), with its vocabulary for responsible AI.

No row is in it, nor where rows lie: files are named by their content (RFC 6920), and the sources are a record set.
"""

import base64
from typing import Any

from ops.release.contents import UNKNOWN, Contents
from ops.release.facts import NOT_RECORDED, is_sha256

_CR = "http://mlcommons.org/croissant/"
CONFORMS_TO = f"{_CR}1.0"
_TERMS = (
    "citeAs", "column", "conformsTo", "equivalentProperty", "extract", "field", "fileObject", "fileProperty", "fileSet",
    "format", "includes", "isLiveDataset", "jsonPath", "key", "md5", "parentField", "path", "recordSet", "references",
    "regex", "repeated", "replace", "samplingRate", "separator", "source", "subField", "transform",
)  # fmt: skip
_CONTEXT: dict[str, Any] = {
    "@language": "en", "@vocab": "https://schema.org/", "sc": "https://schema.org/", "cr": _CR,
    "rai": f"{_CR}RAI/", "dct": "http://purl.org/dc/terms/",
    "data": {"@id": "cr:data", "@type": "@json"}, "examples": {"@id": "cr:examples", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    **{term: f"cr:{term}" for term in _TERMS}, "conformsTo": "dct:conformsTo",
}  # fmt: skip
_PARQUET = "application/vnd.apache.parquet"
_COLUMNS = (
    ("name", "sc:Text"), ("kind", "sc:Text"), ("location", "sc:Text"), ("licence", "sc:Text"), ("access", "sc:Text"),
    ("consent", "sc:Text"), ("rows_read", "sc:Text"), ("rows", "sc:Text"),
)  # fmt: skip


def croissant(c: Contents) -> dict[str, Any]:
    """The card as JSON-LD."""
    f = c.facts
    licences = sorted({s.licence or UNKNOWN for s in f.sources}) or [UNKNOWN]
    return {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": CONFORMS_TO,
        "name": f"{c.name} training data",
        "description": _description(c),
        "identifier": f"dataset:{c.dataset}" if c.dataset else NOT_RECORDED,
        "license": licences,
        **({"dateCreated": f.read[:10]} if f.read else {}),
        **({"inLanguage": sorted(f.languages)} if f.languages else {}),
        "isLiveDataset": False,
        "rai:personalSensitiveInformation": _personal(c),
        "rai:dataPreprocessingProtocol": [_stage(s.stage, s.rows_in, s.kept, s.changed) for s in f.stages],
        "distribution": _distribution(c),
        **({"recordSet": [_sources(c)]} if f.sources else {}),
        "sc:additionalProperty": [
            {"@type": "sc:PropertyValue", "name": name, "value": value or NOT_RECORDED}
            for name, value in c.digests.items()
        ],
    }  # fmt: skip


def _description(c: Contents) -> str:
    d = c.facts.dataset
    if d is None:
        return "Which rows the model was trained on isn't recorded."
    rows = f"{d.rows:,} rows" if d.rows is not None else "Rows"
    return (
        f"{rows} of dataset version {d.digest}, on which {c.name} was trained. The rows themselves are not part of the"
        " release; files are named by the SHA-256 of their content."
    )


def _personal(c: Contents) -> list[str]:
    found = c.facts.personal_data
    if found is None:
        return ["No stage looked for personal data."]
    said = ", ".join(f"{entity}: {n:,}" for entity, n in found.items()) or "nothing"
    return [f"Found before training: {said}. Rows changed for it: {c.facts.scrubbed:,}.", *c.facts.personal_notes]


def _stage(stage: str, rows_in: int, kept: int, changed: int) -> str:
    return f"{stage}: {rows_in:,} rows in, {kept:,} kept, {changed:,} changed"


def named_by_content(sha256: str) -> str:
    """The name of a file by its content: ni:///sha-256;... (RFC 6920)."""
    return "ni:///sha-256;" + base64.urlsafe_b64encode(bytes.fromhex(sha256)).decode("ascii").rstrip("=")


def _distribution(c: Contents) -> list[dict[str, Any]]:
    files = [
        _file(f"source-{i}-file-{k}", f"{s.name}, file {k}", sha256, "application/octet-stream")
        for i, s in enumerate(c.facts.sources, 1)
        for k, sha256 in enumerate(s.files, 1)
        if is_sha256(sha256)
    ]
    shards = c.facts.dataset.shards if c.facts.dataset else ()
    return files + [
        _file(f"shard-{k}", f"shard {k} of the version", sha256, _PARQUET) | {"contentSize": f"{size} B"}
        for k, (sha256, size) in enumerate(shards, 1)
    ]


def _file(number: str, name: str, sha256: str, encoding: str) -> dict[str, Any]:
    return {
        "@type": "cr:FileObject", "@id": number, "name": number, "description": name,
        "contentUrl": named_by_content(sha256), "encodingFormat": encoding, "sha256": sha256,
    }  # fmt: skip


def _sources(c: Contents) -> dict[str, Any]:
    lines = [s.model_dump(include={name for name, _ in _COLUMNS}) for s in c.facts.sources]
    return {
        "@type": "cr:RecordSet", "@id": "sources", "name": "sources",
        "description": "What is recorded of each source of the rows.",
        "field": [
            {"@type": "cr:Field", "@id": f"sources/{name}", "name": name, "dataType": kind} for name, kind in _COLUMNS
        ],
        "data": [
            {f"sources/{name}": _text(line[name], name) for name, _ in _COLUMNS} for line in lines
        ],
    }  # fmt: skip


def _text(value: Any, name: str) -> str:
    if value is None:
        return UNKNOWN if name == "licence" else NOT_RECORDED
    return str(value)

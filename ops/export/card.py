"""The card of an exported data set: what is in it, how it was made, what was done about personal data."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import yaml

from materializers.artifacts import going_on, stage_of
from ops.export.files import ExportedFile, Fields, schema_of
from ops.export.folder import ExportRecord
from ops.run_index import artifacts_of, run_config
from ops.versions import Version
from pipelines.report.costs import StageCost, stage_cost
from steps.register.cards import escape

# The hub's classes of sizes: rows below which one ends, and its name.
_SIZES = (
    (10**3, "n<1K"), (10**4, "1K<n<10K"), (10**5, "10K<n<100K"), (10**6, "100K<n<1M"), (10**7, "1M<n<10M"),
    (10**8, "10M<n<100M"), (10**9, "100M<n<1B"),
)  # fmt: skip
_COLUMNS = {
    "conversations": "`messages`", "preferences": "`prompt`, `chosen`, `rejected`",
    "unpaired": "`prompt`, `completion`, `label`", "documents": "`text`",
}  # fmt: skip


@dataclass(frozen=True)
class SourceLine:
    """A source of the version: its place when that is on the hub, its licence where one is stated, its rows."""

    name: str
    hub: str
    licence: str | None
    rows: int


@dataclass(frozen=True)
class Origin:
    """How a version came to be: the stages up to it, what scrub found per entity, and its sources."""

    stages: Sequence[StageCost]
    entities: Mapping[str, int] = field(default_factory=dict)
    sources: Sequence[SourceLine] = ()

    @property
    def licences(self) -> list[str]:
        """The licences that are stated, each once."""
        return sorted({s.licence for s in self.sources if s.licence})


def origin_of(root: Path, version: Version) -> Origin:
    """What the records of the run that made a version say of it."""
    run = version.run
    store = artifacts_of(root, run)
    until = {a.step for a in going_on(run)[: going_on(run).index(version.artifact) + 1]}
    reports = [(stage_of(a), store.report(a)) for a in run.of_type("stage_report") if a.step in until]
    found = Counter({k: n for name, r in reports if name == "scrub" for k, n in r.counts["findings by entity"].items()})
    return Origin([stage_cost(r, name) for name, r in reports], found, _sources(root, version))


def _sources(root: Path, version: Version) -> list[SourceLine]:
    rows: Counter[str] = Counter()
    for table in version.dataset.tables(["source"]):
        rows.update(source.split("/", 1)[0] for source in table["source"].to_pylist())
    declared = _declared(run_config(root, version.run))
    return [_source(name, n, declared.get(name, {})) for name, n in sorted(rows.items())]


def _source(name: str, rows: int, declared: Mapping[str, Any]) -> SourceLine:
    hub = f"{declared['hub']}@{declared.get('revision')}" if declared.get("hub") else ""
    return SourceLine(name, hub, declared.get("licence"), rows)


def _declared(config: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The sources of a run's config, which an older assay may have written."""
    sources = (config.get("ingest") or {}).get("sources") or []
    return {str(s.get("name")): s for s in sources if isinstance(s, dict)}


def card(record: ExportRecord, version: Version, origin: Origin, fields: Fields, title: str) -> str:
    """README.md, with the front matter that the hub and `datasets` read. `fields`: as `write_files` gives them."""
    front = _front(record, origin, fields)
    return f"---\n{yaml.safe_dump(front, sort_keys=False, allow_unicode=True)}---\n" + "\n".join(
        [*_contents(record, title), *_making(record, version, origin), *_privacy(record, origin), *_origins(origin)]
    )


def _front(record: ExportRecord, origin: Origin, fields: Fields) -> dict[str, Any]:
    forms = list(dict.fromkeys(f.form for f in record.files))
    largest = max(forms, key=lambda form: (sum(f.rows for f in record.files if f.form == form), form))
    configs = [
        {
            "config_name": form,
            **({"default": True} if form == largest else {}),
            "data_files": _data_files([f for f in record.files if f.form == form]),
        }
        for form in forms
    ]
    licence = {1: origin.licences[0].lower()}.get(len(origin.licences), "other") if origin.licences else None
    return {
        **({"license": licence} if licence else {}),
        "task_categories": ["text-generation"],
        "size_categories": [next((name for most, name in _SIZES if record.rows < most), "n>1T")],
        "tags": ["assay"],
        "configs": configs,
        # Columns of JSON Lines are found out by the first rows otherwise, and others fail.
        "dataset_info": [
            {"config_name": form, "features": features(schema_of(record.to, form, fields[form]))} for form in forms
        ],
    }


def features(columns: Iterable[pa.Field]) -> list[dict[str, Any]]:
    """Columns as a card declares them."""
    return [{"name": f.name, **_feature(f.type)} for f in columns]


def _feature(kind: pa.DataType) -> dict[str, Any]:
    if pa.types.is_list(kind):
        inner = _feature(kind.value_type)
        return {"list": inner.get("dtype") or inner.get("struct") or inner}
    if pa.types.is_struct(kind):
        return {"struct": features(kind)}
    return {"dtype": "json" if isinstance(kind, pa.JsonType) else str(kind)}


def _data_files(files: Sequence[ExportedFile]) -> list[dict[str, Any]]:
    splits = sorted({f.split for f in files}, key=lambda s: (s != "train", s))
    return [{"split": split, "path": [f.path for f in files if f.split == split]} for split in splits]


def _contents(record: ExportRecord, title: str) -> Iterator[str]:
    yield from (f"# {escape(title)}", "", "| config | columns | split | rows | files |", "|---|---|---|---:|---|")
    chat = record.to in ("sharegpt", "alpaca")
    for form, split in dict.fromkeys((f.form, f.split) for f in record.files):
        files = [f for f in record.files if (f.form, f.split) == (form, split)]
        columns = f"{record.to}'s" if chat else _COLUMNS[form]
        rows = sum(f.rows for f in files)
        yield f"| {form} | {columns} | {split} | {rows:,} | {', '.join(f'`{f.path}`' for f in files)} |"
    if record.refused:
        said = ", ".join(f"{reason} {rows:,}" for reason, rows in record.refused.items())
        yield from ("", f"Left out, since the format {record.to} can't express them: {said}.")


def _making(record: ExportRecord, version: Version, origin: Origin) -> Iterator[str]:
    run = version.run
    yield from ("", "## How it was made", "")
    yield f"By assay, run `{run.name}`, {run.started}: the rows as its stage {record.stage} left them."
    yield from ("", f"- dataset version: `{record.dataset}`", f"- configuration: `{run.config_digest}`")
    yield f"- code: `{run.commit or 'not a checkout'}`"
    yield from ("", "| stage | rows in | created | rows out | dropped | quarantined | changed | why |")
    yield "|---|---:|---:|---:|---:|---:|---:|---|"
    for s in origin.stages:
        numbers = " | ".join(f"{n:,}" for n in (s.rows_in, s.created, s.rows_out, s.dropped, s.quarantined, s.changed))
        yield f"| {s.stage} | {numbers} | {_reasons(s)} |"


def _reasons(stage: StageCost) -> str:
    return ", ".join(f"{r.verdict}: {escape(r.reason)} {r.rows:,}" for r in stage.reasons)


def _privacy(record: ExportRecord, origin: Origin) -> Iterator[str]:
    yield from ("", "## Personal data", "")
    if not record.scrubbed:
        yield "**Not scrubbed**: the rows stand as they were read, with whatever personal data is in them."
        return
    found = ", ".join(f"{entity} {n:,}" for entity, n in origin.entities.items()) or "nothing"
    yield f"Scrubbed: found and replaced were {escape(found)}. Detectors find what they know; the rest is still there."


def _origins(origin: Origin) -> Iterator[str]:
    yield from ("", "## Sources", "", "| source | on the hub | licence | rows |", "|---|---|---|---:|")
    for s in origin.sources:
        yield f"| {escape(s.name)} | {escape(s.hub)} | {escape(s.licence or 'not stated')} | {s.rows:,} |"
    yield ""

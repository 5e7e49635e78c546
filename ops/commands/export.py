"""`assay export`."""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from ops.console import emit, heading, say, show_table
from ops.export.export import Export, export
from ops.export.files import Target
from ops.export.hub import push_model, require_model_repo, upload
from ops.export.made import note_export
from ops.export.model import ModelExport, export_model
from ops.export.model_card import DATA_CARD, MODEL_CARD, data_card, model_card, public_manifest
from ops.found_models import find_model
from ops.release.facts import behind, facts_of
from ops.versions import find_version
from steps.contracts.errors import ConfigError, InputError
from steps.contracts.exports import ExportManifest
from steps.contracts.humanize import size
from steps.contracts.records import SPLITS
from steps.engines.exports.exported_folder import MANIFEST
from steps.engines.exports.formats import FORMATS


def export_version(
    root: Path,
    query: str,
    to: str,
    out: Path | None,
    splits: Sequence[str],
    stage: str | None,
    repo: str | None,
    public: bool,
    token_env: str,
    raw: bool,
    json_output: bool,
) -> None:
    """Write a version into `out`, or bring it to the hub as `repo`, or both, and say what was written and what wasn't.

    Raises:
        ConfigError: no such format, or nowhere to write. InputError: a file is named.
        As `find_version`, `export` and `upload`.
    """
    target = next((t for t in get_args(Target) if t == to), None)
    if target is None:
        raise ConfigError(
            f"unknown format {to!r}", where="--to", hint="one of " + ", ".join([*get_args(Target), *FORMATS])
        )
    if repo is not None and target != "hub":
        raise ConfigError("only --to hub goes to a hub", where="--repo")
    if out is None and repo is None:
        raise ConfigError("nowhere to write", hint="--out FOLDER" + (", or --repo OWNER/NAME" * (target == "hub")))
    known = tuple(s for s in SPLITS if s in splits)
    if len(known) < len(set(splits)):
        raise ConfigError(
            f"unknown split {', '.join(sorted({*splits} - {*known}))}",
            where="--split",
            hint="one of " + ", ".join(SPLITS),
        )
    if Path(query).exists():
        what = "this is a file or folder; export takes what a run has made"
        raise InputError(
            what, where=query, hint=f"name a run or a digest; assay convert {query} OUT writes other formats"
        )
    version = find_version(root, query, stage)
    with tempfile.TemporaryDirectory() as scratch:
        place = out or Path(scratch) / "export"
        done = export(root, version, target, place, known, raw, repo or "")
        run = version.run.name
        url = upload(place, repo, token_env, public, f"assay run {run}") if repo else None
        for went in filter(None, (str(done.out.expanduser().absolute()) if out else None, url)):
            note_export(root, went, done.record, known)
        _tell(done, out, url, json_output)


def _tell(done: Export, out: Path | None, url: str | None, json_output: bool) -> None:
    record = done.record
    refused = done.refused if out else None
    if json_output:
        emit({"out": out, "url": url, "refused_rows": refused, **record.model_dump(mode="json")})
        return
    heading(f"{record.rows:,} rows of run {record.run}, stage {record.stage}, as {record.to}")
    show_table(["file", "split", "rows"], [[f.path, f.split, f.rows] for f in record.files], numeric=[2])
    for reason, count in record.refused.items():
        say(f"  {count:,} rows that {record.to} can't express: {reason}")
    if refused:
        say(f"  their ids: {refused}")
    if not record.scrubbed:
        say("note: these rows were never scrubbed of personal data")
    for place in (out, url):
        if place:
            say(str(place))


def model_formats() -> Sequence[str]:
    """Names of the formats that are a model's."""
    return tuple(FORMATS)


@dataclass(frozen=True)
class Hub:
    """Where a model goes besides: OWNER/NAME, the environment variable with the token, whether it may be public."""

    repo: str
    token_env: str
    public: bool


def export_of_model(
    root: Path, text: str, asked: ModelExport, out: Path | None, json_output: bool, hub: Hub | None = None
) -> None:
    """Write a model into `out`, or bring it to a hub, or both, and say how it was proven.

    Raises:
        ConfigError: nowhere to write.
        As `find_model`, `export_model` and `pushed`.
    """
    if out is None and hub is None:
        raise ConfigError("nowhere to write", hint="--out FOLDER, or --push-to OWNER/NAME")
    if hub is not None:
        require_model_repo(hub.repo, hub.token_env, hub.public)
    with tempfile.TemporaryDirectory() as scratch:
        place = out or Path(scratch) / "export"
        # What stands in rows is for a hub only where somebody puts it there.
        manifest = export_model(root, text, asked, place, words=hub is None)
        went = pushed(root, text, asked.over, place, manifest, hub) if hub is not None else None
        if json_output:
            emit({"out": out and out.expanduser().absolute(), "pushed": went, **manifest.model_dump(mode="json")})
            return
        _tell_model(manifest, place.expanduser().absolute())
        if went:
            say(f"on the hub: {went}")


def pushed(root: Path, text: str, over: str | None, place: Path, manifest: ExportManifest, hub: Hub) -> str:
    """Bring an exported folder to a hub with its cards; returns OWNER/NAME@COMMIT.

    Raises:
        ConfigError: something in it names a folder of this machine. As `push_model`.
    """
    own = (f"{root.absolute()}/", f"{Path.home()}/")
    told = next((f for f in place.glob("*.json") if f.name != MANIFEST and any(n in f.read_text() for n in own)), None)
    if (manifest.format == "adapter" and manifest.base.source != "hub") or told is not None:
        raise ConfigError(
            "the export names a folder of this machine, which nobody else has",
            where=told.name if told else "adapter_config.json",
            hint="--to merged needs no base; or train from a base by its hub id",
        )
    found = find_model(root, text, over)
    facts = facts_of(found, behind(root, found))
    texts = {MODEL_CARD: model_card(manifest, facts), MANIFEST: public_manifest(manifest).model_dump_json(indent=1)}
    if rows := data_card(facts):
        texts[DATA_CARD] = rows
    return push_model(place, texts, hub.repo, hub.token_env, hub.public, f"assay export {manifest.format}")


def _tell_model(manifest: ExportManifest, out: Path) -> None:
    parity = manifest.parity
    heading(f"{manifest.name} as {manifest.format}, {manifest.dtype}: the model that was trained")
    show_table(
        ["file", "size", "sha256"], [[n, size((out / n).stat().st_size), d[:12]] for n, d in manifest.files.items()]
    )
    say(f"  {parity.prompts} prompts and {parity.texts:,} texts of many scripts have exactly the same tokens")
    if parity.decomposed_differ:
        say(f"  not so {parity.decomposed_differ} of {parity.decomposed} decomposed texts (not in Unicode's form NFC)")
    within = f", where the model's two best are at most {parity.widest:.2g} apart (allowed {parity.epsilon:g})"
    say(f"  of {parity.tokens:,} tokens of greedy answers {parity.differ:,} differ{within if parity.differ else ''}")
    for note in manifest.notes:
        say(f"note: {note}")
    say(str(out))

"""`assay export`."""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from ops.console import emit, heading, say, show_table
from ops.export.export import Export, export
from ops.export.files import Target
from ops.export.hub import upload
from ops.export.made import note_export
from ops.versions import find_version
from steps.contracts.errors import ConfigError, InputError
from steps.contracts.records import SPLITS


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
        raise ConfigError(f"unknown format {to!r}", where="--to", hint="one of " + ", ".join(get_args(Target)))
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

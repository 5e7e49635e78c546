"""Whether the files that a run read its rows from are still the same, where this machine has them."""

from collections.abc import Iterator
from pathlib import Path

from pydantic import ValidationError

from materializers.artifacts import Artifacts
from ops.audit.findings import Finding
from ops.audit.trail import inputs_of
from steps.contracts.errors import AssayError
from steps.ingest.config import IngestConfig, SourceConfig
from steps.zenml_runtime.urls import is_url

# In a path that the run's slot was filled into.
_SLOT = "{slot"


def check_sources(root: Path, data: Artifacts) -> Iterator[Finding]:
    """A finding per source. They are nobody's store, and may grow: what the run read of them is in its own."""
    read = inputs_of(data).get("ingest", {})
    try:
        config = IngestConfig.model_validate(data.run.config.get("ingest"))
    except ValidationError:
        return
    for source in config.sources:
        recorded = {name: sha256 for name, sha256 in read.items() if name.split("/")[0] == source.name}
        if recorded:
            yield _check(source, root, recorded)


def _check(source: SourceConfig, root: Path, recorded: dict[str, str]) -> Finding:
    from steps.ingest.files import find_files

    what = f"source {source.name} is as it was read"
    if source.path is None or is_url(source.path) or _SLOT in source.path:
        return Finding(what, "not checked", f"{source.path or source.hub}: not a path of this machine")
    try:
        found = find_files(source, root)
        now = {f"{source.name}/{f.relative}": f.sha256() for f in (*found.files, *found.descriptions)}
    except (AssayError, OSError):
        return Finding(what, "not checked", f"{source.path} isn't on this machine")
    other = sorted(n for n in recorded.keys() | now.keys() if recorded.get(n) != now.get(n))
    if other:
        named = ", ".join(other[:3]) + (f" and {len(other) - 3} more" if len(other) > 3 else "")
        return Finding(what, "changed since", f"{named}: what the run read is kept as the first dataset version")
    return Finding(what, "holds", f"{len(recorded)} files")

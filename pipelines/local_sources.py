"""Sources that lie below the folder which paths start from, for steps that run on other machines.

A source in a bucket is read where it is, whatever its size. One that lies here travels as the other files of a config
do, by content, where it is small; so that what runs here runs elsewhere, unchanged.
"""

import glob
from pathlib import Path

from pipelines.config import RunConfig
from steps.contracts.errors import ConfigError
from steps.contracts.humanize import size
from steps.ingest.config import SourceConfig
from steps.zenml_runtime.inputs import bring, bring_files
from steps.zenml_runtime.urls import is_url

# Chosen: at 5 MB/s in a minute, and no step waits for it longer than for its start.
MOST_BYTES = 300_000_000
# Chosen: their digests are noted with the run, in one line of ZenML's store.
MOST_FILES = 300


def places(config: RunConfig) -> tuple[str, ...]:
    """Names that the local sources of a config travel under: files, folders, and where patterns start."""
    return tuple(_base(s.path or "") for s in _local(config))


def bring_sources(config: RunConfig, root: Path) -> dict[str, dict[str, str]]:
    """Put them into the active stack's artifact store, by the names of `places`. What an absolute path names is left
    to the steps: it may be a disk that they have as well.

    Raises:
        ConfigError: one is too large, or lies outside of the root. InputNotFoundError: one isn't there.
    """
    brought: dict[str, dict[str, str]] = {}
    for source in _local(config):
        path = source.path or ""
        files = _files(path, root)
        if (found_bytes := sum(f.stat().st_size for f in files)) > MOST_BYTES or len(files) > MOST_FILES:
            raise ConfigError(
                f"source {source.name} has {size(found_bytes)} in {len(files):,} files on this machine, and the steps "
                "run elsewhere",
                where=path,
                hint=f"copy it to a bucket and name its URL; up to {size(MOST_BYTES)} in {MOST_FILES} files travel",
            )
        base = _base(path)
        found = bring_files(files, root / base) if glob.has_magic(path) and ".." not in path else bring(path, root)
        brought[base] = {**brought.get(base, {}), **found}
    return brought


def _local(config: RunConfig) -> list[SourceConfig]:
    sources = config.ingest.sources if config.ingest is not None and config.curates else ()
    named = [s for s in sources if s.hub is None and s.path and not is_url(s.path)]
    return [s for s in named if not Path(s.path or "").expanduser().is_absolute()]


def _base(path: str) -> str:
    """Of a pattern the folder that it starts from; anything else is meant as it stands."""
    parts = Path(path).parts
    plain = next((i for i, part in enumerate(parts) if glob.has_magic(part)), len(parts))
    return str(Path(*parts[:plain]))


def _files(path: str, root: Path) -> list[Path]:
    full = root / path
    if full.is_file():
        return [full]
    if full.is_dir():
        return sorted(f for f in full.rglob("*") if f.is_file())
    found = glob.glob(path, root_dir=root, recursive=True)  # noqa: PTH207 - as ingest finds them
    return sorted(root / name for name in found if (root / name).is_file())

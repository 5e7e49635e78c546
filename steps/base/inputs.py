"""What the base stage reads, by digest."""

from pathlib import Path

from steps.base.config import BaseConfig
from steps.contracts.digests import folder_digests


def input_digests(config: BaseConfig, root: Path) -> dict[str, str]:
    """Files of a local base by content, a hub model by the commit that its revision points to now."""
    from steps.engines.lm.hub import resolve_revision

    folder = root / config.model
    if folder.is_dir():
        return folder_digests(folder)
    return {} if config.model == "scratch" else {config.model: resolve_revision(config.model, config.revision)}

"""What the base stage reads, by digest."""

from pathlib import Path

from steps.base.builders import builder_digest
from steps.base.config import BaseConfig
from steps.contracts.digests import folder_digests


def input_digests(config: BaseConfig, root: Path) -> dict[str, str]:
    """Files of a local base by content, a hub model by the commit that its revision points to now, a function by code.

    Raises:
        ConfigError: there is no such function, or it has no such options.
        InputNotFoundError, ServiceError: the hub has no such model, or can't be reached.
    """
    from steps.engines.lm.hub import resolve_revision

    if config.registered:  # the run's first step asks the registry
        return {}
    if config.is_built:
        return {config.model: builder_digest(config)}
    folder = root / config.model
    if folder.is_dir():
        return folder_digests(folder)
    return {config.model: resolve_revision(config.model, config.revision)}


def on_this_machine(root: Path, base: BaseConfig) -> Path | None:
    """The folder of a local model, or of one in the hub's cache; None where it is in neither."""
    local = root / base.model
    if local.is_dir():
        return local
    cached = _cached(base)
    return cached.parent if cached is not None else None


def _cached(base: BaseConfig) -> Path | None:
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        found = try_to_load_from_cache(base.model, "config.json", revision=base.revision)
    except HFValidationError:
        return None
    return Path(found) if isinstance(found, str) else None

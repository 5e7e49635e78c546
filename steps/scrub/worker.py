"""What a worker process runs. It imports nothing heavy before it knows that it needs it."""

import functools
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from steps.scrub.config import ScrubConfig

if TYPE_CHECKING:
    from steps.scrub.detect import Detector, Findings

# presidio and spaCy import these where they find them, and do without where they don't. Patterns don't need them.
_NEEDLESS = ("torch", "transformers")


def find_in_worker(config: str, texts: list[str]) -> "list[Findings]":
    """Findings per text; `config` is a ScrubConfig as JSON."""
    return _detector(config).find(texts)


@functools.lru_cache(maxsize=1)
def _detector(config: str) -> "Detector":
    settings = ScrubConfig.model_validate_json(config)
    with _without(() if settings.ner else _NEEDLESS):
        from steps.scrub.detect import Detector
    return Detector(settings)


@contextmanager
def _without(packages: tuple[str, ...]) -> Iterator[None]:
    """Importing one of the packages that isn't imported yet fails as if it weren't installed."""
    hidden = [name for name in packages if name not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]

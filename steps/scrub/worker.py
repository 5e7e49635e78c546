"""What a worker process runs."""

import functools
from typing import TYPE_CHECKING

from steps.scrub.config import ScrubConfig

if TYPE_CHECKING:
    from steps.scrub.detectors import Detector, Findings


def find_in_worker(config: str, texts: list[str]) -> "list[Findings]":
    """Findings per text; `config` is a ScrubConfig as JSON."""
    return _detector(config).find(texts)


@functools.lru_cache(maxsize=1)
def _detector(config: str) -> "Detector":
    from steps.scrub.detectors import Detector

    return Detector(ScrubConfig.model_validate_json(config))

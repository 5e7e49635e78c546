"""All detectors together, in this process or in several."""

import functools
from collections.abc import Iterable
from types import TracebackType
from typing import Self

from steps.engines.fast_presidio.imports import models_need_a_process
from steps.scrub.config import ScrubConfig
from steps.scrub.detector import Detector, Findings, find_in_worker
from steps.scrub.pool import Workers

# Chosen: large enough that sending costs little, small enough that workers stay busy to the end.
_BATCH_TEXTS = 256


class Detectors:
    """A Detector here (workers = 1) or one per worker process; a context manager. Order and result are the same."""

    def __init__(self, config: ScrubConfig) -> None:
        apart = config.ner is not None and models_need_a_process()
        # Made here if it can be, so that a wrong setting or a missing model is told before any process starts.
        self._here = None if apart else Detector(config)
        work = functools.partial(find_in_worker, config.model_dump_json())
        self._workers = Workers(work, config.workers) if apart or config.workers > 1 else None
        self.conditions = self._here.conditions if self._here else None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if self._workers is not None:
            self._workers.close()

    def find(self, texts: Iterable[str]) -> dict[str, Findings]:
        """Findings of each distinct text.

        Raises:
            AssayError: worker processes keep dying.
        """
        distinct = list(dict.fromkeys(texts))
        if self._here and (self._workers is None or len(distinct) <= _BATCH_TEXTS):
            return dict(zip(distinct, self._here.find(distinct), strict=True))
        assert self._workers is not None  # where there is no detector here, there are workers
        batches = [distinct[i : i + _BATCH_TEXTS] for i in range(0, len(distinct), _BATCH_TEXTS)]
        found = self._workers.results(batches)
        return {t: f for batch, part in zip(batches, found, strict=True) for t, f in zip(batch, part, strict=True)}

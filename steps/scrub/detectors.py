"""All detectors together, in this process, or in one of their own where a model needs it."""

from collections.abc import Callable, Iterable, Sequence
from types import TracebackType
from typing import Self

from steps.contracts.execution import Work
from steps.engines.execution.processes import Processes
from steps.engines.fast_presidio.imports import models_need_a_process
from steps.scrub.config import ScrubConfig
from steps.scrub.detector import Detector, Findings


def need_a_process(config: ScrubConfig) -> bool:
    """Whether the detectors can't be made in this process."""
    return config.ner is not None and models_need_a_process()


class Detectors:
    """A Detector; a context manager, since it may hold a process."""

    def __init__(self, config: ScrubConfig) -> None:
        self._process = None
        self.conditions = None
        if need_a_process(config):
            self._process = Processes(1).open(Work(finding, config.model_dump_json(), "scrub"))
        else:
            self._here = Detector(config)
            self.conditions = self._here.conditions

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if self._process is not None:
            self._process.__exit__(kind, error, tb)

    def find(self, texts: Iterable[str]) -> dict[str, Findings]:
        """Findings of each distinct text.

        Raises:
            WorkerDiedError: the process keeps dying.
        """
        distinct = list(dict.fromkeys(texts))
        found = self._here.find(distinct) if self._process is None else next(self._process.results([distinct]))
        return dict(zip(distinct, found, strict=True))


def finding(config: str) -> Callable[[Sequence[str]], list[Findings]]:
    """What finds, for another process; `config` is a ScrubConfig as JSON."""
    return Detector(ScrubConfig.model_validate_json(config)).find

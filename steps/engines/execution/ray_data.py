"""Work on Ray: on this machine, or on a cluster that runs. The only module that imports ray."""

import functools
import logging
import os
import secrets
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from steps.contracts.errors import MissingDependencyError
from steps.contracts.execution import Work
from steps.contracts.locks import OwnFolder
from steps.contracts.storage import STATE, WORK
from steps.engines.execution.processes import ATTEMPTS, BATCH_ROWS, single_here, worker_died

# It must be set before ray is imported, which would tell its makers how it is used.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
try:
    import ray
    import ray.data
    from ray.util.annotations import RayDeprecationWarning
except ImportError as e:
    raise MissingDependencyError(
        "Ray isn't installed", where="run.executor: kind ray", hint="pip install 'assay[ray]', or kind: processes"
    ) from e

Item = TypeVar("Item")
Result = TypeVar("Result")

# Chosen: starting a Ray Data pipeline costs a fifth of a second (measured); memory grows with what is in hand.
_IN_HAND = 8
# Bytes. Chosen: a few hundred rows per item; what doesn't fit goes to a folder that is removed with Ray.
_OBJECT_STORE = 512 << 20


@dataclass(frozen=True)
class RayData:
    """So many tasks at a time; `address` of a cluster, None: Ray is started on this machine for each kind of work."""

    workers: int
    address: str | None = None
    batch_rows: int | None = BATCH_ROWS

    def open(self, work: Work[Item, Result], here: Callable[[Item], Result] | None = None) -> "_RayPool[Item, Result]":
        """A pool for this work. A single item is done `here`: starting Ray would cost more."""
        return _RayPool(work, self, here)


@dataclass(frozen=True)
class _Boxed:
    """What Arrow is to leave alone."""

    value: Any


@dataclass(frozen=True)
class _Failed:
    """An error of the work; Ray would wrap it, and log it with what it quotes."""

    error: Exception


class _RayPool(Generic[Item, Result]):
    """Ray, started at the first use. Some items at a time are a Ray Data pipeline; its tasks find the work prepared."""

    def __init__(self, work: Work[Item, Result], place: RayData, here: Callable[[Item], Result] | None) -> None:
        self._work, self._place, self._here = work, place, here
        self._folder: OwnFolder | None = None
        self._name: Path | None = None
        self._started = False

    def results(self, items: Iterable[Item]) -> Iterator[Result]:
        """The result of each item, in order."""
        return single_here(items, self._here, self._worked)

    def _worked(self, items: Iterator[Item]) -> Iterator[Result]:
        self._start()
        while window := list(islice(items, _IN_HAND * self._place.workers)):
            try:
                done = self._run(window)
            except ray.exceptions.WorkerCrashedError:
                done = [self._alone(item) for item in window]
            for result in done:
                if isinstance(result, _Failed):
                    raise result.error
                yield result

    def _run(self, window: list[Item]) -> list[Any]:
        boxed = [{"item": _Boxed(item)} for item in window]
        rows = ray.data.from_items(boxed, override_num_blocks=len(boxed))
        tasks = ray.data.TaskPoolStrategy(size=self._place.workers)
        with warnings.catch_warnings():
            # Ray Data would try for ever, and has no parameter for that by a name of its own.
            warnings.simplefilter("ignore", RayDeprecationWarning)
            made = rows.map(_do, fn_kwargs={"work": _Boxed(self._work)}, compute=tasks, max_retries=ATTEMPTS - 1)
        return [row["result"].value for row in made.iter_rows()]

    def _alone(self, item: Item) -> Any:
        """The result of one item of those among which a process died; Ray has made all attempts itself."""
        try:
            return self._run([item])[0]
        except ray.exceptions.WorkerCrashedError as e:
            raise worker_died(self._work, item) from e

    def _start(self) -> None:
        if not ray.is_initialized():
            self._started = True
            ray.init(**(self._cluster(self._place.address) if self._place.address else self._this_machine()))
        # Ray's own lines say nothing that a report doesn't; its errors come back as errors.
        for name in ("ray", "ray.data"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
        context = ray.data.DataContext.get_current()
        context.execution_options.preserve_order = True
        context.enable_progress_bars = False

    def _cluster(self, address: str) -> dict[str, Any]:
        return {"address": address, "log_to_driver": False, "logging_level": logging.ERROR}

    def _this_machine(self) -> dict[str, Any]:
        self._folder = _own_folder()
        # Ray opens its own one to everybody (777): it lies in one that is closed.
        inner = self._folder.path / "ray"
        inner.mkdir()
        # Sockets have short names (107 bytes), so Ray knows it by another one.
        self._name = Path(tempfile.gettempdir()) / f"assay-ray-{secrets.token_hex(8)}"
        self._name.symlink_to(inner)
        # Whoever lacks it can't talk to these processes; Ray itself would write one into the home folder.
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
        # What can be imported here can be imported there.
        paths = os.pathsep.join(p for p in sys.path if p)
        return {
            "runtime_env": {"env_vars": {"PYTHONPATH": paths}},
            "num_cpus": self._place.workers,
            "include_dashboard": False,
            "log_to_driver": False,
            "logging_level": logging.CRITICAL,
            "object_store_memory": _OBJECT_STORE,
            "_temp_dir": str(self._name),
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if self._started:
            ray.shutdown()
        if self._name is not None:
            self._name.unlink(missing_ok=True)
        if self._folder is not None:
            self._folder.close()


def _own_folder() -> OwnFolder:
    """Where rows may be spilled: below the state folder, so that what a killed process leaves is removed by a later
    run.
    """
    state = os.environ.get(STATE)
    return OwnFolder(Path(state) / WORK, "ray-") if state else OwnFolder(Path(tempfile.gettempdir()), "assay-ray-")


def _do(row: dict[str, Any], work: _Boxed) -> dict[str, Any]:
    try:
        return {"result": _Boxed(_prepared(work.value)(row["item"].value))}
    except Exception as e:  # noqa: BLE001 - raised again where the result is wanted
        return {"result": _Boxed(_Failed(e))}


# Each process of Ray's does the work of one pool at a time; Work is compared by what it prepares and its settings.
@functools.lru_cache(maxsize=1)
def _prepared(work: Work[Any, Any]) -> Callable[[Any], Any]:
    function: Callable[[Any], Any] = work.prepare(work.settings)
    return function

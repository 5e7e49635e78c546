"""What a process of ours spares itself at its start and its end: looks for garbage, and libraries without use.

A command and a step's process on this machine call it before they import anything else. In the image it is a module of
its own that Python imports at its start (`python -m steps.zenml_runtime.light_start` puts it there), because ZenML's
entrypoint of a step activates all of ZenML's integrations before it fetches our code. So it imports nothing of ours.
"""

import atexit
import functools
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from gc import freeze, set_threshold
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any, cast

# Integrations of ZenML that add nothing but materializers, all of which are refused (safety.py); importing their
# libraries (PyTorch, SciPy, scikit-learn) measured two CPU seconds per step.
MATERIALIZER_INTEGRATIONS = (
    "pytorch",
    "sklearn",
    "huggingface",
    "scipy",
    "numpy",
    "pandas",
    "pillow",
    "tensorflow",
    "xgboost",
    "lightgbm",
    "polars",
)
# New objects before garbage is looked for, and how often older ones are. Measured: as Python has it, a sixth of the
# time that a command takes to start goes into looking through what was just imported.
_COLLECTED = (20_000, 20, 100)
_MODULE = "assay_light_start"
# What every orchestrator runs as `python -m` for a step.
_ENTRYPOINT = "zenml.entrypoints.entrypoint"
_Around = Callable[[ModuleType], AbstractContextManager[Any]]


def start_light() -> None:
    """Look for garbage less often until a step begins (step.py), and not at the end."""
    set_threshold(*_COLLECTED)
    # The first to be registered: the last to be called.
    atexit.register(end_light)


def end_light() -> None:
    """Python looks for garbage once more when it ends: measured, 0.4 CPU seconds of an `assay stage` of 1.5, 1.4 of a
    run of 5.8 whose steps come from the cache, and 2 of a step's process that has loaded ZenML's integrations.

    Not where DuckDB is open, whose binding would complain of it; ZenML's database is closed before.
    """
    if "duckdb" in sys.modules:
        return
    if (database := sys.modules.get("steps.zenml_runtime.database")) is not None:
        database.close_store()
    freeze()


def start_in_image() -> None:
    """What Python does first in the image, where the process is a step's."""
    if _ENTRYPOINT in sys.orig_argv:
        start_light()
        leave_out()


def leave_out() -> None:
    """Let ZenML load no library for materializers that are refused, nor numba in order to silence it, and start no `pip
    freeze`.
    """
    sys.meta_path.insert(0, _Lighter())


@functools.cache
def installed() -> tuple[str, ...]:
    """name==version of each distribution in order of the names, as `pip freeze` writes those of an index."""
    from importlib.metadata import distributions

    found = {f"{d['Name']}=={d['Version']}" for d in (each.metadata for each in distributions())}
    return tuple(sorted(found, key=str.lower))


@contextmanager
def _without_numba(_: ModuleType) -> Iterator[None]:
    """Within, numba can't be imported, unless it has been before."""
    modules: dict[str, Any] = sys.modules
    if "numba" in modules:
        yield
        return
    # Python's own way to say so.
    modules["numba"] = None
    try:
        yield
    finally:
        del modules["numba"]


@contextmanager
def _listing_packages_here(environment: ModuleType) -> Iterator[None]:
    """As packages.py does it, which is loaded later: ZenML lists them when it begins a step."""
    yield
    environment.Environment.get_python_packages = staticmethod(lambda: list(installed()))


# Modules of ZenML by what is around their loading. Evidently's imports numba to silence it, and sends its compiled
# kernels to /tmp, where every user may write and none of the image's are.
_AROUND: dict[str, _Around] = {
    "zenml.integrations.evidently": _without_numba,
    "zenml.environment": _listing_packages_here,
}


class _Lighter:
    """A finder for which those modules of materializers are empty."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """None: others find it."""
        if name in {f"zenml.integrations.{i}.materializers" for i in MATERIALIZER_INTEGRATIONS}:
            return ModuleSpec(name, cast(Any, _Loader()))
        spec = PathFinder.find_spec(name, path) if name in _AROUND else None
        if spec is not None:
            spec.loader = cast(Any, _Loader(spec.loader, _AROUND[name]))
        return spec


class _Loader:
    """Loads as another does, with something around it; without another, a module with nothing in it."""

    def __init__(self, other: Any = None, around: _Around = nullcontext) -> None:
        self._other, self._around = other, around

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """The other's; None: Python's own."""
        made: ModuleType | None = self._other.create_module(spec) if self._other is not None else None
        return made

    def exec_module(self, module: ModuleType) -> None:
        """As the other does it."""
        with self._around(module):
            if self._other is not None:
                self._other.exec_module(module)


def install(folder: Path) -> None:
    """Put this module into a folder of packages, with the line that has Python import it at its start."""
    (folder / f"{_MODULE}.py").write_bytes(Path(__file__).read_bytes())
    (folder / f"{_MODULE}.pth").write_text(f"import {_MODULE}; {_MODULE}.start_in_image()\n", encoding="utf-8")


if __name__ == "__main__":
    import sysconfig

    install(Path(sysconfig.get_path("purelib")))

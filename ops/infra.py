"""Where a run happens: configs/infra/NAME.yaml binds steps to trackers, operators and settings of a stack."""

import difflib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Self, TypeAlias

from pydantic import Field

from pipelines.load import load_model
from steps.contracts.errors import ConfigError, InputNotFoundError
from steps.contracts.reports import Frozen
from steps.engines.execution.config import ExecutorConfig

DEFAULT = "local"
# Types of components that a step names.
BOUND = ("experiment_tracker", "step_operator")
Names: TypeAlias = Mapping[str, Mapping[str, str]]


class StepInfra(Frozen):
    """One step's place. Names are those of the stack's components; settings are ZenML's, passed on as they are."""

    experiment_tracker: str | None = None
    step_operator: str | None = None
    settings: dict[str, Any] = Field(default_factory=dict)

    def configuration(self, names: Names) -> dict[str, Any]:
        """What ZenML takes for a step."""
        said = self.model_dump(exclude_defaults=True)
        return said | {kind: names.get(kind, {}).get(said[kind], said[kind]) for kind in BOUND if kind in said}


class RunInfra(Frozen):
    """What holds for all steps of a run."""

    executor: ExecutorConfig = Field(
        default_factory=ExecutorConfig, description="where row-wise work runs; no number and no cache key depends on it"
    )


class InfraConfig(Frozen):
    """A file in configs/infra. Unknown keys and unknown steps are refused; ZenML itself would ignore them."""

    stack: str
    state: str | None = Field(
        None,
        description="where checkpoints, paid replies, embeddings and rejects outlive the machine: a URL, a folder of"
        " this machine (absolute), or a folder of the stack's artifact store; null: the state folder of the machine",
    )
    run: RunInfra = Field(default_factory=RunInfra)
    settings: dict[str, Any] = Field(default_factory=dict, description="ZenML settings for the whole pipeline")
    steps: dict[str, StepInfra] = Field(default_factory=dict)

    def with_workers(self, workers: int | None) -> Self:
        """The same with so many processes for row-wise work; None: as it is."""
        if workers is None:
            return self
        executor = self.run.executor
        kind = "ray" if executor.kind == "ray" else "processes" if workers > 1 else "inline"
        named = ExecutorConfig(kind=kind, workers=workers, address=executor.address)
        return self.model_copy(update={"run": RunInfra(executor=named)})

    def step_configurations(
        self, present: Iterable[str], names: Names | None = None, *, cache: bool = True
    ) -> dict[str, dict[str, Any]]:
        """What ZenML takes as step configurations, for the steps that the pipeline has. `names`: by component type,
        what each component of the stack's file is called in ZenML's store. Without `cache` all of them run again.
        """
        # Steps allow their cache themselves, so that only a word for each of them takes it away.
        always = {} if cache else {"enable_cache": False}
        bound = {n: self._of(n).configuration(names or {}) for n in present}
        return {n: {**settings, **always} for n, settings in bound.items() if settings or always}

    def state_uri(self, artifact_store: str) -> str | None:
        """The URI of durable state on a stack whose artifact store has this root; None: the machine's state folder."""
        if self.state is None or "://" in self.state or Path(self.state).is_absolute():
            return self.state
        return f"{artifact_store.rstrip('/')}/{self.state}"

    def _of(self, step: str) -> StepInfra:
        """What is bound to a step by its own name, else by its kind's: evaluate_step for evaluate_base_step."""
        kind = f"{step.split('_', maxsplit=1)[0]}_step"
        return self.steps.get(step) or self.steps.get(kind) or StepInfra()


def load_infra(root: Path, name: str | None, known_steps: Iterable[str] | None = None) -> InfraConfig:
    """Read configs/infra/NAME.yaml. Names of steps are checked where those there are are given.

    Raises:
        InputNotFoundError: no such file; the error lists those there are.
        ConfigError: an unknown key or step.
    """
    folder = root / "configs" / "infra"
    path = folder / f"{name or DEFAULT}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in folder.glob("*.yaml")))
        raise InputNotFoundError(f"no infra file '{name}'", where=str(folder), hint=f"there are: {known}")
    infra = load_model(InfraConfig, path)
    names = sorted(known_steps or infra.steps)
    for step in infra.steps:
        if step not in names:
            near = difflib.get_close_matches(step, names, n=1)
            meant = f"did you mean '{near[0]}'?" if near else f"steps are {', '.join(names)}"
            raise ConfigError(f"steps.{step}: no such step; {meant}", where=str(path))
    return infra

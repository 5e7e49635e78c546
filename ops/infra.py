"""Where a run happens: configs/infra/NAME.yaml says what each step gets on a stack, and what it needs there."""

import difflib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Self, TypeAlias

from pydantic import Field, PrivateAttr

from ops.stacks.files import filled
from ops.stacks.placement import Needs, Resources, Retry, place
from pipelines.load import Written, read, validate
from pipelines.openlineage.config import OpenLineageConfig
from steps.contracts.errors import ConfigError, InputNotFoundError
from steps.contracts.reports import Frozen
from steps.contracts.storage import write_whole
from steps.engines.execution.config import ExecutorConfig
from steps.engines.yaml_lines.parse import KeyPath
from steps.train.ranks.config import Ranks
from steps.zenml_runtime.state import state_location

DEFAULT = "local"
# Types of components that a step names.
BOUND = ("experiment_tracker", "step_operator")
# By component type: by the names of a stack's file, those of ZenML's store, or flavours.
Names: TypeAlias = Mapping[str, Mapping[str, str]]


class StepInfra(Frozen):
    """What a step gets and needs. Names of components are those of the stack's file."""

    experiment_tracker: str | None = None
    step_operator: str | None = None
    environment: dict[str, str] = Field(
        default_factory=dict,
        description="variables of its process; ${NAME} is one of the launcher's, ${secret:NAME} one that reaches it as"
        " a ZenML secret. ZenML has them in its cache key: another value runs the step again",
    )
    secrets: tuple[str, ...] = Field((), description="ZenML secrets whose keys become variables of its process")
    retry: Retry | None = Field(None, description="tries after one that failed; null: none")
    timeout: float | None = Field(None, gt=0, description="seconds after which it has failed; null: never")
    resources: Resources = Field(default_factory=Resources, description="what it needs of a machine")
    training: Ranks | None = Field(
        None, description="of a training step: processes that train together; the batch stays that of the run's config"
    )
    settings: dict[str, Any] = Field(default_factory=dict, description="ZenML's settings, passed on as they are")


class RunInfra(Frozen):
    """What holds for all steps of a run."""

    executor: ExecutorConfig = Field(
        default_factory=ExecutorConfig, description="where row-wise work runs; no number and no cache key depends on it"
    )
    fan_out: int = Field(
        1,
        ge=1,
        le=1000,
        description="steps that the row-wise work of each of scrub, screen and judge is spread over, where the"
        " orchestrator has dynamic pipelines; 1: the stage's own. No number and, but for their own, no cache key"
        " depends on it",
    )
    enable_step_logs: bool = Field(
        False, description="store what steps print in the artifact store, for ZenML's dashboard; pods' own logs stay"
    )
    openlineage: OpenLineageConfig = Field(
        default_factory=OpenLineageConfig, description="where events about the run go; no number depends on it"
    )
    progress: bool = Field(True, description="steps elsewhere print a line when they begin and end")


class InfraConfig(Frozen):
    """A file in configs/infra. Unknown keys and unknown steps are refused; ZenML itself would ignore them."""

    extends: str | None = Field(None, description="infra file whose keys hold where this one says nothing")
    stack: str
    state: str | None = Field(
        None,
        description="where checkpoints, paid replies, embeddings and rejects outlive the machine: a URL, a folder of"
        " this machine (absolute), or a folder of the stack's artifact store; null: the state folder of the machine",
    )
    run: RunInfra = Field(default_factory=RunInfra)
    settings: dict[str, Any] = Field(default_factory=dict, description="ZenML settings for the whole pipeline")
    environment: dict[str, str] = Field(default_factory=dict, description="as of a step, for all of them")
    secrets: tuple[str, ...] = Field((), description="as of a step, for all of them")
    retry: Retry | None = Field(None, description="as of a step, for all that say nothing")
    timeout: float | None = Field(None, gt=0, description="as of a step, for all that say nothing")
    resources: Resources = Field(default_factory=Resources, description="as of a step, for what a step leaves out")
    steps: dict[str, StepInfra] = Field(default_factory=dict)
    _written: Written | None = PrivateAttr(None)

    def said_of(self, place: KeyPath, what: str) -> str:
        """What is to be said of a place of the file, with file and line."""
        if self._written is None:
            return what
        return f"{self._written.where}: {self._written.line(place, [what]) if place else what}"

    def with_workers(self, workers: int | None) -> Self:
        """The same with so many processes for row-wise work; None: as it is."""
        if workers is None:
            return self
        executor = self.run.executor
        kind = "ray" if executor.kind == "ray" else "processes" if workers > 1 else "inline"
        named = ExecutorConfig(kind=kind, workers=workers, address=executor.address)
        return self.model_copy(update={"run": self.run.model_copy(update={"executor": named})})

    def filled(self, environment: Mapping[str, str]) -> Self:
        """The same with the launcher's variables in ZenML's settings."""
        steps = {n: s.model_copy(update={"settings": filled(s.settings, environment)}) for n, s in self.steps.items()}
        return self.model_copy(update={"settings": filled(self.settings, environment), "steps": steps})

    def variables(self) -> frozenset[str]:
        """Names of variables that steps get by this file, besides keys of ZenML secrets."""
        return frozenset(self.environment) | {name for step in self.steps.values() for name in step.environment}

    def has_secrets(self) -> bool:
        """Whether steps get ZenML secrets, whose keys aren't known here."""
        return bool(self.secrets) or any(step.secrets for step in self.steps.values())

    def of(self, step: str) -> StepInfra:
        """What is said of a step by its own name, else by its kind's: evaluate_step for evaluate_base_step."""
        return self.steps.get(step) or self.steps.get(kind_of(step)) or StepInfra()

    def needs(self, step: str) -> Needs:
        """What a step asks for; what it leaves out holds for all."""
        own = self.of(step)
        resources = self.resources.model_dump(exclude_none=True) | own.resources.model_dump(exclude_none=True)
        timeout = own.timeout if "timeout" in own.model_fields_set else self.timeout
        retry = own.retry if "retry" in own.model_fields_set else self.retry
        return Needs(Resources(**resources), retry, timeout)

    def step_configurations(
        self, present: Iterable[str], flavors: Names, names: Names | None = None, *, cache: bool = True
    ) -> dict[str, dict[str, Any]]:
        """What ZenML takes as step configurations, for the steps that the pipeline has; environment and secrets not.

        `flavors`: of the stack's components, by type and name. `names`: what they are called in ZenML's store. Without
        `cache` all steps run again.
        """
        from steps.zenml_runtime.context import TO_COME

        # Steps allow their cache themselves, so that only a word for each of them takes it away.
        always = {} if cache else {"enable_cache": False}
        listed = list(present)
        bound = {n: self._configuration(n, flavors, names or {}) for n in listed}
        for to_come, step in enumerate(reversed([n for n in listed if self._machines(n) > 1])):
            bound[step]["extra"][TO_COME] = to_come
        return {n: {**settings, **always} for n, settings in bound.items() if settings or always}

    def ignored(self, present: Iterable[str], flavors: Names) -> Iterator[str]:
        """What of the steps' needs the stack's orchestrator, or their step operator, doesn't heed."""
        told: dict[str, list[str]] = {}
        for step in present:
            for what in self._placed(step, flavors)[1]:
                told.setdefault(what, []).append(step)
        for what, steps in told.items():
            yield f"{', '.join(steps) if len(steps) < 4 else f'{len(steps)} steps'}: {what}"

    def state_uri(self, artifact_store: str) -> str | None:
        """The URI of durable state on a stack whose artifact store has this root; None: the machine's state folder."""
        if self.state is None or "://" in self.state or Path(self.state).is_absolute():
            return self.state
        return f"{artifact_store.rstrip('/')}/{self.state}"

    def _machines(self, step: str) -> int:
        """How many train together in a step."""
        training = self.of(step).training
        return training.nodes if training is not None else 1

    def _configuration(self, step: str, flavors: Names, names: Names) -> dict[str, Any]:
        from steps.zenml_runtime.context import TIMEOUT, TRAINING

        own, needs = self.of(step), self.needs(step)
        named = {kind: getattr(own, kind) for kind in BOUND if getattr(own, kind)}
        settings = self._placed(step, flavors)[0]
        extra = {
            **({TIMEOUT: needs.timeout} if needs.timeout else {}),
            **({TRAINING: own.training.model_dump(mode="json")} if own.training else {}),
        }
        return {
            **{kind: names.get(kind, {}).get(name, name) for kind, name in named.items()},
            **({"settings": settings} if settings else {}),
            **({"retry": needs.retry.model_dump()} if needs.retry else {}),
            **({"extra": extra} if extra else {}),
        }

    def _placed(self, step: str, flavors: Names) -> tuple[dict[str, Any], tuple[str, ...]]:
        """Settings of a step, those of the file over those that its needs give; and what isn't heeded."""
        own = self.of(step)
        kind = "step_operator" if own.step_operator else "orchestrator"
        flavor = flavors.get(kind, {}).get(own.step_operator or next(iter(flavors.get(kind, {})), ""), "")
        # ZenML takes a flavour's settings by its kind, or by kind and flavour.
        keys = (kind, f"{kind}.{flavor}")
        given = merged({}, *(s.get(key, {}) for s in (self.settings, own.settings) for key in keys))
        placed = place(kind, flavor, self.needs(step), given)
        key = keys[1] if keys[1] in {*self.settings, *own.settings} else kind
        settings = {(key if k == kind else k): v for k, v in placed.settings.items()}
        return merged(settings, own.settings), placed.ignored


def kind_of(step: str) -> str:
    """Under what name all steps of a stage may stand in an infra file."""
    return f"{step.split('_', maxsplit=1)[0]}_step"


def merged(base: Mapping[str, Any], *others: Mapping[str, Any]) -> dict[str, Any]:
    """Mappings within mappings, of which the later ones win; lists are replaced whole."""
    result = dict(base)
    for other in others:
        for key, value in other.items():
            below = result.get(key)
            both = isinstance(below, Mapping) and isinstance(value, Mapping)
            result[key] = merged(below, value) if both else value  # type: ignore[arg-type]
    return result


def infra_file(root: Path, name: str) -> Path:
    """Where an infra file is.

    Raises:
        InputNotFoundError: nowhere; the error lists those there are.
    """
    folder = root / "configs" / "infra"
    path = folder / f"{name}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in folder.glob("*.yaml") if p.stem[0] != "_"))
        raise InputNotFoundError(f"no infra file '{name}'", where=str(folder), hint=f"there are: {known}")
    return path


def read_infra(root: Path, name: str) -> Written:
    """What an infra file says together with those that it extends; each place leads to the file that says it.

    Raises:
        InputNotFoundError, ConfigError: a file isn't there, is no YAML, or extends itself.
    """
    written = read(infra_file(root, name))
    seen = [name]
    while isinstance(above := written.values.get("extends"), str) and above != "":
        if above in seen:
            raise ConfigError(f"extends goes round: {' → '.join([*seen, above])}", where=written.where)
        seen.append(above)
        written = _over(written, read(infra_file(root, above)))
    return written


def _over(written: Written, base: Written) -> Written:
    """One file over another: `extends` goes on with the other's."""
    values = merged(base.values, {k: v for k, v in written.values.items() if k != "extends"})
    lines = {p: n for p, n in written.lines.items() if p != ("extends",)}
    inherited = {p: f"{Path(base.where).name} line {n}" for p, n in base.lines.items() if p not in lines}
    return Written(values, lines, written.where, {**inherited, **base.options, **written.options})


def remember(root: Path, name: str) -> None:
    """Let runs that name no infra file take this one."""
    write_whole(_remembered(root), f"{name}\n")


def _remembered(root: Path) -> Path:
    return state_location(root) / "infra"


def _default(root: Path) -> str:
    file = _remembered(root)
    return file.read_text(encoding="utf-8").strip() if file.is_file() else DEFAULT


def load_infra(root: Path, name: str | None, known_steps: Iterable[str] | None = None) -> InfraConfig:
    """Read configs/infra/NAME.yaml; None: the one that `assay stack use` named, else `local`. Names of steps are
    checked where those there are are given.

    Raises:
        InputNotFoundError: no such file; the error lists those there are.
        ConfigError: an unknown key or step.
    """
    written = read_infra(root, name or _default(root))
    infra = validate(InfraConfig, written)
    infra._written = written
    names = sorted(known_steps or infra.steps)
    unknown: dict[KeyPath, list[str]] = {}
    for step in infra.steps:
        if step not in names:
            near = difflib.get_close_matches(step, names, n=1)
            meant = f"did you mean '{near[0]}'?" if near else f"steps are {', '.join(names)}"
            unknown[("steps", step)] = [f"no such step; {meant}"]
    if unknown:
        raise ConfigError(written.mistakes(unknown), where=written.where)
    return infra

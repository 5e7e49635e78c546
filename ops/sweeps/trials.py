"""The values of each trial: a function of the sweep, its seed and, for Optuna, of what came of the trials before."""

import hashlib
import itertools
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ops.sweeps.config import Ablation, Choice, Grid, LearningCurve, Random, Span, SweepConfig, Tpe
from pipelines.config import RunConfig
from pipelines.stages import SKIPPABLE
from steps.contracts.digests import value_digest
from steps.contracts.errors import ConfigError, MissingDependencyError

# Which trial of an ablation the others are held against: the first one.
_WHOLE = 0


@dataclass(frozen=True)
class Trial:
    """What a trial sets in the config, by key; `label`: what tells it from the others, in words."""

    label: str
    values: Mapping[str, Any]

    @property
    def key(self) -> str:
        """Equal for equal values."""
        return value_digest(dict(self.values))

    @property
    def overrides(self) -> list[str]:
        """As `--set` takes them."""
        return [f"{key}={json.dumps(value)}" for key, value in self.values.items()]


# From the losses of the trials so far (None: it failed) to the next trial; None: there is none.
Proposal = Callable[[Sequence[float | None]], Trial | None]


def proposals(sweep: SweepConfig, config: RunConfig, sources: Sequence[str]) -> Proposal:
    """Which trial comes next. `config` with the sweep's overrides; `sources`: of the rows, by name.

    Raises:
        ConfigError: a stage can't be left out, or isn't run. MissingDependencyError: Optuna isn't installed.
    """
    search = sweep.search
    if isinstance(search, Tpe):
        return _asked(search)
    if isinstance(search, Grid):
        fixed = _grid(search)
    elif isinstance(search, Random):
        fixed = [_drawn(search, number) for number in range(search.trials)]
    elif isinstance(search, LearningCurve):
        fixed = _curve(search, config, sources)
    else:
        fixed = _ablation(search, config)
    return lambda done: fixed[len(done)] if len(done) < len(fixed) else None


def all_known(sweep: SweepConfig) -> bool:
    """Whether every trial's values are known before the first one runs."""
    return not isinstance(sweep.search, Tpe)


def reference_of(sweep: SweepConfig) -> int | None:
    """The trial that the others are held against, by its place; None: the best one."""
    if isinstance(sweep.search, LearningCurve):
        return len(sweep.search.shares) - 1
    return _WHOLE if isinstance(sweep.search, Ablation) else None


def _trial(values: Mapping[str, Any]) -> Trial:
    return Trial(", ".join(f"{key.rpartition('.')[2]} {_said(value)}" for key, value in values.items()), values)


def _said(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else json.dumps(value).strip('"')


def _grid(search: Grid) -> list[Trial]:
    keys = list(search.parameters)
    choices = [search.parameters[key].values for key in keys]
    return [_trial(dict(zip(keys, values, strict=True))) for values in itertools.product(*choices)]


def _drawn(search: Random, number: int) -> Trial:
    """Each value by the seed, the trial's number and the key alone."""
    return _trial({k: _value(p, _uniform(search.seed, number, k)) for k, p in search.parameters.items()})


def _uniform(seed: int, number: int, key: str) -> float:
    """In [0, 1), equal on every machine."""
    digest = hashlib.sha256(f"{seed}/{number}/{key}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def _value(parameter: Choice | Span, at: float) -> Any:
    if isinstance(parameter, Choice):
        return parameter.values[int(at * len(parameter.values))]
    low, high = parameter.low, parameter.high
    if parameter.whole and not parameter.log:
        return int(low) + int(at * (int(high) - int(low) + 1))
    found = (
        math.exp(math.log(low) + at * (math.log(high) - math.log(low))) if parameter.log else low + at * (high - low)
    )
    return round(found) if parameter.whole else float(f"{found:.6g}")


def _curve(search: LearningCurve, config: RunConfig, sources: Sequence[str]) -> list[Trial]:
    """The part of each source is drawn by the rows' contents and the seed; a smaller one lies within a larger one."""
    prefix = _only_phase(config, "a learning curve")
    key = f"{prefix}.rows.mixture"
    return [
        Trial(f"{100 * share:g} % of the rows", {} if share == 1 else {key: dict.fromkeys(sources, share)})
        for share in search.shares
    ]


def _only_phase(config: RunConfig, what: str) -> str:
    if isinstance(config.train, tuple):
        raise ConfigError(
            f"{what} is of one phase, and train is a list of {len(config.train)}", where="train",
            hint="name a config with the phase alone",
        )  # fmt: skip
    return "train"


def _ablation(search: Ablation, config: RunConfig) -> list[Trial]:
    running = [name for name in SKIPPABLE if config.runs(name)]
    wrong = [s for s in search.stages if s not in running]
    if wrong or not running:
        there = ", ".join(running) or "none, since it reads a dataset version"
        raise ConfigError(f"can't be left out: {', '.join(wrong)}", where="search.stages", hint=f"there are {there}")
    whole = Trial("all stages", {})
    return [whole, *(Trial(f"without {s}", {"skip": [*config.skip, s]}) for s in search.stages or running)]


def _asked(search: Tpe) -> Proposal:
    try:
        import optuna
    except ImportError as e:
        raise MissingDependencyError(
            "search.kind optuna needs a library that isn't installed", where="optuna", hint="pip install 'assay[sweep]'"
        ) from e
    optuna.logging.set_verbosity(optuna.logging.ERROR)

    def propose(done: Sequence[float | None]) -> Trial | None:
        if len(done) >= search.trials:
            return None
        # Asked and told anew from the first trial on: so a sweep that goes on proposes what it would have proposed.
        study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=search.seed))
        for loss in done:
            asked = study.ask()
            _suggested(asked, search)
            failed = optuna.trial.TrialState.FAIL if loss is None else None
            study.tell(asked, loss, state=failed)
        return _trial(_suggested(study.ask(), search))

    return propose


def _suggested(asked: Any, search: Tpe) -> dict[str, Any]:
    return {key: _suggestion(asked, key, parameter) for key, parameter in search.parameters.items()}


def _suggestion(asked: Any, key: str, parameter: Choice | Span) -> Any:
    if isinstance(parameter, Choice):
        # By place, since Optuna keeps only plain values.
        return parameter.values[asked.suggest_categorical(key, list(range(len(parameter.values))))]
    if parameter.whole:
        return asked.suggest_int(key, int(parameter.low), int(parameter.high), log=parameter.log)
    return float(f"{asked.suggest_float(key, parameter.low, parameter.high, log=parameter.log):.6g}")

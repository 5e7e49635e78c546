"""Rewards of answers: graders, reward models and functions, each called with a whole batch."""

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, TypeAlias

from steps.contracts.errors import ConfigError, TrainingDataError
from steps.engines.graders.extractors import EXTRACTORS, FINAL_NUMBER
from steps.engines.graders.graders import GRADERS, Grading
from steps.engines.graders.json_schema import validator
from steps.engines.lm.scorer import REWARD
from steps.engines.template.reasoning import Markers
from steps.train.asked import require_same_tokens
from steps.train.objectives.online_options import OnlineOptions, RewardSource
from steps.train.start import Start

# (prompts, completions, ids of the completions' tokens, references, whatever else TRL gives) -> rewards
Function: TypeAlias = Callable[..., Sequence[float | None]]


# What a reward is called with, all by name: of TRL, of the rows (`prompt_encoding.SCHEMA`) and of the trainer.
_GIVEN = ("prompts", "completions", "completion_ids", "reference", "length", "trainer_state", "log_extra", "log_metric")


@dataclass
class Failures:
    """Answers without a reward, because it raised or wasn't a finite number; `first`: what was wrong then."""

    limit: int
    count: int = 0
    first: str = ""

    def add(self, name: str, count: int, what: str, cause: Exception | None = None) -> None:
        """Count some.

        Raises:
            TrainingDataError: more than the limit.
        """
        self.count += count
        self.first = self.first or f"{name}: {what}"
        if self.count > self.limit:
            raise TrainingDataError(
                f"{self.count} answers got no reward, max_reward_failures is {self.limit}; the first: {self.first}",
                where=f"reward {name}",
                hint="mend the reward function, or raise objective.max_reward_failures",
            ) from cause


class Reward:
    """A reward as TRL calls it; `__name__` is what it is called in logs."""

    def __init__(self, name: str, function: Function, failures: Failures) -> None:
        self.__name__ = name
        self._function, self._failures = function, failures

    def __call__(self, prompts: list[str], completions: list[str], **rest: Any) -> list[float | None]:
        """A finite number per answer; None where there is none.

        Raises:
            TrainingDataError: not one per answer, or too many failed.
        """
        try:
            found = list(self._function(prompts=prompts, completions=completions, **rest))
        except (KeyboardInterrupt, TrainingDataError):
            raise
        except Exception as e:  # noqa: BLE001 - whatever a function of others does
            self._failures.add(self.__name__, len(prompts), f"it raised {type(e).__name__}: {e}", e)
            return [None] * len(prompts)
        if len(found) != len(prompts):
            raise TrainingDataError(
                f"{len(found)} rewards for {len(prompts)} answers", where=f"reward {self.__name__}",
                hint="return one number per completion, None where there is none",
            )  # fmt: skip
        return [self._checked(value) for value in found]

    def _checked(self, value: float | None) -> float | None:
        if value is None:
            return None
        try:
            number = float(value)
        except (TypeError, ValueError):
            number = math.nan
        if not math.isfinite(number):
            self._failures.add(self.__name__, 1, f"it gave {value!r}")
            return None
        return number


@dataclass(frozen=True)
class Asking:
    """What rewards are asked with.

    Attributes:
        device, dtype, batch_size: of reward models.
        models: those there are, by `ModelSource.key`.
    """

    tokenizer: Any
    markers: Markers
    device: str = "cpu"
    dtype: str = "float32"
    batch_size: int = 8
    models: Mapping[str, Start] = field(default_factory=dict)


def rewards_of(options: OnlineOptions, asking: Asking, failures: Failures) -> list[Reward]:
    """The rewards that the options name, ready to be called.

    Raises:
        ConfigError: a function can't be imported, or a reward model has another tokenizer, or is none.
        InputNotFoundError: the files of a reward model are gone.
    """
    return [
        Reward(name, _function(source, options, asking), failures)
        for name, source in zip(_names(options.rewards), options.rewards, strict=True)
    ]


def grading(options: OnlineOptions) -> Grading:
    """What graders know besides answer and reference."""
    pattern = FINAL_NUMBER if options.extractor == "final_number" else None
    return Grading(EXTRACTORS[options.extractor](pattern), False, validator(options.json_schema), ())


def graded(
    name: str,
    by: Grading,
    markers: Markers,
    prompts: Sequence[str],
    completions: Sequence[str],
    reference: Sequence[str],
) -> list[float | None]:
    """Grades of the final texts of answers; None where a row has no reference or the grader doesn't apply."""
    grader = GRADERS[name]
    found: list[float | None] = []
    for prompt, said, wanted in zip(prompts, completions, reference, strict=True):
        needs = name != "json_valid"
        final = markers.split(prompt, said).text or ""
        found.append(grader.grade(final.strip(), wanted, by) if wanted or not needs else None)
    return found


def _names(sources: Sequence[RewardSource]) -> list[str]:
    names = [s.name for s in sources]
    return [f"{n}_{i + 1}" if names.count(n) > 1 else n for i, n in enumerate(names)]


def _function(source: RewardSource, options: OnlineOptions, asking: Asking) -> Function:
    if source.grader is not None:
        name, by, markers = source.grader, grading(options), asking.markers
        return lambda prompts, completions, reference, **_: graded(name, by, markers, prompts, completions, reference)
    if source.function is not None:
        return imported(source.function)
    return _model(asking.models[source.key], source.key, asking)


def imported(place: str) -> Function:
    """The function that package.module:name names.

    Raises:
        ConfigError: there is none.
    """
    module, _, name = place.partition(":")
    try:
        found: Function = getattr(import_module(module), name)
    except Exception as e:  # whatever a module of others does when it is imported
        raise ConfigError(
            f"no reward function {place}: {type(e).__name__}: {e}", where="train.objective.rewards",
            hint="name one as package.module:function, importable from the project's root",
        ) from e  # fmt: skip
    if not callable(found):
        raise ConfigError(f"{place} is no function", where="train.objective.rewards", hint="name a function")
    try:
        inspect.signature(found).bind(**dict.fromkeys(_GIVEN))
    except (TypeError, ValueError) as e:  # ValueError: compiled code that says nothing of its arguments
        raise ConfigError(
            f"{place} can't be called as a reward: {e}", where="train.objective.rewards",
            hint="let it take (prompts, completions, reference, **rest): names that it doesn't know are among the rest",
        ) from e  # fmt: skip
    return found


def _model(start: Start, name: str, asking: Asking) -> Function:
    from steps.engines.lm.scorer import load_scorer, scores

    if start.model.info.objective not in (None, REWARD):
        raise ConfigError(
            f"{name} was trained as {start.model.info.objective}: it scores nothing", where="train.objective.rewards",
            hint="name a model that was trained with objective: {kind: reward}",
        )  # fmt: skip
    tokenizer = asking.tokenizer
    loaded = load_scorer(start.base, start.model, dtype=asking.dtype, device=asking.device)
    require_same_tokens(tokenizer, loaded.tokenizer, "reward model", name)

    def said(prompts: list[str], completion_ids: list[list[int]], **_: Any) -> list[float | None]:
        ids = [
            [*tokenizer(p, add_special_tokens=False)["input_ids"], *answer]
            for p, answer in zip(prompts, completion_ids, strict=True)
        ]
        return list(scores(loaded, ids, batch_size=asking.batch_size))

    return said

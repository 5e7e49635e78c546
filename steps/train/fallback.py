"""When memory ends in a run: settings that need less, down the ladder of planning/ladder.py, from the last checkpoint.

Only rungs are taken that keep what is computed: the rows of every optimizer step stay the same ones. What was changed
is written beside the checkpoints before it is tried, so that a run that is killed goes on as it was, and stands in the
report and with the model.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TypeVar

from pydantic import JsonValue

from steps.contracts.errors import ConfigError, InputNotFoundError, OutOfMemoryError
from steps.contracts.models import ModelFolder
from steps.contracts.reports import Table
from steps.contracts.storage import write_whole
from steps.engines.lm.memory import release
from steps.engines.progress.progress import say
from steps.engines.state_store.store import store_of
from steps.train.config import TrainConfig
from steps.train.planning.ladder import Rung, changed_config, same_steps
from steps.train.settings import Plan
from steps.train.weights.registry import weights_of

T = TypeVar("T")
# Where an error says that memory ended in the validation pass; in any other place it ended in training.
VALIDATION = "train.per_device_eval_batch_size"
_EVAL_ROWS = "per_device_eval_batch_size"


@dataclass(frozen=True)
class Fallback:
    """One end of memory, and with what the run went on.

    Attributes:
        step: optimizer steps of the checkpoint that it went on from; 0: from the start.
        error: what ended.
        changes: all that differs from the config since then.
    """

    step: int
    error: str
    changes: Mapping[str, JsonValue]

    @property
    def note(self) -> str:
        """In a sentence."""
        settings = ", ".join(f"{k}: {str(v).lower() if isinstance(v, bool) else v}" for k, v in self.changes.items())
        return f"{self.error}: since step {self.step} trained with {settings}, the same rows in every step"


def with_less_where_needed(
    attempt: Callable[[TrainConfig, Plan], T],
    needs: Callable[[TrainConfig, Plan], int],
    config: TrainConfig,
    plan: Plan,
    home: Path,
    newest_step: Callable[[], int],
) -> tuple[T, Plan, tuple[Fallback, ...]]:
    """What `attempt` gives by the settings asked for, or by the first of less memory with which it doesn't end.

    Args:
        needs: the estimate of memory in bytes.
        home: where checkpoints and what was changed lie.
        newest_step: optimizer steps of the newest checkpoint.

    Raises:
        OutOfMemoryError: it ended with the settings that need least as well.
    """
    known = _read(home)
    while True:
        now = _settings(config, plan, known[-1].changes if known else {})
        try:
            return attempt(now.config, now.plan), now.plan, known
        except OutOfMemoryError as e:
            # The traceback holds the model.
            what, in_validation = e.what, (e.where or "").endswith(VALIDATION)
        release()
        following = _following(config, plan, now, in_validation, needs)
        if following is None:
            raise OutOfMemoryError(what, where="train", hint=_hint(config, known))
        known = (*known, Fallback(newest_step(), what, dict(following)))
        _write(home, known)
        say(f"train: {known[-1].note}")


def _settings(config: TrainConfig, plan: Plan, changes: Mapping[str, JsonValue]) -> Rung:
    recomputed = plan.gradient_checkpointing or changes.get("gradient_checkpointing") is True
    how = replace(plan, gradient_checkpointing=recomputed)
    return Rung(changed_config(config, changes), how, changes, "")


def _following(
    config: TrainConfig, plan: Plan, now: Rung, in_validation: bool, needs: Callable[[TrainConfig, Plan], int]
) -> Mapping[str, JsonValue] | None:
    """The changes to try next; None: there is nothing left."""
    kept = {_EVAL_ROWS: now.changes[_EVAL_ROWS]} if _EVAL_ROWS in now.changes else {}
    if in_validation:
        rows = now.config.per_device_eval_batch_size
        return {**now.changes, _EVAL_ROWS: rows // 2} if rows > 1 else None
    rungs = list(same_steps(config, plan))
    at = {k: v for k, v in now.changes.items() if k != _EVAL_ROWS}
    behind = next((i for i, rung in enumerate(rungs) if rung.changes == at), -1)
    needed = needs(now.config, now.plan)
    less = (rung for rung in rungs[behind + 1 :] if needs(rung.config, rung.plan) < needed)
    found = next(less, None)
    return {**found.changes, **kept} if found is not None else None


def _hint(config: TrainConfig, known: Sequence[Fallback]) -> str:
    tried = f"smaller passes were tried ({len(known)}); " if known else ""
    lighter = weights_of(config.weights).lighter
    instead = f"set {lighter.replace('=', ': ')}, or " if lighter else ""
    return f"{tried}{instead}lower max_length, take a smaller model, or a machine with more memory"


def noted(model: ModelFolder, fallbacks: Sequence[Fallback]) -> ModelFolder:
    """The model, with what was changed in its record."""
    if not fallbacks:
        return model
    notes = (*model.info.notes, *(f.note for f in fallbacks))
    return ModelFolder(model.info.model_copy(update={"notes": notes}), model.path)


def table(fallbacks: Sequence[Fallback]) -> tuple[Table, ...]:
    """Every end of memory, for the report; nothing where there was none."""
    if not fallbacks:
        return ()
    rows = tuple((f.step, f.error, json.dumps(f.changes)) for f in fallbacks)
    return (Table(title="Memory ended", columns=("went on from step", "what ended", "with"), rows=rows),)


def _name(number: int) -> str:
    return f"fallback-{number}.json"


def _read(home: Path) -> tuple[Fallback, ...]:
    """What earlier processes changed, here or in the durable state."""
    store = store_of(home)
    found: list[Fallback] = []
    while True:
        file = home / _name(len(found) + 1)
        try:
            text = file.read_bytes() if file.exists() else store.get(file.name) if store is not None else None
        except InputNotFoundError:
            text = None
        if text is None:
            return tuple(found)
        found.append(_parsed(text, file))


def _parsed(text: bytes, file: Path) -> Fallback:
    try:
        return Fallback(**json.loads(text))
    except (ValueError, TypeError) as e:
        raise ConfigError("this isn't what a run has written there", where=str(file), hint="remove the folder") from e


def _write(home: Path, known: Sequence[Fallback]) -> None:
    """The last one, a file of its own: nothing is written twice."""
    file = home / _name(len(known))
    text = json.dumps(asdict(known[-1]), indent=1)
    write_whole(file, text)
    store = store_of(home)
    if store is not None:
        store.put_new(file.name, text.encode())

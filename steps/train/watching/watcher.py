"""Watches a training: what it logs with speed, memory and time left; samples; early stops, divergence, stalls."""

import hashlib
import os
import resource
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import torch
from transformers import TrainerCallback

from steps.contracts.errors import TrainingDataError
from steps.engines.progress.progress import Progress, say
from steps.train.objectives.objective import EncodedRows
from steps.train.settings import OnMetrics, TrainSettings
from steps.train.watching import journal as events
from steps.train.watching.course import best_step, divergence, stops_early, without_improvement
from steps.train.watching.journal import Journal
from steps.train.watching.stall import STALL_SECONDS, StallWatch

_MIB = 1 << 20


@dataclass
class Pace:
    """Speed since the last point of the log, and time left by the mean over all steps so far."""

    began: float = field(default_factory=time.monotonic)
    last: float = field(default_factory=time.monotonic)
    tokens: int = 0
    steps: int = 0

    def point(self, tokens: int | None, steps: int, left: int) -> dict[str, float]:
        """What is known when so many tokens were trained on and so many steps done by this process."""
        now = time.monotonic()
        found = {"seconds_left": (now - self.began) / steps * left} if steps else {}
        if tokens is not None and now > self.last and steps > self.steps:
            found["tokens_per_second"] = (tokens - self.tokens) / (now - self.last)
            self.last, self.tokens, self.steps = now, tokens, steps
        return found


class Watcher(TrainerCallback):
    """A context manager around a training, and the trainer's callback.

    What it adds to the log (speed, memory, time left) goes to the journal and to the tracker, never into the trainer's
    state: checkpoints are the same whatever the machine did beside them.
    """

    def __init__(
        self,
        settings: TrainSettings,
        progress: Progress,
        path: Path | None,
        on_metrics: OnMetrics | None,
        stall_seconds: float = STALL_SECONDS,
    ) -> None:
        self.settings, self.progress, self._on_metrics = settings, progress, on_metrics
        self.journal = Journal(path)
        self._stall = StallWatch(self._warn, stall_seconds)
        self._held = ExitStack()
        self._trainer: Any = None
        self._pace = Pace()
        self._first, self._stage = 0, ""
        self._ask: Any = None

    def watch(self, trainer: Any, done: int, stage: str, prompts: Sequence[str], tokenizer: Any) -> None:
        """Have a look at everything that this trainer does. `done`: steps of the checkpoint that it goes on from;
        `prompts`: rendered ones, for samples.
        """
        self._trainer, self._first = trainer, done
        self._ask = (tokenizer, prompts)
        self._stage = stage
        trainer.add_callback(self)

    def metrics(self, step: int, values: dict[str, float]) -> None:
        """What was logged at a step, with what is known of it besides."""
        if "loss" in values:
            values = {**values, **self._besides(step)}
        self.journal.add(events.METRICS, step=step, values=values)
        if self._on_metrics:
            self._on_metrics(step, values)
        self.progress.note = _in_short(values) or self.progress.note

    def _besides(self, step: int) -> dict[str, float]:
        seen = self._trainer.tokens_seen if self._trainer is not None else None
        total = self._trainer.state.max_steps if self._trainer is not None else step
        # Of several processes that train together each sees its share.
        ranks = self._trainer.args.world_size if self._trainer is not None else 1
        pace = self._pace.point(None if seen is None else int(seen) * ranks, step - self._first, total - step)
        return {**pace, "memory_mb": _memory_mb()}

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """How many steps there are is known now; samples of what training starts from."""
        self._pace = Pace()
        said = {"stage": self._stage, "total": state.max_steps, "resumed_at": self._first, "pid": os.getpid()}
        self.journal.add(events.STARTED, **said)
        if state.global_step == 0:
            self._sample(0)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """A step is done: no stall. Samples every sample_steps, and after the last one."""
        self._stall.beat()
        every = self.settings.sample_steps
        if every and (state.global_step % every == 0 or state.global_step >= state.max_steps):
            self._sample(state.global_step)

    def on_log(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """The course of the loss so far.

        Raises:
            TrainingDataError: it diverges.
        """
        if why := divergence(state.log_history, self.settings):
            raise TrainingDataError(
                why, where="train",
                hint="lower learning_rate or raise warmup_steps; stop_at_divergence: false goes on all the same",
            )  # fmt: skip

    def on_evaluate(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """A validation loss: its step is kept when it is the best, training ends when patience does."""
        if state.global_step == 0:
            return
        self._stall.beat()
        log, settings = state.log_history, self.settings
        if settings.load_best_model_at_end and best_step(log, settings) == state.global_step:
            control.should_save = True
        if stops_early(log, settings):
            control.should_training_stop = control.should_save = True
            self._warn(
                f"stopped at step {state.global_step}: {without_improvement(log, settings)} validation losses without a"
                f" new lowest one since step {best_step(log, settings)}"
            )

    def validated(self, step: int, rows: EncodedRows) -> None:
        """Keep what the model in the end, that of `step`, loses on each validation row: trials of a sweep are compared
        row by row. Objectives that don't say it of rows are compared by their means.
        """
        losses = getattr(self._trainer, "row_losses", None)
        if self.journal.path is None or rows.validation is None or losses is None:
            return
        ids = rows.validation_encoding.content_ids() if rows.validation_encoding is not None else []
        digest = hashlib.sha256("".join(ids).encode()).hexdigest()
        self.journal.add(events.VALIDATED, step=step, losses=losses(step), rows=digest, ids=ids)

    def _sample(self, step: int) -> None:
        if not self.settings.sample_steps or self._ask is None:
            return
        from steps.train.watching.samples import samples

        tokenizer, prompts = self._ask
        found = samples(self._trainer, tokenizer, prompts, self.settings.sample_tokens)
        self._stall.beat()
        for prompt, one in zip(self.settings.sample_prompts, found, strict=True):
            self.journal.add(events.SAMPLE, step=step, prompt=prompt, answer=one.text, cut=one.cut)

    def _warn(self, what: str) -> None:
        say(f"train: {what}")
        self.journal.add(events.WARNING, what=what)

    def __enter__(self) -> Self:
        self._held.enter_context(self._stall)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._held.close()
        step = self._trainer.state.global_step if self._trainer is not None else 0
        status = "finished" if error is None else "failed" if isinstance(error, Exception) else "interrupted"
        self.journal.add(events.ENDED, status=status, step=step, error=str(error) if error else "")


def _in_short(values: dict[str, float]) -> str:
    """The numbers that stand beside the bar."""
    if "loss" not in values:
        return ""
    parts = [f"loss {values['loss']:.3f}"]
    if "grad_norm" in values:
        parts.append(f"norm {values['grad_norm']:.2g}")
    if "learning_rate" in values:
        parts.append(f"lr {values['learning_rate']:.2g}")
    if "tokens_per_second" in values:
        parts.append(f"{values['tokens_per_second']:,.0f} tok/s")
    return " · ".join([*parts, f"{values['memory_mb']:,.0f} MB"])


def _memory_mb() -> float:
    """MiB at the peak so far: allocated on the GPU, else resident in this process."""
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        return float(torch.cuda.max_memory_allocated()) / _MIB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / _MIB

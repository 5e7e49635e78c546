"""A training on the terminal: numbers, a line of the losses, warnings, the newest samples."""

import time
from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from materializers.visible import visible
from ops.watch.watched import WatchedRun
from steps.contracts.humanize import duration, number
from steps.train.watching.journal import Watched

_BARS = "▁▂▃▄▅▆▇█"
# Chosen: as many points as a terminal of 80 columns has room for beside a name.
_WIDTH = 56
_SAMPLE = 240
# Chosen: nothing new for so long from a phase that hasn't ended is worth a word; most steps take less.
_QUIET_SECONDS = 120
# Metrics by the names that people know, with how many of them are shown.
_SHOWN = (
    ("loss", "training loss"), ("eval_loss", "validation loss"), ("grad_norm", "gradient norm"),
    ("learning_rate", "learning rate"), ("tokens_per_second", "tokens/s"), ("memory_mb", "memory, MB"),
)  # fmt: skip


def drawn(run: WatchedRun, now: float | None = None) -> RenderableType:
    """What is known of a run. `now`: seconds since 1970."""
    parts: list[RenderableType] = [Text(visible(run.name), style="bold")]
    for phase in run.phases:
        parts += _phase(phase, time.time() if now is None else now)
    return Group(*parts)


def _phase(phase: Watched, now: float) -> list[RenderableType]:
    parts: list[RenderableType] = [Text(state_of(phase, now), style="bold cyan")]
    table = Table(box=None, pad_edge=False, show_header=False)
    for _ in range(3):
        table.add_column()
    for key, name in _shown(phase):
        curve = phase.curve(key)
        table.add_row(name, Text(number(curve[-1][1]), justify="right"), sparkline([v for _, v in curve]))
    parts.append(table)
    parts += [Text(f"warning: {visible(str(w['what']))}", style="yellow") for w in phase.warnings]
    parts += _samples(phase)
    return parts


def _shown(phase: Watched) -> list[tuple[str, str]]:
    known = [(key, name) for key, name in _SHOWN if phase.curve(key)]
    named = {key for key, _ in _SHOWN} | {"seconds_left"}
    others = sorted(
        {k for values in phase.metrics.values() for k in values if k not in named and k.startswith("eval_")}
    )
    return [*known, *((key, key.removeprefix("eval_").replace("_", " ") + " (validation)") for key in others)]


def state_of(phase: Watched, now: float) -> str:
    """'train: step 30 of 150, 2 min left'."""
    total = f" of {phase.total}" if phase.total else ""
    if phase.ended is not None:
        why = f": {visible(str(phase.ended['error']))}" if phase.ended.get("error") else ""
        return f"{phase.stage}: {phase.ended['status']} at step {phase.ended['step']}{total}{why}"
    left = phase.latest("seconds_left")
    quiet = now - phase.last
    said = f", {duration(left)} left" if left is not None else ""
    if quiet > _QUIET_SECONDS:
        said += f"; nothing new for {duration(quiet)}, so it hangs, or its process is gone"
    return f"{phase.stage}: step {phase.step}{total}{said}"


def sparkline(values: Sequence[float]) -> str:
    """The values as bars, each the mean of its share; the lowest is the shortest."""
    if not values:
        return ""
    size = max(1, -(-len(values) // _WIDTH))
    means = [sum(part) / len(part) for part in (values[i : i + size] for i in range(0, len(values), size))]
    low, high = min(means), max(means)
    scale = (len(_BARS) - 1) / (high - low) if high > low else 0.0
    return "".join(_BARS[round((v - low) * scale)] for v in means)


def _samples(phase: Watched) -> list[RenderableType]:
    if not phase.samples:
        return []
    step = phase.samples[-1]["step"]
    parts: list[RenderableType] = [Text(f"samples at step {step}", style="bold")]
    for sample in (s for s in phase.samples if s["step"] == step):
        parts.append(Text("  » " + _brief(sample["prompt"]), style="dim"))
        parts.append(Text("    " + _brief(sample["answer"]) + (" …" if sample.get("cut") else "")))
    return parts


def _brief(words: str) -> str:
    line = visible(words).replace("\n", " ⏎ ")
    return line if len(line) <= _SAMPLE else line[:_SAMPLE] + "…"
